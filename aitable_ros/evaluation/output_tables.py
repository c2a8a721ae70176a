# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``frames.parquet``, a row per face and frame, and ``events.csv``; written while reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.atomic import legible, replacing
from aitable_ros.errors import InputError
from aitable_ros.types import Expression, FaceResult, FatigueAssessment, FrameResult, ModelInfo

Row = dict[str, Any]
CLASSES = tuple(e for e in Expression if e is not Expression.UNKNOWN)
STAGES = ('face', 'mesh', 'emotion', 'posture')
GROUP = 4096
"""Rows in memory before they are written."""


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column of ``frames.parquet``.

    :param kind: name of an Arrow type
    :param meaning: with unit; stored in the file as the field's ``description``
    """

    name: str
    kind: str
    meaning: str


FRAME_COLUMNS = (
    Column('frame', 'int32', '0-based number of the frame in the input'),
    Column('stamp_ns', 'int64', "time of the image, nanoseconds of the recording's clock"),
    Column('time_s', 'float64', 'seconds since the first frame'),
    Column('file', 'string', 'name of the image; null for videos and bags'),
)
COLUMNS = (
    *FRAME_COLUMNS,
    Column('present', 'bool', 'whether the person is in the frame; false: a known person who is '
           'not visible, or nobody (track_id 0)'),
    Column('track_id', 'int32', 'number of the person; 0 for nobody'),
    Column('primary', 'bool', 'whether this is the person the robot deals with'),
    Column('detected', 'bool', 'found by the detector in this frame, not carried over'),
    Column('confidence', 'float32', 'confidence of the detection, 0 ... 1'),
    *(Column(name, 'float32', f'{what} of the face, pixels') for name, what in (
        ('x1', 'left'), ('y1', 'top'), ('x2', 'right'), ('y2', 'bottom'))),
    Column('presence', 'float32', 'probability of the mesh that its crop shows a face, 0 ... 1'),
    Column('expression', 'string', 'most probable expression; unknown if it cannot be read'),
    Column('expression_confidence', 'float32', 'probability of that expression, 0 ... 1'),
    *(Column(f'p_{e.name.lower()}', 'float32', f'probability of {e.name.lower()}, 0 ... 1')
      for e in CLASSES),
    Column('valence', 'float32', '-1 ... 1'),
    Column('arousal', 'float32', '-1 ... 1'),
    Column('emotion_from_cache', 'bool', 'whether the emotion was read in an earlier frame'),
    Column('emotion_age_s', 'float32', 'age of the emotion, seconds'),
    Column('validity', 'string', 'whether the window figures may be used, and if not, why'),
    Column('level', 'string', 'ALERT, MILD, SEVERE, ASLEEP or UNKNOWN'),
    Column('reasons', 'int32', 'bit mask: PERCLOS 1, PERCLOS_LONG 2, LONG_BLINKS 4, MICROSLEEP 8, '
           'SLEEP 16, YAWNING 32, NODDING 64'),
    Column('ear_left', 'float32', "eye aspect ratio of the person's left eye"),
    Column('ear_right', 'float32', "eye aspect ratio of the person's right eye"),
    Column('openness', 'float32', "0 shut ... 1 this person's open eye"),
    Column('eyes_closed', 'bool', 'whether the eyes are closed, after hysteresis'),
    Column('closure_s', 'float32', 'duration of the current closure, seconds'),
    Column('perclos', 'float32', 'share of usable time with closed eyes, last 60 s, 0 ... 1'),
    Column('perclos_long', 'float32', 'share of usable time with closed eyes, last 180 s, 0 ... 1'),
    Column('perclos_p80', 'float32', 'share of usable time with openness below 0.2, last 60 s'),
    Column('perclos_coverage', 'float32', 'usable share of the 60 s, 0 ... 1'),
    Column('perclos_long_coverage', 'float32', 'usable share of the 180 s, 0 ... 1'),
    Column('blink_count', 'int32', 'blinks since this person arrived'),
    Column('blink_rate', 'float32', 'blinks per minute'),
    Column('mean_blink_s', 'float32', 'mean duration of a blink, seconds'),
    Column('mar', 'float32', 'mouth aspect ratio'),
    Column('yawning', 'bool', 'whether the person is yawning'),
    Column('yawn_count', 'int32', 'yawns since this person arrived'),
    Column('head_roll', 'float32', "radians, > 0 tilts to the person's right shoulder"),
    Column('head_pitch', 'float32', 'radians, > 0 looks down'),
    Column('head_yaw', 'float32', "radians, > 0 looks to the person's left"),
    Column('calibrated', 'bool', 'whether the baseline was set by a calibration'),
    Column('baseline_ear', 'float32', "EAR of this person's open eyes"),
    *(Column(f'{stage}_by', 'string', f'model@backend/precision of the {stage} stage')
      for stage in STAGES if stage != 'posture'),
    *(Column(f'{stage}_ms', 'float32', f'time of the {stage} stage for this frame, milliseconds')
      for stage in ('face', 'fatigue', 'emotion')),
)
_FATIGUE = (
    'ear_left', 'ear_right', 'openness', 'eyes_closed', 'closure_s', 'perclos', 'perclos_long',
    'perclos_p80', 'perclos_coverage', 'perclos_long_coverage', 'blink_count', 'blink_rate',
    'mean_blink_s', 'mar', 'yawning', 'yawn_count', 'head_roll', 'head_pitch', 'head_yaw',
    'calibrated', 'baseline_ear')
EVENT_COLUMNS = (
    'type', 'track_id', 'primary', 'start_s', 'end_s', 'duration_s', 'start_frame', 'end_frame',
    'start_ns', 'level')
POSTURE_EVENT_COLUMNS = ('state', 'previous_state')
"""Further columns of ``events.csv``, where posture is measured."""


def rows_from_result(
    result: FrameResult, frame: int, time_s: float, file: str | None = None,
) -> list[Row]:
    """
    Make the rows of one frame: its faces, then the known people who are not visible.

    :param frame: 0-based number of the frame
    :param time_s: seconds from the first frame
    :param file: name of a still image
    """
    common = common_row(result, frame, time_s, file)
    rows = [common | _of_face(face) for face in result.faces]
    rows += [
        common | {'present': False, 'track_id': gone.track_id, 'primary': False} | _of_fatigue(gone)
        for gone in result.absent]
    return rows or [common | {'present': False, 'track_id': 0, 'primary': False}]


def common_row(
    result: FrameResult, frame: int, time_s: float, file: str | None = None,
) -> Row:
    """Make the columns that all rows of a frame share; see :func:`rows_from_result`."""
    return {
        'frame': frame, 'stamp_ns': result.stamp_ns, 'time_s': time_s,
        'file': None if file is None else legible(file),
        **{f'{stage}_by': model_label(result.models[stage])
           for stage in STAGES if stage in result.models},
        **{f'{stage}_ms': spent for stage, spent in result.elapsed_ms.items()}}


def model_label(model: ModelInfo) -> str | None:
    """Return ``model@backend/precision``; None if the stage is off."""
    return f'{model.model}@{model.backend}/{model.precision}' if model.model else None


def _of_face(found: FaceResult) -> Row:
    face = found.face
    row: Row = {
        'present': True, 'track_id': face.track_id, 'primary': face.primary,
        'detected': face.detected, 'confidence': face.detection.confidence,
        **dict(zip(('x1', 'y1', 'x2', 'y2'), face.box.tolist(), strict=True))}
    if found.landmarks is not None:
        row['presence'] = found.landmarks.presence
    if found.emotion is not None:
        emotion = found.emotion
        row |= {
            'expression': emotion.expression.name.lower(),
            'expression_confidence': emotion.confidence, 'valence': emotion.valence,
            'arousal': emotion.arousal, 'emotion_from_cache': emotion.from_cache,
            'emotion_age_s': emotion.age_s,
            **{f'p_{e.name.lower()}': p
               for e, p in zip(CLASSES, emotion.probabilities.tolist(), strict=True)}}
    return row | _of_fatigue(found.fatigue)


def _of_fatigue(state: FatigueAssessment | None) -> Row:
    if state is None:
        return {}
    return {
        'validity': state.validity.name, 'level': state.level.name, 'reasons': int(state.reasons),
        **{name: getattr(state, name) for name in _FATIGUE}}


class FrameTable:
    """
    Writes a table in groups of rows, so that memory does not grow with the recording.

    Use :meth:`open`; the file appears at the end of its block, and not after an error.
    """

    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer = writer
        self._schema = schema
        self._rows: list[Row] = []

    @classmethod
    @contextmanager
    def open(cls, path: Path, columns: Sequence[Column] = COLUMNS) -> Iterator[FrameTable]:
        """
        Open for writing.

        :param columns: what a row has beside them is left out
        :raises InputError: the file cannot be written
        """
        import pyarrow
        from pyarrow import parquet

        schema = pyarrow.schema([
            pyarrow.field(
                column.name, pyarrow.type_for_alias(column.kind),
                metadata={'description': column.meaning})
            for column in columns])
        # A file, not its name: pyarrow takes no name that is not UTF-8.
        with replacing(path) as draft, draft.open('wb') as file, parquet.ParquetWriter(
                file, schema, compression='zstd') as writer:
            table = cls(writer, schema)
            yield table
            table._flush()

    def add(self, rows: Sequence[Row]) -> None:
        """Add the rows of one frame."""
        self._rows += rows
        if len(self._rows) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def read_columns(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """
    Read columns of a table: numbers as float64 with NaN for null, strings as objects.

    :raises InputError: the file is no table with these columns
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with path.open('rb') as file:
            table = parquet.read_table(file, columns=list(names))
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise InputError(f'{path}: cannot read the table: {error}') from None
    return {
        name: np.array(column.to_pylist(), object)
        if pyarrow.types.is_string(column.type)
        else np.asarray(column.cast(pyarrow.float64()).to_numpy(), np.float64)
        for name, column in zip(table.column_names, table.columns, strict=True)}


@contextmanager
def event_table(
    path: Path, columns: Sequence[str] = EVENT_COLUMNS,
) -> Iterator[csv.DictWriter[str]]:
    """
    Open ``events.csv`` for writing; the file appears at the end of the block.

    :return: a writer of rows with these keys
    :raises InputError: the file cannot be written
    """
    with replacing(path) as draft, draft.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        yield writer
