# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures, each a moment and a person of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re

import cv2
import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.evaluation.source import Source
from aitable_ros.pixels import decode_compressed
from aitable_ros.types import Frame

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


def is_picture(path: Path) -> bool:
    """Whether the name says that it is a still image."""
    return path.suffix.lower() in SUFFIXES


class Stills(Source):
    """Pictures in the natural order of their names (2 before 10), stamped a second apart."""

    kind = 'images'

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        found = path.iterdir() if path.is_dir() else [path]
        files = sorted(filter(is_picture, found), key=_natural)
        if not files:
            raise InputError(
                f'{path}: nothing to evaluate: no rosbag2 and no picture ({", ".join(SUFFIXES)})')
        self._files = files
        self.names = tuple(file.name for file in files)
        self.frames = len(files)

    def _read(self) -> Iterator[Frame]:
        for index, file in enumerate(self._files):
            try:
                image = decode_compressed(file.suffix[1:], file.read_bytes())
            except (OSError, ValueError, cv2.error):
                raise InputError(f'{file}: not a picture that can be read; remove or repair it') \
                    from None
            yield Frame(np.ascontiguousarray(image), index * 1_000_000_000)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that compares runs of digits as numbers."""
    return [(int(part), '') if part.isdigit() else (-1, part.lower())
            for part in re.split(r'(\d+)', path.name) if part]
