# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Converts the attention mesh's own operators, for all of its crops at once.

The network crops lips and eyes from its feature map; landmarks of the coarse mesh give each crop's
rotation and size. It maps the landmarks found there back to the image. The operators are

- ``Landmarks2TransformMatrix``: the crop's axis runs from a left to a right landmark; in the axes
  turned that way, it is the bounding box of a subset of landmarks, made ``scale`` times larger,
- ``TransformTensorBilinear``: samples the feature map in the crop,
- ``TransformLandmarks``: from crop pixels back to the image's.

MediaPipe builds 4 x 4 matrices for this (``mediapipe/util/tflite/operations``). A crop is simpler
kept as box and rotation, in GridSample's coordinates (-1 ... 1 over the feature map),
stacked over the crops: a point at ``t`` (0 ... 1 from the first to the last landmark of the box, so
that the crop reaches beyond both) is at ``(low + t * extent) @ rotation.T`` with low and extent in
the turned axes. Some thirty nodes then do what takes several hundred one crop and one matrix entry
at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.models.convert.onnx_graph import OnnxGraph
from aitable_ros.models.convert.tflite_file import Operator
from aitable_ros.models.convert.tflite_tensors import TfliteTensors

_OUTSIDE = 1000.0
"""Factor that moves sampling points outside the map away from it, by more than a pixel."""


@dataclass(frozen=True, slots=True)
class _Matrix:
    """
    A 4 x 4 matrix of the file.

    :param crop: number of the crop that the matrix maps to the image
    :param linear: factor of the rotation and scale columns
    :param shift: factor of the translation column
    """

    crop: int
    linear: float = 1.0
    shift: float = 1.0


