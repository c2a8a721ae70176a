# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
EmotiEffLib's (formerly HSEmotion's) networks: eight expressions, two of them also valence, arousal.

Preprocessing, class order and outputs as in upstream's ``emotiefflib/facial_analysis.py``. Upstream
cuts the box of the detector MTCNN and squeezes it into a square; here that box is placed by the key
points, so that it is the same whichever detector found them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.circumplex import affect
from aitable_ros.emotion.level_crop import eyes_of
from aitable_ros.emotion.reading import channels_first, CLASSES, Reading, run_batch
from aitable_ros.inference.protocol import Backend, TensorSpec
from aitable_ros.types import Detection, Expression, TrackedFace

CLASS_ORDER = (
    Expression.ANGER, Expression.CONTEMPT, Expression.DISGUST, Expression.FEAR, Expression.HAPPY,
    Expression.NEUTRAL, Expression.SAD, Expression.SURPRISE)
"""The first eight outputs, in order."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the channels, 0 ... 1."""
NORMALISATION = {
    224: IMAGENET,
    260: IMAGENET,
    112: ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""By the side of the input: of EfficientNet-B0, EfficientNet-B2 and MobileFaceNet."""
WIDTHS = (CLASSES, CLASSES + 2)
"""Numbers of outputs: logits alone, or logits, valence and arousal."""
BOX = (2.1, 2.9)
"""Width and height of MTCNN's box in distances between the eyes: the medians of 47 faces."""
BELOW_EYES = 0.3
"""Its centre below the middle of the eyes, in the same unit: the same median."""


class HsEmotion:
    """
    Read expressions; valence and arousal where the network has them, else derived from the words.

    :param backend: ``(n, 3, s, s)`` RGB, normalised as :data:`NORMALISATION` says for ``s``, to
        logits, or logits, valence and arousal, ``(n, 8 or 10)``
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._size = size = int(backend.inputs[0].shape[-1] or 0)
        mean, deviation = (np.array(values, np.float32) for values in NORMALISATION[size])
        self._scale, self._shift = 1 / (255 * deviation), mean / deviation
        self._order = np.array(CLASS_ORDER, np.intp)

    def read(self, image: NDArray[np.uint8], faces: Sequence[TrackedFace]) -> list[Reading]:
        """Read all faces in one run."""
        batch = channels_first([crop(image, face.detection, self._size) for face in faces])
        batch *= self._scale[:, None, None]
        batch -= self._shift[:, None, None]
        out = run_batch(self._backend, batch)[self._backend.outputs[0].name]
        weights = np.exp(out[:, :CLASSES] - out[:, :CLASSES].max(axis=1, keepdims=True))
        probabilities = np.zeros((len(faces), CLASSES), np.float32)
        probabilities[:, self._order] = weights / weights.sum(axis=1, keepdims=True)
        measured = np.clip(out[:, CLASSES:], -1, 1)
        return [
            Reading(row, *(map(float, pair) if len(pair) else affect(row)))
            for row, pair in zip(probabilities, measured)]


def is_hsemotion(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Tell by a model's inputs and outputs whether :class:`HsEmotion` reads it."""
    return (len(inputs) == len(outputs) == 1 and len(inputs[0].shape) == 4
            and inputs[0].shape[1:] in [(3, size, size) for size in NORMALISATION]
            and outputs[0].shape[1:] in [(width,) for width in WIDTHS])


def crop(image: NDArray[np.uint8], detection: Detection, size: int) -> NDArray[np.uint8]:
    """
    Cut the upright box of a face, as far as it lies in the image, and squeeze it into a square.

    :param image: ``(h, w, 3)`` uint8 RGB
    :return: ``(size, size, 3)`` uint8 RGB
    """
    x1, y1, x2, y2 = (float(value) for value in detection.box)
    found = eyes_of(detection)
    if found is not None:
        (x, y), between, _ = found
        across, down = (side * between / 2 for side in BOX)
        centre = y + BELOW_EYES * between
        x1, y1, x2, y2 = x - across, centre - down, x + across, centre + down
    height, width = image.shape[:2]
    left, top = min(max(round(x1), 0), width - 1), min(max(round(y1), 0), height - 1)
    cut = image[top:max(round(y2), top + 1), left:max(round(x2), left + 1)]
    shrinks = min(cut.shape[:2]) > size
    return np.asarray(cv2.resize(
        cut, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)
