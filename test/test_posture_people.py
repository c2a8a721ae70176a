# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Posture over time, on a jointed figure: states, their time, events, and who is who."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jointed_figure import figure
import numpy as np
import pytest

from aitable_ros.clock import SECOND_NS
from aitable_ros.errors import InputError
from aitable_ros.posture.angles import measure
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.people import PostureJudgement, PosturePeople
from aitable_ros.posture_types import (
    Body, FIRST_BODY_ID, PostureAssessment, PostureEvent, PostureEventType, PostureState,
    PostureValidity, Skeleton
)

NOISE_M = 0.004
"""Of a joint: gives ear_height a standard deviation of 0.01, as people who sit still measured."""

AT_A_TABLE = {'hidden': ('HIP',), 'distance': 0.9, 'neck': 20}
"""What a camera on a table sees: no hips. An upright neck measures about 20 degrees."""

Pose = dict[str, Any]
UPRIGHT: Pose = {}
SLOUCHED: Pose = {'neck': 50}
FORWARD: Pose = {'forward': 30, 'neck': 5}
RIGHT: Pose = {'right': 15}
LEFT: Pose = {'right': -15}
HANGING: Pose = {'neck': 58}
"""The ears are lower than anybody upright has them, the head not yet at the shoulders."""
DOWN: Pose = {'forward': 45, 'neck': 60}
"""Lying on the table: the trunk leans, and the ears are below the shoulders."""
HIDDEN: Pose = {'hidden': ('HIP', 'EAR', 'EYE_OUTER')}
"""The head cannot be seen: ``jointed_figure`` places no other joint of it."""
HEAD = 'NOSE', 'EYE_INNER', 'EYE', 'MOUTH_LEFT', 'MOUTH_RIGHT'


def seated(random: np.random.Generator | None = None, **pose: Any) -> Skeleton:
    """Return somebody at the table; a head has ears and the corners of the eyes only."""
    pose = {**AT_A_TABLE, **pose}
    pose['hidden'] = (*pose['hidden'], *HEAD)
    return figure(noise=NOISE_M, random=random, **pose)


@dataclass
class Table:
    """Shows people to the judge; a pose is reached within ``move_s``."""

    hz: float = 5.0
    options: PostureOptions = field(default_factory=PostureOptions)
    seed: int | None = None
    track_id: int = 1
    body_id: int = FIRST_BODY_ID
    now_ns: int = 0
    told: list[PostureJudgement] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.people = PosturePeople(self.options)
        self.random = np.random.default_rng(self.seed) if self.seed is not None else None
        self.pose: Pose = {**AT_A_TABLE}

    def show(self, seconds: float, *, move_s: float = 1.0, **pose: Any) -> list[PostureJudgement]:
        """Sit in a pose for some seconds, the way there included."""
        wanted, before = {**AT_A_TABLE, **pose}, self.pose
        steps = round(seconds * self.hz)
        shown = []
        for step in range(steps):
            part = min(1.0, (step + 1) / self.hz / move_s) if move_s else 1.0
            now = {name: before.get(name, 0.0) + (value - before.get(name, 0.0)) * part
                   if isinstance(value, float | int) and not isinstance(value, bool)
                   and name != 'distance' else value
                   for name, value in {**dict.fromkeys(before, 0.0), **wanted}.items()}
            shown.append(self.judge(seated(self.random, **now)))
        self.pose = wanted
        return shown

    def judge(self, *skeletons: Skeleton) -> PostureJudgement:
        """Show one image."""
        self.now_ns += round(SECOND_NS / self.hz)
        told = self.people.judge(self.now_ns, [
            Body(self.track_id + number, skeleton, has_face=True, body_id=self.body_id + number)
            for number, skeleton in enumerate(skeletons)])
        self.told.append(told)
        return told

    def leave(self, seconds: float) -> list[PostureJudgement]:
        """Show an empty table."""
        return [self.judge() for _ in range(round(seconds * self.hz))]

    @property
    def last(self) -> PostureAssessment:
        return self.told[-1].assessments[self.track_id]

    @property
    def events(self) -> list[PostureEvent]:
        return [event for told in self.told for event in told.events]


def kinds(events: Iterable[PostureEvent]) -> list[str]:
    return [event.type.name for event in events]


RATES = [2.0, 5.0, 15.0]


