# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fatigue logic on scripted readings: what must come out, whatever the camera does to time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
import math
import sys
import time

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from aitable_ros.errors import InputError
from aitable_ros.fatigue.eyes import EyeReading
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.person import PersonFatigue
from aitable_ros.types import (
    FatigueAssessment, FatigueEvent, FatigueEventType, FatigueLevel, FatigueReason, Validity
)

START_NS = 1_700_000_000_000_000_000
OPEN_EAR = 0.31
SHUT_EAR = 0.05
EVENT = FatigueEventType
Closures = list[tuple[float, float]]


def ear_at(t: float, closures: Closures, down_s: float = 0.1, up_s: float = 0.15) -> float:
    """EAR with the lids half way at the start and the end of each closure."""
    shut = 0.0
    for start, end in closures:
        shut = max(shut, min(
            1.0, max(0.0, 0.5 + (t - start) / down_s), max(0.0, 0.5 + (end - t) / up_s)))
    return OPEN_EAR + (SHUT_EAR - OPEN_EAR) * shut


def readings(
    seconds: float, closures: Closures = (), fps: float = 30.0,
    pitch: Callable[[float], float] = lambda t: 0.0,
    mar: Callable[[float], float] = lambda t: 0.05,
    ear: Callable[[float], float] | None = None, start_s: float = 0.0,
) -> list[EyeReading]:
    out = []
    for k in range(round(seconds * fps)):
        t = start_s + k / fps
        value = ear(t) if ear else ear_at(t, closures)
        out.append(EyeReading(
            START_NS + round(t * 1e9), Validity.VALID, value, value, value, mar(t), 0.0, pitch(t),
            0.0))
    return out


def run(
    stream: Iterable[EyeReading], person: PersonFatigue | None = None, **options: object,
) -> tuple[list[FatigueAssessment], list[FatigueEvent]]:
    person = person or PersonFatigue(1, FatigueOptions(**options))
    assessments, events = [], []
    for reading in stream:
        assessment, told = person.update(reading)
        assessments.append(assessment)
        events += told
    return assessments, events


def kinds(events: Iterable[FatigueEvent]) -> list[str]:
    return [event.type.name for event in events if event.type is not EVENT.LEVEL_CHANGED]


def start_s(event: FatigueEvent) -> float:
    return (event.start_ns - START_NS) * 1e-9


# --- closures -------------------------------------------------------------------------------------

@pytest.mark.parametrize('fps', [7, 10, 15, 24, 30, 60, 120])
@pytest.mark.parametrize(('lasts', 'kind'), [
    (0.8, 'LONG_CLOSURE'), (1.3, 'LONG_CLOSURE'), (2.0, 'MICROSLEEP'), (2.7, 'MICROSLEEP')])
def test_a_closure_is_told_once_as_what_it_is(lasts: float, kind: str, fps: float) -> None:
    _, events = run(readings(12, [(6.03, 6.03 + lasts)], fps))
    assert kinds(events) == [kind]
    [event] = [event for event in events if event.type is not EVENT.LEVEL_CHANGED]
    assert start_s(event) == pytest.approx(6.03, abs=0.1)
    assert event.duration_s == pytest.approx(lasts, abs=0.1)


def test_sleep_is_told_while_it_lasts_and_only_once() -> None:
    assessments, events = run(readings(20, [(6, 16)]))
    assert kinds(events) == ['SLEEP']
    told = next(a for a in assessments if a.level is FatigueLevel.ASLEEP)
    assert (told.stamp_ns - START_NS) * 1e-9 == pytest.approx(9.0, abs=0.15)
    assert told.closure_s >= 3.0
    assert told.reasons & FatigueReason.SLEEP
    assert told.reasons & FatigueReason.MICROSLEEP


def test_a_microsleep_raises_the_level_at_once_even_before_the_window_is_full() -> None:
    assessments, _ = run(readings(9, [(6, 8)]))
    severe = [a for a in assessments if a.level is FatigueLevel.SEVERE]
    assert (severe[0].stamp_ns - START_NS) * 1e-9 == pytest.approx(7.5, abs=0.1)
    assert severe[0].validity is Validity.WARMING_UP


@pytest.mark.parametrize('fps', [15, 30, 60])
def test_blinks_are_found_where_they_were(fps: float) -> None:
    at = [3.0, 5.5, 8.21, 11.7, 14.0, 14.6]
    _, events = run(readings(18, [(t, t + 0.16) for t in at], fps))
    blinks = [event for event in events if event.type is EVENT.BLINK]
    assert [start_s(blink) for blink in blinks] == pytest.approx(at, abs=0.1)
    assert kinds(events) == ['BLINK'] * len(at)


