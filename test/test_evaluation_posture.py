# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Posture of a recording: placed, timed, told apart by person, written, scored and pooled."""

from __future__ import annotations

from collections.abc import Sequence
import csv
from dataclasses import dataclass, field, replace
import json
from pathlib import Path

import numpy as np
import pytest

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.evaluation.compare import compare, read_run
from aitable_ros.evaluation.datasets.own import read_labels
from aitable_ros.evaluation.evaluate import evaluate, measure
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.output_tables import COLUMNS, read_columns
from aitable_ros.evaluation.pooling import pool
from aitable_ros.evaluation.report.elements import Span
from aitable_ros.evaluation.report.many_recordings import write_overview
from aitable_ros.evaluation.report.postures import people_of, spans_of
from aitable_ros.evaluation.summary import pooled, summarise
from aitable_ros.message_fields import TOPICS
from aitable_ros.pipeline import PipelineOptions
from aitable_ros.posture_types import (
    Body, FIRST_BODY_ID, JOINTS, PostureAssessment, PostureEvent, PostureEventType, PostureState,
    PostureUpdate, PostureValidity, Skeleton
)
from aitable_ros.recordings.bag_messages import BagMessages
from aitable_ros.recordings.recorded_pipeline import RecordedPipeline
from aitable_ros.recordings.recorded_topics import RecordedTopics
from aitable_ros.recordings.source import Source
from aitable_ros.types import Detection, FaceResult, Frame, FrameResult, ModelInfo, TrackedFace

UPRIGHT, FORWARD, LEFT, DOWN, UNKNOWN = (
    PostureState.UPRIGHT, PostureState.LEANING_FORWARD, PostureState.LEANING_LEFT,
    PostureState.HEAD_DOWN, PostureState.UNKNOWN)
PERIOD_NS = 100_000_000
START_NS = 10 ** 18
MODEL = ModelInfo('blazepose', 'onnxruntime', 'fp32')
PERSON, OTHER = 7, FIRST_BODY_ID + 2


def body(track_id: int, **values: bool) -> Body:
    points = np.full((JOINTS, 3), 40, np.float32)
    points[0], points[1] = (20, 10, 0), (60, 90, 0)
    visibility = np.full(JOINTS, 0.9, np.float32)
    visibility[5:] = 0.25
    return Body(track_id, Skeleton(points, visibility, points / 100, 0.9), **values)


def answer(
    index: int, state: PostureState | None, *, events: Sequence[PostureEvent] = (),
    other: PostureState | None = None, face: bool = True, read: bool = True,
) -> FrameResult:
    """
    Make what the pipeline says about one frame.

    :param state: of the primary person; None: not in the image
    :param other: of somebody whose face was never seen
    """
    stamp_ns = START_NS + index * PERIOD_NS
    faces = (FaceResult(face=TrackedFace(
        PERSON, Detection(np.array([20, 10, 40, 30], np.float32), 0.9), primary=True)),)
    sitting = {track: found for track, found in ((PERSON, state), (OTHER, other))
               if found is not None}
    gone = () if state is not None else (
        PostureAssessment(PERSON, stamp_ns, PostureValidity.NO_BODY),)
    return FrameResult(
        stamp_ns, faces if face else (), (), (), {'posture': MODEL}, {'posture': 2.5},
        posture=PostureUpdate(
            read=read, events=tuple(events), absent=gone,
            bodies=tuple(body(track, has_face=face and track == PERSON, primary=track == PERSON)
                         for track in sitting),
            assessments={track: PostureAssessment(
                track, stamp_ns, PostureValidity.VALID, found, 0.5, shoulder_tilt=0.25,
                state_time_s=tuple(float(number) for number in range(8)))
                for track, found in sitting.items()}))


def measured_of(results: Sequence[FrameResult]) -> Measurements:
    measured = Measurements()
    for result in results:
        measured.add(result)
    return measured


def event(kind: PostureEventType, frame: int, duration_s: float, track: int = PERSON,
          state: PostureState = FORWARD, before: PostureState = UPRIGHT) -> PostureEvent:
    return PostureEvent(track, kind, START_NS + frame * PERIOD_NS, duration_s, state, before)


