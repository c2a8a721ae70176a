# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Converts an ONNX model to fp16 and keeps sensitive nodes in fp32.

Inputs and outputs stay fp32. Casts stand between fp16 and fp32 nodes, and the floating inputs of a
node have one type, as strongly typed networks (TensorRT 10 on) require.

Coordinates are sensitive. A landmark of the mesh is a number up to 192, where fp16 values are 0.125
apart, and an error of a crop's corner grows within the crop. So :func:`sensitive` returns the nodes
that compute with coordinates, from the last convolution before them on.

ONNX Runtime's converter does not serve: it clips constants at 65504, writes Q/DQ scales that opset
17 does not allow, and accepts control flow that it does not convert.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from aitable_ros.errors import InputError

HALF_MAX = 65504.0
"""Largest fp16 value; a node with a larger constant stays fp32."""
HALF_LEAST = 2.0 ** -14
"""Smallest normal fp16 value; a node with a smaller scale stays fp32."""
LAYER = 256
"""Fewest weights of a matrix product that is a layer; one with fewer is geometry."""
_WEIGHTED = ('Conv', 'ConvTranspose', 'Gemm')
_SINGLE_ONLY = (
    'Range', 'NonMaxSuppression', 'RandomNormal', 'RandomUniform', 'RandomNormalLike',
    'RandomUniformLike', 'DynamicQuantizeLinear')
"""Operators that only take fp32, or whose type does not follow from their inputs."""
_PAIR = ('QuantizeLinear', 'DequantizeLinear')
PAIR_OPSET = 19
"""First opset in which the scales and inputs of Q/DQ may be fp16."""
_SINGLE_INPUTS = {'Resize': (1, 2), 'Upsample': (1,)}
"""Inputs that are fp32 in a node of any precision: scales."""


def to_fp16(model: Any, keep: Sequence[str] = ()) -> Any:
    """
    Return a copy of an fp32 model that computes in fp16.

    :param model: an ``onnx.ModelProto``
    :param keep: nodes that stay fp32: names, operator types or shell patterns of either; it should
        include ``sensitive(model)``
    :return: an ``onnx.ModelProto`` with the same inputs and outputs, types included
    :raises InputError: a pattern that matches no node, or a model with control flow
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = _matching(copy.graph, keep)
    _Halving(copy, kept).run()
    onnx.checker.check_model(copy, full_check=True)
    return copy


def opset(model: Any) -> int:
    """Return the opset version of a model."""
    return int(next(item.version for item in model.opset_import if not item.domain))


def node_name(node: Any) -> str:
    """Return a node's name, or that of its first output if it has none."""
    return str(node.name or node.output[0])


def sensitive(model: Any) -> list[str]:
    """
    Return the nodes that need fp32: those that compute coordinates or results.

    - all from a weighted layer (included) to the grid of a ``GridSample``: places of crops;
    - all from the last weighted layers (included) to the outputs: results.

    Of the attention mesh, 96 real crops, every result of an fp16 node rounded to fp16:

    ==========================================  ========  =========  ==========
    in fp32                                     px p95    EAR Δ p95  EAR Δ max
    ==========================================  ========  =========  ==========
    nothing, or only the ``GridSample``         0.079     0.0028     0.0044
    what places the crops                       0.068     0.0028     0.0036
    what follows the last convolutions          0.063     0.0016     0.0030
    both of these                               0.053     0.0011     0.0017
    and the convolution before the crops        0.019     0.0007     0.0011
    and the last convolutions: all of these     0.017     0.0004     0.0007
    ==========================================  ========  =========  ==========

    The other models do not need it (EmoNet, 40 crops: valence Δ p95 0.005 with and without;
    BlazeFace: box IoU 0.9995 both ways); fp32 in their last layers costs two casts.

    :param model: an ``onnx.ModelProto``
    :return: node names for ``to_fp16(keep=...)`` or for the precision of TensorRT's layers
    """
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    ends = [tensor.name for tensor in graph.output]
    ends += [node.input[1] for node in graph.node if node.op_type == 'GridSample']
    found: dict[str, None] = {}
    seen: set[str] = set()
    while ends:
        name = ends.pop()
        maker = producers.get(name)
        if maker is None or name in seen:
            continue
        seen.add(name)
        found[node_name(maker)] = None
        weights = max((constants.get(name, 0) for name in maker.input), default=0)
        if maker.op_type not in _WEIGHTED and not (
                maker.op_type == 'MatMul' and weights >= LAYER):
            ends += maker.input
    return list(found)


