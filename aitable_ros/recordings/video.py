# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Videos and GIFs, through OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.recordings import video_formats
from aitable_ros.recordings.source import Source
from aitable_ros.types import Frame

PROBE = 16
"""Number of frames whose stamps decide whether the container's clock is used."""
LOG_SILENT = 0
"""LOG_LEVEL_SILENT of OpenCV, which its Python module does not export."""
COMPLETE = 0.9
"""A video with less than this share of its announced frames is damaged."""
ASSUMED_FPS = 30.0
"""Frame rate of a stream with neither stamps nor a rate."""
RATES = (0.1, 240.0)
"""Range of plausible nominal rates, frames/s: a browser's WebM announces 1000."""
FAR = 10.0
"""Stamps this many times faster or slower than the nominal rate of an MP4 or AVI are a broken
clock. In other containers the nominal rate is FFmpeg's guess."""


class Video(Source):
    """
    A video file, with the stamps of its container, also at a variable frame rate.

    :param fps: stamps are the frame number over this rate, instead of those of the container
    """

    kind = 'video'

    def __init__(self, path: Path, fps: float | None = None) -> None:
        super().__init__(path)
        try:
            self._container = video_formats.video_kind(path)
            archive = video_formats.archive_kind(path)
        except OSError as error:
            raise InputError(f'{path}: cannot be read: {error.strerror}') from None
        if archive:
            raise InputError(f'{path}: not a video that can be read: a {archive} archive; unpack '
                             'it and name what is in it')
        if not self._container:
            raise InputError(f'{path}: not a video that can be read: truncated at its beginning, '
                             'or of an unknown kind')
        capture = _open(path)
        nominal = capture.get(cv2.CAP_PROP_FPS)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        stamps: list[float] = []
        while len(stamps) < PROBE and capture.grab():
            stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        capture.release()
        if not stamps:
            raise InputError(f'{path}: no frame can be decoded; truncated, or an unknown codec')
        self.fps, self._own_clock = self._rate(nominal, stamps, fps)
        counted = self._container in video_formats.COUNTED and np.isfinite(count) and count > 0
        self.frames = int(count) if counted else None

    def _rate(
        self, nominal: float, stamps: list[float], given: float | None,
    ) -> tuple[float, bool]:
        """Return the frame rate, and whether the container's stamps are used."""
        if given is not None:
            self.note(f'frame number over {given:g} frames/s (--fps) is used as the time')
            return given, False
        believed = RATES[0] <= nominal <= RATES[1]
        # Frames are in order, so most stamps of a working clock advance.
        step_ms = median(after - before for before, after in pairwise(stamps)) \
            if len(stamps) > 1 else 0.0
        far = believed and self._container in video_formats.RATED \
            and not 1 / FAR < step_ms * nominal / 1e3 < FAR
        if self._container not in video_formats.NO_CLOCK and step_ms > 0 and not far:
            return (nominal if believed else 1e3 / step_ms), True
        if len(stamps) == 1 and believed:
            return nominal, False
        if believed:
            self.note(f'the file has no usable stamps; frame number over {nominal:g} frames/s, the '
                      'rate that it names, is used as the time; --fps gives another')
            return nominal, False
        self.note(f'the file has neither stamps nor a usable frame rate: {ASSUMED_FPS:g} frames/s '
                  'are assumed; --fps gives another')
        return ASSUMED_FPS, False

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
        first_ms = None
        index, last_ns = 0, -1
        corrected = 0
        while True:
            good, picture = capture.read()
            if not good:
                break
            stamp_ns = round(index * period_ns)
            if self._own_clock:
                now_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
                first_ms = now_ms if first_ms is None else first_ms
                stamp_ns = round((now_ms - first_ms) * 1e6)
                if stamp_ns <= last_ns:
                    corrected += 1
                    stamp_ns = last_ns + round(period_ns)
            last_ns = stamp_ns
            index += 1
            yield Frame(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False),
                        stamp_ns)
        if corrected:
            self.note(f'{corrected} stamps of the container do not advance; the frame period is '
                      'added to the one before')
        if not index:
            raise InputError(f'{self.path}: no frame can be decoded; damaged?')
        short = self.frames and index < COMPLETE * self.frames
        if short or video_formats.is_cut_short(self.path, self._container):
            announced = f'it announces {self.frames}' if self.frames else 'more is announced'
            raise InputError(f'{self.path}: ends after {index} frames, {last_ns / 1e9:.1f} s; '
                             f'{announced}; truncated or damaged')


def _open(path: Path) -> cv2.VideoCapture:
    # Silence FFmpeg and OpenCV: our error says more. OpenCV reads the variable once.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    known = cv2.videoio_registry.getStreamBackends()
    backend = cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in known else cv2.CAP_ANY
    level = cv2.getLogLevel()
    cv2.setLogLevel(LOG_SILENT)
    try:
        with _openable(path) as name:
            capture = cv2.VideoCapture(name, backend)
    finally:
        cv2.setLogLevel(level)
    if not capture.isOpened():
        capture.release()
        raise InputError(f'{path}: not a video that can be read: truncated, of an unknown kind, or '
                         'without a video stream')
    return capture


@contextmanager
def _openable(path: Path) -> Iterator[str]:
    """Give a name that OpenCV can open; it crashes on names that are not UTF-8."""
    name = str(path.absolute())  # FFmpeg reads text before a colon as a protocol
    try:
        name.encode()
    except UnicodeEncodeError:
        with TemporaryDirectory(prefix='aitable_video_') as folder:
            link = Path(folder, f'video{path.suffix}' if path.suffix.isascii() else 'video')
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield name
