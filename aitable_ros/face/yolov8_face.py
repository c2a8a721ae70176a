# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
YOLOv8-face, as Ultralytics exports it: the user's own model, any of its three output layouts.

``[1, 5, n]`` boxes and scores, n being whatever number the scales of the model come to;
``[1, 20, n]`` with five key points of x, y, visibility (or ``[1, 15, n]`` of x, y); ``[1, k, 6+]``
end to end, suppressed inside the graph.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.boxes import suppress
from aitable_ros.face.letterbox import Letterbox
from aitable_ros.inference.protocol import Backend, BackendError
from aitable_ros.types import Detection

SIDE = 640
"""Input side where the model leaves it open; Ultralytics' default."""

FILL = 114
"""Grey of the margin in training."""

KEYPOINTS = 5
"""Right eye, left eye (the person's), nose tip, right and left corner of the mouth."""

RAW_COLUMNS = {5: 0, 15: 2, 20: 3}
"""Values an answer, box and score first; and how many of them a key point takes."""

FINISHED_COLUMNS = {6: 0, 16: 2, 21: 3}
"""The same with the class after the score."""


SMALLEST_PX = 10
"""WIDER Face, which these models are trained on, labels faces from 10 pixels on."""


class Yolov8Face:
    """
    The shape of the output decides which layout the model has.

    :param backend: stays the caller's to close
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        spec = backend.inputs[0]
        self.side = int(spec.shape[2] or SIDE)
        self.smallest, self.largest = SMALLEST_PX / self.side, 1.0
        self._input, self._output = spec.name, backend.outputs[0].name
        self._letterbox = Letterbox(self.side, FILL)
        self._tensor = np.empty((1, 3, self.side, self.side), np.float32)

    @staticmethod
    def fits(backend: Backend) -> bool:
        """Tell whether the model has the inputs and outputs of a YOLOv8-face export."""
        shape = backend.inputs[0].shape
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or len(backend.outputs) != 1:
            return False
        output = backend.outputs[0].shape
        return len(output) == 3 and (output[1] in RAW_COLUMNS or output[2] in FINISHED_COLUMNS)

    def detect(
        self, image: NDArray[np.uint8], confidence: float, iou: float,
    ) -> list[Detection]:
        """See :meth:`aitable_ros.face.detector.Detector.detect`."""
        placement = self._letterbox.place(image)
        np.multiply(
            self._letterbox.square.transpose(2, 0, 1), np.float32(1 / 255), out=self._tensor[0])
        output = self._backend.infer({self._input: self._tensor})[self._output][0]
        corners, scores, keypoints = self._read(np.asarray(output, np.float32))
        good = (scores >= confidence) & np.isfinite(corners).all(axis=1)
        good &= np.isfinite(keypoints).all(axis=(1, 2))
        good &= (corners[:, 2:] > corners[:, :2]).all(axis=1)
        scores = scores[good]
        corners = placement.to_image(corners[good].reshape(-1, 2, 2)).reshape(-1, 4)
        keypoints = placement.to_image(keypoints[good])
        return [
            Detection(corners[index], float(scores[index]), keypoints[index])
            for index in suppress(corners, scores, iou)]

    def _read(
        self, output: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Corners ``(n, 4)``, scores ``(n,)`` and key points ``(n, 0 or 5, 2)``, input pixels."""
        # Finished first: the raw answers of the smallest input are more than its columns.
        if output.shape[1] in FINISHED_COLUMNS:
            rows, width = output, FINISHED_COLUMNS[output.shape[1]]
            corners, rest = rows[:, :4], rows[:, 6:]
        elif output.shape[0] in RAW_COLUMNS:
            rows, width = output.T, RAW_COLUMNS[output.shape[0]]
            centres, half = rows[:, :2], rows[:, 2:4] / 2
            corners, rest = np.concatenate([centres - half, centres + half], axis=1), rows[:, 5:]
        else:
            raise BackendError(f'{self._backend.model}: its answer {list(output.shape)} is of no '
                               'layout of YOLOv8-face')
        keypoints = rest.reshape(len(rows), -1, width)[..., :2] if width else np.zeros(
            (len(rows), 0, 2), np.float32)
        return corners, rows[:, 4], keypoints
