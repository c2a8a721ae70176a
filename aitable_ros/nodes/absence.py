# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""While no image comes, says once a second that the people known are away."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from rclpy.clock import Clock, ClockType

from aitable_ros.config import CameraOptions
from aitable_ros.nodes.managed_node import ManagedNode
from aitable_ros.types import Frame

WATCH_PERIOD_S = 0.1
"""Least interval of the check for missing images: 0.9 s at most with a ``stale_after_s`` of 0.8."""
ABSENT_PERIOD_S = 1.0
"""Interval at which people are told to be away while no images come."""


class AbsenceWatch:
    """
    Publishes for a node while the camera is silent.

    :param publish: called on the worker thread with the stage, the last frame, and the time that
        has passed to it, nanoseconds of image time
    """

    def __init__(self, node: ManagedNode, publish: Callable[[Any, Frame, int], None]) -> None:
        self._node = node
        self._publish = publish
        self._last: Frame | None = None
        self._told_s = 0.0
        self._timer = node.create_timer(
            WATCH_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def answered(self, frame: Frame) -> None:
        """Note the last frame that was answered."""
        self._last = frame

    def stop(self) -> None:
        """Forget it: the node is not active."""
        self._last = None

    def _look(self) -> None:
        frame, node = self._last, self._node
        now = monotonic()
        waited = node.images.watch.waited_s()
        patience = node.parameters[CameraOptions].stale_after_s
        self._look_again(patience - waited if frame else patience)
        if frame is None or waited < patience:
            return
        if node.work.busy_s > ABSENT_PERIOD_S:
            return  # all of it would be published when the model returns, late and at once
        if now - self._told_s < ABSENT_PERIOD_S:
            return
        self._told_s = now
        stamp_ns = frame.stamp_ns + round(waited * 1e9)
        node.work.submit(lambda stage: self._publish(stage, frame, stamp_ns))

    def _look_again(self, after_s: float) -> None:
        """Look when images can be missing, not ten times a second while they come."""
        self._timer.timer_period_ns = round(
            min(max(after_s, WATCH_PERIOD_S), ABSENT_PERIOD_S) * 1e9)
        self._timer.reset()
