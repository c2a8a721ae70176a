# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fuses plain operators into PRelu."""

from __future__ import annotations

from typing import Any

import numpy as np


def fuse_prelu(model: Any) -> Any:
    """
    Replace ``max(x, slope x)`` and ``relu(x) + slope (x - relu(x))`` by PRelu.

    :param model: a ModelProto; a new one is returned
    """
    from onnx import helper, numpy_helper

    result = type(model)()
    result.CopyFrom(model)
    graph = result.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    by_output = {name: node for node in graph.node for name in node.output}

    def made_by(name: str, op: str) -> Any:
        node = by_output.get(name)
        return node if node is not None and node.op_type == op else None

    def scaled(name: str) -> tuple[str, str] | None:
        """Return the value that a Mul scales, and the constant."""
        node = made_by(name, 'Mul')
        if node is None:
            return None
        for x, slope in (node.input, node.input[::-1]):
            if slope in constants and x not in constants:
                return x, slope
        return None

    slopes: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        if node.op_type not in ('Max', 'Add') or len(node.input) != 2:
            continue
        for a, b in (node.input, node.input[::-1]):
            product = scaled(b)
            if product is None:
                continue
            x, slope = product
            if node.op_type == 'Max':
                if x != a or constants[slope].max() > 1:
                    continue
            else:
                negative, positive = made_by(x, 'Sub'), made_by(a, 'Relu')
                if (negative is None or positive is None or negative.input[1] != a
                        or negative.input[0] != positive.input[0]):
                    continue
                x = positive.input[0]
            if slope not in slopes:
                array = constants[slope]
                slopes[slope] = f'{slope}_slope'
                graph.initializer.append(numpy_helper.from_array(
                    np.ascontiguousarray(array.reshape(array.shape[-3:])), slopes[slope]))
            graph.node[index].CopyFrom(helper.make_node(
                'PRelu', [x, slopes[slope]], list(node.output), name=node.output[0]))
            break
    used = {output.name for output in graph.output}
    for index in range(len(graph.node) - 1, -1, -1):
        if used.intersection(graph.node[index].output):
            used.update(graph.node[index].input)
        else:
            del graph.node[index]
    kept = [i for i in graph.initializer if i.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return result
