# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which bodies are read in which image: with BlazePose each costs a run of the model."""

from __future__ import annotations

from collections.abc import Mapping
import math

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.heads import distance_from_face, head_of, ON_FACE
from aitable_ros.posture_types import Body
from aitable_ros.types import TrackedFace

EARLY = 0.1
"""Share of the interval by which a reading may be early: a camera's stamps jitter."""


class Turns:
    """Reads the first body at each reading, and the others in turn, spread over the readings."""

    def __init__(self) -> None:
        self._read_ns: dict[int, int] = {}

    def resting(
        self, stamp_ns: int, bodies: Mapping[int, Body], faces: Mapping[int, TrackedFace],
        interval_s: float,
    ) -> frozenset[int]:
        """
        Choose the bodies whose last reading does for another image.

        A body is read out of turn where its face has moved off the head, appeared or gone.

        :param stamp_ns: of the image; later than that of the call before
        :param bodies: of the reading before by their numbers, the primary person's first
        :param faces: of these bodies in the image, by the same numbers
        :param interval_s: between two readings of one of the others; 0 for no rest
        """
        before_ns = max(self._read_ns.values(), default=stamp_ns)
        read_ns = {number: self._read_ns.get(number, stamp_ns) for number in bodies}
        calm = [
            number for number in list(bodies)[1:] if interval_s
            and bodies[number].has_face == (number in faces)
            and (number not in faces or distance_from_face(
                head_of(bodies[number].skeleton), faces[number]) <= ON_FACE)]
        share = len(calm) * (stamp_ns - before_ns) / SECOND_NS / max(interval_s, 1e-9)
        least_ns = (1 - EARLY) * interval_s * SECOND_NS
        due = sorted((number for number in calm if stamp_ns - read_ns[number] >= least_ns),
                     key=lambda number: read_ns[number])
        rest = frozenset(calm).difference(due[:math.ceil(share - EARLY)])
        self._read_ns = {
            number: read_ns[number] if number in rest else stamp_ns for number in bodies}
        return rest

    def forget(self) -> None:
        """Begin again."""
        self._read_ns = {}
