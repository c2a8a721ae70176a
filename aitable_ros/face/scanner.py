# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Where the detectors look: at the whole image, for small faces at tiles of it too, and closely at
each face that is new.

BlazeFace comes in two ranges, and neither suffices for a desk: full range loses near faces, short
range far ones. So both look. Where they find the same face, the answer of the near one counts,
which places the key points better.

The near one looks at each find once more, alone, at the size that it finds best, and mirrored. The
first look tells little (faces score 0.5 to 0.97, letters, stars and collars 0.5 to 0.84), the
second look nearly all: 0.7 both ways had 99 % of 710 faces, placed, turned and lit at random, and
none of 190 others. It also places the key points of a small face better.

BlazeFace full range finds a face from 0.057 of the image's longer side on: with a lens of 65
degrees an adult's at 2 m, whatever the camera's resolution. Tiles of 0.34 of the longer side reach
5 m (measured at 1280x720, faces of 28 to 30 px, which is 5 m: recall 0.86 to 0.96 by background,
without tiles 0).
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.boxes import overlap, suppress
from aitable_ros.face.detector import Detector
from aitable_ros.face.letterbox import halved
from aitable_ros.types import Detection

FAR = 0.0195
"""
Side of an adult's face (0.15 m) over the longer side of the image at 6 m, lens of 65 degrees: a
fifth beyond the range that is promised, since the smallest faces are found least surely.
"""

LEAST_TILE = 0.34
"""Of the longer side: smaller tiles are too many; short range then does not reach the 5 m."""

MARGIN = 1.4
"""
A face up to this times the smallest that the whole image shows needs its tile too. Tiles overlap by
so much, so that one of them has all of such a face.
"""

NEAR_FROM = 0.25
"""
Share of the image from which the near detector's answers count: there it has found 0.91 (full range
0.94), at 0.3 0.98; what it takes for smaller faces in a group is mostly several people.
"""

SAME = 0.3
"""IoU of the two detectors' boxes from which they mean one face; a face too large comes shrunk."""

CLOSER = (2.0, 4.0)
"""
Least and greatest side of a close look over that of the box. Between them, as much as shows the
pixels as they are: enlarged, the noise of a dark room hides a small face (of 32 at a noise of 12
gray values 10 % scored below 0.33; so 0.81).
"""

SURE = 0.7
"""Least score of the close look and of its mirror image."""

ASTRAY = 0.5
"""Sides of a box that the face seen closely may be away from it, and ..."""

SIZES = (0.5, 2.0)
"""... sides that it may have, over the side of the box."""

EDGE_PX = 2.0
"""A box so near to an edge inside the image is cut off there; another tile has all of it."""

Tile = tuple[int, int, int, int]


