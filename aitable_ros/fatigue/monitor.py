# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fatigue of the people in a frame: follow each face's mesh, measure it, judge the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aitable_ros import rehearsal
from aitable_ros.clock import ImageTime, Step
from aitable_ros.closing import Closing, exchange
from aitable_ros.errors import InputError
from aitable_ros.face.mesh import FaceMesh, roi_from_detection
from aitable_ros.face.mesh_follower import MeshFollower
from aitable_ros.face.mesh_proof import MeshProof
from aitable_ros.fatigue.eyes import EyeReading, read_faces
from aitable_ros.fatigue.measurement_schedule import MeasurementSchedule
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.people import NOBODY_SLUMPED, People
from aitable_ros.inference.chain import Attempt, Avoid, Load, resolve_two, unshared
from aitable_ros.inference.protocol import Backend, info_of
from aitable_ros.types import (
    FaceLandmarks, FatigueAssessment, FatigueEvent, Frame, ModelInfo, TrackedFace, Validity
)


@dataclass(frozen=True, slots=True, eq=False)
class FatigueUpdate:
    """
    The people in one frame.

    :param landmarks: mesh of each face in the image that has one, by track
    :param assessments: of each face in the image, by track
    :param absent: of the people known and not in the image; with nobody known, one with track_id 0
    :param events: that became certain with this frame
    :param readings: of each face in the image, by track
    :param measured: tracks measured in this image; the figures of other faces are of an earlier
        image (see ``others_fps``)
    :param note: for the log: a late image was ignored, or the clock jumped back
    """

    landmarks: dict[int, FaceLandmarks] = field(default_factory=dict)
    assessments: dict[int, FatigueAssessment] = field(default_factory=dict)
    absent: tuple[FatigueAssessment, ...] = ()
    events: tuple[FatigueEvent, ...] = ()
    readings: dict[int, EyeReading] = field(default_factory=dict)
    measured: frozenset[int] = frozenset()
    note: str = ''


class FatigueMonitor(Closing):
    """
    Fatigue of everybody in the image: :class:`MeshFollower` finds the meshes, :class:`People`
    judges them.

    :param options: the thresholds
    :param backend: runs the face mesh, closed with the monitor; None leaves the stage off
    :param attempts: how the backends were chosen
    :param proof: runs the detector that confirms meshes, closed with the monitor; None accepts
        every mesh
    :raises InputError: a model does not fit the stage
    """

    def __init__(
        self, options: FatigueOptions, backend: Backend | None, attempts: Sequence[Attempt] = (),
        proof: Backend | None = None,
    ) -> None:
        self.attempts = tuple(attempts)
        self._options = options
        self._backends = [opened for opened in (backend, proof) if opened is not None]
        self._backend = backend
        self._meshes = MeshFollower(
            FaceMesh(backend), MeshProof(proof) if proof is not None else None,
        ) if backend is not None else None
        self._people = People(options)
        self._schedule = MeasurementSchedule()
        self._last = FatigueUpdate()

    @classmethod
    def open(
        cls, options: FatigueOptions | None = None, load: Load = unshared,
        avoid: Avoid | None = None,
    ) -> FatigueMonitor:
        """
        Load the models.

        :param load: loads a backend, see :func:`aitable_ros.inference.chain.resolve`
        :param avoid: models to skip
        :raises InputError: a required model cannot be loaded
        """
        options = options or FatigueOptions()
        with resolve_two(
            options, lambda mesh: options.proof_model, load, avoid, _fits,
        ) as (mesh, proof, attempts):
            return cls(options, mesh, attempts, proof)

    @property
    def model(self) -> ModelInfo:
        """The mesh model in use; empty when the stage is off."""
        return info_of(self._backend)

    @property
    def time(self) -> ImageTime:
        """The time of the images; its ``late`` counts those that were ignored."""
        return self._people.time

    @property
    def options(self) -> FatigueOptions:
        """The thresholds in use."""
        return self._options

    def update(
        self, frame: Frame, faces: Sequence[TrackedFace],
        slumped: Mapping[int, int] = NOBODY_SLUMPED,
    ) -> FatigueUpdate:
        """
        Read one frame.

        A late frame changes nothing and repeats the last answer without its events. Where the clock
        jumps back everybody is forgotten first. See :mod:`aitable_ros.clock`.

        :param faces: the tracked faces in it
        :param slumped: people who are slumped by their posture, by track: when it began, image time
        """
        if self._meshes is None:
            return FatigueUpdate()
        note = ''
        back_ns = (self.time.newest_ns or 0) - frame.stamp_ns
        step = self._people.begin(frame.stamp_ns)
        if step is Step.LATE:
            note = f'ignored an image stamped {back_ns * 1e-6:.1f} ms before the newest one' \
                if back_ns else 'ignored an image with the stamp of the newest one'
            last = self._last
            return FatigueUpdate(
                last.landmarks, last.assessments, last.absent, (), last.readings, note=note)
        if step is Step.JUMP:
            note = f'time jumped back by {back_ns * 1e-9:.1f} s: everybody is forgotten'
            self._forget_meshes()
        last = self._last
        measured = self._schedule.choose(
            frame.stamp_ns, faces, last.assessments, self._options.others_fps)
        boxes = {face.track_id: face.box for face in faces}
        options = self._options
        self._meshes.keep(boxes)
        landmarks = self._meshes.find(
            frame, measured, options.min_presence, options.proof_interval_s)
        readings = read_faces(
            measured, landmarks, frame.stamp_ns, frame.width, frame.height, options)
        judgement = self._people.judge(frame.stamp_ns, readings, boxes, slumped)
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
        Return the assessments for a moment without an image; changes nothing.

        :return: NO_FACE for everybody known, or one with track_id 0
        """
        return self._people.absent(stamp_ns)

    def calibrate(self) -> dict[int, float]:
        """
        Pin the present baseline of everybody in the last image.

        :return: EAR of open eyes by track
        :raises InputError: nobody was in it, or nobody was seen for long enough
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
        exchange(self, other, '_backends', '_backend', '_meshes', 'attempts')
        if self._meshes is not None and other._meshes is not None:
            self._meshes.exchange_faces(other._meshes)

    def reset(self) -> None:
        """Forget everybody; with ``keep_baselines`` the next one starts from the last baseline."""
        self.time.reset()
        self._people.forget()
        self._forget_meshes()

    def close(self) -> None:
        """Free the models. Idempotent."""
        for backend in self._backends:
            backend.close()

    def _forget_meshes(self) -> None:
        if self._meshes is not None:
            self._meshes.forget()
        self._last = FatigueUpdate()


def _fits(backend: Backend) -> None:
    """:raises Exception: the model is no face mesh, or does not work as one."""
    roi = roi_from_detection(rehearsal.FACE.detection)
    FaceMesh(backend).read(rehearsal.FRAME.image, roi[np.newaxis])
