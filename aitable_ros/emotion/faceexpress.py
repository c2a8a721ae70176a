# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
face-api.js's expression network: seven expressions from 112 RGB pixels.

A face is cut level once. Upstream itself cuts the box of its 68 landmarks and a fifth more
(``FaceLandmarks.alignMinBbox``): made of our mesh on 47 faces, a square of 2.5 to 2.8 distances
between the eyes, centred 0.22 to 0.28 sides below them. A second, mirrored cut doubles the time and
changes nothing once ``fer`` is averaged with it: docs/expression.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.circumplex import affect
from aitable_ros.emotion.level_crop import cut, squares
from aitable_ros.emotion.reading import channels_first, CLASSES, Reading, run_batch, tempered
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection, Expression, TrackedFace

SIZE = 112
SIDE = 2.8
"""Side of the crop, in distances between the eyes."""
BELOW_EYES = 0.2
"""Centre of the crop below the line of the eyes, in sides."""
MEAN_RGB = np.array([122.782, 117.001, 104.298], np.float32)
"""Subtracted from the channels by upstream, 0 ... 255, before it divides by 255."""
TEMPERATURE = 2.0
"""
Softens the network's answer where no other model is averaged with it; docs/expression.md says how
it was fitted.
"""
CLASS_ORDER = (
    Expression.NEUTRAL, Expression.HAPPY, Expression.SAD, Expression.ANGER, Expression.FEAR,
    Expression.DISGUST, Expression.SURPRISE)
"""The model's outputs, in order."""


class FaceExpress:
    """
    Read expressions with ``faceexpress``; valence and arousal are derived, not measured.

    :param backend: ``(n, 3, 112, 112)`` RGB less :data:`MEAN_RGB`, over 255, to ``probs`` (n, 7)
    :param temperature: softens the answer; 1 leaves it as it is
    """

    def __init__(self, backend: Backend, temperature: float = TEMPERATURE) -> None:
        self._backend = backend
        self._temperature = temperature
        self._order = np.array(CLASS_ORDER, np.intp)

    def read(self, image: NDArray[np.uint8], faces: Sequence[TrackedFace]) -> list[Reading]:
        """Read all faces in one run."""
        batch = channels_first([crop(image, face.detection) for face in faces])
        batch -= MEAN_RGB[:, None, None]
        batch /= np.float32(255)
        probs = run_batch(self._backend, batch)['probs']
        probabilities = np.zeros((len(faces), CLASSES), np.float32)
        probabilities[:, self._order] = tempered(probs, self._temperature)
        return [Reading(row, *affect(row)) for row in probabilities]


def crop(image: NDArray[np.uint8], detection: Detection) -> NDArray[np.uint8]:
    """
    Cut a face as it is shown to the model.

    :param image: ``(h, w, 3)`` uint8 RGB
    :return: ``(112, 112, 3)`` uint8 RGB
    """
    return cut(image, squares(detection, (SIDE,), BELOW_EYES), SIZE, samples=1)[0]
