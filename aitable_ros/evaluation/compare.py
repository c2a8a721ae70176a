# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Comparison of two runs over the same inputs, B against A, paired by input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import csv
from dataclasses import dataclass
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.evaluation.bootstrap import interval, weights
from aitable_ros.evaluation.labels import FrameSpan, runs
from aitable_ros.evaluation.metrics import match_spans
from aitable_ros.evaluation.output_tables import read_columns
from aitable_ros.evaluation.pooling import FAMILIES, person_of, Score, STATISTICS, sums_of
from aitable_ros.evaluation.scores import SCORED_AS
from aitable_ros.evaluation.summary import Summary
from aitable_ros.evaluation.video_classes import contrasts, ranks

Columns = dict[str, NDArray[Any]]
STATES = ('face', 'expression', 'eyes_closed', 'level', 'posture')
"""
States in which frames are compared: presence and states of the primary person; posture where both
runs measured it.
"""
MOMENTS = ('LEVEL_CHANGED', 'POSTURE_CHANGED')
"""Events that are no spans; the states say what they say."""
CURVES = ('openness', 'valence', 'arousal')
MEASURED = (
    ('face_ratio', 'share of frames with a face', '.1%'), ('perclos', 'PERCLOS', '.3f'),
    ('blinks', 'blinks', '.1f'), ('long closures', 'closures over 0.5 s', '.1f'),
    ('yawns', 'yawns', '.1f'))
"""Figures that need no labels; their means over the inputs are compared."""


@dataclass(frozen=True, slots=True)
class Ran:
    """Result of one input of a run, and its folder."""

    folder: Path
    summary: Summary

    @property
    def name(self) -> str:
        """File name of the input, and its topic."""
        topic = self.summary.get('topic')
        return Path(self.summary['input']).name + (f' {topic}' if topic else '')


