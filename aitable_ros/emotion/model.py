# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which expression model a backend holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.averaged import Averaged
from aitable_ros.emotion.emonet import EmoNet
from aitable_ros.emotion.faceexpress import FaceExpress
from aitable_ros.emotion.fer import Fer
from aitable_ros.emotion.hsemotion import HsEmotion, is_hsemotion
from aitable_ros.emotion.reading import Reading
from aitable_ros.errors import InputError
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import TrackedFace


class Model(Protocol):
    """Reads faces."""

    def read(self, image: NDArray[np.uint8], faces: Sequence[TrackedFace]) -> list[Reading]:
        """
        Return a reading of each face.

        :param image: ``(h, w, 3)`` uint8 RGB
        :param faces: one or more
        """


def model_for(backend: Backend) -> Model:
    """
    Tell from inputs and outputs which model a backend holds.

    :raises InputError: none that is known here, or several that do not belong together
    """
    parts: Sequence[Backend] = getattr(backend, 'parts', ())
    if not parts:
        return _kind(backend)(backend)
    held = {_kind(part): part for part in parts}
    if held.keys() != {Fer, FaceExpress}:
        raise InputError(f'{backend.model}: only fer and faceexpress can be averaged')
    return Averaged(held[Fer], held[FaceExpress])


def _kind(backend: Backend) -> type[Fer | FaceExpress | EmoNet | HsEmotion]:
    shapes = [spec.shape[1:] for spec in backend.inputs]
    names = {spec.name for spec in backend.outputs}
    if shapes == [(1, 64, 64)] and 'probs' in names:
        return Fer
    if shapes == [(3, 112, 112)] and 'probs' in names:
        return FaceExpress
    if shapes == [(3, 256, 256)] and names >= {'expression', 'valence', 'arousal'}:
        return EmoNet
    if is_hsemotion(backend.inputs, backend.outputs):
        return HsEmotion
    raise InputError(
        f'{backend.model}: not an expression model that is known here (fer, faceexpress, EmoNet or '
        f'HSEmotion); its inputs are {[(spec.name, spec.shape) for spec in backend.inputs]}, its '
        f'outputs {sorted(names)}')
