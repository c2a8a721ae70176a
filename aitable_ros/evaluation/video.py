# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Videos and GIFs, through OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
import os
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.evaluation.source import Source
from aitable_ros.types import Frame

PROBE = 16
"""Frames whose stamps decide whether the container's clock can be used."""
LOG_SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT, which its Python module does not name."""
COMPLETE = 0.9
"""A video that ends before this share of its announced duration is called truncated."""


class Video(Source):
    """A video file; its frames carry the container's time, variable frame rate included."""

    kind = 'video'

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        capture = _open(path)
        fps = capture.get(cv2.CAP_PROP_FPS)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        readable = capture.grab()
        capture.release()
        if not readable:
            raise InputError(f'{path}: no frame can be decoded; truncated, or an unknown codec')
        self.fps = float(fps) if np.isfinite(fps) and 0.1 <= fps <= 1000 else 30.0
        if self.fps != fps:
            self.note(f'the container names no usable frame rate ({fps:g}); 30 assumed')
        self.frames = int(count) if np.isfinite(count) and count > 0 else None

    def _read(self) -> Iterator[Frame]:
        """Yield the frames, stamped from 0."""
        capture = _open(self.path)
        try:
            yield from self._decode(capture)
        finally:
            capture.release()

    def _decode(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        assert self.fps is not None
        period_ns = 1e9 / self.fps
        own_clock = self._clock_is_sane()
        first_ms = None
        index, last_ns = 0, -1
        while True:
            good, picture = capture.read()
            if not good:
                break
            stamp_ns = round(index * period_ns)
            if own_clock:
                now_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
                first_ms = now_ms if first_ms is None else first_ms
                stamp_ns = round((now_ms - first_ms) * 1e6)
                if stamp_ns <= last_ns:
                    self.note('a stamp of the container does not advance; the frame period is '
                              'added to the one before')
                    stamp_ns = last_ns + round(period_ns)
            last_ns = stamp_ns
            index += 1
            yield Frame(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False),
                        stamp_ns)
        announced_s = self.duration_s
        if announced_s and last_ns / 1e9 + 1 / self.fps < COMPLETE * announced_s:
            raise InputError(
                f'{self.path}: ends after {index} frames, {last_ns / 1e9:.1f} s of the '
                f'{announced_s:.1f} s that it announces; truncated or damaged')

    def _clock_is_sane(self) -> bool:
        """Look at the first stamps: they must advance, by about the frame period in the median."""
        assert self.fps is not None
        capture = _open(self.path)
        stamps: list[float] = []
        while len(stamps) < PROBE and capture.grab():
            stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        capture.release()
        steps = [after - before for before, after in pairwise(stamps)]
        if not steps:
            return False
        # A variable rate may be far from the container's nominal one; a broken clock is further.
        if min(steps) > 0 and 0.1 < median(steps) * self.fps / 1e3 < 10:
            return True
        self.note('the container has no usable stamps; frame number over frame rate is used')
        return False


def _open(path: Path) -> cv2.VideoCapture:
    # FFmpeg's and OpenCV's complaints would come before our one line, and say less than it does;
    # the variable is read at the first use.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    known = cv2.videoio_registry.getStreamBackends()
    backend = cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in known else cv2.CAP_ANY
    level = cv2.getLogLevel()
    cv2.setLogLevel(LOG_SILENT)
    try:
        capture = cv2.VideoCapture(str(path), backend)
    finally:
        cv2.setLogLevel(level)
    if not capture.isOpened():
        capture.release()
        raise InputError(f'{path}: not a video that can be read: truncated, of an unknown kind, or '
                         'without a video stream')
    return capture
