# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Many recordings: resumed, in several processes, on a cluster; and what fails on the way."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from films import write_film
import numpy as np
from patience import let_compute, PATIENT_S
from pyarrow import parquet
import pytest

from aitable_ros.cli import main
from aitable_ros.evaluation import batch
from aitable_ros.evaluation.batch import run_jobs
from aitable_ros.evaluation.job import Job
from aitable_ros.evaluation.summary import INTERRUPTED
from aitable_ros.tools.clip import ScriptedClip

NEEDS_RAY = pytest.mark.skipif(
    importlib.util.find_spec('ray') is None, reason='Ray is not installed here (an optional extra)')


QUICK = Path(__file__).parent / 'data' / 'quick.yaml'


def run(*arguments) -> int:
    return main(['evaluate', *map(str, arguments), '--params', str(QUICK)])


def items_of(clips, folder) -> list[Job]:
    return [Job(path=clip, output=folder / clip.stem, params=QUICK) for clip in clips]


def write_clip(path: Path, seed: int, seconds: float = 4.0, fps: float = 10.0) -> Path:
    clip = ScriptedClip(fps=fps, seconds=seconds, seed=seed, size=(640, 360))
    return write_film(path, (frame.image for frame, _ in clip), fps)


@pytest.fixture(scope='module')
def clips(models, once):
    """Make three recordings of different people's eyelids."""
    def write(folder):
        for seed in range(3):
            write_clip(folder / f'clip_{seed}.avi', seed)
    return sorted(once('batch_clips', write).glob('*.avi'))


@pytest.fixture(scope='module')
def short(models, once):
    """Make three recordings for what does not depend on their contents."""
    def write(folder):
        for seed in range(3):
            write_clip(folder / f'clip_{seed}.avi', seed, fps=2)
    return sorted(once('batch_short_clips', write).glob('*.avi'))


@pytest.fixture(scope='module')
def bad(once):
    """Make a file that is no recording."""
    return once('batch_bad', lambda folder: (folder / 'bad.avi').write_text('no video')) / 'bad.avi'


@pytest.fixture(scope='module')
def alone(clips, bad, once):
    """Evaluate all of them by one worker."""
    def evaluate(folder):
        assert run(clips[0], bad, *clips[1:], '--output', folder) == 2
    return once('batch_alone', evaluate)


def same(one: Path, two: Path) -> None:
    """Both folders hold the same results, bit for bit, but for the time that was spent."""
    names = sorted(path.parent.name for path in one.glob('*/summary.json'))
    assert names == sorted(path.parent.name for path in two.glob('*/summary.json'))
    for name in names:
        for file in ('summary.json', 'events.csv'):
            assert (one / name / file).read_bytes() == (two / name / file).read_bytes(), name
        tables = [parquet.read_table(folder / name / 'frames.parquet') for folder in (one, two)]
        timed = [column for column in tables[0].column_names if column.endswith('_ms')]
        a, b = (table.drop_columns(timed) for table in tables)
        for column in a.column_names:
            left, right = (
                np.array(table[column].to_pylist(), object).astype(str) for table in (a, b))
            assert (left == right).all(), (name, column)
    assert (one / 'summary.json').read_bytes() == (two / 'summary.json').read_bytes()


def test_two_workers_find_what_one_finds_and_one_that_cannot_be_read_stops_neither(
        clips, bad, alone, tmp_path, capsys):
    """Bit for bit."""
    assert run(clips[0], bad, *clips[1:], '--workers', 2, '--output', tmp_path) == 2
    assert 'bad.avi: not a video' in capsys.readouterr().err
    same(alone, tmp_path)
    together = json.loads((tmp_path / 'summary.json').read_text())
    assert [Path(entry['input']).name for entry in together['inputs']] == [
        'clip_0.avi', 'clip_1.avi', 'clip_2.avi']
    assert len(together['problems']) == 1
    assert (tmp_path / 'clip_2' / 'report.html').is_file()


class RecordedProgress:
    """Records the progress calls."""

    def __init__(self, on_begin=lambda index: None):
        self.begun, self.told, self.ended = [], [], []
        self._on_begin = on_begin

    def begin(self, index, name, frames, fps):
        self.begun.append(index)
        self._on_begin(index)

    def at(self, index, frames):
        self.told.append((index, frames))

    def end(self, index):
        self.ended.append(index)


def workers_of_this_process() -> list[int]:
    found = []
    for entry in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = entry.read_text().rpartition(')')[2].split()
            command = (entry.parent / 'cmdline').read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b'spawn_main' in command:
            found.append(int(entry.parent.name))
    return found


def test_a_worker_that_is_killed_is_replaced_and_its_recording_done_again(
        clips, alone, tmp_path):
    killed = []

    def kill_all_once(index):
        if not killed:
            killed.append(index)
            for pid in workers_of_this_process():
                os.kill(pid, signal.SIGKILL)

    progress = RecordedProgress(kill_all_once)
    items = items_of(clips, tmp_path)
    results = run_jobs(items, progress, workers=2)
    assert killed
    assert [done.problem for done in results] == ['', '', '']
    assert sorted(progress.ended) == [0, 1, 2]
    assert progress.begun.count(killed[0]) == 2
    assert progress.told
    for done, clip in zip(results, clips):
        alone_found = json.loads((alone / clip.stem / 'summary.json').read_text())
        assert done.summary == alone_found


