# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The protocol that every inference backend follows, and the description of a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast, Protocol

import numpy as np
from numpy.typing import NDArray

from aitable_ros.types import ModelInfo

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """
    Name, shape and type of a model's input or output.

    :param shape: one entry for each dimension; None for an open one (the batch)
    :param dtype: a numpy dtype
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class BackendError(RuntimeError):
    """A backend cannot load or run a model; one line with the reason and any known remedy."""


class Backend(Protocol):
    """
    A loaded model.

    It is created, used and closed on one thread. ``infer`` takes C-contiguous arrays by input name
    and returns arrays by output name, which the caller owns. ``close`` may be called again.
    """

    name: str
    """``tensorrt``, ``openvino``, ``onnxruntime``, ``torch``, ``mediapipe``."""
    model: str
    """Catalogue name or file name of the model."""
    precision: str
    """The precision that runs: ``fp32``, ``fp16``, ``bf16``, ``int8``."""
    device: str
    """``cpu``, ``cuda:0``."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """:raises BackendError: wrong names, shapes or types, or the run failed."""

    def warm_up(self) -> None:
        """Run once on zeros, so that the first image is not slower than the others."""

    def close(self) -> None:
        """Free everything. Idempotent."""

    def __enter__(self) -> Backend:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""


class CuttingBackend(Backend, Protocol):
    """A backend whose device can cut the crops that the model reads."""

    most_cut: tuple[int, int, int]
    """
    Height and width of the largest image, and number of crops, that :meth:`infer_cut` takes; zeros
    where it takes none.
    """

    def infer_cut(
        self, image: NDArray[np.uint8], matrices: Sequence[NDArray[np.float64]],
    ) -> dict[str, NDArray[Any]]:
        """
        Run on crops that the device cuts out of an image: bilinear, edges repeated, in [0, 1].

        :param image: ``(height, width, 3)`` uint8 RGB
        :param matrices: ``(2, 3)`` maps from the pixels of each crop to those of the image
        :raises BackendError: the run failed, or the image or the number of crops is too large
        """


def info_of(backend: Backend | None) -> ModelInfo:
    """Name the model of a backend; empty without one."""
    return ModelInfo(backend.model, backend.name, backend.precision) if backend else ModelInfo()


def cutting(backend: Backend) -> CuttingBackend | None:
    """Return a backend as one that cuts crops; None where it does not."""
    able = getattr(backend, 'most_cut', (0, 0, 0))
    return cast(CuttingBackend, backend) if able[2] else None
