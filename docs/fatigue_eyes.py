# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Fit what eyes look like, for ``aitable_ros/face/covered_eyes.py``; writes ``face/eye_table.py``.

Run ``PYTHONPATH=test .venv/bin/python docs/fatigue_eyes.py`` from the repository root. The eyes are
those of the public-domain portrait that scikit-image ships, drawn in other shapes, poses and focus,
with the lids anywhere between open and shut. No picture of anybody else is in the table.
"""

from __future__ import annotations

import base64
from pathlib import Path
import sys

import cv2
from head_films import Camera, PEOPLE
import numpy as np
from numpy.typing import NDArray
from turning_head import HeadPose

from aitable_ros.face.covered_eyes import eye_patches, small
from aitable_ros.face.mesh import FaceMesh, roi_from_landmarks
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.inference.chain import resolve
from aitable_ros.types import FaceLandmarks

COMPONENTS = 8
CLOSURES = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
POSES = 8
SPREAD_DEGREES = (6, 9, 12)
"""Of roll, pitch and yaw."""
MESH_ERROR_PX = 1.0
TABLE = Path(__file__).resolve().parent.parent / 'aitable_ros' / 'face' / 'eye_table.py'


def patches() -> NDArray[np.float32]:
    """Draw eyes; ``(n, 128)``."""
    rng, drawn = np.random.default_rng(0), []
    backend = resolve(FatigueOptions()).backend
    assert backend is not None
    with backend:
        mesh = FaceMesh(backend)
        camera = Camera(mesh)
        for person in PEOPLE:
            head, picture = camera.head(person), camera.picture(person, 0.0).copy()
            roi = np.array([[picture.shape[1] / 2, picture.shape[0] / 2, 340, 0]], np.float32)
            for _ in range(3):
                found = mesh.read(picture, roi)[0]
                roi = roi_from_landmarks(found)[None]
            for closure in CLOSURES:
                picture = camera.picture(person, closure)
                for _ in range(POSES):
                    pose = HeadPose(*np.radians(rng.normal(0, SPREAD_DEGREES)))
                    image = head.turn(picture, pose)
                    points = head.moved(found.points[:468], pose)
                    points[:, :2] += rng.normal(0, MESH_ERROR_PX, 2)
                    if rng.random() < 0.6:
                        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.6)))
                    landmarks = FaceLandmarks(points.astype(np.float32), 1.0)
                    drawn += [small(patch, side) for side, patch in enumerate(
                        eye_patches(np.asarray(image, np.uint8), landmarks))]
    return np.array(drawn, np.float32)


def quantised(row: NDArray[np.floating]) -> tuple[NDArray[np.int8], float]:
    """Return a row as int8, and what one step of it is worth."""
    step = float(np.abs(row).max()) / 127
    return np.round(row / step).astype(np.int8), step


def main() -> int:
    """Fit, write, return the exit status."""
    eyes = patches()
    mean = eyes.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((eyes - mean).T))
    rows = [quantised(row) for row in (mean, *vectors[:, ::-1][:, :COMPONENTS].T)]
    lines = [
        '# Copyright 2026 aitable_ros maintainers',
        '# SPDX-License-Identifier: Apache-2.0',
        '"""The mean of drawn eyes and how they differ; from ``docs/fatigue_eyes.py``."""', '',
        f'# From {len(eyes)} eyes, 16 x 8 pixels, int8 in base 85; SCALES: worth of a step.',
        'SCALES = (', f"    {', '.join(f'{step:.4g}' for _, step in rows)})"]
    for name, values in (('MEAN', rows[:1]), ('EYES', rows[1:])):
        text = base64.b85encode(b''.join(value.tobytes() for value, _ in values)).decode()
        lines += [f'{name} = (', *(
            f'    {text[k:k + 88]!r}' for k in range(0, len(text), 88)), ')']
    TABLE.write_text('\n'.join(lines) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
