# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labels read and refused; blinks matched; expressions, boxes, valence and arousal scored."""

from __future__ import annotations

import itertools
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as some
import numpy as np
import pytest

from aitable_ros.errors import InputError
from aitable_ros.evaluation.datasets.own import read_labels
from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.measurements import Measurements, PlacedEvent
from aitable_ros.evaluation.metrics import (
    affect_score, box_score, Detections, expression_score, iou, majority, match, match_spans
)
from aitable_ros.evaluation.pooling import over_images, pool
from aitable_ros.evaluation.scores import doubts, scores
from aitable_ros.evaluation.summary import pooled
from aitable_ros.types import Expression, FatigueEvent, FatigueEventType, FatigueLevel


def spans(*pairs):
    return [FrameSpan(*pair) for pair in pairs]


# --- blinks ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(('found', 'labelled', 'ignore', 'counts'), [
    pytest.param([(10, 12)], [(11, 14)], [], (1, 0, 0), id='overlap'),
    pytest.param([(10, 12)], [(14, 16)], [], (1, 0, 0), id='two frames apart'),
    pytest.param([(10, 12)], [(15, 16)], [], (0, 1, 1), id='three frames apart'),
    pytest.param([(10, 11), (12, 13)], [(10, 13)], [], (1, 1, 0), id='one to one: a split blink'),
    pytest.param([(10, 20)], [(10, 12), (18, 20)], [], (1, 0, 1), id='one to one: two as one'),
    pytest.param([(10, 14), (5, 11)], [(12, 13), (15, 16)], [], (2, 0, 0),
                 id='as many as possible, not the nearest first'),
    pytest.param([(50, 52)], [], [(40, 60)], (0, 0, 0), id='found in an ignored part'),
    pytest.param([(62, 64)], [], [(40, 60)], (0, 0, 0), id='found at its edge, in tolerance'),
    pytest.param([(63, 64)], [], [(40, 60)], (0, 1, 0), id='found beside it'),
    pytest.param([], [(50, 52)], [(40, 60)], (0, 0, 0), id='labelled in an ignored part'),
    pytest.param([(61, 63)], [(62, 63)], [(40, 60)], (1, 0, 0), id='labelled beside it counts'),
    pytest.param([], [], [], (0, 0, 0), id='nothing'),
])
def test_blinks_match_within_two_frames_one_to_one(found, labelled, ignore, counts):
    assert match_spans(
        spans(*found), spans(*labelled), spans(*ignore)).counts == Detections(*counts)


@pytest.mark.parametrize(('score', 'precision', 'recall', 'f1'), [
    (Detections(8, 0, 0), 1, 1, 1), (Detections(6, 2, 2), 0.75, 0.75, 0.75),
    (Detections(0, 0, 0), 1, 1, 1), (Detections(0, 0, 3), 0, 0, 0), (Detections(0, 3, 0), 0, 0, 0)])
def test_precision_recall_and_f1(score, precision, recall, f1):
    assert (score.precision, score.recall, score.f1) == (precision, recall, f1)


@settings(deadline=None)  # they take as long as the machine is loaded
@given(some.lists(some.integers(0, 12), max_size=6), some.lists(some.integers(0, 12), max_size=6))
def test_as_many_are_paired_as_can_be(left, right):
    """The greatest matching, found by trying every order."""
    def fits(a, b):
        return abs(a - b) <= 2

    pairs = match(left, right, fits)
    assert all(fits(left[i], right[j]) for i, j in pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    short, long_ = sorted((left, right), key=len)
    best = max(
        sum(fits(a, b) for a, b in zip(short, order))
        for order in itertools.permutations(long_, len(short)))
    assert len(pairs) == best


# --- the others -----------------------------------------------------------------------------------

def test_expressions_count_unknown_as_wrong_and_keep_the_confusion():
    happy, sad, unknown = Expression.HAPPY, Expression.SAD, Expression.UNKNOWN
    score = expression_score(
        [(happy, happy)] * 6 + [(happy, sad)] * 2 + [(sad, sad), (sad, unknown)])
    assert score['n'] == 10
    assert score['accuracy'] == 0.7
    assert score['confusion'] == {'happy': {'happy': 6, 'sad': 2}, 'sad': {'sad': 1, 'unknown': 1}}
    assert score['macro_f1'] == pytest.approx((2 * 6 / (8 + 6) + 2 * 1 / (2 + 3)) / 2)


def test_boxes_are_paired_by_overlap():
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    found = [(0, 0, 10, 10), (100, 100, 120, 120), (0, 1, 10, 11)]
    assert box_score(found, [(1, 0, 11, 10), (50, 50, 60, 60)]) == Detections(1, 2, 1)


def test_valence_scores_agree_with_their_formulas():
    truth = np.array([-0.5, -0.2, 0.0, 0.4, 0.9, np.nan])
    found = np.array([-0.4, 0.1, 0.1, 0.3, 0.7, 0.5])
    score = affect_score(found, truth)
    x, y = found[:5], truth[:5]
    assert score['n'] == 5
    assert score['pcc'] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert score['rmse'] == pytest.approx(math.sqrt(((x - y) ** 2).mean()))
    assert score['ccc'] == pytest.approx(
        2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))
    assert score['sagr'] == 0.6
    assert affect_score(x, x)['ccc'] == pytest.approx(1)
    assert affect_score(np.zeros(3), np.zeros(3))['ccc'] is None
    assert affect_score(np.full(2, np.nan), np.zeros(2))['n'] == 0


