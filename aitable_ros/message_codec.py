# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Our messages and the values that they carry, both ways, for live topics and for bags.

The codec knows neither rclpy nor rosbags. It reads any object with the fields of a message, and
makes messages with the function that it is given. ``aitable_msgs`` says what the fields mean.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import header_stamp_ns, SECOND_NS
from aitable_ros.message_fields import (
    ATTRIBUTES, Constants, DURATION, EMOTION, EVENT, FACE, FACES, FATIGUE, FIELDS, POSTURE,
    POSTURE_EVENT, PREFIXES, reader_of, SECONDS, TIME, VECTOR, vector
)
from aitable_ros.posture_types import (
    Body, JOINTS, NAN, PostureAssessment, PostureEvent, PostureUpdate, PostureValidity, Skeleton
)
from aitable_ros.types import (
    Detection, EmotionEstimate, FatigueAssessment, FatigueEvent, Frame, FrameResult, ModelInfo,
    TrackedFace
)

NOBODY = 0
"""Track of the message that says that nobody is known."""
Make = Callable[..., Any]
"""Makes a message: the name of its type, and its fields as keywords."""


class MessageCodec:
    """
    Makes our messages and reads them.

    :param make: makes a message
    :param constants: of the definitions with which the messages to be read were recorded; without
        them, the values are those of our enums
    """

    def __init__(self, make: Make, constants: Constants | None = None) -> None:
        self._make = make
        write: dict[Any, Callable[[Any], Any]] = {
            int: int, float: float, bool: bool, TIME: self.time_message,
            DURATION: self.duration_message, VECTOR: vector, SECONDS: vector,
            **dict.fromkeys(PREFIXES, int)}
        self._writers = {
            message: [(name, ATTRIBUTES.get(name, name), write[kind])
                      for name, kind in fields.items()]
            for message, fields in FIELDS.items()}
        self._readers = {
            message: [(name, ATTRIBUTES.get(name, name), reader_of(
                kind, constants.get(message) if constants else None))
                for name, kind in fields.items()]
            for message, fields in FIELDS.items()}

    # --- values to messages -----------------------------------------------------------------------

    def time_message(self, nanoseconds: int) -> Any:
        """Return nanoseconds as a stamp."""
        seconds, rest = divmod(nanoseconds, SECOND_NS)
        return self._make('builtin_interfaces/msg/Time', sec=seconds, nanosec=rest)

    def duration_message(self, seconds: float) -> Any:
        """Return seconds as a duration; NaN, and what an int32 of seconds cannot hold, as 0."""
        whole = rest = 0
        if math.isfinite(seconds) and abs(seconds) < 2 ** 31:
            whole, rest = divmod(round(seconds * SECOND_NS), SECOND_NS)
        return self._make('builtin_interfaces/msg/Duration', sec=whole, nanosec=rest)

    def header_of(self, frame: Frame) -> Any:
        """Return the header of the image that a frame was decoded from."""
        return self._make('std_msgs/msg/Header', stamp=self.time_message(frame.stamp_ns),
                          frame_id=frame.frame_id)

    def roi_message(self, box: NDArray[np.floating[Any]], width: int, height: int) -> Any:
        """
        Return a box as whole pixels inside the image.

        :param box: ``(4,)`` ``[x1, y1, x2, y2]``
        """
        limits = (width, height, width, height)
        x1, y1, x2, y2 = (
            min(max(round(float(value)), 0), limit) for value, limit in zip(box, limits))
        return self._make(
            'sensor_msgs/msg/RegionOfInterest', x_offset=x1, y_offset=y1,
            width=max(x2 - x1, 0), height=max(y2 - y1, 0), do_rectify=False)

    def face_array_message(
        self, frame: Frame, faces: Sequence[TrackedFace], model: ModelInfo,
    ) -> Any:
        """Return the faces of one frame as a ``FaceArray``."""
        return self._make(FACES, header=self.header_of(frame), **_model_fields(model), faces=[
            self._make(
                FACE, track_id=face.track_id, primary=face.primary,
                confidence=float(face.detection.confidence),
                roi=self.roi_message(face.box, frame.width, frame.height),
                keypoints=[
                    self._make('geometry_msgs/msg/Point32', x=float(x), y=float(y), z=0.0)
                    for x, y in face.detection.keypoints])
            for face in faces])

    def emotion_message(
        self, frame: Frame, face: TrackedFace, estimate: EmotionEstimate, model: ModelInfo,
    ) -> Any:
        """Return the emotion of one face as an ``Emotion``."""
        return self._message(
            EMOTION, estimate, header=self.header_of(frame), primary=face.primary,
            roi=self.roi_message(face.box, frame.width, frame.height), **_model_fields(model))

    def fatigue_message(
        self, header: Any, assessment: FatigueAssessment, model: ModelInfo, *,
        primary: bool = False,
    ) -> Any:
        """
        Return the fatigue of one person as a ``FatigueState``.

        :param header: of the image that it belongs to
        """
        return self._message(
            FATIGUE, assessment, header=header, primary=primary, **_model_fields(model))

    def event_message(self, header: Any, event: FatigueEvent) -> Any:
        """
        Return an event as a ``FatigueEvent``.

        :param header: of the image that made it certain
        """
        return self._message(EVENT, event, header=header)

    def posture_message(
        self, frame: Frame, assessment: PostureAssessment, model: ModelInfo,
        body: Body | None = None,
    ) -> Any:
        """
        Return the posture of one person as a ``Posture``.

        :param body: the person's, if it is in the image
        """
        joints: list[Any] = []
        visibility = array('f')
        box: NDArray[np.float32] = np.zeros(4, np.float32)
        if body is not None:
            skeleton = body.skeleton
            visibility.frombytes(skeleton.visibility.astype(np.float32).tobytes())
            joints = [
                self._make('geometry_msgs/msg/Point32', x=x, y=y, z=z)
                for x, y, z in skeleton.points.astype(float).tolist()]
            box = np.nan_to_num(skeleton.box)
        return self._message(
            POSTURE, assessment, header=self.header_of(frame), **_model_fields(model),
            primary=body is not None and body.primary,
            has_face=body is not None and body.has_face,
            roi=self.roi_message(box, frame.width, frame.height), joints=joints,
            joint_visibility=visibility)

    def posture_event_message(self, header: Any, event: PostureEvent) -> Any:
        """
        Return an event as a ``PostureEvent``.

        :param header: of the image that made it certain
        """
        return self._message(POSTURE_EVENT, event, header=header)

    def messages_of(self, result: FrameResult, frame: Frame) -> Iterator[tuple[str, Any]]:
        """
        Yield (topic, message) as the nodes would publish them about one frame.

        :param frame: that the result is of; its size and header are needed
        """
        header = self.header_of(frame)
        face, mesh, emotion = (
            result.models.get(stage, ModelInfo()) for stage in ('face', 'mesh', 'emotion'))
        if face.model:
            yield 'faces', self.face_array_message(frame, [one.face for one in result.faces], face)
        for one in result.faces:
            if one.emotion is not None:
                yield 'emotion', self.emotion_message(frame, one.face, one.emotion, emotion)
        for one in result.faces:
            if one.fatigue is not None:
                yield 'fatigue', self.fatigue_message(
                    header, one.fatigue, mesh, primary=one.face.primary)
        for absent in result.absent:
            yield 'fatigue', self.fatigue_message(header, absent, mesh)
        for event in result.events:
            yield 'fatigue/events', self.event_message(header, event)
        if result.posture is not None:
            yield from self.messages_of_posture(
                result.posture, frame, result.models.get('posture', ModelInfo()))

    def messages_of_posture(
        self, update: PostureUpdate, frame: Frame, model: ModelInfo,
    ) -> Iterator[tuple[str, Any]]:
        """Yield (topic, message) about the bodies of one image; nothing if they were not read."""
        if not update.read:
            return
        for body in update.bodies:
            yield 'posture', self.posture_message(
                frame, update.assessments[body.track_id], model, body)
        nobody = PostureAssessment(NOBODY, frame.stamp_ns, PostureValidity.NO_BODY)
        for absent in update.absent or (() if update.bodies else (nobody,)):
            yield 'posture', self.posture_message(frame, absent, model)
        header = self.header_of(frame)
        for event in update.events:
            yield 'posture/events', self.posture_event_message(header, event)

    def _message(self, kind: str, value: Any, **others: Any) -> Any:
        return self._make(kind, **others, **{
            name: write(getattr(value, attribute))
            for name, attribute, write in self._writers[kind]})

    # --- messages to values -----------------------------------------------------------------------

    def emotion_of(self, message: Any) -> EmotionEstimate:
        """
        Return the estimate that an ``Emotion`` carries.

        :raises ValueError: it holds a value that no constant has
        """
        return EmotionEstimate(**self._values(EMOTION, message))

    def fatigue_of(self, message: Any) -> FatigueAssessment:
        """
        Return the assessment that a ``FatigueState`` carries.

        :raises ValueError: it holds a value that no constant has, or an impossible stamp
        """
        return FatigueAssessment(
            stamp_ns=header_stamp_ns(message), **self._values(FATIGUE, message))

    def event_of(self, message: Any) -> FatigueEvent:
        """
        Return the event that a ``FatigueEvent`` carries.

        :raises ValueError: it holds a value that no constant has, or an impossible stamp
        """
        return FatigueEvent(**self._values(EVENT, message))

    def posture_of(self, message: Any) -> PostureAssessment:
        """
        Return the assessment that a ``Posture`` carries.

        :raises ValueError: it holds a value that no constant has, or an impossible stamp
        """
        return PostureAssessment(
            stamp_ns=header_stamp_ns(message), **self._values(POSTURE, message))

    def posture_event_of(self, message: Any) -> PostureEvent:
        """
        Return the event that a ``PostureEvent`` carries.

        :raises ValueError: it holds a value that no constant has, or an impossible stamp
        """
        return PostureEvent(**self._values(POSTURE_EVENT, message))

    def _values(self, kind: str, message: Any) -> dict[str, Any]:
        """Return the attributes of a value; a field that the definition lacked is left out."""
        return {
            attribute: read(getattr(message, name))
            for name, attribute, read in self._readers[kind] if hasattr(message, name)}


