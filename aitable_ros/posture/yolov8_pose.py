# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
YOLOv8-pose: the user's own model, which finds all bodies of an image with COCO's 17 joints.

Raw, ``[1, 56, n]``, or end to end, ``[1, k, 57]``: see :mod:`aitable_ros.face.yolov8`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.yolov8 import Layouts, Yolov8
from aitable_ros.inference.protocol import Backend
from aitable_ros.posture_types import Joint, JOINTS, NAN, Skeleton

COCO = (
    Joint.NOSE, Joint.LEFT_EYE, Joint.RIGHT_EYE, Joint.LEFT_EAR, Joint.RIGHT_EAR,
    Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER, Joint.LEFT_ELBOW, Joint.RIGHT_ELBOW,
    Joint.LEFT_WRIST, Joint.RIGHT_WRIST, Joint.LEFT_HIP, Joint.RIGHT_HIP,
    Joint.LEFT_KNEE, Joint.RIGHT_KNEE, Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE)
"""COCO's order of the joints."""

LAYOUTS = Layouts(
    'YOLOv8-pose', raw={5 + 3 * len(COCO): 3}, finished={6 + 3 * len(COCO): 3})

CONFIDENCE = 0.5
"""Least score of a body that is new: as of faces."""

FAINT = 0.25
"""Least score of one that is followed; Ultralytics' default."""

NMS_IOU = 0.7
"""Ultralytics' default. People who sit side by side overlap by less."""


class Yolov8Pose(Yolov8):
    """
    Finds bodies and their joints.

    :param backend: stays the caller's to close
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend, LAYOUTS)

    @staticmethod
    def fits(backend: Backend) -> bool:
        """Tell whether the model has the inputs and outputs of a YOLOv8-pose export."""
        return Yolov8.has(backend, LAYOUTS)

    def detect(
        self, image: NDArray[np.uint8], confidence: float = CONFIDENCE, iou: float = NMS_IOU,
    ) -> list[tuple[NDArray[np.float32], Skeleton]]:
        """
        Find the bodies.

        :param image: ``(height, width, 3)`` uint8 RGB, not empty
        :param confidence: least score, 0 ... 1
        :param iou: of two answers whose boxes overlap more than this the weaker goes
        :return: the box ``[x1, y1, x2, y2]`` in pixels and the joints, most confident first. The
            other joints are NaN and not visible, as are depth and metres, which no such model has
        """
        found = self.answers(image, confidence, iou)
        return [
            (box, _skeleton(points, visibility, float(score)))
            for box, points, visibility, score in zip(
                found.boxes, found.points, found.visibility, found.scores)]


def _skeleton(
    points: NDArray[np.float32], visibility: NDArray[np.float32], score: float,
) -> Skeleton:
    placed = np.full((JOINTS, 3), NAN, np.float32)
    placed[list(COCO), :2] = points
    seen = np.zeros(JOINTS, np.float32)
    seen[list(COCO)] = visibility
    return Skeleton(placed, seen, np.full((JOINTS, 3), NAN, np.float32), score)
