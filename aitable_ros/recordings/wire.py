# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Our messages without ROS: values to the bytes that are in a bag, and back.

What the fields mean is said by ``aitable_msgs``; :mod:`aitable_ros.nodes.messages` does the same
with the classes of rclpy. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
import math
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.recordings.storage import Topic
from aitable_ros.types import Detection
from aitable_ros.types import EmotionEstimate
from aitable_ros.types import Expression
from aitable_ros.types import FaceResult
from aitable_ros.types import FatigueAssessment
from aitable_ros.types import FatigueEvent
from aitable_ros.types import FatigueEventType
from aitable_ros.types import FatigueLevel
from aitable_ros.types import FatigueReason
from aitable_ros.types import Frame
from aitable_ros.types import FrameResult
from aitable_ros.types import ModelInfo
from aitable_ros.types import TrackedFace
from aitable_ros.types import Validity

SECOND_NS = 1_000_000_000
PACKAGE = 'aitable_msgs/msg/'
KINDS = {
    'faces': f'{PACKAGE}FaceArray', 'emotion': f'{PACKAGE}Emotion',
    'fatigue': f'{PACKAGE}FatigueState', 'fatigue/events': f'{PACKAGE}FatigueEvent'}
"""Our topics, as they are called within a namespace, and their types."""
_SAME = (
    'ear_left', 'ear_right', 'openness', 'eyes_closed', 'perclos', 'perclos_long',
    'perclos_p80', 'perclos_coverage', 'perclos_long_coverage', 'blink_count', 'blink_rate', 'mar',
    'yawning', 'yawn_count', 'head_roll', 'head_pitch', 'head_yaw', 'calibrated', 'baseline_ear')
"""Fields of a FatigueState that an assessment has under the same name."""


def definitions(package: str = 'aitable_msgs') -> dict[str, str]:
    """
    Return the message definitions of a package as text, by type name.

    :raises InputError: they are not installed
    """
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    folders = [Path(prefix, 'share', package, 'msg') for prefix in prefixes if prefix]
    folders.append(Path(__file__).resolve().parents[2] / package / 'msg')
    for folder in folders:
        texts = {
            f'{package}/msg/{path.stem}': path.read_text(encoding='utf-8')
            for path in sorted(folder.glob('*.msg'))}
        if texts:
            return texts
    raise InputError(f'no message definitions of {package} in {", ".join(map(str, folders))}')


