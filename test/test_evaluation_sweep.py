# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Sweeps: the vision once, the same answer as the pipeline, the best value and how sure it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
import json
from pathlib import Path

from films import write_film
import numpy as np
import pytest

from aitable_ros.cli import main
from aitable_ros.emotion.reader import EmotionOptions
from aitable_ros.errors import InputError
from aitable_ros.evaluation import replay, sweep
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.report.sweep import conclusion
from aitable_ros.pipeline import Pipeline, PipelineOptions
from aitable_ros.recordings.readers import open_source


@pytest.mark.parametrize(('text', 'said'), [
    ('fatigue.blink_min_drop', 'KEY=FROM:TO:COUNT'),
    ('fatigue.blink_min_drop=0.1:0.2', 'KEY=FROM:TO:COUNT'),
    ('fatigue.blink_min_drop=a:b:c', 'KEY=FROM:TO:COUNT'),
    ('fatigue.blink_min_drop=0.2:0.1:3', 'FROM below TO'),
    ('fatigue.blink_min_drop=0.1:0.2:1', 'COUNT from 2 to 1000'),
    ('fatigue.blink_min_drop=nan:0.2:3', 'FROM below TO'),
    ('blink_min_drop=0.1:0.2:3', "'blink_min_drop' is none of the stages"),
    ('mouth.width=0.1:0.2:3', "'mouth' is none of the stages face, fatigue, emotion"),
    ('fatigue.blink_drop=0.1:0.2:3', "no number 'blink_drop' that can change while it runs"),
    ('fatigue.threads=1:2:2', "no number 'threads'"),
    ('fatigue.exclude_blinks=0:1:2', "no number 'exclude_blinks'"),
    ('fatigue.blink_min_drop=0.1:2:3', "= 1.05: parameter 'blink_min_drop' must be from 0.05"),
    ('fatigue.closed_enter=0.1:0.9:3', "= 0.9: parameter 'closed_enter' (0.9) must be at most"),
])
def test_what_cannot_be_swept_is_told_before_anything_runs(text, said):
    with pytest.raises(InputError) as caught:
        sweep.parse(text, PipelineOptions())
    assert said in str(caught.value)


def test_values_are_evenly_spaced_and_whole_where_the_parameter_is():
    found = sweep.parse('fatigue.blink_min_drop=0.05:0.3:11', PipelineOptions())
    assert found.values == pytest.approx(np.linspace(0.05, 0.3, 11))
    assert found.values[2] == 0.1
    whole = sweep.parse('face.max_faces=1:3:9', PipelineOptions())
    assert whole.values == (1, 2, 3)
    assert whole.options(PipelineOptions(), 3).face.max_faces == 3
    assert whole.options(PipelineOptions(), 3).fatigue == PipelineOptions().fatigue


# --- which is best --------------------------------------------------------------------------------

def weighed(counts, *, people=5, objective=None):
    """Weigh values of 0, 0.1, 0.2, ... at which each person has these (tp, fp, fn)."""
    values = tuple(round(0.1 * index, 1) for index in range(len(counts)))
    key = sweep.Sweep('fatigue', 'x', values, values[-1], '')
    scored = [[(f'p{i}', {'blink': dict(zip(('tp', 'fp', 'fn'), count), scored_s=3600)})
               for i in range(people)] for count in counts]
    return sweep.weigh(key, values, scored, objective)


def test_the_best_is_the_middle_of_equals_and_the_plateau_lies_around_it():
    found = weighed([(5, 5, 5), (10, 0, 0), (10, 0, 0), (10, 0, 0), (100, 1, 0), (5, 0, 5),
                     (10, 0, 0)])
    assert found['best']['value'] == 0.2
    assert found['best']['interval'] == [1, 1]
    assert found['plateau'] == [0.1, 0.4]
    assert found['current'] == {
        'value': 0.6, 'score': 1, 'best_minus_current': 0, 'interval': [0, 0]}
    assert [entry['value'] for entry in found['values']] == pytest.approx(np.arange(7) / 10)


def test_less_is_better_where_it_is():
    counts = [(10, 4, 0), (9, 1, 1), (10, 2, 0)]
    assert weighed(counts)['best']['value'] == 0.2  # F1 0.91, beside 0.83 and 0.9
    fewer = weighed(counts, objective='blink.false_per_hour')
    assert fewer['best'] == {
        'value': 0.1, 'score': 1, 'interval': [1, 1], 'value_interval': [0.1, 0.1]}


def test_no_interval_of_two_people_and_no_best_where_nothing_changes():
    found = weighed([(5, 1, 0)] * 3, people=2)
    assert found['flat']
    assert found['best']['interval'] is None
    assert found['best']['value_interval'] is None
    assert 'makes no difference' in conclusion(found)


def test_the_best_value_is_as_unsure_as_people_differ():
    values = (0.1, 0.2, 0.3)
    key = sweep.Sweep('fatigue', 'x', values, 0.2, '')
    scored = [[(f'p{i}', {'blink': {'tp': tp, 'fp': 0, 'fn': 10 - tp, 'scored_s': 60}})
               for i, tp in enumerate(row)]
              for row in ([9, 9, 9, 2, 2, 2], [7] * 6, [2, 2, 2, 9, 9, 9])]
    found = sweep.weigh(key, values, scored)
    assert found['best']['value'] == 0.2
    low, high = found['best']['value_interval']
    assert (low, high) == (0.1, 0.3)
    assert found['current']['interval'] == [0, 0]


