# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Real processes over real DDS: the camera, the nodes, and what happens when one of them goes."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

from films import write_film
import numpy as np
from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.clock import header_stamp_ns
from aitable_ros.tools import bench
from aitable_ros.tools.child_process import Child, ProcessError
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.tools.latency import Latency, stages
from aitable_ros.tools.live_graph import LiveGraph
from aitable_ros.types import Validity

AITABLE = [sys.executable, '-m', 'aitable_ros']
QUICK = Path(__file__).parent / 'data' / 'quick.yaml'
"""Parameters with which the models load in a tenth of the time; for what is not about models."""


def _demo(folder: Path, *arguments: str) -> list[str]:
    return [*AITABLE, 'demo', '--no-browser', '--output', str(folder / 'demo'), *arguments]


def _descendants(pid: int) -> dict[int, str]:
    """Return pid -> command line of every process below one."""
    parents: dict[int, list[int]] = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            parent = int(path.read_text().rpartition(')')[2].split()[1])
        except (OSError, IndexError):
            continue
        parents.setdefault(parent, []).append(int(path.parent.name))
    below = parents.get(pid, [])
    found = {child: _command(child) for child in below}
    for child in below:
        found.update(_descendants(child))
    return found


def _command(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\0', b' ').decode()
    except OSError:
        return ''


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


def test_the_camera_reaches_a_subscriber_in_another_process(tmp_path):
    """
    720p at 30 fps, best effort, as they were drawn and stamped.

    DDS loses 8 of 10 such images by default. `aitable bench ros` holds our losses to 1 %: here they
    are the machine's affair, too.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    record = tmp_path / 'camera.csv'
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node('viewer', context=context)
    stamps: list[int] = []
    first: list[Image] = []

    def see(message: Image) -> None:
        stamps.append(header_stamp_ns(message))
        if not first:
            first.append(message)
    node.create_subscription(Image, '/eye/camera/image_raw', see, qos_profile_sensor_data)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    camera = Child('camera', [
        sys.executable, '-m', 'aitable_ros.tools.camera', '--namespace', 'eye', '--seconds', '4',
        '--wait', '20', '--record', str(record)], tmp_path / 'camera.log')
    try:
        while camera.process.poll() is None:
            executor.spin_once(timeout_sec=0.2)
    finally:
        status = camera.end()
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    assert status == 0, camera.last_output()
    sent = np.array([int(line.split(',')[1]) for line in record.read_text().splitlines()[1:]])
    assert len(sent) == 120
    assert len(stamps) > 0.5 * len(sent)
    assert set(stamps) <= set(sent.tolist())
    assert (np.diff(sent) > 0).all()
    assert sent[-1] - sent[0] > 0.95 * 119e9 / 30, 'no faster, on the quickest machine'
    message = first[0]
    assert (message.width, message.height, message.step, message.encoding) == (
        1280, 720, 3840, 'rgb8')
    shown = np.frombuffer(message.data, np.uint8).reshape(720, 1280, 3)
    index = sent.tolist().index(header_stamp_ns(message))
    np.testing.assert_array_equal(shown, ScriptedClip(seconds=4).frame(index).image)


@pytest.mark.usefixtures('models')
def test_a_camera_that_is_killed_is_noticed_and_nothing_dies(tmp_path):
    from rosbags.rosbag2 import Reader

    with LiveGraph(
            tmp_path, camera=['--seconds', '30', '--size', 'vga'], parameters=QUICK,
            recording=tmp_path / 'bag', namespace='/killed') as graph:
        for _ in graph.run():
            if len(graph.received.fatigue) > 40:
                break
        assert graph.received.fatigue[-1].message.validity != Validity.NO_FACE
        graph.camera.process.kill()
        for _ in range(100):  # within a second, where the machine has time
            graph.listen(0.2)
            if graph.received.fatigue[-1].message.validity == Validity.NO_FACE:
                break
        assert graph.received.fatigue[-1].message.validity == Validity.NO_FACE
        assert graph.nodes.process.poll() is None
        sent = graph.sent()
        assert 0.8 < Latency(graph.received, sent).answered_share <= 1.0
        ran = stages(graph.received)
        assert [stage.stage for stage in ran] == ['face', 'mesh', 'emotion']
        assert all(stage.model and stage.backend for stage in ran)
        with pytest.raises(ProcessError, match='camera process was killed by signal 9'):
            list(graph.run())
    assert graph.exit_status == {'camera': -signal.SIGKILL, 'pipeline': 0}
    heard = {
        '/killed/faces': graph.received.faces, '/killed/fatigue': graph.received.fatigue,
        '/killed/emotion': graph.received.emotion, '/diagnostics': graph.received.diagnostics}
    with Reader(tmp_path / 'bag') as bag:
        counts = {topic: info.msgcount for topic, info in bag.topics.items()}
        types = {topic: info.msgtype for topic, info in bag.topics.items()}
    assert {topic: counts[topic] for topic in heard} == {
        topic: len(messages) for topic, messages in heard.items()}
    assert types['/killed/fatigue'] == 'aitable_msgs/msg/FatigueState'


@pytest.mark.usefixtures('models')
def test_nodes_that_die_end_everything_with_their_last_output(tmp_path):
    with pytest.raises(ProcessError, match='pipeline process was killed by signal 9') as caught:  # noqa: PT012, SIM117
        with LiveGraph(tmp_path, camera=['--seconds', '30', '--size', 'vga'], parameters=QUICK,
                       namespace='/dies') as graph:
            for _ in graph.run():
                if graph.received.fatigue:
                    graph.nodes.process.kill()
                    graph.nodes.process.wait()
    assert 'runs facemesh' in str(caught.value), 'the end of its log'
    assert graph.camera.process.returncode == 0


@pytest.mark.usefixtures('models')
@pytest.mark.parametrize(('number', 'status'), [
    (signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_signal_ends_the_demo_and_leaves_nobody(tmp_path, number, status):
    demo = subprocess.Popen(
        _demo(tmp_path, '--seconds', '30', '--size', 'vga', '--fps', '10',
              '--params-file', str(QUICK)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    record = tmp_path / 'demo' / 'camera.csv'
    try:
        assert _wait(lambda: record.is_file() and record.stat().st_size > 2000, PATIENT_S)
        children = _descendants(demo.pid)
        assert any('camera' in command for command in children.values())
        assert any('pipeline' in command for command in children.values())
        demo.send_signal(number)
        said, errors = demo.communicate(timeout=PATIENT_S)
    finally:
        demo.kill()
    assert demo.returncode == status, said + errors
    assert 'Traceback' not in errors
    assert (tmp_path / 'demo' / 'report.html').is_file() == (status == 0), 'of what was played'
    left: dict[int, str] = {}

    def gone() -> bool:
        left.clear()
        left.update({pid: name for pid, name in children.items() if _command(pid) == name})
        return not left
    assert _wait(gone, PATIENT_S), f'orphans: {left}'


@pytest.mark.parametrize(('arguments', 'says'), [
    (['--input', 'nowhere.mp4'], 'nowhere.mp4: no such file'),
    (['--input', 'text.mp4'], 'text.mp4'),
    (['--input', '97'], 'camera 97: cannot be opened'),
    (['--seconds', '2'], 'lasts 4 to 3600 seconds'),
    (['--seconds', 'nan'], '--seconds takes a number above 0'),
    (['--output', 'text.mp4'], 'text.mp4: cannot be a folder'),
    (['--fps', '-3'], '1 to 240 frames'),
    (['--params-file', 'absent.yaml'], 'absent.yaml'),
])
def test_bad_input_is_one_line_and_status_two(
        tmp_path, environment_of_nodes, monkeypatch, capfd, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.mp4').write_text('not a video')
    before = set(_descendants(os.getpid()))
    assert main(_demo(tmp_path, *arguments)[len(AITABLE):]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert says in line
    assert set(_descendants(os.getpid())) <= before, 'something still runs'


def test_missing_models_name_the_command(tmp_path):
    done = subprocess.run(
        _demo(tmp_path), capture_output=True, text=True, timeout=PATIENT_S,
        env={**os.environ, 'AITABLE_MODELS': str(tmp_path)})
    assert done.returncode == 2, 'of the process, too'
    (line,) = done.stderr.strip().splitlines()
    assert '`aitable models fetch`' in line


@pytest.mark.slow
@pytest.mark.usefixtures('models')
def test_the_demo_finds_what_a_20_s_clip_contains(tmp_path):
    done = subprocess.run(
        _demo(tmp_path, '--seconds', '20', '--size', 'vga', '--fps', '20', '--json'),
        capture_output=True, text=True, timeout=2 * PATIENT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    folder = tmp_path / 'demo'
    assert summary == json.loads((folder / 'summary.json').read_text())
    truth = json.loads((folder / 'truth.json').read_text())
    assert summary['passed'] is True
    assert len(summary['blinks']) == len(truth['blinks']) >= 3
    for found, scripted in zip(summary['blinks'], truth['blinks']):
        assert abs(found['start_frame'] - scripted['start_frame']) <= 2
    assert summary['events'] == {
        'BLINK': len(truth['blinks']), 'LONG_CLOSURE': 1, 'MICROSLEEP': 1, 'SLEEP': 0, 'YAWN': 0,
        'NOD': 0}
    assert summary['perclos'] == pytest.approx(truth['perclos'], abs=0.04)
    assert max(summary['expression_share'], key=summary['expression_share'].get) == 'happy'
    assert set(summary['backend']) == {'face', 'mesh', 'emotion'}
    assert summary['frames'] == 400
    assert summary['perclos'] == pytest.approx(summary['closed_s'] / summary['usable_s'], abs=1e-4)
    assert summary['closed_s'] <= summary['usable_s'] <= summary['duration_s']
    assert main([
        'evaluate', str(folder / 'recording'), '--from-topics', '--labels',
        str(folder / 'truth.json'), '--output', str(tmp_path / 'again')]) == 0
    again = json.loads((tmp_path / 'again' / 'summary.json').read_text())
    assert {key: summary[key] for key in again if key != 'input'} == {
        key: value for key, value in again.items() if key != 'input'}
    assert set(summary) - set(again) == {
        'answered', 'answered_share', 'latency_ms', 'verdict', 'passed'}
    page = (folder / 'report.html').read_text()
    assert 'data:image/jpeg;base64,' in page
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?:', page), 'opens offline'
    assert (folder / 'recording' / 'metadata.yaml').is_file()


@pytest.mark.usefixtures('models')
def test_a_video_without_truth_asks_for_a_face(tmp_path):
    """And for nothing else: the bag of ``test_evaluation_bag_graph.py`` has one, and passes."""
    video = write_film(tmp_path / 'own.avi', [np.full((360, 640, 3), 90, np.uint8)] * 30)
    done = subprocess.run(
        _demo(tmp_path, '--input', str(video), '--params-file', str(QUICK)), capture_output=True,
        text=True, timeout=PATIENT_S)
    assert done.returncode == 1, done.stdout + done.stderr
    summary = json.loads((tmp_path / 'demo' / 'summary.json').read_text())
    assert summary['frames'] == 30
    assert summary['face_ratio'] == 0
    assert [check['name'] for check in summary['verdict']] == ['faces']
    assert 'Traceback' not in done.stderr


@pytest.mark.usefixtures('models')
def test_two_demos_do_not_hear_each_other(tmp_path):
    other = Child('camera', [
        sys.executable, '-m', 'aitable_ros.tools.camera', '--namespace', 'twice',
        '--seconds', '30', '--size', 'vga', '--fps', '5'], tmp_path / 'other.log')
    try:
        with pytest.raises(ProcessError, match='another camera publishes on /twice/camera'):  # noqa: PT012, SIM117
            with LiveGraph(tmp_path, camera=['--seconds', '30'], parameters=QUICK,
                           namespace='/twice') as graph:
                for _ in graph.run():
                    pass
    finally:
        assert other.end() == 0


@pytest.mark.parametrize(('answered_share', 'p95_ms', 'passed'), [
    (1.0, 8.0, True), (0.99, 32.9, True), (0.989, 8.0, False), (1.0, 33.0, False),
    (0.0, float('nan'), False)])
def test_the_limits_of_the_bench(answered_share, p95_ms, passed):
    assert bench.within_limits(answered_share, p95_ms) is passed


@pytest.mark.parametrize(('p95_ms', 'status', 'word'), [(20.0, 0, 'pass'), (40.0, 1, 'FAIL')])
def test_the_status_of_the_bench(capsys, p95_ms, status, word):
    figures = {
        'size': '720p', 'fps': 30.0, 'frames': 120, 'answered': 120, 'answered_share': 1.0,
        'latency_ms': {'p50': 8.0, 'p95': p95_ms, 'p99': p95_ms}, 'processes': {}, 'backend': {},
        'passed': bench.within_limits(1.0, p95_ms)}
    assert bench.tell(figures, as_json=False) == status
    answered, latency = capsys.readouterr().out.splitlines()[1:]
    assert 'pass' in answered
    assert word in latency
    assert bench.tell(figures, as_json=True) == status
    assert json.loads(capsys.readouterr().out) == figures


@pytest.mark.slow
@pytest.mark.usefixtures('models')
def test_bench_measures_what_the_nodes_do():
    """Within limits that every machine keeps."""
    done = subprocess.run(
        [sys.executable, '-c', """
import sys
from aitable_ros.cli import main
from aitable_ros.tools import bench
bench.LEAST_ANSWERED, bench.MOST_P95_MS = 0.0, 1e9
sys.exit(main(['bench', 'ros', '--seconds', '4', '--json', *sys.argv[1:]]))
""", '--size', 'vga', '--params-file', str(QUICK)],
        capture_output=True, text=True, timeout=PATIENT_S)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures['passed'] is True
    assert figures['frames'] == 120
    assert 0 < figures['answered'] <= 120
    assert figures['answered_share'] == pytest.approx(figures['answered'] / 120, abs=1e-4)
    assert 0 < figures['latency_ms']['p50'] <= figures['latency_ms']['p95']
    assert set(figures['processes']) == {'pipeline', 'camera', 'listener'}
    for load in figures['processes'].values():
        assert load['cpu_percent'] > 0
        assert 20 < load['rss_mb'] <= load['peak_rss_mb'] < 4000
    assert figures['exit_status'] == {'camera': 0, 'pipeline': 0}
