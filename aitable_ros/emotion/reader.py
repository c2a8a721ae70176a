# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The expressions of the people in a frame: schedule, smoothing, cache, UNKNOWN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
import math

import numpy as np

from aitable_ros import rehearsal
from aitable_ros.clock import ImageTime, STAMP_SLACK_S, Step
from aitable_ros.closing import Closing, exchange
from aitable_ros.emotion.model import model_for
from aitable_ros.emotion.readability import is_readable
from aitable_ros.emotion.reading import CLASSES, Reading
from aitable_ros.emotion.resting_face import RestingFace
from aitable_ros.emotion.smoothing import Smoother
from aitable_ros.errors import InputError
from aitable_ros.inference.chain import Attempt, Avoid, Load, ModelOptions, resolve, unshared
from aitable_ros.inference.protocol import Backend, info_of
from aitable_ros.options import option
from aitable_ros.types import EmotionEstimate, Expression, Frame, ModelInfo, TrackedFace

TOGETHER = 0.25
"""Of an interval that a face may be early to go with others: a GPU reads them all in one run."""
DOUBT = 0.5
"""Above it the models have contradicted each other for most of the time that is smoothed over."""
FRESH_S = 0.2
"""A reading later than its interval by more than this is not of the face as it is now."""


@dataclass(frozen=True, kw_only=True)
class EmotionOptions(ModelOptions):
    """How expressions are read."""

    fallbacks: tuple[str, ...] = option(
        ('fer+faceexpress',), 'tried in order when the one before cannot load; "fer+faceexpress" '
        'averages the two, or runs the one that is there; "off" ends the chain without a model',
        dynamic=False)
    interval_s: float = option(
        0.4, 'seconds of image time between two readings of a face; 0 reads every image',
        low=0.0, high=10.0)
    others_interval_s: float = option(
        0.8, 'the same for faces other than the primary one; counts where it is the longer one',
        low=0.0, high=10.0)
    smoothing_s: float = option(
        0.5, 'time constant of the exponential smoothing, seconds; 0 switches it off',
        low=0.0, high=10.0)
    cache_timeout_s: float = option(
        4.0, 'seconds that a reading stands in while a face cannot be read; then it is UNKNOWN',
        low=0.1, high=60.0)
    # The gates are where fer's answers to a worsened picture of a face part from those to the good
    # one, on the labelled pictures and clips. Width: at 24 px 96 % stay, at 20 89 %, at 16 66 %.
    # Blur: 93 % stay above a sharpness of 0.004, 46 % below; the originals have 0.029 or more.
    min_face_px: float = option(
        24.0, 'least width and height of a face that is read, pixels', low=8.0, high=1000.0)
    max_turn: float = option(
        0.8, 'greatest turn of the head (yaw, from the key points) that is read, radians',
        low=0.1, high=1.6)
    min_sharpness: float = option(
        0.004, 'least sharpness of a face that is read: variance of the second derivative over '
        'variance of the gray values, on 64 pixels, along the blurrier axis; 0 reads all',
        low=0.0, high=1.0)

    def check(self) -> None:
        """Refuse a cache that is gone before the next reading."""
        for name in ('interval_s', 'others_interval_s'):
            if self.cache_timeout_s < getattr(self, name):
                raise InputError(
                    f"parameter 'cache_timeout_s' ({self.cache_timeout_s:g}) must be at least "
                    f"'{name}' ({getattr(self, name):g})")


