# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A backend that runs several loaded models side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from aitable_ros.closing import Closing
from aitable_ros.inference.protocol import Backend, BackendError, Tensors


class JoinedModels(Closing):
    """
    A :class:`aitable_ros.inference.protocol.Backend` of several models.

    Inputs and outputs are named ``MODEL/NAME``. A stage may also run each of :attr:`parts` alone.

    :param parts: two or more backends, closed with this one
    """

    def __init__(self, parts: Sequence[Backend]) -> None:
        self.parts = tuple(parts)
        self.model = '+'.join(part.model for part in parts)
        self.name = _each(part.name for part in parts)
        self.precision = _each(part.precision for part in parts)
        self.device = _each(part.device for part in parts)
        self.inputs, self.outputs = (
            tuple(replace(spec, name=f'{part.model}/{spec.name}')
                  for part in parts for spec in getattr(part, which))
            for which in ('inputs', 'outputs'))

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """:raises BackendError: wrong names, shapes or types, or a run failed."""
        expected = {spec.name for spec in self.inputs}
        if inputs.keys() != expected:
            raise BackendError(
                f'{self.model}: takes inputs {sorted(expected)}, not {sorted(inputs)}')
        return {
            f'{part.model}/{name}': value for part in self.parts
            for name, value in part.infer({
                spec.name: inputs[f'{part.model}/{spec.name}'] for spec in part.inputs}).items()}

    def warm_up(self) -> None:
        """Run each model once on zeros."""
        for part in self.parts:
            part.warm_up()

    def close(self) -> None:
        """Free all models. Idempotent."""
        for part in self.parts:
            part.close()


def _each(values: Iterable[str]) -> str:
    """Join different values with '+'; equal ones are given once."""
    return '+'.join(dict.fromkeys(values))
