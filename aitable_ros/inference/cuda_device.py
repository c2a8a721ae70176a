# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The little of CUDA that inference needs: memory, pinned memory, a stream, a graph, a context."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aitable_ros.inference.protocol import BackendError

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: a stream that does not wait for the legacy default stream."""
BLOCKING_EVENT = 3
"""CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING: an event to sleep for."""


class CudaError(BackendError):
    """The driver said no; one line that names the GPU, the call and the reason."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """
    A GPU.

    :param compute_capability: ``8.7``
    :param cuda: newest CUDA that its driver knows, ``12.4``
    """

    name: str
    compute_capability: str
    cuda: str


@dataclass(slots=True)
class Memory:
    """Bytes on the GPU."""

    address: int
    nbytes: int
    owner: Any


@dataclass(slots=True)
class Pinned:
    """
    Bytes of the host that the GPU reads and writes by itself.

    :param array: (nbytes,) uint8
    """

    array: NDArray[np.uint8]
    owner: Any


@dataclass(slots=True)
class Stream:
    """
    What happens in order on the GPU, while the host goes on.

    :param handle: CUDA's own, as TensorRT takes it
    :param event: marks the end of what to wait for, so that the waiting thread can sleep
    """

    handle: int
    owner: Any
    event: Any


class Graph(Protocol):
    """Work that was recorded, to be done again in one call."""

    def launch(self, stream: Stream) -> None:
        """Put it all on the stream."""

    def free(self) -> None:
        """Give it back; called once, and the stream has done it all."""


class Recorder(Protocol):
    """Makes graphs."""

    def record(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Capture what some work puts on a stream; see :meth:`Device.capture`."""


class Device(ABC):
    """
    One GPU's primary context. Everything but :meth:`current` wants to be called inside it.

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
        """Make the context the calling thread's, and take it off again whatever happens."""
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
    def allocate(self, nbytes: int) -> Memory:
        """Take memory of the GPU, to be given back with :meth:`free`."""

    @abstractmethod
    def pin(self, nbytes: int) -> Pinned:
        """Take host memory, to be given back with :meth:`free`."""

    @abstractmethod
    def stream(self) -> Stream:
        """Make a stream, to be given back with :meth:`free`."""

    @abstractmethod
    def free(self, item: Memory | Pinned | Stream) -> None:
        """Give back. What the driver says to that is of no use, and not told."""

    @abstractmethod
    def upload(self, memory: Memory, pinned: Pinned, nbytes: int, stream: Stream) -> None:
        """Begin to copy the first bytes to the GPU."""

    @abstractmethod
    def download(self, pinned: Pinned, memory: Memory, nbytes: int, stream: Stream) -> None:
        """Begin to copy the first bytes from the GPU."""

    @abstractmethod
    def wait(self, stream: Stream, *, spin: bool = False) -> None:
        """
        Wait until the stream has done everything.

        :param spin: on a busy CPU core; else asleep, which wakes some microseconds later
        """

    @abstractmethod
    def free_bytes(self) -> int:
        """Return how much of the GPU's memory nobody holds."""

    @property
    def captures(self) -> bool:
        """Whether :meth:`capture` can be used."""
        return self._graphs is not None

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """
        Record what some work puts on a stream, without doing it.

        :raises CudaError: it cannot be recorded; whatever ``work`` raises
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
