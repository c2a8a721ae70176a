# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The timeline of a report: panels over one time axis, as a plotly figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitable_ros.evaluation.report.charts import (
    AMBER, BLUE, common_layout, EXPRESSIONS, faded, Figure, GREY, plain_numbers, PURPLE, TEAL
)
from aitable_ros.evaluation.report.elements import Floats, Report, Series, Span
from aitable_ros.evaluation.report.postures import spoken, STATES
from aitable_ros.posture_types import PostureState
from aitable_ros.types import FatigueEventType, FatigueLevel

Trace = dict[str, Any]

POINTS = 3000
"""Longer curves are thinned to the extremes of each bin, so that no blink is lost."""
BINS = 600
"""Most bins into which the expression probabilities are averaged."""
LEVELS = {
    FatigueLevel.ALERT: '#4a9d6f', FatigueLevel.MILD: '#ddab2e', FatigueLevel.SEVERE: '#e07b39',
    FatigueLevel.ASLEEP: '#c23f3f', FatigueLevel.UNKNOWN: '#a3aab4'}
EVENTS = {
    'blinks': ((FatigueEventType.BLINK,), TEAL),
    'closures': ((FatigueEventType.LONG_CLOSURE, FatigueEventType.MICROSLEEP,
                  FatigueEventType.SLEEP), '#c23f3f'),
    'yawns, nods': ((FatigueEventType.YAWN, FatigueEventType.NOD), AMBER)}


@dataclass(frozen=True, slots=True)
class _Panel:
    """One row of the timeline."""

    title: str
    weight: float
    traces: list[Trace]
    axis: dict[str, Any]


def timeline(report: Report) -> Figure | None:
    """Draw all panels that the report has data for; None without any."""
    makers = (_lanes, _openness, _ear, _perclos, _level, _postures, _expressions, _labelled,
              _valence)
    panels = [panel for panel in (maker(report) for maker in makers) if panel]
    if not panels:
        return None
    gap, head = 0.2, 0.34  # in units of a panel's weight: below it, and above it for its title
    total = sum(panel.weight + head for panel in panels) + gap * (len(panels) - 1)
    data: list[Trace] = []
    layout: Figure = {'annotations': []}
    top = 1.0
    for number, panel in enumerate(panels, 1):
        name = '' if number == 1 else str(number)
        high = top - head / total
        low = max(high - panel.weight / total, 0.0)
        layout[f'yaxis{name}'] = {
            'domain': [low, high], 'fixedrange': True, 'zeroline': False, 'anchor': 'x',
            'ticklabelposition': 'outside', 'automargin': False, **panel.axis}
        layout['annotations'].append({
            'text': panel.title, 'x': 0, 'y': high, 'xref': 'paper', 'yref': 'paper',
            'xanchor': 'left', 'yanchor': 'bottom', 'showarrow': False, 'yshift': 2,
            'font': {'size': 12}})
        data += [{**trace, 'yaxis': f'y{name}', 'xaxis': 'x'} for trace in panel.traces]
        top = low - gap / total
    end = _end(report)
    layout |= {
        'height': round(48 * total + 50),
        'margin': {'l': 64, 'r': 12, 't': 4, 'b': 40},
        'xaxis': {
            'anchor': f'y{len(panels)}' if len(panels) > 1 else 'y', 'range': [0, end],
            'minallowed': 0, 'maxallowed': end, 'title': {'text': 'seconds', 'standoff': 8},
            'zeroline': False, 'showspikes': True, 'spikemode': 'across', 'spikethickness': 1,
            'spikedash': 'solid', 'spikesnap': 'cursor', 'spikecolor': GREY},
        'hovermode': 'x unified', 'hoversubplots': 'axis', **common_layout()}
    return {'data': data, 'layout': layout}


def _end(report: Report) -> float:
    """Seconds that the time axis spans."""
    ends = [report.measured.time_s[-1:]] if report.measured is not None else []
    if report.truth and report.truth.series is not None:
        ends.append(report.truth.series.time_s[-1:])
    known = [float(end[0]) for end in ends if len(end)]
    known += [event.start_s + event.duration_s for event in report.events]
    known += [span.end_s for person in report.postures for span in person.spans[-1:]]
    return max(known, default=1.0) or 1.0


def _key(*entries: tuple[str, str, str]) -> str:
    """Write a title's legend: (dash, name, colour) each."""
    marks = {'solid': '━', 'dash': '╌', 'fill': '■'}
    return '  '.join(f'<span style="color:{colour}">{marks[dash]}</span> {name}'
                     for dash, name, colour in entries)


