# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What was heard, put in order: curves of the primary person, events, latencies, the summary."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import header_stamp_ns
from aitable_ros.evaluation.report.elements import Series
from aitable_ros.evaluation.report.elements import StageProvenance
from aitable_ros.evaluation.report.elements import TimelineEvent
from aitable_ros.evaluation.summary import EVENTS
from aitable_ros.tools.graph import Ears
from aitable_ros.tools.graph import Heard
from aitable_ros.tools.graph import Sent
from aitable_ros.tools.verdict import span_of
from aitable_ros.types import Expression
from aitable_ros.types import FatigueEvent
from aitable_ros.types import FatigueEventType
from aitable_ros.types import FatigueLevel

STAGES = {'face_detector': 'faces', 'fatigue': 'mesh', 'emotion': 'emotion'}
"""Node -> what it contributes, in the order of the pipeline."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; NaN where nothing was measured."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, samples_ms: NDArray[np.float64]) -> Percentiles:
        """Return those of some samples."""
        if not samples_ms.size:
            return cls(*[float('nan')] * 3)
        return cls(*(float(value) for value in np.percentile(samples_ms, (50, 95, 99))))


class Story:
    """
    One run as it was heard.

    :param sent: what the camera published, in order
    """

    def __init__(self, ears: Ears, sent: Sequence[Sent]) -> None:
        from aitable_ros.nodes.messages import CODEC

        self.ears = ears
        self.sent = tuple(sent)
        self.stamps = [item.stamp_ns for item in self.sent]
        self._sent_ns = {item.stamp_ns: item.sent_ns for item in self.sent}
        self._known: Callable[[int], bool] = self._sent_ns.__contains__
        self.events: list[FatigueEvent] = [CODEC.event_of(heard.message) for heard in ears.events]
        self.states = self._primary(ears.fatigue)
        self._emotions = {
            header_stamp_ns(message): message for message in self._primary(ears.emotion)}
        self.start_ns = self.stamps[0] if self.stamps else 0

    def _primary(self, heard: Sequence[Heard]) -> list[Any]:
        """Return one message an image, the primary person's where there is one, by stamp."""
        chosen: dict[int, Any] = {}
        for item in heard:
            stamp = header_stamp_ns(item.message)
            if self._known(stamp) and (item.message.primary or stamp not in chosen):
                chosen[stamp] = item.message
        return [chosen[stamp] for stamp in sorted(chosen)]

    @property
    def answered(self) -> int:
        """How many of the images got a ``FatigueState``."""
        return len(self.states)

    @property
    def answered_share(self) -> float:
        """Of the images sent, 0 ... 1."""
        return self.answered / len(self.sent) if self.sent else 0.0

    @property
    def face_ratio(self) -> float:
        """Share of the images in which a face was found."""
        seen = {header_stamp_ns(heard.message) for heard in self.ears.faces if heard.message.faces}
        return sum(map(self._known, seen)) / len(self.sent) if self.sent else 0.0

    def latency_ms(self, heard: Sequence[Heard]) -> NDArray[np.float64]:
        """Return the time from the sending of an image to the receipt of its first answer."""
        first: dict[int, int] = {}
        for item in heard:
            first.setdefault(header_stamp_ns(item.message), item.receive_ns)
        return np.array([
            (receive - self._sent_ns[stamp]) / 1e6 for stamp, receive in sorted(first.items())
            if self._known(stamp)], np.float64)

    def series(self) -> Series | None:
        """Return the primary person's curves."""
        states = self.states
        if not states:
            return None
        blank = np.full(len(Expression) - 1, np.nan)
        emotions = [self._emotions.get(header_stamp_ns(state)) for state in states]

        def column(read: Callable[[Any], float]) -> NDArray[np.float64]:
            return np.array([read(state) for state in states], np.float64)

        def of_emotion(name: str) -> NDArray[np.float64]:
            return np.array([
                np.nan if emotion is None else getattr(emotion, name) for emotion in emotions],
                np.float64)
        return Series(
            time_s=column(lambda state: (header_stamp_ns(state) - self.start_ns) / 1e9),
            ear=column(lambda state: (state.ear_left + state.ear_right) / 2),
            openness=column(lambda state: state.openness),
            perclos=column(lambda state: state.perclos),
            perclos_long=column(lambda state: state.perclos_long),
            level=np.array([state.level for state in states]),
            probabilities=np.array([
                blank if emotion is None or emotion.expression == Expression.UNKNOWN
                else emotion.probabilities for emotion in emotions], np.float64),
            valence=of_emotion('valence'), arousal=of_emotion('arousal'))

    def timeline_events(self) -> list[TimelineEvent]:
        """Return the events but the changes of level."""
        return [
            TimelineEvent(event.type, (event.start_ns - self.start_ns) / 1e9, event.duration_s)
            for event in self.events if event.type is not FatigueEventType.LEVEL_CHANGED]

    def stages(self) -> list[StageProvenance]:
        """Return what ran, as each node's last diagnostics told it."""
        last: dict[str, dict[str, str]] = {}
        for heard in self.ears.diagnostics:
            for status in heard.message.status:
                node = status.name.rpartition(': ')[2]
                if node in STAGES:
                    last[node] = {entry.key: entry.value for entry in status.values}
        return [
            StageProvenance(
                stage=contributes, model=last[node].get('model', ''),
                backend=last[node].get('backend', ''), precision=last[node].get('precision', ''),
                steps=[value for key, value in last[node].items() if key.startswith('attempt_')])
            for node, contributes in STAGES.items() if node in last]

    @property
    def level_max(self) -> FatigueLevel:
        """The worst level told; UNKNOWN where there was none."""
        return FatigueLevel(max((state.level for state in self.states), default=0))

    @property
    def closed_share(self) -> float:
        """Share of the images with measured eyes in which they were closed; NaN without any."""
        measured = [state for state in self.states if np.isfinite(state.openness)]
        if not measured:
            return float('nan')
        return float(np.mean([state.eyes_closed for state in measured]))

    def expression_share(self) -> dict[str, float]:
        """Return the share of each expression among the readings, commonest first."""
        names = [
            Expression(message.expression).name.lower() for message in self._emotions.values()
            if message.expression != Expression.UNKNOWN]
        return {
            name: names.count(name) / len(names)
            for name in sorted(set(names), key=names.count, reverse=True)}

    def latencies(self) -> dict[str, NDArray[np.float64]]:
        """Return the latency samples of each topic."""
        return {
            f'image to {name}': self.latency_ms(heard) for name, heard in (
                ('faces', self.ears.faces), ('fatigue', self.ears.fatigue),
                ('emotion', self.ears.emotion))}

    def summary(self, source: str) -> dict[str, Any]:
        """Return ``summary.json``: the keys of ``aitable evaluate``, and what a live run adds."""
        counts = [len(heard.message.faces) for heard in self.ears.faces]
        duration_s = (self.stamps[-1] - self.start_ns) / 1e9 if self.stamps else 0.0
        blinks = [event for event in self.events if event.type is FatigueEventType.BLINK]
        closed = self.closed_share
        return {
            'input': source,
            'frames': len(self.sent),
            'duration_s': round(duration_s, 3),
            'face_ratio': round(self.face_ratio, 4),
            'faces_per_frame': {
                'mean': round(float(np.mean(counts)), 4) if counts else 0.0,
                'max': max(counts, default=0)},
            'blinks': [self._blink(event) for event in blinks] if len(self.stamps) > 1 else [],
            'perclos': _finite(closed, 5),
            'closed_s': _finite(closed * duration_s, 3),
            'events': {
                kind.name: sum(event.type is kind for event in self.events)
                for kind in EVENTS},
            'level_max': self.level_max.name,
            'expression_share': {
                name: round(share, 4) for name, share in self.expression_share().items()},
            'backend': {
                stage.stage: {
                    'model': stage.model, 'backend': stage.backend, 'precision': stage.precision}
                for stage in self.stages()},
            'answered': self.answered,
            'answered_share': round(self.answered_share, 5),
            'latency_ms': {
                name.removeprefix('image to '): {
                    key: _finite(getattr(Percentiles.of(samples), key), 3)
                    for key in ('p50', 'p95', 'p99')}
                for name, samples in self.latencies().items()},
        }

    def _blink(self, event: FatigueEvent) -> dict[str, float]:
        span = span_of(event, self.stamps)
        start_s = (event.start_ns - self.start_ns) / 1e9
        return {
            'start_s': round(start_s, 3), 'end_s': round(start_s + event.duration_s, 3),
            'start_frame': span.start, 'end_frame': span.end}


def _finite(value: float, digits: int) -> float | None:
    """JSON has no NaN."""
    return round(value, digits) if np.isfinite(value) else None
