# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The tensors of a TFLite file and their values in an ONNX graph.

TFLite keeps images as NHWC, ONNX as NCHW: every 4-D value in the graph is NCHW, and outputs are
transposed back. The batch is 1 in the file and open in the graph.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.models.convert.onnx_graph import OnnxGraph
from aitable_ros.models.convert.tflite_file import Operator, TfliteModel

TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)


class TfliteTensors:
    """
    The tensors of a TFLite file, with their constants and ONNX values.

    :param source: the parsed file
    :param graph: receives the nodes
    :param inputs: a name for each input of the file
    """

    def __init__(self, source: TfliteModel, graph: OnnxGraph, inputs: tuple[str, ...]) -> None:
        self.source = source
        self.graph = graph
        self.constants: dict[int, NDArray[Any]] = dict(source.constants)
        self.values: dict[int, str] = {}
        self.padded: dict[int, tuple[int, list[int]]] = {}
        for index, name in zip(source.inputs, inputs):
            value = graph.input(name, ('N', *source.tensors[index].shape[1:]))
            self.values[index] = self._from_nhwc(value, index)

    def shape(self, index: int) -> tuple[int, ...]:
        """Return a tensor's shape in the file: batch 1, NHWC."""
        return self.source.tensors[index].shape

    def value(self, index: int) -> str:
        """Return the ONNX value of a tensor that is not constant."""
        try:
            return self.values[index]
        except KeyError:
            raise InputError(f'tensor {self.source.tensors[index].name} cannot be converted in '
                             'this place: it is constant, or comes later') from None

    def operands(self, op: Operator) -> list[str]:
        """Return the two operands of element-wise arithmetic, a constant one aligned."""
        rank = len(self.shape(op.outputs[0]))
        return [self.values[index] if index in self.values else
                self.graph.constant(aligned(self.constants[index], rank)) for index in op.inputs]

    def index_of(self, name: str) -> int:
        """
        Return the number of an output of the file.

        :raises InputError: there is none of that name
        """
        for index in self.source.outputs:
            if self.source.tensors[index].name == name:
                return index
        raise InputError(f'the file has no output {name}: it is not the model it should be')

    def by_name(self, name: str) -> str:
        """Return the value of an output of the file, NCHW."""
        return self.value(self.index_of(name))

    def outputs(self) -> dict[str, tuple[str, tuple[int | str, ...]]]:
        """Return the file's own outputs, NHWC."""
        return {
            self.source.tensors[index].name: (
                self._to_nhwc(index), ('N', *self.shape(index)[1:]))
            for index in self.source.outputs}

    def _from_nhwc(self, value: str, index: int) -> str:
        if len(self.shape(index)) != 4:
            return value
        return self.graph.add('Transpose', value, perm=TO_NCHW)

    def _to_nhwc(self, index: int) -> str:
        value = self.value(index)
        if len(self.shape(index)) != 4:
            return value
        return self.graph.add('Transpose', value, perm=TO_NHWC)

    def flat(self, index: int) -> str:
        """Return a 4-D value for a reshape: in NHWC order, unless height and width are 1."""
        height_width = self.shape(index)[1:3]
        return self.value(index) if height_width == (1, 1) else self._to_nhwc(index)

    def activated(self, value: str, options: Any) -> str:
        """Apply the activation fused into an operator."""
        activation = 0 if options is None else options.FusedActivationFunction()
        if activation == 0:
            return value
        if activation == 1:
            return self.graph.add('Relu', value)
        if activation == 3:
            return self.graph.add(
                'Clip', value, self.graph.constant(0.0), self.graph.constant(6.0))
        raise InputError(f'fused activation {activation} cannot be converted')


def aligned(array: NDArray[Any], rank: int) -> NDArray[Any]:
    """Broadcast a constant's shape from the right, as TFLite does, then make NHWC NCHW."""
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    return array.transpose(TO_NCHW) if rank == 4 else array
