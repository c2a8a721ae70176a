# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Part b: the pipeline per frame, by stage, size and number of faces; and whether it stays as quick.

A block of a cell begins with everybody forgotten: its first frame is a *first* frame, the ones
after the first third of a second are *tracking* frames. Blocks of all cells alternate.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass, field, replace
from time import perf_counter, process_time
from typing import Any

from benchmarks import measure
from benchmarks.pictures import Clip, Crowd, SIZES
from benchmarks.stopwatch import STAGES, Stopwatch

FPS = 30
SETTLED = 10
"""Frames of a block that are neither first nor tracking: a second look, the first readings."""
COUNTED = 40
"""Tracking frames of a block: four regular looks of the detector, six or seven of emotion."""
QUICK_COUNTED = 10
"""The same of a quick run: one look."""
MISSED = 0.02
"""Faces that may be missing in the mean of a cell that counts for its number of faces."""
MODES = {
    'default': 'the others measured 15 times a second, in turn (fatigue.others_fps)',
    'all': 'everybody measured in every image'}
NS = 1_000_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the part's arguments."""
    parser.add_argument('--sizes', nargs='+', default=list(SIZES), choices=SIZES)
    parser.add_argument('--faces', nargs='+', type=int, default=[1, 2, 4, 8], choices=[1, 2, 4, 8])
    parser.add_argument('--rounds', type=int, help='of all cells (default: 12; quick: 1)')
    parser.add_argument(
        '--minutes', type=float, help='of image time in the long run (default: 10; quick: 0.2)')


