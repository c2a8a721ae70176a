# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
BlazePose's detector: finds bodies by their faces, with four points that say how they are turned.

Anchors, decoding and suppression follow ``pose_detection_cpu.pbtxt`` of MediaPipe.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.crop_map import crop_to_image
from aitable_ros.errors import InputError
from aitable_ros.face.ssd import detections, Grid, SsdModel
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection

KEYPOINTS = 4
"""Mid-hip, a point on the circle around the body, mid-shoulder, one on that of the upper body."""

GRIDS: dict[int, Grid] = {224: ((28, 2), (14, 2), (7, 6))}
"""Cells a side and anchors a cell: strides 8, 16 and three times 32, two anchors each."""

CONFIDENCE, NMS_IOU = 0.5, 0.3
"""``min_score_thresh`` and ``min_suppression_threshold`` of MediaPipe's graph."""


class BlazePoseDetector:
    """
    Finds bodies. It keeps its buffers between calls, so one instance serves one thread.

    :param backend: stays the caller's to close
    :raises InputError: the model is another one
    """

    def __init__(self, backend: Backend) -> None:
        if len(backend.inputs) != 1 or not SsdModel.fits(backend, GRIDS, KEYPOINTS):
            inputs = ', '.join(f'{spec.name} {list(spec.shape)}' for spec in backend.inputs)
            raise InputError(f'{backend.model}: not a body detector: it takes {inputs}; use '
                             "'blazepose_detector'")
        self._model = SsdModel(backend, GRIDS, KEYPOINTS)
        self.side = self._model.side
        self._square = np.zeros((self.side, self.side, 3), np.uint8)

    def detect(
        self, image: NDArray[np.uint8], confidence: float = CONFIDENCE, iou: float = NMS_IOU,
    ) -> list[Detection]:
        """
        Find the bodies.

        The image is sampled bilinearly as MediaPipe does: averaging would move the points by
        more than a pixel.

        :param image: ``(height, width, 3)`` uint8 RGB, not empty
        :param confidence: least score, 0 ... 1
        :param iou: answers whose boxes overlap more than this are one body
        :return: the box of the face and :data:`KEYPOINTS` points in pixels of the image, most
            confident first
        """
        height, width = image.shape[:2]
        side = self.side
        matrix = crop_to_image(
            (width / 2, height / 2), 0.0, max(height, width) / side, (side, side))
        cv2.warpAffine(
            image, matrix, (side, side), dst=self._square,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT)
        points, scores = self._model.candidates(self._square, confidence)
        points = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        return detections(points, scores, iou)
