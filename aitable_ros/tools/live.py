# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a person sees while the nodes run: a live table, or lines where there is no terminal."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
import math
import sys
from types import TracebackType
from typing import Any

LINE_EVERY_S = 5.0
BAR_CELLS = 24


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    One moment of a run, as text and figures to be shown.

    :param rows: name and value, in the order of display
    :param openness: 0 shut ... 1 open, NaN where unknown
    :param level: name of the fatigue level, or why there is none
    :param events: the last things that happened, oldest first
    """

    elapsed_s: float
    total_s: float | None
    rows: tuple[tuple[str, str], ...]
    openness: float
    level: str
    events: Sequence[str] = field(default_factory=tuple)


class Display(ABC):
    """A context manager that shows snapshots."""

    def __enter__(self) -> Display:
        """Begin."""
        return self

    def __exit__(  # noqa: B027  (most have nothing to do)
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""

    @abstractmethod
    def stage(self, text: str) -> None:
        """Say what is being done."""

    @abstractmethod
    def show(self, snapshot: Snapshot) -> None:
        """Show a moment."""


def display(*, quiet: bool) -> Display:
    """Return what suits the terminal; ``quiet`` shows nothing."""
    if quiet:
        return _Nothing()
    return _Table() if sys.stdout.isatty() else _Lines()


class _Nothing(Display):
    def stage(self, text: str) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        pass


class _Lines(Display):
    """A line each few seconds, for a log."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def stage(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201

    def show(self, snapshot: Snapshot) -> None:
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

    def __enter__(self) -> Display:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def stage(self, text: str) -> None:
        self._live.update(self._text(f'{text} …', style='dim'))

    def show(self, snapshot: Snapshot) -> None:
        self._live.update(self._panel(snapshot))

    def _panel(self, snapshot: Snapshot) -> Any:
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


def _clock(snapshot: Snapshot) -> str:
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
