# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Whether images still come, and when to subscribe anew.

The clock is the steady one. With ``use_sim_time`` an image is late only when it is so on the
simulation's clock too: a simulation that is paused, or a bag that is played slowly, sends no image
because no time passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from time import monotonic

from rclpy.clock import Clock

FIRST_IMAGE_S = 5.0
"""So long the first image may take without a warning: camera and nodes start together."""
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
"""Seconds from one new subscription to the next, doubled each time up to the last."""


class Change(Enum):
    """What :meth:`ImageWatch.look` finds."""

    NONE = 'as before'
    STALE = 'no image any more'
    BACK = 'images again'


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
        """Wait from now on."""
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
        if mark.ros_ns is None or now.ros_ns < mark.ros_ns:  # the simulation began (anew)
            self._mark = now
            return 0.0
        return min(waited, (now.ros_ns - mark.ros_ns) * 1e-9)

    def look(self, patience_s: float) -> Change:
        """Tell what has changed; call it now and then."""
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
        """Tell whether to subscribe anew now; a yes counts as done."""
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