def _matching(graph: Any, patterns: Iterable[str]) -> set[str]:
    """Return the names of the nodes that match the patterns."""
    found: set[str] = set()
    for pattern in patterns:
        hits = {
            node_name(node) for node in graph.node
            if fnmatchcase(node_name(node), pattern) or fnmatchcase(node.op_type, pattern)}
        if not hits:
            raise InputError(f"no node or operator type is called '{pattern}'; it cannot be kept "
                             'in fp32')
        found |= hits
    return found


class _Halving:
    """One conversion, in place."""

    def __init__(self, model: Any, kept: set[str]) -> None:
        self._graph = model.graph
        self._opset = opset(model)
        self._kept = kept
        self._floats = _float_tensors(model)
        self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        self._home: dict[str, bool] = {}  # float tensor -> whether its producer gives fp16
        self._cast: dict[tuple[str, bool], str] = {}
        self._nodes: list[Any] = []

    def run(self) -> None:
        graph = self._graph
        outputs = {tensor.name for tensor in graph.output}
        for node in list(graph.node):
            if any(item.HasField('g') or item.graphs for item in node.attribute):
                raise InputError(
                    f'{node_name(node)} ({node.op_type}): control flow cannot be converted to fp16')
            self._convert(node, self._is_half(node), outputs)
        del graph.node[:]
        graph.node.extend(self._nodes)
        used = {name for node in graph.node for name in node.input} | outputs
        spare = [tensor for tensor in graph.initializer if tensor.name not in used]
        for tensor in spare:
            graph.initializer.remove(tensor)
        del graph.value_info[:]

    def _is_half(self, node: Any) -> bool:
        if node_name(node) in self._kept or node.op_type in _SINGLE_ONLY:
            return False
        if node.op_type in _PAIR and (
                self._opset < PAIR_OPSET or not _precise(self._constants.get(node.input[1]))):
            return False
        return all(
            _fits(self._constants[name]) for name in node.input
            if name in self._constants and name in self._floats)

    def _convert(self, node: Any, half: bool, outputs: set[str]) -> None:
        import onnx

        single = _SINGLE_INPUTS.get(node.op_type, ())
        for at, name in enumerate(node.input):
            if name in self._floats and node.op_type != 'Cast':
                node.input[at] = self._as(name, half and at not in single)
            elif name in self._floats:
                node.input[at] = self._as(name, self._home.get(name, False))
        for item in node.attribute if half else ():
            if item.name == 'to' and item.i == onnx.TensorProto.FLOAT:
                item.i = onnx.TensorProto.FLOAT16
            elif item.type == onnx.AttributeProto.TENSOR \
                    and item.t.data_type == onnx.TensorProto.FLOAT:
                item.t.CopyFrom(_halved(item.t, item.t.name))
        self._nodes.append(node)
        for at, name in enumerate(node.output):
            if name not in self._floats:
                continue
            self._home[name] = half
            if half and name in outputs:
                inner = f'{name}_fp16'
                node.output[at] = inner
                self._cast[name, True] = inner
                self._add_cast(inner, name, half=False)
                self._home[name] = False

    def _as(self, name: str, half: bool) -> str:
        """Return the name of a float tensor in the wanted type; add a cast if needed."""
        if self._home.get(name, False) == half:
            return name
        if (name, half) not in self._cast:
            other = f'{name}_fp16' if half else f'{name}_fp32'
            self._cast[name, half] = other
            if name in self._constants:
                self._graph.initializer.append(_halved(self._constants[name], other))
            else:
                self._add_cast(name, other, half)
        return self._cast[name, half]

    def _add_cast(self, source: str, target: str, half: bool) -> None:
        import onnx

        kind = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
        self._nodes.append(onnx.helper.make_node(
            'Cast', [source], [target], name=f'cast_{target}', to=kind))


def _float_tensors(model: Any) -> set[str]:
    """Return the names of all fp32 tensors, by shape inference."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    kind = onnx.TensorProto.FLOAT
    found = {
        value.name for values in (graph.input, graph.output, graph.value_info) for value in values
        if value.type.tensor_type.elem_type == kind}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == kind}


def _fits(tensor: Any) -> bool:
    import onnx

    values = onnx.numpy_helper.to_array(tensor)
    return not values.size or float(np.abs(values).max()) <= HALF_MAX


def _precise(scale: Any) -> bool:
    import onnx

    return scale is not None and bool(
        onnx.numpy_helper.to_array(scale).min(initial=1) >= HALF_LEAST)


def _halved(tensor: Any, name: str) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(
        onnx.numpy_helper.to_array(tensor).astype(np.float16), name)
