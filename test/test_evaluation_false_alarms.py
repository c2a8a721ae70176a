# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Yawns and nods against labels, false alarms an hour, and states that are labelled by frame."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as some
import numpy as np
import pytest

from aitable_ros.evaluation.datasets.own import read_labels
from aitable_ros.evaluation.false_alarms import usable_s
from aitable_ros.evaluation.labels import FrameSpan, Labels
from aitable_ros.evaluation.measurements import Measurements, PlacedEvent
from aitable_ros.evaluation.metrics import frame_score, match_spans
from aitable_ros.evaluation.pooling import pool
from aitable_ros.evaluation.scores import scores
from aitable_ros.types import FatigueEvent, FatigueEventType, FatigueLevel

FPS = 25
STEP = 40_000_000


class Clip:
    """What scoring needs to know of a source."""

    fps, names, stills = float(FPS), (), False


def told(kind, start, end, *, primary=True):
    event = FatigueEvent(1, kind, start * STEP, (end - start) * STEP * 1e-9, FatigueLevel.ALERT)
    return PlacedEvent(event, primary, event.start_ns / 1e9, start, end)


def tally_of(frames, *, events=(), levels=None, eyes=None, usable=None):
    """Make what is kept of a recording; eyes are usable in every frame unless said otherwise."""
    measured = Measurements()
    for index in range(frames):
        measured.take_time(index * STEP)
    measured.faces.extend([1] * frames)
    measured.expressions.extend([255] * frames)
    measured.valence.extend([0.0] * frames)
    measured.arousal.extend([0.0] * frames)
    measured.levels.extend(levels or [FatigueLevel.ALERT] * frames)
    measured.eyes.extend(eyes or [0] * frames)
    steps = [True] * frames if usable is None else usable
    measured.usable_by_frame.extend(np.cumsum(np.asarray(steps) / FPS))
    measured.usable_s = measured.usable_by_frame[-1]
    measured.events += events
    return measured


def labels_of(tmp_path, **document):
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps({
        key: [{'start_frame': a, 'end_frame': b} for a, b in value]
        if key in ('blinks', 'closures', 'yawns', 'nods', 'drowsy') else value
        for key, value in document.items()}))
    return read_labels(path)


# --- yawns and nods -------------------------------------------------------------------------------

def test_yawns_and_nods_are_scored_like_closures(tmp_path):
    labels = labels_of(tmp_path, yawns=[(100, 160), (400, 450)], nods=[], ignore=[[700, 720]])
    found = scores(Clip(), tally_of(1000, events=[
        told(FatigueEventType.YAWN, 110, 150), told(FatigueEventType.YAWN, 600, 650),
        told(FatigueEventType.YAWN, 705, 715), told(FatigueEventType.NOD, 50, 60),
        told(FatigueEventType.NOD, 10, 12, primary=False)]), labels)
    yawns, nods = found['yawns'], found['nods']
    assert (yawns['tp'], yawns['fp'], yawns['fn']) == (1, 1, 1)
    assert (yawns['precision'], yawns['recall'], yawns['f1']) == (0.5, 0.5, 0.5)
    assert yawns['missed'] == [[400, 450]]
    assert yawns['invented'] == [[600, 650]]
    assert (nods['tp'], nods['fp'], nods['fn'], nods['f1']) == (0, 1, 0, 0)
    assert nods['false_per_hour'] == pytest.approx(3600 / (979 / FPS))
    assert 'blink' not in found
    assert 'false_alarms' not in found  # closures are not labelled


def test_a_labelled_period_of_nodding_holds_several_nods():
    found = [FrameSpan(10, 12), FrameSpan(20, 22), FrameSpan(50, 52)]
    once = match_spans(found, [FrameSpan(5, 30)])
    often = match_spans(found, [FrameSpan(5, 30)], periods=True)
    assert (once.counts.tp, once.counts.fp) == (1, 2)
    assert (often.counts.tp, often.counts.fp) == (1, 1)
    assert often.invented == (FrameSpan(50, 52),)


