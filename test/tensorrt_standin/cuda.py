# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A GPU that is none, and stand-ins of PyCUDA and cuda-python that reach it.

Work on a stream is done when somebody waits for it, not before: what reads a result too early gets
what was there. Device memory has bounds and an end, pinned memory is told from other memory, a
context belongs to a thread. What the real one punishes with garbage or a crash is a
:class:`StandInError`; what it answers with an error code is that error.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
from dataclasses import dataclass, field
from enum import IntEnum
from importlib.machinery import ModuleSpec
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .surface import StandInError


class CUresult(IntEnum):
    """Those of cuda.h that are answered here."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NOT_INITIALIZED = 3
    CUDA_ERROR_INVALID_DEVICE = 101
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


TEXTS = {
    1: 'invalid argument', 2: 'out of memory', 3: 'initialization error',
    101: 'invalid device ordinal', 201: 'invalid device context',
    719: 'unspecified launch failure',
    900: 'operation not permitted when stream is capturing',
    901: 'operation failed due to a previous error during capture'}


class DriverError(Exception):
    """An error code of the driver."""

    def __init__(self, code: int) -> None:
        super().__init__(TEXTS[code])
        self.code = code


Work = tuple[Callable[[], None], tuple[int, ...]]


@dataclass
class FakeStream:
    """Work to do, and work that is recorded instead."""

    queue: list[Work] = field(default_factory=list)
    capture: list[Work] | None = None
    spoiled: bool = False

    def add(self, work: Callable[[], None], *addresses: int) -> None:
        """:param addresses: of the memory that it reads or writes."""
        (self.queue if self.capture is None else self.capture).append((work, addresses))


class FakeGpu:
    """One machine's GPUs; tests set the public fields."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.name = 'Stand-in GPU'
        self.compute_capability = (9, 0)
        self.driver = 12040
        self.capacity = 1 << 30
        self.fail_at = 0
        """The so many-th allocation from now fails; 0: none does."""
        self.lost = False
        """Every call fails, as after a kernel that crashed."""
        self.captures = True
        self.initialised = False
        self.memory: dict[int, bytearray] = {}
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, FakeStream] = {}
        self.events: dict[int, int | None] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.retained = 0
        self.launches = 0
        """Of graphs."""
        self.enqueued = 0
        """Runs of TensorRT that were no graph's."""
        self._next = 0x7F0000000000
        self._stacks: dict[int, list[int]] = {}

    # The context.

    @property
    def stack(self) -> list[int]:
        """The calling thread's contexts, by GPU."""
        return self._stacks.setdefault(threading.get_ident(), [])

    def need(self) -> None:
        """Fail unless the GPU is there and the thread has a context on it."""
        if self.lost:
            raise DriverError(CUresult.CUDA_ERROR_LAUNCH_FAILED)
        if not self.initialised:
            raise DriverError(CUresult.CUDA_ERROR_NOT_INITIALIZED)
        if not self.stack:
            raise DriverError(CUresult.CUDA_ERROR_INVALID_CONTEXT)

    def need_device(self, device: int) -> None:
        if not self.initialised:
            raise DriverError(CUresult.CUDA_ERROR_NOT_INITIALIZED)
        if not 0 <= device < self.count:
            raise DriverError(CUresult.CUDA_ERROR_INVALID_DEVICE)

    # Memory.

    @property
    def held(self) -> int:
        """Bytes that somebody has."""
        return sum(len(block) for block in self.memory.values())

    def allocate(self, nbytes: int) -> int:
        self.need()
        if nbytes <= 0:
            raise DriverError(CUresult.CUDA_ERROR_INVALID_VALUE)
        self.fail_at -= 1
        if self.fail_at == 0 or self.held + nbytes > self.capacity:
            raise DriverError(CUresult.CUDA_ERROR_OUT_OF_MEMORY)
        address = self._next
        self._next += (nbytes // 512 + 2) * 512
        self.memory[address] = bytearray(b'\xcd' * nbytes)
        return address

    def free(self, address: int) -> None:
        self.need()
        if address not in self.memory:
            raise StandInError(f'{address:#x} was freed before, or never allocated')
        self.check_idle(address, len(self.memory[address]))
        del self.memory[address]

    def check_idle(self, address: int, nbytes: int) -> None:
        """Fail if work that is still to be done wants this memory."""
        for stream in list(self.streams.values()):
            for _, used in list(stream.queue):
                if any(address <= place < address + nbytes for place in used):
                    raise StandInError('memory is freed while a stream still works on it')

    def view(self, address: int, nbytes: int) -> memoryview:
        """Return device memory to read and write."""
        for start, block in list(self.memory.items()):
            if start <= address < start + len(block):
                if address + nbytes > start + len(block):
                    raise StandInError(f'{nbytes} bytes do not fit into the {len(block)} there')
                return memoryview(block)[address - start:address - start + nbytes]
        raise StandInError(f'{address:#x} is no memory of the GPU, or not any more')

    def pin(self, nbytes: int) -> int:
        self.need()
        block = (ctypes.c_uint8 * nbytes)()
        address = ctypes.addressof(block)
        self.pinned[address] = block
        return address

    def unpin(self, address: int) -> None:
        self.need()
        self.check_idle(address, len(self.pinned[address]))
        block = self.pinned.pop(address)
        ctypes.memset(block, 0xDD, len(block))

    def check_pinned(self, address: int, nbytes: int) -> None:
        for start, block in list(self.pinned.items()):
            if start <= address and address + nbytes <= start + len(block):
                return
        raise StandInError('an asynchronous copy from or to memory that is not pinned')

    def copy_in(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._copy(to, source, nbytes, stream, host=source, device=to)

    def copy_out(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._copy(to, source, nbytes, stream, host=to, device=source)

    def _copy(
        self, to: int, source: int, nbytes: int, stream: int, host: int, device: int,
    ) -> None:
        def work() -> None:
            self.check_pinned(host, nbytes)
            memory = self.view(device, nbytes)
            if to == device:
                memory[:] = ctypes.string_at(host, nbytes)
            else:
                ctypes.memmove(host, bytes(memory), nbytes)

        self.need()
        self.check_pinned(host, nbytes)
        self.view(device, nbytes)
        self.streams[stream].add(work, to, source)

    # Streams, events, graphs.

    def handle(self, table: dict[int, Any], item: Any) -> int:
        self.need()
        self._next += 512
        table[self._next] = item
        return self._next

    def wait(self, stream: int) -> None:
        self.need()
        found = self.streams[stream]
        if found.capture is not None:
            found.spoiled = True
            raise DriverError(CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
        while found.queue:
            found.queue[0][0]()
            found.queue.pop(0)

    def begin_capture(self, stream: int) -> None:
        self.need()
        if not self.captures:
            raise DriverError(CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
        self.streams[stream].capture, self.streams[stream].spoiled = [], False

    def end_capture(self, stream: int) -> int:
        self.need()
        found = self.streams[stream]
        work, found.capture = found.capture, None
        if found.spoiled or work is None:
            raise DriverError(CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
        return self.handle(self.graphs, work)

    def launch(self, graph: int, stream: int) -> None:
        self.need()
        self.launches += 1
        for work, used in self.graphs[graph]:
            self.streams[stream].add(work, *used)

    def left(self) -> list[str]:
        """Tell what nobody gave back."""
        tables = ('memory', 'pinned', 'streams', 'events', 'graphs')
        left = [f'{len(getattr(self, name))} of {name}' for name in tables if getattr(self, name)]
        pushed = sum(len(stack) for stack in self._stacks.values())
        return left + ([f'{pushed} contexts on a stack'] if pushed else [])


GPU = FakeGpu()
"""The machine's; :func:`reset` makes another."""


def reset(count: int = 1) -> FakeGpu:
    """Make the machine new; front ends that are already imported see it."""
    GPU.__init__(count)  # type: ignore[misc]
    return GPU


def _module(name: str, **items: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package='.' not in name)
    module.__path__ = []
    for key, value in items.items():
        setattr(module, key, value)
    return module


def pycuda() -> dict[str, ModuleType]:
    """Return PyCUDA's modules by name."""
    driver = _module('pycuda.driver')

    class Error(Exception):
        pass

    kinds = {2: 'MemoryError', 719: 'LaunchError'}
    for name in ('MemoryError', 'LogicError', 'LaunchError', 'RuntimeError'):
        setattr(driver, name, type(name, (Error,), {}))

    def call(routine: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except DriverError as error:
            kind = getattr(driver, kinds.get(error.code, 'LogicError'))
            raise kind(f'{routine} failed: {error}') from None

    class Context:
        """A retained primary context."""

        def __init__(self, device: int) -> None:
            self._device = device

        def push(self) -> None:
            if GPU.lost:
                raise driver.LaunchError('cuCtxPushCurrent failed: unspecified launch failure')
            GPU.stack.append(self._device)

        @staticmethod
        def pop() -> None:
            if not GPU.stack:
                raise driver.LogicError('context::pop failed: invalid device context - '
                                        'cannot pop non-current context')
            GPU.stack.pop()

    class Device:
        def __init__(self, number: int) -> None:
            call('cuDeviceGet', GPU.need_device, number)
            self._number = number

        @staticmethod
        def count() -> int:
            return GPU.count

        def name(self) -> str:
            return GPU.name

        def compute_capability(self) -> tuple[int, int]:
            return GPU.compute_capability

        def retain_primary_context(self) -> Context:
            GPU.retained += 1
            return Context(self._number)

    class DeviceAllocation:
        def __init__(self, nbytes: int) -> None:
            self._address = call('cuMemAlloc', GPU.allocate, nbytes)

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            call('cuMemFree', GPU.free, self._address)

    class PagelockedHostAllocation:
        def __init__(self, nbytes: int) -> None:
            self._address = call('cuMemHostAlloc', GPU.pin, nbytes)
            self.__array_interface__ = {
                'data': (self._address, False), 'shape': (nbytes,), 'typestr': '|u1', 'version': 3}

        def free(self) -> None:
            call('cuMemFreeHost', GPU.unpin, self._address)

    def pagelocked_empty(shape: tuple[int], dtype: Any) -> Any:
        assert dtype is np.uint8
        return np.asarray(PagelockedHostAllocation(*shape))

    class _Handle:
        table: dict[int, Any]

        def __init__(self, flags: int = 0) -> None:
            self.handle = call('create', GPU.handle, self._table(), self._item())

        def __del__(self) -> None:
            self._table().pop(getattr(self, 'handle', None), None)

    class Stream(_Handle):
        def _table(self) -> dict[int, Any]:
            return GPU.streams

        def _item(self) -> Any:
            return FakeStream()

        def synchronize(self) -> None:
            call('cuStreamSynchronize', GPU.wait, self.handle)

    class Event(_Handle):
        def _table(self) -> dict[int, Any]:
            return GPU.events

        def _item(self) -> Any:
            return None

        def record(self, stream: Stream) -> None:
            call('cuEventRecord', GPU.need)
            self._stream = stream

        def synchronize(self) -> None:
            call('cuEventSynchronize', GPU.wait, self._stream.handle)

    def memcpy_htod_async(dest: int, src: Any, stream: Stream) -> None:
        call('cuMemcpyHtoDAsync', GPU.copy_in, dest, src.ctypes.data, src.nbytes, stream.handle)

    def memcpy_dtoh_async(dest: Any, src: int, stream: Stream) -> None:
        call('cuMemcpyDtoHAsync', GPU.copy_out, dest.ctypes.data, src, dest.nbytes, stream.handle)

    def init() -> None:
        if GPU.lost:
            raise driver.LogicError('cuInit failed: no CUDA-capable device is detected')
        GPU.initialised = True

    def mem_get_info() -> tuple[int, int]:
        call('cuMemGetInfo', GPU.need)
        return GPU.capacity - GPU.held, GPU.capacity

    for item in (Error, Context, Device, Stream, Event, DeviceAllocation, pagelocked_empty, init,
                 memcpy_htod_async, memcpy_dtoh_async, mem_get_info):
        setattr(driver, item.__name__, item)
    driver.mem_alloc = DeviceAllocation  # type: ignore[attr-defined]
    driver.get_driver_version = lambda: GPU.driver  # type: ignore[attr-defined]
    return {'pycuda': _module('pycuda', driver=driver), 'pycuda.driver': driver}


def cuda_python(layout: str = 'cuda.bindings.driver') -> dict[str, ModuleType]:
    """
    Return cuda-python's modules by name.

    :param layout: ``cuda.bindings.driver`` (12.6 to 13) or ``cuda.cuda`` (11 and 12)
    """
    driver = _module(layout)

    def answering(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        def call(*arguments: Any) -> tuple[Any, ...]:
            try:
                result = function(*arguments)
            except DriverError as error:
                code = CUresult(error.code)
                return (code, None) if function.__name__ in values else (code,)
            return (CUresult.CUDA_SUCCESS, *(
                () if result is None else result if isinstance(result, tuple) else (result,)))

        call.__name__ = function.__name__
        return call

    values = {'cuMemAlloc', 'cuMemHostAlloc', 'cuStreamCreate', 'cuEventCreate',
              'cuStreamEndCapture', 'cuGraphInstantiate', 'cuDeviceGet', 'cuMemGetInfo'}

    class Handle:
        """What CUDA's handles are in Python: an int inside."""

        def __init__(self, value: int = 0) -> None:
            self._value = int(value)

        def __int__(self) -> int:
            return self._value

    def cu_init(flags: int) -> None:
        if GPU.lost:
            raise DriverError(CUresult.CUDA_ERROR_NOT_INITIALIZED)
        GPU.initialised = True

    def device_get(number: int) -> Any:
        GPU.need_device(number)
        return Handle(number)

    def attribute(kind: int, device: Handle) -> int:
        return GPU.compute_capability[kind]

    def retain(device: Handle) -> Handle:
        GPU.retained += 1
        return Handle(int(device) + 1000)

    def push(context: Handle) -> None:
        if GPU.lost:
            raise DriverError(CUresult.CUDA_ERROR_LAUNCH_FAILED)
        GPU.stack.append(int(context) - 1000)

    def pop() -> Handle:
        if not GPU.stack:
            raise DriverError(CUresult.CUDA_ERROR_INVALID_CONTEXT)
        return Handle(GPU.stack.pop() + 1000)

    def destroy(table: str) -> Callable[[Any], None]:
        def function(item: Any) -> None:
            GPU.need()
            if getattr(GPU, table).pop(int(item), None) is None:
                raise StandInError(f'one of {table} was destroyed before, or never made')

        return function

    def record(event: Any, stream: Any) -> None:
        GPU.need()
        GPU.events[int(event)] = int(stream)

    def wait_event(event: Any) -> None:
        stream = GPU.events[int(event)]
        if stream is not None and stream != -1:
            GPU.wait(stream)

    def mem_get_info() -> tuple[int, int]:
        GPU.need()
        return GPU.capacity - GPU.held, GPU.capacity

    def begin(stream: Handle, mode: int) -> None:
        GPU.begin_capture(int(stream))

    def instantiate(graph: Any, flags: int) -> Handle:
        return Handle(GPU.handle(GPU.graphs, GPU.graphs[int(graph)]))

    functions = {
        'cuInit': cu_init, 'cuDeviceGetCount': lambda: GPU.count, 'cuDeviceGet': device_get,
        'cuDeviceGetName': lambda length, device: GPU.name.encode().ljust(length, b'\0'),
        'cuDeviceGetAttribute': attribute, 'cuDriverGetVersion': lambda: GPU.driver,
        'cuDevicePrimaryCtxRetain': retain, 'cuCtxPushCurrent': push, 'cuCtxPopCurrent': pop,
        'cuMemAlloc': lambda nbytes: Handle(GPU.allocate(nbytes)),
        'cuMemFree': lambda item: GPU.free(int(item)),
        'cuMemHostAlloc': lambda nbytes, flags: GPU.pin(nbytes),
        'cuMemFreeHost': lambda item: GPU.unpin(int(item)),
        'cuStreamCreate': lambda flags: Handle(GPU.handle(GPU.streams, FakeStream())),
        'cuStreamDestroy': destroy('streams'),
        'cuStreamSynchronize': lambda stream: GPU.wait(int(stream)),
        'cuEventCreate': lambda flags: Handle(GPU.handle(GPU.events, -1)),
        'cuEventDestroy': destroy('events'), 'cuEventRecord': record,
        'cuEventSynchronize': wait_event, 'cuMemGetInfo': mem_get_info,
        'cuMemcpyHtoDAsync': lambda to, source, nbytes, stream: GPU.copy_in(
            int(to), source, nbytes, int(stream)),
        'cuMemcpyDtoHAsync': lambda to, source, nbytes, stream: GPU.copy_out(
            to, int(source), nbytes, int(stream)),
        'cuStreamBeginCapture': begin,
        'cuStreamEndCapture': lambda stream: Handle(GPU.end_capture(int(stream))),
        'cuGraphDestroy': destroy('graphs'), 'cuGraphExecDestroy': destroy('graphs'),
        'cuGraphLaunch': lambda graph, stream: GPU.launch(int(graph), int(stream)),
    }
    if layout == 'cuda.cuda':
        functions['cuGraphInstantiateWithFlags'] = instantiate
        functions['cuGraphInstantiate'] = lambda graph, buffer, size, node: None
    else:
        functions['cuGraphInstantiate'] = instantiate
    for name, function in functions.items():
        function.__name__ = name
        setattr(driver, name, answering(function))
    driver.cuGetErrorString = lambda code: (  # type: ignore[attr-defined]
        CUresult.CUDA_SUCCESS, TEXTS[int(code)].encode())
    driver.CUresult = CUresult  # type: ignore[attr-defined]
    driver.CUstream = Handle  # type: ignore[attr-defined]
    driver.CUdevice_attribute = SimpleNamespace(  # type: ignore[attr-defined]
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=0,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=1)
    driver.CUstreamCaptureMode = SimpleNamespace(  # type: ignore[attr-defined]
        CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    modules = {'cuda': _module('cuda')}
    names = layout.split('.')
    if len(names) == 3:
        modules['cuda.bindings'] = _module('cuda.bindings')
    modules[layout] = driver
    return modules
