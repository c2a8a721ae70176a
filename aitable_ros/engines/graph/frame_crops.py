# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A graph that cuts turned crops out of a whole frame, so that the GPU does it.

It does what :class:`aitable_ros.face.turned_crops.TurnedCrops` does with OpenCV: bilinear, edge
pixels repeated, values in [0, 1]. The frame is as the camera gives it, uint8; the crops are what
the mesh reads. OpenCV rounds places to 1/32 of a pixel and values to whole numbers, this does not.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from aitable_ros.engines.graph.writer import Writer

SIZES_KEY = 'aitable_sizes'
"""Metadata of an ONNX file whose inputs leave more open than the batch: JSON, input -> smallest,
best and largest shape; the batch of an input is left to the builder's options with a 0."""
MOST_HEIGHT, MOST_WIDTH = 1088, 1920
"""Largest frame: 1080p, and the 1088 rows of decoders. As fp32 it takes 25 MB of the GPU."""


def crop_graph(side: int) -> Any:
    """
    Return the graph for crops of a size.

    Inputs: ``frame`` uint8 ``(height, width, 3)``; ``turns`` float32 ``(n, 3, 2)``, of
    :func:`aitable_ros.inference.frame_cutter.turns_of`. Output: ``image`` float32
    ``(n, side, side, 3)`` in [0, 1].

    :param side: of the crops, pixels
    :return: an ``onnx.ModelProto``
    """
    from onnx import checker, helper, TensorProto

    writer = Writer()
    ints = np.int64
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    pixels = np.stack([columns.ravel(), rows.ravel(), np.ones(side * side, np.float32)], axis=1)
    single = writer.add('Cast', 'frame', to=TensorProto.FLOAT)
    planes = writer.add('Unsqueeze', writer.add('Transpose', single, perm=[2, 0, 1]),
                        writer.constant([0], ints))
    places = writer.add('MatMul', writer.constant(pixels[None]), 'turns')
    # One picture gives all crops: one below the other in the grid.
    grid = writer.add('Reshape', places, writer.constant([1, -1, side, 2], ints))
    column = writer.add('GridSample', planes, grid, mode='bilinear', padding_mode='border',
                        align_corners=1)
    crops = writer.add('Reshape', column, writer.constant([3, -1, side, side], ints))
    last = writer.add('Transpose', crops, perm=[1, 2, 3, 0])
    writer.add('Mul', last, writer.constant(1 / 255), name='image')
    model = writer.model(
        [helper.make_tensor_value_info('frame', TensorProto.UINT8, ['height', 'width', 3]),
         helper.make_tensor_value_info('turns', TensorProto.FLOAT, ['n', 3, 2])],
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, ['n', side, side, 3])],
        f'crops_{side}')
    helper.set_model_props(model, {SIZES_KEY: json.dumps(
        {'frame': [[1, 1, 3], [720, 1280, 3], [MOST_HEIGHT, MOST_WIDTH, 3]]})})
    checker.check_model(model, full_check=True)
    return model
