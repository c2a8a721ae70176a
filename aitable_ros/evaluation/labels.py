# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labels: what a person says is in a recording, checked before anything is scored against them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import csv
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.types import Expression
from aitable_ros.types import NAN

SPANS = ('blinks', 'closures', 'yawns', 'nods', 'drowsy')
"""Kinds of spans that a JSON of labels may list."""
KEYS = (*SPANS, 'ignore', 'expression', 'faces', 'perclos', 'class')
"""What a JSON of labels may hold that is scored; other keys are left alone, and named."""
COMMENTS = ('classes', 'fps', 'note', 'source', 'subject', 'tolerance_frames')
"""Keys that describe the labels."""
ENTRY_COMMENTS = ('confidence', 'note', 'source')
"""Keys of an entry that describe it."""
HINTS = {
    'emotion': "spans of expressions are read from 'expression'",
    'eyes_closed': "closures over 0.5 s are read from 'closures', parts not to score from "
                   "'ignore'"}
"""What to do about keys of other label sets. They are no aliases: two names for one truth can
contradict each other in one file, and what such files hold under them is not always of the kind
('anger/frown' is no class, 'eyes closed or looking down' no closure)."""
NAMES = {
    **{expression.name.lower(): expression for expression in Expression
       if expression is not Expression.UNKNOWN},
    # what other label sets call them
    'angry': Expression.ANGER, 'happiness': Expression.HAPPY, 'sadness': Expression.SAD,
    'surprised': Expression.SURPRISE, 'fearful': Expression.FEAR, 'disgusted': Expression.DISGUST,
}
FRAMES_SLACK = 0.05
"""Labels given frame by frame that differ in number from the input's frames by more than this share
are of another recording. Decoders differ by some frames at the end, NTHU-DDD's labels do, too."""


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """
    Frames ``start`` ... ``end``, 0-based and inclusive.

    :param expression: in a labelled expression
    :param valence: NaN where not labelled
    :param arousal: NaN where not labelled
    """

    start: int
    end: int
    expression: Expression | None = None
    valence: float = NAN
    arousal: float = NAN


def marked(spans: Iterable[FrameSpan], frames: int) -> NDArray[np.bool_]:
    """Return ``(frames,)``: whether a frame is in one of the spans."""
    flags = np.zeros(frames, bool)
    for span in spans:
        flags[span.start:span.end + 1] = True
    return flags


@dataclass(frozen=True, slots=True)
class PictureLabel:
    """
    What one still image shows.

    :param faces: how many faces
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
    Everything labelled in one recording; None or empty where nothing is.

    A list of spans, even an empty one, says that these are all.
    """

    path: Path
    """Of the labels; of the recording where its name is the label."""
    subject: str = ''
    """Who it is, where several recordings may be of one person."""
    fps: float | None = None
    """Frame rate that the frame numbers were counted at."""
    tolerance_frames: int | None = None
    """What the labeller thinks of as near enough; told, not used."""
    blinks: tuple[FrameSpan, ...] | None = None
    blinks_any_length: bool = False
    """The blinks are closures of any length: the labels do not tell blinks from longer ones."""
    closures: tuple[FrameSpan, ...] | None = None
    yawns: tuple[FrameSpan, ...] | None = None
    nods: tuple[FrameSpan, ...] | None = None
    periods: bool = False
    """A span of yawns or nods may hold several of them."""
    shut: tuple[FrameSpan, ...] | None = None
    """Frames with shut eyes, labelled frame by frame."""
    drowsy: tuple[FrameSpan, ...] | None = None
    """Frames in which the person is drowsy, labelled frame by frame."""
    ignore: tuple[FrameSpan, ...] = ()
    expressions: tuple[FrameSpan, ...] = ()
    faces: int | None = None
    perclos: float | None = None
    frames: int | None = None
    """How many frames are labelled, where the labels list them one by one."""
    video_class: str = ''
    """What the whole recording shows: ``drowsy``, ``yawning``, ..."""
    classes: tuple[str, ...] = ()
    """The classes that the data set has, the most rested first."""
    pictures: Mapping[str, PictureLabel] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    """The pictures to read, relative to the input and in this order; empty: all that it has."""
    stamps_ns: tuple[int, ...] = ()
    """When each of ``files`` was taken; empty: they have nothing to do with each other."""
    unread: tuple[str, ...] = ()
    """Keys that were found and not used."""
    notes: tuple[str, ...] = ()
    """What a reader of the scores must know about these labels: one line each."""

    def spans(self) -> dict[str, tuple[FrameSpan, ...]]:
        """Return all labelled spans of frames, by the kind that a message about them names."""
        found = {kind: getattr(self, kind) or () for kind in SPANS}
        return found | {'shut': self.shut or (), 'ignore': self.ignore,
                        'expression': self.expressions}

    def told(self) -> list[str]:
        """Return what was not used of the labels, and what to do about it: one line each."""
        if not self.unread:
            return list(self.notes)
        names = [f'{name} ({HINTS[name]})' if name in HINTS else name for name in self.unread]
        return [f"not used of the labels: {', '.join(names)}", *self.notes]

    def check(self, frames: int | None, names: Sequence[str]) -> None:
        """
        See that the labels are about this recording.

        :param frames: how many frames it has; None where not known yet
        :param names: its file names, where it is a folder of images
        :raises InputError: frames beyond the end, or files that are not there
        """
        # One picture may be scored by the labels of the folder that it is from.
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
        Return the labels of a recording of which so many frames were read.

        Spans end with the last frame read, and frames after the last one labelled are ignored.
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


