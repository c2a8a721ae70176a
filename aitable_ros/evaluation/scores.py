# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The scores of one recording against its labels; the formulas are in ``docs/evaluation.md``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from aitable_ros.evaluation.false_alarms import false_alarms
from aitable_ros.evaluation.labels import FrameSpan, Labels, marked
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.metrics import (
    affect_score, box_score, Detections, expression_score, frame_score, majority, match_spans,
    Matching
)
from aitable_ros.evaluation.pooling import over_images
from aitable_ros.evaluation.postures import commonest, posture_score
from aitable_ros.evaluation.video_classes import of_video
from aitable_ros.posture_types import PostureState
from aitable_ros.recordings.source import Source
from aitable_ros.types import Expression, FatigueEventType, FatigueLevel

Score = dict[str, Any]
SCORED_AS = {'BLINK': 'blink', 'LONG_CLOSURE': 'closures', 'MICROSLEEP': 'closures',
             'SLEEP': 'closures', 'YAWN': 'yawns', 'NOD': 'nods'}
"""Score in which each type of event counts."""
CLOSURES = (FatigueEventType.LONG_CLOSURE, FatigueEventType.MICROSLEEP, FatigueEventType.SLEEP)
TIRED = (FatigueLevel.MILD, FatigueLevel.SEVERE, FatigueLevel.ASLEEP)
"""Levels of a drowsy person."""
FPS_SLACK = 0.1
"""Largest relative difference of frame rates; beyond it the labels are of another copy."""


def scores(source: Source, measured: Measurements, labels: Labels) -> Score:
    """Score all labels of the frames that were read."""
    done = len(measured.stamps)
    labels = labels.within(done)
    found: Score = {} if source.stills else _event_scores(measured, labels)
    found |= _emotion_scores(source, measured, labels)
    if labels.postures and measured.posture.measured:
        found |= _posture_scores(measured, labels)
    if labels.perclos is not None:
        perclos = measured.perclos
        found['perclos'] = {
            'labelled': labels.perclos, 'measured': perclos, 'error': perclos - labels.perclos}
    faces = face_scores(source, measured, labels)
    if faces:
        found['faces'] = faces
    return found


def _event_scores(measured: Measurements, labels: Labels) -> Score:
    """Score events, states of frames, alarms and the class of the recording."""
    found: Score = {}
    done = len(measured.stamps)
    hours = scored_s(measured, labels) / 3600
    blinks = measured.blinks() + (closures(measured) if labels.blinks_any_length else [])
    for name, spans, labelled in (
            ('blink', blinks, labels.blinks),
            ('closures', closures(measured), labels.closures),
            ('yawns', _spans_of(measured, FatigueEventType.YAWN), labels.yawns),
            ('nods', _spans_of(measured, FatigueEventType.NOD), labels.nods)):
        if labelled is not None:
            matching = match_spans(
                spans, [span for span in labelled if span.start < done], labels.ignore,
                periods=labels.periods and name in ('yawns', 'nods'))
            found[name] = of_spans(matching, hours)
            if name == 'closures':
                found[name]['start_error_s'] = _start_error_s(matching, measured)
    if labels.closures is not None:
        found['false_alarms'] = false_alarms(measured, labels)
    eyes, levels = np.asarray(measured.eyes), np.asarray(measured.levels)
    for name, labelled, state, known in (
            ('eyes_shut', labels.shut, eyes == 1, eyes >= 0),
            ('drowsy', labels.drowsy, np.isin(levels, TIRED),
             levels != FatigueLevel.UNKNOWN)):
        scored = ~marked(labels.ignore, done)
        if labelled is not None and scored.any():
            found[name] = frame_score(
                marked(labelled, done)[scored], state[scored], known[scored])
    if labels.video_class:
        found['video_class'] = of_video(measured, labels)
    return found


def _posture_scores(measured: Measurements, labels: Labels) -> Score:
    """Score the posture by frame, and by span with the commonest known state in it."""
    frames: list[tuple[PostureState, PostureState]] = []
    spans: list[tuple[PostureState, PostureState]] = []
    ignored = marked(labels.ignore, len(measured.stamps))
    for span in labels.postures:
        read = [PostureState(state) for frame, state in enumerate(
            measured.posture.states[span.start:span.end + 1], span.start) if not ignored[frame]]
        if read and span.posture is not None:
            frames += [(span.posture, state) for state in read]
            spans.append((span.posture, commonest(read)))
    return {'posture': {**posture_score(frames), 'by_span': posture_score(spans)}} if frames else {}


def doubts(source: Source, labels: Labels) -> list[str]:
    """Return remarks on labels that may not fit or are not used, one line each."""
    remarks = list(labels.notes)
    if labels.fps and source.fps and abs(labels.fps / source.fps - 1) > FPS_SLACK:
        remarks.append(f'the labels count frames at {labels.fps:g} a second, the input has '
                       f'{source.fps:.4g}: are they of this copy of it?')
    if labels.frames and source.frames and labels.frames != source.frames:
        remarks.append(f'the labels list {labels.frames} frames, the input has {source.frames}: '
                       'frames that only one of them has are not scored')
    if labels.tolerance_frames not in (None, 2):
        remarks.append(f'the labels ask for a tolerance of {labels.tolerance_frames} frames; the '
                       'tolerance is always 2 frames')
    return remarks


