# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The scripted clip of posture: it leans as its truth says, and real models tell so."""

from __future__ import annotations

from argparse import Namespace
import csv
from itertools import islice
import json
import math
from pathlib import Path
import subprocess
import sys

import cv2
from films import write_film
import numpy as np
from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.output_tables import read_columns
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture_types import (
    Body, PostureAssessment, PostureEvent, PostureEventType, PostureState, PostureUpdate,
    PostureValidity, Skeleton
)
from aitable_ros.tools.camera import open_input
from aitable_ros.tools.clip import SIZES
from aitable_ros.tools.demo import camera_arguments
from aitable_ros.tools.posture_clip import (
    LEAN, lean_at, LONGEST_S, MOVE_S, PostureClip, PostureTruth
)
from aitable_ros.tools.script_check import check_postures, SLACK_S
from aitable_ros.types import FrameResult

FPS = 10
STATES = ('UPRIGHT', 'LEANING_RIGHT', 'UPRIGHT', 'LEANING_LEFT')


@pytest.fixture(scope='module')
def clip() -> PostureClip:
    return PostureClip(fps=FPS, size=SIZES['vga'])


def turn(first: np.ndarray, other: np.ndarray) -> float:
    """Return by how much a picture is turned against another, radians; > 0 anticlockwise."""
    orb = cv2.ORB_create(2000)
    (points, found), (others, there) = (
        orb.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        for image in (first, other))
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(found, there)
    moved, _ = cv2.estimateAffinePartial2D(
        np.float32([points[pair.queryIdx].pt for pair in pairs]),
        np.float32([others[pair.trainIdx].pt for pair in pairs]), ransacReprojThreshold=2)
    return -math.atan2(moved[1, 0], moved[0, 0])


def test_the_picture_is_turned_as_far_as_the_script_says(clip):
    """To the person's right is to the left of the image: anticlockwise, but for the sway."""
    first = clip.frame(0).image
    for posture, lean in zip(clip.truth.postures, (0, 1, 0, -1), strict=True):
        for frame in (posture.start_frame, posture.end_frame):
            assert math.degrees(turn(first, clip.frame(frame).image)) == pytest.approx(
                math.degrees(LEAN * lean), abs=1.2), frame
            assert lean_at(frame / FPS) == pytest.approx(LEAN * lean, abs=1e-9)


def test_postures_are_held_between_moves(clip):
    assert [posture.state.name for posture in clip.truth.postures] == list(STATES)
    gaps = [after.start_frame - before.end_frame - 1
            for before, after in zip(clip.truth.postures, clip.truth.postures[1:])]
    assert gaps == [MOVE_S * FPS] * 3
    assert clip.truth.postures[-1].end_frame == clip.frames - 1
    assert max(abs(lean_at(k / 100) - lean_at((k + 1) / 100))
               for k in range(round(100 * LONGEST_S))) < math.radians(0.3), 'no jump'


def test_the_script_is_in_seconds_and_the_pixels_are_those_of_the_seed(clip):
    other = PostureClip(fps=30, size=SIZES['vga'])
    assert other.frame(90).stamp_ns == clip.frame(30).stamp_ns == 3_000_000_000
    np.testing.assert_array_equal(clip.frame(7).image, PostureClip(
        fps=FPS, size=SIZES['vga']).frame(7).image)
    assert not np.array_equal(clip.frame(7).image, PostureClip(
        fps=FPS, size=SIZES['vga'], seed=1).frame(7).image)
    with pytest.raises(ValueError, match='read-only'):
        clip.frame(0).image[0, 0] = 0
    with pytest.raises(IndexError):
        clip.frame(clip.frames)


@pytest.mark.parametrize(('arguments', 'says'), [
    ({'fps': 0.5}, '1 to 240 frames'), ({'seconds': 5}, 'the clip of posture lasts 18 to'),
    ({'seconds': float('nan')}, 'the clip of posture lasts')])
def test_bad_figures_are_refused_in_one_line(arguments, says):
    with pytest.raises(InputError, match=says):
        PostureClip(**arguments)


