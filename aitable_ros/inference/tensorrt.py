# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT 8.5 to 11: an engine on an NVIDIA GPU, by the names of its inputs and outputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
import logging
from pathlib import Path
from time import monotonic
from traceback import clear_frames
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.inference import tensorrt_version as versions
from aitable_ros.inference.base import BackendBase
from aitable_ros.inference.cuda import device
from aitable_ros.inference.cuda_device import CudaError, Device, DeviceMemory, Pinned, Stream
from aitable_ros.inference.frame_cutter import FrameCutter
from aitable_ros.inference.gpu_wait import AUTO, GpuWait
from aitable_ros.inference.protocol import BackendError, Tensors
from aitable_ros.inference.sidecar import (
    damage, Machine, mismatch, read, remarks, Sidecar, unproven
)
from aitable_ros.inference.tensorrt_callbacks import make_profiler
from aitable_ros.inference.tensorrt_execution import Execution, ports_of, select_profile, Shapes
from aitable_ros.inference.tensorrt_layers import layers_in, precision_of
from aitable_ros.inference.tensorrt_library import TENSORRT
from aitable_ros.inference.tensorrt_log import logger, quoting, why

_LOG = logging.getLogger(__name__)
_SHAPES_KEPT = 4
"""Batch sizes that stay prepared, each with a CUDA graph: as many as the default ``max_faces``."""


