# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
BlazeFace, MediaPipe's face detector: short range (128 px) and full range (192 px).

Anchors, decoding and suppression follow ``face_detection_short_range.pbtxt`` and
``face_detection_full_range.pbtxt``. Its box is square and goes from the brows to the chin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.letterbox import Letterbox
from aitable_ros.face.ssd import detections, Grid, SsdModel
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection

KEYPOINTS = 6
"""Right eye, left eye, nose tip, mouth, right ear, left ear (the person's)."""

GRIDS: dict[int, Grid] = {128: ((16, 2), (8, 6)), 192: ((48, 1),)}
"""
Cells a side and anchors a cell of each layer, by input side. Short range: strides 8, 16, 16, 16
with two anchors each; full range: stride 4 with one.
"""


SMALLEST = {128: 18 / 128, 192: 11 / 192}
"""
Measured on labelled groups: full range has recall 0.98 from 11 px on, 0.77 at 8 to 10 px, 0.4 at
7 px; short range 0.94 at 18 px, 0.88 at 15 px, 0.6 at 13 px.
"""

LARGEST = {128: 1.0, 192: 0.4}
"""
Measured on faces of 18 people placed, turned and lit at random. Full range: key points get worse
from 0.5 of the image on, recall 0.81 at 0.7, 0.52 at 0.8, 0.2 at 0.9; short range 1.0 from 0.4 to
0.9, 0.98 where the face fills the image.
"""


class BlazeFace:
    """
    Both ranges; the input size of the model decides.

    :param backend: stays the caller's to close
    """

    def __init__(self, backend: Backend) -> None:
        self._model = SsdModel(backend, GRIDS, KEYPOINTS)
        self.side = self._model.side
        self.smallest, self.largest = SMALLEST[self.side], LARGEST[self.side]
        self._letterbox = Letterbox(self.side, fill=0)

    @staticmethod
    def fits(backend: Backend) -> bool:
        """Return whether the model has BlazeFace's inputs and outputs."""
        return SsdModel.fits(backend, GRIDS, KEYPOINTS)

    def detect(
        self, image: NDArray[np.uint8], confidence: float, iou: float,
    ) -> list[Detection]:
        """See :meth:`aitable_ros.face.detector.Detector.detect`."""
        placement = self._letterbox.place(image)
        points, scores = self._model.candidates(self._letterbox.square, confidence)
        return detections(placement.to_image(points), scores, iou)

    def strongest(self, square: NDArray[np.uint8]) -> tuple[float, NDArray[np.float32]]:
        """See :meth:`aitable_ros.face.ssd.SsdModel.strongest`; ``(6, 2)`` key points."""
        return self._model.strongest(square)
