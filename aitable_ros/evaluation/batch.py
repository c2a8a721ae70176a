# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Several recordings: in this process, in processes of this machine, or on a Ray cluster.

One job is one recording. A job that fails by accident (a dead worker, no memory) gets a second
attempt; a job with bad input does not. The results of the other jobs are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from aitable_ros.errors import InputError
from aitable_ros.evaluation.evaluate import EvaluationResult
from aitable_ros.evaluation.job import earlier_result, Job, JobProgress, mark_finished, run_job
from aitable_ros.evaluation.summary import INTERRUPTED

ATTEMPTS = 2
STOP_TIMEOUT_S = 60.0
"""After Ctrl-C, workers have this long to write the results of what they have read."""


class BatchProgress(Protocol):
    """Shows the progress of several jobs; ``index`` counts the jobs from 0."""

    def begin(self, index: int, name: str, frames: int | None, fps: float | None) -> None:
        """Show that a job was started."""

    def at(self, index: int, frames: int) -> None:
        """Show the number of frames done."""

    def end(self, index: int) -> None:
        """Show that a job has ended."""


Finished = Callable[[int, EvaluationResult], None]
"""Takes the index of a job and its result."""


def run_jobs(
    jobs: Sequence[Job], progress: BatchProgress, *, workers: int = 1, cluster: str | None = None,
    resume: bool = False,
) -> list[EvaluationResult | None]:
    """
    Run all jobs.

    :param workers: number of processes; 1 is this one
    :param cluster: address of a Ray cluster, instead of processes of this machine
    :param resume: skip the jobs that an earlier run finished, and mark those that this run finishes
    :return: in the order of the jobs; None for jobs that were not started before Ctrl-C
    """
    results = [earlier_result(job) if resume else None for job in jobs]

    def finished(index: int, result: EvaluationResult) -> None:
        results[index] = result
        if resume and result.summary is not None and not result.problem:
            with suppress(OSError, InputError):
                mark_finished(jobs[index])
        progress.end(index)

    for index, result in enumerate(results):
        if result is not None:
            progress.end(index)
    left = [index for index, result in enumerate(results) if result is None]
    try:
        if cluster is not None:
            from aitable_ros.evaluation.batch_ray import run_on_cluster

            run_on_cluster(jobs, left, progress, finished, cluster)
        elif workers > 1 and len(left) > 1:
            from aitable_ros.evaluation.batch_processes import run_in_processes

            run_in_processes(jobs, left, progress, finished, min(workers, len(left)))
        else:
            _run_here(jobs, left, progress, finished)
    except KeyboardInterrupt:
        waiting = next((index for index in left if results[index] is None), None)
        if waiting is not None and not any(
                result is not None and result.problem == INTERRUPTED for result in results):
            results[waiting] = EvaluationResult(None, INTERRUPTED)
    return results


def _run_here(
    jobs: Sequence[Job], left: Sequence[int], progress: BatchProgress, finished: Finished,
) -> None:
    for index in left:
        job = jobs[index]

        callbacks = JobProgress(
            partial(progress.begin, index, job.name), partial(progress.at, index))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                result = result_of(job, callbacks)
            except Exception as error:
                if len(jobs) == 1:
                    raise
                result = failed(job, described(error))
                if attempt < ATTEMPTS:
                    continue
            break
        finished(index, result)
        if result.problem == INTERRUPTED:
            raise KeyboardInterrupt


def result_of(job: Job, progress: JobProgress) -> EvaluationResult:
    """Run a job; return bad input and Ctrl-C as the problem of its result."""
    try:
        return run_job(job, progress)
    except InputError as error:
        return EvaluationResult(None, str(error))
    except KeyboardInterrupt:
        return EvaluationResult(None, INTERRUPTED)


def failed(job: Job, reason: str) -> EvaluationResult:
    """Return the result of a job whose last attempt failed."""
    return EvaluationResult(None, f'{job.path}: failed {ATTEMPTS} times: {reason}')


def described(error: BaseException) -> str:
    """Return the type and the text of an error in one line."""
    return ' '.join(f'{type(error).__name__}: {error}'.split()).rstrip(': ')
