# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
One loaded model for all users in a process: several cameras share one GPU engine.

A borrower may use and return a model on any thread. A library that needs one thread for a model's
whole life gets its own; the others run on the borrower's thread. Runs happen one at a time, in the
order of the requests. Each borrower waits for its answer before it asks again, so it waits for at
most one run of every other borrower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, cast, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from aitable_ros.closing import Closing
from aitable_ros.errors import first_line
from aitable_ros.inference.chain import ModelKey
from aitable_ros.inference.protocol import Backend, BackendError, CuttingBackend, Tensors

ON_ANY_THREAD = ('onnxruntime', 'openvino', 'tensorrt', 'tensorrt_rtx')
"""
Libraries whose models may run on any thread; our TensorRT backend makes its GPU context current for
each call. PyTorch's thread counts belong to a thread, and MediaPipe promises nothing: those get a
thread of their own, which costs 0.03 ms a run.
"""
HUNG_AFTER_S = 5.0
"""A longer run counts as hung. Our slowest model takes 0.1 s on a CPU, and slow first runs happen
while a model loads."""

Result = TypeVar('Result')


class ModelFailure(BackendError):  # noqa: N818 - the model failed, the call was right
    """
    A loaded model failed on its inputs.

    :param key: of that model
    """

    def __init__(self, key: ModelKey, message: str) -> None:
        super().__init__(message)
        self.key = key


class _Lane(Protocol):
    """Runs one function at a time, in the order of the requests."""

    busy_since: float | None
    """Start of the current run on the steady clock, seconds; None between runs."""

    def run(self, function: Callable[[], Result]) -> Result:
        """Return the function's result, or raise its exception."""

    def end(self) -> None:
        """Accept no further functions."""


class _CallersThreads:
    """Runs each function on its caller's thread, first come first served."""

    def __init__(self) -> None:
        self.busy_since: float | None = None
        self._lock = Lock()
        self._waiting: deque[Lock] = deque()

    def run(self, function: Callable[[], Result]) -> Result:
        with self._lock:
            mine = None
            if self.busy_since is None:
                self.busy_since = monotonic()
            else:
                mine = Lock()
                mine.acquire()
                self._waiting.append(mine)
        if mine is not None:
            mine.acquire()  # until the previous run ends
            self.busy_since = monotonic()
        try:
            return function()
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().release()
                else:
                    self.busy_since = None

    def end(self) -> None:
        """Do nothing: there is no thread to end."""


class _OwnThread:
    """Runs every function on one thread."""

    def __init__(self, name: str) -> None:
        self.busy_since: float | None = None
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        # A daemon: a library that hangs must not keep the process from ending.
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, function: Callable[[], Result]) -> Result:
        future: Future[Result] = Future()
        self._queue.put((function, future))
        return future.result()

    def end(self) -> None:
        self._queue.put(None)

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            function, future = entry
            self.busy_since = monotonic()
            try:
                future.set_result(function())
            except BaseException as error:  # raised in the waiting thread
                future.set_exception(error)
            finally:
                self.busy_since = None
            del entry, function, future  # inputs must not live until the next run


class _Shared:
    """A model, the lane that runs it, and the number of its borrowers."""

    def __init__(self, key: ModelKey) -> None:
        self.key = key
        self.users = 0
        self.backend: Backend | None = None
        library = key.runtime.split()[0]
        self.lane: _Lane = \
            _CallersThreads() if library in ON_ANY_THREAD else _OwnThread(f'{library} {key.entry}')

    @property
    def hung(self) -> bool:
        since = self.lane.busy_since
        return self.backend is not None and since is not None and \
            monotonic() - since > HUNG_AFTER_S

    def open(self, make: Callable[[], Backend]) -> None:
        """Load the model if it is not loaded; further callers wait for the first."""
        def once() -> None:
            if self.backend is None:
                self.backend = make()
        self.lane.run(once)


