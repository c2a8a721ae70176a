# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The pairs of least total cost: no other choice of pairs is cheaper."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from aitable_ros.face.assignment import cheapest_pairs


def least(cost: np.ndarray) -> float:
    """Try every choice."""
    if cost.shape[0] > cost.shape[1]:
        cost = cost.T
    rows = range(len(cost))
    return min(
        cost[rows, list(chosen)].sum() for chosen in permutations(range(cost.shape[1]), len(cost)))


@pytest.mark.parametrize('shape', [(1, 1), (1, 5), (5, 1), (2, 2), (3, 6), (6, 3), (6, 6)])
def test_no_choice_is_cheaper(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0] * 10 + shape[1])
    for trial in range(60):
        cost = rng.integers(0, 4, shape).astype(float) if trial % 2 else rng.normal(size=shape)
        pairs = cheapest_pairs(cost)
        rows, columns = zip(*pairs)
        assert list(rows) == sorted(set(rows))
        assert len(set(columns)) == len(pairs) == min(shape)
        assert cost[rows, columns].sum() == pytest.approx(least(cost))


@pytest.mark.parametrize('shape', [(0, 3), (3, 0), (0, 0)])
def test_nothing_pairs_with_nothing(shape: tuple[int, int]) -> None:
    assert cheapest_pairs(np.zeros(shape)) == []
