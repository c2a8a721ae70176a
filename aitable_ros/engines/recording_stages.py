# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The pipeline's stages run around a recording backend, which collects the inputs of a model."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from aitable_ros.closing import Closing
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.engines.stage_backends import BODY, EMOTION, FACE, MESH, POSE, RecordingBackend
from aitable_ros.face.finder import FaceFinder, FaceOptions
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.protocol import Backend
from aitable_ros.posture.blazepose import BlazePose
from aitable_ros.posture.blazepose_detector import BlazePoseDetector
from aitable_ros.posture.body_source import pose_for
from aitable_ros.posture.yolov8_pose import Yolov8Pose
from aitable_ros.types import Frame

STEP_NS = 33_000_000
"""
The same frame is given again one camera interval later: the face is then tracked, and the mesh
places its crop, as in nearly all frames of a running pipeline.
"""


class FaceStages(Closing):
    """
    The stages that see faces, with a recording backend in the stage of the model.

    :param backend: closed by the caller
    """

    def __init__(self, task: str, backend: Backend) -> None:
        self.rows = 1
        self._task, self._tap = task, RecordingBackend(backend, dry=task == EMOTION)
        with ExitStack() as opened:
            self._finder = opened.enter_context(self._open_finder())
            self._monitor = opened.enter_context(
                FatigueMonitor(FatigueOptions(), self._tap) if task == MESH
                else FatigueMonitor.open(replace(FatigueOptions(), required=False)))
            self._reader = opened.enter_context(EmotionReader(
                EmotionOptions(), self._tap if task == EMOTION else None))
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Free the other models. Idempotent."""
        self._opened.close()

    def _open_finder(self) -> FaceFinder:
        """Put the detector where the pipeline has it: beside one for far faces, or first."""
        options = FaceOptions()
        if self._task != FACE:
            return FaceFinder.open(options)
        from aitable_ros.face.blazeface import BlazeFace
        from aitable_ros.face.detector import detector_for

        detector = detector_for(self._tap)
        if isinstance(detector, BlazeFace) and detector.largest >= 1:
            far = resolve(replace(options, fallbacks=('blazeface_full',), required=False))
            if far.backend:
                return FaceFinder(options, far.backend, near=self._tap)
            return FaceFinder(options, self._tap)
        near = resolve(options.near_model).backend if detector.largest < 1 else None
        return FaceFinder(options, self._tap, near=near)

    def look(self, frame: Frame) -> list[list[dict[str, NDArray[Any]]]]:
        """Return the model's inputs for one frame: the rows of each face or view."""
        for stage in (self._finder, self._monitor, self._reader):
            stage.reset()
        self._tap.take()
        faces = self._finder.update(frame)
        if self._task == FACE:
            return [[row] for row in self._tap.take()]
        fatigue = self._monitor.update(frame, faces)
        for face in faces:
            self._finder.follow(face.track_id, fatigue.landmarks.get(face.track_id))
        self._tap.take()
        later = Frame(frame.image, frame.stamp_ns + STEP_NS)
        faces = self._finder.update(later)
        if self._task == MESH:
            self._monitor.update(later, [
                face for face in faces if face.track_id in fatigue.landmarks])
            return [[row] for row in self._tap.take()]
        read = [
            key for key, value in self._reader.update(later, faces).items() if value.confidence]
        rows = self._tap.take()
        if read:
            self.rows = len(rows) // len(read)
        return [rows[at:at + self.rows] for at in range(0, len(rows), self.rows)]


class BodyStages(Closing):
    """
    A model of the posture stage, recorded; a BlazePose with the detector that it needs.

    :param backend: closed by the caller
    :raises InputError: the detector is not there
    """

    rows = 1

    def __init__(self, task: str, backend: Backend) -> None:
        self._tap = RecordingBackend(backend)
        self._pose = None if task == BODY else pose_for(self._tap)
        self._finds = resolve(ModelOptions(model='blazepose_detector')).backend \
            if isinstance(self._pose, BlazePose) else None
        self._detector = None if isinstance(self._pose, Yolov8Pose) \
            else BlazePoseDetector(self._finds or self._tap)

    def close(self) -> None:
        """Free the other model. Idempotent."""
        if self._finds is not None:
            self._finds.close()

    def look(self, frame: Frame) -> list[list[dict[str, NDArray[Any]]]]:
        """Return the model's inputs: the image, or the crop of each body once it is settled."""
        if isinstance(self._pose, Yolov8Pose):
            found = len(self._pose.detect(frame.image))
            return [[row] for row in self._tap.take() if found]
        assert self._detector is not None
        bodies = self._detector.detect(frame.image)
        if self._pose is None:
            return [[row] for row in self._tap.take()]
        if bodies:
            self._pose.settle(frame.image, bodies)
        return [[row] for row in self._tap.take()[-len(bodies):]]


def recording_stages(task: str, backend: Backend) -> FaceStages | BodyStages:
    """
    Open the stages around the model of one of them.

    :param task: of the model, from :func:`aitable_ros.engines.stage_backends.task_of`
    :param backend: the model; closed by the caller
    :raises InputError: another model that the stages need cannot be loaded
    """
    return BodyStages(task, backend) if task in (BODY, POSE) else FaceStages(task, backend)
