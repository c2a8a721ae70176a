# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
MediaPipe itself, the fallback for the face mesh on machines that run no converted model.

The interface is that of ``facemesh``: a crop goes in, landmarks in the crop's pixels come out.

- Without a file, the attention mesh inside the ``mediapipe==0.10.21`` package runs (no later
  version contains it). Its ``FaceLandmarkCpu`` graph gets the whole crop and skips its own
  detector, so its landmarks equal those of ``facemesh`` to 1e-4 px.
- With a ``.task`` file, the Tasks API runs (0.10.21 and later). It searches the crop for the face;
  landmarks differ from those of the first way by 0.6 px of 192 on average and 2.2 at most.

MediaPipe gives a yes or no at its own threshold of 0.5: presence is a logit of +-20.
"""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import first_line
from aitable_ros.inference.base import BackendBase
from aitable_ros.inference.protocol import BackendError, Tensors, TensorSpec

SIDE = 192
"""Pixels of the crop; the mesh's own input."""
POINTS = 478
CERTAIN = 20.0
"""Logit of a face; a probability of 1 - 2e-9."""

_LOWEST_DETECTION = 0.2
"""Of the Tasks API's detector: low, since the crop was cut around a face; the mesh decides."""
_Find = Callable[[NDArray[np.uint8]], Any]
"""Returns the normalised landmarks of a crop, a list of x, y, z; None or empty without a face."""


class MediaPipeBackend(BackendBase):
    """
    The face mesh on MediaPipe, on the CPU in fp32; MediaPipe chooses its number of threads.

    :param path: a ``.task`` bundle of the face landmarker; None: the mesh in the package
    :param model: name to report
    :param precision: ``auto`` or ``fp32``
    :param threads: not used
    :param device_id: not used
    :raises BackendError: cannot load, or not as asked
    """

    name = 'mediapipe'
    precision = 'fp32'
    device = 'cpu'

    def __init__(
        self, path: Path | None = None, *, model: str = '', precision: str = 'auto',
        threads: int = 1, device_id: int = 0,
    ) -> None:
        self.model = model or (path.name if path else 'mediapipe')
        if precision not in ('auto', 'fp32'):
            raise BackendError(f'{self.model}: MediaPipe runs it in fp32, not {precision}')
        os.environ.setdefault('GLOG_minloglevel', '2')  # no log line for each delegate
        self._find, self._close = _from_task(path) if path else _from_package()
        self._open = True
        single = np.dtype(np.float32)
        self.inputs = (TensorSpec('image', (None, SIDE, SIDE, 3), single),)
        self.outputs = (TensorSpec('landmarks', (None, POINTS, 3), single),
                        TensorSpec('presence', (None, 1), single))

    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        images = inputs['image']
        landmarks = np.zeros((len(images), POINTS, 3), np.float32)
        presence = np.full((len(images), 1), -CERTAIN, np.float32)
        crops = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
        for row, crop in enumerate(crops):
            try:
                found = self._find(crop)
            except Exception as error:  # its bindings raise bare RuntimeError and ValueError
                raise BackendError(f'{self.model}: MediaPipe failed: {first_line(error)}') from None
            if found:
                # depth is in units of the width
                landmarks[row] = [(point.x, point.y, point.z) for point in found]
                presence[row] = CERTAIN
        return {'landmarks': landmarks * SIDE, 'presence': presence}

    def _free(self) -> None:
        self._close()
        del self._find, self._close


def _from_package() -> tuple[_Find, Callable[[], None]]:
    try:
        from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig
        from mediapipe.framework.formats.rect_pb2 import NormalizedRect
        from mediapipe.python.solution_base import SolutionBase
    except Exception as error:  # AttributeError and others, beside a numpy that is too new for it
        raise BackendError(
            f'this MediaPipe has no face mesh inside ({first_line(error)}): install '
            'mediapipe==0.10.21 with numpy<2, or name a .task file') from None
    try:
        solution = SolutionBase(
            graph_config=CalculatorGraphConfig(
                input_stream=['image', 'roi'], output_stream=['landmarks'],
                input_side_packet=['with_attention'],
                node=[{
                    'calculator': 'FaceLandmarkCpu',
                    'input_stream': ['IMAGE:image', 'ROI:roi'],
                    'input_side_packet': ['WITH_ATTENTION:with_attention'],
                    'output_stream': ['LANDMARKS:landmarks']}]),
            side_inputs={'with_attention': True}, outputs=['landmarks'])
    except Exception as error:
        raise BackendError(f'MediaPipe cannot load its face mesh: {first_line(error)}') from None
    whole = NormalizedRect(x_center=0.5, y_center=0.5, width=1, height=1)

    def find(crop: NDArray[np.uint8]) -> Any:
        found = solution.process({'image': crop, 'roi': whole}).landmarks
        return found and found.landmark

    return find, solution.close


def _from_task(path: Path) -> tuple[_Find, Callable[[], None]]:
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

    try:
        # read here: MediaPipe reports every read error as "errno=-1"
        landmarker = FaceLandmarker.create_from_options(FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=path.read_bytes()),
            min_face_detection_confidence=_LOWEST_DETECTION))
    except Exception as error:
        raise BackendError(f'{path}: MediaPipe cannot load it: {first_line(error)}') from None

    def find(crop: NDArray[np.uint8]) -> Any:
        faces = landmarker.detect(Image(image_format=ImageFormat.SRGB, data=crop)).face_landmarks
        return faces and faces[0]

    return find, landmarker.close
