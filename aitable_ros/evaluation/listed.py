# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pictures that labels list: those of a data set in folders, or the numbered ones of a film."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.evaluation.labels import Labels
from aitable_ros.recordings.readers import open_source
from aitable_ros.recordings.source import Source
from aitable_ros.recordings.stills import Stills
from aitable_ros.types import Frame


class ListedPictures(Source):
    """
    Named pictures below a folder, in the order of the list.

    A picture that cannot be read is left out; :attr:`problem` names it then. Of a film it ends the
    reading: the labels count its pictures.

    :param files: relative to ``path``
    :param stamps_ns: when each was taken, of a film; empty: each is a moment and a person of its
        own
    :param fps: of a film
    """

    problem = ''

    def __init__(
        self, path: Path, files: Sequence[str], stamps_ns: Sequence[int] = (),
        fps: float | None = None,
    ) -> None:
        super().__init__(path)
        self.kind = 'numbered pictures' if stamps_ns else Stills.kind
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
                frame = next(Stills(self.path / file, strict=True)._read())
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


def open_labelled(
    path: Path, topic: str | None, labels: Labels | None, *, fps: float | None = None,
    strict: bool = False,
) -> Source:
    """
    Open a recording; of pictures those that the labels list, where they list them.

    :param fps: see :func:`.readers.open_source`; replaces the rate that the labels assume
    :param strict: see :func:`.readers.open_source`
    :raises InputError: absent or unreadable, as :func:`.readers.open_source` tells
    """
    if labels is not None and labels.files:
        stamps_ns = labels.stamps_ns
        if fps is not None and not stamps_ns:
            raise InputError(f'{path}: not a video, so it takes no frame rate; leave --fps out')
        if fps is not None and labels.fps and stamps_ns:
            stamps_ns = tuple(round(stamp * labels.fps / fps) for stamp in stamps_ns)
        return ListedPictures(path, labels.files, stamps_ns, fps or labels.fps)
    return open_source(path, topic, fps=fps, strict=strict)
