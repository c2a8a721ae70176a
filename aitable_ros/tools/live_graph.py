# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A camera process, a process with the nodes, and a listener in this one, for the demo and the bench.

Whatever happens - the end of the clip, Ctrl-C, SIGTERM, a child that dies, this process being
killed - no child is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
import csv
from dataclasses import dataclass, field
from pathlib import Path
import sys
import time
from typing import Any

from aitable_ros.closing import Closing
from aitable_ros.errors import first_line, InputError
from aitable_ros.tools.camera import info_topic
from aitable_ros.tools.camera import TOPIC as CAMERA_TOPIC
from aitable_ros.tools.child_process import Child, executable, ProcessError, sigterm_as_interrupt

NAMESPACE = '/demo'
INFO_TOPIC = info_topic(CAMERA_TOPIC)
READY_S = 90.0
"""Patience with models that load and compile on a slow machine."""
DRAIN_S = 1.0
"""Listening after the last image: the answer to it, and the blink that it completes."""
READY_PERIOD_S = 0.05


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message, and the wall clock when it was received, nanoseconds."""

    receive_ns: int
    message: Any


@dataclass(frozen=True, slots=True)
class SentImage:
    """
    One image that the camera published.

    :param stamp_ns: in its header
    :param sent_ns: wall clock when it was published; equal to the stamp unless stamps are kept
    :param closure: scripted closure of the eyes; None without a script
    """

    frame: int
    stamp_ns: int
    sent_ns: int
    closure: float | None


@dataclass(slots=True)
class Received:
    """All messages received, by topic, in the order of arrival."""

    images: list[ReceivedMessage] = field(default_factory=list)
    """``CameraInfo`` of each image."""
    faces: list[ReceivedMessage] = field(default_factory=list)
    emotion: list[ReceivedMessage] = field(default_factory=list)
    fatigue: list[ReceivedMessage] = field(default_factory=list)
    events: list[ReceivedMessage] = field(default_factory=list)
    posture: list[ReceivedMessage] = field(default_factory=list)
    posture_events: list[ReceivedMessage] = field(default_factory=list)
    diagnostics: list[ReceivedMessage] = field(default_factory=list)


class LiveGraph(Closing):
    """
    The camera and the nodes, running, and the messages received from them.

    A context manager: entering starts the processes, leaving ends them.

    :param folder: where the logs and the record of the camera go
    :param camera: further arguments of ``python -m aitable_ros.tools.camera``
    :param parameters: a parameter file for the nodes
    :param recording: folder for a rosbag2 (mcap) of what is received; None records nothing
    :param posture: the nodes read the posture of bodies, too
    :param sim_time: the nodes take their time from ``/clock``
    :param on_stage: called with a few words at each stage of the start
    """

    def __init__(
        self, folder: Path, *, camera: Sequence[str] = (), parameters: Path | None = None,
        recording: Path | None = None, namespace: str = NAMESPACE, posture: bool = False,
        sim_time: bool = False, on_stage: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._camera_arguments = camera
        self._parameters = parameters
        self._recording = recording
        self._namespace = namespace
        self._posture = posture
        self._sim_time = sim_time
        self._on_stage = on_stage
        self._opened = ExitStack()
        self.received = Received()
        self.exit_status: dict[str, int] = {}

    def __enter__(self) -> LiveGraph:
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
        opened.enter_context(sigterm_as_interrupt())
        # Both children before rclpy starts threads here: a fork is safest from a single thread.
        nodes = [
            executable('pipeline'), *(['--posture'] if self._posture else []), '--ros-args',
            '-r', f'__ns:={self._namespace}',
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
        self._recorder = _Recorder(
            self._namespace, self.received, self._recording, posture=self._posture)
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
        Listen until the camera has played everything, yielding now and then.

        :raises ProcessError: the nodes died or never answered, or the camera failed
        :raises InputError: the camera could not use its input
        """
        self._on_stage('starting the camera and the nodes')
        deadline = time.monotonic() + READY_S
        while not self._recorder.complete() and self.camera.process.poll() is None:
            self._listen(READY_PERIOD_S)
            yield
            if time.monotonic() > deadline:
                raise ProcessError(
                    f'the nodes were not ready within {READY_S:g} s; their last output '
                    f'({self.nodes.log}):\n{self.nodes.last_output()}')
        self._on_stage('running')
        self.camera.go()
        while self.camera.process.poll() is None:
            self._listen(period_s)
            if self._recorder.cameras() > 1:
                raise ProcessError(
                    f'another camera publishes on {self._namespace}/{CAMERA_TOPIC}, perhaps of '
                    'another demo: wait for its end, or set ROS_DOMAIN_ID to another number')
            yield
        if self.camera.process.returncode:
            self.camera.check()
        self._listen(DRAIN_S)
        yield

    def listen(self, seconds: float) -> None:
        """
        Receive messages, whether or not the camera lives.

        :raises ProcessError: the nodes died
        """
        self._listen(seconds)

    def _listen(self, seconds: float) -> None:
        self.nodes.check()
        self._recorder.listen(seconds)

    def sent(self) -> list[SentImage]:
        """Return the images that the camera has published so far."""
        if not self._record_path.is_file():
            return []
        # The last line may be half written.
        whole = self._record_path.read_text().rpartition('\n')[0]
        return [
            SentImage(int(row['frame']), int(row['stamp_ns']), int(row['sent_ns']),
                 float(row['closure']) if row['closure'] else None)
            for row in csv.DictReader(whole.splitlines())]


