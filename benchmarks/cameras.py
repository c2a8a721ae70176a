# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Many cameras: how many images of 720p at 30 Hz are answered, by cameras a process.

``python -m benchmarks.cameras --cameras 16 --per-process 4 16`` starts synthetic cameras (one
process for four of them) and `aitable run` with a group size, once for each size, and writes a JSON
file. What is measured is what a user starts: processes, DDS, the models of the parameters.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from contextlib import ExitStack
import json
import os
from pathlib import Path
import struct
import sys
from tempfile import TemporaryDirectory
import time
from typing import Any

from benchmarks import measure

NAMESPACE = '/aitable_cameras'
DOMAIN = '88'
"""A domain of its own, so that nothing else that runs here joins in."""
TOGETHER = 4
"""Cameras of one publishing process: it takes some 0.6 ms for an image of 720p."""
FRAMES = 30
WARM_UP_S = 3.0
"""First answers, looks of the detector and CUDA graphs are not measured."""
ENOUGH_S = 240.0
"""For the start of all processes; an engine takes seconds to load."""
DRAIN_S = 1.0
_STAMP = struct.Struct('<iI')


def _topic(camera: str) -> str:
    return f'{NAMESPACE}/{camera}/image'


def publish(size: str, fps: float, seconds: float, go: Path, out: Path, names: list[str]) -> int:
    """Publish the images of some cameras, in turn, once the file ``go`` says when to begin."""
    from aitable_ros.nodes import environment

    environment.prepare()
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    from benchmarks.camera import Ring
    from benchmarks.pictures import SIZES

    rclpy.init(args=[])
    node = rclpy.create_node(f'cameras_{names[0]}', start_parameter_services=False)
    publishers = [node.create_publisher(Image, _topic(name), qos_profile_sensor_data)
                  for name in names]
    ring = Ring(SIZES[size], FRAMES)
    out.touch()
    while not go.exists():
        time.sleep(0.05)
    begin = float(go.read_text())
    stamps: dict[str, list[int]] = {name: [] for name in names}
    late = 0
    for number in range(round(fps * seconds) * len(names)):
        index, camera = divmod(number, len(names))
        due = begin + number / (fps * len(names))
        left = due - time.time()
        if left > 0:
            time.sleep(left)
        late += left < -1 / fps
        stamp_ns = time.time_ns()
        publishers[camera].publish(ring(index + 7 * camera, stamp_ns, 'serialized'))
        stamps[names[camera]].append(stamp_ns)
    out.write_text(json.dumps({'stamps': stamps, 'late': late}))
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


class Ears(ExitStack):
    """Hears the answers about every camera: receive time by stamp."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile

        from aitable_msgs.msg import FatigueState

        rclpy.init(args=[])
        self.callback(rclpy.try_shutdown)
        self._node = rclpy.create_node(
            'cameras_ears', enable_rosout=False, start_parameter_services=False)
        self.callback(self._node.destroy_node)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self.heard: dict[str, dict[int, int]] = defaultdict(dict)
        for name in names:
            self._node.create_subscription(
                FatigueState, f'{NAMESPACE}/{name}/fatigue',
                lambda raw, heard=self.heard[name]: _keep(heard, raw), QoSProfile(depth=1000),
                raw=True)

    def listen(self, seconds: float) -> None:
        """Take in what comes."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def ready(self, names: list[str]) -> bool:
        """Whether the nodes of every camera are there, and its publisher."""
        return all(
            self._node.count_publishers(f'{NAMESPACE}/{name}/{topic}')
            for name in names for topic in ('faces', 'fatigue', 'emotion')) and all(
            self._node.count_subscribers(_topic(name)) and self._node.count_publishers(_topic(name))
            for name in names)


def _keep(heard: dict[int, int], raw: bytes) -> None:
    seconds, rest = _STAMP.unpack_from(raw, 4)  # the header is the message's first field
    heard.setdefault(seconds * 1_000_000_000 + rest, time.time_ns())