@pytest.mark.parametrize('hz', RATES)
@pytest.mark.parametrize(('pose', 'state'), [
    (UPRIGHT, PostureState.UPRIGHT), (SLOUCHED, PostureState.SLOUCHED),
    (FORWARD, PostureState.LEANING_FORWARD), (RIGHT, PostureState.LEANING_RIGHT),
    (LEFT, PostureState.LEANING_LEFT),
    (DOWN, PostureState.HEAD_DOWN),
    ({'hidden': (), 'forward': 25}, PostureState.LEANING_FORWARD),
    ({'hidden': (), 'forward': -20}, PostureState.LEANING_BACK),
    ({'hidden': (), 'right': 14}, PostureState.LEANING_RIGHT),
    ({'distance': 0.6}, PostureState.UPRIGHT), ({'distance': 1.3}, PostureState.UPRIGHT),
    ({'facing': 40}, PostureState.UPRIGHT),
], ids=['upright', 'slouched', 'forward', 'right', 'left', 'head down', 'hips forward',
        'hips back', 'hips right', 'chair nearer', 'chair farther', 'turned'])
def test_a_posture_is_told_at_any_rate(pose: Pose, state: PostureState, hz: float) -> None:
    table = Table(hz=hz, seed=1)
    table.show(10, hidden=pose.get('hidden', AT_A_TABLE['hidden']))
    assert table.last.state is PostureState.UPRIGHT
    assert table.last.validity is PostureValidity.VALID
    told = table.show(10, **pose)
    assert {one.assessments[1].state for one in told[round(5 * hz):]} == {state}
    table.show(6)
    assert table.last.state is PostureState.UPRIGHT
    changes = [] if state is PostureState.UPRIGHT else ['POSTURE_CHANGED'] * 2
    slumps = ['SLUMPED'] if state is PostureState.HEAD_DOWN else []
    assert kinds(table.events) == changes[:1] + slumps + changes[1:]


@pytest.mark.parametrize('facing', [35, -60])
def test_without_depth_a_turn_is_seen_by_the_narrow_shoulders(facing: float) -> None:
    """And not learned as upright: back again, nobody has sunk."""
    table = Table()
    for angle, seconds in ((0, 10), (facing, 60), (0, 10)):
        for _ in range(seconds * 5):
            seen = seated(facing=angle, depth=False)
            seen.points[:, 2] = 0
            table.judge(seen)
    assert {told.assessments[1].state for told in table.told[40:]} == {PostureState.UPRIGHT}
    assert table.last.height_drop == pytest.approx(0, abs=0.01)


def test_a_change_tells_when_it_began_and_how_long_the_state_before_lasted() -> None:
    table = Table()
    table.show(30)
    table.show(20, move_s=0, **SLOUCHED)
    event, = table.events
    assert (event.type, event.state, event.previous_state) == (
        PostureEventType.POSTURE_CHANGED, PostureState.SLOUCHED, PostureState.UPRIGHT)
    assert event.start_ns == pytest.approx(30.2 * SECOND_NS, abs=0.5 * SECOND_NS)
    assert event.duration_s == pytest.approx(27, abs=0.8)  # known after three seconds
    assert table.last.state_s == pytest.approx(20, abs=0.8)
    assert table.last.state_time_s[PostureState.SLOUCHED] == pytest.approx(20, abs=0.8)
    assert table.last.state_time_s[PostureState.UNKNOWN] == pytest.approx(3, abs=0.7)


def test_a_short_movement_changes_nothing() -> None:
    table = Table()
    table.show(20)
    table.show(1.5, **SLOUCHED)
    table.show(10)
    assert table.events == []
    assert {told.assessments[1].state for told in table.told[40:]} == {PostureState.UPRIGHT}


def test_near_a_threshold_the_state_rests() -> None:
    """Between the figure that a state is left at and the one that it is entered with."""
    table = Table(seed=2)
    table.show(20)
    table.show(6, right=8.5)
    assert table.last.state is PostureState.UPRIGHT
    table.show(10, right=12)
    table.show(20, right=8.5)
    assert table.last.state is PostureState.LEANING_RIGHT
    table.show(10, right=5)
    assert table.last.state is PostureState.UPRIGHT


def test_until_upright_is_known_nothing_is_said_but_that_the_head_is_down() -> None:
    table = Table()
    told = table.show(2.5, **SLOUCHED)
    assert {one.assessments[1].state for one in told} == {PostureState.UNKNOWN}
    assert told[-1].assessments[1].validity is PostureValidity.WARMING_UP
    assert math.isnan(told[-1].assessments[1].height_drop)
    assert not told[-1].assessments[1].calibrated
    table.show(10, **DOWN)
    assert table.last.state is PostureState.HEAD_DOWN


