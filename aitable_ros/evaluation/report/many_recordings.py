# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The page over several inputs: each with its report, their scores together, and how sure."""

from __future__ import annotations

from collections.abc import Sequence
import os
from pathlib import Path
from typing import Any

import numpy as np

from aitable_ros.evaluation.pooling import FAMILIES
from aitable_ros.evaluation.pooling import Family
from aitable_ros.evaluation.pooling import Score
from aitable_ros.evaluation.pooling import Statistic
from aitable_ros.evaluation.report.elements import Card
from aitable_ros.evaluation.report.elements import Cell
from aitable_ros.evaluation.report.elements import Link
from aitable_ros.evaluation.report.elements import Plot
from aitable_ros.evaluation.report.elements import Report
from aitable_ros.evaluation.report.elements import Table
from aitable_ros.evaluation.report.page import write_report
from aitable_ros.evaluation.summary import Summary
from aitable_ros.evaluation.video_classes import FIGURES
from aitable_ros.types import Expression
from aitable_ros.types import FatigueLevel

HEADLINES = ('blink.f1', 'closures.f1', 'yawns.f1', 'nods.f1', 'eyes_shut.f1', 'drowsy.accuracy',
             'perclos.absolute_error', 'expression.accuracy',
             'valence.ccc', 'arousal.ccc', 'faces.boxes.f1', 'faces.exact')
SHOWN = 60
"""Inputs in the chart."""


def write_overview(output: Path, together: Summary, folders: Sequence[Path]) -> Path:
    """
    Write ``report.html`` of several inputs, which leads to each one's own.

    :param together: what ``summary.json`` of several inputs holds
    :param folders: where each of its inputs was written
    """
    summaries: list[Summary] = together['inputs']
    pooled: Score = together['pooled']
    frames = sum(summary['frames'] for summary in summaries)
    minutes = sum(summary['duration_s'] for summary in summaries) / 60
    length = f'{minutes:.1f} minutes · ' if minutes else ''
    people = {summary['subject'] for summary in summaries if summary.get('subject')}
    return write_report(output / 'report.html', Report(
        title=f'{len(summaries)} recordings', subtitle=f'{length}{frames} frames'
        + (f' · {_many(len(people), "labelled person", "labelled people")}' if people else ''),
        cards=_cards(pooled), notes=[*together['problems'], *_notes(pooled)],
        plots=_plots(summaries, pooled),
        tables=[_inputs(summaries, folders, output), *_scores(pooled)],
        facts=_models(summaries) | ({
            'intervals': '95 %, percentile bootstrap over people (inputs of one labelled subject '
                         'go together), 4000 replicates, seed 0'} if pooled else {})))


def _many(count: int, one: str, more: str) -> str:
    return f'{count} {one if count == 1 else more}'


def _models(summaries: Sequence[Summary]) -> dict[str, str]:
    """Say what ran, by stage; where inputs differ, all of it."""
    told: dict[str, dict[str, None]] = {}
    for summary in summaries:
        for stage, info in summary['backend'].items():
            name = f'{info["model"]} on {info["backend"]}, {info["precision"]}' \
                if info['model'] else 'off'
            told.setdefault(stage, {})[name] = None
    return {stage: '; '.join(names) for stage, names in told.items()}


def rows_of(pooled: Score) -> list[tuple[str, str, str]]:
    """Return name, figure and 95 % interval of each score of the inputs together."""
    rows = []
    for family in FAMILIES:
        part = family.within(pooled)
        for metric in family.metrics if part else ():
            assert part is not None
            rows.append((f'{family.title}: {metric.label}', _written(part[metric.name], metric),
                         _ends(part['interval'][metric.name], metric)))
    return rows


