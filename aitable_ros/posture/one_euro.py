# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The One-Euro filter: a low pass that follows fast changes and calms slow ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import ImageTime, SECOND_NS, Step

SPEED_CUTOFF_HZ = 1.0
"""Cutoff frequency of the speed itself, as in the authors' code."""


class OneEuroFilter:
    """
    Smooths an array of values in image time, each value by itself.

    G. Casiez, N. Roussel, D. Vogel: "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy
    Input in Interactive Systems", CHI 2012. The speed is taken between values before the filter,
    as in the authors' C++ code and in MediaPipe. A NaN stays NaN, and its value begins again after
    it: nothing is guessed.

    :param min_cutoff_hz: cutoff frequency of a value that rests; lower calms more
    :param beta: growth of the cutoff with the speed, Hz for each unit per second; higher lags less
    """

    def __init__(self, *, min_cutoff_hz: float, beta: float) -> None:
        self._min_cutoff_hz, self._beta = min_cutoff_hz, beta
        self._time = ImageTime()
        self._raw: NDArray[np.float64] = np.empty(0)
        self._smooth: NDArray[np.float64] = self._raw
        self._speed: NDArray[np.float64] = self._raw

    def update(
        self, stamp_ns: int, values: NDArray[np.floating], scale: float = 1.0,
    ) -> NDArray[np.float64]:
        """
        Take the values of an image, and return them smoothed.

        A late image changes nothing; after a jump of the clock the filter begins again.

        :param values: of the same shape each time
        :param scale: multiplies the speed only: 1 over the size of a body makes ``beta``
            independent of the distance
        """
        before_ns = self._time.newest_ns
        new: NDArray[np.float64] = np.array(values, np.float64)
        step = self._time.step(stamp_ns)
        if step is Step.LATE:
            return self._smooth.copy()
        if before_ns is None or step is Step.JUMP or new.shape != self._raw.shape:
            self._raw, self._smooth, self._speed = new, new, np.zeros(new.shape)
            return new.copy()
        interval_s = (stamp_ns - before_ns) / SECOND_NS
        known = np.isfinite(self._smooth)
        speed = np.where(known, (new - self._raw) * scale / interval_s, 0.0)
        share = _share(SPEED_CUTOFF_HZ, interval_s)
        held = np.where(np.isfinite(self._speed), self._speed, 0.0)
        self._speed = np.where(known, share * speed + (1 - share) * held, 0.0)
        share = _share(self._min_cutoff_hz + self._beta * np.abs(self._speed), interval_s)
        self._smooth = np.where(known, share * new + (1 - share) * self._smooth, new)
        self._raw = new
        return self._smooth.copy()


def _share(cutoff_hz: float | NDArray[np.float64], interval_s: float) -> NDArray[np.float64]:
    """Return the share of the new value in a low pass, 0 ... 1."""
    return np.asarray(1 / (1 + 1 / (2 * math.pi * cutoff_hz * interval_s)), np.float64)
