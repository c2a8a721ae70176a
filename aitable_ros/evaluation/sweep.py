# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Sweep of a parameter: the value with the best score, and its uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.evaluation import replay
from aitable_ros.evaluation.bootstrap import interval, LEVEL, weights
from aitable_ros.evaluation.inputs import open_labelled
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.pooling import (
    Family, person_of, pool, Score, Statistic, STATISTICS, sums_of
)
from aitable_ros.evaluation.progress import ProgressBars
from aitable_ros.evaluation.scores import scores
from aitable_ros.evaluation.summary import rounded
from aitable_ros.options import Options
from aitable_ros.pipeline import Pipeline, PipelineOptions
from aitable_ros.recordings.source import Source
from aitable_ros.types import FrameResult

Floats = NDArray[np.float64]
STAGES = ('face', 'fatigue', 'emotion')
OBJECTIVES = {
    'fatigue': ('blink.f1', 'closures.f1', 'perclos.absolute_error'),
    'emotion': ('expression.macro_f1', 'valence.ccc', 'arousal.ccc'),
    'face': ('faces.boxes.f1', 'faces.exact', 'blink.f1', 'expression.macro_f1')}
"""Objectives by stage of the parameter; the first that the labels allow is the default."""
PLATEAU = 0.01
"""The unbroken run of values around the best one that score within this of it is the plateau."""
MOST_VALUES = 1000
MOST_FACES = 64


@dataclass(frozen=True, slots=True)
class Sweep:
    """
    One parameter and its values.

    :param current: value of the parameter without the sweep
    """

    stage: str
    name: str
    values: tuple[float, ...]
    current: float
    description: str

    @property
    def key(self) -> str:
        """``stage.name``."""
        return f'{self.stage}.{self.name}'

    def options(self, base: PipelineOptions, value: float) -> PipelineOptions:
        """Return ``base`` with this value."""
        stage: Options = getattr(base, self.stage)
        kind = type(getattr(stage, self.name))
        changed: Any = {self.stage: replace(stage, **{self.name: kind(value)})}
        return replace(base, **changed)


def parse(text: str, base: PipelineOptions) -> Sweep:
    """
    Read ``stage.name=from:to:count``.

    :raises InputError: another form, no such parameter, or values out of its range
    """
    form = '--sweep takes KEY=FROM:TO:COUNT, such as fatigue.blink_min_drop=0.05:0.3:11'
    key, _, span = text.partition('=')
    stage, _, name = key.strip().partition('.')
    try:
        low, high, number = span.split(':')
        start, end, count = float(low), float(high), int(number)
    except ValueError:
        raise InputError(f"{form}; not '{text}'") from None
    if not (math.isfinite(start) and math.isfinite(end) and start < end
            and 2 <= count <= MOST_VALUES):
        raise InputError(f"{form}: FROM below TO, COUNT from 2 to {MOST_VALUES}; not '{span}'")
    if stage not in STAGES:
        raise InputError(f"{form}; '{stage}' is none of the stages {', '.join(STAGES)}")
    options: Options = getattr(base, stage)
    known = {
        item.name: item for item in fields(options)
        if type(item.default) in (int, float) and item.metadata.get('dynamic', True)}
    if name not in known:
        raise InputError(f"--sweep: the {stage} stage has no number '{name}' that can change while "
                         f'it runs; it has {", ".join(sorted(known))}')
    values = np.linspace(start, end, count)
    if isinstance(known[name].default, int):
        values = np.unique(values.round())
    tried = tuple(float(f'{value:.10g}') for value in values)
    sweep = Sweep(stage, name, tried, float(getattr(options, name)),
                  str(known[name].metadata['description']))
    for value in tried:
        try:
            sweep.options(base, value)
        except InputError as error:
            raise InputError(f'--sweep: {stage}.{name} = {value:g}: {error}') from None
    return sweep


