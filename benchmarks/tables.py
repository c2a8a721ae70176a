# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Result = dict[str, Any]
STAGES = ('decode', 'detect', 'track', 'mesh', 'eyes', 'fatigue', 'emotion', 'rest', 'message')
LIMITS = {'import_ms': 200.0, 'start_s': 2.5, 'rss_mb': 300.0, 'p95_ms': 6.5, 'cpu_percent': 15.0,
          'fps_480p': 60.0, 'four_over_one': 2.5}
"""What is asked: issue 23 for memory, latency and CPU of the nodes, issue 8 for the rest."""


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    heads = list(heads)
    lines = [f'| {" | ".join(heads)} |', f'|{"---|" * len(heads)}']
    return '\n'.join([*lines, *(f'| {" | ".join(map(str, row))} |' for row in rows)]) + '\n'


def _ms(figures: Result, key: str = 'p50') -> str:
    return _short(figures[key]) if figures.get('n') else '–'


def _short(value: float) -> str:
    return f'{value:.0f}' if value >= 100 else f'{value:.1f}' if value >= 10 else f'{value:.2f}'


def _word(good: bool) -> str:
    return 'holds' if good else '**does not hold**'


def _where(result: Result) -> str:
    here = result['machine']
    packages = here['packages']
    quick = ' **A quick run: these figures are no good.**' if result['quick'] else ''
    named = ', '.join(f'{name} {packages[name]}' for name in (
        'openvino', 'onnxruntime', 'opencv-python-headless', 'numpy', 'ros-rclpy', 'ros-fastdds')
        if name in packages)
    return (f'{here["processor"]}, {here["cores"]} cores '
            f'({", ".join(here["instructions"]) or here["architecture"]}), {here["system"]}, '
            f'Python {here["python"]}, {named}; commit `{here["commit"]}`, load '
            f'{result["load_before"]:g} before, {result["seconds"]} s.{quick}\n\n')


def models(result: Result) -> str:
    """Milliseconds by batch, and the ratio to the first backend."""
    batches = ('1', '2', '4', '8')
    rows: list[list[Any]] = []
    skipped: dict[str, list[str]] = {}
    for row in result['rows']:
        if 'batches' not in row:
            named = f'{row["model"]} on {row["backend"]} {row["precision"]}'
            skipped.setdefault(row['skipped'], []).append(named)
            continue
        cells = [row['batches'].get(batch) for batch in batches]
        rows.append([
            f'`{row["model"]}`', row['backend'], row['precision'],
            *(f'{_ms(cell["wall_ms"])} / {_ms(cell["wall_ms"], "p95")}' if cell else '–'
              for cell in cells), f'{row["ratio"].get("1", 1):.2f}'])
    text = _where(result) + _table(
        ['model', 'backend', 'precision', *(f'batch {batch}, p50 / p95 ms' for batch in batches),
         'p50 over the first, batch 1'], rows)
    if skipped:
        text += '\nNot run: ' + '; '.join(
            f'{", ".join(names)} ({reason})' for reason, names in skipped.items()) + '.\n'
    return text


def stages(result: Result) -> str:
    """Milliseconds by stage; growth by faces; first and last minute."""
    text = _where(result) + _table(
        ['size', 'faces', 'found, mean', 'first frame p50', *STAGES, 'whole, mean',
         'pipeline p50', 'p95', 'CPU, mean'],
        [[cell['size'], cell['faces'] if cell['mode'] == 'default' else f'{cell["faces"]}, all',
          cell['found'], _ms(cell['first']['pipeline']),
          *(_ms(cell['tracking'][stage], 'mean') for stage in STAGES),
          _ms(cell['tracking']['whole'], 'mean'), _ms(cell['tracking']['pipeline']),
          _ms(cell['tracking']['pipeline'], 'p95'), _ms(cell['tracking']['cpu'], 'mean')]
         for cell in result['cells']])
    text += (f'\nMilliseconds. "all": {result["modes"]["all"]}; else {result["modes"]["default"]}. '
             f'{result["edges"]}.\n\n')
    text += _table(
        ['size', 'measured', *(f'{faces} over 1' for faces in (2, 4, 8)), '4 faces < 2.5 × one'],
        [[growth['size'], growth['mode'],
          *(growth['over_one'].get(faces, '–') for faces in ('2', '4', '8')),
          _word(growth['over_one']['4'] < LIMITS['four_over_one'])
          if '4' in growth['over_one'] else 'not measured: others were found']
         for growth in result['growth']])
    steady = result['steady']
    return text + (
        f'\n{steady["minutes"]:g} minutes of images in a row, 720p, one face, the last '
        f'{steady["minute_frames"]} frames over the first: processor '
        f'{steady["last_over_first_cpu"]:.2f} ×, median by the clock '
        f'{steady["last_over_first_wall_p50"]:.2f} ×.\n')