def headlines_of(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Return the names of the headline scores that any of the inputs has, and a row an input."""
    heads = [(family, metric) for family, metric in _headlines() if any(
        family.within(summary['scores']) is not None for summary in summaries)]
    return ([f'{family.title}, {metric.label}' for family, metric in heads],
            [[_of_input(family, metric, summary['scores']) for family, metric in heads]
             for summary in summaries])


def _written(value: float | None, metric: Statistic) -> str:
    return '–' if value is None else format(value, metric.form)


def _ends(ends: Sequence[float] | None, metric: Statistic) -> str:
    return '' if ends is None else f'{ends[0]:{metric.form}} … {ends[1]:{metric.form}}'


def _headlines() -> list[tuple[Family, Statistic]]:
    known = {f'{family.name}.{metric.name}': (family, metric)
             for family in FAMILIES for metric in family.metrics}
    return [known[name] for name in HEADLINES]


def _cards(pooled: Score) -> list[Card]:
    cards = []
    for family, metric in _headlines():
        part = family.within(pooled)
        if part is None:
            continue
        ends = _ends(part['interval'][metric.name], metric)
        of = f'{_many(part["inputs"], "input", "inputs")}, ' \
             f'{_many(part["people"], "person", "people")}'
        cards.append(Card(
            label=f'{family.title}, {metric.label}', value=_written(part[metric.name], metric),
            note=f'95 % {ends}; {of}' if ends else of))
    return cards


def _notes(pooled: Score) -> list[str]:
    few = [family.title.lower() for family in FAMILIES
           if (part := family.within(pooled)) and part['people'] < 3]
    return [f'No intervals for {", ".join(few)}: fewer than 3 people.'] if few else []


def _inputs(summaries: Sequence[Summary], folders: Sequence[Path], output: Path) -> Table:
    """Make the table of inputs: a row each, with the scores that any of them has."""
    heads, cells = headlines_of(summaries)
    subjects = any(summary.get('subject') for summary in summaries)
    rows: list[list[Cell]] = []
    for summary, folder, figures in zip(summaries, folders, cells, strict=True):
        share = summary['expression_share']
        events = summary['events']
        name = Path(summary['input']).name + (f' {summary["topic"]}' if summary['topic'] else '')
        way = Path(os.path.relpath(folder / 'report.html', output)).as_posix()
        row: list[Cell] = [Link(name, way)]
        if subjects:
            row.append(summary.get('subject') or '')
        row += [
            f'{summary["duration_s"]:.1f}', summary['frames'], f'{summary["face_ratio"]:.0%}',
            events['BLINK'],
            sum(events[kind] for kind in ('LONG_CLOSURE', 'MICROSLEEP', 'SLEEP')),
            '–' if summary['perclos'] is None else f'{summary["perclos"]:.3f}',
            summary['level_max'].lower(), max(share, key=share.__getitem__) if share else '–']
        row += figures
        rows.append(row)
    return Table(
        title='Inputs', wide=True, rows=rows, columns=(
            'input', *(['subject'] if subjects else []), 'seconds', 'frames', 'face', 'blinks',
            'closures', 'PERCLOS', 'level', 'mostly',
            *heads))


def _plots(summaries: Sequence[Summary], pooled: Score) -> list[Plot]:
    """Draw the first headline score of each input, and of all together with its interval."""
    from aitable_ros.evaluation.report.charts import AMBER
    from aitable_ros.evaluation.report.charts import BLUE
    from aitable_ros.evaluation.report.charts import faded

    scored = [(family, metric, part) for family, metric in _headlines()
              if (part := family.within(pooled)) is not None and part['inputs'] > 1]
    if not scored:
        return []
    family, metric, part = scored[0]
    values = []
    for summary in summaries:
        one = family.within(summary['scores'])
        if one is not None:
            value = float(metric.of(np.asarray(family.sums(one), np.float64)))
            if np.isfinite(value):
                values.append((value, Path(summary['input']).name))
    values = sorted(values)[:SHOWN]
    whole, ends = part[metric.name], part['interval'][metric.name]
    if whole is None or not values:
        return []
    rows = list(range(len(values)))
    shapes: list[dict[str, Any]] = [
        {'type': 'line', 'x0': whole, 'x1': whole, 'y0': 0, 'y1': 1, 'yref': 'paper',
         'line': {'color': AMBER, 'width': 1.6}}]
    if ends:
        shapes.append({'type': 'rect', 'x0': ends[0], 'x1': ends[1], 'y0': 0, 'y1': 1,
                       'yref': 'paper', 'line': {'width': 0}, 'layer': 'below',
                       'fillcolor': faded(AMBER, 0.16)})
    share = metric.better > 0
    figure = {
        'data': [{
            'type': 'scatter', 'mode': 'markers', 'x': [value for value, _ in values], 'y': rows,
            'text': [name for _, name in values], 'marker': {'color': BLUE, 'size': 9},
            'hovertemplate': '%{text}: %{x:.3f}<extra></extra>'}],
        'layout': {
            'height': 74 + 24 * len(rows), 'margin': {'l': 220, 'r': 16, 't': 6, 'b': 42},
            'hovermode': 'closest', 'shapes': shapes,
            'xaxis': {'zeroline': False, **({'range': [-0.02, 1.02]} if share else {}),
                      'title': {'text': f'{family.title}, {metric.label}', 'standoff': 6}},
            'yaxis': {'tickmode': 'array', 'tickvals': rows, 'fixedrange': True, 'zeroline': False,
                      'ticktext': [_short(name) for _, name in values],
                      'range': [-0.7, len(rows) - 0.3]}}}
    return [Plot(
        title=f'{family.title}, {metric.label}, by input', figure=figure,
        told=f'{metric.label} of each input; the table below has the figures.',
        caption='Line: all inputs together' + ('; band: its 95 %.' if ends else '.')
        + (f' The {SHOWN} lowest.' if len(summaries) > SHOWN else ''))]


def _short(name: str) -> str:
    return name if len(name) <= 30 else f'{name[:14]}…{name[-14:]}'


def _of_input(family: Family, metric: Statistic, scores: Score) -> str:
    part = family.within(scores)
    if part is None:
        return ''
    value = float(metric.of(np.asarray(family.sums(part), np.float64)))
    return _written(value if np.isfinite(value) else None, metric)


def class_tables(classes: Score) -> list[Table]:
    """Say what the recordings of each labelled class show, and how well it tells them apart."""
    if not classes:
        return []
    levels = [level.name for level in FatigueLevel if any(
        level.name in entry['level_max'] for entry in classes['classes'].values())]
    rows: list[list[Cell]] = [
        [name, entry['inputs'], entry['people'],
         *(entry['level_max'].get(level, 0) for level in levels),
         *(_figure(entry[figure][key], form) for figure, key, form in (
             ('tired_share', 'mean', '.1%'), ('perclos', 'mean', '.3f'),
             ('perclos', 'median', '.3f'), ('yawns_per_minute', 'mean', '.2f')))]
        for name, entry in classes['classes'].items()]
    auc: list[list[Cell]] = [
        [FIGURES[entry['figure']], f'{entry["of"]} against {entry["against"]}',
         f'{entry["n"]}, {entry["n_against"]}', f'{entry["auc"]:.3f}',
         '' if entry['interval'] is None else '{:.3f} … {:.3f}'.format(*entry['interval'])]
        for entry in classes['auc']]
    return [
        Table(title='Levels and figures by labelled class', rows=rows, wide=True,
              columns=('class', 'recordings', 'people', *(f'highest {name}' for name in levels),
                       'at MILD or above', 'PERCLOS, mean', 'PERCLOS, median', 'yawns a minute'),
              caption='Means are over the recordings in which the figure is known.'),
        Table(title='How well each figure tells two classes apart', rows=auc, wide=True,
              columns=('figure', 'classes', 'recordings', 'AUC', '95 %'),
              caption='AUC: the probability that the figure is higher in a recording of the first '
                      'class than in one of the second; 0.5 is chance.')]


def _figure(value: float | None, form: str) -> str:
    return '–' if value is None else format(value, form)


def _scores(pooled: Score) -> list[Table]:
    rows: list[list[Cell]] = [list(row) for row in rows_of(pooled)]
    tables = class_tables(pooled.get('video_class', {}))
    if rows:
        tables.append(Table(
            title='All inputs together', columns=('', '', '95 %'), rows=rows,
            caption='Pooled by counts and sums, not by means of scores.'))
    expression = pooled.get('expression', {})
    if 'confusion' in expression:
        confusion = expression['confusion']
        reads = [e.name.lower() for e in Expression
                 if any(e.name.lower() in row for row in confusion.values())]
        tables.append(Table(
            title='Expression: labelled (rows) against read (columns)', heat=True,
            columns=('', *reads), rows=[
                [truth, *(row.get(read, 0) for read in reads)]
                for truth, row in confusion.items()]))
    return tables
