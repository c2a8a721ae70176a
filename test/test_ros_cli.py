# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
What a ROS user types: ros2 launch, lifecycle, param, component, where the ``ros2`` command is.

Run it with a ROS 2 sourced (``source /opt/ros/.../setup.bash`` and the workspace's); the wheels
from PyPI bring neither ros2cli nor launch_ros nor composition_interfaces.
"""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import signal
import subprocess
import time

import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import CAMERA, Graph, image, picture
from sensor_msgs.msg import Image

from aitable_msgs.msg import FaceArray
from aitable_ros.nodes.environment import child_environment

ROOT = Path(__file__).resolve().parent.parent


def _lacks() -> str:
    """Return why these tests cannot run here; empty where they can."""
    if shutil.which('ros2') is None:
        return "no 'ros2' command here: source a ROS 2 with ros2cli and launch_ros"
    for words in (('component', 'types'), ('launch', '--help'), ('lifecycle', '--help')):
        done = subprocess.run(['ros2', *words], capture_output=True, text=True, timeout=PATIENT_S)
        known = words[0] != 'component' or 'aitable_ros' in done.stdout
        if done.returncode or not known:
            return f'`ros2 {" ".join(words)}` does not know aitable_ros: source its workspace'
    return ''


REASON = _lacks()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(REASON), reason=REASON)]


def ros2(*words: str, timeout_s: float = PATIENT_S) -> str:
    """Run a command of ros2 and return all that it said."""
    done = subprocess.run(['ros2', *words], capture_output=True, text=True, timeout=timeout_s)
    said = done.stdout + done.stderr
    assert 'Traceback' not in said, said
    return said


def eventually(expected: str, *words: str) -> str:
    """Repeat a question until the answer has ``expected``: a new process must find the graph."""
    end = time.monotonic() + PATIENT_S
    while True:
        said = ros2(*words)
        if expected in said or time.monotonic() > end:
            assert expected in said, f'ros2 {" ".join(words)}: {said}'
            return said


@pytest.fixture(scope='module', autouse=True)
def no_daemon():
    """Start none that outlives the tests; what `ros2` starts by itself is stopped."""
    yield
    if not REASON:
        subprocess.run(['ros2', 'daemon', 'stop'], capture_output=True, timeout=PATIENT_S)


@pytest.fixture
def launch(tmp_path):
    """Start `ros2 launch` as a shell does: SIGINT not ignored, a process group of its own."""
    started = []

    def begin(*words):
        log = tmp_path / f'launch{len(started)}.log'
        process = subprocess.Popen(
            ['ros2', 'launch', *words], stdout=log.open('w'), stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        process.log = log
        started.append(process)
        return process
    yield begin
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def says(process, words, times=1, timeout_s=PATIENT_S):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        if process.log.read_text().count(words) >= times:
            return True
        time.sleep(0.1)
    return process.log.read_text().count(words) >= times


def children(pid):
    """Return the processes of a group that are alive."""
    alive = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rpartition(')')[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] != 'Z':
            alive.append(int(stat.parent.name))
    return alive


def ends(process, number, timeout_s=PATIENT_S):
    """Send a signal to launch alone; returns its status when the whole group has ended."""
    process.send_signal(number)
    status = process.wait(timeout_s)
    end = time.monotonic() + PATIENT_S
    while children(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert children(process.pid) == [], 'left behind'
    assert 'Traceback' not in process.log.read_text(), process.log.read_text()
    return status


def test_lifecycle_and_parameters(models, launch, tmp_path):
    process = launch('aitable_ros', 'pipeline.launch.py', 'namespace:=robot', 'overlay:=true',
                     'params_file:=cpu.yaml')
    assert says(process, '[robot.face_detector]: runs'), process.log.read_text()
    node = '/robot/fatigue'
    for name in ('emotion', 'face_detector', 'fatigue', 'overlay'):  # it looks for half a second
        eventually(f'/robot/{name}', 'lifecycle', 'nodes')
    eventually('active [3]', 'lifecycle', 'get', node)
    for transition in ('deactivate', 'cleanup', 'configure', 'activate'):
        assert 'successful' in ros2('lifecycle', 'set', '/robot/emotion', transition)
    assert 'Unknown transition' in ros2('lifecycle', 'set', '/robot/emotion', 'activate')
    for name, value, expected in (
        ('closed_enter', '0.4', 'Set parameter successful'),
        ('closed_enter', '0.95', 'out of range'),
        ('closed_enter', '0.6', "'closed_exit'"),
        ('backend', 'openvino', 'read-only'),
        ('sleep_s', 'soon', 'failed'),
    ):
        assert expected in ros2('param', 'set', node, name, value)
    assert '0.4' in ros2('param', 'get', node, 'closed_enter')
    described = ros2('param', 'describe', node, 'sleep_s')
    assert 'Max value: 60' in described
    assert 'are sleep' in described
    changed = tmp_path / 'changed.yaml'
    changed.write_text(f'{node}:\n  ros__parameters:\n    sleep_s: 4.5\n')
    dumped = ros2('param', 'dump', node)
    assert dumped.startswith(f'{node}:')
    assert 'sleep_s: 3.0' in dumped
    subprocess.run(
        ['ros2', 'param', 'load', node, str(changed)], capture_output=True, timeout=PATIENT_S)
    assert '4.5' in ros2('param', 'get', node, 'sleep_s')
    assert ends(process, signal.SIGINT) == 0
    assert 'process has finished cleanly' in process.log.read_text()


def test_autostart_off_waits_for_lifecycle_set(models, launch):
    process = launch('aitable_ros', 'pipeline.launch.py', 'autostart:=false')
    eventually('unconfigured', 'lifecycle', 'get', '/fatigue')
    for transition, state in (('configure', 'inactive'), ('activate', 'active')):
        assert 'successful' in ros2('lifecycle', 'set', '/fatigue', transition)
        eventually(state, 'lifecycle', 'get', '/fatigue')
    assert ends(process, signal.SIGINT) == 0


@pytest.mark.parametrize(('argument', 'words'), [
    ('params_file:=/no/such.yaml', '/no/such.yaml: cannot read the parameter file'),
    ('cameras:=left', "'left' is not NAME=TOPIC"),
    ('bag:=/no/such', 'bag:=/no/such: no such file or folder'),
])
def test_a_wrong_argument_ends_launch_with_a_line(launch, argument, words):
    process = launch('aitable_ros', 'pipeline.launch.py', argument)
    assert process.wait(PATIENT_S) == 1
    line, = [one for one in process.log.read_text().splitlines() if '[ERROR]' in one]
    assert words in line
    assert 'Traceback' not in process.log.read_text()


@pytest.mark.parametrize(('argument', 'words'), [
    ('namespace:=no/slash//twice', 'namespace'),
    (f'bag:={__file__}', 'camera: '),
])
def test_what_a_process_refuses_fails_the_launch(models, launch, argument, words):
    process = launch('aitable_ros', 'pipeline.launch.py', argument, 'respawn:=true')
    assert process.wait(PATIENT_S) == 1
    assert words in process.log.read_text()


INCLUDING = """
from launch import LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource


def generate_launch_description():
    ours = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(LAUNCH), launch_arguments={'autostart': 'false'}.items())
    return LaunchDescription([ours, ExecuteProcess(cmd=['sleep', '1000'])])