def tiles(height: int, width: int, smallest: float) -> list[Tile]:
    """
    Cover an image with overlapping squares in which a detector sees a face at 5 m.

    :param smallest: the detector's
    :return: ``(x1, y1, x2, y2)`` of each, pixels, row by row; one, where it sees that far without
    """
    longer = max(height, width)
    share = min(1.0, max(LEAST_TILE, FAR / smallest))
    side = max(1, math.ceil(longer * share))
    overlap = min(smallest * MARGIN, share * 0.6) * longer
    across, down = _starts(width, side, overlap), _starts(height, side, overlap)
    return [
        (x, y, min(x + side, width), min(y + side, height)) for y in down for x in across]


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Where tiles begin along one direction, evenly spread."""
    if length <= side:
        return [0]
    number = math.ceil((length - overlap) / (side - overlap))
    return [round(index * (length - side) / (number - 1)) for index in range(number)]


class Scanner:
    """
    Runs the detectors over the whole image and, for a room, over tiles in turn.

    One tile is looked at each time, and those that hold a small face that is being followed; all of
    them when there is nothing to go by yet.

    :param near: finds faces that are too large for the detector and looks closely; may be the
        detector itself; without one nothing does
    """

    def __init__(self, detector: Detector, near: Detector | None = None) -> None:
        self._detector = detector
        self._near = near
        self._turn = 0

    def desk(
        self, image: NDArray[np.uint8], confidence: float, iou: float,
    ) -> list[Detection]:
        """Look at the whole image; the arguments are the detectors'."""
        if self._near is None or self._near is self._detector:
            return self._detector.detect(image, confidence, iou)
        # Most of a large image's shrinking once for both.
        small = halved(image, max(self._detector.side, self._near.side))
        scale = image.shape[1] / small.shape[1]
        found = [
            _scaled(face, scale) for face in self._detector.detect(small, confidence, iou)]
        least = NEAR_FROM * max(small.shape[:2])
        close = [
            _scaled(face, scale) for face in self._near.detect(small, confidence, iou)
            if _side(face.box) >= least]
        if not close:
            return found
        shared = overlap(_boxes(found), _boxes(close)).max(axis=1, initial=0)
        both = close + [face for face, same in zip(found, shared) if same < SAME]
        return sorted(both, key=lambda detection: -detection.confidence)

    def closely(self, image: NDArray[np.uint8], seen: Detection) -> Detection | None:
        """
        Look once more at the find of a detector.

        :return: the face as it is seen from near; as it was where nothing looks closely, or where
            it fills so much of the image that it has been seen from near already; None where it is
            no face
        """
        if self._near is None:
            return seen
        wide = min(max(self._near.side / max(_side(seen.box), 1), CLOSER[0]), CLOSER[1])
        side = max(1, round(_side(seen.box) * wide))
        middle = (seen.box[:2] + seen.box[2:]) / 2
        left, top = (int(edge) for edge in np.round(middle - side / 2))
        around = _cut_out(image, left, top, side)
        if around is None:
            return None
        if side > self._near.side:  # once for both looks
            size = (self._near.side, self._near.side)
            around = np.asarray(cv2.resize(around, size, interpolation=cv2.INTER_AREA), np.uint8)
        scale = side / len(around)
        expected = _side(seen.box) / scale
        face = self._middle(around, expected)
        mirrored = np.asarray(cv2.flip(around, 1), np.uint8)
        if face is not None and self._middle(mirrored, expected) is not None:
            corner = np.array([left, top], np.float32)
            return Detection(
                face.box * scale + np.tile(corner, 2), face.confidence,
                face.keypoints * scale + corner)
        filled = _side(seen.box) / max(image.shape[:2])
        return seen if filled >= NEAR_FROM and seen.confidence >= SURE else None

    def _middle(self, around: NDArray[np.uint8], expected: float) -> Detection | None:
        """Find the face in the middle of a square that has about the side that is expected."""
        assert self._near is not None
        for face in self._near.detect(around, SURE, SAME):
            away = np.abs(face.box[:2] + face.box[2:] - len(around)).max() / 2
            if away <= ASTRAY * expected and \
                    SIZES[0] * expected <= _side(face.box) <= SIZES[1] * expected:
                return face
        return None

    def room(
        self, image: NDArray[np.uint8], confidence: float, iou: float,
        followed: Sequence[NDArray[np.floating]] | None,
    ) -> list[Detection]:
        """
        Look at the whole image and at tiles.

        :param followed: ``(4,)`` boxes of the faces that are known; None looks at every tile
        """
        whole = self.desk(image, confidence, iou)
        height, width = image.shape[:2]
        every = tiles(height, width, self._detector.smallest)
        if len(every) == 1:
            return whole
        chosen = set(range(len(every)))
        if followed is not None:
            self._turn = (self._turn + 1) % len(every)
            limit = self._detector.smallest * MARGIN * max(height, width)
            small = [box for box in followed if _side(box) < limit]
            chosen = {self._turn, *(_holding(box, every) for box in small)}
        near = [
            detection for index in sorted(chosen)
            for detection in self._in_tile(image, every[index], confidence, iou)
            if not any(_inside(detection, other) for other in whole)]
        scores = np.array([detection.confidence for detection in near], np.float32)
        found = whole + [near[index] for index in suppress(_boxes(near), scores, iou)]
        return sorted(found, key=lambda detection: -detection.confidence)

    def _in_tile(
        self, image: NDArray[np.uint8], tile: Tile, confidence: float, iou: float,
    ) -> list[Detection]:
        """Faces that lie wholly in a tile, in pixels of the image."""
        x1, y1, x2, y2 = tile
        height, width = image.shape[:2]
        shift = np.array([x1, y1], np.float32)
        low = np.array([x1 + EDGE_PX if x1 else -np.inf, y1 + EDGE_PX if y1 else -np.inf])
        high = np.array([
            x2 - EDGE_PX if x2 < width else np.inf, y2 - EDGE_PX if y2 < height else np.inf])
        found = []
        for detection in self._detector.detect(image[y1:y2, x1:x2], confidence, iou):
            box = detection.box + np.tile(shift, 2)
            if (box[:2] >= low).all() and (box[2:] <= high).all():
                found.append(Detection(box, detection.confidence, detection.keypoints + shift))
        return found


def _cut_out(
    image: NDArray[np.uint8], left: int, top: int, side: int,
) -> NDArray[np.uint8] | None:
    """Cut a square, black where it leaves the image; None where that is all of it."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x2 <= x1 or y2 <= y1:
        return None
    return np.asarray(cv2.copyMakeBorder(
        image[y1:y2, x1:x2], y1 - top, top + side - y2, x1 - left, left + side - x2,
        cv2.BORDER_CONSTANT), np.uint8)


def _scaled(face: Detection, scale: float) -> Detection:
    return Detection(face.box * scale, face.confidence, face.keypoints * scale)


def _boxes(found: Sequence[Detection]) -> NDArray[np.float32]:
    return np.array([detection.box for detection in found], np.float32).reshape(-1, 4)


def _side(box: NDArray[np.floating]) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))


def _holding(box: NDArray[np.floating], every: Sequence[Tile]) -> int:
    """Return the index of the tile in whose middle the box is most."""
    corners = np.array(every, np.float64)
    apart = (corners[:, :2] + corners[:, 2:] - box[:2] - box[2:]) / 2
    return int(np.abs(apart).max(axis=1).argmin())


def _inside(detection: Detection, other: Detection) -> bool:
    """Tell whether a face's centre lies in another one: a part of it, or the same."""
    centre = (detection.box[:2] + detection.box[2:]) / 2
    return bool((centre >= other.box[:2]).all() and (centre <= other.box[2:]).all())
