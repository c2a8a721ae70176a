# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A GPU through PyCUDA, with CUDA graphs through cuda-python if that is installed, too."""

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
from aitable_ros.inference.cuda_python import Driver


class PyCuda(Device):
    """PyCUDA, 2020.1 (the first that retains primary contexts) or later."""

    binding = 'pycuda'

    def __init__(self, device_id: int) -> None:
        self.device_id = device_id
        self._module = module = import_module('pycuda.driver')
        self._call(module.init)
        check(device_id, self._call(module.Device.count))
        device = self._call(module.Device, device_id)
        self.gpu = Gpu(device.name(), version(*device.compute_capability()),
                       cuda_version(module.get_driver_version()))
        self._context = self._call(device.retain_primary_context)
        # Never released: PyCUDA would detach a primary context like any other and print a warning.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._context))
        with suppress(ImportError, OSError, CudaError):
            self._graphs = Driver(device_id)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._module.Error as error:
            # "cuMemAlloc failed: out of memory", then PyCUDA's own remarks
            routine, _, reason = str(error).partition(' failed: ')
            raise driver_error(self.device_id, routine, reason or str(error)) from None
        except RuntimeError as error:  # its "cannot activate dead context"
            raise CudaError(f'GPU {self.device_id}: {error}') from None

    def _push(self) -> None:
        self._call(self._context.push)

    def _pop(self) -> None:
        self._call(self._module.Context.pop)

    def allocate(self, nbytes: int) -> DeviceMemory:
        """Allocate GPU memory."""
        owner = self._call(self._module.mem_alloc, nbytes)
        return DeviceMemory(int(owner), nbytes, owner)

    def pin(self, nbytes: int) -> Pinned:
        """Allocate pinned host memory."""
        array = self._call(self._module.pagelocked_empty, (nbytes,), np.uint8)
        return Pinned(array, array.base)

    def stream(self) -> Stream:
        """Make a stream and its event."""
        owner = self._call(self._module.Stream, NON_BLOCKING)
        return Stream(owner.handle, owner, self._call(self._module.Event, BLOCKING_EVENT))

    def free(self, item: DeviceMemory | Pinned | Stream) -> None:
        """Release memory or a stream."""
        if not isinstance(item, Stream):
            with suppress(CudaError):
                self._call(item.owner.free)
        elif item.owner is not None:
            item.event = None  # PyCUDA destroys these two with their Python objects
        item.owner = None

    def upload(
        self, memory: DeviceMemory, pinned: Pinned, nbytes: int, stream: Stream, at: int = 0,
    ) -> None:
        """Start a copy to the GPU."""
        self._call(self._module.memcpy_htod_async, memory.address + at,
                   pinned.array[at:at + nbytes], stream.owner)

    def download(self, pinned: Pinned, memory: DeviceMemory, nbytes: int, stream: Stream) -> None:
        """Start a copy from the GPU."""
        self._call(self._module.memcpy_dtoh_async, pinned.array[:nbytes], memory.address,
                   stream.owner)

    def wait(self, stream: Stream, *, spin: bool = False) -> None:
        """Wait for the stream."""
        if spin:
            self._call(stream.owner.synchronize)
        else:
            self._call(stream.event.record, stream.owner)
            self._call(stream.event.synchronize)

    def free_bytes(self) -> int:
        """Return the free memory of the GPU, bytes."""
        return int(self._call(self._module.mem_get_info)[0])
