# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A photographed head that turns in 3D: pictures whose head pose is known.

The face mesh of the photograph gives the relief of the face; the rest of the head goes on from the
face as a smooth surface, and beyond the head the turn fades out, so that hair and neck move along
and no hole opens. The picture is laid over the relief in triangles, the relief is turned, and the
nearer triangles cover the farther ones. The projection is orthographic.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

CELLS = 10
"""Triangles' legs in half the width of a face: a nose is five of them wide."""

HEAD = (1.7, 2.0, 1.15)
"""
Reach of the head from the middle of the face: to the sides in half widths of the face, up to the
hair and down to below the chin in half heights. Everything within turns as one.
"""

FADE = 0.5
"""Share of :data:`HEAD` beyond its reach over which the turn fades out: neck and background."""

BACK = 1.05
"""Depth of the head's outline in half widths of the face: the plane of the ears, and a little."""

_RING = 24  # points of the head's outline that the relief is led to
_TOP, _CHIN, _RIGHT_SIDE, _LEFT_SIDE = 10, 152, 234, 454  # mesh points at the face's outline
_SHIFT = 4  # binary places of a triangle's corners that cv2.fillConvexPoly is given


@dataclass(frozen=True, slots=True)
class HeadPose:
    """
    A turn of the head, radians, REP-103 as in :func:`aitable_ros.fatigue.head_pose.head_angles`.

    :param roll: > 0 tilts to the person's right shoulder
    :param pitch: > 0 looks down
    :param yaw: > 0 looks to the person's left
    """

    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0

    @property
    def rotation(self) -> NDArray[np.float64]:
        """``(3, 3)``: x out of the face, y to the person's left, z up; roll, pitch, then yaw."""
        (sr, cr), (sp, cp), (sy, cy) = (
            (math.sin(angle), math.cos(angle)) for angle in (self.roll, self.pitch, self.yaw))
        return np.array([
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr]])

    @classmethod
    def of(cls, rotation: NDArray[np.float64]) -> HeadPose:
        """Return the pose of a rotation matrix."""
        return cls(
            math.atan2(rotation[2, 1], rotation[2, 2]),
            -math.asin(max(-1.0, min(1.0, float(rotation[2, 0])))),
            math.atan2(rotation[1, 0], rotation[0, 0]))


