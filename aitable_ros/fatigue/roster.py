# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The people in front of the camera and those who left it lately, one memory each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import ImageTime, Step

SAME_PLACE = 1.0
"""A face that appears within so many box sides of a person who was lost is that person: a head that
bows, turns or is covered for some seconds comes up again about there."""

SAME_SIZE = 1.6
"""Greatest ratio of the two boxes' sides."""

Box = NDArray[np.float32]


class PersonMemory(Protocol):
    """The memory of one person."""

    def continue_as(self, track_id: int) -> None:
        """Go on under the number of another track."""


M = TypeVar('M', bound=PersonMemory)


@dataclass(slots=True, eq=False)
class Known(Generic[M]):
    """
    A person.

    :param box: ``(4,)`` pixels, where the face was last
    :param seen_ns: time of the last image in which the face was measured
    """

    memory: M
    box: Box
    seen_ns: int = 0


class Roster(Generic[M]):
    """
    The memories of all people, by track.

    A person who is lost keeps the memory for some time. A new track in the place of a lost person
    continues that person's memory under the new track's number.

    :param remember: makes the memory of a new person from the number of the track
    """

    def __init__(self, remember: Callable[[int], M]) -> None:
        self._remember = remember
        self.time = ImageTime()
        self.known: dict[int, Known[M]] = {}

    def begin(self, stamp_ns: int) -> Step:
        """Return how the next image follows the one before; the caller forgets at a jump."""
        return self.time.step(stamp_ns)

    def meet(self, stamp_ns: int, boxes: Mapping[int, Box], forget_s: float) -> None:
        """
        Forget the people lost for too long, and meet the new faces of an image.

        :param boxes: of all faces in the image, by track
        :param forget_s: a person lost for longer is forgotten
        """
        self.known = {
            track_id: known for track_id, known in self.known.items() if track_id in boxes
            or (stamp_ns - known.seen_ns) * 1e-9 <= forget_s}
        for track_id, box in boxes.items():
            known = self.known.get(track_id) or self._meet(track_id, box, boxes)
            known.box = box

    def _meet(self, track_id: int, box: Box, boxes: Mapping[int, Box]) -> Known[M]:
        """Find the lost person in whose place a new face appears, or begin a new memory."""
        near = [
            (distance, other) for other, known in self.known.items() if other not in boxes
            for distance in [_distance(known.box, box)] if distance <= SAME_PLACE]
        if near:
            known = self.known.pop(min(near)[1])
            known.memory.continue_as(track_id)
        else:
            known = Known(self._remember(track_id), box)
        self.known[track_id] = known
        return known


def _distance(first: Box, second: Box) -> float:
    """Return the distance of two boxes' centres in sides of the larger."""
    ax1, ay1, ax2, ay2 = first.tolist()
    bx1, by1, bx2, by2 = second.tolist()
    side, other = max(ax2 - ax1, ay2 - ay1), max(bx2 - bx1, by2 - by1)
    if not (side > 0 and side <= SAME_SIZE * other and other <= SAME_SIZE * side):
        return float('inf')
    apart = max(abs(ax1 + ax2 - bx1 - bx2), abs(ay1 + ay2 - by1 - by2)) / 2
    return float(apart / max(side, other))
