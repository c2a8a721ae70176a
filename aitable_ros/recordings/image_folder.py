# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures, each a moment and a person of its own."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
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
"""Endings of what lies beside pictures and is none: labels, notes, indices."""
MOST_NAMED = 3


def is_picture(path: Path) -> bool:
    """Whether the name, or the first bytes of a file with an unknown name, are a still image's."""
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
    Pictures in the natural order of their names (2 before 10), stamped a second apart.

    What cannot be read is left out; :attr:`problem` names it then.

    :param path: a folder, whose subfolders are not looked into, or one picture
    :param strict: end at the first picture that cannot be read
    """

    kind = 'images'

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        super().__init__(path)
        self.strict = strict
        found = [file for file in path.iterdir() if not file.name.startswith('.')] \
            if path.is_dir() else [path]
        files = sorted(filter(is_picture, found), key=_natural)
        if not files:
            raise InputError(
                f'{path}: nothing to evaluate: no rosbag2 and no picture ({", ".join(SUFFIXES)})')
        self._files = files
        self.names = tuple(file.name for file in files)
        self.frames = len(files)
        passed = sorted((
            file for file in found if file.is_file() and file not in set(files)
            and file.suffix.lower() not in COMPANIONS), key=_natural)
        if passed:
            self.note(f'{len(passed)} of {len(passed) + len(files)} files are of a kind that is '
                      f'not read and are passed over: {_listed(passed)}')

    def _read(self) -> Iterator[Frame]:
        index = 0
        bad: list[Path] = []
        reason = ''
        for file in tuple(self._files):
            try:
                image = ImageDecoder().compressed(file.suffix[1:], file.read_bytes())
            except (OSError, ValueError) as error:
                why = (error.strerror or '') if isinstance(error, OSError) else str(error)
                reason = reason or f'{file}: not a picture that can be read: {why}; remove or ' \
                    'repair it'
                if self.strict:
                    raise InputError(reason) from None
                bad.append(file)
                self._files.remove(file)
                self.names = tuple(one.name for one in self._files)
                continue
            yield Frame(np.ascontiguousarray(image), index * 1_000_000_000)
            index += 1
        if bad and not index:
            raise InputError(reason)
        if bad:
            more = f' (and {len(bad) - 1} more)' if len(bad) > 1 else ''
            self.problem = reason + more
            self.note(f'{len(bad)} of {len(bad) + index} pictures cannot be read and are left '
                      f'out: {_listed(bad)}')


class ListedImages(Source):
    """
    Named pictures below a folder, in the order of the list.

    A picture that cannot be read is left out; :attr:`problem` names it then. Of a film it ends the
    reading: the labels count its pictures.

    :param files: relative to ``path``
    :param stamps_ns: when each was taken, of a film; empty: each is a event and a person of its
        own
    :param fps: of a film
    """

    problem = ''

    def __init__(
        self, path: Path, files: Sequence[str], stamps_ns: Sequence[int] = (),
        fps: float | None = None,
    ) -> None:
        super().__init__(path)
        self.kind = 'numbered pictures' if stamps_ns else ImageFolder.kind
        self._files = files
        self._stamps_ns = stamps_ns
        self.frames = len(files)
        if stamps_ns:
            self.fps = fps
        else:
            self.names = tuple(files)

    def _read(self) -> Iterator[Frame]:
        bad: dict[str, str] = {}
        for index, file in enumerate(self._files):
            try:
                frame = next(ImageFolder(self.path / file, strict=True)._read())
            except InputError as error:
                if self._stamps_ns:
                    raise
                bad[file] = str(error)
                self.names = tuple(name for name in self._files if name not in bad)
                self.problem = next(iter(bad.values())) + (
                    f' (and {len(bad) - 1} more)' if len(bad) > 1 else '')
                continue
            yield replace(frame, stamp_ns=self._stamps_ns[index]
                          if self._stamps_ns else (index - len(bad)) * 1_000_000_000)
        if bad and len(bad) == len(self._files):
            raise InputError(self.problem)
        if bad:
            self.note(f'{len(bad)} of {len(self._files)} pictures cannot be read and are left out')


def _listed(files: list[Path]) -> str:
    more = f' and {len(files) - MOST_NAMED} more' if len(files) > MOST_NAMED else ''
    return ', '.join(file.name for file in files[:MOST_NAMED]) + more


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that compares runs of digits as numbers."""
    return [(int(part), '') if part.isdecimal() else (-1, part.lower())
            for part in re.split(r'(\d+)', path.name) if part]
