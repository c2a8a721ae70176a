# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Valence and arousal of a word, for models that give only the word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aitable_ros.types import Expression

CIRCUMPLEX = {
    Expression.NEUTRAL: (0.0, 0.0),
    Expression.HAPPY: (0.81, 0.51),
    Expression.SAD: (-0.63, -0.27),
    Expression.SURPRISE: (0.40, 0.67),
    Expression.FEAR: (-0.64, 0.60),
    Expression.DISGUST: (-0.60, 0.35),
    Expression.ANGER: (-0.51, 0.59),
}
"""
Valence and arousal of the seven words: mean pleasure and arousal ratings in Russell & Mehrabian,
"Evidence for a three-factor theory of emotions", J. Research in Personality 11 (1977), the figures
behind Russell's circumplex (1980). Neutral is the origin.
"""
_TABLE = np.array([CIRCUMPLEX.get(Expression(index), (0.0, 0.0)) for index in range(8)], np.float32)


def affect(probabilities: NDArray[np.float32]) -> tuple[float, float]:
    """
    Return the expectation of :data:`CIRCUMPLEX`: valence and arousal, each -1 ... 1.

    :param probabilities: ``(8,)`` in the order of :class:`Expression`; contempt counts as neutral,
        as Russell & Mehrabian do not rate the word
    """
    valence, arousal = probabilities @ _TABLE
    return float(valence), float(arousal)
