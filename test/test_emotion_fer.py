# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""fer on labelled pictures: as cut here against the package's own recipe, side by side."""

from __future__ import annotations

from collections import Counter
import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.emotion.fer import BELOW_EYES, CLASS_ORDER, Fer, SIDES, views
from aitable_ros.emotion.level_crop import Square
from aitable_ros.emotion.level_crop import squares as level_squares
from aitable_ros.face.blazeface import BlazeFace
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.types import Detection, Expression, TrackedFace

WORDS = {name.name.lower(): name for name in Expression}


def by_its_own_recipe(backend: OnnxRuntimeBackend, image: NDArray[np.uint8],
                      box: NDArray[np.float32]) -> Expression:
    """As ``fer`` 25 does it: gray, square box and 10 pixels around, resized, one look."""
    x1, y1, x2, y2 = box
    side = round(max(x2 - x1, y2 - y1)) + 20
    gray = cv2.copyMakeBorder(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), side, side, side, side, cv2.BORDER_REPLICATE)
    left, top = round((x1 + x2 - side) / 2) + side, round((y1 + y2 - side) / 2) + side
    small = cv2.resize(gray[top:top + side, left:left + side], (64, 64))
    tensor = (small.astype(np.float32) / 255 - 0.5) * 2
    return CLASS_ORDER[int(backend.infer({'image': tensor[None, None]})['probs'].argmax())]


def test_labelled_pictures_read_at_least_as_well_as_by_its_own_recipe(
    models: Path, shared_data: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    right, right_by_recipe, confusion = 0, 0, Counter[tuple[str, str]]()
    with (shared_data / 'image' / 'labels.csv').open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    with OnnxRuntimeBackend(models / 'blazeface_short.onnx') as detector, \
            OnnxRuntimeBackend(models / 'fer.onnx') as backend:
        for row in rows:
            image = cv2.cvtColor(
                cv2.imread(str(shared_data / 'image' / row['file'])), cv2.COLOR_BGR2RGB)
            found = BlazeFace(detector).detect(image, 0.5, 0.3)
            largest = max(found, key=lambda detection: detection.box[2] - detection.box[0])
            label = WORDS[row['expression']]
            answer = Fer(backend).read(image, [TrackedFace(1, largest)])[0].expression
            right += answer is label
            right_by_recipe += by_its_own_recipe(backend, image, largest.box) is label
            if answer is not label:
                confusion[row['expression'], answer.name.lower()] += 1
    with capsys.disabled():
        print(f'\nfer on {len(rows)} pictures: {right} right, {right_by_recipe} by its own recipe; '
              f'taken for another: {dict(confusion)}')
    assert right >= right_by_recipe
    assert right / len(rows) >= 0.75


def squares(detection: Detection) -> tuple[Square, ...]:
    return level_squares(detection, SIDES, BELOW_EYES)


def detection(points: object, box: tuple[float, ...] = (80, 80, 180, 180)) -> Detection:
    return Detection(np.array(box, np.float32), 1.0, np.array(points, np.float32))


class TestCut:

    def test_the_crop_turns_with_the_eyes(self) -> None:
        level = squares(detection([[100, 100], [140, 100], [120, 120]]))
        tilted = squares(detection([[100, 100], [128.28, 128.28], [110, 130]]))
        assert [s[3] for s in level] == [0, 0]
        assert [s[3] for s in tilted] == pytest.approx([np.pi / 4] * 2, abs=1e-3)
        assert [s[2] for s in tilted] == pytest.approx([s[2] for s in level], rel=1e-3)

    def test_a_turned_heads_narrow_eyes_do_not_shrink_the_crop_as_much(self) -> None:
        front = squares(detection([[100, 100], [140, 100], [120, 120], [120, 142.8]]))
        turned = squares(detection([[110, 100], [130, 100], [125, 120], [120, 142.8]]))
        assert turned[0][2] == pytest.approx(0.75 * front[0][2], rel=0.02)

    def test_mouth_corners_of_a_five_point_detector_mean_the_middle_of_the_mouth(self) -> None:
        eyes = [[100, 100], [140, 100], [120, 120]]
        six = detection([*eyes, [120, 142], [90, 110], [150, 110]])
        five = detection([*eyes, [106, 142], [134, 142]])
        assert np.array(squares(five)) == pytest.approx(np.array(squares(six)))

    def test_the_box_matters_only_where_there_are_no_key_points(self) -> None:
        points = [[100, 100], [140, 100], [120, 120], [120, 142]]
        large = (0.0, 0.0, 300.0, 260.0)
        assert squares(detection(points, large)) == squares(detection(points))
        assert squares(detection(np.zeros((0, 2)), large)) == ((150, 130, 320, 0),) * 2

    @pytest.mark.parametrize('side', [50, 120, 900, 2000])
    def test_a_crop_shows_the_same_at_every_size_of_the_image(self, side: int) -> None:
        """A disc a tenth of the face wide comes out at the same place and size."""
        scale = side / 100
        image = np.full((round(200 * scale), round(200 * scale), 3), 60, np.uint8)
        centre = (round(100 * scale), round(110 * scale))
        cv2.circle(image, centre, round(12 * scale), (220, 220, 220), -1)
        # The middle of a pixel is half a pixel on from its index.
        points = np.array([[85, 100], [115, 100], [100, 115]]) * scale + 0.5
        shown = views(image, detection(points, (60 * scale, 60 * scale, 140 * scale, 140 * scale)))
        assert shown.shape == (2, 64, 64)
        bright = shown[0] > 128
        rows, columns = np.nonzero(bright)
        assert np.sqrt(bright.sum() / np.pi) == pytest.approx(12 / (SIDES[0] * 30) * 64, abs=0.6)
        assert columns.mean() == pytest.approx(31.5, abs=0.6)
        mirrored = np.nonzero(shown[1] > 128)[1]
        assert np.sqrt(len(mirrored) / np.pi) == pytest.approx(12 / (SIDES[1] * 30) * 64, abs=0.6)
        assert rows.mean() == pytest.approx(31.5 + (10 / (SIDES[0] * 30) - 0.12) * 64, abs=0.6)

    @pytest.mark.parametrize('box', [(-1e6, -1e6, 1e6, 1e6), (500, 500, 600, 600), (5, 5, 5, 5)])
    def test_absurd_boxes_cost_little_and_break_nothing(self, box: tuple[float, ...]) -> None:
        image = np.zeros((100, 100, 3), np.uint8)
        assert views(image, detection(np.zeros((0, 2)), box)).shape == (2, 64, 64)
