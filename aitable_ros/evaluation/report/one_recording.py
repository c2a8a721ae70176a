# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The page of one recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import platform
from typing import Any

import numpy as np

from aitable_ros.evaluation.labels import FrameSpan, Labels
from aitable_ros.evaluation.measurements import Measurements, PlacedEvent
from aitable_ros.evaluation.output_tables import CLASSES, read_columns
from aitable_ros.evaluation.postures import lasting_s, PlacedPosture
from aitable_ros.evaluation.report.cards import recording_cards
from aitable_ros.evaluation.report.elements import (
    Cell, PostureMark, Report, Series, Span, StageProvenance, Table, TimelineEvent, Truth
)
from aitable_ros.evaluation.report.postures import angles_plot, people_of, spoken
from aitable_ros.evaluation.report.score_tables import score_tables
from aitable_ros.evaluation.report.text import shortened
from aitable_ros.evaluation.scores import SCORED_AS
from aitable_ros.evaluation.summary import Summary
from aitable_ros.pipeline import Pipeline
from aitable_ros.posture_types import PostureEventType
from aitable_ros.recordings.recorded_pipeline import RecordedPipeline
from aitable_ros.recordings.source import Source
from aitable_ros.types import Expression, FatigueEventType, FatigueLevel, NAN

SHOWN = ('time_s', 'present', 'primary', 'track_id', 'ear_left', 'ear_right', 'openness', 'perclos',
         'perclos_long', 'level', 'valence', 'arousal', 'face_ms', 'fatigue_ms', 'emotion_ms',
         'frame', *(f'p_{e.name.lower()}' for e in CLASSES))


def present(
    source: Source, measured: Measurements, labels: Labels | None, summary: Summary, table: Path,
    pipeline: Pipeline | RecordedPipeline, command: str = '',
    pictures: Mapping[int, bytes] | None = None,
) -> Report:
    """
    Make the report of one recording.

    :param pictures: JPEG of the person's face, by index into ``measured.events``
    """
    columns = read_columns(
        table, (*SHOWN, 'posture_ms') if measured.posture.measured else SHOWN)
    stills = source.stills
    people = people_of(table.with_name('bodies.parquet'), measured.posture.events) \
        if measured.posture.measured and not stills else []
    rate = f' · {1 / measured.period_s:.1f} frames/s' if not stills and measured.period_s else ''
    length = '' if stills else f'{summary["duration_s"]:.1f} s · '
    what = 'images' if stills else 'frames'
    return Report(
        title=source.path.name or str(source.path),
        subtitle=f'{length}{summary["frames"]} {what}{rate} · {source.kind}'
                 + (f' · {source.topic}' if source.topic else ''),
        cards=recording_cards(summary, stills=stills),
        measured=None if stills else _series(columns),
        truth=None if stills or labels is None else _truth(measured, labels),
        events=() if stills else [
            TimelineEvent(e.event.type, e.start_s, e.event.duration_s,
                   _remark(e, summary), (pictures or {}).get(index, b''))
            for index, e in enumerate(measured.events)
            if e.primary and e.event.type is not FatigueEventType.LEVEL_CHANGED],
        postures=people, plots=angles_plot(people),
        posture_events=[_mark(event) for event in measured.posture.events if event.primary],
        posture_share=measured.posture.share(),
        expression_share=summary['expression_share'],
        latency_ms=_latencies(columns),
        stages=_stages(summary, pipeline),
        tables=[*score_tables(summary['scores']), *_read_otherwise(source, measured, labels)],
        notes=[*([f'Not all of the input was read: {summary["partial"]}']
                 if summary['partial'] else []), *summary['notes']],
        facts=_facts(source, labels, command),
    )


def _remark(event: PlacedEvent, summary: Summary) -> str:
    """Name the frames of an event, and whether it is not labelled."""
    name = SCORED_AS.get(event.event.type.name, '')
    scores = summary['scores']
    if name == 'closures' and name not in scores:
        name = 'blink'  # labels that do not separate blinks from longer closures
    span = [event.start_frame, event.end_frame]
    wrong = '; not labelled' if span in scores.get(name, {}).get('invented', ()) else ''
    return f'frames {event.start_frame} … {event.end_frame}{wrong}'


def _mark(event: PlacedPosture) -> PostureMark:
    changed = event.event.type is PostureEventType.POSTURE_CHANGED
    frames = f'frame {event.start_frame}' if changed \
        else f'frames {event.start_frame} … {event.end_frame}'
    words = f'; {spoken(event.event.previous_state.name)} to {spoken(event.event.state.name)}' \
        if changed else ''
    return PostureMark(
        spoken(event.event.type.name), event.start_s, lasting_s(event.event), frames + words)


def _series(columns: dict[str, Any]) -> Series | None:
    """Take the primary person's row of each frame; without one the first row, which is empty."""
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
                 s.expression.name.lower() if s.expression is not None
                 else s.posture.name if s.posture is not None else '') for s in found]

    labels = labels.within(len(measured.stamps))
    return Truth(blinks=spans(labels.blinks or ()), closures=spans(labels.closures or ()),
                 yawns=spans(labels.yawns or ()), nods=spans(labels.nods or ()),
                 ignore=spans(labels.ignore), expressions=spans(labels.expressions),
                 postures=spans(labels.postures) if measured.posture.measured else (),
                 series=_labelled_affect(measured, labels))


def _labelled_affect(measured: Measurements, labels: Labels) -> Series | None:
    """Return labelled valence and arousal as steps."""
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
    if 'posture_ms' in columns:
        stages['posture'] = np.nan_to_num(columns['posture_ms'][first])
    return {**stages, 'whole frame': sum(stages.values())}


def _read_otherwise(source: Source, measured: Measurements, labels: Labels | None) -> list[Table]:
    """List the images whose expression is not the labelled one."""
    rows: list[list[Cell]] = []
    for name, answer in zip(source.names, measured.expressions):
        picture = labels.pictures.get(name) if labels else None
        if picture and picture.expression is not None and picture.expression != answer:
            rows.append(
                [name, picture.expression.name.lower(), Expression(answer).name.lower()])
    return shortened('Images read otherwise', ('', 'labelled', 'read'), rows, 200, wide=False)


def _stages(summary: Summary, pipeline: Pipeline | RecordedPipeline) -> list[StageProvenance]:
    attempts = {'face': pipeline.faces.attempts, 'mesh': pipeline.fatigue.attempts,
                'emotion': pipeline.emotion.attempts,
                'posture': pipeline.posture.attempts if pipeline.posture is not None else ()}
    return [
        StageProvenance(stage=stage, **info, steps=[
            f'{attempt.way}: {attempt.reason or "runs"}' for attempt in attempts.get(stage, ())])
        for stage, info in summary['backend'].items()]


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
