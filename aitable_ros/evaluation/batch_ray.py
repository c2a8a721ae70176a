# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recordings as tasks of a Ray cluster, whose machines must see the same files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import socket
import time
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.evaluation import batch
from aitable_ros.evaluation.batch import BatchProgress, Finished
from aitable_ros.evaluation.evaluate import EvaluationResult
from aitable_ros.evaluation.job import Job, JobProgress

PROGRESS_S = 1.0
"""Interval at which a task reports its progress."""
CONNECT_S = 5.0
MOST_REASON = 300
"""Characters of a failure's reason: Ray adds the traceback of the other machine."""


def run_on_cluster(
    jobs: Sequence[Job], left: Sequence[int], progress: BatchProgress, finished: Finished,
    address: str,
) -> None:
    """
    Run the jobs ``left``, each as a task of one CPU.

    :raises InputError: Ray is not installed, or no cluster answers
    :raises KeyboardInterrupt: after Ctrl-C, when the started tasks have written their results
    """
    try:
        import ray
    except ImportError:
        raise InputError(
            "--cluster needs Ray, which is not installed: pip install 'ray[default]'") from None

    _check_port(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level='ERROR',
                 ignore_reinit_error=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f'--cluster {address}: no Ray cluster answers there: '
                         f'{batch.described(error)[:200]}') from None
    try:
        states = ray.remote(num_cpus=0)(_TaskStates).remote()
        task = ray.remote(num_cpus=1, max_retries=batch.ATTEMPTS - 1, retry_exceptions=True)(_task)
        waiting = {task.remote(index, _absolute(jobs[index]), states): index for index in left}
        begun: set[int] = set()

        def receive() -> None:
            ready, _ = ray.wait(list(waiting), timeout=0.3)
            for index, (frames, fps, done) in ray.get(states.all.remote()).items():
                if index not in begun:
                    begun.add(index)
                    progress.begin(index, jobs[index].name, frames, fps)
                progress.at(index, done)
            for reference in ready:
                index = waiting.pop(reference)
                try:
                    result = ray.get(reference)
                except Exception as error:  # raised by the task, or its worker died
                    result = batch.failed(jobs[index], batch.described(error)[:MOST_REASON])
                finished(index, result)

        try:
            while waiting:
                receive()
        except KeyboardInterrupt:
            ray.get(states.stop.remote())
            for reference, index in list(waiting.items()):
                if index not in begun:
                    ray.cancel(reference)
                    del waiting[reference]
            deadline = time.monotonic() + batch.STOP_TIMEOUT_S
            while waiting and time.monotonic() < deadline:
                receive()
            raise
    finally:
        ray.shutdown()


def _absolute(job: Job) -> Job:
    """Return a job without relative paths."""
    paths: dict[str, Any] = {
        name: value.absolute() for name in ('path', 'output', 'labels', 'params', 'write_bag')
        if (value := getattr(job, name)) is not None}
    return replace(job, **paths)


def _check_port(address: str) -> None:
    """Find out in seconds that no cluster listens there; Ray itself takes minutes."""
    host, _, port = address.removeprefix('ray://').rpartition(':')
    if not host or not port.isdigit():
        return  # a name that Ray knows, such as auto
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f'--cluster {address}: no Ray cluster answers there: {error}') from None


class _TaskStates:
    """An actor that holds the progress of each task, and whether all are to stop."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[int | None, float | None, int]] = {}
        self._stopping = False

    def begin(self, index: int, frames: int | None, fps: float | None) -> None:
        self._rows[index] = (frames, fps, 0)

    def at(self, index: int, done: int) -> bool:
        frames, fps, _ = self._rows[index]
        self._rows[index] = (frames, fps, done)
        return self._stopping

    def all(self) -> dict[int, tuple[int | None, float | None, int]]:
        return self._rows

    def stop(self) -> None:
        self._stopping = True


def _task(index: int, job: Job, states: Any) -> EvaluationResult:
    """Run one job on a machine of the cluster."""
    import ray

    reported = time.monotonic()

    def at(frames: int) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= PROGRESS_S:
            reported = now
            if ray.get(states.at.remote(index, frames)):
                raise KeyboardInterrupt

    return batch.result_of(job, JobProgress(
        lambda frames, fps: ray.get(states.begin.remote(index, frames, fps)), at))