def read_labels(path: str | Path) -> Labels:
    """
    Read the labels of one recording: JSON, or for a folder of images also CSV ``file,expression``.

    :raises InputError: no such file, not JSON or CSV, or an entry that cannot be understood
    """
    path = Path(path)
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: cannot read the labels: {reason}') from None
    if path.suffix.lower() == '.csv':
        return _from_csv(path, text)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f'{path}: not valid JSON at line {error.lineno}: {error.msg}') from None
    if not isinstance(document, dict):
        raise InputError(f'{path}: labels are a JSON object with any of {", ".join(KEYS)}')
    unread: set[str] = set()
    if document and not set(document) & set(KEYS) and all(
            isinstance(value, dict) and '.' in key for key, value in document.items()):
        pictures = {
            name: _picture(entry, f"{path}: '{name}'", unread) for name, entry in document.items()}
        return Labels(path=path, pictures=pictures, unread=tuple(sorted(unread)))
    unread |= set(document) - set(KEYS) - set(COMMENTS)

    def spans(name: str, *, with_expression: bool = False) -> tuple[FrameSpan, ...]:
        return _spans(document[name], f'{path}: {name}', name, unread,
                      with_expression=with_expression)

    listed: dict[str, Any] = {kind: spans(kind) for kind in SPANS if kind in document}
    return Labels(
        path=path,
        subject=str(document.get('subject', '')),
        fps=_rate(document['fps'], f'{path}: fps') if 'fps' in document else None,
        tolerance_frames=_frames(document['tolerance_frames'], f'{path}: tolerance_frames')
        if 'tolerance_frames' in document else None,
        **listed,
        ignore=_pairs(document.get('ignore', ()), f'{path}: ignore'),
        expressions=spans('expression', with_expression=True) if 'expression' in document else (),
        faces=_count(document['faces'], f'{path}: faces') if 'faces' in document else None,
        perclos=_share(document['perclos'], f'{path}: perclos') if 'perclos' in document else None,
        **_class(document, str(path)),
        unread=tuple(sorted(unread)),
    )