def test_a_figure_per_class_and_which_spans_were_missed():
    happy, sad, unknown = Expression.HAPPY, Expression.SAD, Expression.UNKNOWN
    score = expression_score([(happy, happy), (happy, sad), (sad, unknown)])
    assert score['per_class']['happy'] == {
        'n': 2, 'precision': 1, 'recall': 0.5, 'f1': pytest.approx(2 / 3)}
    assert score['per_class']['sad'] == {'n': 1, 'precision': 0, 'recall': 0, 'f1': 0}
    matching = match_spans(spans((5, 6), (50, 52)), spans((6, 7), (90, 91)))
    assert matching.pairs == ((FrameSpan(5, 6), FrameSpan(6, 7)),)
    assert matching.missed == (FrameSpan(90, 91),)
    assert matching.invented == (FrameSpan(50, 52),)


@pytest.mark.parametrize(('answers', 'expected'), [
    ([1, 1, 2], Expression.HAPPY), ([2, 1, 1, 2], Expression.SAD), ([255, 255, 1],
                                                                    Expression.UNKNOWN)])
def test_a_span_is_read_by_majority_unknown_being_an_answer(answers, expected):
    assert majority([Expression(answer) for answer in answers]) is expected


# --- a recording, made by hand --------------------------------------------------------------------

class Clip:
    """What scoring needs to know of a source."""

    def __init__(self, fps=25.0, names=()):
        self.fps, self.names, self.stills = fps, names, bool(names)


def told(kind, start_frame, end_frame):
    event = FatigueEvent(1, kind, start_frame * STEP, (end_frame - start_frame) * STEP * 1e-9,
                         FatigueLevel.ALERT)
    return PlacedEvent(event, True, event.start_ns / 1e9, start_frame, end_frame)


STEP = 40_000_000


def tally_of(frames=200, *, expressions=(), events=(), faces=1, valence=0.5):
    measured = Measurements()
    for index in range(frames):
        measured.take_time(index * STEP)
    measured.faces.extend([faces] * frames)
    measured.expressions.extend([*expressions, *[255] * (frames - len(expressions))])
    measured.valence.extend([valence] * frames)
    measured.arousal.extend([math.nan] * frames)
    measured.events += events
    return measured


def test_closures_are_those_longer_than_a_blink(tmp_path):
    labels = read_labels_of(tmp_path, {
        'closures': [{'start_frame': 50, 'end_frame': 80}, {'start_frame': 120, 'end_frame': 199}],
        'blinks': [], 'ignore': [[0, 19]]})
    found = scores(Clip(), tally_of(events=[
        told(FatigueEventType.MICROSLEEP, 52, 79), told(FatigueEventType.SLEEP, 90, 110),
        told(FatigueEventType.BLINK, 5, 8), told(FatigueEventType.BLINK, 30, 33)]), labels)
    closures = found['closures']
    assert (closures['tp'], closures['fp'], closures['fn']) == (1, 1, 1)
    assert closures['missed'] == [[120, 199]]
    assert closures['start_error_s'] == pytest.approx(0.08)
    assert found['blink']['fp'] == 1  # the other one is in the ignored part
    assert found['blink']['scored_s'] == pytest.approx(180 * 0.04)
    assert found['blink']['false_per_hour'] == pytest.approx(3600 / 7.2)