"""


def test_what_the_parent_launches_after_us_has_none_of_our_variables(models, launch, tmp_path):
    def environment_of(word):
        pid, = [pid for pid in children(process.pid)
                if word in Path(f'/proc/{pid}/cmdline').read_bytes()]
        return set(Path(f'/proc/{pid}/environ').read_bytes().decode().split('\0'))

    file = tmp_path / 'parent.launch.py'
    file.write_text(INCLUDING.replace('LAUNCH', repr(str(ROOT / 'launch' / 'pipeline.launch.py'))))
    process = launch(str(file))
    assert says(process, 'start check'), process.log.read_text()
    ours, theirs = environment_of(b'pipeline\0'), environment_of(b'sleep\0')
    added = {one.partition('=')[0] for one in ours - theirs}
    leaked = set(child_environment()) - set(os.environ) - added
    assert not leaked
    assert 'AITABLE_END_WITH_PARENT' in added
    assert ends(process, signal.SIGINT) == 0


@pytest.mark.parametrize('numbers', [
    [signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGKILL]])
def test_nothing_outlives_launch(models, launch, numbers):
    """SIGTERM and SIGKILL end launch itself at once: the nodes see that their parent is gone."""
    process = launch('aitable_ros', 'pipeline.launch.py')
    assert says(process, 'runs blazeface'), process.log.read_text()
    for number in numbers[:-1]:
        process.send_signal(number)
        time.sleep(0.1)
    status = ends(process, numbers[-1])
    assert status == (0 if numbers[-1] == signal.SIGINT else -numbers[-1])


def test_several_cameras_in_one_process(models, launch, portrait):
    process = launch('aitable_ros', 'pipeline.launch.py', 'namespace:=robot',
                     'cameras:=left=/left/image right=/right/image')
    assert says(process, '.face_detector]: runs', times=2), process.log.read_text()
    with Graph() as graph:
        frame = picture(portrait)
        for side in ('left', 'right'):
            graph.listen(FaceArray, f'/robot/{side}/faces')
            camera = graph.camera(topic=f'/{side}/image')
            assert graph.matched(camera)
            message = image(np.ascontiguousarray(frame), 'rgb8', graph.tick(), frame_id=side)
            answer = graph.answers(camera, message, f'/robot/{side}/faces', 20.0)
            assert answer is not None
            assert answer.header.frame_id == side
    pipelines = [pid for pid in children(process.pid)
                 if b'pipeline\0' in Path(f'/proc/{pid}/cmdline').read_bytes()]
    assert len(pipelines) == 1
    assert ends(process, signal.SIGINT) == 0


def test_a_killed_container_comes_back_with_its_nodes(models, launch):
    process = launch('aitable_ros', 'pipeline.launch.py', 'namespace:=/robot', 'container:=true',
                     'respawn:=true')
    container = '/robot/aitable_container'
    assert says(process, '[robot.face_detector]: runs'), process.log.read_text()
    eventually('/robot/fatigue', 'component', 'list', container)
    pipeline, = [pid for pid in children(process.pid)
                 if b'pipeline\0' in Path(f'/proc/{pid}/cmdline').read_bytes()]
    os.kill(pipeline, signal.SIGKILL)
    assert says(process, '[robot.face_detector]: runs', times=2), process.log.read_text()
    eventually('active [3]', 'lifecycle', 'get', '/robot/fatigue')
    assert ends(process, signal.SIGINT) == 0


COMPOSED = """
from launch import LaunchDescription
from launch_ros.actions import ComposableNodeContainer
from launch_ros.actions import LoadComposableNodes
from launch_ros.descriptions import ComposableNode


