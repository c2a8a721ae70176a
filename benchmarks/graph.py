# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Part c: the nodes over DDS, seen from outside: latency, throughput, CPU, memory, start."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
import os
from pathlib import Path
import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory
import time
from typing import Any

from benchmarks import measure

LEAST_SHARE = 0.95
"""Throughput is the highest rate at which no more than 5 % of the images stay without an answer."""
STEP = 1.25
"""From one rate of the ramp to the next; a quick run takes two of them at once."""
FIRST_FPS = 30.0
DOMAIN = '87'
"""A domain of its own, so that nothing else that runs here joins in."""
IMPORTS = {
    'aitable_ros': 'import aitable_ros',
    'the pipeline': 'from aitable_ros.pipeline import Pipeline',
    'the executables': 'import aitable_ros.nodes.executables'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the part's arguments."""
    parser.add_argument(
        '--only', nargs='+', choices=('layouts', 'ramp', 'start', 'settings', 'imports'),
        default=['layouts', 'ramp', 'start', 'settings', 'imports'])


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns the result."""
    os.environ.setdefault('ROS_DOMAIN_ID', DOMAIN)
    from benchmarks.deployment import Ears

    acts = {'imports': _imports, 'start': _start, 'layouts': _layouts, 'ramp': _ramp,
            'settings': _settings}
    figures: dict[str, Any] = {}
    with TemporaryDirectory(prefix='aitable_bench_') as folder, Ears() as ears:
        for name, act in acts.items():
            if name in args.only:
                figures[name] = act(ears, Path(folder), args.quick)
    return figures


def _imports(ears: Any, folder: Path, quick: bool) -> dict[str, Any]:
    measure.say('graph: imports')
    code = 'import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)'
    taken: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(1 if quick else 15):
        for name, what in IMPORTS.items():
            ended = subprocess.run(
                [sys.executable, '-c', code.format(what)], capture_output=True, text=True,
                check=True)
            taken[name].append(float(ended.stdout) * 1e3)
    return {name: measure.figures(values) for name, values in taken.items()}


def _start(ears: Any, folder: Path, quick: bool) -> dict[str, Any]:
    """From the start of the pipeline's process to the first answer about a person."""
    from benchmarks import deployment

    starts = 1 if quick else 7
    taken: list[float] = []
    with deployment.settings(), deployment.Camera('720p', folder) as camera:
        deployment.wait(ears, camera.answer, [camera.child])
        camera.order(fps=30, seconds=40 * starts, path='serialized')
        for index in range(starts):
            measure.say(f'graph: start {index + 1} of {starts}')
            ears.listen(0.5)
            ears.heard.clear()
            began = time.monotonic()
            child = deployment.start('pipeline', folder)
            try:
                deployment.wait(ears, ears.people, [child])
                taken.append(time.monotonic() - began)
            finally:
                child.end()
            deployment.wait(ears, ears.gone, [])
        camera.order()
    return {'starts': starts, 'median_s': round(statistics.median(taken), 3),
            'longest_s': round(max(taken), 3)}


def _layouts(ears: Any, folder: Path, quick: bool) -> dict[str, Any]:
    """One process and many, in turns, 720p at 30 Hz."""
    from benchmarks import deployment

    rounds, seconds = (1, 4.0) if quick else (3, 20.0)
    plays: dict[str, list[dict[str, Any]]] = {name: [] for name in deployment.LAYOUTS}
    with deployment.settings(), deployment.Camera('720p', folder) as camera:
        deployment.wait(ears, camera.answer, [camera.child])
        for index in range(rounds):
            measure.say(f'graph: one process and many, round {index + 1} of {rounds}')
            for layout in measure.rounds_order(list(deployment.LAYOUTS), index):
                with deployment.nodes(layout, ears, folder) as children:
                    deployment.play(camera, ears, children, fps=30, seconds=2)
                    plays[layout].append(
                        deployment.play(camera, ears, children, fps=30, seconds=seconds))
    return {'size': '720p', 'rounds': rounds,
            **{layout: deployment.merged(of_it) for layout, of_it in plays.items()}}


def _ramp(ears: Any, folder: Path, quick: bool) -> dict[str, Any]:
    """Raise the rate until more than 5 % of the images stay without an answer."""
    from benchmarks import deployment

    told = {}
    for size in ('480p', '720p'):
        with deployment.settings(), deployment.Camera(size, folder) as camera, \
                deployment.nodes('one process', ears, folder) as children:
            deployment.wait(ears, camera.answer, [camera.child])
            deployment.play(camera, ears, children, fps=30, seconds=2)
            steps, sustained, limit = [], 0.0, ''
            fps = FIRST_FPS
            while not limit:
                played = deployment.play(
                    camera, ears, children, fps=round(fps), seconds=1 if quick else 6)
                steps.append(deployment.merged([played]))
                measure.say(f'graph: {size} at {fps:.0f} Hz: {played["share"]:.1%} answered')
                if played['share'] < LEAST_SHARE:
                    limit = 'the nodes'
                elif played['reached_fps'] < 0.95 * round(fps):
                    limit = 'the camera'
                else:
                    sustained = played['reached_fps']
                fps *= STEP ** (2 if quick else 1)
            keep = ('fps', 'reached_fps', 'share', 'latency_ms', 'nodes_cpu_percent')
            told[size] = {'sustained_fps': sustained, 'limit': limit,
                          'steps': [{key: step[key] for key in keep} for step in steps]}
    return told


def _settings(ears: Any, folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Transport, allocator and the camera's way of publishing; one process at 30 Hz."""
    from benchmarks import deployment

    rounds, seconds = (1, 1.0) if quick else (2, 6.0)
    sizes = ('720p',) if quick else ('720p', '1080p')
    cells = [(size, transport, allocator, 'serialized') for size in sizes
             for transport in deployment.TRANSPORTS for allocator in (True, False)
             if allocator or (transport == 'our profile' and not quick)]
    cells += [(size, 'our profile', True, 'message') for size in sizes]
    plays: dict[Any, list[dict[str, Any]]] = {cell: [] for cell in cells}
    for index in range(rounds):
        for size, transport, allocator, path in measure.rounds_order(cells, index):
            measure.say(f'graph: {size}, {transport}, allocator {"on" if allocator else "off"}, '
                        f'{path}, round {index + 1} of {rounds}')
            with ExitStack() as opened:
                opened.enter_context(deployment.settings(transport, allocator=allocator))
                camera = opened.enter_context(deployment.Camera(size, folder))
                children = opened.enter_context(deployment.nodes('one process', ears, folder))
                deployment.wait(ears, camera.answer, [camera.child])
                deployment.play(camera, ears, children, fps=30, seconds=2, path=path)
                plays[size, transport, allocator, path].append(deployment.play(
                    camera, ears, children, fps=30, seconds=seconds, path=path))
    return [{'size': size, 'transport': transport, 'allocator': allocator, 'path': path,
             **deployment.merged(of_it)}
            for (size, transport, allocator, path), of_it in plays.items()]
