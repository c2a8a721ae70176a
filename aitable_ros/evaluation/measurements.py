# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The measurements of a recording: some bytes a frame, and the events."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
import math

import numpy as np

from aitable_ros.clock import ImageTime, Step
from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.postures import lasting_s, PlacedPosture, PostureMeasurements
from aitable_ros.posture_types import PostureEvent
from aitable_ros.types import (
    Expression, FaceResult, FatigueAssessment, FatigueEvent, FatigueEventType, FatigueLevel,
    FrameResult, ModelInfo, NAN
)


@dataclass(frozen=True, slots=True)
class PlacedEvent:
    """
    An event and its place in the recording.

    :param primary: whether it is of the primary person
    :param start_s: seconds from the first frame to its start, see :meth:`Measurements.time_s`
    :param start_frame: nearest frame to its start
    :param end_frame: nearest frame to its end
    """

    event: FatigueEvent
    primary: bool
    start_s: float
    start_frame: int
    end_frame: int

    @property
    def end_s(self) -> float:
        """Seconds since the first frame."""
        return self.start_s + self.event.duration_s


class Measurements:
    """
    Collects the results of the frames of one recording.

    Figures about a person are those of the primary person.

    :param stills: the frames are unrelated images, so no time passes
    """

    def __init__(self, *, stills: bool = False) -> None:
        self.stills = stills
        self.stamps = array('q')
        self.faces = array('H')
        self.expressions = array('B')
        """The primary person's :class:`Expression` in each frame; UNKNOWN without a face."""
        self.valence = array('f')
        self.arousal = array('f')
        self.levels = array('B')
        """The primary person's :class:`FatigueLevel` in each frame; UNKNOWN without a face."""
        self.eyes = array('b')
        """The primary person's eyes in each frame: 1 closed, 0 open, -1 not measured."""
        self.usable_by_frame = array('d')
        """``usable_s`` after each frame."""
        self.boxes: list[tuple[tuple[float, float, float, float], ...]] = []
        """Boxes ``[x1, y1, x2, y2]`` (pixels) of the faces of each frame; of stills only."""
        self.events: list[PlacedEvent] = []
        self.level_max = FatigueLevel.UNKNOWN
        self.usable_s = 0.0
        self.closed_s = 0.0
        self.models: dict[str, ModelInfo] = {}
        self.posture = PostureMeasurements()
        self._time = ImageTime()
        self._segment = 0
        self._rising = array('q')
        """Stamps that never fall: a late one is replaced by the one before it."""
        self._elapsed_ns = 0
        self._elapsed = array('q')
        """Time that passed until each of these stamps, nanoseconds."""
        self._primary = 0
        self._counted: dict[int, tuple[float, float]] = {}

    def add(
        self, result: FrameResult, *, leap: bool = False,
    ) -> list[PlacedEvent | PlacedPosture]:
        """
        Add one frame.

        :param leap: the clock was set before the frame, so no time has passed
        :return: the events of the frame and their places
        """
        self.take_time(result.stamp_ns, leap)
        self.faces.append(len(result.faces))
        self.models = result.models
        primary = result.primary
        if primary is not None:
            self._primary = primary.face.track_id
        emotion = primary.emotion if primary else None
        self.expressions.append(emotion.expression if emotion else Expression.UNKNOWN)
        self.valence.append(emotion.valence if emotion else NAN)
        self.arousal.append(emotion.arousal if emotion else NAN)
        state = primary.fatigue if primary else None
        self.levels.append(state.level if state else FatigueLevel.UNKNOWN)
        self.eyes.append(
            -1 if state is None or math.isnan(state.openness) else int(state.eyes_closed))
        before = self._elapsed[-2] if len(self._elapsed) > 1 else 0
        self.posture.add(result.posture, self._primary, (self._elapsed_ns - before) / 1e9)
        if self.stills:
            self.boxes.append(tuple(_box(face) for face in result.faces))
            return []
        for face in result.faces:
            if face.fatigue is not None:
                self._count_eyes(face.fatigue, face is primary)
        self.usable_by_frame.append(self.usable_s)
        found = [self._place(event) for event in result.events]
        self.events += found
        postures = [
            self._place_posture(event) for event in result.posture.events
        ] if result.posture is not None else []
        for posture in postures:
            self.posture.tell(posture)
        return [*found, *postures]

    def take_time(self, stamp_ns: int, leap: bool = False) -> None:
        """
        Advance time to the next frame, by the rules of the stages.

        :param leap: the clock was set before the frame; the time in between does not count
        """
        self.stamps.append(stamp_ns)
        newest = self._time.newest_ns
        step = self._time.step(stamp_ns)
        if step is Step.JUMP:
            self._segment = len(self._rising)  # the stages have forgotten all people
            self._counted.clear()
        elif step is Step.FORWARD and newest is not None and not leap:
            self._elapsed_ns += stamp_ns - newest
        self._rising.append(self._time.newest_ns or stamp_ns)
        self._elapsed.append(self._elapsed_ns)

    def _count_eyes(self, state: FatigueAssessment, primary: bool) -> None:
        """Add the usable and closed time of the primary person of the moment."""
        if primary:
            self.level_max = max(self.level_max, state.level)
            usable_s, closed_s = self._counted.get(state.track_id, (0.0, 0.0))
            if state.usable_s < usable_s:  # the person was forgotten and has come back
                usable_s = closed_s = 0.0
            self.usable_s += state.usable_s - usable_s
            self.closed_s += state.closed_s - closed_s
            # Time that is reported late may belong to frames in which another person was primary
            # and counted: together they are never more than the time that passed.
            self.usable_s = min(self.usable_s, self._elapsed_ns / 1e9)
            self.closed_s = min(self.closed_s, self.usable_s)
        self._counted[state.track_id] = state.usable_s, state.closed_s

    def _place(self, event: FatigueEvent) -> PlacedEvent:
        return PlacedEvent(
            event, event.track_id == self._primary, *self._span(event.start_ns, event.duration_s))

    def _place_posture(self, event: PostureEvent) -> PlacedPosture:
        return PlacedPosture(
            event, event.track_id == self.posture.track_id,
            *self._span(event.start_ns, lasting_s(event)))

    def _span(self, start_ns: int, duration_s: float) -> tuple[float, int, int]:
        """Return the seconds from the first frame to a start, and the frames of start and end."""
        start = self.frame_at(start_ns)
        return ((self._elapsed[start] + start_ns - self._rising[start]) / 1e9, start,
                self.frame_at(start_ns + round(duration_s * 1e9)))

    def frame_at(self, stamp_ns: int) -> int:
        """Return the nearest frame to a stamp, in the newest run of rising stamps."""
        last = len(self.stamps) - 1
        stamps = self._rising
        after = min(bisect_left(stamps, stamp_ns, self._segment), last)
        if after > self._segment:
            before = after - 1
            if stamp_ns - stamps[before] <= stamps[after] - stamp_ns:
                return before
        return after

    def time_s(self, frame: int) -> float:
        """
        Return the seconds from the first frame to this one; extrapolated past the end.

        No time passes where the clock was set.
        """
        last = len(self.stamps) - 1
        known = min(frame, last)
        known_s = (self._elapsed[known] + self.stamps[known] - self._rising[known]) / 1e9
        return known_s if frame <= last else known_s + (frame - last) * self.period_s

    @property
    def period_s(self) -> float:
        """Median time between two frames, seconds."""
        steps = np.diff(np.asarray(self.stamps))
        steps = steps[steps > 0]
        return float(np.median(steps)) / 1e9 if steps.size else 0.0

    @property
    def duration_s(self) -> float:
        """Length of the recording including its last frame, seconds; 0 for stills."""
        if self.stills or not self.stamps:
            return 0.0
        return self._elapsed_ns / 1e9 + self.period_s

    @property
    def perclos(self) -> float:
        """Closed share of the usable time, 0 ... 1; NaN without usable time."""
        return self.closed_s / self.usable_s if self.usable_s else NAN

    def of_primary(self, *types: FatigueEventType) -> list[PlacedEvent]:
        """Return the primary person's events of these types by their start."""
        found = [e for e in self.events if e.primary and e.event.type in types]
        return sorted(found, key=lambda e: e.start_s)

    def blinks(self) -> list[FrameSpan]:
        """Return the primary person's blinks in frames."""
        return [FrameSpan(e.start_frame, e.end_frame)
                for e in self.of_primary(FatigueEventType.BLINK)]

    def expression_share(self) -> dict[str, float]:
        """Share of each expression among the frames with a known one."""
        counts = Counter(Expression(value) for value in self.expressions)
        counts.pop(Expression.UNKNOWN, None)
        return {e.name.lower(): counts[e] / counts.total()
                for e in Expression if counts[e]}


def _box(face: FaceResult) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = face.face.box.tolist()
    return x1, y1, x2, y2
