# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
What a fault is injected into: the pipeline in a process, a camera that does as it is told, ears.

The camera is a DDS participant of its own in this process, on a thread of its own; every image that
it has sent is known, and whether a fault concerns it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
import shutil
import sys
import time
from typing import Any

from soak_camera import Camera, IMAGE, NAMESPACE
from soak_hook import ORDER, Order

NODES = ('face_detector', 'fatigue', 'emotion')
READY_S = 90.0
MODELS = ('blazeface_short', 'blazeface_full', 'facemesh', 'facemesh_468', 'fer')
NO_FACE = 0  # FatigueState.VALIDITY_NO_FACE
LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer, by what matters here; ``time_s`` is the steady clock."""

    time_s: float
    stamp_ns: int
    track_id: int
    coverage: float
    validity: int
    eyes_closed: bool
    backend: str


@dataclass(frozen=True, slots=True)
class Status:
    """One node's line in ``/diagnostics``."""

    time_s: float
    level: int
    message: str


@dataclass(slots=True)
class Ears:
    """Everything heard."""

    faces: list[int] = field(default_factory=list)
    emotion: list[int] = field(default_factory=list)
    fatigue: list[Heard] = field(default_factory=list)
    status: dict[str, list[Status]] = field(default_factory=lambda: {name: [] for name in NODES})


