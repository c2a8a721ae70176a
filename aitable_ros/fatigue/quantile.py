# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Quantiles over a sliding window of time, at a cost that does not grow with the window."""

from __future__ import annotations

from collections import deque
import math


class QuantileWindow:
    """
    A histogram of the values of the last so many seconds.

    Adding is O(1) and asking O(bins). Memory is bounded by ``window_ns / every_ns``: a value that
    comes sooner than ``every_ns`` after the last one kept is left out.

    :param low: values below count as this
    :param high: values above count as this
    :param step: width of a bin, and so the resolution of the answer (which interpolates within it)
    :param window_ns: values as old as this are forgotten
    :param every_ns: least time between two values kept
    """

    __slots__ = (
        '_counts', '_every', '_high', '_kept', '_last', '_low', '_next', '_step', '_window')

    def __init__(
        self, low: float, high: float, step: float, window_ns: int, every_ns: int,
    ) -> None:
        self._low, self._high, self._step = low, high, step
        self._window, self._every = window_ns, every_ns
        self._last = math.ceil((high - low) / step) - 1
        self._counts = [0] * (self._last + 1)
        self._kept: deque[tuple[int, int]] = deque()
        self._next = -(1 << 62)

    def __len__(self) -> int:
        """Number of values in the window."""
        return len(self._kept)

    @property
    def span_s(self) -> float:
        """Seconds from the oldest to the newest value."""
        return (self._kept[-1][0] - self._kept[0][0]) * 1e-9 if self._kept else 0.0

    def add(self, time_ns: int, value: float) -> None:
        """Take a value in; times must not fall."""
        if time_ns < self._next:
            return
        self._next = time_ns + self._every
        place = int((value - self._low) / self._step)
        place = 0 if place < 0 else min(place, self._last)
        kept, counts = self._kept, self._counts
        kept.append((time_ns, place))
        counts[place] += 1
        oldest = time_ns - self._window
        while kept[0][0] < oldest:
            counts[kept.popleft()[1]] -= 1

    def quantile(self, share: float) -> float:
        """Return the value below which ``share`` of the window lies; NaN of nothing."""
        wanted = share * len(self._kept)
        if not self._kept:
            return math.nan
        below = 0
        for place, count in enumerate(self._counts):
            if count and below + count >= wanted:
                return self._low + (place + (wanted - below) / count) * self._step
            below += count
        return self._high

    def clear(self) -> None:
        """Forget everything."""
        self._counts = [0] * (self._last + 1)
        self._kept.clear()
        self._next = -(1 << 62)
