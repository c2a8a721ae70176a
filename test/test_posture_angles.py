# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Angles of posture: on a jointed figure of known posture, and on films turned by known angles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from itertools import islice
import math
from pathlib import Path

import cv2
from films import clip_here, read_film
from jointed_figure import figure
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.clock import SECOND_NS
from aitable_ros.inference.openvino import OpenVINOBackend
from aitable_ros.posture.angles import AngleSmoother, measure, PostureAngles
from aitable_ros.posture.blazepose import BlazePose, NextCrop
from aitable_ros.posture.blazepose_detector import BlazePoseDetector
from aitable_ros.posture_types import Joint


def degrees(angles: PostureAngles, *names: str) -> list[float]:
    return [math.degrees(getattr(angles, name)) for name in names]


LEANS = 'forward_lean', 'lateral_lean', 'neck_flexion'
TILTS = 'shoulder_tilt', 'head_roll'


@pytest.mark.parametrize('facing', [0, 40, -60, 180])
@pytest.mark.parametrize('forward', [0, 25, -15])
def test_a_lean_forward_is_measured_however_the_person_faces(
    forward: float, facing: float,
) -> None:
    angles = measure(figure(forward=forward, facing=facing))
    assert degrees(angles, *LEANS) == pytest.approx([forward, 0, forward], abs=0.01)


@pytest.mark.parametrize('facing', [0, 180])
@pytest.mark.parametrize('right', [0, 12, -20])
def test_a_lean_to_the_side_tilts_shoulders_and_head(right: float, facing: float) -> None:
    angles = measure(figure(right=right, facing=facing))
    assert degrees(angles, *LEANS) == pytest.approx([0, right, 0], abs=0.01)
    assert degrees(angles, *TILTS) == pytest.approx([right, right], abs=0.01)


def test_the_neck_is_measured_from_the_vertical() -> None:
    assert degrees(measure(figure(neck=30)), *LEANS) == pytest.approx([0, 0, 30], abs=0.01)
    assert degrees(measure(figure(neck=30, forward=10)), *LEANS) == pytest.approx(
        [10, 0, 40], abs=0.01)


def test_ear_height_sinks_with_the_neck_and_needs_no_depth() -> None:
    upright = measure(figure(depth=False))
    assert upright.ear_height == pytest.approx(0.22 / 0.36)
    bent = measure(figure(neck=50, depth=False))
    assert bent.ear_height == pytest.approx(0.22 / 0.36 * math.cos(math.radians(50)))


def test_a_hand_at_the_head_is_near() -> None:
    assert measure(figure(hand_at_head=True)).hand_to_head == pytest.approx(0.08 / 0.36)
    assert measure(figure()).hand_to_head > 1.5


@pytest.mark.parametrize(('hidden', 'lost'), [
    ('LEFT_HIP', {'forward_lean', 'lateral_lean'}),
    ('RIGHT_SHOULDER', {'shoulder_tilt', 'forward_lean', 'lateral_lean', 'neck_flexion',
                        'hand_to_head', 'ear_height'}),
    ('LEFT_EAR', {'neck_flexion', 'hand_to_head', 'ear_height'}),
    ('RIGHT_EYE_OUTER', set()),
    ('LEFT_WRIST', set()),
    ('NOSE', set()),
])
def test_hidden_joints_give_nan_and_only_where_they_count(hidden: str, lost: set[str]) -> None:
    seen = figure(forward=5)
    visibility = seen.visibility.copy()
    visibility[Joint[hidden]] = 0.3
    angles = measure(replace(seen, visibility=visibility))
    assert {name for name in PostureAngles.__slots__ if math.isnan(getattr(angles, name))} == lost


def test_with_both_hands_hidden_nothing_is_said_of_them() -> None:
    seen = figure()
    visibility = seen.visibility.copy()
    visibility[[Joint.LEFT_WRIST, Joint.RIGHT_INDEX]] = 0.1
    assert math.isnan(measure(replace(seen, visibility=visibility)).hand_to_head)