def test_a_blink_that_does_not_close_the_eyes_counts() -> None:
    at = [4.0, 7.0]
    _, events = run(readings(
        10, ear=lambda t: OPEN_EAR * (0.65 if any(0 <= t - b < 0.12 for b in at) else 1.0)))
    assert kinds(events) == ['BLINK', 'BLINK']


def test_a_blink_in_a_single_image_counts() -> None:
    stream = readings(10, fps=15)
    k = 60
    stream[k] = EyeReading(stream[k].stamp_ns, Validity.VALID, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0, 0.0)
    assert kinds(run(stream)[1]) == ['BLINK']


def test_lids_lowered_for_a_while_are_no_blink() -> None:
    _, events = run(readings(10, ear=lambda t: 0.18 if 5 < t < 5.45 else OPEN_EAR))
    assert kinds(events) == []


@pytest.mark.parametrize('fps', [10.0, 15.0, 30.0, 60.0])
def test_noise_is_no_blink(fps: float) -> None:
    """Noise of a fifteenth of the open eye, at any frame rate."""
    rng = np.random.default_rng(1)
    _, events = run(readings(60, fps=fps, ear=lambda t: OPEN_EAR + float(rng.normal(0, 0.02))))
    assert kinds(events) == []


@pytest.mark.parametrize(('fps', 'depth'), [
    (20.0, 0.2), (30.0, 0.2), (30.0, 0.25), (60.0, 0.2), (60.0, 0.25)])
def test_a_gaze_shift_is_no_blink_at_any_frame_rate(fps: float, depth: float) -> None:
    """A faster camera changes less from image to image and must not see more blinks for that."""
    _, events = run(readings(12, fps=fps, ear=lambda t: OPEN_EAR * (
        1 - depth * max(0.0, 1 - abs(t - 6) / 0.15))))
    assert kinds(events) == []


@pytest.mark.parametrize('fps', [10.0, 15.0, 20.0, 30.0, 60.0])
def test_a_blink_counts_at_any_frame_rate(fps: float) -> None:
    """Down in 80 ms and up in 120 ms, blurred over an exposure as long as the frame."""
    def lids(t: float) -> float:
        return max(0.0, min((t + 0.08) / 0.08, (0.12 - t) / 0.12, 1.0))

    def ear(t: float) -> float:
        seen = np.mean([
            lids((t + part / fps) % 4 - 2.013) for part in np.linspace(-0.5, 0.5, 21)])
        return OPEN_EAR + (SHUT_EAR - OPEN_EAR) * float(seen)
    _, events = run(readings(24, fps=fps, ear=ear))
    assert kinds(events) == ['BLINK'] * 6


def test_shut_eyes_do_not_blink() -> None:
    """The mesh's noise on shut eyes is large against their small EAR."""
    _, events = run(readings(30, [(6, 29)], ear=lambda t: OPEN_EAR if t < 6 else (
        0.03 if int(t * 30) % 40 < 4 else 0.07)))
    assert 'BLINK' not in kinds(events)


def test_an_eye_that_only_falls_is_no_blink() -> None:
    """The gaze falls at once, and rises a little: no shoulder after it is as high as before."""
    _, events = run(readings(12, ear=lambda t: OPEN_EAR if t < 6 else OPEN_EAR * (
        0.55 if t < 6.15 else 0.68)))
    assert kinds(events) == []


def test_a_second_image_dropped_in_a_row_does_not_split_a_closure() -> None:
    stream = readings(14, [(6, 8)], fps=10)
    del stream[62:64]
    assessments, events = run(stream)
    assert kinds(events) == ['MICROSLEEP']
    assert assessments[-1].perclos_coverage == pytest.approx((14 - 0.3) / 60, abs=0.01)


def test_a_level_is_told_again_only_when_it_is_another() -> None:
    stream = [
        EyeReading(r.stamp_ns, Validity.NO_FACE) if r.stamp_ns // 500_000_000 % 5 == 0 else r
        for r in readings(60)]
    _, events = run(stream)
    assert [e.level for e in events if e.type is EVENT.LEVEL_CHANGED] == [FatigueLevel.ALERT]


