# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Engines of TensorRT for RTX in the chain, on a stand-in of its runtime, which needs an RTX card.

What the real library parses and builds is in test_engines_rtx.py.
"""

from __future__ import annotations

from collections.abc import Iterator
import gc
import logging
from pathlib import Path
import sys

import numpy as np
import pytest
from tensorrt_standin.cuda import FakeGpu
from tensorrt_standin.harness import install, rewrite, TensorRTHere
from tensorrt_standin.surface import RTX_VERSION
from test_inference_backends import convolution

from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.tensorrt_rtx import runtime_cache_path, TensorRTRtxBackend

pytestmark = pytest.mark.filterwarnings('error::pytest.PytestUnraisableExceptionWarning')


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return convolution(tmp_path / 'small.onnx')


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A card of compute capability 8.9; afterwards nothing may be left on it."""
    found = install(monkeypatch, RTX_VERSION)
    found.compute_capability = (8, 9)
    yield found
    gc.collect()
    assert found.left() == []


@pytest.fixture
def engine(gpu: FakeGpu, small: Path, tmp_path: Path) -> Path:
    return TensorRTHere(RTX_VERSION, gpu, tmp_path).engine(small, tmp_path)


def images(count: int) -> dict[str, np.ndarray]:
    return {'image': np.random.default_rng(count).normal(size=(count, 3, 16, 16)).astype('f4')}


def test_gives_what_onnxruntime_gives_and_becomes_a_graph_once_its_kernels_are_made(
    gpu: FakeGpu, engine: Path, small: Path,
) -> None:
    with OnnxRuntimeBackend(small) as theirs, TensorRTRtxBackend(engine) as ours:
        assert (ours.name, ours.precision, ours.device) == ('tensorrt_rtx', 'fp32', 'cuda:0')
        assert (ours.inputs, ours.outputs) == (theirs.inputs, theirs.outputs)
        for count in (1, 1, 1, 3, 3, 9, 2):  # built for up to 4
            np.testing.assert_allclose(
                ours.infer(images(count))['out'], theirs.infer(images(count))['out'], atol=1e-5)
    assert (gpu.enqueued, gpu.launches) == (4, 5)  # 9 are run as 4, 4 and 1; four sizes in all


def test_what_was_made_for_the_card_is_kept_beside_the_engine(
    gpu: FakeGpu, engine: Path, caplog: pytest.LogCaptureFixture,
) -> None:
    kept = runtime_cache_path(engine)
    with TensorRTRtxBackend(engine) as backend:
        assert not kept.exists()
        backend.warm_up()
    first = kept.read_bytes()
    assert first.startswith(b'KERNELS Stand-in GPU|')
    assert first.count(b'|') == 1
    with TensorRTRtxBackend(engine) as backend:
        backend.warm_up()
        assert kept.read_bytes() == first
        for _ in range(2):
            backend.infer(images(3))  # two people come by
    assert kept.read_bytes().count(b'|') == 2
    kept.write_bytes(first)
    kept.write_bytes(b'KERNELS another GPU|x')
    with caplog.at_level(logging.INFO), TensorRTRtxBackend(engine) as backend:
        backend.warm_up()
    assert 'its kernels are compiled again' in caplog.text
    assert kept.read_bytes() == first


def test_a_folder_that_takes_no_cache_costs_only_time(
    engine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    runtime_cache_path(engine).mkdir()
    with caplog.at_level(logging.INFO), TensorRTRtxBackend(engine) as backend:
        backend.warm_up()
        backend.infer(images(2))
    assert caplog.text.count('are not kept') == 1


@pytest.mark.parametrize(('change', 'capability', 'says'), [
    ({}, (9, 0), 'built for compute capability 8.6, 8.9, here is 9.0 (Stand-in GPU); build it '),
    ({'tensorrt': '1.6.1.120'}, (8, 9),
     f'built for TensorRT for RTX 1.6.1.120, here is {RTX_VERSION}; rebuild it: '),
])
def test_an_engine_of_other_cards_or_another_version_is_told_before_it_is_loaded(
    gpu: FakeGpu, engine: Path, change: dict[str, str], capability: tuple[int, int], says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu.compute_capability = capability
    rewrite(engine, **change)
    monkeypatch.setattr(TensorRTRtxBackend, '_load', lambda *_: pytest.fail('it was loaded'))
    with pytest.raises(BackendError) as error:
        TensorRTRtxBackend(engine)
    assert says in str(error.value)
    assert '\n' not in str(error.value)


def test_without_a_sidecar_the_library_itself_refuses_another_card(
    gpu: FakeGpu, engine: Path,
) -> None:
    gpu.compute_capability = (9, 0)
    sidecars.sidecar_path(engine).unlink()
    with pytest.raises(BackendError, match='TensorRT for RTX cannot load it: it was built for'):
        TensorRTRtxBackend(engine)


def walk(**options: object) -> list[tuple[str, str]]:
    found = resolve(ModelOptions(required=False, **options))  # type: ignore[arg-type]
    if found.backend is not None:
        found.backend.close()
    return [(step.backend, step.reason) for step in found.attempts]


def test_the_sidecar_says_what_runs_an_engine_and_else_its_name(
    engine: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert walk(model=str(engine)) == [('tensorrt_rtx', '')]
    other = engine.with_name('other.engine')
    for path in (engine, sidecars.sidecar_path(engine)):
        path.rename(path.with_name(path.name.replace(engine.name, other.name)))
    assert walk(model=str(other)) == [('tensorrt_rtx', '')]
    sidecars.sidecar_path(other).unlink()
    assert walk(model=str(other)) == [('tensorrt', 'TensorRT is not installed')]
    other.rename(engine)
    assert walk(model=str(engine)) == [('tensorrt_rtx', '')]


def test_another_backend_that_is_asked_for_is_refused_by_name(engine: Path) -> None:
    ((_, reason),) = walk(model=str(engine), backend='tensorrt')
    assert reason == "backend 'tensorrt' does not run engines of TensorRT for RTX"
    assert walk(model=str(engine), backend='tensorrt_rtx') == [('tensorrt_rtx', '')]


def test_layers_are_timed_and_inspected(engine: Path) -> None:
    with TensorRTRtxBackend(engine) as backend:
        backend.warm_up()
        assert backend.profile_layers(images(2))
        assert '"Layers"' in backend.inspect()
        backend.infer(images(2))
