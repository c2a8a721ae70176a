# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Turns an evaluation into the report that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import os
from pathlib import Path
import platform
from typing import Any

import numpy as np

from aitable_ros.evaluation.false_alarms import ALARMS
from aitable_ros.evaluation.false_alarms import LEAST_S
from aitable_ros.evaluation.false_alarms import MEMORY_S
from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.measurements import PlacedEvent
from aitable_ros.evaluation.output_tables import CLASSES
from aitable_ros.evaluation.output_tables import read_columns
from aitable_ros.evaluation.report.elements import Card
from aitable_ros.evaluation.report.elements import Cell
from aitable_ros.evaluation.report.elements import Report
from aitable_ros.evaluation.report.elements import Series
from aitable_ros.evaluation.report.elements import Span
from aitable_ros.evaluation.report.elements import StageProvenance
from aitable_ros.evaluation.report.elements import State
from aitable_ros.evaluation.report.elements import Table
from aitable_ros.evaluation.report.elements import TimelineEvent
from aitable_ros.evaluation.report.elements import Truth
from aitable_ros.evaluation.scores import SCORED_AS
from aitable_ros.evaluation.summary import Summary
from aitable_ros.inference.chain import Attempt
from aitable_ros.pipeline import Pipeline
from aitable_ros.recordings.recorded_topics import Replay
from aitable_ros.recordings.source import Source
from aitable_ros.types import Expression
from aitable_ros.types import FatigueEventType
from aitable_ros.types import FatigueLevel
from aitable_ros.types import NAN

SHOWN = ('time_s', 'present', 'primary', 'track_id', 'ear_left', 'ear_right', 'openness', 'perclos',
         'perclos_long', 'level', 'valence', 'arousal', 'face_ms', 'fatigue_ms', 'emotion_ms',
         'frame', *(f'p_{e.name.lower()}' for e in CLASSES))
LEVEL_STATES: dict[str, State] = {
    'ALERT': 'plain', 'MILD': 'warn', 'SEVERE': 'bad', 'ASLEEP': 'bad', 'UNKNOWN': 'plain'}


def present(
    source: Source, measured: Measurements, labels: Labels | None, summary: Summary, table: Path,
    pipeline: Pipeline | Replay, command: str = '', pictures: Mapping[int, bytes] | None = None,
) -> Report:
    """
    Make the report of one recording from what was written of it.

    :param pictures: JPEG of the person's face, by index into ``measured.events``
    """
    columns = read_columns(table, SHOWN)
    stills = source.stills
    rate = f' · {1 / measured.period_s:.1f} frames/s' if not stills and measured.period_s else ''
    length = '' if stills else f'{summary["duration_s"]:.1f} s · '
    what = 'images' if stills else 'frames'
    return Report(
        title=source.path.name or str(source.path),
        subtitle=f'{length}{summary["frames"]} {what}{rate} · {source.kind}'
                 + (f' · {source.topic}' if source.topic else ''),
        cards=_verdicts(summary, stills=stills),
        measured=None if stills else _series(columns),
        truth=None if stills or labels is None else _truth(measured, labels),
        events=() if stills else [
            TimelineEvent(e.event.type, e.start_s, e.event.duration_s,
                   _remark(e, summary), (pictures or {}).get(index, b''))
            for index, e in enumerate(measured.events)
            if e.primary and e.event.type is not FatigueEventType.LEVEL_CHANGED],
        expression_share=summary['expression_share'],
        latency_ms=_latencies(columns),
        stages=_stages(summary, pipeline),
        tables=[*_tables(summary), *_read_otherwise(source, measured, labels)],
        notes=[*([f'Not all of the input was read: {summary["partial"]}']
                 if summary['partial'] else []), *summary['notes']],
        facts=_facts(source, labels, command),
    )


def _remark(event: PlacedEvent, summary: Summary) -> str:
    """Say which frames, and where the labels do not have it."""
    name = SCORED_AS.get(event.event.type.name, '')
    scores = summary['scores']
    if name == 'closures' and name not in scores:
        name = 'blink'  # labels that do not tell blinks from longer closures
    span = [event.start_frame, event.end_frame]
    wrong = '; not labelled' if span in scores.get(name, {}).get('invented', ()) else ''
    return f'frames {event.start_frame} … {event.end_frame}{wrong}'


