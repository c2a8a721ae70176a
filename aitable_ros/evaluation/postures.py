# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How people sat in a recording: the state of the primary person in each frame, and the events."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.posture_types import (
    PostureAssessment, PostureEvent, PostureEventType, PostureState, PostureUpdate
)

HOLD_S = 1.0
"""A state lasts until the next image, and at most this long: what follows is not known."""
PREFIX = 'POSTURE_'
"""Of the events in ``events.csv``: fatigue has a SLUMPED, too."""
LABELLED = tuple(state for state in PostureState if state is not PostureState.UNKNOWN)
"""The states that labels may name."""


@dataclass(frozen=True, slots=True)
class PlacedPosture:
    """
    An event of posture and its place in the recording.

    :param primary: whether it is of the primary person
    :param start_s: seconds since the first frame
    :param start_frame: nearest frame to its start
    :param end_frame: nearest frame to its end; of a change, that of its start
    """

    event: PostureEvent
    primary: bool
    start_s: float
    start_frame: int
    end_frame: int

    @property
    def name(self) -> str:
        """``POSTURE_CHANGED``, ``POSTURE_STILL``, ``POSTURE_SLUMPED``."""
        return PREFIX + self.event.type.name.removeprefix(PREFIX)

    @property
    def end_s(self) -> float:
        """Seconds since the first frame."""
        return self.start_s + lasting_s(self.event)


def lasting_s(event: PostureEvent) -> float:
    """Return how long an event lasts: a change is a moment; its duration is of the state before."""
    return 0.0 if event.type is PostureEventType.POSTURE_CHANGED else event.duration_s


class PostureMeasurements:
    """
    Collects the primary person's posture in each frame of a recording.

    A state is told when it has lasted, with the time at which it began: the frames since then are
    counted to it, as the stage itself does with the time in each state.
    """

    def __init__(self) -> None:
        self.states = array('B')
        """The :class:`PostureState` in each frame; UNKNOWN without a body."""
        self.events: list[PlacedPosture] = []
        self._lasted_s = array('d')
        """How long the state of each frame but the last is believed."""
        self.track_id = 0
        """Number of the primary person; 0 before the first one."""
        self.measured = False
        """Whether the stage ran."""

    def add(self, update: PostureUpdate | None, face: int, passed_s: float) -> None:
        """
        Add one frame.

        :param face: track of the primary face, or of the last one
        :param passed_s: time since the frame before
        """
        if self.states:
            self._lasted_s.append(min(passed_s, HOLD_S))
        self.measured = self.measured or update is not None
        found = primary_of(update, face) if update is not None else None
        if found is not None:
            self.track_id = found.track_id
        self.states.append(PostureState.UNKNOWN if found is None else found.state)

    def tell(self, event: PlacedPosture) -> None:
        """Add an event that became certain with the newest frame."""
        self.events.append(event)
        if event.primary and event.event.type is PostureEventType.POSTURE_CHANGED:
            for frame in range(event.start_frame, len(self.states)):
                self.states[frame] = event.event.state

    @property
    def time_s(self) -> NDArray[np.float64]:
        """``(8,)`` seconds in each state."""
        return np.asarray(np.bincount(
            self.states[:len(self._lasted_s)], self._lasted_s, len(PostureState)), np.float64)

    @property
    def usable_s(self) -> float:
        """Seconds in which the state is known."""
        return float(self.time_s[list(LABELLED)].sum())

    def share(self) -> dict[str, float]:
        """Return the share of each state that occurred in the time in which it is known."""
        time_s, whole = self.time_s, self.usable_s
        return {state.name: float(time_s[state]) / whole for state in LABELLED if time_s[state]}

    def of_primary(self, kind: PostureEventType) -> list[PlacedPosture]:
        """Return the primary person's events of a type."""
        return [event for event in self.events if event.primary and event.event.type is kind]

    def summary(self) -> dict[str, Any]:
        """Return ``posture`` of ``summary.json``."""
        counts = {kind.name: len(self.of_primary(kind)) for kind in PostureEventType}
        return {'share': self.share(), 'usable_s': self.usable_s,
                'changes': counts.pop(PostureEventType.POSTURE_CHANGED.name), 'events': counts}


def primary_of(update: PostureUpdate, face: int) -> PostureAssessment | None:
    """
    Return how the primary person sits; None if that person's body is not in the image.

    :param face: track of the primary face, or of the last one, which may be hidden now
    """
    tracks = [body.track_id for body in update.bodies if body.primary] or [face]
    return update.assessments.get(tracks[0])


def posture_score(
    pairs: Iterable[tuple[PostureState, PostureState]]
    | Mapping[tuple[PostureState, PostureState], int],
) -> dict[str, Any]:
    """
    Score states.

    :param pairs: (labelled, measured), or the count of each pair
    :return: ``n``, ``unknown`` (share of them), ``accuracy`` (share of the known ones that are
        right; None without any) and ``confusion``: labelled -> measured -> count
    """
    counts = +Counter(pairs)
    n = counts.total()
    unknown = sum(count for (_, read), count in counts.items() if read is PostureState.UNKNOWN)
    right = sum(count for (truth, read), count in counts.items() if truth is read)
    return {
        'n': n, 'unknown': unknown / n if n else None,
        'accuracy': right / (n - unknown) if n > unknown else None,
        'confusion': {
            truth.name: {read.name: counts[truth, read] for read in PostureState
                         if counts[truth, read]}
            for truth in sorted({truth for truth, _ in counts})}}


def commonest(states: Sequence[int]) -> PostureState:
    """Return the most frequent known state, of equals the first; UNKNOWN without any."""
    known = [state for state in states if state != PostureState.UNKNOWN]
    return PostureState(Counter(known).most_common(1)[0][0]) if known else PostureState.UNKNOWN


def confusion_counts(confusion: dict[str, dict[str, int]]) -> list[float]:
    """Return a confusion as labelled x measured counts in one row, for pooling."""
    return [float(confusion.get(truth.name, {}).get(read.name, 0))
            for truth in LABELLED for read in PostureState]


def pairs_of(counts: NDArray[np.float64]) -> Counter[tuple[PostureState, PostureState]]:
    """Return what :func:`posture_score` takes, of a row of :func:`confusion_counts`."""
    table = counts.reshape(len(LABELLED), len(PostureState))
    return Counter({
        (truth, read): int(count) for truth, row in zip(LABELLED, table, strict=True)
        for read, count in zip(PostureState, row, strict=True)})
