# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The first half of the posture stage: find bodies, follow them, and know whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from aitable_ros import rehearsal
from aitable_ros.clock import ImageTime, SECOND_NS, STAMP_SLACK_S, Step
from aitable_ros.closing import Closing, exchange
from aitable_ros.face.finder import PAUSE_S
from aitable_ros.inference.chain import Attempt, Avoid, Load, resolve, unshared
from aitable_ros.inference.protocol import Backend, info_of
from aitable_ros.posture.blazepose import BlazePose
from aitable_ros.posture.body_source import BodySource, needs_detector, pose_for, source_for
from aitable_ros.posture.late_detector import LateDetector
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.owners import Owners
from aitable_ros.posture.turns import Turns
from aitable_ros.posture_types import Body, Skeleton
from aitable_ros.types import Frame, ModelInfo, TrackedFace

LOOK_S = 1.0
"""
Image time between two looks of the detector while a body has no face, and between two attempts to
read the body of a face. Where all faces have bodies nobody new is there: in 31 clips the detector
finds nobody beside the faces. Where the image shows nobody it looks at each reading.
"""


class BodyFinder(Closing):
    """
    The bodies of each frame, with the numbers of their faces where they have one.

    Every call reads the image. Everybody is forgotten where the clock jumps back, and where no
    image came for more than :data:`PAUSE_S`; a late image repeats the last answer
    (:mod:`aitable_ros.clock`).

    :param backend: of the pose model, closed with this; None: the stage is off and finds nobody
    :param attempts: how the chain came to it
    :param detector: finds bodies for a model that reads crops; closed with this
    :raises InputError: a model does not fit the stage
    """

    def __init__(
        self, options: PostureOptions, backend: Backend | None,
        attempts: Sequence[Attempt] = (), detector: LateDetector | None = None,
    ) -> None:
        self.attempts = tuple(attempts)
        self._options = options
        self._models = [opened for opened in (backend, detector) if opened is not None]
        self._source = source_for(backend, detector) if backend is not None else None
        self._model = info_of(backend)
        self._owners = Owners()
        self.time = ImageTime()
        self._size = (0, 0)
        self._looked_ns: int | None = None
        self._sought: frozenset[int] = frozenset()
        self._turns = Turns()
        self._last: dict[int, Body] = {}

    @classmethod
    def open(
        cls, options: PostureOptions | None = None, load: Load = unshared,
        avoid: Avoid | None = None,
    ) -> BodyFinder:
        """
        Load the models.

        :param load: loads a backend, see :func:`aitable_ros.inference.chain.resolve`
        :param avoid: models to skip
        :raises InputError: a required model cannot be loaded
        """
        options = options or PostureOptions()
        with ExitStack() as opened:
            found = resolve(options, load, avoid, _fits)
            detector = None
            attempts = found.attempts
            if found.backend is not None:
                opened.enter_context(found.backend)
                if needs_detector(found.backend):
                    detector = LateDetector(options.detector_model, load, avoid)
                    opened.enter_context(detector)
                    attempts += detector.attempts
            finder = cls(options, found.backend, attempts, detector)
            opened.pop_all()
            return finder

    @property
    def model(self) -> ModelInfo:
        """The pose model in use; empty where the stage is off."""
        return self._model

    @property
    def options(self) -> PostureOptions:
        """The options in use."""
        return self._options

    def configure(self, options: PostureOptions) -> None:
        """Take other dynamic options from the next frame on; the models stay."""
        self._options = options

    def adopt(self, other: BodyFinder) -> None:
        """Exchange models with another finder, between two frames; the people stay here."""
        exchange(self, other, '_models', '_source', '_model', 'attempts')
        for finder in (self, other):
            if finder._source is not None:
                finder._source.forget()
            finder._looked_ns, finder._sought = None, frozenset()  # look again at once

    def reset(self) -> None:
        """Forget everybody, before the next frame. Ids are still not used again."""
        self.time.reset()
        self._forget()

    def update(self, frame: Frame, faces: Sequence[TrackedFace]) -> tuple[Body, ...]:
        """
        Find and follow the bodies of one frame.

        :param faces: the tracked faces in it
        :return: at most ``max_bodies``, the primary person first, then by id
        """
        source = self._source
        if source is None:
            return ()
        before_ns = self.time.newest_ns
        step = self.time.step(frame.stamp_ns)
        if step is Step.LATE or not frame.image.size:
            return tuple(self._last.values())
        if step is Step.JUMP or (
                before_ns is not None and frame.stamp_ns - before_ns > PAUSE_S * SECOND_NS):
            self._forget()
        size, self._size = self._size, (frame.width, frame.height)
        if size != self._size:
            source.forget()  # bodies are found again, and their people known by face or place
            self._looked_ns, self._sought = None, frozenset()
        most = self._options.max_bodies
        expected = self._owners.expected(faces)
        rest = self._turns.resting(
            frame.stamp_ns, self._last, expected, self._options.others_interval_s)
        skeletons = source.follow(frame, most, expected, rest)
        if len(skeletons) < most:
            skeletons = self._seek(source, frame, faces, skeletons)
        self._last = self._owners.update(frame.stamp_ns, skeletons, faces)
        return tuple(self._last.values())

    def _seek(
        self, source: BodySource, frame: Frame, faces: Sequence[TrackedFace],
        skeletons: dict[int, Skeleton],
    ) -> dict[int, Skeleton]:
        """Look for further bodies if somebody new may be there; return all."""
        owned = {face.track_id for face in self._owners.faces_of(skeletons, faces).values()}
        alone = [face for face in faces if face.track_id not in owned]
        new = any(face.track_id not in self._sought for face in alone)
        due = self._looked_ns is None or (
            frame.stamp_ns - self._looked_ns >= (LOOK_S - STAMP_SLACK_S) * SECOND_NS)
        nobody = not (skeletons or faces)
        hidden = len(skeletons) > len(owned)
        if not (new or nobody or (due and (alone or hidden))):
            return skeletons
        self._looked_ns = frame.stamp_ns
        self._sought = frozenset(face.track_id for face in alone)
        return source.seek(frame, self._options.max_bodies, alone, nobody or (hidden and due))

    def close(self) -> None:
        """Free the models. Idempotent."""
        for model in self._models:
            model.close()
        self._models, self._source = [], None

    def _forget(self) -> None:
        if self._source is not None:
            self._source.forget()
        self._owners.forget()
        self._looked_ns, self._sought, self._last = None, frozenset(), {}
        self._turns.forget()


def _fits(backend: Backend) -> None:
    """:raises Exception: the model is no pose model, or does not work as one."""
    pose = pose_for(backend)
    if isinstance(pose, BlazePose):
        middle = rehearsal.SIDE / 2
        roi = np.array([[middle, middle, rehearsal.SIDE, 0]], np.float32)
        pose.read(rehearsal.FRAME.image, roi)
    else:
        pose.detect(rehearsal.FRAME.image)
