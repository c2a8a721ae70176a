# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Part a: each model on each backend of this machine, by batch, one thread, interleaved."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

MODELS = ('blazeface_short', 'blazeface_full', 'facemesh', 'facemesh_468', 'fer', 'emonet_8')
WAYS = (('openvino', 'fp32'), ('openvino', 'bf16'), ('onnxruntime', 'fp32'), ('tensorrt', 'fp16'),
        ('tensorrt', 'fp32'))
BATCHES = (1, 2, 4, 8)
_ROUND_MS = 25.0
"""Of runs in a row: long enough for the caches to be this model's, short beside a disturbance."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the part's arguments."""
    parser.add_argument('--models', nargs='+', default=MODELS, metavar='NAME')
    parser.add_argument('--threads', type=int, default=1, help='of inference (default: 1)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns the result."""
    rounds = 4 if args.quick else 30
    rows: list[dict[str, Any]] = []
    with ExitStack() as opened:
        runs = []
        for model in args.models:
            for backend, precision in WAYS:
                row: dict[str, Any] = {'model': model, 'backend': backend, 'precision': precision}
                rows.append(row)
                loaded, row['skipped'] = _load(model, backend, precision, args.threads)
                if loaded is not None:
                    opened.callback(loaded.close)
                    row['precision'] = loaded.precision
                    row['batches'] = {}
                    runs += _prepare(row, loaded)
        for index in range(rounds):
            measure.say(f'models: round {index + 1} of {rounds}')
            for one in measure.rounds_order(runs, index):
                one.go()
        for one in runs:
            one.row['batches'][str(one.batch)] = {
                'wall_ms': measure.figures(one.wall), 'cpu_ms': measure.figures(one.cpu)}
    _compare(rows)
    return {'threads': args.threads, 'rounds': rounds, 'rows': rows}


class _Run:
    """One model, backend and batch."""

    def __init__(self, row: dict[str, Any], backend: Any, batch: int) -> None:
        self.row, self.batch = row, batch
        self.wall: list[float] = []
        self.cpu: list[float] = []
        noise = np.random.default_rng(0)
        inputs = {
            spec.name: noise.uniform(0, 1, [size or batch for size in spec.shape]).astype(
                spec.dtype) for spec in backend.inputs}
        self._call = lambda: backend.infer(inputs)
        first, _ = measure.timed(self._call, 3)
        self._runs = int(np.clip(_ROUND_MS / max(min(first), 1e-3), 2, 40))

    def go(self) -> None:
        """Take a round's samples; the first run of each only warms the caches."""
        self._call()
        wall, cpu = measure.timed(self._call, self._runs)
        self.wall += wall
        self.cpu += cpu


def _load(model: str, backend: str, precision: str, threads: int) -> tuple[Any, str]:
    """Load a model the way the pipeline does; return it, or None and the reason."""
    from aitable_ros.errors import InputError
    from aitable_ros.inference.chain import ModelOptions, resolve

    entry = model
    if backend == 'tensorrt':
        if not find_spec('tensorrt'):
            return None, 'TensorRT is not installed'
        entry = f'{model.removesuffix("_8")}_{precision}.engine'  # as `aitable models all` names it
    try:
        resolution = resolve(ModelOptions(
            model=entry, backend=backend, precision=precision, threads=threads,
            required=False))
    except InputError as error:
        return None, str(error)
    if resolution.backend is None:
        reason = '; '.join(attempt.reason for attempt in resolution.attempts)
        return None, reason.replace(str(Path.home()), '~')
    return resolution.backend, ''


def _prepare(row: dict[str, Any], backend: Any) -> list[_Run]:
    fixed = backend.inputs[0].shape[0]
    if fixed is not None:
        row['note'] = f'its batch is fixed at {fixed}'
    return [_Run(row, backend, batch) for batch in BATCHES if fixed in (None, batch)]


def _compare(rows: list[dict[str, Any]]) -> None:
    """Add to each row its median over that of the first backend that runs the model."""
    base: dict[str, dict[str, Any]] = {}
    for row in rows:
        if 'batches' not in row:
            continue
        first = base.setdefault(row['model'], row['batches'])
        row['ratio'] = {
            batch: round(cell['wall_ms']['p50'] / first[batch]['wall_ms']['p50'], 3)
            for batch, cell in row['batches'].items() if batch in first}
