# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The pipeline in five lines of Python: real models, real frames, no ROS."""

from __future__ import annotations

from collections.abc import Iterator
import csv
from pathlib import Path
import subprocess
import sys

import cv2
from films import read_film
import numpy as np
from numpy.typing import NDArray
from patience import PATIENT_S
import pytest

from aitable_ros.emotion.reader import EmotionOptions
from aitable_ros.errors import InputError
from aitable_ros.evaluation.evaluate import evaluate
from aitable_ros.face.finder import FaceOptions
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.pipeline import Pipeline, PipelineOptions
from aitable_ros.recordings.readers import open_source
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.types import Expression, FatigueLevel, Validity

STEP_NS = 33_333_333


@pytest.fixture(scope='module')
def opened(models: Path) -> Iterator[Pipeline]:
    with Pipeline() as pipeline:
        yield pipeline


@pytest.fixture
def pipeline(opened: Pipeline) -> Pipeline:
    """One that knows nobody."""
    opened.reset()
    return opened


def test_a_portrait(
    pipeline: Pipeline, portrait: NDArray[np.uint8], expression_model: str,
) -> None:
    """Found, one person, smiling, eyes open; too early to say how tired."""
    for index in range(10):
        result = pipeline.process(portrait, index * STEP_NS)
    assert [face.face.track_id for face in result.faces] == [result.primary.face.track_id]
    person = result.primary
    assert person.landmarks.presence > 0.9
    assert person.emotion.expression is Expression.HAPPY
    assert person.emotion.probabilities.sum() == pytest.approx(1, abs=1e-3)
    assert person.fatigue.validity is Validity.WARMING_UP
    assert person.fatigue.level is FatigueLevel.UNKNOWN
    assert not person.fatigue.eyes_closed
    assert 0.15 < person.fatigue.ear_left < 0.5
    assert result.absent == ()
    assert result.stamp_ns == 9 * STEP_NS
    assert set(result.elapsed_ms) == {'face', 'fatigue', 'emotion'}
    assert {stage: info.model for stage, info in result.models.items()} == {
        'face': 'blazeface_full + blazeface_short', 'mesh': 'facemesh',
        'emotion': expression_model}
    assert all(info.backend and info.precision for info in result.models.values())


def test_nobody_there_says_so(pipeline: Pipeline) -> None:
    grey = np.full((480, 640, 3), 128, np.uint8)
    for index in range(5):
        result = pipeline.process(grey, index * STEP_NS)
        assert result.faces == ()
        assert result.primary is None
        (nobody,) = result.absent
        assert (nobody.track_id, nobody.validity) == (0, Validity.NO_FACE)
        assert not nobody.eyes_closed


def test_a_person_who_leaves_is_absent_and_not_asleep(
    pipeline: Pipeline, portrait: NDArray[np.uint8],
) -> None:
    grey = np.full_like(portrait, 128)
    for index in range(15):
        result = pipeline.process(portrait, index * STEP_NS)
    track_id = result.primary.face.track_id
    for index in range(15, 60):
        result = pipeline.process(grey, index * STEP_NS)
    assert result.faces == ()
    assert [(gone.track_id, gone.validity) for gone in result.absent] == [
        (track_id, Validity.NO_FACE)]
    assert not result.events
    assert not result.absent[0].eyes_closed


def test_three_people(pipeline: Pipeline, shared_data: Path) -> None:
    """Each keeps id, mesh, emotion and fatigue of their own; one is primary throughout."""
    results = [
        pipeline.process(image, index * 80_000_000)
        for index, image in enumerate(read_film(shared_data / 'video' / 'three_people.gif'))]
    full = [result for result in results if len(result.faces) == 3]
    assert len(full) >= 0.9 * len(results)
    assert len({face.face.track_id for result in results for face in result.faces}) == 3
    assert all(face.landmarks and face.fatigue for result in full for face in result.faces)
    assert all(face.emotion for face in full[-1].faces)
    assert len({result.primary.face.track_id for result in full}) == 1
    assert all(result.faces[0].face.primary for result in full)


