# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Where a model's time goes: as a whole, by batch, by layer, and the memory that it takes.

As a whole is what the pipeline waits for: inputs in host memory to outputs in host memory. Layers
come from the runtime's own profiler, in a run of their own, as looking at them slows them down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import os
from pathlib import Path
import platform
import shlex
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.engines.layer_times import layers_of, LayerTime
from aitable_ros.engines.model_inputs import ModelInputs
from aitable_ros.errors import InputError
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.protocol import Backend, BackendError, Tensors
from aitable_ros.inference.tensorrt_library import RTX

WARM_UP = 20
"""Runs before the measurement: clocks rise, caches fill, CUDA graphs are captured."""
LEAST = 20
"""Fewest measured runs, however long they take: of fewer, a p95 is the maximum."""
LAYER_RUNS = 10
"""Runs over which the time of a layer is averaged."""


@dataclass(frozen=True, slots=True)
class Timing:
    """
    Run times of one batch size.

    :param n: measured runs
    :param seconds: sum of their times
    :param per_second: rows per second
    :param refused: why the model does not run this batch; empty if it does
    """

    batch: int
    n: int = 0
    seconds: float = 0.0
    p50_ms: float = float('nan')
    p95_ms: float = float('nan')
    p99_ms: float = float('nan')
    per_second: float = float('nan')
    refused: str = ''


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """
    Latency, throughput, memory and layers of a model.

    :param timings: by batch
    :param layers: slowest first; mean run of batch 1
    :param layers_note: source of the figures, or why there are none
    :param host_bytes: growth of the process by loading and running the model
    :param device_bytes: GPU memory; None if the backend does not report it
    :param inputs: ``real`` or ``noise``
    :param hints: commands for a closer look
    """

    model: str
    backend: str
    precision: str
    device: str
    machine: str
    threads: int
    inputs: str
    timings: tuple[Timing, ...]
    layers: tuple[LayerTime, ...]
    layers_note: str
    host_bytes: int
    device_bytes: int | None
    hints: tuple[str, ...]

    @property
    def kinds(self) -> dict[str, tuple[int, float]]:
        """Number and milliseconds of the layers of each kind, slowest first."""
        sums: dict[str, tuple[int, float]] = {}
        for layer in self.layers:
            count, spent = sums.get(layer.kind, (0, 0.0))
            sums[layer.kind] = count + 1, spent + layer.ms
        return dict(sorted(sums.items(), key=lambda item: -item[1][1]))

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON; a figure that was not measured is None."""
        return {
            **asdict(self),
            'timings': [{key: None if value != value else value
                         for key, value in asdict(timing).items()} for timing in self.timings],
            'kinds': {kind: {'layers': count, 'ms': spent}
                      for kind, (count, spent) in self.kinds.items()}}

    def table(self, layers: int = 15) -> str:
        """
        Return a text.

        :param layers: number of slowest layers to list
        """
        lines = [
            f'{self.model} on {self.backend}, {self.precision}, {self.device}, {self.machine}, '
            f'threads {self.threads or "auto"}, {self.inputs} inputs',
            f'{"batch":>6}{"p50 ms":>10}{"p95 ms":>10}{"p99 ms":>10}{"rows/s":>10}{"runs":>8}']
        lines += [
            f'{timing.batch:6}  {timing.refused}' if timing.refused else
            f'{timing.batch:6}{timing.p50_ms:10.3f}{timing.p95_ms:10.3f}{timing.p99_ms:10.3f}'
            f'{timing.per_second:10.0f}{timing.n:8}' for timing in self.timings]
        memory = f'memory: host +{self.host_bytes / 1e6:.0f} MB'
        if self.device_bytes is not None:
            memory += f', device {self.device_bytes / 1e6:.0f} MB'
        lines += [memory, f'layers: {self.layers_note}']
        total = sum(layer.ms for layer in self.layers) or 1.0
        lines += [f'{spent:10.3f} ms {spent / total:6.1%} {count:5} {kind}'
                  for kind, (count, spent) in self.kinds.items()]
        if self.layers:
            lines.append(f'slowest {min(layers, len(self.layers))} of {len(self.layers)}:')
        lines += [f'{layer.ms:10.3f} ms {layer.precision:5} {layer.kind:12} {layer.name[:100]}'
                  for layer in self.layers[:layers]]
        return '\n'.join([*lines, *(f'deeper: {hint}' for hint in self.hints)])


def profile(
    path: Path, *, crops: ModelInputs | None = None, batches: Sequence[int] = (1,),
    seconds: float = 2.0, backend: str = 'auto', precision: str = 'auto', threads: int = 0,
    device_id: int = 0,
    layers: bool = True,
) -> Profile:
    """
    Measure a model.

    :param path: a ``.engine`` or ``.onnx`` file
    :param crops: real inputs; default: noise, which costs the same but for models that branch
    :param batches: batch sizes, in rows
    :param seconds: of runs that count, for each batch size; at least :data:`LEAST` runs
    :param layers: also the time of each layer
    :raises InputError: it cannot be loaded
    """
    if not batches or min(batches) < 1 or not seconds > 0:
        raise InputError('profile needs batch sizes of at least 1 and a time of more than 0')
    before = _resident()
    with _open(path, backend, precision, threads, device_id) as opened:
        timings = tuple(_timed(opened, crops, batch, seconds) for batch in batches)
        host = max(0, _resident() - before)
        found, note = layers_of(
            opened, path, _inputs(opened, crops, batches[0]), threads, LAYER_RUNS) \
            if layers else ([], 'not asked for')
        return Profile(
            model=opened.model, backend=opened.name, precision=opened.precision,
            device=opened.device, machine=f'{platform.node()} {platform.machine()}',
            threads=threads, inputs='real' if crops else 'noise', timings=timings,
            layers=tuple(sorted(found, key=lambda layer: -layer.ms)), layers_note=note,
            host_bytes=host, device_bytes=_device_bytes(opened),
            hints=hints(path, opened, batches[0]))


def hints(path: Path, backend: Backend, batch: int = 1) -> tuple[str, ...]:
    """Return the commands that look deeper with the runtimes' own tools, ready to be pasted."""
    file = shlex.quote(str(path))
    shapes = ' '.join(
        shlex.quote(f'{spec.name}:{"x".join(str(size or batch) for size in spec.shape)}')
        for spec in backend.inputs)
    listed = ' '.join(
        shlex.quote(f'{spec.name}:[{",".join(str(size or batch) for size in spec.shape)}]')
        for spec in backend.inputs)
    if backend.name == RTX.name:
        return (f'tensorrt_rtx --loadEngine={file} --shapes={shapes.replace(" ", ",")}',)
    if path.suffix.lower() in ('.engine', '.plan'):
        return (
            f'trtexec --loadEngine={file} --shapes={shapes.replace(" ", ",")} --useCudaGraph '
            '--noDataTransfers --separateProfileRun --dumpProfile --dumpLayerInfo '
            '--profilingVerbosity=detailed --exportProfile=profile.json',
            f'polygraphy inspect model {file} --model-type engine --show layers attrs',
            f'nsys profile -o model --cuda-graph-trace=node trtexec --loadEngine={file} '
            f'--shapes={shapes.replace(" ", ",")} --iterations=50')
    return (
        f'polygraphy run {file} --trt --onnxrt --input-shapes {listed} --atol 1e-3',
        f'polygraphy inspect model {file} --show layers attrs',
        f'trtexec --onnx={file} --shapes={shapes.replace(" ", ",")} --fp16 --dumpProfile '
        '--separateProfileRun --profilingVerbosity=detailed')


