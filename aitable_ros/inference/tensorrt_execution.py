# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of an engine, and executions: contexts prepared for fixed shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.inference.cuda_device import Graph, Pinned
from aitable_ros.inference.protocol import BackendError, Tensors, TensorSpec

Shapes = tuple[tuple[int, ...], ...]
"""Shapes of all inputs, in the engine's order."""
Span = tuple[int, int]
"""First byte, and number of bytes."""

_ALIGNED = 256
"""Alignment in bytes that TensorRT requires and cuMemAlloc provides."""
_DTYPES = {
    'FLOAT': np.float32, 'HALF': np.float16, 'INT8': np.int8, 'INT32': np.int32,
    'INT64': np.int64, 'BOOL': np.bool_, 'UINT8': np.uint8}
"""TensorRT's own table fails on 8.5 beside a numpy that has no ``np.bool``."""
_CHANNELS = {'LINEAR': 0, 'HWC': 1, 'HWC8': 8, 'HWC16': 16}
"""Supported layouts: 0 is the ONNX layout; else channels last, in multiples of the number."""


@dataclass(frozen=True, slots=True)
class Port:
    """
    An input or output.

    :param spec: for the caller
    :param dtype: of the engine
    :param channels: see ``_CHANNELS``
    :param least: smallest shape of the profile; empty for an output
    :param most: largest shape
    """

    spec: TensorSpec
    dtype: np.dtype[Any]
    channels: int
    least: tuple[int, ...] = ()
    most: tuple[int, ...] = ()

    def stored(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in memory."""
        if not self.channels:
            return shape
        batch, channels, height, width = shape
        return batch, height, width, -(-channels // self.channels) * self.channels

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes in memory, rounded up to the alignment."""
        size = int(np.prod(self.stored(shape), dtype=np.int64)) * self.dtype.itemsize
        return -(-size // _ALIGNED) * _ALIGNED

    def logical(self, stored: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a view of the memory in the caller's layout."""
        return stored.transpose(0, 3, 1, 2)[:, :shape[1]] if self.channels else stored


@dataclass(frozen=True, slots=True)
class Ports:
    """
    All inputs and outputs of an engine.

    :param open_batch: the first dimension of each is the open batch
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    open_batch: bool

    @property
    def most_rows(self) -> int:
        """Largest batch; 0 for a fixed batch."""
        return min(port.most[0] for port in self.inputs) if self.open_batch else 0

    @property
    def largest(self) -> Shapes:
        """The largest shapes, which need the most memory."""
        return tuple(port.most for port in self.inputs)

    def shapes(self, given: Mapping[str, tuple[int, ...]]) -> Shapes:
        """
        Return the shapes to run for given ones; a small batch becomes the profile's smallest.

        :raises BackendError: another dimension is outside the profile
        """
        found = []
        for port in self.inputs:
            shape = given[port.spec.name]
            if self.open_batch:
                shape = (max(shape[0], port.least[0]), *shape[1:])
            if not all(low <= size <= high
                       for low, size, high in zip(port.least, shape, port.most)):
                raise BackendError(
                    f"input '{port.spec.name}' takes {list(port.least)} to {list(port.most)}, "
                    f'as the engine was built, not {list(shape)}')
            found.append(shape)
        return tuple(found)


def select_profile(context: Any, stream: int) -> bool:
    """Select the engine's first profile for a context; False if another context holds it."""
    return bool(context.active_optimization_profile == 0
                or context.set_optimization_profile_async(0, stream))


def ports_of(engine: Any, model: str, trt: Any) -> Ports:
    """
    Return the inputs and outputs of an engine.

    :param trt: the Python module of the engine's library
    :raises BackendError: an unsupported input or output
    """
    inputs: list[Port] = []
    outputs: list[Port] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        goes_in = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        shape = tuple(engine.get_tensor_shape(name))
        kind, layout = engine.get_tensor_dtype(name).name, engine.get_tensor_format(name).name
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise BackendError(f"{model}: '{name}' is a shape, not an image or a result; "
                               'export the model without it')
        if kind not in _DTYPES:
            raise BackendError(f"{model}: '{name}' is {kind}, which numpy has not; build the "
                               'engine with fp32 or fp16 inputs and outputs')
        if layout not in _CHANNELS or (_CHANNELS[layout] and len(shape) != 4):
            raise BackendError(f"{model}: '{name}' has layout {layout}; build the engine with "
                               f"{', '.join(_CHANNELS)} for its inputs and outputs")
        dtype = np.dtype(_DTYPES[kind])
        seen = np.dtype(np.float32) if kind == 'HALF' else dtype
        spec = TensorSpec(name, tuple(None if size < 0 else size for size in shape), seen)
        least = most = shape
        if goes_in and -1 in shape:
            least, _, most = map(tuple, engine.get_tensor_profile_shape(name, 0))
        port = Port(spec, dtype, _CHANNELS[layout], least, most)
        (inputs if goes_in else outputs).append(port)
    if not inputs or not outputs:
        raise BackendError(f'{model}: an engine without inputs or without outputs')
    open_batch = all(
        port.spec.shape and port.spec.shape[0] is None for port in (*inputs, *outputs))
    return Ports(tuple(inputs), tuple(outputs), open_batch)


class Execution:
    """
    A context with fixed shapes: its buffers, and its CUDA graph once captured.

    All inputs are in one buffer and all outputs in another, so each direction is one copy.

    :param context: an execution context, owned until :meth:`release`
    """

    def __init__(self, context: Any, ports: Ports, shapes: Shapes, stream: int) -> None:
        self.context = context
        self.graph: Graph | None = None
        self.uploads: list[Span] = []
        """What each run sends: all inputs, unless :meth:`send_only` says otherwise."""
        self.runs = 0
        self.refused = ''
        """Why TensorRT rejects the shapes; empty if it accepts them."""
        self._ports = ports
        self._shapes = dict(zip((port.spec.name for port in ports.inputs), shapes))
        if not select_profile(context, stream) or not all(
                context.set_input_shape(name, shape) for name, shape in self._shapes.items()):
            self.refused = f'TensorRT does not take {list(shapes)}'
            return
        for port in ports.outputs:
            name = port.spec.name
            self._shapes[name] = tuple(context.get_tensor_shape(name))
            if min(self._shapes[name], default=1) < 0:
                self.refused = f"the size of output '{name}' depends on what is in the image"
        self.sent = sum(port.nbytes(self._shapes[port.spec.name]) for port in ports.inputs)
        self.got = sum(port.nbytes(self._shapes[port.spec.name]) for port in ports.outputs)
        self.uploads = [(0, self.sent)]

    def place(self, name: str) -> Span:
        """Return where an input lies among all inputs: its first byte, and its size in bytes."""
        at = 0
        for port in self._ports.inputs:
            size = port.nbytes(self._shapes[port.spec.name])
            if port.spec.name == name:
                return at, size
            at += size
        raise KeyError(name)

    def view(self, name: str) -> NDArray[Any]:
        """Return an input in pinned memory, to be written."""
        return next(view for port, view in self._in if port.spec.name == name)

    def send_only(self, names: Collection[str]) -> None:
        """Send these inputs alone with each run; the others are sent, or made, by somebody else."""
        self.uploads = [self.place(name) for name in names]

    def bind(self, sent: int, got: int, to_send: Pinned, to_get: Pinned) -> None:
        """
        Set the addresses of all inputs and outputs.

        :param sent: address of the inputs on the GPU
        :param got: address of the outputs
        """
        self._in = self._lay_out(self._ports.inputs, sent, to_send)
        self._out = self._lay_out(self._ports.outputs, got, to_get)

    def _lay_out(
        self, ports: tuple[Port, ...], address: int, pinned: Pinned,
    ) -> list[tuple[Port, NDArray[Any]]]:
        views, at = [], 0
        for port in ports:
            shape = self._shapes[port.spec.name]
            if not self.context.set_tensor_address(port.spec.name, address + at):
                raise BackendError(f"TensorRT does not take the address of '{port.spec.name}'")
            stored = port.stored(shape)
            count = int(np.prod(stored, dtype=np.int64))
            view = pinned.array[at:at + count * port.dtype.itemsize].view(port.dtype)
            view = view.reshape(stored)
            if port.channels:
                view[...] = 0  # the channels that fill up
            views.append((port, port.logical(view, shape)))
            at += port.nbytes(shape)
        return views

    def put(self, inputs: Tensors) -> None:
        """Write the inputs to pinned memory, in the engine's type and layout."""
        for port, view in self._in:
            array = inputs[port.spec.name]
            rows = len(array) if array.ndim else 0
            if array.ndim and rows < len(view):
                view[rows:] = 0
                view = view[:rows]
            np.copyto(view, array, casting='same_kind')

    def take(self, rows: int | None) -> dict[str, NDArray[Any]]:
        """
        Return copies of the outputs in the caller's types.

        :param rows: number of rows of the batch; None for all
        """
        return {
            port.spec.name: np.array(view[:rows] if rows is not None else view, port.spec.dtype,
                                     order='C')
            for port, view in self._out}

    def release(self) -> Any:
        """Free the graph, after its last run has finished, and return the context."""
        if self.graph is not None:
            self.graph.free()
            self.graph = None
        context, self.context = self.context, None
        return context