def test_a_blink_while_the_head_nods_counts_for_perclos() -> None:
    """The head dips with the lids and is back when they are: speech, not a look down."""
    blinks = [(t, t + 0.2) for t in range(4, 58, 2)]

    def pitch(t: float) -> float:
        return 0.12 * max(0.0, 1 - abs((t - 3.9) % 2 - 0.2) / 0.2) if t > 3.9 else 0.0
    stream = readings(60, blinks, pitch=pitch)
    still = run(readings(60, blinks))[0][-1]
    assessment = run(stream)[0][-1]
    assert assessment.perclos == pytest.approx(still.perclos, abs=0.01)
    assert assessment.perclos_p80 == pytest.approx(still.perclos_p80, abs=0.01)
    assert run(stream, exclude_blinks=True)[0][-1].perclos == 0.0


# --- looking down ---------------------------------------------------------------------------------

def ramp(t: float, start: float, lasts: float, to: float) -> float:
    return to * min(1.0, max(0.0, (t - start) / lasts))


def test_lids_that_fall_with_the_head_are_a_look_down() -> None:
    assessments, events = run(readings(
        65, [(6, 30)], pitch=lambda t: ramp(t, 5.95, 0.6, 0.25)))
    assert not {'MICROSLEEP', 'SLEEP', 'LONG_CLOSURE'} & set(kinds(events))
    assert max(a.level for a in assessments if a.level is not FatigueLevel.UNKNOWN) \
        is FatigueLevel.ALERT
    looking = [a for a in assessments if 7e9 < a.stamp_ns - START_NS < 29e9]
    assert {a.validity for a in looking} == {Validity.POSE_OUT_OF_RANGE}
    assert not any(a.eyes_closed for a in looking)
    assert assessments[55 * 30].perclos_coverage == pytest.approx((55 - 24) / 60, abs=0.02)


def test_a_look_up_in_between_does_not_make_the_rest_a_closure() -> None:
    _, events = run(readings(
        20, [(6, 8), (8.2, 12)], pitch=lambda t: ramp(t, 5.95, 0.4, 0.15)))
    assert set(kinds(events)) <= {'BLINK'}


@pytest.mark.parametrize('first_s', [1.0, 1.8])
def test_low_lids_of_somebody_just_come_who_bows_are_not_closed(first_s: float) -> None:
    """Open for a moment, then down with the head: over a phone."""
    assessments, events = run(readings(40, [(first_s, 50)], pitch=lambda t: 0.2))
    assert kinds(events) == []
    assert assessments[-1].perclos_coverage < 0.05
    assert assessments[-1].level is FatigueLevel.UNKNOWN


@pytest.mark.parametrize(('open_s', 'shut_s', 'kind'), [
    (2.0, 2.0, 'MICROSLEEP'), (1.0, 2.0, 'MICROSLEEP'), (1.0, 1.0, 'LONG_CLOSURE')])
def test_somebody_who_keeps_dozing_off_from_the_start_is_told_of(
    open_s: float, shut_s: float, kind: str,
) -> None:
    """No two seconds of open eyes in a row, and still somebody's own open eyes."""
    both = open_s + shut_s
    assessments, events = run(readings(
        60, [(k * both + open_s, (k + 1) * both) for k in range(60)]))
    assert set(kinds(events)) == {kind}
    assert len(kinds(events)) >= 60 / both - 4
    assert assessments[-1].perclos == pytest.approx(shut_s / both, abs=0.05)
    assert assessments[-1].level is FatigueLevel.SEVERE


@pytest.mark.parametrize('before_s', [0.0, 1.4])
def test_somebody_who_comes_asleep_is_told_of(before_s: float) -> None:
    """Both eyes shut and the head level: after 2 s, from when they shut, without a baseline."""
    assessments, events = run(readings(12, [(before_s, before_s + 7.6)] if before_s else [
        (-1, 7.6)]))
    [sleep] = [event for event in events if event.type is EVENT.SLEEP]
    assert start_s(sleep) == pytest.approx(before_s, abs=0.1)
    certain = next(a for a in assessments if a.eyes_closed and a.closure_s >= 1.5)
    assert (certain.stamp_ns - START_NS) * 1e-9 <= before_s + 2.1
    assert not certain.calibrated
    assert certain.level is FatigueLevel.SEVERE
    assert assessments[round(30 * (before_s + 4))].level is FatigueLevel.ASLEEP
    assert assessments[-1].closed_s == pytest.approx(7.6, abs=0.2)


@pytest.mark.parametrize('ear', [0.09, 0.13])
def test_narrow_eyes_of_somebody_just_come_are_not_closed(ear: float) -> None:
    assessments, events = run(readings(60, ear=lambda t: ear))
    assert not {'MICROSLEEP', 'SLEEP', 'LONG_CLOSURE'} & set(kinds(events))
    assert {a.level for a in assessments} == {FatigueLevel.UNKNOWN}