def _class(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read the class of the whole recording, and the order of the classes."""
    name, order = document.get('class', ''), document.get('classes', [])
    if not isinstance(name, str):
        raise InputError(f'{where}: class: expected a name, not {name!r}')
    if not isinstance(order, list) or not all(isinstance(entry, str) for entry in order):
        raise InputError(f'{where}: classes: expected a list of names, the most rested first')
    if order and name and name not in order:
        raise InputError(f"{where}: class: '{name}' is none of the classes {', '.join(order)}")
    return {'video_class': name, 'classes': tuple(order)}


def _from_csv(path: Path, text: str) -> Labels:
    rows = csv.DictReader(text.splitlines())
    columns = set(rows.fieldnames or ())
    if not {'file', 'expression'} <= columns:
        raise InputError(f"{path}: line 1 must name the columns, at least 'file,expression'")
    pictures: dict[str, PictureLabel] = {}
    for row in rows:
        where = f'{path}: line {rows.line_num}'
        name = (row['file'] or '').strip()
        if not name or name in pictures:
            raise InputError(f'{where}: {"labelled twice: " + name if name else "no file"}')
        valence = _affect(row.get('valence'), f'{where}: valence')
        arousal = _affect(row.get('arousal'), f'{where}: arousal')
        # An image may be labelled with valence and arousal alone.
        named = (row['expression'] or '').strip() or not (valence == valence or arousal == arousal)
        pictures[name] = PictureLabel(
            expression=_expression(row['expression'], where) if named else None,
            valence=valence, arousal=arousal)
    if not pictures:
        raise InputError(f'{path}: no labels below the header')
    return Labels(path=path, pictures=pictures,
                  unread=tuple(sorted(columns - {'file', 'expression', 'valence', 'arousal'})))


def _picture(entry: Mapping[str, Any], where: str, unread: set[str]) -> PictureLabel:
    known = {'boxes_top_left_width_height', 'expression', 'faces', 'valence', 'arousal'}
    unread |= {f'{key} of images' for key in set(entry) - known - set(ENTRY_COMMENTS)}
    boxes = entry.get('boxes_top_left_width_height')
    if boxes is not None:
        try:
            corners = tuple(
                (float(left), float(top), float(left + width), float(top + height))
                for top, left, width, height in boxes)
        except (TypeError, ValueError):
            raise InputError(f'{where}: boxes are [[top, left, width, height], ...]') from None
    return PictureLabel(
        expression=_expression(entry['expression'], where) if 'expression' in entry else None,
        valence=_affect(entry.get('valence'), f'{where}: valence'),
        arousal=_affect(entry.get('arousal'), f'{where}: arousal'),
        faces=_count(entry['faces'], f'{where}: faces') if 'faces' in entry else None,
        boxes=corners if boxes is not None else None)


def _spans(
    entries: Any, where: str, name: str, unread: set[str], *, with_expression: bool,
) -> tuple[FrameSpan, ...]:
    known = {'start_frame', 'end_frame', *ENTRY_COMMENTS}
    if with_expression:
        known |= {'label', 'valence', 'arousal'}
    wanted = '{"start_frame": a, "end_frame": b%s}' % (
        ', "label": "happy"' if with_expression else '')
    spans = []
    for number, entry in enumerate(_listed(entries, where)):
        here = f'{where}[{number}]'
        if not isinstance(entry, dict) or not {'start_frame', 'end_frame'} <= set(entry) or (
                with_expression and 'label' not in entry):
            raise InputError(f'{here}: expected {wanted}')
        unread |= {f'{name}[].{key}' for key in set(entry) - known}
        start, end = _ordered(entry['start_frame'], entry['end_frame'], here)
        spans.append(FrameSpan(
            start, end, _expression(entry['label'], here) if with_expression else None,
            _affect(entry.get('valence'), f'{here}: valence'),
            _affect(entry.get('arousal'), f'{here}: arousal')))
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))


def _pairs(entries: Any, where: str) -> tuple[FrameSpan, ...]:
    spans = []
    for number, entry in enumerate(_listed(entries, where)):
        if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2:
            raise InputError(f'{where}[{number}]: expected [first frame, last frame]')
        spans.append(FrameSpan(*_ordered(entry[0], entry[1], f'{where}[{number}]')))
    return tuple(spans)


def _listed(entries: Any, where: str) -> Iterable[Any]:
    if not isinstance(entries, (list, tuple)):
        raise InputError(f'{where}: expected a list')
    return entries


def _ordered(start: Any, end: Any, where: str) -> tuple[int, int]:
    if not (_whole(start) and _whole(end) and 0 <= start <= end):
        raise InputError(f'{where}: frames are whole numbers, 0 <= start <= end, not {start!r} and '
                         f'{end!r}')
    return start, end


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any, where: str) -> int:
    if not _whole(value) or value < 0:
        raise InputError(f'{where}: expected a whole number of faces, not {value!r}')
    return int(value)


def _frames(value: Any, where: str) -> int:
    if not _whole(value) or value < 0:
        raise InputError(f'{where}: expected a whole number of frames, not {value!r}')
    return int(value)


def _rate(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1000:
        raise InputError(f'{where}: expected frames a second, not {value!r}')
    return float(value)


def _share(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f'{where}: expected a share from 0 to 1, not {value!r}')
    return float(value)


def _affect(value: Any, where: str) -> float:
    if value in (None, ''):
        return NAN
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = NAN
    if not -1 <= number <= 1:
        raise InputError(f'{where}: expected a number from -1 to 1, not {value!r}')
    return number


def _expression(value: Any, where: str) -> Expression:
    found = NAMES.get(str(value or '').strip().lower())
    if found is None:
        known = ', '.join(e.name.lower() for e in Expression if e is not Expression.UNKNOWN)
        raise InputError(f"{where}: unknown expression '{value}'; known are {known}")
    return found
