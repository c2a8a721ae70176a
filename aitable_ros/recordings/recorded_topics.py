# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The answers that a robot's nodes recorded, read instead of running models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aitable_ros.clock import header_stamp_ns, JUMP_BACK_NS, serialized_stamp_ns
from aitable_ros.errors import InputError
from aitable_ros.message_codec import body_of, face_of, faces_of, model_of
from aitable_ros.message_fields import PACKAGE, TOPICS
from aitable_ros.posture_types import (
    Body, PostureAssessment, PostureEvent, PostureUpdate, PostureValidity
)
from aitable_ros.recordings.bag import camera_topics
from aitable_ros.recordings.bag_messages import BagMessages
from aitable_ros.recordings.recording import is_bag, Recording
from aitable_ros.recordings.source import Source
from aitable_ros.recordings.storage import Topic
from aitable_ros.stamp_join import StampBuffer
from aitable_ros.types import (
    EmotionEstimate, FaceResult, FatigueAssessment, FatigueEvent, Frame, FrameResult, ModelInfo,
    TrackedFace, Validity
)

LATE_NS = 2_000_000_000
"""Answers that come later than this after their image, in image time, are left out."""
LOOP_NS = LATE_NS + JUMP_BACK_NS
"""Stamps that fall back by more are no late answers: the camera's clock jumped back."""
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
"""A camera publishes one beside each image, with the image's header."""
POSTURE_ROLES = ('posture', 'posture/events')
"""Topics of posture: a reading is published, and not of each image."""
_PIXEL = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class AnsweredFrame(Frame):
    """A frame with its recorded answers; its image is one pixel, since nothing looks at it."""

    result: FrameResult = field(kw_only=True)


@dataclass(slots=True)
class _Answers:
    """The answers about one image that were read so far."""

    image: bool = False
    answered: bool = False
    frame_id: str = ''
    faces: tuple[TrackedFace, ...] | None = None
    seen: dict[int, TrackedFace] = field(default_factory=dict)
    """Faces of the emotions and states, for recordings without ``faces``."""
    emotions: dict[int, EmotionEstimate] = field(default_factory=dict)
    states: dict[int, FatigueAssessment] = field(default_factory=dict)
    events: list[FatigueEvent] = field(default_factory=list)
    postures: dict[int, PostureAssessment] = field(default_factory=dict)
    bodies: list[Body] = field(default_factory=list)
    posture_events: list[PostureEvent] = field(default_factory=list)


def namespaces(topics: Mapping[str, Topic]) -> dict[str, dict[str, str]]:
    """
    Return namespace -> relative name of our topic (``faces``, ``emotion``, …) -> its full name.

    Remapped topics count as one set if there is at most one of each type.
    """
    ours = {name: topic.kind for name, topic in topics.items() if topic.kind in TOPICS.values()}
    by_kind = {kind: role for role, kind in TOPICS.items()}
    found: dict[str, dict[str, str]] = {}
    for name, kind in sorted(ours.items()):
        role = by_kind[kind]
        place = name.removesuffix(f'/{role}') if name.endswith(f'/{role}') \
            else name.rpartition('/')[0]
        found.setdefault(place or '/', {})[role] = name
    if len(found) > 1 and len(set(ours.values())) == len(ours):
        place = min(found, key=len)
        return {place: {by_kind[kind]: name for name, kind in sorted(ours.items())}}
    return found


