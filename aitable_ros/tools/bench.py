# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable bench``: answered images, latency and load of the nodes on this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import sys
from tempfile import TemporaryDirectory
import time
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.tools.camera import add_source_arguments

LEAST_ANSWERED = 0.99
MOST_P95_MS = 33.0  # a frame at 30 fps
PROCESSES = ('pipeline', 'camera', 'listener')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    benches = parser.add_subparsers(dest='bench', metavar='BENCH', required=True)
    ros = benches.add_parser(
        'ros', help='camera, nodes and listener in three processes over DDS',
        description='Plays the scripted clip to the nodes over DDS and listens in a third process. '
        f'Exit status 1 below {LEAST_ANSWERED:.0%} answered or with p95 at {MOST_P95_MS:g} ms '
        'or more.')
    add_source_arguments(ros)
    ros.set_defaults(input=None)
    ros.add_argument('--params-file', type=Path, metavar='FILE', help='parameters of the nodes')
    ros.add_argument('--json', action='store_true', help='print the figures as JSON only')


@dataclass(frozen=True, slots=True)
class Load:
    """
    The load of a process.

    :param cpu_percent: of one core, over the run
    :param rss_mb: resident at the end
    :param peak_rss_mb: the most it was
    """

    cpu_percent: float
    rss_mb: float
    peak_rss_mb: float


class Meter:
    """Reads a process's own figures from /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._begin_s = time.monotonic()
        self._begin_cpu_s = self._cpu_s()
        self.load = Load(0.0, 0.0, 0.0)

    def read(self) -> None:
        """Take a reading; one that comes too late, after its end, leaves the last."""
        try:
            elapsed_s = max(time.monotonic() - self._begin_s, 1e-3)
            cpu_s = self._cpu_s() - self._begin_cpu_s
            status = dict(
                line.split(':', 1) for line in
                Path(f'/proc/{self._pid}/status').read_text().splitlines())
            rss, peak = (int(status[key].split()[0]) / 1024 for key in ('VmRSS', 'VmHWM'))
        except (OSError, KeyError):
            return
        self.load = Load(100 * cpu_s / elapsed_s, rss, peak)

    def _cpu_s(self) -> float:
        """User and system time; counted from the end of the name, which may hold anything."""
        fields = Path(f'/proc/{self._pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def run(args: argparse.Namespace) -> int:
    """
    Run the bench.

    :return: 0 within the limits, 1 not
    """
    from aitable_ros.tools.demo import check_models, prepare_ros

    if not Path('/proc/self/stat').exists():
        raise InputError('bench reads /proc and so needs Linux')
    prepare_ros()
    check_models(args.params_file)
    from aitable_ros.tools.child_process import ProcessError

    try:
        with TemporaryDirectory(prefix='aitable_bench_') as folder:
            figures = _measure(args, Path(folder))
    except ProcessError as error:
        print(f'aitable bench: {error}', file=sys.stderr)  # noqa: T201
        return 1
    return tell(figures, as_json=args.json)


def tell(figures: dict[str, Any], *, as_json: bool) -> int:
    """Print the figures of a run; returns the exit status, 0 within the limits and 1 not."""
    print(json.dumps(figures) if as_json else _page(figures))  # noqa: T201
    return 0 if figures['passed'] else 1


def _measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from aitable_ros.tools.camera import open_input
    from aitable_ros.tools.demo import camera_arguments
    from aitable_ros.tools.latency import Latency, Percentiles, stages
    from aitable_ros.tools.live_graph import LiveGraph
    from aitable_ros.tools.live_table import display

    open_input(None, args)  # refuses bad figures before anything starts
    with display(quiet=args.json) as shown, LiveGraph(
            folder, camera=camera_arguments(args), parameters=args.params_file,
            on_stage=shown.stage) as graph:
        meters: dict[str, Meter] = {}
        for _ in graph.run(period_s=0.5):
            if not meters and graph.received.fatigue:
                pids = (graph.nodes.pid, graph.camera.pid, os.getpid())
                meters = {name: Meter(pid) for name, pid in zip(PROCESSES, pids)}
            for meter in meters.values():
                meter.read()
        graph.close()
        latency = Latency(graph.received, graph.sent())
    percentiles = Percentiles.of(latency.samples_ms['fatigue'])
    return {
        'size': args.size, 'fps': args.fps, 'frames': latency.images,
        'answered': latency.answered, 'answered_share': round(latency.answered_share, 5),
        'latency_ms': {key: round(value, 3) for key, value in asdict(percentiles).items()},
        'processes': {name: {
            key: round(value, 1) for key, value in asdict(meter.load).items()}
            for name, meter in meters.items()},
        'backend': {stage.stage: f'{stage.model} on {stage.backend}, {stage.precision}'
                    for stage in stages(graph.received)},
        'exit_status': graph.exit_status,
        'passed': within_limits(latency.answered_share, percentiles.p95),
    }


def within_limits(answered_share: float, p95_ms: float) -> bool:
    """Tell whether images were answered often and soon enough."""
    return answered_share >= LEAST_ANSWERED and p95_ms < MOST_P95_MS


def _page(figures: dict[str, Any]) -> str:
    latency = figures['latency_ms']
    enough = figures['answered_share'] >= LEAST_ANSWERED
    quick = latency['p95'] < MOST_P95_MS
    lines = [
        f"images     {figures['frames']} of {figures['size']} at {figures['fps']:g} fps",
        f"answered   {figures['answered']} = {figures['answered_share']:.2%}"
        f"  {_word(enough)} (at least {LEAST_ANSWERED:.0%})",
        f"latency    p50 {latency['p50']:.1f}, p95 {latency['p95']:.1f}, p99 {latency['p99']:.1f} "
        f'ms, image stamp to FatigueState received'
        f'  {_word(quick)} (p95 below {MOST_P95_MS:g} ms)']
    lines += [
        f"{name:10} {load['cpu_percent']:.0f} % of a core, {load['rss_mb']:.0f} MB resident "
        f"(peak {load['peak_rss_mb']:.0f})" for name, load in figures['processes'].items()]
    lines += [f'{stage:10} {what}' for stage, what in figures['backend'].items()]
    return '\n'.join(lines)


def _word(good: bool) -> str:
    return 'pass' if good else 'FAIL'