def test_glances_up_do_not_add_up_to_a_baseline() -> None:
    glances = [(t + 0.6, t + 4.0) for t in range(0, 60, 4)]
    assessments, events = run(readings(60, glances, pitch=lambda t: 0.2))
    assert not assessments[-1].calibrated
    assert not {'MICROSLEEP', 'SLEEP', 'LONG_CLOSURE'} & set(kinds(events))


@pytest.mark.parametrize('shut', ['left', 'right'])
def test_one_eye_is_no_closure(shut: str) -> None:
    """A wink, a hand over an eye, glare on a lens."""
    stream = [
        r if not 6e9 < r.stamp_ns - START_NS < 10e9 else EyeReading(
            r.stamp_ns, Validity.VALID, SHUT_EAR if shut == 'left' else OPEN_EAR,
            SHUT_EAR if shut == 'right' else OPEN_EAR, (SHUT_EAR + OPEN_EAR) / 2, 0.05, 0.0, 0.0,
            0.0)
        for r in readings(60)]
    assessments, events = run(stream)
    assert not {'MICROSLEEP', 'SLEEP', 'LONG_CLOSURE'} & set(kinds(events))
    assert assessments[-1].perclos == 0.0


def test_narrowed_lids_are_no_closure() -> None:
    """Openness 0.27 after a blink that closed the eyes, as in laughter."""
    narrow = OPEN_EAR * (0.15 + 0.85 * 0.27)
    assessments, events = run(readings(
        60, ear=lambda t: SHUT_EAR if 6 < t < 6.15 else narrow if 6 < t < 9 else OPEN_EAR))
    assert not {'MICROSLEEP', 'SLEEP', 'LONG_CLOSURE'} & set(kinds(events))
    assert max(a.level for a in assessments if a.level is not FatigueLevel.UNKNOWN) \
        is FatigueLevel.ALERT


def test_restless_lids_need_a_deeper_blink() -> None:
    def ear(t: float, restless: float) -> float:
        """Lids that tremble, with a dip of two fifths and a deep one."""
        dip = 0.4 if 6 < t < 6.15 else 0.85 if 9 < t < 9.15 else 0.0
        return OPEN_EAR * (1.0 - dip + restless * math.sin(40 * t))
    [blink] = [e for e in run(readings(12, ear=lambda t: ear(t, 0.08)))[1]
               if e.type is EVENT.BLINK]
    assert start_s(blink) == pytest.approx(9, abs=0.1)
    assert kinds(run(readings(12, ear=lambda t: ear(t, 0.0)))[1]) == ['BLINK', 'BLINK']


def test_textbook_perclos_counts_what_is_below_a_fifth() -> None:
    half = OPEN_EAR * (0.15 + 0.85 * 0.24)
    assessments, _ = run(readings(
        60, ear=lambda t: SHUT_EAR if t % 10 > 9 else half if t % 10 > 8.9 else OPEN_EAR))
    assert assessments[-1].perclos_p80 == pytest.approx(0.1, abs=0.01)
    assert assessments[-1].perclos > assessments[-1].perclos_p80
    assert assessments[-1].usable_s == pytest.approx(60, abs=0.1)
    assert assessments[-1].closed_s == pytest.approx(60 * assessments[-1].perclos, abs=0.3)


def test_lids_never_seen_open_are_not_closed() -> None:
    assessments, events = run(readings(60, ear=lambda t: 0.08))
    assert events == []
    assert {a.validity for a in assessments} == {Validity.WARMING_UP}
    assert assessments[-1].perclos_coverage == 0.0


def test_a_head_that_nods_after_the_eyes_have_closed_is_a_microsleep() -> None:
    def pitch(t: float) -> float:
        return ramp(t, 6.7, 1.0, 0.35) - ramp(t, 8.2, 0.4, 0.35)
    _, events = run(readings(14, [(6, 8.4)], pitch=pitch))
    assert 'MICROSLEEP' in kinds(events)
    assert 'NOD' in kinds(events)


def test_a_head_that_nods_out_of_range_does_not_end_the_microsleep() -> None:
    stream = [
        EyeReading(r.stamp_ns, Validity.POSE_OUT_OF_RANGE, head_pitch=0.7, head_yaw=0.0)
        if 7.2e9 < r.stamp_ns - START_NS < 7.9e9 else r
        for r in readings(14, [(6, 8.4)])]
    assert 'MICROSLEEP' in kinds(run(stream)[1])


# --- PERCLOS --------------------------------------------------------------------------------------

