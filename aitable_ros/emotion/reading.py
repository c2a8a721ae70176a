# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What an expression model says of a face in an image, and how faces go through it in one run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Expression

CLASSES = 8
"""EmoNet's classes: the members of :class:`Expression` without UNKNOWN."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """
    One face, one image, no memory.

    :param probabilities: ``(8,)`` float32 in the order of :class:`Expression`, summing to 1
    :param valence: -1 ... 1
    :param arousal: -1 ... 1
    """

    probabilities: NDArray[np.float32]
    valence: float
    arousal: float

    @property
    def expression(self) -> Expression:
        """The likeliest class."""
        return Expression(int(self.probabilities.argmax()))


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