def peers(result: Result) -> str:
    """The race, and its verdict."""
    rows, skipped = [], []
    for name, row in result['rows'].items():
        if row['skipped']:
            skipped.append(f'{name} ({row["skipped"]})')
            continue
        ratio = row.get('ours_over_this', {})
        version = next((f'{key} {value}' for key, value in row['versions'].items()), '')
        rows.append([
            name, row['what'], version, _ms(row['wall_ms']), _ms(row['wall_ms'], 'mean'),
            _ms(row['wall_ms'], 'p95'), _ms(row['cpu_ms']), _ms(row['cpu_ms'], 'mean'),
            row['rss_mb'], f'{row["seen"]:.0%}', *(ratio.get(key, '–') for key in (
                'wall_p50', 'wall_mean', 'cpu_p50', 'cpu_mean'))])
    verdict = result['must_hold']
    told = 'Not measured: MediaPipe did not take part.' if not verdict['measured'] else (
        'Our whole pipeline over the refined FaceMesh of MediaPipe alone: ' + '; '.join(
            f'{name} {verdict[f"{name}_ratio"]:.3f}, at most {limit}: '
            f'{_word(verdict[f"{name}_ratio"] <= limit)}'
            for name, limit in verdict.get('asked', {'median': 1.0, 'mean': 1.0}).items()) + '.')
    return (
        _where(result) + f'{result["frames"]} frames of {result["clip"]}, {result["size"]}, in '
        f'turns of {result["block"]}.\n\n' + _table(
            ['subject', 'does', 'version', 'p50 ms', 'mean', 'p95', 'CPU p50', 'mean', 'RSS MB',
             'frames with a face', 'ours over it, p50', 'mean', 'CPU p50', 'mean'], rows)
        + f'\n{told}\n' + (f'\nNot run: {"; ".join(skipped)}.\n' if skipped else ''))


def messages(result: Result) -> str:
    """Milliseconds of each act."""
    by_what: dict[str, dict[str, str]] = {}
    for row in result['rows']:
        by_what.setdefault(row['what'], {})[row['of']] = _micro(row['wall_ms'])
    sizes = [of for of in dict.fromkeys(row['of'] for row in result['rows']) if of != 'answers']
    return (
        _where(result) + _table(
            ['sensor_msgs/Image, µs, median', *sizes],
            [[what, *(cells.get(size, '–') for size in sizes)]
             for what, cells in by_what.items() if 'answers' not in cells])
        + '\n' + _table(['the answer about one person', 'µs, median'], [
            [what, cells['answers']] for what, cells in by_what.items() if 'answers' in cells])
        + '\n' + ' '.join(result['notes']) + '\n')


def _micro(figures: Result) -> str:
    return f'{1000 * figures["p50"]:.3g}'


def graph(result: Result) -> str:
    """Latency, throughput, load, start; and what the settings bring."""
    text = _where(result)
    if 'layouts' in result:
        text += _layouts(result['layouts'])
    if 'ramp' in result:
        text += '\n' + _table(
            ['size', 'images a second with ≤ 5 % unanswered', 'what ended it',
             'p95 ms at 60 Hz', 'CPU at 60 Hz'],
            [_ramp(size, ramp) for size, ramp in result['ramp'].items()])
    return text + '\n' + _bars(result)


def settings(result: Result) -> str:
    """What transport, allocator and the way of publishing bring."""
    return _table(
        ['size', 'transport', 'allocator settings', 'published', 'answered', 'p50 ms', 'p95 ms',
         'publish p50 ms', 'nodes CPU %', 'nodes RSS MB'],
        [[row['size'], row['transport'], 'ours' if row['allocator'] else 'none', row['path'],
          f'{row["share"]:.1%}', _ms(row['latency_ms']), _ms(row['latency_ms'], 'p95'),
          _ms(row['publish_ms']), row['nodes_cpu_percent'], row['nodes_rss_mb']]
         for row in result.get('settings', [])])