def scored_s(measured: Measurements, labels: Labels) -> float:
    """Seconds of the recording that are not ignored."""
    ignored = marked(labels.ignore, len(measured.stamps))
    return measured.duration_s * float((~ignored).mean()) if len(ignored) else 0.0


def closures(measured: Measurements) -> list[FrameSpan]:
    """Return the primary person's closures longer than a blink, in frames."""
    return _spans_of(measured, *CLOSURES)


def _spans_of(measured: Measurements, *types: FatigueEventType) -> list[FrameSpan]:
    return [FrameSpan(e.start_frame, e.end_frame) for e in measured.of_primary(*types)]


def of_detections(score: Detections) -> Score:
    """Return the counts, precision, recall and F1."""
    return {**asdict(score), 'precision': score.precision, 'recall': score.recall, 'f1': score.f1}


def of_spans(matching: Matching, hours: float) -> Score:
    """Return counts, rates, and the frames of the missed and the invented spans."""
    counts = matching.counts
    return {
        **of_detections(counts), 'scored_s': hours * 3600,
        'false_per_hour': counts.fp / hours if hours else None,
        'missed': [[span.start, span.end] for span in matching.missed],
        'invented': [[span.start, span.end] for span in matching.invented]}


def _start_error_s(matching: Matching, measured: Measurements) -> float | None:
    errors = [abs(measured.time_s(a.start) - measured.time_s(b.start)) for a, b in matching.pairs]
    return float(np.mean(errors)) if errors else None


def _emotion_scores(source: Source, measured: Measurements, labels: Labels) -> Score:
    """Score expression, valence and arousal by frame or image; expression also by span."""
    found: Score = {}
    frames: list[tuple[int, FrameSpan]] = []
    spans: list[tuple[Expression, Expression]] = []
    for span in expression_spans(source, labels, len(measured.stamps)):
        inside = [
            frame for frame in range(span.start, span.end + 1)
            if not any(part.start <= frame <= part.end for part in labels.ignore)]
        frames += [(frame, span) for frame in inside]
        if inside and span.expression is not None:
            spans.append((span.expression, majority(
                [Expression(measured.expressions[frame]) for frame in inside])))
    pairs = [(span.expression, Expression(measured.expressions[frame]))
             for frame, span in frames if span.expression is not None]
    if pairs:
        found['expression'] = expression_score(pairs)
        if source.stills:
            found['expression']['interval'] = over_images(found['expression'])
        else:
            found['expression']['by_span'] = expression_score(spans)
    for name, values in (('valence', measured.valence), ('arousal', measured.arousal)):
        truth = np.array([getattr(span, name) for _, span in frames], np.float64)
        if np.isfinite(truth).any():
            read = np.array([values[frame] for frame, _ in frames], np.float64)
            found[name] = affect_score(read, truth)
    return found


def expression_spans(source: Source, labels: Labels, frames: int) -> list[FrameSpan]:
    """Return the labelled expressions of the frames or images that were read."""
    spans = [
        FrameSpan(s.start, min(s.end, frames - 1), s.expression, s.valence, s.arousal)
        for s in labels.expressions if s.start < frames]
    places = {name: index for index, name in enumerate(source.names[:frames])}
    spans += [
        FrameSpan(places[name], places[name], picture.expression, picture.valence, picture.arousal)
        for name, picture in labels.pictures.items()
        if name in places and (picture.expression is not None or np.isfinite(
            [picture.valence, picture.arousal]).any())]
    return spans


def face_scores(source: Source, measured: Measurements, labels: Labels) -> Score:
    """Score the number of faces and, in images with labelled boxes, their places."""
    counts: list[tuple[int, int]] = []
    boxes = Detections(0, 0, 0)
    boxed = False
    if labels.faces is not None:
        ignored: set[int] = set()
        for part in labels.ignore:
            ignored |= set(range(part.start, part.end + 1))
        counts += [(labels.faces, seen) for frame, seen in enumerate(measured.faces)
                   if frame not in ignored]
    for index, name in enumerate(source.names[:len(measured.faces)]):
        picture = labels.pictures.get(name)
        if picture is None:
            continue
        if picture.faces is not None:
            counts.append((picture.faces, measured.faces[index]))
        if picture.boxes is not None:
            boxed = True
            boxes += box_score(measured.boxes[index], picture.boxes)
    found: Score = {}
    if counts:
        wanted, seen = np.array(counts).T
        found = {
            'n': len(counts), 'exact': float((wanted == seen).mean()),
            'mean_absolute_error': float(np.abs(wanted - seen).mean())}
    if boxed:
        found['boxes'] = of_detections(boxes)
    return found