def test_an_objective_that_the_labels_do_not_allow_is_told():
    with pytest.raises(InputError, match=r'the labels allow blink\.precision, blink\.recall'):
        weighed([(1, 0, 0)] * 2, objective='expression.accuracy')
    key = sweep.Sweep('emotion', 'x', (0.1, 0.2), 0.1, '')
    with pytest.raises(InputError, match='hold nothing that it could make better'):
        sweep.weigh(key, key.values, [[('p', {'blink': {'tp': 1, 'fp': 0, 'fn': 0}})]] * 2)


# --- the vision once ------------------------------------------------------------------------------

class Beginning:
    """The first images of a recording."""

    stills = False

    def __init__(self, source, count):
        self.frames = list(islice(source, count))

    def __iter__(self):
        yield from self.frames


def judged(results):
    measured = Measurements()
    for result in results:
        measured.add(result)
    first = min((e.event.track_id for e in measured.events), default=0)  # ids go on in a process
    return ([(replace(e.event, track_id=e.event.track_id - first), e.primary, e.start_frame,
              e.end_frame) for e in measured.events],
            measured.closed_s, measured.usable_s, measured.level_max, list(measured.faces))


@pytest.mark.parametrize(('name', 'count'), [
    ('talking_woman.mp4', 100), ('face_then_noface.mov', 200), ('three_people.gif', 200)])
def test_what_is_judged_again_is_what_the_pipeline_says(models, shared_data, name, count):
    source = Beginning(open_source(shared_data / 'video' / name), count)
    base = PipelineOptions(emotion=EmotionOptions(model='off', fallbacks=()))
    other = replace(base, fatigue=replace(
        base.fatigue, blink_min_drop=0.06, closed_enter=0.4, forget_s=1.0, max_yaw=0.3,
        perclos_min_usable_s=2.0, min_eye_px=4.0))
    with Pipeline(base) as pipeline:
        seen = replay.look(source, pipeline, landmarks=True)
    with Pipeline(other) as pipeline:
        direct = judged(pipeline.process_frame(frame) for frame in source)
    again = judged(replay.judge(replay.read_again(seen, other.fatigue), other.fatigue))
    assert again == direct
    assert seen[0].result.faces[0].landmarks is None


def clip(portrait, path, frames=30):
    return write_film(path, [portrait] * frames, 25)


@pytest.mark.parametrize(('key', 'objective'), [
    ('fatigue.blink_min_drop=0.2:0.5:4', 'blink.f1'),
    ('fatigue.min_eye_px=6:200:2', 'blink.f1'),
    ('fatigue.min_presence=0.3:0.7:2', 'blink.f1'),
    ('emotion.min_face_px=24:900:3', 'expression.macro_f1'),
    ('face.confidence=0.3:0.9999:2', 'faces.exact')])
def test_each_stage_can_be_swept(models, portrait, tmp_path, capsys, key, objective):
    video = clip(portrait, tmp_path / 'one.avi', 16)
    labels = tmp_path / 'one.json'
    labels.write_text(json.dumps({
        'blinks': [], 'faces': 1,
        'expression': [{'start_frame': 0, 'end_frame': 15, 'label': 'happy'}]}))
    out = tmp_path / 'out'
    assert main(['evaluate', str(video), '--labels', str(labels), '--sweep', key, '--output',
                 str(out), '--params', str(Path(__file__).parent / 'data' / 'quick.yaml')]) == 0
    said = capsys.readouterr().out
    whole = json.loads((out / 'sweep.json').read_text())
    assert whole['objective'] == objective
    count = int(key.rpartition(':')[2])
    assert len(whole['values']) == count
    html = (out / 'sweep.html').read_text(encoding='utf-8')
    assert 'Every value' in html
    assert 'plot-1-data' in html
    if key.startswith('emotion'):
        assert [entry['score'] for entry in whole['values']] == [1, 1, 0] or \
            [entry['score'] for entry in whole['values']] == [1, 0, 0]
        assert whole['current']['score'] == 1
    elif key.startswith('face'):
        assert [entry['score'] for entry in whole['values']] == [1, 0]
        assert 'best: face.confidence = 0.3' in said
    else:
        assert whole['flat']
        assert 'makes no difference' in said


@pytest.mark.parametrize(('arguments', 'said'), [
    (['--sweep', 'fatigue.blink_min_drop=0.05:0.3:2'], '--sweep needs labels of every input'),
    (['--sweep', 'nonsense'], 'KEY=FROM:TO:COUNT'),
])
def test_bad_use_is_one_line_and_status_2(arguments, said, portrait, tmp_path, capsys):
    video = clip(portrait, tmp_path / 'one.avi', 2)
    assert main(['evaluate', str(video), *arguments, '--output', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_sweep_of_real_clips_prefers_what_people_labelled(models, shared_data, tmp_path):
    (tmp_path / 'p.yaml').write_text('emotion: {ros__parameters: {model: "off", fallbacks: []}}')
    inputs = [str(shared_data / 'video' / name)
              for name in ('talking_woman.mp4', 'laugh_dark.mp4')]
    assert main(['evaluate', *inputs, '--labels', str(shared_data / 'labels'), '--sweep',
                 'fatigue.blink_min_drop=0.05:0.9:5', '--params', str(tmp_path / 'p.yaml'),
                 '--output', str(tmp_path)]) == 0
    whole = json.loads((tmp_path / 'sweep.json').read_text())
    recall = [entry['pooled']['blink']['recall'] for entry in whole['values']]
    assert recall == sorted(recall, reverse=True)
    assert recall[0] == 1
    assert whole['best']['value'] < 0.5
    assert whole['best']['score'] >= 0.8
    assert whole['people'] == 2
    assert whole['best']['interval'] is None
