# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
YOLOv8 with key points, as Ultralytics exports it: from an image to boxes, scores and key points.

Raw answers are ``[1, columns, n]``, n being whatever number the scales of the model come to: centre
and size of the box, score, key points. Finished ones are ``[1, k, columns]``, suppressed inside the
graph: corners, score, class, key points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.boxes import suppress
from aitable_ros.face.letterbox import Letterbox
from aitable_ros.inference.protocol import Backend, BackendError

SIDE = 640
"""Input side where the model leaves it open; Ultralytics' default."""

FILL = 114
"""Grey of the margin in training."""

CANDIDATES = 1000
"""Most answers that are compared with each other, the best ones: torchvision's default before
suppression. A broken model that is sure of all of its 8400 took 9 s and 2 GB an image."""


@dataclass(frozen=True, slots=True)
class Layouts:
    """
    The layouts of one kind of model.

    :param spoken: the kind, for messages
    :param raw: values a raw answer, and how many of them a key point takes (0: no key points)
    :param finished: the same of a finished answer
    """

    spoken: str
    raw: Mapping[int, int]
    finished: Mapping[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """
    What the model found in an image, most confident first.

    :param boxes: ``(n, 4)`` float32 ``[x1, y1, x2, y2]``, pixels of the image
    :param scores: ``(n,)`` float32
    :param points: ``(n, k, 2)`` float32, pixels of the image
    :param visibility: ``(n, k)`` float32; ones where the model does not tell
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    points: NDArray[np.float32]
    visibility: NDArray[np.float32]


class Yolov8:
    """
    The shape of the output decides which layout the model has.

    :param backend: stays the caller's to close
    """

    def __init__(self, backend: Backend, layouts: Layouts) -> None:
        self._backend, self._layouts = backend, layouts
        spec = backend.inputs[0]
        self.side = int(spec.shape[2] or SIDE)
        self._input, self._output = spec.name, backend.outputs[0].name
        self._letterbox = Letterbox(self.side, FILL)
        self._tensor = np.empty((1, 3, self.side, self.side), np.float32)

    @staticmethod
    def has(backend: Backend, layouts: Layouts) -> bool:
        """Tell whether a model has the inputs and outputs of such an export."""
        shape = backend.inputs[0].shape
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or len(backend.outputs) != 1:
            return False
        output = backend.outputs[0].shape
        return len(output) == 3 and (output[1] in layouts.raw or output[2] in layouts.finished)

    def answers(self, image: NDArray[np.uint8], confidence: float, iou: float) -> Answers:
        """
        Run the model on an image.

        :param image: ``(height, width, 3)`` uint8 RGB, not empty
        :param confidence: least score
        :param iou: of two answers that overlap more than this the weaker goes
        """
        placement = self._letterbox.place(image)
        np.multiply(
            self._letterbox.square.transpose(2, 0, 1), np.float32(1 / 255), out=self._tensor[0])
        output = self._backend.infer({self._input: self._tensor})[self._output][0]
        corners, scores, keypoints = self._read(np.asarray(output, np.float32))
        good = (scores >= confidence) & np.isfinite(corners).all(axis=1)
        good &= np.isfinite(keypoints).all(axis=(1, 2))
        good &= (corners[:, 2:] > corners[:, :2]).all(axis=1)
        kept = np.flatnonzero(good)
        if len(kept) > CANDIDATES:
            kept = kept[np.argsort(-scores[kept], kind='stable')[:CANDIDATES]]
        scores, keypoints = scores[kept], keypoints[kept]
        boxes = placement.to_image(corners[kept].reshape(-1, 2, 2)).reshape(-1, 4)
        best = suppress(boxes, scores, iou)
        keypoints = keypoints[best]
        visibility = keypoints[..., 2] if keypoints.shape[2] == 3 else np.ones(
            keypoints.shape[:2], np.float32)
        return Answers(boxes[best], scores[best], placement.to_image(keypoints[..., :2]),
                       visibility)

    def _read(
        self, output: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Corners ``(n, 4)``, scores ``(n,)`` and key points ``(n, k, 2 or 3)``, input pixels."""
        # Finished first: the raw answers of the smallest input are more than its columns.
        if output.shape[1] in self._layouts.finished:
            rows, width = output, self._layouts.finished[output.shape[1]]
            corners, rest = rows[:, :4], rows[:, 6:]
        elif output.shape[0] in self._layouts.raw:
            rows, width = output.T, self._layouts.raw[output.shape[0]]
            centres, half = rows[:, :2], rows[:, 2:4] / 2
            corners, rest = np.concatenate([centres - half, centres + half], axis=1), rows[:, 5:]
        else:
            raise BackendError(f'{self._backend.model}: its answer {list(output.shape)} is of no '
                               f'layout of {self._layouts.spoken}')
        keypoints = rest.reshape(len(rows), -1, width) if width else np.zeros(
            (len(rows), 0, 2), np.float32)
        return corners, rows[:, 4], keypoints