class Wire:
    """
    Reads and writes our messages.

    :param topics: of a bag: its own definitions of our types are taken before the installed ones
    """

    def __init__(self, topics: dict[str, Topic] | None = None) -> None:
        from rosbags.typesys import get_types_from_msg
        from rosbags.typesys import get_typestore
        from rosbags.typesys import Stores

        self.store = get_typestore(Stores.ROS2_HUMBLE)
        self._own = {
            topic.kind: topic.definition for topic in (topics or {}).values()
            if topic.kind in KINDS.values() and _is_msg(topic.definition)}
        texts: dict[str, str] = dict(self._own)
        if set(texts) != set(KINDS.values()):
            texts = {**definitions(), **texts}
        # A definition in a bag brings the types that it is made of: those may be there twice.
        known = {**self.store.fielddefs}
        for kind, text in texts.items():
            new = {name: fields for name, fields in get_types_from_msg(text, kind).items()
                   if name not in known}
            known |= new
            if new:
                self.store.register(new)

    # --- values to bytes --------------------------------------------------------------------------

    def encode(self, result: FrameResult, frame: Frame) -> Iterator[tuple[str, bytes]]:
        """
        Yield (topic within a namespace, message) of what the nodes would publish about a frame.

        :param frame: that the result is of; its size and header are needed
        """
        header = self._make('std_msgs/msg/Header', stamp=self._time(frame.stamp_ns),
                            frame_id=frame.frame_id)
        models = {stage: result.models.get(stage, ModelInfo()) for stage in (
            'face', 'mesh', 'emotion')}
        if models['face'].model:
            yield 'faces', self._bytes('faces', header=header, **_model(models['face']), faces=[
                self._make(
                    f'{PACKAGE}Face', track_id=one.face.track_id, primary=one.face.primary,
                    confidence=one.face.detection.confidence, roi=self._roi(one.face, frame),
                    keypoints=[
                        self._make('geometry_msgs/msg/Point32', x=float(x), y=float(y), z=0.0)
                        for x, y in one.face.detection.keypoints])
                for one in result.faces])
        for one in result.faces:
            if one.emotion is not None:
                yield 'emotion', self._emotion(header, one, one.emotion, frame, models['emotion'])
        for one in result.faces:
            if one.fatigue is not None:
                yield 'fatigue', self._fatigue(
                    header, one.fatigue, one.face.primary, models['mesh'])
        for gone in result.absent:
            yield 'fatigue', self._fatigue(header, gone, False, models['mesh'])
        for event in result.events:
            yield 'fatigue/events', self._bytes(
                'fatigue/events', header=header, track_id=event.track_id, type=int(event.type),
                start=self._time(event.start_ns), duration=self._duration(event.duration_s),
                level=int(event.level))

    def _emotion(
        self, header: Any, one: FaceResult, emotion: EmotionEstimate, frame: Frame,
        model: ModelInfo,
    ) -> bytes:
        return self._bytes(
            'emotion', header=header, track_id=emotion.track_id, primary=one.face.primary,
            roi=self._roi(one.face, frame), expression=int(emotion.expression),
            confidence=emotion.confidence,
            probabilities=np.asarray(emotion.probabilities, np.float32),
            valence=emotion.valence, arousal=emotion.arousal, **_model(model),
            from_cache=emotion.from_cache, age=self._duration(emotion.age_s))

    def _fatigue(
        self, header: Any, state: FatigueAssessment, primary: bool, model: ModelInfo,
    ) -> bytes:
        return self._bytes(
            'fatigue', header=header, track_id=state.track_id, primary=primary,
            validity=int(state.validity), level=int(state.level), reasons=int(state.reasons),
            closure_duration=self._duration(state.closure_s),
            mean_blink_duration=state.mean_blink_s, **_model(model),
            **{name: getattr(state, name) for name in _SAME})

    def serialize(self, kind: str, **fields: Any) -> bytes:
        """Return a message of any known type as the bytes that are in a bag."""
        return bytes(self.store.serialize_cdr(self._make(kind, **fields), kind))

    def header(self, frame: Frame) -> Any:
        """Return the header of the image that a frame was decoded from."""
        return self._make('std_msgs/msg/Header', stamp=self._time(frame.stamp_ns),
                          frame_id=frame.frame_id)

    def definition(self, kind: str) -> tuple[str, str]:
        """Return a type's definition with all that it is made of, and its hash."""
        text, _ = self.store.generate_msgdef(kind, ros_version=2)
        return text, self.store.hash_rihs01(kind)

    def _make(self, kind: str, **fields: Any) -> Any:
        return self.store.types[kind](**fields)

    def _bytes(self, topic: str, **fields: Any) -> bytes:
        return self.serialize(KINDS[topic], **fields)

    def _time(self, nanoseconds: int) -> Any:
        seconds, rest = divmod(nanoseconds, SECOND_NS)
        return self._make('builtin_interfaces/msg/Time', sec=seconds, nanosec=rest)

    def _duration(self, seconds: float) -> Any:
        whole = rest = 0
        if math.isfinite(seconds) and abs(seconds) < 2 ** 31:
            whole, rest = divmod(round(seconds * SECOND_NS), SECOND_NS)
        return self._make('builtin_interfaces/msg/Duration', sec=whole, nanosec=rest)

    def _roi(self, face: TrackedFace, frame: Frame) -> Any:
        limits = (frame.width, frame.height, frame.width, frame.height)
        x1, y1, x2, y2 = (
            min(max(round(float(value)), 0), limit) for value, limit in zip(face.box, limits))
        return self._make(
            'sensor_msgs/msg/RegionOfInterest', x_offset=x1, y_offset=y1,
            width=max(x2 - x1, 0), height=max(y2 - y1, 0), do_rectify=False)

    # --- bytes to values --------------------------------------------------------------------------

    def decode(self, kind: str, data: bytes) -> Any:
        """
        Return a message of one of our types.

        :raises InputError: it does not fit its definition
        """
        try:
            return self.store.deserialize_cdr(data, kind)
        except Exception:  # rosbags asserts, unpacks and indexes
            hint = '' if kind in self._own else (
                ': the bag does not define the type, and it was another then; record with mcap, '
                'which keeps definitions')
            raise InputError(f'a {kind} of {len(data)} bytes does not fit its definition{hint}') \
                from None


