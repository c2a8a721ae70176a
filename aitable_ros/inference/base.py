# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Base class of the backends: it checks inputs before a run and closes a model once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.closing import Closing
from aitable_ros.inference.protocol import BackendError, Tensors, TensorSpec


class BackendBase(Closing, ABC):
    """
    Base of the backends; see :class:`aitable_ros.inference.protocol.Backend`.

    A subclass loads in ``__init__``, sets the attributes below and implements :meth:`_run` and
    :meth:`_free`.
    """

    name: str = ''
    model: str = ''
    precision: str = ''
    device: str = ''
    note: str = ''
    """A remark for the log on how the model runs; usually empty."""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    _open = False
    _known: list[Any] | None = None
    """Names, types and shapes of the inputs that were checked last and fit as they are."""

    @abstractmethod
    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run on inputs that match the specs; return arrays that belong to the caller."""

    @abstractmethod
    def _free(self) -> None:
        """Free everything; called once."""

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """
        Run the model.

        Callers give fp32. If a model takes another floating type (an fp16 export), its inputs and
        outputs are converted.

        :raises BackendError: closed; wrong names, shapes or types; or the run failed
        """
        if not self._open:
            raise BackendError(f'{self.model}: the model is closed')
        kinds = [
            (name, type(array), getattr(array, 'dtype', None), getattr(array, 'shape', None))
            for name, array in inputs.items()]
        if kinds == self._known:  # spares the checks, which cost a tenth of a small model
            return self._run(inputs)
        fitted = self._fitted(inputs)
        self._check(fitted or inputs)
        if not fitted:
            self._known = kinds
            return self._run(inputs)
        return {name: value.astype(np.float32) if value.dtype.kind == 'f' else value
                for name, value in self._run(fitted).items()}

    def warm_up(self) -> None:
        """Run once on zeros, so that the first image is not the slow one."""
        self.infer({
            spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype)
            for spec in self.inputs})

    def close(self) -> None:
        """Free everything. Idempotent."""
        if self._open:
            self._open = False
            self._free()

    def _fitted(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Return the inputs in the model's floating types; empty if no conversion is needed."""
        other = {
            spec.name: spec.dtype for spec in self.inputs
            if spec.dtype.kind == 'f' and spec.dtype != np.float32
            and getattr(inputs.get(spec.name), 'dtype', None) == np.float32}
        return {name: array.astype(other[name]) if name in other else array
                for name, array in inputs.items()} if other else {}

    def _check(self, inputs: Tensors) -> None:
        expected = {spec.name: spec for spec in self.inputs}
        if inputs.keys() != expected.keys():
            raise BackendError(
                f'{self.model}: takes inputs {_names(expected)}, not {_names(inputs)}')
        for name, spec in expected.items():
            array = inputs[name]
            if not isinstance(array, np.ndarray) or array.dtype != spec.dtype:
                kind = getattr(array, 'dtype', type(array).__name__)
                raise BackendError(f"{self.model}: input '{name}' takes {spec.dtype}, not {kind}")
            fits = len(array.shape) == len(spec.shape) and all(
                got == size or (size is None and got > 0)
                for got, size in zip(array.shape, spec.shape))
            if not fits:
                raise BackendError(
                    f"{self.model}: input '{name}' takes {_shape(spec.shape)}, "
                    f'not {_shape(array.shape)}')

    def __del__(self) -> None:
        """Close a model that its owner did not close."""
        self.close()


def _names(names: Any) -> str:
    return ', '.join(f"'{name}'" for name in names) or 'none'


def _shape(shape: tuple[int | None, ...]) -> str:
    return '[' + ','.join('N' if size is None else str(size) for size in shape) + ']'