def _line(
    time_s: Floats, values: Floats, name: str, colour: str, *, dash: str = 'solid',
    width: float = 1.4, form: str = '.2f',
) -> Trace:
    x, y = thin(time_s, values)
    return {
        'type': 'scatter', 'mode': 'lines', 'name': name, 'x': plain_numbers(x),
        'y': plain_numbers(y), 'line': {'color': colour, 'width': width, 'dash': dash},
        'hovertemplate': f'%{{y:{form}}}'}


def _bands(spans: Iterable[Span], colour: str, low: float, high: float, opacity: float) -> Trace:
    """Shade spans of time, all in one trace."""
    x: list[float | None] = []
    y: list[float | None] = []
    for span in spans:
        x += [span.start_s, span.start_s, span.end_s, span.end_s, None]
        y += [low, high, high, low, None]
    return {
        'type': 'scatter', 'mode': 'lines', 'x': x, 'y': y, 'fill': 'toself', 'hoverinfo': 'skip',
        'line': {'width': 0}, 'fillcolor': faded(colour, opacity)}


def _truth(report: Report, name: str) -> tuple[Floats, Floats] | None:
    return _curve(report.truth.series if report.truth else None, name)


def _measured(report: Report, name: str) -> tuple[Floats, Floats] | None:
    return _curve(report.measured, name)


def _curve(series: Series | None, name: str) -> tuple[Floats, Floats] | None:
    """Return a series' times and values; None where there is nothing to draw."""
    values = getattr(series, name) if series is not None else None
    if series is None or values is None or not np.isfinite(values).any():
        return None
    return series.time_s, values


def _shaded(report: Report, low: float, high: float) -> list[Trace]:
    """Shade what is labelled, behind the curves of the eyes."""
    if not report.truth:
        return []
    closed = [*report.truth.blinks, *report.truth.closures]
    traces = []
    if report.truth.ignore:
        traces.append(_bands(report.truth.ignore, GREY, low, high, 0.18))
    if closed:
        traces.append(_bands(closed, AMBER, low, high, 0.32))
    return traces


def _lanes(report: Report) -> _Panel | None:
    """Draw events as marks in lanes: labelled above found."""
    truth = report.truth
    lanes: list[tuple[str, str, list[Span]]] = [
        (f'labelled {name}', AMBER, list(getattr(truth, name)))
        for name in ('blinks', 'closures', 'yawns', 'nods') if truth and getattr(truth, name)]
    for name, (types, colour) in EVENTS.items():
        spans = [
            Span(m.start_s, m.start_s + m.duration_s, m.type.name.replace('_', ' ').lower())
            for m in report.events if m.type in types]
        if spans:
            lanes.append((name, colour, spans))
    for name, colour in (('still', GREY), ('slumped', '#c23f3f')):
        spans = [Span(m.start_s, m.start_s + m.duration_s, name)
                 for m in report.posture_events if m.name == name]
        if spans:
            lanes.append((name, colour, spans))
    lanes.sort(key=lambda lane: 'closures' in lane[0])
    if not lanes:
        return None
    traces = []
    for row, (name, colour, spans) in enumerate(reversed(lanes)):
        x = [value for span in spans for value in (span.start_s, span.end_s, None)]
        text = [
            label for span in spans for label in (*[_spoken(span)] * 2, '')]
        traces.append({
            'type': 'scatter', 'mode': 'lines+markers', 'name': name, 'x': x,
            'y': [row if value is not None else None for value in x], 'text': text,
            'line': {'color': colour, 'width': 10},
            'marker': {'symbol': 'line-ns', 'size': 10, 'line': {'width': 2, 'color': colour}},
            'hovertemplate': '%{text}<extra></extra>'})
    names = [name for name, _, _ in reversed(lanes)]
    return _Panel('<b>Events</b>', 0.36 * len(lanes), traces, {
        'range': [-0.6, len(lanes) - 0.4], 'tickmode': 'array', 'showgrid': False,
        'tickvals': list(range(len(lanes))), 'ticktext': [_short(name) for name in names]})


def _short(name: str) -> str:
    return name.replace('labelled ', '✓ ').replace('yawns, nods', 'yawn/nod')


def _spoken(span: Span) -> str:
    what = f'{span.label}, ' if span.label else ''
    return f'{what}{span.start_s:.2f} s, {(span.end_s - span.start_s) * 1e3:.0f} ms'


