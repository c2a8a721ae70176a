# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One person on the page: the newest figures, and their course over three minutes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
import math
from typing import Any

from aitable_ros.posture_types import PostureAssessment, PostureValidity
from aitable_ros.types import (
    EmotionEstimate, Expression, FatigueAssessment, FatigueEvent, FatigueLevel, FatigueReason,
    Validity
)

BIN_NS = 200_000_000
"""The timeline's step: a blink of 0.1 s still shows, because a step keeps its lowest openness."""
WINDOW_NS = 180_000_000_000
"""As long as ``perclos_long`` looks back."""
FORGET_NS = 10_000_000_000
"""The nodes forget a lost person after this; later the same track is another person."""
SITS_NS = 2_000_000_000
"""A body that was last read longer ago, image time, is away: five readings a second are usual."""
AGAIN = 5
"""Steps sent once more with the next message: the emotion of an image comes after its eyes."""


def number(value: float, digits: int) -> float | None:
    """Return a rounded number; JSON has no NaN."""
    return round(value, digits) if math.isfinite(value) else None


@dataclass(slots=True)
class Bin:
    """
    One step of the timeline.

    :param index: stamp divided by :data:`BIN_NS`
    :param openness: the lowest in it
    :param level: the worst in it
    """

    index: int
    openness: float = math.nan
    perclos: float = math.nan
    level: FatigueLevel = FatigueLevel.UNKNOWN
    expression: Expression = Expression.UNKNOWN

    def row(self) -> list[float | None]:
        """Return the step as the page takes it."""
        return [
            self.index, number(self.openness, 2), number(self.perclos, 3), int(self.level),
            int(self.expression)]


_keys = count(1)


class Person:
    """
    The messages about one track.

    ``key`` is unique: nodes that were restarted count their tracks from 1 again.
    """

    def __init__(self, track_id: int, stamp_ns: int) -> None:
        self.key = next(_keys)
        self.track_id = track_id
        self.seen_ns = stamp_ns
        self.primary = False
        self._bins: deque[Bin] = deque(maxlen=WINDOW_NS // BIN_NS)
        self._fatigue: FatigueAssessment | None = None
        self._emotion: EmotionEstimate | None = None
        self._posture: PostureAssessment | None = None
        self._events: deque[FatigueEvent] = deque(maxlen=500)

    @property
    def level(self) -> FatigueLevel:
        """The newest level."""
        return self._fatigue.level if self._fatigue else FatigueLevel.UNKNOWN

    def is_another(self, fatigue: FatigueAssessment) -> bool:
        """Return whether the track is of a new person: the counts began again."""
        return self._fatigue is not None and fatigue.blink_count < self._fatigue.blink_count

    def fatigue(self, fatigue: FatigueAssessment) -> None:
        """Take in a state."""
        self._fatigue = fatigue
        if fatigue.validity is not Validity.NO_FACE:
            self.seen_ns = max(self.seen_ns, fatigue.stamp_ns)
        step = self._bin(fatigue.stamp_ns)
        if step is None:
            return
        step.openness = _lower(step.openness, fatigue.openness)
        step.perclos = fatigue.perclos
        step.level = max(step.level, fatigue.level)

    def emotion(self, stamp_ns: int, emotion: EmotionEstimate) -> None:
        """Take in an estimate."""
        self._emotion = emotion
        step = self._bin(stamp_ns)
        if step is not None:
            step.expression = emotion.expression

    def posture(self, posture: PostureAssessment) -> None:
        """Take in a posture; who shows a body is seen, also without a face."""
        self._posture = posture
        if posture.validity is not PostureValidity.NO_BODY:
            self.seen_ns = max(self.seen_ns, posture.stamp_ns)

    def sits(self, now_ns: int) -> bool:
        """
        Return whether the person's body is in the image.

        :param now_ns: the newest image's stamp
        """
        posture = self._posture
        return posture is not None and posture.validity is not PostureValidity.NO_BODY \
            and now_ns - posture.stamp_ns <= SITS_NS

    def event(self, event: FatigueEvent) -> None:
        """Take in an event."""
        self._events.append(event)

    def _bin(self, stamp_ns: int) -> Bin | None:
        index = stamp_ns // BIN_NS
        if not self._bins or index > self._bins[-1].index:
            self._bins.append(Bin(index))
        for step in reversed(self._bins):
            if step.index <= index:
                return step if step.index == index else None
        return None

    def payload(self, now_ns: int, since: int) -> dict[str, Any]:
        """
        Return the data for the page.

        :param now_ns: the newest image's stamp
        :param since: the last step that the page has
        """
        oldest = (now_ns - WINDOW_NS) // BIN_NS
        return {
            'key': self.key,
            'id': self.track_id,
            'primary': self.primary,
            'absent_s': number(max(now_ns - self.seen_ns, 0) / 1e9, 1),
            'fatigue': _fatigue(self._fatigue),
            'emotion': _emotion(self._emotion),
            'posture': _posture(self._posture),
            'bins': [step.row() for step in self._bins
                     if step.index >= oldest and step.index > since - AGAIN],
            'events': [
                [event.type.name, event.start_ns / BIN_NS, number(event.duration_s, 2),
                 event.level.name]
                for event in self._events if event.start_ns > now_ns - WINDOW_NS],
        }

    @property
    def last_bin(self) -> int:
        """The newest step's index; -1 without any."""
        return self._bins[-1].index if self._bins else -1


def _lower(first: float, second: float) -> float:
    return second if math.isnan(first) else first if math.isnan(second) else min(first, second)


def _fatigue(state: FatigueAssessment | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        'level': state.level.name,
        'validity': state.validity.name,
        'reasons': [
            reason.name for reason in FatigueReason if reason and reason in state.reasons],
        'openness': number(state.openness, 3),
        'closed': state.eyes_closed,
        'closure_s': number(state.closure_s, 1),
        'perclos': number(state.perclos, 4),
        'perclos_long': number(state.perclos_long, 4),
        'coverage': number(state.perclos_coverage, 3),
        'coverage_long': number(state.perclos_long_coverage, 3),
        'blinks': state.blink_count,
        'blink_rate': number(state.blink_rate, 1),
        'blink_s': number(state.mean_blink_s, 3),
        'yawning': state.yawning,
        'yawns': state.yawn_count,
        'head': [
            number(angle, 3) for angle in (state.head_roll, state.head_pitch, state.head_yaw)],
        'calibrated': state.calibrated,
    }


def _emotion(estimate: EmotionEstimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        'expression': estimate.expression.name,
        'confidence': number(estimate.confidence, 3),
        'probabilities': [number(float(value), 3) for value in estimate.probabilities],
        'valence': number(estimate.valence, 3),
        'arousal': number(estimate.arousal, 3),
    }


def _posture(posture: PostureAssessment | None) -> dict[str, Any] | None:
    if posture is None:
        return None
    return {
        'state': posture.state.name,
        'state_s': number(posture.state_s, 1),
        'validity': posture.validity.name,
        'tilt': number(posture.shoulder_tilt, 3),
        'lean': [number(posture.forward_lean, 3), number(posture.lateral_lean, 3)],
        'neck': number(posture.neck_flexion, 3),
        'drop': number(posture.height_drop, 3),
        'supported': posture.head_supported,
    }