def test_expressions_are_scored_by_frame_and_by_span_ignored_frames_left_out(tmp_path):
    labels = read_labels_of(tmp_path, {
        'expression': [
            {'start_frame': 0, 'end_frame': 9, 'label': 'happy', 'valence': 0.5},
            {'start_frame': 10, 'end_frame': 19, 'label': 'sad'},
            {'start_frame': 300, 'end_frame': 310, 'label': 'sad'}],
        'ignore': [[0, 1]]})
    found = scores(Clip(), tally_of(expressions=[2, 2, *[1] * 6, 2, 2, *[2] * 4, *[1] * 6]), labels)
    assert found['expression']['n'] == 18
    assert found['expression']['accuracy'] == pytest.approx(10 / 18)
    assert found['expression']['by_span']['confusion'] == {
        'happy': {'happy': 1}, 'sad': {'happy': 1}}
    assert found['valence']['n'] == 8
    assert found['valence']['rmse'] == pytest.approx(0, abs=1e-6)
    assert 'arousal' not in found


def test_what_makes_one_doubt_the_labels_is_told(tmp_path):
    labels = read_labels_of(tmp_path, {
        'fps': 30, 'tolerance_frames': 5, 'emotion': [{'label': 'anger/frown'}],
        'eyes_closed': [[10, 138]], 'face_until_frame': 71, 'note': 'x',
        'blinks': [{'start_frame': 1, 'end_frame': 2, 'confidence': 0.9, 'closed_core': [1, 1]}]})
    unread, rate, tolerance = doubts(Clip(fps=14.6), labels)
    for name in ("emotion (spans of expressions are read from 'expression')", 'eyes_closed (',
                 'face_until_frame', 'blinks[].closed_core'):
        assert name in unread
    assert 'note' not in unread
    assert 'confidence' not in unread
    assert 'count frames at 30 a second, the input has 14.6' in rate
    assert 'tolerance of 5 frames' in tolerance
    assert doubts(Clip(), read_labels_of(tmp_path, {'fps': 25, 'tolerance_frames': 2})) == []


def test_one_picture_is_scored_by_the_labels_of_its_folder(tmp_path):
    labels = read_labels_of(tmp_path, {'a.jpg': {'valence': 0.4}, 'b.jpg': {'expression': 'sad'}})
    labels.check(1, ('a.jpg',))
    with pytest.raises(InputError, match=r"labels 'a\.jpg', which the input does not have"):
        labels.check(1, ('c.jpg',))
    measured = Measurements(stills=True)
    measured.stamps.append(0)
    measured.faces.append(1)
    measured.expressions.append(Expression.HAPPY)
    measured.valence.append(0.3)
    measured.arousal.append(math.nan)
    measured.boxes.append(())
    found = scores(Clip(names=('a.jpg',)), measured, labels)
    assert 'expression' not in found
    assert found['valence']['rmse'] == pytest.approx(0.1)


# --- several inputs -------------------------------------------------------------------------------

def test_several_inputs_are_pooled_by_counts_not_by_means():
    parts = [
        {'input': 'a', 'scores': {
            'blink': {'tp': 9, 'fp': 1, 'fn': 0},
            'expression': {'confusion': {'happy': {'happy': 3, 'unknown': 1}}}}},
        {'input': 'b', 'scores': {'blink': {'tp': 1, 'fp': 0, 'fn': 1}}},
        {'input': 'c', 'scores': {}}]
    together = pooled(parts)
    assert together['blink']['f1'] == pytest.approx(2 * 10 / (20 + 1 + 1), abs=1e-6)
    assert together['blink']['inputs'] == 2
    assert together['blink']['interval']['f1'] is None  # two people are too few
    assert together['expression']['accuracy'] == 0.75
    assert together['expression']['confusion'] == {'happy': {'happy': 3, 'unknown': 1}}
    json.dumps(together, allow_nan=False)


@settings(deadline=None)
@given(some.lists(some.lists(some.tuples(some.sampled_from(range(8)), some.sampled_from(
    [*range(8), 255])), min_size=1, max_size=20), min_size=1, max_size=5))