def _series(columns: dict[str, Any]) -> Series | None:
    """Pick the primary person's row of each frame; without one, the first row, which has nobody."""
    frames = columns['frame']
    if not len(frames):
        return None
    primary = columns['primary'] == 1
    _, first = np.unique(frames, return_index=True)
    chosen = first.copy()
    where = np.searchsorted(frames[first], frames[primary])
    chosen[where] = np.flatnonzero(primary)
    time_s = columns['time_s'][chosen]
    seen = primary[chosen]

    def pick(name: str) -> Any:
        return np.where(seen, columns[name][chosen], np.nan)

    levels = [
        int(FatigueLevel[level]) if level and here else int(FatigueLevel.UNKNOWN)
        for level, here in zip(columns['level'][chosen], seen, strict=True)]
    with np.errstate(all='ignore'):
        eyes = np.stack([pick('ear_left'), pick('ear_right')])
        known = np.isfinite(eyes).sum(axis=0)
        ear = np.where(known, np.nansum(eyes, axis=0) / np.maximum(known, 1), np.nan)
    return Series(
        time_s=time_s, ear=ear, openness=pick('openness'), perclos=pick('perclos'),
        perclos_long=pick('perclos_long'), level=np.array(levels, np.int64),
        probabilities=np.stack([pick(f'p_{e.name.lower()}') for e in CLASSES], axis=1),
        valence=pick('valence'), arousal=pick('arousal'))


def _truth(measured: Measurements, labels: Labels) -> Truth:
    def spans(found: Sequence[FrameSpan]) -> list[Span]:
        return [
            Span(measured.time_s(s.start), measured.time_s(s.end + 1),
                 s.expression.name.lower() if s.expression is not None else '') for s in found]

    labels = labels.within(len(measured.stamps))
    return Truth(blinks=spans(labels.blinks or ()), closures=spans(labels.closures or ()),
                 yawns=spans(labels.yawns or ()), nods=spans(labels.nods or ()),
                 ignore=spans(labels.ignore), expressions=spans(labels.expressions),
                 series=_labelled_affect(measured, labels))


def _labelled_affect(measured: Measurements, labels: Labels) -> Series | None:
    """Draw labelled valence and arousal as steps."""
    time_s: list[float] = []
    curves: dict[str, list[float]] = {'valence': [], 'arousal': []}
    for span in sorted(labels.expressions, key=lambda span: span.start):
        if not np.isfinite([span.valence, span.arousal]).any():
            continue
        begin, end = measured.time_s(span.start), measured.time_s(span.end + 1)
        time_s += [begin, end, end]
        for name, curve in curves.items():
            curve += [getattr(span, name), getattr(span, name), NAN]
    if not time_s:
        return None
    return Series(time_s=np.array(time_s), valence=np.array(curves['valence']),
                  arousal=np.array(curves['arousal']))


def _latencies(columns: dict[str, Any]) -> dict[str, Any]:
    _, first = np.unique(columns['frame'], return_index=True)
    stages = {name: columns[f'{name}_ms'][first] for name in ('face', 'fatigue', 'emotion')}
    return {**stages, 'whole frame': sum(stages.values())}