def sweep_inputs(
    sweep: Sweep, base: PipelineOptions, inputs: Sequence[tuple[Path, Labels | None]],
    topic: str | None = None, objective: str | None = None, *, quiet: bool = False,
) -> Score:
    """
    Score every value of a sweep on labelled inputs.

    :param base: all other options
    :param inputs: recordings and their labels
    :param topic: camera topic of the inputs that are bags
    :param objective: the statistic to improve, such as ``blink.f1``; None: the first of
        :data:`OBJECTIVES` that the labels allow
    :param quiet: show no progress
    :return: content of ``sweep.json``
    :raises InputError: an input or its labels cannot be used
    """
    unlabelled = next((path for path, labels in inputs if labels is None), None)
    if unlabelled is not None:
        raise InputError(f'{unlabelled}: --sweep needs labels of every input; give --labels')
    values = [*sweep.values, *([] if sweep.current in sweep.values else [sweep.current])]
    scored: list[list[tuple[str, Score]]] = [[] for _ in values]
    notes: list[str] = []
    with Pipeline(base) as pipeline, ProgressBars(len(inputs), quiet=quiet) as bars:
        for number, (path, labels) in enumerate(inputs):
            assert labels is not None
            source = open_labelled(path, topic, labels)
            labels.check(source.frames, source.names)
            person = person_of({'input': path, 'subject': labels.subject, 'topic': source.topic})
            bars.begin(number, path.name, source.frames, source.fps)
            for index, measured in enumerate(_measurements(
                    source, sweep, values, pipeline, partial(bars.at, number))):
                if not index:
                    labels.check(len(measured.stamps), source.names)
                scored[index].append((person, rounded(scores(source, measured, labels))))
            bars.end(number)
            notes += [f'{path.name}: {note}' for note in source.notes]
    found: Score = rounded(weigh(sweep, values, scored, objective) | {
        'inputs': [str(path) for path, _ in inputs], 'notes': notes})
    return found


def _measurements(
    source: Source, sweep: Sweep, values: Sequence[float], pipeline: Pipeline,
    progress: Callable[[int], None],
) -> Iterable[Measurements]:
    """Yield the measurements under each value; repeat only the steps that depend on it."""
    base = pipeline.options
    if sweep.stage == 'fatigue' and sweep.name not in replay.VISION:
        eyes = sweep.name in replay.EYES
        _configure(pipeline, base, source, sweep)
        seen = replay.look(source, pipeline, landmarks=eyes, progress=progress)
        for value in values:
            options = sweep.options(base, value).fatigue
            yield _measured(source, replay.judge(
                replay.read_again(seen, options) if eyes else seen, options))
    elif sweep.stage == 'emotion':
        _configure(pipeline, base, source, sweep)
        seen = replay.look(source, pipeline, progress=progress)
        for value in values:
            _configure(pipeline, sweep.options(base, value), source, sweep)
            yield _measured(source, replay.feel(source, seen, pipeline, progress))
    else:
        for value in values:
            changed = sweep.options(base, value)
            _configure(pipeline, changed, source, sweep)
            seen = replay.look(source, pipeline, progress=progress)
            yield _measured(source, replay.judge(seen, changed.fatigue))
    _configure(pipeline, base, source, sweep)


def _configure(
    pipeline: Pipeline, options: PipelineOptions, source: Source, sweep: Sweep,
) -> None:
    """Set the options of the stages; of a still image all faces are reported."""
    pipeline.options = options
    every = source.stills and sweep.key != 'face.max_faces'
    pipeline.faces.configure(
        replace(options.face, max_faces=MOST_FACES) if every else options.face)
    pipeline.fatigue.configure(options.fatigue)
    pipeline.emotion.configure(options.emotion)


def _measured(source: Source, results: Iterable[FrameResult]) -> Measurements:
    measured = Measurements(stills=source.stills)
    for result in results:
        measured.add(result)
    if not measured.stamps:
        raise InputError(f'{source.path}: no frames')
    return measured


