# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
One recording to evaluate: what any process on any machine needs to know to do it.

Fatigue has memory, so a recording is never cut; each gets a pipeline of its own, so that neither
the number of workers nor the order changes a result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
import hashlib
import json
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.evaluation.summary import INTERRUPTED
from aitable_ros.evaluation.summary import write_json

if TYPE_CHECKING:
    from aitable_ros.evaluation.evaluate import EvaluationResult

WRITTEN = ('frames.parquet', 'events.csv', 'summary.json', 'report.html')
FINISHED_MARK = 'done.json'
"""Beside a finished result, where there are several inputs: what it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    A recording (one topic of it) and all that its result depends on.

    A new option that changes results must be a field here: it reaches the workers, and a finished
    result of other options is not taken for this one's.

    :param topic: camera topic of a bag or, with ``from_topics``, a namespace
    :param labels: file
    :param labels_format: ``auto`` or one of ``datasets.formats.FORMATS``
    :param output: folder of the result
    :param command: shown in the report
    :param from_topics: read what the nodes recorded instead of running models
    :param write_bag: folder of a new bag: the input with our topics
    :param thumbnails: let pictures of the events into the report
    :param fps: of a video, in place of its own time
    :param strict: end at the first damage of the input
    """

    path: Path
    output: Path
    topic: str | None = None
    labels: Path | None = None
    labels_format: str = 'auto'
    params: Path | None = None
    command: str = ''
    from_topics: bool = False
    write_bag: Path | None = None
    thumbnails: bool = False
    fps: float | None = None
    strict: bool = False

    @property
    def name(self) -> str:
        """What it is called on the screen."""
        return self.output.name if self.topic else self.path.name


@dataclass(frozen=True, slots=True)
class JobProgress:
    """
    What a long evaluation tells, and asks.

    :param begin: told the number of frames and the frame rate, as far as they are known
    :param at: told the frames done, after each; may raise KeyboardInterrupt to end the reading
    """

    begin: Callable[[int | None, float | None], None] = lambda frames, fps: None
    at: Callable[[int], None] = lambda frames: None


def run_job(item: Job, watch: JobProgress | None = None) -> EvaluationResult:
    """
    Evaluate one recording.

    :raises InputError: it, its labels or its output cannot be used at all
    """
    from aitable_ros.config import read_parameter_file
    from aitable_ros.evaluation.datasets import formats
    from aitable_ros.evaluation.evaluate import evaluate
    from aitable_ros.evaluation.evaluate import EvaluationResult
    from aitable_ros.evaluation.inputs import open_labelled
    from aitable_ros.face.tracker import number_from_one
    from aitable_ros.pipeline import Pipeline
    from aitable_ros.pipeline import PipelineOptions
    from aitable_ros.recordings.bag_copy import BagCopy
    from aitable_ros.recordings.recorded_pipeline import RecordedPipeline
    from aitable_ros.recordings.recorded_topics import RecordedTopics

    watch = watch or JobProgress()
    number_from_one()
    warnings: list[str] = []
    options = PipelineOptions.from_file(item.params, warnings.append) if item.params \
        else PipelineOptions()
    stated = read_parameter_file(item.params)['face_detector'] if item.params else {}
    labels = formats.read(item.labels, item.path, item.labels_format)
    source = RecordedTopics(item.path, item.topic) if item.from_topics \
        else open_labelled(item.path, item.topic, labels, fps=item.fps, strict=item.strict)
    for warning in warnings:
        source.note(warning)
    (item.output / FINISHED_MARK).unlink(missing_ok=True)
    copy = BagCopy(source, item.write_bag) if item.write_bag else None
    watch.begin(source.frames, source.fps)
    try:
        with RecordedPipeline(options) if item.from_topics \
                else Pipeline(options.for_recordings) as pipeline:
            outcome = evaluate(
                source, labels, item.output, pipeline, progress=watch.at, command=item.command,
                everybody='max_faces' not in stated,
                thumbnails=item.thumbnails and not item.from_topics,
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


def fingerprint(item: Job) -> str:
    """
    Return a hash of all that the result of an item depends on.

    Of the input, the models and this package's own files it takes names, sizes and times.
    """
    from aitable_ros.evaluation.datasets.formats import files_of
    from aitable_ros.models.catalogue import model_home

    def state(path: Path) -> list[Any]:
        files = sorted(path.rglob('*')) if path.is_dir() else [path]
        return [[str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns]
                for file in files if file.is_file() and file.suffix not in ('.pyc', '.lock')]

    options = {key: str(value) for key, value in asdict(item).items()
               if key not in ('output', 'command', 'path')}
    read = [file.read_bytes().hex() for file in (
        *(files_of(item.labels) if item.labels else ()), *([item.params] if item.params else ()))]
    models = [] if item.from_topics else state(model_home())
    whole = [str(item.path.resolve()), state(item.path), options, read, models,
             state(Path(__file__).resolve().parents[1])]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def earlier_result(item: Job) -> EvaluationResult | None:
    """Return the finished result of an earlier run with the same input, options and code."""
    if item.write_bag and not item.write_bag.is_dir():
        return None
    try:
        if not all((item.output / name).is_file() for name in WRITTEN):
            return None
        mark = json.loads((item.output / FINISHED_MARK).read_text(encoding='utf-8'))
        if mark != {'fingerprint': fingerprint(item)}:
            return None
        summary = json.loads((item.output / 'summary.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    from aitable_ros.evaluation.evaluate import EvaluationResult

    return EvaluationResult(summary, '', finished_earlier=True)


def mark_finished(item: Job) -> None:
    """Remember that an item's result is complete."""
    write_json(item.output / FINISHED_MARK, {'fingerprint': fingerprint(item)})
