# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Graphs with fewer nodes and the same outputs.

onnxslim computes constants ahead and removes nodes without effect. The rewrites beside this module
trade arithmetic, which a GPU has plenty of, for kernel launches, which dominate small networks.
"""

from __future__ import annotations

from typing import Any

from aitable_ros.engines.graph.fuse_prelu import fuse_prelu
from aitable_ros.engines.graph.merge_branches import merge_branches
from aitable_ros.engines.graph.merge_convolutions import Composer

_SKIPPED = ['graph_fusion', 'weight_tying']
"""Of onnxslim: fused nodes would lose the names that --exclude-from-fp16 takes."""


def simplify(model: Any) -> Any:
    """
    Compute ahead what depends on no input, and drop nodes that have no effect or no reader.

    :param model: a ModelProto; it is not changed
    :return: a new ModelProto with shapes inferred
    """
    from onnx import shape_inference
    from onnxslim import slim

    copy = type(model)()
    copy.CopyFrom(model)
    return shape_inference.infer_shapes(slim(copy, skip_optimizations=_SKIPPED))


def for_tensorrt(model: Any) -> Any:
    """
    Rewrite a model into few kernels; fp32 outputs are equal to 1e-5 of their largest value.

    :param model: a ModelProto; it is not changed
    """
    result = simplify(model)
    if any(map(_is_depthwise, result.graph.node)) or _has_preactivation(result.graph):
        rewritten = merge_branches(Composer(fuse_prelu(result)).run())
        rewritten.metadata_props.extend(model.metadata_props)
        return rewritten
    return result


def _is_depthwise(node: Any) -> bool:
    return node.op_type == 'Conv' and any(a.name == 'group' and a.i > 1 for a in node.attribute)


def _has_preactivation(graph: Any) -> bool:
    """Tell whether concatenated convolutions are normalised only for the next convolution."""
    normalised = {node.input[0] for node in graph.node if node.op_type == 'BatchNormalization'}
    convolved = {node.output[0] for node in graph.node if node.op_type == 'Conv'}
    return any(node.op_type == 'Concat' and normalised & convolved & {*node.input}
               for node in graph.node)
