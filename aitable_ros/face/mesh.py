# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The face mesh: a rotated square crop goes in, landmarks in pixels of the whole image come out.

The crop is MediaPipe's (``face_detection_front_detection_to_roi.pbtxt`` and
``face_landmark_landmarks_to_roi.pbtxt``): square, 1.5 times the longer side of the box, turned so
that the eyes are level, and beyond the image's edge the edge pixels repeated. The model was trained
on such crops; others cost accuracy.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.face.turned_crops import to_image, TurnedCrops
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection, FaceLandmarks

CROP_SCALE = 1.5
"""Side of the crop over the longer side of the box; MediaPipe's graphs."""

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
"""Mesh points whose line is levelled; MediaPipe's ``landmarks_to_roi``."""

FACE_POINTS = 468
"""The points of the face; the ten after them are the irises."""


def roi_from_detection(detection: Detection) -> NDArray[np.float32]:
    """
    Say where to cut the crop for a face that a detector found.

    :return: ``(4,)`` float32 ``[cx, cy, size, angle]``, pixels and radians, the angle clockwise as
        seen on the screen; upright where the detector gives no eyes
    """
    eyes = detection.keypoints[:2]
    return _roi(detection.box, eyes[0], eyes[1]) if len(eyes) == 2 else _roi(detection.box)


def roi_from_landmarks(landmarks: FaceLandmarks) -> NDArray[np.float32]:
    """
    Say where to cut the next crop of a face whose mesh is known: tracking without a detector.

    :return: ``(4,)`` float32 ``[cx, cy, size, angle]``, pixels and radians
    """
    points = landmarks.points
    return _roi(landmarks.box, points[RIGHT_EYE_OUTER, :2], points[LEFT_EYE_OUTER, :2])


def _roi(
    box: NDArray[np.float32], right_eye: NDArray[np.float32] | None = None,
    left_eye: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    x1, y1, x2, y2 = box.tolist()
    angle = 0.0
    if right_eye is not None and left_eye is not None:
        across, down = (left_eye - right_eye).tolist()
        angle = math.atan2(down, across)
    size = max(x2 - x1, y2 - y1) * CROP_SCALE
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, size, angle], np.float32)


class FaceMesh:
    """
    Landmarks of faces, one crop each.

    Buffers are kept between calls, so one instance serves one thread. The backend stays the
    caller's to close.

    :raises InputError: the model is not a face mesh
    """

    def __init__(self, backend: Backend) -> None:
        if not TurnedCrops.fits(backend, {'landmarks': 3, 'presence': 1}):
            spec = backend.inputs[0]
            raise InputError(
                f'{backend.model}: not a face mesh: it takes {spec.name} {list(spec.shape)} and '
                f"gives {', '.join(output.name for output in backend.outputs)}; use 'facemesh' or "
                "'facemesh_468'")
        self.crops = TurnedCrops(backend)

    def read(self, image: NDArray[np.uint8], rois: NDArray[np.float32]) -> list[FaceLandmarks]:
        """
        Find the landmarks in each region.

        :param image: ``(height, width, 3)`` uint8 RGB
        :param rois: ``(n, 4)`` float32 ``[cx, cy, size, angle]`` of :func:`roi_from_detection` or
            :func:`roi_from_landmarks`; they may reach beyond the image
        :return: one for each region, in its order; presence 0 where there is no image to look at
        :raises ValueError: a region that is not finite
        """
        rois = np.asarray(rois, np.float32).reshape(-1, 4)
        if not image.size:
            return [FaceLandmarks(np.zeros((FACE_POINTS, 3), np.float32), 0.0) for _ in rois]
        return [
            FaceLandmarks(to_image(outputs['landmarks'], matrix), _sigmoid(outputs['presence']))
            for outputs, matrix in self.crops.run(image, rois)]


def _sigmoid(logit: NDArray[np.float32]) -> float:
    return 1 / (1 + math.exp(-min(max(logit.item(), -100.0), 100.0)))
