# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
``fer`` and ``faceexpress`` averaged: they err on different faces.

docs/expression.md says how the constants were found, and what the pair misreads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.circumplex import affect
from aitable_ros.emotion.faceexpress import FaceExpress
from aitable_ros.emotion.fer import Fer
from aitable_ros.emotion.reading import log_mean, Reading, tempered
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import TrackedFace

FER_SIDE = 3.3
"""Side of the one crop that fer is shown, in distances between the eyes."""
TEMPERATURE = 1.25
"""Softens the average until its confidence is the share of right answers."""
SURE = 0.4
"""Confidence from which the averaged word counts although the models name different ones."""


class Averaged:
    """
    Read expressions with two models, the mean of their logarithms; both count alike.

    :param fer: backend of :class:`Fer`
    :param faceexpress: backend of :class:`FaceExpress`
    """

    def __init__(self, fer: Backend, faceexpress: Backend) -> None:
        self._models = (Fer(fer, (FER_SIDE,)), FaceExpress(faceexpress, temperature=1.0))

    def read(self, image: NDArray[np.uint8], faces: Sequence[TrackedFace]) -> list[Reading]:
        """Read all faces in one run of each model; doubt is 1 where they contradict each other."""
        answers = np.stack([
            [reading.probabilities for reading in model.read(image, faces)]
            for model in self._models], axis=1)
        words = answers.argmax(axis=2)
        readings = []
        for probabilities, (one, other) in zip(tempered(log_mean(answers), TEMPERATURE), words):
            doubtful = one != other and probabilities.max() < SURE
            readings.append(Reading(probabilities, *affect(probabilities), float(doubtful)))
        return readings
