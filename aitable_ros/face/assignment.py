# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The pairs of least total cost.

Shortest augmenting paths with potentials (Jonker & Volgenant 1987; Crouse 2016, section II). Our
own, because the one use of SciPy would cost every process 0.5 s and 48 MB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cheapest_pairs(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """
    Give each row a column of its own, or each column a row where there are fewer of them.

    :param cost: ``(n, m)`` float64, finite
    :return: ``min(n, m)`` pairs of row and column, by row
    """
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in cheapest_pairs(cost.T))
    rows, columns = cost.shape
    row_value, column_value = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    column_of = np.full(rows, -1)
    for row in range(rows):
        length = np.full(columns, np.inf)
        before = np.full(columns, -1)
        done = np.zeros(columns, bool)
        at, reach = row, 0.0
        while True:
            # One more column on the cheapest path from this row to a column that is free.
            reduced = reach + cost[at] - row_value[at] - column_value
            shorter = ~done & (reduced < length)
            length[shorter], before[shorter] = reduced[shorter], at
            column = int(np.where(done, np.inf, length).argmin())
            reach = length[column]
            if row_of[column] < 0:
                break
            done[column] = True
            at = row_of[column]
        row_value[row] += reach
        row_value[row_of[done]] += reach - length[done]
        column_value[done] -= reach - length[done]
        while column >= 0:
            at = before[column]
            row_of[column] = at
            column, column_of[at] = column_of[at], column
    return [(row, int(column)) for row, column in enumerate(column_of)]
