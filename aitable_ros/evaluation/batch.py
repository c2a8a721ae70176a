# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Many recordings: in this process, in several of this machine, or on a Ray cluster.

A work item is a whole recording. An item that fails by accident (its worker dies, memory runs out)
is tried once more; one whose input is bad is not. What the others found is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.connection import wait
import os
import signal
import socket
from threading import current_thread
from threading import main_thread
import time
from types import FrameType
from typing import Any
from typing import Protocol

from aitable_ros.errors import InputError
from aitable_ros.evaluation.evaluate import EvaluationResult
from aitable_ros.evaluation.job import earlier_result
from aitable_ros.evaluation.job import Job
from aitable_ros.evaluation.job import JobProgress
from aitable_ros.evaluation.job import mark_finished
from aitable_ros.evaluation.job import run_job
from aitable_ros.evaluation.summary import INTERRUPTED

ATTEMPTS = 2
TOLD_S = 0.2
"""How often a worker tells how far it is."""
HEARD_S = 0.2
"""How long Ctrl-C may wait for the next message."""
CLUSTER_TOLD_S = 1.0
CONNECT_S = 5.0
PATIENCE_S = 60.0
"""For the workers to write down what they have, after Ctrl-C."""


class Progress(Protocol):
    """Where progress is shown."""

    def begin(self, index: int, name: str, frames: int | None, fps: float | None) -> None:
        """Say that an item is being worked on."""

    def at(self, index: int, frames: int) -> None:
        """Say how far it is."""

    def end(self, index: int, done: EvaluationResult) -> None:
        """Say what became of it."""


def run_jobs(
    items: Sequence[Job], board: Progress, *, workers: int = 1, cluster: str | None = None,
    resume: bool = False,
) -> list[EvaluationResult | None]:
    """
    Evaluate all items.

    :param workers: processes; 1 is this one
    :param cluster: address of a Ray cluster, in place of processes of this machine
    :param resume: leave out what an earlier run finished, and remember what this one does
    :return: in the order of the items; None for those not begun before an interruption
    """
    results: list[EvaluationResult | None] = [
        earlier_result(item) if resume else None for item in items]

    def finished(index: int, done: EvaluationResult) -> None:
        results[index] = done
        if resume and done.summary is not None and not done.problem:
            with suppress(OSError, InputError):
                mark_finished(items[index])
        board.end(index, done)

    for index, done in enumerate(results):
        if done is not None:
            board.end(index, done)
    left = [index for index, done in enumerate(results) if done is None]
    try:
        if cluster is not None:
            _on_cluster(items, left, board, finished, cluster)
        elif workers > 1 and len(left) > 1:
            _in_processes(items, left, board, finished, min(workers, len(left)))
        else:
            _here(items, left, board, finished)
    except KeyboardInterrupt:
        if not any(done is not None and done.problem == INTERRUPTED for done in results):
            waiting = next((index for index in left if results[index] is None), None)
            if waiting is not None:  # else it came when all was done
                results[waiting] = EvaluationResult(None, INTERRUPTED)
    return results


Finished = Callable[[int, EvaluationResult], None]


def _here(items: Sequence[Job], left: Sequence[int], board: Progress, finished: Finished) -> None:
    for index in left:
        item = items[index]

        def begin(
            frames: int | None, fps: float | None, index: int = index, item: Job = item,
        ) -> None:
            board.begin(index, item.name, frames, fps)

        def at(frames: int, index: int = index) -> None:
            board.at(index, frames)
        for attempt in range(ATTEMPTS):
            try:
                done = run_job(item, JobProgress(begin, at))
            except InputError as error:
                done = EvaluationResult(None, str(error))
            except Exception as error:
                if len(items) == 1:
                    raise
                if attempt + 1 < ATTEMPTS:
                    continue
                done = _failed(item, _named(error))
            break
        finished(index, done)
        if done.problem == INTERRUPTED:
            raise KeyboardInterrupt


def _failed(item: Job, why: str) -> EvaluationResult:
    return EvaluationResult(None, f'{item.path}: failed {ATTEMPTS} times: {why}')


