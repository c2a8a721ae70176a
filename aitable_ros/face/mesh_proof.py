# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Whether a face mesh lies on a face.

The mesh model fits hair, a forehead, a hand or text as readily as a face, with a high presence and
a plausible shape. The face detector, looking at the same crop, does not. So the detector's answer
is compared with the mesh: its score, and where it sees the eyes, the nose and the mouth.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.crop_map import crop_to_image
from aitable_ros.errors import InputError
from aitable_ros.face.blazeface import BlazeFace
from aitable_ros.face.detector import detector_for
from aitable_ros.face.mesh import roi_from_landmarks
from aitable_ros.face.tracker import MESH_KEYPOINTS
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import FaceLandmarks

WIDER = 1.3
"""Side of the detector's crop over that of the mesh's: shows BlazeFace the face at the size that it
knows best."""

LEAST_MARGIN = 0.5
"""
Least logit of a mesh that lies on a face, less :data:`DISTANCE_WEIGHT` times the distance.
Measured on 31 clips of 26 people: meshes on faces have at least 0.32 (1 % below 1.33), those on the
crown of one man's head at most 0.25 (95 % below 0.02).
"""

FARTHEST = 0.42
"""Greatest distance of a key point from a mesh that lies on a face, in eye distances: 0.40 was the
greatest on faces, in three-quarter view. Farther off, the mesh slides onto a face or off it."""

DISTANCE_WEIGHT = 2.0
"""Logits that one eye distance between a key point and the mesh takes from the margin."""

LEAST_UNIT = 0.35
"""The eye distance of a face in profile shrinks. Key points are then compared with this share of
the mesh's longer side."""


class MeshProof:
    """
    Compares meshes with the answer of a detector in the same place.

    Buffers are kept between calls, so one instance serves one thread.

    :param backend: BlazeFace short range; stays the caller's to close
    :raises InputError: the model is no BlazeFace
    """

    def __init__(self, backend: Backend) -> None:
        detector = detector_for(backend)
        if not isinstance(detector, BlazeFace):
            raise InputError(
                f"parameter 'proof' ({backend.model}): meshes are proved with a BlazeFace; use "
                "'blazeface_short' or 'off'")
        self._detector = detector
        self._crop = np.zeros((detector.side, detector.side, 3), np.uint8)

    def holds(self, image: NDArray[np.uint8], landmarks: FaceLandmarks) -> bool:
        """
        Return whether a mesh lies on a face.

        :param image: ``(height, width, 3)`` uint8 RGB, the one that the mesh was found in
        """
        logit, apart = self.compare(image, landmarks)
        return apart <= FARTHEST and logit - DISTANCE_WEIGHT * apart >= LEAST_MARGIN

    def compare(
        self, image: NDArray[np.uint8], landmarks: FaceLandmarks,
    ) -> tuple[float, float]:
        """
        Look where a mesh lies.

        :return: the logit of the most face-like place there, and the greatest distance of its
            eyes, nose and mouth from those of the mesh, in eye distances
        """
        cx, cy, size, angle = roi_from_landmarks(landmarks).tolist()
        side = self._detector.side
        matrix = crop_to_image((cx, cy), angle, max(size * WIDER, 1.0) / side, (side, side))
        cv2.warpAffine(
            image, matrix, (side, side), dst=self._crop,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT)
        logit, keypoints = self._detector.strongest(self._crop)
        seen = keypoints[:4] @ matrix[:, :2].T + matrix[:, 2]
        points = landmarks.points
        meant = points[MESH_KEYPOINTS[len(keypoints)], :2].mean(axis=0)[:4]
        box = landmarks.box
        unit = max(
            float(np.hypot(*(meant[1] - meant[0]))),
            LEAST_UNIT * float(max(box[2] - box[0], box[3] - box[1])), 1e-6)
        return logit, float(np.hypot(*(seen - meant).T).max()) / unit