def generate_launch_description():
    def node(plugin, **kwargs):
        return ComposableNode(package='aitable_ros', plugin=f'aitable_ros::{plugin}', **kwargs)
    return LaunchDescription([
        ComposableNodeContainer(
            package='aitable_ros', executable='container', name='people', namespace='/robot',
            output='screen', composable_node_descriptions=[
                node('FaceDetectorNode', namespace='/robot', remappings=[('image', '/desk/image')]),
                node('FatigueNode', name='tired', namespace='/robot',
                     remappings=[('image', '/desk/image'), ('fatigue', 'tiredness')],
                     parameters=['PARAMETERS', {'sleep_s': 4.5}])]),
        LoadComposableNodes(
            target_container='/robot/people', composable_node_descriptions=[
                node('EmotionNode', remappings=[('faces', '/robot/faces'),
                                                ('image', '/desk/image')])])])
"""


def test_composable_node_container_and_load_composable_nodes(models, launch, tmp_path):
    parameters = tmp_path / 'own.yaml'
    parameters.write_text('/robot/tired:\n  ros__parameters:\n    microsleep_s: 1.25\n')
    file = tmp_path / 'composed.launch.py'
    file.write_text(COMPOSED.replace('PARAMETERS', str(parameters)))
    process = launch(str(file))
    for name in ('/robot/face_detector', '/robot/tired', '/emotion'):
        assert says(process, f"Loaded node '{name}'"), process.log.read_text()
    listed = eventually('/robot/tired', 'component', 'list', '/robot/people')
    assert len(listed.split()) >= 6
    for name, expected in (('sleep_s', '4.5'), ('microsleep_s', '1.25')):
        assert expected in eventually('value', 'param', 'get', '/robot/tired', name)
    info = eventually('/robot/tiredness', 'node', 'info', '/robot/tired')
    assert '/robot/tired/calibrate' in info
    assert '/desk/image' in eventually('/desk/image', 'node', 'info', '/robot/face_detector')
    assert ends(process, signal.SIGINT) == 0


def _load(container, plugin, *words):
    """Ask again where ros2 has not found the container within its half second."""
    end = time.monotonic() + PATIENT_S
    while True:
        said = ros2('component', 'load', container, 'aitable_ros', plugin, *words)
        if 'Unable to find container' not in said or time.monotonic() > end:
            return said


def test_component_load_list_unload(models, launch, tmp_path):
    process = subprocess.Popen(
        ['ros2', 'run', 'aitable_ros', 'container', '--ros-args', '-r', '__ns:=/desk'],
        start_new_session=True)
    try:
        eventually('/desk/aitable_container', 'component', 'list')
        container = '/desk/aitable_container'
        for plugin, words, expected in (
            ('FatigueNode', ('--node-namespace', '/cell', '-p', 'sleep_s:=4.5', '-r',
                             f'image:={CAMERA}'), "as '/cell/fatigue'"),
            ('aitable_ros::FatigueNode', ('--node-name', 'second', '--node-namespace', 'cell'),
             "as '/cell/second'"),
            ('FatigueNode', ('--node-namespace', '/cell'), 'loaded already'),
            ('Nonsense', (), "no component 'Nonsense'"),
            ('FatigueNode', ('-n', 'third', '-p', 'sleep_s:=900.0'), 'must be from 0.5 to 60'),
            ('FatigueNode', ('-n', 'fourth', '-p', 'engine_path:=/no/file.onnx',
                             '-p', 'fallbacks:=[gone]'), '/no/file.onnx'),
        ):
            said = _load(container, plugin, *words)
            assert expected.lower() in said.lower(), said  # ros2 changes the case of an error
        eventually('active [3]', 'lifecycle', 'get', '/cell/fatigue')
        assert '4.5' in ros2('param', 'get', '/cell/fatigue', 'sleep_s')
        assert CAMERA in ros2('node', 'info', '/cell/fatigue')
        assert 'Unloaded' in ros2('component', 'unload', container, '1')
        assert 'has the number 1' in ros2('component', 'unload', container, '1')
        listed = ros2('component', 'list', container)
        assert '/cell/second' in listed
        assert '/cell/fatigue' not in listed
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENT_S)


def test_a_recording_as_the_camera_ends_the_launch(models, launch, tmp_path, portrait):
    from rclpy.serialization import serialize_message

    from aitable_ros.tools.bag import BagWriter

    frame = picture(portrait)
    with BagWriter(tmp_path / 'bag') as bag:
        write = bag.topic('/desk/image', Image)
        for number in range(60):
            stamp = 1_700_000_000_000_000_000 + number * 50_000_000
            write(stamp, serialize_message(image(frame, 'rgb8', stamp)))
    with Graph() as graph:
        graph.listen(FaceArray, '/faces')
        process = launch('aitable_ros', 'pipeline.launch.py', f'bag:={tmp_path / "bag"}',
                         'image:=/desk/image', 'use_sim_time:=auto')
        assert graph.spin(lambda: process.poll() is not None, PATIENT_S)
        assert process.returncode == 0, process.log.read_text()
        stamps = [one.header.stamp.sec for one in graph.heard['/faces']]
        assert len(stamps) > 30
        assert min(stamps) >= 1_700_000_000
        assert max(stamps) < 1_700_000_010, "not the recording's own time"
    assert children(process.pid) == []
