# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The face crop of EmoNet, and the meaning of its outputs."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.reading import channels_first, CLASSES, Reading, run_batch
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import TrackedFace

SIZE = 256
BOX_TO_SIDE = 1 / 1.1
"""Side of the crop over width + height of the face's box, as upstream trained it."""


class EmoNet:
    """
    Read expression, valence and arousal with EmoNet, 8 or 5 classes.

    :param backend: ``(n, 3, 256, 256)`` RGB in [0, 1] to ``expression`` logits, ``valence``,
        ``arousal``
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def read(self, image: NDArray[np.uint8], faces: Sequence[TrackedFace]) -> list[Reading]:
        """Read all faces in one run."""
        batch = channels_first([crop(image, face.box) for face in faces])
        batch /= np.float32(255)
        out = run_batch(self._backend, batch)
        logits = out['expression']
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        # The five-class checkpoint knows the first five of the eight.
        probabilities = np.zeros((len(faces), CLASSES), np.float32)
        probabilities[:, :logits.shape[1]] = weights / weights.sum(axis=1, keepdims=True)
        return [
            Reading(row, float(np.clip(valence, -1, 1)), float(np.clip(arousal, -1, 1)))
            for row, valence, arousal in zip(
                probabilities, out['valence'].ravel(), out['arousal'].ravel())]


def crop(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """
    Cut EmoNet's square around a box; black where it leaves the image.

    :param image: ``(h, w, 3)`` uint8 RGB
    :return: ``(256, 256, 3)`` uint8 RGB
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    side = (x2 - x1 + y2 - y1) * BOX_TO_SIDE
    scale = side / SIZE
    left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
    # Pixel centres map on pixel centres.
    to_image = np.array([
        [scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2]], np.float64)
    return np.asarray(cv2.warpAffine(
        image, to_image, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), np.uint8)
