# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
What a fault is, and how the process that it is injected into is started.

One function a fault (``soak_faults_camera``, ``_models``, ``_process``). What it does inside ``with
rig.fault():`` is the fault; before and after, all must be well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
import subprocess

from soak_camera import jpeg
from soak_rig import Rig


@dataclass(frozen=True, slots=True)
class Start:
    """
    How the pipeline process is started.

    :param transport: of the images
    :param sim_time: nodes take their time from ``/clock``
    :param full_disk: logs go to a file system without room, and standard error to ``/dev/full``
    :param memory_order: ``memory`` orders for a library before the start
    """

    transport: str = 'raw'
    sim_time: bool = False
    full_disk: bool = False
    memory_order: str = ''


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One fault.

    :param act: does it
    :param does: in words
    :param keeps: people and their windows must be there afterwards as before
    :param start: how the process is started; faults that are started alike share one
    :param back_s: within this time of the fault's end images are answered again
    :param lines: the log may say as much about it
    :param threads: it may leave so many behind
    :param level: least level of ``/diagnostics`` that must be seen meanwhile
    """

    name: str
    act: Callable[[Rig], None]
    does: str
    keeps: bool
    start: Start
    back_s: float
    lines: int
    level: int
    threads: int = 2


FAULTS: list[Fault] = []


def fault(
    does: str, *, keeps: bool = True, start: Start = Start(), back_s: float = 1.0,  # noqa: B008
    lines: int = 8, level: int = 0, threads: int = 2,
) -> Callable[[Callable[[Rig], None]], Callable[[Rig], None]]:
    """Add a function to the faults."""
    def add(act: Callable[[Rig], None]) -> Callable[[Rig], None]:
        FAULTS.append(Fault(act.__name__, act, does, keeps, start, back_s, lines, level, threads))
        return act
    return add


class SimClock:
    """Publishes ``/clock`` at 100 Hz until it is told to pause."""

    def __init__(self, rig: Rig) -> None:
        from rclpy.qos import QoSProfile
        from rosgraph_msgs.msg import Clock

        self.paused = False
        self._publisher = rig.node.create_publisher(Clock, '/clock', QoSProfile(depth=1))
        self._clock = Clock
        self._stamp = rig.camera.stamp
        rig.node.create_timer(0.01, self._tick)

    def _tick(self) -> None:
        from aitable_ros.nodes.messages import CODEC

        if not self.paused:
            self._publisher.publish(self._clock(clock=CODEC.time_message(self._stamp())))


@contextmanager
def started(
    start: Start, folder: Path, size: tuple[int, int], fps: float = 30.0,
) -> Iterator[Rig]:
    """Start a pipeline process as a fault wants it."""
    arguments = ['-p', 'use_sim_time:=true'] if start.sim_time else []
    environment = {}
    full = folder / 'full'
    with suppress_unmounted(full, start.full_disk):
        if start.full_disk:
            environment['ROS_LOG_DIR'] = str(full)
        rig = Rig(folder, size=size, fps=fps, transport=start.transport, arguments=arguments,
                  environment=environment)
        if start.transport == 'compressed':
            rig.camera.shape = jpeg
        if start.full_disk:
            rig.log_to = Path('/dev/full')
        if start.memory_order:
            folder.mkdir(parents=True, exist_ok=True)
            rig.tell(do='memory', backend=start.memory_order)
        if start.sim_time:
            rig.on_listening = lambda: rig.extra.update(clock=SimClock(rig))
        with rig:
            yield rig


@contextmanager
def suppress_unmounted(full: Path, wanted: bool) -> Iterator[None]:
    """
    Mount a file system without room where one is wanted.

    :raises PermissionError: we may not mount; who runs this must be root in a container, or so
    """
    if not wanted:
        yield
        return
    full.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=8k', 'none', str(full)], capture_output=True,
        text=True, check=False)
    if done.returncode:
        raise PermissionError(f'cannot mount a full file system: {done.stderr.strip()}')
    try:
        with suppress(OSError):
            (full / 'filling').write_bytes(bytes(8192))
        yield
    finally:
        subprocess.run(['umount', '-l', str(full)], check=False)
