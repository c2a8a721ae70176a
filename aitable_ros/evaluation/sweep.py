# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable evaluate --sweep``: which value of a parameter scores best, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
import json
import math
from pathlib import Path
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.evaluation import replay
from aitable_ros.evaluation.bootstrap import interval
from aitable_ros.evaluation.bootstrap import LEVEL
from aitable_ros.evaluation.bootstrap import weights
from aitable_ros.evaluation.inputs import open_labelled
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.pooling import FAMILIES
from aitable_ros.evaluation.pooling import Family
from aitable_ros.evaluation.pooling import person_of
from aitable_ros.evaluation.pooling import pool
from aitable_ros.evaluation.pooling import Score
from aitable_ros.evaluation.pooling import Statistic
from aitable_ros.evaluation.pooling import sums_of
from aitable_ros.evaluation.report.elements import Card
from aitable_ros.evaluation.report.elements import Cell
from aitable_ros.evaluation.report.elements import Plot
from aitable_ros.evaluation.report.elements import Report
from aitable_ros.evaluation.report.elements import Table
from aitable_ros.evaluation.report.page import write_report
from aitable_ros.evaluation.scores import scores
from aitable_ros.evaluation.summary import rounded
from aitable_ros.evaluation.summary import write_json
from aitable_ros.options import Options
from aitable_ros.pipeline import Pipeline
from aitable_ros.pipeline import PipelineOptions
from aitable_ros.recordings.source import Source
from aitable_ros.types import FrameResult

Floats = NDArray[np.float64]
STAGES = ('face', 'fatigue', 'emotion')
OBJECTIVES = {
    'fatigue': ('blink.f1', 'closures.f1', 'perclos.absolute_error'),
    'emotion': ('expression.macro_f1', 'valence.ccc', 'arousal.ccc'),
    'face': ('faces.boxes.f1', 'faces.exact', 'blink.f1', 'expression.macro_f1')}
"""By stage of the parameter: the first of these that the labels allow is made best."""
PLATEAU = 0.01
"""Values whose score is within this of the best, without a break, are the plateau around it."""
MOST_VALUES = 1000
MOST_FACES = 64


