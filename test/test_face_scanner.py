# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tiles cover the image with room for a face in the overlap, and find people across a room."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.face.boxes import overlap
from aitable_ros.face.detector import detector_for
from aitable_ros.face.scanner import MARGIN, Scanner, tiles
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.types import Detection

FULL, SHORT, YOLO = 11 / 192, 18 / 128, 10 / 640


@pytest.mark.parametrize('smallest', [FULL, SHORT])
@pytest.mark.parametrize(('height', 'width'), [
    (720, 1280), (1280, 720), (480, 640), (270, 480), (600, 600), (2160, 3840), (100, 1000)])
def test_every_small_face_lies_wholly_in_a_tile(height: int, width: int, smallest: float) -> None:
    every = np.array(tiles(height, width, smallest))
    assert every.min() == 0
    assert every[:, 2].max() == width
    assert every[:, 3].max() == height
    side = min(int(smallest * MARGIN * max(height, width)) - 2, height)
    rng = np.random.default_rng(1)
    for x, y in rng.uniform(0, [width - side, height - side], (500, 2)):
        inside = (every[:, :2] <= [x, y]).all(1) & (every[:, 2:] >= [x + side, y + side]).all(1)
        assert inside.any(), (x, y)


@pytest.mark.parametrize(('height', 'width', 'smallest', 'number'), [
    (720, 1280, FULL, 8), (480, 640, FULL, 12), (720, 1280, YOLO, 1), (1, 1, FULL, 1)])
def test_no_more_tiles_than_needed(height: int, width: int, smallest: float, number: int) -> None:
    assert len(tiles(height, width, smallest)) == number


@pytest.mark.parametrize('shape', [(1, 2), (2, 1), (3, 3), (1, 4000), (4000, 1)])
def test_odd_images_have_tiles_too(shape: tuple[int, int]) -> None:
    assert all(x2 > x1 and y2 > y1 for x1, y1, x2, y2 in tiles(*shape, FULL))


@pytest.fixture(scope='module')
def scanner(models: Path) -> Scanner:
    with resolve(ModelOptions(model='blazeface_full')).backend as backend:
        yield Scanner(detector_for(backend))


def room(portrait: NDArray[np.uint8], places: list[tuple[int, int]], side: int = 42) -> tuple:
    """The portrait, its face ``side`` pixels wide, here and there in 720p; and the true boxes."""
    face = np.array([172, 66, 278, 172])
    scale = side / 106
    person = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = np.full((720, 1280, 3), (120, 110, 100), np.uint8)
    boxes = []
    for x, y in places:
        image[y:y + person.shape[0], x:x + person.shape[1]] = person
        boxes.append(face * scale + [x, y, x, y])
    return image, np.array(boxes, np.float32)


def hits(found: list[Detection], boxes: NDArray[np.float32]) -> int:
    here = np.array([detection.box for detection in found], np.float32).reshape(-1, 4)
    return int((overlap(boxes, here).max(axis=1, initial=0) > 0.4).sum())


def test_tiles_find_what_the_whole_image_cannot_show(
    scanner: Scanner, portrait: NDArray[np.uint8],
) -> None:
    """Heads all over, also across the borders of tiles; none is counted twice."""
    places = [(20, 20), (420, 300), (300, 80), (785, 270), (1070, 510), (640, 510)]
    image, boxes = room(portrait, places)
    found = scanner.room(image, 0.5, 0.45, None)
    assert hits(found, boxes) == len(found) == len(places)
    assert hits(scanner.desk(image, 0.5, 0.45), boxes) == 0


def test_groups_are_found_at_five_metres(
    scanner: Scanner, shared_data: Path,
) -> None:
    """The labelled groups, scaled so that the faces have the 29 px of five metres."""
    seen = {'desk': 0, 'room': 0}
    total = 0
    labels = json.loads((shared_data / 'faces' / 'labels.json').read_text())
    for name, entry in labels.items():
        corner_and_size = np.array(entry['boxes_top_left_width_height'], np.float32)
        picture = cv2.cvtColor(
            cv2.imread(str(shared_data / 'faces' / name)), cv2.COLOR_BGR2RGB)
        scale = 29 / float(np.median(corner_and_size[:, 2]))
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left, width, height = corner_and_size.T * scale
        for x, y in ((50, 60), (400, 200), (800, 120)):
            image = cv2.GaussianBlur(cv2.resize(picture, (1280, 720)), (0, 0), 25)
            image[y:y + len(picture), x:x + picture.shape[1]] = picture
            boxes = np.stack([left, top, left + width, top + height], axis=1) + [x, y, x, y]
            total += len(boxes)
            seen['desk'] += hits(scanner.desk(image, 0.5, 0.45), boxes)
            seen['room'] += hits(scanner.room(image, 0.5, 0.45, None), boxes)
    assert seen['room'] >= 0.8 * total
    assert seen['desk'] <= 0.05 * total


def test_a_face_near_and_a_face_far(scanner: Scanner, portrait: NDArray[np.uint8]) -> None:
    image, boxes = room(portrait, [(1000, 100)])
    image[200:712, 100:612] = portrait
    found = scanner.room(image, 0.5, 0.45, None)
    assert hits(found, boxes) == 1
    near = np.array([[272, 266, 378, 372]], np.float32)
    assert hits(found, near) == 1
    centres = [(face.box[:2] + face.box[2:]) / 2 for face in found]
    inside = [((centre > near[0, :2]) & (centre < near[0, 2:])).all() for centre in centres]
    assert sum(inside) == 1, 'found once, not once more in each tile'


def test_followed_faces_are_looked_at_each_time_others_in_turn(
    scanner: Scanner, portrait: NDArray[np.uint8],
) -> None:
    image, boxes = room(portrait, [(1070, 510)])
    assert all(hits(scanner.room(image, 0.5, 0.45, list(boxes)), boxes) for _ in range(8))
    turns = [hits(scanner.room(image, 0.5, 0.45, []), boxes) for _ in range(8)]
    assert 0 < sum(turns) < 8
