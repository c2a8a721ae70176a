# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One public-domain face, many pictures: what the tests of made models are fed with."""

from __future__ import annotations

from pathlib import Path

import cv2
from films import write_film
import numpy as np
from numpy.typing import NDArray

SIZE = (480, 360)


def pictures(portrait: NDArray[np.uint8], count: int) -> list[NDArray[np.uint8]]:
    """Return the portrait turned, moved, scaled, lit and mirrored, ``(360, 480, 3)`` RGB each."""
    chance = np.random.default_rng(5)
    face = np.array([225.0, 110.0])
    made = []
    for index in range(count):
        scale, angle = chance.uniform(0.5, 0.95), chance.uniform(-20, 20)
        matrix = cv2.getRotationMatrix2D((float(face[0]), float(face[1])), angle, scale)
        matrix[:, 2] += np.array(SIZE) / 2 - face + chance.uniform(-50, 50, 2)
        image = cv2.warpAffine(portrait, matrix, SIZE, borderMode=cv2.BORDER_REPLICATE)
        image = np.clip(image * chance.uniform(0.6, 1.2), 0, 255).astype(np.uint8)
        made.append(np.ascontiguousarray(image[:, ::-1] if index % 2 else image))
    return made


def write_album(folder: Path, portrait: NDArray[np.uint8], count: int) -> Path:
    """Write them as pictures into a new folder."""
    folder.mkdir(parents=True)
    for index, image in enumerate(pictures(portrait, count)):
        cv2.imwrite(str(folder / f'{index:03d}.png'), image[..., ::-1])
    return folder


def write_video(path: Path, portrait: NDArray[np.uint8], count: int) -> Path:
    """Write them as a video."""
    return write_film(path, pictures(portrait, count))
