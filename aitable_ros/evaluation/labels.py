# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labels of a recording: the truth that results are scored against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.posture_types import PostureState
from aitable_ros.types import Expression, NAN

SPANS = ('blinks', 'closures', 'yawns', 'nods', 'drowsy')
"""Kinds of labelled spans."""
FRAMES_SLACK = 0.05
"""Largest relative difference between the number of labelled frames and of the input's frames;
beyond it the labels belong to another recording. Decoders differ by a few frames at the end, and so
do NTHU-DDD's labels."""


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """
    Frames ``start`` ... ``end``, 0-based and inclusive.

    :param expression: labelled in these frames
    :param valence: NaN where not labelled
    :param arousal: NaN where not labelled
    :param posture: labelled in these frames
    """

    start: int
    end: int
    expression: Expression | None = None
    valence: float = NAN
    arousal: float = NAN
    posture: PostureState | None = None


def marked(spans: Iterable[FrameSpan], frames: int) -> NDArray[np.bool_]:
    """Return ``(frames,)`` bool: whether each frame is in one of the spans."""
    flags = np.zeros(frames, bool)
    for span in spans:
        flags[span.start:span.end + 1] = True
    return flags


def runs(flags: Iterable[bool] | NDArray[np.bool_]) -> tuple[FrameSpan, ...]:
    """Return the unbroken runs of frames in which a flag is set."""
    marks = np.concatenate([[0], np.fromiter(flags, np.int8), [0]])
    edges = np.flatnonzero(np.diff(marks)).reshape(-1, 2)
    return tuple(FrameSpan(int(first), int(after) - 1) for first, after in edges)


@dataclass(frozen=True, slots=True)
class PictureLabel:
    """
    Labels of one still image.

    :param faces: number of faces
    :param boxes: ``[x1, y1, x2, y2]`` of every face, pixels
    """

    expression: Expression | None = None
    valence: float = NAN
    arousal: float = NAN
    faces: int | None = None
    boxes: tuple[tuple[float, float, float, float], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Labels:
    """
    Labels of one recording; None or empty for what is not labelled.

    A list of spans is complete: an empty one says that there are none.
    """

    path: Path
    """File of the labels; the recording, if its name is the label."""
    subject: str = ''
    """Name of the person: several recordings may be of one person."""
    fps: float | None = None
    """Frame rate that the frame numbers were counted at."""
    tolerance_frames: int | None = None
    """The labeller's tolerance; noted in the summary, not used."""
    blinks: tuple[FrameSpan, ...] | None = None
    blinks_any_length: bool = False
    """Whether ``blinks`` includes longer closures, because the labels do not separate them."""
    closures: tuple[FrameSpan, ...] | None = None
    yawns: tuple[FrameSpan, ...] | None = None
    nods: tuple[FrameSpan, ...] | None = None
    periods: bool = False
    """Whether one span of yawns or nods may hold several of them."""
    shut: tuple[FrameSpan, ...] | None = None
    """Frames with shut eyes, labelled frame by frame."""
    drowsy: tuple[FrameSpan, ...] | None = None
    """Frames in which the person is drowsy, labelled frame by frame."""
    ignore: tuple[FrameSpan, ...] = ()
    expressions: tuple[FrameSpan, ...] = ()
    postures: tuple[FrameSpan, ...] = ()
    faces: int | None = None
    perclos: float | None = None
    frames: int | None = None
    """Number of labelled frames, if the labels list each frame."""
    video_class: str = ''
    """Class of the whole recording: ``drowsy``, ``yawning``, ..."""
    classes: tuple[str, ...] = ()
    """Classes of the data set, the most rested first."""
    pictures: Mapping[str, PictureLabel] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    """Pictures to read, relative to the input and in this order; empty: all."""
    stamps_ns: tuple[int, ...] = ()
    """Stamp of each of ``files``; empty: the pictures are unrelated."""
    notes: tuple[str, ...] = ()
    """Remarks for the reader of the scores, one line each."""

    def spans(self) -> dict[str, tuple[FrameSpan, ...]]:
        """Return all labelled spans of frames by their kind."""
        found = {kind: getattr(self, kind) or () for kind in SPANS}
        return found | {'shut': self.shut or (), 'ignore': self.ignore,
                        'expression': self.expressions, 'posture': self.postures}

    def check(self, frames: int | None, names: Sequence[str]) -> None:
        """
        Check that the labels belong to this recording.

        :param frames: number of frames; None if not known yet
        :param names: file names, if the recording is a folder of images
        :raises InputError: labels of frames beyond the end, or of files that do not exist
        """
        # A single picture may be scored with the labels of its folder.
        alone = len(names) == 1 and names[0] in self.pictures
        known = set(names)
        for name in () if alone else self.pictures:
            if not names:
                raise InputError(f'{self.path}: labels of image files, but the input is no folder '
                                 'of images')
            if name not in known:
                raise InputError(f"{self.path}: labels '{name}', which the input does not have")
        if frames is None:
            return
        if self.frames is not None:
            if abs(frames - self.frames) > FRAMES_SLACK * max(frames, self.frames):
                raise InputError(f'{self.path}: labels {self.frames} frames, but the input has '
                                 f'{frames}: are they of this recording?')
            return
        for kind, spans in self.spans().items():
            for number, span in enumerate(spans):
                if span.end >= frames:
                    raise InputError(
                        f'{self.path}: {kind}[{number}] ends at frame {span.end}, but the input '
                        f'has {frames} frames (0 ... {frames - 1})')

    def within(self, frames: int) -> Labels:
        """
        Return the labels of the first ``frames`` frames, if the labels list each frame.

        Spans end with the last frame read. Frames after the last labelled one are ignored.
        """
        if self.frames is None:
            return self

        def cut(spans: tuple[FrameSpan, ...] | None) -> Any:
            return None if spans is None else tuple(
                replace(span, end=min(span.end, frames - 1)) for span in spans
                if span.start < frames)

        tail = (FrameSpan(self.frames, frames - 1),) if self.frames < frames else ()
        kept: dict[str, Any] = {kind: cut(getattr(self, kind)) for kind in (*SPANS, 'shut')}
        return replace(self, frames=None, ignore=(*cut(self.ignore), *tail), **kept)


def read_label_text(path: Path) -> str:
    """
    Return the text of a label file.

    :raises InputError: it cannot be read, or is not UTF-8 text
    """
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: cannot read the labels: {reason}') from None
