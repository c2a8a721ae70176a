# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The frames that are measured on: a scripted or filmed face, and a grid of portraits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.tools.clip import portrait, ScriptedClip

Image = NDArray[np.uint8]
SIZES = {'480p': (640, 480), '720p': (1280, 720), '1080p': (1920, 1080)}
"""Names -> (width, height)."""
GRIDS = {1: (1, 1), 2: (2, 1), 4: (2, 2), 8: (4, 2)}
"""Faces -> columns and rows."""
_HEAD = (110, 5, 340, 235)  # x1, y1, x2, y2 of the head in the portrait, pixels
_SWAY_FRAMES = 150
ZOOM = 0.8
"""Height of a head in its part of the grid. At 0.9 and 0.7, only three of four are found in every
image of 720p and 1080p: one detector takes two neighbours for one face."""


class Clip:
    """
    So many frames of one face; past the end they come backwards, and so on.

    :param film: a video of one's own; None takes the demo's scripted clip
    :param size: ``(width, height)``; a film is fitted to the height, its edge pixels repeated
    """

    def __init__(
        self, count: int, size: tuple[int, int] = SIZES['720p'], film: Path | None = None,
    ) -> None:
        self.name = film.name if film else 'the scripted clip of the demo'
        self._images: Callable[[int], Image]
        if film is None:
            clip = ScriptedClip(seconds=max(4.0, count / 30), size=size)
            self.count, self._images = count, lambda index: clip.frame(index).image
        else:
            images = _film(film, count)
            self.count, self._images = len(images), lambda index: _fitted(images[index], size)

    def __call__(self, index: int) -> Image:
        """Return a frame, RGB."""
        period = max(2 * (self.count - 1), 1)
        place = index % period
        return self._images(place if place < self.count else period - place)


def _film(path: Path, count: int) -> list[Image]:
    from aitable_ros.recordings.readers import open_source

    return [frame.image for frame in islice(open_source(path), count)]


def _fitted(image: Image, size: tuple[int, int]) -> Image:
    width, height = size
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))
    left, top = (width - inner.shape[1]) // 2, (height - inner.shape[0]) // 2
    return np.asarray(cv2.copyMakeBorder(
        inner, top, height - inner.shape[0] - top, left, width - inner.shape[1] - left,
        cv2.BORDER_REPLICATE), np.uint8)


class Crowd:
    """
    A grid of portraits that sway, each at its own pace; scikit-image's, in the public domain.

    :param faces: 1, 2, 4 or 8
    """

    def __init__(self, faces: int, size: tuple[int, int]) -> None:
        self.columns, self.rows = GRIDS[faces]
        self.width, self.height = size
        x1, y1, x2, y2 = _HEAD
        self._head = np.ascontiguousarray(portrait()[y1:y2, x1:x2])
        self._image = np.empty((self.height, self.width, 3), np.uint8)

    def __call__(self, index: int) -> Image:
        """Draw a frame; it is valid until the next one."""
        width, height = self.width // self.columns, self.height // self.rows
        side = self._head.shape[0]
        zoom = ZOOM * min(width, height) / side
        for row in range(self.rows):
            for column in range(self.columns):
                phase = 2 * math.pi * (index / _SWAY_FRAMES + 0.13 * (row * self.columns + column))
                shift = 0.02 * zoom * side
                place: NDArray[Any] = np.array([
                    [zoom, 0, (width - zoom * side) / 2 + shift * math.sin(phase)],
                    [0, zoom, (height - zoom * side) / 2 + shift * math.cos(phase)]])
                self._image[row * height:(row + 1) * height, column * width:(column + 1) * width] \
                    = cv2.warpAffine(
                        self._head, place, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return self._image
