# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A camera process, the nodes in another, and ears in this one: what the demo and the bench run on.

Whatever happens - the end of the clip, Ctrl-C, SIGTERM, a child that dies, this process being
killed - no child is left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import suppress
import csv
import ctypes
from dataclasses import dataclass
from dataclasses import field
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from aitable_ros.closing import Closing
from aitable_ros.errors import InputError
from aitable_ros.tools.camera import TOPIC as CAMERA_TOPIC

NAMESPACE = '/demo'
READY_S = 90.0  # loading and compiling the models on a slow machine
DRAIN_S = 1.0  # after the last image: the answer to it, and the blink that it completes
READY_PERIOD_S = 0.05
END_S = 8.0  # for a child to end when asked
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class GraphError(RuntimeError):
    """The nodes or the camera did not do their part; one line, and the last lines of the child."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as it came: its type's own object and the wall clock when it was received."""

    receive_ns: int
    message: Any


@dataclass(frozen=True, slots=True)
class Sent:
    """
    One image that the camera published.

    :param stamp_ns: in its header
    :param sent_ns: wall clock when it was published; the same where stamps are not kept
    :param closure: None where the source has no script
    """

    frame: int
    stamp_ns: int
    sent_ns: int
    closure: float | None


@dataclass(slots=True)
class Ears:
    """Everything heard, by topic, in the order of arrival."""

    faces: list[Heard] = field(default_factory=list)
    emotion: list[Heard] = field(default_factory=list)
    fatigue: list[Heard] = field(default_factory=list)
    events: list[Heard] = field(default_factory=list)
    diagnostics: list[Heard] = field(default_factory=list)


