# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The primary person: who it is, and that it does not flicker."""

from __future__ import annotations

import numpy as np
import pytest

from aitable_ros.face.primary import appeal, PrimaryChoice
from aitable_ros.types import Detection

S = 1_000_000_000


def face(x: float, y: float, side: float, confidence: float = 0.9) -> Detection:
    return Detection(
        np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32), confidence)


@pytest.mark.parametrize(('better', 'worse', 'weights'), [
    (face(320, 240, 100), face(100, 240, 100), (1, 1, 1)),
    (face(320, 240, 200), face(320, 240, 100), (1, 1, 1)),
    (face(320, 240, 100, 0.9), face(320, 240, 100, 0.6), (1, 1, 1)),
    (face(100, 240, 120), face(320, 240, 100), (0, 1, 0)),
    (face(320, 240, 50), face(100, 240, 300), (0, 0, 1)),
    (face(0, 0, 40, 0.9), face(320, 240, 300, 0.8), (1, 0, 0)),
], ids=['central', 'near', 'sure', 'size only', 'centre only', 'confidence only'])
def test_appeal(better: Detection, worse: Detection, weights: tuple) -> None:
    good, bad = (appeal(detection, 480, 640, weights) for detection in (better, worse))
    assert 0 <= bad < good <= 1


def test_appeal_stays_within_bounds_outside_the_image() -> None:
    assert 0 <= appeal(face(-5000, 9000, 4000), 480, 640, (1, 1, 1)) <= 1
    assert 0 <= appeal(face(0, 0, 1), 1, 1, (1, 1, 1)) <= 1


def test_the_choice_changes_after_one_second_and_not_before() -> None:
    choice = PrimaryChoice()
    assert choice.choose({1: 0.8, 2: 0.5}, 0, 1.0) == 1
    assert choice.choose({1: 0.5, 2: 0.8}, 1 * S, 1.0) == 1
    assert choice.choose({1: 0.5, 2: 0.8}, int(1.9 * S), 1.0) == 1
    assert choice.choose({1: 0.5, 2: 0.8}, 2 * S, 1.0) == 2


def test_a_challenger_that_falls_back_starts_again() -> None:
    choice = PrimaryChoice()
    choice.choose({1: 0.8, 2: 0.5}, 0, 1.0)
    for tenth in range(1, 60):
        ahead = 0.9 if tenth % 9 else 0.1
        assert choice.choose({1: 0.8, 2: ahead}, tenth * S // 10, 1.0) == 1


def test_a_primary_person_out_of_sight_is_waited_for() -> None:
    choice = PrimaryChoice()
    choice.choose({1: 0.8, 2: 0.5}, 0, 1.0)
    assert choice.choose({2: 0.5}, 1 * S, 1.0) == 1
    assert choice.choose({1: 0.8, 2: 0.5}, int(1.5 * S), 1.0) == 1
    assert choice.choose({2: 0.5}, int(1.6 * S), 1.0) == 1
    assert choice.choose({2: 0.5}, int(2.6 * S), 1.0) == 2
    assert choice.choose({}, int(2.7 * S), 1.0) == 2
    assert choice.choose({}, int(3.7 * S), 1.0) is None
    assert choice.choose({7: 0.1}, int(3.8 * S), 1.0) == 7, 'the first to come is chosen at once'


def test_without_hysteresis_the_best_is_chosen_at_once() -> None:
    choice = PrimaryChoice()
    assert choice.choose({1: 0.8}, 0, 0.0) == 1
    assert choice.choose({1: 0.8, 2: 0.9}, 1, 0.0) == 2
    assert choice.choose({}, 2, 0.0) is None


def test_equal_faces_go_to_the_older_one() -> None:
    assert PrimaryChoice().choose({5: 0.5, 3: 0.5}, 0, 1.0) == 3
