# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The elements of a report: cards, curves, events, tables, charts.

``aitable evaluate`` and ``aitable demo`` fill a :class:`Report`; :func:`.page.write_report` writes
it as a page. Only the title is required; a section without data does not appear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aitable_ros.types import FatigueEventType

Floats = NDArray[np.floating[Any]]
State = Literal['good', 'warn', 'bad', 'plain']


@dataclass(frozen=True, kw_only=True)
class Card:
    """
    A headline card.

    :param value: the figure, already formatted: ``8 of 8``, ``0.037``, ``ALERT``
    :param note: a few words below the value
    :param state: ``good``, ``warn``, ``bad``: a coloured edge and a word; ``plain``: no judgement
    """

    label: str
    value: str
    note: str = ''
    state: State = 'plain'


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """
    One person's figures over time: each ``(n,)``, NaN where not known, or None.

    :param time_s: seconds from the start of the recording, rising
    :param ear: eye aspect ratio, mean of the eyes
    :param openness: 0 shut ... 1 open
    :param perclos: share of closed time over 60 s, 0 ... 1
    :param perclos_long: over 180 s
    :param level: values of :class:`aitable_ros.types.FatigueLevel`
    :param probabilities: ``(n, 8)`` in the order of :class:`aitable_ros.types.Expression`
    :param valence: -1 ... 1
    :param arousal: -1 ... 1
    """

    time_s: Floats
    ear: Floats | None = None
    openness: Floats | None = None
    perclos: Floats | None = None
    perclos_long: Floats | None = None
    level: NDArray[np.integer[Any]] | None = None
    probabilities: Floats | None = None
    valence: Floats | None = None
    arousal: Floats | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and len(value) != len(self.time_s):
                raise ValueError(
                    f'Series.{item.name} has {len(value)} values for {len(self.time_s)} times')


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time, seconds from the start, and its label, such as an expression."""

    start_s: float
    end_s: float
    label: str = ''


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """A measured event: start and duration in seconds, a remark, and a PNG or JPEG picture."""

    type: FatigueEventType
    start_s: float
    duration_s: float
    note: str = ''
    picture: bytes = b''

    @property
    def name(self) -> str:
        """In words."""
        return self.type.name.replace('_', ' ').lower()


@dataclass(frozen=True, slots=True)
class PostureMark:
    """An event of posture: name in words, start and duration in seconds, and a remark."""

    name: str
    start_s: float
    duration_s: float
    note: str = ''


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonPosture:
    """
    How one person sat.

    :param name: of the person, for the reader
    :param spans: labelled with names of :class:`aitable_ros.posture_types.PostureState`; the person
        was not seen between them
    :param time_s: ``(n,)`` seconds of the readings
    :param angles: name -> ``(n,)`` degrees, NaN where not known
    """

    name: str
    spans: Sequence[Span]
    time_s: Floats
    angles: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """The labelled truth: curves as in the measured series, and spans."""

    series: Series | None = None
    blinks: Sequence[Span] = ()
    closures: Sequence[Span] = ()
    """Long closures, microsleeps, sleeps; the label names the type."""
    yawns: Sequence[Span] = ()
    nods: Sequence[Span] = ()
    expressions: Sequence[Span] = ()
    """The labels are lower-case names of :class:`aitable_ros.types.Expression`."""
    postures: Sequence[Span] = ()
    """The labels are names of :class:`aitable_ros.posture_types.PostureState`."""
    ignore: Sequence[Span] = ()
    """Spans that are not scored."""


@dataclass(frozen=True, kw_only=True)
class StageProvenance:
    """
    The model that ran in a stage, and how the chain chose it.

    :param steps: a line for each attempt
    """

    stage: str
    model: str
    backend: str
    precision: str
    steps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that links to another file, by its path relative to the report."""

    text: str
    href: str


Cell = str | int | float | Link


@dataclass(frozen=True, kw_only=True)
class Table:
    """
    A table.

    :param rows: cells in the order of ``columns``
    :param heat: shade each number by its share of the row's sum (a confusion matrix)
    :param wide: as wide as the page, not beside another table
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ''
    heat: bool = False
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Plot:
    """
    A further chart.

    :param figure: a plotly figure: ``data`` and ``layout``
    :param description: content of the chart, for screen readers
    :param folded: shown when the reader opens it
    """

    title: str
    figure: Mapping[str, Any]
    description: str
    caption: str = ''
    folded: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """
    A report.

    :param subtitle: one line: duration, number of frames, kind of input
    :param cards: the headline cards, most important first
    :param measured: the primary person over time
    :param truth: drawn beside it, dashed or shaded
    :param events: measured events, blinks included
    :param postures: how each person sat, the primary one first
    :param posture_events: of the primary person
    :param posture_share: name of a state -> share of the time in which it is known, 0 ... 1
    :param expression_share: lower-case expression -> share of the readings, 0 ... 1
    :param latency_ms: name of a latency -> ``(n,)`` milliseconds; percentiles are shown
    :param latency_budget_ms: a 95th percentile above this is marked
    :param stages: models that ran
    :param plots: further charts, above the tables
    :param tables: scores, confusion matrices
    :param picture: bytes of a PNG or JPEG, such as an annotated key frame
    :param notes: remarks, one line each
    :param facts: how the report was made: versions, machine, parameters
    """

    title: str
    subtitle: str = ''
    cards: Sequence[Card] = ()
    measured: Series | None = None
    truth: Truth | None = None
    events: Sequence[TimelineEvent] = ()
    postures: Sequence[PersonPosture] = ()
    posture_events: Sequence[PostureMark] = ()
    posture_share: Mapping[str, float] = field(default_factory=dict)
    expression_share: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, Floats] = field(default_factory=dict)
    latency_budget_ms: float | None = None
    stages: Sequence[StageProvenance] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    picture: bytes | None = None
    picture_caption: str = ''
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
