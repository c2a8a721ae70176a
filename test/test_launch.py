# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The launch files, where launch_ros is installed; test_ros_cli.py runs them."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

from aitable_ros.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ROOT / 'launch' / 'pipeline.launch.py'
NEEDS_LAUNCH = pytest.mark.skipif(
    importlib.util.find_spec('launch_ros') is None,
    reason='launch_ros is not installed here; ROS wheels from PyPI come without it')
ARGUMENTS = {
    'image', 'camera_device', 'cameras', 'cameras_per_process', 'params_file', 'namespace',
    'posture', 'overlay', 'hri', 'use_sim_time', 'bag', 'bag_rate', 'bag_topic', 'processes',
    'container', 'respawn', 'autostart', 'log_level'}


def _module():
    spec = importlib.util.spec_from_file_location('pipeline_launch', LAUNCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('path', LAUNCH.parent.glob('*.launch.py'), ids=lambda path: path.name)
def test_compiles(path):
    compile(path.read_text(), str(path), 'exec')


def test_every_argument_is_in_the_operator_s_page():
    page = (LAUNCH.parent.parent / 'docs' / 'operation.md').read_text()
    table = page.partition('| argument |')[2].partition('\n\n')[0]
    assert {name for name in ARGUMENTS if f'`{name}`' not in table} == set()


@NEEDS_LAUNCH
def test_declares_its_arguments():
    described = {
        argument.name: argument
        for argument in _module().generate_launch_description().get_launch_arguments()}
    assert set(described) == ARGUMENTS
    assert all(argument.description for argument in described.values())


def _processes(**arguments):
    """Return the processes that the launch file would start."""
    from launch import LaunchContext
    from launch.actions import ExecuteProcess

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
    ({'processes': 'many', 'overlay': 'true'}, 4), ({'bag': str(ROOT / 'test' / 'data')}, 2),
    ({'processes': 'many', 'hri': 'true'}, 4), ({'cameras': 'a=/a b=/b'}, 1),
    ({'cameras': 'a=/a, b=/b', 'processes': 'many'}, 6),
    ({'cameras': 'a=/a b=/b c=/c', 'cameras_per_process': '2', 'hri': 'true'}, 2),
    ({'cameras': 'a=/a b=/b c=/c d=/d e=/e'}, 2),
    ({'processes': 'many', 'posture': 'true'}, 4),
    ({'processes': 'many', 'params_file': 'jetson.yaml'}, 4),
    ({'processes': 'many', 'params_file': 'jetson.yaml', 'posture': 'false'}, 3),
    ({'cameras': 'a=/a b=/b c=/c d=/d e=/e', 'cameras_per_process': '0'}, 1),
])
def test_starts_one_process_or_many(arguments, count):
    assert len(_processes(**arguments)) == count


@NEEDS_LAUNCH
@pytest.mark.parametrize(('arguments', 'words'), [
    ({'params_file': '/nowhere/gone.yaml'}, r'gone\.yaml'),
    ({'cameras': 'left'}, 'NAME=TOPIC'), ({'cameras': 'left='}, 'NAME=TOPIC'),
    ({'cameras': '=/left'}, 'NAME=TOPIC'), ({'cameras': 'left=/a left=/b'}, 'NAME=TOPIC'),
    ({'cameras': '9th=/a'}, 'NAME=TOPIC'),
    ({'bag': '/no/such'}, 'bag:=/no/such: no such file'),
    ({'bag': __file__, 'bag_rate': 'fast'}, 'bag_rate:=fast'),
    ({'bag': __file__, 'bag_rate': '0'}, 'bag_rate:=0'),
    ({'bag': __file__, 'cameras': 'a=/a'}, 'image:='),
    ({'camera_device': '0', 'processes': 'many'}, 'camera_device:='),
    ({'cameras': 'a=/a b=/b', 'cameras_per_process': 'two'}, 'cameras_per_process:=two'),
    ({'cameras': 'a=/a b=/b', 'cameras_per_process': '1', 'container': 'true'}, 'container:='),
])
def test_a_wrong_argument_is_refused_before_anything_starts(arguments, words):
    with pytest.raises(InputError, match=words):
        _processes(**arguments)
