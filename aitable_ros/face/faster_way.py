# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Chooses the faster of two ways to do the same work, by timing both while they do it."""

from __future__ import annotations

from collections.abc import Hashable
import logging
from statistics import median

_LOG = logging.getLogger(__name__)
SETTLED = 3
"""Runs of a way that do not count: a CUDA graph is recorded in the second."""
COUNTED = 9
"""Runs of each way that count: a median that one busy moment does not decide, and with both ways
0.8 s of images at 30 a second."""


class FasterWay:
    """
    Two ways, taken in turn until each was timed often enough; then the faster one.

    :param ways: their names, for the log
    """

    def __init__(self, what: str, ways: tuple[str, str]) -> None:
        self._what, self._ways = what, ways
        self._times: dict[Hashable, tuple[list[float], list[float]]] = {}
        self.chosen: dict[Hashable, int] = {}
        """Of each kind of work that was decided on: 0 or 1."""

    def next(self, kind: Hashable) -> int:
        """
        Return the way to take: 0 or 1.

        :param kind: of work; each is decided by itself
        """
        if kind in self.chosen:
            return self.chosen[kind]
        first, second = self._times.setdefault(kind, ([], []))
        return int(len(first) > len(second))

    def took(self, kind: Hashable, way: int, seconds: float) -> None:
        """Hear how long the way that :meth:`next` returned took."""
        if kind in self.chosen:
            return
        times = self._times[kind]
        times[way].append(seconds)
        if all(len(each) >= SETTLED + COUNTED for each in times):
            medians = [median(each[SETTLED:]) for each in times]
            self.chosen[kind] = int(medians[1] < medians[0])
            del self._times[kind]
            _LOG.info(
                '%s, %s: %s, as %s takes %.2f ms and %s %.2f ms', self._what, kind,
                self._ways[self.chosen[kind]], self._ways[0], medians[0] * 1e3, self._ways[1],
                medians[1] * 1e3)
