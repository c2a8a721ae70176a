# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""YOLOv8-pose, the user's own model: known answers out of real graphs on the real runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import math
from pathlib import Path
from typing import Any

from album import write_album
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.engines.model_inputs import collect_inputs
from aitable_ros.engines.verify import verify
from aitable_ros.errors import InputError
from aitable_ros.face.yolov8 import CANDIDATES
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import Backend
from aitable_ros.posture.angles import measure
from aitable_ros.posture.body_source import pose_for
from aitable_ros.posture.finder import BodyFinder
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.yolov8_pose import COCO, Yolov8Pose
from aitable_ros.posture_types import FIRST_BODY_ID, Joint, VISIBLE
from aitable_ros.types import Detection, Frame, TrackedFace

LAYOUTS = ('raw', 'end to end')
STEP_NS = 200_000_000
IMAGE = np.zeros((720, 1280, 3), np.uint8)
"""In the square of 640 it lies at half of its size, 140 pixels down."""

UPRIGHT = dict(zip(COCO, [
    (0, 0), (8, -8), (-8, -8), (20, -4), (-20, -4), (60, 80), (-60, 80), (90, 160), (-90, 160),
    (24, 0), (-95, 240), (40, 280), (-40, 280), (40, 400), (-40, 400), (40, 520), (-40, 520)]))
"""Joints of a person in pixels of the image, from the nose; the left hand is at the left ear."""


def body(x: float, y: float, degrees: float = 0, score: float = 0.9) -> NDArray[np.float32]:
    """Return an answer, corners first: a person with the nose at x, y of the image, turned."""
    turn = math.radians(degrees)  # clockwise as seen on the screen
    cos, sin = math.cos(turn), math.sin(turn)
    points = np.array(list(UPRIGHT.values())) @ np.array([[cos, sin], [-sin, cos]]) + [x, y]
    seen = np.full((17, 1), 0.95)
    seen[[13, 14, 15, 16]] = 0.1
    corners = np.concatenate([points.min(axis=0) - 20, points.max(axis=0) + 20])
    square = np.concatenate([np.reshape(corners, (2, 2)), points]) / 2 + [0, 140]
    joints = np.concatenate([square[2:], seen], axis=1)
    return np.concatenate([square[:2].ravel(), [score], joints.ravel()]).astype(np.float32)


def output(layout: str, *bodies: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the output of a model that found some bodies."""
    if layout == 'raw':
        answers = np.zeros((1, 56, 8400), np.float32)
        for column, answer in enumerate(bodies, 4000):
            x1, y1, x2, y2 = answer[:4]
            answers[0, :4, column] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
            answers[0, 4:, column] = answer[4:]
        return answers
    answers = np.zeros((1, 300, 57), np.float32)
    for row, answer in enumerate(bodies):
        answers[0, row] = np.concatenate([answer[:5], [0], answer[5:]])
    return answers


def save(path: Path, *answers: NDArray[np.float32]) -> Path:
    """Write a model that gives the nth answers for an image of brightness 51 n."""
    onnx = pytest.importorskip('onnx')
    from onnx import helper, numpy_helper

    stacked = np.stack(answers)
    nodes = [
        helper.make_node('Gather', ['images', 'middle'], ['row'], axis=2),
        helper.make_node('Gather', ['row', 'middle'], ['pixel'], axis=3),
        helper.make_node('ReduceMean', ['pixel'], ['bright'], keepdims=0),
        helper.make_node('Mul', ['bright', 'five'], ['place']),
        helper.make_node('Round', ['place'], ['rounded']),
        helper.make_node('Cast', ['rounded'], ['index'], to=onnx.TensorProto.INT64),
        helper.make_node('Gather', ['answers', 'index'], ['output0'], axis=0)]
    graph = helper.make_graph(
        nodes, 'pose',
        [helper.make_tensor_value_info('images', onnx.TensorProto.FLOAT, [1, 3, 640, 640])],
        [helper.make_tensor_value_info('output0', onnx.TensorProto.FLOAT, stacked.shape[1:])],
        [numpy_helper.from_array(stacked, 'answers'),
         numpy_helper.from_array(np.array([320]), 'middle'),
         numpy_helper.from_array(np.float32(5), 'five')])
    onnx.save(helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Callable[..., Backend]]:
    """Open a model that gives some answers."""
    opened = []

    def open_model(answers: NDArray[np.float32]) -> Backend:
        opened.append(OnnxRuntimeBackend(save(tmp_path / f'{len(opened)}.onnx', answers)))
        return opened[-1]

    yield open_model
    for backend in opened:
        backend.close()


@pytest.mark.parametrize('layout', LAYOUTS)
def test_joints_are_cocos_in_pixels_of_the_image(
    layout: str, model: Callable[..., Backend],
) -> None:
    weak, twin = body(900, 200, score=0.3), body(304, 202, score=0.8)
    answers = output(layout, body(300, 200), *([twin] if layout == 'raw' else []), weak)
    pose = pose_for(model(answers))
    assert isinstance(pose, Yolov8Pose)
    (box, found), = pose.detect(IMAGE)
    assert found.presence == pytest.approx(0.9)
    assert box == pytest.approx([185, 172, 410, 740])
    for joint, (x, y) in UPRIGHT.items():
        assert found.points[joint, :2] == pytest.approx([300 + x, 200 + y], abs=0.01), joint
    others = [joint for joint in Joint if joint not in COCO]
    assert np.isnan(found.points[others]).all()
    assert np.isnan(found.points[:, 2]).all()
    assert np.isnan(found.world).all()
    seen = {joint for joint in Joint if found.visibility[joint] >= VISIBLE}
    assert seen == set(COCO) - {Joint.LEFT_KNEE, Joint.RIGHT_KNEE, Joint.LEFT_ANKLE,
                                Joint.RIGHT_ANKLE}
    assert found.box == pytest.approx([205, 192, 390, 480])


@pytest.mark.parametrize('degrees', [0, -20, 15])
def test_angles_that_need_no_depth_are_measured(
    degrees: float, model: Callable[..., Backend],
) -> None:
    (_, found), = pose_for(model(output('raw', body(500, 200, degrees)))).detect(IMAGE)
    angles = measure(found)
    assert math.degrees(angles.shoulder_tilt) == pytest.approx(-degrees, abs=0.01)
    assert math.degrees(angles.head_roll) == pytest.approx(-degrees, abs=0.01)
    assert angles.ear_height == pytest.approx(
        84 * math.cos(math.radians(degrees)) / 120, abs=1e-4)
    assert angles.hand_to_head == pytest.approx(math.hypot(24, 4) / 120, abs=1e-4)
    assert all(math.isnan(value) for value in (
        angles.forward_lean, angles.lateral_lean, angles.neck_flexion))


def test_bodies_keep_their_numbers_when_the_answers_change_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A faint answer is a body that is followed, and none that is new."""
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))
    save(tmp_path / 'pose.onnx', *(output('end to end', *bodies) for bodies in (
        (body(300, 200), body(700, 220)),
        (body(710, 222, score=0.95), body(310, 200)),
        (body(320, 200, score=0.3), body(720, 224), body(1000, 200, score=0.3)),
        ())))
    face = TrackedFace(5, Detection(np.array([670, 190, 730, 250], np.float32), 0.9), True)
    with BodyFinder.open(PostureOptions(model='pose.onnx', fallbacks=())) as finder:
        assert finder.model.model == 'pose.onnx'
        assert len(finder.attempts) == 1  # no detector is opened
        seen = [finder.update(Frame(IMAGE + np.uint8(51 * number), number * STEP_NS),
                              (face,) if number < 2 else ()) for number in range(4)]
    for bodies, x in zip(seen[:3], (0, 10, 20)):
        assert [one.track_id for one in bodies] == [5, FIRST_BODY_ID + 1]
        assert [one.has_face for one in bodies] == [x < 20, False]
        noses = [one.skeleton.points[Joint.NOSE, 0] for one in bodies]
        assert noses == pytest.approx([700 + x, 300 + x], abs=0.01)
    assert seen[3] == ()


