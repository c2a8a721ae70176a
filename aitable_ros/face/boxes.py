# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Overlap of boxes, and the two ways to make one face out of many answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def overlap(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """
    Intersection over union of every pair.

    :param first: ``(n, 4)`` ``[x1, y1, x2, y2]``
    :param second: ``(m, 4)``
    :return: ``(n, m)`` float32; 0 where a box is empty
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = _area(first)[:, None] + _area(second)[None, :] - shared
    share: NDArray[np.float32] = np.zeros_like(shared)
    np.divide(shared, union, out=share, where=union > 0)
    return share


def suppress(boxes: Boxes, scores: NDArray[np.float32], iou: float) -> list[int]:
    """
    Greedy non-maximum suppression.

    :param boxes: ``(n, 4)``
    :param scores: ``(n,)``
    :param iou: a box that overlaps a better one by more than this goes
    :return: indices that stay, best first
    """
    return [group[0] for group in _groups(boxes, scores, iou)]


def merge(
    boxes: Boxes, scores: NDArray[np.float32], values: NDArray[np.float32], iou: float,
) -> list[tuple[float, NDArray[np.float32]]]:
    """
    MediaPipe's weighted suppression: each group gives the mean of its members, weighed by score.

    It takes the jitter out of BlazeFace's many answers for one face.

    :param boxes: ``(n, 4)``
    :param scores: ``(n,)``
    :param values: ``(n, k)`` values to average
    :return: the best score and the mean ``(k,)`` of each group, best first
    """
    return [
        (float(scores[group[0]]), np.average(values[group], axis=0, weights=scores[group]))
        for group in _groups(boxes, scores, iou)]


def _groups(boxes: Boxes, scores: NDArray[np.float32], iou: float) -> list[list[int]]:
    order = np.argsort(-scores, kind='stable')
    shared = overlap(boxes, boxes)
    groups = []
    while len(order):
        best = order[0]
        joined = shared[best, order] > iou
        joined[0] = True
        groups.append([int(index) for index in order[joined]])
        order = order[~joined]
    return groups


def _area(boxes: Boxes) -> NDArray[np.float32]:
    sides: Boxes = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.multiply(sides[:, 0], sides[:, 1])
