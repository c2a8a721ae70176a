# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""False alarms: microsleeps, sleeps and SEVERE levels without a labelled closure."""

from __future__ import annotations

from typing import Any

import numpy as np

from aitable_ros.evaluation.labels import FrameSpan, Labels, marked
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.metrics import TOLERANCE_FRAMES
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.types import FatigueEventType, FatigueLevel

Score = dict[str, Any]
ALARMS = ('microsleep', 'sleep', 'severe')
_DEFAULTS = FatigueOptions()
LEAST_S = {'microsleep': _DEFAULTS.microsleep_s, 'sleep': _DEFAULTS.sleep_s,
           'severe': _DEFAULTS.microsleep_s}
"""Least duration of the labelled closure that makes an alarm right: the definitions of microsleep
and sleep, whatever the thresholds of the run."""
MEMORY_S = {'microsleep': 0.0, 'sleep': 0.0, 'severe': _DEFAULTS.perclos_window_s}
"""How long before an alarm the closure may lie: SEVERE may result from the PERCLOS window."""


def false_alarms(measured: Measurements, labels: Labels) -> Score:
    """
    Count the alarms of the primary person and those without a labelled closure.

    An alarm is right if a labelled closure of at least :data:`LEAST_S` overlaps it, within 2
    frames. An alarm that touches an ignored span is not counted as false.

    :return: ``scored_s`` (usable time that is not ignored), by alarm ``told``, ``false``,
        ``false_per_hour`` (None without usable time) and ``spans`` of the false ones in frames
    """
    hours = usable_s(measured, labels) / 3600
    found: Score = {'scored_s': hours * 3600}
    for name, spans in _alarms(measured).items():
        false = [span for span in spans if not _is_right(name, span, measured, labels)]
        found[name] = {
            'told': len(spans), 'false': len(false),
            'false_per_hour': len(false) / hours if hours else None,
            'spans': [[span.start, span.end] for span in false]}
    return found


def usable_s(measured: Measurements, labels: Labels) -> float:
    """Seconds that are not ignored and in which the primary person's eyes were measured."""
    steps = np.maximum(np.diff(np.asarray(measured.usable_by_frame), prepend=0.0), 0.0)
    return float(steps[~marked(labels.ignore, len(steps))].sum())


def _alarms(measured: Measurements) -> dict[str, list[FrameSpan]]:
    """Return the alarms in frames; a level lasts until the next known one."""
    found = {name: [FrameSpan(e.start_frame, e.end_frame) for e in measured.of_primary(
        FatigueEventType[name.upper()])] for name in ('microsleep', 'sleep')}
    severe: list[FrameSpan] = []
    begun: int | None = None
    for frame, level in enumerate(measured.levels):
        if level >= FatigueLevel.SEVERE:
            begun = frame if begun is None else begun
        elif begun is not None and level != FatigueLevel.UNKNOWN:
            severe.append(FrameSpan(begun, frame - 1))
            begun = None
    if begun is not None:
        severe.append(FrameSpan(begun, len(measured.levels) - 1))
    return {**found, 'severe': severe}


def _is_right(name: str, alarm: FrameSpan, measured: Measurements, labels: Labels) -> bool:
    """Whether a labelled closure makes the alarm right, or an ignored span exempts it."""
    def near(span: FrameSpan, since: int) -> bool:
        return span.start <= alarm.end + TOLERANCE_FRAMES and span.end >= since - TOLERANCE_FRAMES

    since = measured.frame_at(measured.stamps[alarm.start] - round(MEMORY_S[name] * 1e9)) \
        if MEMORY_S[name] else alarm.start
    return any(near(span, since) and _duration_s(span, measured) >= LEAST_S[name]
               for span in labels.closures or ()) \
        or any(near(span, alarm.start) for span in labels.ignore)


def _duration_s(span: FrameSpan, measured: Measurements) -> float:
    """Longest duration of a labelled span within the tolerance at both ends, seconds."""
    return measured.time_s(span.end + 1 + TOLERANCE_FRAMES) - measured.time_s(
        max(0, span.start - TOLERANCE_FRAMES))
