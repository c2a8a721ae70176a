# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The One-Euro filter: calm at rest, quick in motion, in image time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.one_euro import OneEuroFilter


def through(
    values: NDArray[np.float64], rate_hz: float = 30, min_cutoff_hz: float = 1.0,
    beta: float = 0.0, scale: float = 1.0,
) -> NDArray[np.float64]:
    smooth = OneEuroFilter(min_cutoff_hz=min_cutoff_hz, beta=beta)
    return np.array([
        smooth.update(round(number * SECOND_NS / rate_hz), value, scale)
        for number, value in enumerate(values)])


def test_the_formula_of_the_paper() -> None:
    """Two steps by hand: rate 10 Hz, cutoffs 1 Hz, beta 0.5."""
    first, second = through(np.array([[0.0], [1.0]]), rate_hz=10, beta=0.5)[:, 0]

    def share(cutoff: float) -> float:
        return 1 / (1 + 10 / (2 * np.pi * cutoff))

    speed = share(1.0) * (1.0 - 0.0) * 10
    assert first == 0
    assert second == pytest.approx(share(1.0 + 0.5 * speed) * 1.0)


def test_noise_at_rest_shrinks() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (600, 3))
    assert through(noise, min_cutoff_hz=0.3)[100:].std() < 0.3


def test_a_quick_move_is_followed_with_beta_and_lags_without() -> None:
    ramp = np.linspace(0, 60, 60)[:, None]  # 30 units a second
    assert 60 - through(ramp, beta=0.0)[-1, 0] > 4
    assert 60 - through(ramp, beta=1.0)[-1, 0] < 0.5


def test_the_scale_makes_beta_independent_of_the_size() -> None:
    near = np.random.default_rng(1).normal(0, 1, (50, 2))
    np.testing.assert_allclose(
        through(near * 8, beta=2.0, scale=1 / 8), through(near, beta=2.0) * 8)


def test_time_is_the_images() -> None:
    """A step, seen at 5 and at 50 images a second: the same answer a second later."""
    slow = through(np.r_[np.zeros(5), np.ones(10)][:, None], rate_hz=5)[9, 0]
    quick = through(np.r_[np.zeros(50), np.ones(100)][:, None], rate_hz=50)[99, 0]
    assert slow == pytest.approx(quick, abs=0.02)


def test_nan_stays_nan_and_the_value_begins_again_after_it() -> None:
    smooth = through(np.array([[0.0, 5], [np.nan, 5], [10.0, 5], [10.0, 5]]), beta=0.1)
    assert np.isnan(smooth[1, 0])
    assert smooth[2:, 0].tolist() == [10, 10]
    assert smooth[:, 1].tolist() == [5, 5, 5, 5]


def test_a_late_image_changes_nothing_and_a_jump_begins_again() -> None:
    smooth = OneEuroFilter(min_cutoff_hz=0.5, beta=0.0)
    smooth.update(10 * SECOND_NS, np.array([1.0]))
    later = smooth.update(11 * SECOND_NS, np.array([2.0]))
    assert 1 < later[0] < 2
    assert smooth.update(11 * SECOND_NS - 1, np.array([50.0])) == later
    assert smooth.update(SECOND_NS, np.array([7.0])) == [7]


def test_values_stay_the_callers() -> None:
    smooth = OneEuroFilter(min_cutoff_hz=0.5, beta=0.0)
    given = np.array([1.0])
    smooth.update(0, given)[0] = 9
    given[0] = 5
    assert smooth.update(SECOND_NS // 30, np.array([1.0])) == pytest.approx([1.0])
