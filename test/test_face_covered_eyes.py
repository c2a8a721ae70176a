# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Eyes that are covered are told from eyes that are open, half shut or shut."""

from __future__ import annotations

from pathlib import Path

from head_films import Camera, PEOPLE
import numpy as np
from numpy.typing import NDArray
from occluders import occlude
import pytest

from aitable_ros.face.covered_eyes import eyes_covered
from aitable_ros.face.mesh import FaceMesh, roi_from_landmarks
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.inference.chain import resolve
from aitable_ros.types import Detection, FaceLandmarks, Frame, TrackedFace, Validity

Image = NDArray[np.uint8]
STEP_NS = 50_000_000


@pytest.fixture(scope='module')
def pictures(models: Path) -> dict[float, tuple[Image, FaceLandmarks]]:
    """Return the portrait with lids shut by so much, and the mesh of each picture."""
    backend = resolve(FatigueOptions()).backend
    assert backend is not None
    found = {}
    with backend:
        mesh = FaceMesh(backend)
        camera = Camera(mesh)
        for closure in (0.0, 0.5, 1.0):
            picture = np.ascontiguousarray(camera.picture(PEOPLE[0], closure))
            roi = np.array([[picture.shape[1] / 2, picture.shape[0] / 2, 340, 0]], np.float32)
            for _ in range(3):
                landmarks = mesh.read(picture, roi)[0]
                roi = roi_from_landmarks(landmarks)[None]
            found[closure] = picture, landmarks
    return found


@pytest.mark.parametrize('closure', [0.0, 0.5, 1.0])
def test_uncovered_eyes_are_seen_whatever_the_lids_do(
    pictures: dict[float, tuple[Image, FaceLandmarks]], closure: float,
) -> None:
    assert not eyes_covered(*pictures[closure])


@pytest.mark.parametrize('kind', ['bar', 'dark_glasses', 'text'])
def test_covered_eyes_are_told(
    pictures: dict[float, tuple[Image, FaceLandmarks]], kind: str,
) -> None:
    picture, landmarks = pictures[0.0]
    told = [
        eyes_covered(occlude(picture, landmarks, kind, np.random.default_rng(seed)), landmarks)
        for seed in range(10)]
    assert sum(told) >= 8


@pytest.mark.parametrize('kind', ['bar_left', 'bar_right', 'hand_mouth'])
def test_one_eye_is_enough(
    pictures: dict[float, tuple[Image, FaceLandmarks]], kind: str,
) -> None:
    picture, landmarks = pictures[0.0]
    covered = occlude(picture, landmarks, kind, np.random.default_rng(0))
    assert not eyes_covered(covered, landmarks)


def test_covered_eyes_are_occluded_and_teach_nothing(
    pictures: dict[float, tuple[Image, FaceLandmarks]],
) -> None:
    """Two seconds open, two behind a bar, two open again; the mesh sees open eyes throughout."""
    picture, landmarks = pictures[0.0]
    bar = occlude(picture, landmarks, 'bar', np.random.default_rng(0))
    face = TrackedFace(3, Detection(landmarks.box, 0.9), primary=True, detected=False)
    with FatigueMonitor.open() as monitor:
        updates = [
            monitor.update(Frame(bar if 40 <= k < 80 else picture, k * STEP_NS + 1), (face,))
            for k in range(120)]
    validity = [update.readings[3].validity for update in updates]
    assert set(validity[:40]) == {Validity.VALID}
    assert set(validity[52:80]) == {Validity.OCCLUDED}
    assert set(validity[86:]) == {Validity.VALID}
    assert all(update.assessments[3].validity is Validity.OCCLUDED for update in updates[52:80])
    hidden = updates[79].assessments[3].usable_s - updates[52].assessments[3].usable_s
    assert hidden == 0.0
