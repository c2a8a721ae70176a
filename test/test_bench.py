# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""benchmarks/: each part runs and says what it measured; the page says what it did not."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
import re
import subprocess
import sys
import time

import numpy as np
from patience import PATIENT_S
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import chart  # noqa: E402
from benchmarks import measure  # noqa: E402
from benchmarks import race  # noqa: E402
from benchmarks import report  # noqa: E402
from benchmarks import tables  # noqa: E402
from benchmarks.stopwatch import Stopwatch  # noqa: E402


def bench(folder, *arguments):
    ended = subprocess.run(
        [sys.executable, '-m', 'benchmarks', '--quick', '--results', str(folder), *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=2 * PATIENT_S)
    assert ended.returncode == 0, ended.stderr
    return ended


ARGUMENTS = {
    'models': ('--models', 'fer', 'yolov8_face'),
    'stages': ('--sizes', '480p', '--faces', '1', '2', '--minutes', '0.02'),
    'peers': ('--subjects', 'aitable', 'opencv_haar', 'opencv_yunet', 'fer', '--frames', '20',
              '--size', '480p'),
    'messages': ('--sizes', '480p'),
    'graph': ('--only', 'imports', 'start')}


@pytest.fixture(scope='module')
def results(shared_folder):
    folder = shared_folder / 'bench'
    folder.mkdir(exist_ok=True)
    return folder


def result(folder, part):
    """Run a part, once in a test run; return its result."""
    path = folder / f'{part}.json'
    with path.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            bench(folder, part, *ARGUMENTS[part])
    return json.loads(path.read_text())


def test_models_tells_each_backend_and_batch_and_why_one_is_missing(results):
    found = result(results, 'models')
    rows = {(row['model'], row['backend'], row['precision']): row for row in found['rows']}
    openvino = rows['fer', 'openvino', 'fp32']
    assert set(openvino['batches']) == {'1', '2', '4', '8'}
    assert openvino['ratio']['1'] == 1
    assert rows['fer', 'onnxruntime', 'fp32']['batches']['1']['wall_ms']['p50'] > 0
    missing = rows['yolov8_face', 'openvino', 'fp32']
    assert 'batches' not in missing
    assert 'your own' in missing['skipped'] or 'not in' in missing['skipped']
    assert found['machine']['packages']['openvino']


def test_stages_add_up_and_see_every_face(results):
    found = result(results, 'stages')
    assert [(cell['faces'], cell['mode'], cell['found']) for cell in found['cells']] == [
        (1, 'default', 1), (2, 'default', 2), (2, 'all', 2)]
    for cell in found['cells']:
        mean = {stage: figures['mean'] for stage, figures in cell['tracking'].items()}
        assert sum(mean[stage] for stage in tables.STAGES) == pytest.approx(mean['whole'], rel=0.02)
        assert mean['mesh'] > mean['eyes'] > 0
        assert cell['first']['pipeline']['n'] == 1
    assert found['steady']['last']['wall_ms']['n'] == found['steady']['minute_frames'] == 18


def test_peers_read_the_same_frames_and_absent_ones_say_why(results):
    found = result(results, 'peers')
    rows = found['rows']
    assert rows['aitable']['wall_ms']['n'] == rows['opencv_haar']['wall_ms']['n'] == 20
    assert rows['aitable']['seen'] == 1
    assert rows['opencv_haar']['ours_over_this']['wall_p50'] == pytest.approx(
        rows['aitable']['wall_ms']['p50'] / rows['opencv_haar']['wall_ms']['p50'], rel=0.02)
    assert 'AITABLE_YUNET' in rows['opencv_yunet']['skipped']
    assert '--with-fer' in rows['fer']['skipped']
    assert found['must_hold'] == {'measured': False}


def test_messages_and_the_graph_from_its_start(results):
    found = result(results, 'messages')
    assert {'decode rgb8', 'serialize', 'FatigueState: serialize'} <= {
        row['what'] for row in found['rows']}
    found = result(results, 'graph')
    assert found['start']['starts'] == 1
    assert found['imports']['aitable_ros']['n'] == 1
    assert 'layouts' not in found


def test_the_tables_of_what_there_is(results):
    for part in ARGUMENTS:
        result(results, part)
    printed = bench(results, 'report').stdout
    assert 'A quick run: these figures are no good' in printed
    assert '| `fer` | openvino | fp32 |' in printed
    assert '480p' in printed
    assert 'first `FatigueState`' in printed
    assert printed.rstrip().endswith('Not measured.')  # no GPU's result is here


def test_a_peer_that_dies_is_left_out_with_its_last_output(tmp_path, monkeypatch):
    monkeypatch.setitem(race.PEERS, 'nobody', race._Peer('is not known to the worker'))
    block = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(race.PeerError, match='nobody'):
        race._Racer('nobody', Path(sys.executable), block, _written(tmp_path / 'block', block))


def _written(path, block):
    path.write_bytes(block.tobytes())
    return path


@pytest.mark.parametrize(('ours', 'theirs', 'median_holds', 'mean_holds'), [
    ((2.0, 2.5), (2.0, 2.4), True, False),  # as quick in the middle, slower when it looks
    ((1.0, 1.1), (2.0, 2.1), True, True),
    ((2.1, 1.0), (2.0, 2.1), False, True),
])
def test_the_verdict_is_told_by_median_and_by_mean(ours, theirs, median_holds, mean_holds):
    def row(figures):
        taken = {'p50': figures[0], 'mean': figures[1]}
        return {'wall_ms': taken, 'cpu_ms': taken}
    rows = {race.OURS: row(ours), race.RIVAL: row(theirs)}
    race._compare(rows)
    verdict = race._verdict(rows)
    assert (verdict['median_holds'], verdict['mean_holds']) == (median_holds, mean_holds)


def test_the_stopwatch_counts_each_moment_once(monkeypatch):
    watch = Stopwatch()
    inner = watch._wrapped('mesh', lambda: time.sleep(0.02))
    outer = watch._wrapped('fatigue', lambda: (inner(), time.sleep(0.01)))
    begin = time.perf_counter()
    outer()
    took_ms = 1e3 * (time.perf_counter() - begin)
    lap = watch.lap()
    assert lap['mesh'] >= 20
    assert lap['mesh'] + lap['fatigue'] <= took_ms
    assert lap['fatigue'] >= 9.9
    assert set(watch.lap().values()) == {0.0}


def test_figures_and_the_order_of_rounds():
    assert measure.figures([1.0, 2.0, 3.0, 4.0]) == {
        'n': 4, 'p50': 2.5, 'mean': 2.5, 'p95': 3.85, 'p99': 3.97}
    assert measure.figures([]) == {'n': 0}
    assert [measure.rounds_order('abc', index) for index in (0, 1, 3)] == [
        ['a', 'b', 'c'], ['b', 'c', 'a'], ['a', 'b', 'c']]


def test_every_place_of_the_page_has_a_table_and_every_plot_a_place():
    page = report.PAGE.read_text(encoding='utf-8')
    places = {match[2] for match in report.MARK.finditer(page)}
    assert places == set(tables.TABLES)
    assert set(re.findall(r'\((performance_\w+)\.svg\)', page)) == set(report._PLOTS)


def test_a_gpu_row_that_failed_says_so():
    table = tables.models_gpu({'at': 'now', 'about': {'tensorrt': {'device': 'a GPU'}}, 'tables': {
        'emonet, batch 1': {'ours': {'p50_ms': 1.0, 'p95_ms': 1.2},
                            'theirs': {'error': 'it ended'}}}})
    assert '| ours | 1.000 | 1.200 | – |' in table
    assert '| theirs | it ended |' in table


def test_charts_are_svg_with_everything_in_them():
    drawn = chart.bars('Bars & more', {'a': {'x': 1.0, 'y': 2.0}, 'b': {'x': 0.5}})
    assert drawn.count('<rect') == 1 + 2 + 3  # ground, legend, bars
    assert 'Bars &amp; more' in drawn
    assert '3 ms' in drawn
    curve = chart.lines('Lines', {'480p': [(30, 5), (60, 8)]}, 'Hz', 'ms')
    assert curve.count('<polyline') == 1