@pytest.mark.parametrize('shape', [(1, 1), (0, 0), (0, 640), (2, 3000), (3000, 2)])
def test_odd_images(
    shape: tuple[int, int], pipeline: Pipeline, portrait: NDArray[np.uint8],
) -> None:
    """Alone, and between two good ones, whose person stays known."""
    odd = np.zeros((*shape, 3), np.uint8)
    assert pipeline.process(odd, 0).faces == ()
    first = pipeline.process(portrait, STEP_NS)
    pipeline.process(odd, 2 * STEP_NS)
    second = pipeline.process(portrait, 3 * STEP_NS)
    assert first.primary.face.track_id == second.primary.face.track_id


@pytest.mark.parametrize('image', [
    np.zeros((10, 10), np.uint8), np.zeros((10, 10, 4), np.uint8),
    np.zeros((10, 10, 3), np.float32)], ids=['gray', 'rgba', 'float'])
def test_what_is_not_an_rgb_image_is_refused(image: NDArray, pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match='uint8 RGB'):
        pipeline.process(image, 0)


def test_stages_can_be_off(models: Path, portrait: NDArray[np.uint8]) -> None:
    off = ('off',)
    often = FaceOptions(detect_interval_s=0.16)
    cases = {
        'fatigue': PipelineOptions(face=often, fatigue=FatigueOptions(fallbacks=off)),
        'emotion': PipelineOptions(face=often, emotion=EmotionOptions(fallbacks=off)),
    }
    for stage, options in cases.items():
        with Pipeline(options) as pipeline:
            results = [pipeline.process(portrait, index * STEP_NS) for index in range(6)]
            assert [len(result.faces) for result in results] == [1] * 6, stage
            assert (results[-1].primary.fatigue is None) is (stage == 'fatigue')
            assert (results[-1].primary.emotion is None) is (stage == 'emotion')
            detected = [result.primary.face.detected for result in results]
            assert detected == [True] + [False] * 4 + [True], f'{stage}: only at its interval'
    with Pipeline(PipelineOptions(face=FaceOptions(fallbacks=off))) as pipeline:
        assert pipeline.process(portrait, 0).faces == ()


def test_a_replay_gives_the_same_answer(pipeline: Pipeline, shared_data: Path) -> None:
    """Reset between two runs of one clip: same faces, figures and events, only the ids differ."""
    frames = list(read_film(shared_data / 'video' / 'neutral_to_smile.mp4'))

    def run() -> list[tuple]:
        pipeline.reset()
        results = [
            pipeline.process(image, index * STEP_NS) for index, image in enumerate(frames)]
        return [
            (face.face.box.tolist(), face.fatigue.ear_left, face.fatigue.openness,
             face.emotion.expression if face.emotion else None, len(result.events))
            for result in results for face in result.faces]

    first, second = run(), run()
    assert len(first) == len(frames)
    np.testing.assert_equal(first, second)


def test_a_missing_required_model_names_the_remedy(models: Path) -> None:
    options = PipelineOptions(face=FaceOptions(fallbacks=('/nowhere/face.onnx',)))
    with pytest.raises(InputError, match=r'/nowhere/face\.onnx') as caught:
        Pipeline(options)
    assert '\n' not in str(caught.value)


def test_closing_twice_is_harmless(models: Path, portrait: NDArray[np.uint8]) -> None:
    pipeline = Pipeline()
    pipeline.process(portrait, 0)
    pipeline.close()
    pipeline.close()


@pytest.mark.parametrize(('text', 'message'), [
    ('/**/face_detector: {ros__parameters: {detect_interval: 3}}', 'detect_interval'),
    ('/**/fatigue: {ros__parameters: {threads: many}}', 'threads'),
    ('face_detector: [', 'not valid YAML'),
    ('face_detector: {max_faces: 3}', 'ros__parameters')])