@dataclass(slots=True)
class _Cell:
    """One size, number of faces and mode."""

    size: str
    faces: int
    mode: str
    pictures: Crowd
    first: list[dict[str, float]] = field(default_factory=list)
    tracking: list[dict[str, float]] = field(default_factory=list)
    found: list[int] = field(default_factory=list)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns the result."""
    import cv2

    from aitable_ros.pipeline import Pipeline, PipelineOptions

    cv2.setNumThreads(1)
    rounds = args.rounds or (1 if args.quick else 12)
    counted = QUICK_COUNTED if args.quick else COUNTED
    edges = _Edges()
    cells = [
        _Cell(size, faces, mode, Crowd(faces, SIZES[size])) for size in args.sizes
        for faces in args.faces for mode in (MODES if faces > 1 else ('default',))]
    options = PipelineOptions()
    options = replace(options, face=replace(options.face, max_faces=8))
    with Stopwatch() as watch, Pipeline(options) as default, \
            Pipeline(options.for_recordings) as everybody:
        pipelines = {'default': default, 'all': everybody}
        models = {name: ' '.join((info.model, info.backend, info.precision))
                  for name, info in default.models.items()}
        for index in range(-1, rounds):  # the round before the first warms up
            measure.say(f'stages: round {index + 1} of {rounds}')
            for cell in measure.rounds_order(cells, index):
                _block(cell, pipelines[cell.mode], watch, edges, counted, keep=index >= 0)
        minutes = args.minutes or (0.2 if args.quick else 10.0)
        measure.say(f'stages: {minutes:g} minutes of images in a row')
        steady = _steady(default, minutes)
    return {
        'rounds': rounds, 'modes': MODES, 'models': models, 'edges': edges.note,
        'cells': [_summary(cell) for cell in cells], 'growth': _growth(cells), 'steady': steady}


def _block(
    cell: _Cell, pipeline: Any, watch: Stopwatch, edges: _Edges, counted: int, *, keep: bool,
) -> None:
    from aitable_ros.types import Frame

    pipeline.reset()
    for index in range(1 + SETTLED + counted):
        image = cell.pictures(index)
        message = edges.image(image)
        stamp_ns = NS + round(index * NS / FPS)
        watch.lap()
        start, spent = perf_counter(), process_time()
        frame = edges.decode(message, stamp_ns) or Frame(image, stamp_ns, 'camera')
        decoded = perf_counter()
        result = pipeline.process_frame(frame)
        processed = perf_counter()
        edges.answer(frame, result)
        end, end_cpu = perf_counter(), process_time()
        sample = watch.lap()
        sample |= {
            'decode': (decoded - start) * 1e3, 'message': (end - processed) * 1e3,
            'pipeline': (processed - decoded) * 1e3, 'whole': (end - start) * 1e3,
            'cpu': (end_cpu - spent) * 1e3}
        sample['rest'] = sample['pipeline'] - sum(sample[stage] for stage in STAGES)
        if keep and index == 0:
            cell.first.append(sample)
        elif keep and index > SETTLED:
            cell.tracking.append(sample)
            cell.found.append(len(result.faces))


def _summary(cell: _Cell) -> dict[str, Any]:
    def by_stage(samples: list[dict[str, float]]) -> dict[str, Any]:
        return {stage: measure.figures([sample[stage] for sample in samples])
                for stage in (samples[0] if samples else ())}

    return {
        'size': cell.size, 'faces': cell.faces, 'mode': cell.mode,
        'found': round(_found(cell), 2),
        'first': {stage: by_stage(cell.first)[stage] for stage in ('pipeline', 'whole')},
        'tracking': by_stage(cell.tracking)}


def _found(cell: _Cell) -> float:
    """Return the mean number of faces found."""
    return sum(cell.found) / max(len(cell.found), 1)


def _growth(cells: list[_Cell]) -> list[dict[str, Any]]:
    """
    Return what so many faces cost over what one does, of the pipeline's mean by frame.

    Cells in which other numbers of faces were found say nothing about these, and are left out.
    """
    means: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for cell in cells:
        if abs(_found(cell) - cell.faces) > MISSED:
            continue
        mean = sum(sample['pipeline'] for sample in cell.tracking) / max(len(cell.tracking), 1)
        for mode in MODES if cell.faces == 1 else (cell.mode,):
            means[cell.size, mode][cell.faces] = mean
    return [
        {'size': size, 'mode': mode,
         'over_one': {str(faces): round(mean / by_faces[1], 3) for faces, mean in by_faces.items()}}
        for (size, mode), by_faces in means.items() if 1 in by_faces]


def _steady(pipeline: Any, minutes: float) -> dict[str, Any]:
    """Compare the first minute of image time with the last, 720p, one face."""
    pipeline.reset()
    clip = Clip(60)
    frames = [clip(index) for index in range(2 * clip.count - 2)]
    wall, cpu = [], []
    for index in range(round(minutes * 60 * FPS)):
        image = frames[index % len(frames)]
        start, spent = perf_counter(), process_time()
        pipeline.process(image, NS + round(index * NS / FPS))
        wall.append((perf_counter() - start) * 1e3)
        cpu.append((process_time() - spent) * 1e3)
    minute = min(60 * FPS, len(wall) // 2)
    parts = {'first': slice(0, minute), 'last': slice(-minute, None)}
    told = {name: {'wall_ms': measure.figures(wall[part]), 'cpu_ms': measure.figures(cpu[part])}
            for name, part in parts.items()}
    ratio = told['last']['cpu_ms']['mean'] / told['first']['cpu_ms']['mean']
    return {'minutes': minutes, 'minute_frames': minute, **told,
            'last_over_first_cpu': round(ratio, 3),
            'last_over_first_wall_p50': round(
                told['last']['wall_ms']['p50'] / told['first']['wall_ms']['p50'], 3)}


class _Edges:
    """What a node does round the pipeline: image message to frame, result to messages to bytes."""

    def __init__(self) -> None:
        self._serialize: Any = None
        try:
            from rclpy.serialization import serialize_message

            from aitable_ros import image_codec
            from aitable_ros.nodes.messages import CODEC
        except ImportError as error:
            self.note = f'decode and message were not measured: {error}'
            return
        self.note = 'decode: sensor_msgs/Image rgb8 to frame; message: the answer as bytes'
        self._serialize = serialize_message
        self._codec, self._messages = image_codec, CODEC

    def image(self, image: Any) -> Any:
        """Return the image as it comes from a camera; not timed."""
        if self._serialize is None:
            return None
        from array import array

        from sensor_msgs.msg import Image

        height, width = image.shape[:2]
        data = array('B')
        data.frombytes(image.tobytes())
        message = Image(encoding='rgb8', width=width, height=height, step=3 * width)
        message.data = data
        return message

    def decode(self, message: Any, stamp_ns: int) -> Any:
        """Return the frame in a message; None without ROS."""
        if self._serialize is None:
            return None
        message.header.stamp = self._messages.time_message(stamp_ns)
        return self._codec.frame_from_image(message)

    def answer(self, frame: Any, result: Any) -> None:
        """Write everything that the nodes publish of a frame."""
        if self._serialize is None:
            return
        for _, message in self._messages.messages_of(result, frame):
            self._serialize(message)
