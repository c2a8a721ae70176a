# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recordings labelled as a whole: what each class shows, and how well it is told apart."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as some
import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from aitable_ros.errors import InputError
from aitable_ros.evaluation.bootstrap import interval, weights
from aitable_ros.evaluation.compare import _class_differences
from aitable_ros.evaluation.datasets.own import read_labels
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.report.many_recordings import class_tables
from aitable_ros.evaluation.video_classes import Contrast, of_video, pool_classes, ranks
from aitable_ros.types import FatigueLevel

ORDER = ['alert', 'low vigilant', 'drowsy']


def video(name, perclos, *, level=0, tired=0.0, yawns=0.0, classes=ORDER):
    level_max = ('ALERT', 'MILD', 'SEVERE', 'ASLEEP')[level] if level is not None else 'UNKNOWN'
    return {'video_class': {
        'class': name, 'classes': list(classes), 'level_max': level_max, 'level': level,
        'tired_share': tired, 'perclos': perclos, 'yawns_per_minute': yawns}}


def auc_of(scored, figure='perclos', of='drowsy', against='alert'):
    return next(entry for entry in pool_classes(scored)['auc'] if (
        entry['figure'], entry['of'], entry['against']) == (figure, of, against))


@settings(deadline=None)
@given(some.lists(some.integers(0, 5), min_size=1, max_size=12),
       some.lists(some.integers(0, 5), min_size=1, max_size=12))
def test_auc_is_the_mann_whitney_statistic(earlier, later):
    scored = [(f'a{i}', video('alert', value)) for i, value in enumerate(earlier)] \
        + [(f'd{i}', video('drowsy', value)) for i, value in enumerate(later)]
    u = mannwhitneyu(later, earlier, method='asymptotic').statistic
    ranked = ranks(scored, Contrast('perclos', 'drowsy', 'alert'))
    assert ranked.auc()[0] == pytest.approx(u / (len(earlier) * len(later)))
    assert ranked.recordings == (len(later), len(earlier))


@settings(deadline=None)
@given(some.integers(0, 10_000))
def test_a_replicate_is_the_auc_of_the_people_drawn(seed):
    """Drawing people by weights is as good as repeating their recordings."""
    rng = np.random.default_rng(seed)
    scored = [(f'p{rng.integers(4)}', video(rng.choice(['alert', 'drowsy']), int(rng.integers(4))))
              for _ in range(12)]
    contrast = Contrast('perclos', 'drowsy', 'alert')
    ranked = ranks(scored, contrast)
    if ranked is None:
        return
    drawn = rng.multinomial(len(ranked.people), [1 / len(ranked.people)] * len(ranked.people))
    repeated = [(who, score) for who, score in scored
                for _ in range(drawn[ranked.people.index(who)])]
    again = ranks(repeated, contrast)
    value = ranked.auc(drawn[None].astype(float))[0]
    if again is None:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(again.auc()[0])


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    """Two recordings of each of 30 people, whose figures have much of the person in them."""
    rng = np.random.default_rng(7)
    count, spread = 30, 0.5
    # Pairs of two people differ by 1 with variance 2 (1 + 0.5²), those of one with 2 * 0.5².
    apart, own = norm.cdf(1 / np.sqrt(2 * (1 + spread**2))), norm.cdf(1 / np.sqrt(2 * spread**2))
    truth = apart + (own - apart) / count
    hits, drawn = 0, weights(count)
    for _ in range(200):
        person = rng.normal(size=count)
        ranked = ranks([
            (str(who), video(name, float(person[who] + shift + spread * rng.normal())))
            for who in range(count) for name, shift in (('alert', 0), ('drowsy', 1))],
            Contrast('perclos', 'drowsy', 'alert'))
        low, high = interval(ranked.auc(drawn))
        hits += low <= truth <= high
    assert 180 <= hits <= 199


def test_recordings_of_one_person_are_drawn_together():
    rng = np.random.default_rng(3)
    once = [(str(who), video(name, float(rng.normal() + shift)))
            for who in range(20) for name, shift in (('alert', 0), ('drowsy', 1))]
    often = [entry for entry in once for _ in range(10)]
    assert auc_of(often)['interval'] == pytest.approx(auc_of(once)['interval'])
    assert auc_of(once)['interval'] == auc_of(once)['interval']  # the same every time