def test_who_sits_sunken_from_the_start_is_told_so_once_seen_upright() -> None:
    """A head that hangs is not learned as upright."""
    table = Table()
    table.show(30, move_s=0, **HANGING)
    assert table.last.validity is PostureValidity.WARMING_UP
    table.show(20)
    assert table.last.state is PostureState.UPRIGHT
    table.show(10, **HANGING)
    assert table.last.state is PostureState.SLOUCHED


def test_upright_is_remembered_through_minutes_of_slouching() -> None:
    table = Table(hz=2.0)
    table.show(60)
    table.show(400, **SLOUCHED)
    assert table.last.state is PostureState.SLOUCHED
    upright, slouched = measure(seated()).ear_height, measure(seated(**SLOUCHED)).ear_height
    assert table.last.height_drop == pytest.approx(1 - slouched / upright, abs=0.03)


def test_calibrate_takes_the_present_posture_as_upright() -> None:
    table = Table()
    table.show(30)
    table.show(30, **SLOUCHED)
    assert table.last.state is PostureState.SLOUCHED
    assert table.people.pin(1) == pytest.approx(table.last.ear_height, abs=0.01)
    table.show(60, **SLOUCHED)
    assert table.last.state is PostureState.UPRIGHT
    assert table.last.height_drop == pytest.approx(0, abs=0.03)


def test_who_was_hardly_seen_cannot_be_calibrated() -> None:
    table = Table()
    table.show(2)
    assert table.people.pin(1) is None
    assert table.people.pin(7) is None


def test_a_camera_that_looks_up_is_part_of_upright() -> None:
    """The whole room leans back by 15 degrees: leans are told against the person's own."""
    table = Table(seed=3)
    tilted: Pose = {'hidden': (), 'forward': -15}
    table.show(30, **tilted)
    assert table.last.state is PostureState.UPRIGHT
    table.show(20, hidden=(), forward=10)
    assert table.last.state is PostureState.LEANING_FORWARD


@pytest.mark.parametrize(('hidden', 'validity'), [
    (('HIP', 'SHOULDER'), PostureValidity.PARTIAL), (('HIP', 'EAR'), PostureValidity.PARTIAL),
    (('HIP', 'WRIST'), PostureValidity.VALID)])
def test_what_is_hidden_is_not_known(
    hidden: Sequence[str], validity: PostureValidity,
) -> None:
    table = Table()
    table.show(20)
    table.show(5, hidden=hidden)
    assert table.last.validity is validity
    state = PostureState.UPRIGHT if validity is PostureValidity.VALID else PostureState.UNKNOWN
    assert table.last.state is state
    assert math.isnan(table.last.height_drop) is (validity is PostureValidity.PARTIAL)


def test_dropouts_do_not_change_the_state_and_count_as_unknown() -> None:
    table = Table(seed=4)
    table.show(20)
    for _ in range(20):
        table.show(0.8)
        table.leave(0.6)
    table.show(1)
    assert {told.assessments[1].state for told in table.told[45:] if told.assessments} == {
        PostureState.UPRIGHT}
    unknown = table.last.state_time_s[PostureState.UNKNOWN]
    assert unknown == pytest.approx(3 + 20 * 0.6, abs=1)
    assert table.events == []


def test_who_leaves_is_absent_and_then_forgotten() -> None:
    table = Table()
    table.show(20)
    away = table.leave(9)
    assert [one.validity for one in away[-1].absent] == [PostureValidity.NO_BODY]
    assert away[-1].absent[0].state is PostureState.UNKNOWN
    assert away[0].absent[0].calibrated
    table.show(0.2)
    assert table.last.calibrated
    table.leave(11)
    assert table.told[-1].absent == ()
    table.show(0.2)
    assert not table.last.calibrated


def test_a_memory_follows_the_body_to_another_number() -> None:
    """The body was read before its face was found, and the face comes back as another track."""
    table = Table(track_id=FIRST_BODY_ID)
    table.show(20)
    for track_id in (1, 7):
        table.track_id = track_id
        told = table.show(0.2)[-1]
        assert list(told.assessments) == [track_id]
        assert told.absent == ()
        assert table.last.state is PostureState.UPRIGHT
        assert table.last.track_id == track_id
    table.body_id += 5  # lost and found: the face's number is what is left
    table.show(0.2)
    assert table.last.state is PostureState.UPRIGHT


def test_two_people_are_judged_apart() -> None:
    table = Table()
    for _ in range(150):
        table.judge(seated(), seated(right=12))
    for _ in range(75):
        table.judge(seated(**DOWN), seated(right=12))
    both = table.told[-1].assessments
    assert both[1].state is PostureState.HEAD_DOWN
    assert both[2].state is PostureState.UPRIGHT
    assert {event.track_id for event in table.events} == {1}
    assert set(table.people.slumped) == {1}


