# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""YOLOv8-face: the user's own model, in any of the layouts of :mod:`aitable_ros.face.yolov8`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.yolov8 import Layouts, Yolov8
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection

LAYOUTS = Layouts('YOLOv8-face', raw={5: 0, 15: 2, 20: 3}, finished={6: 0, 16: 2, 21: 3})
"""
Without key points, or with five: right eye, left eye (the person's), nose tip, right and left
corner of the mouth.
"""

SMALLEST_PX = 10
"""WIDER Face, which these models are trained on, labels faces from 10 pixels on."""


class Yolov8Face(Yolov8):
    """
    Finds faces.

    :param backend: stays the caller's to close
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend, LAYOUTS)
        self.smallest, self.largest = SMALLEST_PX / self.side, 1.0

    @staticmethod
    def fits(backend: Backend) -> bool:
        """Tell whether the model has the inputs and outputs of a YOLOv8-face export."""
        return Yolov8.has(backend, LAYOUTS)

    def detect(
        self, image: NDArray[np.uint8], confidence: float, iou: float,
    ) -> list[Detection]:
        """See :meth:`aitable_ros.face.detector.Detector.detect`."""
        found = self.answers(image, confidence, iou)
        return [
            Detection(box, float(score), points)
            for box, score, points in zip(found.boxes, found.scores, found.points)]
