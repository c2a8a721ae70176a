# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Bars and lines as SVG, for the docs.

Our own: plotly writes SVG only through a browser (kaleido, 80 MB with Chromium), and matplotlib is
no dependency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

INK, GRID = '#334155', '#cbd5e1'
COLOURS = ('#2563eb', '#f59e0b', '#10b981', '#ef4444', '#8b5cf6', '#64748b', '#0ea5e9', '#a3a3a3',
           '#1e3a8a')
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 860, 210, 90, 20, 48


def bars(title: str, rows: Mapping[str, Mapping[str, float]], unit: str = 'ms') -> str:
    """
    Draw horizontal bars, each made of its parts in a row.

    :param rows: label -> part -> value, of one kind of parts
    """
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    most = max((sum(row.values()) for row in rows.values()), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    body = [_title(title), _legend(parts)] if len(parts) > 1 else [_title(title)]
    y = _TOP
    for label, row in rows.items():
        x = float(_LEFT)
        body.append(_text(_LEFT - 6, y + 12, label, 'end'))
        for part, value in row.items():
            body.append(f'<rect x="{x:.1f}" y="{y}" width="{max(value, 0) * scale:.1f}" '
                        f'height="{_ROW - 5}" fill="{_colour(parts, part)}"/>')
            x += max(value, 0) * scale
        body.append(_text(x + 5, y + 12, f'{sum(row.values()):.3g} {unit}'))
        y += _ROW
    return _svg(y + 10, body)


def lines(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str,
    most: float | None = None,
) -> str:
    """
    Draw curves.

    :param series: name -> points
    :param most: end of the upward axis; None shows everything
    """
    points = [point for curve in series.values() for point in curve] or [(1.0, 1.0)]
    end = max(x for x, _ in points) * 1.02 or 1.0
    top = most or max(y for _, y in points) * 1.1 or 1.0
    left, height = 60, 240

    def at(point: tuple[float, float]) -> str:
        x = left + (_WIDTH - left - 20) * point[0] / end
        return f'{x:.1f},{_TOP + height * (1 - min(point[1], top) / top):.1f}'

    body = [_title(title), _legend(list(series))]
    for step in range(5):
        value = top * step / 4
        y = _TOP + height * (1 - step / 4)
        body += [f'<line x1="{left}" x2="{_WIDTH - 20}" y1="{y}" y2="{y}" stroke="{GRID}"/>',
                 _text(left - 6, y + 4, f'{value:.3g}', 'end'),
                 _text(left + (_WIDTH - left - 20) * step / 4, _TOP + height + 16,
                       f'{end * step / 4:.0f}', 'middle')]
    for name, curve in series.items():
        colour = _colour(list(series), name)
        body.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
                    f'points="{" ".join(map(at, curve))}"/>')
    body.append(_text(_WIDTH / 2, _TOP + height + 34, f'{across} (across), {up} (up)', 'middle'))
    return _svg(_TOP + height + 46, body)


def _colour(names: list[str], name: str) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]


def _title(text: str) -> str:
    return f'<text x="10" y="18" font-weight="bold" font-size="13">{escape(text)}</text>'


def _legend(names: list[str]) -> str:
    x, made = 10.0, []
    for name in names:
        made.append(f'<rect x="{x:.0f}" y="28" width="10" height="10" '
                    f'fill="{_colour(names, name)}"/>{_text(x + 14, 37, name)}')
        x += 30 + 6.2 * len(name)
    return ''.join(made)


def _text(x: float, y: float, text: str, anchor: str = 'start') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, body: list[str]) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'font-family="sans-serif" font-size="11" fill="{INK}">'
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>{"".join(body)}</svg>\n')
