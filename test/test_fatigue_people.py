# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Who is who while faces come and go: a person who is found again keeps the memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.clock import SECOND_NS, Step
from aitable_ros.fatigue.eyes import EyeReading
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.people import Judgement, NOBODY_SLUMPED, People
from aitable_ros.types import FatigueEvent, FatigueEventType, FatigueLevel, FatigueReason, Validity

OPEN_EAR, SHUT_EAR = 0.31, 0.05
FPS = 20


def box(x: float = 100, side: float = 80) -> NDArray[np.float32]:
    return np.array([x, 50, x + side, 50 + side], np.float32)


class Room:
    """Feeds people on a clock of 20 images a second."""

    def __init__(self, **options: float) -> None:
        self.people = People(FatigueOptions(**options))
        self.k = 0

    def show(
        self, seconds: float, *faces: tuple[int, NDArray[np.float32]], ear: float = OPEN_EAR,
        slumped: Mapping[int, int] = NOBODY_SLUMPED,
    ) -> list[Judgement]:
        told = []
        for _ in range(round(seconds * FPS)):
            self.k += 1
            now = self.k * 1_000_000_000 // FPS
            reading = EyeReading(now, Validity.VALID, ear, ear, ear, 0.05, 0.0, 0.0, 0.0)
            assert self.people.begin(now) is Step.FORWARD
            told.append(self.people.judge(
                now, {track: reading for track, _ in faces}, dict(faces), slumped))
        return told


@pytest.mark.parametrize(('place', 'same'), [
    (box(), True), (box(150), True), (box(100, 100), True), (box(300), False),
    (box(100, 200), False)],
    ids=['same place', 'near', 'nearer to the camera', 'elsewhere', 'another size'])
def test_a_new_track_in_the_place_of_a_lost_person_continues(
    place: NDArray[np.float32], same: bool,
) -> None:
    room = Room()
    before = room.show(40, (1, box()))[-1].assessments[1]
    room.show(3)
    after = room.show(0.1, (2, place))[-1].assessments[2]
    assert after.calibrated is same
    assert (after.perclos_coverage >= before.perclos_coverage - 0.01) is same
    assert after.track_id == 2


def test_somebody_who_sleeps_on_under_a_new_track_is_told_of() -> None:
    """The tracker lost the face for two seconds and gave it another number."""
    room = Room()
    room.show(10, (1, box()))
    room.show(4, (1, box()), ear=SHUT_EAR)
    room.show(2)
    after = room.show(4, (2, box()), ear=SHUT_EAR)
    events = [event for told in after for event in told.events]
    assert FatigueEventType.SLEEP in {event.type for event in events}
    assert {event.track_id for event in events} == {2}
    assert after[-1].assessments[2].level is FatigueLevel.ASLEEP


def test_nobody_is_two_people() -> None:
    """Two come where one was lost: one continues, the other begins."""
    room = Room()
    room.show(10, (1, box()))
    room.show(2)
    now = room.show(0.1, (2, box()), (3, box(140)))[-1]
    assert now.assessments[2].calibrated
    assert not now.assessments[3].calibrated
    assert now.absent == ()


def test_who_is_still_there_is_not_taken_for_another() -> None:
    room = Room()
    room.show(10, (1, box()))
    both = room.show(0.1, (1, box()), (2, box(120)))[-1]
    assert both.assessments[1].calibrated
    assert not both.assessments[2].calibrated


def test_after_the_forget_time_everybody_begins() -> None:
    room = Room(forget_s=5.0)
    room.show(10, (1, box()))
    assert len(room.show(4.5)[-1].absent) == 1
    gone = room.show(1)[-1].absent
    assert [one.track_id for one in gone] == [0]
    assert not room.show(0.1, (2, box()))[-1].assessments[2].calibrated


def test_who_comes_back_too_late_begins() -> None:
    """No image in between: the camera stood still while the person was away."""
    room = Room(forget_s=5.0)
    room.show(10, (1, box()))
    room.k += 6 * FPS
    assert not room.show(0.1, (2, box()))[-1].assessments[2].calibrated


def test_the_usable_time_of_a_person_found_again_counts_from_zero() -> None:
    """What a sum over tracks takes in: the person's time before is that of the other track."""
    room = Room()
    room.show(20, (1, box()))
    room.show(2)
    after = room.show(5, (2, box()))[-1].assessments[2]
    assert after.calibrated
    assert after.usable_s == pytest.approx(5, abs=0.3)


def test_a_late_image_repeats_the_judgement_and_a_jump_forgets() -> None:
    room = Room()
    last = room.show(10, (1, box()))[-1]
    now = room.k * 1_000_000_000 // FPS
    assert room.people.update(now - 1_000_000, {}, {}).assessments == last.assessments
    assert room.people.update(now - 5_000_000_000, {}, {}).absent[0].track_id == 0


def test_who_is_slumped_by_the_posture_is_told_of_once_and_kept() -> None:
    """The face is hidden for three times as long as people are remembered."""
    room = Room(forget_s=10.0)
    before = room.show(10, (1, box()), (2, box(400)))[-1]
    since_ns = 9 * SECOND_NS
    told = room.show(30, (2, box(400)), slumped={1: since_ns, 7: since_ns})
    lost = [{one.track_id: one for one in now.absent}[1] for now in told]
    assert {one.reasons for one in lost} == {FatigueReason.SLUMPED}
    assert {one.level for one in lost} == {FatigueLevel.UNKNOWN}
    assert {now.assessments[2].reasons for now in told} == {before.assessments[2].reasons}
    event, = [event for now in told for event in now.events if event.track_id != 2]
    assert event == FatigueEvent(
        1, FatigueEventType.SLUMPED, since_ns, pytest.approx(1.05), FatigueLevel.UNKNOWN)
    assert room.people.absent(room.k)[0].reasons is FatigueReason.SLUMPED
    up = room.show(1, (1, box()), (2, box(400)))[-1].assessments[1]
    assert (up.reasons, up.calibrated) == (FatigueReason.NONE, True)
    again = room.show(1, (2, box(400)), slumped={1: since_ns})
    assert [event.type for now in again for event in now.events] == [FatigueEventType.SLUMPED]


def test_slumping_raises_no_level() -> None:
    told = Room().show(60, (1, box()), slumped={1: 0})
    assert {now.assessments[1].reasons for now in told} == {FatigueReason.SLUMPED}
    assert told[-1].assessments[1].level is FatigueLevel.ALERT


def test_who_rises_is_forgotten_as_anybody_else() -> None:
    room = Room(forget_s=5.0)
    room.show(5, (1, box()))
    room.show(20, slumped={1: 0})
    assert [one.track_id for one in room.show(4)[-1].absent] == [1]
    assert [one.track_id for one in room.show(2)[-1].absent] == [0]
