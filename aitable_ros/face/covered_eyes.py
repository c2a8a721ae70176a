# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Whether both eyes are covered: by a hand, hair, dark glasses, print.

The mesh fits open eyes to whatever covers them, with a presence near 1. So the pictures of the
eyes are looked at: a patch without edges is no eye, nor is one that no mixture of eyes explains.
"""

from __future__ import annotations

import base64
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.crop_map import crop_to_image
from aitable_ros.face.eye_table import EYES, MEAN, SCALES
from aitable_ros.types import FaceLandmarks

Patch = NDArray[np.uint8]
Floats = NDArray[np.float32]

RIGHT_CORNERS, LEFT_CORNERS = (33, 133), (362, 263)
"""Mesh points of the corners of each eye, from left to right in the image."""
WIDTH, HEIGHT = 48, 24
"""Of a patch, pixels."""
PATCH_WIDER = 1.6
"""Width of a patch over that of the eye."""
LEAST_EYE = 0.12
"""An eye that is turned away is taken to be this share of the face's longer side wide."""
SMALL = (16, 8)
"""Size at which a patch is compared with eyes."""
LEAST_EYE_PX = 13.0
"""Eyes narrower than this show too little: faces of some 80 pixels."""
SOFTEN = 4.0
"""Gray values added to the contrast: noise on a flat patch is not stretched to a pattern."""
LEAST_NORM = 0.17
"""Contrast below which a patch counts as if it had this one, for each of its pixels."""

STRANGE = 0.898
"""Share of a patch that eyes do not explain, from which on it is no eye; the lesser of both."""
FLAT = 0.0071
"""
Mean step from pixel to pixel along the eye, over the face's brightness, below which nothing is
there to see; the larger of both eyes.

The two limits together call 0.6 % of 4,424 uncovered pairs of eyes of 26 people covered, nearly all
of faces under 80 pixels, and of covers drawn on those people: bar 1.00, dark glasses 0.94, print
0.85, hair 0.70, hand 0.05. The proof of the mesh finds 0.84 of the hands.
"""
DARK = 10.0
"""Gray values added to the brightness: a step in the dark is noise."""
BRIGHTEST = 255.0 + DARK
"""No face is brighter."""


def eyes_covered(image: NDArray[np.uint8], landmarks: FaceLandmarks) -> bool:
    """
    Return whether neither eye can be seen; False where the eyes are too small to decide.

    :param image: ``(height, width, 3)`` uint8 RGB, the one that the mesh was found in
    """
    points = landmarks.points
    width = max(
        math.dist(points[left, :2], points[right, :2])
        for left, right in (RIGHT_CORNERS, LEFT_CORNERS))
    if width < LEAST_EYE_PX:
        return False
    strange, steps = [], []
    for side, corners in enumerate((RIGHT_CORNERS, LEFT_CORNERS)):
        patch = _patch(image, landmarks, corners)
        strange.append(unexplained(small(patch, side)))
        steps.append(_steps(patch))
        if strange[-1] <= STRANGE and steps[-1] >= FLAT * BRIGHTEST:
            return False  # one eye that is plainly seen decides; most faces have one
    if min(strange) > STRANGE:
        return True
    brightness = float(_around(image, landmarks).mean()) + DARK
    return max(steps) < FLAT * brightness


def eye_patches(image: NDArray[np.uint8], landmarks: FaceLandmarks) -> tuple[Patch, Patch]:
    """Cut out the person's right and left eye, level, ``(HEIGHT, WIDTH)`` uint8 gray."""
    right, left = (
        _patch(image, landmarks, corners) for corners in (RIGHT_CORNERS, LEFT_CORNERS))
    return right, left


def small(patch: Patch, side: int) -> Floats:
    """
    Make a patch ready to be compared with eyes.

    :param side: 0 the right eye, 1 the left one, which is mirrored
    :return: ``(128,)`` float32 without mean, by its contrast
    """
    shrunk = cv2.resize(patch, SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)
    flat = (shrunk[:, ::-1] if side else shrunk).reshape(-1)
    flat = flat - flat.mean()
    ready: Floats = flat / (flat.std() + np.float32(SOFTEN))
    return ready


def unexplained(ready: Floats) -> float:
    """Return the share of a patch of :func:`small` that no mixture of eyes explains, 0 ... 1."""
    rest = ready - _MEAN
    rest = rest - _EYES.T @ (_EYES @ rest)
    least = LEAST_NORM * math.sqrt(rest.size)
    return float(np.linalg.norm(rest)) / max(float(np.linalg.norm(ready)), least)


def _patch(
    image: NDArray[np.uint8], landmarks: FaceLandmarks, corners: tuple[int, int],
) -> Patch:
    (ax, ay), (bx, by) = (landmarks.points[corner, :2].tolist() for corner in corners)
    box = landmarks.box
    side = float(max(box[2] - box[0], box[3] - box[1]))
    width = max(math.hypot(bx - ax, by - ay), LEAST_EYE * side, 1.0)
    angle = math.atan2(by - ay, bx - ax)
    matrix = crop_to_image(
        ((ax + bx) / 2, (ay + by) / 2), angle, PATCH_WIDER * width / WIDTH, (WIDTH, HEIGHT))
    cut = cv2.warpAffine(
        image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), np.uint8)


def _around(image: NDArray[np.uint8], landmarks: FaceLandmarks) -> NDArray[np.uint8]:
    """Return the middle of the face, for its brightness."""
    left, top, right, bottom = landmarks.box.tolist()
    inset_x, inset_y = (right - left) / 4, (bottom - top) / 4
    height, width = image.shape[:2]
    x1, x2 = sorted(min(max(round(x), 0), width - 1) for x in (left + inset_x, right - inset_x))
    y1, y2 = sorted(min(max(round(y), 0), height - 1) for y in (top + inset_y, bottom - inset_y))
    return image[y1:y2 + 1:2, x1:x2 + 1:2]


def _steps(patch: Patch) -> float:
    """Return the mean step along the rows in the middle of a patch, gray values."""
    inner = patch[6:18, 10:38].astype(np.int16)
    return float(np.abs(np.diff(inner, axis=1)).mean())


def _table(text: str) -> Floats:
    return np.frombuffer(base64.b85decode(text), np.int8).astype(np.float32)


_MEAN = _table(MEAN) * np.float32(SCALES[0])
_EYES = _table(EYES).reshape(len(SCALES) - 1, -1) * np.array(SCALES[1:], np.float32)[:, None]
