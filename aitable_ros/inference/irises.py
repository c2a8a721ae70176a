# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The attention mesh without its irises, on OpenVINO.

Nothing here reads the irises, and they take a tenth of the mesh's time: two of its five branches,
and a quarter of its weights. Their ten points stay in the output, all five of an eye in the middle
of its contour. ONNX Runtime and TensorRT run the whole model.
"""

from __future__ import annotations

from typing import Any

BRANCHES = [[1, points, 2] for points in (80, 71, 5, 71, 5)]
"""Shapes of the landmarks of lips, left eye, left iris, right eye and right iris, in crop pixels,
where ``models/convert/attention_crops.py`` joins them."""
CONTOUR = 16
"""The first of an eye's landmarks are its contour (``attention_mesh.CONTOUR``)."""


def leave_out_irises(network: Any, ops: Any) -> bool:
    """
    Put the middle of each eye in place of its iris.

    :param network: an ``openvino.Model`` of batch 1, changed in place
    :param ops: ``openvino.opset13``
    :return: whether it is the attention mesh; any other model stays as it is
    """
    joins = [op for op in network.get_ops() if op.get_type_name() == 'Concat' and [
        _shape(value) for value in op.inputs()] == BRANCHES]
    if len(joins) != 1:
        return False
    inputs = joins[0].inputs()
    for eye, iris in (inputs[1:3], inputs[3:5]):
        contour = ops.slice(eye.get_source_output(), [0], [CONTOUR], [1], [1])
        middle = ops.reduce_mean(contour, [1], keep_dims=True)
        iris.replace_source_output(ops.broadcast(middle, BRANCHES[-1]).output(0))
    network.validate_nodes_and_infer_types()
    return True


def _shape(value: Any) -> list[int]:
    shape = value.get_partial_shape()
    return [] if shape.is_dynamic else list(value.get_shape())
