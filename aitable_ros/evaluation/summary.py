# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``summary.json``: the figures of a recording and its scores against labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from aitable_ros.atomic import legible, replacing
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.pooling import person_of, pool
from aitable_ros.evaluation.scores import doubts, scores
from aitable_ros.recordings.source import Source
from aitable_ros.types import FatigueEventType

Summary = dict[str, Any]
INTERRUPTED = 'interrupted'
"""Problem of a recording that was stopped by Ctrl-C."""
EVENTS = tuple(kind for kind in FatigueEventType if kind < FatigueEventType.LEVEL_CHANGED)
"""What a summary counts."""


def summarise(
    source: Source, measured: Measurements, labels: Labels | None, partial: str | None = None,
) -> Summary:
    """
    Make the summary of one recording; its keys are described in ``docs/evaluation.md``.

    Events, blinks and fatigue are those of the primary person.

    :param partial: why the input was not read to its end
    """
    faces = np.asarray(measured.faces, np.int64)
    blinks = measured.of_primary(FatigueEventType.BLINK)
    summary: Summary = {
        'input': str(source.path),
        'topic': source.topic or None,
        'frames': len(faces),
        'duration_s': measured.duration_s,
        'face_ratio': float((faces > 0).mean()) if faces.size else 0.0,
        'faces_per_frame': {
            'mean': float(faces.mean()) if faces.size else 0.0,
            'max': int(faces.max()) if faces.size else 0},
        'blinks': [
            {'start_s': e.start_s, 'end_s': e.end_s, 'start_frame': e.start_frame,
             'end_frame': e.end_frame} for e in blinks],
        'perclos': measured.perclos,
        'closed_s': measured.closed_s,
        'usable_s': measured.usable_s,
        'events': {kind.name: len(measured.of_primary(kind)) for kind in EVENTS},
        'level_max': measured.level_max.name,
        'expression_share': measured.expression_share(),
        'backend': {stage: asdict(model) for stage, model in measured.models.items()},
        'scores': scores(source, measured, labels) if labels else {},
        'partial': partial,
        'notes': list(source.notes),
    }
    if measured.posture.measured:
        summary['events']['SLUMPED'] = len(measured.of_primary(FatigueEventType.SLUMPED))
        summary['posture'] = measured.posture.summary()
    if labels:
        summary['subject'] = labels.subject or None
        summary['notes'] += doubts(source, labels)
        if labels.postures and not measured.posture.measured:
            summary['notes'].append('posture is labelled, but was not measured (--posture)')
    whole: Summary = rounded(summary)
    return whole


def pooled(summaries: Sequence[Summary]) -> Summary:
    """Pool the scores of several inputs; see :func:`.pooling.pool`."""
    whole: Summary = rounded(pool([
        (person_of(summary), summary['scores']) for summary in summaries]))
    return whole


def write_json(path: Path, value: Summary) -> None:
    """
    Write a JSON file atomically.

    :raises InputError: the file cannot be written
    """
    with replacing(path) as draft:
        draft.write_text(json.dumps(value, indent=1, allow_nan=False) + '\n', encoding='utf-8')


def rounded(value: Any) -> Any:
    """
    Make values fit for JSON: floats to a millionth, None where they are not finite.

    Bytes of file names that are not UTF-8 become escapes.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(entry) for entry in value]
    return value
