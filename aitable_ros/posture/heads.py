# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Where a body's head is, and which face belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.assignment import cheapest_pairs
from aitable_ros.posture.angles import LEAST_WIDTH
from aitable_ros.posture_types import Joint, NAN, Skeleton, VISIBLE
from aitable_ros.types import Detection, TrackedFace

HEAD = list(range(Joint.MOUTH_RIGHT + 1))
"""Nose, eyes, ears, mouth."""

ON_FACE = 0.5
"""A head belongs to a face if its middle is within so many sides of the middle of the box."""

STILL_ON_FACE = 1.0
"""The same for a face that belonged to the body before: its box lags behind a quick head."""

EYES_APART = 0.42
"""Distance of the eyes in sides of the box of a face that looks ahead: median of 32 faces."""

LOYALTY = 0.25
"""Sides by which the face that belonged to a body before is preferred."""


def head_of(skeleton: Skeleton) -> NDArray[np.float32]:
    """
    Return the middle of the head's joints: of those that are seen, if any is.

    :return: ``(2,)`` float32, pixels
    """
    points = skeleton.points[HEAD, :2]
    seen: NDArray[np.bool_] = skeleton.visibility[HEAD] >= VISIBLE
    chosen = points[seen] if seen.any() else points[np.isfinite(points[:, 0])]
    return np.asarray(chosen.mean(axis=0), np.float32)


def distance_from_face(
    head: NDArray[np.float32], face: TrackedFace | Detection,
) -> float:
    """Return the distance of a head from the middle of a face's box, in its sides."""
    left, top, right, bottom = face.box.tolist()
    apart = float(np.hypot(*(head - ((left + right) / 2, (top + bottom) / 2))))
    return apart / float(max(right - left, bottom - top, 1e-6))


def roll_of(face: TrackedFace | None) -> float:
    """Return the roll of a face by its eyes, > 0 to the person's right; NaN where they are not."""
    if face is None or len(face.detection.keypoints) < 2:
        return NAN
    x, y = (face.detection.keypoints[1] - face.detection.keypoints[0]).tolist()
    side = float((face.box[2:] - face.box[:2]).max())
    return math.atan2(-y, x) if math.hypot(x, y) >= LEAST_WIDTH * EYES_APART * side and x > 0 \
        else NAN


def faces_of(
    skeletons: Mapping[int, Skeleton], faces: Sequence[TrackedFace], before: Mapping[int, int],
) -> dict[int, TrackedFace]:
    """
    Give bodies their faces: the pairs of least total distance.

    :param skeletons: by number of the body
    :param before: track of the face that belonged to the body, by number
    :return: by number; a body without a face is left out
    """
    if not skeletons or not faces:
        return {}
    numbers = list(skeletons)
    heads = [head_of(skeletons[number]) for number in numbers]
    distance = np.array([[distance_from_face(head, face) for face in faces] for head in heads])
    own = np.array([
        [before.get(number) == face.track_id for face in faces] for number in numbers])
    near = distance <= np.where(own, STILL_ON_FACE, ON_FACE)
    cost = np.where(near, distance - LOYALTY * own, STILL_ON_FACE)
    return {
        numbers[row]: faces[column] for row, column in cheapest_pairs(cost) if near[row, column]}
