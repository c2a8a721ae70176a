# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Folders of images: unrelated pictures, or the numbered frames of a film."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
import re

import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.image_codec import ImageDecoder
from aitable_ros.picture_header import is_picture_start
from aitable_ros.recordings.source import Source
from aitable_ros.types import Frame

SUFFIXES = (
    '.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm', '.avif')
COMPANIONS = (
    '.txt', '.csv', '.tsv', '.json', '.jsonl', '.xml', '.yaml', '.yml', '.md', '.html', '.pdf',
    '.log', '.db', '.mat', '.npy', '.npz', '.pkl', '.pts', '.tag', '.ini', '.py', '.m')
"""Suffixes of files beside images: labels, notes, indices."""
MOST_NAMED = 3


def is_picture(path: Path) -> bool:
    """Whether a file is an image, by its suffix or, if that is unknown, by its first bytes."""
    if path.name.startswith('._'):  # macOS leaves them beside the pictures
        return False
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix in COMPANIONS or suffix in ('.mjpg', '.mjpeg', '.apng') or not path.is_file():
        return False
    try:
        with path.open('rb') as stream:
            return is_picture_start(stream.read(16))
    except OSError:
        return False


class ImageFolder(Source):
    """
    Images of a folder.

    Without stamps the images are unrelated and a second apart. Images that cannot be read are left
    out, and :attr:`problem` names them.

    :param path: a folder, whose subfolders are not searched, or one image
    :param strict: stop at the first image that cannot be read
    :param files: images to read, relative to ``path``; empty: all, in the natural order of their
        names (2 before 10)
    :param stamps_ns: stamps of ``files``, which are the frames of a film then; labels count its
        frames, so that reading is strict
    :param fps: frame rate of the film
    """

    kind = 'images'

    def __init__(
        self, path: Path, *, strict: bool = False, files: Sequence[str] = (),
        stamps_ns: Sequence[int] = (), fps: float | None = None,
    ) -> None:
        super().__init__(path)
        self.strict = strict or bool(stamps_ns)
        self._files = [(name, path / name) for name in files] or self._find()
        self._stamps_ns = stamps_ns
        self.frames = len(self._files)
        if stamps_ns:
            self.kind, self.fps = 'numbered images', fps
        else:
            self.names = tuple(name for name, _ in self._files)

    def _find(self) -> list[tuple[str, Path]]:
        found = [file for file in self.path.iterdir() if not file.name.startswith('.')] \
            if self.path.is_dir() else [self.path]
        images = sorted(filter(is_picture, found), key=lambda file: _natural(file.name))
        if not images:
            raise InputError(f'{self.path}: nothing to evaluate: no rosbag2 and no image '
                             f'({", ".join(SUFFIXES)})')
        skipped = sorted((
            file.name for file in found if file.is_file() and file not in set(images)
            and file.suffix.lower() not in COMPANIONS), key=_natural)
        if skipped:
            self.note(f'{len(skipped)} of {len(skipped) + len(images)} files are of an unknown '
                      f'kind and are left out: {_listed(skipped)}')
        return [(file.name, file) for file in images]

    def _read(self) -> Iterator[Frame]:
        bad: list[str] = []
        reason = ''
        for index, (name, file) in enumerate(self._files):
            try:
                image = ImageDecoder().compressed(file.suffix[1:], file.read_bytes())
            except (OSError, ValueError) as error:
                why = (error.strerror or '') if isinstance(error, OSError) else str(error)
                reason = reason or f'{file}: not an image that can be read: {why}; remove or ' \
                    'repair it'
                if self.strict:
                    raise InputError(reason) from None
                bad.append(name)
                self.names = tuple(one for one in self.names if one != name)
                continue
            stamp_ns = self._stamps_ns[index] if self._stamps_ns \
                else (index - len(bad)) * 1_000_000_000
            yield Frame(np.ascontiguousarray(image), stamp_ns)
        if bad and len(bad) == len(self._files):
            raise InputError(reason)
        if bad:
            self.problem = reason + (f' (and {len(bad) - 1} more)' if len(bad) > 1 else '')
            self.note(f'{len(bad)} of {len(self._files)} images cannot be read and are left out: '
                      f'{_listed(bad)}')


def _listed(names: Sequence[str]) -> str:
    more = f' and {len(names) - MOST_NAMED} more' if len(names) > MOST_NAMED else ''
    return ', '.join(names[:MOST_NAMED]) + more


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that compares runs of digits as numbers."""
    return [(int(part), '') if part.isdecimal() else (-1, part.lower())
            for part in re.split(r'(\d+)', name) if part]
