# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The images of one node: counted, complained about in the log, and missed when they stop."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from rclpy.node import Node

from aitable_ros.errors import ImageError
from aitable_ros.nodes.camera_fault import Fault, FaultKind
from aitable_ros.nodes.image_statistics import Statistics
from aitable_ros.nodes.image_watch import Change, ImageWatch
from aitable_ros.types import Frame

if TYPE_CHECKING:
    from aitable_ros.nodes.frame_source import FrameSource

LOG_AGAIN_S = 60.0
"""A fault that persists is logged once in this time, each cause separately."""


class ImageHealth:
    """
    Statistics, log lines and the watch over missing images; callable from any thread.

    :param node: its clock and its log are used
    """

    def __init__(self, node: Node) -> None:
        self.statistics = Statistics()
        self.watch = ImageWatch(node.get_clock())
        self._clock = node.get_clock()
        self._log = node.get_logger()
        self.fault: Fault | None = None
        """Why images are missing at present."""
        self._logged: dict[str, float] = {}
        self._absence_logged = False

    def reset(self) -> None:
        """Count from zero: the node is configured."""
        self.statistics = Statistics()

    def answered(self, frame: Frame, received_s: float) -> None:
        """
        Count an image as answered.

        :param received_s: when the image reached this process, seconds of the steady clock
        """
        now = monotonic()
        stamp_latency_ns = self._clock.now().nanoseconds - frame.stamp_ns
        self.statistics.answered(now, frame.stamp_ns, now - received_s, stamp_latency_ns * 1e-9)

    def malformed(self, error: ImageError) -> None:
        """Count and log an image that cannot be used."""
        self.watch.arrived()
        self.statistics.malformed(monotonic(), error.cause)
        self.complain(error.cause, f'image dropped: {error}')

    def failed(self, error: Exception) -> None:
        """Count and log an image that the stage could not answer."""
        self.statistics.failed()
        name = type(error).__name__
        self.complain(name, f'image not answered: {name}: {error}')

    def complain(self, cause: str, line: str) -> bool:
        """Log a warning unless the same cause was logged within the last minute; say if it was."""
        now = monotonic()
        if now - self._logged.get(cause, -LOG_AGAIN_S) < LOG_AGAIN_S:
            return False
        self._logged[cause] = now
        self._log.warning(line)
        return True

    def look(self, source: FrameSource, patience_s: float) -> bool:
        """
        Log when images stop, why, and when they return; call it about once a second.

        :param patience_s: time without an image after which the camera counts as gone
        :return: whether to recreate the subscriptions now
        """
        change = self.watch.look(patience_s)
        expected = source.expects  # empty where another node here reports the absence
        if not expected:
            return False
        watch = self.watch
        self.fault = fault = source.fault(watch.waited_s(), watch.came)
        if fault and fault.kind is not FaultKind.NO_PUBLISHER:
            self._absence_logged |= self.complain(fault.kind.value, fault.line)
        elif change is Change.STALE:
            why = f': {fault.line}' if fault else ''
            self._log.warning(f'no {expected} for {watch.waited_s():.1f} s{why}')
            self._absence_logged = True
        if change is Change.BACK and self._absence_logged:
            self._log.info(f'{expected}: there again')
            self._absence_logged = False
        return watch.retry_due()