def test_max_bodies_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))
    save(tmp_path / 'pose.onnx', output('raw', *(body(200 * n, 200) for n in range(1, 6))))
    with BodyFinder.open(PostureOptions(model='pose.onnx', max_bodies=2)) as finder:
        assert len(finder.update(Frame(IMAGE, 0), ())) == 2


def test_a_candidate_is_judged_by_joints_and_angles(
    portrait: NDArray[np.uint8], tmp_path: Path,
) -> None:
    """Inputs are the images in which it finds a body; joints off by a pixel are seen."""
    def write(name: str, shift: float, degrees: float = 0, score: float = 0.9) -> Path:
        answer = output('raw', body(600, 200, degrees, score), body(100, 200))
        answer[0, 5::3, 4000] += shift
        answer[0, 6::3, 4000] += shift
        return save(tmp_path / name, *[answer] * 6)

    reference = write('reference.onnx', 0)
    album = write_album(tmp_path / 'album', portrait, 36)
    found = collect_inputs(reference, album, 36)
    assert (found.task, len(found), found.inputs['images'].shape) == ('pose', 36, (36, 3, 640, 640))
    report = verify(write('same.onnx', 0), reference, found)
    assert report.passed, report.table()
    assert '72 bodies compared' in report.table()
    for candidate, wrong in (
            (write('moved.onnx', 6), {'key points p95'}),
            (write('turned.onnx', 0, 5), {'key points p95', 'angle Δ p95'}),
            (write('blind.onnx', 0, 0, 0.1), {'presence agreement', 'presence Δ p95'})):
        report = verify(candidate, reference, found.some(8))
        assert wrong <= {metric.name for metric in report.metrics if not metric.passed}, candidate
    with pytest.raises(InputError, match='0 inputs with a body found'):
        collect_inputs(save(tmp_path / 'never.onnx', *[output('raw')] * 6), album, 4)


def test_of_a_model_that_is_sure_of_everything_the_best_answers_are_kept(
    model: Callable[..., Backend],
) -> None:
    answers = np.zeros((1, 56, 8400), np.float32)
    answers[0, 0] = np.arange(8400) % 100 * 6  # a grid of boxes that do not touch
    answers[0, 1] = np.arange(8400) // 100 * 6
    answers[0, 2:4] = 4
    answers[0, 4] = np.linspace(0.6, 0.9, 8400)
    found = Yolov8Pose(model(answers)).detect(IMAGE)
    assert len(found) == CANDIDATES
    assert [skeleton.presence for _, skeleton in found] == pytest.approx(
        answers[0, 4, :-CANDIDATES - 1:-1].tolist())


@pytest.mark.parametrize('answers', [
    np.zeros((1, 20, 8400), np.float32), np.zeros((1, 300, 6), np.float32)])
def test_a_model_of_faces_is_not_taken_for_one_of_bodies(
    answers: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))
    save(tmp_path / 'face.onnx', answers)
    with BodyFinder.open(PostureOptions(model='face.onnx', fallbacks=('off',))) as finder:
        assert finder.model.model == ''
        reason: Any = finder.attempts[0].reason
        assert 'not a pose model that we know' in reason
