# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Optional bridge to ROS4HRI (REP-155): publishes the same people on ``/humans/...``.

The bridge needs the package ``hri_msgs``. A face gets a random id when it appears, and another one
when it returns: REP-155 wants face ids to be transient. The REP's topic names are absolute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
import math
from threading import RLock
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from aitable_msgs.msg import Emotion, FatigueEvent, FatigueState
from aitable_ros.clock import header_stamp_ns
from aitable_ros.errors import InputError
from aitable_ros.nodes import qos
from aitable_ros.nodes.channel import SharedFaces
from aitable_ros.nodes.hri_bodies import HriBodies
from aitable_ros.nodes.hri_ids import RandomIds
from aitable_ros.nodes.managed_node import ManagedNode, subscribe_reliably
from aitable_ros.nodes.messages import CODEC
from aitable_ros.types import Expression, FatigueEventType, FatigueLevel, Frame, TrackedFace

EXPRESSIONS = {
    Expression.NEUTRAL: 'neutral', Expression.HAPPY: 'happy', Expression.SAD: 'sad',
    Expression.SURPRISE: 'surprised', Expression.FEAR: 'scared', Expression.DISGUST: 'disgusted',
    Expression.ANGER: 'angry',
}
"""REP-155's words for our expressions. Contempt and UNKNOWN have none: their name is empty."""
EYES_CLOSED, BLINK = 43, 45
"""Indices of facial action units (Ekman)."""
UNITS = 99
"""Length of the arrays of a ``FacialActionUnits``."""
BLINK_S = 0.5
"""How long a blink stays in the action units, seconds: it is over when its event comes."""
ROOT = '/humans/faces'


def missing() -> str:
    """Return why the bridge cannot run here; empty if it can."""
    if find_spec('hri_msgs') is None:
        return ("the package 'hri_msgs' is not installed here, and REP-155 topics are made of its "
                'messages: apt install ros-$ROS_DISTRO-hri-msgs (Humble, Jazzy), or build '
                'github.com/ros4hri/hri_msgs in the workspace (Kilted has no package)')
    return ''


def expression_of(emotion: Emotion | None, fatigue: FatigueState | None) -> str:
    """
    Return REP-155's word for a face: ``asleep`` or ``tired`` by the level, else the expression.

    MILD is no ``tired``: half of all people reach it at some time of the day.
    """
    if fatigue is not None:
        if fatigue.level == FatigueLevel.ASLEEP:
            return 'asleep'
        if fatigue.level == FatigueLevel.SEVERE:
            return 'tired'
    return EXPRESSIONS.get(emotion.expression, '') if emotion is not None else ''


def closure_of(fatigue: FatigueState) -> tuple[float, float]:
    """Return how far the eyes are closed, 0 ... 1, and the confidence of that, 0 or 1."""
    if not math.isfinite(fatigue.openness):
        return 0.0, 0.0
    return min(max(1.0 - float(fatigue.openness), 0.0), 1.0), 1.0


