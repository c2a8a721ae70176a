# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The joints of one body in one image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

VISIBLE = 0.5
"""Least visibility of a joint that counts as seen; MediaPipe draws joints from here on."""


class Joint(IntEnum):
    """
    BlazePose's 33 points; left and right are the person's.

    >>> Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER
    (<Joint.LEFT_SHOULDER: 11>, <Joint.RIGHT_SHOULDER: 12>)
    """

    NOSE = 0
    LEFT_EYE_INNER = 1
    LEFT_EYE = 2
    LEFT_EYE_OUTER = 3
    RIGHT_EYE_INNER = 4
    RIGHT_EYE = 5
    RIGHT_EYE_OUTER = 6
    LEFT_EAR = 7
    RIGHT_EAR = 8
    MOUTH_LEFT = 9
    MOUTH_RIGHT = 10
    LEFT_SHOULDER = 11
    RIGHT_SHOULDER = 12
    LEFT_ELBOW = 13
    RIGHT_ELBOW = 14
    LEFT_WRIST = 15
    RIGHT_WRIST = 16
    LEFT_PINKY = 17
    RIGHT_PINKY = 18
    LEFT_INDEX = 19
    RIGHT_INDEX = 20
    LEFT_THUMB = 21
    RIGHT_THUMB = 22
    LEFT_HIP = 23
    RIGHT_HIP = 24
    LEFT_KNEE = 25
    RIGHT_KNEE = 26
    LEFT_ANKLE = 27
    RIGHT_ANKLE = 28
    LEFT_HEEL = 29
    RIGHT_HEEL = 30
    LEFT_FOOT_INDEX = 31
    RIGHT_FOOT_INDEX = 32


JOINTS = len(Joint)


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """
    One body in one image.

    :param points: ``(33, 3)`` float32 in order of :class:`Joint`; x, y in pixels of the whole
        image, z in the same scale from the middle of the hips, smaller = nearer
    :param visibility: ``(33,)`` float32, 0 ... 1: the joint is in the image and not covered
    :param world: ``(33, 3)`` float32, metres from the middle of the hips; x to the right of the
        image, y down, z away from the camera; NaN where the model gives no depth
    :param presence: probability that there is a body, 0 ... 1
    :raises ValueError: an array of another shape

    >>> import numpy as np
    >>> blank = np.zeros((33, 3), np.float32)
    >>> Skeleton(blank, np.zeros(33, np.float32), blank, presence=0.0).sees(Joint.NOSE)
    False
    """

    points: NDArray[np.float32]
    visibility: NDArray[np.float32]
    world: NDArray[np.float32]
    presence: float

    def __post_init__(self) -> None:
        shapes = self.points.shape, self.visibility.shape, self.world.shape
        if shapes != ((JOINTS, 3), (JOINTS,), (JOINTS, 3)):
            raise ValueError(f'a Skeleton holds (33, 3), (33,) and (33, 3) values, not {shapes}')

    def sees(self, *joints: Joint) -> bool:
        """Return whether all of these joints can be seen."""
        return bool((self.visibility[list(joints)] >= VISIBLE).all())
