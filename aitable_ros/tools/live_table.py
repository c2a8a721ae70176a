# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The display while the nodes run: a live table, or lines where there is no terminal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
import math
import sys
from typing import Any

import numpy as np

from aitable_ros.clock import header_stamp_ns
from aitable_ros.closing import Closing
from aitable_ros.posture_types import PostureState
from aitable_ros.tools.clip_script import ClipTruth
from aitable_ros.tools.latency import Percentiles
from aitable_ros.tools.live_graph import Received, ReceivedMessage, SentImage
from aitable_ros.types import Expression, FatigueEventType, FatigueLevel, Validity

LINE_EVERY_S = 5.0
BAR_CELLS = 24
RECENT = 150
"""Messages that the latency in the table is of: five seconds."""


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """
    One moment of a run, as the display shows it.

    :param rows: name and value, in the order of display
    :param openness: 0 shut ... 1 open, NaN where unknown
    :param level: name of the fatigue level, or why there is none
    :param events: the last events, oldest first
    """

    elapsed_s: float
    total_s: float | None
    rows: tuple[tuple[str, str], ...]
    openness: float
    level: str
    events: Sequence[str] = field(default_factory=tuple)


def snapshot(
    received: Received, sent: Sequence[SentImage], truth: ClipTruth | None, total_s: float | None,
) -> RunSnapshot:
    """
    Return the newest messages in the form of the table.

    :param total_s: length of the run, where it is known
    """
    state = _newest(received.fatigue)
    emotion = _newest(received.emotion)
    recent = received.fatigue[-RECENT:]
    sent_ns = {item.stamp_ns: item.sent_ns for item in sent[-2 * RECENT:]}
    latency = Percentiles.of(np.array([
        (item.receive_ns - sent_ns[stamp]) / 1e6 for item in recent
        if (stamp := header_stamp_ns(item.message)) in sent_ns]))
    start_ns = sent[0].stamp_ns if sent else 0
    elapsed_s = (sent[-1].stamp_ns - start_ns) / 1e9 if sent else 0.0
    answered = len({header_stamp_ns(item.message) for item in received.fatigue})
    blinks = sum(item.message.type == FatigueEventType.BLINK for item in received.events)
    scripted = '' if truth is None else ', scripted so far ' + str(
        sum(blink.end_frame < len(sent) for blink in truth.blinks))
    faces = len(received.faces[-1].message.faces) if received.faces else 0
    level, openness, perclos = 'waiting', float('nan'), 'not yet'
    if state is not None:
        level = FatigueLevel(state.level).name
        if state.level == FatigueLevel.UNKNOWN:
            level = Validity(state.validity).name.lower().replace('_', ' ')
        openness = float(state.openness)
        if np.isfinite(state.perclos):
            perclos = f'{state.perclos:.3f} of {60 * state.perclos_coverage:.0f} usable seconds'
    expression = 'not yet'
    if emotion is not None and emotion.expression != Expression.UNKNOWN:
        expression = (
            f'{Expression(emotion.expression).name.lower()} {emotion.confidence:.2f}, '
            f'valence {emotion.valence:+.2f}, arousal {emotion.arousal:+.2f}')
    sitting = _newest(received.posture)
    posture = [] if sitting is None else [('posture', PostureState(
        sitting.state).name.lower().replace('_', ' '))]
    return RunSnapshot(
        elapsed_s=elapsed_s, total_s=total_s, openness=openness, level=level,
        rows=(
            ('PERCLOS', perclos),
            ('blinks', f'{blinks}{scripted}'),
            ('expression', expression),
            *posture,
            ('faces', str(faces)),
            ('answered', f'{answered} of {len(sent)} images'),
            ('latency', f'{latency.p50:.1f} ms, p95 {latency.p95:.1f} ms'),
        ),
        events=tuple(
            _event_line(item.message, start_ns) for item in received.events[-4:]))


def _newest(messages: Sequence[ReceivedMessage]) -> Any:
    """Return the primary person's newest message, or the newest, or None."""
    for item in reversed(messages[-8:]):
        if item.message.primary:
            return item.message
    return messages[-1].message if messages else None


def _event_line(message: Any, start_ns: int) -> str:
    from aitable_ros.nodes.messages import CODEC

    event = CODEC.event_of(message)
    name = event.type.name.lower().replace('_', ' ')
    at = (event.start_ns - start_ns) / 1e9
    if event.type is FatigueEventType.LEVEL_CHANGED:
        return f'{at:5.1f} s  {name}: {event.level.name}'
    return f'{at:5.1f} s  {name}, {event.duration_s:.2f} s'


class Display(Closing, ABC):
    """A context manager that shows snapshots."""

    def close(self) -> None:
        """End; most displays have nothing to do."""

    @abstractmethod
    def stage(self, text: str) -> None:
        """Show the present stage of the start."""

    @abstractmethod
    def show(self, snapshot: RunSnapshot) -> None:
        """Show a moment."""


def display(*, quiet: bool) -> Display:
    """Return the display that suits the terminal; ``quiet`` shows nothing."""
    if quiet:
        return _Nothing()
    return _Table() if sys.stdout.isatty() else _Lines()


class _Nothing(Display):
    def stage(self, text: str) -> None:
        pass

    def show(self, snapshot: RunSnapshot) -> None:
        pass


class _Lines(Display):
    """A line each few seconds, for a log."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def stage(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201

    def show(self, snapshot: RunSnapshot) -> None:
        if snapshot.elapsed_s < self._next_s:
            return
        self._next_s = snapshot.elapsed_s + LINE_EVERY_S
        values = ', '.join(f'{name} {value}' for name, value in snapshot.rows)
        print(f'{snapshot.elapsed_s:5.1f} s  {snapshot.level}, {values}', flush=True)  # noqa: T201


class _Table(Display):
    """A table that is redrawn in place."""

    def __init__(self) -> None:
        from rich.live import Live
        from rich.text import Text

        self._text = Text
        self._live = Live(refresh_per_second=8, transient=False)

    def __enter__(self) -> _Table:
        self._live.start()
        return self

    def close(self) -> None:
        self._live.stop()

    def stage(self, text: str) -> None:
        self._live.update(self._text(f'{text} …', style='dim'))

    def show(self, snapshot: RunSnapshot) -> None:
        self._live.update(self._panel(snapshot))

    def _panel(self, snapshot: RunSnapshot) -> Any:
        from rich.panel import Panel
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column(style='cyan', justify='right')
        table.add_column(min_width=50)
        table.add_row('time', _clock(snapshot))
        table.add_row('eyes', _bar(snapshot.openness))
        table.add_row('fatigue', self._text(snapshot.level, style=_colour(snapshot.level)))
        for name, value in snapshot.rows:
            table.add_row(name, value)
        for index, event in enumerate(snapshot.events):
            table.add_row('events' if index == 0 else '', event)
        return Panel(table, title='aitable demo', border_style='blue', expand=False)


def _clock(snapshot: RunSnapshot) -> str:
    total = '' if snapshot.total_s is None else f' of {snapshot.total_s:.0f}'
    return f'{snapshot.elapsed_s:.1f}{total} s'


def _bar(openness: float) -> str:
    if math.isnan(openness):
        return 'not seen'
    cells = round(min(max(openness, 0.0), 1.0) * BAR_CELLS)
    return f'{"█" * cells}{"░" * (BAR_CELLS - cells)} {openness:.2f}'


def _colour(level: str) -> str:
    word = level.split()[0].lower()
    return {'alert': 'green', 'mild': 'yellow', 'severe': 'bold red', 'asleep': 'bold red'}.get(
        word, 'dim')
