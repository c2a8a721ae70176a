# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tables of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aitable_ros.evaluation.false_alarms import ALARMS, LEAST_S, MEMORY_S
from aitable_ros.evaluation.report.elements import Cell, Table
from aitable_ros.evaluation.report.postures import spoken
from aitable_ros.evaluation.report.text import shortened
from aitable_ros.evaluation.summary import Summary
from aitable_ros.posture_types import PostureState
from aitable_ros.types import Expression


def score_tables(scores: Summary) -> list[Table]:
    """Return a table for each kind of score that one recording has."""
    tables = []
    rows: list[list[Cell]] = []
    for name, score in (('blinks', scores.get('blink')), ('closures', scores.get('closures')),
                        ('yawns', scores.get('yawns')), ('nods', scores.get('nods')),
                        ('face boxes', scores.get('faces', {}).get('boxes'))):
        if score:
            rows.append([name, *(_cell(score.get(key)) for key in (
                'tp', 'fn', 'fp', 'precision', 'recall', 'f1', 'false_per_hour'))])
    if rows:
        tables.append(Table(
            title='Detections', rows=rows, wide=True, columns=(
                '', 'found', 'missed', 'invented', 'precision', 'sensitivity', 'F1',
                'false per hour'),
            caption='An event matches a labelled one that it overlaps within ±2 frames, one to '
                    'one; a box from an IoU of 0.4 on.'))
    tables += _alarm_tables(scores) + _frame_tables(scores)
    tables += _misses(scores)
    affect: list[list[Cell]] = [
        [name, *(_cell(scores[name][key]) for key in ('n', 'ccc', 'pcc', 'rmse', 'sagr'))]
        for name in ('valence', 'arousal') if name in scores]
    if affect:
        tables.append(Table(title='Valence and arousal', rows=affect,
                            columns=('', 'n', 'CCC', 'PCC', 'RMSE', 'SAGR')))
    if 'expression' in scores:
        tables += _expression_tables(scores['expression'])
    if 'posture' in scores:
        tables.append(posture_table(scores['posture']))
    return tables


def _alarm_tables(scores: Summary) -> list[Table]:
    score = scores.get('false_alarms')
    if not score:
        return []
    rows: list[list[Cell]] = [
        [name if name != 'severe' else 'level SEVERE or ASLEEP', score[name]['told'],
         score[name]['false'], _cell(score[name]['false_per_hour']),
         ', '.join(f'{first} … {last}' for first, last in score[name]['spans'][:20])]
        for name in ALARMS]
    return [Table(
        title='False alarms', rows=rows, wide=True,
        columns=('', 'alarms', 'false', 'false per usable hour', 'frames of the false ones'),
        caption='False: no labelled closure that is long enough overlaps it (microsleep and SEVERE '
                f'{LEAST_S["microsleep"]:g} s, sleep {LEAST_S["sleep"]:g} s; SEVERE may rest on '
                f'one up to {MEMORY_S["severe"]:g} s earlier).')]


def _frame_tables(scores: Summary) -> list[Table]:
    rows: list[list[Cell]] = [
        [what, *(score[key] for key in (
            'n', 'unknown', 'tp', 'fp', 'fn', 'accuracy', 'precision', 'recall', 'f1'))]
        for name, what in (('eyes_shut', 'shut eyes'), ('drowsy', 'MILD or above'))
        if (score := scores.get(name))]
    return [Table(
        title='Frames', rows=rows, wide=True, columns=(
            '', 'labelled', 'not measured', 'right', 'invented', 'missed', 'accuracy',
            'precision', 'sensitivity', 'F1'),
        caption='A frame that is not measured counts as negative.')] if rows else []


def _misses(scores: Summary) -> list[Table]:
    """List what was missed or invented, with its frames."""
    rows: list[list[Cell]] = [
        [name, kind, f'{first} … {last}'] for name, score in (
            ('blink', scores.get('blink')), ('closure', scores.get('closures')),
            ('yawn', scores.get('yawns')), ('nod', scores.get('nods'))) if score
        for kind in ('missed', 'invented') for first, last in score[kind]]
    return shortened('Missed and invented', ('', '', 'frames'), rows, 100, wide=False,
                     rest='; summary.json has all')


def confusion_table(confusion: Summary, caption: str = '') -> Table:
    """
    Make the confusion matrix of expressions.

    :param confusion: labelled -> read -> count
    """
    return _confusion('Expression: labelled (rows) against read (columns)', confusion,
                      [e.name.lower() for e in Expression], caption)


def _expression_tables(score: Summary) -> list[Table]:
    spans = score.get('by_span')
    by_span = f' By labelled span, by majority: {spans["accuracy"]:.1%} of {spans["n"]}, ' \
              f'macro F1 {spans["macro_f1"]:.3f}.' if spans else ''
    return [
        confusion_table(score['confusion'], f'{score["accuracy"]:.1%} of {score["n"]} right, '
                        f'macro F1 {score["macro_f1"]:.3f}.{by_span}'),
        Table(title='Expression by class',
              columns=('', 'labelled', 'precision', 'recall', 'F1'), rows=[
                  [name, *(_cell(part[key]) for key in ('n', 'precision', 'recall', 'f1'))]
                  for name, part in score['per_class'].items()])]


def posture_table(score: Summary) -> Table:
    """
    Make the confusion matrix of postures.

    :param score: of one recording, or pooled; then without ``by_span``
    """
    spans = score.get('by_span')
    return _confusion(
        'Posture: labelled (rows) against measured (columns)', score['confusion'],
        [state.name for state in PostureState],
        f'{_right(score)} frames with a known state are right; {score["n"]} are labelled.'
        + (f' By labelled span, by the commonest known state: {_right(spans)} spans.'
           if spans else ''), spoken)


def _confusion(
    title: str, confusion: Summary, classes: Sequence[str], caption: str,
    word: Callable[[str], str] = str,
) -> Table:
    """
    Make a confusion matrix with a column for each class that was read.

    :param word: a class as the table shows it
    """
    reads = [name for name in classes if any(name in row for row in confusion.values())]
    return Table(title=title, heat=True, columns=('', *map(word, reads)), caption=caption, rows=[
        [word(truth), *(row.get(read, 0) for read in reads)]
        for truth, row in confusion.items()])


def _right(score: Summary) -> str:
    if score['accuracy'] is None:
        return 'None of 0'
    return f'{score["accuracy"]:.1%} of {round(score["n"] * (1 - score["unknown"]))}'


def _cell(value: float | int | None) -> float | int:
    return float('nan') if value is None else value