class RecordedTopics(Source):
    """
    The recorded answers of one set of nodes, one frame an image.

    The images of the camera topic number the frames, so that labels fit. In a bag without images,
    the answers number them.

    :param namespace: of the nodes, or any topic in it; needed if the bag has several
    """

    kind = 'recorded topics'

    def __init__(self, path: Path, namespace: str | None = None) -> None:
        super().__init__(path)
        if not path.exists():
            raise InputError(f'{path}: no such file or folder')
        if not is_bag(path):
            raise InputError(f'{path}: not a rosbag2, so it has no recorded topics; leave '
                             '--from-topics out')
        self._recording = Recording(path, self.note)
        self.topic, self._roles = self._choose(namespace)
        self.has_posture = any(role in POSTURE_ROLES for role in self._roles)
        self._camera = self._camera_beside()
        counted = self._recording.topics[
            self._camera or next(iter(self._roles.values()))].count
        if counted and self._recording.duration_s > 0:
            self.fps = counted / self._recording.duration_s

    def _choose(self, wanted: str | None) -> tuple[str, dict[str, str]]:
        found = {
            place: roles for place, roles in namespaces(self._recording.topics).items()
            if any(self._recording.topics[name].count != 0 for name in roles.values())}
        if not found:
            listed = ', '.join(sorted(self._recording.topics)) or 'none'
            raise InputError(f'{self.path}: nothing recorded of our topics (types '
                             f'{PACKAGE}*); topics: {listed}')
        if wanted is None:
            if len(found) > 1:
                raise InputError(f'{self.path}: topics of several sets of nodes; choose a '
                                 f'namespace with --topic: {", ".join(found)}')
            return next(iter(found.items()))
        asked = f"/{wanted.strip('/')}"
        for place, roles in found.items():
            if asked == place or asked in roles.values():
                return place, roles
        raise InputError(f"{self.path}: nothing recorded of our topics in '{wanted}'; namespaces: "
                         f'{", ".join(found)}')

    def _camera_beside(self) -> str:
        """
        Return the camera topic of the answers; empty if the bag does not tell which it is.

        Where the images were not recorded, it is their ``CameraInfo``.
        """
        cameras = [name for name, count in camera_topics(self._recording).items() if count != 0]
        if not cameras:
            cameras = [name for name, topic in sorted(self._recording.topics.items())
                       if topic.kind == CAMERA_INFO and topic.count != 0]
        if len(cameras) > 1:
            prefix = self.topic.rstrip('/') + '/'
            cameras = [name for name in cameras if name.startswith(prefix)]
        return cameras[0] if len(cameras) == 1 else ''

    def _read(self) -> Iterator[Frame]:
        reader = _Assembler(self._roles, self._camera, BagMessages(self._with_definitions()))
        answered = unanswered = unseen = 0
        try:
            for stamp_ns, answers in reader.answers(self._recording):
                answered += answers.answered
                unanswered += not answers.answered
                unseen += not answers.image
                yield AnsweredFrame(
                    _PIXEL, stamp_ns, answers.frame_id, result=reader.result(stamp_ns, answers))
        except InputError as error:
            text = str(error)
            raise InputError(text if str(self.path) in text else f'{self.path}: {text}') from None
        finally:
            if unanswered and reader.judged_by not in POSTURE_ROLES:
                self.note(f'{unanswered} of {answered + unanswered} images have no recorded '
                          'answer: the nodes dropped them, or were not running')
            if self._camera and unseen:
                self.note(f'{unseen} answers are about images that are not in the bag')
            if not self._camera:
                self.note('no camera topic belongs to the recorded topics, so frames are numbered '
                          'by the answers; images that the nodes dropped are not counted')
            if reader.late:
                self.note(f'{reader.late} messages came over {LATE_NS / 1e9:g} s after their image '
                          'and are left out')

    def _with_definitions(self) -> dict[str, Topic]:
        """Return our topics as described by the first file that has them."""
        from aitable_ros.recordings.storage import open_storage

        found: dict[str, Topic] = {}
        names = set(self._roles.values())
        for file in self._recording.files:
            if names <= set(found):
                break
            with open_storage(file) as storage:
                found |= {name: topic for name, topic in storage.topics.items() if name in names}
        return found


