# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the nodes of each camera have published lately: bounded, thread-safe, without ROS."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Any

from aitable_ros.clock import ImageTime, Step
from aitable_ros.monitor.person import FORGET_NS, Person
from aitable_ros.posture_types import PostureAssessment
from aitable_ros.stamp_join import StampBuffer
from aitable_ros.types import (
    EmotionEstimate, FatigueAssessment, FatigueEvent, FatigueLevel, ModelInfo, TrackedFace
)

MOST_CAMERAS = 16
MOST_STATUSES = 64
MOST_TEXT = 300
KEEP_ABSENT_NS = 20_000_000_000
"""A person who left stays on the page for this much image time."""
RATE_NS = 5_000_000_000
HELD = 16
"""Images whose faces are kept for a picture that arrives later: half a second at 30 fps."""


@dataclass(frozen=True, slots=True)
class DiagnosticEntry:
    """One entry of /diagnostics. ``level``: 0 OK, 1 WARN, 2 ERROR, 3 STALE."""

    name: str
    level: int
    message: str
    hardware_id: str
    values: dict[str, str]
    heard_s: float


@dataclass(slots=True)
class ViewerState:
    """
    What one viewer has already received, so that only news is sent.

    :param chosen: the viewer asked for this camera; else the first with messages is shown
    """

    camera: str = ''
    chosen: bool = False
    epoch: int = -1
    bins: dict[int, int] = field(default_factory=dict)


class _Camera:
    """The nodes of one namespace."""

    def __init__(self) -> None:
        self.heard_s: dict[str, float] = {}
        self.epoch = 0
        self.people: dict[int, Person] = {}
        self.models: dict[str, ModelInfo] = {}
        self.time = ImageTime()
        self.stamp_ns = 0
        self.stamps: deque[int] = deque(maxlen=1000)
        self.faces: StampBuffer[Sequence[TrackedFace]] = StampBuffer(HELD)
        self.present: frozenset[int] = frozenset()

    def image(self, stamp_ns: int) -> None:
        """Take the time of an image; where the clock jumps back, a new timeline begins."""
        step = self.time.step(stamp_ns)
        if step is Step.JUMP:
            self.epoch += 1
            self.people.clear()
            self.stamps.clear()
            self.faces.pop_all()
        if step is not Step.LATE:
            self.stamp_ns = stamp_ns
        self.at(self.stamp_ns)

    def at(self, stamp_ns: int) -> None:
        """Let time pass, with an image or without one, and drop who left long ago."""
        self.stamp_ns = max(self.stamp_ns, stamp_ns)
        for track_id in [
                key for key, person in self.people.items()
                if key not in self.present and self.stamp_ns - person.seen_ns > KEEP_ABSENT_NS]:
            del self.people[track_id]

    def person(self, track_id: int, stamp_ns: int) -> Person:
        """Return a person, known or new."""
        person = self.people.get(track_id)
        if person is None or stamp_ns - person.seen_ns > FORGET_NS:
            person = self.people[track_id] = Person(track_id, stamp_ns)
        return person

    def fps(self) -> float:
        """Return answered images per second of image time."""
        recent = [stamp for stamp in self.stamps if stamp > self.stamp_ns - RATE_NS]
        span_s = (recent[-1] - recent[0]) / 1e9 if len(recent) > 1 else 0.0
        return (len(recent) - 1) / span_s if span_s > 0 else 0.0

    def worst(self) -> FatigueLevel:
        """Return the worst level of those who are here."""
        return max(
            (self.people[key].level for key in self.present if key in self.people),
            default=FatigueLevel.UNKNOWN)