class _Recorder:
    """Subscribes to the nodes' topics, keeps the messages in memory and writes them to a bag."""

    def __init__(
        self, namespace: str, received: Received, folder: Path | None, *, posture: bool,
    ) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import CameraInfo

        from aitable_msgs.msg import (
            Emotion, FaceArray, FatigueEvent, FatigueState, Posture, PostureEvent
        )
        from aitable_ros.tools.bag import BagWriter

        self._topics = [INFO_TOPIC, 'faces', 'fatigue', 'emotion']
        if posture:
            self._topics.append('posture')
        self._opened = ExitStack()
        with ExitStack() as opened:
            bag = None if folder is None else opened.enter_context(BagWriter(folder))
            context = rclpy.Context()
            try:
                rclpy.init(
                    args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
            except Exception as error:  # rclpy has a type for each of its reasons
                raise InputError(f'ROS does not start: {first_line(error)}; where the home folder '
                                 'cannot be written, set ROS_LOG_DIR') from None
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
                    # Numbers the images in the bag, whose pixels are not recorded.
                    (INFO_TOPIC, CameraInfo, received.images),
                    ('faces', FaceArray, received.faces), ('emotion', Emotion, received.emotion),
                    ('fatigue', FatigueState, received.fatigue),
                    ('fatigue/events', FatigueEvent, received.events),
                    *([('posture', Posture, received.posture),
                       ('posture/events', PostureEvent, received.posture_events)]
                      if posture else []),
                    ('/diagnostics', DiagnosticArray, received.diagnostics)):
                name = node.resolve_topic_name(topic)
                write = bag.topic(name, kind) if bag else None
                # Raw: the bag gets the very bytes. Deep: drawing the table costs no message.
                node.create_subscription(
                    kind, topic, _keep(kept, kind, write), QoSProfile(depth=200), raw=True)
            self._opened = opened.pop_all()

    def complete(self) -> bool:
        """Return whether the camera and every node are ready to publish."""
        return all(self._node.count_publishers(topic) for topic in self._topics)

    def cameras(self) -> int:
        """Return the number of image publishers."""
        return int(self._node.count_publishers(CAMERA_TOPIC))

    def listen(self, seconds: float) -> None:
        """Handle the messages that arrive within some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        """Leave the graph and finish the bag. Idempotent."""
        self._opened.close()


def _keep(
    kept: list[ReceivedMessage], kind: Any, write: Callable[[int, bytes], None] | None,
) -> Callable[[bytes], None]:
    from rclpy.serialization import deserialize_message

    def keep(raw: bytes) -> None:
        now = time.time_ns()
        kept.append(ReceivedMessage(now, deserialize_message(raw, kind)))
        if write is not None:
            write(now, raw)
    return keep
