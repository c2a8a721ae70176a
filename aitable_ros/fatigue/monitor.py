# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fatigue of the people in a frame: follow each face's mesh, read it, and judge the person."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import logging

import numpy as np
from numpy.typing import NDArray

from aitable_ros import rehearsal
from aitable_ros.closing import Closing
from aitable_ros.errors import InputError
from aitable_ros.face.covered_eyes import eyes_covered
from aitable_ros.face.mesh import FaceMesh
from aitable_ros.face.mesh import roi_from_detection
from aitable_ros.face.mesh import roi_from_landmarks
from aitable_ros.face.proof import MeshProof
from aitable_ros.fatigue.eyes import no_face
from aitable_ros.fatigue.eyes import read_eyes
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.people import People
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
PROOF_PAUSE_NS = 200_000_000
"""A mesh whose presence falls is proved again at once, but no more often than this."""
COVERED_LOOKS = 2
EYES_EVERY_NS = 250_000_000
"""Time between two looks at whether the eyes are covered; two in a row must say so, one acquits."""
SURE_PRESENCE = 1 - 1 / 22_000
"""Presence (a logit of 10) below which a mesh is proved again at once: 0.7 % of the meshes on faces
of 31 clips and 99 % of those on hair lie below."""

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
class _Followed:
    """
    A face whose mesh is followed from image to image.

    :param landmarks: the last mesh; None where the next one begins at the detector's box
    :param proved_ns: when the mesh was last borne out by the detector
    :param looked_ns: when the eyes were last looked at
    :param covered: looks in a row that found both eyes covered
    """

    landmarks: FaceLandmarks | None = None
    proved_ns: int = 0
    looked_ns: int = -EYES_EVERY_NS
    covered: int = 0


