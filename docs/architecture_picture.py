# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Draw ``docs/architecture.svg``: the packages, and which of them import which.

Run ``PYTHONPATH=test .venv/bin/python docs/architecture_picture.py`` from the repository root. The
arrows are the imports in the source, functions' own included; the rows are ``RANK`` of
``test/test_package.py``. An arrow that follows from two others is left out, as are the arrows to
the modules that all packages share.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from test_package import imports, name_of, RANK, room_in, SOURCES

PICTURE = Path(__file__).resolve().parent / 'architecture.svg'
BASE = 'types, options, clock, …'
"""The box of all modules that are no package and rank below the models."""
COLUMN = {
    'cli': 1.6, 'monitor': 0.5, 'tools': 1.6, 'engines': 2.1, 'evaluation': 3.1, 'nodes': 0.5,
    'recordings': 2.6, 'pipeline': 2.9, 'fatigue': 1.6, 'posture': 0.6, 'emotion': 2.9, 'face': 1.2,
    'inference': 2.05, 'models': 2.05, BASE: 2.05}
"""Middle of each box, in columns: no arrow runs behind a box."""
PURPOSE = {
    'cli': 'the command aitable', 'tools': 'demo, bench, preflight', 'monitor': "operator's page",
    'evaluation': 'scores, reports', 'engines': 'build, quantize, verify',
    'recordings': 'bags, videos, pictures', 'nodes': 'ROS 2 nodes', 'pipeline': 'frame to result',
    'fatigue': 'eyes over time', 'posture': 'bodies, joints', 'emotion': 'expression',
    'face': 'detect, track, mesh', 'inference': 'runtimes, chain',
    'models': 'catalogue, fetch, convert',
    BASE: 'values that all packages share'}
WIDTH, HEIGHT, GAP, ROW = 190, 46, 34, 92
"""Of a box, and between boxes and rows, pixels."""


def package(module: str) -> str | None:
    """Return the box of a module; None for modules that start everything."""
    name = room_in(module)
    if name in ('__init__', '__main__'):
        return None
    return name if name in PURPOSE else BASE


def edges() -> set[tuple[str, str]]:
    """Return (user, used) for every pair of boxes with an import."""
    found = set()
    for path in SOURCES:
        user = package(name_of(path))
        for module, _ in imports(path):
            used = package(module) if module.startswith('aitable_ros') else None
            if user and used and user != used:
                found.add((user, used))
    return found


def reduced(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Leave out the arrows that follow from a longer way."""
    below = defaultdict(set)
    for user, used in found:
        below[user].add(used)

    def reaches(start: str, end: str) -> bool:
        return end in below[start] or any(reaches(step, end) for step in below[start])
    return {
        (user, used) for user, used in found if used != BASE
        and not any(reaches(step, used) for step in below[user] - {used})}


def rank(name: str) -> int:
    """Return the row of a box, from below."""
    return RANK.get(name, 0)


def svg() -> str:
    """Return the picture."""
    ranks = sorted({rank(name) for name in PURPOSE}, reverse=True)
    width = round((max(COLUMN.values()) + 0.5) * (WIDTH + GAP))
    height = len(ranks) * ROW
    left = {name: column * (WIDTH + GAP) - WIDTH / 2 for name, column in COLUMN.items()}
    top = {name: ranks.index(rank(name)) * ROW + 20 for name in COLUMN}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" text-anchor="middle">',
        '<title>Packages of aitable_ros; an arrow leads from a package to one that it imports'
        '</title>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for user, used in sorted(reduced(edges())):
        x1, y1 = left[user] + WIDTH / 2, top[user] + HEIGHT
        x2, y2 = left[used] + WIDTH / 2, top[used]
        bend = (y2 - y1) / 2
        lines.append(
            f'<path d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}" '
            'fill="none" stroke="#64748b" stroke-width="1.3" marker-end="url(#tip)"/>')
    for name, purpose in PURPOSE.items():
        x, y = left[name], top[name]
        lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#eff6ff" '
            'stroke="#2563eb"/>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + 20:g}" font-size="15" fill="#0f172a">{name}'
            '</text>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + 37:g}" font-size="12" fill="#475569">{purpose}'
            '</text>')
    return '\n'.join([*lines, '</svg>', ''])


if __name__ == '__main__':
    PICTURE.write_text(svg(), encoding='utf-8')