def _named(error: BaseException) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split()).rstrip(': ')


# --- processes of this machine --------------------------------------------------------------------

class _Worker:
    """A process that does one item after the other."""

    def __init__(self, context: Any, stop: Any, threads: int) -> None:
        self.pipe, theirs = context.Pipe()
        self.index: int | None = None
        self.process = context.Process(
            target=_serve, args=(theirs, stop, threads), name='aitable-worker', daemon=True)
        with _no_interrupt():
            self.process.start()
        theirs.close()

    def give(self, index: int, item: Job) -> None:
        self.index = index
        self.pipe.send((index, item))

    def end(self) -> None:
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """
    Keep Ctrl-C, which goes to all processes of a terminal, from a child that is started within.

    It is told to stop by an event instead, between two frames, and so writes down what it has. Held
    back, not ignored: what comes meanwhile comes here afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Interrupt:
    """
    Ctrl-C, noted where it would be raised; a context manager.

    Raised anywhere, it cuts off what a worker had to say: a result that was received and not yet
    kept, or half a message. A second one is raised, for whoever does not want to wait.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = None

    def __enter__(self) -> _Interrupt:
        if current_thread() is main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True


def _in_processes(
    items: Sequence[Job], left: Sequence[int], board: Progress, finished: Finished, count: int,
) -> None:
    context = multiprocessing.get_context('spawn')  # a fork would copy the threads' locks
    stop = context.Event()
    threads = max(1, (os.cpu_count() or 1) // count)
    queue = deque(left)
    tries = dict.fromkeys(left, 0)
    workers: list[_Worker] = []

    def employ() -> None:
        worker = _Worker(context, stop, threads)
        workers.append(worker)
        assign(worker)

    def assign(worker: _Worker) -> None:
        worker.index = None
        if queue and not stop.is_set():
            index = queue.popleft()
            tries[index] += 1
            with suppress(BrokenPipeError):  # it has died: found out below
                worker.give(index, items[index])

    def again_or_failed(index: int, why: str) -> None:
        if tries[index] < ATTEMPTS:
            queue.append(index)
        else:
            finished(index, _failed(items[index], why))

    def hear() -> None:
        for ready in wait([worker.pipe for worker in workers], HEARD_S):
            worker = next(one for one in workers if one.pipe is ready)
            try:
                kind, index, value = worker.pipe.recv()
            except (EOFError, ConnectionResetError):
                workers.remove(worker)
                worker.end()
                if worker.index is not None:
                    again_or_failed(worker.index, _death(worker.process.exitcode))
                if queue and not stop.is_set():
                    employ()
                continue
            if kind == 'begin':
                board.begin(index, items[index].name, *value)
            elif kind == 'at':
                board.at(index, value)
            else:
                if kind == 'done':
                    finished(index, value)
                else:
                    again_or_failed(index, value)
                assign(worker)
                for idle in workers:
                    if idle.index is None:
                        assign(idle)

    def busy() -> bool:
        return any(worker.index is not None for worker in workers)

    with _Interrupt() as interrupt:
        try:
            for _ in range(count):
                employ()
            while (queue or busy()) and not interrupt.came:
                hear()
            if interrupt.came:
                stop.set()
                deadline = time.monotonic() + PATIENCE_S
                while busy() and time.monotonic() < deadline:
                    hear()
                raise KeyboardInterrupt
        finally:
            for worker in workers:
                worker.end()


def _death(status: int | None) -> str:
    if status is not None and status < 0:
        hint = ' (out of memory?)' if status == -signal.SIGKILL else ''
        return f'its worker was killed by signal {-status}{hint}'
    return f'its worker ended with status {status}'


def _serve(pipe: Connection, stop: Any, threads: int) -> None:
    """Be a worker: until the pipe closes, or the process at its other end is gone."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # see _no_interrupt
    cv2.setNumThreads(threads)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            index, item = pipe.recv()
            pipe.send(_answer(index, item, pipe, stop))


def _answer(index: int, item: Job, pipe: Connection, stop: Any) -> tuple[str, int, Any]:
    told = 0.0

    def begin(frames: int | None, fps: float | None) -> None:
        pipe.send(('begin', index, (frames, fps)))

    def at(frames: int) -> None:
        nonlocal told
        if stop.is_set():
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - told >= TOLD_S:
            told = now
            pipe.send(('at', index, frames))
    try:
        return 'done', index, run_job(item, JobProgress(begin, at))
    except InputError as error:
        return 'done', index, EvaluationResult(None, str(error))
    except KeyboardInterrupt:
        return 'done', index, EvaluationResult(None, INTERRUPTED)
    except Exception as error:
        return 'failed', index, _named(error)


# --- a Ray cluster --------------------------------------------------------------------------------

def _on_cluster(
    items: Sequence[Job], left: Sequence[int], board: Progress, finished: Finished, address: str,
) -> None:
    """Give each item to the cluster as a task of one CPU; its machines must see the same files."""
    try:
        import ray
    except ImportError:
        raise InputError(
            "--cluster needs Ray, which is not installed: pip install 'ray[default]'") from None
    from dataclasses import replace

    _knock(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level='ERROR',
                 ignore_reinit_error=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f'--cluster {address}: no Ray cluster answers there: '
                         f'{_named(error)[:200]}') from None
    try:
        chart = ray.remote(num_cpus=0)(_Chart).remote()
        task = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1, retry_exceptions=True)(_remote)
        absolute = {
            index: replace(items[index], **{
                name: value.absolute() for name in ('path', 'output', 'labels', 'params',
                                                    'write_bag')
                if (value := getattr(items[index], name)) is not None})
            for index in left}
        waiting = {task.remote(index, item, chart): index for index, item in absolute.items()}
        begun: set[int] = set()

        def hear() -> None:
            ready, _ = ray.wait(list(waiting), timeout=0.3)
            for index, (frames, fps, done) in ray.get(chart.all.remote()).items():
                if index not in begun:
                    begun.add(index)
                    board.begin(index, items[index].name, frames, fps)
                board.at(index, done)
            for reference in ready:
                index = waiting.pop(reference)
                try:
                    done = ray.get(reference)
                except Exception as error:  # what the task raised, or that its worker died
                    done = _failed(items[index], _named(error)[:300])
                finished(index, done)
        try:
            while waiting:
                hear()
        except KeyboardInterrupt:
            ray.get(chart.end.remote())
            for reference, index in list(waiting.items()):
                if index not in begun:
                    ray.cancel(reference)
                    del waiting[reference]
            deadline = time.monotonic() + PATIENCE_S
            while waiting and time.monotonic() < deadline:
                hear()
            raise
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Find out in seconds that nobody listens there: Ray itself takes minutes."""
    host, _, port = address.removeprefix('ray://').rpartition(':')
    if not host or not port.isdigit():
        return  # auto, local: Ray knows what they are
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f'--cluster {address}: no Ray cluster answers there: {error}') from None


class _Chart:
    """An actor that holds how far each task is, and whether they are to stop."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[int | None, float | None, int]] = {}
        self._ended = False

    def begin(self, index: int, frames: int | None, fps: float | None) -> None:
        self._rows[index] = (frames, fps, 0)

    def at(self, index: int, done: int) -> bool:
        frames, fps, _ = self._rows[index]
        self._rows[index] = (frames, fps, done)
        return self._ended

    def all(self) -> dict[int, tuple[int | None, float | None, int]]:
        return self._rows

    def end(self) -> None:
        self._ended = True


def _remote(index: int, item: Job, chart: Any) -> EvaluationResult:
    """Run on a machine of the cluster."""
    import ray

    told = time.monotonic()

    def at(frames: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= CLUSTER_TOLD_S:
            told = now
            if ray.get(chart.at.remote(index, frames)):
                raise KeyboardInterrupt
    try:
        return run_job(item, JobProgress(
            lambda frames, fps: ray.get(chart.begin.remote(index, frames, fps)), at))
    except InputError as error:
        return EvaluationResult(None, str(error))
    except KeyboardInterrupt:
        return EvaluationResult(None, INTERRUPTED)