class Child:
    """
    A process of ours whose output goes to a file.

    :param name: what the user calls it
    :param gated: it waits for a line on its standard input, see :meth:`go`
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, gated: bool = False,
    ) -> None:
        from aitable_ros.nodes.environment import child_environment

        self.name = name
        self.log = log
        with log.open('wb') as output:
            # A session of its own: Ctrl-C in the terminal comes to us, and we end it in order.
            self.process = subprocess.Popen(
                list(command), stdin=subprocess.PIPE if gated else subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
                env={**child_environment(), 'PYTHONUNBUFFERED': '1'}, start_new_session=True,
                bufsize=0, preexec_fn=_die_with_parent)

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def go(self) -> None:
        """Let it begin. One that has died meanwhile is found by :meth:`check`."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(b'\n')

    def last_words(self, lines: int = 5) -> str:
        """Return the last lines of its output."""
        text = self.log.read_text(encoding='utf-8', errors='replace')
        return '\n'.join([line for line in text.splitlines() if line.strip()][-lines:])

    def check(self) -> None:
        """
        Raise if it has ended by itself.

        :raises InputError: it could not use what it was given, and said so
        :raises GraphError: it failed or died
        """
        status = self.process.poll()
        if status == 2:
            raise InputError(self.last_words(1).removeprefix(f'{self.name}: '))
        if status is not None:
            raise GraphError(_epitaph(self, status))

    def end(self) -> int:
        """Ask it to end, insist, and at last kill it; return its exit status."""
        for number, patience in (
                (signal.SIGINT, END_S), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            if self.process.poll() is not None:
                break
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait()


class Graph(Closing):
    """
    The camera and the nodes, running, and everything they say.

    A context manager: entering starts the processes, leaving ends them.

    :param folder: where the logs and the record of the camera go
    :param camera: further arguments of ``python -m aitable_ros.tools.camera``
    :param parameters: a parameter file for the nodes
    :param recording: folder for a rosbag2 (mcap) of what is heard; None records nothing
    :param sim_time: the nodes take their time from ``/clock``
    :param on_stage: told in a few words what is being waited for
    """

    def __init__(
        self, folder: Path, *, camera: Sequence[str] = (), parameters: Path | None = None,
        recording: Path | None = None, namespace: str = NAMESPACE, sim_time: bool = False,
        on_stage: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._camera_arguments = camera
        self._parameters = parameters
        self._recording = recording
        self._namespace = namespace
        self._sim_time = sim_time
        self._on_stage = on_stage
        self._opened = ExitStack()
        self.ears = Ears()
        self.exit_status: dict[str, int] = {}

    def __enter__(self) -> Graph:
        """Start the processes."""
        with ExitStack() as opened:
            self._start(opened)
            self._opened = opened.pop_all()
        return self

    def close(self) -> None:
        """End everything. Idempotent."""
        self._opened.close()

    def _start(self, opened: ExitStack) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._record_path = self._folder / 'camera.csv'
        self._record_path.unlink(missing_ok=True)
        opened.enter_context(_terminate_as_interrupt())
        # Both children before rclpy starts threads here: a fork is safest from a single thread.
        nodes = [
            _executable('pipeline'), '--ros-args', '-r', f'__ns:={self._namespace}',
            '-r', f'image:={self._namespace}/{CAMERA_TOPIC}']
        if self._sim_time:
            nodes += ['-p', 'use_sim_time:=true']
        if self._parameters is not None:
            nodes += ['--params-file', str(self._parameters)]
        self.nodes = self._child(opened, 'pipeline', nodes)
        self.camera = self._child(opened, 'camera', [
            sys.executable, '-m', 'aitable_ros.tools.camera', '--namespace', self._namespace,
            '--gate', '--wait', str(READY_S), '--record', str(self._record_path),
            *self._camera_arguments], gated=True)
        self._recorder = _Recorder(self._namespace, self.ears, self._recording)
        opened.callback(self._recorder.close)

    def _child(
        self, opened: ExitStack, name: str, command: Sequence[str], *, gated: bool = False,
    ) -> Child:
        child = Child(name, command, self._folder / f'{name}.log', gated=gated)

        def end() -> None:
            self.exit_status[name] = child.end()
        opened.callback(end)
        return child

    def run(self, period_s: float = 0.2) -> Iterator[None]:
        """
        Listen until the camera is through, yielding now and then.

        :raises GraphError: the nodes died or never answered, or the camera failed
        :raises InputError: the camera could not use its input
        """
        self._on_stage('starting the camera and the nodes')
        deadline = time.monotonic() + READY_S
        while not self._recorder.complete() and self.camera.process.poll() is None:
            self._listen(READY_PERIOD_S)
            yield
            if time.monotonic() > deadline:
                raise GraphError(
                    f'the nodes were not ready within {READY_S:g} s; their last words '
                    f'({self.nodes.log}):\n{self.nodes.last_words()}')
        self._on_stage('running')
        self.camera.go()
        while self.camera.process.poll() is None:
            self._listen(period_s)
            if self._recorder.cameras() > 1:
                raise GraphError(
                    f'another camera publishes on {self._namespace}/{CAMERA_TOPIC}, perhaps of '
                    'another demo: wait for its end, or set ROS_DOMAIN_ID to another number')
            yield
        if self.camera.process.returncode:
            self.camera.check()
        self._listen(DRAIN_S)
        yield

    def listen(self, seconds: float) -> None:
        """
        Take in what comes, whether or not the camera lives.

        :raises GraphError: the nodes died
        """
        self._listen(seconds)

    def _listen(self, seconds: float) -> None:
        self.nodes.check()
        self._recorder.listen(seconds)

    def sent(self) -> list[Sent]:
        """Return what the camera has published so far."""
        if not self._record_path.is_file():
            return []
        # The last line may be half written.
        whole = self._record_path.read_text().rpartition('\n')[0]
        return [
            Sent(int(row['frame']), int(row['stamp_ns']), int(row['sent_ns']),
                 float(row['closure']) if row['closure'] else None)
            for row in csv.DictReader(whole.splitlines())]


class _Recorder:
    """Subscribes to what the nodes publish, keeps it in memory and writes it to a bag."""

    def __init__(self, namespace: str, ears: Ears, folder: Path | None) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from rclpy.signals import SignalHandlerOptions

        from aitable_msgs.msg import Emotion
        from aitable_msgs.msg import FaceArray
        from aitable_msgs.msg import FatigueEvent
        from aitable_msgs.msg import FatigueState
        from aitable_ros.tools.bag import BagWriter

        self._opened = ExitStack()
        with ExitStack() as opened:
            bag = None if folder is None else opened.enter_context(BagWriter(folder))
            context = rclpy.Context()
            rclpy.init(
                args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
            opened.callback(context.try_shutdown)
            node = rclpy.create_node(
                'listener', namespace=namespace, context=context, enable_rosout=False,
                start_parameter_services=False)
            opened.callback(node.destroy_node)
            self._node = node
            self._executor = SingleThreadedExecutor(context=context)
            self._executor.add_node(node)
            opened.callback(self._executor.shutdown)
            for topic, kind, kept in (
                    ('faces', FaceArray, ears.faces), ('emotion', Emotion, ears.emotion),
                    ('fatigue', FatigueState, ears.fatigue),
                    ('fatigue/events', FatigueEvent, ears.events),
                    ('/diagnostics', DiagnosticArray, ears.diagnostics)):
                name = node.resolve_topic_name(topic)
                write = bag.topic(name, kind) if bag else None
                # Raw: the bag gets the very bytes. Deep: drawing the table costs no message.
                node.create_subscription(
                    kind, topic, _keep(kept, kind, write), QoSProfile(depth=200), raw=True)
            self._opened = opened.pop_all()

    def complete(self) -> bool:
        """Return whether every node is there to publish: they load their models one by one."""
        return all(self._node.count_publishers(topic) for topic in ('faces', 'fatigue', 'emotion'))

    def cameras(self) -> int:
        """Return how many publish images here."""
        return int(self._node.count_publishers(CAMERA_TOPIC))

    def listen(self, seconds: float) -> None:
        """Handle what arrives within some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        """Leave the graph and finish the bag. Idempotent."""
        self._opened.close()


def _keep(
    kept: list[Heard], kind: Any, write: Callable[[int, bytes], None] | None,
) -> Callable[[bytes], None]:
    from rclpy.serialization import deserialize_message

    def keep(raw: bytes) -> None:
        now = time.time_ns()
        kept.append(Heard(now, deserialize_message(raw, kind)))
        if write is not None:
            write(now, raw)
    return keep


def _executable(name: str) -> str:
    """
    Return the path of one of the package's executables.

    :raises InputError: it is not installed
    """
    beside = Path(sys.executable).with_name(name)
    if os.access(beside, os.X_OK):
        return str(beside)
    try:
        from ament_index_python.packages import get_package_prefix

        installed = Path(get_package_prefix('aitable_ros'), 'lib', 'aitable_ros', name)
        if os.access(installed, os.X_OK):
            return str(installed)
    except (ImportError, OSError, LookupError):
        pass  # no workspace is sourced
    raise InputError(
        f"the executable '{name}' is not installed beside {sys.executable}: run scripts/demo.sh, "
        'or build and source the workspace')


class _terminate_as_interrupt:  # noqa: N801  (used like a function)
    """While open, SIGTERM raises KeyboardInterrupt as Ctrl-C does, so that everything is ended."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, self._interrupt)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt


_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None


def _die_with_parent() -> None:
    """In a child before it starts: be terminated when the parent is gone, even if it was killed."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _epitaph(child: Child, status: int) -> str:
    how = f'was killed by signal {-status}' if status < 0 else f'ended with status {status}'
    return f'the {child.name} process {how}; its last words ({child.log}):\n{child.last_words()}'
