# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Blinks: short dips of the eye aspect ratio, most of which never look fully closed on a camera."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from aitable_ros.clock import Interval
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.quantile import QuantileWindow

NOISE_WINDOW_NS = 2_750_000_000
NOISE_LAG_NS = 60_000_000
"""The noise is the change of the EAR over this time. A change from one image to the next would
shrink as the frame rate rises, and a fast camera would then see more blinks than a slow one."""
NOISE_STEP = 0.002
EARLY_RISE = 0.6
"""Share of its fall that a dip must have risen by to be judged before its shoulder is over."""
EARLY_NS = 50_000_000
"""Least time between two early judgements of one dip."""
LESSER_SHARE = 0.8
"""Each side of a dip must have this share of the depth that a blink needs: an eye that only falls
or only rises has changed its gaze."""
SHOULDER_QUANTILE = 0.8
"""Quantile of a shoulder that stands for it: a second blink within it does not lower it."""
OPEN_SHARE = 0.5
"""Shoulders below this share of the baseline belong to shut eyes, which cannot blink."""
LEAST_DEPTH = 0.05
"""Shallower minima are never judged; saves work."""


@dataclass(frozen=True, slots=True)
class Dip(Interval):
    """
    A fall and rise of the EAR that is deep enough for a blink, measured at half depth.

    :param lowest_ns: time of the lowest reading
    :param lowest: EAR over the baseline at that time
    :param wide: the dip is too long for a blink, or its ends were not seen
    """

    lowest_ns: int
    lowest: float
    wide: bool


class DipDetector:
    """
    Finds dips between two shoulders.

    A dip is judged a shoulder's length after its lowest reading, or sooner once the eye has opened
    well again. It counts where it is deep enough

    - against the shoulders: by ``blink_min_drop``, or where images are so far apart that they miss
      the lowest moment or blur it, by ``blink_min_area_s`` over the time between images;
    - against the noise of the last seconds: by ``blink_noise_factor``.

    Adding a reading is O(1) except at minima, at most one in ``blink_spacing_s``.

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
        self._noise = QuantileWindow(0.0, 1.0, NOISE_STEP, NOISE_WINDOW_NS, 0)
        self.clear()

    def clear(self) -> None:
        """Forget the past, as after a gap."""
        self._times: deque[int] = deque()
        self._values: deque[float] = deque()
        self._peaks: deque[tuple[int, float]] = deque()
        self._lagged: deque[tuple[int, float]] = deque()
        self._minima: deque[tuple[int, float, float]] = deque()
        self._look = -(1 << 62)
        self._told = -(1 << 62)
        self._before_last = float('inf')

    def add(self, time_ns: int, value: float) -> Dip | None:
        """
        Take in a reading; times must rise.

        :param value: EAR over the baseline
        :return: a dip that became certain
        """
        times, values, peaks, minima = self._times, self._values, self._peaks, self._minima
        if times:
            last_ns, last = times[-1], values[-1]
            highest = peaks[0][1]
            # A minimum: not above the reading before it, below the reading after it.
            if value > last and last <= self._before_last \
                    and highest - last >= LEAST_DEPTH * highest:
                risen = last + EARLY_RISE * (highest - last)
                if not minima or last_ns - minima[-1][0] >= self._spacing:
                    minima.append((last_ns, last, risen))
                elif last < minima[-1][1]:
                    minima[-1] = (last_ns, last, risen)
            self._before_last = last
        self._measure_noise(time_ns, value)
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

    def _measure_noise(self, time_ns: int, value: float) -> None:
        lagged = self._lagged
        while len(lagged) > 1 and lagged[1][0] <= time_ns - NOISE_LAG_NS:
            lagged.popleft()
        if lagged and lagged[0][0] <= time_ns - NOISE_LAG_NS:
            self._noise.add(time_ns, abs(value - lagged[0][1]))
        lagged.append((time_ns, value))

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
        options, shoulder = self._options, lowest + drop
        between_s = (times[at + 1] - times[at - 1]) * 0.5e-9
        needed = shoulder * min(options.blink_min_drop, options.blink_min_area_s / between_s)
        noise = self._noise.quantile(0.5)
        if shoulder < OPEN_SHARE or drop < needed or lesser < LESSER_SHARE * needed \
                or drop < options.blink_noise_factor * noise:
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
        closes = lowest < self._closes * shoulder
        wide = end - start > (self._longest if closes else self._longest_partial)
        if not wide:
            self._told = end
        return Dip(start, end, lowest_ns, lowest, wide)


def _upper(values: list[float]) -> float:
    ordered = sorted(values)
    place = SHOULDER_QUANTILE * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _crossing(t0: int, v0: float, t1: int, v1: float, level: float) -> int:
    """Return the time at which the line between two readings crosses a level."""
    return t0 if v1 == v0 else t0 + int((t1 - t0) * (level - v0) / (v1 - v0))