def test_perclos_is_closed_over_usable_time() -> None:
    closures = [(t, t + 0.9) for t in range(5, 60, 6)]
    assessments, _ = run(readings(60, closures))
    assert assessments[-1].perclos == pytest.approx(0.9 * len(closures) / 60, abs=0.02)
    assert assessments[-1].perclos_coverage == pytest.approx(1.0, abs=0.02)
    assert math.isnan(assessments[29 * 30].perclos)


scripts = st.lists(
    st.tuples(st.floats(1.0, 6.0), st.floats(0.12, 4.0)), min_size=3, max_size=10)


def lay_out(script: list[tuple[float, float]]) -> tuple[Closures, float]:
    closures, t = [], 3.0
    for pause, lasts in script:
        t += pause
        closures.append((t, t + lasts))
        t += lasts
    return closures, max(45.0, t + 3)


@settings(max_examples=8, deadline=None)
@given(scripts, st.sampled_from([10.0, 15.0, 20.0, 30.0]), st.floats(0.0, 0.1))
def test_perclos_does_not_depend_on_the_frame_rate(
    script: list[tuple[float, float]], fps: float, phase: float,
) -> None:
    closures, seconds = lay_out(script)
    slow, _ = run(readings(seconds, closures, fps, start_s=phase))
    fast, _ = run(readings(seconds, closures, 60.0))
    assert slow[-1].perclos == pytest.approx(fast[-1].perclos, abs=0.02)


@settings(max_examples=8, deadline=None)
@given(scripts, st.integers(0, 2**31))
def test_perclos_does_not_depend_on_dropped_frames(
    script: list[tuple[float, float]], seed: int,
) -> None:
    closures, seconds = lay_out(script)
    stream = readings(seconds, closures)
    kept = np.random.default_rng(seed).random(len(stream)) > 0.2
    dropped, _ = run(r for r, keep in zip(stream, kept) if keep)
    full, _ = run(stream)
    assert dropped[-1].perclos == pytest.approx(full[-1].perclos, abs=0.02)


def test_a_gap_is_unusable_not_closed() -> None:
    stream = [r for r in readings(60) if not 20e9 < r.stamp_ns - START_NS < 30e9]
    assessments, events = run(stream)
    assert assessments[-1].perclos == 0.0
    assert assessments[-1].perclos_coverage == pytest.approx(50 / 60, abs=0.01)
    assert kinds(events) == []


def test_time_without_a_face_is_unusable_not_closed() -> None:
    stream = [
        EyeReading(r.stamp_ns, Validity.NO_FACE) if 20e9 < r.stamp_ns - START_NS < 30e9 else r
        for r in readings(60)]
    assessments, _ = run(stream)
    away = [a for a in assessments if 20.1e9 < a.stamp_ns - START_NS < 29.9e9]
    assert {a.validity for a in away} == {Validity.NO_FACE}
    assert {a.level for a in away} == {FatigueLevel.UNKNOWN}
    assert assessments[-1].perclos == 0.0
    assert assessments[-1].perclos_coverage == pytest.approx(50 / 60, abs=0.01)


def test_the_window_slides() -> None:
    assessments, _ = run(readings(130, [(5, 25)]))
    assert assessments[40 * 30].perclos == pytest.approx(0.5, abs=0.02)
    assert assessments[-1].perclos == 0.0
    assert assessments[-1].perclos_long == pytest.approx(20 / 130, abs=0.01)


def test_blinks_can_be_left_out_of_perclos() -> None:
    closures = [(t, t + 0.2) for t in range(5, 60, 2)] + [(60.5, 61.5)]
    with_blinks, _ = run(readings(64, closures))
    without, _ = run(readings(64, closures), exclude_blinks=True)
    assert with_blinks[-1].perclos > 0.08
    assert without[-1].perclos == pytest.approx(1 / 60, abs=0.005)


# --- validity -------------------------------------------------------------------------------------

@pytest.mark.parametrize(('fps', 'validity', 'perclos', 'blink_rate'), [
    (4, Validity.LOW_FRAME_RATE, False, False),
    (8, Validity.LOW_FRAME_RATE, False, False),
    (10, Validity.VALID, True, False),
    (14.644, Validity.VALID, True, True),
    (30, Validity.VALID, True, True)])
def test_what_a_frame_rate_allows(
    fps: float, validity: Validity, perclos: bool, blink_rate: bool,
) -> None:
    closures = [(t, t + 0.2) for t in range(5, 60, 4)]
    last = run(readings(61, closures, fps))[0][-1]
    assert last.validity is validity
    assert math.isfinite(last.perclos) is perclos
    assert math.isfinite(last.blink_rate) is blink_rate
    assert (last.level is FatigueLevel.UNKNOWN) is not perclos


