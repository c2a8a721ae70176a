# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A person's own resting face, so that it reads as neutral.

Resting faces differ: a heavy brow reads as anger, lowered corners of the mouth as sadness. From a
reading of the resting face each word that rivals neutral there is made rarer, for this person; what
the resting face does not look like is read as before.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.reading import FLOOR, Reading
from aitable_ros.errors import InputError
from aitable_ros.types import Expression

LEAD = 4.0
"""A resting face then reads as neutral, this many times likelier than any other word."""
MOST = 20.0
"""A word is made rarer by this factor at most: the person may come to feel what the face shows."""
NOT_RESTING = (Expression.HAPPY, Expression.SURPRISE)
"""Words that no resting face gets, so that calibrating on them is a mistake."""


@dataclass(frozen=True, slots=True, eq=False)
class RestingFace:
    """
    The correction of a person's readings by the person's resting face.

    :param factors: ``(8,)`` for the probabilities, 1 or less
    :param valence: of the resting face, to be taken off
    :param arousal: the same
    """

    factors: NDArray[np.float32]
    valence: float
    arousal: float

    @classmethod
    def of(cls, reading: Reading) -> RestingFace:
        """
        Make it of a reading of the resting face.

        :raises InputError: the face laughs or is surprised
        """
        word, probabilities = reading.expression, reading.probabilities + FLOOR
        if word in NOT_RESTING:
            raise InputError(f'the face is read as {word.name.lower()} '
                             f'({reading.probabilities[word]:.2f}), which is not at rest')
        factors = probabilities[Expression.NEUTRAL] / (LEAD * probabilities)
        factors[Expression.NEUTRAL] = 1
        return cls(np.clip(factors, 1 / MOST, 1).astype(np.float32), reading.valence,
                   reading.arousal)

    def applied(self, reading: Reading) -> Reading:
        """Return a reading of the same person as seen from the resting face."""
        probabilities = reading.probabilities * self.factors
        return Reading(
            probabilities / probabilities.sum(), _within(reading.valence - self.valence),
            _within(reading.arousal - self.arousal), reading.doubt)


def _within(value: float) -> float:
    return math.copysign(min(abs(value), 1.0), value)