class HriNode(ManagedNode):
    """
    Publishes ``faces/tracked`` and, for each face, ``roi``, ``expression`` and ``facs``.

    Where posture is read, the bodies as well: :class:`HriBodies`.

    :raises InputError: ``hri_msgs`` is not installed
    """

    NAME = 'hri_bridge'

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        reason = missing()
        if reason:
            raise InputError(reason)
        super().__init__(node_name, **kwargs)
        self._tracked: Any = None
        self._faces_out: dict[int, dict[str, Any]] = {}
        self._ids = RandomIds()
        self._emotions: dict[int, Emotion] = {}
        self._fatigue: dict[int, FatigueState] = {}
        self._blinked: dict[int, int] = {}
        self._listening: list[Any] = []
        # Faces come on the worker's or the detector's thread, messages on the executor's.
        self._lock = RLock()
        self._bodies = HriBodies(self, self._lock, self._face_id)

    # Lifecycle

    def _make_publishers(self) -> None:
        from hri_msgs.msg import IdsList

        self._tracked = self._publisher(IdsList, f'{ROOT}/tracked')

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish an empty list of faces, then forget them."""
        if self._tracked is not None:
            from hri_msgs.msg import IdsList
            self._tracked.publish(IdsList())
        with self._lock:
            result = super().on_deactivate(state)
            self._only(())
        return result

    def destroy_node(self) -> None:
        """Remove the topics of all faces, too."""
        if hasattr(self, '_lock'):
            with self._lock:
                self._active = False
                self._only(())
        super().destroy_node()

    def _subscribe(self) -> None:
        super()._subscribe()
        for kind, topic, keep in (
            (Emotion, 'emotion', self._emotion_received),
            (FatigueState, 'fatigue', self._fatigue_received),
            (FatigueEvent, 'fatigue/events', self._event_received),
        ):
            self._listening.append(subscribe_reliably(self, kind, topic, _with_a_time(keep)))
        self._bodies.refresh()

    def _once_a_second(self) -> None:
        super()._once_a_second()
        self._bodies.refresh()

    def _unsubscribe(self) -> None:
        super()._unsubscribe()
        self._bodies.stop()
        while self._listening:
            self.destroy_subscription(self._listening.pop())

    def details(self) -> dict[str, object]:
        """Add the number of faces."""
        return {'tracks': len(self._faces_out), **super().details()}

    # Subscriptions

    def _emotion_received(self, message: Emotion) -> None:
        with self._lock:
            self._emotions[message.track_id] = message
            outputs = self._faces_out.get(message.track_id)
            if outputs and self._active:
                self._publish_expression(outputs, message)

    def _fatigue_received(self, message: FatigueState) -> None:
        with self._lock:
            self._fatigue[message.track_id] = message
            outputs = self._faces_out.get(message.track_id)
            if outputs and self._active:
                outputs['facs'].publish(self._units(message))

    def _event_received(self, message: FatigueEvent) -> None:
        if message.type == FatigueEventType.BLINK:
            with self._lock:
                self._blinked[message.track_id] = header_stamp_ns(message)

    def _handle(self, item: SharedFaces) -> None:
        """Publish who is in the image and where, on the worker thread."""
        from hri_msgs.msg import IdsList
        from hri_msgs.msg import NormalizedRegionOfInterest2D as Region

        header = CODEC.header_of(item.frame)
        with self._lock:
            if not self._publishing:
                return
            self._bodies.size = item.frame.width, item.frame.height
            self._only(face.track_id for face in item.faces)
            for face in item.faces:
                outputs = self._outputs_for(face.track_id)
                outputs['roi'].publish(Region(header=header, **_share(face, item.frame)))
            self._tracked.publish(IdsList(
                header=header, ids=[self._ids[face.track_id] for face in item.faces]))
        self.images.answered(item.frame, item.received_s)

    # Publications

    def _face_id(self, track_id: int) -> str:
        """Return the id of a face that is in the image; empty if it is not."""
        return self._ids[track_id] if track_id in self._faces_out else ''

    def _outputs_for(self, track_id: int) -> dict[str, Any]:
        if track_id not in self._faces_out:
            from hri_msgs.msg import Expression, FacialActionUnits, NormalizedRegionOfInterest2D

            root = f'{ROOT}/{self._ids[track_id]}'
            kinds: Mapping[str, type] = {
                'roi': NormalizedRegionOfInterest2D, 'expression': Expression,
                'facs': FacialActionUnits}
            self._faces_out[track_id] = {
                topic: self.create_publisher(kind, f'{root}/{topic}', qos.OUTPUT)
                for topic, kind in kinds.items()}
        return self._faces_out[track_id]

    def _only(self, present: Iterable[int]) -> None:
        """Remove the topics and memories of all other faces."""
        present = set(present)
        for track_id in self._faces_out.keys() - present:
            for publisher in self._faces_out.pop(track_id).values():
                self.destroy_publisher(publisher)
        for memory in (self._emotions, self._fatigue, self._blinked):
            for track_id in memory.keys() - present:
                del memory[track_id]
        self._ids.forget(present)

    def _publish_expression(self, outputs: Mapping[str, Any], emotion: Emotion) -> None:
        from hri_msgs.msg import Expression

        outputs['expression'].publish(Expression(
            header=emotion.header,
            expression=expression_of(emotion, self._fatigue.get(emotion.track_id)),
            valence=emotion.valence, arousal=emotion.arousal, confidence=emotion.confidence))

    def _units(self, fatigue: FatigueState) -> Any:
        from hri_msgs.msg import FacialActionUnits

        message = FacialActionUnits(header=fatigue.header)
        intensity, confidence = [0.0] * UNITS, [0.0] * UNITS
        intensity[EYES_CLOSED], confidence[EYES_CLOSED] = closure_of(fatigue)
        since = header_stamp_ns(fatigue) - self._blinked.get(fatigue.track_id, -1 << 62)
        intensity[BLINK] = float(0 <= since < BLINK_S * 1e9)
        confidence[BLINK] = confidence[EYES_CLOSED]
        message.intensity, message.confidence = intensity, confidence
        return message


def _with_a_time(keep: Callable[[Any], None]) -> Callable[[Any], None]:
    """Drop messages whose stamp is no time: they are of no node of ours."""
    def received(message: Any) -> None:
        with suppress(ValueError):
            header_stamp_ns(message)
            keep(message)
    return received


def _share(face: TrackedFace, frame: Frame) -> dict[str, float]:
    """Return a normalized region: the box as shares of the image, 0 ... 1, and its confidence."""
    x1, y1, x2, y2 = (float(value) for value in face.box)

    def within(value: float, size: int) -> float:
        return min(max(value / size, 0.0), 1.0)
    return {
        'xmin': within(x1, frame.width), 'ymin': within(y1, frame.height),
        'xmax': within(x2, frame.width), 'ymax': within(y2, frame.height),
        'c': float(face.detection.confidence)}