def _open(
    path: Path, backend: str, precision: str, threads: int, device_id: int,
) -> Backend:
    found = resolve(ModelOptions(
        model=str(path.absolute()), backend=backend, precision=precision, threads=threads,
        device_id=device_id)).backend
    assert found is not None
    return found


def _inputs(backend: Backend, crops: ModelInputs | None, batch: int) -> dict[str, NDArray[Any]]:
    noise = np.random.default_rng(0)
    made = {}
    for spec in backend.inputs:
        shape = [size or batch for size in spec.shape]
        if crops is not None:
            rows = crops.inputs[spec.name]
            value = np.resize(rows, (shape[0], *rows.shape[1:]))
        else:
            value = noise.uniform(0, 1, shape) * (255 if spec.dtype.kind in 'iu' else 1)
        made[spec.name] = np.ascontiguousarray(value, spec.dtype)
    return made


def _timed(backend: Backend, crops: ModelInputs | None, batch: int, seconds: float) -> Timing:
    fixed = backend.inputs[0].shape[0]
    if fixed not in (None, batch):
        return Timing(batch, refused=f'its batch is fixed at {fixed}')
    inputs: Tensors = _inputs(backend, crops, batch)
    try:
        for _ in range(WARM_UP):
            backend.infer(inputs)
        spent: list[float] = []
        began = perf_counter()
        while len(spent) < LEAST or perf_counter() - began < seconds:
            start = perf_counter()
            backend.infer(inputs)
            spent.append(perf_counter() - start)
    except BackendError as error:
        return Timing(batch, refused=str(error))
    total = sum(spent)
    p50, p95, p99 = (float(np.percentile(spent, percent)) * 1e3 for percent in (50, 95, 99))
    return Timing(batch, len(spent), total, p50, p95, p99, batch * len(spent) / total)


def _resident() -> int:
    """Return the bytes of this process that are in memory."""
    pages = Path('/proc/self/statm').read_text(encoding='ascii').split()[1]
    return int(pages) * os.sysconf('SC_PAGE_SIZE')


def _device_bytes(backend: Backend) -> int | None:
    """Return what the backend says it takes on the GPU."""
    memory: Callable[[], int] | None = getattr(backend, 'memory', None)
    return memory() if memory else None