def _openness(report: Report) -> _Panel | None:
    found, true = _measured(report, 'openness'), _truth(report, 'openness')
    if not found and not true:
        return None
    legend = []
    traces = _shaded(report, -0.05, 1.15)
    if traces:
        legend.append(('fill', 'labelled shut', AMBER))
    if report.truth and report.truth.ignore:
        legend.append(('fill', 'not scored', GREY))
    if found:
        traces.append(_line(*found, 'openness', BLUE))
        legend.insert(0, ('solid', 'measured', BLUE))
    if true:
        traces.append(_line(*true, 'openness, true', AMBER, dash='dash'))
        legend.insert(1, ('dash', 'true', AMBER))
    return _Panel(f'<b>Openness</b> of the eyes  {_key(*legend)}', 2.0, traces, {
        'range': [-0.05, 1.15], 'tickvals': [0, 0.5, 1], 'ticktext': ['shut', '½', 'open']})


def _ear(report: Report) -> _Panel | None:
    found = _measured(report, 'ear')
    if not found:
        return None
    true = _truth(report, 'ear')
    top = max(0.4, float(np.nanmax(found[1])) * 1.08)
    traces = [*_shaded(report, 0, top), _line(*found, 'EAR', TEAL, form='.3f')]
    if true:
        traces.append(_line(*true, 'EAR, true', AMBER, dash='dash', form='.3f'))
    return _Panel('<b>EAR</b>, eye aspect ratio', 1.3, traces, {
        'range': [0, top], 'nticks': 4})


def _perclos(report: Report) -> _Panel | None:
    short, long_ = _measured(report, 'perclos'), _measured(report, 'perclos_long')
    true = _truth(report, 'perclos')
    if not short and not true:
        return None
    legend, traces = [], []
    for curve, name, colour, dash, width in (
            (short, '60 s', BLUE, 'solid', 1.8), (long_, '180 s', GREY, 'solid', 1.2),
            (true, 'true', AMBER, 'dash', 1.6)):
        if curve:
            traces.append(_line(
                *curve, f'PERCLOS {name}', colour, dash=dash, width=width, form='.1%'))
            legend.append(('dash' if dash == 'dash' else 'solid', name, colour))
    highest = max(float(np.nanmax(curve[1])) for curve in (short, true) if curve)
    top = min(1.0, max(0.2, highest * 1.15))
    start, end = 0.0, _end(report)
    for limit, name in ((0.08, 'mild'), (0.15, 'severe')):
        colour = LEVELS[FatigueLevel[name.upper()]]
        traces.append({
            'type': 'scatter', 'mode': 'lines', 'x': [start, end], 'y': [limit, limit],
            'line': {'color': colour, 'width': 1, 'dash': 'dot'}, 'hoverinfo': 'skip'})
        legend.append(('dash', f'{name} {limit:.0%}', colour))
    return _Panel(f'<b>PERCLOS</b>, share of time shut  {_key(*legend)}', 1.5, traces, {
        'range': [0, top], 'tickformat': '.0%', 'nticks': 4})


def _level(report: Report) -> _Panel | None:
    series = report.measured
    if series is None or series.level is None or not len(series.level):
        return None
    names = {int(level): level.name.lower() for level in FatigueLevel}
    spans = runs(series.time_s, [names.get(int(value), 'unknown') for value in series.level])
    there = [level for level in LEVELS if any(s.label == level.name.lower() for s in spans)]
    traces = [
        _bands([s for s in spans if s.label == level.name.lower()], LEVELS[level], 0, 1,
               0.35 if level is FatigueLevel.UNKNOWN else 0.95)
        for level in there]
    for trace, level in zip(traces, there, strict=True):
        trace |= {'name': level.name, 'hoverinfo': 'name', 'hoveron': 'fills'}
    legend = _key(*(('fill', level.name.lower(), LEVELS[level]) for level in there))
    return _Panel(f'<b>Level</b>  {legend}', 0.3, traces, {
        'range': [0, 1], 'showticklabels': False, 'showgrid': False})