class GraphState:
    """The newest messages by camera; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cameras: dict[str, _Camera] = {}
        self._statuses: dict[str, DiagnosticEntry] = {}

    def cameras(self) -> list[str]:
        """Return the namespaces known."""
        with self._lock:
            return sorted(self._cameras)

    def add(self, name: str) -> bool:
        """Add a camera, with or without messages; False where there are too many."""
        with self._lock:
            if name not in self._cameras and len(self._cameras) >= MOST_CAMERAS:
                return False
            self._cameras.setdefault(name, _Camera())
            return True

    def faces(self, name: str, stamp_ns: int, faces: Sequence[TrackedFace], model: ModelInfo,
              ) -> None:
        """Take in the faces of one image."""
        with self._lock:
            camera = self._heard(name, 'faces')
            camera.image(stamp_ns)
            camera.models['face'] = model
            camera.stamps.append(stamp_ns)
            camera.faces.put(stamp_ns, faces)
            camera.present = frozenset(face.track_id for face in faces)
            for face in faces:
                person = camera.person(face.track_id, stamp_ns)
                person.primary = face.primary
                person.seen_ns = stamp_ns

    def fatigue(self, name: str, fatigue: FatigueAssessment, model: ModelInfo) -> None:
        """Take in one person's state; track 0 is nobody."""
        with self._lock:
            camera = self._heard(name, 'fatigue')
            camera.at(fatigue.stamp_ns)
            camera.models['mesh'] = model
            if not fatigue.track_id:
                return
            person = camera.people.get(fatigue.track_id)
            if person is not None and person.is_another(fatigue):
                del camera.people[fatigue.track_id]
            if fatigue.track_id in camera.people or fatigue.track_id in camera.present:
                camera.person(fatigue.track_id, fatigue.stamp_ns).fatigue(fatigue)

    def emotion(self, name: str, stamp_ns: int, emotion: EmotionEstimate, model: ModelInfo) -> None:
        """Take in one person's expression."""
        with self._lock:
            camera = self._heard(name, 'emotion')
            camera.models['emotion'] = model
            if emotion.track_id in camera.people:
                camera.people[emotion.track_id].emotion(stamp_ns, emotion)

    def posture(self, name: str, posture: PostureAssessment, model: ModelInfo) -> None:
        """Take in the posture of one person; bodies whose face was not seen are left out."""
        with self._lock:
            camera = self._heard(name, 'posture')
            camera.models['posture'] = model
            if posture.track_id in camera.people:
                camera.people[posture.track_id].posture(posture)

    def event(self, name: str, event: FatigueEvent) -> None:
        """Take in an event."""
        with self._lock:
            camera = self._cameras.get(name)
            if camera is not None and event.track_id in camera.people:
                camera.people[event.track_id].event(event)

    def statuses(self, statuses: Iterable[DiagnosticEntry]) -> None:
        """Take in diagnostics; the newest are kept."""
        with self._lock:
            for status in statuses:
                self._statuses.pop(status.name, None)
                self._statuses[status.name] = status
            while len(self._statuses) > MOST_STATUSES:
                del self._statuses[next(iter(self._statuses))]

    def image_topic(self, name: str) -> str:
        """Return the image topic that the nodes of a camera report in diagnostics; else empty."""
        with self._lock:
            for status in self._statuses.values():
                if _belongs(status, name) and status.hardware_id.startswith('/'):
                    return status.hardware_id
        return ''

    def drawn(self, name: str, stamp_ns: int) -> list[tuple[TrackedFace, FatigueLevel]] | None:
        """Return the faces of an image with each person's newest level; None while unknown."""
        with self._lock:
            camera = self._cameras.get(name)
            faces = camera.faces.get(stamp_ns) if camera is not None else None
            if camera is None or faces is None:
                return None
            return [
                (face, camera.people[face.track_id].level
                 if face.track_id in camera.people else FatigueLevel.UNKNOWN)
                for face in faces]

    def payload(self, viewer: ViewerState) -> dict[str, Any]:
        """
        Return the data for a viewer: its chosen camera, or else the first with messages.

        :param viewer: what the page has already; updated
        """
        now_s = monotonic()
        with self._lock:
            names = sorted(self._cameras)
            camera = self._cameras.get(viewer.camera)
            if names and (camera is None or not (viewer.chosen or camera.heard_s)):
                viewer.camera = min(
                    names, key=lambda name: (not self._cameras[name].heard_s, name))
                viewer.epoch = -1
            return {
                'cameras': [
                    {'name': name, 'level': camera.worst().name, 'people': len(camera.present),
                     'silent_s': _silent(camera, now_s)}
                    for name, camera in sorted(self._cameras.items())],
                'camera': self._camera_payload(viewer, now_s) if names else None,
            }

    def _camera_payload(self, viewer: ViewerState, now_s: float) -> dict[str, Any]:
        name = viewer.camera
        camera = self._cameras[name]
        if viewer.epoch != camera.epoch:
            viewer.epoch = camera.epoch
            viewer.bins.clear()
        people = [
            {**person.payload(camera.stamp_ns, viewer.bins.get(person.key, -1)),
             'here': track_id in camera.present or person.sits(camera.stamp_ns)}
            for track_id, person in camera.people.items()]
        viewer.bins = {
            person.key: person.last_bin for person in camera.people.values()}
        people.sort(key=lambda one: (not one['here'], not one['primary'], one['id']))
        return {
            'name': name,
            'epoch': camera.epoch,
            'stamp_s': round(camera.stamp_ns / 1e9, 3),
            'silent_s': _silent(camera, now_s),
            'silent': {
                topic: round(now_s - heard_s, 1) for topic, heard_s in camera.heard_s.items()},
            'fps': round(camera.fps(), 1),
            'people': people,
            'models': {
                stage: [info.model, info.backend, info.precision]
                for stage, info in camera.models.items()},
            'diagnostics': [
                {'name': status.name, 'level': status.level, 'message': status.message,
                 'age_s': round(now_s - status.heard_s, 1), 'values': status.values,
                 'own': _belongs(status, name)}
                for status in sorted(
                    self._statuses.values(), key=lambda one: (not _belongs(one, name), one.name))],
        }

    def _heard(self, name: str, topic: str) -> _Camera:
        camera = self._cameras[name]
        camera.heard_s[topic] = monotonic()
        return camera


def _silent(camera: _Camera, now_s: float) -> float | None:
    """Return the seconds since the last faces message, which comes with every image answered."""
    heard_s = camera.heard_s.get('faces')
    return None if heard_s is None else round(now_s - heard_s, 1)


def _belongs(status: DiagnosticEntry, name: str) -> bool:
    """Return whether a status is of a node directly in that namespace."""
    node = status.name.partition(':')[0]
    return node.startswith('/') and (node.rpartition('/')[0] or '/') == name