def test_a_short_window_is_warming_up_not_alert() -> None:
    assessments, _ = run(readings(40))
    early = assessments[:29 * 30]
    assert {a.validity for a in early} == {Validity.WARMING_UP}
    assert {a.level for a in early} == {FatigueLevel.UNKNOWN}
    assert assessments[-1].validity is Validity.VALID
    assert assessments[-1].level is FatigueLevel.ALERT


@pytest.mark.parametrize('offset_s', [0.0, -0.01, -30.0])
def test_a_stamp_that_does_not_rise_changes_nothing(offset_s: float) -> None:
    stream = readings(20, [(5, 5.2), (8, 10)])
    disturbed = []
    for k, reading in enumerate(stream):
        disturbed.append(reading)
        if k % 7 == 6:
            disturbed.append(EyeReading(
                reading.stamp_ns + round(offset_s * 1e9), Validity.VALID, 0.02, 0.02, 0.02, 0.9,
                0.0, 0.5, 0.0))
    plain, plain_events = run(stream)
    person = PersonFatigue(1, FatigueOptions())
    last, events = run(disturbed, person)
    assert last[-1] == plain[-1] or repr(last[-1]) == repr(plain[-1])
    assert events == plain_events


# --- level ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(('share', 'level', 'reason'), [
    (0.02, FatigueLevel.ALERT, FatigueReason.NONE),
    (0.10, FatigueLevel.MILD, FatigueReason.PERCLOS),
    (0.20, FatigueLevel.SEVERE, FatigueReason.PERCLOS)])
def test_perclos_makes_the_level(
    share: float, level: FatigueLevel, reason: FatigueReason,
) -> None:
    closures = [(t, t + 4 * share) for t in range(2, 62, 4)]
    last = run(readings(62, closures))[0][-1]
    assert last.level is level
    assert reason in last.reasons


def test_slow_blinks_make_mild() -> None:
    closures = [(t, t + 0.45) for t in range(4, 64, 10)]
    last = run(readings(64, closures))[0][-1]
    assert last.mean_blink_s > 0.4
    assert last.level is FatigueLevel.MILD
    assert last.reasons & FatigueReason.LONG_BLINKS


def test_a_level_is_left_ten_seconds_later_and_each_change_is_told() -> None:
    assessments, events = run(readings(60, [(35, 37)]), perclos_mild=1.0, perclos_severe=1.0)
    changes = [(e.level, start_s(e)) for e in events if e.type is EVENT.LEVEL_CHANGED]
    assert [level for level, _ in changes] == [
        FatigueLevel.ALERT, FatigueLevel.SEVERE, FatigueLevel.ALERT]
    assert changes[1][1] == pytest.approx(36.5, abs=0.1)
    assert changes[2][1] == pytest.approx(47.0, abs=0.2)
    assert assessments[-1].reasons == FatigueReason.NONE


@settings(max_examples=12, deadline=None)
@given(st.floats(0.1, 3.5), st.floats(0.0, 1.5), st.integers(4, 12))
def test_more_closure_never_means_a_lower_level(lasts: float, more: float, every: int) -> None:
    def worst(seconds: float) -> list[FatigueLevel]:
        closures = [(float(t), t + seconds) for t in range(4, 62, every + 2)]
        return [a.level for a in run(readings(66, closures, 20.0))[0] if a.perclos == a.perclos]
    fewer, longer = worst(lasts), worst(lasts + more)
    assert max(longer) >= max(fewer)
    assert longer[-1] >= fewer[-1]


def test_yawns_and_nods_are_reasons_but_no_level() -> None:
    def mar(t: float) -> float:
        return 0.8 if 35 < t < 38 else 0.05

    def pitch(t: float) -> float:
        return ramp(t, 40, 0.5, 0.35) - ramp(t, 41, 0.5, 0.35)
    assessments, events = run(readings(45, [(40, 41.3)], mar=mar, pitch=pitch))
    assert sorted(kinds(events)) == ['NOD', 'YAWN']
    assert assessments[37 * 30].yawning
    assert assessments[-1].yawn_count == 1
    assert assessments[-1].reasons == FatigueReason.YAWNING | FatigueReason.NODDING
    assert assessments[-1].level is FatigueLevel.ALERT


