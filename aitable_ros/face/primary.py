# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Whom the robot is dealing with."""

from __future__ import annotations

from collections.abc import Mapping
import math

from aitable_ros.clock import SECOND_NS
from aitable_ros.types import Detection


def appeal(
    detection: Detection, height: int, width: int, weights: tuple[float, float, float],
) -> float:
    """
    Rate a face as the robot's partner.

    :param weights: of confidence, size and centre; they need not sum to 1
    :return: weighted mean of the confidence, the side of the box over the image's shorter side and
        1 minus the distance from the image's centre over half its diagonal; 0 ... 1
    """
    x1, y1, x2, y2 = detection.box.tolist()
    size = min(1.0, max(x2 - x1, y2 - y1) / min(height, width))
    away = math.hypot((x1 + x2 - width) / 2, (y1 + y2 - height) / 2)
    centre = max(0.0, 1 - away / (math.hypot(height, width) / 2))
    parts = (detection.confidence, size, centre)
    return float(sum(w * p for w, p in zip(weights, parts)) / max(sum(weights), 1e-9))


class PrimaryChoice:
    """
    Keeps the choice until another face has rated better for a while.

    A primary face that is briefly not seen is waited for just as long.
    """

    def __init__(self) -> None:
        self.track_id: int | None = None
        self._challenged_ns: int | None = None

    def choose(
        self, appeals: Mapping[int, float], stamp_ns: int, hysteresis_s: float,
    ) -> int | None:
        """
        Return the primary track of this image.

        :param appeals: of the faces in it, by track id
        :param hysteresis_s: how long another one must have been ahead, image time, seconds
        :return: a track id; it may be of a face that is not in this image; None with nobody known
        """
        best = max(appeals, key=lambda track: (appeals[track], -track), default=None)
        if self.track_id is None:
            self.track_id = best
        leads = best is None or best == self.track_id
        if leads and self.track_id in appeals:
            self._challenged_ns = None
            return self.track_id
        if self._challenged_ns is None:
            self._challenged_ns = stamp_ns
        if stamp_ns - self._challenged_ns >= hysteresis_s * SECOND_NS:
            self.track_id, self._challenged_ns = best, None
        return self.track_id

    def reset(self) -> None:
        """Forget the choice."""
        self.track_id = self._challenged_ns = None
