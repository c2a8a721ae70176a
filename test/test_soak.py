# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The soak's own parts: that its judges can say no, and that each of its scripts still runs."""

from __future__ import annotations

from dataclasses import replace
import gc
from itertools import pairwise
import json
import mmap
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
from patience import PATIENT_S
import pytest
from tensorrt_standin.harness import TensorRTHere
from test_inference_backends import convolution

from aitable_ros.types import Validity

BENCHMARKS = Path(__file__).resolve().parent.parent / 'benchmarks'
sys.path.insert(0, str(BENCHMARKS))

import gpu_soak  # noqa: E402
from process import Holding  # noqa: E402
import soak  # noqa: E402
import soak_faults  # noqa: E402
import soak_fuzz  # noqa: E402
from soak_hook import Order  # noqa: E402
from soak_hook import Orders  # noqa: E402
from soak_rig import Heard  # noqa: E402
import soak_rounds  # noqa: E402
import soak_trial as trial  # noqa: E402


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / 'soak.py'), *arguments], capture_output=True, text=True,
        timeout=PATIENT_S, check=False)


# --- steady ---------------------------------------------------------------------------------------

def _judged(**change: float) -> bool:
    """Judge five minutes in which one figure goes up by so much a minute."""
    samples = [
        soak.Sample(**{
            'time_s': 10.0 * k, 'rss_mb': 300.0, 'anonymous_mb': 200.0, 'threads': 20,
            'descriptors': 40, 'cpu_s': 4.0 * k,
            **{name: {'rss_mb': 300.0, 'threads': 20, 'descriptors': 40}[name] + step * k / 6
               for name, step in change.items() if name != 'answered'}})
        for k in range(31)]
    latency = SimpleNamespace(
        images=9000, answered=9000, answered_share=change.get('answered', 1.0),
        samples_ms={'fatigue': np.full(9000, 12.0)})
    return bool(soak.judge(samples, latency, 30.0)['passed'])


@pytest.mark.parametrize(('change', 'passed'), [
    ({}, True),
    ({'rss_mb': 1.0}, True),
    ({'rss_mb': 4.0}, False),  # 20 MB in five minutes
    ({'threads': 1.0}, False),
    ({'descriptors': 1.0}, False),
    ({'answered': 0.9}, False),
])
def test_what_grows_is_told(change: dict[str, float], passed: bool) -> None:
    assert _judged(**change) is passed


# --- faults ---------------------------------------------------------------------------------------

def test_every_fault_says_what_it_does() -> None:
    names = [fault.name for fault in soak_faults.FAULTS]
    assert len(set(names)) == len(names) >= 25
    assert all(fault.does and fault.act.__doc__ for fault in soak_faults.FAULTS)
    assert trial.select(['burst'])[0].name == 'burst'
    with pytest.raises(SystemExit, match='no such fault'):
        trial.select(['burst', 'brust'])


def test_those_that_start_alike_share_a_process() -> None:
    starts = [fault.start for fault in trial.select([])]
    changes = sum(before != after for before, after in pairwise(starts))
    assert changes == len(set(starts)) - 1


@pytest.mark.parametrize(('gap_s', 'stopped_s', 'back_s'), [
    (0.2, None, None), (3.0, 1.0, 0.0), (5.0, 1.0, 2.0)])
def test_when_answers_stop_and_come_back(
    gap_s: float, stopped_s: float | None, back_s: float | None,
) -> None:
    """The fault lasts from 10 to 14 s; answers stop at 11 s."""
    times = [*np.arange(5, 11.001, 0.033), *np.arange(11 + gap_s, 25, 0.033)]
    heard = [Heard(time, 0, 1, 0.5, int(Validity.VALID), False, '') for time in times]
    outcome = trial.Outcome('', '')
    trial._gap(outcome, heard, 10.0, 14.0)
    assert outcome.stopped_s == (stopped_s and pytest.approx(stopped_s, abs=0.05))
    assert outcome.back_s == (None if back_s is None else pytest.approx(back_s, abs=0.05))


@pytest.mark.parametrize(('change', 'words'), [
    ({}, ''),
    ({'others_lost': 30}, '30 of 300'),
    ({'person': ((1, 0.5), (2, 0.5))}, 'person 1 became 2'),
    ({'person': ((1, 0.5), (1, 0.1))}, 'window fell'),
    ({'back_s': 9.0}, '9.0 s after'),
    ({'log_lines': 99}, '99 warnings'),
    ({'worst': {'fatigue': 'OK'}}, 'at worst OK'),
    ({'grown': {'threads': 5.0}}, 'threads more'),
])
def test_what_is_not_recovered_is_told(change: dict[str, object], words: str) -> None:
    fault = next(one for one in soak_faults.FAULTS if one.name == 'camera_stops')
    outcome = trial.Outcome('', '', others=300, person=((1, 0.5), (1, 0.5)),
                            worst={'fatigue': 'STALE: no image'})
    for name, value in change.items():
        setattr(outcome, name, value)
    rig = SimpleNamespace(all_well=lambda: True, log=list)
    trial._judge(outcome, fault, rig, same=True)  # type: ignore[arg-type]
    assert outcome.recovered is not bool(words)
    assert words in ' '.join(outcome.missed)
    assert ('NOT RECOVERED' in trial.line(outcome)) is bool(words)


