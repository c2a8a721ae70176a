# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Checks an ONNX file before a backend loads it, and finds the precision of its weights.

The protobuf wire format is read here, without the weights: the ``onnx`` package takes a third of a
second to import, and a robot that only runs models need not have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import mmap
from pathlib import Path

from aitable_ros.inference.protocol import BackendError

# Field numbers from onnx/onnx.proto (IR version 3 to 13), and TensorProto.DataType.
_MODEL_GRAPH = 7
_MODEL_OPSET = 8
_GRAPH_NODE = 1
_GRAPH_INITIALIZER = 5
_NODE_OP_TYPE = 4
_TENSOR_DIMS = 1
_TENSOR_DATA_TYPE = 2
_TENSOR_EXTERNAL = 13
_PRECISIONS = {1: 'fp32', 10: 'fp16', 16: 'bf16', 11: 'fp64', 2: 'int8', 3: 'int8'}
_QUANTIZED = (b'QLinearConv', b'QLinearMatMul', b'ConvInteger', b'MatMulInteger', b'QuantizeLinear')


def weight_precision(path: Path) -> str:
    """
    Return the type of most weights: ``fp32``, ``fp16``, ``bf16``, ``fp64`` or ``int8``.

    A graph with quantising operators counts as ``int8``, however its weights are stored.

    :raises BackendError: not a complete ONNX file
    """
    with _mapped(path) as data:
        return _weight_precision(data)


def external_files(path: Path) -> list[Path]:
    """
    Return the files beside an ONNX file that hold its weights, each once, in order.

    :raises BackendError: not a complete ONNX file
    """
    names: dict[str, None] = {}
    with _mapped(path) as data:
        for number, span in _fields(data, 0, len(data)):
            if number == _MODEL_GRAPH:
                for inner, tensor in _fields(data, *span):
                    if inner == _GRAPH_INITIALIZER:
                        names.update(dict.fromkeys(_locations(data, *tensor)))
    return [path.parent / name for name in names]


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except ValueError:
        raise BackendError(f'{path}: not an ONNX file, or cut short') from None
    except OSError as error:
        raise BackendError(f'{path}: cannot be read: {error.strerror}') from None


def _locations(data: mmap.mmap, start: int, end: int) -> Iterator[str]:
    """Yield the name of the file that holds a TensorProto's values."""
    for number, (a, b) in _fields(data, start, end):
        if number == _TENSOR_EXTERNAL:
            entry = {key: data[first:last] for key, (first, last) in _fields(data, a, b)}
            if entry.get(1) == b'location':
                yield entry.get(2, b'').decode('utf-8', 'replace')


def _weight_precision(data: mmap.mmap) -> str:
    top = list(_fields(data, 0, len(data)))
    graphs = [span for number, span in top if number == _MODEL_GRAPH]
    if len(graphs) != 1 or not any(number == _MODEL_OPSET for number, _ in top):
        raise ValueError
    elements: dict[str, int] = {}
    for number, (start, end) in _fields(data, *graphs[0]):
        if number == _GRAPH_NODE:
            for inner, (a, b) in _fields(data, start, end):
                if inner == _NODE_OP_TYPE and data[a:b] in _QUANTIZED:
                    return 'int8'
        elif number == _GRAPH_INITIALIZER:
            kind, count = _tensor(data, start, end)
            if kind in _PRECISIONS:
                name = _PRECISIONS[kind]
                elements[name] = elements.get(name, 0) + count
    return max(elements, key=lambda name: elements[name]) if elements else 'fp32'


def _tensor(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """Return data type and number of elements of a TensorProto."""
    kind, count = 0, 1
    for number, (a, b) in _fields(data, start, end):
        if number == _TENSOR_DATA_TYPE:
            kind = _varint(data, a, b)[0]
        elif number == _TENSOR_DIMS:
            while a < b:
                size, a = _varint(data, a, b)
                count *= size
    return kind, count


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield number, start and end of each field of a message."""
    while at < end:
        key, at = _varint(data, at, end)
        wire, start = key & 7, at
        if wire == 0:
            _, at = _varint(data, at, end)
        elif wire == 2:
            size, start = _varint(data, at, end)
            at = start + size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError
        if at > end or key < 8:
            raise ValueError
        yield key >> 3, (start, at)


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Return the number at an offset, and the offset after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError
