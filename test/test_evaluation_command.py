# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable evaluate`` from end to end, with the real models."""

from __future__ import annotations

import csv
import json
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
from films import write_film
import numpy as np
from patience import let_compute, PATIENT_S
from pyarrow import parquet
import pytest

from aitable_ros.cli import main
from aitable_ros.evaluation.evaluate import evaluate
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.output_tables import COLUMNS
from aitable_ros.pipeline import Pipeline
from aitable_ros.recordings.readers import open_source
from aitable_ros.types import (
    Detection, EmotionEstimate, Expression, FaceResult, FatigueAssessment, FatigueEvent,
    FatigueEventType, FatigueLevel, FrameResult, TrackedFace, Validity
)

QUICK = ('--params', Path(__file__).parent / 'data' / 'quick.yaml')
KEYS = {
    'input', 'frames', 'duration_s', 'face_ratio', 'faces_per_frame', 'blinks', 'perclos',
    'closed_s', 'events', 'level_max', 'expression_share', 'backend', 'scores'}
"""What DESIGN.md promises of summary.json."""


@pytest.fixture(scope='module')
def clip(models, portrait, tmp_path_factory):
    """Make 60 frames: the portrait for 40, an empty room for 20."""
    path = tmp_path_factory.mktemp('clip') / 'portrait.avi'
    return write_film(path, [portrait] * 40 + [np.full((512, 512, 3), 90, np.uint8)] * 20, 25)


def run(*arguments) -> int:
    return main(['evaluate', *map(str, (*arguments, *QUICK))])


def summary_of(folder):
    return json.loads((folder / 'summary.json').read_text())


def test_a_video_gives_the_four_files_of_the_contract(clip, tmp_path, capsys):
    labels = tmp_path / 'labels.json'
    labels.write_text(json.dumps({
        'blinks': [], 'closures': [], 'yawns': [], 'faces': 1, 'perclos': 0.0,
        'expression': [{'start_frame': 0, 'end_frame': 39, 'label': 'happy', 'valence': 0.8}]}))
    assert run(clip, '--labels', labels, '--output', tmp_path / 'out', '--json') == 0
    summary = summary_of(tmp_path / 'out')
    assert json.loads(capsys.readouterr().out) == summary
    assert set(summary) >= KEYS
    assert summary['frames'] == 60
    assert summary['duration_s'] == pytest.approx(60 / 25)
    assert 40 / 60 <= summary['face_ratio'] <= 0.8
    assert summary['faces_per_frame']['max'] == 1
    assert summary['blinks'] == []
    assert summary['perclos'] == 0.0
    assert set(summary['events']) == {
        'BLINK', 'LONG_CLOSURE', 'MICROSLEEP', 'SLEEP', 'YAWN', 'NOD'}
    assert summary['expression_share']['happy'] > 0.9
    assert summary['backend']['mesh']['model'] == 'facemesh'
    assert summary['backend']['mesh']['backend'] == 'onnxruntime'
    assert summary['partial'] is None
    scores = summary['scores']
    assert scores['blink'] == {
        'tp': 0, 'fp': 0, 'fn': 0, 'precision': 1, 'recall': 1, 'f1': 1, 'scored_s': 2.4,
        'false_per_hour': 0, 'missed': [], 'invented': []}
    assert scores['yawns']['f1'] == 1
    assert scores['false_alarms']['severe'] == {
        'told': 0, 'false': 0, 'false_per_hour': 0, 'spans': []}
    assert scores['false_alarms']['scored_s'] == pytest.approx(summary['usable_s'], abs=1e-3)
    assert scores['expression']['n'] == 40
    assert scores['expression']['accuracy'] > 0.9
    assert scores['perclos']['error'] == 0.0
    assert scores['faces']['n'] == 60
    assert scores['valence']['n'] >= 36
    html = (tmp_path / 'out' / 'report.html').read_text()
    assert 'portrait.avi' in html
    assert 'facemesh on ' in html
    assert 'no labelled closure that is long enough overlaps it' in html
    assert 'data:image/jpeg' not in html  # no picture of anybody, unless asked for
    assert (tmp_path / 'out' / 'events.csv').read_text().startswith('type,track_id,primary,start_s')
    assert not list((tmp_path / 'out').glob('.*'))


def test_the_table_has_a_row_per_face_and_one_where_nobody_is(clip, models, tmp_path):
    assert run(clip, '--output', tmp_path) == 0
    table = parquet.read_table(tmp_path / 'frames.parquet')
    assert table.column_names == [column.name for column in COLUMNS]
    assert all(field.metadata[b'description'] for field in table.schema)
    rows = table.to_pylist()
    assert sorted({row['frame'] for row in rows}) == list(range(60))
    with_face = [row for row in rows if row['present']]
    assert len(with_face) == len({row['frame'] for row in with_face})
    first = rows[5]
    assert first['primary']
    assert first['time_s'] == pytest.approx(5 / 25, abs=1e-3)
    assert 0.15 < first['ear_left'] < 0.5
    assert first['x2'] - first['x1'] > 60
    assert first['expression'] == 'happy'
    shares = [first[f'p_{e.name.lower()}'] for e in Expression if e is not Expression.UNKNOWN]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert first['mesh_by'].startswith('facemesh@')
    gone = [row for row in rows if row['frame'] == 59]
    assert {row['validity'] for row in gone} == {'NO_FACE'}
    assert not any(row['present'] for row in gone)
    assert gone[0]['x1'] is None


def test_each_image_is_a_moment_of_its_own(models, portrait, tmp_path):
    folder = tmp_path / 'faces'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a_smile.png'), portrait[..., ::-1])
    cv2.imwrite(str(folder / 'b_nobody.png'), np.full((300, 300, 3), 120, np.uint8))
    cv2.imwrite(str(folder / 'c_smile.png'), portrait[:, ::-1, ::-1])
    labels = tmp_path / 'labels.csv'
    labels.write_text('file,expression\na_smile.png,happy\nb_nobody.png,sad\nc_smile.png,happy\n')
    assert run(folder, '--labels', labels, '--output', tmp_path / 'out') == 0
    summary = summary_of(tmp_path / 'out')
    assert summary['scores']['expression']['confusion'] == {
        'happy': {'happy': 2}, 'sad': {'unknown': 1}}
    assert summary['duration_s'] == 0.0
    assert summary['face_ratio'] == pytest.approx(2 / 3, abs=1e-6)
    rows = parquet.read_table(tmp_path / 'out' / 'frames.parquet').to_pylist()
    assert [row['file'] for row in rows] == ['a_smile.png', 'b_nobody.png', 'c_smile.png']


def test_several_inputs_and_globs_with_a_folder_of_labels(clip, tmp_path):
    for name in ('one', 'two'):
        (tmp_path / f'{name}.avi').write_bytes(clip.read_bytes())
        (tmp_path / f'{name}.json').write_text('{"blinks": []}')
    assert run(tmp_path / '*.avi', '--labels', tmp_path, '--output', tmp_path / 'out') == 0
    together = summary_of(tmp_path / 'out')
    assert [entry['frames'] for entry in together['inputs']] == [60, 60]
    assert together['pooled']['blink']['f1'] == 1
    one, two = (summary_of(tmp_path / 'out' / name) for name in ('one', 'two'))
    assert {**one, 'input': ''} == {**two, 'input': ''}  # nobody is carried over to the next


@pytest.mark.parametrize(('arguments', 'said'), [
    (('gone.avi',), 'gone.avi: no such file or folder'),
    (('*.nothing',), '*.nothing: nothing matches'),
    (('CLIP', '--topic', '/image'), 'not a rosbag2'),
    (('CLIP', '--labels', 'gone.json'), 'gone.json: cannot read the labels'),
    (('CLIP', '--labels', 'late.json'), 'blinks[0] ends at frame 60, but the input has 60 frames'),
    (('CLIP', '--params', 'gone.yaml'), 'gone.yaml: cannot read the parameter file'),
    (('CLIP', 'CLIP', '--labels', 'late.json'), 'one file cannot label several inputs'),
])
def test_bad_input_is_one_line_and_status_2(clip, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'late.json').write_text('{"blinks": [{"start_frame": 58, "end_frame": 60}]}')
    given = [clip if word == 'CLIP' else word for word in arguments]
    assert run(*given, '--output', tmp_path / 'out') == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert all(line.startswith('aitable evaluate: ') for line in error.splitlines())
    assert not (tmp_path / 'out' / 'frames.parquet').exists()


def test_an_output_that_cannot_be_made_is_status_2(clip, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert run(clip, '--output', tmp_path / 'file') == 2
    assert 'is a file' in capsys.readouterr().err


def test_a_truncated_input_keeps_what_was_done(clip, tmp_path, capsys):
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(clip.read_bytes()[:clip.stat().st_size // 3])
    assert run(cut, '--output', tmp_path / 'out') == 2
    assert 'truncated or damaged' in capsys.readouterr().err
    summary = summary_of(tmp_path / 'out')
    assert 5 < summary['frames'] < 40
    assert 'truncated' in summary['partial']
    assert 'Not all of the input was read' in (tmp_path / 'out' / 'report.html').read_text()
    rows = parquet.read_table(tmp_path / 'out' / 'frames.parquet')
    assert rows.num_rows == summary['frames']


def test_ctrl_c_keeps_what_was_done(clip, tmp_path):
    def interrupt(done: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with Pipeline() as pipeline:
        outcome = evaluate(open_source(clip), None, tmp_path, pipeline, progress=interrupt)
    assert outcome.problem == 'interrupted'
    assert summary_of(tmp_path)['partial'] == 'interrupted (after frame 19)'
    assert summary_of(tmp_path)['frames'] == 20
    assert (tmp_path / 'report.html').is_file()


def test_a_real_sigint_ends_with_130_and_the_files(models, tmp_path):
    many = tmp_path / 'many'
    many.mkdir()
    cv2.imwrite(str(many / '0.jpg'), np.full((480, 640, 3), 90, np.uint8))
    for index in range(1, 700):
        (many / f'{index}.jpg').hardlink_to(many / '0.jpg')
    process = subprocess.Popen(
        [sys.executable, '-m', 'aitable_ros', 'evaluate', str(many), '--output',
         str(tmp_path / 'out')], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENT_S
    while not (tmp_path / 'out' / '.frames.parquet.part').exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    let_compute(process, 1.0)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENT_S)
    assert process.returncode == 130, error
    assert 'Traceback' not in error
    assert 'interrupted' in summary_of(tmp_path / 'out')['partial']


# --- what is counted, without models --------------------------------------------------------------

def result(
    stamp_ns, *, track=1, usable_s=0.0, closed_s=0.0, events=(), faces=1,
    level=FatigueLevel.ALERT,
):
    """Make a pipeline's answer by hand; the first face is the primary one."""
    people = tuple(
        FaceResult(
            face=TrackedFace(track + i, Detection(np.array([0, 0, 9, 9], np.float32), 0.9), i == 0),
            emotion=EmotionEstimate(track + i, Expression.HAPPY, 0.9, np.eye(8, dtype='f4')[1]),
            fatigue=FatigueAssessment(track + i, stamp_ns, Validity.VALID, level=level,
                                      usable_s=usable_s, closed_s=closed_s))
        for i in range(faces))
    return FrameResult(stamp_ns, people, (), tuple(events), {}, {})


def event(track, start_ns, duration_s, kind=FatigueEventType.BLINK):
    return FatigueEvent(track, kind, start_ns, duration_s, FatigueLevel.ALERT)


def test_events_are_placed_on_the_nearest_frames_and_told_apart_by_person():
    measured = Measurements()
    step = 40_000_000
    start = 10**18
    for index in range(25):
        told = []
        if index == 24:
            told = [event(1, start + 5 * step + 15_000_000, 0.1), event(2, start + 3 * step, 0.1)]
        measured.add(result(start + index * step, events=told, faces=2))
    (blink,) = measured.blinks()
    assert (blink.start, blink.end) == (5, 8)  # 0.215 s and 0.315 s at 25 fps
    assert measured.of_primary(FatigueEventType.BLINK)[0].start_s == pytest.approx(0.215)
    assert len(measured.events) == 2


def test_usable_and_closed_time_are_the_primary_persons():
    measured = Measurements()
    for index in range(101):
        seconds = index / 10
        # From 5 s on somebody else, here and counted all along, is the primary one.
        track = 1 if seconds < 5 else 2
        measured.add(result(
            round(seconds * 1e9), track=track, faces=3 - track, usable_s=seconds,
            closed_s=max(0.0, seconds - 8)))
    assert measured.usable_s == pytest.approx(10)
    assert measured.perclos == pytest.approx(0.2)
    assert measured.duration_s == pytest.approx(10.1)


def test_a_bag_that_loops_is_placed_in_its_latest_round():
    measured = Measurements()
    for _ in range(2):
        for index in range(50):
            told = [event(1, 10 * 40_000_000, 0.08)] if index == 20 else []
            measured.add(result(index * 40_000_000, events=told))
    assert [(b.start, b.end) for b in measured.blinks()] == [(10, 12), (60, 62)]
    assert measured.duration_s == pytest.approx(2 * 49 * 0.04 + 0.04)


def test_the_highest_level_is_by_severity_and_unknown_is_the_lowest():
    measured = Measurements()
    for index, level in enumerate((FatigueLevel.UNKNOWN, FatigueLevel.ALERT, FatigueLevel.SEVERE,
                                   FatigueLevel.MILD, FatigueLevel.UNKNOWN)):
        measured.add(result(index * 40_000_000, level=level))
    assert measured.level_max is FatigueLevel.SEVERE


# --- against people's labels ----------------------------------------------------------------------

def test_blinks_of_a_real_clip_are_scored_against_its_labels(talking_woman):
    summary = summary_of(talking_woman)
    score = summary['scores']['blink']
    assert score['tp'] + score['fn'] == 6
    assert score['f1'] >= 0.9
    with (talking_woman / 'events.csv').open(newline='') as file:
        events = [row for row in csv.DictReader(file) if row['type'] == 'BLINK']
    assert [int(row['start_frame']) for row in events] == [
        blink['start_frame'] for blink in summary['blinks']]


def test_faces_of_group_pictures_are_scored_by_their_boxes(models, shared_data, tmp_path):
    folder = shared_data / 'faces'
    assert run(folder, '--labels', folder / 'labels.json', '--output', tmp_path) == 0
    faces = summary_of(tmp_path)['scores']['faces']
    assert faces['n'] == 3
    assert faces['boxes']['tp'] + faces['boxes']['fn'] == 16
