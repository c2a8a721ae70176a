# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The launch file, where launch_ros is installed (it is not among the PyPI wheels)."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parent.parent / 'launch' / 'pipeline.launch.py'
NEEDS_LAUNCH = pytest.mark.skipif(
    importlib.util.find_spec('launch_ros') is None,
    reason='launch_ros is not installed here; ROS wheels from PyPI come without it')
ARGUMENTS = {
    'image', 'params_file', 'namespace', 'overlay', 'use_sim_time', 'bag', 'bag_rate', 'bag_topic',
    'processes', 'log_level'}


def _module():
    spec = importlib.util.spec_from_file_location('pipeline_launch', LAUNCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_compiles():
    compile(LAUNCH.read_text(), str(LAUNCH), 'exec')


@NEEDS_LAUNCH
def test_declares_its_arguments():
    described = {
        argument.name: argument
        for argument in _module().generate_launch_description().get_launch_arguments()}
    assert set(described) == ARGUMENTS
    assert all(argument.description for argument in described.values())


def _processes(**arguments):
    """Return the processes that the launch file would start."""
    from launch.actions import ExecuteProcess

    from launch import LaunchContext

    context = LaunchContext(argv=[])
    asyncio.set_event_loop(asyncio.new_event_loop())
    module = _module()
    for name, default, *_ in module.ARGUMENTS:
        context.launch_configurations[name] = arguments.get(name, default)
    actions = module._nodes(context)
    return [action for action in actions if isinstance(action, ExecuteProcess)]


@NEEDS_LAUNCH
@pytest.mark.parametrize(('arguments', 'count'), [
    ({}, 1), ({'overlay': 'true'}, 1), ({'processes': 'many'}, 3),
    ({'processes': 'many', 'overlay': 'true'}, 4), ({'bag': 'drive'}, 2),
])
def test_starts_one_process_or_many(arguments, count):
    assert len(_processes(**arguments)) == count
