# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The answer of an expression model to one face, and running all faces in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Expression

CLASSES = 8
"""EmoNet's classes: the members of :class:`Expression` without UNKNOWN."""
FLOOR = 1e-6
"""Probability under which a class counts as ruled out; keeps the logarithm finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """
    One face, one image, no memory.

    :param probabilities: ``(8,)`` float32 in the order of :class:`Expression`, summing to 1
    :param valence: -1 ... 1
    :param arousal: -1 ... 1
    :param doubt: 1 where two models contradict each other and neither is sure, else 0; smoothed in
        time as the rest is
    """

    probabilities: NDArray[np.float32]
    valence: float
    arousal: float
    doubt: float = 0.0

    @property
    def expression(self) -> Expression:
        """The likeliest class."""
        return Expression(int(self.probabilities.argmax()))


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """
    Return probabilities that claim less (temperature > 1) in the same order.

    Guo et al., "On calibration of modern neural networks", ICML 2017.

    :param probabilities: ``(..., classes)``
    """
    weights = probabilities ** np.float32(1 / temperature)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float32)


def log_mean(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Average several answers to one face as logarithms: a class that one rules out stays small.

    :param probabilities: ``(n, answers, classes)``
    :return: ``(n, classes)``, each row summing to 1; 0 for a class that no answer knows
    """
    known = probabilities.any(axis=1)
    mean = np.exp(np.log(probabilities + FLOOR).mean(axis=1)) * known
    return np.asarray(mean / mean.sum(axis=1, keepdims=True), np.float32)


def channels_first(crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """
    Return crops as most networks take them, each colour a plane of its own.

    :param crops: ``(side, side, 3)`` uint8 each, all of one side, one or more
    :return: ``(n, 3, side, side)`` float32, 0 ... 255
    """
    batch = np.empty((len(crops), 3, *crops[0].shape[:2]), np.float32)
    for row, crop in zip(batch, crops):
        row[:] = cv2.split(crop)  # a transpose of floats takes ten times as long
    return batch


def run_batch(backend: Backend, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """
    Run all faces in one go where the model's batch is open, else in the model's own batch size.

    :param images: ``(n, c, h, w)`` float32, n > 0, for the model's one input
    :return: every output, first axis n
    """
    spec = backend.inputs[0]
    size = spec.shape[0]
    if size is None:
        return backend.infer({spec.name: images})
    runs = []
    for start in range(0, len(images), size):
        part = images[start:start + size]
        short = size - len(part)
        padded = np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) if short else part
        runs.append({
            name: value[:len(part)] for name, value in backend.infer({spec.name: padded}).items()})
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
