# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The executables as processes of their own: topics between them, signals, exit status, orphans."""

from contextlib import suppress
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import CAMERA, Graph, image, picture
from sensor_msgs.msg import Image

from aitable_msgs.msg import Emotion, FaceArray, FatigueState, Posture
from aitable_ros.cli import main
from aitable_ros.nodes import environment, executables
from aitable_ros.nodes.composition import Spinner

ROOT = Path(__file__).resolve().parent.parent


def command(name, *arguments):
    code = f'import sys; from aitable_ros.nodes.executables import {name}; sys.exit({name}())'
    return [sys.executable, '-c', code, *arguments]


@pytest.fixture
def start(tmp_path):
    """Start executables; whatever still runs at the end is a failure and is killed."""
    processes = []

    def begin(name, *arguments, without=()):
        log = (tmp_path / f'{name}.log').open('w')
        process = subprocess.Popen(
            command(name, *arguments), stdout=log, stderr=subprocess.STDOUT, text=True,
            env={key: value for key, value in os.environ.items() if key not in without})
        process.log = Path(log.name)
        processes.append(process)
        return process
    yield begin
    left = [process for process in processes if process.poll() is None]
    for process in left:
        process.kill()
        process.wait()
    assert not left, 'a process had to be killed'


def says(process, words, timeout_s=PATIENT_S):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        if words in process.log.read_text():
            return True
        time.sleep(0.05)
    return words in process.log.read_text()


def ends(process, number, timeout_s=PATIENT_S):
    process.send_signal(number)
    status = process.wait(timeout_s)
    assert 'Traceback' not in process.log.read_text()
    return status


QUICK = ('-p', 'backend:=onnxruntime')
"""Loads the models in a tenth of the time."""
REMAP = ('--ros-args', '-r', f'image:={CAMERA}')


LEAST = 5
"""Answers of each node; of the posture, which is read five times a second, that takes 30 images."""


def test_five_processes_meet_by_stamp_and_end_on_sigint(pose_models, portrait, start):
    nodes = {name: start(name, *REMAP, *QUICK) for name in (
        'face_detector', 'fatigue', 'emotion', 'posture')}
    nodes['overlay'] = start('overlay', *REMAP)
    with Graph() as graph:
        graph.listen_to({
            'faces': FaceArray, 'fatigue': FatigueState, 'emotion': Emotion, 'posture': Posture,
            'overlay': Image})
        camera = graph.camera()
        assert graph.spin(lambda: camera.get_subscription_count() == 5)
        frame = cv2.resize(picture(portrait), (1280, 720))  # of the size that DDS loses by default
        sent = []
        topics = ('faces', 'fatigue', 'emotion', 'posture', 'overlay')
        end = time.monotonic() + PATIENT_S
        while time.monotonic() < end and any(len(graph.heard[one]) < LEAST for one in topics):
            message = image(frame, 'bgr8', graph.tick())
            sent.append(graph.stamp)
            camera.publish(message)
            graph.rest(1 / 15)
        graph.rest(1.0)
        for topic in topics:
            stamps = {message.header.stamp.sec * 10 ** 9 + message.header.stamp.nanosec
                      for message in graph.heard[topic]}
            assert stamps <= set(sent), f'{topic} changed a stamp'
            # Drops under load are allowed here; `aitable bench ros` holds them to 1 %.
            assert len(stamps) >= LEAST, f'{topic}: {len(stamps)} of {len(sent)}'
        here = [one for one in graph.heard['fatigue']
                if one.validity != FatigueState.VALIDITY_NO_FACE]
        assert {one.track_id for one in here} == {
            face.track_id for message in graph.heard['faces'] for face in message.faces}
        bodies = [one for one in graph.heard['posture']
                  if one.validity != Posture.VALIDITY_NO_BODY]
        assert {one.track_id for one in bodies} <= {one.track_id for one in here}
        assert bodies
        drawn = graph.heard['overlay'][-1]
        pixels = np.frombuffer(drawn.data, np.uint8).reshape(720, 1280, 3)
        assert (np.abs(pixels.astype(int) - frame).max(axis=2) > 20).mean() > 0.02
    for name, process in nodes.items():
        assert ends(process, signal.SIGINT) == 0, name


@pytest.mark.parametrize(('name', 'number'), [
    ('pipeline', signal.SIGTERM), ('pipeline', signal.SIGINT)])
