# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""BlazePose on the portrait and on clips: bodies found, joints read, crops followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
import math
from pathlib import Path

from films import read_film
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.engines.stage_backends import RecordingBackend
from aitable_ros.errors import InputError
from aitable_ros.face.mesh import FaceMesh
from aitable_ros.face.ssd import anchors
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.openvino import OpenVINOBackend
from aitable_ros.inference.protocol import Backend
from aitable_ros.models.fetch import fetch
from aitable_ros.posture.blazepose import (
    BlazePose, MIN_PRESENCE, NextCrop, refine, roi_from_detection, roi_from_points
)
from aitable_ros.posture.blazepose_detector import BlazePoseDetector, GRIDS
from aitable_ros.posture_types import Joint, Skeleton

RUNTIMES = {'onnxruntime': OnnxRuntimeBackend, 'openvino': OpenVINOBackend}
Opened = Callable[..., Backend]


@pytest.fixture
def opened(pose_models: Path) -> Iterator[Opened]:
    backends = []

    def open_model(name: str, runtime: str = 'onnxruntime') -> Backend:
        backends.append(RUNTIMES[runtime](pose_models / f'{name}.onnx'))
        return backends[-1]

    yield open_model
    for backend in backends:
        backend.close()


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_the_portraits_joints_are_where_they_are(
    runtime: str, opened: Opened, portrait: NDArray[np.uint8],
) -> None:
    found, = BlazePoseDetector(opened('blazepose_detector', runtime)).detect(portrait)
    assert found.confidence > 0.7
    assert found.keypoints.shape == (4, 2)
    x1, y1, x2, y2 = found.box.tolist()
    assert x1 < 222 < x2  # the face
    assert y1 < 150 < y2
    body, = BlazePose(opened('blazepose', runtime)).read(
        portrait, roi_from_detection(found)[None])
    skeleton = body.skeleton
    assert skeleton.presence > 0.9
    for joint, place in ((Joint.RIGHT_EYE, (202, 110)), (Joint.LEFT_EYE, (245, 110)),
                         (Joint.NOSE, (228, 140)), (Joint.RIGHT_SHOULDER, (110, 250)),
                         (Joint.LEFT_SHOULDER, (300, 245))):
        assert math.dist(skeleton.points[joint, :2], place) < 25, joint
        assert skeleton.sees(joint)
    assert not skeleton.sees(Joint.LEFT_KNEE)
    assert 0.2 < math.dist(
        skeleton.world[Joint.LEFT_SHOULDER], skeleton.world[Joint.RIGHT_SHOULDER]) < 0.5  # metres


def test_joints_equal_litert_on_real_crops(
    opened: Opened, portrait: NDArray[np.uint8], shared_data: Path,
) -> None:
    """The crops come from our own detector; 0.05 px of the crop, on both runtimes."""
    from ai_edge_litert.interpreter import Interpreter

    images = [portrait]
    for name in ('three_people.gif', 'grid_bbaf2n.mpg', 'webcam_glasses_30fps.avi'):
        images += islice(read_film(shared_data / 'video' / name), 1)
    detector = BlazePoseDetector(opened('blazepose_detector'))
    interpreter = Interpreter(str(fetch('blazepose')))
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]['index']
    output = next(detail['index'] for detail in interpreter.get_output_details()
                  if detail['name'] == 'Identity')
    tap = RecordingBackend(opened('blazepose'))
    for image in images:
        BlazePose(tap).read(image, roi_from_detection(detector.detect(image)[0])[None])
        crop, = tap.take()
        interpreter.set_tensor(place, crop['image'])
        interpreter.invoke()
        theirs = interpreter.get_tensor(output).reshape(39, 5)
        for runtime in RUNTIMES:
            ours = opened('blazepose', runtime).infer(crop)
            assert np.abs(ours['landmarks'][0, :, :2] - theirs[:, :2]).max() < 0.05


def test_each_of_several_bodies_is_found(opened: Opened, portrait: NDArray[np.uint8]) -> None:
    """A batch of crops gives each body its own joints."""
    wide = np.hstack([portrait, np.full((512, 600, 3), 128, np.uint8), portrait[:, ::-1]])
    found = BlazePoseDetector(opened('blazepose_detector')).detect(wide)
    assert len(found) == 2
    rois = np.array([roi_from_detection(body) for body in found])
    pose = BlazePose(opened('blazepose'))
    together = pose.read(wide, rois)
    noses = sorted(float(body.skeleton.points[Joint.NOSE, 0]) for body in together)
    assert noses == pytest.approx([228, 1623 - 228], abs=25)
    for body, roi in zip(together, rois):
        alone, = pose.read(wide, roi[None])
        np.testing.assert_allclose(alone.skeleton.points, body.skeleton.points, atol=0.05)


def test_nobody_is_in_noise(opened: Opened) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    assert BlazePoseDetector(opened('blazepose_detector')).detect(noise) == []
    body, = BlazePose(opened('blazepose')).read(noise, np.array([[320, 240, 480, 0]]))
    assert body.skeleton.presence < MIN_PRESENCE


