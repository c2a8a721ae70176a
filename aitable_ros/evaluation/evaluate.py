# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Runs the pipeline on one recording and writes the four files of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, ExitStack
import csv
from dataclasses import dataclass, replace
from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements, PlacedEvent
from aitable_ros.evaluation.output_tables import (
    COLUMNS, common_row, EVENT_COLUMNS, event_table, FrameTable, POSTURE_EVENT_COLUMNS,
    rows_from_result
)
from aitable_ros.evaluation.posture_tables import (
    BODY_COLUMNS, body_rows, COLUMNS_WITH_POSTURE, with_posture
)
from aitable_ros.evaluation.postures import lasting_s, PlacedPosture
from aitable_ros.evaluation.report.one_recording import present
from aitable_ros.evaluation.report.page import write_report
from aitable_ros.evaluation.report.thumbnails import thumbnails as make_thumbnails
from aitable_ros.evaluation.summary import INTERRUPTED, summarise, Summary, write_json
from aitable_ros.inference.protocol import BackendError
from aitable_ros.pipeline import Pipeline
from aitable_ros.recordings.recorded_pipeline import RecordedPipeline
from aitable_ros.recordings.source import Source
from aitable_ros.types import Frame, FrameResult

MOST_FACES = 64
"""Upper limit of the parameter ``max_faces``."""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """
    Result of one recording.

    :param summary: None if nothing could be read
    :param problem: why the recording was not read, or not to its end, or why its labels do not fit;
        empty if all is well
    :param finished_earlier: the result is from an earlier run
    """

    summary: Summary | None
    problem: str = ''
    finished_earlier: bool = False


def evaluate(
    source: Source, labels: Labels | None, output: Path, pipeline: Pipeline | RecordedPipeline, *,
    progress: Callable[[int], None] = lambda frames: None, command: str = '',
    everybody: bool = False, thumbnails: bool = False,
    on_result: Callable[[Frame, FrameResult], None] | None = None,
) -> EvaluationResult:
    """
    Measure a recording with :func:`measure`, and write ``report.html``.

    :param command: shown in the report
    :param thumbnails: add pictures of the primary person's face at the events to the report
    """
    measured, summary, problem = measure(
        source, labels, output, pipeline, progress=progress, everybody=everybody,
        on_result=on_result)
    pictures = make_thumbnails(source, measured, output / 'frames.parquet') if thumbnails else {}
    write_report(output / 'report.html', present(
        source, measured, labels, summary, output / 'frames.parquet', pipeline, command, pictures))
    return EvaluationResult(summary, problem)


def measure(
    source: Source, labels: Labels | None, output: Path, pipeline: Pipeline | RecordedPipeline, *,
    progress: Callable[[int], None] = lambda frames: None, everybody: bool = False,
    on_result: Callable[[Frame, FrameResult], None] | None = None,
) -> tuple[Measurements, Summary, str]:
    """
    Read a recording; write ``frames.parquet``, ``events.csv`` and ``summary.json``.

    Where posture is measured, also write ``bodies.parquet``.

    After damage of the input or Ctrl-C, the results until then are written, and ``partial`` in the
    summary gives the reason.

    :param labels: labels to score against; checked against the input first
    :param output: folder, created if necessary
    :param progress: takes the number of frames done
    :param everybody: report all faces of a still image: ``max_faces`` limits the time per image of
        a camera
    :param on_result: takes each frame and its result
    :return: the measurements, the summary, and the problem of :class:`EvaluationResult`
    :raises InputError: the labels do not fit, nothing could be read, or the disk is full
    """
    if labels:
        labels.check(source.frames, source.names)
    pipeline.reset()
    faces = pipeline.options.face
    pipeline.faces.configure(
        replace(faces, max_faces=MOST_FACES) if everybody and source.stills else faces)
    measured = Measurements(stills=source.stills)
    problem = ''
    frames = iter(source)
    with ExitStack() as stack:
        tables = stack.enter_context(_Tables.open(output, posture=pipeline.posture is not None))
        stack.enter_context(closing(frames))
        try:
            for index, frame in enumerate(frames):
                if source.stills and index:
                    pipeline.reset()
                result = pipeline.process_frame(frame)
                name = source.names[index] if source.names else None
                tables.add(
                    result, measured.add(result, leap=index in source.leaps), index,
                    measured.time_s(index), name)
                if on_result is not None:
                    on_result(frame, result)
                progress(index + 1)
        except InputError as error:
            problem = str(error)
        except BackendError as error:  # results until then are kept
            problem = f'{source.path}: a model failed: {error}'
        except KeyboardInterrupt:
            problem = INTERRUPTED
        if not measured.stamps:
            if problem == INTERRUPTED:
                raise KeyboardInterrupt
            raise InputError(problem or f'{source.path}: no frames')
    partial = f'{problem} (after frame {len(measured.stamps) - 1})' if problem \
        else source.problem or None
    problem = problem or source.problem
    if labels and not problem:
        try:
            labels.check(len(measured.stamps), source.names)
        except InputError as error:
            problem = str(error)
    summary = summarise(source, measured, labels, partial)
    summary['notes'] += [
        f'{stage}: {attempt.way} passed over: {attempt.reason}'
        for stage, part in (('face', pipeline.faces), ('mesh', pipeline.fatigue),
                            ('emotion', pipeline.emotion), ('posture', pipeline.posture))
        if part is not None for attempt in part.attempts if attempt.reason]
    write_json(output / 'summary.json', summary)
    return measured, summary, problem


