# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Nodes in one process or several, a camera, and ears in this process; for part c."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import json
import os
from pathlib import Path
import struct
import sys
import time
from typing import Any
from unittest.mock import patch

import numpy as np

from aitable_ros.nodes import environment
from aitable_ros.tools.bench import Meter
from aitable_ros.tools.child_process import Child
from benchmarks import measure

NAMESPACE = '/aitable_bench'
IMAGE = f'{NAMESPACE}/image'
LAYOUTS = {'one process': ('pipeline',),
           'a process each': ('face_detector', 'fatigue', 'emotion')}
TRANSPORTS = {'our profile': None, 'LARGE_DATA': 'LARGE_DATA', 'Fast DDS as it comes': 'DEFAULT'}
"""What is said -> ``FASTDDS_BUILTIN_TRANSPORTS``; with that set, our profile is left out."""
ENOUGH_S = 90.0
DRAIN_S = 0.7
_STAMP = struct.Struct('<iI')
_START = ('import sys; from aitable_ros.nodes import environment; {more}'
          'from aitable_ros.nodes.executables import {name}; sys.exit({name}())')


@contextmanager
def settings(transport: str = 'our profile', *, allocator: bool = True) -> Iterator[None]:
    """While open, children start with this transport, and with our allocator settings or none."""
    ours = {*environment.OWN_TRANSPORT_VARIABLES, *environment.ALLOCATOR}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    if TRANSPORTS[transport]:
        kept['FASTDDS_BUILTIN_TRANSPORTS'] = str(TRANSPORTS[transport])
    with ExitStack() as changed:
        changed.enter_context(patch.dict(os.environ, kept, clear=True))
        if not allocator:
            changed.enter_context(patch.object(environment, 'ALLOCATOR', {}))
        yield


def start(name: str, folder: Path) -> Child:
    """Start one of the package's executables."""
    more = '' if environment.ALLOCATOR else 'environment.ALLOCATOR = {}; '
    return Child(name, [
        sys.executable, '-c', _START.format(name=name, more=more), '--ros-args',
        '-r', f'__ns:={NAMESPACE}', '-r', f'image:={IMAGE}', '--log-level', 'warn'],
        folder / f'{name}.log')


class Camera(ExitStack):
    """The process of :mod:`benchmarks.camera`."""

    def __init__(self, size: str, folder: Path, frames: int = 30) -> None:
        super().__init__()
        self._answers = folder / f'camera_{size}_{time.monotonic_ns()}'
        self._answers.touch()
        self._read = 0
        self.child = Child('camera', [
            sys.executable, '-m', 'benchmarks.camera', size, str(frames), IMAGE,
            str(self._answers)], folder / 'camera.log', gated=True)
        self.callback(self.child.end)

    def order(self, **what: Any) -> None:
        """Give an order; none at all ends the last one."""
        assert self.child.process.stdin is not None
        self.child.process.stdin.write(json.dumps(what).encode() + b'\n')

    def answer(self) -> dict[str, Any] | None:
        """Return the next answer; None while there is none."""
        self.child.check()
        lines = self._answers.read_text().rpartition('\n')[0].splitlines()
        if len(lines) <= self._read:
            return None
        self._read += 1
        return dict(json.loads(lines[self._read - 1]))


@dataclass(frozen=True, slots=True)
class Answer:
    """A ``FatigueState`` as it came: the image's stamp, and the wall clock when it was received."""

    stamp_ns: int
    receive_ns: int
    raw: bytes


