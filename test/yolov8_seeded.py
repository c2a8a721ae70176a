# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A narrow network with YOLOv8's graph and seeded weights: every operator and output layout.

Faces without and with their five key points, and bodies with COCO's 17 joints.

The checkpoints are their users' own (AGPL-3.0). Written after the published architecture
(C2f blocks with SiLU, SPPF, three scales, distribution focal loss), 640 pixels, batch 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aitable_ros.engines.graph.writer import Writer

LAYOUTS = {'boxes': [1, 5, 8400], 'key points': [1, 20, 8400], 'end to end': [1, 300, 6],
           'joints': [1, 56, 8400], 'joints end to end': [1, 300, 57]}
_POINTS = {'boxes': 5, 'key points': 5, 'end to end': 5, 'joints': 17, 'joints end to end': 17}
_WIDTH = (8, 16, 32, 64, 64)
_BINS = 16
"""Of a side's distribution."""


def to_onnx(layout: str, seed: int = 3) -> Any:
    """Return the ModelProto, opset 17; ``layout`` is a key of ``LAYOUTS``."""
    return _Graph(layout, seed).model()


class _Graph:

    def __init__(self, layout: str, seed: int) -> None:
        self.layout, self.noise, self.w = layout, np.random.default_rng(seed), Writer()

    def model(self) -> Any:
        from onnx import helper, TensorProto

        x, scales = 'images', []
        inputs = 3
        for level, width in enumerate(_WIDTH):
            x = self.cbs(x, inputs, width, 3, 2)
            if level:
                x = self.c2f(x, width, width)
            if level >= 2:
                scales.append((x, width))
            inputs = width
        top = self.sppf(x, inputs)
        (p3, w3), (p4, w4), _ = scales
        middle = self.c2f(self.join(self.up(top), p4), inputs + w4, w4)
        low = self.c2f(self.join(self.up(middle), p3), w4 + w3, w3)
        middle = self.c2f(self.join(self.cbs(low, w3, w3, 3, 2), middle), w3 + w4, w4)
        top = self.c2f(self.join(self.cbs(middle, w4, w4, 3, 2), top), w4 + inputs, inputs)
        self.head([(low, w3), (middle, w4), (top, inputs)])
        info = helper.make_tensor_value_info
        return self.w.model(
            [info('images', TensorProto.FLOAT, [1, 3, 640, 640])],
            [info('output0', TensorProto.FLOAT, LAYOUTS[self.layout])], 'yolov8')

    def head(self, scales: list[tuple[str, int]]) -> None:
        w, rows = self.w, {'box': [], 'score': [], 'points': []}
        number = _POINTS[self.layout]
        for x, width in scales:
            for part, channels in (('box', 4 * _BINS), ('score', 1), ('points', 3 * number)):
                y = self.conv(self.cbs(x, width, 16, 3), 16, channels)
                rows[part].append(w.add('Reshape', y, w.constant([1, channels, -1], np.int64)))
        box, score, points = (w.add('Concat', *rows[part], axis=2) for part in rows)
        side = w.add('Transpose', w.add('Reshape', box, w.constant([1, 4, _BINS, 8400], np.int64)),
                     perm=[0, 2, 1, 3])
        bins = w.constant(np.arange(_BINS, dtype=np.float32).reshape(1, _BINS, 1, 1))
        side = w.add('Conv', w.add('Softmax', side, axis=1), bins)
        side = w.add('Reshape', side, w.constant([1, 4, 8400], np.int64))
        anchors = w.constant(self.noise.uniform(0, 80, (1, 2, 8400)).astype(np.float32))
        strides = w.constant(np.full((1, 8400), 8, np.float32))
        near, far = (self.slice(side, low, low + 2) for low in (0, 2))
        near, far = w.add('Sub', anchors, near), w.add('Add', anchors, far)
        score = w.add('Sigmoid', score)
        if self.layout == 'end to end':
            self.best(score, w.add('Mul', w.add('Concat', near, far, axis=1), strides))
            return
        if self.layout == 'joints end to end':
            self.best(score, w.add('Mul', w.add('Concat', near, far, axis=1), strides),
                      self.placed(points, number))
            return
        centre = w.add('Div', w.add('Add', near, far), w.constant(np.float32(2)))
        box = w.add('Concat', centre, w.add('Sub', far, near), axis=1)
        parts = [w.add('Mul', box, strides), score]
        if self.layout != 'boxes':
            parts.append(self.placed(points, number))
        w.add('Concat', *parts, axis=1, name='output0')

    def placed(self, points: str, number: int) -> str:
        """Return key points as x, y, visibility in rows."""
        w = self.w
        points = w.add('Reshape', points, w.constant([1, number, 3, 8400], np.int64))
        origins = w.constant(self.noise.uniform(0, 80, (1, 1, 2, 8400)))
        places = w.add('Mul', self.slice(points, 0, 2, 2), w.constant(np.float32(2)))
        places = w.add('Add', places, origins)
        seen = w.add('Sigmoid', self.slice(points, 2, 3, 2))
        points = w.add('Concat', places, seen, axis=2)
        return w.add('Reshape', points, w.constant([1, 3 * number, 8400], np.int64))

    def best(self, score: str, *parts: str) -> None:
        """Write the 300 best as x1, y1, x2, y2, score, class, as models without NMS do."""
        w = self.w
        flat = w.add('Reshape', w.add('Transpose', score, perm=[0, 2, 1]),
                     w.constant([1, 8400], np.int64))
        values, index = 'best_score', 'best_index'
        self.w.nodes.append(_top_k(flat, w.constant([300], np.int64), values, index))
        column = w.add('Unsqueeze', index, w.constant([2], np.int64))
        picked = []
        for part, width in zip(parts, (4, 3 * _POINTS[self.layout])):
            wide = w.add('Tile', column, w.constant([1, 1, width], np.int64))
            picked.append(w.add(
                'GatherElements', w.add('Transpose', part, perm=[0, 2, 1]), wide, axis=1))
        values = w.add('Unsqueeze', values, w.constant([2], np.int64))
        kind = w.add('Mul', values, w.constant(np.float32(0)))
        w.add('Concat', picked[0], values, kind, *picked[1:], axis=2, name='output0')

    def conv(self, x: str, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> str:
        weight = self.noise.standard_normal((outputs, inputs, size, size)) / np.sqrt(
            inputs * size * size)
        return self.w.add(
            'Conv', x, self.w.constant(weight.astype(np.float32)),
            self.w.constant(np.zeros(outputs, np.float32)), kernel_shape=[size] * 2,
            pads=[size // 2] * 4, strides=[stride] * 2)

    def cbs(self, x: str, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> str:
        """Convolution and SiLU."""
        y = self.conv(x, inputs, outputs, size, stride)
        return self.w.add('Mul', y, self.w.add('Sigmoid', y))

    def c2f(self, x: str, inputs: int, outputs: int) -> str:
        half = outputs // 2
        x = self.cbs(x, inputs, outputs)
        first, second = self.slice(x, 0, half), self.slice(x, half, outputs)
        third = self.w.add('Add', second, self.cbs(self.cbs(second, half, half, 3), half, half, 3))
        return self.cbs(self.w.add('Concat', first, second, third, axis=1), 3 * half, outputs)

    def sppf(self, x: str, width: int) -> str:
        parts = [self.cbs(x, width, width // 2)]
        for _ in range(3):
            parts.append(self.w.add('MaxPool', parts[-1], kernel_shape=[5, 5], pads=[2] * 4,
                                    strides=[1, 1]))
        return self.cbs(self.w.add('Concat', *parts, axis=1), 2 * width, width)

    def join(self, one: str, other: str) -> str:
        return self.w.add('Concat', one, other, axis=1)

    def up(self, x: str) -> str:
        w = self.w
        return w.add('Resize', x, '', w.constant([1, 1, 2, 2]), mode='nearest',
                     coordinate_transformation_mode='asymmetric', nearest_mode='floor')

    def slice(self, x: str, low: int, high: int, axis: int = 1) -> str:
        w = self.w
        return w.add('Slice', x, *(w.constant([n], np.int64) for n in (low, high, axis)))


def _top_k(x: str, count: str, values: str, index: str) -> Any:
    from onnx import helper

    return helper.make_node('TopK', [x, count], [values, index], name='top', axis=1)
