# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What one reading of a body says about how the person sits: geometry and smoothing."""

from __future__ import annotations

from dataclasses import dataclass, field
import math

import numpy as np

from aitable_ros.posture.angles import (
    AngleSmoother, measure, PostureAngles, shoulder_width, smoother
)
from aitable_ros.posture.heads import HEAD
from aitable_ros.posture_types import NAN, SHOULDERS, Skeleton, VISIBLE

HEAD_JOINTS = 3
"""A head is seen from so many of these joints on."""

FACING = 0.9
"""
Least share of the line between the shoulders that lies in the image for somebody who faces the
camera, a turn of 25 degrees. Who turns further looks narrow, and so tall for the width: that shows
a turn where the model gives no depth.
"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """
    One body in one image; NaN where a joint that is needed is hidden.

    :param width: distance of the shoulders, pixels, smoothed
    :param middle: of the shoulders, pixels
    :param head: middle of the head's joints that are seen, pixels
    :param head_height: of that over the shoulders, in their widths, smoothed; unlike
        ``ear_height`` it is known with one ear, and is small where the face points down
    :param facing: the shoulders face the camera
    """

    angles: PostureAngles = field(default_factory=PostureAngles)
    width: float = NAN
    middle: tuple[float, float] = (NAN, NAN)
    head: tuple[float, float] = (NAN, NAN)
    head_height: float = NAN
    facing: bool = False

    @property
    def head_seen(self) -> bool:
        """Enough joints of the head can be seen."""
        return not math.isnan(self.head[1])

    @property
    def head_aside(self) -> float:
        """Distance of the head from the middle of the shoulders across the image, in widths."""
        return abs(self.head[0] - self.middle[0]) / self.width


class Looker:
    """Makes the sightings of one person: smooths them in image time."""

    def __init__(self) -> None:
        self._angles = AngleSmoother()
        self._lengths = smoother()

    def look(self, stamp_ns: int, skeleton: Skeleton, face_roll: float = NAN) -> Sighting:
        """Measure one reading; stamps must rise. ``face_roll``: see ``Body``."""
        points = skeleton.points.astype(np.float64)
        width = shoulder_width(skeleton)
        seen = skeleton.visibility[HEAD] >= VISIBLE
        head = points[HEAD, :2][seen].mean(axis=0) if seen.sum() >= HEAD_JOINTS \
            else np.full(2, NAN)
        middle = points[list(SHOULDERS), :2].mean(axis=0) if not math.isnan(width) \
            else np.full(2, NAN)
        height = float(middle[1] - head[1]) / width
        log_width, height = self._lengths.update(
            stamp_ns, np.array([math.log(width) if width > 0 else NAN, height])).tolist()
        line = points[SHOULDERS[0]] - points[SHOULDERS[1]]
        return Sighting(
            self._angles.update(stamp_ns, measure(skeleton, face_roll)), math.exp(log_width),
            (float(middle[0]), float(middle[1])), (float(head[0]), float(head[1])), height,
            # without depth, z is NaN and nothing tells that somebody is turned
            not np.hypot(*line[:2]) < FACING * np.linalg.norm(line))
