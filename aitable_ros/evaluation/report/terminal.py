# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tables of a report on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aitable_ros.evaluation.report.elements import Table
from aitable_ros.evaluation.report.many_recordings import class_tables, headlines_of, pooled_rows
from aitable_ros.evaluation.report.tables import cell_text, figure_columns
from aitable_ros.evaluation.report.text import written
from aitable_ros.evaluation.summary import Summary

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120
"""Columns of text where standard output is no terminal."""


def open_console() -> Console:
    """Return a console on standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=WIDTH, highlight=False)


def print_table(
    console: Console, table: Table, *, title: bool = False, bold: Collection[int] = (),
) -> None:
    """
    Print a table of a report; columns of figures are set right.

    :param title: print the title above it
    :param bold: numbers of rows
    """
    from rich.markup import escape
    from rich.table import Table as RichTable

    lines = RichTable(box=None, pad_edge=False, header_style='bold', title_justify='left',
                      title=escape(table.title) if title else None)
    for name, is_figure in zip(table.columns, figure_columns(table), strict=True):
        lines.add_column(escape(name), justify='right' if is_figure else 'left', overflow='fold')
    for number, row in enumerate(table.rows):
        lines.add_row(*(escape(cell_text(cell)) for cell in row),
                      style='bold' if number in bold else None)
    console.print(lines)


def print_lines(console: Console, *lines: str, style: str | None = None) -> None:
    """Print lines that the terminal, not rich, wraps."""
    for line in lines:
        console.print(line, style=style, markup=False, soft_wrap=True)


def print_summaries(summaries: Sequence[Summary], pooled: Summary, output: Path) -> None:
    """
    Print the figures and the notes of each recording, and the pooled scores.

    :param pooled: empty for one recording
    """
    console = open_console()
    heads, scores = headlines_of(summaries)
    rows = []
    for summary, figures in zip(summaries, scores, strict=True):
        share = summary['expression_share']
        rows.append([
            Path(summary['input']).name, summary['frames'], f'{summary["face_ratio"]:.0%}',
            len(summary['blinks']), written(summary['perclos']), summary['level_max'],
            max(share, key=share.__getitem__) if share else '–', *figures])
    print_table(console, Table(title='', rows=rows, columns=(
        'input', 'frames', 'face', 'blinks', 'PERCLOS', 'level', 'mostly', *heads)))
    for table in class_tables(pooled.get('video_class', {})):
        print_table(console, table, title=True)
    if pooled_rows(pooled):
        print_table(console, Table(title='', rows=pooled_rows(pooled), columns=(
            'all together', 'score', '95 % over people')))
    for summary in summaries:
        for note in (*summary['notes'], *([summary['partial']] if summary['partial'] else [])):
            print_lines(console, f'{Path(summary["input"]).name}: {note}', style='dim')
    print_lines(console, f'report: {output / "report.html"}')
