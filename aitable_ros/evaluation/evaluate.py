# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Runs the pipeline on one recording and writes the four files of the result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements, PlacedEvent
from aitable_ros.evaluation.output_tables import event_table, FrameTable, rows_from_result
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
        table = stack.enter_context(FrameTable.open(output / 'frames.parquet'))
        events = stack.enter_context(event_table(output / 'events.csv'))
        stack.enter_context(closing(frames))
        try:
            for index, frame in enumerate(frames):
                if source.stills and index:
                    pipeline.reset()
                result = pipeline.process_frame(frame)
                name = source.names[index] if source.names else None
                for event in measured.add(result, leap=index in source.leaps):
                    events.writerow(_event_row(event))
                table.add(rows_from_result(result, index, measured.time_s(index), name))
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
        f'{stage}: {attempt.entry} passed over: {attempt.reason}'
        for stage, part in (('face', pipeline.faces), ('mesh', pipeline.fatigue),
                            ('emotion', pipeline.emotion))
        for attempt in part.attempts if attempt.reason]
    write_json(output / 'summary.json', summary)
    return measured, summary, problem


def _event_row(found: PlacedEvent) -> dict[str, object]:
    event = found.event
    return {
        'type': event.type.name, 'track_id': event.track_id, 'primary': int(found.primary),
        'start_s': f'{found.start_s:.6f}', 'end_s': f'{found.end_s:.6f}',
        'duration_s': f'{event.duration_s:.6f}', 'start_frame': found.start_frame,
        'end_frame': found.end_frame, 'start_ns': event.start_ns, 'level': event.level.name}