def read_run(folder: Path) -> list[Ran]:
    """
    Read the results of a run, in the order of their folders.

    :raises InputError: not an output folder
    """
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; --compare takes two outputs of '
                         '`aitable evaluate`')
    ran = []
    for file in sorted(folder.rglob('summary.json')):
        try:
            summary = json.loads(file.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            raise InputError(f'{file}: cannot be read; evaluate its input again') from None
        if isinstance(summary, dict) and 'input' in summary:
            ran.append(Ran(file.parent, summary))
    if not ran:
        raise InputError(f'{folder}: no summary.json of an input in it; --compare takes two '
                         'outputs of `aitable evaluate`')
    return ran


def compare(a: Sequence[Ran], b: Sequence[Ran]) -> Score:
    """
    Compare run B with run A on their common inputs.

    :return: content of ``comparison.json``; differences are B minus A
    :raises InputError: no input in common
    """
    of_a, of_b = _named(a), _named(b)
    names = [name for name in of_a if name in of_b]
    if not names:
        raise InputError(f'the two runs have no input in common: {", ".join(of_a)} against '
                         f'{", ".join(of_b)}')
    pairs = [(of_a[name], of_b[name]) for name in names]
    left = [(person_of(first.summary), first.summary['scores']) for first, _ in pairs]
    # both runs are of the same people, even on copies of the inputs
    right = [(person, second.summary['scores'])
             for (person, _), (_, second) in zip(left, pairs, strict=True)]
    found: Score = {
        'inputs': len(names), 'people': len({person for person, _ in left}),
        'only_a': [name for name in of_a if name not in of_b],
        'only_b': [name for name in of_b if name not in of_a],
        'scores': _score_differences(left, right),
        'measured': _measured_differences(pairs, [person for person, _ in left]),
        'per_input': []}
    for name, (first, second) in zip(names, pairs, strict=True):
        found['per_input'].append({
            'input': name, 'a': _brief(first), 'b': _brief(second),
            'events': _event_differences(first, second),
            'frames': _frame_differences(first, second)})
    return found


def _named(ran: Iterable[Ran]) -> dict[str, Ran]:
    """Return the results by unique names of their inputs."""
    named: dict[str, Ran] = {}
    for one in ran:
        name, number = one.name, 2
        while name in named:
            name, number = f'{one.name} ({number})', number + 1
        named[name] = one
    return named


def _brief(ran: Ran) -> Score:
    summary = ran.summary
    events = summary['events']
    return {
        'folder': str(ran.folder), 'frames': summary['frames'], 'perclos': summary['perclos'],
        'blinks': len(summary['blinks']), 'level_max': summary['level_max'],
        'long closures': sum(events[kind] for kind in ('LONG_CLOSURE', 'MICROSLEEP', 'SLEEP')),
        'yawns': events['YAWN'], 'face_ratio': summary['face_ratio'],
        'models': {stage: f'{info["model"]}@{info["backend"]}/{info["precision"]}'
                   for stage, info in summary['backend'].items() if info['model']},
        'scores': {name: family.value(statistic, summary['scores'])
                   for name, (family, statistic) in STATISTICS.items()
                   if family.within(summary['scores']) is not None}}


def _score_differences(
    left: Sequence[tuple[str, Score]], right: Sequence[tuple[str, Score]],
) -> list[Score]:
    """Compare each score on the inputs that both runs scored, with the same resamples."""
    found = []
    for family in FAMILIES:
        both = [index for index, ((_, a), (_, b)) in enumerate(zip(left, right, strict=True))
                if family.within(a) is not None and family.within(b) is not None]
        if not both:
            continue
        a, people = sums_of(family, [left[index] for index in both])
        b, _ = sums_of(family, [right[index] for index in both])
        drawn = weights(len(people))
        for statistic in family.statistics:
            of_a, of_b = float(statistic.of(a.sum(axis=0))), float(statistic.of(b.sum(axis=0)))
            ends = None if drawn is None else interval(
                statistic.of(drawn @ b) - statistic.of(drawn @ a))
            found.append(_difference(
                f'{family.name}.{statistic.name}', f'{family.title}: {statistic.label}', of_a, of_b,
                ends, statistic.better, statistic.form, len(people)))
    return found + _class_differences(left, right)


def _class_differences(
    left: Sequence[tuple[str, Score]], right: Sequence[tuple[str, Score]],
) -> list[Score]:
    """Compare how well each figure separates the labelled classes of recordings."""
    found = []
    for contrast in contrasts(left):
        both = [index for index, parts in enumerate(zip(left, right, strict=True)) if all(
            score.get('video_class', {}).get(contrast.figure) is not None for _, score in parts)]
        a = ranks([left[index] for index in both], contrast)
        b = ranks([right[index] for index in both], contrast)
        if a is None or b is None:
            continue
        drawn = weights(len(a.people))
        ends = None if drawn is None else interval(b.auc(drawn) - a.auc(drawn))
        found.append(_difference(
            contrast.name, contrast.label, float(a.auc()[0]), float(b.auc()[0]), ends, 1, '.3f',
            len(a.people)))
    return found


def _measured_differences(pairs: Sequence[tuple[Ran, Ran]], people: Sequence[str]) -> list[Score]:
    """Compare the means over inputs of the figures that need no labels."""
    found = []
    for name, label, form in MEASURED:
        sums: dict[str, NDArray[np.float64]] = {}
        for (first, second), person in zip(pairs, people, strict=True):
            values = [_brief(ran)[name] for ran in (first, second)]
            if None not in values:
                sums[person] = sums.get(person, np.zeros(3)) + np.array([1, *values], np.float64)
        if not sums:
            continue
        table = np.stack(list(sums.values()))
        n, of_a, of_b = table.sum(axis=0)
        drawn = weights(len(table))
        ends = None
        if drawn is not None:
            drawn_n, drawn_a, drawn_b = (drawn @ table).T
            ends = interval((drawn_b - drawn_a) / drawn_n)
        found.append(_difference(
            name, label, of_a / n, of_b / n, ends, 0, form, len(table), judged=False))
    return found


def _difference(
    name: str, label: str, a: float, b: float, ends: list[float] | None, better: int, form: str,
    people: int, *, judged: bool = True,
) -> Score:
    """Return a difference; its verdict names the better run if the interval excludes zero."""
    verdict = ''
    if judged and ends is not None and better:
        low, high = ends if better > 0 else (-ends[1], -ends[0])
        verdict = 'B better' if low > 0 else 'A better' if high < 0 else 'not told apart'
    return {'name': name, 'label': label, 'a': a, 'b': b, 'difference': b - a, 'interval': ends,
            'people': people, 'verdict': verdict, 'form': form}


def _event_differences(first: Ran, second: Ran) -> Score:
    """Match the primary person's events by type, one to one within two frames."""
    a, b = _events(first), _events(second)
    found: Score = {'both': 0, 'only_a': [], 'only_b': []}
    for kind in sorted({*a, *b}):
        matching = match_spans(b.get(kind, []), a.get(kind, []))
        found['both'] += len(matching.pairs)
        for side, spans, ran in (('only_a', matching.missed, first),
                                 ('only_b', matching.invented, second)):
            found[side] += [
                {'type': kind, 'start_frame': span.start, 'end_frame': span.end,
                 'labelled': _labelled(kind, span, ran)} for span in spans]
    for side in ('only_a', 'only_b'):
        found[side].sort(key=lambda event: event['start_frame'])
    return found


def _events(ran: Ran) -> dict[str, list[FrameSpan]]:
    file = ran.folder / 'events.csv'
    try:
        with file.open(newline='', encoding='utf-8') as lines:
            rows = [row for row in csv.DictReader(lines)
                    if row['primary'] == '1' and row['type'] not in MOMENTS]
            found: dict[str, list[FrameSpan]] = {}
            for row in rows:
                found.setdefault(row['type'], []).append(
                    FrameSpan(int(row['start_frame']), int(row['end_frame'])))
    except (OSError, KeyError, ValueError, TypeError):
        raise InputError(f'{file}: cannot be read; evaluate its input again') from None
    return found


def _labelled(kind: str, span: FrameSpan, ran: Ran) -> bool | None:
    """Whether an event is labelled; None if its type is not."""
    score = ran.summary['scores'].get(SCORED_AS.get(kind, ''))
    return None if score is None else [span.start, span.end] not in score['invented']


def _frame_differences(first: Ran, second: Ran) -> Score:
    """Find the frames whose states differ."""
    names = STATES if all('posture' in ran.summary for ran in (first, second)) else STATES[:-1]
    a, b = (_primary(ran, names) for ran in (first, second))
    frames = min(len(a['face']), len(b['face']))
    found: Score = {'compared': frames, 'differ': {}, 'mean_absolute_difference': {}}
    both = a['face'][:frames] & b['face'][:frames]
    for name in names:
        other = a[name][:frames] != b[name][:frames]
        if name != 'face':
            other &= both
        found['differ'][name] = {'n': int(other.sum()), 'spans': [
            [span.start, span.end] for span in runs(other)]}
    for name in CURVES:
        apart = np.abs(a[name][:frames] - b[name][:frames])[both]
        apart = apart[np.isfinite(apart)]
        found['mean_absolute_difference'][name] = float(apart.mean()) if apart.size else None
    return found


def _primary(ran: Ran, names: Sequence[str]) -> Columns:
    """Return the primary person's states of these names, and the curves, each ``(frames,)``."""
    texts = {'expression': 'expression', 'level': 'level'} | (
        {'posture': 'posture_state'} if 'posture' in names else {})
    columns = read_columns(ran.folder / 'frames.parquet', (
        'frame', 'primary', 'eyes_closed', *texts.values(), *CURVES))
    count = int(columns['frame'].max()) + 1 if len(columns['frame']) else 0
    rows = np.flatnonzero(columns['primary'] == 1)
    at = columns['frame'][rows].astype(np.int64)
    states: Columns = {'face': np.zeros(count, bool)}
    states['face'][at] = True
    for name, column in texts.items():
        states[name] = np.full(count, '', object)
        states[name][at] = [value or '' for value in columns[column][rows]]
    states['eyes_closed'] = np.zeros(count, bool)
    states['eyes_closed'][at] = columns['eyes_closed'][rows] == 1
    for name in CURVES:
        states[name] = np.full(count, np.nan)
        states[name][at] = columns[name][rows]
    return states


def nothing_differs(found: Score) -> bool:
    """Whether all frames and events of both runs are equal."""
    return all(
        not entry['events']['only_a'] and not entry['events']['only_b']
        and not any(state['n'] for state in entry['frames']['differ'].values())
        and all(math.isclose(value or 0, 0) for value in entry['frames'][
            'mean_absolute_difference'].values())
        for entry in found['per_input'])
