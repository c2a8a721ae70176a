# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
How a person sits, in angles of one skeleton: geometry, no memory.

``docs/posture.md`` gives each formula and its source.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.posture.one_euro import OneEuroFilter
from aitable_ros.posture_types import Joint, NAN, SHOULDERS, Skeleton

HIPS = Joint.LEFT_HIP, Joint.RIGHT_HIP
EARS = Joint.LEFT_EAR, Joint.RIGHT_EAR
EYES = Joint.LEFT_EYE_OUTER, Joint.RIGHT_EYE_OUTER
WHOLE_EYES = Joint.LEFT_EYE, Joint.RIGHT_EYE
"""Instead, of a model that has no corners of the eyes."""
HANDS = (
    (Joint.LEFT_WRIST, Joint.LEFT_PINKY, Joint.LEFT_INDEX),
    (Joint.RIGHT_WRIST, Joint.RIGHT_PINKY, Joint.RIGHT_INDEX))

LEAST_WIDTH = 0.3
"""
Least share of a line between left and right that lies in the image, or level, where its direction
is used: a person seen further from the side than 72 degrees has no tilt that could be measured.
"""

UP: NDArray[np.float64] = np.array([0.0, -1.0, 0.0])
"""Of the camera, in the axes of ``Skeleton.world``."""


@dataclass(frozen=True, slots=True)
class PostureAngles:
    """
    The posture of one person in one image; NaN where a joint that it takes is hidden.

    Signs are those of ``EyeReading``: a tilt or lean to the person's right is > 0. Lean and flexion
    are measured from the vertical of the camera, whose own pitch and roll they contain.

    :param shoulder_tilt: radians; > 0 the right shoulder is lower
    :param head_roll: radians; > 0 the head tilts to the right shoulder
    :param forward_lean: of the trunk, radians; > 0 forward, < 0 back
    :param lateral_lean: of the trunk, radians; > 0 to the right
    :param neck_flexion: of the line from the shoulders to the ears, radians; > 0 forward
    :param hand_to_head: distance of the nearer hand (of a model without fingers: wrist) from the
        head, in shoulder widths
    :param ear_height: height of the ears over the shoulders, in shoulder widths: the measure of a
        lean that needs neither hips nor depth

    >>> PostureAngles().shoulder_tilt
    nan
    """

    shoulder_tilt: float = NAN
    head_roll: float = NAN
    forward_lean: float = NAN
    lateral_lean: float = NAN
    neck_flexion: float = NAN
    hand_to_head: float = NAN
    ear_height: float = NAN


def measure(skeleton: Skeleton, face_roll: float = NAN) -> PostureAngles:
    """
    Measure one skeleton.

    :param face_roll: the head roll, from the eyes of the face; NaN where there is none
    """
    forward_lean, lateral_lean = _lean(skeleton, HIPS, SHOULDERS)
    neck_flexion, _ = _lean(skeleton, SHOULDERS, EARS)
    return PostureAngles(
        shoulder_tilt=_tilt(skeleton, SHOULDERS),
        head_roll=_tilt(skeleton, EARS, EYES if _has(skeleton, *EYES) else WHOLE_EYES)
        if math.isnan(face_roll) else face_roll,
        forward_lean=forward_lean, lateral_lean=lateral_lean, neck_flexion=neck_flexion,
        hand_to_head=_hand_to_head(skeleton), ear_height=_ear_height(skeleton))


def smoother() -> OneEuroFilter:
    """Make a filter for a person's figures: 0.5 Hz at rest, 2 Hz more for each radian a second."""
    return OneEuroFilter(min_cutoff_hz=0.5, beta=2.0)


class AngleSmoother:
    """Smooths the angles of one person in image time."""

    def __init__(self) -> None:
        self._filter = smoother()

    def update(self, stamp_ns: int, angles: PostureAngles) -> PostureAngles:
        """Take the angles of an image, and return them smoothed; NaN stays NaN."""
        return PostureAngles(
            *self._filter.update(stamp_ns, np.array(astuple(angles))).tolist())


def _tilt(skeleton: Skeleton, *pairs: tuple[Joint, Joint]) -> float:
    """Return the tilt of lines from right to left in the image, all that are seen together."""
    lines = [skeleton.points[left] - skeleton.points[right]
             for left, right in pairs if skeleton.sees(left, right)]
    if not lines:
        return NAN
    x, y, z = np.sum(lines, axis=0).tolist()
    if math.hypot(x, y) < LEAST_WIDTH * math.hypot(x, y, z):
        return NAN
    return math.atan2(-y, abs(x))  # who turns the back has the left shoulder on the left


def _lean(
    skeleton: Skeleton, low: tuple[Joint, Joint], high: tuple[Joint, Joint],
) -> tuple[float, float]:
    """Return the lean of a line between the middles of two pairs: forward, and to the right."""
    if not skeleton.sees(*low, *high, *SHOULDERS):
        return NAN, NAN
    world = skeleton.world.astype(np.float64)
    left = world[SHOULDERS[0]] - world[SHOULDERS[1]]
    level = left - (left @ UP) * UP
    width = float(np.linalg.norm(level))
    if not width >= LEAST_WIDTH * float(np.linalg.norm(left)):  # NaN: the model gives no depth
        return NAN, NAN
    level /= width
    line = world[list(high)].mean(axis=0) - world[list(low)].mean(axis=0)
    height = float(line @ UP)
    return (math.atan2(float(line @ np.cross(level, UP)), height),
            math.atan2(-float(line @ level), height))


def shoulder_width(skeleton: Skeleton) -> float:
    """Return the distance of the shoulders, pixels; NaN if hidden or seen from the side."""
    if not skeleton.sees(*SHOULDERS):
        return NAN
    x, y, z = (skeleton.points[SHOULDERS[0]] - skeleton.points[SHOULDERS[1]]).tolist()
    width = math.hypot(x, y)
    # without depth, z is NaN and nothing tells that somebody is seen from the side
    return NAN if width <= LEAST_WIDTH * math.hypot(width, z) else width or NAN


def _hand_to_head(skeleton: Skeleton) -> float:
    if not skeleton.sees(*EARS):
        return NAN
    head = skeleton.middle(*EARS)
    hands = [hand if _has(skeleton, *hand) else hand[:1] for hand in HANDS]
    distances = [
        math.dist(skeleton.middle(*hand), head)
        for hand in hands if skeleton.sees(*hand)]
    return min(distances, default=NAN) / shoulder_width(skeleton)


def _has(skeleton: Skeleton, *joints: Joint) -> bool:
    """Return whether the model has these joints, seen or hidden."""
    return bool(np.isfinite(skeleton.points[list(joints), :2]).all())


def _ear_height(skeleton: Skeleton) -> float:
    if not skeleton.sees(*EARS):
        return NAN
    shoulders, ears = (
        float(skeleton.points[list(pair), 1].mean()) for pair in (SHOULDERS, EARS))
    return (shoulders - ears) / shoulder_width(skeleton)