@dataclass
class Played:
    """A stage that knows the answers."""

    results: Sequence[FrameResult]
    options: PipelineOptions = field(default_factory=PipelineOptions)
    attempts = ()

    def __post_init__(self) -> None:
        self.faces = self.fatigue = self.emotion = self.posture = self

    def reset(self) -> None:
        self.left = iter(self.results)

    def configure(self, options: object) -> None:
        pass

    def process_frame(self, frame: Frame) -> FrameResult:
        return next(self.left)


class Clip(Source):
    """As many frames as there are answers."""

    kind = 'video'

    def __init__(self, results: Sequence[FrameResult]) -> None:
        super().__init__(Path('/data/clip.avi'))
        self._results = results
        self.frames = len(results)

    def _read(self):
        for result in self._results:
            yield Frame(np.zeros((2, 2, 3), np.uint8), result.stamp_ns)


SEEN = [
    *(answer(i, UPRIGHT, other=LEFT, read=i % 2 == 0) for i in range(20)),
    *(answer(i, FORWARD, read=i % 2 == 0, events=[
        event(PostureEventType.POSTURE_CHANGED, 20, 2.0)] if i == 24 else ())
      for i in range(20, 30)),
    *(answer(i, DOWN, face=False, read=i % 2 == 0, events=[
        event(PostureEventType.SLUMPED, 30, 0.4, state=DOWN),
        event(PostureEventType.STILL, 5, 1.0, track=OTHER)] if i == 34 else ())
      for i in range(30, 40)),
    *(answer(i, None, face=False, read=i % 2 == 0) for i in range(40, 50))]
"""The primary person upright, forward, with the head down, and gone; another to the left."""


# --- measured -------------------------------------------------------------------------------------

def test_time_in_each_state_is_the_primary_persons_and_ends_with_the_body():
    found = measured_of(SEEN).posture
    assert found.share() == pytest.approx({
        'UPRIGHT': 0.5, 'LEANING_FORWARD': 0.25, 'HEAD_DOWN': 0.25})
    assert found.usable_s == pytest.approx(4.0)
    assert found.summary()['changes'] == 1
    assert found.summary()['events'] == {'STILL': 0, 'SLUMPED': 1}
    assert list(found.states[::10]) == [UPRIGHT, UPRIGHT, FORWARD, DOWN, UNKNOWN]


@pytest.mark.parametrize(('gap', 'usable_s'), [(5, 0.9 + 0.6), (30, 0.9 + 1.0)])
def test_a_state_is_believed_for_a_second_and_no_longer(gap, usable_s):
    results = [answer(i if i < 10 else i + gap, UPRIGHT) for i in range(11)]
    assert measured_of(results).posture.usable_s == pytest.approx(usable_s)


def test_a_clock_that_was_set_adds_no_time():
    results = [answer(i, UPRIGHT) for i in range(10)]
    results += [replace(answer(i, UPRIGHT), stamp_ns=START_NS + 10 ** 13 + i * PERIOD_NS)
                for i in range(10)]
    measured = Measurements()
    for index, result in enumerate(results):
        measured.add(result, leap=index == 10)
    assert measured.posture.usable_s == pytest.approx(1.8)
    assert measured.duration_s == pytest.approx(1.9)


def test_events_are_placed_and_a_change_is_a_moment():
    changed, slumped, still = measured_of(SEEN).posture.events
    assert (changed.name, changed.start_frame, changed.end_frame) == ('POSTURE_CHANGED', 20, 20)
    assert changed.start_s == changed.end_s == pytest.approx(2.0)
    assert (slumped.name, slumped.start_frame, slumped.end_frame) == ('POSTURE_SLUMPED', 30, 34)
    assert (slumped.primary, still.name, still.primary) == (True, 'POSTURE_STILL', False)


def test_a_change_that_is_told_late_counts_from_its_beginning():
    results = [answer(i, UPRIGHT if i < 20 else LEFT, events=[
        event(PostureEventType.POSTURE_CHANGED, 10, 1.0, state=LEFT)] if i == 20 else ())
        for i in range(31)]
    found = measured_of(results).posture
    assert list(found.states) == [UPRIGHT] * 10 + [LEFT] * 21
    assert found.share() == pytest.approx({'UPRIGHT': 1 / 3, 'LEANING_LEFT': 2 / 3})
    others = [replace(result, posture=replace(result.posture, events=tuple(
        replace(told, track_id=OTHER) for told in result.posture.events))) for result in results]
    assert list(measured_of(others).posture.states) == [UPRIGHT] * 20 + [LEFT] * 11


