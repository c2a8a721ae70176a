# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The sweep of a parameter, as a page and on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aitable_ros.evaluation.pooling import FAMILIES, Family, Score, Statistic
from aitable_ros.evaluation.report.charts import (
    AMBER, BLUE, faded, Figure, GREY, PURPLE, TEAL, vertical_band, vertical_line
)
from aitable_ros.evaluation.report.elements import Card, Cell, Plot, Report, Table
from aitable_ros.evaluation.report.terminal import open_console, print_lines, print_table
from aitable_ros.evaluation.report.text import interval_text, written
from aitable_ros.evaluation.sweep import PLATEAU


def sweep_report(found: Score) -> Report:
    """
    Make the page of a sweep.

    :param found: content of ``sweep.json``
    """
    best, current = found['best'], found['current']
    low, high = found['plateau']
    statistic = _columns(found)[0][1]
    cards = [
        Card(label='Best value', value='any' if found['flat'] else f'{best["value"]:g}', note=(
            'all are equal' if found['flat'] else _sure(best['value_interval'], 'g'))),
        Card(label=statistic.label, value=written(best['score']), note=_sure(best['interval'])),
        Card(label='Plateau', value=f'{low:g} … {high:g}', note=f'within {PLATEAU:g} of it'),
        Card(label='Now', value=f'{current["value"]:g}', note=(
            f'{written(current["score"])}, best is {current["best_minus_current"]:+.3f}'
            + (f' ({_sure(current["interval"], "+.3f")})' if current['interval'] else '')))]
    return Report(
        title=f'Sweep of {found["key"]}', subtitle=found['description'], cards=cards,
        notes=[*([conclusion(found)] if found['flat'] else []), *found['notes'],
               *_no_intervals(found), 'The best value of a sweep is fitted to these inputs: prefer '
               'the middle of a plateau, and confirm it on others.'],
        plots=[_plot(found)], tables=[_values(found)],
        facts={'objective': found['objective'], 'people': str(found['people']),
               'inputs': ', '.join(Path(name).name for name in found['inputs']),
               'intervals': 'percentile bootstrap over people, 4000 replicates, seed 0'})


def print_sweep(found: Score, output: Path) -> None:
    """Print the scores of every value and the conclusion."""
    console = open_console()
    best = [number for number, entry in enumerate(found['values'])
            if 'best' in _marks(found, entry['value'])]
    print_table(console, _values(found), bold=best)
    print_lines(console, conclusion(found))
    print_lines(console, *_no_intervals(found), style='dim')
    print_lines(console, f'report: {output / "sweep.html"}')


def conclusion(found: Score) -> str:
    """Return the result of a sweep in one line."""
    best, current = found['best'], found['current']
    if found['flat']:
        return (f"{found['objective']} is {written(best['score'])} at every value: "
                f"{found['key']} makes no difference on these inputs")
    low, high = found['plateau']
    sure = f" (95 % {interval_text(best['interval'])})" if best['interval'] else ''
    where = f", best value 95 % {interval_text(best['value_interval'], 'g')}" \
        if best['value_interval'] else ''
    now = f"the current {current['value']:g} gives {written(current['score'])}" \
        if current['value'] != best['value'] else 'which it is now'
    return (f"best: {found['key']} = {best['value']:g}, {found['objective']} "
            f"{written(best['score'])}{sure}{where}; plateau {low:g} … {high:g} (within "
            f'{PLATEAU:g}); {now}')


def _columns(found: Score) -> list[tuple[Family, Statistic]]:
    """Return the statistics of the table: the objective, then the others of its family."""
    name, _, figure = found['objective'].rpartition('.')
    return sorted(((family, statistic) for family in FAMILIES if family.name == name
                   for statistic in family.statistics), key=lambda pair: pair[1].name != figure)


def _curve(found: Score, family: Family, statistic: Statistic) -> list[float | None]:
    """Return a statistic of every value of the sweep."""
    return [(family.within(entry['pooled']) or {}).get(statistic.name) for entry in found['values']]


def _sure(ends: Sequence[float] | None, form: str = '.3f') -> str:
    return f'95 % {interval_text(ends, form)}' if ends else ''


def _no_intervals(found: Score) -> list[str]:
    return [] if found['best']['interval'] else [
        f'No intervals: {found["people"]} of at least 3 labelled people.']


def _marks(found: Score, value: float) -> list[str]:
    low, high = found['plateau']
    return [word for word, here in (
        ('best', not found['flat'] and value == found['best']['value']),
        ('now', value == found['current']['value']),
        ('plateau', not found['flat'] and low <= value <= high)) if here]