class Ears(ExitStack):
    """Hears the answers."""

    def __init__(self) -> None:
        super().__init__()
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from rclpy.signals import SignalHandlerOptions

        from aitable_msgs.msg import FatigueState

        context = rclpy.Context()
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        self.callback(context.try_shutdown)
        self._node = rclpy.create_node(
            'bench_ears', namespace=NAMESPACE, context=context, enable_rosout=False,
            start_parameter_services=False)
        self.callback(self._node.destroy_node)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self.callback(self._executor.shutdown)
        self.heard: list[Answer] = []
        self._node.create_subscription(
            FatigueState, 'fatigue', self._keep, QoSProfile(depth=1000), raw=True)

    def listen(self, seconds: float) -> None:
        """Take in what comes."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def ready(self) -> bool:
        """Return whether the nodes publish and the camera is heard."""
        topics = ('faces', 'fatigue', 'emotion')
        return all(map(self._node.count_publishers, topics)) \
            and bool(self._node.count_subscribers(IMAGE))

    def gone(self) -> bool:
        """Return whether no node publishes any more."""
        return not self._node.count_publishers('fatigue')

    def people(self) -> bool:
        """Return whether an answer about a person came."""
        from rclpy.serialization import deserialize_message

        from aitable_msgs.msg import FatigueState

        return any(deserialize_message(one.raw, FatigueState).track_id for one in self.heard)

    def _keep(self, raw: bytes) -> None:
        seconds, rest = _STAMP.unpack_from(raw, 4)  # the header is the message's first field
        self.heard.append(Answer(seconds * 1_000_000_000 + rest, time.time_ns(), bytes(raw)))


def wait(ears: Ears, what: Any, children: list[Child], limit_s: float = ENOUGH_S) -> None:
    """
    Listen until something is true.

    :raises TimeoutError: it does not become true
    """
    end = time.monotonic() + limit_s
    while not what():
        for child in children:
            child.check()
        ears.listen(0.02)
        if time.monotonic() > end:
            raise TimeoutError('the nodes did not come up, or did not go')


@contextmanager
def nodes(layout: str, ears: Ears, folder: Path) -> Iterator[list[Child]]:
    """Run a layout's processes, ready."""
    with ExitStack() as opened:
        children = []
        for name in LAYOUTS[layout]:
            child = start(name, folder)
            opened.callback(child.end)
            children.append(child)
        wait(ears, ears.ready, children)
        ears.listen(0.5)
        yield children
    wait(ears, ears.gone, [])


def play(
    camera: Camera, ears: Ears, children: list[Child], *, fps: float, seconds: float,
    path: str = 'serialized',
) -> dict[str, Any]:
    """Send images for some time; return what came back of them and what it took."""
    ears.heard.clear()
    meters = {child.name: Meter(child.pid) for child in (*children, camera.child)}
    camera.order(fps=fps, seconds=seconds, path=path)
    answer = None
    while answer is None:
        ears.listen(0.1)
        answer = camera.answer()
    for meter in meters.values():
        meter.read()
    ears.listen(DRAIN_S)
    first: dict[int, int] = {}
    for one in ears.heard:
        first.setdefault(one.stamp_ns, one.receive_ns)
    sent = answer['stamps']
    latency = [(first[stamp] - stamp) / 1e6 for stamp in sent if stamp in first]
    return {
        'fps': fps, 'reached_fps': round(len(sent) / max(answer['seconds'], 1e-9), 1),
        'sent': len(sent), 'answered': len(latency),
        'share': round(len(latency) / max(len(sent), 1), 4), 'latency': latency,
        'publish': answer['publish_ms'],
        'processes': {name: {
            'cpu_percent': round(meter.load.cpu_percent, 1), 'rss_mb': round(meter.load.rss_mb),
            'peak_rss_mb': round(meter.load.peak_rss_mb)} for name, meter in meters.items()}}


def merged(plays: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of several plays of one kind."""
    sent = sum(one['sent'] for one in plays)
    answered = sum(one['answered'] for one in plays)
    processes = {}
    for name in plays[0]['processes']:
        rows = [one['processes'][name] for one in plays]
        processes[name] = {
            key: round(float(np.median([row[key] for row in rows])), 1) for key in rows[0]}
    return {
        'fps': plays[0]['fps'], 'reached_fps': min(one['reached_fps'] for one in plays),
        'sent': sent, 'answered': answered, 'share': round(answered / max(sent, 1), 4),
        'latency_ms': measure.figures([value for one in plays for value in one['latency']]),
        'publish_ms': measure.figures([value for one in plays for value in one['publish']]),
        'processes': processes,
        'nodes_cpu_percent': round(sum(
            row['cpu_percent'] for name, row in processes.items() if name != 'camera'), 1),
        'nodes_rss_mb': round(sum(
            row['rss_mb'] for name, row in processes.items() if name != 'camera'))}
