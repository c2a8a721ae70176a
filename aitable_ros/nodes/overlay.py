# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node that draws the results of the others: their topics in, ``overlay`` out, if watched."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from sensor_msgs.msg import Image

from aitable_msgs.msg import Emotion, FatigueState, Posture
from aitable_ros.clock import stamp_ns
from aitable_ros.drawing import draw
from aitable_ros.message_codec import body_of, model_of
from aitable_ros.nodes.channel import (
    channel, SharedEmotion, SharedFaces, SharedFatigue, SharedPosture
)
from aitable_ros.nodes.managed_node import ManagedNode, subscribe_reliably
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.posture_source import PostureSource
from aitable_ros.posture_types import Body, PostureAssessment, PostureUpdate
from aitable_ros.stamp_join import StampBuffer
from aitable_ros.types import (
    EmotionEstimate, FaceLandmarks, FaceResult, FatigueAssessment, FrameResult, ModelInfo
)

KEPT_NS = 1_000_000_000
"""A posture is drawn for so long, image time: it is read five times a second by default."""
WAITING = 4
"""Images whose parts may wait: fatigue from another process may overtake its faces or be late."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawableFrame:
    """A frame and the results to draw on it."""

    shared: SharedFaces
    result: FrameResult


@dataclass(slots=True)
class _Parts:
    """What is known so far about one image."""

    shared: SharedFaces | None = None
    fatigue: dict[int, FatigueAssessment] = field(default_factory=dict)
    landmarks: Mapping[int, FaceLandmarks] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.shared is not None and all(
            face.track_id in self.fatigue for face in self.shared.faces)


class Collector:
    """
    Joins what the other nodes say about one image; callable from any thread.

    A frame is complete when the fatigue of each of its faces is there, or when the next frame
    comes. Emotions are read less often: each face shows its newest one.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: StampBuffer[_Parts] = StampBuffer(WAITING)
        self._emotions: dict[int, EmotionEstimate] = {}
        self._models: dict[str, ModelInfo] = {}
        self._postures: dict[int, tuple[PostureAssessment, Body]] = {}

    def faces(self, shared: SharedFaces) -> DrawableFrame | None:
        """Add the faces of a frame; returns the newest frame that this completes, if any."""
        stamp_ns = shared.frame.stamp_ns
        with self._lock:
            self._models['face'] = shared.model
            ids = {face.track_id for face in shared.faces}
            self._emotions = {key: one for key, one in self._emotions.items() if key in ids}
            before = [parts for _, parts in self._waiting.pop_before(stamp_ns) if parts.shared]
            parts = self._waiting.at(stamp_ns, _Parts)
            parts.shared = shared
            if parts.complete:
                return self._picture(parts)
            return self._picture(before[-1]) if before else None

    def fatigue(
        self, stamp_ns: int, assessments: Mapping[int, FatigueAssessment],
        landmarks: Mapping[int, FaceLandmarks], model: ModelInfo,
    ) -> DrawableFrame | None:
        """Add fatigue of one or more faces; returns the frame that this completes, if any."""
        with self._lock:
            self._models['mesh'] = model
            parts = self._waiting.at(stamp_ns, _Parts)
            parts.fatigue.update(assessments)
            parts.landmarks = landmarks
            return self._picture(parts) if parts.complete else None

    def emotion(self, estimates: Mapping[int, EmotionEstimate], model: ModelInfo) -> None:
        """Add the emotion of one or more faces."""
        with self._lock:
            self._models['emotion'] = model
            self._emotions.update(estimates)

    def posture(self, assessment: PostureAssessment, body: Body | None, model: ModelInfo) -> None:
        """Add the posture of one person; without a body, who has left."""
        with self._lock:
            self._models['posture'] = model
            if body is not None:
                self._postures[assessment.track_id] = assessment, body
            else:
                self._postures.pop(assessment.track_id, None)

    def postures(self, update: PostureUpdate, model: ModelInfo) -> None:
        """Take the bodies of one image in place of those before."""
        with self._lock:
            self._models['posture'] = model
            self._postures = {
                body.track_id: (update.assessments[body.track_id], body) for body in update.bodies}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._waiting.pop_all()
            self._emotions, self._models, self._postures = {}, {}, {}

    def _picture(self, parts: _Parts) -> DrawableFrame:
        shared = parts.shared
        assert shared is not None
        stamp_ns = shared.frame.stamp_ns
        self._waiting.pop(stamp_ns)
        self._postures = {
            track_id: (assessment, body)
            for track_id, (assessment, body) in self._postures.items()
            if abs(stamp_ns - assessment.stamp_ns) <= KEPT_NS}
        known = self._postures.values()
        return DrawableFrame(shared, FrameResult(
            stamp_ns=stamp_ns,
            faces=tuple(
                FaceResult(
                    face=face, landmarks=parts.landmarks.get(face.track_id),
                    emotion=self._emotions.get(face.track_id),
                    fatigue=parts.fatigue.get(face.track_id))
                for face in shared.faces),
            absent=(), events=(), models=dict(self._models), elapsed_ms={},
            posture=PostureUpdate(
                bodies=tuple(body for _, body in known),
                assessments={one.track_id: one for one, _ in known}) if known else None))


