# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Posture in a report: a strip of states for each person, and the angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aitable_ros.evaluation.output_tables import read_columns
from aitable_ros.evaluation.postures import HOLD_S, PlacedPosture
from aitable_ros.evaluation.report.charts import (
    AMBER, BLUE, Figure, GREY, plain_numbers, PURPLE, TEAL
)
from aitable_ros.evaluation.report.elements import PersonPosture, Plot, Span
from aitable_ros.posture_types import FIRST_BODY_ID, PostureEventType, PostureState

STATES = {
    PostureState.UPRIGHT: '#4a9d6f', PostureState.LEANING_FORWARD: '#4f86c6',
    PostureState.LEANING_BACK: '#3fb0ac', PostureState.LEANING_LEFT: '#8065b8',
    PostureState.LEANING_RIGHT: '#b5679e', PostureState.SLOUCHED: '#ddab2e',
    PostureState.HEAD_DOWN: '#c23f3f', PostureState.UNKNOWN: '#a3aab4'}
"""Colours of the states."""
ANGLES = {
    'shoulder_tilt': ('shoulder tilt', BLUE), 'head_roll': ('head roll', TEAL),
    'forward_lean': ('forward lean', AMBER), 'lateral_lean': ('lateral lean', GREY),
    'neck_flexion': ('neck flexion', PURPLE)}
"""Angles, radians: their names and colours in the chart."""
MOST_PEOPLE = 6
"""Strips in the timeline."""
LEAST_S = 1.0
"""Whoever is seen for less time has no strip."""


def spoken(state: str) -> str:
    """Return the name of a state in words."""
    return state.replace('_', ' ').lower()


def people_of(bodies: Path, events: Sequence[PlacedPosture] = ()) -> list[PersonPosture]:
    """
    Return how each person sat, from ``bodies.parquet``; whoever was primary most often first.

    :param events: of everybody; a changed state is drawn from its beginning
    :raises InputError: the file cannot be read
    """
    columns = read_columns(
        bodies, ('time_s', 'track_id', 'primary', 'present', 'state', *ANGLES))
    here = columns['present'] == 1
    found: list[tuple[int, float, PersonPosture]] = []
    for track in np.unique(columns['track_id'][here]):
        rows = np.flatnonzero(here & (columns['track_id'] == track))
        spans = spans_of(columns['time_s'][rows], _since(
            columns['time_s'][rows], list(columns['state'][rows]),
            [event for event in events if event.event.track_id == track]))
        seen_s = sum(span.end_s - span.start_s for span in spans)
        if seen_s >= LEAST_S:
            found.append((int((columns['primary'][rows] == 1).sum()), seen_s, PersonPosture(
                name=_name(int(track)), spans=spans, time_s=columns['time_s'][rows],
                angles={name: np.degrees(columns[name][rows]) for name in ANGLES})))
    found.sort(key=lambda person: person[:2], reverse=True)
    return [person for *_, person in found[:MOST_PEOPLE]]


def _since(time_s: Any, states: list[str], events: Sequence[PlacedPosture]) -> list[str]:
    """Put the states that were told late where they began."""
    for event in events:
        if event.event.type is PostureEventType.POSTURE_CHANGED:
            new = event.event.state.name
            row = int(np.searchsorted(time_s, event.start_s - 1e-6))
            told = next((later for later in range(row, len(states)) if states[later] == new), row)
            states[row:told] = [new] * (told - row)
    return states


def _name(track: int) -> str:
    return f'person {track}' if track < FIRST_BODY_ID else f'body {track - FIRST_BODY_ID}'


def spans_of(time_s: Any, states: Sequence[str]) -> list[Span]:
    """
    Join readings into spans; a state lasts until the next reading, and at most :data:`HOLD_S`.

    :param time_s: ``(n,)`` seconds, rising
    """
    steps = np.diff(time_s)
    usual_s = float(np.median(steps)) if len(steps) else 0.0
    ends = np.minimum(np.append(time_s[1:], time_s[-1:] + usual_s), time_s + HOLD_S)
    spans: list[Span] = []
    for start, end, state in zip(time_s.tolist(), ends.tolist(), states, strict=True):
        if spans and spans[-1].label == state and spans[-1].end_s == start:
            spans[-1] = Span(spans[-1].start_s, end, state)
        else:
            spans.append(Span(start, end, state))
    return spans


def angles_plot(people: Sequence[PersonPosture]) -> list[Plot]:
    """Draw the angles of the first person, folded; nothing where none is known."""
    if not people:
        return []
    person = people[0]
    known = [(name, colour, values) for key, (name, colour) in ANGLES.items()
             if np.isfinite(values := person.angles[key]).any()]
    if not known:
        return []
    figure: Figure = {
        'data': [{
            'type': 'scatter', 'mode': 'lines', 'name': name, 'x': plain_numbers(person.time_s),
            'y': plain_numbers(values), 'line': {'color': colour, 'width': 1.6},
            'hovertemplate': '%{y:.1f}°'} for name, colour, values in known],
        'layout': {
            'height': 300, 'margin': {'l': 64, 'r': 12, 't': 30, 'b': 40}, 'showlegend': True,
            'hovermode': 'x unified',
            'legend': {'orientation': 'h', 'x': 0, 'y': 1.02, 'yanchor': 'bottom'},
            'xaxis': {'title': {'text': 'seconds', 'standoff': 8}, 'zeroline': False},
            'yaxis': {'title': {'text': 'degrees', 'standoff': 6}, 'fixedrange': True,
                      'zeroline': False}}}
    names = ', '.join(name for name, *_ in known)
    return [Plot(
        title=f'Posture, angles of {person.name}', figure=figure, folded=True,
        description=f'{names} over time, in degrees; bodies.parquet has the figures.',
        caption='> 0: forward, or the right side down. docs/posture.md has the formulas.')]


def shares(posture_share: Mapping[str, float]) -> list[tuple[str, float, str]]:
    """Return (state in words, share, colour), the largest first, for the bars."""
    return [(spoken(name), share, STATES[PostureState[name]])
            for name, share in sorted(posture_share.items(), key=lambda entry: -entry[1])]
