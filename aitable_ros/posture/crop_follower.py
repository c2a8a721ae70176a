# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Follow bodies with BlazePose: each is read in a crop of its own.

A body whose face is tracked is read in the crop below that face. Crops that hang on the landmarks
of the reading before, as MediaPipe's do, slide onto the neighbour where people sit side by side.
They serve the bodies whose face is hidden.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.posture.angles import LEAST_WIDTH
from aitable_ros.posture.blazepose import BlazePose, BodyLandmarks, MIN_PRESENCE, NextCrop
from aitable_ros.posture.heads import distance_from_face, HEAD, head_of, STILL_ON_FACE
from aitable_ros.posture.late_detector import LateDetector
from aitable_ros.posture_types import SHOULDERS, Skeleton, VISIBLE
from aitable_ros.types import Frame, TrackedFace

BELOW_FACE = 3.6
"""From the middle of a face's box to mid-hip, in its sides: median of BlazePose's detector on the
first images of 31 faces' clips (quartiles 3.4 and 3.8)."""

CROP_OF_FACE = 11.5
"""Side of the detector's crops there, in sides of the face's box (quartiles 10.9 and 11.8)."""

SAME_FACE = 1.0
"""A found body is a followed one if its face is at most so many sides from the head of that one."""

SAME_BODY = 0.15
"""
Two readings whose heads and shoulders lie so near each other are of one body, in radii of the
circle around it. The radius is about a metre: people who sit side by side are 0.4 apart.
"""

NO_ROI = np.zeros(4, np.float32)

UPPER = [*HEAD, *SHOULDERS]


@dataclass(slots=True, eq=False)
class _Followed:
    """
    A body and its last reading.

    :param roi: the next crop, hung on the landmarks
    :param below: the last crop below the face; None for a body that never had one
    :param shoulders: ``(2,)`` pixels, their middle in that crop
    :param turns: the crop below the face turns with the body. It does not where the turned crop
        showed a neighbour
    """

    body: BodyLandmarks
    crops: NextCrop
    roi: NDArray[np.float32]
    below: NDArray[np.float32] | None = None
    shoulders: NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))
    turns: bool = True

    @property
    def hidden_roi(self) -> NDArray[np.float32]:
        """The next crop while the face is hidden: that below the face, moved as the shoulders."""
        if self.below is None:
            return self.roi
        moved: NDArray[np.float32] = self.body.skeleton.middle(*SHOULDERS) - self.shoulders
        return np.asarray(self.below + np.append(moved, [0, 0]), np.float32)


