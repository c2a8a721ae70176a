# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The posture of the people in a frame: find their bodies every so often, and judge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aitable_ros.clock import ImageTime, SECOND_NS, STAMP_SLACK_S, Step
from aitable_ros.closing import Closing
from aitable_ros.errors import InputError
from aitable_ros.inference.chain import Attempt, Avoid, Load, unshared
from aitable_ros.posture.finder import BodyFinder
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.people import PosturePeople
from aitable_ros.posture_types import PostureUpdate
from aitable_ros.types import Frame, ModelInfo, TrackedFace


class PostureMonitor(Closing):
    """
    Posture of everybody in the image: :class:`BodyFinder` finds the bodies, :class:`PosturePeople`
    judges them.

    :meth:`update` and :meth:`close` are called on one thread.

    :param finder: closed with this
    """

    def __init__(self, options: PostureOptions, finder: BodyFinder) -> None:
        self._options = options
        self._finder = finder
        self._people = PosturePeople(options)
        self.time = ImageTime()
        self._read_ns: int | None = None
        self._last = PostureUpdate()

    @classmethod
    def open(
        cls, options: PostureOptions | None = None, load: Load = unshared,
        avoid: Avoid | None = None,
    ) -> PostureMonitor:
        """
        Load the models.

        :param load: loads a backend, see :func:`aitable_ros.inference.chain.resolve`
        :param avoid: models to skip
        :raises InputError: a required model cannot be loaded
        """
        options = options or PostureOptions()
        return cls(options, BodyFinder.open(options, load, avoid))

    @property
    def model(self) -> ModelInfo:
        """The pose model in use; empty when the stage is off."""
        return self._finder.model

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """How the chain came to that model."""
        return self._finder.attempts

    @property
    def options(self) -> PostureOptions:
        """The options in use."""
        return self._options

    def update(self, frame: Frame, faces: Sequence[TrackedFace]) -> PostureUpdate:
        """
        Read one frame, if ``interval_s`` has passed since the last reading.

        Other frames, late ones among them, repeat the last answer without its events. Where the
        clock jumps back everybody is forgotten first. See :mod:`aitable_ros.clock`.

        :param faces: the tracked faces in it
        """
        if not self.model.model:
            return PostureUpdate()
        step = self.time.step(frame.stamp_ns)
        if step is Step.JUMP:
            self._forget()
        if step is Step.LATE or not self._is_due(frame) or not frame.image.size:
            return replace(self._last, read=False, events=())
        self._read_ns = frame.stamp_ns
        bodies = self._finder.update(frame, faces)
        judged = self._people.judge(frame.stamp_ns, bodies)
        self._last = PostureUpdate(
            True, bodies, judged.assessments, judged.absent, judged.events, self._people.slumped)
        return self._last

    def calibrate(self) -> dict[int, float]:
        """
        Pin the present posture of everybody in the last image as upright.

        :return: height of the ears over the shoulders, in shoulder widths, by track
        :raises InputError: nobody was in it, or nobody was seen for long enough
        """
        heights = {body.track_id: self._people.pin(body.track_id) for body in self._last.bodies}
        pinned = {track_id: height for track_id, height in heights.items() if height is not None}
        if not pinned:
            raise InputError(
                'nobody to calibrate: somebody must have faced the camera, head and shoulders in '
                f'view, for {self._options.baseline_warm_up_s:g} s')
        return pinned

    def configure(self, options: PostureOptions) -> None:
        """Take other dynamic options; people stay known."""
        self._options = options
        self._finder.configure(options)
        self._people.configure(options)

    def adopt(self, other: PostureMonitor) -> None:
        """Exchange models with another monitor, between two frames; the people stay here."""
        self._finder.adopt(other._finder)

    def reset(self) -> None:
        """Forget everybody, before the next frame."""
        self.time.reset()
        self._forget()

    def close(self) -> None:
        """Free the models. Idempotent."""
        self._finder.close()

    def _is_due(self, frame: Frame) -> bool:
        """Return whether it is time for another reading."""
        least_ns = (self._options.interval_s - STAMP_SLACK_S) * SECOND_NS
        return self._read_ns is None or frame.stamp_ns - self._read_ns >= least_ns

    def _forget(self) -> None:
        self._finder.reset()
        self._people.forget()
        self._read_ns, self._last = None, PostureUpdate()
