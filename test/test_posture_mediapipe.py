# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""BlazePose against MediaPipe's own graph; skipped where MediaPipe is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
from films import clip_here, read_film
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.posture.blazepose import BlazePose, NextCrop, roi_from_detection
from aitable_ros.posture.blazepose_detector import BlazePoseDetector

CLIPS = ('three_people.gif', 'face_then_noface.mov', 'grid_bbaf2n.mpg', 'talking_woman.mp4',
         'webcam_glasses_30fps.avi', 'cam_man_still.mp4')
"""Shoulders are in view."""
FRAMES = 20
STEP_NS = 33_333_000
"""MediaPipe's solutions give each image a stamp this much later."""


@pytest.fixture(autouse=True)
def mediapipe() -> None:
    pytest.importorskip('mediapipe', reason='MediaPipe is not installed here')


@pytest.fixture
def graph() -> Iterator[Any]:
    """Return MediaPipe's pose graph, its crops among the outputs."""
    from mediapipe.python.solution_base import SolutionBase

    options = {'model_complexity': 1, 'smooth_landmarks': False, 'enable_segmentation': False,
               'smooth_segmentation': False, 'use_prev_landmarks': True}
    with SolutionBase(
        binary_graph_path='mediapipe/modules/pose_landmark/pose_landmark_cpu.binarypb',
        side_inputs=options,
        outputs=['pose_landmarks', 'pose_world_landmarks', 'pose_rect_from_detection',
                 'pose_rect_from_landmarks'],
    ) as opened:
        yield opened


def roi_of(rectangle: Any, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    return np.array([rectangle.x_center * width, rectangle.y_center * height,
                     rectangle.width * width, rectangle.rotation], np.float32)


def corners(roi: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y, size, angle = roi.tolist()
    return cv2.boxPoints(((x, y), (size, size), np.degrees(angle)))


@pytest.mark.parametrize('name', CLIPS)
def test_crops_and_joints_are_those_of_mediapipe(
    name: str, graph: Any, pose_models: Path, shared_data: Path,
) -> None:
    """Each image is read in MediaPipe's own crop, so that differences do not add up."""
    path = clip_here(shared_data, name)
    with OnnxRuntimeBackend(pose_models / 'blazepose_detector.onnx') as finds, \
            OnnxRuntimeBackend(pose_models / 'blazepose.onnx') as reads:
        detector, pose, following = BlazePoseDetector(finds), BlazePose(reads), NextCrop()
        roi = None
        for number, image in enumerate(islice(read_film(path), FRAMES), 1):
            theirs = graph.process({'image': image})
            if roi is None:
                found = roi_from_detection(detector.detect(image)[0])
                roi = roi_of(theirs.pose_rect_from_detection, image)
                assert np.abs(corners(found) - corners(roi)).max() < 0.1
            body, = pose.read(image, roi[None])
            scale = roi[2] / 256
            if theirs.pose_landmarks is None:
                break
            height, width = image.shape[:2]
            joints = np.array([(point.x * width, point.y * height, point.visibility)
                               for point in theirs.pose_landmarks.landmark])
            apart = np.abs(body.skeleton.points[:, :2] - joints[:, :2]) / scale
            # in pixels of the crop; a joint jumps where its cell of the heat map is the next one
            assert np.median(apart) < 0.02
            assert np.percentile(apart, 90) < 0.3
            np.testing.assert_allclose(body.skeleton.visibility, joints[:, 2], atol=0.01)
            world = [(point.x, point.y, point.z)
                     for point in theirs.pose_world_landmarks.landmark]
            np.testing.assert_allclose(body.skeleton.world, world, atol=0.01)
            roi = roi_of(theirs.pose_rect_from_landmarks, image)
            mine = following.update(number * STEP_NS, body)
            assert np.abs(corners(mine) - corners(roi)).max() < 1.0
        assert number > 10
