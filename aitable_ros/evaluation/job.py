# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The evaluation of one recording as a job, for any process on any machine.

Fatigue has memory, so a recording is never cut. Each recording gets a new pipeline, so that results
do not depend on the order of jobs or on the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
import hashlib
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.evaluation.summary import INTERRUPTED, write_json

if TYPE_CHECKING:
    from aitable_ros.evaluation.evaluate import EvaluationResult

WRITTEN = ('frames.parquet', 'events.csv', 'summary.json', 'report.html')
FINISHED_MARK = 'done.json'
"""File beside a finished result of a batch: the fingerprint of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    A recording (one topic of it) and all options of its result.

    Every option that changes results must be a field, so that it reaches the workers and is part of
    the fingerprint.

    :param topic: camera topic of a bag or, with ``from_topics``, a namespace
    :param labels: label file
    :param labels_format: ``auto`` or one of ``datasets.formats.FORMATS``
    :param output: folder of the result
    :param command: shown in the report
    :param from_topics: read the recorded topics of our nodes instead of running models
    :param posture: measure it, whatever ``params`` says
    :param write_bag: folder of a new bag: the input with our topics
    :param thumbnails: add pictures of the events to the report
    :param fps: frame rate of a video, instead of its stamps
    :param strict: stop at the first damage of the input
    """

    path: Path
    output: Path
    topic: str | None = None
    labels: Path | None = None
    labels_format: str = 'auto'
    params: Path | None = None
    command: str = ''
    from_topics: bool = False
    posture: bool = False
    write_bag: Path | None = None
    thumbnails: bool = False
    fps: float | None = None
    strict: bool = False

    @property
    def name(self) -> str:
        """Name on the screen."""
        return self.output.name if self.topic else self.path.name


@dataclass(frozen=True, slots=True)
class JobProgress:
    """
    Callbacks of a running job.

    :param begin: takes the number of frames and the frame rate, as far as they are known
    :param at: takes the number of frames done; may raise KeyboardInterrupt to stop the job
    """

    begin: Callable[[int | None, float | None], None] = lambda frames, fps: None
    at: Callable[[int], None] = lambda frames: None


def run_job(job: Job, progress: JobProgress | None = None) -> EvaluationResult:
    """
    Evaluate one recording.

    :raises InputError: the recording, its labels or its output cannot be used at all
    """
    from aitable_ros.config import read_parameter_file
    from aitable_ros.evaluation.datasets import formats
    from aitable_ros.evaluation.evaluate import evaluate, EvaluationResult
    from aitable_ros.evaluation.inputs import open_labelled
    from aitable_ros.face.tracker import number_from_one
    from aitable_ros.inference.chain import OFF
    from aitable_ros.pipeline import Pipeline, PipelineOptions
    from aitable_ros.recordings.bag_copy import BagCopy
    from aitable_ros.recordings.recorded_pipeline import RecordedPipeline
    from aitable_ros.recordings.recorded_topics import RecordedTopics

    progress = progress or JobProgress()
    number_from_one()
    warnings: list[str] = []
    options = PipelineOptions.from_file(job.params, warnings.append) if job.params \
        else PipelineOptions()
    if job.posture:  # who asks for it wants no result without it
        options = replace(options, posture=replace(
            options.posture, enabled=True, required=True,
            fallbacks=tuple(name for name in options.posture.fallbacks if name != OFF)))
    stated = read_parameter_file(job.params)['face_detector'] if job.params else {}
    labels = formats.read(job.labels, job.path, job.labels_format)
    source = RecordedTopics(job.path, job.topic) if job.from_topics \
        else open_labelled(job.path, job.topic, labels, fps=job.fps, strict=job.strict)
    for warning in warnings:
        source.note(warning)
    (job.output / FINISHED_MARK).unlink(missing_ok=True)
    copy = BagCopy(source, job.write_bag) if job.write_bag else None
    progress.begin(source.frames, source.fps)
    try:
        with RecordedPipeline(options, source) if isinstance(source, RecordedTopics) \
                else Pipeline(options.for_recordings) as pipeline:
            outcome = evaluate(
                source, labels, job.output, pipeline, progress=progress.at, command=job.command,
                everybody='max_faces' not in stated,
                thumbnails=job.thumbnails and not job.from_topics,
                on_result=copy.add if copy else None)
    except BaseException:
        if copy:
            copy.discard()
        raise
    problem = outcome.problem
    if copy:
        try:
            copy.finish(all_of_it=problem != INTERRUPTED)
        except InputError as error:
            problem = problem or str(error)
    return EvaluationResult(outcome.summary, problem)


def fingerprint(job: Job) -> str:
    """
    Return a hash of everything that the result of a job depends on.

    The input, the models and the code of this package count by names, sizes and times of files.
    """
    from aitable_ros.evaluation.datasets.formats import files_of
    from aitable_ros.inference import compiled_models
    from aitable_ros.models.catalogue import model_home

    derived = compiled_models.folder()  # a cache in the folder of the models

    def state(path: Path) -> list[Any]:
        files = [file for file in sorted(path.rglob('*')) if derived not in file.parents] \
            if path.is_dir() else [path]
        return [[str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns]
                for file in files if file.is_file() and file.suffix not in ('.pyc', '.lock')]

    options = {key: str(value) for key, value in asdict(job).items()
               if key not in ('output', 'command', 'path')}
    read = [file.read_bytes().hex() for file in (
        *(files_of(job.labels) if job.labels else ()), *([job.params] if job.params else ()))]
    models = [] if job.from_topics else state(model_home())
    whole = [str(job.path.resolve()), state(job.path), options, read, models,
             state(Path(__file__).resolve().parents[1])]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def earlier_result(job: Job) -> EvaluationResult | None:
    """Return the finished result of an earlier run with the same input, options and code."""
    if job.write_bag and not job.write_bag.is_dir():
        return None
    try:
        if not all((job.output / name).is_file() for name in WRITTEN):
            return None
        mark = json.loads((job.output / FINISHED_MARK).read_text(encoding='utf-8'))
        if mark != {'fingerprint': fingerprint(job)}:
            return None
        summary = json.loads((job.output / 'summary.json').read_text(encoding='utf-8'))
        if 'posture' in summary and not (job.output / 'bodies.parquet').is_file():
            return None
    except (OSError, ValueError):
        return None
    from aitable_ros.evaluation.evaluate import EvaluationResult

    return EvaluationResult(summary, '', finished_earlier=True)


def mark_finished(job: Job) -> None:
    """Record that the result of a job is complete."""
    write_json(job.output / FINISHED_MARK, {'fingerprint': fingerprint(job)})
