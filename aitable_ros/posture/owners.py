# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Whose body it is: the number of the person's face, kept while the face is hidden.

A body has a number of its own (``Body.body_id``). Once a face belongs to it, it goes by the face's
track. No two bodies of an image go by one number: the one whose face it is has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.heads import faces_of, head_of, roll_of
from aitable_ros.posture_types import Body, FIRST_BODY_ID, SHOULDERS, Skeleton
from aitable_ros.types import TrackedFace

LOST_S = 10.0
"""A lost body keeps its numbers for this long. The fatigue stage forgets after the same time."""

SAME_PLACE = 1.0
"""A new body is the lost one if their heads are at most so far apart, in lengths from head to
shoulders."""

APART_S = 1.0
"""
A face that is seen away from the body's head for this long is another person's. For a shorter time
its box may only have stayed behind: a lost face is still reported where it was expected.
"""


@dataclass(slots=True, eq=False)
class _Owner:
    """
    A person, as far as a body shows one.

    :param head: ``(2,)`` pixels, where the head was last
    :param length: from the head to the middle of the shoulders, pixels
    :param seen_ns: when the body was last read
    :param apart_ns: since when the face is seen elsewhere; None where it is not
    """

    body_id: int
    track_id: int
    head: NDArray[np.float32]
    length: float
    seen_ns: int
    primary: bool = False
    apart_ns: int | None = None


class Owners:
    """The people whose bodies are followed, and those whose bodies were lost lately."""

    def __init__(self) -> None:
        self._ids = count(FIRST_BODY_ID)
        self._known: dict[int, _Owner] = {}
        self._lost: list[_Owner] = []

    def forget(self) -> None:
        """Forget everybody; numbers are still not used again."""
        self._known.clear()
        self._lost.clear()

    def expected(self, faces: Sequence[TrackedFace]) -> dict[int, TrackedFace]:
        """Return the faces in an image of the people whose bodies are known, by number."""
        here = {face.track_id: face for face in faces}
        return {number: here[owner.track_id] for number, owner in self._known.items()
                if owner.track_id in here}

    def faces_of(
        self, skeletons: Mapping[int, Skeleton], faces: Sequence[TrackedFace],
    ) -> dict[int, TrackedFace]:
        """Give bodies their faces; see :func:`aitable_ros.posture.heads.faces_of`."""
        before = {number: owner.track_id for number, owner in self._known.items()}
        return faces_of(skeletons, faces, before)

    def update(
        self, stamp_ns: int, skeletons: Mapping[int, Skeleton], faces: Sequence[TrackedFace],
    ) -> dict[int, Body]:
        """
        Name the bodies of an image.

        :param skeletons: all of them, by the number under which the source follows each
        :param faces: the tracked faces of the same image
        :return: by the same numbers; the primary person first, then by id
        """
        owned = self.faces_of(skeletons, faces)
        here = {face.track_id for face in faces}
        self._lost += [owner for number, owner in self._known.items() if number not in skeletons]
        self._lost = [owner for owner in self._lost if owner.track_id in here
                      or stamp_ns - owner.seen_ns <= LOST_S * SECOND_NS]
        self._known = {
            number: owner for number, owner in self._known.items() if number in skeletons}
        # Those with a face first: a body without one must not take a lost person's numbers before.
        for number in sorted(skeletons, key=lambda number: number not in owned):
            skeleton, face = skeletons[number], owned.get(number)
            head, length = head_of(skeleton), _length(skeleton)
            owner = self._known.get(number)
            if owner is None:
                owner = self._again(head, length, face, here) or _Owner(
                    body_id := next(self._ids), body_id, head, length, stamp_ns)
                self._known[number] = owner
            owner.head, owner.length, owner.seen_ns = head, length, stamp_ns
            if face is not None:
                self._take(owner, face)
            else:
                _release(owner, here, stamp_ns)
        led = any(face.primary for face in faces)
        for number, owner in self._known.items():
            if number not in owned and led:
                owner.primary = False
        bodies = {
            number: Body(owner.track_id, skeletons[number], has_face=number in owned,
                         primary=owner.primary, body_id=owner.body_id,
                         face_roll=roll_of(owned.get(number)))
            for number, owner in self._known.items()}
        return dict(sorted(
            bodies.items(), key=lambda item: (not item[1].primary, item[1].track_id)))

    def _again(
        self, head: NDArray[np.float32], length: float, face: TrackedFace | None, here: set[int],
    ) -> _Owner | None:
        """Return the lost person whose body a new one is: by the face, else by the place."""
        near = [
            (face is None or owner.track_id != face.track_id, apart, index)
            for index, owner in enumerate(self._lost)
            for apart in [float(np.hypot(*(owner.head - head))) / max(owner.length, length, 1.0)]
            if (face is not None and owner.track_id == face.track_id)
            or (apart <= SAME_PLACE and owner.track_id not in here)]
        return self._lost.pop(min(near)[2]) if near else None

    def _take(self, owner: _Owner, face: TrackedFace) -> None:
        """Let a body go by its face's number, and nobody else."""
        for other in [*self._known.values(), *self._lost]:
            if other is not owner and other.track_id == face.track_id:
                other.track_id, other.primary = other.body_id, False
        owner.track_id, owner.primary, owner.apart_ns = face.track_id, face.primary, None


def _release(owner: _Owner, here: set[int], stamp_ns: int) -> None:
    """Let a body go by its own number once its face has been seen elsewhere for long enough."""
    if owner.track_id not in here:
        owner.apart_ns = None
    elif owner.apart_ns is None:
        owner.apart_ns = stamp_ns
    elif stamp_ns - owner.apart_ns >= APART_S * SECOND_NS:
        owner.track_id, owner.primary, owner.apart_ns = owner.body_id, False, None


def _length(skeleton: Skeleton) -> float:
    return float(np.hypot(*(head_of(skeleton) - skeleton.middle(*SHOULDERS))))
