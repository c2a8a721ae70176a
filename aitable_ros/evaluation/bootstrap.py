# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The bootstrap over people that every interval of a pooled score rests on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REPLICATES = 4000
"""Of the bootstrap: the ends of a 95 % interval then rest on 100 replicates each."""
SEED = 0
LEVEL = 0.95
LEAST = 3
"""From fewer people no interval is given: a resample of two has three outcomes."""


def weights(people: int) -> Floats | None:
    """
    Draw the bootstrap: how often each of the people is in each replicate.

    The same for the same number of people, so that two runs, or two values, are compared on the
    same resamples (paired).

    :return: ``(replicates, people)``; None for fewer than :data:`LEAST`
    """
    if people < LEAST:
        return None
    drawn = np.random.default_rng(SEED).multinomial(people, [1 / people] * people, REPLICATES)
    return drawn.astype(np.float64)


def interval(values: Floats) -> list[float] | None:
    """Return the percentile interval of replicates; None where too few are defined."""
    known = values[np.isfinite(values)]
    if known.size < 0.9 * values.size:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
