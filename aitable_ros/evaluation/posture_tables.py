# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Posture in the tables: the columns of ``frames.parquet``, and ``bodies.parquet``."""

from __future__ import annotations

from aitable_ros.evaluation.output_tables import Column, COLUMNS, FRAME_COLUMNS, Row
from aitable_ros.posture_types import (
    Body, Joint, PostureAssessment, PostureState, PostureUpdate, VISIBLE
)

_FIGURES = (
    Column('state', 'string', 'how the person sits: UPRIGHT, LEANING_FORWARD, ... or UNKNOWN'),
    Column('state_s', 'float32', 'duration of the state so far, seconds'),
    Column('validity', 'string', 'whether the figures may be used, and if not, why'),
    Column('shoulder_tilt', 'float32', "radians, > 0: the person's own right shoulder is lower"),
    Column('head_roll', 'float32', 'radians, > 0: the head tilts towards the right shoulder'),
    Column('forward_lean', 'float32', 'of the trunk, radians, > 0 forward'),
    Column('lateral_lean', 'float32', "of the trunk, radians, > 0 to the person's own right"),
    Column('neck_flexion', 'float32', 'shoulders to ears, radians, > 0 forward'),
    Column('hand_to_head', 'float32', 'from the head to the nearer hand, shoulder widths'),
    Column('head_supported', 'bool', 'whether a hand holds the head up'),
    Column('ear_height', 'float32', 'height of the ears over the shoulders, shoulder widths'),
    Column('height_drop', 'float32', 'share of ear_height that is missing against this person '
           'upright'),
    Column('size_change', 'float32', "growth of the shoulders' width against this person upright"),
    Column('calibrated', 'bool', 'whether height_drop and size_change have a baseline'),
)
_AS_TEXT = ('state', 'validity')

FRAME_COLUMNS_OF_POSTURE = (
    *(Column(f'posture_{column.name}', column.kind, column.meaning) for column in _FIGURES),
    Column('posture_read', 'bool', 'read in this very frame; else of the last reading'),
    Column('posture_by', 'string', 'model@backend/precision of the posture stage'),
    Column('posture_ms', 'float32', 'time of the posture stage for this frame, milliseconds'))
"""Of ``frames.parquet``, where posture is measured."""
BODY_COLUMNS = (
    *FRAME_COLUMNS,
    Column('present', 'bool', 'whether the body is in the frame; false: of a known person'),
    Column('track_id', 'int32', "number of the person: the face's, also while it is hidden; from "
           '1000000 on a body whose face was never seen; 0 for nobody'),
    Column('primary', 'bool', 'whether this is the person the robot deals with'),
    Column('has_face', 'bool', 'whether a tracked face belongs to the body in this frame'),
    *(Column(name, 'float32', f'{what} of the joints that are seen, pixels') for name, what in (
        ('x1', 'left'), ('y1', 'top'), ('x2', 'right'), ('y2', 'bottom'))),
    Column('joints_seen', 'int32', f'joints of {len(Joint)} that can be seen'),
    *_FIGURES,
    *(Column(f'{state.name.lower()}_s', 'float32', f'seconds in {state.name} since this person '
             'appeared') for state in PostureState),
    Column('posture_by', 'string', 'model@backend/precision of the posture stage'))
"""Of ``bodies.parquet``."""
COLUMNS_WITH_POSTURE = (*COLUMNS, *FRAME_COLUMNS_OF_POSTURE)


def with_posture(rows: list[Row], update: PostureUpdate) -> list[Row]:
    """Add to the rows of one frame how each person sits."""
    known = {gone.track_id: gone for gone in update.absent} | dict(update.assessments)
    for row in rows:
        found = known.get(row['track_id'])
        if found is not None:
            row |= {f'posture_{name}': value for name, value in _figures(found).items()}
            row['posture_read'] = update.read
    return rows


def body_rows(update: PostureUpdate, common: Row) -> list[Row]:
    """
    Make the rows of one reading: its bodies, then the known people whose bodies are not visible.

    :param common: the columns that describe the frame
    """
    if not update.read:
        return []
    rows = [common | _of_body(body) | _times(update.assessments[body.track_id])
            for body in update.bodies if body.track_id in update.assessments]
    return rows + [
        common | {'present': False, 'track_id': gone.track_id, 'primary': False, 'has_face': False}
        | _times(gone) for gone in update.absent]


def _of_body(body: Body) -> Row:
    return {
        'present': True, 'track_id': body.track_id, 'primary': body.primary,
        'has_face': body.has_face,
        'joints_seen': int((body.skeleton.visibility >= VISIBLE).sum()),
        **dict(zip(('x1', 'y1', 'x2', 'y2'), body.skeleton.box.tolist(), strict=True))}


def _figures(found: PostureAssessment) -> Row:
    return {
        column.name: getattr(found, column.name).name if column.name in _AS_TEXT
        else getattr(found, column.name) for column in _FIGURES}


def _times(found: PostureAssessment) -> Row:
    return _figures(found) | {
        f'{state.name.lower()}_s': seconds
        for state, seconds in zip(PostureState, found.state_time_s, strict=True)}
