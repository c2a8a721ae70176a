# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Converts TensorFlow Lite to ONNX without TensorFlow: one function for each operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.models.convert.attention_crops import AttentionCrops
from aitable_ros.models.convert.onnx_graph import OnnxGraph
from aitable_ros.models.convert.tflite_file import Operator, TfliteModel
from aitable_ros.models.convert.tflite_tensors import aligned, TfliteTensors, TO_NCHW


class TfliteTranslation(TfliteTensors):
    """Converts all operators of a file."""

    def __init__(self, source: TfliteModel, graph: OnnxGraph, inputs: tuple[str, ...]) -> None:
        super().__init__(source, graph, inputs)
        self.crops = AttentionCrops(graph)
        for operator in source.operators:
            try:
                translate = _OPERATORS[operator.kind]
            except KeyError:
                raise InputError(
                    f'operator {operator.kind} cannot be converted; those that can: '
                    f'{", ".join(sorted(_OPERATORS))}') from None
            translate(self, operator)


def _same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return TFLite's SAME padding; an odd pixel goes to the end."""
    steps = -(-size // stride)
    total = max((steps - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _window(at: TfliteTensors, index: int, kernel: tuple[int, int], stride: tuple[int, int],
            dilation: tuple[int, int], options: Any) -> list[int]:
    """Return ONNX's pads ``[top, left, bottom, right]`` for a TFLite window."""
    if options.Padding() == 1:  # VALID
        return [0, 0, 0, 0]
    (top, bottom), (left, right) = (
        _same_padding(*axis) for axis in zip(at.shape(index)[1:3], kernel, stride, dilation))
    return [top, left, bottom, right]


def _constant(at: TfliteTensors, op: Operator) -> None:
    """DEQUANTIZE (float16 to float32) and DENSIFY, which reading the file has already done."""
    try:
        at.constants[op.outputs[0]] = at.constants[op.inputs[0]]
    except KeyError:
        raise InputError(f'{op.kind} of something not constant cannot be converted') from None


def _convolution(at: TfliteTensors, op: Operator) -> None:
    source, weight_index, *bias = op.inputs
    depthwise = op.kind == 'DEPTHWISE_CONV_2D'
    # HWC and a leading 1 resp. OHWI, to ONNX's OIHW
    weight = at.constants[weight_index].transpose((3, 0, 1, 2) if depthwise else TO_NCHW)
    kernel = (weight.shape[2], weight.shape[3])
    stride = (op.options.StrideH(), op.options.StrideW())
    dilation = (op.options.DilationHFactor(), op.options.DilationWFactor())
    pads = _window(at, source, kernel, stride, dilation, op.options)
    if source in at.padded and op.options.Padding() == 1:
        source, pads = at.padded[source]  # the convolution pads by itself
    at.values[op.outputs[0]] = at.activated(
        at.graph.add(
            'Conv', at.value(source), at.graph.constant(weight),
            *(at.graph.constant(at.constants[index]) for index in bias if index >= 0),
            kernel_shape=kernel, strides=stride, dilations=dilation, pads=pads,
            group=at.shape(source)[3] if depthwise else 1),
        op.options)


def _max_pool(at: TfliteTensors, op: Operator) -> None:
    kernel = (op.options.FilterHeight(), op.options.FilterWidth())
    stride = (op.options.StrideH(), op.options.StrideW())
    at.values[op.outputs[0]] = at.activated(
        at.graph.add(
            'MaxPool', at.value(op.inputs[0]), kernel_shape=kernel, strides=stride,
            pads=_window(at, op.inputs[0], kernel, stride, (1, 1), op.options)),
        op.options)


def _prelu(at: TfliteTensors, op: Operator) -> None:
    """
    Write PRelu with plain operators, which runtimes fuse into their neighbours.

    If no slope is above 1, PRelu is the maximum of x and slope * x. With it the meshes take 10 %
    less time on OpenVINO and 10 % more on ONNX Runtime (one thread, x86).
    """
    x = at.value(op.inputs[0])
    slopes = aligned(at.constants[op.inputs[1]], 4)
    slope = at.graph.constant(slopes)
    if slopes.max() <= 1:
        at.values[op.outputs[0]] = at.graph.add('Max', x, at.graph.add('Mul', x, slope))
        return
    positive = at.graph.add('Relu', x)
    negative = at.graph.add('Mul', at.graph.add('Sub', x, positive), slope)
    at.values[op.outputs[0]] = at.graph.add('Add', positive, negative)


def _add(at: TfliteTensors, op: Operator) -> None:
    at.values[op.outputs[0]] = at.activated(at.graph.add('Add', *at.operands(op)), op.options)


def _mul(at: TfliteTranslation, op: Operator) -> None:
    if at.crops.scale_matrix(at, op):
        return
    at.values[op.outputs[0]] = at.activated(at.graph.add('Mul', *at.operands(op)), op.options)


def _relu(at: TfliteTensors, op: Operator) -> None:
    at.values[op.outputs[0]] = at.graph.add('Relu', at.value(op.inputs[0]))


def _sigmoid(at: TfliteTensors, op: Operator) -> None:
    at.values[op.outputs[0]] = at.graph.add('Sigmoid', at.value(op.inputs[0]))


def _pad(at: TfliteTensors, op: Operator) -> None:
    pads = at.constants[op.inputs[1]]
    if not pads[[0, 3]].any():  # only height and width: a convolution that follows takes it over
        at.padded[op.outputs[0]] = (op.inputs[0], [int(n) for n in pads[1:3].T.ravel()])
    begin, end = pads[list(TO_NCHW)].T
    at.values[op.outputs[0]] = at.graph.add(
        'Pad', at.value(op.inputs[0]), at.graph.ints(*begin, *end))


def _reshape(at: TfliteTensors, op: Operator) -> None:
    shape = at.shape(op.outputs[0])
    value = at.flat(op.inputs[0]) if len(at.shape(op.inputs[0])) == 4 else at.value(op.inputs[0])
    reshaped = at.graph.reshape(value, -1, *shape[1:])
    if len(shape) == 4:
        reshaped = at.graph.add('Transpose', reshaped, perm=TO_NCHW)
    at.values[op.outputs[0]] = reshaped


def _concatenation(at: TfliteTensors, op: Operator) -> None:
    rank = len(at.shape(op.outputs[0]))
    axis = op.options.Axis() % rank
    at.values[op.outputs[0]] = at.activated(
        at.graph.add('Concat', *(at.value(index) for index in op.inputs),
                     axis=TO_NCHW.index(axis) if rank == 4 else axis),
        op.options)


def _resize_bilinear(at: TfliteTensors, op: Operator) -> None:
    mode = ('align_corners' if op.options.AlignCorners() else
            'half_pixel' if op.options.HalfPixelCenters() else 'asymmetric')
    before, after = at.shape(op.inputs[0]), at.shape(op.outputs[0])
    # scales, not sizes: sizes would fix the batch
    scales = [1, 1, after[1] / before[1], after[2] / before[2]]
    at.values[op.outputs[0]] = at.graph.add(
        'Resize', at.value(op.inputs[0]), '', at.graph.constant(scales), mode='linear',
        coordinate_transformation_mode=mode)


def _depth_to_space(at: TfliteTensors, op: Operator) -> None:
    at.values[op.outputs[0]] = at.graph.add(
        'DepthToSpace', at.value(op.inputs[0]), blocksize=op.options.BlockSize(), mode='DCR')


def _strided_slice(at: TfliteTensors, op: Operator) -> None:
    """Convert a slice that takes everything: the attention mesh names an output with one."""
    if at.shape(op.inputs[0]) != at.shape(op.outputs[0]) or (at.constants[op.inputs[3]] != 1).any():
        raise InputError('a STRIDED_SLICE that leaves something out cannot be converted')
    at.values[op.outputs[0]] = at.value(op.inputs[0])


_OPERATORS: dict[str, Callable[[TfliteTranslation, Operator], None]] = {
    'ADD': _add,
    'CONCATENATION': _concatenation,
    'CONV_2D': _convolution,
    'DENSIFY': _constant,
    'DEPTHWISE_CONV_2D': _convolution,
    'DEPTH_TO_SPACE': _depth_to_space,
    'DEQUANTIZE': _constant,
    'LOGISTIC': _sigmoid,
    'MAX_POOL_2D': _max_pool,
    'MUL': _mul,
    'PAD': _pad,
    'PRELU': _prelu,
    'RELU': _relu,
    'RESHAPE': _reshape,
    'RESIZE_BILINEAR': _resize_bilinear,
    'STRIDED_SLICE': _strided_slice,
    # MediaPipe's own, of the attention mesh
    'Landmarks2TransformMatrix': lambda at, op: at.crops.transform_matrix(at, op),
    'TransformTensorBilinear': lambda at, op: at.crops.transform_tensor(at, op),
    'TransformLandmarks': lambda at, op: at.crops.transform_landmarks(at, op),
}
