# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Converts the expression network of face-api.js to ONNX, from its weights and their manifest.

A weights file of TensorFlow.js holds no graph: it holds tensors in the order of the manifest, each
float32, or uint8 with a scale and a minimum. The graph is written here after upstream's
``FaceFeatureExtractor`` and ``denseBlock4``.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.models.convert.onnx_graph import OnnxGraph

SIZE = 112
CLASSES = 7
BLOCKS = 4
Weights = Mapping[str, NDArray[np.float32]]


def read_weights(content: bytes, manifest: bytes, name: str) -> dict[str, NDArray[np.float32]]:
    """
    Return every tensor of a weights file, by name, in the manifest's shapes.

    :param content: the weights, in one piece
    :param manifest: JSON: a list of groups with ``weights``; of each its ``name``, ``shape`` and,
        if stored as uint8, ``quantization`` with ``scale`` and ``min``
    :param name: of the file in errors
    :raises InputError: an invalid manifest, or one of other weights
    """
    try:
        entries = [entry for group in json.loads(manifest) for entry in group['weights']]
        weights: dict[str, NDArray[np.float32]] = {}
        start = 0
        for entry in entries:
            shape, packed = tuple(entry['shape']), entry.get('quantization')
            if entry['dtype'] != 'float32' or (packed and packed['dtype'] != 'uint8'):
                raise InputError(f'{name}: {entry["name"]} is of a type that cannot be converted')
            stored = np.dtype(np.uint8 if packed else '<f4')
            end = start + stored.itemsize * int(np.prod(shape))
            values = np.frombuffer(content[start:end], stored).reshape(shape).astype(np.float32)
            weights[entry['name']] = values * np.float32(packed['scale']) + np.float32(
                packed['min']) if packed else values
            start = end
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{name} is cut short, or the manifest beside it is not one of its '
                         'weights: get both again') from None
    if start != len(content):
        raise InputError(f'{name} has {len(content)} bytes, not {start} as the manifest beside it '
                         'says: get both again')
    return weights


def expression_network(weights: Weights, graph: OnnxGraph) -> str:
    """
    Write FaceExpressionNet into a graph and return the value of its probabilities, ``(N, 7)``.

    :param weights: as :func:`read_weights` returns them
    :raises InputError: they are another network's
    """
    try:
        x = graph.input('image', ('N', 3, SIZE, SIZE))
        size = SIZE
        for block in range(BLOCKS):
            size //= 2
            x = _block(graph, weights, f'dense{block}', x, whole=block == 0)
        x = graph.add('Flatten', graph.add(
            'AveragePool', x, kernel_shape=[size, size], strides=[2, 2]), axis=1)
        logits = graph.add(
            'Gemm', x, graph.constant(weights['fc/weights']), graph.constant(weights['fc/bias']))
    except KeyError as error:
        raise InputError(f'there is no {error} among the weights: they are not those of '
                         'FaceExpressionNet') from None
    return graph.add('Softmax', logits, axis=1)


def _block(graph: OnnxGraph, weights: Weights, name: str, x: str, *, whole: bool) -> str:
    """Four convolutions; each but the first sees the sum of all before it."""
    total = first = graph.add('Relu', (_convolution if whole else _separable)(
        graph, weights, f'{name}/conv0', x, 2))
    for index in (1, 2, 3):
        seen = first if index == 1 else graph.add('Relu', total)
        total = graph.add(
            'Add', total, _separable(graph, weights, f'{name}/conv{index}', seen, 1))
    return graph.add('Relu', total)


def _convolution(
    graph: OnnxGraph, weights: Weights, name: str, x: str, stride: int,
) -> str:
    return graph.add(
        'Conv', x, graph.constant(weights[f'{name}/filters'].transpose(3, 2, 0, 1)),
        graph.constant(weights[f'{name}/bias']), **_window(stride))


def _separable(graph: OnnxGraph, weights: Weights, name: str, x: str, stride: int) -> str:
    depthwise = weights[f'{name}/depthwise_filter'].transpose(2, 3, 0, 1)
    x = graph.add(
        'Conv', x, graph.constant(depthwise), group=len(depthwise), **_window(stride))
    return graph.add(
        'Conv', x, graph.constant(weights[f'{name}/pointwise_filter'].transpose(3, 2, 0, 1)),
        graph.constant(weights[f'{name}/bias']), kernel_shape=[1, 1])


def _window(stride: int) -> dict[str, Any]:
    """Return what a 3 x 3 window needs for TensorFlow's SAME on an even number of pixels."""
    return {'kernel_shape': [3, 3], 'strides': [stride, stride],
            'pads': [0, 0, 1, 1] if stride == 2 else [1, 1, 1, 1]}