def model_of(message: Any) -> ModelInfo:
    """Return what produced a message."""
    return ModelInfo(message.model, message.backend, message.precision)


def faces_of(message: Any) -> tuple[TrackedFace, ...]:
    """Return the faces of a ``FaceArray``, in its order."""
    return tuple(
        TrackedFace(
            track_id=int(face.track_id),
            detection=Detection(
                box=_box(face.roi), confidence=float(face.confidence),
                keypoints=np.array(
                    [(point.x, point.y) for point in face.keypoints], np.float32).reshape(-1, 2)),
            primary=bool(face.primary))
        for face in message.faces)


def face_of(message: Any) -> TrackedFace:
    """Return the face that an ``Emotion`` or, with an empty box, a ``FatigueState`` is about."""
    roi = getattr(message, 'roi', None)
    box = np.zeros(4, np.float32) if roi is None else _box(roi)
    return TrackedFace(int(message.track_id), Detection(box, math.nan), bool(message.primary))


def body_of(message: Any) -> Body | None:
    """
    Return the body that a ``Posture`` carries; None where it has no joints.

    Metres and presence are not sent: they are NaN.

    :raises ValueError: there are not 33 joints
    """
    if not len(message.joints):
        return None
    return Body(
        int(message.track_id), Skeleton(
            np.array([(one.x, one.y, one.z) for one in message.joints], np.float32),
            vector(message.joint_visibility), np.full((JOINTS, 3), NAN, np.float32),
            presence=NAN),
        has_face=bool(message.has_face), primary=bool(message.primary))


def _box(roi: Any) -> NDArray[np.float32]:
    return np.array(
        [roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height],
        np.float32)


def _model_fields(model: ModelInfo) -> dict[str, str]:
    return {'model': model.model, 'backend': model.backend, 'precision': model.precision}