def test_blinks_of_any_length_are_matched_with_long_closures_too(tmp_path):
    labels = Labels(path=tmp_path, blinks=(FrameSpan(10, 14), FrameSpan(50, 90)),
                    blinks_any_length=True, frames=200)
    found = scores(Clip(), tally_of(200, events=[
        told(FatigueEventType.BLINK, 10, 13), told(FatigueEventType.LONG_CLOSURE, 52, 88)]), labels)
    assert (found['blink']['tp'], found['blink']['fp'], found['blink']['fn']) == (2, 0, 0)
    assert 'closures' not in found


# --- false alarms ---------------------------------------------------------------------------------

def alarms(measured, **labels):
    return scores(Clip(), measured, Labels(path=None, **labels))['false_alarms']


def closure(*pairs):
    return tuple(FrameSpan(*pair) for pair in pairs)


@pytest.mark.parametrize(('kind', 'labelled', 'false'), [
    pytest.param('MICROSLEEP', [(100, 140)], 0, id='a closure of 1.6 s'),
    pytest.param('MICROSLEEP', [], 1, id='no closure'),
    pytest.param('MICROSLEEP', [(100, 115)], 1, id='a closure of 0.6 s: too short'),
    pytest.param('MICROSLEEP', [(100, 134)], 0, id='1.4 s and the tolerance of the labeller'),
    pytest.param('MICROSLEEP', [(10, 60)], 1, id='a closure before it'),
    pytest.param('MICROSLEEP', [(10, 98)], 1, id='before it by three frames'),
    pytest.param('MICROSLEEP', [(10, 99)], 0, id='before it by two frames'),
    pytest.param('SLEEP', [(100, 180)], 0, id='sleep: 3.2 s'),
    pytest.param('SLEEP', [(100, 140)], 1, id='sleep: 1.6 s is none'),
])
def test_an_alarm_is_false_where_no_closure_long_enough_overlaps_it(kind, labelled, false):
    measured = tally_of(500, events=[told(FatigueEventType[kind], 101, 139)])
    score = alarms(measured, closures=closure(*labelled))
    name = kind.lower()
    assert score[name]['told'] == 1
    assert score[name]['false'] == false
    assert score[name]['false_per_hour'] == pytest.approx(false * 3600 / 20)
    assert score[name]['spans'] == ([[101, 139]] if false else [])


def levels(frames, *runs):
    found = [FatigueLevel.ALERT] * frames
    for first, last, level in runs:
        found[first:last + 1] = [level] * (last - first + 1)
    return found


@pytest.mark.parametrize(('labelled', 'false'), [
    ([(1990, 2040)], 0), ([(500, 550)], 0), ([(400, 450)], 1), ([(1990, 2010)], 1), ([], 1)],
    ids=['a microsleep in it', '58 s before: PERCLOS remembers', '62 s before', 'too short',
         'none'])
def test_severe_may_rest_on_a_closure_of_the_last_minute(labelled, false):
    measured = tally_of(3000, levels=levels(
        3000, (2000, 2100, FatigueLevel.SEVERE), (2101, 2150, FatigueLevel.ASLEEP),
        (2151, 2200, FatigueLevel.UNKNOWN), (2201, 2250, FatigueLevel.SEVERE)))
    score = alarms(measured, closures=closure(*labelled))['severe']
    assert (score['told'], score['false']) == (1, false)  # one rise, whatever it then becomes
    assert score['spans'] == ([[2000, 2250]] if false else [])


def test_two_rises_to_severe_are_two_alarms_and_mild_is_none():
    measured = tally_of(1000, levels=levels(
        1000, (100, 200, FatigueLevel.SEVERE), (300, 400, FatigueLevel.MILD),
        (900, 999, FatigueLevel.SEVERE)))
    score = alarms(measured, closures=())['severe']
    assert score['spans'] == [[100, 200], [900, 999]]


