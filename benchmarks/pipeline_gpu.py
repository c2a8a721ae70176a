# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The whole pipeline on TensorRT: crops cut by CPU and by GPU, ways to wait, by number of faces.

``python -m benchmarks.pipeline_gpu --output FILE`` on a machine with TensorRT and engines
(``aitable models all``). Blocks of all variants alternate; each begins with everybody forgotten,
and its first frames do not count. ``--params-file`` names other engines than config/jetson.yaml.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
import json
from pathlib import Path
import sys
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks import measure
from benchmarks.pictures import Crowd, SIZES
from benchmarks.stopwatch import STAGES, Stopwatch

VARIANTS = {
    'CPU cuts, spin': (0, 'spin'), 'CPU cuts, sleep': (0, 'sleep'), 'CPU cuts, nap': (0, 'nap'),
    'GPU cuts, spin': (1, 'spin'), 'GPU cuts, sleep': (1, 'sleep'), 'GPU cuts, nap': (1, 'nap'),
    'as it comes': (None, 'auto')}
"""Name -> way of cutting (None: measured at the start) and of waiting."""
FPS, NS = 30, 1_000_000_000
SETTLED, COUNTED = 45, 45
"""A second and a half: by then every face of the grid is found; frames with fewer do not count."""
FRAMES = 60


def main() -> int:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.pipeline_gpu', description=__doc__)
    parser.add_argument('--faces', type=int, nargs='+', default=[1, 2, 4, 8])
    parser.add_argument('--size', default='720p', choices=SIZES)
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--variants', nargs='+', default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument('--params-file', type=Path, default=measure.ROOT / 'config/jetson.yaml')
    parser.add_argument('--output', type=Path)
    args = parser.parse_args()
    from aitable_ros.nodes import environment

    environment.prepare()  # the allocator of a node: freed images stay in the heap
    import cv2

    cv2.setNumThreads(1)
    result: dict[str, Any] = {'machine': measure.machine(), 'size': args.size, 'rows': []}
    with Stopwatch() as watch, ExitStack() as opened:
        pipelines = {
            (name, everybody): opened.enter_context(_open(args.params_file, name, everybody))
            for name in args.variants for everybody in (False, True)}
        result['models'] = {stage: ' '.join((info.model, info.backend, info.precision)) for
                            stage, info in next(iter(pipelines.values())).models.items()}
        measure.say(str(result['models']))
        for faces in args.faces:
            crowd = Crowd(faces, SIZES[args.size])
            frames = [crowd(index).copy() for index in range(FRAMES)]
            result['rows'] += _row(faces, frames, pipelines, watch, args.rounds)
            _write(result, args.output)
        result['parity'] = {
            str(faces): _parity(next(iter(pipelines.values())), Crowd(faces, SIZES[args.size]))
            for faces in args.faces}
        _write(result, args.output)
    measure.say(json.dumps(result['parity']))
    return 0


def _write(result: dict[str, Any], output: Path | None) -> None:
    if output:
        output.write_text(json.dumps(result, indent=1) + '\n')


def _open(params: Path, variant: str, everybody: bool) -> Any:
    from aitable_ros.pipeline import Pipeline, PipelineOptions

    wait = VARIANTS[variant][1]
    options = PipelineOptions.from_file(params, lambda line: None)
    options = replace(
        options, face=replace(options.face, max_faces=8, wait=wait),
        fatigue=replace(options.fatigue, wait=wait), emotion=replace(options.emotion, wait=wait))
    return Pipeline(options.for_recordings if everybody else options)


def _cutting(variant: str) -> Any:
    """Take one way of cutting, while open; measure both where none is named."""
    from aitable_ros.face.faster_way import FasterWay

    way = VARIANTS[variant][0]
    return ExitStack() if way is None else patch.object(FasterWay, 'next', lambda self, kind: way)