def weigh(
    sweep: Sweep, values: Sequence[float], scored: Sequence[Sequence[tuple[str, Score]]],
    objective: str | None = None,
) -> Score:
    """
    Find the best value, the plateau around it, and their intervals.

    :param values: values of the sweep, and then the current one if it is not among them
    :param scored: for each value: (person, scores) of each input
    :return: content of ``sweep.json``
    :raises InputError: the labels do not allow the objective
    """
    family, statistic = _objective(sweep, scored[0], objective)
    sums = [sums_of(family, each)[0] for each in scored]
    people = len(sums[0])
    totals = np.array([float(statistic.of(part.sum(axis=0))) for part in sums])
    count = len(sweep.values)
    good = _goodness(statistic, totals)
    if not np.isfinite(good[:count]).any():
        raise InputError(f'--sweep: {family.name}.{statistic.name} is not defined for any value')
    best = _middle(np.flatnonzero(good[:count] >= np.nanmax(good[:count]) - 1e-9))
    low, high = _plateau(good[:count], best)
    drawn = weights(people)
    replicates = None if drawn is None else np.stack([statistic.of(drawn @ part) for part in sums])
    at_current = values.index(sweep.current)
    result: Score = {
        'key': sweep.key, 'description': sweep.description,
        'objective': f'{family.name}.{statistic.name}', 'people': people,
        'best': {'value': values[best], 'score': totals[best], 'interval': None,
                 'value_interval': None},
        'plateau': [values[low], values[high]], 'plateau_within': PLATEAU,
        'current': {'value': sweep.current, 'score': totals[at_current],
                    'best_minus_current': totals[best] - totals[at_current], 'interval': None},
        'flat': bool(np.nanmax(good[:count]) - np.nanmin(good[:count]) < 1e-9),
        'values': [], }
    if replicates is not None:
        result['best']['interval'] = interval(replicates[best])
        result['current']['interval'] = interval(replicates[best] - replicates[at_current])
        chosen = _best_of_each(_goodness(statistic, replicates[:count]))
        result['best']['value_interval'] = _quantiles(np.array(values)[chosen])
    for index, value in enumerate(values):
        entry = {'value': value, 'score': totals[index], 'pooled': pool(scored[index]),
                 'interval': None if replicates is None else interval(replicates[index])}
        if index < count:
            result['values'].append(entry)
        else:
            result['current']['pooled'] = entry['pooled']
    return result


def _objective(
    sweep: Sweep, scored: Sequence[tuple[str, Score]], wanted: str | None,
) -> tuple[Family, Statistic]:
    there = [name for name, (family, _) in STATISTICS.items() if sums_of(family, scored)[1]]
    if wanted is not None and wanted not in there:
        raise InputError(f"--objective '{wanted}': the labels allow "
                         f'{", ".join(there) or "nothing"}')
    names = (wanted,) if wanted else OBJECTIVES[sweep.stage]
    found = next((name for name in names if name in there), None)
    if found is None:
        raise InputError(f'--sweep {sweep.key}: the labels hold nothing that it could make better '
                         f'({", ".join(OBJECTIVES[sweep.stage])}); choose one of '
                         f'{", ".join(there) or "none"} with --objective')
    return STATISTICS[found]


def _goodness(statistic: Statistic, totals: Floats) -> Floats:
    """Return totals in which more is better."""
    return totals if statistic.better > 0 else -totals if statistic.better < 0 else -np.abs(totals)


def _middle(indices: NDArray[np.integer[Any]]) -> int:
    """Return the middle of the longest run of neighbours: of equal values the safest."""
    runs = np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[(len(longest) - 1) // 2])


def _plateau(good: Floats, best: int) -> tuple[int, int]:
    near = good >= good[best] - PLATEAU
    low = high = best
    while low > 0 and near[low - 1]:
        low -= 1
    while high + 1 < len(good) and near[high + 1]:
        high += 1
    return low, high


def _best_of_each(good: Floats) -> NDArray[np.integer[Any]]:
    """Return the index of the best value in each replicate of ``(values, replicates)``."""
    filled = np.where(np.isfinite(good), good, -np.inf)
    top = filled >= filled.max(axis=0) - 1e-9
    return np.array([_middle(np.flatnonzero(column)) for column in top.T], np.int64)


def _quantiles(values: Floats) -> list[float]:
    """Return the ends of the interval, both from the values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method='nearest')
    return [float(low), float(high)]
