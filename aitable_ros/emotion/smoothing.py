# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Smoothing in time: a reading counts for as long as it stood, however many frames that was."""

from __future__ import annotations

import math

import numpy as np

from aitable_ros.emotion.reading import Reading


class Smoother:
    """
    Exponential moving average of one person's readings, in image time.

    :param time_constant_s: after this long a step has come through to 63 %; 0 = no smoothing
    :param gap_s: a longer silence starts again
    """

    def __init__(self, time_constant_s: float, gap_s: float) -> None:
        self.time_constant_s = time_constant_s
        self.gap_s = gap_s
        self._smoothed: Reading | None = None
        self._stamp_ns = 0

    def update(self, reading: Reading, stamp_ns: int) -> Reading:
        """Take in a reading, stamps never going back; return the smoothed one."""
        before, elapsed_s = self._smoothed, (stamp_ns - self._stamp_ns) * 1e-9
        self._stamp_ns = stamp_ns
        if before is None or self.time_constant_s <= 0 or elapsed_s > self.gap_s:
            self._smoothed = reading
        else:
            weight = -math.expm1(-elapsed_s / self.time_constant_s)
            self._smoothed = Reading(
                (before.probabilities
                 + weight * (reading.probabilities - before.probabilities)).astype(np.float32),
                before.valence + weight * (reading.valence - before.valence),
                before.arousal + weight * (reading.arousal - before.arousal),
                before.doubt + weight * (reading.doubt - before.doubt))
        return self._smoothed