def _postures(report: Report) -> _Panel | None:
    """Draw a strip of states for each person, the labelled one below that of the first."""
    strips = [(person.name, list(person.spans)) for person in report.postures]
    if report.truth and report.truth.postures:
        strips.insert(1, ('✓ labelled', list(report.truth.postures)))
    if not strips:
        return None
    traces: list[Trace] = []
    there: set[PostureState] = set()
    for row, (_, spans) in enumerate(reversed(strips)):
        for state, colour in STATES.items():
            own = [span for span in spans if span.label == state.name]
            if own:
                there.add(state)
                traces.append(_bands(own, colour, row + 0.08, row + 0.92, 0.35
                                     if state is PostureState.UNKNOWN else 0.95)
                              | {'name': spoken(state.name), 'hoverinfo': 'name',
                                 'hoveron': 'fills'})
    legend = _key(*(('fill', spoken(state.name), colour)
                    for state, colour in STATES.items() if state in there))
    rows = len(strips)
    return _Panel(f'<b>Posture</b>  {legend}', 0.3 if rows == 1 else 0.36 * rows, traces, {
        'range': [0, rows], 'showgrid': False, 'showticklabels': rows > 1, 'tickmode': 'array',
        'tickvals': [row + 0.5 for row in range(rows)],
        'ticktext': [name for name, _ in reversed(strips)]})


def _expressions(report: Report) -> _Panel | None:
    found = _measured(report, 'probabilities')
    if not found:
        return None
    x, shares = binned(*found)
    there = [e for e in EXPRESSIONS if np.nanmax(shares[:, e]) > 0.02]
    traces = [{
        'type': 'scatter', 'mode': 'lines', 'name': e.name.lower(), 'stackgroup': 'expression',
        'x': plain_numbers(x), 'y': plain_numbers(np.nan_to_num(shares[:, e])),
        'line': {'width': 0},
        'fillcolor': faded(EXPRESSIONS[e], 0.85), 'hovertemplate': '%{y:.0%}'} for e in there]
    legend = _key(*(('fill', e.name.lower(), EXPRESSIONS[e]) for e in there))
    return _Panel(f'<b>Expression</b>  {legend}', 1.5, traces, {
        'range': [0, 1], 'tickvals': [0, 0.5, 1], 'tickformat': '.0%'})


def _labelled(report: Report) -> _Panel | None:
    spans = report.truth.expressions if report.truth else ()
    if not spans:
        return None
    there = [e for e in EXPRESSIONS if any(s.label == e.name.lower() for s in spans)]
    traces = [
        _bands([s for s in spans if s.label == e.name.lower()], EXPRESSIONS[e], 0, 1, 0.95)
        for e in there]
    return _Panel('labelled expression', 0.22, traces, {
        'range': [0, 1], 'showticklabels': False, 'showgrid': False})


def _valence(report: Report) -> _Panel | None:
    valence, arousal = _measured(report, 'valence'), _measured(report, 'arousal')
    if not valence and not arousal:
        return None
    traces, legend = [], []
    for curve, name, colour in ((valence, 'valence', TEAL), (arousal, 'arousal', PURPLE)):
        if curve:
            traces.append(_line(*curve, name, colour))
            legend.append(('solid', name, colour))
        true = _truth(report, name)
        if true:
            traces.append(_line(*true, f'{name}, true', colour, dash='dash'))
    return _Panel(_key(*legend).replace('valence', '<b>valence</b>').replace(
        'arousal', '<b>arousal</b>'), 1.3, traces, {'range': [-1.05, 1.05], 'tickvals': [-1, 0, 1]})


def thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Keep the least and greatest value of each bin where there are more than :data:`POINTS`."""
    if len(x) <= POINTS:
        return x, y
    keep: list[int] = []
    for part in np.array_split(np.arange(len(x)), POINTS // 2):
        values = y[part]
        if np.isfinite(values).any():
            keep += sorted({int(part[np.nanargmin(values)]), int(part[np.nanargmax(values)])})
        else:
            keep.append(int(part[0]))
    return x[keep], y[keep]


def binned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Average rows into at most :data:`BINS` bins; NaN where a bin has none."""
    if len(x) <= BINS:
        return x, y
    parts = np.array_split(np.arange(len(x)), BINS)
    means = [
        y[part][np.isfinite(y[part]).all(axis=1)].mean(axis=0)
        if np.isfinite(y[part]).all(axis=1).any() else np.full(y.shape[1], np.nan)
        for part in parts]
    return np.array([x[part].mean() for part in parts]), np.array(means)


def runs(time_s: Floats, labels: Sequence[str]) -> list[Span]:
    """Join equal neighbours into spans; each lasts until the next begins."""
    spans: list[Span] = []
    begin = 0
    for index in range(1, len(labels) + 1):
        if index == len(labels) or labels[index] != labels[begin]:
            end = min(index, len(labels) - 1)
            spans.append(Span(float(time_s[begin]), float(time_s[end]), labels[begin]))
            begin = index
    return spans
