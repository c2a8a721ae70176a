# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A small builder of ONNX graphs: it names values, merges equal ones and drops unused ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# GridSample came with 16; TensorRT 8.6 reads up to 17; 18 turns the reductions' axes into inputs.
OPSET = 17
_IR_VERSION = 8  # the one that goes with opset 17

Shape = Sequence[int | str]
"""A str is an open dimension."""


@dataclass(frozen=True, slots=True)
class _Node:
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


class OnnxGraph:
    """
    Builds one model out of named values.

    Equal constants are stored once, equal operations run once, and values that no output needs are
    left out.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: dict[str, Shape] = {}
        self._constants: dict[str, NDArray[Any]] = {}
        self._nodes: list[_Node] = []
        self._known: dict[tuple[Any, ...], str] = {}

    def input(self, name: str, shape: Shape) -> str:
        """Add a float32 input."""
        self._inputs[name] = shape
        return name

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        """Add a constant."""
        value = np.array(array, dtype, order='C')
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = f'constant_{len(self._constants)}'
            self._constants[self._known[key]] = value
        return self._known[key]

    def ints(self, *values: int) -> str:
        """Add a constant list of int64: a shape, axes, bounds."""
        return self.constant(values, np.int64)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its one output."""
        key = (op, inputs, repr(sorted(attributes.items())))
        if key not in self._known:
            self._known[key] = f'{op}_{len(self._nodes)}'
            self._nodes.append(_Node(op, inputs, self._known[key], attributes))
        return self._known[key]

    def slice(self, value: str, axis: int, begin: int, end: int) -> str:
        """Take ``begin ... end - 1`` along an axis."""
        return self.add('Slice', value, self.ints(begin), self.ints(end), self.ints(axis))

    def reshape(self, value: str, *shape: int) -> str:
        """Reshape; one -1 is what remains."""
        return self.add('Reshape', value, self.ints(*shape))

    def model(self, outputs: Mapping[str, tuple[str, Shape]], metadata: Mapping[str, str]) -> bytes:
        """
        Check and serialise.

        :param outputs: name -> value and shape, float32
        :param metadata: written at the very end of the file
        """
        import onnx
        from onnx import helper, numpy_helper, TensorProto

        nodes = self._needed([value for value, _ in outputs.values()])
        names = {value: name for name, (value, _) in outputs.items()}
        for name, (value, _) in outputs.items():
            if names[value] != name or value in self._inputs:  # one value under two names
                nodes.append(_Node('Identity', (value,), name, {}))
        names = {value: name for value, name in names.items() if value not in self._inputs}
        read = {value for node in nodes for value in node.inputs}
        graph = helper.make_graph(
            [helper.make_node(node.op, [names.get(value, value) for value in node.inputs],
                              [names.get(node.output, node.output)],
                              name=names.get(node.output, node.output), **node.attributes)
             for node in nodes],
            self._name,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
             for name, shape in self._inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
             for name, (_, shape) in outputs.items()],
            [numpy_helper.from_array(value, name)
             for name, value in self._constants.items() if name in read])
        model = helper.make_model(
            graph, producer_name='aitable_ros', ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid('', OPSET)])
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    def _needed(self, outputs: Sequence[str]) -> list[_Node]:
        wanted = set(outputs)
        nodes: list[_Node] = []
        for node in reversed(self._nodes):
            if node.output in wanted:
                wanted.update(node.inputs)
                nodes.append(node)
        return nodes[::-1]
