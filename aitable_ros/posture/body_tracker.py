# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Follow bodies that a model finds afresh in each image: which is which of those before."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import SECOND_NS
from aitable_ros.face.assignment import cheapest_pairs
from aitable_ros.face.boxes import overlap
from aitable_ros.posture.yolov8_pose import CONFIDENCE, FAINT, Yolov8Pose
from aitable_ros.posture_types import Skeleton
from aitable_ros.types import Frame, TrackedFace

LEAST_IOU = 0.3
"""Of a body's boxes in two readings: ``FaceOptions.tracker_iou``."""

LOST_S = 1.0
"""A body missed for longer is lost: ``FaceOptions.lost_after_s``."""

MISSED_COST_PER_S = 0.3
"""A body missed for long yields to one seen just now, in IoU per second, as faces do."""


@dataclass(slots=True, eq=False)
class _Track:
    """A body: ``(4,)`` box and joints of its last reading, and when that was."""

    box: NDArray[np.float32]
    skeleton: Skeleton
    seen_ns: int


class BodyTracker:
    """
    The bodies in a stream of images, as a :class:`aitable_ros.posture.body_source.BodySource`.

    Pairs of least total cost, as for faces; an answer too faint for a new body still tells where a
    known one is. Serves one thread.
    """

    def __init__(self, pose: Yolov8Pose) -> None:
        self._pose = pose
        self._tracks: dict[int, _Track] = {}
        self._numbers = count()

    def follow(
        self, frame: Frame, most: int, faces: Mapping[int, TrackedFace], rest: Container[int] = (),
    ) -> dict[int, Skeleton]:
        """Find all bodies; those known keep their numbers, new ones get the next."""
        now_ns = frame.stamp_ns
        found = self._pose.detect(frame.image, FAINT)
        self._tracks = {number: track for number, track in self._tracks.items()
                        if now_ns - track.seen_ns <= LOST_S * SECOND_NS}
        taken = self._pairs([box for box, _ in found], now_ns)
        here = dict.fromkeys(taken)
        for index, (box, skeleton) in enumerate(found):
            number = next((known for known, at in taken.items() if at == index), None)
            if number is None:
                if skeleton.presence < CONFIDENCE or len(here) >= most:
                    continue
                number = next(self._numbers)
                here[number] = None
            self._tracks[number] = _Track(box, skeleton, now_ns)
        return {number: self._tracks[number].skeleton for number in here}

    def seek(
        self, frame: Frame, most: int, faces: Sequence[TrackedFace], look: bool,
    ) -> dict[int, Skeleton]:
        """Return all bodies: the model has found all that are there."""
        return {number: track.skeleton for number, track in self._tracks.items()
                if track.seen_ns == frame.stamp_ns}

    def forget(self) -> None:
        """Forget all bodies; numbers are not used again."""
        self._tracks = {}

    def _pairs(self, boxes: Sequence[NDArray[np.float32]], now_ns: int) -> dict[int, int]:
        """Return the index of the box of each body that is known and seen."""
        if not boxes or not self._tracks:
            return {}
        numbers = list(self._tracks)
        shared = overlap(
            np.stack([self._tracks[number].box for number in numbers]), np.stack(boxes))
        missed_s = np.array(
            [(now_ns - self._tracks[number].seen_ns) / SECOND_NS for number in numbers])
        near = shared >= LEAST_IOU
        cost = np.where(near, 1 - shared + MISSED_COST_PER_S * missed_s[:, None], 2.0)
        return {numbers[row]: column for row, column in cheapest_pairs(cost.astype(np.float64))
                if near[row, column]}