class _Assembler:
    """Joins the recorded messages by their image; they are neither together nor in order."""

    def __init__(self, roles: Mapping[str, str], camera: str, messages: BagMessages) -> None:
        self._roles = {name: role for role, name in roles.items()}
        self._camera = camera
        self._messages = messages
        self.judged_by = next(
            role for role in ('fatigue', 'faces', 'emotion', 'fatigue/events', *POSTURE_ROLES)
            if role in roles)
        self._has_posture = any(role in POSTURE_ROLES for role in roles)
        self._models: dict[str, ModelInfo] = {}
        self._waiting: StampBuffer[_Answers] = StampBuffer()
        self._newest = self._given = -(1 << 62)
        self.late = 0

    def answers(self, recording: Recording) -> Iterator[tuple[int, _Answers]]:
        """Yield (stamp in nanoseconds, answers) in the order of the stamps."""
        names = {*self._roles, *([self._camera] if self._camera else ())}
        for recorded in recording.messages(names):
            stamp_ns = self._take(recorded.topic, recorded.data)
            if stamp_ns is None:
                continue
            if stamp_ns < self._newest - LOOP_NS:
                begun = self._waiting.pop(stamp_ns)
                assert begun is not None
                yield from self._waiting.pop_all()
                self._waiting.put(stamp_ns, begun)
                self._newest, self._given = stamp_ns, -(1 << 62)
                continue
            self._newest = max(self._newest, stamp_ns)
            for due, answers in self._waiting.pop_before(self._newest - LATE_NS):
                self._given = due
                yield due, answers
        yield from self._waiting.pop_all()

    def _take(self, topic: Topic, data: bytes) -> int | None:
        """Add a message to its image; returns the stamp, or None if the message is too late."""
        if topic.name == self._camera:
            stamp_ns = serialized_stamp_ns(data)
            if not stamp_ns:
                return None
            self._waiting.at(stamp_ns, _Answers).image = True
            return stamp_ns
        message = self._messages.decode(topic.kind, data)
        try:
            return self._add(self._roles[topic.name], message)
        except (ValueError, TypeError, AttributeError) as error:  # of a version that is not ours
            raise InputError(f'a message of {topic.name} was recorded by another version: {error}'
                             ) from None

    def _add(self, role: str, message: Any) -> int | None:
        codec, track_id = self._messages.codec, getattr(message, 'track_id', 0)
        stamp_ns = header_stamp_ns(message)
        state = codec.fatigue_of(message) if role == 'fatigue' else None
        posture = codec.posture_of(message) if role == 'posture' else None
        if stamp_ns <= self._given and stamp_ns >= self._newest - LOOP_NS:
            # While the camera is gone, nodes repeat the last image's stamp with nobody in it.
            self.late += (state is None or state.validity is not Validity.NO_FACE) and (
                posture is None or posture.validity is not PostureValidity.NO_BODY)
            return None
        answers = self._waiting.at(stamp_ns, _Answers)
        answers.frame_id = answers.frame_id or message.header.frame_id
        answers.answered |= role == self.judged_by
        if state is not None:
            answers.states.setdefault(track_id, state)
            self._models['mesh'] = model_of(message)
            if track_id and state.validity is not Validity.NO_FACE:
                answers.seen.setdefault(track_id, face_of(message))
        elif role == 'faces':
            answers.faces = faces_of(message)
            self._models['face'] = model_of(message)
        elif role == 'emotion':
            answers.emotions.setdefault(track_id, codec.emotion_of(message))
            answers.seen[track_id] = face_of(message)  # with its box
            self._models['emotion'] = model_of(message)
        elif posture is not None:
            answers.postures.setdefault(track_id, posture)
            self._models['posture'] = model_of(message)
            body = body_of(message)
            if body is not None:
                answers.bodies.append(body)
        elif role == 'posture/events':
            answers.posture_events.append(codec.posture_event_of(message))
        else:
            answers.events.append(codec.event_of(message))
        return stamp_ns

    def result(self, stamp_ns: int, answers: _Answers) -> FrameResult:
        """Return the recorded answer to an image as the pipeline would give it."""
        faces = sorted(
            answers.seen.values() if answers.faces is None else answers.faces,
            key=lambda face: not face.primary)
        here = {face.track_id for face in faces}
        return FrameResult(
            stamp_ns=stamp_ns,
            faces=tuple(
                FaceResult(
                    face=face, fatigue=answers.states.get(face.track_id),
                    emotion=answers.emotions.get(face.track_id)) for face in faces),
            absent=tuple(state for track, state in answers.states.items() if track not in here),
            events=tuple(answers.events), models=dict(self._models), elapsed_ms={},
            posture=_posture(answers) if self._has_posture else None)


def _posture(answers: _Answers) -> PostureUpdate:
    """Return the recorded reading of an image; not ``read`` where there is none."""
    postures = answers.postures.items()
    return PostureUpdate(
        read=bool(answers.postures), bodies=tuple(answers.bodies),
        assessments={track: found for track, found in postures
                     if found.validity is not PostureValidity.NO_BODY},
        absent=tuple(found for _, found in postures if found.validity is PostureValidity.NO_BODY),
        events=tuple(answers.posture_events))