def test_of_a_run_that_ended_early_only_what_was_over_is_asked_for(clip):
    truth = clip.truth.until(200, 180)
    assert [posture.state for posture in truth.postures] == [
        PostureState.UPRIGHT, PostureState.LEANING_RIGHT]
    assert truth.labels(180)['ignore'] == [[180, 199]]
    assert clip.truth.labels()['ignore'] == []


# --- real models ----------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def evaluated(clip, pose_models, once) -> Path:
    """Return the folder of an evaluation of the clip, and a bag with its topics beside it."""
    def evaluate(folder: Path) -> None:
        film = write_film(folder / 'film.avi', (frame.image for frame in clip), FPS)
        (folder / 'labels.json').write_text(json.dumps(clip.truth.labels()))
        assert main(['evaluate', str(film), '--posture', '--labels', str(folder / 'labels.json'),
                     '--write-bag', str(folder / 'bag'), '--output', str(folder / 'out')]) == 0
    return once('leans', evaluate)


def summary_of(folder: Path) -> dict:
    return json.loads((folder / 'summary.json').read_text())


def test_real_models_tell_the_leans_and_when_they_began(clip, evaluated):
    summary = summary_of(evaluated / 'out')
    assert summary['scores']['posture']['by_span']['accuracy'] == 1.0
    assert summary['scores']['posture']['accuracy'] > 0.95
    assert summary['posture']['changes'] == 3
    assert summary['posture']['events'] == {'STILL': 0, 'SLUMPED': 0}
    assert set(summary['posture']['share']) == set(STATES)
    learns_s = PostureOptions().baseline_warm_up_s
    assert summary['posture']['usable_s'] < summary['duration_s'] - learns_s, 'upright, at first'
    with (evaluated / 'out' / 'events.csv').open(newline='') as lines:
        changes = [row for row in csv.DictReader(lines) if row['type'] == 'POSTURE_CHANGED']
    assert [row['state'] for row in changes] == list(STATES[1:])
    for row, posture in zip(changes, clip.truth.postures[1:], strict=True):
        began = posture.start_frame / FPS - MOVE_S
        assert began <= float(row['start_s']) <= began + MOVE_S + SLACK_S


def test_each_body_has_its_angles_and_the_face_its_person(evaluated):
    bodies = read_columns(evaluated / 'out' / 'bodies.parquet', (
        'time_s', 'track_id', 'has_face', 'primary', 'state', 'shoulder_tilt', 'joints_seen'))
    assert np.median(np.diff(bodies['time_s'])) == pytest.approx(0.2)
    assert (bodies['has_face'] == 1).mean() > 0.95
    tilt = {state: np.nanmedian(bodies['shoulder_tilt'][bodies['state'] == state])
            for state in STATES}
    assert tilt['LEANING_LEFT'] < tilt['UPRIGHT'] < tilt['LEANING_RIGHT']
    frames = read_columns(evaluated / 'out' / 'frames.parquet', ('track_id', 'posture_state'))
    assert set(frames['track_id']) == set(bodies['track_id']) == {1}
    assert set(frames['posture_state']) >= set(STATES)


def test_the_topics_in_a_bag_say_the_same(evaluated, tmp_path):
    assert main(['evaluate', str(evaluated / 'bag'), '--from-topics', '--labels',
                 str(evaluated / 'labels.json'), '--output', str(tmp_path / 'out')]) == 0
    here, there = summary_of(evaluated / 'out'), summary_of(tmp_path / 'out')
    assert there['posture'] == here['posture']
    assert there['scores']['posture'] == here['scores']['posture']


@pytest.mark.usefixtures('pose_models')
def test_faces_and_fatigue_are_as_without_posture(clip, evaluated, tmp_path):
    """Bit for bit: nothing that was measured before changes."""
    some = 120  # upright, the move, and two seconds of leaning
    film = write_film(
        tmp_path / 'film.avi', (frame.image for frame in islice(clip, some)), FPS)
    assert main(['evaluate', str(film), '--output', str(tmp_path)]) == 0
    names = ('frame', 'track_id', 'x1', 'openness', 'perclos', 'level', 'expression', 'valence')
    one, other = (read_columns(folder / 'frames.parquet', names)
                  for folder in (tmp_path, evaluated / 'out'))
    for name in names:
        np.testing.assert_array_equal(one[name], other[name][:some], name)
    assert not (tmp_path / 'bodies.parquet').exists()


