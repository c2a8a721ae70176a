# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a camera device, stream or video file, on a thread that reconnects. No ROS here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import cv2
import numpy as np

from aitable_ros.config import CaptureOptions
from aitable_ros.errors import InputError
from aitable_ros.types import Frame

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
"""Seconds until the device is opened again, doubled each time up to the last."""
TIMEOUT_MS = 5000
"""Of opening a stream, and of reading from it."""
STEADY_WITHIN_MS = 1000.0
"""A position this near to the steady clock is V4L2's own stamp of the buffer."""
DRIFT = 2e-4
"""Largest difference in speed between a capture's clock and ours; crystals differ by 1e-4."""


class CaptureClock:
    """
    Turns a capture's own clock into ROS time, so that stamps do not carry the jitter of reading.

    V4L2 stamps a buffer with the steady clock: its age is exact. For others the least delay seen
    so far, allowed to grow with :data:`DRIFT`, joins the two clocks.
    """

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._position_ms = 0.0

    def stamp_ns(self, now_ns: int, steady_s: float, position_ms: float) -> int:
        """
        Return the stamp of the frame just read.

        :param now_ns: ROS time
        :param steady_s: steady clock
        :param position_ms: ``CAP_PROP_POS_MSEC`` of the frame; 0 where the capture has no clock
        """
        step_ms, self._position_ms = position_ms - self._position_ms, position_ms
        if position_ms <= 0 or step_ms <= 0:
            self._offset_ns = None
            return now_ns
        age_ms = 1e3 * steady_s - position_ms
        if abs(age_ms) < STEADY_WITHIN_MS:
            return now_ns - round(1e6 * max(age_ms, 0.0))
        offset_ns = now_ns - round(1e6 * position_ms)
        if self._offset_ns is not None:
            offset_ns = min(offset_ns, self._offset_ns + round(1e6 * step_ms * DRIFT))
        self._offset_ns = offset_ns
        return round(1e6 * position_ms) + offset_ns


class Capture:
    """
    Reads a device on a thread of its own, from :meth:`start` to :meth:`stop`.

    :param arrived: called with every frame and the steady time of its arrival; must not wait
    :param now_ns: ROS time
    """

    def __init__(
        self, options: CaptureOptions, arrived: Callable[[Frame, float], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.error = ''
        """Why there are no frames at present; empty while they come."""
        self._options = options
        self._arrived = arrived
        self._now_ns = now_ns
        self._stop = Event()
        self._thread = Thread(target=self._run, name='capture', daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a read that hangs is left behind with it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * TIMEOUT_MS / 1e3)

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stop.is_set():
            capture = open_device(self._options)
            try:
                if capture.isOpened() and self._read(capture):
                    retry_s = FIRST_RETRY_S
            finally:
                opened = capture.isOpened()
                capture.release()
            self.error = (
                f'{self._options.device} gives no images any more' if opened else
                f'{self._options.device} cannot be opened; check that it is plugged in, that this '
                'user may read it, and that no other program holds it')
            self._stop.wait(0.0 if is_file(self._options.device) and opened else retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    def _read(self, capture: Any) -> int:
        """Hand on frames until there are none; returns how many there were."""
        clock, count, began_s = CaptureClock(), 0, monotonic()
        recorded = is_file(self._options.device)
        while not self._stop.is_set():
            good, image = capture.read()
            steady_s, position_ms = monotonic(), float(capture.get(cv2.CAP_PROP_POS_MSEC))
            if not good:
                break
            if recorded and self._stop.wait(max(0.0, began_s + position_ms / 1e3 - steady_s)):
                break
            if recorded:
                steady_s, position_ms = monotonic(), 0.0
            stamp_ns = clock.stamp_ns(self._now_ns(), steady_s, position_ms)
            picture = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            picture.setflags(write=False)
            self.error = ''
            count += 1
            self._arrived(Frame(picture, stamp_ns, self._options.frame_id), steady_s)
        return count


def is_file(device: str) -> bool:
    """Tell a video file from a device (``0``, ``/dev/video0``), a URL and a pipeline."""
    return not (device.isdigit() or device.startswith('/dev/') or '://' in device or '!' in device)


def check_device(device: str) -> None:
    """
    Refuse a device that can never be opened.

    :raises InputError: no device is named, or there is no such file
    """
    if not device:
        raise InputError("parameter 'device': name a camera: 0, /dev/video0, rtsp://..., a video "
                         'file or a GStreamer pipeline')
    if is_file(device) and not Path(device).is_file():
        raise InputError(f"parameter 'device': '{device}': no such file")


def open_device(options: CaptureOptions) -> Any:
    """Return the ``cv2.VideoCapture`` of a device, opened or not."""
    device = options.device
    if '!' in device:
        return cv2.VideoCapture(device, cv2.CAP_GSTREAMER)
    if '://' in device:
        return cv2.VideoCapture(device, cv2.CAP_FFMPEG, [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS])
    if is_file(device):
        return cv2.VideoCapture(device)
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device, cv2.CAP_V4L2)
    if capture.isOpened():
        if options.format:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.format))
        for name, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, options.width), (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
            (cv2.CAP_PROP_FPS, options.fps), (cv2.CAP_PROP_BUFFERSIZE, 2),
        ):
            if value:
                capture.set(name, value)
    return capture
