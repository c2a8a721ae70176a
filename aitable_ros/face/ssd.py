# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
MediaPipe's single-shot detectors: a grid of anchors, each with a score, a box and key points.

Follows ``SsdAnchorsCalculator``, ``TensorsToDetectionsCalculator`` and
``NonMaxSuppressionCalculator``. BlazeFace finds faces in this way, and BlazePose bodies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.boxes import merge
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection

LOGIT_LIMIT = 100.0
"""``score_clipping_thresh``: keeps the exponential finite."""

Grid = Sequence[tuple[int, int]]
"""Cells a side and anchors a cell of each layer."""


def anchors(side: int, grid: Grid) -> NDArray[np.float32]:
    """
    Return the centres that the regressors are relative to; every anchor has the input's size.

    :param side: of the input, pixels
    :return: ``(n, 2)`` float32 x, y in input pixels
    """
    layers: list[NDArray[np.float32]] = []
    for cells, copies in grid:
        centres = (np.arange(cells) + 0.5) * (side / cells)
        points = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(points, copies, axis=0).astype(np.float32))
    return np.concatenate(layers)


class SsdModel:
    """
    A model with anchors. It keeps its buffer between calls, so one instance serves one thread.

    :param backend: stays the caller's to close
    :param grids: layers of anchors, by side of the input
    :param keypoints: number of key points of an anchor
    """

    def __init__(self, backend: Backend, grids: dict[int, Grid], keypoints: int) -> None:
        self._backend = backend
        spec = backend.inputs[0]
        self.side = int(spec.shape[1] or 0)
        self._input = spec.name
        self._anchors = anchors(self.side, grids[self.side])
        self._points = keypoints + 2
        self._boxes, self._scores = _outputs(backend, self._anchors, keypoints)
        self._tensor = np.empty((1, self.side, self.side, 3), np.float32)

    @staticmethod
    def fits(backend: Backend, grids: dict[int, Grid], keypoints: int) -> bool:
        """Return whether the model has the inputs and outputs of such a detector."""
        shape = backend.inputs[0].shape
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[1] not in grids:
            return False
        return '' not in _outputs(backend, anchors(shape[1], grids[shape[1]]), keypoints)

    def candidates(
        self, square: NDArray[np.uint8], confidence: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """
        Return the anchors that answer, before suppression.

        :param square: ``(side, side, 3)`` uint8 RGB
        :param confidence: least score, 0 ... 1
        :return: ``(n, 2 + k, 2)`` corners of the box and key points, input pixels; ``(n,)`` scores
        """
        logits, regressors = self._infer(square)
        likely = np.flatnonzero(logits >= _logit(confidence))
        points = self._decode(regressors[likely], self._anchors[likely])
        good = np.isfinite(points).all(axis=(1, 2))
        scores = 1 / (1 + np.exp(-np.clip(logits[likely[good]], -LOGIT_LIMIT, LOGIT_LIMIT)))
        return points[good], scores.astype(np.float32)

    def strongest(self, square: NDArray[np.uint8]) -> tuple[float, NDArray[np.float32]]:
        """
        Return the most likely place, whether or not it is likely.

        :param square: ``(side, side, 3)`` uint8 RGB
        :return: logit of the score, and ``(k, 2)`` key points in pixels of the square
        """
        logits, regressors = self._infer(square)
        best = int(logits.argmax())
        points = self._decode(regressors[best:best + 1], self._anchors[best:best + 1])[0, 2:]
        return float(np.clip(logits[best], -LOGIT_LIMIT, LOGIT_LIMIT)), points

    def _infer(
        self, square: NDArray[np.uint8],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the logits ``(n,)`` and regressors ``(n, 2 * points)`` of all anchors."""
        tensor = self._tensor
        np.multiply(square, np.float32(1 / 127.5), out=tensor[0])
        np.subtract(tensor, np.float32(1), out=tensor)
        outputs = self._backend.infer({self._input: tensor})
        return outputs[self._scores].reshape(-1), outputs[self._boxes][0]

    def _decode(
        self, regressors: NDArray[np.float32], centres: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return input pixels ``(n, points, 2)``: two corners of the box, then the key points."""
        pairs = regressors.reshape(-1, self._points, 2)
        points = pairs + centres[:, None]
        half = np.maximum(pairs[:, 1], 0) / 2
        middle = points[:, 0].copy()
        points[:, 0], points[:, 1] = middle - half, middle + half
        return points


def detections(
    points: NDArray[np.float32], scores: NDArray[np.float32], iou: float,
) -> list[Detection]:
    """
    Merge candidates that overlap, weighed by score.

    :param points: ``(n, 2 + k, 2)`` of :meth:`SsdModel.candidates`, in pixels of any image
    :param iou: candidates that overlap more than this are one
    :return: most confident first
    """
    if not len(points):
        return []
    corners = points[:, :2].reshape(-1, 4)
    return [
        Detection(
            box=mean[:4].astype(np.float32), confidence=score,
            keypoints=mean[4:].reshape(-1, 2).astype(np.float32))
        for score, mean in merge(corners, scores, points.reshape(len(points), -1), iou)]


def _logit(probability: float) -> float:
    """Return the inverse of the sigmoid, so that thousands of scores need not go through it."""
    probability = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(probability / (1 - probability)))


def _outputs(
    backend: Backend, centres: NDArray[np.float32], keypoints: int,
) -> tuple[str, str]:
    """Return the names of regressors and scores, by shape; empty where there is none."""
    names = {spec.shape[1:]: spec.name for spec in backend.outputs}
    return (names.get((len(centres), 4 + 2 * keypoints), ''), names.get((len(centres), 1), ''))
