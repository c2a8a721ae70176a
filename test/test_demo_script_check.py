# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The check passes what the clip contains and names what was missed, invented or late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.tools.script_check import check_script
from aitable_ros.types import (
    Detection, FaceResult, FatigueEvent, FatigueEventType, FatigueLevel, FrameResult, TrackedFace
)

TRUTH = ScriptedClip().truth
EPOCH_NS = 1_700_000_000_000_000_000
STAMPS = [EPOCH_NS + round(index * 1e9 / 30) for index in range(1800)]
TYPES = {
    'blink': FatigueEventType.BLINK, 'long_closure': FatigueEventType.LONG_CLOSURE,
    'microsleep': FatigueEventType.MICROSLEEP}
PERSON = FaceResult(TrackedFace(1, Detection(np.zeros(4, np.float32), 0.9), primary=True))


def _event(kind: FatigueEventType, start_frame: float, frames: float) -> FatigueEvent:
    return FatigueEvent(
        1, kind, EPOCH_NS + round(start_frame * 1e9 / 30), frames / 30, FatigueLevel.ALERT)


def _measured(
    events: Sequence[FatigueEvent], stamps: Sequence[int] = tuple(STAMPS),
) -> Measurements:
    """Return the measurements of a run in which these events were published at its end."""
    measured = Measurements()
    for stamp in stamps:
        told = tuple(events) if stamp == stamps[-1] else ()
        measured.add(FrameResult(stamp, (PERSON,), (), told, {}, {}))
    return measured


PERFECT = [
    _event(TYPES[item.kind], item.start_frame, item.end_frame - item.start_frame)
    for item in TRUTH.closures]
BLINKS = [event for event in PERFECT if event.type is FatigueEventType.BLINK]


def _later(event: FatigueEvent, frames: float) -> FatigueEvent:
    return replace(event, start_ns=event.start_ns + round(frames * 1e9 / 30))


@pytest.mark.parametrize(('sentence', 'events', 'failed'), [
    ('exactly the script passes', PERFECT, set()),
    ('all two frames late passes', [_later(event, 2) for event in PERFECT], set()),
    ('all two frames early passes', [_later(event, -2) for event in PERFECT], set()),
    ('one blink three frames late is late', [_later(BLINKS[0], 3), *PERFECT[1:]],
     {'blink_onset'}),
    ('a blink not found is named', PERFECT[1:], {'blinks_found'}),
    ('a blink told twice is one invented', [*PERFECT, BLINKS[3]], {'blinks_invented'}),
    ('a blink in the long closure is invented', [
        *PERFECT, _event(FatigueEventType.BLINK, TRUTH.of_kind('long_closure')[0].start_frame, 4)],
     {'blinks_invented'}),
    ('no microsleep', [e for e in PERFECT if e.type is not FatigueEventType.MICROSLEEP],
     {'microsleep'}),
    ('a microsleep elsewhere is none', [
        *(e for e in PERFECT if e.type is not FatigueEventType.MICROSLEEP),
        _event(FatigueEventType.MICROSLEEP, 30, 60)], {'microsleep'}),
    ("another person's events do not count", [replace(e, track_id=2) for e in PERFECT],
     {'blinks_found', 'blink_onset', 'long_closure', 'microsleep'}),
    ('nothing told at all', [], {'blinks_found', 'blink_onset', 'long_closure', 'microsleep'}),
], ids=lambda value: value if isinstance(value, str) else '')
def test_check(sentence, events, failed):
    checks = check_script(TRUTH, _measured(events))
    assert {check.name for check in checks if not check.passed} == failed
    assert all('\n' not in check.line for check in checks)


def test_what_was_missed_is_named():
    checks = check_script(TRUTH, _measured(PERFECT[1:]))
    missed = next(check for check in checks if not check.passed)
    assert missed.value == f'{len(BLINKS) - 1} of {len(BLINKS)}'
    assert f'frame {TRUTH.blinks[0].start_frame}' in missed.line


def test_stamps_of_a_camera_that_stutters_still_give_the_frame():
    """Frames are found by the stamps really published, not by dividing by the rate."""
    stuttering = [stamp + (200_000_000 if index > 900 else 0) for index, stamp in enumerate(STAMPS)]
    moved = [_later(event, 6) if event.start_ns > STAMPS[900] else event for event in PERFECT]
    assert all(check.passed for check in check_script(TRUTH, _measured(moved, stuttering)))


def test_the_end_of_a_run_that_was_interrupted_is_not_judged():
    last = TRUTH.blinks[-1]
    ignore = (FrameSpan(last.start_frame - 3, len(STAMPS)),)
    for events in (PERFECT, [event for event in PERFECT if event is not BLINKS[-1]]):
        assert all(check.passed for check in check_script(TRUTH, _measured(events), ignore))
