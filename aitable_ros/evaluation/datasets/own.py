# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""This package's own labels: JSON, and for a folder of images also CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import csv
from itertools import pairwise
import json
from pathlib import Path
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.evaluation.labels import FrameSpan, Labels, PictureLabel, read_label_text, SPANS
from aitable_ros.evaluation.postures import LABELLED as POSTURES
from aitable_ros.posture_types import PostureState
from aitable_ros.types import Expression, NAN

KEYS = (*SPANS, 'ignore', 'expression', 'posture', 'faces', 'perclos', 'class')
"""Keys that are scored. Other keys are not used, and are named in the notes."""
COMMENTS = ('classes', 'fps', 'note', 'source', 'subject', 'tolerance_frames')
"""Keys that describe the labels."""
ENTRY_COMMENTS = ('confidence', 'note', 'source')
"""Keys that describe an entry."""
HINTS = {
    'emotion': "spans of expressions are read from 'expression'",
    'eyes_closed': "closures over 0.5 s are read from 'closures', parts not to score from "
                   "'ignore'"}
"""Remedies for keys of other label sets. They are no aliases: two names for one truth can
contradict each other, and their entries are often of another kind ('anger/frown' is no class, 'eyes
closed or looking down' no closure)."""
NAMES = {
    **{expression.name.lower(): expression for expression in Expression
       if expression is not Expression.UNKNOWN},
    # names in other label sets
    'angry': Expression.ANGER, 'happiness': Expression.HAPPY, 'sadness': Expression.SAD,
    'surprised': Expression.SURPRISE, 'fearful': Expression.FEAR, 'disgusted': Expression.DISGUST,
}

VALUES = {'expression': ('label', 'happy', ('valence', 'arousal')),
          'posture': ('state', 'LEANING_FORWARD', ())}
"""Key of the value that each span of a kind has, an example of it, and further keys."""


def read_labels(path: str | Path) -> Labels:
    """
    Read the labels of one recording: JSON, or CSV ``file,expression``.

    :raises InputError: no such file, not JSON or CSV, or an entry that cannot be understood
    """
    path = Path(path)
    text = read_label_text(path)
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
        return Labels(path=path, pictures=pictures, notes=_not_used(unread))
    unread |= set(document) - set(KEYS) - set(COMMENTS)
    found: dict[str, Any] = {
        kind: _spans(document[kind], f'{path}: {kind}', kind, unread)
        for kind in (*SPANS, 'expression', 'posture') if kind in document}
    found |= {key: _number(document[key], f'{path}: {key}', *NUMBERS[key])
              for key in NUMBERS if key in document}
    return Labels(
        path=path, subject=str(document.get('subject', '')),
        ignore=_pairs(document.get('ignore', ()), f'{path}: ignore'),
        expressions=found.pop('expression', ()), postures=found.pop('posture', ()),
        **found, **_class(document, str(path)),
        notes=_not_used(unread))


def _not_used(keys: Iterable[str]) -> tuple[str, ...]:
    """Return a note that names the keys that are not used, with remedies; empty without any."""
    names = [f'{name} ({HINTS[name]})' if name in HINTS else name for name in sorted(keys)]
    return (f"not used in the labels: {', '.join(names)}",) if names else ()


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
                  notes=_not_used(columns - {'file', 'expression', 'valence', 'arousal'}))


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
        faces=_number(entry['faces'], f'{where}: faces', *NUMBERS['faces'])
        if 'faces' in entry else None,
        boxes=corners if boxes is not None else None)


def _spans(
    entries: Any, where: str, name: str, unread: set[str],
) -> tuple[FrameSpan, ...]:
    value, example, others = VALUES.get(name, ('', '', ()))
    known = {'start_frame', 'end_frame', *ENTRY_COMMENTS, *((value,) if value else ()), *others}
    wanted = '{"start_frame": a, "end_frame": b%s}' % (
        f', "{value}": "{example}"' if value else '')
    spans = []
    for number, entry in enumerate(_listed(entries, where)):
        here = f'{where}[{number}]'
        if not isinstance(entry, dict) or not {'start_frame', 'end_frame'} <= set(entry) or (
                value and value not in entry):
            raise InputError(f'{here}: expected {wanted}')
        unread |= {f'{name}[].{key}' for key in set(entry) - known}
        start, end = _ordered(entry['start_frame'], entry['end_frame'], here)
        spans.append(FrameSpan(
            start, end, _expression(entry['label'], here) if name == 'expression' else None,
            _affect(entry.get('valence'), f'{here}: valence'),
            _affect(entry.get('arousal'), f'{here}: arousal'),
            _posture(entry['state'], here) if name == 'posture' else None))
    if name in VALUES:
        _apart(spans, where)
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))


def _apart(spans: Sequence[FrameSpan], where: str) -> None:
    """Refuse two values for one frame: whichever was measured, one of them would be wrong."""
    ordered = sorted(range(len(spans)), key=lambda number: (spans[number].start, number))
    for before, after in pairwise(ordered):
        if spans[after].start <= spans[before].end:
            raise InputError(
                f'{where}[{before}] and [{after}] both label frame {spans[after].start}; '
                'shorten one of them, a frame has one value')


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


def _real(value: Any) -> bool:
    return _whole(value) or isinstance(value, float)


NUMBERS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    'faces': ('a whole number of faces', lambda value: _whole(value) and value >= 0),
    'tolerance_frames': ('a whole number of frames', lambda value: _whole(value) and value >= 0),
    'fps': ('frames a second', lambda value: _real(value) and 0 < value <= 1000),
    'perclos': ('a share from 0 to 1', lambda value: _real(value) and 0 <= value <= 1)}
"""Keys whose value is a number: what is expected, and its test."""


def _number(value: Any, where: str, expected: str, fits: Callable[[Any], bool]) -> Any:
    if not fits(value):
        raise InputError(f'{where}: expected {expected}, not {value!r}')
    return value


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


def _posture(value: Any, where: str) -> PostureState:
    name = str(value or '').strip().upper()
    for state in POSTURES:
        if state.name == name:
            return state
    raise InputError(f"{where}: unknown posture '{value}'; known are "
                     f'{", ".join(state.name for state in POSTURES)}')
