# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The attention mesh as OpenVINO runs it: without irises, and with its branches side by side.

The mesh has five branches, for lips, eyes and irises. Nothing here reads the irises, and they take
a tenth of the time. Their ten points stay in the output, all five of an eye in the middle of its
contour. The other three branches are alike, layer by layer, and small: OpenVINO spends more time on
beginning a layer than in it. So the three become one branch, whose convolutions have three groups.
The landmarks stay the same. ONNX Runtime and TensorRT run the model as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANDMARKS = [[1, points, 2] for points in (80, 71, 5, 71, 5)]
"""Shapes of the landmarks of lips, left eye, left iris, right eye and right iris, in crop pixels,
where ``models/convert/attention_crops.py`` joins them."""
LIPS, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS = range(5)
CONTOUR = 16
"""The first of an eye's landmarks are its contour (``attention_mesh.CONTOUR``)."""

Array = NDArray[np.float32]


class _OtherGraphError(Exception):
    """The graph is not the one that ``aitable models`` makes."""


@dataclass(frozen=True, slots=True)
class _Convolution:
    """
    A convolution with its bias.

    :param weights: ``(out, in, height, width)``; of a depthwise one ``(channels, 1, 1, 3, 3)``
    :param bias: ``(1, out, 1, 1)``
    :param node: the convolution itself, an ``openvino.Node``
    """

    weights: Array
    bias: Array
    node: Any

    @property
    def place(self) -> list[list[int]]:
        """Strides, padding before, padding behind and dilations, each ``[down, across]``."""
        told = self.node.get_attributes()
        return [list(told[name]) for name in ('strides', 'pads_begin', 'pads_end', 'dilations')]


@dataclass(frozen=True, slots=True)
class _Layer:
    """
    A layer of a branch, with a PReLU at its end.

    :param pointwise: a 1 × 1 convolution
    :param slope: ``(1, out, 1, 1)`` of the PReLU
    :param depthwise: runs before it, and then the layer's input is added to the result, pooled and
        filled up with zeros to its shape; None where the layer has the pointwise one alone
    """

    pointwise: _Convolution
    slope: Array
    depthwise: _Convolution | None = None


def tailor(network: Any, ops: Any) -> bool:
    """
    Leave out the irises, and run the branches of lips and eyes as one.

    :param network: an ``openvino.Model`` of batch 1, changed in place
    :param ops: ``openvino.opset13``
    :return: whether it is the attention mesh; any other model stays as it is
    """
    joins = [node for node in network.get_ops() if node.get_type_name() == 'Concat' and [
        _shape(value) for value in node.inputs()] == LANDMARKS]
    if len(joins) != 1:
        return False
    _leave_out_irises(joins[0].inputs(), ops)
    with suppress(_OtherGraphError):  # quantised, say: then the branches run one by one
        _join_branches([joins[0].inputs()[part] for part in (LIPS, LEFT_EYE, RIGHT_EYE)], ops)
    network.validate_nodes_and_infer_types()
    return True


def _leave_out_irises(landmarks: Sequence[Any], ops: Any) -> None:
    """Put the middle of each eye in place of its iris."""
    for eye, iris in ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS)):
        contour = ops.slice(landmarks[eye].get_source_output(), [0], [CONTOUR], [1], [1])
        middle = ops.reduce_mean(contour, [1], keep_dims=True)
        landmarks[iris].replace_source_output(
            ops.broadcast(middle, LANDMARKS[iris]).output(0))


def _join_branches(landmarks: Sequence[Any], ops: Any) -> None:
    """:raises _OtherGraphError: the branches are not alike; nothing is changed then."""
    ends = [_operands(value.get_source_output(), 'Reshape')[0] for value in landmarks]
    heads = [_convolution(end) for end in ends]
    branches = [_branch(head.node.input_value(0)) for head in heads]
    if len({_form(*branch) for branch in branches}) != 1:
        raise _OtherGraphError
    joined = ops.concat([begin for begin, _ in branches], 1)
    for layers in zip(*(layers for _, layers in branches)):
        joined = _side_by_side(joined, layers, ops)
    parts = ops.split(joined, ops.constant(np.int64(1)), len(heads))
    for head, part in zip(heads, parts.outputs()):
        head.node.input(0).replace_source_output(part)


def _side_by_side(value: Any, layers: Sequence[_Layer], ops: Any) -> Any:
    """Append one layer to all branches, whose channels lie one behind the other."""
    inner = value
    depthwise = [layer.depthwise for layer in layers if layer.depthwise is not None]
    if depthwise:
        weights = np.concatenate([one.weights for one in depthwise])
        inner = _convolved(inner, weights, depthwise, ops)
    pointwise = [layer.pointwise for layer in layers]
    inner = _convolved(inner, np.stack([one.weights for one in pointwise]), pointwise, ops)
    if depthwise:
        inner = ops.add(_shortcut(value, layers, ops), inner)
    positive = ops.relu(inner)
    slope = ops.constant(np.concatenate([layer.slope for layer in layers], axis=1))
    return ops.add(positive, ops.multiply(ops.subtract(inner, positive), slope))


