# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Charts of a report as plain plotly figures: a dict with ``data`` and ``layout``.

Colours of curves are readable on white and on near-black. Text and grid take their colours from the
style sheet of the page, so that theme and printer change them without a script.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.evaluation.report.elements import Series
from aitable_ros.types import Expression

Figure = dict[str, Any]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
"""Font of the page; plotly measures text with it before the style sheet applies."""
BLUE, TEAL, AMBER, GREY, PURPLE = '#4f86c6', '#2a9d8f', '#d08c1d', '#8b93a0', '#b5679e'
EXPRESSIONS = {
    Expression.NEUTRAL: '#9aa3ae', Expression.HAPPY: '#e3aa2c', Expression.SAD: '#4f86c6',
    Expression.SURPRISE: '#3fb0ac', Expression.FEAR: '#8065b8', Expression.DISGUST: '#7c9a45',
    Expression.ANGER: '#cf5442', Expression.CONTEMPT: '#a9745b'}


def common_layout() -> Figure:
    """Return the layout that all charts share."""
    return {
        'paper_bgcolor': 'rgba(0,0,0,0)', 'plot_bgcolor': 'rgba(0,0,0,0)', 'showlegend': False,
        'dragmode': 'zoom', 'font': {'family': FONT, 'size': 12}}


def vertical_line(x: float, colour: str, width: float = 1.6, dash: str = 'solid') -> Figure:
    """Return a line over the whole height at ``x``."""
    return {'type': 'line', 'x0': x, 'x1': x, 'y0': 0, 'y1': 1, 'yref': 'paper',
            'line': {'color': colour, 'width': width, 'dash': dash}}


def vertical_band(ends: Sequence[float], colour: str, opacity: float) -> Figure:
    """Return a band over the whole height between two values of ``x``, behind the data."""
    return {'type': 'rect', 'x0': ends[0], 'x1': ends[1], 'y0': 0, 'y1': 1, 'yref': 'paper',
            'line': {'width': 0}, 'fillcolor': faded(colour, opacity), 'layer': 'below'}


def dot_plot(
    names: Sequence[str], values: Sequence[float], title: str, *, form: str = '.3f',
    span: Sequence[float] | None = None, shapes: Sequence[Figure] = (),
    error: Figure | None = None,
) -> Figure:
    """
    Draw a dot for each name, the first one lowest.

    :param title: of the axis of values
    :param form: of the values where the pointer hovers
    :param span: of the axis of values; None: as far as the values go
    :param error: plotly's ``error_x``
    """
    rows = list(range(len(names)))
    return {
        'data': [{
            'type': 'scatter', 'mode': 'markers', 'x': list(values), 'y': rows, 'text': list(names),
            'marker': {'color': BLUE, 'size': 9}, **({'error_x': error} if error else {}),
            'hovertemplate': f'%{{text}}: %{{x:{form}}}<extra></extra>'}],
        'layout': {
            'height': 72 + 25 * len(rows), 'margin': {'l': 220, 'r': 16, 't': 6, 'b': 42},
            'hovermode': 'closest', 'shapes': list(shapes),
            'xaxis': {'zeroline': False, **({'range': list(span)} if span else {}),
                      'title': {'text': title, 'standoff': 6}},
            'yaxis': {'tickmode': 'array', 'tickvals': rows, 'fixedrange': True, 'zeroline': False,
                      'ticktext': [
                          name if len(name) <= 34 else f'{name[:16]}…{name[-16:]}'
                          for name in names],
                      'range': [-0.7, len(rows) - 0.3]}}}


def circumplex(series: Series | None) -> Figure | None:
    """Draw valence against arousal on Russell's circumplex; None without them."""
    if series is None or series.valence is None or series.arousal is None:
        return None
    valid = np.isfinite(series.valence) & np.isfinite(series.arousal)
    if not valid.any():
        return None
    time_s, x, y = (a[valid] for a in (series.time_s, series.valence, series.arousal))
    step = max(1, len(x) // 1200)
    time_s, x, y = time_s[::step], x[::step], y[::step]
    words = ((0.64, 0.7, 'excited'), (-0.64, 0.7, 'tense'), (-0.64, -0.7, 'gloomy'),
             (0.64, -0.7, 'calm'))
    line = {'color': GREY, 'width': 1}
    axis = {
        'range': [-1.08, 1.08], 'fixedrange': True, 'zeroline': False, 'showgrid': False,
        'tickvals': [-1, 0, 1]}
    return {
        'data': [{
            'type': 'scatter', 'mode': 'markers', 'x': plain_numbers(x), 'y': plain_numbers(y),
            'customdata': plain_numbers(time_s),
            'marker': {'size': 7, 'opacity': 0.4, 'color': TEAL},
            'hovertemplate':
                'valence %{x:.2f}, arousal %{y:.2f} at %{customdata:.1f} s<extra></extra>',
        }, {
            'type': 'scatter', 'mode': 'markers', 'x': [plain_number(np.median(x))],
            'y': [plain_number(np.median(y))], 'hovertemplate': 'median<extra></extra>',
            'marker': {
                'size': 13, 'symbol': 'cross-thin', 'line': {'width': 2.5, 'color': AMBER}}}],
        'layout': {
            'height': 360, 'margin': {'l': 44, 'r': 12, 't': 8, 'b': 40}, 'hovermode': 'closest',
            'xaxis': {**axis, 'title': {'text': 'valence', 'standoff': 4}, 'scaleanchor': 'y',
                      'constrain': 'domain'},
            'yaxis': {**axis, 'title': {'text': 'arousal', 'standoff': 4}, 'constrain': 'domain'},
            'shapes': [
                {'type': 'circle', 'x0': -1, 'x1': 1, 'y0': -1, 'y1': 1, 'line': line},
                {'type': 'line', 'x0': -1, 'x1': 1, 'y0': 0, 'y1': 0, 'line': line},
                {'type': 'line', 'x0': 0, 'x1': 0, 'y0': -1, 'y1': 1, 'line': line}],
            'annotations': [
                {'x': a, 'y': b, 'text': word, 'showarrow': False, 'opacity': 0.75,
                 'font': {'size': 11}} for a, b, word in words], **common_layout()}}


def plain_numbers(values: NDArray[Any]) -> list[float | None]:
    """Return numbers for JSON, to five figures; None where they are not finite."""
    return [plain_number(value) for value in values.tolist()]


def plain_number(value: float) -> float | None:
    """Return a number for JSON, to five figures; None if it is not finite."""
    return float(f'{value:.5g}') if np.isfinite(value) else None


def faded(colour: str, opacity: float) -> str:
    """Return a colour with transparency."""
    red, green, blue = (int(colour[i:i + 2], 16) for i in (1, 3, 5))
    return f'rgba({red},{green},{blue},{opacity})'
