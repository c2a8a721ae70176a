# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
EmoNet with seeded weights, as an ONNX file like the one our exporter writes, without PyTorch.

The checkpoint is its users' own download; tests and benchmarks of speed need only its shape. Keys
are the checkpoint's, so PyTorch loads :func:`state`, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.engines.graph.writer import Writer

State = dict[str, NDArray[np.float32]]
GAIN = 0.4
"""Of a block's convolutions: forty blocks on one residual stream stay within fp16's range."""
CENTRE = (-2.2, -5.6, 10.8, -16.9, -3.5, 13.1, -4.7, 8.8, 16.2, -5.4)
"""What eight classes, valence and arousal of real faces would be around."""
SPREAD = 0.6, 0.1
"""Of the classes, and of valence and arousal, for faces to differ in them, and none is cut off."""


def state(expressions: int = 8, seed: int = 7, narrow: int = 1) -> State:
    """
    Return a state dict: normalisation with scales of both signs, as trained ones have.

    :param narrow: share of the channels: one in so many, where only the graph counts
    """
    wide, middle, first = (channels // narrow for channels in (256, 128, 64))
    noise = np.random.default_rng(seed)
    weights: State = {}

    def conv(name: str, outputs: int, inputs: int, size: int = 1, bias: bool = True,
             gain: float = 1.0) -> None:
        weights[f'{name}.weight'] = (noise.standard_normal((outputs, inputs, size, size))
                                     * gain * np.sqrt(2 / (inputs * size * size)))
        if bias:
            weights[f'{name}.bias'] = noise.standard_normal(outputs) * 0.05

    def norm(name: str, channels: int, variance: float = 1.0) -> None:
        sign = np.where(noise.random(channels) < 0.05, -1, 1)
        weights[f'{name}.weight'] = sign * noise.uniform(0.5, 1.5, channels)
        weights[f'{name}.bias'] = noise.standard_normal(channels) * 0.2
        weights[f'{name}.running_mean'] = noise.standard_normal(channels) * 0.1
        weights[f'{name}.running_var'] = variance * noise.uniform(0.8, 1.2, channels)

    def block(name: str, inputs: int = wide, outputs: int = wide) -> None:
        norm(f'{name}.bn1', inputs)
        conv(f'{name}.conv1', outputs // 2, inputs, 3, False, GAIN)
        for index, width in ((2, outputs // 2), (3, outputs // 4)):
            norm(f'{name}.bn{index}', width, GAIN ** 2)
            conv(f'{name}.conv{index}', outputs // 4, width, 3, False, GAIN)
        if inputs != outputs:
            norm(f'{name}.downsample.0', inputs)
            conv(f'{name}.downsample.2', outputs, inputs, bias=False)

    conv('conv1', first, 3, 7)
    norm('bn1', first)
    block('conv2', first, middle)
    block('conv3', middle, middle)
    block('conv4', middle, wide)
    for stack in range(2):
        for level in range(1, 5):
            for branch in (1, 2, 3):
                block(f'm{stack}.b{branch}_{level}')
        block(f'm{stack}.b2_plus_1')
        block(f'top_m_{stack}')
        conv(f'conv_last{stack}', wide, wide, gain=0.5)
        norm(f'bn_end{stack}', wide)
        conv(f'l{stack}', 68, wide, gain=0.02)
    conv('bl0', wide, wide, gain=0.5)
    conv('al0', wide, 68)
    conv('conv1x1_input_emo_2', wide, 3 * wide, gain=0.5)
    for index in (0, 2, 4, 6):
        block(f'emo_net_2.{index}')
    weights['emo_fc_2.0.weight'] = noise.standard_normal((middle, wide)) / np.sqrt(wide)
    weights['emo_fc_2.0.bias'] = noise.standard_normal(middle) * 0.05
    norm('emo_fc_2.1', middle)
    weights['emo_fc_2.3.weight'] = noise.standard_normal(
        (expressions + 2, middle)) / np.sqrt(1.125 * middle)
    weights['emo_fc_2.3.bias'] = noise.standard_normal(expressions + 2) * 0.05
    if expressions + 2 == len(CENTRE):
        scale = np.repeat(SPREAD, (expressions, 2))
        weights['emo_fc_2.3.weight'] *= scale[:, None]
        weights['emo_fc_2.3.bias'] = (weights['emo_fc_2.3.bias'] - CENTRE) * scale
    return {name: value.astype(np.float32) for name, value in weights.items()}


def to_onnx(weights: State, heat_maps: bool = False) -> Any:
    """Return the ModelProto: opset 17, open batch, outputs as ``emonet_network.to_onnx`` names."""
    return _Graph(weights).model(heat_maps)


class _Graph:

    def __init__(self, weights: State) -> None:
        self.weights, self.writer = weights, Writer()

    def model(self, heat_maps: bool) -> Any:
        from onnx import helper, TensorProto

        w = self.writer
        x = w.add('Relu', self.norm(self.conv('image', 'conv1', 3, 2), 'bn1'))
        x = self.pool(self.block(x, 'conv2'))
        x = self.block(self.block(x, 'conv3'), 'conv4')
        first, maps = self.stack(x, 0)
        first = self.conv(first, 'bl0')
        second, maps = self.stack(
            w.add('Add', w.add('Add', x, first), self.conv(maps, 'al0')), 1,
            'heatmaps' if heat_maps else '')
        mask = w.add('ReduceSum', maps, w.constant([1], np.int64), keepdims=1)
        features = w.add('Mul', w.add('Concat', first, second, axis=1), mask)
        y = self.conv(w.add('Concat', x, features, axis=1), 'conv1x1_input_emo_2')
        for index in (0, 2, 4, 6):
            y = self.pool(self.block(y, f'emo_net_2.{index}'))
        y = w.add('AveragePool', y, kernel_shape=[4, 4], strides=[4, 4])
        y = self.linear(w.add('Flatten', y, axis=1), 'emo_fc_2.0')
        y = self.linear(w.add('Relu', self.norm(y, 'emo_fc_2.1')), 'emo_fc_2.3')
        classes = len(self.weights['emo_fc_2.3.bias']) - 2
        w.add('Slice', y, *(w.constant([n], np.int64) for n in (0, classes, 1)), name='expression')
        w.add('Gather', y, w.constant(-2, np.int64), axis=1, name='valence')
        w.add('Gather', y, w.constant(-1, np.int64), axis=1, name='arousal')
        outputs = {'expression': ['N', classes], 'valence': ['N'], 'arousal': ['N']}
        if heat_maps:
            outputs['heatmaps'] = ['N', 68, 64, 64]
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                 for name, shape in {'image': ['N', 3, 256, 256], **outputs}.items()]
        return w.model(infos[:1], infos[1:], 'emonet')

    def conv(self, x: str, name: str, pad: int = 0, stride: int = 1, result: str = '') -> str:
        w = self.writer
        weight = self.weights[f'{name}.weight']
        bias = [w.constant(self.weights[f'{name}.bias'])] if f'{name}.bias' in self.weights else []
        return w.add('Conv', x, w.constant(weight), *bias, kernel_shape=list(weight.shape[2:]),
                     pads=[pad] * 4, strides=[stride] * 2, dilations=[1, 1], group=1, name=result)

    def norm(self, x: str, name: str) -> str:
        return self.writer.add('BatchNormalization', x, *(
            self.writer.constant(self.weights[f'{name}.{part}'])
            for part in ('weight', 'bias', 'running_mean', 'running_var')), epsilon=1e-5)

    def linear(self, x: str, name: str) -> str:
        w = self.writer
        return w.add('Gemm', x, w.constant(self.weights[f'{name}.weight']),
                     w.constant(self.weights[f'{name}.bias']), alpha=1.0, beta=1.0, transB=1)

    def pool(self, x: str) -> str:
        return self.writer.add('MaxPool', x, kernel_shape=[2, 2], strides=[2, 2])

    def block(self, x: str, name: str) -> str:
        w, parts, last = self.writer, [], x
        for index in (1, 2, 3):
            last = self.conv(w.add('Relu', self.norm(last, f'{name}.bn{index}')),
                             f'{name}.conv{index}', 1)
            parts.append(last)
        if f'{name}.downsample.2.weight' in self.weights:
            x = self.conv(w.add('Relu', self.norm(x, f'{name}.downsample.0')),
                          f'{name}.downsample.2')
        return w.add('Add', w.add('Concat', *parts, axis=1), x)

    def level(self, x: str, stack: int, level: int) -> str:
        w = self.writer
        low = self.block(self.pool(x), f'm{stack}.b2_{level}')
        low = (self.level(low, stack, level - 1) if level > 1
               else self.block(low, f'm{stack}.b2_plus_1'))
        low = self.block(low, f'm{stack}.b3_{level}')
        up = w.add('Resize', low, '', w.constant([1, 1, 2, 2]), mode='nearest',
                   coordinate_transformation_mode='asymmetric', nearest_mode='floor')
        return w.add('Add', self.block(x, f'm{stack}.b1_{level}'), up)

    def stack(self, x: str, stack: int, maps: str = '') -> tuple[str, str]:
        x = self.block(self.level(x, stack, 4), f'top_m_{stack}')
        x = self.writer.add(
            'Relu', self.norm(self.conv(x, f'conv_last{stack}'), f'bn_end{stack}'))
        return x, self.conv(x, f'l{stack}', result=maps)