class EmotionReader(Closing):
    """
    Expression, valence and arousal of everyone in a frame.

    A late frame changes nothing: the last answer is repeated, ``from_cache``. Where the clock jumps
    back everybody is forgotten first (:mod:`aitable_ros.clock`). Made, used and closed on one
    thread. A context manager.

    :param options: how to read
    :param backend: a loaded expression model, owned and closed by the reader; None = stage off
    :param attempts: how the chain came to it
    :raises InputError: the backend's model is none that is known here
    """

    def __init__(
        self, options: EmotionOptions, backend: Backend | None, attempts: Sequence[Attempt] = (),
    ) -> None:
        self.options = options
        self.attempts = tuple(attempts)
        self._backend = backend
        self._model = model_for(backend) if backend is not None else None
        self._people: dict[int, _Person] = {}
        self.time = ImageTime()

    @classmethod
    def open(
        cls, options: EmotionOptions, load: Load = unshared, avoid: Avoid | None = None,
    ) -> EmotionReader:
        """
        Load the first model of the chain that loads.

        :param load: loads a backend, see :func:`aitable_ros.inference.chain.resolve`
        :param avoid: models to skip
        :raises InputError: none does and one is required, or it is no expression model
        """
        return resolve(options, load, avoid, _fits).hand_to(partial(cls, options))

    @property
    def model(self) -> ModelInfo:
        """The model in use; empty where the stage is off."""
        return info_of(self._backend)

    def update(
        self, frame: Frame, faces: Sequence[TrackedFace],
    ) -> dict[int, EmotionEstimate]:
        """
        Read the faces that are due; for the others repeat the last reading, marked ``from_cache``.

        :return: an estimate for each face by ``track_id``, UNKNOWN for one that cannot be read and
            was not within ``cache_timeout_s``, or on which two averaged models contradict each
            other; empty where the stage is off
        :raises BackendError: the model failed
        """
        if self._model is None:
            return {}
        now = frame.stamp_ns
        step = self.time.step(now)
        if step is Step.LATE:
            return {face.track_id: self._repeated(face.track_id) for face in faces}
        if step is Step.JUMP:
            self._people.clear()
        for face in faces:
            self._people.setdefault(face.track_id, _Person(now, self._smoother())).seen_ns = now
        self._forget(now)
        readable = [face for face in self._due(now, faces) if self._is_readable(frame, face)]
        if readable:
            for face, reading in zip(readable, self._model.read(frame.image, readable)):
                person = self._people[face.track_id]
                person.reading = person.smoother.update(reading, now)
                person.read_ns = now
        return {face.track_id: self._estimate(face.track_id, now) for face in faces}

    def configure(self, options: EmotionOptions) -> None:
        """Take other dynamic options; the model and the readings stay."""
        self.options = options
        for person in self._people.values():
            person.smoother.time_constant_s = options.smoothing_s
            person.smoother.gap_s = options.cache_timeout_s

    def adopt(self, other: EmotionReader) -> None:
        """
        Exchange models with another reader, between two frames; the people stay here.

        A resting face is forgotten where it was measured with another model.
        """
        if self.model.model != other.model.model:
            for person in self._people.values():
                person.rest = None
        exchange(self, other, '_backend', '_model', 'attempts')

    def calibrate(self) -> dict[int, Expression]:
        """
        Take the face that each person in the image shows now as that person's resting face.

        It holds as long as the person is followed. Calling again measures again.

        :return: by ``track_id``, what the face was read as before
        :raises InputError: nobody can be read just now, or a face is not at rest; nothing changes
        """
        now = self.time.newest_ns or 0
        oldest_s = FRESH_S + max(self.options.interval_s, self.options.others_interval_s)
        fresh = {
            track_id: person.reading for track_id, person in self._people.items()
            if person.reading is not None and person.seen_ns == now
            and person.waited_ns(now) * 1e-9 <= oldest_s}
        if not fresh:
            raise InputError('nobody is seen whose face can be read: face the camera and try again')
        found = {}
        for track_id, reading in fresh.items():
            try:
                found[track_id] = RestingFace.of(reading)
            except InputError as error:
                raise InputError(f'person {track_id}: {error}; try again') from None
        for track_id, rest in found.items():
            self._people[track_id].rest = rest
        return {track_id: reading.expression for track_id, reading in fresh.items()}

    def reset(self) -> None:
        """Forget everybody."""
        self._people.clear()
        self.time.reset()

    def close(self) -> None:
        """Free the model. Idempotent."""
        backend, self._backend, self._model = self._backend, None, None
        if backend is not None:
            backend.close()

    def _smoother(self) -> Smoother:
        return Smoother(self.options.smoothing_s, self.options.cache_timeout_s)

    def _forget(self, now: int) -> None:
        timeout_ns = self.options.cache_timeout_s * 1e9
        for track_id in [
                key for key, person in self._people.items() if now - person.seen_ns > timeout_ns]:
            del self._people[track_id]

    def _due(self, now: int, faces: Sequence[TrackedFace]) -> list[TrackedFace]:
        """Return the faces to read: if one is due, all that are nearly due."""
        own_s = self.options.interval_s
        others_s = max(own_s, self.options.others_interval_s)
        over = [
            self._people[face.track_id].waited_ns(now) * 1e-9
            - (own_s if face.primary else others_s) + STAMP_SLACK_S for face in faces]
        if max(over, default=-1.0) < 0:
            return []
        return [
            face for face, by_s in zip(faces, over)
            if by_s >= -TOGETHER * (own_s if face.primary else others_s)]

    def _is_readable(self, frame: Frame, face: TrackedFace) -> bool:
        options = self.options
        return is_readable(
            frame.image, face.detection, min_face_px=options.min_face_px,
            max_turn=options.max_turn, min_sharpness=options.min_sharpness)

    def _repeated(self, track_id: int) -> EmotionEstimate:
        """Return the estimate of a face in the newest image."""
        return replace(self._estimate(track_id, self.time.newest_ns or 0), from_cache=True)

    def _estimate(self, track_id: int, now: int) -> EmotionEstimate:
        person = self._people.get(track_id)
        age_s = (now - person.read_ns) * 1e-9 if person and person.read_ns is not None else 0.0
        if person is None or person.reading is None or age_s > self.options.cache_timeout_s:
            return EmotionEstimate(
                track_id, Expression.UNKNOWN, 0.0, np.zeros(CLASSES, np.float32))
        reading = person.reading if person.rest is None else person.rest.applied(person.reading)
        word, confidence = reading.expression, float(reading.probabilities.max())
        if reading.doubt > DOUBT:
            word, confidence = Expression.UNKNOWN, 0.0
        return EmotionEstimate(
            track_id, word, confidence, reading.probabilities, reading.valence, reading.arousal,
            from_cache=person.read_ns != now, age_s=age_s)


@dataclass(slots=True)
class _Person:
    """The memory of a tracked face."""

    seen_ns: int
    smoother: Smoother
    reading: Reading | None = None
    read_ns: int | None = None
    rest: RestingFace | None = None

    def waited_ns(self, now: int) -> float:
        return math.inf if self.read_ns is None else now - self.read_ns


def _fits(backend: Backend) -> None:
    """:raises Exception: the model is no expression model, or does not work as one."""
    model_for(backend).read(rehearsal.FRAME.image, (rehearsal.FACE,))