def _row(
    faces: int, frames: list[NDArray[np.uint8]], pipelines: dict[tuple[str, bool], Any],
    watch: Stopwatch, rounds: int,
) -> list[dict[str, Any]]:
    keys = [key for key in pipelines if faces > 1 or not key[1]]
    samples: dict[tuple[str, bool], list[dict[str, float]]] = {key: [] for key in keys}
    for index in range(-1, rounds):
        for key in measure.rounds_order(keys, index):
            with _cutting(key[0]), patch('aitable_ros.face.faster_way.FasterWay.took', _untold) \
                    if VARIANTS[key[0]][0] is not None else ExitStack():
                got = _block(pipelines[key], frames, watch, faces)
            if index >= 0:
                samples[key] += got
    rows = []
    for (variant, everybody), found in samples.items():
        row = {
            'faces': faces, 'frames': len(found), 'frames_measured': COUNTED * rounds,
            'variant': variant, 'measured': 'everybody' if everybody else 'others in turn',
            **{name: measure.figures([one[name] for one in found])
               for name in ('wall', 'cpu', *STAGES)}}
        rows.append(row)
        measure.say(
            f'{faces} faces ({len(found)} of {COUNTED * rounds} frames had them), '
            f'{row["measured"]}, {variant}: {row["wall"].get("mean")} ms mean '
            f'({row["wall"].get("p50")} median), CPU {row["cpu"].get("mean")} ms; '
            + ', '.join(f'{stage} {row[stage].get("mean")}' for stage in STAGES))
    return rows


def _untold(*_: object) -> None:
    """Forget a time: the way is given."""


def _block(
    pipeline: Any, frames: list[NDArray[np.uint8]], watch: Stopwatch, faces: int,
) -> list[dict[str, float]]:
    pipeline.reset()
    found = []
    buffer = np.empty_like(frames[0])
    for index in range(SETTLED + COUNTED):
        buffer[...] = frames[index % len(frames)]  # as a camera's driver would have written it
        watch.lap()
        start, spent = perf_counter(), process_time()
        result = pipeline.process(buffer, NS + round(index * NS / FPS))
        wall, cpu = perf_counter() - start, process_time() - spent
        if index >= SETTLED and len(result.faces) == faces:
            found.append({'wall': wall * 1e3, 'cpu': cpu * 1e3, **watch.lap()})
    return found


def _parity(pipeline: Any, crowd: Crowd) -> dict[str, float]:
    """Compare landmarks and EAR on crops of the CPU and of the GPU: same frames, same regions."""
    from aitable_ros.face.faster_way import FasterWay
    from aitable_ros.face.mesh import FaceMesh, roi_from_landmarks

    pipeline.reset()
    mesh = FaceMesh(pipeline.fatigue._backend)
    pixels, ears = [], []
    for index in range(SETTLED + 30):
        image = crowd(index).copy()
        result = pipeline.process(image, NS + round(index * NS / FPS))
        rois = [roi_from_landmarks(one.landmarks) for one in result.faces if one.landmarks]
        if not rois or index < SETTLED:
            continue
        read = []
        for way in (0, 1):
            with patch.object(FasterWay, 'next', lambda self, kind, way=way: way), \
                    patch.object(FasterWay, 'took', _untold):
                read.append(mesh.read(image, np.stack(rois)))
        for one, other in zip(*read):
            pixels.append(np.abs(one.points - other.points)[:, :2].ravel())
            ears.append(abs(_ear(one.points) - _ear(other.points)))
    every = np.concatenate(pixels)
    return {'faces_read': len(ears), 'px_p50': round(float(np.median(every)), 4),
            'px_p99': round(float(np.percentile(every, 99)), 4),
            'px_max': round(float(every.max()), 4), 'ear_mean': round(float(np.mean(ears)), 5),
            'ear_p95': round(float(np.percentile(ears, 95)), 5),
            'ear_max': round(float(np.max(ears)), 5)}


def _ear(points: NDArray[np.float32]) -> float:
    """Soukupová & Čech 2016, mean of both eyes."""
    def one(indices: tuple[int, ...]) -> float:
        p1, p2, p3, p4, p5, p6 = points[list(indices), :2]
        return float((np.linalg.norm(p2 - p6) + np.linalg.norm(p3 - p5)) /
                     (2 * np.linalg.norm(p1 - p4)))
    return (one((362, 385, 387, 263, 373, 380)) + one((33, 160, 158, 133, 153, 144))) / 2


if __name__ == '__main__':
    sys.exit(main())
