# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Read a ``.tflite`` file into plain values: operators in order, dense float constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError

_DTYPES: Mapping[int, type[np.generic]] = {
    0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 9: np.int8}
"""``TensorType`` of the TFLite schema."""

_OPTIONS = {
    'CONV_2D': 'Conv2DOptions', 'DEPTHWISE_CONV_2D': 'DepthwiseConv2DOptions',
    'MAX_POOL_2D': 'Pool2DOptions', 'ADD': 'AddOptions', 'MUL': 'MulOptions',
    'CONCATENATION': 'ConcatenationOptions', 'RESIZE_BILINEAR': 'ResizeBilinearOptions',
    'DEPTH_TO_SPACE': 'DepthToSpaceOptions', 'STRIDED_SLICE': 'StridedSliceOptions',
}
"""Operators whose options the converter reads -> their class in the schema."""


@dataclass(frozen=True, slots=True)
class TfliteTensor:
    """A tensor's name and shape; 4-D shapes are ``[batch, height, width, channel]``."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """
    One step of the graph.

    :param kind: the built-in operator's name, or the custom operator's
    :param options: the schema's options object, or the custom options as a dict
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True, slots=True, eq=False)
class TfliteModel:
    """
    The one graph of a file; tensors are numbered.

    :param constants: tensors whose content is in the file; float16 comes as float32
    """

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[Operator, ...]
    constants: Mapping[int, NDArray[Any]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(content: bytes, name: str) -> TfliteModel:
    """
    Parse a file's content.

    :param name: what to call it in an error
    :raises InputError: not a TensorFlow Lite model, a truncated one, or one that cannot be read
    """
    if content[4:8] != b'TFL3':
        raise InputError(f'{name} is not a TensorFlow Lite model: give a .tflite file')
    try:
        return _read(content, name)
    except ModuleNotFoundError:
        raise  # the caller names the missing package
    except ImportError as error:  # flatbuffers 1.12, as Ubuntu 22.04 has it, lacks flexbuffers
        raise InputError(f"{name} cannot be read: {error}; run pip install tflite "
                         "'flatbuffers>=2'") from error
    except (struct.error, IndexError, TypeError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{name} is truncated or damaged: get it again') from error


def _read(content: bytes, name: str) -> TfliteModel:
    import tflite

    model = tflite.Model.GetRootAsModel(content, 0)
    if model.SubgraphsLength() != 1:
        raise InputError(f'{name} has {model.SubgraphsLength()} graphs; only models with one '
                         'can be converted')
    graph = model.Subgraphs(0)
    kinds = {code: kind for kind, code in vars(tflite.BuiltinOperator).items()
             if isinstance(code, int)}
    tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
    return TfliteModel(
        tensors=tuple(TfliteTensor(tensor.Name().decode(), _shape(tensor)) for tensor in tensors),
        operators=tuple(_operator(model, graph.Operators(index), kinds)
                        for index in range(graph.OperatorsLength())),
        constants={index: values for index, tensor in enumerate(tensors)
                   if (values := _constant(model, tensor, name)) is not None},
        inputs=tuple(int(index) for index in graph.InputsAsNumpy()),
        outputs=tuple(int(index) for index in graph.OutputsAsNumpy()))


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))


def _operator(model: Any, operator: Any, kinds: Mapping[int, str]) -> Operator:
    from flatbuffers import flexbuffers
    import tflite

    code = model.OperatorCodes(operator.OpcodeIndex())
    kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    options: Any = None
    if kind == 'CUSTOM':
        kind = code.CustomCode().decode()
        if operator.CustomOptionsLength():
            options = flexbuffers.Loads(operator.CustomOptionsAsNumpy().tobytes())
    elif kind in _OPTIONS and (table := operator.BuiltinOptions()) is not None:
        options = getattr(tflite, _OPTIONS[kind])()
        options.Init(table.Bytes, table.Pos)
    return Operator(
        kind, tuple(int(index) for index in operator.InputsAsNumpy()),
        tuple(int(index) for index in operator.OutputsAsNumpy()), options)


def _constant(model: Any, tensor: Any, name: str) -> NDArray[Any] | None:
    buffer = model.Buffers(tensor.Buffer())
    if not buffer.DataLength():
        return None
    dtype = _DTYPES.get(tensor.Type())
    if dtype is None:
        raise InputError(f'{name}: {tensor.Name().decode()} is of a type that cannot be converted')
    if tensor.Quantization() is not None and tensor.Quantization().ScaleLength():
        raise InputError(f'{name} is quantised; convert the float model')
    values = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if tensor.Sparsity() is not None:
        return _densify(values, _shape(tensor), tensor.Sparsity())
    return values.reshape(_shape(tensor))


def _densify(values: NDArray[Any], shape: tuple[int, ...], sparsity: Any) -> NDArray[Any]:
    """
    Write out a sparse constant.

    TFLite stores the non-zeros in the order of a tree with a level for each dimension. A dense
    level branches to all its indices, a sparse (CSR) one to those listed.
    """
    levels = [sparsity.DimMetadata(level) for level in range(sparsity.DimMetadataLength())]
    if sparsity.BlockMapLength() or sparsity.TraversalOrderAsNumpy().tolist() != [
            *range(len(shape))]:
        raise InputError('a constant that is sparse by blocks or columns cannot be converted')
    # the index at each level, of every node of the tree so far
    places: NDArray[np.int64] = np.zeros((1, len(levels)), np.int64)
    for level, metadata in enumerate(levels):
        if metadata.Format() == 0:  # dense
            size = metadata.DenseSize()
            index = np.tile(np.arange(size), len(places))
            places = np.repeat(places, size, axis=0)
        else:
            segments = _vector(metadata.ArraySegmentsType(), metadata.ArraySegments())
            index = _vector(metadata.ArrayIndicesType(), metadata.ArrayIndices())
            places = np.repeat(places, np.diff(segments), axis=0)
        places[:, level] = index
    dense = np.zeros(shape, values.dtype)
    dense[tuple(places.T)] = values
    return dense


def _vector(kind: int, table: Any) -> NDArray[np.int64]:
    import tflite

    vector = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}[kind]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)
