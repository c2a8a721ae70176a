# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Detects that images have stopped, and says when to recreate the subscriptions.

Time is that of the steady clock. With ``use_sim_time`` images are missing only if the simulation's
clock agrees: a paused simulation, or a bag played slowly, sends no image because no time passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from time import monotonic

from rclpy.clock import Clock

FIRST_IMAGE_S = 5.0
"""The first image may take this long without a warning: camera and nodes start together."""
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
"""Seconds from one new subscription to the next, doubled each time up to the last."""


class Change(Enum):
    """What :meth:`ImageWatch.look` finds."""

    NONE = 'no change'
    STALE = 'images have stopped'
    BACK = 'images have returned'


@dataclass(frozen=True, slots=True)
class _Mark:
    steady_s: float
    ros_ns: int | None


class ImageWatch:
    """
    Waits for images.

    :meth:`arrived` may be called on any thread, the other methods on one.

    :param clock: the node's, for ``use_sim_time``
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mark = self._now()
        self._came = False
        self.stale = False
        self._retry_s = FIRST_RETRY_S
        self._retried_s = 0.0

    @property
    def came(self) -> bool:
        """Whether an image has come since :meth:`start`."""
        return self._came

    def start(self) -> None:
        """Begin to wait for images."""
        self._came, self.stale = False, False
        self._mark = self._now()

    def arrived(self) -> None:
        """Note an image, good or bad."""
        self._mark = self._now()
        self._came = True

    def waited_s(self) -> float:
        """Return the seconds since the last image, or since the start."""
        mark, now = self._mark, self._now()
        waited = now.steady_s - mark.steady_s
        if now.ros_ns is None:
            return waited
        if mark.ros_ns is None or now.ros_ns < mark.ros_ns:  # the simulation has (re)started
            self._mark = now
            return 0.0
        return min(waited, (now.ros_ns - mark.ros_ns) * 1e-9)

    def look(self, patience_s: float) -> Change:
        """Return what has changed; call it about once a second."""
        if not self._came:
            patience_s = max(patience_s, FIRST_IMAGE_S)
        stale = self.waited_s() > patience_s
        if stale == self.stale:
            return Change.NONE
        self.stale = stale
        if not stale:
            return Change.BACK
        self._retry_s, self._retried_s = FIRST_RETRY_S, monotonic()
        return Change.STALE

    def retry_due(self) -> bool:
        """Return whether to recreate the subscriptions now; True counts as done."""
        now = monotonic()
        if not self.stale or now - self._retried_s < self._retry_s:
            return False
        self._retried_s = now
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
        return True

    def _now(self) -> _Mark:
        clock = self._clock
        simulated = clock.now().nanoseconds if clock.ros_time_is_active else None
        return _Mark(monotonic(), simulated)
