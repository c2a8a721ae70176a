# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The stop signal of a program that runs until SIGINT or SIGTERM."""

from __future__ import annotations

from contextlib import suppress
import os
from select import select
import signal
from types import FrameType


class StopSignal:
    """
    SIGINT and SIGTERM as something to wait for; made on the main thread, once a process.

    No ``threading.Event``: a handler runs between two instructions of the main thread, so a second
    signal in the middle of the first one's ``set()`` waits for ever for the lock that it holds.
    """

    def __init__(self) -> None:
        self._came = False
        self._awake, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def is_set(self) -> bool:
        """Tell whether a signal has come."""
        return self._came

    def wait(self, timeout_s: float | None = None) -> bool:
        """
        Wait for one.

        :param timeout_s: longest wait; None waits for the signal
        :return: whether it has come
        """
        if not self._came:
            select([self._awake], [], [], timeout_s)
        return self._came

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        with suppress(BlockingIOError):  # full: there is enough to wake up for
            os.write(self._wake, b'.')