def test_what_kills_every_worker_is_given_up(short, tmp_path):
    def kill_who_begins_the_first(index):
        if index == 0:
            for pid in workers_of_this_process():
                os.kill(pid, signal.SIGKILL)

    items = items_of(short[:2], tmp_path)
    results = run_jobs(items, RecordedProgress(kill_who_begins_the_first), workers=2)
    assert 'failed 2 times: its worker was killed by signal 9' in results[0].problem
    assert results[0].summary is None


@pytest.mark.parametrize(('workers', 'when'), [(2, 1), (2, 3), (1, 3)])
def test_ctrl_c_while_a_result_is_kept_loses_nothing_and_waits_for_nobody(
        clips, short, tmp_path, monkeypatch, workers, when):
    """It once waited a minute for the worker of that result, or ended with a traceback."""
    monkeypatch.setattr(batch, 'STOP_TIMEOUT_S', 1000.0)  # longer than a test may take
    class Interrupted(RecordedProgress):
        def end(self, index):
            super().end(index)
            if len(self.ended) == when:
                os.kill(os.getpid(), signal.SIGINT)

    items = items_of(short if when == 3 else clips, tmp_path)
    progress = Interrupted()
    handler = signal.getsignal(signal.SIGINT)
    results = run_jobs(items, progress, workers=workers)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not workers_of_this_process()
    assert results[progress.ended[0]].problem == ''
    problems = [done and done.problem for done in results]
    assert (INTERRUPTED in problems) is (when < 3), problems


def test_what_was_done_is_not_done_again(short, tmp_path, capsys):
    some = [shutil.copy(clip, tmp_path) for clip in short[:2]]
    assert run(*some, '--output', tmp_path) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob('*/report.html')}
    capsys.readouterr()
    assert run(*some, '--output', tmp_path) == 0
    assert '2 of 2 were finished by an earlier run' in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob('*/report.html')}
    labels = tmp_path / 'labels'
    labels.mkdir()
    (labels / 'clip_0.json').write_text('{"blinks": []}')
    assert run(*some, '--labels', labels, '--output', tmp_path) == 0  # other labels: clip_0 again
    assert '1 of 2 were finished' in capsys.readouterr().err
    after = {path: path.stat().st_mtime_ns for path in before}
    assert [path.parent.name for path in before if before[path] != after[path]] == ['clip_0']
    Path(some[1]).touch()
    assert run(*some, '--labels', labels, '--output', tmp_path) == 0
    assert '1 of 2 were finished' in capsys.readouterr().err
    assert run(*some, '--labels', labels, '--output', tmp_path, '--again') == 0
    assert 'finished' not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
def test_ctrl_c_keeps_what_is_there_and_the_next_run_does_the_rest(
        models, tmp_path, capsys, workers):
    first = write_clip(tmp_path / 'first.avi', 9, fps=2)
    long = [write_clip(tmp_path / 'long_0.avi', 8, 10)]
    long += [shutil.copy(long[0], tmp_path / 'long_1.avi')]
    command = [
        sys.executable, '-m', 'aitable_ros', 'evaluate', str(first), *map(str, long), '--workers',
        str(workers), '--output', str(tmp_path / 'out'), '--params', str(QUICK)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True)
    deadline = time.monotonic() + PATIENT_S
    while not (tmp_path / 'out' / 'first' / 'done.json').exists() or not list(
            (tmp_path / 'out').glob('long_*/.frames.parquet.part')):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    let_compute(process, 0.3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, error = process.communicate(timeout=PATIENT_S)
    assert process.returncode == 130, error
    assert 'Traceback' not in error
    partial = [
        why for path in (tmp_path / 'out').glob('long_*/summary.json')
        if (why := json.loads(path.read_text())['partial'])]
    assert partial
    assert all(INTERRUPTED in why for why in partial)
    finished = len(list((tmp_path / 'out').glob('*/done.json')))
    assert 1 <= finished < 3
    assert run(first, *long, '--output', tmp_path / 'out') == 0
    assert f'{finished} of 3 were finished by an earlier run' in capsys.readouterr().err
    together = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert [entry['frames'] for entry in together['inputs']] == [8, 100, 100]
    assert not any(entry['partial'] for entry in together['inputs'])


@pytest.mark.parametrize(('arguments', 'said'), [
    (('--workers', 0), '--workers takes a number from 1'),
    (('--cluster', '127.0.0.1:1'), 'needs Ray, which is not installed'
     if importlib.util.find_spec('ray') is None else 'no Ray cluster answers there'),
])
def test_bad_arguments_are_one_line(short, tmp_path, capsys, arguments, said):
    assert run(*short[:2], *arguments, '--output', tmp_path) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert '\n' not in error


@NEEDS_RAY
@pytest.mark.slow
def test_a_local_cluster_finds_what_one_worker_finds(clips, bad, alone, tmp_path):
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 2})
    try:
        assert run(clips[0], bad, *clips[1:], '--cluster', cluster.address,
                   '--output', tmp_path / 'out') == 2
        same(alone, tmp_path / 'out')
        progress = RecordedProgress()
        items = items_of((clips[0], bad), tmp_path / 'two')
        good, wrong = run_jobs(items, progress, cluster=cluster.address)
        assert good.problem == ''
        assert 'bad.avi: not a video' in wrong.problem
        assert 0 in progress.begun
    finally:
        ray.shutdown()
        cluster.shutdown()
