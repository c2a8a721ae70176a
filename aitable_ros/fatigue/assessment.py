# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From the figures to a level with its reasons, which is entered at once and left slowly."""

from __future__ import annotations

from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.types import FatigueLevel, FatigueReason

MIN_BLINKS = 5
"""A mean blink duration of fewer says nothing."""

_ALERT, _MILD, _SEVERE, _ASLEEP = (
    int(FatigueLevel.ALERT), int(FatigueLevel.MILD), int(FatigueLevel.SEVERE),
    int(FatigueLevel.ASLEEP))
_LEVELS = {int(level): level for level in FatigueLevel}
_REASONS = tuple(FatigueReason(mask) for mask in range(256))
"""Looking an enum up by value costs ten times what indexing a tuple does."""
_PERCLOS, _PERCLOS_LONG, _LONG_BLINKS, _MICROSLEEP, _SLEEP = (
    int(FatigueReason.PERCLOS), int(FatigueReason.PERCLOS_LONG), int(FatigueReason.LONG_BLINKS),
    int(FatigueReason.MICROSLEEP), int(FatigueReason.SLEEP))
_SLUMPED = int(FatigueReason.SLUMPED)
_NEVER = -(1 << 62)


class LevelJudge:
    """
    The level of one person, and why.

    Each condition counts from the moment it is met until it has not been met for ``level_hold_s``.

    :param options: the thresholds
    """

    def __init__(self, options: FatigueOptions) -> None:
        self.configure(options)
        self._met = [_NEVER] * (_ASLEEP + 1)
        self._reason_met: dict[int, int] = {}

    def configure(self, options: FatigueOptions) -> None:
        """Take other thresholds; levels already met are held as before."""
        self._options = options
        self._hold = int(options.level_hold_s * 1e9)

    def judge(
        self, time_ns: int, closure_s: float, perclos: float, perclos_long: float,
        mean_blink_s: float, blinks: int, long_closures: int, extra: int,
    ) -> tuple[FatigueLevel, FatigueReason]:
        """
        Judge one moment. NaN means that a figure is not known, and never speaks for a level.

        :param closure_s: length so far of a confirmed closure
        :param long_closures: within the long window
        :param extra: bits of reasons that make no level; SLUMPED is not held
        """
        options, met, why = self._options, self._met, self._reason_met
        if extra:
            for bit in (int(FatigueReason.YAWNING), int(FatigueReason.NODDING)):
                if extra & bit:
                    why[bit] = time_ns
        level = _ALERT
        if perclos >= options.perclos_mild:
            level = _SEVERE if perclos >= options.perclos_severe else _MILD
            why[_PERCLOS] = time_ns
        if perclos_long >= options.perclos_long_mild \
                or (perclos_long >= options.perclos_long_severe and long_closures):
            severe = perclos_long >= options.perclos_long_severe and long_closures
            level = max(level, _SEVERE if severe else _MILD)
            why[_PERCLOS_LONG] = time_ns
        if blinks >= MIN_BLINKS and mean_blink_s > options.mean_blink_mild_s:
            level = max(level, _MILD)
            why[_LONG_BLINKS] = time_ns
        if closure_s >= options.microsleep_s:
            level = _SEVERE
            why[_MICROSLEEP] = time_ns
            if closure_s >= options.sleep_s:
                level = _ASLEEP
                why[_SLEEP] = time_ns
        if level > _ALERT:
            met[level] = time_ns
        oldest = time_ns - self._hold
        held = level
        for candidate in (_ASLEEP, _SEVERE, _MILD):
            if candidate > level and met[candidate] > oldest:
                held = candidate
                break
        mask = extra & _SLUMPED
        if why:
            for bit, last in list(why.items()):
                if last == time_ns or last > oldest:
                    mask |= bit
                else:
                    del why[bit]
        return _LEVELS[held], _REASONS[mask]
