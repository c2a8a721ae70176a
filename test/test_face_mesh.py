# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The mesh: crops, their way back, and eyes that are seen to shut."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
from films import read_film
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.crop_map import crop_to_image
from aitable_ros.errors import InputError
from aitable_ros.face.detector import detector_for
from aitable_ros.face.mesh import FaceMesh, roi_from_detection, roi_from_landmarks
from aitable_ros.face.turned_crops import _around
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection, FaceLandmarks

FACE = Detection(
    np.array([172, 66, 278, 172], np.float32), 0.9,
    np.array([[204, 102], [246, 104.5]], np.float32))
"""The portrait's; the eyes by hand."""
LEFT, RIGHT = (362, 385, 387, 263, 373, 380), (33, 160, 158, 133, 153, 144)


def ear(landmarks: FaceLandmarks) -> float:
    """Soukupová & Čech 2016, mean of both eyes."""
    def one(indices: tuple[int, ...]) -> float:
        p1, p2, p3, p4, p5, p6 = landmarks.points[list(indices), :2]
        return (np.linalg.norm(p2 - p6) + np.linalg.norm(p3 - p5)) / (2 * np.linalg.norm(p1 - p4))
    return float(one(LEFT) + one(RIGHT)) / 2


def load(name: str, backend: str = 'onnxruntime') -> Backend:
    return resolve(ModelOptions(model=name, backend=backend)).backend


@pytest.fixture(scope='module')
def mesh(models: Path) -> FaceMesh:
    with load('facemesh') as backend:
        yield FaceMesh(backend)


@pytest.mark.parametrize(('box', 'eyes', 'expected'), [
    ([100, 100, 200, 200], [[130, 140], [170, 140]], [150, 150, 150, 0]),
    ([100, 100, 200, 260], [[130, 140], [170, 140]], [150, 180, 240, 0]),
    ([100, 100, 200, 200], [[130, 120], [170, 160]], [150, 150, 150, math.pi / 4]),
    ([100, 100, 200, 200], [[170, 140], [130, 140]], [150, 150, 150, math.pi]),
    ([-50, -50, 50, 50], [], [0, 0, 150, 0]),
], ids=['level', 'tall', 'tilted', 'upside down', 'no eyes, beyond the edge'])
def test_roi_from_detection(box: list, eyes: list, expected: list) -> None:
    keypoints = np.array(eyes, np.float32).reshape(-1, 2)
    roi = roi_from_detection(Detection(np.array(box, np.float32), 1.0, keypoints))
    assert roi.dtype == np.float32
    assert roi == pytest.approx(expected)


def test_roi_from_landmarks_levels_the_eyes() -> None:
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = [150, 150]
    points[0, :2], points[1, :2] = [100, 110], [200, 170]
    points[33, :2], points[263, :2] = [130, 130], [160, 160]
    points[470, :2] = [900, 900]  # an iris is no part of the box
    roi = roi_from_landmarks(FaceLandmarks(points, 1.0))
    assert roi == pytest.approx([150, 140, 150, math.pi / 4])


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize(('name', 'count'), [('facemesh', 478), ('facemesh_468', 468)])
def test_the_portraits_mesh(
    name: str, count: int, backend: str, models: Path, portrait: NDArray[np.uint8],
) -> None:
    with load(name, backend) as loaded:
        (found,) = FaceMesh(loaded).read(portrait, roi_from_detection(FACE)[None])
    assert found.points.shape == (count, 3)
    assert found.points.dtype == np.float32
    assert found.presence > 0.9
    assert found.points[[33, 133], :2].mean(axis=0) == pytest.approx(FACE.keypoints[0], abs=2)
    assert found.points[[263, 362], :2].mean(axis=0) == pytest.approx(FACE.keypoints[1], abs=2)
    assert found.points[1, 2] < found.points[234, 2], 'the nose is nearer than an ear'
    width = found.box[2] - found.box[0]
    assert 0.3 < np.ptp(found.points[:, 2]) / width < 1.5, 'depth has the scale of the image'


