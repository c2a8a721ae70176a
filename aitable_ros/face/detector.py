# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The interface of face detectors, and the detector that fits a loaded model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection


class Detector(Protocol):
    """Finds faces in an image; keeps its buffers between calls, so one serves one thread."""

    side: int
    """Of its square input, pixels."""

    smallest: float
    """Side of the smallest face that it finds well, over the longer side of the image."""

    largest: float
    """Side of the largest face that it finds well; 1 where it has no limit."""

    def detect(
        self, image: NDArray[np.uint8], confidence: float, iou: float,
    ) -> list[Detection]:
        """
        Find the faces.

        :param image: ``(height, width, 3)`` uint8 RGB, not empty; a view of a larger one will do
        :param confidence: least score, 0 ... 1
        :param iou: answers that overlap more than this are one face
        :return: in pixels of the image, most confident first
        """


def detector_for(backend: Backend) -> Detector:
    """
    Choose by the shapes of the model's input and outputs, whatever the file is called.

    :raises InputError: no detector that we know has such inputs and outputs
    """
    from aitable_ros.face.blazeface import BlazeFace
    from aitable_ros.face.yolov8_face import Yolov8Face

    if len(backend.inputs) == 1:
        for kind in (BlazeFace, Yolov8Face):
            if kind.fits(backend):
                return kind(backend)
    inputs = ', '.join(f'{spec.name} {list(spec.shape)}' for spec in backend.inputs)
    outputs = ', '.join(f'{spec.name} {list(spec.shape)}' for spec in backend.outputs)
    raise InputError(
        f'{backend.model}: not a face detector that we know: it takes {inputs} and gives '
        f"{outputs}; use 'blazeface_full', 'blazeface_short' or a YOLOv8-face export")