def test_somebody_whose_face_was_never_seen_is_primary_where_the_stage_says_so():
    update = PostureUpdate(
        read=True, bodies=(body(OTHER, primary=True),),
        assessments={OTHER: PostureAssessment(OTHER, 1, PostureValidity.VALID, DOWN)})
    result = FrameResult(1, (), (), (), {}, {}, posture=update)
    assert list(measured_of([result]).posture.states) == [DOWN]


# --- written --------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('posture')
    (folder / 'labels.json').write_text(json.dumps({'posture': [
        {'start_frame': 0, 'end_frame': 19, 'state': 'UPRIGHT'},
        {'start_frame': 20, 'end_frame': 34, 'state': 'leaning_forward'},
        {'start_frame': 35, 'end_frame': 44, 'state': 'HEAD_DOWN'}], 'ignore': [[18, 19]]}))
    source = Clip(SEEN)
    evaluate(source, read_labels(folder / 'labels.json'), folder / 'out', Played(SEEN))
    return folder / 'out'


def test_the_table_of_faces_gets_columns_for_the_person_of_the_row(written):
    columns = read_columns(written / 'frames.parquet', (
        'frame', 'track_id', 'present', 'posture_state', 'posture_shoulder_tilt', 'posture_read',
        'posture_by', 'posture_ms'))
    assert columns['posture_state'][:20].tolist() == ['UPRIGHT'] * 20
    assert columns['posture_read'][:4].tolist() == [1, 0, 1, 0]
    assert set(columns['posture_by']) == {'blazepose@onnxruntime/fp32'}
    assert columns['posture_ms'][0] == 2.5
    assert columns['posture_shoulder_tilt'][0] == 0.25


def test_bodies_have_a_row_per_reading_with_or_without_a_face(written):
    from pyarrow import parquet

    table = parquet.read_table(written / 'bodies.parquet')
    assert table.schema.field('height_drop').metadata[b'description'].startswith(b'share of')
    rows = table.to_pylist()
    assert [row['track_id'] for row in rows if row['frame'] == 0] == [PERSON, OTHER]
    assert {row['frame'] for row in rows} == set(range(0, 50, 2))
    first, other, hidden = rows[0], rows[1], next(row for row in rows if row['frame'] == 30)
    assert (first['has_face'], first['primary'], first['state']) == (True, True, 'UPRIGHT')
    assert (first['x1'], first['y1'], first['x2'], first['y2']) == (20, 10, 60, 90)
    assert (first['joints_seen'], first['slouched_s']) == (5, 6.0)
    assert (other['has_face'], other['primary'], other['state']) == (False, False, 'LEANING_LEFT')
    assert (hidden['has_face'], hidden['state']) == (False, 'HEAD_DOWN')
    assert (rows[-1]['present'], rows[-1]['track_id'], rows[-1]['validity']) == (
        False, PERSON, 'NO_BODY')


def test_events_and_summary(written):
    with (written / 'events.csv').open(newline='') as lines:
        rows = list(csv.DictReader(lines))
    assert [(row['type'], row['primary'], row['state'], row['previous_state']) for row in rows] == [
        ('POSTURE_CHANGED', '1', 'LEANING_FORWARD', 'UPRIGHT'),
        ('POSTURE_SLUMPED', '1', 'HEAD_DOWN', 'UPRIGHT'),
        ('POSTURE_STILL', '0', 'LEANING_FORWARD', 'UPRIGHT')]
    summary = json.loads((written / 'summary.json').read_text())
    assert summary['posture'] == {
        'share': {'UPRIGHT': 0.5, 'LEANING_FORWARD': 0.25, 'HEAD_DOWN': 0.25}, 'usable_s': 4.0,
        'changes': 1, 'events': {'STILL': 0, 'SLUMPED': 1}}
    assert summary['backend']['posture']['model'] == 'blazepose'
    assert summary['events']['SLUMPED'] == 0, 'of fatigue'


