# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tables and bars of a report's page, ready for its template."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from aitable_ros.evaluation.report.charts import EXPRESSIONS, GREY
from aitable_ros.evaluation.report.elements import Cell, Link, Report, Table

FIGURE = re.compile(r'([+-]?[\d.]+%?|–)( […→] ([+-]?[\d.]+%?|–))?')
"""Text of one figure, or of two: an interval or a change."""


def expression_shares(report: Report) -> list[tuple[str, float, str]]:
    """Return (expression, share, colour), the largest first, for the bars."""
    colours = {e.name.lower(): colour for e, colour in EXPRESSIONS.items()}
    kept = [(name, share) for name, share in report.expression_share.items() if share > 0]
    return [(name, share, colours.get(name, GREY))
            for name, share in sorted(kept, key=lambda entry: -entry[1])]


def latencies(report: Report) -> list[dict[str, Any]]:
    """Return name, p50, p95, p99 and greatest of each latency, milliseconds."""
    rows = []
    for name, values in report.latency_ms.items():
        known = np.asarray(values, np.float64)
        known = known[np.isfinite(known)]
        if known.size:
            p50, p95, p99 = np.percentile(known, (50, 95, 99))
            rows.append({
                'name': name, 'n': known.size, 'p50': p50, 'p95': p95, 'p99': p99,
                'max': known.max(),
                'over': report.latency_budget_ms is not None and p95 > report.latency_budget_ms})
    return rows


def page_table(table: Table) -> dict[str, Any]:
    """Return a table with its cells as text, whether each is a figure, and its share of the row."""
    rows = []
    for row in table.rows:
        total = sum(v for v in row if isinstance(v, (int, float))) or 1
        rows.append([
            {'text': re.sub(' ([…→]) ', r' \1 ', cell_text(value)),
             'number': is_figure(value), 'href': value.href if isinstance(value, Link) else '',
             'share': value / total if isinstance(value, (int, float)) else 0}
            for value in row])
    return {'title': table.title, 'rows': rows, 'caption': table.caption, 'heat': table.heat,
            'columns': list(zip(table.columns, figure_columns(table), strict=True)),
            'wide': table.wide}


def figure_columns(table: Table) -> list[bool]:
    """Return for each column whether any of its cells is a figure."""
    return [any(is_figure(row[index]) for row in table.rows)
            for index in range(len(table.columns))]


def is_figure(value: Cell) -> bool:
    """Whether a cell is a number, or the text of one or of two."""
    return isinstance(value, (int, float)) or (
        isinstance(value, str) and FIGURE.fullmatch(value) is not None)


def cell_text(value: Cell) -> str:
    """Return the text of a cell; ``–`` for a number that is not finite."""
    if isinstance(value, Link):
        return value.text
    if isinstance(value, float):
        return '–' if not np.isfinite(value) else f'{value:.3f}'
    return str(value)
