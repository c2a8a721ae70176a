# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The interface of all recordings: an iterable of frames with a known size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from pathlib import Path

from aitable_ros.errors import InputError, one_line
from aitable_ros.recordings.prefetch import prefetch
from aitable_ros.types import Frame


class Source(ABC):
    """
    A recording. Each iteration decodes it from its start, ahead of the caller, in constant memory.

    Stamps are nanoseconds: from the first frame for a video, of the header for a bag. Iterating
    raises :class:`aitable_ros.errors.InputError` after the good frames of a damaged file.
    """

    kind: str
    """``video``, ``bag`` or ``images``."""
    path: Path
    fps: float | None = None
    """Frames per second by the container, or by the index of a bag; None for images."""
    frames: int | None = None
    """Number of frames by the container; None if it has none."""
    topic: str = ''
    """Camera topic of a bag."""
    names: tuple[str, ...] = ()
    """File names of unrelated images. Iterating removes the name of a damaged image before the next
    frame is yielded."""
    strict: bool = False
    """Stop at the first damage; else damaged parts are left out and counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        """Remarks for the reader of the results, one line each; grows while iterating."""
        self.leaps: set[int] = set()
        """Numbers of the frames before which the clock was set; the time before them is zero."""
        self.problem = ''
        """What could not be read, if the results are not those of the whole recording."""

    @property
    def stills(self) -> bool:
        """Whether the frames are unrelated images."""
        return self.kind == 'images'

    @property
    def duration_s(self) -> float | None:
        """Duration by the container, seconds; None if it has none."""
        return self.frames / self.fps if self.frames and self.fps else None

    def __iter__(self) -> Generator[Frame, None, None]:
        """Decode from the start."""
        return prefetch(self._read)

    @abstractmethod
    def _read(self) -> Iterator[Frame]:
        """Yield the frames; called on the decoding thread."""

    def note(self, line: str) -> None:
        """Add a note, unless it is there already."""
        line = one_line(line)
        if line not in self.notes:
            self.notes.append(line)


class Skipped:
    """
    Counts the parts of a recording that cannot be used and are left out.

    :param what: their name in plural, such as ``images``
    :param strict: raise an error for the first one
    """

    def __init__(self, source: Source, what: str, *, strict: bool = False) -> None:
        self._source = source
        self._what = what
        self._strict = strict
        self._count = 0
        self._first = ''
        self._number = 0

    def one(self, number: int, reason: str) -> None:
        """
        Count one.

        :param number: its place in the recording, from 0
        :raises InputError: strict
        """
        if not self._count:
            self._first, self._number = reason, number
        self._count += 1
        if self._strict:
            raise self._error()

    def end(self, used: int) -> None:
        """
        Note the number of parts left out.

        :param used: number of parts that were used
        :raises InputError: none was used
        """
        if not self._count:
            return
        if not used:
            raise self._error()
        self._source.note(
            f'{self._count} of {self._count + used} {self._what} cannot be used and are left out; '
            f'the first is number {self._number}: {self._first}')

    def _error(self) -> InputError:
        source = self._source
        topic = f" topic '{source.topic}':" if source.topic else ''
        place = f' number {self._number}:' if self._strict and self._number else ''
        return InputError(f'{source.path}:{topic}{place} {self._first}')