def _verdicts(summary: Summary, *, stills: bool) -> list[Card]:
    scores = summary['scores']
    cards = []
    if 'blink' in scores:
        blink = scores['blink']
        cards.append(Card(
            label='Blinks, F1', value=f'{blink["f1"]:.3f}', state=_grade(blink['f1'], 0.95, 0.8),
            note=f'{blink["tp"]} found, {blink["fn"]} missed, {blink["fp"]} invented'))
    for name in ('closures', 'yawns', 'nods'):
        if name in scores:
            score = scores[name]
            cards.append(Card(
                label=f'{name.capitalize()}, F1', value=f'{score["f1"]:.3f}',
                state=_grade(score['f1'], 0.95, 0.8), note=f'{score["tp"]} found, '
                f'{score["fn"]} missed, {score["fp"]} invented'))
    if 'false_alarms' in scores:
        cards.append(_alarms_card(scores['false_alarms']))
    if 'expression' in scores:
        expression = scores['expression']
        cards.append(Card(
            label='Expression, accuracy', value=f'{expression["accuracy"]:.1%}',
            state=_grade(expression['accuracy'], 0.75, 0.5),
            note=f'{expression["n"]} labelled {"images" if stills else "frames"}'
                 + _sure(expression.get('interval', {}).get('accuracy'))))
    if 'perclos' in scores and scores['perclos']['error'] is not None:
        error = scores['perclos']['error']
        cards.append(Card(
            label='PERCLOS, error', value=f'{error:+.3f}', state=_grade(-abs(error), -0.02, -0.05),
            note=f'labelled {scores["perclos"]["labelled"]:.3f}'))
    faces = scores.get('faces', {})
    if 'boxes' in faces:
        boxes = faces['boxes']
        cards.append(Card(
            label='Faces, recall', value=f'{boxes["recall"]:.1%}',
            state=_grade(min(boxes['recall'], boxes['precision']), 0.9, 0.7),
            note=f'{boxes["tp"]} found, {boxes["fn"]} missed, {boxes["fp"]} invented'))
    elif 'exact' in faces:
        cards.append(Card(
            label='Right number of faces', value=f'{faces["exact"]:.1%}', note='of the frames',
            state=_grade(faces['exact'], 0.9, 0.7)))
    if not stills:
        level = summary['level_max']
        cards.append(Card(
            label='Highest level', value=level, state=LEVEL_STATES[level],
            note='too little usable time to tell' if level == 'UNKNOWN' else ''))
        cards.append(_perclos_card(summary))
        cards.append(_events_card(summary))
    share = summary['expression_share']
    if share:
        name = max(share, key=share.__getitem__)
        cards.append(Card(label='Mostly', value=name, note=f'{share[name]:.0%} of the readings'))
    ratio = summary['face_ratio']
    cards.append(Card(
        label='Face found', value=f'{ratio:.1%}', note=f'of the {"images" if stills else "frames"}',
        state='plain' if ratio >= 0.9 else 'warn'))
    return cards


def _alarms_card(score: Summary) -> Card:
    false = sum(score[name]['false'] for name in ALARMS)
    told = sum(score[name]['told'] for name in ALARMS)
    return Card(
        label='False alarms', value=f'{false} of {told}', state='bad' if false else 'good',
        note=f'microsleep, sleep, SEVERE; in {score["scored_s"] / 60:.1f} usable minutes')


def _perclos_card(summary: Summary) -> Card:
    perclos, usable = summary['perclos'], summary['usable_s']
    return Card(
        label='PERCLOS', value='–' if perclos is None else f'{perclos:.1%}',
        note='eyes could not be measured' if perclos is None else
             f'shut {summary["closed_s"]:.1f} s of {usable:.1f} usable s')


def _events_card(summary: Summary) -> Card:
    events = summary['events']
    minutes = summary['usable_s'] / 60
    kinds = ('SLEEP', 'MICROSLEEP', 'LONG_CLOSURE')
    asleep = {name: events[name] for name in kinds if events[name]}
    if asleep:
        name, count = next(iter(asleep.items()))
        spoken = name.replace('_', ' ').lower()
        return Card(
            label='Longest closures', value=f'{count} {spoken}{"s" if count > 1 else ""}',
            state='warn' if name == 'LONG_CLOSURE' else 'bad',
            note=f'beside {events["BLINK"]} blinks')
    return Card(
        label='Blinks', value=str(events['BLINK']),
        note=f'{events["BLINK"] / minutes:.1f} a minute; no long closure' if minutes >= 0.25 else
             'no long closure')


def _sure(ends: Sequence[float] | None) -> str:
    return f', 95 % {ends[0]:.0%} … {ends[1]:.0%}' if ends else ''


def _grade(value: float, good: float, bad: float) -> State:
    return 'good' if value >= good else 'warn' if value >= bad else 'bad'