class _Tables:
    """The tables of a recording that are written while it is read."""

    def __init__(
        self, frames: FrameTable, bodies: FrameTable | None, events: csv.DictWriter[str],
    ) -> None:
        self._frames, self._bodies, self._events = frames, bodies, events

    @classmethod
    @contextmanager
    def open(cls, output: Path, *, posture: bool) -> Iterator[_Tables]:
        """
        Open the tables; they appear at the end of the block.

        :param posture: it is measured, so that there is ``bodies.parquet``
        """
        (output / 'bodies.parquet').unlink(missing_ok=True)  # of an earlier run
        with ExitStack() as stack:
            yield cls(
                stack.enter_context(FrameTable.open(
                    output / 'frames.parquet', COLUMNS_WITH_POSTURE if posture else COLUMNS)),
                stack.enter_context(FrameTable.open(output / 'bodies.parquet', BODY_COLUMNS))
                if posture else None,
                stack.enter_context(event_table(output / 'events.csv', (
                    *EVENT_COLUMNS, *POSTURE_EVENT_COLUMNS) if posture else EVENT_COLUMNS)))

    def add(
        self, result: FrameResult, events: Sequence[PlacedEvent | PlacedPosture], frame: int,
        time_s: float, file: str | None,
    ) -> None:
        """Add one frame; see :func:`rows_from_result`."""
        for event in events:
            self._events.writerow(
                _posture_row(event) if isinstance(event, PlacedPosture) else _event_row(event))
        rows = rows_from_result(result, frame, time_s, file)
        if self._bodies is not None and result.posture is not None:
            rows = with_posture(rows, result.posture)
            self._bodies.add(body_rows(result.posture, common_row(result, frame, time_s, file)))
        self._frames.add(rows)


def _event_row(found: PlacedEvent) -> dict[str, object]:
    event = found.event
    return _placed_row(found, event.type.name, event.duration_s) | {'level': event.level.name}


def _posture_row(found: PlacedPosture) -> dict[str, object]:
    event = found.event
    return _placed_row(found, found.name, lasting_s(event)) | {
        'state': event.state.name, 'previous_state': event.previous_state.name}


def _placed_row(
    found: PlacedEvent | PlacedPosture, name: str, duration_s: float,
) -> dict[str, object]:
    return {
        'type': name, 'track_id': found.event.track_id, 'primary': int(found.primary),
        'start_s': f'{found.start_s:.6f}', 'end_s': f'{found.end_s:.6f}',
        'duration_s': f'{duration_s:.6f}', 'start_frame': found.start_frame,
        'end_frame': found.end_frame, 'start_ns': found.event.start_ns}
