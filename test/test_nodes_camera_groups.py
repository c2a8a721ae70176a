# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Many cameras: spread over processes that start, end and fail together; a full one says so."""

from contextlib import suppress
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.nodes import executables
from aitable_ros.nodes.camera_groups import grouped, PER_PROCESS
from aitable_ros.nodes.worker import Counts
from aitable_ros.nodes.worker_load import Load, LoadWatch


@pytest.mark.parametrize(('cameras', 'most', 'groups'), [
    ('', 4, []),
    ('abcd', 4, ['abcd']),
    ('abcde', 4, ['abc', 'de']),
    ('abcdefghi', 4, ['abc', 'def', 'ghi']),
    ('abc', 1, ['a', 'b', 'c']),
    ('abcdefgh', 0, ['abcdefgh']),
])
def test_cameras_are_spread_evenly_over_the_fewest_processes(cameras, most, groups):
    assert [''.join(group) for group in grouped(cameras, most)] == groups


def test_sixteen_cameras_take_eight_processes_by_default():
    assert [len(group) for group in grouped(range(16), PER_PROCESS)] == [2] * 8


def _loads(*counts):
    watch = LoadWatch()
    return [watch.look(float(second), Counts(*each)) for second, each in enumerate(counts)]


@pytest.mark.parametrize(('offered', 'dropped', 'worked_s', 'at_limit', 'why'), [
    (30, 0, 0.2, False, 'idle, and nothing lost'),
    (30, 15, 0.99, True, 'every second image is lost, and the worker never waits'),
    (30, 15, 0.5, False, 'one slow image in a while: the worker waits between them'),
    (30, 1, 0.99, False, 'busy, and hardly an image lost'),
    (0, 0, 1.0, False, 'no image came'),
])
def test_a_process_is_at_its_limit_where_it_is_busy_and_loses_images(
        offered, dropped, worked_s, at_limit, why):
    loads = _loads(*((second * offered, second * dropped, second * worked_s)
                     for second in range(8)))
    assert not any(load.at_limit for load in loads[:2]), 'too little was seen'
    assert loads[-1].at_limit is at_limit, why
    if offered:
        assert loads[-1].answered == pytest.approx(1 - dropped / offered)
        assert loads[-1].busy == pytest.approx(worked_s)


def test_the_load_is_that_of_the_last_seconds():
    full = [(30 * second, 20 * second, second) for second in range(6)]
    calm = [(150 + 30 * second, 100, 5.0 + 0.1 * second) for second in range(1, 7)]
    loads = _loads(*full, *calm)
    assert loads[5].at_limit
    assert loads[-1] == Load(answered=1.0, busy=pytest.approx(0.1))


def test_a_worker_that_replaced_another_counts_from_then_on():
    *_, load = _loads((0, 0, 0.0), (30, 20, 1.0), (60, 40, 2.0), (90, 60, 0.1), (120, 60, 0.2))
    assert load == Load(), 'too little was seen of the new one'


@pytest.mark.parametrize(('cameras', 'words'), [
    (8, ('8 cameras', f'cameras_per_process:={PER_PROCESS}', '--cameras-per-process')),
    (2, ('2 cameras', 'cameras_per_process:=1')),
    (1, ('one camera', 'smaller or fewer images')),
])
def test_the_line_names_the_process_and_the_remedy(cameras, words):
    line = Load(answered=0.507, busy=0.99).line(cameras)
    for word in (f'process {os.getpid()}', '51%', '99%', *words):
        assert word in line


@pytest.mark.parametrize(('arguments', 'words'), [
    (('--cameras-per-process', '1', '--container'), '--container'),
    (('--cameras-per-process', '-1'), 'whole number'),
    (('--camera', 'a=/c'), "2 cameras are called 'a'"),
    (('--image', '/c'), '--image /c: with --camera'),
])
def test_arguments_that_do_not_go_together(environment_of_nodes, capfd, arguments, words):
    """Of a process see ``test_a_process_that_refuses_its_input_ends_all_with_status_2``."""
    try:
        status = main(['run', '--camera', 'a=/a', '--camera', 'b=/b', *arguments])
    except SystemExit as ended:  # argparse
        status = ended.code
    assert status == 2
    assert words in capfd.readouterr().err


def test_aitable_run_passes_the_number_on(monkeypatch):
    heard: list[str] = []
    monkeypatch.setattr(executables, 'pipeline', lambda argv: heard.extend(argv) or 0)
    assert main(['run', '--camera', 'a=/a', '--cameras-per-process', '3']) == 0
    assert heard[:2] == ['--cameras-per-process', '3']


@pytest.fixture
def start(tmp_path):
    """Start two cameras in two processes; whatever still runs at the end is killed."""
    started = []

    def begin(*ros):
        log = (tmp_path / 'log').open('w')
        process = subprocess.Popen(
            [sys.executable, '-m', 'aitable_ros', 'run', '--camera', 'left=/l', '--camera',
             'right=/r', '--cameras-per-process', '1', '--ros-args', '-p', 'backend:=onnxruntime',
             *ros],
            stdout=log, stderr=subprocess.STDOUT)
        process.log = Path(log.name)
        started.append(process)
        return process
    yield begin
    for process in started:
        for pid in (*_children(process.pid), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _children(pid):
    found = Path(f'/proc/{pid}/task/{pid}/children')
    return [int(word) for word in found.read_text().split()] if found.exists() else []


def _runs(process, *names):
    end = time.monotonic() + PATIENT_S
    while time.monotonic() < end and process.poll() is None:
        said = process.log.read_text()
        if all(f'[{name}]: runs' in said for name in names):
            return True
        time.sleep(0.1)
    return False


def test_each_group_is_a_process_and_sigint_ends_all(models, start):
    process = start('-r', '__ns:=/robot')
    assert _runs(process, 'robot.left.emotion', 'robot.right.emotion'), process.log.read_text()
    children = _children(process.pid)
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENT_S) == 0
    assert not any(Path(f'/proc/{pid}').exists() for pid in children)
    assert 'Traceback' not in process.log.read_text()


def test_a_process_that_dies_ends_the_others_and_is_named(models, start):
    process = start()
    assert _runs(process, 'left.emotion', 'right.emotion'), process.log.read_text()
    children = _children(process.pid)
    os.kill(children[0], signal.SIGKILL)
    assert process.wait(PATIENT_S) == 1
    assert 'the process of left was ended by SIGKILL' in process.log.read_text()
    assert not Path(f'/proc/{children[1]}').exists()


def test_a_process_that_refuses_its_input_ends_all_with_status_2(models, start):
    process = start('-p', 'closed_enter:=7.0')
    assert process.wait(PATIENT_S) == 2
    assert "'closed_enter' must be" in process.log.read_text()
    assert 'Traceback' not in process.log.read_text()
