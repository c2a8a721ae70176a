# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""examples/: each is run as far as this machine can."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

from films import write_film
from patience import PATIENT_S
import pytest
from ros_graph import picture
import yaml

from aitable_msgs.msg import FatigueState

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / 'examples'
NEEDS_LAUNCH = pytest.mark.skipif(
    importlib.util.find_spec('launch_ros') is None,
    reason='launch_ros is not installed here; ROS wheels from PyPI come without it')


def module(name):
    spec = importlib.util.spec_from_file_location(name.replace('.', '_'), EXAMPLES / f'{name}.py')
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def state(level, track_id=1):
    return FatigueState(track_id=track_id, primary=bool(track_id), level=level)


def test_take_a_break_speaks_once_a_spell(graph, tmp_path):
    log = tmp_path / 'log'
    program = subprocess.Popen(
        [sys.executable, str(EXAMPLES / 'take_a_break.py')], stderr=log.open('w'))
    try:
        publisher = graph.tester.create_publisher(FatigueState, 'fatigue', 10)
        assert graph.matched(publisher)
        levels = (FatigueState.LEVEL_ALERT, FatigueState.LEVEL_SEVERE, FatigueState.LEVEL_ASLEEP,
                  FatigueState.LEVEL_ALERT, FatigueState.LEVEL_ASLEEP)
        for level in levels:
            publisher.publish(state(level))
        assert graph.spin(lambda: log.read_text().count('take a break.') == 2)
    finally:
        program.kill()
        program.wait()


def test_person_is_awake_follows_the_messages(graph):
    trees = pytest.importorskip('py_trees')
    condition = module('person_is_awake').PersonIsAwake('awake?', graph.tester)
    assert condition.update() is trees.common.Status.RUNNING
    for level, track_id, expected in (
        (FatigueState.LEVEL_ALERT, 1, 'SUCCESS'), (FatigueState.LEVEL_SEVERE, 1, 'FAILURE'),
        (FatigueState.LEVEL_UNKNOWN, 0, 'RUNNING'),
    ):
        condition._on_fatigue(state(level, track_id))
        assert condition.update().name == expected
    assert graph.spin(lambda: condition.update().name == 'FAILURE'), 'silence was not noticed'


def test_read_a_recording_prints_the_people(models, tmp_path, portrait, capsys):
    path = write_film(tmp_path / 'film.avi', [picture(portrait)] * 20)
    module('read_a_recording').main(str(path))
    said = capsys.readouterr().out  # ids go on in a process
    assert re.fullmatch(r'person \d+: [A-Z]+\n', said), said


def test_launch_files_in_xml_and_yaml_include_ours_with_arguments_that_it_has():
    text = (ROOT / 'launch' / 'pipeline.launch.py').read_text()
    xml = ET.parse(EXAMPLES / 'pipeline.launch.xml').getroot().find('include')
    lines = yaml.safe_load((EXAMPLES / 'pipeline.launch.yaml').read_text())['launch']
    include = lines[1]['include']
    assert xml.get('file') == include['file']
    assert {one.get('name') for one in xml} == {one['name'] for one in include['arg']}
    assert all(f"('{one['name']}', " in text for one in include['arg'])


@NEEDS_LAUNCH
@pytest.mark.parametrize('name', ['pipeline.launch.xml', 'pipeline.launch.yaml'])
def test_launch_reads_xml_and_yaml(name):
    from launch import LaunchContext
    from launch.launch_description_sources import AnyLaunchDescriptionSource

    description = AnyLaunchDescriptionSource(str(EXAMPLES / name)).get_launch_description(
        LaunchContext())
    names = [one.name for one in description.get_launch_arguments()]
    assert names[0] == 'camera'
    assert 'params_file' in names, 'our launch file was not found'


@NEEDS_LAUNCH
def test_into_my_container_names_two_of_our_components():
    action, = module('into_my_container.launch').generate_launch_description().entities
    plugins = [one.node_plugin for one in action._LoadComposableNodes__composable_node_descriptions]
    assert [plugin[0].text for plugin in plugins] == [
        'aitable_ros::FaceDetectorNode', 'aitable_ros::FatigueNode']


def test_the_cpp_example_builds(tmp_path):
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(':')
    if not any(Path(prefix, 'share', 'rclcpp').is_dir() for prefix in prefixes):
        pytest.skip('rclcpp is not installed here; ROS wheels from PyPI come without it')
    for command in (
        ['cmake', '-S', str(EXAMPLES / 'take_a_break_cpp'), '-B', str(tmp_path)],
        ['cmake', '--build', str(tmp_path)],
    ):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENT_S * 4)
        assert ended.returncode == 0, ended.stderr
