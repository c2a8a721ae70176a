# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The part of CUDA that inference needs: memory, pinned memory, streams, graphs, a context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aitable_ros.inference.protocol import BackendError

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: a stream that does not wait for the legacy default stream."""
BLOCKING_EVENT = 3
"""CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING: a thread that waits for the event sleeps."""


class CudaError(BackendError):
    """A CUDA call failed; one line that names the GPU, the call and the reason."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """
    Name and versions of a GPU.

    :param compute_capability: such as ``8.7``
    :param cuda: newest CUDA version of its driver, such as ``12.4``
    """

    name: str
    compute_capability: str
    cuda: str


@dataclass(slots=True)
class DeviceMemory:
    """Bytes on the GPU."""

    address: int
    nbytes: int
    owner: Any


@dataclass(slots=True)
class Pinned:
    """
    Page-locked bytes of the host, which the GPU reads and writes directly.

    :param array: (nbytes,) uint8
    """

    array: NDArray[np.uint8]
    owner: Any


@dataclass(slots=True)
class Stream:
    """
    A queue of GPU work that runs in order, beside the host.

    :param handle: CUDA's own, as TensorRT takes it
    :param event: marks the end of the work, so that a waiting thread can sleep
    """

    handle: int
    owner: Any
    event: Any


class Graph(Protocol):
    """Recorded GPU work that one call repeats (a CUDA graph)."""

    def launch(self, stream: Stream) -> None:
        """Put the recorded work on a stream."""

    def free(self) -> None:
        """Free the graph; called once, after the stream has finished."""


class Recorder(Protocol):
    """Makes graphs."""

    def record(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Record the work that a function puts on a stream; see :meth:`Device.capture`."""


class Device(ABC):
    """
    One GPU's primary context. Call every method but :meth:`current` inside that context.

    :param device_id: number of the GPU
    :raises CudaError: no driver, or no such GPU
    """

    binding = ''
    """``pycuda`` or ``cuda-python``."""
    device_id: int
    gpu: Gpu
    _graphs: Recorder | None = None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current on the calling thread until the block ends."""
        self._push()
        try:
            yield
        finally:
            self._pop()

    @abstractmethod
    def _push(self) -> None: ...

    @abstractmethod
    def _pop(self) -> None: ...

    @abstractmethod
    def allocate(self, nbytes: int) -> DeviceMemory:
        """Allocate GPU memory; :meth:`free` releases it."""

    @abstractmethod
    def pin(self, nbytes: int) -> Pinned:
        """Allocate pinned host memory; :meth:`free` releases it."""

    @abstractmethod
    def stream(self) -> Stream:
        """Make a stream; :meth:`free` releases it."""

    @abstractmethod
    def free(self, item: DeviceMemory | Pinned | Stream) -> None:
        """Release memory or a stream; errors of the driver are ignored."""

    @abstractmethod
    def upload(
        self, memory: DeviceMemory, pinned: Pinned, nbytes: int, stream: Stream, at: int = 0,
    ) -> None:
        """Start copying ``nbytes`` bytes from byte ``at`` on to the same place on the GPU."""

    @abstractmethod
    def download(self, pinned: Pinned, memory: DeviceMemory, nbytes: int, stream: Stream) -> None:
        """Start copying the first ``nbytes`` bytes from the GPU."""

    @abstractmethod
    def wait(self, stream: Stream, *, spin: bool = False) -> None:
        """
        Wait until the stream has finished.

        :param spin: keep a CPU core busy; else sleep, which wakes some microseconds later
        """

    @abstractmethod
    def free_bytes(self) -> int:
        """Return the free memory of the GPU, bytes."""

    @property
    def captures(self) -> bool:
        """Whether :meth:`capture` works."""
        return self._graphs is not None

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """
        Record the work that a function puts on a stream, without running it.

        :raises CudaError: the work cannot be recorded; also any exception of ``work``
        """
        if self._graphs is None:
            raise CudaError('CUDA graphs need cuda-python')
        return self._graphs.record(stream, work)


def check(device_id: int, count: int) -> None:
    """:raises CudaError: there is no GPU of that number."""
    if not count:
        raise CudaError('the NVIDIA driver sees no GPU')
    if not 0 <= device_id < count:
        many = f'{count} GPUs, numbered from 0' if count > 1 else 'one GPU, number 0'
        raise CudaError(f"parameter 'device_id' is {device_id}, and this machine has {many}")


def version(major: int, minor: int) -> str:
    """Return ``8.7``."""
    return f'{major}.{minor}'


def cuda_version(number: int) -> str:
    """12040 is 12.4."""
    return version(number // 1000, number % 1000 // 10)


def driver_error(device_id: int, routine: str, reason: str) -> CudaError:
    """Return what the driver said, in a line."""
    return CudaError(f'GPU {device_id}: {reason} ({routine})')