class CropFollower:
    """
    The bodies in a stream of images, as a :class:`aitable_ros.posture.body_source.BodySource`.

    A body stays as long as the model sees one in its crop, be its head down or turned away. The
    detector, which finds bodies by their faces, is asked for new ones only. Serves one thread.

    :param detector: None: bodies are found by tracked faces alone
    """

    def __init__(self, pose: BlazePose, detector: LateDetector | None) -> None:
        self._pose, self._detector = pose, detector
        self._followed: dict[int, _Followed] = {}
        self._numbers = count()

    def follow(
        self, frame: Frame, most: int, faces: Mapping[int, TrackedFace], rest: Container[int] = (),
    ) -> dict[int, Skeleton]:
        """Read the bodies that are known, each in its own crop."""
        items = list(self._followed.items())[:most]
        known = {number: item for number, item in items if number not in rest}
        resting = {number: item for number, item in items if number in rest}
        seen = self._read(frame, {
            number: below_face(faces[number], _trunk(item.body) if item.turns else 0.0)
            if number in faces else item.hidden_roi for number, item in known.items()})
        astray = {number: face for number, face in faces.items()
                  if number in known and not _is_on(seen[number], face)}
        for number, body in self._read(frame, {
            number: below_face(face, 0.0) for number, face in astray.items() if known[number].turns
        }).items():
            if _is_on(body, faces[number]):
                seen[number], known[number].turns = body, False
                del astray[number]
        # A face that was hidden just now is still reported where it was expected to be.
        lost = [number for number in known if number in astray or not _is_there(seen[number])]
        for number, body in self._read(
                frame, {number: known[number].roi for number in lost}).items():
            if _is_there(body):
                seen[number] = body
        self._followed = resting
        for number in sorted(known, key=lambda number: number not in faces):
            if self._is_new(seen[number]):
                self._keep(frame, number, replace(known[number], body=seen[number]),
                           faces.get(number))
        return self._skeletons()

    def seek(
        self, frame: Frame, most: int, faces: Sequence[TrackedFace], look: bool,
    ) -> dict[int, Skeleton]:
        """Find the bodies of faces, and ask the detector for others, in the image read last."""
        self._seek_below(frame, faces[:most - len(self._followed)])
        if look and self._detector is not None:
            heads = [head_of(item.body.skeleton) for item in self._followed.values()]
            found = [detection for detection in self._detector.detect(frame.image)
                     if not any(distance_from_face(head, detection) <= SAME_FACE
                                for head in heads)]
            found = found[:most - len(self._followed)]
            for body in self._pose.settle(frame.image, found) if found else ():
                if _shows_head(body, frame) and self._is_new(body):
                    self._keep(frame, next(self._numbers), _Followed(body, NextCrop(), NO_ROI))
        return self._skeletons()

    def _seek_below(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        """Find the bodies of faces: upright, then turned as the body is."""
        found: dict[int, _Followed] = {}
        for index, body in self._read(
                frame, {index: below_face(face, 0.0) for index, face in enumerate(faces)}).items():
            if _is_on(body, faces[index]):
                found[index] = _Followed(body, NextCrop(), NO_ROI)
        for index, body in self._read(frame, {
            index: below_face(faces[index], _trunk(item.body)) for index, item in found.items()
        }).items():
            found[index].turns = _is_on(body, faces[index])
            if found[index].turns:
                found[index].body = body
        for index, item in found.items():
            if self._is_new(item.body):
                self._keep(frame, next(self._numbers), item, faces[index])

    def forget(self) -> None:
        """Forget all bodies; numbers are not used again."""
        self._followed = {}

    def _read(
        self, frame: Frame, rois: Mapping[int, NDArray[np.float32]],
    ) -> dict[int, BodyLandmarks]:
        if not rois:
            return {}
        return dict(zip(rois, self._pose.read(frame.image, np.stack(list(rois.values())))))

    def _is_new(self, body: BodyLandmarks) -> bool:
        """Return whether a reading is of a body, and of none that is in this image already."""
        return _is_there(body) and not any(
            _same(body, item.body) for item in self._followed.values())

    def _keep(
        self, frame: Frame, number: int, item: _Followed, face: TrackedFace | None = None,
    ) -> None:
        item.roi = item.crops.update(frame.stamp_ns, item.body)
        if face is not None and _is_on(item.body, face):
            item.below = below_face(face, _trunk(item.body) if item.turns else 0.0)
            item.shoulders = item.body.skeleton.middle(*SHOULDERS)
        self._followed[number] = item

    def _skeletons(self) -> dict[int, Skeleton]:
        return {number: item.body.skeleton for number, item in self._followed.items()}


def below_face(face: TrackedFace, angle: float) -> NDArray[np.float32]:
    """
    Return the crop of the body below a face.

    :param angle: of the body, radians, clockwise as seen on the screen
    :return: as :func:`aitable_ros.posture.blazepose.roi_from_detection`
    """
    left, top, right, bottom = face.box.tolist()
    side = max(right - left, bottom - top)
    down = BELOW_FACE * side
    return np.array([
        (left + right) / 2 - math.sin(angle) * down, (top + bottom) / 2 + math.cos(angle) * down,
        CROP_OF_FACE * side, angle], np.float32)


def _trunk(body: BodyLandmarks) -> float:
    """Return the angle of the shoulders' line; 0 where it is hidden or seen sideways."""
    if not body.skeleton.sees(*SHOULDERS):
        return 0.0
    left, right = body.skeleton.points[list(SHOULDERS)]
    x, y, z = (left - right).tolist()
    if abs(x) < LEAST_WIDTH * math.hypot(x, y, z):
        return 0.0
    return math.copysign(1, x) * math.atan2(y, abs(x))


def _is_there(body: BodyLandmarks) -> bool:
    finite = np.isfinite(body.skeleton.points).all() and np.isfinite(body.alignment).all()
    return bool(finite) and body.skeleton.presence >= MIN_PRESENCE


def _is_on(body: BodyLandmarks, face: TrackedFace) -> bool:
    """Return whether a reading is of a body with its head at a face."""
    return _is_there(body) and distance_from_face(head_of(body.skeleton), face) <= STILL_ON_FACE


def _shows_head(body: BodyLandmarks, frame: Frame) -> bool:
    """Return whether a head is seen in the image: what the detector saw elsewhere is no body."""
    x, y = head_of(body.skeleton).tolist()
    return bool((body.skeleton.visibility[HEAD] >= VISIBLE).any()) \
        and 0 <= x < frame.width and 0 <= y < frame.height


def _same(one: BodyLandmarks, other: BodyLandmarks) -> bool:
    """Return whether two readings are of one body."""
    apart = (one.skeleton.points - other.skeleton.points)[UPPER, :2]
    radius = max(float(np.hypot(*(body.alignment[1] - body.alignment[0])))
                 for body in (one, other))
    return float(np.hypot(*apart.T).mean()) <= SAME_BODY * radius
