# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""MediaPipe's landmark models: they read rotated square crops of an image, in batches."""

from __future__ import annotations

from collections.abc import Iterator
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.crop_map import crop_to_image
from aitable_ros.inference.protocol import Backend, Tensors


class TurnedCrops:
    """
    Cuts crops, scales them to [0, 1] and runs the model on them.

    All crops of an image are one batch where the model allows it. Beyond the image's edge the edge
    pixels are repeated, as in the crops that the models were trained on. Buffers are kept between
    calls, so one instance serves one thread.

    :param backend: stays the caller's to close; its input is ``(n, side, side, 3)``
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        spec = backend.inputs[0]
        self.side = int(spec.shape[1] or 0)
        self._input = spec.name
        self._batches = spec.shape[0] is None
        self._crop = np.empty((self.side, self.side, 3), np.uint8)
        self._tensor = np.empty((1, self.side, self.side, 3), np.float32)

    @staticmethod
    def fits(backend: Backend, outputs: dict[str, int]) -> bool:
        """
        Return whether the model reads square RGB crops and gives some outputs.

        :param outputs: names, and the size of the last axis of each
        """
        shape = backend.inputs[0].shape
        widths = {spec.name: spec.shape[-1] for spec in backend.outputs if spec.shape}
        return len(shape) == 4 and shape[1] == shape[2] and bool(shape[1]) and shape[3] == 3 \
            and outputs.items() <= widths.items()

    def run(
        self, image: NDArray[np.uint8], rois: NDArray[np.float32],
    ) -> Iterator[tuple[Tensors, NDArray[np.float64]]]:
        """
        Run the model on each region.

        :param image: ``(height, width, 3)`` uint8 RGB, not empty
        :param rois: ``(n, 4)`` float32 ``[cx, cy, size, angle]``, pixels and radians, the angle
            clockwise as seen on the screen; they may reach beyond the image
        :return: the outputs of each region, without the batch axis, and the ``(2, 3)`` map from
            its crop's pixels to the image's
        :raises ValueError: a region that is not finite
        """
        if not np.isfinite(rois).all():
            raise ValueError(f'regions of an image must be finite, not {rois.tolist()}')
        step = len(rois) if self._batches else 1
        if step > len(self._tensor):
            self._tensor = np.empty((step, self.side, self.side, 3), np.float32)
        for start in range(0, len(rois), max(step, 1)):
            chunk = rois[start:start + step]
            matrices = [self._cut(image, roi, slot) for slot, roi in enumerate(chunk)]
            outputs = self._backend.infer({self._input: self._tensor[:len(chunk)]})
            for slot, matrix in enumerate(matrices):
                yield {name: value[slot] for name, value in outputs.items()}, matrix

    def _cut(
        self, image: NDArray[np.uint8], roi: NDArray[np.float32], slot: int,
    ) -> NDArray[np.float64]:
        """Fill one slot of the input; return the map from crop pixels to image pixels."""
        cx, cy, size, angle = roi.tolist()
        shape = (self.side, self.side)
        matrix = crop_to_image((cx, cy), angle, max(size, 1.0) / self.side, shape)
        cv2.warpAffine(
            image, matrix, shape, dst=self._crop,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
        np.multiply(self._crop, np.float32(1 / 255), out=self._tensor[slot])
        return matrix


def to_image(
    points: NDArray[np.float32], matrix: NDArray[np.float64],
) -> NDArray[np.float32]:
    """
    Return points of a crop in pixels of the image; depth is only scaled.

    :param points: ``(n, 3)`` float32 x, y, z, pixels of the crop
    :param matrix: ``(2, 3)``, of :meth:`TurnedCrops.run`
    """
    (cos, minus_sin, x), (sin, _, y) = matrix.tolist()
    turn = np.array([
        [cos, sin, 0.0], [minus_sin, cos, 0.0], [0.0, 0.0, math.hypot(cos, sin)]], np.float32)
    projected: NDArray[np.float32] = points @ turn
    projected += np.array([x, y, 0.0], np.float32)
    return projected
