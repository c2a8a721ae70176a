# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Whether a face can be read at all: large enough, looking this way, sharp."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.types import Detection

NOSE_DEPTH = 0.65
"""
How far the nose tip stands before the line of the eyes, in distances between the eyes: makes an
angle of the nose's offset. MediaPipe's canonical face has 0.62; against the mesh's yaw on the
labelled clips (up to 0.4 rad) BlazeFace's points gave 0.70.
"""
SHARPNESS_PX = 64
"""Side of the picture on which sharpness is measured, so that it does not depend on distance."""


def turn(keypoints: NDArray[np.float32]) -> float:
    """
    Estimate how far a head is turned (yaw) from eyes and nose.

    :param keypoints: ``(k, 2)`` right eye, left eye, nose tip, ...; see
        :class:`aitable_ros.types.Detection`
    :return: radians, 0 = facing the camera, never negative; 0 where there are no key points
    """
    if len(keypoints) < 3:
        return 0.0
    right, left, nose = keypoints[:3].astype(np.float64)
    across = left - right
    distance = math.hypot(*across)
    if distance < 1e-6:
        return math.pi / 2
    offset = float(np.dot(nose - (right + left) / 2, across)) / distance ** 2
    return math.atan(abs(offset) / NOSE_DEPTH)


def sharpness(image: NDArray[np.uint8], box: NDArray[np.float32]) -> float:
    """
    Measure how sharp a face is, in the direction in which it is least so (motion blurs only one).

    :param image: ``(h, w, 3)`` uint8 RGB
    :return: variance of the second derivative over variance of the gray values, on 64 pixels; 0 for
        a box outside of the image
    """
    x1, y1, x2, y2 = _inside(image, box)
    if x2 <= x1 or y2 <= y1:
        return 0.0
    gray = cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY)
    small = np.asarray(
        cv2.resize(gray, (SHARPNESS_PX, SHARPNESS_PX), interpolation=cv2.INTER_AREA), np.float32)
    spread = float(small.var())
    if spread < 1.0:
        return 0.0
    return min(float(np.diff(small, 2, axis=axis).var()) for axis in (0, 1)) / spread


def is_readable(
    image: NDArray[np.uint8], detection: Detection, *, min_face_px: float, max_turn: float,
    min_sharpness: float,
) -> bool:
    """Return whether the part of a face in the image passes all gates; cheap gates first."""
    if not np.isfinite(detection.box).all() or not np.isfinite(detection.keypoints).all():
        return False
    x1, y1, x2, y2 = _inside(image, detection.box)
    if min(x2 - x1, y2 - y1) < min_face_px or turn(detection.keypoints) > max_turn:
        return False
    return min_sharpness <= 0 or sharpness(image, detection.box) >= min_sharpness


def _inside(image: NDArray[np.uint8], box: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Return the part of a box that lies in the image, rounded to pixels."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in box)
    return (
        round(min(max(x1, 0), width)), round(min(max(y1, 0), height)),
        round(min(max(x2, 0), width)), round(min(max(y2, 0), height)))
