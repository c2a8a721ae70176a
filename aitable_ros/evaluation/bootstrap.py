# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The bootstrap over people, from which all intervals of pooled scores are taken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REPLICATES = 4000
"""Number of replicates: 100 lie beyond each end of a 95 % interval."""
SEED = 0
LEVEL = 0.95
LEAST = 3
"""Fewest people for an interval: resamples of two people have three outcomes."""


def weights(people: int) -> Floats | None:
    """
    Draw how often each person is in each replicate.

    The draw depends on the number of people alone, so that two runs are compared on the same
    resamples (paired).

    :return: ``(replicates, people)``; None for fewer than :data:`LEAST` people
    """
    if people < LEAST:
        return None
    drawn = np.random.default_rng(SEED).multinomial(people, [1 / people] * people, REPLICATES)
    return drawn.astype(np.float64)


def interval(values: Floats) -> list[float] | None:
    """Return the percentile interval of replicates; None if over 10 % are not finite."""
    known = values[np.isfinite(values)]
    if known.size < 0.9 * values.size:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
