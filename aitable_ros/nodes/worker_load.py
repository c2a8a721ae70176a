# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How much of its time a node's worker is at work, and how many of its images it gets to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import os

from aitable_ros.nodes.camera_groups import PER_PROCESS
from aitable_ros.nodes.worker import Counts

WINDOW_S = 5.0
"""As of the other figures in /diagnostics."""
LEAST_ANSWERED = 0.95
MOST_BUSY = 0.9
"""A process is at its limit if a smaller share of the images is answered and the worker is busier.
One of the two is not enough: a single slow image loses others and leaves the worker idle later, and
a busy worker may lose none."""


@dataclass(frozen=True, slots=True)
class Load:
    """
    The load of the last seconds.

    :param answered: share of the images that came, 0 ... 1; 1 where none came
    :param busy: share of the time in which the worker was at an image, 0 ... 1; waiting for the
        interpreter or for a shared model counts
    """

    answered: float = 1.0
    busy: float = 0.0

    @property
    def at_limit(self) -> bool:
        """Whether the process cannot answer more images."""
        return self.answered < LEAST_ANSWERED and self.busy > MOST_BUSY

    def line(self, cameras: int) -> str:
        """
        Say which process is at its limit, and what helps.

        :param cameras: in this process
        """
        remedy = (
            f'spread the cameras: cameras_per_process:={min(PER_PROCESS, cameras - 1)} '
            f'(aitable run: --cameras-per-process)' if cameras > 1 else
            'send smaller or fewer images, set others_fps lower, or use a faster backend')
        return (f'process {os.getpid()} is at its limit with {_count(cameras)}: '
                f'{self.answered:.0%} of the images answered, worker {self.busy:.0%} busy; '
                f'{remedy}')


class LoadWatch:
    """Follows the counts of a worker; not thread-safe."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Counts]] = deque()

    def look(self, now_s: float, counts: Counts) -> Load:
        """
        Return the load of the last :data:`WINDOW_S`; nothing is said of less than half of that.

        :param now_s: steady clock
        """
        seen = self._seen
        if seen and (counts.offered < seen[-1][1].offered
                     or counts.worked_s < seen[-1][1].worked_s):
            seen.clear()  # it is another worker
        seen.append((now_s, counts))
        while now_s - seen[0][0] > WINDOW_S:
            seen.popleft()
        since_s, before = seen[0]
        offered = counts.offered - before.offered
        if now_s - since_s < WINDOW_S / 2 or not offered:
            return Load()
        return Load(
            1 - (counts.dropped - before.dropped) / offered,
            min((counts.worked_s - before.worked_s) / (now_s - since_s), 1.0))


def _count(cameras: int) -> str:
    return f'{cameras} cameras' if cameras > 1 else 'one camera'
