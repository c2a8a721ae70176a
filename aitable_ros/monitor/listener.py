# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The monitor's node: finds the cameras of the graph and subscribes, on its own thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from aitable_ros.clock import header_stamp_ns, serialized_stamp_ns
from aitable_ros.closing import Closing
from aitable_ros.message_fields import TOPICS
from aitable_ros.monitor.graph_state import DiagnosticEntry, GraphState, MOST_TEXT
from aitable_ros.monitor.pictures import Picture, PictureChooser

IMAGE_KINDS = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
SEARCH_S = 1.0
RECONCILE_S = 0.2
ANY = ''
"""The image topic is the one that the nodes of each camera report."""


class GraphListener(Closing):
    """
    Subscribes until closed, and publishes nothing.

    :param namespace: the only one to watch; None finds them all
    :param image: topic of pictures, relative to each camera's namespace or absolute; ``ANY``; None
        for no pictures
    :param on_picture: called from the listening thread with a camera's name and its new picture
    :param on_end: called when listening ends by a fault
    """

    def __init__(
        self, state: GraphState, *, namespace: str | None = None, image: str | None = None,
        on_picture: Callable[[str, Picture], None], on_end: Callable[[Exception], None],
    ) -> None:
        import cv2
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        cv2.setNumThreads(1)  # the cores are the nodes'
        self._state = state
        self._image = image
        self._namespace = namespace
        self._on_picture = on_picture
        self._on_end = on_end
        self._lock = Lock()
        self._wanted: frozenset[str] = frozenset()
        self._subscriptions: dict[str, list[Any]] = {}
        self._choosers: dict[str, tuple[str, PictureChooser, Any]] = {}
        self._searched_s = -SEARCH_S
        self._stop = Event()
        with ExitStack() as opened:
            context = rclpy.Context()
            rclpy.init(
                args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
            opened.callback(context.try_shutdown)
            self._node = rclpy.create_node(
                'aitable_monitor', context=context, enable_rosout=False,
                start_parameter_services=False)
            opened.callback(self._node.destroy_node)
            self._executor = SingleThreadedExecutor(context=context)
            self._executor.add_node(self._node)
            opened.callback(self._executor.shutdown)
            self._listen_to_diagnostics()
            if namespace is not None:
                self._add(namespace)
            self._thread = Thread(target=self._run, name='monitor_listener', daemon=True)
            self._thread.start()
            self._opened = opened.pop_all()

    def watch(self, cameras: frozenset[str]) -> None:
        """Receive pictures of these cameras only: images are expensive."""
        with self._lock:
            self._wanted = cameras

    def close(self) -> None:
        """Leave the graph. Idempotent."""
        self._stop.set()
        self._thread.join(5.0)
        self._opened.close()

    # All below runs on the listening thread

    def _run(self) -> None:
        try:
            reconciled_s = 0.0
            while not self._stop.is_set():
                self._executor.spin_once(timeout_sec=RECONCILE_S)
                now_s = monotonic()
                if now_s - reconciled_s >= RECONCILE_S:
                    reconciled_s = now_s
                    self._reconcile(now_s)
        except Exception as error:
            if not self._stop.is_set():
                self._on_end(error)

    def _reconcile(self, now_s: float) -> None:
        search = now_s - self._searched_s >= SEARCH_S
        if search:
            self._searched_s = now_s
            if self._namespace is None:
                self._search()
        with self._lock:
            wanted = self._wanted
        for camera in set(self._choosers) - wanted:
            self._node.destroy_subscription(self._choosers.pop(camera)[2])
        for camera in wanted if search else wanted - set(self._choosers):
            self._look(camera)

    def _search(self) -> None:
        for topic, kinds in self._node.get_topic_names_and_types():
            namespace, _, name = topic.rpartition('/')
            # With a publisher: another monitor's subscription makes no camera.
            if TOPICS.get(name) in kinds and self._node.count_publishers(topic):
                self._add(namespace or '/')

    def _add(self, camera: str) -> None:
        if camera in self._subscriptions or not self._state.add(camera):
            return
        from aitable_msgs.msg import Emotion, FaceArray, FatigueEvent, FatigueState, Posture
        from aitable_ros.message_codec import faces_of, model_of
        from aitable_ros.nodes.messages import CODEC

        state = self._state

        def faces(message: Any) -> None:
            stamp = header_stamp_ns(message)
            state.faces(camera, stamp, faces_of(message), model_of(message))
            if camera in self._choosers:
                self._choosers[camera][1].faces(stamp, state.drawn(camera, stamp) or ())

        def fatigue(message: Any) -> None:
            state.fatigue(camera, CODEC.fatigue_of(message), model_of(message))

        def emotion(message: Any) -> None:
            state.emotion(
                camera, header_stamp_ns(message), CODEC.emotion_of(message), model_of(message))

        def posture(message: Any) -> None:
            state.posture(camera, CODEC.posture_of(message), model_of(message))

        def event(message: Any) -> None:
            state.event(camera, CODEC.event_of(message))

        root = camera.rstrip('/')
        self._subscriptions[camera] = [
            self._subscribe(kind, f'{root}/{topic}', callback, reliable=topic == 'fatigue/events')
            for topic, kind, callback in (
                ('faces', FaceArray, faces), ('fatigue', FatigueState, fatigue),
                ('emotion', Emotion, emotion), ('posture', Posture, posture),
                ('fatigue/events', FatigueEvent, event))]

    def _subscribe(
        self, kind: Any, topic: str, callback: Callable[[Any], None], *, reliable: bool,
        raw: bool = False, depth: int = 50,
    ) -> Any:
        """Subscribe best effort, which matches every publisher and slows none, or reliably."""
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        return self._node.create_subscription(
            kind, topic, _careful(callback), QoSProfile(depth=depth, reliability=policy), raw=raw)

    def _listen_to_diagnostics(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        def heard(message: Any) -> None:
            now_s = monotonic()
            self._state.statuses(
                DiagnosticEntry(
                    name=status.name[:MOST_TEXT], level=_byte(status.level),
                    message=status.message[:MOST_TEXT], hardware_id=status.hardware_id,
                    values={
                        entry.key[:MOST_TEXT]: entry.value[:MOST_TEXT]
                        for entry in status.values[:50]},
                    heard_s=now_s)
                for status in message.status)
        self._subscribe(DiagnosticArray, '/diagnostics', heard, reliable=True)

    def _look(self, camera: str) -> None:
        """Subscribe to a camera's images, or to another topic than before."""
        topic, kind = self._image_topic(camera)
        if not topic or (camera in self._choosers and self._choosers[camera][0] == topic):
            return
        if camera in self._choosers:
            self._node.destroy_subscription(self._choosers.pop(camera)[2])
        from rclpy.serialization import deserialize_message
        from sensor_msgs.msg import CompressedImage, Image

        from aitable_ros.image_codec import frame_from_compressed, frame_from_image, ImageDecoder

        compressed = kind == IMAGE_KINDS[1]
        decode = frame_from_compressed if compressed else frame_from_image
        decoder = ImageDecoder(topic)
        message_type = CompressedImage if compressed else Image
        chooser = PictureChooser(
            lambda raw: decode(deserialize_message(raw, message_type), decoder),
            lambda picture: self._on_picture(camera, picture),
            boxed=topic.rpartition('/')[2] == 'overlay')

        def arrived(raw: bytes) -> None:
            stamp = serialized_stamp_ns(raw)
            chooser.image(stamp, raw, self._state.drawn(camera, stamp))

        self._choosers[camera] = (topic, chooser, self._subscribe(
            message_type, topic, arrived, reliable=False, raw=True, depth=2))

    def _image_topic(self, camera: str) -> tuple[str, str]:
        """Return the image topic of a camera and its type; empty without a publisher."""
        told = self._state.image_topic(camera)
        if self._image is None:
            return '', ''
        topic = self._image or told
        if not topic.startswith('/'):
            topic = f'{camera.rstrip("/")}/{topic}' if topic else ''
        elif told and topic.removesuffix('/compressed') != told and len(self._subscriptions) > 1 \
                and topic.rpartition('/')[2] != 'overlay':
            return '', ''  # it is of another camera
        known = dict(self._node.get_topic_names_and_types())
        for name in (topic, f'{topic}/compressed'):
            kinds = [kind for kind in known.get(name, ()) if kind in IMAGE_KINDS]
            if topic and kinds and self._node.count_publishers(name):
                return name, kinds[0]
        return '', ''


def _careful(callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """Ignore malformed messages: the nodes report them."""
    def call(message: Any) -> None:
        with suppress(ValueError):
            callback(message)
    return call


def _byte(value: Any) -> int:
    return value[0] if isinstance(value, bytes) else int(value)
