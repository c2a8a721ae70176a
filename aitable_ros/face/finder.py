# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The first stage: find faces, follow them, choose the primary person."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from threading import Lock

from aitable_ros import rehearsal
from aitable_ros.clock import ImageTime, SECOND_NS, STAMP_SLACK_S, Step
from aitable_ros.closing import Closing, exchange
from aitable_ros.errors import InputError
from aitable_ros.face.blazeface import BlazeFace
from aitable_ros.face.detector import detector_for
from aitable_ros.face.primary import appeal, PrimaryChoice
from aitable_ros.face.scanner import Scanner
from aitable_ros.face.tracker import Tracker
from aitable_ros.inference.chain import Attempt, Avoid, Load, ModelOptions, resolve_two, unshared
from aitable_ros.inference.protocol import Backend
from aitable_ros.options import option
from aitable_ros.types import Detection, FaceLandmarks, Frame, ModelInfo, TrackedFace

PAUSE_S = 10.0
"""
After a shorter pause of the camera, a face in the place of a person is that person. The fatigue
stage forgets after the same time.
"""

NEAR = 'blazeface_short'
"""The detector that sees faces which fill the image, and closely at each new one."""

ROOM_LOOKS = 3
"""Looks at a room while a desk is looked at once: each look sees one of its tiles."""

BLIND_S = 0.2
"""A face that nothing has seen for this long is looked for, whatever the interval."""

FAINT = 0.6
"""Share of the confidence that does for a face that is being followed: turned heads score low."""


@dataclass(frozen=True, kw_only=True)
class FaceOptions(ModelOptions):
    """Options of detection, tracking and the choice of the primary person."""

    fallbacks: tuple[str, ...] = option(
        ('blazeface_full', 'blazeface_short'),
        'tried in order when the one before cannot load; "off" ends the chain without a model',
        dynamic=False)
    near: str = option(
        NEAR, 'second model, beside a main one that loses faces which fill the image '
        '(blazeface_full): finds those, and looks closely at each new face; "off" does without',
        dynamic=False)
    confidence: float = option(
        0.5, 'least score of a detection', low=0.05, high=1.0)
    nms_iou: float = option(
        0.45, 'detections that overlap more than this are one face', low=0.0, high=1.0)
    detect_interval_s: float = option(
        1.0, 'seconds of image time between two looks for new faces, a third of it for a room; in '
        'between faces are followed; a lost face is looked for at once; 0 looks in every image',
        low=0.0, high=60.0)
    range: str = option(
        'desk', 'desk looks at the whole image, 0.3 to 2 m with a 65 degree lens; room looks at '
        'tiles of it too, to 5 m, for twice the time and more', choices=('desk', 'room'))
    max_faces: int = option(4, 'most faces reported', low=1, high=64)
    tracker_iou: float = option(
        0.3, 'least overlap of a face with where it is expected to be', low=0.0, high=1.0)
    lost_after_s: float = option(
        1.0, 'seconds of image time after which an unseen face is forgotten', low=0.05, high=60.0)
    primary_confidence_weight: float = option(
        1.0, 'weight of the detection confidence in the choice of the primary person',
        low=0.0, high=100.0)
    primary_size_weight: float = option(
        1.0, 'weight of the size of the face in that choice', low=0.0, high=100.0)
    primary_centre_weight: float = option(
        1.0, 'weight of the nearness to the centre of the image in that choice',
        low=0.0, high=100.0)
    primary_hysteresis_s: float = option(
        1.0, 'seconds for which another face must have been the better choice', low=0.0, high=60.0)

    def check(self) -> None:
        """One of the primary person's weights must count."""
        if not any(self.primary_weights):
            raise InputError(
                "parameters 'primary_confidence_weight', 'primary_size_weight' and "
                "'primary_centre_weight' are all 0; give at least one of them a weight")

    @property
    def near_model(self) -> FaceOptions:
        """The chain of the second detector: where its engine cannot run, the same as ONNX."""
        return self.beside(self.near, NEAR)

    @property
    def primary_weights(self) -> tuple[float, float, float]:
        """Of confidence, size and centre."""
        return (
            self.primary_confidence_weight, self.primary_size_weight, self.primary_centre_weight)


