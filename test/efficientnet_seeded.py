# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
EfficientNet-B0 with random weights as ONNX: the shape of upstream's ``enet_b0_8_va_mtl.onnx``.

Upstream's weights are the user's own download. Layers as in Tan & Le, "EfficientNet", 2019, table
1, batch normalisation folded into the convolutions, as timm and torchvision export it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx

from aitable_ros.models.convert.onnx_graph import OnnxGraph

STAGES = (  # expansion, kernel, stride of the first, channels, layers
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))


class _Builder:

    def __init__(self, seed: int) -> None:
        self.graph = OnnxGraph('efficientnet_b0')
        self.random = np.random.default_rng(seed)
        self.parameters = 0

    def weights(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = self.random.normal(0, np.sqrt(2 / fan_in), shape)
        self.parameters += values.size
        return self.graph.constant(values)

    def conv(self, x: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1,
             group: int = 1) -> str:
        self.parameters += outputs
        pad = kernel // 2
        return self.graph.add(
            'Conv', x, self.weights(outputs, inputs // group, kernel, kernel),
            self.graph.constant(self.random.normal(0, 0.1, outputs)), group=group,
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[pad] * 4)

    def swish(self, x: str) -> str:
        return self.graph.add('Mul', x, self.graph.add('Sigmoid', x))

    def block(self, x: str, inputs: int, outputs: int, expansion: int, kernel: int, stride: int,
              ) -> str:
        inner, y = inputs * expansion, x
        if expansion > 1:
            y = self.swish(self.conv(y, inputs, inner))
        y = self.swish(self.conv(y, inner, inner, kernel, stride, inner))
        squeezed = self.swish(self.conv(
            self.graph.add('GlobalAveragePool', y), inner, max(inputs // 4, 1)))
        gate = self.graph.add('Sigmoid', self.conv(squeezed, max(inputs // 4, 1), inner))
        y = self.conv(self.graph.add('Mul', y, gate), inner, outputs)
        return self.graph.add('Add', x, y) if stride == 1 and inputs == outputs else y


@cache
def build(
    outputs: int = 10, size: int = 224, narrow: int = 1, seed: int = 20, opset: int = 11,
) -> tuple[bytes, int]:
    """
    Return an ONNX file and its number of parameters.

    :param outputs: 10: eight logits, valence, arousal; 8: logits alone
    :param size: side of the input
    :param narrow: share of the channels: one in so many; 8 is the same graph for a hundredth of
        the work
    """
    make = _Builder(seed)
    x = make.graph.input('input', ('batch_size', 3, size, size))
    channels = 32 // narrow
    x = make.swish(make.conv(x, 3, channels, 3, 2))
    for expansion, kernel, stride, width, layers in STAGES:
        for layer in range(layers):
            x = make.block(
                x, channels, width // narrow, expansion, kernel, stride if not layer else 1)
            channels = width // narrow
    last = 1280 // narrow
    x = make.swish(make.conv(x, channels, last))
    x = make.graph.add('Flatten', make.graph.add('GlobalAveragePool', x), axis=1)
    make.parameters += outputs
    x = make.graph.add('Gemm', x, make.weights(last, outputs),
                       make.graph.constant(make.random.normal(0, 0.1, outputs)))
    content = make.graph.model({'output': (x, ('batch_size', outputs))}, {})
    model: Any = onnx.load_model_from_string(content)
    model.opset_import[0].version = opset  # upstream's; these operators are the same in it
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString()), make.parameters