def _convolved(value: Any, weights: Array, parts: Sequence[_Convolution], ops: Any) -> Any:
    """Append a convolution in groups, with the bias of its parts."""
    convolved = ops.group_convolution(value, ops.constant(weights), *parts[0].place)
    return ops.add(convolved, ops.constant(np.concatenate([part.bias for part in parts], axis=1)))


def _shortcut(value: Any, layers: Sequence[_Layer], ops: Any) -> Any:
    """Give a layer's input the shape of its output: half the size, and channels of zeros."""
    first = layers[0]
    assert first.depthwise is not None
    strides = first.depthwise.place[0]
    if strides != [1, 1]:
        value = ops.max_pool(value, strides, [1, 1], [0, 0], [0, 0], strides).output(0)
    outputs, inputs = first.pointwise.weights.shape[:2]
    if outputs == inputs:
        return value
    # Zeros behind each group: a convolution costs less than taking the groups apart.
    same = np.zeros((len(layers), outputs, inputs, 1, 1), np.float32)
    same[:, range(inputs), range(inputs)] = 1
    return ops.group_convolution(value, ops.constant(same), *first.pointwise.place)


def _branch(value: Any) -> tuple[Any, list[_Layer]]:
    """
    Read a branch from its end to its beginning.

    :return: the value that its first layer takes, and its layers in the order in which they run
    """
    layers: list[_Layer] = []
    while _kind(value) in ('Maximum', 'Add'):
        summed, slope = _prelu(value)
        depthwise = None
        if _is_convolution(summed):
            pointwise = _convolution(summed)
            value = pointwise.node.input_value(0)
        else:
            convolved = [one for one in _operands(summed, 'Add') if _is_convolution(one)]
            if len(convolved) != 1:
                raise _OtherGraphError
            pointwise = _convolution(convolved[0])
            depthwise = _convolution(pointwise.node.input_value(0))
            value = depthwise.node.input_value(0)
        layers.append(_Layer(pointwise, slope, depthwise))
    return value, layers[::-1]


def _form(begin: Any, layers: Sequence[_Layer]) -> str:
    """Describe all of a branch but its numbers."""
    return repr((_shape(begin), [
        None if part is None else (part.node.get_type_name(), part.weights.shape, part.place)
        for layer in layers for part in (layer.depthwise, layer.pointwise)]))


def _prelu(value: Any) -> tuple[Any, Array]:
    """
    Read a PReLU, as ``models/convert`` writes it.

    :return: its input and its slope. With x for the input and r for ``relu(x)``, it is
        ``max(x, slope · x)`` or ``r + slope · (x − r)``
    """
    scaled = [one for one in _operands(value) if _kind(one) == 'Multiply']
    if len(scaled) != 1:
        raise _OtherGraphError
    inner, slope = _with_constant(scaled[0])
    if _kind(value) == 'Add':
        inner = _operands(inner, 'Subtract')[0]
    return inner, slope


def _is_convolution(value: Any) -> bool:
    try:
        _convolution(value)
    except _OtherGraphError:
        return False
    return True


def _convolution(value: Any) -> _Convolution:
    """Read a convolution and the bias that is added to its result."""
    convolved, bias = _with_constant(value)
    weights = _constant(_operands(convolved, 'Convolution', 'GroupConvolution')[1])
    if weights is None:
        raise _OtherGraphError
    return _Convolution(weights, bias, convolved.get_node())


def _with_constant(value: Any) -> tuple[Any, Array]:
    """Return the operand that is computed, and the one that is given."""
    first, second = _operands(value)
    for computed, given in ((first, second), (second, first)):
        constant = _constant(given)
        if constant is not None:
            return computed, constant
    raise _OtherGraphError


def _operands(value: Any, *kinds: str) -> tuple[Any, Any]:
    """Return the two inputs of the node that makes a value; of one of some kinds, where given."""
    node = value.get_node()
    if node.get_input_size() != 2 or (kinds and node.get_type_name() not in kinds):
        raise _OtherGraphError
    return node.input_value(0), node.input_value(1)


def _constant(value: Any) -> Array | None:
    """Return a given value, also where it is reshaped; None where the value is computed."""
    node, shape = value.get_node(), _shape(value)
    if node.get_type_name() == 'Reshape':
        node = node.input_value(0).get_node()
    if node.get_type_name() != 'Constant' or node.get_element_type().get_type_name() != 'f32':
        return None
    return np.array(node.data, np.float32).reshape(shape)


def _kind(value: Any) -> str:
    return str(value.get_node().get_type_name())


def _shape(value: Any) -> list[int]:
    shape = value.get_partial_shape()
    return [] if shape.is_dynamic else list(value.get_shape())