def _layouts(layouts: Result) -> str:
    rows = []
    for name, cell in layouts.items():
        if not isinstance(cell, dict):
            continue
        rows.append([
            name, *(_ms(cell['latency_ms'], key) for key in ('p50', 'p95', 'p99')),
            f'{cell["share"]:.1%}', cell['nodes_cpu_percent'], cell['nodes_rss_mb']])
        rows += [
            [f'– `{process}`', '', '', '', '', row['cpu_percent'], round(row['rss_mb'])]
            for process, row in cell['processes'].items()
            if process != 'camera' and len(cell['processes']) > 2]
    return _table(['nodes, 720p at 30 Hz', 'p50 ms', 'p95', 'p99', 'answered', 'CPU % of a core',
                   'RSS MB'], rows)


def _ramp(size: str, ramp: Result) -> list[str]:
    near = min(ramp['steps'], key=lambda step: abs(step['fps'] - 60))
    return [
        size, f'{ramp["sustained_fps"]:.0f}', ramp['limit'],
        f'{_ms(near["latency_ms"], "p95")} (at {near["fps"]})', f'{near["nodes_cpu_percent"]} %']


def _bars(result: Result) -> str:
    """Return what is asked of the graph, and whether it holds."""
    rows = []

    def row(what: str, limit: str, measured: str, holds: bool) -> None:
        rows.append([what, limit, measured, _word(holds)])

    if 'imports' in result:
        took = result['imports']['aitable_ros']['p50']
        row('`import aitable_ros`', '< 0.2 s', f'{took / 1e3:.4f} s', took < LIMITS['import_ms'])
    if 'start' in result:
        took = result['start']['median_s']
        row('process start to the first `FatigueState` of a person, median of '
            f'{result["start"]["starts"]}', '< 2.5 s',
            f'{took:.2f} s (longest {result["start"]["longest_s"]:.2f})', took < LIMITS['start_s'])
    if 'layouts' in result:
        one = result['layouts']['one process']
        p95 = one['latency_ms'].get('p95', float('inf'))
        row('one process, RSS', '≤ 300 MB', f'{one["nodes_rss_mb"]} MB',
            one['nodes_rss_mb'] <= LIMITS['rss_mb'])
        row('one process, 720p30, p95 stamp → `FatigueState`', '≤ 6.5 ms', f'{p95:.1f} ms',
            p95 <= LIMITS['p95_ms'])
        row('one process, 720p30, CPU', '≤ 15 % of a core', f'{one["nodes_cpu_percent"]} %',
            one['nodes_cpu_percent'] <= LIMITS['cpu_percent'])
    if '480p' in result.get('ramp', {}):
        fps = result['ramp']['480p']['sustained_fps']
        row('480p, sustained', '≥ 60 fps', f'{fps:.0f} fps', fps >= LIMITS['fps_480p'])
    return _table(['asked', 'limit', 'measured', ''], rows)


def models_gpu(result: Result) -> str:
    """Milliseconds host to host on a GPU, beside PyTorch."""
    about = '; '.join(f'{kind}: ' + ', '.join(f'{key} {value}' for key, value in what.items())
                      for kind, what in result['about'].items())
    text = f'{result["at"]}; {about}.\n'
    for title, rows in result['tables'].items():
        text += f'\n{title}\n\n' + _table(
            ['', 'p50 ms', 'p95 ms', 'ours over it'],
            [[name, f'{row["p50_ms"]:.3f}', f'{row["p95_ms"]:.3f}', row.get('ours_over_this', '–')]
             if 'p50_ms' in row else [name, row.get('error', 'not measured'), '', '']
             for name, row in rows.items()])
    return text


TABLES: dict[str, tuple[str, Callable[[Result], str]]] = {
    'models': ('models', models), 'stages': ('stages', stages), 'peers': ('peers', peers),
    'messages': ('messages', messages), 'graph': ('graph', graph), 'settings': ('graph', settings),
    'models_gpu': ('models_gpu', models_gpu)}
"""Name of the place in the page -> which result, and what makes its table."""
