# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fatigue of everybody in front of the camera, and of everybody who left it lately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from aitable_ros.clock import ImageTime, Step
from aitable_ros.fatigue.eyes import EyeReading, no_face
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.person import PersonFatigue
from aitable_ros.fatigue.roster import Box, Roster
from aitable_ros.types import FatigueAssessment, FatigueEvent, Validity

NOBODY = 0
"""Track of the assessment that says that nobody is known."""

NOBODY_SLUMPED: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    The assessments of one image.

    :param assessments: of each face that was measured, by track
    :param absent: of the people known and not in the image; with nobody known, one with track 0
    :param events: that became certain with this image
    """

    assessments: dict[int, FatigueAssessment] = field(default_factory=dict)
    absent: tuple[FatigueAssessment, ...] = ()
    events: tuple[FatigueEvent, ...] = ()


class People:
    """
    Judges the readings of all people; the live monitor and the replay of readings both use it.

    :class:`Roster` keeps the memories: a lost person is remembered for ``forget_s``.

    :param options: the thresholds
    """

    def __init__(self, options: FatigueOptions) -> None:
        self._options = options
        self._roster = Roster(
            lambda track_id: PersonFatigue(track_id, self._options, self._start_ear))
        self._start_ear = 0.0
        self._slumped: Mapping[int, int] = NOBODY_SLUMPED
        self._last = Judgement()

    @property
    def time(self) -> ImageTime:
        """The time of the images."""
        return self._roster.time

    def begin(self, stamp_ns: int) -> Step:
        """Take the stamp of the next image; everybody is forgotten where the clock jumped back."""
        step = self._roster.begin(stamp_ns)
        if step is Step.JUMP:
            self.forget()
        return step

    def update(
        self, stamp_ns: int, readings: Mapping[int, EyeReading], boxes: Mapping[int, Box],
    ) -> Judgement:
        """Begin and judge one image; a late one repeats the last judgement without its events."""
        if self.begin(stamp_ns) is Step.LATE:
            return replace(self._last, events=())
        return self.judge(stamp_ns, readings, boxes)

    def judge(
        self, stamp_ns: int, readings: Mapping[int, EyeReading], boxes: Mapping[int, Box],
        slumped: Mapping[int, int] = NOBODY_SLUMPED,
    ) -> Judgement:
        """
        Judge one image that is not late.

        :param readings: of the faces measured in it, by track
        :param boxes: of all faces in it, by track; a face without a reading was not measured
        :param slumped: people who are slumped by their posture, by track: when it began, image
            time. They are not forgotten meanwhile
        """
        assessments: dict[int, FatigueAssessment] = {}
        events: list[FatigueEvent] = []
        self._roster.meet(stamp_ns, boxes, self._options.forget_s)
        if slumped or self._slumped:
            self._slumped = slumped
            for track_id, known in self._roster.known.items():
                known.memory.slump(slumped.get(track_id))
                if track_id in slumped:
                    known.seen_ns = stamp_ns
        for track_id in boxes:
            known, reading = self._roster.known[track_id], readings.get(track_id)
            if reading is None:
                continue
            if reading.validity is not Validity.NO_FACE:
                known.seen_ns = stamp_ns
            assessments[track_id], new = known.memory.update(reading)
            events += new
        absent: list[FatigueAssessment] = []
        for track_id, known in self._roster.known.items():
            if track_id not in boxes:
                assessment, new = known.memory.update(no_face(stamp_ns))
                absent.append(assessment)
                events += new
        if not boxes and not absent:
            absent.append(nobody(stamp_ns))
        self._last = Judgement(assessments, tuple(absent), tuple(events))
        return self._last

    def absent(self, stamp_ns: int) -> tuple[FatigueAssessment, ...]:
        """
        Return the assessments for a moment without an image; changes nothing.

        :return: NO_FACE for everybody known, or one with track 0
        """
        return tuple(
            known.memory.absent(stamp_ns) for known in self._roster.known.values()
        ) or (nobody(stamp_ns),)

    def pin(self, track_id: int) -> float | None:
        """
        Keep a person's baseline as it is now.

        :return: EAR of the open eyes; None where too little was seen of the person
        """
        known = self._roster.known.get(track_id)
        return known.memory.baseline.pin() if known else None

    def configure(self, options: FatigueOptions) -> None:
        """Take other thresholds; people stay known, see :meth:`PersonFatigue.configure`."""
        self._options = options
        for known in self._roster.known.values():
            known.memory.configure(options)

    def forget(self) -> None:
        """Forget everybody; with ``keep_baselines`` new people start from the last baseline."""
        self._start_ear = 0.0
        known = self._roster.known
        if self._options.keep_baselines and known:
            latest = max(known.values(), key=lambda one: one.seen_ns).memory.baseline
            if latest.learned:
                self._start_ear = latest.value
        known.clear()
        self._slumped = NOBODY_SLUMPED
        self._last = Judgement()


def nobody(stamp_ns: int) -> FatigueAssessment:
    """Return the assessment that says that nobody is known."""
    return FatigueAssessment(NOBODY, stamp_ns, Validity.NO_FACE)
