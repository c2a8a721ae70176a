# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The tables and plots of ``docs/performance.md``, from the JSON files of the results.

A part's table stands between ``<!-- bench:PART -->`` and ``<!-- /bench -->``. What has no result
says "not measured"; nothing is made up, nothing is kept from before.
"""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import re
from typing import Any

from benchmarks import chart, measure, tables

PAGE = measure.ROOT / 'docs' / 'performance.md'
MARK = re.compile(r'(<!-- bench:(\w+) -->\n).*?(<!-- /bench -->)', re.DOTALL)
Result = dict[str, Any]


def write(results: Path, *, check: bool) -> int:
    """
    Write the tables into the page and the plots beside it.

    :param results: folder of the JSON files; only those that are kept get into the page
    :param check: print the tables instead
    """
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob('*.json'))}
    if check or results.resolve() != measure.RESULTS.resolve():
        print('\n'.join(f'## {name}\n\n{_block(name, found)}' for name in tables.TABLES))
        return 0
    page = PAGE.read_text(encoding='utf-8')
    PAGE.write_text(MARK.sub(
        lambda match: f'{match[1]}{_block(match[2], found)}{match[3]}', page), encoding='utf-8')
    for name, draw in _PLOTS.items():
        part = name.split('_')[1]
        path = PAGE.with_name(f'{name}.svg')
        if part in found:
            path.write_text(draw(found[part]), encoding='utf-8')
    print(f'{PAGE}: tables of {", ".join(tables.TABLES.keys() & found.keys()) or "nothing"}')
    return 0


def _block(name: str, found: dict[str, Result]) -> str:
    part, make = tables.TABLES[name]
    if part not in found:
        return '\nNot measured.\n\n'
    return f'\n{make(found[part]).strip()}\n\n'


def _models_plot(result: Result) -> str:
    return chart.bars('Models, batch 1, one thread, median', {
        f'{row["model"]}, {row["backend"]} {row["precision"]}':
            {'ms': row['batches']['1']['wall_ms']['p50']}
        for row in result['rows'] if '1' in row.get('batches', {})})


def _stages_plot(result: Result) -> str:
    def share(cell: Result) -> dict[str, float]:
        return {stage: cell['tracking'][stage]['mean'] for stage in tables.STAGES}

    return chart.bars('Pipeline by stage, tracking, mean of a frame', {
        f'{cell["size"]}, {cell["faces"]} face{"s" * (cell["faces"] > 1)}': share(cell)
        for cell in result['cells'] if cell['mode'] == 'default'})


def _peers_plot(result: Result) -> str:
    return chart.bars(f'One face, {result["size"]}, the same frames: median of a frame', {
        name: {'ms': row['wall_ms']['p50']}
        for name, row in result['rows'].items() if 'wall_ms' in row})


def _graph_plot(result: Result) -> str:
    return chart.lines(
        'Nodes in one process: p95 from the stamp of an image to its FatigueState', {
            size: [(step['reached_fps'], step['latency_ms']['p95'])
                   for step in ramp['steps'] if step['latency_ms']['n']]
            for size, ramp in result.get('ramp', {}).items()}, 'images a second', 'ms')


_PLOTS: dict[str, Callable[[Result], str]] = {
    'performance_models': _models_plot, 'performance_stages': _stages_plot,
    'performance_peers': _peers_plot, 'performance_graph': _graph_plot}