class FatigueMonitor(Closing):
    """
    Fatigue of everybody in the image, one mesh and one memory a track.

    :param options: the thresholds
    :param backend: runs the face mesh, closed with the monitor; None leaves the stage off
    :param attempts: how the backends were chosen
    :param proof: runs the detector that bears out meshes, closed with the monitor; None believes
        every mesh
    :raises InputError: a model is not what the stage needs
    """

    def __init__(
        self, options: FatigueOptions, backend: Backend | None, attempts: Sequence[Attempt] = (),
        proof: Backend | None = None,
    ) -> None:
        self.attempts = tuple(attempts)
        self._options = options
        self._backends = [opened for opened in (backend, proof) if opened is not None]
        self._backend = backend
        self._mesh = FaceMesh(backend) if backend is not None else None
        self._proof = MeshProof(proof) if proof is not None else None
        self._followed: dict[int, _Followed] = {}
        self._people = People(options)
        self._turns = Turns()
        self._stamp: int | None = None
        self._last = FatigueUpdate()
        self.ignored = 0
        """Frames left out because their stamps did not rise."""

    @classmethod
    def open(
        cls, options: FatigueOptions | None = None, load: Load = unshared,
        avoid: Avoid | None = None,
    ) -> FatigueMonitor:
        """
        Load the models and make a monitor of them.

        :param load: who loads it, see :func:`aitable_ros.inference.chain.resolve`
        :param avoid: what to pass over
        :raises InputError: a required model cannot be loaded
        """
        options = options or FatigueOptions()
        with ExitStack() as opened:
            mesh = resolve(options, load, avoid, _fits)
            attempts, proof = mesh.attempts, None
            if mesh.backend is not None:
                opened.enter_context(mesh.backend)
                second = resolve(options.proof_model, load, avoid)
                attempts, proof = attempts + second.attempts, second.backend
            if proof is not None:
                opened.enter_context(proof)
            monitor = cls(options, mesh.backend, attempts, proof)
            opened.pop_all()
            return monitor

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
        boxes = {face.track_id: face.box for face in faces}
        self._followed = {
            track_id: item for track_id, item in self._followed.items() if track_id in boxes}
        found = self._follow(frame, measured)
        landmarks: dict[int, FaceLandmarks] = {}
        readings: dict[int, EyeReading] = {}
        for face in measured:
            mesh = found.get(face.track_id)
            if mesh is not None:
                landmarks[face.track_id] = mesh
            readings[face.track_id] = no_face(frame.stamp_ns) if mesh is None else read_eyes(
                mesh, frame.stamp_ns, frame.width, frame.height, self._options)
        judgement = self._people.judge(frame.stamp_ns, readings, boxes)
        assessments = judgement.assessments
        now = frozenset(readings)
        for track_id in boxes:
            if track_id not in now:
                if track_id in last.landmarks:
                    landmarks[track_id] = last.landmarks[track_id]
                readings[track_id] = last.readings[track_id]
                assessments[track_id] = last.assessments[track_id]
        self._last = FatigueUpdate(
            landmarks, assessments, judgement.absent, judgement.events, readings, now, note)
        return self._last

    def absent(self, stamp_ns: int) -> tuple[FatigueAssessment, ...]:
        """
        Say at a moment without an image that nobody can be seen; changes nothing.

        :return: NO_FACE for everybody known, or one with track_id 0
        """
        return self._people.absent(stamp_ns)

    def calibrate(self) -> dict[int, float]:
        """
        Pin the baseline of everybody in the last image to what it is now.

        :return: EAR of open eyes by track
        :raises InputError: nobody was in it, or not yet for long enough
        """
        pinned: dict[int, float] = {}
        for track_id, reading in self._last.readings.items():
            value = self._people.pin(track_id) if reading.validity is Validity.VALID else None
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
        self._people.configure(options)

    def adopt(self, other: FatigueMonitor) -> None:
        """Exchange models with another monitor, between two frames; the people stay here."""
        for name in ('_backends', '_backend', '_mesh', '_proof', 'attempts'):
            mine, its = getattr(self, name), getattr(other, name)
            setattr(self, name, its)
            setattr(other, name, mine)

    def reset(self) -> None:
        """Forget everybody; with ``keep_baselines`` the next one starts from the last baseline."""
        self._people.forget()
        self._followed.clear()
        self._stamp = None
        self._last = FatigueUpdate()

    def close(self) -> None:
        """Free the models. Idempotent."""
        for backend in self._backends:
            backend.close()

    def _follow(
        self, frame: Frame, faces: Sequence[TrackedFace],
    ) -> dict[int, FaceLandmarks]:
        """Find the mesh of each face: from its last mesh where that fits, else from its box."""
        assert self._mesh is not None
        rois = []
        followed = self._followed
        for face in faces:
            item = followed.setdefault(face.track_id, _Followed())
            last = item.landmarks
            if last is not None and not _agree(last.box, face.box):
                item.landmarks = last = None
            rois.append(
                roi_from_detection(face.detection) if last is None else roi_from_landmarks(last))
        if not rois:
            return {}
        found: dict[int, FaceLandmarks] = {}
        again = []
        for face, mesh in zip(faces, self._mesh.read(frame.image, np.stack(rois))):
            item = followed[face.track_id]
            if self._accept(frame, mesh, item):
                found[face.track_id] = _look_at_eyes(frame, mesh, item)
            elif item.landmarks is not None and face.detected:
                again.append(face)
            item.landmarks = found.get(face.track_id)
        if again:
            rois = [roi_from_detection(face.detection) for face in again]
            for face, mesh in zip(again, self._mesh.read(frame.image, np.stack(rois))):
                item = followed[face.track_id]
                if self._accept(frame, mesh, item):
                    found[face.track_id] = item.landmarks = _look_at_eyes(frame, mesh, item)
        return found

    def _accept(self, frame: Frame, mesh: FaceLandmarks, item: _Followed) -> bool:
        """Tell whether a mesh lies on a face; now and then, and when in doubt, ask the detector."""
        if mesh.presence < self._options.min_presence:
            return False
        if self._proof is None:
            return True
        pause_s = self._options.proof_interval_s
        since_ns = frame.stamp_ns - item.proved_ns
        due = item.landmarks is None or since_ns >= pause_s * 1e9 or (
            mesh.presence < SURE_PRESENCE and since_ns >= PROOF_PAUSE_NS)
        if due and not self._proof.holds(frame.image, mesh):
            return False
        if due:
            item.proved_ns = frame.stamp_ns
        return True


def _look_at_eyes(frame: Frame, mesh: FaceLandmarks, item: _Followed) -> FaceLandmarks:
    """Mark a mesh whose eyes are covered."""
    if frame.stamp_ns - item.looked_ns >= EYES_EVERY_NS:
        item.looked_ns = frame.stamp_ns
        item.covered = item.covered + 1 if eyes_covered(frame.image, mesh) else 0
    return replace(mesh, eyes_covered=True) if item.covered >= COVERED_LOOKS else mesh


def _fits(backend: Backend) -> None:
    """:raises Exception: the model is no face mesh, or does not work as one."""
    roi = roi_from_detection(rehearsal.FACE.detection)
    FaceMesh(backend).read(rehearsal.FRAME.image, roi[np.newaxis])


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