def _values(found: Score) -> Table:
    columns = _columns(found)
    curves = [[written(figure, statistic.form) for figure in _curve(found, family, statistic)]
              for family, statistic in columns]
    rows: list[list[Cell]] = []
    for entry, figures in zip(found['values'], zip(*curves, strict=True), strict=True):
        rows.append([f'{entry["value"]:g}', figures[0], interval_text(entry['interval']),
                     *figures[1:], ', '.join(_marks(found, entry['value']))])
    labels = [statistic.label for _, statistic in columns]
    return Table(title='Every value', wide=True, rows=rows,
                 columns=(found['key'], labels[0], '95 %', *labels[1:], ''))


def _plot(found: Score) -> Plot:
    """Draw shares over the value on the left axis, false alarms per hour on the right one."""
    columns = _columns(found)
    x = [entry['value'] for entry in found['values']]
    data: list[Figure] = []
    intervals = [entry['interval'] for entry in found['values']]
    if all(intervals):
        data.append({
            'type': 'scatter', 'mode': 'lines', 'fill': 'toself', 'hoverinfo': 'skip',
            'showlegend': False, 'x': [*x, *reversed(x)], 'line': {'width': 0},
            'fillcolor': faded(BLUE, 0.16),
            'y': [*(ends[0] for ends in intervals), *(ends[1] for ends in reversed(intervals))]})
    shares = [pair for pair in columns if pair[1].name != 'false_per_hour']
    for (family, statistic), colour in zip(shares, (BLUE, TEAL, PURPLE, GREY)):
        first = statistic is columns[0][1]
        data.append({
            'type': 'scatter', 'mode': 'lines+markers', 'name': statistic.label, 'x': x,
            'y': _curve(found, family, statistic),
            'line': {'color': colour, 'width': 2.6 if first else 1.5,
                     'dash': 'solid' if first else 'dot'},
            'marker': {'size': 6 if first else 4}, 'hovertemplate': '%{y:.3f}'})
    unit = all(0 <= value <= 1 for trace in data for value in trace['y'] if value is not None)
    layout = _layout(found, x)
    layout['yaxis'] = {'zeroline': False, **({'range': [0, 1.02]} if unit else {})}
    for family, statistic in (pair for pair in columns if pair not in shares):
        data.append({
            'type': 'scatter', 'mode': 'lines+markers', 'name': statistic.label, 'x': x,
            'y': _curve(found, family, statistic), 'yaxis': 'y2',
            'line': {'color': AMBER, 'width': 1.5}, 'marker': {'size': 4},
            'hovertemplate': '%{y:.1f}'})
        layout['yaxis2'] = {
            'overlaying': 'y', 'side': 'right', 'showgrid': False, 'zeroline': False,
            'rangemode': 'tozero', 'title': {'text': 'false alarms per hour', 'standoff': 6}}
    return Plot(
        title='Score by value', figure={'data': data, 'layout': layout},
        description=f'{columns[0][1].label} by value of {found["key"]}; the table below has the '
                    'figures.',
        caption='Grey: the plateau. Blue band: 95 % of the thick line.' if all(intervals) else
                'Grey: the plateau.')


def _layout(found: Score, x: Sequence[float]) -> Figure:
    """Return the layout: the plateau, and lines at the best and at the current value."""
    lines: list[tuple[float, str, str]] = []
    current, best = found['current']['value'], found['best']['value']
    if not found['flat']:
        lines.append((best, BLUE, 'best'))
    if x[0] <= current <= x[-1] and current != best:
        lines.append((current, GREY, 'now'))
    layout: dict[str, Any] = {
        'height': 380, 'margin': {'l': 56, 'r': 56, 't': 36, 'b': 44}, 'hovermode': 'x unified',
        'showlegend': True, 'legend': {'orientation': 'h', 'y': 1.02, 'x': 0, 'yanchor': 'bottom',
                                       'bgcolor': 'rgba(0,0,0,0)'},
        'xaxis': {'title': {'text': found['key'], 'standoff': 8}, 'zeroline': False},
        'shapes': [vertical_band(found['plateau'], GREY, 0.12),
                   *(vertical_line(at, colour, 1, 'dot') for at, colour, _ in lines)],
        'annotations': [
            {'x': at, 'text': word, 'y': 0, 'yref': 'paper', 'yanchor': 'bottom',
             'xanchor': 'left', 'showarrow': False, 'xshift': 3} for at, _, word in lines]}
    return layout