class BorrowedModel(Closing):
    """A :class:`aitable_ros.inference.protocol.Backend` that may have several users."""

    def __init__(self, shared: _Shared, give_back: Callable[[_Shared], None]) -> None:
        backend = shared.backend
        assert backend is not None
        self.name, self.model = backend.name, backend.model
        self.precision, self.device = backend.precision, backend.device
        self.inputs, self.outputs = backend.inputs, backend.outputs
        self.note: str = getattr(backend, 'note', '')
        self.most_cut = getattr(backend, 'most_cut', (0, 0, 0))
        self._backend: Backend | None = backend
        self._shared = shared
        self._give_back = give_back

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """
        Run the model, after the runs that others have asked for.

        :raises BackendError: the model is closed
        :raises ModelFailure: wrong names, shapes or types, or the run failed
        """
        return self._run(lambda backend: backend.infer(inputs))

    def infer_cut(
        self, image: NDArray[np.uint8], matrices: Sequence[NDArray[np.float64]],
    ) -> dict[str, NDArray[Any]]:
        """Run the model on crops cut on its device; raises as :meth:`infer`."""
        return self._run(lambda backend: cast(CuttingBackend, backend).infer_cut(image, matrices))

    def _run(
        self, function: Callable[[Backend], dict[str, NDArray[Any]]],
    ) -> dict[str, NDArray[Any]]:
        backend, shared = self._backend, self._shared
        if backend is None:
            raise BackendError(f'{self.model}: the model is closed')
        try:
            return shared.lane.run(lambda: function(backend))
        except BackendError as error:
            raise ModelFailure(shared.key, str(error)) from None
        except Exception as error:  # a library's own exception is the model's failure, too
            raise ModelFailure(
                shared.key, f'{self.model}: {self.name} failed: {type(error).__name__}: '
                f'{first_line(error)}') from error

    def warm_up(self) -> None:
        """Run once on zeros; :func:`aitable_ros.inference.chain.resolve` already has."""
        backend = self._backend
        if backend is not None:
            self._shared.lane.run(backend.warm_up)

    def close(self) -> None:
        """Return the model; the last borrower's return frees it. Idempotent."""
        backend, self._backend = self._backend, None
        if backend is not None:
            self._give_back(self._shared)


class SharedModels:
    """The models of a process, each loaded once; pass :meth:`load` to ``resolve``."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._shared: dict[ModelKey, _Shared] = {}

    @property
    def keys(self) -> tuple[ModelKey, ...]:
        """Key of each loaded model."""
        with self._lock:
            return tuple(self._shared)

    @property
    def hung_keys(self) -> tuple[ModelKey, ...]:
        """Keys of the models whose current run is older than :data:`HUNG_AFTER_S`."""
        with self._lock:
            return tuple(key for key, shared in self._shared.items() if shared.hung)

    def load(self, key: ModelKey, make: Callable[[], Backend]) -> Backend:
        """Borrow the model of a key; ``make`` loads it if it is not loaded."""
        with self._lock:
            shared = self._shared.get(key)
            if shared is None or shared.hung:
                shared = self._shared[key] = _Shared(key)
            shared.users += 1
        try:
            shared.open(make)
        except BaseException:
            self._give_back(shared)
            raise
        return BorrowedModel(shared, self._give_back)

    def discard(self, key: ModelKey) -> None:
        """Stop lending a failing model; current borrowers keep it."""
        with self._lock:
            self._shared.pop(key, None)

    def _give_back(self, shared: _Shared) -> None:
        with self._lock:
            shared.users -= 1
            if shared.users:
                return
            if self._shared.get(shared.key) is shared:
                del self._shared[shared.key]
        if shared.hung:
            return  # closing it would hang, too
        backend = shared.backend
        if backend is not None:
            shared.lane.run(backend.close)
        shared.lane.end()


SHARED = SharedModels()
"""The models of this process."""
