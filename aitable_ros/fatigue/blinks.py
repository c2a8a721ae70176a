# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Blinks: short dips of the eye aspect ratio, most of which never look fully closed on a camera."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.quantile import QuantileWindow

RECENT_NS = 3_000_000_000
NOISE_STEP = 0.002
WANDER_STEP = 0.02
EARLY_RISE = 0.6
"""Share of its fall by which a dip must have risen to be told before its shoulder is over."""
EARLY_NS = 50_000_000
"""Least time between two looks at a dip that may be told early."""
LESSER_SHARE = 0.5
"""Lids often open slowly after a blink, or the gaze moves with it, so one shoulder is lower: below
that one a dip must have at least this share of its mean depth."""
SHOULDER_SHARE = 0.8
"""Quantile of a shoulder that stands for it: a second blink within it does not lower it."""


@dataclass(frozen=True, slots=True)
class Dip:
    """
    A fall and rise of the EAR, at half depth.

    :param lowest_ns: when it was lowest
    :param lowest: EAR over the baseline then
    :param wide: too long for a blink, or its ends were not seen
    """

    start_ns: int
    end_ns: int
    lowest_ns: int
    lowest: float
    wide: bool

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return (self.end_ns - self.start_ns) * 1e-9


class DipDetector:
    """
    Finds dips between two shoulders: at the latest a shoulder's length after their lowest point,
    sooner where the eye has opened well again and no lower point can follow.

    A dip must be deep against the person's baseline, and against the last seconds: against noise,
    the median change from one image to the next, and against how far the lids wander with gaze,
    speech and laughter, the 20th to the 80th percentile. Work beyond O(1) an image happens only at
    minima that are deep enough, at most one in ``blink_spacing_s``.

    :param options: the thresholds
    """

    def __init__(self, options: FatigueOptions) -> None:
        self._options = options
        self._shoulder = int(options.blink_shoulder_s * 1e9)
        self._spacing = int(options.blink_spacing_s * 1e9)
        self._shortest = int(options.blink_min_s * 1e9)
        self._longest = int(options.blink_max_s * 1e9)
        self._longest_partial = min(self._longest, int(options.blink_partial_max_s * 1e9))
        self._closes = options.ear_shut + (1 - options.ear_shut) * options.closed_enter
        self._keep = 2 * self._shoulder + self._longest
        self._noise = QuantileWindow(0.0, 1.0, NOISE_STEP, RECENT_NS, 0)
        self._recent = QuantileWindow(0.0, 2.0, WANDER_STEP, RECENT_NS, 0)
        self._min_drop = options.blink_min_drop
        self.clear()

    def clear(self) -> None:
        """Forget the past, as after a gap."""
        self._times: deque[int] = deque()
        self._values: deque[float] = deque()
        self._peaks: deque[tuple[int, float]] = deque()
        self._minima: deque[tuple[int, float, float]] = deque()
        self._look = -(1 << 62)
        self._told = -(1 << 62)
        self._before_last = float('inf')

    def add(self, time_ns: int, value: float) -> Dip | None:
        """
        Take in an EAR over the baseline; times must rise.

        :return: a dip that became certain
        """
        times, values, peaks, minima = self._times, self._values, self._peaks, self._minima
        if times:
            last_ns, last = times[-1], values[-1]
            self._noise.add(time_ns, value - last if value > last else last - value)
            # A minimum: not above what came before it, below what came after.
            if value > last and last <= self._before_last and peaks[0][1] - last >= self._min_drop:
                risen = last + EARLY_RISE * (peaks[0][1] - last)
                if not minima or last_ns - minima[-1][0] >= self._spacing:
                    minima.append((last_ns, last, risen))
                elif last < minima[-1][1]:
                    minima[-1] = (last_ns, last, risen)
            self._before_last = last
        self._recent.add(time_ns, value)
        times.append(time_ns)
        values.append(value)
        while peaks and peaks[-1][1] <= value:
            peaks.pop()
        peaks.append((time_ns, value))
        oldest = time_ns - self._shoulder - self._spacing
        while peaks[0][0] < oldest:
            peaks.popleft()
        oldest = time_ns - self._keep
        while times[0] < oldest:
            times.popleft()
            values.popleft()
        if minima:
            lowest_ns, lowest, risen = minima[0]
            age = time_ns - lowest_ns
            if age >= self._shoulder:
                minima.popleft()
                return self._judge(lowest_ns, lowest)
            if age >= self._spacing and value >= risen and time_ns >= self._look:
                self._look = time_ns + EARLY_NS
                dip = self._judge(lowest_ns, lowest)
                if dip is not None and not dip.wide:
                    minima.popleft()
                    return dip
        return None

    def _judge(self, lowest_ns: int, lowest: float) -> Dip | None:
        times, values = list(self._times), list(self._values)
        at = times.index(lowest_ns) if lowest_ns in self._times else -1
        if at < 1 or lowest_ns < self._told:
            return None
        first, last = at, at
        while first > 0 and times[first - 1] >= lowest_ns - self._shoulder:
            first -= 1
        while last + 1 < len(times) and times[last + 1] <= lowest_ns + self._shoulder:
            last += 1
        if first == at or last == at:
            return None
        fall = _upper(values[first:at]) - lowest
        rise = _upper(values[at + 1:last + 1]) - lowest
        drop, lesser = (fall + rise) / 2, min(fall, rise)
        options, recent = self._options, self._recent
        wander = recent.quantile(0.8) - recent.quantile(0.2)
        if drop < self._min_drop or lesser < drop * LESSER_SHARE \
                or drop < options.blink_noise_factor * self._noise.quantile(0.5) \
                or drop < options.blink_wander_factor * wander:
            return None
        level = lowest + lesser / 2
        left = at
        while left > 0 and values[left - 1] < level:
            left -= 1
        right = at
        while right + 1 < len(values) and values[right + 1] < level:
            right += 1
        if left == 0 or right + 1 == len(values):
            return Dip(times[left], times[right], lowest_ns, lowest, True)
        start = _crossing(times[left - 1], values[left - 1], times[left], values[left], level)
        end = _crossing(times[right], values[right], times[right + 1], values[right + 1], level)
        if end - start < self._shortest or start < self._told:
            return None
        closes = lowest < self._closes
        wide = end - start > (self._longest if closes else self._longest_partial)
        if not wide:
            self._told = end
        return Dip(start, end, lowest_ns, lowest, wide)


def _upper(values: list[float]) -> float:
    ordered = sorted(values)
    place = SHOULDER_SHARE * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _crossing(t0: int, v0: float, t1: int, v1: float, level: float) -> int:
    """Return when the line between two readings crosses a level."""
    return t0 if v1 == v0 else t0 + int((t1 - t0) * (level - v0) / (v1 - v0))