def test_from_the_side_nothing_is_said_of_left_and_right() -> None:
    angles = measure(figure(forward=20, facing=88))
    assert math.isnan(angles.shoulder_tilt)
    assert math.isnan(angles.ear_height)
    assert angles.forward_lean == pytest.approx(math.radians(20))


def test_a_model_without_depth_gives_no_lean() -> None:
    angles = measure(figure(right=10, depth=False))
    assert all(math.isnan(getattr(angles, name)) for name in LEANS)
    assert degrees(angles, *TILTS) == pytest.approx([10, 10], abs=0.01)


def test_smoothing_calms_each_angle_and_keeps_nan() -> None:
    random = np.random.default_rng(0)
    smoother = AngleSmoother()
    smooth = []
    for number in range(200):  # 5 images a second
        noisy = PostureAngles(0.2 + random.normal(0, 0.02), head_roll=random.normal(0, 0.02))
        smooth.append(smoother.update(number * SECOND_NS // 5, noisy))
    tilts = np.array([angles.shoulder_tilt for angles in smooth[20:]])
    assert tilts.mean() == pytest.approx(0.2, abs=0.01)
    assert tilts.std() < 0.013
    assert all(math.isnan(value) for value in astuple(smooth[-1])[2:])


FILMS = ('grid_bbaf2n.mpg', 'grid_lwbsza.mpg', 'talking_woman.mp4', 'webcam_glasses_30fps.avi',
         'cam_man_still.mp4', 'face_then_noface.mov')
"""Both shoulders are in view, the hips are not."""
IMAGES = 8


@pytest.mark.parametrize('name', FILMS)
def test_a_film_that_is_turned_turns_the_angles(
    name: str, pose_models: Path, shared_data: Path,
) -> None:
    """Shoulders within 2 degrees of the turn; the head, which is small in the crop, within 3."""
    path = clip_here(shared_data, name)
    with OpenVINOBackend(pose_models / 'blazepose_detector.onnx') as finds, \
            OpenVINOBackend(pose_models / 'blazepose.onnx') as reads:
        detector, pose = BlazePoseDetector(finds), BlazePose(reads)
        upright = followed(path, 0, detector, pose)
        for clockwise in (-20, 20):
            angles = followed(path, clockwise, detector, pose)
            shoulders, head = np.subtract(degrees(angles, *TILTS), degrees(upright, *TILTS))
            assert shoulders == pytest.approx(-clockwise, abs=2)
            assert head == pytest.approx(-clockwise, abs=3)


def followed(
    path: Path, clockwise: float, detector: BlazePoseDetector, pose: BlazePose,
) -> PostureAngles:
    """Return the smoothed angles of a film's first person after a quarter of a second."""
    following, smoother = NextCrop(), AngleSmoother()
    roi, angles = None, PostureAngles()
    for number, image in enumerate(turned(path, clockwise)):
        stamp_ns = number * SECOND_NS // 30
        if roi is None:
            body, = pose.settle(image, detector.detect(image)[:1])
        else:
            body, = pose.read(image, roi[None])
        roi = following.update(stamp_ns, body)
        angles = smoother.update(stamp_ns, measure(body.skeleton))
    return angles


def turned(path: Path, clockwise: float, images: int = IMAGES) -> Iterator[NDArray[np.uint8]]:
    """Yield the first images of a clip, turned on a grey square that holds them whole."""
    for image in islice(read_film(path), images):
        height, width = image.shape[:2]
        side = int(1.6 * max(height, width))
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -clockwise, 1)
        matrix[:, 2] += (side - width) / 2, (side - height) / 2
        yield cv2.warpAffine(image, matrix, (side, side),
                             borderMode=cv2.BORDER_CONSTANT, borderValue=(128, 128, 128))