def test_a_bad_parameter_file_is_told_in_one_line(
    text: str, message: str, tmp_path: Path,
) -> None:
    path = tmp_path / 'parameters.yaml'
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        PipelineOptions.from_file(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_parameter_file_is_the_nodes(tmp_path: Path) -> None:
    path = tmp_path / 'parameters.yaml'
    path.write_text(
        '/**: {ros__parameters: {use_sim_time: true, threads: 2}}\n'
        '/**/face_detector: {ros__parameters: {max_faces: 3, range: room}}\n')
    options = PipelineOptions.from_file(path)
    assert (options.face.max_faces, options.face.range) == (3, 'room')
    assert options.face.threads == options.fatigue.threads == options.emotion.threads == 2


def test_no_ros_and_no_model_library_is_imported() -> None:
    code = (
        'import sys; import aitable_ros.pipeline; '
        "heavy = {'rclpy', 'onnxruntime', 'openvino', 'torch', 'scipy', 'tensorrt'}; "
        'print(sorted(heavy & set(sys.modules)))')
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=PATIENT_S)
    assert done.stdout.strip() == '[]'


def test_letters_are_nobody(pipeline: Pipeline, shared_data: Path) -> None:
    """A title with glowing letters, which a detector alone takes for faces up to 0.70."""
    counts = [
        len(pipeline.process(image, index * 37_878_788).faces)
        for index, image in enumerate(read_film(shared_data / 'video' / 'face_then_noface.mov'))]
    assert counts[:72] == [1] * 72
    assert not any(counts[73:])


def test_a_collar_is_nobody(pipeline: Pipeline) -> None:
    """The demo's clip, where the suit's collar moves into what a detector takes for a face."""
    clip = ScriptedClip(seconds=30.0)
    counts = [
        len(pipeline.process_frame(clip.frame(index)).faces) for index in range(320, 345)]
    assert counts == [1] * 25


def close_ups(folder: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Each labelled picture as it is, mirrored, padded, shrunk, dark, bright, turned and noisy."""
    for path in sorted(folder.glob('*.jpg')):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 15, 1)
        noise = np.random.default_rng(0).normal(0, 8, image.shape)
        yield from {
            f'{path.name}': image,
            f'{path.name} mirrored': np.ascontiguousarray(image[:, ::-1]),
            f'{path.name} padded': cv2.copyMakeBorder(
                image, *[max(height, width) // 2] * 4, cv2.BORDER_CONSTANT),
            f'{path.name} shrunk': cv2.resize(
                image, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA),
            f'{path.name} dark': (255 * (image / 255) ** 2.2).astype(np.uint8),
            f'{path.name} bright': (255 * (image / 255) ** 0.5).astype(np.uint8),
            f'{path.name} turned': cv2.warpAffine(
                image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE),
            f'{path.name} noisy': np.clip(image + noise, 0, 255).astype(np.uint8),
        }.items()


def test_faces_that_fill_the_picture_are_found_and_read(
    pipeline: Pipeline, shared_data: Path,
) -> None:
    """One face in each; three expressions of four right, however the picture is changed."""
    with (shared_data / 'image' / 'labels.csv').open(encoding='utf-8') as file:
        labels = {row['file']: row['expression'] for row in csv.DictReader(file)}
    right, wrong_number = [], []
    for name, image in close_ups(shared_data / 'image'):
        pipeline.reset()
        result = pipeline.process(image, 0)
        if len(result.faces) != 1:
            wrong_number.append(f'{name}: {len(result.faces)}')
        else:
            expression = result.primary.emotion.expression.name.lower()
            right.append(expression == labels[name.split()[0]])
    assert not wrong_number
    assert np.mean(right) >= 0.75


@pytest.mark.parametrize(('everybody', 'found'), [(True, [7, 3, 6]), (False, [4, 3, 4])])
def test_in_stills_nobody_is_left_out(
    everybody: bool, found: list[int], pipeline: Pipeline, shared_data: Path, tmp_path: Path,
) -> None:
    """A camera's ``max_faces`` is not a picture's, unless the parameter file names it."""
    source = open_source(shared_data / 'faces')
    summary = evaluate(source, None, tmp_path, pipeline, everybody=everybody).summary
    assert summary['faces_per_frame'] == {
        'mean': pytest.approx(np.mean(found), abs=1e-3), 'max': max(found)}
    assert pipeline.options.face.max_faces == 4
