# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is drawn over a face covers what it says, and nothing else that counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from occluders import occlude, OCCLUDERS
import pytest

from aitable_ros.face.mesh import FaceMesh, roi_from_landmarks
from aitable_ros.fatigue.eyes import LEFT_EYE, RIGHT_EYE
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.inference.chain import resolve
from aitable_ros.tools.clip import Scene
from aitable_ros.types import FaceLandmarks

LIPS = (13, 14, 82, 87, 312, 317)


@pytest.fixture(scope='module')
def picture() -> NDArray[np.uint8]:
    return Scene((640, 480)).at(0.0).copy()


@pytest.fixture(scope='module')
def face(models, picture) -> Iterator[FaceLandmarks]:
    backend = resolve(FatigueOptions()).backend
    assert backend is not None
    mesh = FaceMesh(backend)
    roi = np.array([[picture.shape[1] / 2, picture.shape[0] / 2, 340, 0]], np.float32)
    roi = roi_from_landmarks(mesh.read(picture, roi)[0])[None]
    yield mesh.read(picture, roi)[0]
    backend.close()


def _changed(before: NDArray[np.uint8], after: NDArray[np.uint8], points) -> float:
    """Share of the pixels within the outline of some points that are no longer the same."""
    (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
    part = slice(top, bottom + 1), slice(left, right + 1)
    return float(np.mean(np.abs(after[part].astype(int) - before[part]).max(axis=-1) > 2))


@pytest.mark.parametrize('kind', OCCLUDERS)
def test_what_is_covered_is_covered_and_the_rest_is_not(kind, picture, face):
    covered = OCCLUDERS[kind]
    for seed in range(5):
        after = occlude(picture, face, kind, np.random.default_rng(seed))
        for hidden, points in (
                (covered.right_eye, RIGHT_EYE), (covered.left_eye, LEFT_EYE),
                (covered.mouth, LIPS)):
            share = _changed(picture, after, face.points[list(points), :2])
            assert share > 0.95 if hidden else share < 0.05, (kind, seed, points, share)


@pytest.mark.parametrize('kind', OCCLUDERS)
def test_chance_varies_the_drawing_and_the_seed_repeats_it(kind, picture, face):
    first, again, other = (
        occlude(picture, face, kind, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize('kind', OCCLUDERS)
def test_a_face_at_the_edge_of_the_image_can_be_covered_too(kind, picture, face):
    cut = picture[:, 300:]
    points = face.points - np.array([300, 0, 0], np.float32)
    after = occlude(cut, FaceLandmarks(points, 1.0), kind, np.random.default_rng(0))
    assert after.shape == cut.shape
    assert not np.array_equal(after, cut)