class FaceFinder(Closing):
    """
    The faces of each frame, with ids that stay, the primary one first.

    :meth:`update` and :meth:`close` are called on one thread, the other methods on any. Everybody
    is forgotten where the clock jumps back (:mod:`aitable_ros.clock`) and where no image came for
    more than :data:`PAUSE_S`. A late image changes nothing: the last answer is repeated.

    :param backend: of the detector, closed with this; None: the stage is off and finds no face
    :param attempts: how the chain came to it
    :param near: a second BlazeFace for faces too large for the first, closed with this
    :raises InputError: the model is not a face detector
    """

    def __init__(
        self, options: FaceOptions, backend: Backend | None, attempts: tuple[Attempt, ...] = (),
        near: Backend | None = None,
    ) -> None:
        self._options = options
        self._backends = [opened for opened in (backend, near) if opened]
        self.attempts = tuple(attempts)
        self._scanner = _scanner(backend, near) if backend else None
        self._model = ModelInfo(*(
            ' + '.join(dict.fromkeys(getattr(opened, name) for opened in self._backends))
            for name in ('model', 'name', 'precision')))
        self._tracker = Tracker()
        self._primary = PrimaryChoice()
        self.time = ImageTime()
        self._size = (0, 0)
        self._looked_ns = 0
        self._unseen: Frame | None = None
        self._fresh = True
        self._shown: frozenset[int] = frozenset()
        self._last: tuple[TrackedFace, ...] = ()
        self._lock = Lock()
        self._followed: dict[int, FaceLandmarks | None] = {}
        self._forget = False

    @classmethod
    def open(
        cls, options: FaceOptions | None = None, load: Load = unshared,
        avoid: Avoid | None = None,
    ) -> FaceFinder:
        """
        Load the models.

        :param load: loads a backend, see :func:`aitable_ros.inference.chain.resolve`
        :param avoid: models to skip
        :raises InputError: no model of the chain loads and it is required
        """
        options = options or FaceOptions()
        with resolve_two(
            options, lambda main: options.near_model if detector_for(main).largest < 1 else None,
            load, avoid, _fits,
        ) as (main, near, attempts):
            return cls(options, main, attempts, near)

    @property
    def model(self) -> ModelInfo:
        """The detectors in use; empty where the stage is off."""
        return self._model

    @property
    def options(self) -> FaceOptions:
        """The options in use."""
        return self._options

    def configure(self, options: FaceOptions) -> None:
        """Take other dynamic options from the next frame on; the model stays."""
        self._options = options

    def adopt(self, other: FaceFinder) -> None:
        """Exchange models with another finder, between two frames; the people stay here."""
        exchange(self, other, '_backends', 'attempts', '_scanner', '_model')

    def reset(self) -> None:
        """Forget everybody, before the next frame. Ids are still not used again."""
        with self._lock:
            self._followed.clear()
            self._forget = True

    def follow(self, track_id: int, landmarks: FaceLandmarks | None) -> None:
        """
        Take the mesh of a face of the last frame; it takes effect with the next one.

        :param track_id: one that is no longer followed is ignored
        :param landmarks: None where the mesh found no face: the detector then looks for it
        """
        with self._lock:
            self._followed[track_id] = landmarks

    def update(self, frame: Frame, *, defer: bool = False) -> tuple[TrackedFace, ...]:
        """
        Find and follow the faces of one frame.

        :param defer: leave the regular look for new faces to :meth:`look`, which the caller calls
            once it has handed on the answer; a face that is lost is still looked for at once
        :return: at most ``max_faces``, the primary one first, then by id
        """
        options = self._options
        if not self._catch_up(frame.stamp_ns, options):
            return self._last
        self._fit(frame)
        self._tracker.predict(frame.stamp_ns, options.lost_after_s)
        self._unseen = None
        pause_s = options.detect_interval_s / (ROOM_LOOKS if options.range == 'room' else 1)
        if self._needs_detector():
            self._detect(frame, options)
        elif frame.stamp_ns - self._looked_ns >= (pause_s - STAMP_SLACK_S) * SECOND_NS:
            self._unseen = frame
            if not defer:
                self.look()
        self._last = self._report(frame, options)
        return self._last

    def look(self) -> None:
        """Look for new faces in the last frame, if that was left for later."""
        frame, self._unseen = self._unseen, None
        if frame is not None:
            self._detect(frame, self._options)

    def close(self) -> None:
        """Free the model. Idempotent."""
        for backend in self._backends:
            backend.close()
        self._backends, self._scanner = [], None

    def _catch_up(self, stamp_ns: int, options: FaceOptions) -> bool:
        """Apply the changes since the last frame; return whether this frame is looked at."""
        with self._lock:
            followed, self._followed = self._followed, {}
            forget, self._forget = self._forget, False
        if forget:
            self.time.reset()
        last = self.time.newest_ns
        step = self.time.step(stamp_ns)
        pause_s = 0.0 if last is None else (stamp_ns - last) / SECOND_NS
        if last is None or step is Step.JUMP or pause_s > max(PAUSE_S, options.lost_after_s):
            self._tracker.tracks.clear()
            self._primary.reset()
            self._shown = frozenset()
            self._fresh = True
            return True
        for track_id, landmarks in followed.items():
            self._tracker.follow(track_id, landmarks)
        if step is Step.LATE:
            return False
        if pause_s > options.lost_after_s:
            self._tracker.pause(stamp_ns - last)
        return True

    def _fit(self, frame: Frame) -> None:
        """Take a camera that changes its resolution for one that still looks where it did."""
        (width, height), self._size = self._size, (frame.width, frame.height)
        if (width, height) != self._size and width and height:
            self._tracker.rescale(frame.width / width, frame.height / height)

    def _detect(self, frame: Frame, options: FaceOptions) -> None:
        scanner = self._scanner
        if scanner is None or not frame.image.size:
            return
        self._tracker.update(
            self._look(scanner, frame, options), frame.stamp_ns, options.tracker_iou,
            options.confidence, partial(scanner.closely, frame.image))
        self._looked_ns = frame.stamp_ns
        self._fresh = False

    def _look(self, scanner: Scanner, frame: Frame, options: FaceOptions) -> list[Detection]:
        confidence = options.confidence * FAINT
        if options.range == 'desk':
            return scanner.desk(frame.image, confidence, options.nms_iou)
        known = [track.box for track in self._tracker.tracks]
        return scanner.room(
            frame.image, confidence, options.nms_iou, None if self._fresh else known)

    def _needs_detector(self) -> bool:
        """Return whether a face is missing and must be found, whatever the interval."""
        tracks = self._tracker.tracks
        return not tracks or any(
            track.mesh_lost or not track.visible or track.unseen_s > BLIND_S for track in tracks)

    def _report(self, frame: Frame, options: FaceOptions) -> tuple[TrackedFace, ...]:
        tracks = {
            track.track_id: (track, track.detection())
            for track in self._tracker.tracks if track.visible}
        appeals = {
            track_id: appeal(detection, frame.height, frame.width, options.primary_weights)
            for track_id, (_, detection) in tracks.items()} if frame.image.size else {}
        primary = self._primary.choose(appeals, frame.stamp_ns, options.primary_hysteresis_s)
        ranked = sorted(
            appeals, key=lambda track_id: (
                track_id == primary, track_id in self._shown, appeals[track_id]), reverse=True)
        shown = ranked[:options.max_faces]
        self._shown = frozenset(shown)
        return tuple(
            TrackedFace(
                track_id, tracks[track_id][1], primary=track_id == primary,
                detected=tracks[track_id][0].detected)
            for track_id in sorted(shown, key=lambda track_id: (track_id != primary, track_id)))


def _fits(backend: Backend) -> None:
    """:raises Exception: the model is no detector, or does not work as one."""
    detector_for(backend).detect(rehearsal.FRAME.image, 0.5, 0.45)


def _scanner(backend: Backend, near: Backend | None) -> Scanner:
    """
    Give the detector its close look: the second BlazeFace, or itself where it is that model.

    :raises InputError: one of the two is no detector that fits
    """
    detector = detector_for(backend)
    if near is None:
        alone = isinstance(detector, BlazeFace) and detector.largest >= 1
        return Scanner(detector, detector if alone else None)
    second = detector_for(near)
    if second.largest < 1:
        raise InputError(
            f"parameter 'near' ({near.model}): loses faces that fill the image; use "
            "'blazeface_short' or 'off'")
    return Scanner(detector, second)
