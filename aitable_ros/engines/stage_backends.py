# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Backends that record or replay what a pipeline stage exchanges with its model.

Inputs for calibration and verdicts on outputs come from the stage itself, run around one of these:
so there is no second preprocessing or decoding that could differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.closing import Closing
from aitable_ros.emotion.model import model_for
from aitable_ros.errors import InputError
from aitable_ros.face.detector import detector_for
from aitable_ros.face.mesh import FaceMesh
from aitable_ros.inference.protocol import Backend, Tensors, TensorSpec
from aitable_ros.posture.blazepose_detector import BlazePoseDetector
from aitable_ros.posture.body_source import pose_for

FACE, MESH, EMOTION, BODY, POSE, OTHER = 'face', 'mesh', 'emotion', 'body', 'pose', ''
"""The catalogue's tasks; OTHER is that of a model that no stage of the pipeline runs."""


def task_of(backend: Backend) -> str:
    """Return the stage that accepts a model's inputs and outputs; empty if none does."""
    stages: dict[str, Callable[[Backend], object]] = {
        FACE: detector_for, MESH: FaceMesh, BODY: BlazePoseDetector, POSE: pose_for,
        EMOTION: model_for}
    for task, stage in stages.items():
        try:
            stage(backend)
        except InputError:
            continue
        return task
    return OTHER


class RecordingBackend(Closing):
    """
    A backend that records its inputs and forwards them to another one.

    :param backend: closed with this one
    :param dry: return zeros instead of running it, for stages whose inputs do not depend on outputs
    """

    def __init__(self, backend: Backend, dry: bool = False) -> None:
        self._backend, self._dry = backend, dry
        self.name, self.model, self.precision = backend.name, backend.model, backend.precision
        self.device, self.inputs, self.outputs = backend.device, backend.inputs, backend.outputs
        self._seen: list[dict[str, NDArray[Any]]] = []

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run, and record a copy of the inputs: stages reuse their buffers."""
        self._seen.append({name: array.copy() for name, array in inputs.items()})
        if not self._dry:
            return self._backend.infer(inputs)
        rows = len(next(iter(inputs.values())))
        return {spec.name: np.zeros((rows, *(size or 1 for size in spec.shape[1:])), spec.dtype)
                for spec in self.outputs}

    def warm_up(self) -> None:
        """Run once on zeros, which are not recorded."""
        self._backend.warm_up()

    def take(self) -> list[dict[str, NDArray[Any]]]:
        """Return and forget the recorded rows, each with a leading axis of 1."""
        seen, self._seen = self._seen, []
        return [
            {name: array[row:row + 1] for name, array in inputs.items()}
            for inputs in seen for row in range(len(next(iter(inputs.values()))))]

    def close(self) -> None:
        """Free the model. Idempotent."""
        self._backend.close()


class ReplayBackend(Closing):
    """
    A backend that replays given outputs, whatever its inputs.

    :param inputs: specs of the model that made the outputs; any batch is accepted
    :param outputs: specs of that model
    """

    name, precision, device = 'replay', 'fp32', 'none'

    def __init__(
        self, model: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...],
    ) -> None:
        self.model = model
        self.inputs, self.outputs = (
            tuple(TensorSpec(spec.name, (None, *spec.shape[1:]), spec.dtype) for spec in specs)
            for specs in (inputs, outputs))
        self.answer: dict[str, NDArray[Any]] = {}
        """Outputs of the next run, by name."""

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Return the given outputs as fp32, the type of every stage."""
        return {name: np.asarray(value, np.float32) for name, value in self.answer.items()}

    def warm_up(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
