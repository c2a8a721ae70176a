# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A GPU through cuda-python."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import ctypes
from importlib import import_module
from typing import Any

import numpy as np

from aitable_ros.inference.cuda_device import (
    BLOCKING_EVENT, check, cuda_version, CudaError, Device, DeviceMemory, driver_error, Gpu,
    NON_BLOCKING, Pinned, Stream, version
)


class Driver:
    """
    cuda-python's driver functions, from 11 (``cuda.cuda``) to 13 (``cuda.bindings.driver``).

    :raises ImportError: it is not installed
    :raises CudaError: there is no driver
    """

    def __init__(self, device_id: int) -> None:
        self.device_id = device_id
        try:
            self.module: Any = import_module('cuda.bindings.driver')
        except ImportError:
            self.module = import_module('cuda.cuda')
        self.call(self.module.cuInit, 0)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return a function's only result, or the tuple of them, or None."""
        try:
            code, *values = function(*arguments)
        except RuntimeError as error:  # it loads libcuda with the first call
            raise CudaError(f'GPU {self.device_id}: {error}') from None
        if int(code):
            text = self.module.cuGetErrorString(code)[1] or b'unknown error'
            raise driver_error(self.device_id, function.__name__, text.decode())
        return values[0] if len(values) == 1 else tuple(values) if values else None

    def record(self, stream: Stream, work: Callable[[], None]) -> CudaGraph:
        """Record the work that a function puts on a stream; see :meth:`Device.capture`."""
        return CudaGraph(self, stream, work)


class CudaGraph:
    """Recorded GPU work that one call repeats."""

    def __init__(self, driver: Driver, stream: Stream, work: Callable[[], None]) -> None:
        self._driver = driver
        module, call = driver.module, driver.call
        handle = module.CUstream(stream.handle)
        # thread-local: GPU work of other threads does not disturb the capture
        mode = module.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        call(module.cuStreamBeginCapture, handle, mode)
        try:
            work()
        except BaseException:
            with suppress(CudaError):
                call(module.cuGraphDestroy, call(module.cuStreamEndCapture, handle))
            raise
        graph = call(module.cuStreamEndCapture, handle)
        # in CUDA 11 the function of the second name takes other arguments
        instantiate = getattr(module, 'cuGraphInstantiateWithFlags', module.cuGraphInstantiate)
        try:
            self._graph = call(instantiate, graph, 0)
        finally:
            call(module.cuGraphDestroy, graph)

    def launch(self, stream: Stream) -> None:
        """Put the recorded work on a stream."""
        module = self._driver.module
        self._driver.call(module.cuGraphLaunch, self._graph, module.CUstream(stream.handle))

    def free(self) -> None:
        """Free the graph; called once, after the stream has finished."""
        with suppress(CudaError):
            self._driver.call(self._driver.module.cuGraphExecDestroy, self._graph)


class CudaPython(Device):
    """cuda-python alone."""

    binding = 'cuda-python'

    def __init__(self, device_id: int) -> None:
        self.device_id = device_id
        self._graphs: Driver = Driver(device_id)
        module, call = self._graphs.module, self._graphs.call
        check(device_id, call(module.cuDeviceGetCount))
        device = call(module.cuDeviceGet, device_id)
        name = call(module.cuDeviceGetName, 256, device)
        kinds = module.CUdevice_attribute
        capability = [call(module.cuDeviceGetAttribute, kind, device) for kind in (
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)]
        self.gpu = Gpu(name.split(b'\0')[0].decode(), version(*capability),
                       cuda_version(call(module.cuDriverGetVersion)))
        self._context = call(module.cuDevicePrimaryCtxRetain, device)

    def _push(self) -> None:
        self._graphs.call(self._graphs.module.cuCtxPushCurrent, self._context)

    def _pop(self) -> None:
        self._graphs.call(self._graphs.module.cuCtxPopCurrent)

    def allocate(self, nbytes: int) -> DeviceMemory:
        """Allocate GPU memory."""
        owner = self._graphs.call(self._graphs.module.cuMemAlloc, nbytes)
        return DeviceMemory(int(owner), nbytes, owner)

    def pin(self, nbytes: int) -> Pinned:
        """Allocate pinned host memory."""
        owner = self._graphs.call(self._graphs.module.cuMemHostAlloc, nbytes, 0)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(int(owner)))
        return Pinned(array, owner)

    def stream(self) -> Stream:
        """Make a stream and its event."""
        call, module = self._graphs.call, self._graphs.module
        owner = call(module.cuStreamCreate, NON_BLOCKING)
        return Stream(int(owner), owner, call(module.cuEventCreate, BLOCKING_EVENT))

    def free(self, item: DeviceMemory | Pinned | Stream) -> None:
        """Release memory or a stream."""
        call, module = self._graphs.call, self._graphs.module
        with suppress(CudaError):
            if isinstance(item, DeviceMemory):
                call(module.cuMemFree, item.owner)
            elif isinstance(item, Pinned):
                item.array = np.empty(0, np.uint8)
                call(module.cuMemFreeHost, item.owner)
            else:
                call(module.cuEventDestroy, item.event)
                call(module.cuStreamDestroy, item.owner)

    def upload(
        self, memory: DeviceMemory, pinned: Pinned, nbytes: int, stream: Stream, at: int = 0,
    ) -> None:
        """Start a copy to the GPU."""
        target = self._graphs.module.CUdeviceptr(memory.address + at) if at else memory.owner
        self._graphs.call(self._graphs.module.cuMemcpyHtoDAsync, target,
                          pinned.array.ctypes.data + at, nbytes, stream.owner)

    def download(self, pinned: Pinned, memory: DeviceMemory, nbytes: int, stream: Stream) -> None:
        """Start a copy from the GPU."""
        self._graphs.call(self._graphs.module.cuMemcpyDtoHAsync, pinned.array.ctypes.data,
                          memory.owner, nbytes, stream.owner)

    def wait(self, stream: Stream, *, spin: bool = False) -> None:
        """Wait for the stream."""
        call, module = self._graphs.call, self._graphs.module
        if spin:
            call(module.cuStreamSynchronize, stream.owner)
        else:
            call(module.cuEventRecord, stream.event, stream.owner)
            call(module.cuEventSynchronize, stream.event)

    def free_bytes(self) -> int:
        """Return the free memory of the GPU, bytes."""
        return int(self._graphs.call(self._graphs.module.cuMemGetInfo)[0])