def _tables(summary: Summary) -> list[Table]:
    scores = summary['scores']
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
    tables += [_misses(scores)] if _misses(scores).rows else []
    affect: list[list[Cell]] = [
        [name, *(_cell(scores[name][key]) for key in ('n', 'ccc', 'pcc', 'rmse', 'sagr'))]
        for name in ('valence', 'arousal') if name in scores]
    if affect:
        tables.append(Table(title='Valence and arousal', rows=affect,
                            columns=('', 'n', 'CCC', 'PCC', 'RMSE', 'SAGR')))
    if 'expression' in scores:
        tables += _expression_tables(scores['expression'])
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
        columns=('', 'told', 'false', 'false per usable hour', 'frames of the false ones'),
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
            '', 'labelled', 'nothing said', 'right', 'said in vain', 'missed', 'accuracy',
            'precision', 'sensitivity', 'F1'),
        caption='Where nothing was said the frame counts as not said.')] if rows else []


def _read_otherwise(source: Source, measured: Measurements, labels: Labels | None) -> list[Table]:
    """Name the images whose expression was read otherwise than labelled."""
    rows: list[list[Cell]] = []
    for name, answer in zip(source.names, measured.expressions):
        picture = labels.pictures.get(name) if labels else None
        if picture and picture.expression is not None and picture.expression != answer:
            rows.append(
                [name, picture.expression.name.lower(), Expression(answer).name.lower()])
    return [Table(
        title='Images read otherwise', columns=('', 'labelled', 'read'), rows=rows[:200],
        caption='' if len(rows) <= 200 else f'The first 200 of {len(rows)}.')] if rows else []


def _misses(scores: Summary) -> Table:
    """Name what was missed, so that one can look it up."""
    rows: list[list[Cell]] = [
        [name, kind, f'{first} … {last}'] for name, score in (
            ('blink', scores.get('blink')), ('closure', scores.get('closures')),
            ('yawn', scores.get('yawns')), ('nod', scores.get('nods'))) if score
        for kind in ('missed', 'invented') for first, last in score[kind]]
    return Table(title='Missed and invented', columns=('', '', 'frames'), rows=rows[:100],
                 caption='' if len(rows) <= 100 else 'The first 100; summary.json has all.')


def _expression_tables(score: Summary) -> list[Table]:
    confusion = score['confusion']
    reads = [e.name.lower() for e in Expression
             if any(e.name.lower() in row for row in confusion.values())]
    spans = score.get('by_span')
    by_span = f' By labelled span, by majority: {spans["accuracy"]:.1%} of {spans["n"]}, ' \
              f'macro F1 {spans["macro_f1"]:.3f}.' if spans else ''
    classes: list[list[Cell]] = [
        [name, *(_cell(part[key]) for key in ('n', 'precision', 'recall', 'f1'))]
        for name, part in score['per_class'].items()]
    return [
        Table(title='Expression: labelled (rows) against read (columns)', heat=True,
              columns=('', *reads),
              rows=[[truth, *(row.get(read, 0) for read in reads)]
                    for truth, row in confusion.items()],
              caption=f'{score["accuracy"]:.1%} of {score["n"]} right, macro F1 '
                      f'{score["macro_f1"]:.3f}.{by_span}'),
        Table(title='Expression by class', rows=classes,
              columns=('', 'labelled', 'precision', 'recall', 'F1'))]


def _cell(value: float | int | None) -> float | int:
    return float('nan') if value is None else value


def _stages(summary: Summary, pipeline: Pipeline | Replay) -> list[StageProvenance]:
    attempts = {'face': pipeline.faces.attempts, 'mesh': pipeline.fatigue.attempts,
                'emotion': pipeline.emotion.attempts}
    return [
        StageProvenance(stage=stage, **info, steps=[
            _told(attempt) for attempt in attempts.get(stage, ())])
        for stage, info in summary['backend'].items()]


def _told(attempt: Attempt) -> str:
    way = f'{attempt.entry} on {attempt.backend}' if attempt.backend else attempt.entry
    return f'{way}: {attempt.reason or "runs"}'


def _facts(source: Source, labels: Labels | None, command: str) -> dict[str, str]:
    facts = {'input': str(source.path.resolve())}
    if labels:
        facts['labels'] = str(labels.path.resolve())
        if labels.video_class:
            facts['labelled class'] = labels.video_class
    if command:
        facts['command'] = command
    facts['machine'] = (f'{platform.machine()}, {os.cpu_count()} CPUs, Python '
                        f'{platform.python_version()}, numpy {np.__version__}')
    return facts