def test_without_the_models_it_is_one_line(evaluated, tmp_path, capsys):
    parameters = tmp_path / 'p.yaml'
    parameters.write_text('posture: {ros__parameters: {fallbacks: [gone.onnx, "off"]}}')
    assert main(['evaluate', str(evaluated / 'film.avi'), '--posture', '--params',
                 str(parameters), '--output', str(tmp_path / 'out')]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if 'gone.onnx' in line]
    assert 'no model could be loaded' in line


@pytest.mark.slow
@pytest.mark.usefixtures('pose_models')
def test_the_demo_tells_the_postures_of_the_clip(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'aitable_ros', 'demo', '--posture', '--no-browser', '--seconds',
         '18', '--size', 'vga', '--fps', '10', '--json', '--output', str(tmp_path / 'demo')],
        capture_output=True, text=True, timeout=2 * PATIENT_S)
    assert 'Traceback' not in done.stderr
    assert done.stdout, done.stderr
    summary = json.loads(done.stdout)
    assert [check['name'] for check in summary['verdict']] == [
        'postures', 'posture_changes', 'posture_onset']
    assert summary['scores']['posture']['n'] == 160
    assert set(summary['backend']) == {'face', 'mesh', 'emotion', 'posture'}
    assert summary['latency_ms']['posture']['p50'] > 0
    page = (tmp_path / 'demo' / 'report.html').read_text()
    assert 'scripted postures told' in page
    readings = read_columns(tmp_path / 'demo' / 'bodies.parquet', ('time_s',))['time_s']
    pause_s = float(np.diff(readings).max())
    if pause_s >= PostureOptions().max_gap_s:
        pytest.skip(f'this machine stood still for {pause_s:.1f} s: nobody knows the posture after')
    assert done.returncode == 0, summary['verdict']
    assert '2 of 2 scripted postures told' in page
    assert summary['posture']['changes'] == 1


def told(truth: PostureTruth, states: list[PostureState], changes: list[int]) -> list[bool]:
    """Return whether each check passes, of a person who was said to sit so, and to change then."""
    measured = Measurements()
    for index, state in enumerate(states):
        events = tuple(
            PostureEvent(1, PostureEventType.POSTURE_CHANGED, frame * 10 ** 8, 2.0, state)
            for frame in changes if frame + 20 == index)
        body = Body(1, Skeleton(
            np.zeros((33, 3), np.float32), np.ones(33, np.float32), np.zeros((33, 3), np.float32),
            1.0), primary=True)
        measured.add(FrameResult(index * 10 ** 8, (), (), (), {}, {}, posture=PostureUpdate(
            True, (body,), {1: PostureAssessment(
                1, index * 10 ** 8, PostureValidity.VALID, state)}, events=events)))
    return [check.passed for check in check_postures(truth, measured)]


def test_the_script_is_checked(clip):
    """Upright to 110, right 120 … 169, upright 180 … 219, left from 230 on; 10 frames a move."""
    states = [PostureState[name] for name, frames in zip(STATES, (115, 60, 50, 65)) for _ in
              range(frames)]
    assert told(clip.truth, states, [115, 175, 225]) == [True, True, True]
    assert told(clip.truth, states, [115, 175]) == [True, False, False]
    assert told(clip.truth, states, [115, 145, 175, 225]) == [True, False, False]
    assert told(clip.truth, states, [100, 175, 225]) == [True, True, False], 'before the move'
    assert told(clip.truth, states, [135, 175, 225]) == [True, True, False], 'late'
    wrong = [PostureState.UPRIGHT if index > 225 else state for index, state in enumerate(states)]
    assert told(clip.truth, wrong, [115, 175])[0] is False


def test_a_camera_plays_the_clip_of_posture_where_it_is_asked_for():
    args = Namespace(seconds=None, fps=15.0, size='vga', seed=3, posture=True)
    opened = open_input(None, args)
    assert isinstance(opened, PostureClip)
    assert (opened.duration_s, opened.fps, opened.size, opened.seed) == (
        LONGEST_S, 15.0, SIZES['vga'], 3)
    assert '--posture' in camera_arguments(Namespace(**vars(args), input=None))