class OverlayNode(ManagedNode):
    """Publishes annotated images as ``rgb8`` while someone subscribes to them."""

    NAME = 'overlay'

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._overlay: Any = None
        self._collector = Collector()
        self._watched = False
        self._subscriptions_here: list[Any] = []
        self._shared_fatigue = channel(
            self.context, SharedFatigue, self.resolve_topic_name('fatigue'))
        self._shared_emotion = channel(
            self.context, SharedEmotion, self.resolve_topic_name('emotion'))
        self._posture = PostureSource(self, self._posture_shared, self._posture_received)

    def _make_publishers(self) -> None:
        self._overlay = self._publisher(Image, 'overlay')

    def _subscribe(self) -> None:
        self._once_a_second()

    def _unsubscribe(self) -> None:
        super()._unsubscribe()
        self._shared_fatigue.unlisten(self._fatigue_shared)
        self._shared_emotion.unlisten(self._emotion_shared)
        self._posture.stop()
        for subscription in self._subscriptions_here:
            self.destroy_subscription(subscription)
        self._subscriptions_here.clear()
        self._collector.clear()
        self._watched = False

    def _once_a_second(self) -> None:
        """Receive only while someone subscribes to the overlay: images are expensive."""
        watched = self._overlay.get_subscription_count() > 0
        if watched and not self._watched:
            self._watched = True
            self._listen()
        elif self._watched and not watched:
            self._unsubscribe()
        if self._watched:
            self._posture.refresh()
        self.source.refresh()

    def _listen(self) -> None:
        self.source.start()
        if self._shared_fatigue.has_producer:
            self._shared_fatigue.listen(self._fatigue_shared)
        else:
            self._subscriptions_here.append(
                subscribe_reliably(self, FatigueState, 'fatigue', self._fatigue_received))
        if self._shared_emotion.has_producer:
            self._shared_emotion.listen(self._emotion_shared)
        else:
            self._subscriptions_here.append(
                subscribe_reliably(self, Emotion, 'emotion', self._emotion_received))

    # In the order of arrival

    def _offer(self, item: SharedFaces) -> None:
        self._paint(self._collector.faces(item))

    def _fatigue_shared(self, shared: SharedFatigue) -> None:
        self._paint(self._collector.fatigue(
            shared.stamp_ns, shared.assessments, shared.landmarks, shared.model))

    def _emotion_shared(self, shared: SharedEmotion) -> None:
        self._collector.emotion(shared.estimates, shared.model)

    def _fatigue_received(self, message: FatigueState) -> None:
        try:
            assessment = CODEC.fatigue_of(message)
            stamp = stamp_ns(message.header.stamp)
        except ValueError as error:
            self.images.complain('fatigue', f'fatigue message dropped: {error}')
            return
        self._paint(self._collector.fatigue(
            stamp, {assessment.track_id: assessment}, {}, model_of(message)))

    def _emotion_received(self, message: Emotion) -> None:
        try:
            estimate = CODEC.emotion_of(message)
        except ValueError as error:
            self.images.complain('emotion', f'emotion message dropped: {error}')
            return
        self._collector.emotion({estimate.track_id: estimate}, model_of(message))

    def _posture_shared(self, shared: SharedPosture) -> None:
        self._collector.postures(shared.update, shared.model)

    def _posture_received(self, message: Posture) -> None:
        try:
            told = CODEC.posture_of(message), body_of(message)
        except ValueError as error:
            self.images.complain('posture', f'posture message dropped: {error}')
            return
        self._collector.posture(*told, model_of(message))

    def _paint(self, picture: DrawableFrame | None) -> None:
        if picture is not None:
            super()._offer(picture)

    def _handle(self, item: DrawableFrame) -> None:
        frame = item.shared.frame
        canvas = draw(frame.image, item.result)
        data = array('B')
        data.frombytes(canvas.data)
        if not self._publishing:
            return
        self._overlay.publish(Image(
            header=CODEC.header_of(frame), height=frame.height, width=frame.width, encoding='rgb8',
            is_bigendian=0, step=frame.width * 3, data=data))
        self.images.answered(frame, item.shared.received_s)
