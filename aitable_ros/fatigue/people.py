# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Everybody in front of the camera, and everybody who left it lately: one memory each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from aitable_ros.fatigue.eyes import no_face
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.person import PersonFatigue
from aitable_ros.types import EyeReading
from aitable_ros.types import FatigueAssessment
from aitable_ros.types import FatigueEvent
from aitable_ros.types import Validity

NOBODY = 0
"""Track of the assessment that says that nobody is known."""

SAME_PLACE = 1.0
"""A face that appears within so many box sides of a person who was lost is that person: a head that
bows, turns or is covered for some seconds comes up again about there."""

SAME_SIZE = 1.6
"""Greatest ratio of the two boxes' sides."""

Box = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    What one image says about everybody.

    :param assessments: of each face that was measured, by track
    :param absent: of the people known and not in the image; with nobody known, one with track 0
    :param events: what became certain with this image
    """

    assessments: dict[int, FatigueAssessment] = field(default_factory=dict)
    absent: tuple[FatigueAssessment, ...] = ()
    events: tuple[FatigueEvent, ...] = ()


@dataclass(slots=True, eq=False)
class _Known:
    """
    A person.

    :param box: ``(4,)`` pixels, where the face was last
    :param seen_ns: time of the last image in which the mesh found the face
    """

    fatigue: PersonFatigue
    box: Box
    seen_ns: int = 0


class People:
    """
    The memories of all people, by track.

    A person who is lost keeps the memory for ``forget_s``. A new track in the place of a lost
    person continues that person's memory under the new track's number.

    :param options: the thresholds
    """

    def __init__(self, options: FatigueOptions) -> None:
        self._options = options
        self._known: dict[int, _Known] = {}
        self._start_ear = 0.0

    def judge(
        self, stamp_ns: int, readings: Mapping[int, EyeReading], boxes: Mapping[int, Box],
    ) -> Judgement:
        """
        Take in one image; stamps must rise.

        :param readings: of the faces measured in it, by track
        :param boxes: of all faces in it, by track; a face without a reading was not measured
        """
        assessments: dict[int, FatigueAssessment] = {}
        events: list[FatigueEvent] = []
        self._known = {
            track_id: known for track_id, known in self._known.items() if track_id in boxes
            or (stamp_ns - known.seen_ns) * 1e-9 <= self._options.forget_s}
        for track_id, box in boxes.items():
            known = self._known.get(track_id) or self._meet(track_id, box, boxes)
            known.box = box
            reading = readings.get(track_id)
            if reading is None:
                continue
            if reading.validity is not Validity.NO_FACE:
                known.seen_ns = stamp_ns
            assessments[track_id], told = known.fatigue.update(reading)
            events += told
        absent: list[FatigueAssessment] = []
        for track_id, known in self._known.items():
            if track_id not in boxes:
                assessment, told = known.fatigue.update(no_face(stamp_ns))
                absent.append(assessment)
                events += told
        if not boxes and not absent:
            absent.append(nobody(stamp_ns))
        return Judgement(assessments, tuple(absent), tuple(events))

    def absent(self, stamp_ns: int) -> tuple[FatigueAssessment, ...]:
        """
        Say at a moment without an image that nobody can be seen; changes nothing.

        :return: NO_FACE for everybody known, or one with track 0
        """
        return tuple(
            known.fatigue.absent(stamp_ns) for known in self._known.values()
        ) or (nobody(stamp_ns),)

    def pin(self, track_id: int) -> float | None:
        """
        Keep a person's baseline as it is now.

        :return: EAR of the open eyes; None where too little was seen of the person
        """
        known = self._known.get(track_id)
        return known.fatigue.baseline.pin() if known else None

    def configure(self, options: FatigueOptions) -> None:
        """Take other thresholds; people stay known, see :meth:`PersonFatigue.configure`."""
        self._options = options
        for known in self._known.values():
            known.fatigue.configure(options)

    def forget(self) -> None:
        """Forget everybody; with ``keep_baselines`` new people start from the last baseline."""
        self._start_ear = 0.0
        if self._options.keep_baselines and self._known:
            latest = max(self._known.values(), key=lambda known: known.seen_ns)
            if latest.fatigue.baseline.learned:
                self._start_ear = latest.fatigue.baseline.value
        self._known.clear()

    def _meet(self, track_id: int, box: Box, boxes: Mapping[int, Box]) -> _Known:
        """Find the lost person in whose place a new face appears, or begin a new memory."""
        near = [
            (distance, other) for other, known in self._known.items() if other not in boxes
            for distance in [_distance(known.box, box)] if distance <= SAME_PLACE]
        if near:
            known = self._known.pop(min(near)[1])
            known.fatigue.track_id = track_id
        else:
            known = _Known(PersonFatigue(track_id, self._options, self._start_ear), box)
        self._known[track_id] = known
        return known


def nobody(stamp_ns: int) -> FatigueAssessment:
    """Return the assessment that says that nobody is known."""
    return FatigueAssessment(NOBODY, stamp_ns, Validity.NO_FACE)


def _distance(first: Box, second: Box) -> float:
    """Return the distance of two boxes' centres in sides of the larger."""
    ax1, ay1, ax2, ay2 = first.tolist()
    bx1, by1, bx2, by2 = second.tolist()
    side, other = max(ax2 - ax1, ay2 - ay1), max(bx2 - bx1, by2 - by1)
    if not (side > 0 and side <= SAME_SIZE * other and other <= SAME_SIZE * side):
        return float('inf')
    apart = max(abs(ax1 + ax2 - bx1 - bx2), abs(ay1 + ay2 - by1 - by2)) / 2
    return float(apart / max(side, other))
