# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The posture of everybody in front of the camera, and of everybody who left it lately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.person import PersonPosture
from aitable_ros.posture_types import Body, PostureAssessment, PostureEvent


@dataclass(frozen=True, slots=True)
class PostureJudgement:
    """
    The assessments of one image.

    :param assessments: of each body in the image, by track
    :param absent: of the people known and not in the image
    :param events: that became certain with this image
    """

    assessments: dict[int, PostureAssessment] = field(default_factory=dict)
    absent: tuple[PostureAssessment, ...] = ()
    events: tuple[PostureEvent, ...] = ()


@dataclass(slots=True, eq=False)
class _Known:
    """
    A person.

    :param body_id: of the body; 0: it has none
    :param seen_ns: time of the last image with the body
    """

    memory: PersonPosture
    body_id: int
    seen_ns: int


class PosturePeople:
    """
    Judges the bodies of all people; a person who is lost is remembered for ``forget_s``.

    A memory belongs to the body (``body_id``), and goes on under another number when the body's
    track changes. A new body with the track of a lost person continues that person's memory.

    :param options: the thresholds
    """

    def __init__(self, options: PostureOptions) -> None:
        self._options = options
        self._known: list[_Known] = []

    @property
    def slumped(self) -> dict[int, int]:
        """The people who are slumped, by track, and since when, image time."""
        return {
            known.memory.track_id: known.memory.slumped_ns for known in self._known
            if known.memory.slumped_ns is not None}

    def judge(self, stamp_ns: int, bodies: Sequence[Body]) -> PostureJudgement:
        """
        Judge one image; stamps must rise.

        :param bodies: in it
        """
        self._known = [known for known in self._known
                       if stamp_ns - known.seen_ns <= self._options.forget_s * SECOND_NS]
        met = self._meet(bodies)
        assessments: dict[int, PostureAssessment] = {}
        absent: list[PostureAssessment] = []
        events: list[PostureEvent] = []
        for known, body in met:
            if body is not None:
                known.seen_ns = stamp_ns
            assessment, new = known.memory.update(stamp_ns, body)
            events += new
            if body is None:
                absent.append(assessment)
            else:
                assessments[body.track_id] = assessment
        self._known = [known for known, _ in met]
        return PostureJudgement(assessments, tuple(absent), tuple(events))

    def pin(self, track_id: int) -> float | None:
        """
        Take a person's posture of the last seconds as upright from now on.

        :return: height of the ears over the shoulders; None where too little was seen of the person
        """
        return next((known.memory.baseline.pin() for known in self._known
                     if known.memory.track_id == track_id), None)

    def configure(self, options: PostureOptions) -> None:
        """Take other thresholds; people stay known."""
        self._options = options
        for known in self._known:
            known.memory.configure(options)

    def forget(self) -> None:
        """Forget everybody."""
        self._known = []

    def _meet(self, bodies: Sequence[Body]) -> list[tuple[_Known, Body | None]]:
        """Give each body its memory: by the body's number, else by the person's."""
        left = list(self._known)
        found: dict[int, _Known] = {}
        for same in (_same_body, _same_track):
            for index, body in enumerate(bodies):
                known = next((known for known in left if same(known, body)), None)
                if index not in found and known is not None:
                    left.remove(known)
                    found[index] = known
        met: list[tuple[_Known, Body | None]] = []
        for index, body in enumerate(bodies):
            known = found.get(index) or _Known(
                PersonPosture(body.track_id, self._options), body.body_id, 0)
            known.body_id = body.body_id
            known.memory.continue_as(body.track_id)
            met.append((known, body))
        taken = {body.track_id for body in bodies}
        return met + [(known, None) for known in left if known.memory.track_id not in taken]


def _same_body(known: _Known, body: Body) -> bool:
    return known.body_id != 0 and known.body_id == body.body_id


def _same_track(known: _Known, body: Body) -> bool:
    return known.memory.track_id == body.track_id
