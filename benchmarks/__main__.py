# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
``python -m benchmarks`` measures everything that can run on this machine; ``make bench`` does.

Each part runs in a process of its own and writes ``benchmarks/results/PART.json``; then the tables
and plots of ``docs/performance.md`` are written from what is there.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec
import os
from pathlib import Path
import subprocess
import sys
from time import monotonic

from aitable_ros.errors import InputError
from benchmarks import measure

PARTS = {
    'models': ('models_cpu', 'each model on each backend, by batch'),
    'stages': ('stages', 'the pipeline by stage, size and number of faces'),
    'peers': ('race', 'the same frames in MediaPipe, OpenCV and others'),
    'messages': ('messages', 'what it costs to pack and unpack messages'),
    'graph': ('graph', 'the nodes over DDS: latency, throughput, CPU, memory'),
}
"""Name -> module with ``add_arguments`` and ``run``, and what it is."""
WITH_ROS = ('stages', 'messages', 'graph')


def main() -> int:
    """Run a part, or all of them; 0 where everything that can run here did."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks', description='Measures aitable_ros on this machine.')
    parser.add_argument(
        '--quick', action='store_true', help='some two minutes in all, to see that it works; the '
        'figures are no good')
    parser.add_argument(
        '--results', type=Path, metavar='FOLDER', help='where the JSON files go (default: '
        'benchmarks/results; with --quick quick/ in the cache folder of the benchmarks)')
    parser.add_argument('--clip', type=Path, metavar='FILE', help='a film for the peers part')
    parser.add_argument(
        '--with-fer', action='store_true', help='also the fer package, which installs TensorFlow')
    parts = parser.add_subparsers(dest='part', metavar='PART')
    for name, (module, text) in PARTS.items():
        import_module(f'benchmarks.{module}').add_arguments(parts.add_parser(name, help=text))
    report = parts.add_parser('report', help='write the tables and plots from the results')
    report.add_argument(
        '--check', action='store_true', help='write nothing; print the tables of the results')
    args = parser.parse_args()
    try:
        return _act(args)
    except InputError as error:
        measure.say(f'benchmarks: {error}')
        return 2


def _act(args: argparse.Namespace) -> int:
    args.results = args.results or (measure.cache() / 'quick' if args.quick else measure.RESULTS)
    if args.part is None:
        return _all(sys.argv[1:])
    if args.part == 'report':
        from benchmarks import report as reporting

        return reporting.write(args.results, check=args.check)
    if args.part in WITH_ROS:
        try:
            import_module('aitable_ros.tools.demo').prepare_ros()  # may start this process anew
        except InputError:
            if args.part != 'stages':  # does without, and says so
                raise
    (args.results / f'{args.part}.json').unlink(missing_ok=True)  # a part that fails has no result
    began, load = monotonic(), os.getloadavg()[0]
    figures = import_module(f'benchmarks.{PARTS[args.part][0]}').run(args)
    content = {'machine': measure.machine(), 'quick': args.quick,
               'load_before': round(load, 2), 'seconds': round(monotonic() - began), **figures}
    measure.say(f'{args.part}: {measure.write(args.part, content, args.results)}, '
                f'{content["seconds"]} s')
    return 0


def _all(options: list[str]) -> int:
    here = [sys.executable, '-m', 'benchmarks', *options]
    commands = {part: [*here, part] for part in PARTS} | _gpu() | {'report': [*here, 'report']}
    failed = [part for part, command in commands.items()
              if subprocess.run(command, cwd=measure.ROOT).returncode]
    if failed:
        measure.say(f'these parts failed: {", ".join(failed)}')
    return 1 if failed else 0


def _gpu() -> dict[str, list[str]]:
    """Return the command of the GPU part, where there is TensorRT and an engine to run."""
    from aitable_ros.models.catalogue import model_home

    engines = sorted(model_home().glob('*.engine'))
    if not find_spec('tensorrt') or not engines:
        measure.say('gpu: not run, as there is '
                    + ('no engine in the model folder' if find_spec('tensorrt') else 'no TensorRT'))
        return {}
    named = {'emonet' if path.stem == 'emonet_fp16' else path.stem: path for path in engines}
    return {'gpu': [
        sys.executable, 'benchmarks/models_gpu.py',
        *(f'{name}={path}' for name, path in named.items()),
        '--batches', *(('1', '8') if find_spec('torch') else ())]}


if __name__ == '__main__':
    sys.exit(main())
