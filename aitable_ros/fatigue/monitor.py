# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fatigue of the people in a frame: follow each face's mesh, read it, and judge the person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import partial
import logging

import numpy as np
from numpy.typing import NDArray

from aitable_ros.closing import Closing
from aitable_ros.errors import InputError
from aitable_ros.face.mesh import FaceMesh
from aitable_ros.face.mesh import roi_from_detection
from aitable_ros.face.mesh import roi_from_landmarks
from aitable_ros.fatigue.eyes import no_face
from aitable_ros.fatigue.eyes import read_eyes
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.person import PersonFatigue
from aitable_ros.fatigue.turns import Turns
from aitable_ros.inference.chain import Attempt
from aitable_ros.inference.chain import Avoid
from aitable_ros.inference.chain import Load
from aitable_ros.inference.chain import resolve
from aitable_ros.inference.chain import unshared
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import EyeReading
from aitable_ros.types import FaceLandmarks
from aitable_ros.types import FatigueAssessment
from aitable_ros.types import FatigueEvent
from aitable_ros.types import Frame
from aitable_ros.types import ModelInfo
from aitable_ros.types import TrackedFace
from aitable_ros.types import Validity

JUMP_NS = 1_000_000_000
"""Stamps that fall back further than this are a recording that began anew, not late images."""
NOBODY = 0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class FatigueUpdate:
    """
    What one frame says about the people in it.

    :param landmarks: mesh of each face in the image that has one, by track
    :param assessments: of each face in the image, by track
    :param absent: of the people known and not in the image; with nobody known, one with track_id 0
    :param events: what became certain with this frame
    :param readings: of each face in the image, by track
    :param measured: whose figures are of this image; those of the others are of one shortly before
        (see ``others_fps``)
    :param note: something to log: a stamp that was ignored, a recording that began anew
    """

    landmarks: dict[int, FaceLandmarks] = field(default_factory=dict)
    assessments: dict[int, FatigueAssessment] = field(default_factory=dict)
    absent: tuple[FatigueAssessment, ...] = ()
    events: tuple[FatigueEvent, ...] = ()
    readings: dict[int, EyeReading] = field(default_factory=dict)
    measured: frozenset[int] = frozenset()
    note: str = ''


@dataclass(slots=True, eq=False)
class _Known:
    """A person who is, or was until lately, in front of the camera."""

    fatigue: PersonFatigue
    landmarks: FaceLandmarks | None = None
    seen_ns: int = 0


