# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What it costs to make, pack and unpack messages, in one process and without a transport."""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.pictures import Clip, SIZES

_BATCH_MS = 10.0
"""Of runs in a row, before it is the next one's turn."""
NOTES = (
    'Loaned messages: not measured, rclpy has no way to borrow one.',
    'Fill from an ndarray: not measured, rclpy checks it value by value (150 to 300 ms).')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the part's arguments."""
    parser.add_argument('--sizes', nargs='+', default=list(SIZES), choices=SIZES)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns the result."""
    cells = {('answers', what): call for what, call in _answers().items()}
    for size in args.sizes:
        cells |= {(size, what): call for what, call in _images(SIZES[size]).items()}
    samples: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    runs = {}
    for cell, call in cells.items():
        wall, _ = measure.timed(call, 3)
        runs[cell] = int(np.clip(_BATCH_MS / max(min(wall), 1e-3), 2, 50))
    for index in range(3 if args.quick else 30):
        for cell in measure.rounds_order(list(cells), index):
            cells[cell]()
            samples[cell] += measure.timed(cells[cell], runs[cell])[0]
    measure.say('messages: measured')
    return {'notes': NOTES, 'rows': [
        {'of': of, 'what': what, 'wall_ms': measure.figures(values)}
        for (of, what), values in samples.items()]}


def _images(size: tuple[int, int]) -> dict[str, Callable[[], Any]]:
    """Return what is done with a camera image of some size."""
    import cv2
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import CompressedImage, Image

    from aitable_ros import image_codec

    cv2.setNumThreads(1)
    width, height = size
    image = Clip(2, size)(0)

    def message(encoding: str, pixels: Any) -> Any:
        made = Image(encoding=encoding, width=width, height=height,
                     step=pixels.nbytes // height)
        made.header.stamp.sec = 1
        fill(made, pixels)
        return made

    def fill(made: Any, pixels: Any) -> None:
        data = array('B')
        data.frombytes(np.ascontiguousarray(pixels).data)
        made.data = data

    bgr = np.ascontiguousarray(image[..., ::-1])
    images = {
        'rgb8': message('rgb8', image), 'bgr8': message('bgr8', bgr),
        'mono8': message('mono8', np.ascontiguousarray(image[..., 0])),
        'yuv422_yuy2': message('yuv422_yuy2', np.ascontiguousarray(image[..., :2])),
        'bayer_rggb8': message('bayer_rggb8', np.ascontiguousarray(image[..., 0]))}
    jpeg = CompressedImage(format='jpeg', data=array('B', cv2.imencode('.jpg', bgr)[1].tobytes()))
    jpeg.header.stamp.sec = 1
    rgb8 = images['rgb8']
    packed = serialize_message(rgb8)
    calls: dict[str, Callable[[], Any]] = {
        'fill, array("B")': lambda: fill(rgb8, image),
        'fill, bytes': lambda: setattr(rgb8, 'data', image.tobytes()),
        'serialize': lambda: serialize_message(rgb8),
        'deserialize': lambda: deserialize_message(packed, Image),
        'decode jpeg': lambda: image_codec.frame_from_compressed(jpeg)}
    for encoding, made in images.items():
        calls[f'decode {encoding}'] = partial(image_codec.frame_from_image, made)
    return calls


def _answers() -> dict[str, Callable[[], Any]]:
    """Return what is done with the answers about one person."""
    from rclpy.serialization import deserialize_message, serialize_message

    from aitable_ros.nodes.messages import CODEC
    from aitable_ros.pipeline import Pipeline
    from aitable_ros.types import Frame

    clip = Clip(40)
    with Pipeline() as pipeline:
        for index in range(40):
            frame = Frame(clip(index), 1_000_000_000 + index * 33_333_333, 'camera')
            result = pipeline.process_frame(frame)
    one = result.faces[0]
    makers: dict[str, Callable[[], Any]] = {
        'FaceArray': lambda: CODEC.face_array_message(frame, [one.face], result.models['face']),
        'FatigueState': lambda: CODEC.fatigue_message(
            CODEC.header_of(frame), one.fatigue, result.models['mesh'], primary=True),
        'Emotion': lambda: CODEC.emotion_message(
            frame, one.face, one.emotion, result.models['emotion'])}
    calls: dict[str, Callable[[], Any]] = {}
    for name, make in makers.items():
        made = make()
        packed = serialize_message(made)
        calls |= {
            f'{name}: make': make,
            f'{name}: serialize': partial(serialize_message, made),
            f'{name}: deserialize': partial(deserialize_message, packed, type(made))}
    return calls
