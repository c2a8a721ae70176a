# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The first half of the posture stage: find bodies, follow them, and know whose they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitable_ros import rehearsal
from aitable_ros.clock import ImageTime, SECOND_NS, Step
from aitable_ros.closing import Closing, exchange
from aitable_ros.inference.chain import Attempt, Avoid, Load, resolve_two, unshared
from aitable_ros.inference.protocol import Backend
from aitable_ros.posture.body_source import needs_detector, pose_for, source_for
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.owners import Owners
from aitable_ros.posture_types import Body
from aitable_ros.types import Frame, ModelInfo, TrackedFace

LOOK_S = 1.0
"""
Image time between two looks of the detector for bodies without a face; with nobody in the image it
looks at each reading. A new face's body is read at once.
"""

STAMP_SLACK_S = 0.005
"""A camera's stamps jitter; what is due 5 ms from now is due."""

PAUSE_S = 10.0
"""After a longer pause of the camera nobody is followed: see ``aitable_ros.face.finder``."""


class BodyFinder(Closing):
    """
    The bodies of each frame, with the numbers of their faces where they have one.

    Every call reads the image. Everybody is forgotten where the clock jumps back, and where no
    image came for more than :data:`PAUSE_S`; a late image repeats the last answer
    (:mod:`aitable_ros.clock`).

    :param backend: of the pose model, closed with this; None: the stage is off and finds nobody
    :param attempts: how the chain came to it
    :param detector: finds bodies for a model that reads crops, closed with this
    :raises InputError: a model does not fit the stage
    """

    def __init__(
        self, options: PostureOptions, backend: Backend | None,
        attempts: Sequence[Attempt] = (), detector: Backend | None = None,
    ) -> None:
        self.attempts = tuple(attempts)
        self._options = options
        self._backends = [opened for opened in (backend, detector) if opened is not None]
        self._source = source_for(backend, detector) if backend is not None else None
        self._model = ModelInfo(backend.model, backend.name, backend.precision) \
            if backend is not None else ModelInfo()
        self._owners = Owners()
        self.time = ImageTime()
        self._size = (0, 0)
        self._looked_ns: int | None = None
        self._sought: frozenset[int] = frozenset()
        self._last: tuple[Body, ...] = ()

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
        with resolve_two(
            options, lambda pose: options.detector_model if needs_detector(pose) else None,
            load, avoid, _fits,
        ) as (pose, detector, attempts):
            return cls(options, pose, attempts, detector)

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
        exchange(self, other, '_backends', '_source', '_model', 'attempts')
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
            return self._last
        if step is Step.JUMP or (
                before_ns is not None and frame.stamp_ns - before_ns > PAUSE_S * SECOND_NS):
            self._forget()
        size, self._size = self._size, (frame.width, frame.height)
        if size != self._size:
            source.forget()  # bodies are found again, and their people known by face or place
            self._looked_ns, self._sought = None, frozenset()
        most = self._options.max_bodies
        skeletons = source.follow(frame, most, self._owners.expected(faces))
        owned = {face.track_id for face in self._owners.faces_of(skeletons, faces).values()}
        alone = [face for face in faces if face.track_id not in owned]
        new = any(face.track_id not in self._sought for face in alone)
        due = self._looked_ns is None or (
            frame.stamp_ns - self._looked_ns >= (LOOK_S - STAMP_SLACK_S) * SECOND_NS)
        if len(skeletons) < most and (due or new or not (skeletons or faces)):
            skeletons = source.seek(frame, most, alone, due or not (skeletons or faces))
            if due:
                self._looked_ns = frame.stamp_ns
            self._sought = frozenset(face.track_id for face in alone)
        self._last = self._owners.update(frame.stamp_ns, skeletons, faces)
        return self._last

    def close(self) -> None:
        """Free the models. Idempotent."""
        for backend in self._backends:
            backend.close()
        self._backends, self._source = [], None

    def _forget(self) -> None:
        if self._source is not None:
            self._source.forget()
        self._owners.forget()
        self._looked_ns, self._sought, self._last = None, frozenset(), ()


def _fits(backend: Backend) -> None:
    """:raises Exception: the model is no pose model, or does not work as one."""
    roi = np.array([[rehearsal.SIDE / 2, rehearsal.SIDE / 2, rehearsal.SIDE, 0]], np.float32)
    pose_for(backend).read(rehearsal.FRAME.image, roi)
