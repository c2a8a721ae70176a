# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Write and read films as RGB images, (height, width, 3) uint8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest


def write_film(path: Path, images: Iterable[NDArray[np.uint8]], fps: float = 15) -> Path:
    """Write images of one size: MPEG-4 where the path ends in .mp4, else Motion JPEG."""
    images = iter(images)
    first = next(images)
    codec = cv2.VideoWriter.fourcc(*('mp4v' if path.suffix == '.mp4' else 'MJPG'))
    writer = cv2.VideoWriter(str(path), codec, fps, first.shape[1::-1])
    for image in chain([first], images):
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read_film(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of a film."""
    film = cv2.VideoCapture(str(path))
    while True:
        there, image = film.read()
        if not there:
            return
        yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def clip_here(shared_data: Path, name: str) -> Path:
    """Return the path of a clip of the local data; skip the test where the clip is missing."""
    path = shared_data / 'video' / name
    if not path.is_file():
        pytest.skip(f'the clip {name} is not here')
    return path
