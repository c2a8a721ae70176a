# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A process for each recording, several at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
import multiprocessing
from multiprocessing.connection import Connection, wait
import os
import signal
from threading import current_thread, main_thread
import time
from types import FrameType
from typing import Any

from aitable_ros.evaluation import batch
from aitable_ros.evaluation.batch import BatchProgress, Finished
from aitable_ros.evaluation.job import Job, JobProgress

PROGRESS_S = 0.2
"""Interval at which a worker reports its progress."""
POLL_S = 0.2
"""Longest delay of Ctrl-C while no worker reports."""


def run_in_processes(
    jobs: Sequence[Job], left: Sequence[int], progress: BatchProgress, finished: Finished,
    count: int,
) -> None:
    """
    Run the jobs ``left``, at most ``count`` at a time.

    :raises KeyboardInterrupt: after Ctrl-C, when the workers have written their results
    """
    context = multiprocessing.get_context('spawn')  # a fork would copy the locks of other threads
    stop = context.Event()
    threads = max(1, (os.cpu_count() or 1) // count)
    waiting = deque(left)
    attempts: Counter[int] = Counter()
    running: dict[Connection, tuple[int, Any]] = {}
    processes = []

    def start(index: int) -> None:
        attempts[index] += 1
        pipe, worker_pipe = context.Pipe(duplex=False)
        process = context.Process(
            target=_work, args=(jobs[index], worker_pipe, stop, threads), name='aitable-worker',
            daemon=True)
        with _sigint_blocked():
            process.start()
        worker_pipe.close()
        processes.append(process)
        running[pipe] = index, process

    def receive() -> None:
        for pipe in wait(list(running), POLL_S):
            assert isinstance(pipe, Connection)
            index, process = running[pipe]
            try:
                kind, value = pipe.recv()
            except (EOFError, ConnectionResetError):
                process.join()
                kind, value = 'failed', _cause_of_death(process.exitcode)
            if kind == 'begin':
                progress.begin(index, jobs[index].name, *value)
            elif kind == 'at':
                progress.at(index, value)
            else:
                del running[pipe]
                pipe.close()
                if kind == 'done':
                    finished(index, value)
                elif attempts[index] < batch.ATTEMPTS:
                    waiting.append(index)
                else:
                    finished(index, batch.failed(jobs[index], value))

    with _sigint_deferred() as interrupted:
        try:
            while (waiting or running) and not interrupted():
                while waiting and len(running) < count:
                    start(waiting.popleft())
                receive()
            if interrupted():
                stop.set()
                deadline = time.monotonic() + batch.STOP_TIMEOUT_S
                while running and time.monotonic() < deadline:
                    receive()
                raise KeyboardInterrupt
        finally:
            for process in processes:
                process.join(0 if running else 5)
                if process.is_alive():
                    process.kill()
                    process.join()


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """
    Let a child that is started inside the block inherit a blocked SIGINT.

    A terminal sends Ctrl-C to all its processes. A worker is stopped between two frames by an event
    instead, so that it can write its results.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _sigint_deferred() -> Iterator[Callable[[], bool]]:
    """
    Record the first Ctrl-C inside the block instead of raising it; a second one is raised.

    Raised at an arbitrary line, it could lose a received result or half a message.

    :return: a function that tells whether Ctrl-C came
    """
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    before: Any = None
    if current_thread() is main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: came
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _cause_of_death(status: int | None) -> str:
    if status is not None and status < 0:
        hint = ' (out of memory?)' if status == -signal.SIGKILL else ''
        return f'its worker was killed by signal {-status}{hint}'
    return f'its worker ended with status {status}'


def _work(job: Job, pipe: Connection, stop: Any, threads: int) -> None:
    """Run one job in a worker process; send its progress and its result."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # see _sigint_blocked
    cv2.setNumThreads(threads)
    reported = 0.0

    def begin(frames: int | None, fps: float | None) -> None:
        pipe.send(('begin', (frames, fps)))

    def at(frames: int) -> None:
        nonlocal reported
        if stop.is_set():
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - reported >= PROGRESS_S:
            reported = now
            pipe.send(('at', frames))

    try:
        answer: tuple[str, Any] = 'done', batch.result_of(job, JobProgress(begin, at))
    except Exception as error:
        answer = 'failed', batch.described(error)
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent process is gone
        pipe.send(answer)
