# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Which face of this image is which face of the one before.

Overlap and motion, no look at the face itself: nothing about a person is remembered but where the
head is and how it moves. The assignment is the optimal one: where two people stand close or
cross, a greedy choice gives the best pair first and swaps the rest. A detection too weak to be a
new face still tells where a known one is (ByteTrack, Zhang et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import SECOND_NS
from aitable_ros.face.assignment import cheapest_pairs
from aitable_ros.face.boxes import overlap
from aitable_ros.types import Detection, FaceLandmarks

HOLD_S = 0.25
"""A face that the detector misses is still reported for this long: it flickers on turned heads."""

VELOCITY_S = 0.2
"""Time constant of the velocity estimate: people change direction within half a second."""

COAST_S = 0.5
"""Time constant with which a head that the detector misses is taken to slow down."""

REACH = 0.75
"""Sides of a box that a head may be away from where it is expected, beyond what the IoU allows."""

REACH_PER_S = 1.0
"""How much that grows for each second unseen."""

LEAST_RATIO = 0.6
"""Sides of the two boxes, smaller over larger, below which they are not the same head."""

UNSEEN_COST_PER_S = 0.3
"""A face long unseen yields a detection to one seen just now, in IoU per second."""

APART_COST = 1.0
"""
Of a track and a detection that do not overlap: no more than the worst pair that does. A higher one
would swap two good pairs' partners only to have one more pair.
"""

COVERED_IOU = 0.3
"""An unfound face that overlaps a found one this much is behind it."""

RELATION_SHARE = 0.3
"""Share of the newest detection in where the detector's box lies relative to the mesh."""

MESH_KEYPOINTS = {
    5: np.array([(33, 263, 1, 61, 291), (133, 362, 1, 61, 291)]),
    6: np.array([(33, 263, 1, 13, 127, 356), (133, 362, 1, 14, 127, 356)]),
}
"""
Two mesh points whose middle is the detector's key point, by how many it has (YOLO 5, BlazeFace 6).
"""

_ids = count(1)
"""One for the process: an id is never used again, whichever finder gave it."""


def number_from_one() -> None:
    """Number tracks from 1 again: only between recordings, whose people are not mixed up."""
    global _ids
    _ids = count(1)


@dataclass(slots=True, eq=False)
class Track:
    """
    One person's head, as far as it is known.

    :param box: ``(4,)`` float64, pixels, moved to ``stamp_ns``
    :param velocity: ``(2,)`` of its centre, pixels per second
    :param seen_ns: when the detector or the mesh last saw it
    :param detected: found by the detector at ``stamp_ns``
    :param missed: the detector has looked for it since and not found it
    :param mesh_lost: the mesh has not found a face in it since it was last seen
    :param covered: behind another face
    :param agreed: the mesh has seen a face in it; False where it has only refused so far
    :param relation: the detector's box relative to the mesh's: centre in sides of the mesh's box,
        then the log ratio of the sides
    """

    box: NDArray[np.float64]
    keypoints: NDArray[np.float32]
    confidence: float
    stamp_ns: int
    seen_ns: int
    velocity: NDArray[np.float64]
    track_id: int = field(default_factory=lambda: next(_ids))
    detected: bool = True
    missed: bool = False
    mesh_lost: bool = False
    covered: bool = False
    agreed: bool | None = None
    relation: tuple[float, ...] | None = None

    @property
    def centre(self) -> NDArray[np.float64]:
        """``(2,)`` pixels."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def side(self) -> float:
        """Mean of width and height, pixels."""
        return float(self.box[2:].sum() - self.box[:2].sum()) / 2

    @property
    def unseen_s(self) -> float:
        """Seconds since it was last seen."""
        return (self.stamp_ns - self.seen_ns) / SECOND_NS

    @property
    def visible(self) -> bool:
        """Whether to report it: seen, or carried over a moment in which nobody looked closely."""
        if self.covered or (self.missed and self.mesh_lost):
            return False
        return not self.missed or self.unseen_s <= HOLD_S

    def detection(self) -> Detection:
        """Return the track as a detection."""
        return Detection(
            box=self.box.astype(np.float32), confidence=self.confidence, keypoints=self.keypoints)


class Tracker:
    """All the heads in front of one camera."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []

    def predict(self, stamp_ns: int, lost_after_s: float) -> None:
        """Move all tracks to a later image; forget those unseen for too long."""
        for track in self.tracks:
            elapsed_s = (stamp_ns - track.stamp_ns) / SECOND_NS
            slowed = math.exp(-elapsed_s / COAST_S) if track.missed else 1.0
            _shift(track, track.velocity * (COAST_S * (1 - slowed) if track.missed else elapsed_s))
            track.velocity = track.velocity * slowed
            track.stamp_ns = stamp_ns
            track.detected = False
        self.tracks = [track for track in self.tracks if track.unseen_s <= lost_after_s]

    def pause(self, duration_ns: int) -> None:
        """Let time pass in which there was no image: nobody moves, everybody is looked for."""
        for track in self.tracks:
            track.stamp_ns += duration_ns
            track.seen_ns += duration_ns
            track.velocity = np.zeros(2)
            track.mesh_lost = True  # until the detector has found it again

    def rescale(self, across: float, down: float) -> None:
        """Move everybody to an image of another size that shows the same."""
        scale = np.array([across, down])
        for track in self.tracks:
            track.box = track.box * np.tile(scale, 2)
            track.velocity = track.velocity * scale
            track.keypoints = (track.keypoints * scale).astype(np.float32)

    def update(
        self, detections: Sequence[Detection], stamp_ns: int, iou: float, confidence: float = 0.0,
        closely: Callable[[Detection], Detection | None] = lambda detection: detection,
    ) -> None:
        """
        Give each detection in the image predicted last to a track, old or new.

        :param stamp_ns: of the image
        :param iou: least overlap of a box with where its head is expected
        :param confidence: a weaker detection only serves faces that are known
        :param closely: looks once more at a detection that nobody known explains, and gives it
            back, better, or None where it is no face
        """
        strong = np.array([detection.confidence >= confidence for detection in detections])
        pairs = self._pairs(self.tracks, detections, iou, strong)
        taken = {id(detection) for _, detection in pairs}
        for track, detection in pairs:
            if track.agreed is False and closely(detection) is None:
                track.mesh_lost = True
                continue
            _measure(track, np.asarray(detection.box, np.float64))
            track.keypoints, track.confidence = detection.keypoints, detection.confidence
            track.detected, track.missed = True, False
            track.mesh_lost = track.covered = False
        here = self._found()
        for track in self.tracks:
            if not track.detected:
                track.missed = True
                shared = overlap(track.box[None].astype(np.float32), here)
                track.covered |= bool((shared >= COVERED_IOU).any())
        for detection, able in zip(detections, strong):
            face = closely(detection) if able and id(detection) not in taken else None
            if face is not None and not self._is_known(face):
                self.tracks.append(Track(
                    box=np.asarray(face.box, np.float64), keypoints=face.keypoints,
                    confidence=face.confidence, stamp_ns=stamp_ns, seen_ns=stamp_ns,
                    velocity=np.zeros(2)))

    def follow(self, track_id: int, landmarks: FaceLandmarks | None) -> None:
        """
        Move a track to where the mesh saw the face in the image predicted last.

        :param landmarks: None where the mesh found no face
        """
        track = next((track for track in self.tracks if track.track_id == track_id), None)
        if track is None or track.covered:
            return
        if landmarks is None:
            track.mesh_lost = not track.detected
            track.agreed = bool(track.agreed)
            return
        left, top, right, bottom = landmarks.box.tolist()
        if not (-math.inf < left < right < math.inf and -math.inf < top < bottom < math.inf):
            return
        # On plain numbers: NumPy takes a microsecond for each step with two of them.
        side = (right - left + bottom - top) / 2
        x, y = (left + right) / 2, (top + bottom) / 2
        x1, y1, x2, y2 = track.box.tolist()
        own = (x2 + y2 - (x1 + y1)) / 2
        if track.detected or track.relation is None:
            now = (
                ((x1 + x2) / 2 - x) / side, ((y1 + y2) / 2 - y) / side,
                math.log(max(own, 1.0) / side))
            old = track.relation or now
            track.relation = tuple([
                before + RELATION_SHARE * (after - before) for before, after in zip(old, now)])
        right_by, down_by, log_ratio = track.relation
        own, reach = max(own, 1e-6), side * math.exp(log_ratio) / 2
        half_x, half_y = (x2 - x1) / own * reach, (y2 - y1) / own * reach
        x, y = x + right_by * side, y + down_by * side
        _measure(track, np.array([x - half_x, y - half_y, x + half_x, y + half_y]))
        track.mesh_lost = track.missed = False
        track.agreed = True
        pairs = MESH_KEYPOINTS.get(len(track.keypoints))
        if pairs is not None:
            chosen = landmarks.points[pairs, :2]
            track.keypoints = (chosen[0] + chosen[1]) / 2

    def _pairs(
        self, tracks: Sequence[Track], detections: Sequence[Detection], iou: float,
        strong: NDArray[np.bool_],
    ) -> list[tuple[Track, Detection]]:
        """Pair faces and tracks that overlap; then, of the rest, those near each other."""
        if not tracks or not detections:
            return []
        shared, distance, ratio = _compare(tracks, detections)
        unseen = np.array([track.unseen_s for track in tracks])[:, None]
        overlaps = np.where(shared >= iou, 1 - shared + UNSEEN_COST_PER_S * unseen, np.inf)
        pairs = _cheapest(overlaps, APART_COST)
        near = (distance <= REACH + REACH_PER_S * unseen) & (ratio >= LEAST_RATIO) & strong
        near[[row for row, _ in pairs]] = False
        near[:, [column for _, column in pairs]] = False
        pairs += _cheapest(np.where(near, distance, np.inf), float(distance.max()) + 1)
        return [(tracks[row], detections[column]) for row, column in pairs]

    def _is_known(self, face: Detection) -> bool:
        """Tell whether a face seen closely is one that was found: two answers may mean one face."""
        return bool((overlap(face.box[None], self._found()) >= COVERED_IOU).any())

    def _found(self) -> NDArray[np.float32]:
        """Return the ``(n, 4)`` boxes that were found in this image."""
        found = [track.box for track in self.tracks if track.detected]
        return np.array(found, np.float32).reshape(-1, 4)



def _cheapest(cost: NDArray[np.float64], alone: float) -> list[tuple[int, int]]:
    """Rows and columns of least total cost; an infinite cost counts ``alone`` and is no pair."""
    finite = np.isfinite(cost)
    return [pair for pair in cheapest_pairs(np.where(finite, cost, alone)) if finite[pair]]


def _compare(
    tracks: Sequence[Track], detections: Sequence[Detection],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """
    Set every track against every detection.

    :return: three times ``(tracks, detections)``: IoU; distance of the centres in sides of the
        boxes; the smaller side over the larger
    """
    here = np.array([track.box for track in tracks], np.float32)
    there = np.array([detection.box for detection in detections], np.float32)
    first, second = _sides(here)[:, None], _sides(there)[None]
    apart = (here[:, None, :2] + here[:, None, 2:] - there[None, :, :2] - there[None, :, 2:]) / 2
    distance = np.hypot(apart[..., 0], apart[..., 1]) / ((first + second) / 2)
    ratio = np.minimum(first, second) / np.maximum(first, second)
    return overlap(here, there).astype(np.float64), distance, ratio


def _sides(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1, dtype=np.float64)
    return np.maximum(sides, 1e-6)


def _measure(track: Track, box: NDArray[np.float64]) -> None:
    """Put a track where it was seen in the image of its stamp, and learn from it how it moves."""
    elapsed_s = track.unseen_s
    if elapsed_s > 0:
        share = 1 - math.exp(-elapsed_s / VELOCITY_S)
        (x1, y1, x2, y2), (was_x1, was_y1, was_x2, was_y2) = box.tolist(), track.box.tolist()
        across, down = track.velocity.tolist()
        track.velocity = np.array([
            across + share * ((x1 + x2) / 2 - (was_x1 + was_x2) / 2) / elapsed_s,
            down + share * ((y1 + y2) / 2 - (was_y1 + was_y2) / 2) / elapsed_s])
    track.box = box
    track.seen_ns = track.stamp_ns


def _shift(track: Track, by: NDArray[np.float64]) -> None:
    track.box = track.box + np.concatenate((by, by))
    track.keypoints = track.keypoints + by.astype(np.float32)
