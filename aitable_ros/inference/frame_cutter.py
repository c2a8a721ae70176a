# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Cuts crops of a frame on the GPU, straight into the input of an engine there.

``crops_SIDE_fp32.engine`` beside a model's engine does the cutting (``aitable models build
crops_192 --precision fp32``). Both run on one stream, and the crops never leave the GPU. Of the
frame only the rectangles around the crops are copied to pinned memory, and their rows uploaded.
"""

from __future__ import annotations

from collections.abc import Sequence
import logging
from pathlib import Path
from typing import Any, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aitable_ros.inference.cuda_device import DeviceMemory, Stream
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.tensorrt_execution import Ports

if TYPE_CHECKING:
    from aitable_ros.inference.tensorrt import TensorRTBackend

_LOG = logging.getLogger(__name__)
Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, the last two excluded."""


def cutter_path(engine: Path, side: int) -> Path:
    """Return where the engine that cuts crops for a model's engine is looked for."""
    rtx = '_rtx' if engine.stem.endswith('_rtx') else ''
    return engine.with_name(f'crops_{side}_fp32{rtx}.engine')


def turns_of(
    matrices: NDArray[np.float64], height: int, width: int,
) -> NDArray[np.float32]:
    """
    Return the maps from crop pixels to a frame as ``GridSample`` counts its places, -1 to 1.

    :param matrices: ``(n, 2, 3)``, to pixels of the frame, as ``cv2.WARP_INVERSE_MAP`` takes them
    :return: ``(n, 3, 2)``; -1 and 1 are the centres of the first and the last pixel
    """
    scale = np.array([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    turns = matrices.transpose(0, 2, 1) * scale
    turns[:, 2] -= 1
    return np.asarray(turns, np.float32)


def rectangles(
    matrices: NDArray[np.float64], side: int, height: int, width: int,
) -> list[Rectangle]:
    """
    Return the part of the frame that each crop reads; at least a pixel, the nearest one, of each.

    :param matrices: as :func:`turns_of` takes them
    """
    corners = np.array([[0, 0, 1], [side - 1, 0, 1], [0, side - 1, 1], [side - 1, side - 1, 1]])
    places = matrices @ corners.T
    found = []
    for (low_x, low_y), (high_x, high_y) in zip(places.min(axis=2), places.max(axis=2)):
        # bilinear sampling reads a pixel further; one more for rounding
        left, right = _span(low_x - 1, high_x + 3, width)
        top, bottom = _span(low_y - 1, high_y + 3, height)
        found.append((left, top, right, bottom))
    return found


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    start = int(min(max(low, 0), size - 1))
    return start, int(min(max(high, start + 1), size))


class FrameCutter:
    """
    Puts the crops of a frame where a model's engine reads them.

    :param engine: of :func:`aitable_ros.engines.graph.frame_crops.crop_graph`, on the model's
        stream; closed with the cutter
    """

    def __init__(self, engine: TensorRTBackend, side: int, most_rows: int) -> None:
        self._engine = engine
        self._side = side
        height, width, _ = engine.largest['frame']
        self.most = height, width, min(engine.largest['turns'][0], most_rows)
        """Height and width of the largest frame, and number of crops."""

    @classmethod
    def beside(
        cls, model: TensorRTBackend, path: Path, ports: Ports, stream: Stream,
    ) -> FrameCutter | None:
        """
        Open the engine beside a model's; None where there is none that fits, which is logged.

        :param ports: of the model
        """
        port, shape = ports.inputs[0], ports.inputs[0].spec.shape
        side = (shape[1] if len(shape) == 4 else 0) or 0
        place = cutter_path(path, side)
        if (len(ports.inputs) > 1 or not ports.most_rows or shape != (None, side, side, 3)
                or port.channels or port.dtype != np.float32 or not place.exists()):
            return None
        try:
            engine = type(model)(place, device_id=int(model.device.partition(':')[2]),
                                 stream=stream)
        except BackendError as error:
            _LOG.warning('%s: crops are cut on the CPU: %s', model.model, error)
            return None
        if cls._fits(engine, side):
            return cls(engine, side, ports.most_rows)
        engine.close()
        _LOG.warning('%s: crops are cut on the CPU: %s does not cut crops of %d pixels',
                     model.model, place, side)
        return None

    @property
    def crops(self) -> DeviceMemory:
        """The memory that :meth:`cut` fills, as the model reads it."""
        return self._engine.results

    @staticmethod
    def _fits(engine: TensorRTBackend, side: int) -> bool:
        """Tell whether an engine cuts crops of that size."""
        found = [(spec.name, spec.shape, spec.dtype.name)
                 for spec in (*engine.inputs, *engine.outputs)]
        return sorted(found) == [
            ('frame', (None, None, 3), 'uint8'), ('image', (None, side, side, 3), 'float32'),
            ('turns', (None, 3, 2), 'float32')]

    def takes(self, image: NDArray[Any], crops: int) -> bool:
        """Tell whether the engine was built for such a frame and so many crops."""
        return all(0 < size <= most for size, most in zip((*image.shape[:2], crops), self.most))

    def cut(
        self, image: NDArray[np.uint8], matrices: Sequence[NDArray[np.float64]], rows: int,
    ) -> None:
        """
        Put the work on the stream; call it with the GPU current.

        :param image: ``(height, width, 3)`` uint8 RGB, which :meth:`takes`
        :param matrices: ``(2, 3)`` maps from crop pixels to the frame's
        :param rows: crops to fill; those beyond the matrices repeat the first
        """
        height, width = image.shape[:2]
        maps = np.stack([*matrices, *[matrices[0]] * (rows - len(matrices))])
        execution = self._engine.execution(((height, width, 3), (rows, 3, 2)), only=('turns',))
        frame = execution.view('frame')
        spans = rectangles(maps[:len(matrices)], self._side, height, width)
        for left, top, right, bottom in spans:
            frame[top:bottom, left:right] = image[top:bottom, left:right]
        np.copyto(execution.view('turns'), turns_of(maps, height, width))
        first, last = min(span[1] for span in spans), max(span[3] for span in spans)
        at, row = execution.place('frame')[0], 3 * width
        self._engine.upload(at + first * row, (last - first) * row)
        self._engine.launch(execution)

    def memory(self) -> int:
        """Return the engine's GPU memory, bytes."""
        return self._engine.memory()

    def close(self) -> None:
        """Free the engine. Idempotent."""
        self._engine.close()