class AttentionCrops:
    """The crops of a network, converted together."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self._matrices: dict[int, _Matrix] = {}
        self._tensors: dict[int, str] = {}
        self._rows: dict[int, NDArray[np.int64]] = {}
        self._side = 0  # of a crop, pixels
        self._map = 0  # side of the feature map, pixels
        self._scale = 1.0  # of a crop over its landmarks' box
        self._low = self._extent = self._back = ''
        self.refined = ''
        """``(N, points, 2)``: every refined landmark, in output pixels."""

    def rows(self, at: TfliteTensors, tensor: int) -> NDArray[np.int64]:
        """Return the rows of :attr:`refined` that hold the landmarks of a (reshaped) tensor."""
        reshaped = {op.outputs[0]: op.inputs[0] for op in _siblings(at, 'RESHAPE')}
        while tensor not in self._rows:
            tensor = reshaped[tensor]
        return self._rows[tensor]

    def transform_matrix(self, at: TfliteTensors, op: Operator) -> None:
        """Landmarks2TransformMatrix: place all crops at the first of these operators."""
        if not self._matrices:
            self._place(at, _siblings(at, op.kind))

    def scale_matrix(self, at: TfliteTensors, op: Operator) -> bool:
        """MUL: record a scaled matrix of a crop; return False for any other product."""
        matrix = self._matrices.get(op.inputs[0])
        if matrix is None:
            return False
        factors = at.constants[op.inputs[1]].reshape(4, 4)
        linear, shift = factors[:2, :2], factors[:2, 3]
        if np.ptp(linear) or np.ptp(shift):
            raise InputError('a crop that is stretched on its way back cannot be converted')
        self._matrices[op.outputs[0]] = _Matrix(
            matrix.crop, matrix.linear * float(linear[0, 0]), matrix.shift * float(shift[0]))
        return True

    def transform_tensor(self, at: TfliteTensors, op: Operator) -> None:
        """TransformTensorBilinear: sample all crops at the first of these operators."""
        if not self._tensors:
            self._sample(at, _siblings(at, op.kind))
        at.values[op.outputs[0]] = self._tensors[op.outputs[0]]

    def transform_landmarks(self, at: TfliteTensors, op: Operator) -> None:
        """TransformLandmarks: map all landmarks back at the first of these operators."""
        if not self.refined:
            self._carry_back(at, _siblings(at, op.kind))
        at.values[op.outputs[0]] = self._graph.add(
            'Gather', self.refined, self._graph.ints(*self._rows[op.outputs[0]]), axis=1)

    def _place(self, at: TfliteTensors, ops: Sequence[Operator]) -> None:
        graph = self._graph
        meshes = {at.value(op.inputs[0]) for op in ops}
        sides = {op.options[key] for op in ops for key in ('output_width', 'output_height')}
        scales = {op.options[key] for op in ops for key in ('scale_x', 'scale_y')}
        maps = {size for op in _siblings(at, 'TransformTensorBilinear')
                for size in at.shape(op.inputs[0])[1:3]}
        if (any(len(values) != 1 for values in (meshes, sides, scales, maps))
                or any(op.options['target_rotation_radians'] for op in ops)):
            raise InputError('crops of different sizes or sources cannot be converted')
        (mesh,), (self._side,), (self._scale,), (self._map,) = meshes, sides, scales, maps
        self._matrices = {op.outputs[0]: _Matrix(crop) for crop, op in enumerate(ops)}

        # from feature map pixels to GridSample's -1 ... 1
        points = graph.add(
            'Sub', graph.add('Mul', graph.slice(mesh, 2, 0, 2), graph.constant(2 / self._map)),
            graph.constant(1.0))
        ends = np.zeros((len(ops), at.shape(ops[0].inputs[0])[1]))  # right minus left
        for crop, op in enumerate(ops):
            ends[crop, op.options['right_rotation_idx']] = 1
            ends[crop, op.options['left_rotation_idx']] = -1
        axis = graph.add('MatMul', graph.constant(ends), points)
        cos_sin = graph.add(
            'Div', axis, graph.add('ReduceL2', axis, axes=[2], keepdims=1))  # (N, crops, 2)
        # [c, s] @ this = [c, -s, s, c], the rotation; its transpose turns back
        spread = graph.constant([[1, 0, 0, 1], [0, -1, 1, 0]])
        rotation = graph.reshape(graph.add('MatMul', cos_sin, spread), -1, len(ops), 2, 2)
        self._back = graph.add('Transpose', rotation, perm=(0, 1, 3, 2))

        subsets = _filled([np.array(op.options['subset_idxs']) for op in ops])
        turned = graph.add(
            'MatMul', graph.add('Gather', points, graph.constant(subsets, np.int64), axis=1),
            rotation)
        self._low, high = (graph.add(reduce, turned, axes=[2], keepdims=1)
                           for reduce in ('ReduceMin', 'ReduceMax'))  # (N, crops, 1, 2)
        self._extent = graph.add('Sub', high, self._low)

    def _in_map(self, places: str) -> str:
        """From 0 ... 1 of each box, ``(N or 1, crops or 1, n, 2)``, to the feature map."""
        scaled = self._graph.add('Mul', places, self._extent)
        return self._graph.add('MatMul', self._graph.add('Add', scaled, self._low), self._back)

    def _sample(self, at: TfliteTensors, ops: Sequence[Operator]) -> None:
        graph, side = self._graph, self._side
        sources = {at.value(op.inputs[0]) for op in ops}
        if len(sources) != 1 or [self._matrices[op.inputs[1]] for op in ops] != [
                _Matrix(crop) for crop in range(len(ops))]:
            raise InputError('crops out of several feature maps cannot be converted')
        steps = ((np.arange(side) + 0.5) / side - 0.5) * self._scale + 0.5
        pixels = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(1, 1, -1, 2)
        grid = graph.reshape(self._in_map(graph.constant(pixels)), -1, len(ops) * side, side, 2)
        # MediaPipe returns 0 for points beyond the outermost pixel centres, GridSample fades out
        # over one pixel: move those points far away
        edge = 1 - 1 / self._map
        inside = graph.add('Clip', grid, graph.constant(-edge), graph.constant(edge))
        beyond = graph.add('Mul', graph.add('Sub', grid, inside), graph.constant(_OUTSIDE))
        sampled = graph.add(
            'GridSample', sources.pop(), graph.add('Add', grid, beyond), mode='bilinear',
            padding_mode='zeros', align_corners=0)  # the crops below one another
        self._tensors = {
            op.outputs[0]: graph.slice(sampled, 2, crop * side, (crop + 1) * side)
            for crop, op in enumerate(ops)}

    def _carry_back(self, at: TfliteTensors, ops: Sequence[Operator]) -> None:
        graph = self._graph
        matrices = [self._matrices[op.inputs[1]] for op in ops]
        counts = [at.shape(op.outputs[0])[1] for op in ops]
        factors = {(matrix.linear, matrix.shift) for matrix in matrices}
        if len(factors) != 1 or any(at.shape(op.outputs[0])[2] != 2 for op in ops):
            raise InputError('landmarks of different scales cannot be converted')
        ((linear, shift),) = factors

        # rows of all landmarks that belong to each crop, filled up to the same number
        starts = np.cumsum([0, *counts])
        crops = 1 + max(matrix.crop for matrix in matrices)
        members = [np.concatenate([np.arange(start, start + count)
                                   for matrix, start, count in zip(matrices, starts, counts)
                                   if matrix.crop == crop])
                   for crop in range(crops)]
        stacked = _filled(members)
        for op, matrix, start, count in zip(ops, matrices, starts, counts):
            first = matrix.crop * stacked.shape[1] + members[matrix.crop].tolist().index(start)
            self._rows[op.outputs[0]] = first + np.arange(count)

        points = graph.add('Concat', *(at.value(op.inputs[0]) for op in ops), axis=1)
        points = graph.add('Gather', points, graph.constant(stacked, np.int64), axis=1)
        places = graph.add(
            'Add',
            graph.add('Mul', points, graph.constant(linear / shift / self._side * self._scale)),
            graph.constant(0.5 - 0.5 * self._scale))
        carried = graph.reshape(self._in_map(places), -1, stacked.size, 2)
        # from -1 ... 1 to output pixels
        half = shift * self._map / 2
        self.refined = graph.add(
            'Add', graph.add('Mul', carried, graph.constant(half)), graph.constant(half))


def _siblings(at: TfliteTensors, kind: str) -> list[Operator]:
    return [op for op in at.source.operators if op.kind == kind]


def _filled(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Stack rows of different lengths, filling the short ones with their own first entry."""
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=row[0]) for row in rows])