@pytest.mark.parametrize('degrees', [-150, -40, -15, 20, 75])
def test_a_turned_image_turns_the_mesh(
    degrees: float, mesh: FaceMesh, portrait: NDArray[np.uint8],
) -> None:
    """The crop undoes the turn: the same points come out, in the turned image's pixels."""
    (upright,) = mesh.read(portrait, roi_from_detection(FACE)[None])
    turn = cv2.getRotationMatrix2D((225, 110), degrees, 1.3)
    image = cv2.warpAffine(portrait, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    roi = np.array(roi_from_detection(FACE))
    roi[2] *= 1.3
    roi[3] -= math.radians(degrees)
    (turned,) = mesh.read(image, roi[None])
    expected = upright.points[:, :2] @ turn[:, :2].T + turn[:, 2]
    assert np.abs(turned.points[:, :2] - expected).mean() < 1.0
    assert turned.points[:, 2] == pytest.approx(upright.points[:, 2] * 1.3, abs=6)
    assert turned.presence > 0.9


def test_the_crop_settles_on_its_own_mesh(mesh: FaceMesh, portrait: NDArray[np.uint8]) -> None:
    """Tracking: each crop comes from the mesh before; it must stand still on a still image."""
    (found,) = mesh.read(portrait, roi_from_detection(FACE)[None])
    for _ in range(5):
        before = found
        (found,) = mesh.read(portrait, roi_from_landmarks(found)[None])
    assert np.abs(found.points - before.points)[:, :2].mean() < 0.3
    assert found.presence > 0.9


def test_several_faces_at_once_are_read_as_one_by_one(
    mesh: FaceMesh, portrait: NDArray[np.uint8],
) -> None:
    rois = np.stack([roi_from_detection(FACE)] * 3) + np.array(
        [[0, 0, 0, 0], [5, -3, 12, 0.1], [-4, 2, -8, -0.2]], np.float32)
    together = mesh.read(portrait, rois)
    for roi, found in zip(rois, together):
        (alone,) = mesh.read(portrait, roi[None])
        assert found.points == pytest.approx(alone.points, abs=1e-2)
        assert found.presence == pytest.approx(alone.presence, abs=1e-4)
    assert mesh.read(portrait, np.zeros((0, 4), np.float32)) == []


@pytest.mark.parametrize('image', [
    np.zeros((1, 1, 3), np.uint8), np.zeros((0, 0, 3), np.uint8), np.zeros((0, 9, 3), np.uint8),
    np.zeros((3, 4000, 3), np.uint8), np.full((480, 640, 3), 128, np.uint8)],
    ids=['1x1', 'empty', 'no rows', 'a line', 'grey'])
@pytest.mark.parametrize('roi', [
    [0, 0, 100, 0], [320, 240, 0, 0], [1e6, -1e6, 50, 3], [5, 5, 1e7, 1]],
    ids=['corner', 'no size', 'far outside', 'huge'])
def test_where_there_is_no_face_presence_is_low(
    image: NDArray[np.uint8], roi: list, mesh: FaceMesh,
) -> None:
    (found,) = mesh.read(image, np.array([roi], np.float32))
    assert found.presence < 0.5
    assert np.isfinite(found.points).all()


def test_an_endless_region_is_refused(mesh: FaceMesh, portrait: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match='finite'):
        mesh.read(portrait, np.array([[np.nan, 0, 10, 0]], np.float32))


def test_views_and_grey_images(mesh: FaceMesh, portrait: NDArray[np.uint8]) -> None:
    """Read-only, mirrored twice, cut out of a larger array: the same answer without a complaint."""
    (expected,) = mesh.read(portrait, roi_from_detection(FACE)[None])
    large = np.zeros((600, 700, 3), np.uint8)
    large[40:552, 60:572] = portrait
    for image in (large[40:552, 60:572], np.asfortranarray(portrait),
                  np.ascontiguousarray(portrait[:, ::-1])[:, ::-1]):
        (found,) = mesh.read(image, roi_from_detection(FACE)[None])
        assert found.points == pytest.approx(expected.points, abs=1e-3)
    grey = np.repeat(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    (found,) = mesh.read(grey, roi_from_detection(FACE)[None])
    assert np.abs(found.points - expected.points)[:, :2].mean() < 2


def test_another_model_is_refused(models: Path) -> None:
    with load('fer') as backend, pytest.raises(InputError, match='fer: not a face mesh'):
        FaceMesh(backend)


def test_labelled_blinks_shut_the_eyes(mesh: FaceMesh, models: Path, shared_data: Path) -> None:
    """At the core of each sure blink the EAR is below 0.8 of what it is around it."""
    blinks = json.loads((shared_data / 'labels' / 'talking_woman.json').read_text())['blinks']
    near = {index for blink in blinks
            for index in range(blink['start_frame'] - 12, blink['end_frame'] + 13)}
    ears = []
    last = None
    with load('blazeface_full') as backend:
        detector = detector_for(backend)
        for index, image in enumerate(read_film(shared_data / 'video' / 'talking_woman.mp4')):
            if index not in near:
                ears.append(np.nan)
                last = None
                continue
            roi = roi_from_landmarks(last) if last else roi_from_detection(
                detector.detect(image, 0.5, 0.45)[0])
            (last,) = mesh.read(image, roi[None])
            ears.append(ear(last))
            assert last.presence > 0.5
    for blink in blinks:
        start, end = blink['start_frame'], blink['end_frame']
        around = ears[max(0, start - 12):max(0, start - 2)] + ears[end + 3:end + 13]
        assert min(ears[start:end + 1]) < 0.8 * np.median(around), blink


def test_a_crop_of_a_part_is_the_crop_of_the_whole():
    random = np.random.default_rng(1)
    image = random.integers(0, 255, (180, 320, 3), np.uint8)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for _ in range(300):
        matrix = crop_to_image(
            tuple(random.uniform(-100, 400, 2)), random.uniform(-3, 3), random.uniform(0.2, 4),
            (64, 64))
        near, moved = _around(image, matrix, 64)
        np.testing.assert_array_equal(*(
            cv2.warpAffine(seen, by, (64, 64), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            for seen, by in ((near, moved), (image, matrix))))