def test_pooled_expressions_are_those_of_all_frames_at_once(parts):
    pairs = [[(Expression(a), Expression(b)) for a, b in part] for part in parts]
    whole = expression_score([pair for part in pairs for pair in part])
    found = pool([(str(i), {'expression': expression_score(p)}) for i, p in enumerate(pairs)])
    for name in ('n', 'accuracy', 'macro_f1', 'confusion'):
        assert found['expression'][name] == pytest.approx(whole[name]) \
            if name != 'confusion' else found['expression'][name] == whole[name]
    for name, one in whole['per_class'].items():
        assert found['expression']['per_class'][name]['f1'] == pytest.approx(one['f1'])


def test_pooled_valence_is_that_of_all_frames_at_once():
    rng = np.random.default_rng(3)
    parts = [(rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)) for n in (4, 30, 7)]
    parts.append((np.full(5, 0.2), np.full(5, 0.1)))  # a recording in which nothing varies
    whole = affect_score(*(np.concatenate(side) for side in zip(*parts)))
    found = pool([(str(i), {'valence': affect_score(*part)}) for i, part in enumerate(parts)])
    for name in ('n', 'ccc', 'pcc', 'rmse', 'sagr'):
        assert found['valence'][name] == pytest.approx(whole[name]), name


def blinks(tp, fp, fn):
    return {'blink': {'tp': tp, 'fp': fp, 'fn': fn, 'scored_s': 60.0}}


def test_intervals_are_over_people_and_the_same_every_time():
    rng = np.random.default_rng(1)
    parts = [(f'p{i}', blinks(int(rng.integers(5, 10)), int(rng.integers(0, 3)),
                              int(rng.integers(0, 3)))) for i in range(12)]
    low, high = pool(parts)['blink']['interval']['f1']
    assert low < pool(parts)['blink']['f1'] < high
    assert pool(parts) == pool(parts)
    # Ten recordings of each person tell no more about people than one does.
    often = [part for part in parts for _ in range(10)]
    assert pool(often)['blink']['interval']['f1'] == pytest.approx([low, high])
    assert pool(often)['blink']['people'] == 12
    alone = [(f'{who}{i}', part) for i, (who, part) in enumerate(often)]
    assert np.ptp(pool(alone)['blink']['interval']['f1']) < 0.5 * (high - low)


def test_an_interval_over_images_is_that_of_as_many_people():
    """To draw cells of the confusion is to draw images, up to the chance of the draws."""
    rng = np.random.default_rng(2)
    pairs = [(Expression(int(rng.integers(3))), Expression(int(rng.choice([0, 1, 2, 255]))))
             for _ in range(400)]
    ends = over_images(expression_score(pairs))
    people = pool([(str(i), {'expression': expression_score([pair])})
                   for i, pair in enumerate(pairs)])['expression']['interval']
    for name in ('accuracy', 'macro_f1'):
        assert ends[name] == pytest.approx(people[name], abs=0.008)
    assert over_images(expression_score(pairs[:2])) == {'accuracy': None, 'macro_f1': None}


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(60):
        right = rng.binomial(20, 0.8, 20)
        ends = pool([(str(i), blinks(int(n), 0, 20 - int(n))) for i, n in enumerate(right)])[
            'blink']['interval']['recall']
        hits += ends[0] <= 0.8 <= ends[1]
    assert 50 <= hits <= 60


# --- labels ---------------------------------------------------------------------------------------

def test_every_kind_of_label_is_read(tmp_path):
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps({
        'fps': 30, 'mood': 'not known here',
        'blinks': [{'start_frame': 40, 'end_frame': 43, 'confidence': 0.9},
                   {'start_frame': 7, 'end_frame': 7}],
        'ignore': [[100, 120]],
        'expression': [{'start_frame': 0, 'end_frame': 14, 'label': 'Angry', 'valence': -0.5}],
        'faces': 1, 'perclos': 0.037}))
    labels = read_labels(path)
    assert labels.blinks == (FrameSpan(7, 7), FrameSpan(40, 43))
    assert labels.ignore == (FrameSpan(100, 120),)
    assert labels.expressions[0].expression is Expression.ANGER
    assert labels.expressions[0].valence == -0.5
    assert (labels.faces, labels.perclos) == (1, 0.037)
    assert labels.notes == ('not used in the labels: mood',)
    assert read_labels_of(tmp_path, {}).blinks is None  # not labelled is not 'none blinked'
    assert read_labels_of(tmp_path, {'blinks': []}).blinks == ()


