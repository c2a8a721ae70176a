# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Graphs with fewer nodes and the same outputs.

:func:`simplify` is for every runtime, :func:`for_tensorrt` for engines: it trades arithmetic, which
a GPU has plenty of, for kernel launches, which is what small networks spend their time on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aitable_ros.engines.graph.fuse_prelu import find_prelu
from aitable_ros.engines.graph.merge_branches import merge_towers
from aitable_ros.engines.graph.merge_convolutions import Composer

_FOLDABLE = 1 << 22
"""Largest constant to compute ahead, elements: more than any shape arithmetic gives."""


def simplify(model: Any) -> Any:
    """
    Compute ahead what depends on no input, and drop what does nothing or is not read.

    :param model: a ModelProto; it stays as it is
    :return: a new ModelProto with shapes inferred
    """
    from onnx import shape_inference

    result = type(model)()
    result.CopyFrom(model)
    _constants_to_initializers(result)
    _fold(result)
    _drop_identities(result)
    _drop_unread(result)
    return shape_inference.infer_shapes(result)


def for_tensorrt(model: Any) -> Any:
    """
    Rewrite for few kernels; outputs are equal to 1e-5 of their size in fp32.

    :param model: a ModelProto; it stays as it is
    """
    result = simplify(model)
    if any(map(_is_depthwise, result.graph.node)) or _has_preactivation(result.graph):
        rewritten = merge_towers(Composer(find_prelu(result)).run())
        rewritten.metadata_props.extend(model.metadata_props)
        return rewritten
    return result


def _is_depthwise(node: Any) -> bool:
    return node.op_type == 'Conv' and any(a.name == 'group' and a.i > 1 for a in node.attribute)


def _has_preactivation(graph: Any) -> bool:
    """Tell whether convolutions are put together and normalised only for the next of them."""
    normalised = {node.input[0] for node in graph.node if node.op_type == 'BatchNormalization'}
    convolved = {node.output[0] for node in graph.node if node.op_type == 'Conv'}
    return any(node.op_type == 'Concat' and normalised & convolved & {*node.input}
               for node in graph.node)


def _constants_to_initializers(model: Any) -> None:
    from onnx import helper
    from onnx import numpy_helper

    graph = model.graph
    for node in [node for node in graph.node if node.op_type == 'Constant']:
        attribute = node.attribute[0]
        value = helper.get_attribute_value(attribute)
        if attribute.name == 'value':
            array = numpy_helper.to_array(value)
        elif attribute.name in ('value_float', 'value_floats'):
            array = np.array(value, np.float32)
        elif attribute.name in ('value_int', 'value_ints'):
            array = np.array(value, np.int64)
        else:
            continue
        graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        graph.node.remove(node)


def _fold(model: Any) -> None:
    """Run every node whose inputs are constant, with ONNX's reference implementation."""
    from onnx import helper
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    outputs = {output.name for output in graph.output}
    for node in list(graph.node):
        if (not node.input or any(name and name not in constants for name in node.input)
                or outputs.intersection(node.output) or node.op_type.startswith('Random')
                or any(a.HasField('g') for a in node.attribute)
                or node.op_type in ('QuantizeLinear', 'DequantizeLinear')):
            continue
        inputs = {name: numpy_helper.to_array(constants[name]) for name in node.input if name}
        one = helper.make_model(
            helper.make_graph(
                [node], 'one',
                [helper.make_tensor_value_info(name, constants[name].data_type, None)
                 for name in inputs],
                [helper.make_empty_tensor_value_info(name) for name in node.output if name]),
            opset_imports=model.opset_import)
        try:
            values = ReferenceEvaluator(one).run(None, inputs)
        except Exception:  # noqa: S112  whatever it cannot run stays in the graph
            continue
        if sum(np.asarray(value).size for value in values) > _FOLDABLE:
            continue
        for name, value in zip([name for name in node.output if name], values):
            constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
            graph.initializer.append(constants[name])
        graph.node.remove(node)


def _drop_identities(model: Any) -> None:
    graph = model.graph
    outputs = {output.name for output in graph.output}
    names: dict[str, str] = {}
    for node in list(graph.node):
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        # (Dropout has nothing to do at inference, unless its mask is read)
        if (node.op_type in ('Identity', 'Dropout') and len(node.output) == 1
                and node.output[0] not in outputs):
            names[node.output[0]] = node.input[0]
            graph.node.remove(node)


def _drop_unread(model: Any) -> None:
    graph = model.graph
    read = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if read.intersection(node.output) or any(a.HasField('g') for a in node.attribute):
            read.update(node.input)
            for attribute in node.attribute:
                if attribute.HasField('g'):  # a branch reads values of the graph around it
                    read.update(name for inner in attribute.g.node for name in inner.input)
        else:
            graph.node.remove(node)
    kept = [i for i in graph.initializer if i.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    inputs = [i for i in graph.input if i.name not in {k.name for k in kept}]
    del graph.input[:]
    graph.input.extend(inputs)
