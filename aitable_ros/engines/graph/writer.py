# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A small writer of ONNX graphs: nodes, constants, and convolutions with addend and ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Writer:
    """Collects nodes and weights; a value has the name of its node."""

    def __init__(self, prefix: str = '') -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.weights: dict[str, Array] = {}
        self._known: dict[tuple[Any, ...], str] = {}

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        """Add a constant; equal constants are stored once."""
        value = np.array(array, dtype, order='C')
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            name = f'{self.prefix}w{len(self.weights)}'
            self._known[key] = name
            self.weights[name] = value
        return self._known[key]

    def add(self, op: str, *inputs: str, name: str = '', **attributes: Any) -> str:
        """Add a node and return its output."""
        from onnx import helper
        name = name or f'{self.prefix}{op}_{len(self.nodes)}'
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, weight: Array, bias: Array | None = None, *,
             pads: Sequence[int] = (0, 0, 0, 0), stride: int = 1, plus: str = '',
             relu: bool = False, group: int = 1, name: str = '') -> str:
        """
        Add a convolution, with an addend and a ReLU that runtimes fuse into its kernel.

        :param weight: ``(out, in / group, height, width)``
        :param plus: name of an addend of the output's shape
        """
        bias = np.zeros(len(weight)) if bias is None else bias
        out = self.add(
            'Conv', x, self.constant(weight), self.constant(bias), group=group, name=name,
            kernel_shape=list(weight.shape[2:]), pads=list(pads), strides=[stride, stride])
        if plus:
            out = self.add('Add', out, plus)
        return self.add('Relu', out) if relu else out

    def model(self, inputs: Sequence[Any], outputs: Sequence[Any], name: str,
              opset: int = 17, ir_version: int = 8) -> Any:
        """Return the model without nodes that no output needs."""
        from onnx import helper, numpy_helper

        wanted = {output.name for output in outputs}
        nodes = []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                nodes.append(node)
        graph = helper.make_graph(
            nodes[::-1], name, list(inputs), list(outputs),
            [numpy_helper.from_array(value, key)
             for key, value in self.weights.items() if key in wanted])
        return helper.make_model(
            graph, producer_name='aitable_ros', ir_version=ir_version,
            opset_imports=[helper.make_opsetid('', opset)])
