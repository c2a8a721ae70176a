# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Any image into a detector's square input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Placement:
    """
    Where an image lies in the square.

    A pixel's centre is at ``index + 0.5`` on both sides, as :func:`cv2.resize` has it; so the way
    back is exact for the coordinates that a detector gives (edges of pixels, not their indices).

    :param scale: square pixels per image pixel, across and down; they differ by the rounding only
    :param offset: where the image's top left corner lies in the square
    """

    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_image(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Bring points back.

        :param points: ``(..., 2)`` x, y in pixels of the square
        :return: the same in pixels of the image, float32
        """
        offset, scale = np.array(self.offset, np.float32), np.array(self.scale, np.float32)
        return np.asarray((points - offset) / scale, np.float32)


def halved(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Halve an image as often as its size allows and its longer side stays at least ``side``."""
    height, width = image.shape[:2]
    while not (height % 2 or width % 2) and max(height, width) >= 2 * side:
        height, width = height // 2, width // 2
        image = np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return image


class Letterbox:
    """
    Scales an image into a square without changing its aspect, centred, the rest filled.

    Writes into its own buffer: no copy of the image is made, and the next call overwrites it.
    Shrinks by averaging areas: bilinear sampling would skip most of a small face's pixels. Halves
    first, as often as it can, which averages the same and takes a third of the time.

    :param side: of the square, pixels
    :param fill: value of the margin
    """

    def __init__(self, side: int, fill: int) -> None:
        self.side = side
        self._fill = fill
        self.square = np.full((side, side, 3), fill, np.uint8)
        self._placed: tuple[int, int, int, int] | None = None

    def place(self, image: NDArray[np.uint8]) -> Placement:
        """
        Fill :attr:`square`.

        :param image: ``(height, width, 3)`` uint8, not empty; a view of a larger one will do
        """
        height, width = image.shape[:2]
        scale = self.side / max(height, width)
        inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (self.side - inner_w) // 2, (self.side - inner_h) // 2
        if self._placed != (left, top, inner_w, inner_h):
            self.square.fill(self._fill)
            self._placed = left, top, inner_w, inner_h
        target = self.square[top:top + inner_h, left:left + inner_w]
        image = halved(image, self.side)
        cv2.resize(
            image, (inner_w, inner_h), dst=target,
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        return Placement((inner_w / width, inner_h / height), (float(left), float(top)))