class TurningHead:
    """
    One head, ready to be turned.

    :param points: ``(>= 468, 3)`` mesh of the face in pixels of the picture
    :param size: width and height of the picture
    """

    def __init__(self, points: NDArray[np.float32], size: tuple[int, int]) -> None:
        face = np.asarray(points[:468], np.float64)
        half_width = float(face[_LEFT_SIDE, 0] - face[_RIGHT_SIDE, 0]) / 2
        half_height = float(face[_CHIN, 1] - face[_TOP, 1]) / 2
        sides = face[[_RIGHT_SIDE, _LEFT_SIDE]].mean(axis=0)
        middle = np.array([sides[0], (face[_TOP, 1] + face[_CHIN, 1]) / 2])
        # The neck bends about a point between the ears, as low as the chin.
        self._pivot = np.array([sides[0], face[_CHIN, 1], sides[2]])
        self._size = size
        reach = np.array([HEAD[0] * half_width, HEAD[1] * half_height, HEAD[2] * half_height])
        step = half_width / CELLS
        self._vertices, self._triangles = _grid(middle, reach * (1 + FADE), step)
        distance = _distance(self._vertices, middle, reach)
        part = np.clip((distance - 1) / FADE, 0.0, 1.0)
        self._weight = ((1 + np.cos(np.pi * part)) / 2)[:, None]
        depth = _relief(self._vertices, face, middle, reach, sides[2] + (BACK - 1) * half_width)
        self._vertices = np.column_stack([self._vertices, depth])

    def turn(self, picture: NDArray[np.uint8], pose: HeadPose) -> NDArray[np.uint8]:
        """
        Draw the picture with the head turned.

        :param picture: ``(height, width, 3)`` uint8, of the size and place that the mesh is of
        :param pose: relative to the pose in the photograph
        :return: a new image of the same shape
        """
        turned = self.moved(self._vertices, pose)
        turned = self._vertices + self._weight * (turned - self._vertices)
        source = _source_map(self._vertices[:, :2], turned, self._triangles, self._size)
        return np.asarray(cv2.remap(
            picture, source, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            np.uint8)

    def moved(self, points: NDArray[np.floating], pose: HeadPose) -> NDArray[np.float64]:
        """
        Say where points of the head come to lie.

        :param points: ``(n, 3)`` in the photograph: x, y in pixels, z away from the camera
        """
        # Image axes x, y, z are the person's left, down and backward.
        rep = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        rotation = rep.T @ pose.rotation @ rep
        moved: NDArray[np.float64] = (points - self._pivot) @ rotation.T + self._pivot
        return moved


def _distance(
    points: NDArray[np.float64], middle: NDArray[np.float64], reach: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Distance from the middle of the face, 1 on the head's outline."""
    x, y = (points - middle).T
    return np.asarray(np.hypot(x / reach[0], y / np.where(y < 0, reach[1], reach[2])), np.float64)


def _grid(
    middle: NDArray[np.float64], reach: NDArray[np.float64], step: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return ``(n, 2)`` corners and ``(m, 3)`` triangles over all that moves; they may leave the
    picture, so that what comes in from its edge has a place to come from.
    """
    across, down = (
        np.linspace(centre - before, centre + after, math.ceil((before + after) / step) + 1)
        for centre, before, after in zip(middle, reach[:2], reach[[0, 2]]))
    vertices = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
    index = np.arange(len(vertices)).reshape(len(down), len(across))
    corners = [part.ravel() for part in (
        index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:])]
    upper = np.stack([corners[0], corners[1], corners[2]], -1)
    lower = np.stack([corners[1], corners[3], corners[2]], -1)
    return vertices, np.concatenate([upper, lower])


def _relief(
    where: NDArray[np.float64], face: NDArray[np.float64], middle: NDArray[np.float64],
    reach: NDArray[np.float64], back: float,
) -> NDArray[np.float64]:
    """Return the depth of the head: the face's own, led smoothly to its outline."""
    from scipy.interpolate import RBFInterpolator

    angle = np.arange(_RING) * (2 * np.pi / _RING)
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    ring = middle + ring * np.column_stack([
        np.full(_RING, reach[0]), np.where(ring[:, 1] < 0, reach[1], reach[2])])
    known = np.concatenate([face[:, :2], ring])
    depth = np.concatenate([face[:, 2], np.full(_RING, back)])
    unit = float(reach[0])
    fit = RBFInterpolator(
        known / unit, depth, kernel='thin_plate_spline', smoothing=1e-3)
    return np.asarray(np.clip(fit(where / unit), face[:, 2].min(), back), np.float64)


def _source_map(
    before: NDArray[np.float64], after: NDArray[np.float64], triangles: NDArray[np.int64],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """
    Say where each pixel of the turned picture comes from.

    :param before: ``(n, 2)`` corners in the picture
    :param after: ``(n, 3)`` the same turned
    :return: ``(height, width, 2)`` float32 for ``cv2.remap``
    """
    width, height = size
    corners = after[triangles]
    first, second = (corners[:, k, :2] - corners[:, 0, :2] for k in (1, 2))
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    shown = np.flatnonzero(area > 1e-3)  # the others face away
    shown = shown[np.argsort(-corners[shown, :, 2].mean(axis=1), kind='stable')]
    owner = np.full((height, width), -1, np.int32)
    drawn = np.rint(corners[shown, :, :2] * (1 << _SHIFT)).astype(np.int32)
    for number, corner in enumerate(drawn):
        cv2.fillConvexPoly(owner, corner, number, cv2.LINE_8, _SHIFT)
    # Affine map of each triangle back into the picture.
    edges = np.stack([first[shown], second[shown]], -1)
    origin = before[triangles[shown, 0]]
    back = np.stack([before[triangles[shown, k]] - origin for k in (1, 2)], -1)
    linear = back @ np.linalg.inv(edges)
    offset = origin - np.einsum('nij,nj->ni', linear, corners[shown, 0, :2])
    affine = np.concatenate([linear, offset[..., None]], -1).astype(np.float32)
    rows, columns = np.nonzero(owner >= 0)
    own = affine[owner[rows, columns]]
    source = np.stack(np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), -1)
    source[rows, columns] = (
        own[..., 0] * columns[:, None].astype(np.float32)
        + own[..., 1] * rows[:, None].astype(np.float32) + own[..., 2])
    return np.asarray(source, np.float32)