def test_a_hand_that_stays_at_the_head_supports_it() -> None:
    table = Table()
    table.show(10)
    assert not table.last.head_supported
    table.show(0.6, hand_at_head=True)
    assert not table.last.head_supported
    table.show(2, hand_at_head=True)
    assert table.last.head_supported
    table.show(3, hand_at_head=True, hidden=('HIP', 'WRIST'))
    assert not table.last.head_supported


def test_a_head_that_sinks_to_the_table_is_a_slump_once() -> None:
    table = Table()
    table.show(20)
    told = table.show(60, **DOWN)
    events = [(one.type.name, one.state.name, one.previous_state.name) for one in table.events]
    assert events == [('POSTURE_CHANGED', 'HEAD_DOWN', 'UPRIGHT'),
                      ('SLUMPED', 'HEAD_DOWN', 'UPRIGHT')]
    slump = table.events[1]
    assert slump.duration_s == pytest.approx(5, abs=0.21)
    assert slump.start_ns == table.events[0].start_ns
    assert table.people.slumped == {1: slump.start_ns}
    assert told[round(4 * table.hz)].events == ()
    table.show(5)
    assert table.people.slumped == {}
    table.show(20, **DOWN)
    assert kinds(table.events).count('SLUMPED') == 2


def test_a_wrong_reading_on_the_way_does_not_hide_a_slump() -> None:
    table = Table()
    table.show(20)
    table.show(3, **DOWN)
    table.judge(seated())
    table.show(20, move_s=0, **DOWN)
    assert kinds(table.events) == ['POSTURE_CHANGED', 'SLUMPED']


def test_somebody_just_come_slumps_as_well() -> None:
    """Seen up for two and a half seconds: the own upright posture is not known yet."""
    table = Table()
    table.show(2.5)
    table.show(20, **DOWN)
    assert kinds(table.events) == ['SLUMPED']


def test_who_arrives_with_the_head_down_has_not_slumped() -> None:
    table = Table()
    table.show(60, move_s=0, **DOWN)
    assert table.last.state is PostureState.HEAD_DOWN
    assert table.events == []


def test_a_head_that_sinks_out_of_sight_is_down() -> None:
    table = Table()
    table.show(20)
    table.show(1.4, move_s=2.0, **DOWN)
    table.show(20, hidden=HIDDEN['hidden'], **DOWN)
    assert table.last.state is PostureState.HEAD_DOWN
    assert table.last.validity is PostureValidity.PARTIAL
    assert kinds(table.events) == ['POSTURE_CHANGED', 'SLUMPED']


def away(table: Table) -> None:
    table.leave(8)


def sidelong(table: Table) -> None:
    """Bend to a side, and the head leaves the image."""
    table.show(1, right=50)
    table.show(10, right=50, **HIDDEN)


def covered(table: Table) -> None:
    table.show(10, **HIDDEN)


def looking_down(table: Table) -> None:
    table.show(12, **HANGING)


def hidden_while_looking_down(table: Table) -> None:
    """Look down a little, and lift something before the face."""
    table.show(5, **SLOUCHED)
    table.show(10, hidden=HIDDEN['hidden'], **SLOUCHED)


def picking_up(table: Table) -> None:
    table.show(3, **DOWN)
    table.show(8)


def stands_up(table: Table) -> None:
    """The head leaves the image at the top; the shoulders stay."""
    table.show(0.5, distance=0.7)
    table.show(10, **HIDDEN)


def turned_away(table: Table) -> None:
    table.show(10, facing=180, hidden=('HIP', 'EYE_OUTER'))
    table.show(10, facing=90)


@pytest.mark.parametrize('act', [
    away, sidelong, covered, looking_down, hidden_while_looking_down, picking_up, stands_up,
    turned_away], ids=lambda act: act.__name__)
@pytest.mark.parametrize('hz', RATES)
def test_no_slump_without_a_head_that_is_seen_to_sink(
    act: Callable[[Table], None], hz: float,
) -> None:
    table = Table(hz=hz, seed=5)
    table.show(8)
    act(table)
    assert 'SLUMPED' not in kinds(table.events)
    assert not any(one.state is PostureState.HEAD_DOWN for told in table.told[-round(5 * hz):]
                   for one in told.assessments.values())