def test_the_classes_are_told_by_level_and_figures_in_the_order_of_the_data_set():
    found = pool_classes([
        ('1', video('drowsy', 0.2, level=2, tired=0.5)),
        ('1', video('alert', 0.02)), ('2', video('alert', None, level=None, tired=None)),
        ('2', video('drowsy', 0.1, level=1, tired=0.25)), ('3', {'blink': {}})])
    assert list(found['classes']) == ['alert', 'drowsy']
    assert (found['inputs'], found['people']) == (4, 2)
    alert, drowsy = found['classes'].values()
    assert alert['level_max'] == {'UNKNOWN': 1, 'ALERT': 1}
    assert alert['perclos'] == {'known': 1, 'mean': 0.02, 'median': 0.02}
    assert drowsy['tired_share']['mean'] == 0.375
    entry = auc_of([('1', video('drowsy', 0.2)), ('1', video('alert', 0.02))])
    assert (entry['auc'], entry['n'], entry['n_against'], entry['interval']) == (1, 1, 1, None)
    levels, auc = class_tables(found)
    assert levels.rows[0][:5] == ['alert', 2, 2, 1, 1]
    assert levels.columns[3:5] == ('highest UNKNOWN', 'highest ALERT')
    assert ['PERCLOS', 'drowsy against alert', '2, 1', '1.000', ''] in [list(r) for r in auc.rows]
    assert pool_classes([('3', {'blink': {}})]) == {}
    assert class_tables({}) == []
    json.dumps(found, allow_nan=False)


def test_a_figure_that_is_known_in_one_class_alone_has_no_auc():
    found = pool_classes([('1', video('alert', None)), ('2', video('drowsy', 0.3))])
    assert not [entry for entry in found['auc'] if entry['figure'] == 'perclos']
    assert [entry for entry in found['auc'] if entry['figure'] == 'level']


def test_two_runs_are_compared_on_the_same_people():
    rng = np.random.default_rng(11)
    own = rng.normal(size=25)
    def run(gain):
        return [(str(who), video(name, float(own[who] * 0.2 + gain * shift + 0.1 * noise[who])))
                for name, shift, noise in (('alert', 0, first), ('drowsy', 1, second))
                for who in range(25)]

    first, second = rng.normal(size=(2, 25))
    entry = next(entry for entry in _class_differences(run(0.05), run(0.4))
                 if entry['name'] == 'video_class.perclos.drowsy-alert')
    assert entry['difference'] == pytest.approx(
        auc_of(run(0.4))['auc'] - auc_of(run(0.05))['auc'])
    assert entry['interval'][0] > 0
    assert entry['verdict'] == 'B better'
    assert entry['people'] == 25


def test_the_class_of_a_recording_and_its_figures(tmp_path):
    measured = Measurements()
    measured.levels.extend([FatigueLevel.UNKNOWN] * 5 + [FatigueLevel.ALERT] * 6
                        + [FatigueLevel.MILD] * 3 + [FatigueLevel.SEVERE])
    measured.level_max = FatigueLevel.SEVERE
    measured.usable_s, measured.closed_s = 10.0, 2.0
    found = of_video(measured, Labels(path=tmp_path, video_class='drowsy', classes=tuple(ORDER)))
    assert found == {
        'class': 'drowsy', 'classes': ORDER, 'level_max': 'SEVERE', 'level': 2,
        'tired_share': 0.4, 'perclos': 0.2, 'yawns_per_minute': 0}
    nobody = of_video(Measurements(), Labels(path=tmp_path, video_class='x'))
    assert (nobody['level'], nobody['tired_share'], nobody['perclos'], nobody['classes']) == (
        None, None, None, ['x'])


def test_a_json_may_label_the_class(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps({'class': 'drowsy', 'classes': ORDER, 'subject': '7'}))
    labels = read_labels(path)
    assert (labels.video_class, labels.classes, labels.notes) == ('drowsy', tuple(ORDER), ())
    for document, said in (
            ({'class': 3}, 'class: expected a name'),
            ({'class': 'x', 'classes': 'abc'}, 'classes: expected a list of names'),
            ({'class': 'x', 'classes': ['a', 'b']}, "class: 'x' is none of the classes a, b")):
        path.write_text(json.dumps(document))
        with pytest.raises(InputError, match=said):
            read_labels(path)