def test_without_posture_nothing_of_it_is_there(written, tmp_path):
    plain = [replace(result, posture=None, models={}, elapsed_ms={}) for result in SEEN]
    played = Played(plain)
    played.posture = None
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'bodies.parquet').write_text('of an earlier run')
    labels = read_labels(written.parent / 'labels.json')
    evaluate(Clip(plain), labels, out, played)
    from pyarrow import parquet

    assert parquet.read_schema(out / 'frames.parquet').names == [column.name for column in COLUMNS]
    assert not any('posture' in column.name for column in COLUMNS)
    assert sorted(path.name for path in out.iterdir()) == [
        'events.csv', 'frames.parquet', 'report.html', 'summary.json']
    assert (out / 'events.csv').read_text().strip().endswith(',level')
    summary = json.loads((out / 'summary.json').read_text())
    assert 'posture' not in summary
    assert set(summary['events']) == {
        'BLINK', 'LONG_CLOSURE', 'MICROSLEEP', 'SLEEP', 'YAWN', 'NOD'}
    assert 'posture' not in summary['scores']
    assert summary['notes'] == ['posture is labelled, but was not measured (--posture)']
    page = (out / 'report.html').read_text().partition('<footer>')[0]
    assert not any(word in page for word in ('Posture', 'and posture', 'posture, '))


# --- scored ---------------------------------------------------------------------------------------

def test_labelled_frames_are_scored_and_unknown_ones_are_no_wrong_answers(written):
    score = json.loads((written / 'summary.json').read_text())['scores']['posture']
    assert score['confusion'] == {
        'UPRIGHT': {'UPRIGHT': 18}, 'LEANING_FORWARD': {'LEANING_FORWARD': 10, 'HEAD_DOWN': 5},
        'HEAD_DOWN': {'HEAD_DOWN': 5, 'UNKNOWN': 5}}
    assert score['n'] == 43
    assert score['accuracy'] == pytest.approx(33 / 38, abs=1e-6)
    assert score['unknown'] == pytest.approx(5 / 43, abs=1e-6)
    assert score['by_span']['accuracy'] == 1.0
    assert score['by_span']['n'] == 3


def test_scores_are_pooled_by_counts(written):
    mine = json.loads((written / 'summary.json').read_text())
    worse = {'n': 20, 'unknown': 0.0, 'accuracy': 0.0, 'confusion': {
        'SLOUCHED': {'UPRIGHT': 20}}}
    worse = {'posture': {**worse, 'by_span': {**worse, 'n': 1, 'confusion': {
        'SLOUCHED': {'UPRIGHT': 1}}}}}
    found = pool([('a', mine['scores']), ('b', worse), ('c', {})])['posture']
    assert found['accuracy'] == pytest.approx(33 / 58)
    assert found['unknown'] == pytest.approx(5 / 63)
    assert (found['inputs'], found['people'], found['n']) == (2, 2, 63)
    assert found['confusion']['SLOUCHED'] == {'UPRIGHT': 20}
    assert found['by_span']['accuracy'] == pytest.approx(3 / 4)
    assert found['interval'] == {'accuracy': None, 'unknown': None}


def test_pages_over_several_and_a_comparison_have_it(written, tmp_path):
    summary = json.loads((written / 'summary.json').read_text())
    together = {'inputs': [summary] * 2, 'pooled': pooled([summary] * 2), 'problems': []}
    page = write_overview(tmp_path, together, [written, written]).read_text()
    assert 'Posture, accuracy' in page
    assert 'Posture: labelled (rows) against measured (columns)' in page
    found = compare(read_run(written), read_run(written))
    names = {score['name']: score['difference'] for score in found['scores']}
    assert names['posture.accuracy'] == names['posture.by_span.accuracy'] == 0
    assert found['per_input'][0]['events']['both'] == 1
    assert found['per_input'][0]['frames']['differ']['posture'] == {'n': 0, 'spans': []}


def test_frames_in_which_the_posture_differs_are_named(written, tmp_path, capsys):
    other = [replace(result, posture=replace(result.posture, assessments={
        track: replace(found, state=LEFT if 10 <= i < 13 else found.state)
        for track, found in result.posture.assessments.items()})) for i, result in enumerate(SEEN)]
    measure(Clip(other), None, tmp_path / 'b', Played(other))
    assert main(['evaluate', '--compare', str(written), str(tmp_path / 'b'), '--output',
                 str(tmp_path / 'both')]) == 0
    assert '3 differ in posture' in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / 'both' / 'comparison.json').read_text())['per_input']
    assert entry['frames']['differ']['posture']['spans'] == [[10, 12]]
    page = (tmp_path / 'both' / 'comparison.html').read_text()
    assert 'frames: posture' in page