@dataclass(frozen=True, slots=True)
class Sweep:
    """
    One parameter and the values that are tried.

    :param current: what the parameter is without the sweep
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

    :raises InputError: not of this form, no such parameter, or values that it does not take
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


def run(
    text: str, inputs: Sequence[tuple[Path, Labels | None]], output: Path, *,
    topic: str | None = None, params: str | None = None, objective: str | None = None,
    as_json: bool = False,
) -> int:
    """
    Sweep a parameter over labelled inputs; write ``sweep.json`` and ``sweep.html``, print a table.

    :param text: ``stage.name=from:to:count``
    :param inputs: recordings and their labels
    :param params: parameter file that everything else is taken from
    :param objective: ``family.figure`` to make best; None: by the stage and the labels
    :return: 0
    :raises InputError: a value, an input or its labels cannot be used
    """
    base = PipelineOptions.from_file(params) if params else PipelineOptions()
    base = base.for_recordings
    sweep = parse(text, base)
    if output.exists() and not output.is_dir():
        raise InputError(f'{output}: is a file; --output names a folder')
    unlabelled = [str(path) for path, labels in inputs if labels is None]
    if unlabelled:
        raise InputError(f'{unlabelled[0]}: --sweep needs labels of every input; give --labels')
    values = [*sweep.values, *([] if sweep.current in sweep.values else [sweep.current])]
    scored: list[list[tuple[str, Score]]] = [[] for _ in values]
    notes: list[str] = []
    with Pipeline(base) as pipeline:
        for path, labels in inputs:
            assert labels is not None
            source = open_labelled(path, topic, labels)
            labels.check(source.frames, source.names)
            person = person_of({'input': path, 'subject': labels.subject, 'topic': source.topic})
            with _progress(source, quiet=as_json) as told:
                for index, measured in enumerate(_tallies(source, sweep, values, pipeline, told)):
                    if not index:
                        labels.check(len(measured.stamps), source.names)
                    scored[index].append((person, rounded(scores(source, measured, labels))))
            notes += [f'{path.name}: {note}' for note in source.notes]
    found = weigh(sweep, values, scored, objective)
    found |= {'inputs': [str(path) for path, _ in inputs], 'notes': notes}
    whole: Score = rounded(found)
    write_json(output / 'sweep.json', whole)
    write_report(output / 'sweep.html', _report(whole))
    if as_json:
        sys.stdout.write(json.dumps(whole, indent=1) + '\n')
    else:
        _show(whole, output)
    return 0


@contextmanager
def _progress(source: Source, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far the models are."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda done: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(source.path.name, total=source.frames)
        yield lambda done: bar.update(task, completed=done)


def _tallies(
    source: Source, sweep: Sweep, values: Sequence[float], pipeline: Pipeline,
    told: Callable[[int], None],
) -> Iterable[Measurements]:
    """Yield what is counted under each value, doing again only what depends on it."""
    base = pipeline.options
    if sweep.stage == 'fatigue' and sweep.name not in replay.VISION:
        eyes = sweep.name in replay.EYES
        _configure(pipeline, base, source, sweep)
        seen = replay.look(source, pipeline, landmarks=eyes, progress=told)
        for value in values:
            options = sweep.options(base, value).fatigue
            yield _tally(source, replay.judge(
                replay.read_again(seen, options) if eyes else seen, options))
    elif sweep.stage == 'emotion':
        _configure(pipeline, base, source, sweep)
        seen = replay.look(source, pipeline, progress=told)
        for value in values:
            _configure(pipeline, sweep.options(base, value), source, sweep)
            yield _tally(source, replay.feel(source, seen, pipeline, told))
    else:
        for value in values:
            changed = sweep.options(base, value)
            _configure(pipeline, changed, source, sweep)
            seen = replay.look(source, pipeline, progress=told)
            yield _tally(source, replay.judge(seen, changed.fatigue))
    _configure(pipeline, base, source, sweep)


def _configure(
    pipeline: Pipeline, options: PipelineOptions, source: Source, sweep: Sweep,
) -> None:
    """Set the stages; of a still image all faces are reported, as ``aitable evaluate`` does."""
    pipeline.options = options
    every = source.stills and sweep.key != 'face.max_faces'
    pipeline.faces.configure(
        replace(options.face, max_faces=MOST_FACES) if every else options.face)
    pipeline.fatigue.configure(options.fatigue)
    pipeline.emotion.configure(options.emotion)


def _tally(source: Source, results: Iterable[FrameResult]) -> Measurements:
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
    Find the best value, the plateau around it, and how sure both are.

    :param values: the sweep's, and after them the current one where it is not among them
    :param scored: for each value: (who, scores) of each input
    :return: what ``sweep.json`` holds
    :raises InputError: the labels do not allow the objective
    """
    family, metric = _objective(sweep, scored[0], objective)
    sums = [sums_of(family, each)[0] for each in scored]
    people = len(sums[0])
    totals = np.array([float(metric.of(part.sum(axis=0))) for part in sums])
    count = len(sweep.values)
    good = _goodness(metric, totals)
    if not np.isfinite(good[:count]).any():
        raise InputError(f'--sweep: {family.name}.{metric.name} is not defined for any value')
    best = _middle(np.flatnonzero(good[:count] >= np.nanmax(good[:count]) - 1e-9))
    low, high = _plateau(good[:count], best)
    drawn = weights(people)
    replicates = None if drawn is None else np.stack([metric.of(drawn @ part) for part in sums])
    at_current = values.index(sweep.current)
    result: Score = {
        'key': sweep.key, 'description': sweep.description,
        'objective': f'{family.name}.{metric.name}', 'people': people,
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
        chosen = _best_of_each(_goodness(metric, replicates[:count]))
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
    known = {f'{family.name}.{metric.name}': (family, metric)
             for family in FAMILIES for metric in family.metrics}
    there = [name for name, (family, _) in known.items() if len(sums_of(family, scored)[1])]
    if wanted is not None and wanted not in there:
        said = ', '.join(there) or 'nothing'
        raise InputError(f"--objective '{wanted}': the labels allow {said}")
    names = (wanted,) if wanted else OBJECTIVES[sweep.stage]
    found = next((name for name in names if name in there), None)
    if found is None:
        raise InputError(f'--sweep {sweep.key}: the labels hold nothing that it could make better '
                         f'({", ".join(OBJECTIVES[sweep.stage])}); choose one of '
                         f'{", ".join(there) or "none"} with --objective')
    return known[found]


def _goodness(metric: Statistic, totals: Floats) -> Floats:
    """Turn a figure so that more is better."""
    return totals if metric.better > 0 else -totals if metric.better < 0 else -np.abs(totals)


def _middle(indices: NDArray[np.integer[Any]]) -> int:
    """Return the middle of the longest run of neighbours: of equals the one furthest from worse."""
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
    """Return the index of the best value in each replicate, ``(values, replicates)`` given."""
    filled = np.where(np.isfinite(good), good, -np.inf)
    top = filled >= filled.max(axis=0) - 1e-9
    return np.array([_middle(np.flatnonzero(column)) for column in top.T], np.int64)


def _quantiles(values: Floats) -> list[float]:
    """Return the ends of the interval, each one of the values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method='nearest')
    return [float(low), float(high)]


# --- shown ----------------------------------------------------------------------------------------

def _columns(found: Score) -> list[tuple[Family, Statistic]]:
    """Return what the table shows: the objective, then the rest of its family and of blinks."""
    name, _, figure = found['objective'].rpartition('.')
    families = [family for family in FAMILIES if family.name == name]
    chosen = [(family, metric) for family in families for metric in family.metrics]
    return sorted(chosen, key=lambda pair: pair[1].name != figure)


def _within(family: Family, pooled: Score) -> Score:
    found: Any = pooled
    for key in family.path:
        found = found.get(key, {})
    return dict(found)


def _written(value: float | None, form: str = '.3f') -> str:
    return '–' if value is None else format(value, form)


def _span(ends: Sequence[float] | None, form: str = '.3f') -> str:
    return '' if ends is None else f'{format(ends[0], form)} … {format(ends[1], form)}'


def _marks(found: Score, value: float) -> list[str]:
    low, high = found['plateau']
    return [word for word, here in (
        ('best', not found['flat'] and value == found['best']['value']),
        ('now', value == found['current']['value']),
        ('plateau', not found['flat'] and low <= value <= high)) if here]


def verdict_of(found: Score) -> str:
    """Say in one line what was found."""
    best, current = found['best'], found['current']
    if found['flat']:
        return (f"{found['objective']} is {_written(best['score'])} at every value: "
                f"{found['key']} makes no difference on these inputs")
    low, high = found['plateau']
    sure = f" (95 % {_span(best['interval'])})" if best['interval'] else ''
    where = f", best value 95 % {_span(best['value_interval'], 'g')}" \
        if best['value_interval'] else ''
    now = f"the current {current['value']:g} gives {_written(current['score'])}" \
        if current['value'] != best['value'] else 'which it is now'
    return (f"best: {found['key']} = {best['value']:g}, {found['objective']} "
            f"{_written(best['score'])}{sure}{where}; plateau {low:g} … {high:g} (within "
            f'{PLATEAU:g}); {now}')


def _show(found: Score, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    table = RichTable(box=None, pad_edge=False, header_style='bold')
    table.add_column(found['key'], justify='right')
    columns = _columns(found)
    for place, (_, metric) in enumerate(columns):
        table.add_column(metric.label, justify='right')
        if not place:
            table.add_column('95 %', justify='right')
    table.add_column('', no_wrap=True)
    for entry in found['values']:
        value = entry['value']
        marks = _marks(found, value)
        cells = [_written(_within(family, entry['pooled']).get(metric.name), metric.form)
                 for family, metric in columns]
        table.add_row(f'{value:g}', cells[0], _span(entry['interval']), *cells[1:],
                      ', '.join(marks), style='bold' if 'best' in marks else None)
    console.print(table)
    console.print(verdict_of(found), highlight=False, soft_wrap=True)
    if found['best']['interval'] is None:
        console.print(f"[dim]no intervals: {found['people']} labelled people, at least 3 are "
                      'needed[/]', highlight=False)
    console.print(f'report: {output / "sweep.html"}', highlight=False, soft_wrap=True)


def _report(found: Score) -> Report:
    best, current = found['best'], found['current']
    low, high = found['plateau']
    columns = _columns(found)
    cards = [
        Card(label='Best value', value='any' if found['flat'] else f'{best["value"]:g}', note=(
            'all are equal' if found['flat'] else
            f'95 % {_span(best["value_interval"], "g")}' if best['value_interval'] else '')),
        Card(label=columns[0][1].label, value=_written(best['score']),
                note=f'95 % {_span(best["interval"])}' if best['interval'] else ''),
        Card(label='Plateau', value=f'{low:g} … {high:g}', note=f'within {PLATEAU:g} of it'),
        Card(label='Now', value=f'{current["value"]:g}', note=(
            f'{_written(current["score"])}, best is {current["best_minus_current"]:+.3f}'
            + (f' (95 % {_span(current["interval"], "+.3f")})' if current['interval'] else '')))]
    rows: list[list[Cell]] = []
    for entry in found['values']:
        figures = [_within(family, entry['pooled']).get(metric.name) for family, metric in columns]
        shown = [_written(figure, metric.form)
                 for figure, (_, metric) in zip(figures, columns, strict=True)]
        rows.append([f'{entry["value"]:g}', shown[0], _span(entry['interval']), *shown[1:],
                     ', '.join(_marks(found, entry['value']))])
    notes = [*([verdict_of(found)] if found['flat'] else []), *found['notes']]
    if best['interval'] is None:
        notes.append(f'No intervals: {found["people"]} labelled people, at least 3 are needed.')
    notes.append('The best value of a sweep is fitted to these inputs: prefer the middle of a '
                 'plateau, and confirm it on others.')
    return Report(
        title=f'Sweep of {found["key"]}', subtitle=found['description'], cards=cards,
        notes=notes, plots=[_plot(found, columns)],
        tables=[Table(
            title='Every value', wide=True, rows=rows,
            columns=('value', columns[0][1].label, '95 %',
                     *(metric.label for _, metric in columns[1:]), ''))],
        facts={'objective': found['objective'], 'people': str(found['people']),
               'inputs': ', '.join(Path(name).name for name in found['inputs']),
               'intervals': 'percentile bootstrap over people, 4000 replicates, seed 0'})


def _plot(found: Score, columns: Sequence[tuple[Family, Statistic]]) -> Plot:
    """Draw shares over the value on the left, false alarms per hour on the right."""
    from aitable_ros.evaluation.report.charts import AMBER
    from aitable_ros.evaluation.report.charts import BLUE
    from aitable_ros.evaluation.report.charts import faded
    from aitable_ros.evaluation.report.charts import GREY
    from aitable_ros.evaluation.report.charts import TEAL

    x = [entry['value'] for entry in found['values']]
    data: list[dict[str, Any]] = []
    intervals = [entry['interval'] for entry in found['values']]
    if all(intervals):
        data.append({
            'type': 'scatter', 'mode': 'lines', 'fill': 'toself', 'hoverinfo': 'skip',
            'showlegend': False, 'x': [*x, *reversed(x)], 'line': {'width': 0},
            'fillcolor': faded(BLUE, 0.16),
            'y': [*(ends[0] for ends in intervals), *(ends[1] for ends in reversed(intervals))]})
    colours = (BLUE, TEAL, '#b5679e', GREY)
    shares = [pair for pair in columns if pair[1].name != 'false_per_hour']
    for (family, metric), colour in zip(shares, colours):
        y = [_within(family, entry['pooled']).get(metric.name) for entry in found['values']]
        first = metric is columns[0][1]
        data.append({
            'type': 'scatter', 'mode': 'lines+markers', 'name': metric.label, 'x': x, 'y': y,
            'line': {'color': colour, 'width': 2.6 if first else 1.5,
                     'dash': 'solid' if first else 'dot'},
            'marker': {'size': 6 if first else 4}, 'hovertemplate': '%{y:.3f}'})
    alarms = [pair for pair in columns if pair[1].name == 'false_per_hour']
    for family, metric in alarms:
        y = [_within(family, entry['pooled']).get(metric.name) for entry in found['values']]
        data.append({
            'type': 'scatter', 'mode': 'lines+markers', 'name': metric.label, 'x': x, 'y': y,
            'yaxis': 'y2', 'line': {'color': AMBER, 'width': 1.5}, 'marker': {'size': 4},
            'hovertemplate': '%{y:.1f}'})
    low, high = found['plateau']
    current = found['current']['value']
    shapes: list[dict[str, Any]] = [
        {'type': 'rect', 'x0': low, 'x1': high, 'y0': 0, 'y1': 1, 'yref': 'paper',
         'line': {'width': 0}, 'fillcolor': faded(GREY, 0.12), 'layer': 'below'},
        {'type': 'line', 'x0': found['best']['value'], 'x1': found['best']['value'], 'y0': 0,
         'y1': 1, 'yref': 'paper', 'line': {'color': BLUE, 'width': 1, 'dash': 'dot'}}]
    words = [{'x': found['best']['value'], 'text': 'best'}]
    if found['flat']:
        del shapes[1], words[0]
    if x[0] <= current <= x[-1] and current != found['best']['value']:
        shapes.append({'type': 'line', 'x0': current, 'x1': current, 'y0': 0, 'y1': 1,
                       'yref': 'paper', 'line': {'color': GREY, 'width': 1, 'dash': 'dot'}})
        words.append({'x': current, 'text': 'now'})
    unit = all(0 <= value <= 1 for trace in data[:len(data) - len(alarms)]
               for value in trace['y'] if value is not None)
    layout: dict[str, Any] = {
        'height': 380, 'margin': {'l': 56, 'r': 56, 't': 36, 'b': 44}, 'hovermode': 'x unified',
        'showlegend': True, 'legend': {'orientation': 'h', 'y': 1.02, 'x': 0, 'yanchor': 'bottom',
                                       'bgcolor': 'rgba(0,0,0,0)'},
        'xaxis': {'title': {'text': found['key'], 'standoff': 8}, 'zeroline': False},
        'yaxis': {'zeroline': False, **({'range': [0, 1.02]} if unit else {})}, 'shapes': shapes,
        'annotations': [{**word, 'y': 0, 'yref': 'paper', 'yanchor': 'bottom', 'xanchor': 'left',
                         'showarrow': False, 'xshift': 3} for word in words]}
    if alarms:
        layout['yaxis2'] = {
            'overlaying': 'y', 'side': 'right', 'showgrid': False, 'zeroline': False,
            'rangemode': 'tozero', 'title': {'text': 'false alarms per hour', 'standoff': 6}}
    return Plot(
        title='Score by value', figure={'data': data, 'layout': layout},
        told=f'{columns[0][1].label} by value of {found["key"]}; the table below has the figures.',
        caption='Grey: the plateau. Blue band: 95 % of the thick line.' if all(intervals) else
                'Grey: the plateau.')
