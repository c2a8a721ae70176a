# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What every recording is to the rest: an iterable of frames that knows its size."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Generator
from collections.abc import Iterator
from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.errors import one_line
from aitable_ros.recordings.prefetch import prefetch
from aitable_ros.types import Frame


class Source(ABC):
    """
    A recording. Iterating decodes it from its start, ahead of the caller, in constant memory.

    Stamps are the recording's own: nanoseconds from the first frame for a video, the header's for
    a bag. Iterating may raise :class:`aitable_ros.errors.InputError` after good frames, where the
    file turns out damaged.
    """

    kind: str
    """``video``, ``bag`` or ``images``."""
    path: Path
    fps: float | None = None
    """Frames a second as the container says (bag: as its index implies); None for images."""
    frames: int | None = None
    """How many there should be, where the container says."""
    topic: str = ''
    """Of a bag."""
    names: tuple[str, ...] = ()
    """File names of still images; each is a moment and a person of its own. One that turns out
    damaged leaves it while iterating, before the frame after it comes."""
    strict: bool = False
    """End at the first damage, where else it is left out and counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        """What a reader of the results must know: one line each; grows while iterating."""
        self.leaps: set[int] = set()
        """Numbers of the frames before which the clock was set: no time lies before them."""
        self.problem = ''
        """What could not be read and was left out, where the result is not that of all of it."""

    @property
    def stills(self) -> bool:
        """Whether each frame has nothing to do with the one before."""
        return self.kind == 'images'

    @property
    def duration_s(self) -> float | None:
        """How long it lasts, as far as the container says."""
        return self.frames / self.fps if self.frames and self.fps else None

    def __iter__(self) -> Generator[Frame, None, None]:
        """Decode from the start."""
        return prefetch(self._read)

    @abstractmethod
    def _read(self) -> Iterator[Frame]:
        """Yield the frames; runs on the decoding thread."""

    def note(self, line: str) -> None:
        """Remember a note, once."""
        line = one_line(line)
        if line not in self.notes:
            self.notes.append(line)


class Skipped:
    """
    Counts what of a recording cannot be used and is left out.

    :param what: plural, such as ``images``
    :param strict: the first one ends the reading
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
        Leave one out.

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
        Note how many were left out.

        :param used: how many were not
        :raises InputError: all of them were
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
