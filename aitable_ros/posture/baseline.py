# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How one person sits upright, with which every other posture of that person is compared."""

from __future__ import annotations

from collections import deque
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.sighting import FACING, Sighting
from aitable_ros.posture_types import NAN

EVERY_NS = SECOND_NS // 2
"""Readings closer together say no more about a posture. A window of ten minutes has 1200."""
SLACK_NS = SECOND_NS // 20
"""A reading that comes this much too early is taken: the next one would be too late."""
NEAR_UPRIGHT = 0.1
"""Width and angles upright are taken from readings whose ears are at most this share too low. A
forward lean begins at the same share (default of ``lean_drop``)."""
WIDTH_READINGS = 120
"""The shoulders' width is the median of the last minute upright: a chair moves."""


@dataclass(frozen=True, slots=True)
class Upright:
    """
    The figures of one person upright; names as in :class:`Sighting` and its angles.

    NaN where they have not been seen.
    """

    ear_height: float = NAN
    head_height: float = NAN
    width: float = NAN
    shoulder_tilt: float = NAN
    forward_lean: float = NAN
    lateral_lean: float = NAN
    neck_flexion: float = NAN


def faces_camera(sighting: Sighting, upright: Upright) -> bool:
    """Return whether the shoulders face the camera, by their depth and by upright if known."""
    taller = sighting.angles.ear_height * FACING > upright.ear_height
    narrower = sighting.width < upright.width * FACING
    return sighting.facing and not (taller and narrower)


class UprightBaseline:
    """
    Learns how one person sits upright.

    In a long window, the upright readings are those with the ears highest over the shoulders:
    people sink and lean, nobody grows. A reading counts only if the person faces the camera and,
    once upright is known, sits upright. If upright was learned wrong, nobody ever sits so: after
    half a window without such a reading all readings count again.

    :param options: the thresholds
    """

    def __init__(self, options: PostureOptions) -> None:
        self._options = options
        self._kept: deque[tuple[int, tuple[float, ...]]] = deque()
        self._recent: deque[tuple[int, tuple[float, ...]]] = deque()
        self._due_ns = -(1 << 62)
        self._last_ns: int | None = None
        self._upright_ns = -(1 << 62)
        self._seen_s = 0.0
        self.pinned = False
        self.value = Upright()

    def configure(self, options: PostureOptions) -> None:
        """Take other thresholds; what was learned stays."""
        self._options = options

    @property
    def learned(self) -> bool:
        """It is known."""
        return self.pinned or self._seen_s >= self._options.baseline_warm_up_s

    def add(self, time_ns: int, sighting: Sighting, upright: bool = True) -> None:
        """
        Learn from a reading; times must rise.

        :param upright: the person is, as far as is known
        """
        options, angles = self._options, sighting.angles
        if time_ns < self._due_ns or not angles.ear_height > -1 \
                or not faces_camera(sighting, self.value if self.learned else Upright()):
            return
        self._due_ns = time_ns + EVERY_NS - SLACK_NS
        row = astuple(Upright(
            angles.ear_height, sighting.head_height, sighting.width, angles.shoulder_tilt,
            angles.forward_lean, angles.lateral_lean, angles.neck_flexion))
        self._recent.append((time_ns, row))
        while self._recent[0][0] < time_ns - int(options.baseline_warm_up_s * SECOND_NS):
            self._recent.popleft()
        if self.pinned or angles.ear_height < options.baseline_floor:
            return
        if upright or not self.learned:
            self._upright_ns = time_ns
        elif time_ns - self._upright_ns < options.baseline_window_s / 2 * SECOND_NS:
            return
        if self._last_ns is not None:
            step_s = (time_ns - self._last_ns) / SECOND_NS
            self._seen_s += min(step_s, options.max_gap_s)
        self._last_ns = time_ns
        self._kept.append((time_ns, row))
        while self._kept[0][0] < time_ns - int(options.baseline_window_s * SECOND_NS):
            self._kept.popleft()
        rows = np.array([row for _, row in self._kept])
        height = float(np.quantile(rows[:, 0], options.baseline_quantile))
        near = rows[rows[:, 0] >= (1 - NEAR_UPRIGHT) * height]
        middle = _medians(near)
        middle[0], middle[2] = height, np.median(near[-WIDTH_READINGS:, 2])
        self.value = Upright(*middle.tolist())

    def pin(self) -> float | None:
        """
        Take the posture of the last seconds as upright, and keep it.

        :return: height of the ears; None where the person has not been seen for long enough
        """
        recent = self._recent
        least_ns = int(self._options.baseline_warm_up_s * SECOND_NS) - 2 * EVERY_NS
        if not recent or recent[-1][0] - recent[0][0] < least_ns:
            return None
        self.value = Upright(*_medians(np.array([row for _, row in recent])).tolist())
        self.pinned = True
        return self.value.ear_height


def _medians(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each column's values; NaN where it has none."""
    medians = np.full(rows.shape[1], NAN)
    known = np.isfinite(rows)
    for column in np.flatnonzero(known.any(axis=0)):
        medians[column] = np.median(rows[known[:, column], column])
    return medians