class TensorRTBackend(BackendBase):
    """
    A TensorRT engine.

    Inputs and outputs are those of ONNX Runtime: fp32 for an engine in fp16, in the ONNX layout. A
    batch larger than the engine's runs in parts. The sidecar is checked before the engine loads; an
    engine without one is tried.

    With cuda-python, upload, inference and download become one CUDA graph from the second run of a
    batch size on.

    :param path: the ``.engine`` or ``.plan`` file
    :param model: name to report
    :param precision: ``auto`` or what must run
    :param threads: not used
    :param device_id: GPU number
    :param graphs: False runs without CUDA graphs
    :param wait: how to wait for the GPU, see :class:`aitable_ros.inference.gpu_wait.GpuWait`
    :param stream: that of another engine whose work this one is part of; None: one of its own
    :raises BackendError: cannot load, another precision, or int8 without an accuracy report
    """

    name = 'tensorrt'
    library = TENSORRT

    def __init__(
        self, path: Path, *, model: str = '', precision: str = 'auto', threads: int = 1,
        device_id: int = 0, graphs: bool = True, wait: str = AUTO,
        stream: Stream | None = None,
    ) -> None:
        self.model = model or path.name
        self.device = f'cuda:{device_id}'
        self._path = path
        self._shared_stream = stream
        self._wait = GpuWait(wait)
        self._executions: OrderedDict[tuple[Shapes, bool], Execution] = OrderedDict()
        self._cutter: FrameCutter | None = None
        self._engine: Any = None
        self._runtime: Any = None
        self._held: list[DeviceMemory | Pinned | Stream] = []
        self._got: DeviceMemory
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BackendError(f'{path}: cannot be read: {error.strerror}') from None
        self._engine_bytes = len(content)
        # The driver comes first: without one TensorRT crashes the process.
        self._device: Device = device(device_id)
        self._trt = self.library.load()
        self.note = ''
        sidecar = self._checked(content, device_id)
        self._open = True
        try:
            with self._device.current():
                self._load(content)
                self.precision = sidecar.precision if sidecar else precision_of(
                    layers_in(self.inspect()))
                self._prepare()
        except BaseException as error:
            # its frames hold execution contexts, which must be freed while the GPU is current
            with suppress(CudaError), self._device.current():
                clear_frames(error.__traceback__)
            self.close()
            raise
        if precision not in ('auto', self.precision):
            self.close()
            raise BackendError(
                f'{path}: the engine runs in {self.precision}, as it was built, not {precision}')
        self._graphs = graphs and self._device.captures
        if stream is None:
            self._cutter = FrameCutter.beside(self, path, self._ports, self._stream)
            self.most_cut = self._cutter.most if self._cutter else (0, 0, 0)

    def _checked(self, content: bytes, device_id: int) -> Sidecar | None:
        """Compare the sidecar with the file and the machine before TensorRT loads the engine."""
        try:
            versions.trt_version(self._trt)
            sidecar = read(self._path)
        except InputError as error:
            raise BackendError(str(error)) from None
        if sidecar is None:
            self.note = f'no {self._path.name}.json beside it, so only TensorRT can tell its fit'
            return None
        here = Machine.here(device_id, self.library)
        reason = damage(sidecar, content) or mismatch(sidecar, here) or unproven(sidecar)
        if reason:
            raise BackendError(f'{self._path}: {reason}')
        self.note = remarks(sidecar, here)
        if self.note:
            _LOG.warning('%s: %s', self._path, self.note)
        return sidecar

    def _load(self, content: bytes) -> None:
        with quoting() as said:
            self._runtime = self._trt.Runtime(logger(self._trt))
            self._engine = self._runtime.deserialize_cuda_engine(content)
            if self._engine is None:
                raise BackendError(
                    f'{self._path}: {self.library.spoken} cannot load it: {why(said)}')

    def _prepare(self) -> None:
        """Read inputs and outputs, and allocate the memory of the largest batch."""
        with quoting() as said:
            self._ports = ports_of(self._engine, self.model, self._trt)
            context = self._new_context()
            if context is None:
                raise BackendError(
                    f'{self._path}: {self.library.spoken} cannot run it: {why(said)}')
            self._stream = self._shared_stream or self._keep(self._device.stream())
            largest = Execution(context, self._ports, self._ports.largest, self._stream.handle)
            if largest.refused:
                raise BackendError(f'{self._path}: {largest.refused}: {why(said)}')
        activation = versions.activation_bytes(self._engine, self._trt)
        self._activation = self._keep(self._device.allocate(activation)) if activation else None
        self._sent = self._keep(self._device.allocate(largest.sent))
        self._got = self._keep(self._device.allocate(largest.got))
        self._to_send = self._keep(self._device.pin(largest.sent))
        self._to_get = self._keep(self._device.pin(largest.got))
        self.inputs = tuple(port.spec for port in self._ports.inputs)
        self.outputs = tuple(port.spec for port in self._ports.outputs)
        self._context, self._alone = context, False

    def _new_context(self) -> Any:
        return versions.create_context(self._engine, self._trt)

    def _keep(self, item: Any) -> Any:
        self._held.append(item)
        return item

    def warm_up(self) -> None:
        """Run on zeros until the CUDA graph exists, and decide how to wait."""
        for _ in range(2):
            super().warm_up()
        began_s = monotonic()
        super().warm_up()
        self._wait.measured(monotonic() - began_s)

    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        most = self._ports.most_rows
        rows = len(next(iter(inputs.values()))) if most else 1
        if not most or rows <= most:
            return self._once(inputs, rows)
        parts = [
            self._once({name: array[at:at + most] for name, array in inputs.items()},
                       min(most, rows - at))
            for at in range(0, rows, most)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _once(self, inputs: Tensors, rows: int) -> dict[str, NDArray[Any]]:
        """Run one batch within the profile; a smaller batch is filled up with zeros."""
        shapes = self._ports.shapes({name: array.shape for name, array in inputs.items()})
        return self._answer(shapes, lambda execution: execution.put(inputs),
                            rows if self._ports.most_rows else None)

    def _answer(
        self, shapes: Shapes, give: Callable[[Execution], None], rows: int | None, *,
        cut: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Run some shapes; ``give`` sees to the inputs, with the GPU current."""
        with quoting() as said:
            try:
                with self._device.current():
                    execution = self.execution(shapes, cut=cut)
                    give(execution)
                    began_s = monotonic()
                    self.launch(execution)
                    self._wait.wait(self._device, self._stream, began_s, (shapes, cut))
            except BackendError as error:
                raise BackendError(f'{self.model}: {self.library.spoken} failed: '
                                   f'{why(said, str(error))}') from None
        return execution.take(rows)

    def infer_cut(
        self, image: NDArray[np.uint8], matrices: Sequence[NDArray[np.float64]],
    ) -> dict[str, NDArray[Any]]:
        """
        Run on crops that the GPU cuts; see :class:`aitable_ros.inference.protocol.CuttingBackend`.

        :raises BackendError: the run failed; more crops or a larger image than :attr:`most_cut`
        """
        cutter, rows = self._cutter, len(matrices)
        if not self._open or cutter is None or not cutter.takes(image, rows):
            raise BackendError(f'{self.model}: the GPU does not cut {rows} crops of an image of '
                               f'{list(image.shape)}')
        name, shape = self.inputs[0].name, self.inputs[0].shape[1:]
        shapes = self._ports.shapes({name: (rows, *(size or 0 for size in shape))})
        return self._answer(
            shapes, lambda execution: cutter.cut(image, matrices, shapes[0][0]), rows, cut=True)

    @property
    def largest(self) -> dict[str, tuple[int, ...]]:
        """The largest shape of each input."""
        return {port.spec.name: port.most for port in self._ports.inputs}

    @property
    def results(self) -> DeviceMemory:
        """The memory of the outputs on the GPU."""
        return self._got

    def upload(self, at: int, nbytes: int) -> None:
        """Send a part of the inputs that no run sends; with the GPU current."""
        self._device.upload(self._sent, self._to_send, nbytes, self._stream, at)

    def launch(self, execution: Execution) -> None:
        """Put a run on the stream, as a CUDA graph from the second run of its shapes on."""
        if (execution.graph is None and self._graphs and execution.runs
                and self._capturable(execution)):
            try:
                execution.graph = self._device.capture(
                    self._stream, lambda: self._enqueue(execution))
            except BackendError as error:
                self._graphs = False
                _LOG.warning('%s: runs without a CUDA graph: %s', self.model, error)
        if execution.graph is not None:
            execution.graph.launch(self._stream)
        else:
            self._enqueue(execution)
        execution.runs += 1

    def _capturable(self, execution: Execution) -> bool:
        """Tell whether a run may be captured as a CUDA graph."""
        return True

    def _enqueue(self, execution: Execution) -> None:
        for at, nbytes in execution.uploads:
            self._device.upload(self._sent, self._to_send, nbytes, self._stream, at)
        if not execution.context.execute_async_v3(self._stream.handle):
            raise BackendError('it does not say why')
        if self._shared_stream is None:
            self._device.download(self._to_get, self._got, execution.got, self._stream)

    def execution(
        self, shapes: Shapes, *, cut: bool = False, only: Collection[str] | None = None,
    ) -> Execution:
        """
        Return the execution of some shapes; each is made once. Call it with the GPU current.

        A CUDA graph depends on its context's state, so each batch size needs its own context. In
        TensorRT 8, only engines built with profile sharing allow several; with the others, a change
        of the batch size frees the graph.

        :param cut: its input is what the cutter makes
        :param only: inputs that its runs send; None for all
        """
        key = shapes, cut
        known = self._executions.get(key)
        if known is not None:
            self._executions.move_to_end(key)
            return known
        if len(self._executions) == (1 if self._alone else _SHAPES_KEPT):
            self._drop()
        context, self._context = self._context, None
        if context is None:
            context = self._another_context()
        execution = Execution(context, self._ports, shapes, self._stream.handle)
        if execution.refused:
            self._context = context
            raise BackendError(execution.refused)
        if self._activation:
            versions.give_memory(
                context, self._activation.address, self._activation.nbytes, self._trt)
        source = self._cutter.crops if cut and self._cutter else self._sent
        execution.bind(source.address, self._got.address, self._to_send, self._to_get)
        if cut or only is not None:
            execution.send_only(only or ())
        self._executions[key] = execution
        return execution

    def _another_context(self) -> Any:
        """Return a further context, or the only one if the engine allows no second."""
        with quoting() as said:  # a refused second context is no error
            context = self._new_context()
            if context is not None and select_profile(context, self._stream.handle):
                return context
            self._alone = True
            if not self._executions:
                raise BackendError(why(said))
        while self._executions:
            self._drop()
        context, self._context = self._context, None
        return context

    def _drop(self) -> None:
        """Free the least recently used execution, and keep its context."""
        _, execution = self._executions.popitem(last=False)
        self._context = execution.release()

    def profile_layers(self, inputs: Tensors) -> list[tuple[str, float]]:
        """
        Run once and return each layer's name and milliseconds, in the order they ran.

        :raises BackendError: see :meth:`infer`; more rows than the engine takes at once
        """
        if not self._open:
            raise BackendError(f'{self.model}: the model is closed')
        self._check(inputs)
        times: list[tuple[str, float]] = []

        profiler = make_profiler(lambda layer, ms: times.append((layer, ms)), self._trt)
        shapes = self._ports.shapes({name: array.shape for name, array in inputs.items()})
        with quoting() as said, self._device.current():
            while self._executions:
                self._drop()
            try:
                execution = self.execution(shapes)
                execution.put(inputs)
                execution.context.profiler = profiler
                for _ in range(2):  # the first run sets things up, for the profiler too
                    times.clear()
                    self._enqueue(execution)
                    self._device.wait(self._stream)
            except BackendError as error:
                raise BackendError(f'{self.model}: {self.library.spoken} failed: '
                                   f'{why(said, str(error))}') from None
            finally:
                # A context keeps its profiler: it is freed, and the next run makes another.
                while self._executions:
                    self._drop()
                self._context = None
        return times

    def memory(self) -> int:
        """Return the engine's GPU memory in bytes: buffers, scratch, and the size of its file."""
        held = sum(item.nbytes for item in self._held if isinstance(item, DeviceMemory))
        cutting = self._cutter.memory() if self._cutter else 0
        return held + self._engine_bytes + cutting

    def inspect(self) -> str:
        """Return the text of TensorRT's engine inspector, for ``tensorrt_layers``."""
        with self._device.current():
            inspector = self._engine.create_engine_inspector()
            if self._executions:  # then it may know the formats of the shapes that ran last
                inspector.execution_context = next(reversed(self._executions.values())).context
            text: str = inspector.get_engine_information(
                self._trt.LayerInformationFormat.JSON)
        return text

    def _let_go(self) -> None:
        """Free TensorRT's objects while the GPU is current, users before the objects they use."""
        while self._executions:
            self._drop()
        if self._cutter is not None:
            self._cutter.close()
            self._cutter = None
        self._context = None
        self._engine = None
        self._runtime = None

    def _free(self) -> None:
        """Free the engine, on any thread; errors of the driver are only logged."""
        try:
            with self._device.current():
                self._let_go()
                for item in reversed(self._held):
                    self._device.free(item)
                self._held.clear()
        except CudaError as error:
            _LOG.debug('%s: not freed: %s', self.model, error)
