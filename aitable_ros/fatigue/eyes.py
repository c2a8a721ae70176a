# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Eyes and mouth of a mesh: aspect ratios, and whether the eyes could be measured at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import hypot

import numpy as np

from aitable_ros.fatigue.head_pose import head_angles
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.types import FaceLandmarks, NAN, TrackedFace, Validity

LEFT_EYE = (362, 385, 387, 263, 373, 380)
"""p1 ... p6 of Soukupova & Cech 2016, the person's left eye."""
RIGHT_EYE = (33, 160, 158, 133, 153, 144)
MOUTH = (78, 308, 82, 87, 13, 14, 312, 317)
"""The corners of the inner lips, then three pairs of upper and lower."""
_POINTS = np.array(LEFT_EYE + RIGHT_EYE + MOUTH)

ONE_EYE_YAW = 0.6
"""Radians of yaw (34 degrees) from which on only the nearer eye counts; half way it counts 3:1."""

Points = list[list[float]]


@dataclass(frozen=True, slots=True)
class EyeReading:
    """
    Eyes, mouth and head of one person in one image: geometry, no memory.

    :param stamp_ns: of the image
    :param validity: VALID when the eyes could be measured, else NO_FACE (no mesh),
        POSE_OUT_OF_RANGE or OCCLUDED; figures that could not be measured are NaN
    :param ear_left: eye aspect ratio of the person's left eye
    :param ear_right: of the right eye
    :param ear: mean of both, an eye turned away weighing less
    :param mar: mouth aspect ratio
    :param head_roll: radians, REP-103 (x forward out of the face, y to the person's left, z up):
        roll > 0 the head tilts to the person's right shoulder
    :param head_pitch: > 0 looks down
    :param head_yaw: > 0 looks to the person's left

    >>> EyeReading(0, Validity.OCCLUDED).ear
    nan
    """

    stamp_ns: int
    validity: Validity
    ear_left: float = NAN
    ear_right: float = NAN
    ear: float = NAN
    mar: float = NAN
    head_roll: float = NAN
    head_pitch: float = NAN
    head_yaw: float = NAN


def no_face(stamp_ns: int) -> EyeReading:
    """Return the reading of an image without this person."""
    return EyeReading(stamp_ns, Validity.NO_FACE)


def read_faces(
    faces: Iterable[TrackedFace], landmarks: Mapping[int, FaceLandmarks], stamp_ns: int,
    width: int, height: int, options: FatigueOptions,
) -> dict[int, EyeReading]:
    """
    Measure each face; one without a mesh has the reading of :func:`no_face`.

    :param landmarks: by track
    :param width: of the image, pixels
    :param height: of the image, pixels
    :return: by track
    """
    return {
        face.track_id: read_eyes(landmarks[face.track_id], stamp_ns, width, height, options)
        if face.track_id in landmarks else no_face(stamp_ns)
        for face in faces}


def read_eyes(
    landmarks: FaceLandmarks, stamp_ns: int, width: int, height: int, options: FatigueOptions,
) -> EyeReading:
    """
    Measure one mesh.

    :param width: of the image, pixels
    :param height: of the image, pixels
    """
    points = landmarks.points
    if landmarks.presence < options.min_presence:
        return no_face(stamp_ns)
    roll, pitch, yaw = head_angles(points)
    chosen: Points = points[_POINTS, :2].tolist()
    left, left_px = _ear(chosen, 0)
    right, right_px = _ear(chosen, 6)
    mar = _mar(chosen)
    if not (left >= 0 and right >= 0 and mar >= 0 and yaw == yaw):
        return no_face(stamp_ns)
    if abs(yaw) > options.max_yaw or abs(pitch) > options.max_pitch:
        return EyeReading(
            stamp_ns, Validity.POSE_OUT_OF_RANGE, mar=mar, head_roll=roll, head_pitch=pitch,
            head_yaw=yaw)
    far = min(1.0, max(-1.0, yaw / ONE_EYE_YAW))
    nearer = right_px if far > 0 else left_px
    cut = any(not (0 <= x < width and 0 <= y < height) for x, y in chosen[:12])
    if cut or landmarks.eyes_covered or nearer < options.min_eye_px:
        return EyeReading(
            stamp_ns, Validity.OCCLUDED, mar=mar, head_roll=roll, head_pitch=pitch, head_yaw=yaw)
    ear = ((1 - far) * left + (1 + far) * right) / 2
    return EyeReading(
        stamp_ns, Validity.VALID, left, right, ear, mar, roll, pitch, yaw)


def aspect_ratios(landmarks: FaceLandmarks) -> tuple[float, float]:
    """Return EAR of the person's left and right eye, whatever the pose; NaN without a width."""
    chosen: Points = landmarks.points[_POINTS, :2].tolist()
    return _ear(chosen, 0)[0], _ear(chosen, 6)[0]


def open_eye(reading: EyeReading) -> float:
    """
    Return the EAR of the more open eye, an eye turned away counting less.

    Sleep shuts both eyes: a wink does not, nor does a hand over one eye or glare on one lens.
    """
    far = reading.head_yaw / ONE_EYE_YAW
    if not abs(far) <= 1:
        return reading.ear
    return max(
        reading.ear, min(1.0, 1 - far) * reading.ear_left, min(1.0, 1 + far) * reading.ear_right)


def _ear(points: Points, at: int) -> tuple[float, float]:
    """Return the eye aspect ratio and the eye's width in pixels."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy), (ex, ey), (fx, fy) = points[at:at + 6]
    width = hypot(ax - dx, ay - dy)
    if not width > 0:
        return float('nan'), 0.0
    return (hypot(bx - fx, by - fy) + hypot(cx - ex, cy - ey)) / (2 * width), width


def _mar(points: Points) -> float:
    """Mean of three heights of the open mouth over its width."""
    (ax, ay), (bx, by), *pairs = points[12:20]
    width = hypot(ax - bx, ay - by)
    if not width > 0:
        return float('nan')
    heights = 0.0
    for upper, lower in zip(pairs[::2], pairs[1::2]):
        heights += hypot(upper[0] - lower[0], upper[1] - lower[1])
    return heights / (3 * width)