class FatigueMonitor(Closing):
    """
    Fatigue of everybody in the image, one mesh and one memory a track.

    :param options: the thresholds
    :param backend: runs the face mesh, closed with the monitor; None leaves the stage off
    :param attempts: how the backend was chosen
    """

    def __init__(
        self, options: FatigueOptions, backend: Backend | None, attempts: Sequence[Attempt] = (),
    ) -> None:
        self.attempts = tuple(attempts)
        self._options = options
        self._backend = backend
        self._mesh = FaceMesh(backend) if backend is not None else None
        self._people: dict[int, _Known] = {}
        self._turns = Turns()
        self._stamp: int | None = None
        self._kept_ear = 0.0
        self._last = FatigueUpdate()
        self.ignored = 0
        """Frames left out because their stamps did not rise."""

    @classmethod
    def open(
        cls, options: FatigueOptions | None = None, load: Load = unshared,
        avoid: Avoid | None = None,
    ) -> FatigueMonitor:
        """
        Load the mesh and make a monitor of it.

        :param load: who loads it, see :func:`aitable_ros.inference.chain.resolve`
        :param avoid: what to pass over
        :raises InputError: a required model cannot be loaded
        """
        options = options or FatigueOptions()
        return resolve(options, load, avoid).hand_to(partial(cls, options))

    @property
    def model(self) -> ModelInfo:
        """What runs; empty when the stage is off."""
        backend = self._backend
        if backend is None:
            return ModelInfo()
        return ModelInfo(backend.model, backend.name, backend.precision)

    @property
    def options(self) -> FatigueOptions:
        """The thresholds in use."""
        return self._options

    def update(self, frame: Frame, faces: Sequence[TrackedFace]) -> FatigueUpdate:
        """
        Read one frame.

        A frame whose stamp does not rise changes nothing and repeats the last answer, its events
        left out; one that falls back by more than a second makes everybody forgotten first.

        :param faces: the tracked faces in it
        """
        if self._mesh is None:
            return FatigueUpdate()
        note = ''
        if self._stamp is not None and frame.stamp_ns <= self._stamp:
            back = self._stamp - frame.stamp_ns
            if back <= JUMP_NS:
                self.ignored += 1
                note = f'ignored an image stamped {back * 1e-6:.1f} ms before the last one' \
                    if back else 'ignored an image with the stamp of the last one'
                _log.debug('%s', note)
                last = self._last
                return FatigueUpdate(
                    last.landmarks, last.assessments, last.absent, (), last.readings, note=note)
            note = f'time jumped back by {back * 1e-9:.1f} s: everybody is forgotten'
            _log.debug('%s', note)  # who asked is told by the note
            self.reset()
        self._stamp = frame.stamp_ns
        last = self._last
        measured = self._turns.choose(
            frame.stamp_ns, faces, last.assessments, self._options.others_fps)
        found = self._follow(frame.image, measured)
        landmarks: dict[int, FaceLandmarks] = {}
        readings: dict[int, EyeReading] = {}
        assessments: dict[int, FatigueAssessment] = {}
        events: list[FatigueEvent] = []
        now = {face.track_id for face in measured}
        for track_id in (face.track_id for face in faces):
            known = self._people[track_id]
            if track_id not in now:
                if known.landmarks is not None:
                    landmarks[track_id] = known.landmarks
                readings[track_id] = last.readings[track_id]
                assessments[track_id] = last.assessments[track_id]
                continue
            known.landmarks = mesh = found.get(track_id)
            if mesh is None:
                reading = no_face(frame.stamp_ns)
            else:
                landmarks[track_id] = mesh
                reading = read_eyes(
                    mesh, frame.stamp_ns, frame.width, frame.height, self._options)
                known.seen_ns = frame.stamp_ns
            readings[track_id] = reading
            assessments[track_id], told = known.fatigue.update(reading)
            events += told
        absent = self._miss(frame.stamp_ns, assessments, events)
        self._last = FatigueUpdate(
            landmarks, assessments, absent, tuple(events), readings, frozenset(now), note)
        return self._last

    def absent(self, stamp_ns: int) -> tuple[FatigueAssessment, ...]:
        """
        Say at a moment without an image that nobody can be seen; changes nothing.

        :return: NO_FACE for everybody known, or one with track_id 0
        """
        return tuple(
            known.fatigue.absent(stamp_ns) for known in self._people.values()) or _nobody(stamp_ns)

    def calibrate(self) -> dict[int, float]:
        """
        Pin the baseline of everybody in the last image to what it is now.

        :return: EAR of open eyes by track
        :raises InputError: nobody was in it, or not yet for long enough
        """
        pinned: dict[int, float] = {}
        for track_id, reading in self._last.readings.items():
            known = self._people.get(track_id)
            if known is None or reading.validity is not Validity.VALID:
                continue
            value = known.fatigue.baseline.pin()
            if value is not None:
                pinned[track_id] = value
        if not pinned:
            raise InputError(
                'nobody to calibrate: somebody must have looked at the camera with open eyes for '
                f'{self._options.baseline_warm_up_s:g} s')
        return pinned

    def configure(self, options: FatigueOptions) -> None:
        """Take other thresholds; people stay known, see :meth:`PersonFatigue.configure`."""
        self._options = options
        for known in self._people.values():
            known.fatigue.configure(options)

    def adopt(self, other: FatigueMonitor) -> None:
        """Exchange models with another monitor, between two frames; the people stay here."""
        self._backend, other._backend = other._backend, self._backend
        self._mesh, other._mesh = other._mesh, self._mesh
        self.attempts, other.attempts = other.attempts, self.attempts

    def reset(self) -> None:
        """Forget everybody; with ``keep_baselines`` the next one starts from the last baseline."""
        self._kept_ear = 0.0
        if self._options.keep_baselines and self._people:
            latest = max(self._people.values(), key=lambda known: known.seen_ns)
            if latest.fatigue.baseline.learned:
                self._kept_ear = latest.fatigue.baseline.value
        self._people.clear()
        self._stamp = None
        self._last = FatigueUpdate()

    def close(self) -> None:
        """Free the model. Idempotent."""
        if self._backend is not None:
            self._backend.close()

    def _follow(
        self, image: NDArray[np.uint8], faces: Sequence[TrackedFace],
    ) -> dict[int, FaceLandmarks]:
        """Find the mesh of each face: from its last mesh where that fits, else from its box."""
        assert self._mesh is not None
        rois = []
        for face in faces:
            known = self._people.get(face.track_id)
            if known is None:
                fatigue = PersonFatigue(face.track_id, self._options, self._kept_ear)
                known = self._people[face.track_id] = _Known(fatigue)
            last = known.landmarks
            if last is not None and not _agree(last.box, face.box):
                known.landmarks = last = None
            rois.append(
                roi_from_detection(face.detection) if last is None else roi_from_landmarks(last))
        if not rois:
            return {}
        found: dict[int, FaceLandmarks] = {}
        again = []
        meshes = self._mesh.read(image, np.stack(rois))
        for face, mesh in zip(faces, meshes):
            if mesh.presence >= self._options.min_presence:
                found[face.track_id] = mesh
            elif self._people[face.track_id].landmarks is not None and face.detected:
                again.append(face)
        if again:
            rois = [roi_from_detection(face.detection) for face in again]
            for face, mesh in zip(again, self._mesh.read(image, np.stack(rois))):
                if mesh.presence >= self._options.min_presence:
                    found[face.track_id] = mesh
        return found

    def _miss(
        self, stamp_ns: int, present: dict[int, FatigueAssessment], events: list[FatigueEvent],
    ) -> tuple[FatigueAssessment, ...]:
        """Tell those who are not in the image that time passes; forget the ones long gone."""
        absent = []
        for track_id, known in list(self._people.items()):
            if track_id in present:
                continue
            if (stamp_ns - known.seen_ns) * 1e-9 > self._options.forget_s:
                del self._people[track_id]
                continue
            known.landmarks = None
            assessment, told = known.fatigue.update(no_face(stamp_ns))
            absent.append(assessment)
            events += told
        if not present and not absent:
            return _nobody(stamp_ns)
        return tuple(absent)


def _nobody(stamp_ns: int) -> tuple[FatigueAssessment, ...]:
    return (FatigueAssessment(NOBODY, stamp_ns, Validity.NO_FACE),)


def _agree(mesh: NDArray[np.float32], box: NDArray[np.float32]) -> bool:
    """Whether two boxes can be of one face: centres within half a face, sizes within a factor."""
    ax1, ay1, ax2, ay2 = mesh.tolist()
    bx1, by1, bx2, by2 = box.tolist()
    size, other = max(ax2 - ax1, ay2 - ay1), max(bx2 - bx1, by2 - by1)
    if not (size > 0 and 0.4 * size <= other <= 2.5 * size):
        return False
    reach = 0.5 * max(size, other)
    apart = max(abs(ax1 + ax2 - bx1 - bx2), abs(ay1 + ay2 - by1 - by2)) / 2
    return bool(apart <= reach)