def _is_msg(text: str) -> bool:
    return bool(text) and not text.startswith('=' * 80 + '\nIDL: ')


def _model(model: ModelInfo) -> dict[str, str]:
    return {'model': model.model, 'backend': model.backend, 'precision': model.precision}


def stamp_of(message: Any) -> int:
    """Return the stamp of a message's header, nanoseconds."""
    return time_ns(message.header.stamp)


def time_ns(time: Any) -> int:
    """Return a time or duration in nanoseconds."""
    return int(time.sec) * SECOND_NS + int(time.nanosec)


def model_of(message: Any) -> ModelInfo:
    """Return what produced a message."""
    return ModelInfo(message.model, message.backend, message.precision)


def faces_of(message: Any) -> list[TrackedFace]:
    """Return the faces of a message, the primary one first."""
    faces = [
        TrackedFace(
            track_id=int(face.track_id),
            detection=Detection(
                box=_box(face.roi), confidence=float(face.confidence),
                keypoints=np.array(
                    [(point.x, point.y) for point in face.keypoints], np.float32).reshape(-1, 2)),
            primary=bool(face.primary))
        for face in message.faces]
    return sorted(faces, key=lambda face: not face.primary)


def face_of(message: Any) -> TrackedFace:
    """Return the face that an Emotion or a FatigueState is about, as far as it tells."""
    roi = getattr(message, 'roi', None)
    box = _box(roi) if roi is not None else np.zeros(4, np.float32)
    return TrackedFace(
        int(message.track_id), Detection(box, float('nan')), primary=bool(message.primary))


def _box(roi: Any) -> Any:
    return np.array(
        [roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height],
        np.float32)


def emotion_of(message: Any) -> EmotionEstimate:
    """Return the estimate that a message carries."""
    return EmotionEstimate(
        track_id=int(message.track_id), expression=Expression(message.expression),
        confidence=float(message.confidence),
        probabilities=np.asarray(message.probabilities, np.float32),
        valence=float(message.valence), arousal=float(message.arousal),
        from_cache=bool(message.from_cache), age_s=time_ns(message.age) / SECOND_NS)


def fatigue_of(message: Any) -> FatigueAssessment:
    """Return the assessment that a message carries."""
    return FatigueAssessment(
        track_id=int(message.track_id), stamp_ns=stamp_of(message),
        validity=Validity(message.validity), level=FatigueLevel(message.level),
        reasons=FatigueReason(message.reasons),
        closure_s=time_ns(message.closure_duration) / SECOND_NS,
        mean_blink_s=float(message.mean_blink_duration),
        **{name: getattr(message, name) for name in _SAME})


def event_of(message: Any) -> FatigueEvent:
    """Return the event that a message carries."""
    return FatigueEvent(
        track_id=int(message.track_id), type=FatigueEventType(message.type),
        start_ns=time_ns(message.start), duration_s=time_ns(message.duration) / SECOND_NS,
        level=FatigueLevel(message.level))
