# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One thread that owns a model, behind a slot that holds only the newest item."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, current_thread, Lock, Thread
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from aitable_ros.inference.shared_models import HUNG_AFTER_S


class Closable(Protocol):
    """A stage."""

    def close(self) -> None:
        """Free everything."""


Stage = TypeVar('Stage', bound='Closable | None')
Item = TypeVar('Item')
Result = TypeVar('Result')


class WorkerStoppedError(RuntimeError):
    """The thread that owns the stage has ended, or there is none."""


@dataclass(frozen=True, slots=True)
class Counts:
    """
    What a worker did since it started.

    :param offered: items that came
    :param dropped: items that it never got to
    :param worked_s: time at items and calls, seconds
    """

    offered: int = 0
    dropped: int = 0
    worked_s: float = 0.0


class Worker(Generic[Stage, Item]):
    """
    Opens a stage on its own thread, feeds it the newest item, and closes it there.

    :meth:`offer` never waits: a stage slower than its input loses the items in between, and
    ``dropped`` counts them. Other threads reach the stage only through :meth:`call`.

    :param open_stage: makes the stage, None where items need none; runs on the thread
    :param step: handles one item; runs on the thread
    :param failed: gets what ``step`` raised; the thread goes on with the next item
    """

    def __init__(
        self,
        name: str,
        open_stage: Callable[[], Stage],
        step: Callable[[Stage, Item], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.offered = 0
        self.dropped = 0
        self._open = open_stage
        self._step = step
        self._failed = failed
        self._changed = Condition()
        self._calls: deque[tuple[Callable[[Stage], Any], Future[Any]]] = deque()
        self._item: Item | None = None
        self._stopping = False
        self._opened: Future[None] = Future()
        self._busy_since: float | None = None
        self._worked_s = 0.0
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def busy_s(self) -> float:
        """How long the thread has been at the item or call it is at; 0 while it waits for one."""
        since = self._busy_since
        return 0.0 if since is None else monotonic() - since

    @property
    def counts(self) -> Counts:
        """What it did since it started, the item in hand included."""
        with self._changed:
            return Counts(self.offered, self.dropped, self._worked_s + self.busy_s)

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on the thread."""
        return current_thread() is self._thread

    def start(self) -> None:
        """Open the stage and wait for it; raises what opening it raised."""
        self._thread.start()
        self._opened.result()

    def offer(self, item: Item) -> None:
        """Leave an item for the thread, in place of one that it has not got to yet."""
        with self._changed:
            if self._stopping:
                return
            self.offered += 1
            if self._item is not None:
                self.dropped += 1
            self._item = item
            self._changed.notify()

    def clear(self) -> None:
        """Take back an item that the thread has not got to yet."""
        with self._changed:
            self._item = None

    def submit(self, function: Callable[[Stage], Result]) -> Future[Result]:
        """Run a function of the stage on the thread, between two items and before the next."""
        future: Future[Result] = Future()
        with self._changed:
            if self._stopping:
                future.set_exception(WorkerStoppedError('the node is not configured'))
            else:
                self._calls.append((function, future))
                self._changed.notify()
        return future

    def call(self, function: Callable[[Stage], Result], timeout_s: float = 5.0) -> Result:
        """
        Run a function of the stage on the thread and return its result.

        :raises TimeoutError: the item being worked on takes longer than ``timeout_s``, and the
            function will not run; or it runs and takes longer itself
        """
        future = self.submit(function)
        try:
            return future.result(timeout_s)
        except FutureTimeoutError:  # the built-in one only from Python 3.11 on
            if future.cancel():
                raise TimeoutError('the model is busy; try again') from None
            return future.result(timeout_s)  # it had just begun

    def stop(self, timeout_s: float = 5.0) -> bool:
        """
        End the thread after the item it is at, close the stage. Idempotent.

        :return: False when it did not end in time (a model that hangs); it is left behind then
        """
        with self._changed:
            self._stopping = True
            self._item = None
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            stage = self._open()
        except BaseException as error:  # raised again by start()
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        try:
            self._work(stage)
        finally:
            if stage is not None:
                with suppress(Exception):
                    stage.close()

    def _work(self, stage: Stage) -> None:
        while True:
            with self._changed:
                self._worked_s += self.busy_s
                self._busy_since = None
                while not (self._stopping or self._calls or self._item is not None):
                    self._changed.wait()
                calls = list(self._calls)
                self._calls.clear()
                if self._stopping:
                    for _, future in calls:
                        if future.set_running_or_notify_cancel():
                            future.set_exception(
                                WorkerStoppedError('the node is being cleaned up'))
                    return
                item, self._item = self._item, None
                self._busy_since = monotonic()
            for function, future in calls:
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(function(stage))
                except Exception as error:
                    future.set_exception(error)
            if item is not None:
                try:
                    self._step(stage, item)
                except Exception as error:
                    self._failed(error)
                item = None  # an image must not live until the next one comes


class WorkerSlot:
    """
    The worker of a node: none before configure, and another one after a model hung.

    Its methods are those of :class:`Worker`, callable from any thread and without a worker.
    """

    def __init__(self) -> None:
        self._worker: Worker[Any, Any] | None = None
        self._lock = Lock()

    @property
    def worker(self) -> Worker[Any, Any] | None:
        """The worker of this moment."""
        return self._worker

    @property
    def busy_s(self) -> float:
        """How long the worker has been at its item or call; 0 while it waits."""
        worker = self._worker
        return worker.busy_s if worker else 0.0

    @property
    def dropped(self) -> int:
        """Items that came while the worker was busy, since configure."""
        worker = self._worker
        return worker.dropped if worker else 0

    @property
    def counts(self) -> Counts:
        """What the worker did since it started."""
        worker = self._worker
        return worker.counts if worker else Counts()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on the worker's thread, not on one that was left behind."""
        worker = self._worker
        return worker is not None and worker.is_current

    def put(self, worker: Worker[Any, Any]) -> None:
        """Use a worker that was started."""
        self._worker = worker

    def replace(self, hung: Worker[Any, Any], fresh: Worker[Any, Any]) -> bool:
        """Use another worker if the old one is still in use and still hangs; else return False."""
        with self._lock:
            if self._worker is not hung or hung.busy_s <= HUNG_AFTER_S:
                return False
            fresh.dropped += hung.dropped
            fresh.offered += hung.offered
            self._worker = fresh
            return True

    def offer(self, item: Any) -> None:
        """Leave an item for the worker."""
        worker = self._worker
        if worker is not None:
            worker.offer(item)

    def clear(self) -> None:
        """Take back an item that the worker has not got to yet."""
        worker = self._worker
        if worker is not None:
            worker.clear()

    def submit(self, function: Callable[[Any], Any]) -> None:
        """Run a function of the stage on the worker, if there is one."""
        worker = self._worker
        if worker is not None:
            worker.submit(function)

    def call(self, function: Callable[[Any], Result], timeout_s: float = 5.0) -> Result:
        """
        Run a function of the stage on the worker and return its result.

        :raises WorkerStoppedError: there is no worker
        """
        worker = self._worker
        if worker is None:
            raise WorkerStoppedError('the node is not configured')
        return worker.call(function, timeout_s)

    def stop(self) -> bool:
        """End the worker; False when it did not end in time. Idempotent."""
        with self._lock:
            worker, self._worker = self._worker, None
        return worker is None or worker.stop()
