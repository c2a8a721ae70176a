# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The values about bodies that pass between the packages: frozen, documented, free of ROS.

Units and names are those of :mod:`aitable_ros.types`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

NAN = float('nan')

FIRST_BODY_ID = 1_000_000
"""Bodies whose face has never been seen are numbered from here; faces are numbered from 1."""

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
SHOULDERS = Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """
    One body in one image.

    :param points: ``(33, 3)`` float32 in order of :class:`Joint`; x, y in pixels of the whole
        image, z in the same scale from the middle of the hips, smaller = nearer; NaN where the
        model has no such joint or no depth
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

    def middle(self, *joints: Joint) -> NDArray[np.float32]:
        """``(2,)`` float32, the middle of joints, seen or hidden; pixels."""
        return np.asarray(self.points[list(joints), :2].mean(axis=0), np.float32)

    @property
    def box(self) -> NDArray[np.float32]:
        """``(4,)`` float32 ``[x1, y1, x2, y2]`` around the joints that are seen; pixels."""
        seen = self.points[self.visibility >= VISIBLE, :2]
        if not len(seen):
            return np.full(4, NAN, np.float32)
        return np.concatenate([seen.min(axis=0), seen.max(axis=0)])


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """
    A body that is followed from image to image.

    :param track_id: number of the person's face, also while it is hidden; from
        :data:`FIRST_BODY_ID` on where no face has belonged to the body
    :param has_face: a tracked face belongs to the body in this image
    :param primary: the person the robot is dealing with, also while the face is hidden
    :param body_id: number of the body itself, from :data:`FIRST_BODY_ID` on: it stays when
        ``track_id`` changes, because a face was seen at last or came back under a new number
    :param face_roll: of the line of the face's eyes, radians, as ``PostureAngles.head_roll``; NaN
        without a face, or with one seen from the side
    """

    track_id: int
    skeleton: Skeleton
    has_face: bool = False
    primary: bool = False
    body_id: int = 0
    face_roll: float = NAN


class PostureState(IntEnum):
    """
    How somebody sits: ``STATE_`` constants of ``aitable_msgs/Posture``.

    >>> PostureState(7).name
    'HEAD_DOWN'
    """

    UNKNOWN = 0
    UPRIGHT = 1
    LEANING_FORWARD = 2
    LEANING_BACK = 3
    LEANING_LEFT = 4
    LEANING_RIGHT = 5
    SLOUCHED = 6
    HEAD_DOWN = 7


class PostureValidity(IntEnum):
    """
    Whether the figures may be used, and if not, why: ``VALIDITY_`` constants of ``Posture``.

    >>> PostureValidity.PARTIAL is PostureValidity.VALID
    False
    """

    NO_BODY = 0
    PARTIAL = 1
    WARMING_UP = 2
    VALID = 3


class PostureEventType(IntEnum):
    """
    What happened: ``EVENT_`` constants of ``aitable_msgs/PostureEvent``.

    >>> PostureEventType.SLUMPED.name
    'SLUMPED'
    """

    POSTURE_CHANGED = 1
    STILL = 2
    SLUMPED = 3


@dataclass(frozen=True, slots=True)
class PostureAssessment:
    """
    How one person sits in one image; the figures of ``aitable_msgs/Posture``, NaN if not known.

    :param state_s: duration of the state so far, seconds
    :param state_time_s: seconds in each state since the person appeared, by :class:`PostureState`
    :param height_drop: missing share of ``ear_height``, against this person upright
    :param size_change: growth of the shoulders' width, against this person upright

    >>> PostureAssessment(1, 0, PostureValidity.NO_BODY).state.name
    'UNKNOWN'
    """

    track_id: int
    stamp_ns: int
    validity: PostureValidity
    state: PostureState = PostureState.UNKNOWN
    state_s: float = 0.0
    state_time_s: tuple[float, ...] = (0.0,) * len(PostureState)
    shoulder_tilt: float = NAN
    head_roll: float = NAN
    forward_lean: float = NAN
    lateral_lean: float = NAN
    neck_flexion: float = NAN
    hand_to_head: float = NAN
    head_supported: bool = False
    ear_height: float = NAN
    height_drop: float = NAN
    size_change: float = NAN
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class PostureEvent:
    """
    Something that happened to one person, reported once, when it is certain.

    :param start_ns: when it began, image time
    :param duration_s: of POSTURE_CHANGED: of the state before. Of the others: how long it has
        lasted so far
    :param state: after the event
    :param previous_state: before it

    >>> PostureEvent(1, PostureEventType.STILL, start_ns=0, duration_s=1200.0).state.name
    'UNKNOWN'
    """

    track_id: int
    type: PostureEventType
    start_ns: int
    duration_s: float
    state: PostureState = PostureState.UNKNOWN
    previous_state: PostureState = PostureState.UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class PostureUpdate:
    """
    The bodies at one image.

    :param read: the bodies were read in this very image. Otherwise this repeats the last reading,
        without its events
    :param bodies: those in the image
    :param assessments: of each of them, by track
    :param absent: of people known and not in the image (NO_BODY)
    :param events: that became certain with this image
    :param slumped: people who are slumped, by track: since when, image time
    """

    read: bool = False
    bodies: tuple[Body, ...] = ()
    assessments: Mapping[int, PostureAssessment] = field(default_factory=dict)
    absent: tuple[PostureAssessment, ...] = ()
    events: tuple[PostureEvent, ...] = ()
    slumped: Mapping[int, int] = field(default_factory=dict)
