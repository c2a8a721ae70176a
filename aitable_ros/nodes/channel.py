# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Channels between nodes of one process: results by reference, beside the topic of that name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from aitable_ros.posture_types import PostureUpdate
from aitable_ros.types import (
    EmotionEstimate, FaceLandmarks, FatigueAssessment, Frame, ModelInfo, TrackedFace
)

PATIENCE_S = 0.008
"""Twice what the fatigue of a face takes on a CPU, and half an image's time at 60 fps."""

Follow = Callable[[int, 'FaceLandmarks | None'], None]


class Precedence:
    """
    Lets the fatigue of an image go first.

    Nodes of one process share the interpreter, and the machine may have two cores. Work that can
    wait (a second message, a look for new faces, an expression) would delay the urgent result.
    """

    def __init__(self) -> None:
        self._answered: Event | None = None

    def claim(self) -> None:
        """Ask the other nodes to wait; they do so only after this call."""
        self._answered = Event()

    def answered(self) -> None:
        """Let them go on."""
        if self._answered is not None:
            self._answered.set()

    def give_way(self) -> None:
        """Wait for the answer, if it is soon."""
        if self._answered is not None:
            self._answered.wait(PATIENCE_S)


@dataclass(frozen=True, slots=True, eq=False)
class SharedFaces:
    """
    The faces of one image, and the image.

    :param follow: reports where the mesh found a face (see ``FaceFinder.follow``); None when the
        tracker is in another process
    :param received_s: steady clock, when the image came into this process
    :param precedence: the fatigue node's, where it is in this process
    """

    frame: Frame
    faces: tuple[TrackedFace, ...]
    model: ModelInfo
    follow: Follow | None
    received_s: float
    precedence: Precedence = field(default_factory=Precedence)


@dataclass(frozen=True, slots=True, eq=False)
class SharedFatigue:
    """The fatigue of the people in one image; landmarks only within one process."""

    stamp_ns: int
    assessments: Mapping[int, FatigueAssessment]
    absent: tuple[FatigueAssessment, ...]
    landmarks: Mapping[int, FaceLandmarks]
    model: ModelInfo


@dataclass(frozen=True, slots=True, eq=False)
class SharedEmotion:
    """The emotions of the people in one image."""

    stamp_ns: int
    estimates: Mapping[int, EmotionEstimate]
    model: ModelInfo


@dataclass(frozen=True, slots=True, eq=False)
class SharedPosture:
    """The bodies that were read in one image, and the image."""

    frame: Frame
    update: PostureUpdate
    model: ModelInfo


Value = TypeVar('Value')


class Channel(Generic[Value]):
    """One topic within one process. Listeners are called on the thread that publishes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._producers: tuple[object, ...] = ()
        self._listeners: tuple[Callable[[Value], None], ...] = ()

    @property
    def has_producer(self) -> bool:
        """Whether a node of this process publishes here, active or not."""
        return bool(self._producers)

    def add_producer(self, producer: object) -> None:
        """Announce a node that will publish."""
        with self._lock:
            self._producers = (*self._producers, producer)

    def remove_producer(self, producer: object) -> None:
        """Take that back."""
        with self._lock:
            self._producers = tuple(other for other in self._producers if other is not producer)

    def listen(self, listener: Callable[[Value], None]) -> None:
        """Call ``listener`` with whatever is published from now on."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Callable[[Value], None]) -> None:
        """Stop calling ``listener``. Idempotent."""
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other != listener)

    def publish(self, value: Value) -> None:
        """Hand ``value`` to every listener, none of which may wait or change it."""
        for listener in self._listeners:
            listener(value)


_channels: WeakKeyDictionary[Any, dict[tuple[type, str], Channel[Any]]] = WeakKeyDictionary()
_channels_lock = Lock()


def channel(context: Any, kind: type[Value], topic: str) -> Channel[Value]:
    """
    Return the channel that every node of ``context`` gets for these.

    :param context: the rclpy context, so that two graphs in one process stay apart
    :param topic: fully resolved
    """
    with _channels_lock:
        return _channels.setdefault(context, {}).setdefault((kind, topic), Channel())


def producers(context: Any, kind: type[Any]) -> int:
    """Return how many nodes of this process publish results of a kind, on whatever topic."""
    with _channels_lock:
        return sum(found.has_producer for (of, _), found in _channels.get(context, {}).items()
                   if of is kind)