def read_labels_of(folder, value):
    path = folder / 'some.json'
    path.write_text(json.dumps(value))
    return read_labels(path)


def test_labels_of_images_come_from_csv_or_json(tmp_path):
    path = tmp_path / 'labels.csv'
    path.write_text('file,expression,valence\na.jpg,happy,0.8\nb.jpg, Sadness ,\n')
    pictures = read_labels(path).pictures
    assert pictures['a.jpg'].expression is Expression.HAPPY
    assert pictures['a.jpg'].valence == 0.8
    assert pictures['b.jpg'].expression is Expression.SAD
    assert math.isnan(pictures['b.jpg'].valence)
    labels = read_labels_of(tmp_path, {
        'a.jpg': {'faces': 1, 'boxes_top_left_width_height': [[10, 20, 30, 40]]}})
    assert labels.pictures['a.jpg'].boxes == ((20, 10, 50, 50),)


def refusal_of(path, text) -> str:
    """Return why labels with this text are refused."""
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_labels(path)
    return str(caught.value)


@pytest.mark.parametrize(('text', 'said'), [
    ('{', 'not valid JSON at line 1'),
    ('[1]', 'labels are a JSON object with any of blinks'),
    ('{"blinks": 3}', 'blinks: expected a list'),
    ('{"blinks": [[1, 2]]}', 'blinks[0]: expected {"start_frame": a, "end_frame": b}'),
    ('{"blinks": [{"start_frame": 5, "end_frame": 4}]}', 'whole numbers, 0 <= start <= end, not 5'),
    ('{"blinks": [{"start_frame": -1, "end_frame": 4}]}', 'blinks[0]: frames are whole numbers'),
    ('{"blinks": [{"start_frame": 1.5, "end_frame": 4}]}', 'blinks[0]: frames are whole numbers'),
    ('{"ignore": [7]}', 'ignore[0]: expected [first frame, last frame]'),
    ('{"expression": [{"start_frame": 0, "end_frame": 4}]}',
     'expression[0]: expected {"start_frame"'),
    ('{"expression": [{"start_frame": 0, "end_frame": 4, "label": "bored"}]}',
     "expression[0]: unknown expression 'bored'; known are neutral, happy"),
    ('{"faces": true}', 'faces: expected a whole number'),
    ('{"perclos": 37}', 'perclos: expected a share from 0 to 1, not 37'),
])
def test_labels_that_cannot_be_understood_are_named(tmp_path, text, said):
    path = tmp_path / 'labels.json'
    refusal = refusal_of(path, text)
    assert said in refusal
    assert str(path) in refusal


@pytest.mark.parametrize(('text', 'said'), [
    ('name,label\na.jpg,happy\n', "line 1 must name the columns, at least 'file,expression'"),
    ('file,expression\na.jpg,happy\na.jpg,sad\n', 'line 3: labelled twice: a.jpg'),
    ('file,expression\na.jpg,great\n', "line 2: unknown expression 'great'"),
    ('file,expression,valence\na.jpg,sad,2\n', 'line 2: valence: expected a number from -1 to 1'),
    ('file,expression\n', 'no labels below the header'),
])
def test_a_csv_that_cannot_be_understood_is_named(tmp_path, text, said):
    assert said in refusal_of(tmp_path / 'labels.csv', text)


@pytest.mark.parametrize(('value', 'frames', 'names', 'said'), [
    ({'blinks': [{'start_frame': 95, 'end_frame': 100}]}, 100, (),
     'blinks[0] ends at frame 100, but the input has 100 frames (0 ... 99)'),
    ({'ignore': [[0, 500]]}, 100, (), 'ignore[0] ends at frame 500'),
    ({'a.jpg': {'faces': 1}}, 3, ('b.jpg',), "labels 'a.jpg', which the input does not have"),
    ({'a.jpg': {'faces': 1}}, 3, (), 'the input is no folder of images'),
])
def test_labels_must_be_about_the_input(tmp_path, value, frames, names, said):
    with pytest.raises(InputError) as caught:
        read_labels_of(tmp_path, value).check(frames, names)
    assert said in str(caught.value)