def test_a_signal_ends_it_with_status_0(models, start, name, number):
    process = start(name, '--ros-args', '-r', '__ns:=/room', *QUICK)
    assert says(process, '[room.emotion]: runs'), process.log.read_text()
    assert process.log.read_text().count('start check: ') == 1
    assert ends(process, number) == 0
    assert not _children(process.pid)


def _catches(pid, number):
    mask = _read(Path(f'/proc/{pid}/status')).partition('SigCgt:')[2].split()[:1]
    return bool(mask) and bool(int(mask[0], 16) >> (number - 1) & 1)


def test_a_signal_during_the_start_ends_it_too(models, start, environment_of_nodes):
    process = start('pipeline')
    end = time.monotonic() + PATIENT_S
    while not _catches(process.pid, signal.SIGTERM) and time.monotonic() < end:
        time.sleep(0.002)
    assert 'runs' not in process.log.read_text(), 'the models were not loaded yet'
    assert ends(process, signal.SIGINT) == 0


def _children(pid):
    return [path for path in Path('/proc').glob('[0-9]*/status')
            if f'PPid:\t{pid}\n' in _read(path)]


def _read(path):
    try:
        return path.read_text()
    except OSError:
        return ''


def test_it_ends_when_its_parent_does(models, tmp_path):
    log = tmp_path / 'log'
    parent = subprocess.Popen(
        [sys.executable, '-c', f"""
import subprocess, time
from aitable_ros.nodes.environment import child_environment
child = subprocess.Popen({command('emotion', '--ros-args', *QUICK)!r}, env=child_environment(),
                         stdout=open({str(log)!r}, 'w'), stderr=subprocess.STDOUT)
print(child.pid, flush=True)
time.sleep(600)
"""], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    end = time.monotonic() + PATIENT_S
    while 'runs' not in log.read_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert 'runs' in log.read_text()
    parent.kill()
    parent.wait()
    end = time.monotonic() + PATIENT_S
    while 'emotion' in _read(Path(f'/proc/{pid}/cmdline')) and time.monotonic() < end:
        time.sleep(0.05)
    assert 'emotion' not in _read(Path(f'/proc/{pid}/cmdline')), 'an orphan is left'


def _text(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    return str(path)


BAD = {
    'no such parameter file': (lambda p: ['--params-file', str(p / 'gone.yaml')], 'gone.yaml'),
    'a folder': (lambda p: ['--params-file', str(p)], 'cannot read'),
    'not YAML': (lambda p: ['--params-file', _text(p, 'x.yaml', 'a: [')], 'not valid YAML'),
    'not a parameter file': (
        lambda p: ['--params-file', _text(p, 'x.yaml', 'fatigue: 3')], 'ros__parameters'),
    'a value out of range': (lambda p: ['-p', 'closed_enter:=7.0'], "'closed_enter' must be"),
    'a value of the wrong type': (lambda p: ['-p', 'closed_enter:=wide'], 'takes a number'),
    'a missing model': (
        lambda p: ['-p', 'engine_path:=/nowhere/gone.onnx', '-p', 'fallbacks:=["gone"]'], 'gone'),
    'a wrong ROS argument': (lambda p: ['--no-such-thing'], 'no-such-thing'),
}


@pytest.fixture
def run_here(environment_of_nodes, capfd):
    """Run a program in this process; return its status and what it wrote to stderr."""
    def run(name, *arguments):
        try:
            status = getattr(executables, name)(arguments)
        except SystemExit as ended:  # argparse
            status = ended.code
        return status, capfd.readouterr().err
    return run


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_one_line_and_status_2(tmp_path, run_here, name):
    arguments, words = BAD[name]
    status, said = run_here('fatigue', '--ros-args', *arguments(tmp_path))
    assert status == 2, said
    line, = [line for line in said.splitlines() if line.startswith('fatigue: ')]
    assert words in line


def test_bad_input_of_a_process_is_one_line_and_status_2():
    """With what rcl and the interpreter would add at the end."""
    done = subprocess.run(
        command('fatigue', '--ros-args', '-p', 'closed_enter:=7.0'), capture_output=True, text=True,
        timeout=PATIENT_S)
    assert done.returncode == 2, done.stderr
    assert 'Traceback' not in done.stderr
    line, = [line for line in done.stderr.splitlines() if line.startswith('fatigue: ')]
    assert "'closed_enter' must be" in line


def test_the_container_needs_composition_interfaces(run_here):
    try:
        import composition_interfaces  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip('composition_interfaces is installed here')
    status, said = run_here('container')
    assert status == 2
    line, = [one for one in said.splitlines() if one.startswith('container: ')]
    assert 'composition_interfaces' in line


@pytest.mark.parametrize(('words', 'expected'), [
    (['--camera', 'left'], 'expected NAME=TOPIC'), (['--camera', 'a b=/x'], 'expected NAME=TOPIC'),
    (['--camera', 'a=/x', '--camera', 'a=/y'], "2 cameras are called 'a'"),
])
def test_a_camera_that_cannot_be_used_is_one_line_and_status_2(run_here, words, expected):
    status, said = run_here('pipeline', *words)
    assert status == 2
    assert expected in said.splitlines()[-1]


@pytest.mark.parametrize(('ros', 'expected'), [
    ([], ''), (['--ros-args', '-r', '__ns:=/robot'], '/robot'), (['-r', '__ns:=/a/b/'], '/a/b'),
    (['-r', '__ns:=/'], ''), (['-r', 'image:=/x', '-r', '__namespace:=/y'], '/y')])
def test_the_namespace_that_cameras_are_below(ros, expected):
    assert executables.namespace_of(ros) == expected


def test_several_cameras_share_a_process_and_stay_apart(models, portrait, start):
    process = start('pipeline', '--camera', 'left=/l/image', '--camera', 'right=/r/image',
                    '--ros-args', '-r', '__ns:=/robot', *QUICK)
    with Graph() as graph:
        assert says(process, '[robot.right.face_detector]: runs'), process.log.read_text()
        for side in ('left', 'right'):
            graph.listen(FaceArray, f'/robot/{side}/faces')
        frame = picture(portrait)
        for side, topic in (('left', '/l/image'), ('right', '/r/image')):
            camera = graph.camera(topic=topic)
            assert graph.matched(camera)
            answer = graph.answers(
                camera, image(frame, 'rgb8', graph.tick(), frame_id=side), f'/robot/{side}/faces')
            assert answer is not None
            assert answer.header.frame_id == side
            other = {'left': 'right', 'right': 'left'}[side]
            assert all(one.header.frame_id == other for one in graph.heard[f'/robot/{other}/faces'])
    assert ends(process, signal.SIGINT) == 0


def test_a_component_can_end_before_its_thread_has_begun():
    """An executor that was shut down on its way into its first wait never came back."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        for number in range(40):
            Spinner(rclpy.create_node(f'short_{number}', context=context), context).close()
    finally:
        rclpy.try_shutdown(context=context)


@pytest.mark.parametrize(('words', 'given'), [
    (('--image', '/cam/x'), ('--ros-args', '-r', 'image:=/cam/x')),
    (('--ros-args', '-r', 'image:=/cam/y'), ('--ros-args', '-r', 'image:=/cam/y')),
    (('--camera', 'a=/a', '--params-file', 'x.yaml'),
     ('--camera', 'a=/a', '--ros-args', '--params-file', 'x.yaml')),
])
def test_aitable_run_hands_its_arguments_on(monkeypatch, words, given):
    got = []
    monkeypatch.setattr(executables, 'pipeline', lambda arguments: got.extend(arguments) or 0)
    assert main(['run', *words]) == 0
    assert tuple(got) == given


def test_aitable_run_is_the_pipeline(models):
    process = subprocess.Popen(
        [sys.executable, '-m', 'aitable_ros', 'run', '--overlay', '--image', '/cam/x', '--ros-args',
         '-r', '__ns:=/room'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    graph = Graph()
    try:
        camera = graph.camera(topic='/cam/x')
        assert graph.spin(
            lambda: camera.get_subscription_count() or process.poll() is not None)
        assert process.poll() is None
    finally:
        graph.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENT_S) == 0


@pytest.mark.parametrize(('given', 'expected'), [
    ({}, True),
    ({'FASTDDS_DEFAULT_PROFILES_FILE': '/my/own.xml'}, False),
    ({'FASTRTPS_DEFAULT_PROFILES_FILE': '/my/own.xml'}, False),
    ({'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'}, False),
    ({'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}, False),
    ({'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp'}, True),
])
def test_sets_the_large_image_profile_unless_the_user_chose(given, expected):
    added = environment.additions(given)
    named = [added[name] for name in environment.PROFILE_VARIABLES if name in added]
    assert bool(named) is expected
    assert all(Path(path).is_file() for path in named)
    assert 'MALLOC_MMAP_THRESHOLD_' in added


def test_the_profile_suits_the_distribution():
    old, new = (environment.additions({'ROS_DISTRO': distro}) for distro in ('jazzy', 'kilted'))
    assert 'FASTRTPS_DEFAULT_PROFILES_FILE' in old
    assert 'FASTDDS_DEFAULT_PROFILES_FILE' in new
    assert not set(environment.PROFILE_VARIABLES) <= set(old)


def test_a_user_s_allocator_settings_stay():
    assert 'MALLOC_TOP_PAD_' not in environment.additions({'MALLOC_TOP_PAD_': '1'})


def test_cuda_gets_one_queue_unless_the_user_chose():
    name = 'CUDA_DEVICE_MAX_CONNECTIONS'
    assert environment.additions({})[name] == '1'
    assert name not in environment.additions({name: '8'})


def test_a_child_of_another_venv_finds_its_own_ros():
    base = {'_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1', 'LD_LIBRARY_PATH': '/ours', 'HOME': '/root'}
    same = environment.child_environment(base, python=sys.executable)
    other = environment.child_environment(base, python='/other/venv/bin/python')
    assert same['LD_LIBRARY_PATH'] == '/ours'
    assert 'LD_LIBRARY_PATH' not in other
    assert '_ROS_WHEELS_BOOTSTRAP_COMPLETE' not in other
    assert other['HOME'] == '/root'


def test_an_executable_restarts_itself_into_the_environment_it_needs(models, start):
    """The allocator reads its settings when a process starts."""
    needed = environment.ALLOCATOR
    process = start('emotion', '--ros-args', *QUICK, without=(
        *needed, *environment.PROFILE_VARIABLES))
    assert says(process, 'runs')
    seen = Path(f'/proc/{process.pid}/environ').read_text().split('\0')
    assert {f'{name}={value}' for name, value in needed.items()} <= set(seen)
    assert any('fastdds_large_images.xml' in entry for entry in seen)
    assert 1 < _shared_mib(process) < 4  # it publishes no images
    assert ends(process, signal.SIGTERM) == 0
    assert not _children(process.pid)


def test_who_publishes_images_has_room_for_them(start):
    process = start('overlay', '--ros-args')
    assert _shared_mib(process) >= 32
    assert ends(process, signal.SIGTERM) == 0


def _shared_mib(process):
    """Return the size of a process's own segment of Fast DDS, once it is there."""
    end = time.monotonic() + PATIENT_S
    while time.monotonic() < end and process.poll() is None:
        locked = set()
        for held in Path(f'/proc/{process.pid}/fd').iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                locked.add(str(held.readlink()).removesuffix('_el'))
        for line in Path(f'/proc/{process.pid}/maps').read_text().splitlines():
            span, *_, path = line.split(maxsplit=5)
            # It may also read the segments of others, but locks its own alone.
            if path in locked and path.startswith('/dev/shm/fast') and '_port' not in path:
                begin, to = (int(address, 16) for address in span.split('-'))
                return (to - begin) / 2 ** 20
        time.sleep(0.05)
    return 0.0


@pytest.mark.parametrize(('given', 'taken'), [
    ('config/fastdds_large_images.xml', 'fastdds_answers.xml'), ('/my/own.xml', 'own.xml')])
def test_the_smaller_profile_takes_the_place_of_ours_alone(monkeypatch, given, taken):
    for name in environment.PROFILE_VARIABLES:
        monkeypatch.setenv(name, str(ROOT / given))
    environment.send_little()
    assert {Path(os.environ[name]).name for name in environment.PROFILE_VARIABLES} == {taken}
    assert given.startswith('/') or Path(os.environ[environment.PROFILE_VARIABLES[0]]).is_file()


def test_what_loading_left_behind_goes_back_to_the_kernel():
    """The allocator settings keep it, so a child is given them."""
    code = """
from pathlib import Path
from aitable_ros.nodes import environment
pages = lambda: int(Path('/proc/self/statm').read_text().split()[1])
held = [bytes(1 << 20) for _ in range(64)] + [b'the end of the heap' * 1000]
del held[:64]
before = pages()
environment.give_memory_back()
print(before - pages())
"""
    done = subprocess.run(
        [sys.executable, '-c', code], env={**os.environ, **environment.ALLOCATOR},
        capture_output=True, text=True, check=True)
    assert int(done.stdout) * os.sysconf('SC_PAGE_SIZE') > 60 << 20
