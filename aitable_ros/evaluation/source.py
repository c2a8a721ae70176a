# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What every recording is to the rest: an iterable of frames that knows its size."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Generator
from collections.abc import Iterator
from pathlib import Path

from aitable_ros.evaluation.ahead import ahead
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
    """File names of still images; each is a moment and a person of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        """What a reader of the results must know: one line each; grows while iterating."""

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
        return ahead(self._read)

    @abstractmethod
    def _read(self) -> Iterator[Frame]:
        """Yield the frames; runs on the decoding thread."""

    def note(self, line: str) -> None:
        """Remember a note, once."""
        if line not in self.notes:
            self.notes.append(line)
