# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""MediaPipe's landmark models: they read rotated square crops of an image, in batches."""

from __future__ import annotations

from collections.abc import Iterator
import math
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.crop_map import crop_to_image
from aitable_ros.face.faster_way import FasterWay
from aitable_ros.inference.protocol import Backend, cutting, Tensors

DENSE = 3.0
"""Pixels of the image to one of the crop up to which the warp reads about all lines of memory."""


class TurnedCrops:
    """
    Cuts crops, scales them to [0, 1] and runs the model on them.

    All crops of an image are one batch where the model allows it. Beyond the image's edge the edge
    pixels are repeated, as in the crops that the models were trained on. Buffers are kept between
    calls, so one instance serves one thread.

    A GPU may cut the crops itself (see :class:`aitable_ros.inference.protocol.CuttingBackend`). For
    each number of crops both ways are timed at the beginning, and the faster one is kept: one small
    crop is hardly worth the copy of its part of the image.

    :param backend: stays the caller's to close; its input is ``(n, side, side, 3)``
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        spec = backend.inputs[0]
        self.side = int(spec.shape[1] or 0)
        self._input = spec.name
        self._batches = spec.shape[0] is None
        self._cutting = cutting(backend)
        self.way = FasterWay(f'{backend.model}: crops', ('cut by the CPU', 'cut by the GPU'))
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
        for start in range(0, len(rois), max(step, 1)):
            matrices = [self._map(roi) for roi in rois[start:start + step]]
            outputs = self._infer(image, matrices)
            for slot, matrix in enumerate(matrices):
                yield {name: value[slot] for name, value in outputs.items()}, matrix

    def _infer(self, image: NDArray[np.uint8], matrices: list[NDArray[np.float64]]) -> Tensors:
        """Run the model on some crops, cut where that is faster."""
        cutter, kind = self._cutting, (*image.shape[:2], len(matrices))
        if cutter is None or any(size > most for size, most in zip(kind, cutter.most_cut)):
            return self._infer_here(image, matrices)
        began_s = perf_counter()
        way = self.way.next(kind)
        outputs = cutter.infer_cut(image, matrices) if way else self._infer_here(image, matrices)
        self.way.took(kind, way, perf_counter() - began_s)
        return outputs

    def _infer_here(self, image: NDArray[np.uint8], matrices: list[NDArray[np.float64]]) -> Tensors:
        if len(matrices) > len(self._tensor):
            self._tensor = np.empty((len(matrices), self.side, self.side, 3), np.float32)
        for slot, matrix in enumerate(matrices):
            self._cut(image, matrix, slot)
        return self._backend.infer({self._input: self._tensor[:len(matrices)]})

    def _map(self, roi: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the map from crop pixels to image pixels."""
        cx, cy, size, angle = roi.tolist()
        return crop_to_image((cx, cy), angle, max(size, 1.0) / self.side, (self.side, self.side))

    def _cut(self, image: NDArray[np.uint8], matrix: NDArray[np.float64], slot: int) -> None:
        """Fill one slot of the input."""
        shape = (self.side, self.side)
        near, moved = _around(image, matrix, self.side)
        cv2.warpAffine(
            near, moved, shape, dst=self._crop,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
        np.multiply(self._crop, np.float32(1 / 255), out=self._tensor[slot])


def _around(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], side: int,
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """
    Copy the part of an image that a crop lies in; return it and the crop's map to its pixels.

    The answer is the same bits. Another core has written the image, and a warp that fetches it
    along its slanted rows waits for each line of it (0.68 ms in a node); a copy reads ahead
    (0.53 ms with the warp). Where the crop skips lines, or lies outside, nothing is copied.
    """
    (across, slant, x), (tilt, down, y) = matrix.tolist()
    if math.hypot(across, tilt) > DENSE:
        return image, matrix
    left = max(int(x + min(across * side, 0) + min(slant * side, 0)) - 2, 0)
    right = int(x + max(across * side, 0) + max(slant * side, 0)) + 3
    top = max(int(y + min(tilt * side, 0) + min(down * side, 0)) - 2, 0)
    bottom = int(y + max(tilt * side, 0) + max(down * side, 0)) + 3
    near = image[top:max(bottom, 0), left:max(right, 0)]
    if not near.size:
        return image, matrix
    return near.copy(), np.array([[across, slant, x - left], [tilt, down, y - top]])


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
