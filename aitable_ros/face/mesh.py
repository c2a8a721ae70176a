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

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.crop_map import crop_to_image
from aitable_ros.errors import InputError
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection
from aitable_ros.types import FaceLandmarks

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
    x1, y1, x2, y2 = (float(edge) for edge in box)
    angle = 0.0
    if right_eye is not None and left_eye is not None:
        angle = math.atan2(float(left_eye[1] - right_eye[1]), float(left_eye[0] - right_eye[0]))
    size = max(x2 - x1, y2 - y1) * CROP_SCALE
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, size, angle], np.float32)


class FaceMesh:
    """
    Landmarks of faces, one crop each; all crops of a frame in one batch where the model allows it.

    Buffers are kept between calls, so one instance serves one thread. The backend stays the
    caller's to close.

    :raises InputError: the model is not a face mesh
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        spec = backend.inputs[0]
        outputs = {output.name: output.shape for output in backend.outputs}
        shape = spec.shape
        if len(shape) != 4 or shape[1] != shape[2] or not shape[1] or shape[3] != 3 \
                or not {'landmarks', 'presence'} <= outputs.keys():
            raise InputError(
                f'{backend.model}: not a face mesh: it takes {spec.name} {list(shape)} and gives '
                f"{', '.join(outputs)}; use 'facemesh' or 'facemesh_468'")
        self._input = spec.name
        self._side = int(shape[1])
        self._batches = shape[0] is None
        self._crop = np.empty((self._side, self._side, 3), np.uint8)
        self._tensor = np.empty((1, self._side, self._side, 3), np.float32)

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
        if not np.isfinite(rois).all():
            raise ValueError(f'regions of the face mesh must be finite, not {rois.tolist()}')
        if not len(rois):
            return []
        if not image.size:
            return [FaceLandmarks(np.zeros((FACE_POINTS, 3), np.float32), 0.0) for _ in rois]
        step = len(rois) if self._batches else 1
        if step > len(self._tensor):
            self._tensor = np.empty((step, self._side, self._side, 3), np.float32)
        found: list[FaceLandmarks] = []
        for start in range(0, len(rois), step):
            chunk = rois[start:start + step]
            matrices = [self._cut(image, roi, slot) for slot, roi in enumerate(chunk)]
            outputs = self._backend.infer({self._input: self._tensor[:len(chunk)]})
            logits = np.clip(outputs['presence'].reshape(-1), -100, 100)
            presences = 1 / (1 + np.exp(-logits.astype(np.float64)))
            found += [
                FaceLandmarks(_project(points, matrix), float(presence))
                for points, presence, matrix in zip(outputs['landmarks'], presences, matrices)]
        return found

    def _cut(
        self, image: NDArray[np.uint8], roi: NDArray[np.float32], slot: int,
    ) -> NDArray[np.float64]:
        """Fill one slot of the input; return the map from crop pixels to image pixels."""
        cx, cy, size, angle = roi.tolist()
        shape = (self._side, self._side)
        matrix = crop_to_image((cx, cy), angle, max(size, 1.0) / self._side, shape)
        cv2.warpAffine(
            image, matrix, shape, dst=self._crop,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
        np.multiply(self._crop, np.float32(1 / 255), out=self._tensor[slot])
        return matrix


def _project(
    points: NDArray[np.float32], matrix: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Crop pixels to image pixels; depth only scales."""
    (cos, minus_sin, x), (sin, _, y) = matrix.tolist()
    turn = np.array([
        [cos, sin, 0.0], [minus_sin, cos, 0.0], [0.0, 0.0, math.hypot(cos, sin)]], np.float32)
    projected: NDArray[np.float32] = points @ turn
    projected += np.array([x, y, 0.0], np.float32)
    return projected