def test_shoulders_that_rise_to_the_ears_are_no_slump() -> None:
    """The head stays where it is in the image."""
    table = Table()
    table.show(20)
    up = seated()
    points = up.points.copy()
    points[[11, 12], 1] -= 80
    for _ in range(50):
        table.judge(Skeleton(points, up.visibility, up.world, 1.0))
    assert 'SLUMPED' not in kinds(table.events)


def test_still_is_told_once_until_the_next_movement() -> None:
    table = Table(hz=2.0, options=PostureOptions(still_s=60.0), seed=6)
    table.show(100)
    event, = table.events
    assert event.type is PostureEventType.STILL
    assert event.duration_s == pytest.approx(60, abs=1)
    assert event.start_ns < 3 * SECOND_NS
    table.show(10, right=12)
    table.show(70)
    assert kinds(table.events).count('STILL') == 2


def test_time_that_is_not_seen_is_not_still() -> None:
    table = Table(hz=2.0, options=PostureOptions(still_s=60.0))
    table.show(40)
    for _ in range(3):
        table.leave(8)
        table.show(1.5)
    assert table.events == []
    table.show(25)
    assert kinds(table.events) == ['STILL']


def test_a_person_who_shifts_is_not_still() -> None:
    table = Table(hz=2.0, options=PostureOptions(still_s=60.0))
    for _ in range(6):
        table.show(25)
        table.show(25, right=12)
    assert 'STILL' not in kinds(table.events)


def test_other_thresholds_are_taken_while_people_stay_known() -> None:
    table = Table()
    table.show(20)
    table.people.configure(PostureOptions(lean_side=0.5))
    table.show(20, **RIGHT)
    assert table.last.state is PostureState.UPRIGHT
    assert table.last.calibrated


def test_forget_begins_anew() -> None:
    table = Table()
    table.show(20)
    table.people.forget()
    table.show(1)
    assert not table.last.calibrated


@pytest.mark.parametrize('values', [
    {'interval_s': 2.0}, {'dwell_s': 6.0}, {'lean_drop': 0.3},
    {'head_down_height': 0.4, 'baseline_floor': 0.3},
    {'baseline_warm_up_s': 20.0, 'baseline_window_s': 10.0}])
def test_thresholds_that_contradict_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match='must be at most'):
        PostureOptions(**values)  # type: ignore[arg-type]


POSES = st.sampled_from([
    UPRIGHT, SLOUCHED, FORWARD, RIGHT, LEFT, HANGING, DOWN, HIDDEN, {'hidden': ('SHOULDER',)},
    None])
SCRIPTS = st.lists(st.tuples(POSES, st.floats(0.1, 8.0)), min_size=1, max_size=6)


def play(script: list[tuple[Pose | None, float]], hz: float, **values: float) -> Table:
    table = Table(hz=hz, options=PostureOptions(forget_s=600.0, **values), seed=7)  # type: ignore[arg-type]
    table.show(8)
    for pose, seconds in script:
        if pose is None:
            table.leave(seconds)
        else:
            table.show(seconds, **pose)
    table.show(0.5)
    return table


@settings(max_examples=30, deadline=None)
@given(SCRIPTS, st.sampled_from([2.0, 5.0, 10.0]), st.floats(0.5, 4.0))
def test_states_change_after_the_dwell_time_and_their_time_adds_up(
    script: list[tuple[Pose | None, float]], hz: float, dwell_s: float,
) -> None:
    table = play(script, hz, dwell_s=dwell_s)
    shown = [(told.assessments.get(1) or told.absent[0]) for told in table.told]
    changed_ns = 0
    for before, after in pairwise(shown):
        if after.state is not before.state:
            if after.state is not PostureState.UNKNOWN:
                assert after.state_s >= dwell_s - 1e-9
                assert after.stamp_ns - changed_ns >= dwell_s * SECOND_NS
            changed_ns = after.stamp_ns
        assert after.state_s >= 0
        observed_s = (after.stamp_ns - shown[0].stamp_ns) / SECOND_NS
        assert sum(after.state_time_s) == pytest.approx(observed_s)
        assert min(after.state_time_s) >= -1e-9
    for event in table.events:
        assert 0 <= event.start_ns <= table.now_ns
        assert event.duration_s >= 0
        if event.type is PostureEventType.POSTURE_CHANGED:
            assert event.state is not event.previous_state
            assert PostureState.UNKNOWN not in (event.state, event.previous_state)


@settings(max_examples=8, deadline=None)
@given(SCRIPTS, st.sampled_from([2.0, 5.0]))
def test_the_same_readings_give_the_same_answer(
    script: list[tuple[Pose | None, float]], hz: float,
) -> None:
    first, second = play(script, hz), play(script, hz)
    assert repr(first.told) == repr(second.told)
