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

from aitable_ros.face.boxes import merge
from aitable_ros.face.letterbox import Letterbox
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection

LOGIT_LIMIT = 100.0
"""``score_clipping_thresh``: keeps the exponential finite."""

KEYPOINTS = 6
"""Right eye, left eye, nose tip, mouth, right ear, left ear (the person's)."""

GRIDS = {128: ((16, 2), (8, 6)), 192: ((48, 1),)}
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


def anchors(side: int) -> NDArray[np.float32]:
    """
    Centres that the regressors are relative to; every anchor has the size of the image.

    :param side: of the input, 128 or 192
    :return: ``(896 or 2304, 2)`` float32 x, y in input pixels
    """
    layers: list[NDArray[np.float32]] = []
    for cells, copies in GRIDS[side]:
        centres = (np.arange(cells) + 0.5) * (side / cells)
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, copies, axis=0).astype(np.float32))
    return np.concatenate(layers)


class BlazeFace:
    """
    Both ranges; the input size of the model decides.

    :param backend: stays the caller's to close
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        spec = backend.inputs[0]
        self.side = int(spec.shape[1] or 0)
        self.smallest, self.largest = SMALLEST[self.side], LARGEST[self.side]
        self._input = spec.name
        self._boxes, self._scores = _outputs(backend)
        self._anchors = anchors(self.side)
        self._letterbox = Letterbox(self.side, fill=0)
        self._tensor = np.empty((1, self.side, self.side, 3), np.float32)

    @staticmethod
    def fits(backend: Backend) -> bool:
        """Tell whether the model has BlazeFace's inputs and outputs."""
        shape = backend.inputs[0].shape
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[1] not in GRIDS:
            return False
        return '' not in _outputs(backend)

    def detect(
        self, image: NDArray[np.uint8], confidence: float, iou: float,
    ) -> list[Detection]:
        """See :meth:`aitable_ros.face.detector.Detector.detect`."""
        placement = self._letterbox.place(image)
        logits, regressors = self._infer(self._letterbox.square)
        likely = np.flatnonzero(logits >= _logit(confidence))
        if not len(likely):
            return []
        scores = 1 / (1 + np.exp(-np.clip(logits[likely], -LOGIT_LIMIT, LOGIT_LIMIT)))
        points = _decode(regressors[likely], self._anchors[likely])
        good = np.isfinite(points).all(axis=(1, 2))
        points = placement.to_image(points[good])
        confidences = scores[good].astype(np.float32)
        corners = points[:, :2].reshape(-1, 4)
        return [
            Detection(
                box=mean[:4].astype(np.float32),
                confidence=score,
                keypoints=mean[4:].reshape(KEYPOINTS, 2).astype(np.float32))
            for score, mean in merge(corners, confidences, points.reshape(len(points), -1), iou)]

    def strongest(self, square: NDArray[np.uint8]) -> tuple[float, NDArray[np.float32]]:
        """
        Return the most face-like place, whether or not it is a face.

        :param square: ``(side, side, 3)`` uint8 RGB
        :return: logit of the score, and ``(6, 2)`` key points in pixels of the square
        """
        logits, regressors = self._infer(square)
        best = int(logits.argmax())
        points = _decode(regressors[best:best + 1], self._anchors[best:best + 1])[0, 2:]
        return float(np.clip(logits[best], -LOGIT_LIMIT, LOGIT_LIMIT)), points

    def _infer(
        self, square: NDArray[np.uint8],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the logits ``(n,)`` and regressors ``(n, 16)`` of all anchors."""
        tensor = self._tensor
        np.multiply(square, np.float32(1 / 127.5), out=tensor[0])
        np.subtract(tensor, np.float32(1), out=tensor)
        outputs = self._backend.infer({self._input: tensor})
        return outputs[self._scores].reshape(-1), outputs[self._boxes].reshape(-1, 16)


def _decode(
    regressors: NDArray[np.float32], centres: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Regressors ``(n, 16)`` to ``(n, 8, 2)`` input pixels: two corners, then the key points."""
    pairs = regressors.reshape(-1, 8, 2)
    points = pairs + centres[:, None]
    half = np.maximum(pairs[:, 1], 0) / 2
    middle = points[:, 0].copy()
    points[:, 0], points[:, 1] = middle - half, middle + half
    return points


def _logit(probability: float) -> float:
    """Inverse of the sigmoid, so that thousands of scores need not go through it."""
    probability = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(probability / (1 - probability)))


def _outputs(backend: Backend) -> tuple[str, str]:
    """Names of the regressors and of the scores, by shape; empty where there is none."""
    count = len(anchors(int(backend.inputs[0].shape[1] or 0)))
    names = {spec.shape[1:]: spec.name for spec in backend.outputs}
    return names.get((count, 16), ''), names.get((count, 1), '')