def test_a_head_that_says_yes_is_no_nod() -> None:
    _, events = run(readings(
        12, pitch=lambda t: ramp(t, 6, 0.4, 0.35) - ramp(t, 6.6, 0.4, 0.35)))
    assert kinds(events) == []


def test_who_opens_the_eyes_before_the_head_is_up_does_not_nod() -> None:
    _, events = run(readings(
        12, [(6.1, 6.8)], pitch=lambda t: ramp(t, 6, 0.4, 0.35) - ramp(t, 7.8, 0.5, 0.35)))
    assert 'NOD' not in kinds(events)


@pytest.mark.parametrize(('high', 'lasts'), [(0.8, 1.0), (0.45, 3.0), (0.8, 12.0)])
def test_speech_laughter_and_a_hanging_mouth_are_no_yawn(high: float, lasts: float) -> None:
    _, events = run(readings(30, mar=lambda t: high if 10 < t < 10 + lasts else 0.05))
    assert kinds(events) == []


# --- baseline -------------------------------------------------------------------------------------

@pytest.mark.parametrize('own', [0.2, 0.25, 0.31, 0.42])
def test_the_baseline_is_the_persons_own(own: float) -> None:
    def ear(t: float) -> float:
        return own * (0.2 if 10 < t < 12 else 1.0)
    assessments, events = run(readings(20, ear=ear))
    assert not assessments[30].calibrated
    assert assessments[-1].calibrated
    assert assessments[-1].baseline_ear == pytest.approx(own, abs=0.01)
    assert kinds(events) == ['MICROSLEEP']


def test_the_baseline_stays_while_the_eyes_are_shut() -> None:
    assessments, _ = run(readings(120, [(40, 110)]))
    assert assessments[105 * 30].baseline_ear == pytest.approx(OPEN_EAR, abs=0.01)
    assert assessments[105 * 30].level is FatigueLevel.ASLEEP


def test_a_baseline_that_was_learned_from_a_startle_is_learned_anew() -> None:
    assessments, _ = run(readings(90, ear=lambda t: 0.45 if t < 6 else 0.22))
    assert assessments[-1].baseline_ear == pytest.approx(0.22, abs=0.01)


def test_a_pinned_baseline_stays() -> None:
    person = PersonFatigue(1, FatigueOptions())
    run(readings(10), person)
    assert person.baseline.pin() == pytest.approx(OPEN_EAR, abs=0.01)
    assessments, _ = run(readings(60, ear=lambda t: 0.25, start_s=11), person)
    assert assessments[-1].baseline_ear == pytest.approx(OPEN_EAR, abs=0.01)


def test_nothing_is_pinned_of_somebody_just_come() -> None:
    person = PersonFatigue(1, FatigueOptions())
    run(readings(1), person)
    assert person.baseline.pin() is None


# --- what comes out at all ------------------------------------------------------------------------

ears = st.one_of(st.floats(0.0, 1.2), st.just(math.nan), st.just(math.inf))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(
    st.floats(-0.1, 2.0), st.sampled_from(list(Validity)), ears, ears, st.floats(-1.6, 1.6)),
    max_size=120))
def test_no_reading_breaks_it_and_what_is_promised_is_a_number(
    script: list[tuple[float, Validity, float, float, float]],
) -> None:
    person = PersonFatigue(7, FatigueOptions(
        perclos_window_s=10.0, perclos_min_usable_s=1.0, perclos_long_window_s=20.0,
        perclos_long_min_usable_s=1.0, min_fps_blinks=1.0, min_fps_perclos=1.0,
        min_fps_closures=1.0))
    t = START_NS
    for step, validity, ear, mar, pitch in script:
        t += round(step * 1e9)
        assessment, events = person.update(
            EyeReading(t, validity, ear, ear, ear, mar, 0.0, pitch, 0.0))
        assert 0 <= assessment.perclos_coverage <= 1
        assert 0 <= assessment.perclos_long_coverage <= 1
        for share in (assessment.perclos, assessment.perclos_long):
            assert math.isnan(share) or 0 <= share <= 1
        assert math.isfinite(assessment.closure_s)
        assert assessment.closure_s >= 0
        assert 0.1 < assessment.baseline_ear < 1
        assert math.isnan(assessment.openness) or 0 <= assessment.openness <= 1
        if assessment.validity is Validity.VALID:
            assert not math.isnan(assessment.perclos)
            assert not math.isnan(assessment.openness)
            assert assessment.level is not FatigueLevel.UNKNOWN
        for event in events:
            assert math.isfinite(event.duration_s)
            assert event.duration_s >= 0
            assert event.start_ns <= t