def test_a_run_with_posture_and_one_without_are_compared_in_the_rest(written, tmp_path):
    plain = [replace(result, posture=None, models={}, elapsed_ms={}) for result in SEEN]
    played = Played(plain)
    played.posture = None
    measure(Clip(plain), None, tmp_path / 'a', played)
    found = compare(read_run(tmp_path / 'a'), read_run(written))
    assert set(found['per_input'][0]['frames']['differ']) == {
        'face', 'expression', 'eyes_closed', 'level'}
    assert [event['type'] for event in found['per_input'][0]['events']['only_b']] == [
        'POSTURE_SLUMPED']


@pytest.mark.parametrize(('entry', 'said'), [
    ({'start_frame': 0, 'end_frame': 1}, '"state": "LEANING_FORWARD"'),
    ({'start_frame': 0, 'end_frame': 1, 'state': 'lying'}, "unknown posture 'lying'; known are "
     'UPRIGHT, LEANING_FORWARD'),
    ({'start_frame': 0, 'end_frame': 1, 'state': 'UNKNOWN'}, "unknown posture 'UNKNOWN'"),
    ({'start_frame': 3, 'end_frame': 1, 'state': 'UPRIGHT'}, '0 <= start <= end'),
])
def test_bad_labels_are_one_line_with_the_place(tmp_path, entry, said):
    (tmp_path / 'l.json').write_text(json.dumps({'posture': [entry]}))
    with pytest.raises(InputError, match=r'l\.json: posture\[0\]') as caught:
        read_labels(tmp_path / 'l.json')
    assert said in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('kind', 'value'), [
    ('posture', {'state': 'upright'}), ('expression', {'label': 'happy'})])
def test_a_frame_has_one_labelled_value(tmp_path, kind, value):
    def read(*spans):
        (tmp_path / 'l.json').write_text(json.dumps({kind: [
            {'start_frame': start, 'end_frame': end, **value} for start, end in spans]}))
        return read_labels(tmp_path / 'l.json')

    with pytest.raises(InputError) as caught:
        read((6, 9), (0, 2), (2, 5))
    assert str(caught.value) == (
        f'{tmp_path}/l.json: {kind}[1] and [2] both label frame 2; shorten one of them, a frame '
        'has one value')
    read((6, 9), (0, 1), (2, 5))


def test_labels_beyond_the_end_are_refused(tmp_path):
    (tmp_path / 'l.json').write_text(
        '{"posture": [{"start_frame": 3, "end_frame": 9, "state": "upright", "why": 1}]}')
    labels = read_labels(tmp_path / 'l.json')
    assert labels.notes == ('not used in the labels: posture[].why',)
    with pytest.raises(InputError, match=r'posture\[0\] ends at frame 9, but the input has 9'):
        labels.check(9, ())


# --- reported -------------------------------------------------------------------------------------

def test_the_report_has_a_strip_a_person_the_shares_the_events_and_the_angles(written):
    page = (written / 'report.html').read_text()
    for text in ('emotion, fatigue and posture', 'Posture, share of time', 'leaning forward</span>',
                 '50.0 %', 'frame 20; upright to leaning forward', '<td>slumped</td>',
                 'Posture, angles of person 7', 'slumped once', 'Posture, accuracy', '86.8%',
                 '86.8% of 38 frames with a known state are right; 43 are labelled.',
                 'by the commonest known state: 100.0% of 3 spans', 'body 2', '✓ labelled'):
        assert text in page.replace('\\u2713', '✓'), text


def test_the_first_strip_is_of_the_primary_person(written):
    first, second = people_of(written / 'bodies.parquet')
    assert (first.name, second.name) == ('person 7', 'body 2')
    assert [span.label for span in first.spans] == ['UPRIGHT', 'LEANING_FORWARD', 'HEAD_DOWN']
    assert first.spans[0] == Span(0.0, 2.0, 'UPRIGHT')
    assert first.spans[-1].end_s == pytest.approx(4.0)
    assert first.angles['shoulder_tilt'][0] == pytest.approx(np.degrees(0.25))


def test_a_strip_begins_a_state_where_it_began(tmp_path):
    results = [answer(i, UPRIGHT if i < 20 else LEFT, events=[
        event(PostureEventType.POSTURE_CHANGED, 10, 1.0, state=LEFT)] if i == 20 else ())
        for i in range(31)]
    measured, _, _ = measure(Clip(results), None, tmp_path, Played(results))
    (person,) = people_of(tmp_path / 'bodies.parquet', measured.posture.events)
    assert [(span.label, round(span.start_s, 2)) for span in person.spans] == [
        ('UPRIGHT', 0), ('LEANING_LEFT', 1)]
    (told,) = people_of(tmp_path / 'bodies.parquet')
    assert [round(span.start_s, 2) for span in told.spans] == [0, 2]


