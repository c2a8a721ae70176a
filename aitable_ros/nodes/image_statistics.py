# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The figures of a node in /diagnostics: rates, latencies and counts, thread-safe."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import ImageTime

WINDOW_S = 5.0
"""Rates and percentiles are of the last five seconds: 35 images at 7 fps, and changes show."""
MAX_SAMPLES = 1000
"""Of one window: 200 fps."""
PLAUSIBLE_LATENCY_S = 60.0
"""Beyond it the image's stamp is of another clock (a bag played without ``use_sim_time``)."""


@dataclass(frozen=True, slots=True)
class ImageFigures:
    """
    The figures of one moment; NaN where nothing was measured.

    :param latency_ms: p50 and p95, from the image's arrival in this process to publication
    :param stamp_latency_ms: p50 and p95, from the image's stamp to publication
    """

    fps: float
    latency_ms: tuple[float, float]
    stamp_latency_ms: tuple[float, float]
    answered: int
    failed: int
    malformed: dict[str, int]
    late: int = 0
    """Answered images that were not stamped later than the newest: nothing was measured in them."""
    bad_recently: int = 0
    """Malformed ones in the last seconds."""


class Statistics:
    """Counts from configure on, and a window over the last seconds."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=MAX_SAMPLES)
        self._malformed: Counter[str] = Counter()
        self._bad_s: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._answered = 0
        self._failed = 0
        self._time = ImageTime()

    def answered(
        self, now_s: float, stamp_ns: int, latency_s: float, stamp_latency_s: float,
    ) -> None:
        """
        Count an image that led to a publication.

        :param now_s: steady clock
        :param stamp_ns: of the image
        """
        if not 0 <= stamp_latency_s < PLAUSIBLE_LATENCY_S:
            stamp_latency_s = float('nan')
        with self._lock:
            self._answered += 1
            self._time.step(stamp_ns)
            self._samples.append((now_s, latency_s, stamp_latency_s))

    def malformed(self, now_s: float, cause: str) -> None:
        """
        Count an image that could not be used.

        :param now_s: steady clock
        """
        with self._lock:
            self._malformed[cause] += 1
            self._bad_s.append(now_s)

    def failed(self) -> None:
        """Count an image on which the stage failed."""
        with self._lock:
            self._failed += 1

    def snapshot(self, now_s: float) -> ImageFigures:
        """Return the figures as of ``now_s``, steady clock."""
        with self._lock:
            recent = [sample for sample in self._samples if now_s - sample[0] <= WINDOW_S]
            malformed = dict(self._malformed)
            answered, failed, late = self._answered, self._failed, self._time.late
            bad_recently = sum(now_s - bad_s <= WINDOW_S for bad_s in self._bad_s)
        columns = np.array(recent, float).reshape(-1, 3)
        span = float(columns[-1, 0] - columns[0, 0]) if len(columns) > 1 else 0.0
        return ImageFigures(
            fps=(len(columns) - 1) / span if span > 0 else 0.0,
            latency_ms=_percentiles(columns[:, 1]),
            stamp_latency_ms=_percentiles(columns[:, 2]),
            answered=answered, failed=failed, malformed=malformed, late=late,
            bad_recently=bad_recently)


def _percentiles(seconds: NDArray[np.floating[Any]]) -> tuple[float, float]:
    known = seconds[~np.isnan(seconds)]
    if not known.size:
        return float('nan'), float('nan')
    median, high = np.percentile(known, (50, 95)) * 1e3
    return float(median), float(high)