def test_an_alarm_in_an_ignored_part_is_not_counted_nor_is_its_time():
    measured = tally_of(1000, events=[told(FatigueEventType.SLEEP, 100, 200)],
                     usable=[index >= 500 for index in range(1000)])
    score = alarms(measured, closures=(), ignore=closure((150, 749)))
    assert score['sleep']['false'] == 0
    assert score['scored_s'] == pytest.approx(250 / FPS)  # usable, and not ignored


def test_without_usable_time_there_is_no_rate():
    measured = tally_of(100, usable=[False] * 100)
    score = alarms(measured, closures=())
    assert score['scored_s'] == 0
    assert score['severe'] == {'told': 0, 'false': 0, 'false_per_hour': None, 'spans': []}


def test_alarms_are_pooled_by_hours_not_by_recordings():
    def of(frames, *kinds):
        return {'false_alarms': alarms(tally_of(frames, events=[
            told(FatigueEventType[kind], 10, 60) for kind in kinds]), closures=())}

    found = pool([('a', of(9000, 'MICROSLEEP', 'MICROSLEEP')), ('b', of(1000, 'SLEEP')),
                  ('c', of(8000))])['false_alarms']
    hours = 18000 / FPS / 3600
    assert found['microsleep'] == pytest.approx(2 / hours)
    assert found['sleep'] == pytest.approx(1 / hours)
    assert found['severe'] == 0
    assert found['false'] == {'microsleep': 2, 'sleep': 1, 'severe': 0}
    assert found['interval']['microsleep'][0] <= found['microsleep']


def test_usable_time_that_starts_anew_is_not_taken_back():
    measured = tally_of(4)
    measured.usable_by_frame[:] = type(measured.usable_by_frame)('d', [0.5, 1.0, 0.2, 0.6])
    assert usable_s(measured, Labels(path=None)) == pytest.approx(0.5 + 0.5 + 0.4)


# --- frames ---------------------------------------------------------------------------------------

@settings(deadline=None)
@given(some.lists(some.tuples(some.booleans(), some.booleans(), some.booleans()), min_size=1))
def test_frames_are_counted_once_and_what_is_not_known_is_not_said(rows):
    truth, said, known = (np.array(column) for column in zip(*rows))
    score = frame_score(truth, said, known)
    assert score['tp'] + score['fp'] + score['fn'] + score['tn'] == score['n'] == len(rows)
    assert score['accuracy'] == sum(t == (s and k) for t, s, k in rows) / len(rows)
    assert score['unknown'] == sum(not k for _, _, k in rows)


def test_shut_eyes_and_drowsy_frames_are_scored_where_they_are_labelled(tmp_path):
    labels = Labels(path=tmp_path, shut=closure((2, 4)), drowsy=closure((0, 4)),
                    ignore=closure((9, 9)), frames=10)
    mild, alert, unknown = FatigueLevel.MILD, FatigueLevel.ALERT, FatigueLevel.UNKNOWN
    found = scores(Clip(), tally_of(
        12, eyes=[0, 0, 1, 1, -1, 1, 0, 0, 0, 1, 1, 1],
        levels=[unknown, mild, mild, mild, alert, alert, mild, *[alert] * 5]), labels)
    eyes, drowsy = found['eyes_shut'], found['drowsy']
    assert (eyes['n'], eyes['tp'], eyes['fp'], eyes['fn'], eyes['tn']) == (9, 2, 1, 1, 5)
    assert eyes['unknown'] == 1
    assert (drowsy['tp'], drowsy['fp'], drowsy['fn'], drowsy['tn']) == (3, 1, 2, 3)
    assert drowsy['accuracy'] == pytest.approx(6 / 9)
    together = pool([('a', found), ('b', found), ('c', found)])
    assert together['drowsy']['accuracy'] == pytest.approx(6 / 9)
    assert together['eyes_shut']['tn'] == 15
    json.dumps(together, allow_nan=False)
