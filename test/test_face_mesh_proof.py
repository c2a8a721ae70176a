# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A mesh that lies on a face is told from one that lies on anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.errors import InputError
from aitable_ros.face.finder import FaceFinder
from aitable_ros.face.mesh_proof import DISTANCE_WEIGHT, LEAST_MARGIN, MeshProof
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.types import Detection, FaceLandmarks, Frame, TrackedFace, Validity

STEP_NS = 33_333_333
Image = NDArray[np.uint8]


@pytest.fixture(scope='module')
def proof(models: Path) -> Iterator[MeshProof]:
    backend = resolve(ModelOptions(fallbacks=('blazeface_short',))).backend
    assert backend is not None
    yield MeshProof(backend)
    backend.close()


@pytest.fixture(scope='module')
def mesh(models: Path, portrait: Image) -> FaceLandmarks:
    """Return the mesh of the portrait."""
    with FaceFinder.open() as finder, FatigueMonitor.open() as monitor:
        frame = Frame(portrait, 1)
        faces = finder.update(frame)
        return monitor.update(frame, faces).landmarks[faces[0].track_id]


def moved(mesh: FaceLandmarks, shift: float) -> FaceLandmarks:
    """Return a mesh that lies beside the face, by so many eye distances, as far down as aside."""
    eyes = float(np.linalg.norm(mesh.points[33, :2] - mesh.points[263, :2]))
    offset = np.array([shift * eyes, shift * eyes, 0], np.float32)
    return FaceLandmarks(mesh.points + offset, mesh.presence)


@pytest.mark.parametrize(('degrees', 'scale'), [
    (0, 0.3), (0, 0.5), (0, 1.0), (30, 0.5), (-60, 0.5), (180, 0.5), (30, 1.0)])
def test_a_mesh_on_a_face_is_borne_out(
    proof: MeshProof, mesh: FaceLandmarks, portrait: Image, degrees: float, scale: float,
) -> None:
    """Whatever the size and the roll of the face."""
    matrix = cv2.getRotationMatrix2D((256, 256), degrees, scale)
    image = np.asarray(cv2.warpAffine(
        portrait, matrix, (512, 512), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE),
        np.uint8)
    points = mesh.points.copy()
    points[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    points[:, 2] *= scale
    assert points[:, :2].min() >= 0
    assert points[:, :2].max() < 512
    logit, apart = proof.compare(image, FaceLandmarks(points.astype(np.float32), 1.0))
    assert logit - DISTANCE_WEIGHT * apart > LEAST_MARGIN + 0.5


@pytest.mark.parametrize('shift', [0.5, 1.0, 2.0])
def test_a_mesh_beside_the_face_is_not(
    proof: MeshProof, mesh: FaceLandmarks, portrait: Image, shift: float,
) -> None:
    assert proof.holds(portrait, mesh)
    assert not proof.holds(portrait, moved(mesh, shift))


def test_a_mesh_on_no_face_is_not(proof: MeshProof, mesh: FaceLandmarks) -> None:
    from skimage.data import coffee, page

    text = np.repeat(page()[:, :, None], 3, axis=2)
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    for image in (np.zeros((512, 512, 3), np.uint8), noise, text, coffee()):
        assert not proof.holds(np.ascontiguousarray(image), mesh)


def test_only_a_blazeface_proves(models: Path) -> None:
    backend = resolve(ModelOptions(fallbacks=('fer',))).backend
    assert backend is not None
    with backend, pytest.raises(InputError):
        MeshProof(backend)


def test_off_believes_every_mesh(models: Path) -> None:
    with FatigueMonitor.open(FatigueOptions(proof='off')) as monitor:
        assert [attempt.entry for attempt in monitor.attempts][-1] == 'off'


def faces_at(box: NDArray[np.float32]) -> tuple[TrackedFace, ...]:
    return (TrackedFace(7, Detection(box, 0.9), primary=True, detected=False),)


def test_hair_that_the_mesh_takes_for_a_face_is_nobody(
    models: Path, portrait: Image, mesh: FaceLandmarks,
) -> None:
    """
    The face is painted over in the middle of the film: the mesh goes on, the proof does not.

    The tracker goes on, too, as it does while the mesh sees a face.
    """
    left, top, right, bottom = (int(edge) for edge in mesh.box)
    covered = portrait.copy()
    patch = covered[top - 20:bottom + 10, left - 10:right + 10]
    patch[:] = cv2.GaussianBlur(patch, (0, 0), 6)  # a smooth oval of skin and hair

    def film(proof: str) -> list[Validity]:
        told = []
        with FatigueMonitor.open(FatigueOptions(proof=proof)) as monitor:
            for k in range(90):
                image = portrait if k < 30 else covered
                update = monitor.update(Frame(image, k * STEP_NS + 1), faces_at(mesh.box))
                told.append(update.readings[7].validity)
        return told
    proved, believed = film('blazeface_short'), film('off')
    assert proved[:30] == [Validity.VALID] * 30
    assert Validity.VALID in believed[35:], 'the mesh does not fit this patch: make another'
    assert proved[62:] == [Validity.NO_FACE] * 28  # a second later at the latest
