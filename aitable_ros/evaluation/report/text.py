# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Figures, intervals and long lists as a report writes them."""

from __future__ import annotations

from collections.abc import Sequence
import os
from pathlib import Path

from aitable_ros.evaluation.report.elements import Cell, Link, Table


def written(value: float | None, form: str = '.3f') -> str:
    """Format a figure; ``–`` if it is not known."""
    return '–' if value is None else format(value, form)


def interval_text(ends: Sequence[float] | None, form: str = '.3f') -> str:
    """Format both ends of an interval; empty if there is none."""
    return '' if ends is None else f'{ends[0]:{form}} … {ends[1]:{form}}'


def counted(count: int, one: str, more: str) -> str:
    """Write a count with its noun, such as ``1 input`` or ``2 inputs``."""
    return f'{count} {one if count == 1 else more}'


def shortened(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], most: int, *,
    rest: str = '', wide: bool = True,
) -> list[Table]:
    """
    Make a table of the first ``most`` rows; no table without rows.

    :param rest: where all rows are, such as ``; summary.json has all``
    """
    caption = '' if len(rows) <= most else f'The first {most} of {len(rows)}{rest}.'
    return [Table(title=title, columns=columns, rows=rows[:most], caption=caption, wide=wide)] \
        if rows else []


def report_link(text: str, folder: str | Path, page_folder: Path) -> Link:
    """Link from a page in ``page_folder`` to the report of one recording in ``folder``."""
    return Link(text, Path(os.path.relpath(Path(folder) / 'report.html', page_folder)).as_posix())