def test_an_order_is_carried_out_as_often_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / 'order.json'
    orders = Orders(path)
    assert orders.due(('throw',), 'facemesh', 'openvino') is None
    Order('throw', 'mesh', 'openvino', times=2).give(path)
    assert orders.due(('memory',), 'facemesh', 'openvino') is None
    assert orders.due(('throw',), 'fer', 'openvino') is None
    assert orders.due(('throw',), 'facemesh', 'onnxruntime') is None
    done = [orders.due(('throw', 'hang'), 'facemesh', 'openvino') for _ in range(4)]
    assert [one is not None for one in done] == [True, True, False, False]


@pytest.mark.slow
def test_a_fault_is_injected_and_recovered(models: Path, tmp_path: Path) -> None:
    output = tmp_path / 'faults.json'
    done = _run('faults', 'model_file_corrupt', '--size', 'vga', '--output', str(output))
    figures = json.loads(output.read_text())
    fault, = figures['faults']
    assert figures['of'] == 1
    assert fault['extra'].keys() == {'empty', 'random', 'cut', 'wrong', 'outside'}
    assert 'is empty' in fault['extra']['empty']
    assert fault['others'] > 30
    # How many images are lost is this machine's affair; that it counts them is ours.
    lost = [text for text in fault['missed'] if 'had no answer' not in text]
    assert not lost, lost
    assert (done.returncode == 0) is figures['passed'], done.stderr


# --- rounds ---------------------------------------------------------------------------------------

@pytest.mark.slow
def test_rounds_of_a_lifecycle_leave_nothing_behind(models: Path) -> None:
    """A few rounds are enough for threads and descriptors; memory needs a long soak."""
    figures = soak_rounds.run(4, 4, 4)
    for kind in ('transitions', 'loads', 'opens'):
        for name in ('threads', 'descriptors'):
            warm, last = figures[kind][name]
            assert last <= warm, (kind, figures)


@pytest.mark.parametrize(('change', 'passed'), [
    ({}, True), ({'rss_mb': 0.1}, True), ({'rss_mb': 1.0}, False), ({'threads': 1}, False),
    ({'descriptors': 1}, False)])
def test_what_a_round_leaves_behind_is_told(change: dict[str, float], passed: bool) -> None:
    first = Holding(rss_mb=200.0, anonymous_mb=100.0, threads=20, descriptors=30)
    held = [
        replace(first, **{name: getattr(first, name) + step * number
                          for name, step in change.items()})
        for number in range(20)]
    assert soak_rounds.compare(held)['passed'] is passed


# --- fuzz -----------------------------------------------------------------------------------------

def test_malformed_images_in_this_process(models: Path) -> None:
    figures = soak_fuzz._in_process(600, 7)
    assert figures['escaped'] == []
    assert figures['good'] == figures['good_answered'] == 2
    assert figures['fared']['size'] > 50
    assert not figures['fared']['failed']


def test_the_arguments() -> None:
    listed = _run('faults', '--list')
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == len(soak_faults.FAULTS)


# --- on the GPU, or its stand-in ------------------------------------------------------------------

@pytest.fixture
def small(tensorrt: TensorRTHere, tmp_path: Path) -> Path:
    return tensorrt.engine(convolution(tmp_path / 'small.onnx'), tmp_path)


@pytest.mark.parametrize('kind', gpu_soak.CYCLES)
def test_every_cycle_runs_and_leaves_nothing(
    tensorrt: TensorRTHere, small: Path, tmp_path: Path, kind: str,
) -> None:
    result = gpu_soak.cycles(SimpleNamespace(
        engines=[small], cycles=6, cycle=kind, output=tmp_path / 'result.json'))
    gpu_soak.opened.cache_clear()
    assert result['passed'], result
    assert result['cycles'] == 6
    gc.collect()
    assert tensorrt.real or tensorrt.gpu.left() == []


def test_what_we_hold_is_not_taken_for_tensorrt_s(
    tensorrt: TensorRTHere, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[mmap.mmap] = []

    def leaking(engine: Path) -> dict[str, Any]:
        """Hold new pages; the heap may still have freed ones, which would not show."""
        pages = mmap.mmap(-1, 4 << 20)
        pages.write(b'x' * len(pages))
        held.append(pages)
        return {}

    monkeypatch.setitem(gpu_soak.CYCLES, 'all', leaking)
    given = SimpleNamespace(engines=[small], cycles=10, cycle='all', output=tmp_path / 'x.json')
    assert not gpu_soak.cycles(given)['passed']
    monkeypatch.setitem(gpu_soak.CYCLES, 'engine', leaking)
    assert gpu_soak.cycles(given)['passed']
    monkeypatch.setitem(gpu_soak.CYCLES, 'graph', leaking)
    given.cycle = 'graph'
    assert not gpu_soak.cycles(given)['passed'], 'it loads no engine'


def test_models_at_once(tensorrt: TensorRTHere, small: Path, tmp_path: Path) -> None:
    result = gpu_soak.threads(SimpleNamespace(
        engines=[small, small], minutes=0.02, batch=1, output=tmp_path / 'result.json'))
    assert result['passed'], result
    assert result['models']['small_fp32']['runs'] > 0
