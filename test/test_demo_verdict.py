# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The verdict passes what the clip contains and names what was missed, invented or late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.tools.verdict import judge
from aitable_ros.types import FatigueEvent
from aitable_ros.types import FatigueEventType
from aitable_ros.types import FatigueLevel

TRUTH = ScriptedClip().truth
EPOCH_NS = 1_700_000_000_000_000_000
STAMPS = [EPOCH_NS + round(index * 1e9 / 30) for index in range(1800)]
TYPES = {
    'blink': FatigueEventType.BLINK, 'long_closure': FatigueEventType.LONG_CLOSURE,
    'microsleep': FatigueEventType.MICROSLEEP}


def _event(kind: FatigueEventType, start_frame: float, frames: float) -> FatigueEvent:
    return FatigueEvent(
        1, kind, EPOCH_NS + round(start_frame * 1e9 / 30), frames / 30, FatigueLevel.ALERT)


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
    ('nothing told at all', [], {'blinks_found', 'blink_onset', 'long_closure', 'microsleep'}),
], ids=lambda value: value if isinstance(value, str) else '')
def test_judge(sentence, events, failed):
    items = judge(TRUTH, STAMPS, events)
    assert {item.name for item in items if not item.passed} == failed
    assert all('\n' not in item.line for item in items)


def test_what_was_missed_is_named():
    missed = next(item for item in judge(TRUTH, STAMPS, PERFECT[1:]) if not item.passed)
    assert missed.value == f'{len(BLINKS) - 1} of {len(BLINKS)}'
    assert f'frame {TRUTH.blinks[0].start_frame}' in missed.line


def test_stamps_of_a_camera_that_stutters_still_give_the_frame():
    """Frames are found by the stamps really published, not by dividing by the rate."""
    stuttering = [stamp + (200_000_000 if index > 900 else 0) for index, stamp in enumerate(STAMPS)]
    moved = [_later(event, 6) if event.start_ns > STAMPS[900] else event for event in PERFECT]
    assert all(item.passed for item in judge(TRUTH, stuttering, moved))


def test_no_images_fails_in_words():
    (item,) = judge(TRUTH, [], [])
    assert not item.passed
    assert 'published 0 images' in item.line