def play(args: argparse.Namespace, per_process: int) -> dict[str, Any]:
    """Run all cameras once; return the figures."""
    from aitable_ros.tools.bench import Meter
    from aitable_ros.tools.child_process import Child

    names = [f'camera{number}' for number in range(args.cameras)]
    with TemporaryDirectory(prefix='aitable_cameras_') as name, ExitStack() as opened:
        folder, go = Path(name), Path(name) / 'go'
        cameras = []
        for at in range(0, len(names), TOGETHER):
            out = folder / f'out{at}.json'
            child = Child('cameras', [
                sys.executable, '-m', 'benchmarks.cameras', '--publish', *names[at:at + TOGETHER],
                '--size', args.size, '--fps', str(args.fps), '--seconds',
                str(WARM_UP_S + args.seconds), '--go', str(go), '--out', str(out)],
                folder / f'cameras{at}.log')
            opened.callback(child.end)
            cameras.append((child, out))
        command = [sys.executable, '-m', 'aitable_ros', 'run', '--cameras-per-process',
                   str(per_process)]
        for camera in names:
            command += ['--camera', f'{camera}={_topic(camera)}']
        ros = ['--ros-args', '-r', f'__ns:={NAMESPACE}', '--log-level', 'warn']
        if args.params_file:
            ros += ['--params-file', str(args.params_file)]
        nodes = Child('nodes', [*command, *ros], folder / 'nodes.log')
        opened.callback(nodes.end)
        ears = opened.enter_context(Ears(names))
        end = time.monotonic() + ENOUGH_S
        while not (ears.ready(names) and all(out.exists() for _, out in cameras)):
            ears.listen(0.5)
            nodes.check()
            for child, _ in cameras:
                child.check()
            if time.monotonic() > end:
                raise TimeoutError(f'not all cameras came up: {nodes.last_output()}')
        processes = _processes(nodes.pid)
        begin = time.time() + 1.0
        go.with_suffix('.new').write_text(str(begin))
        go.with_suffix('.new').rename(go)
        ears.listen(1.0 + WARM_UP_S)
        meters = [Meter(pid) for pid in processes]
        cameras_meters = [Meter(child.pid) for child, _ in cameras]
        ears.listen(args.seconds)
        for meter in (*meters, *cameras_meters):
            meter.read()
        ears.listen(DRAIN_S)
        while not all(out.read_text() for _, out in cameras):
            ears.listen(0.2)
            for child, _ in cameras:
                child.process.poll()
        said = [json.loads(out.read_text()) for _, out in cameras]
        log = nodes.last_output(8)
    since_ns = round((begin + WARM_UP_S) * 1e9)
    shares, latency, sent = {}, [], 0
    for one in said:
        for camera, stamps in one['stamps'].items():
            counted = [stamp for stamp in stamps if stamp >= since_ns]
            heard = ears.heard[camera]
            answers = [(heard[stamp] - stamp) / 1e6 for stamp in counted if stamp in heard]
            shares[camera] = round(len(answers) / max(len(counted), 1), 4)
            latency += answers
            sent += len(counted)
    return {
        'cameras': args.cameras, 'per_process': per_process, 'processes': len(processes),
        'size': args.size, 'fps': args.fps, 'seconds': args.seconds, 'sent': sent,
        'late': sum(one['late'] for one in said),
        'answered': len(latency), 'share': round(len(latency) / max(sent, 1), 4),
        'answered_a_second': round(len(latency) / args.seconds, 1),
        'least_share': min(shares.values()), 'latency_ms': measure.figures(latency),
        'cpu_percent': [round(meter.load.cpu_percent, 1) for meter in meters],
        'rss_mb': [round(meter.load.rss_mb) for meter in meters],
        'cameras_cpu_percent': [round(meter.load.cpu_percent, 1) for meter in cameras_meters],
        'log': log}


def _processes(pid: int) -> list[int]:
    """Return the processes that `aitable run` started; itself where it started none."""
    children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    return [int(child) for child in children] or [pid]


def main() -> int:
    """Measure each group size in turn, and write the result."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.cameras', description=__doc__)
    parser.add_argument('--cameras', type=int, default=4)
    parser.add_argument('--per-process', type=int, nargs='+', default=[4], metavar='N')
    parser.add_argument('--size', default='720p', choices=('480p', '720p', '1080p'))
    parser.add_argument('--fps', type=float, default=30.0)
    parser.add_argument('--seconds', type=float, default=20.0)
    parser.add_argument('--params-file', type=Path, metavar='FILE')
    parser.add_argument('--output', type=Path, metavar='FILE', help='default: only printed')
    for name in ('--publish', '--go', '--out'):
        parser.add_argument(name, nargs='+' if name == '--publish' else None,
                            help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', DOMAIN)
    if args.publish:
        return publish(
            args.size, args.fps, args.seconds, Path(args.go), Path(args.out), args.publish)
    from aitable_ros.tools.demo import prepare_ros

    prepare_ros()
    rows: list[dict[str, Any]] = []
    result = {'machine': measure.machine(),
              'parameters': args.params_file.name if args.params_file else 'default', 'rows': rows}
    for per_process in args.per_process:
        row = play(args, per_process)
        rows.append(row)
        measure.say(
            f'{row["cameras"]} cameras, {row["processes"]} processes: {row["share"]:.1%} answered '
            f'(least {row["least_share"]:.1%}), {row["answered_a_second"]:.0f} a second, p50 '
            f'{row["latency_ms"].get("p50")} ms, p95 {row["latency_ms"].get("p95")}, '
            f'CPU {row["cpu_percent"]} %')
        if args.output:
            args.output.write_text(json.dumps(result, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
