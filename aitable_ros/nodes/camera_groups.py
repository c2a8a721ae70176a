# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Several cameras, a few to a process: one interpreter answers only so many images a second.

The nodes of one process run one Python interpreter, which answers about 120 images of 720p a second
whatever the models run on (docs/performance.md). So cameras are spread over processes, and the
cameras of one process share its models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
import signal
import subprocess
import sys
from time import monotonic
from typing import TypeVar

from aitable_ros.errors import InputError

PER_PROCESS = 2
"""Most cameras of a process. Of 16 cameras of 720p30 on an H200 host, all images were answered by
twos; by threes 86 and 98 % of them, by fours 93, 95 and 100 %. See ``docs/performance.md``."""
LOOK_S = 0.5
ENDING_S = 10.0
"""A process that has not ended so long after SIGINT is killed; the nodes take about a second."""
BAD_INPUT = 2

Camera = TypeVar('Camera')


def grouped(cameras: Sequence[Camera], most: int) -> list[list[Camera]]:
    """
    Spread cameras evenly over as few processes as hold them, in order.

    :param most: cameras of a process; 0 puts all into one

    >>> grouped('abcde', 4)
    [['a', 'b', 'c'], ['d', 'e']]
    """
    if not cameras:
        return []
    count = -(-len(cameras) // most) if most else 1
    share, more = divmod(len(cameras), count)
    starts = [index * share + min(index, more) for index in range(count + 1)]
    return [list(cameras[start:end]) for start, end in pairwise(starts)]


def run_processes(
    commands: dict[str, list[str]], environment: dict[str, str],
    ended: Callable[[float], bool],
) -> int:
    """
    Run processes until we are told to stop, or one of them ends.

    :param commands: what follows ``python`` by the name of each process
    :param ended: waits so many seconds and tells whether to stop
    :return: 0 after a stop; 2 where a process refused its input
    :raises InputError: a process cannot be started
    :raises RuntimeError: a process ended on its own; the others are ended
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            try:
                processes[name] = subprocess.Popen(
                    [sys.executable, *command], env=environment, stdin=subprocess.DEVNULL)
            except OSError as error:
                raise InputError(f'cannot start the process of {name}: {error.strerror}') from None
        while not ended(LOOK_S):
            for name, process in processes.items():
                status = process.poll()
                if status == BAD_INPUT:
                    return status  # it has said why
                if status is not None and not ended(0.0):
                    how = f'was ended by {_signal(-status)}' if status < 0 \
                        else f'ended with status {status}'
                    raise RuntimeError(f'the process of {name} {how}; the others are ended')
        return 0
    finally:
        _end(list(processes.values()))


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with suppress(OSError):
            process.send_signal(signal.SIGINT)
    patient_until = monotonic() + ENDING_S
    for process in processes:
        try:
            process.wait(max(patient_until - monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'