def test_a_strip_has_a_hole_where_the_person_was_not_seen():
    assert spans_of(np.array([0, 0.2, 0.4, 5.0, 5.2]), ['a', 'a', 'a', 'a', 'b']) == [
        Span(0.0, 1.4, 'a'), Span(5.0, 5.2, 'a'), Span(5.2, 5.4, 'b')]


# --- recorded by the nodes ------------------------------------------------------------------------

def record(path: Path, results: Sequence[FrameResult], roles: Sequence[str]) -> Path:
    """Write what the nodes would have said, with the ``CameraInfo`` of each image."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    messages = BagMessages()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for role in roles:
            text, digest = messages.definition(TOPICS[role])
            connections[role] = writer.add_connection(
                f'/{role}', TOPICS[role], msgdef=text, rihs01=digest)
        for result in results:
            frame = Frame(np.zeros((100, 100, 3), np.uint8), result.stamp_ns, 'camera')
            for role, data in messages.encode(result, frame):
                if role in roles:
                    writer.write(connections[role], result.stamp_ns + 1, data)
    return path


def named(results: Sequence[FrameResult]) -> list[FrameResult]:
    """Add what makes ``faces`` be published."""
    return [replace(result, models={**result.models, 'face': MODEL}) for result in results]


def test_topics_of_a_robot_give_the_figures_of_the_evaluation(written, tmp_path):
    bag = record(tmp_path / 'bag', named(SEEN), ('faces', 'posture', 'posture/events'))
    source = RecordedTopics(bag)
    assert source.has_posture
    labels = read_labels(written.parent / 'labels.json')
    with RecordedPipeline(PipelineOptions(), source) as pipeline:
        evaluate(source, labels, tmp_path / 'out', pipeline)
    here, there = (json.loads((folder / 'summary.json').read_text())
                   for folder in (written, tmp_path / 'out'))
    for key in ('posture', 'frames', 'events'):
        assert there[key] == here[key], key
    assert there['scores']['posture'] == here['scores']['posture']
    assert there['backend']['posture'] == here['backend']['posture']
    assert 'bodies.parquet' in {path.name for path in (tmp_path / 'out').iterdir()}
    for name in ('state', 'track_id', 'has_face', 'shoulder_tilt', 'slouched_s', 'x2'):
        one, other = (read_columns(folder / 'bodies.parquet', (name,))[name]
                      for folder in (written, tmp_path / 'out'))
        np.testing.assert_array_equal(one, other, name)


def test_without_topics_of_posture_there_is_none(tmp_path):
    source = RecordedTopics(record(tmp_path / 'bag', named(SEEN), ('faces',)))
    assert not source.has_posture
    assert all(frame.result.posture is None for frame in source)


def test_topics_of_posture_alone_are_enough(tmp_path):
    source = RecordedTopics(record(tmp_path / 'bag', SEEN, ('posture',)))
    with RecordedPipeline(PipelineOptions(), source) as pipeline:
        measured = measured_of([pipeline.process_frame(frame) for frame in source])
    assert len(measured.stamps) == 25
    assert measured.posture.share() == pytest.approx({
        'UPRIGHT': 0.5, 'LEANING_FORWARD': 0.25, 'HEAD_DOWN': 0.25})
    assert not any('dropped' in note for note in source.notes if 'no recorded answer' in note)


def test_a_reading_is_not_repeated_over_a_pause_of_the_node(tmp_path):
    read = [answer(i, UPRIGHT) if i < 5 or i > 40 else replace(
        answer(i, None), posture=None) for i in range(50)]
    source = RecordedTopics(record(tmp_path / 'bag', named(read), ('faces', 'posture')))
    with RecordedPipeline(PipelineOptions(), source) as pipeline:
        found = measured_of([pipeline.process_frame(frame) for frame in source]).posture
    known = np.flatnonzero(np.asarray(found.states) == UPRIGHT)
    assert known.tolist() == [*range(15), *range(41, 50)]


def test_a_summary_needs_no_posture():
    measured = measured_of([FrameResult(START_NS, (), (), (), {}, {})])
    assert 'posture' not in summarise(Clip(SEEN), measured, None)
