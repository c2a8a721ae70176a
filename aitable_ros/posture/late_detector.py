# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A body detector that takes no memory before it is needed: faces tell where most bodies are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aitable_ros.closing import Closing
from aitable_ros.inference.chain import Attempt, Avoid, Load, ModelOptions, resolve
from aitable_ros.inference.protocol import Backend
from aitable_ros.posture.blazepose_detector import BlazePoseDetector
from aitable_ros.types import Detection


class LateDetector(Closing):
    """
    BlazePose's detector, loaded by the first :meth:`detect`.

    The chain is tried at once, and its model closed again. That saves 38 MB as long as everybody
    shows a face.

    :param options: the chain of the detector
    :param load: loads a backend, see :func:`aitable_ros.inference.chain.resolve`
    :param avoid: models to skip
    :raises InputError: a required model cannot be loaded
    """

    def __init__(self, options: ModelOptions, load: Load, avoid: Avoid | None) -> None:
        self._chain = options, load, avoid
        self._backend: Backend | None = None
        self._detector: BlazePoseDetector | None = None
        tried = resolve(options, load, avoid, BlazePoseDetector)
        self.attempts: tuple[Attempt, ...] = tried.attempts
        self._loads = tried.backend is not None
        if tried.backend is not None:
            tried.backend.close()

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the bodies; none where no model of the chain loads."""
        if self._loads and self._detector is None:
            self._backend = resolve(*self._chain, BlazePoseDetector).backend
            self._loads = self._backend is not None
            if self._backend is not None:
                self._detector = BlazePoseDetector(self._backend)
        return self._detector.detect(image) if self._detector is not None else []

    def close(self) -> None:
        """Free the model. Idempotent."""
        if self._backend is not None:
            self._backend.close()
        self._backend = self._detector = None
        self._loads = False