def _size(value: object, seen: set[int]) -> int:
    """Bytes of an object and all it holds."""
    if id(value) in seen or isinstance(value, type):
        return 0
    seen.add(id(value))
    total = sys.getsizeof(value)
    if isinstance(value, dict):
        return total + sum(_size(k, seen) + _size(v, seen) for k, v in value.items())
    if hasattr(value, '__dict__'):
        total += _size(vars(value), seen)
    for name in getattr(type(value), '__slots__', ()):
        total += _size(getattr(value, name, None), seen)
    if not isinstance(value, (str, bytes)) and hasattr(value, '__iter__'):
        total += sum(_size(item, seen) for item in value)
    return total


def test_memory_is_bounded_whatever_the_frame_rate() -> None:
    person = PersonFatigue(1, FatigueOptions())
    rng = np.random.default_rng(0)
    sizes = []
    t = START_NS
    for values in rng.uniform(0.02, 0.4, (6, 8000)).tolist():
        for value in values:
            t += 1_000_000
            person.update(EyeReading(t, Validity.VALID, value, value, value, value, 0, value, 0))
        sizes.append(_size(person, set()))
    assert sizes[-1] < 400_000
    assert sizes[-1] < 1.15 * sizes[-2]


def test_a_minute_costs_less_than_fifty_milliseconds() -> None:
    stream = readings(60, [(t, t + 0.2) for t in range(3, 58, 4)])
    best = math.inf
    for _ in range(5):
        person = PersonFatigue(1, FatigueOptions())
        begin = time.thread_time()
        for reading in stream:
            person.update(reading)
        best = min(best, time.thread_time() - begin)
    assert best < 0.05


# --- options --------------------------------------------------------------------------------------

@pytest.mark.parametrize(('change', 'kept'), [
    ({}, True),
    ({'perclos_mild': 0.01}, True),
    ({'perclos_mild': 0.01, 'level_hold_s': 1.0}, True),
    ({'perclos_min_usable_s': 50.0}, True),
    ({'others_fps': 5.0}, True),
    ({'closed_enter': 0.1}, False),
    ({'perclos_window_s': 40.0}, False),
    ({'perclos_mild': 0.01, 'ear_shut': 0.2}, False),
])
def test_other_thresholds_leave_what_was_measured(change: dict[str, float], kept: bool) -> None:
    """A threshold for figures is one thing, a threshold from which they are made another."""
    person = PersonFatigue(1, FatigueOptions())
    closures = [(at, at + 0.6) for at in np.arange(4.0, 40, 6)]
    before = run(readings(40, closures), person)[0][-1]
    person.configure(FatigueOptions(**change))
    after = run(readings(1, start_s=40), person)[0][-1]
    assert before.perclos > 0.05
    assert (after.perclos_coverage > before.perclos_coverage) is kept
    assert after.baseline_ear == pytest.approx(before.baseline_ear, rel=0.05)
    if change.get('perclos_mild') and kept:
        assert (before.level, after.level) == (FatigueLevel.MILD, FatigueLevel.MILD) or (
            before.level is FatigueLevel.ALERT and after.level is FatigueLevel.MILD)
    assert math.isnan(after.perclos) is (not kept or 'perclos_min_usable_s' in change)


def test_every_option_is_described_and_ranged() -> None:
    for item in fields(FatigueOptions):
        assert item.metadata['description'], item.name
        if isinstance(item.default, float):
            assert item.metadata['low'] <= item.default <= item.metadata['high'], item.name


@pytest.mark.parametrize('pair', FatigueOptions.ORDERED)
def test_thresholds_that_contradict_each_other_are_refused(pair: tuple[str, str]) -> None:
    low, high = pair
    ranges = {item.name: item.metadata for item in fields(FatigueOptions)}
    values = {low: float(ranges[low]['high']), high: float(ranges[high]['low'])}
    with pytest.raises(InputError, match='must be at most'):
        FatigueOptions(**values)


def test_the_thresholds_of_the_desk_system_can_be_set() -> None:
    options = {
        'ear_closed': 0.22, 'perclos_window_s': 30.0, 'perclos_min_usable_s': 15.0,
        'perclos_mild': 0.2, 'perclos_severe': 0.4, 'perclos_long_mild': 1.0,
        'perclos_long_severe': 1.0, 'mean_blink_mild_s': 2.0}
    closures = [(float(t), t + 1.2) for t in range(2, 60, 4)]
    assert run(readings(62, closures), **options)[0][-1].level is FatigueLevel.MILD
    assert run(readings(62, []), **options)[0][-1].level is FatigueLevel.ALERT
