# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Squares of a face with the eyes level, framed by its key points.

The frame follows the key points alone, so a face is cut the same whichever detector, or the mesh,
has placed them. A network that was trained on level faces of one size reads such a cut best.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.crop_map import crop_to_image
from aitable_ros.types import Detection

EYE_TO_MOUTH = 0.935
"""Distance between the eyes over distance from eyes to mouth, of a face seen from the front."""
MARGIN_PX = 10
"""Without key points, the recipe of the ``fer`` package: the box made square, plus 10 pixels."""
Square = tuple[float, float, float, float]
"""Centre x, centre y, side in pixels, angle in radians, clockwise as seen."""


def squares(
    detection: Detection, sides: Sequence[float], below_eyes: float,
) -> tuple[Square, ...]:
    """
    Say where to cut a face.

    :param sides: of the squares, in distances between the eyes
    :param below_eyes: centre of each square below the line of the eyes, in its sides
    """
    found = eyes_of(detection)
    if found is None:
        x1, y1, x2, y2 = (float(value) for value in detection.box)
        side = max(x2 - x1, y2 - y1) + 2 * MARGIN_PX
        return (((x1 + x2) / 2, (y1 + y2) / 2, side, 0.0),) * len(sides)
    middle, between, angle = found
    down = np.array([-math.sin(angle), math.cos(angle)]) * below_eyes
    return tuple(
        (*(middle + down * side * between).tolist(), side * between, angle) for side in sides)


def eyes_of(detection: Detection) -> tuple[NDArray[np.float64], float, float] | None:
    """
    Return the middle of the eyes, their distance in pixels and the angle of their line.

    The distance is that of a face seen from the front: in a turned face the eyes come nearer to
    each other, not to the mouth, so both count.

    :return: None where there are no key points of the eyes
    """
    points = detection.keypoints.astype(np.float64)
    eyes = points[1] - points[0] if len(points) >= 3 else np.zeros(2)
    between = math.hypot(*eyes)
    if between < 1.0:
        return None
    middle = (points[0] + points[1]) / 2
    if len(points) > 3:
        # Five points end in the corners of the mouth, BlazeFace's six have its middle.
        mouth = points[3:5].mean(axis=0) if len(points) == 5 else points[3]
        between = (between + EYE_TO_MOUTH * math.hypot(*(mouth - middle))) / 2
    return middle, between, math.atan2(eyes[1], eyes[0])


def cut(
    image: NDArray[np.uint8], wanted: Sequence[Square], size: int, *, gray: bool = False,
    samples: int = 2,
) -> list[NDArray[np.uint8]]:
    """
    Cut squares out of an image; outside the image its edge goes on.

    :param image: ``(h, w, 3)`` uint8 RGB
    :param wanted: the others lie in the last one
    :param size: side of the crops, pixels
    :param gray: return ``(size, size)`` gray instead of ``(size, size, 3)`` RGB
    :param samples: to average for a pixel, along each axis; 1 takes a third of the time of 2
    """
    fine = samples * size
    patch, (left, top), shrunk = _patch(image, wanted[-1], fine, gray)
    cuts = [
        _turned(patch, (x - left) / shrunk, (y - top) / shrunk, side / shrunk, angle, fine)
        for x, y, side, angle in wanted]
    return cuts if samples == 1 else [
        np.asarray(cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
        for one in cuts]


def _patch(
    image: NDArray[np.uint8], wanted: Square, fine: int, gray: bool,
) -> tuple[NDArray[np.uint8], tuple[int, int], int]:
    """Return the part of the image that the square lies in; its corner; its shrinking."""
    x, y, side, _ = wanted
    reach = side * math.sqrt(0.5) + 2
    height, width = image.shape[:2]
    left, top = min(max(int(x - reach), 0), width - 1), min(max(int(y - reach), 0), height - 1)
    right = max(min(math.ceil(x + reach), width), left + 1)
    bottom = max(min(math.ceil(y + reach), height), top + 1)
    patch = image[top:bottom, left:right]
    if gray:
        patch = np.asarray(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), np.uint8)
    # Averaged down first: a warp samples single pixels, and is slow on many.
    shrunk = min(max(int(side / fine), 1), *patch.shape[:2])
    if shrunk > 1:
        rows, columns = patch.shape[0] // shrunk, patch.shape[1] // shrunk
        whole = patch[:rows * shrunk, :columns * shrunk]
        patch = np.asarray(
            cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    return patch, (left, top), shrunk


def _turned(
    patch: NDArray[np.uint8], x: float, y: float, side: float, angle: float, fine: int,
) -> NDArray[np.uint8]:
    # The centre of the square is between pixels, whose own centres are at whole numbers.
    to_image = crop_to_image((x - 0.5, y - 0.5), angle, side / fine, (fine - 1, fine - 1))
    return np.asarray(cv2.warpAffine(
        patch, to_image, (fine, fine), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE), np.uint8)