def test_a_turned_image_turns_the_crop_and_the_joints(
    opened: Opened, portrait: NDArray[np.uint8],
) -> None:
    """A quarter turn is exact in pixels, so the joints of its turned crop are those of before."""
    pose = BlazePose(opened('blazepose'))
    roi = np.array([190, 520, 1250, 0.1], np.float32)
    before, = pose.read(portrait, roi[None])
    turned = np.ascontiguousarray(np.rot90(portrait, -1))  # clockwise
    # a pixel's index i of 512 goes to 511 - i
    quarter = np.array([511 - roi[1], roi[0], roi[2], roi[3] + math.pi / 2], np.float32)
    after, = pose.read(turned, quarter[None])
    x, y, z = before.skeleton.points.T
    visible = before.skeleton.visibility > 0.9
    np.testing.assert_allclose(
        after.skeleton.points[visible], np.stack([511 - y, x, z], axis=1)[visible], atol=4)
    x, y, z = before.skeleton.world.T
    np.testing.assert_allclose(
        after.skeleton.world[visible], np.stack([-y, x, z], axis=1)[visible], atol=0.01)


def test_a_body_is_followed_without_the_detector(
    opened: Opened, portrait: NDArray[np.uint8],
) -> None:
    """The crop comes from the last landmarks, while the image moves 6 px a frame."""
    pose, following = BlazePose(opened('blazepose')), NextCrop()
    canvas = np.full((700, 1000, 3), 128, np.uint8)
    roi = None
    for number in range(20):
        image = canvas.copy()
        left = 40 + 6 * number
        image[188:, left:left + 512] = portrait
        if roi is None:
            found, = BlazePoseDetector(opened('blazepose_detector')).detect(image)
            roi = roi_from_detection(found)
        body, = pose.read(image, roi[None])
        assert body.skeleton.presence > 0.9
        assert body.skeleton.points[Joint.NOSE, :2] == pytest.approx(
            [228 + left, 140 + 188], abs=15)
        roi = following.update(number * 33_333_000, body)


def test_the_crop_has_the_circle_point_above() -> None:
    upright = roi_from_points(np.array([[100.0, 200.0], [100.0, 120.0]]))
    assert upright.tolist() == pytest.approx([100, 200, 2 * 80 * 1.25, 0])
    lying = roi_from_points(np.array([[100.0, 200.0], [180.0, 200.0]]))
    assert lying[3] == pytest.approx(math.pi / 2)  # clockwise
    head_down = roi_from_points(np.array([[100.0, 200.0], [100.1, 280.0]]))
    assert abs(head_down[3]) == pytest.approx(math.pi, abs=0.01)


def test_anchors_of_the_body_detector() -> None:
    points = anchors(224, GRIDS[224])
    assert points.shape == (2254, 2)
    assert points[0].tolist() == [4, 4]
    assert points[-1].tolist() == [208, 208]


def test_refinement_is_the_centre_of_heat_where_there_is_heat() -> None:
    heat = np.full((3, 64, 64), -30, np.float32)
    heat[0, 20, 11] = heat[0, 20, 12] = 30.0
    heat[1, 20, 11] = -0.1  # below the least maximum
    points = np.array([[40.0, 84.0], [40.0, 84.0], [-9.0, 84.0]], np.float32)
    refine(points, heat, 256)
    assert points.tolist() == [[46.0, 80.0], [40.0, 84.0], [-9.0, 84.0]]


def test_heat_at_the_border_counts_once() -> None:
    heat = np.full((1, 64, 64), -30, np.float32)
    heat[0, 0, 0] = heat[0, 0, 2] = 30.0
    points = np.array([[1.0, 1.0]], np.float32)
    refine(points, heat, 256)
    assert points == pytest.approx(np.array([[4.0, 0.0]]), abs=1e-6)


@pytest.mark.parametrize(('stage', 'name', 'words'), [
    (BlazePose, 'facemesh', "not BlazePose: .*use 'blazepose'"),
    (BlazePoseDetector, 'blazeface_short', "not a body detector: .*use 'blazepose_detector'"),
    (FaceMesh, 'blazepose', 'not a face mesh'),
])
def test_another_model_is_refused_in_one_line(
    stage: Callable[[Backend], object], name: str, words: str, opened: Opened,
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        stage(opened(name))
    assert '\n' not in str(caught.value)


def test_a_region_that_is_not_finite_is_refused(opened: Opened) -> None:
    with pytest.raises(ValueError, match='finite'):
        BlazePose(opened('blazepose')).read(
            np.zeros((8, 8, 3), np.uint8), np.full((1, 4), np.nan, np.float32))


def test_a_skeleton_has_33_joints() -> None:
    with pytest.raises(ValueError, match=r'\(33, 3\)'):
        Skeleton(np.zeros((17, 3), np.float32), np.zeros(33, np.float32),
                 np.zeros((33, 3), np.float32), 1.0)
