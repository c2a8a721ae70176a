# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Yawns: a mouth wide open for longer than speech or laughter keeps it."""

from __future__ import annotations

from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.quantile import QuantileWindow

BASELINE_NS = 60_000_000_000
EVERY_NS = 100_000_000
BRIDGE_NS = 300_000_000
"""A mouth that trembles below the threshold for so long is still the same yawn."""
SHUT_SHARE = 0.1
"""Greatest share of a yawn that the mouth may be below the threshold: speech opens and shuts it."""
MAX_GAP_NS = 1_000_000_000


class YawnDetector:
    """
    Tells a yawn once it is over, and that one goes on once it is long enough.

    :param options: the thresholds
    """

    def __init__(self, options: FatigueOptions) -> None:
        self._options = options
        self._usual = QuantileWindow(0.0, 2.0, 0.02, BASELINE_NS, EVERY_NS)
        self._threshold = options.yawn_min_mar
        self._start: int | None = None
        self._wide = 0
        self._below_ns = 0
        self._last = 0
        self.yawning = False

    def add(self, time_ns: int, mar: float) -> tuple[int, int] | None:
        """
        Take in a mouth aspect ratio.

        :return: start and end of a yawn that is over, nanoseconds
        """
        since, self._last = time_ns - self._last, time_ns
        if since > MAX_GAP_NS:
            self._start, self.yawning = None, False
        options = self._options
        if mar > self._threshold:
            if self._start is None or self._below_ns > SHUT_SHARE * (time_ns - self._start):
                self._start, self._below_ns = time_ns, 0
            self._wide = time_ns
            lasted = (time_ns - self._start) * 1e-9
            self.yawning = options.yawn_min_s <= lasted <= options.yawn_max_s
            return None
        if self._start is None:
            before = len(self._usual)
            self._usual.add(time_ns, mar)
            if len(self._usual) != before or before == 600:
                self._threshold = max(
                    options.yawn_min_mar, options.yawn_ratio * self._usual.quantile(0.5))
            return None
        self._below_ns += since
        if time_ns - self._wide < BRIDGE_NS:
            return None
        start, self._start, self.yawning = self._start, None, False
        lasted = (self._wide - start) * 1e-9
        return (start, self._wide) if options.yawn_min_s <= lasted <= options.yawn_max_s else None