class Rig:
    """
    The pipeline process, the camera and the ears; a context manager.

    :param folder: for logs, models and orders
    :param arguments: further ROS arguments of the pipeline
    :param environment: further variables of the pipeline
    """

    def __init__(
        self, folder: Path, *, size: tuple[int, int], fps: float = 30.0, transport: str = 'raw',
        arguments: Sequence[str] = (), environment: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.camera = Camera(size, fps, transport)
        self.ears = Ears()
        self.models = folder / 'models'
        self.order = folder / 'order.json'
        self.windows: list[tuple[float, float]] = []
        self.extra: dict[str, Any] = {}
        self.starts = 0
        self.log_to: Path | None = None
        self.on_listening: Callable[[], Any] = lambda: None
        self._arguments = [
            '--ros-args', '-r', f'__ns:={NAMESPACE}', '-r', f'image:={IMAGE}', *arguments]
        if transport != 'raw':
            self._arguments += ['-p', f'image_transport:={transport}']
        self.environment = {
            'AITABLE_MODELS': str(self.models), ORDER: str(self.order),
            'ROS_LOG_DIR': str(folder / 'ros_log'), 'RCUTILS_COLORIZED_OUTPUT': '0',
            **(environment or {})}
        self._opened = ExitStack()

    def __enter__(self) -> Rig:
        """Start everything, and wait for the first answers."""
        from aitable_ros.models.catalogue import onnx_path

        self.models.mkdir(parents=True, exist_ok=True)
        for name in MODELS:
            shutil.copy(onnx_path(name), self.models)
        try:
            self.start()
            self._opened.callback(self.stop)
            self._listen()
            self.on_listening()
            self.camera.open()
            self._opened.callback(self.camera.close)
            self.until(self.all_well, READY_S, 'the first answers')
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    # The process

    def child(self, name: str, command: Sequence[str]) -> Any:
        """Start a process with the pipeline's variables."""
        import os

        from aitable_ros.tools.child_process import Child

        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            return Child(name, command, self.log_to or self.folder / f'{name}.log')
        finally:
            os.environ.clear()
            os.environ.update(before)

    def pipeline(self, name: str) -> Any:
        """Start a pipeline process."""
        return self.child(name, [
            sys.executable, str(Path(__file__).with_name('soak_hook.py')), *self._arguments])

    def start(self) -> None:
        """Start the pipeline process under test."""
        self.starts += 1
        self.nodes = self.pipeline(f'pipeline_{self.starts}')

    def stop(self) -> int:
        """End it as a service manager does."""
        return int(self.nodes.end())

    def log(self) -> list[str]:
        """Return what the pipeline process has said so far; nothing where that is lost."""
        if self.log_to is not None:
            return []
        return self.nodes.log.read_text(encoding='utf-8', errors='replace').splitlines()

    # The ears

    def _listen(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from rclpy.signals import SignalHandlerOptions

        from aitable_msgs.msg import Emotion, FaceArray, FatigueState

        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self._opened.callback(self.context.try_shutdown)
        self.node = rclpy.create_node(
            'soak_listener', context=self.context, enable_rosout=False,
            start_parameter_services=False)
        self._opened.callback(self.node.destroy_node)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._opened.callback(self._executor.shutdown)
        deep = QoSProfile(depth=500)
        for kind, topic, heard in (
                (FaceArray, f'{NAMESPACE}/faces', self._on_faces),
                (Emotion, f'{NAMESPACE}/emotion', self._on_emotion),
                (FatigueState, f'{NAMESPACE}/fatigue', self._on_fatigue),
                (DiagnosticArray, '/diagnostics', self._on_diagnostics)):
            self.node.create_subscription(kind, topic, heard, deep)

    def _on_faces(self, message: Any) -> None:
        from aitable_ros.clock import stamp_ns

        self.ears.faces.append(stamp_ns(message.header.stamp))

    def _on_emotion(self, message: Any) -> None:
        from aitable_ros.clock import stamp_ns

        self.ears.emotion.append(stamp_ns(message.header.stamp))

    def _on_fatigue(self, message: Any) -> None:
        from aitable_ros.clock import stamp_ns

        self.ears.fatigue.append(Heard(
            time.monotonic(), stamp_ns(message.header.stamp), message.track_id,
            message.perclos_coverage, message.validity, message.eyes_closed, message.backend))

    def _on_diagnostics(self, message: Any) -> None:
        now = time.monotonic()
        for status in message.status:
            name = status.name.partition(':')[0].rpartition('/')[2]
            if name in self.ears.status:
                level = status.level
                self.ears.status[name].append(Status(
                    now, level[0] if isinstance(level, bytes) else int(level), status.message))

    def person(self) -> Heard:
        """Return the newest answer about somebody who is there."""
        return next(
            (heard for heard in reversed(self.ears.fatigue) if heard.validity != NO_FACE),
            Heard(0.0, 0, 0, 0.0, NO_FACE, False, ''))

    def wait(self, seconds: float) -> None:
        """Listen."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.1))

    def until(
        self, condition: Callable[[], Any], timeout_s: float, what: str = '',
    ) -> bool:
        """
        Listen until something is so.

        :raises TimeoutError: with ``what``, where it is named and does not come
        """
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                if what:
                    raise TimeoutError(
                        f'{what}: not within {timeout_s:g} s; the last words of '
                        f'{self.nodes.name}:\n' + '\n'.join(self.log()[-5:]))
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 20.0) -> Any:
        """Call a service of the pipeline."""
        client = self.node.create_client(kind, f'{NAMESPACE}/{name}')
        try:
            self.until(client.service_is_ready, timeout_s, f'service {name}')
            future = client.call_async(request)
            self.until(future.done, timeout_s, f'the answer of {name}')
            return future.result()
        finally:
            self.node.destroy_client(client)

    def reload(self, model: str, node: str = 'fatigue') -> Any:
        """Call ``~/reload_model``."""
        from aitable_msgs.srv import ReloadModel

        return self.call(
            ReloadModel, f'{node}/reload_model', ReloadModel.Request(model_path=model), 60.0)

    # What is so

    def levels(self, within_s: float = 2.5) -> dict[str, int]:
        """Return the newest level of each node that has told one lately."""
        now = time.monotonic()
        return {
            name: heard[-1].level for name, heard in self.ears.status.items()
            if heard and now - heard[-1].time_s < within_s}

    def answering(self) -> bool:
        """Return whether an image of the last half second was answered."""
        heard = self.ears.fatigue
        return bool(heard) and time.monotonic() - heard[-1].time_s < 0.5

    def all_well(self) -> bool:
        """Return whether every node says OK and answers come."""
        return list(self.levels().values()) == [0] * len(NODES) and self.answering()

    # The fault

    def tell(self, **order: Any) -> None:
        """Order a wrong from the hook in the pipeline process."""
        Order(**order).give(self.order)

    def well_again(self) -> None:
        """Take the order back."""
        self.order.unlink(missing_ok=True)

    @contextmanager
    def fault(self, *, concerns: bool = True) -> Iterator[None]:
        """
        Mark the time of a fault.

        :param concerns: every image of that time
        """
        begin = time.monotonic()
        self.camera.concerned = concerns
        try:
            yield
        finally:
            self.camera.concerned = False
            self.windows.append((begin, time.monotonic()))
