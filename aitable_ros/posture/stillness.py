# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How long a person has sat without a change of posture."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.sighting import Sighting

READINGS = 2
"""A change of posture is seen in so many readings in a row: one reading may be wrong."""


class Stillness:
    """
    Counts the seen time since the last change of posture.

    The place of the shoulders, their width and tilt, and the height of the ears are compared with
    those at the beginning. Time without usable readings is not counted; a person who sits as
    before after it goes on.

    :param options: the thresholds
    """

    def __init__(self, options: PostureOptions) -> None:
        self._options = options
        self._begin: NDArray[np.float64] | None = None
        self._width = 1.0
        self._moved = 0
        self._last_ns = -(1 << 62)
        self._told = False
        self.start_ns = 0
        self.seconds = 0.0

    def configure(self, options: PostureOptions) -> None:
        """Take other thresholds."""
        self._options = options

    def add(self, time_ns: int, sighting: Sighting) -> bool:
        """
        Take in a reading; times must rise.

        :return: the person has now been still for ``still_s``; once each time
        """
        place = np.array([
            *sighting.middle, math.log(sighting.width), sighting.angles.shoulder_tilt,
            sighting.angles.ear_height])
        if not np.isfinite(place[:4]).all():
            return False
        step_s = (time_ns - self._last_ns) / SECOND_NS
        self._last_ns = time_ns
        if self._begin is not None:
            moves = np.abs(place - self._begin)
            moves[:2] /= self._width
            moved = bool((moves > self._options.still_movement).any())  # NaN has not moved
            self._moved = self._moved + 1 if moved else 0
        if self._begin is None or self._moved >= READINGS:
            self._begin, self._width, self._moved = place, sighting.width, 0
            self.start_ns, self.seconds, self._told = time_ns, 0.0, False
            return False
        if math.isnan(self._begin[4]):
            self._begin[4] = place[4]
        if step_s <= self._options.max_gap_s:
            self.seconds += step_s
        if self._told or self.seconds < self._options.still_s:
            return False
        self._told = True
        return True
