# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The EAR of a person's open eyes, with which every other EAR is compared."""

from __future__ import annotations

from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.quantile import QuantileWindow

EVERY_NS = 100_000_000
"""Open lids say no more at a higher rate; keeps the window small."""
STEP = 0.005
"""Resolution of the EAR, a tenth of what a blink changes."""
BREAK_NS = 250_000_000
"""Eyes below the floor for longer, more than a blink, end a stretch of open eyes."""
STRETCH_NS = 700_000_000
"""Until a baseline is learned, shorter stretches do not count: lids that are narrow most of the
time, over a phone, must not become somebody's open eyes by glances up. Stretches add up: somebody
who keeps dozing off has no long one."""
RELEARN_SHARE = 0.1
"""With fewer readings of a window than this accepted as open, the baseline must be wrong."""


class Baseline:
    """
    EAR of one person's open eyes.

    Only readings above a share of the baseline are learned from, so it stays where it is while the
    eyes are shut or narrowed. Should it have been learned from something else (a startled look, the
    person before), hardly any reading passes: then it is learned again from all readings above the
    floor.

    :param options: the thresholds
    :param start: EAR to start from instead of the prior
    """

    def __init__(self, options: FatigueOptions, start: float = 0.0) -> None:
        self._options = options
        self._started = start > 0
        self._pinned = False
        self._warm = False
        self.value = start if start > 0 else options.ear_prior
        self._begin()

    def configure(self, options: FatigueOptions) -> None:
        """Take other thresholds; the learned baseline stays."""
        self._options = options
        if not self.learned:
            self.value = options.ear_prior
        self._begin()

    def _begin(self) -> None:
        window_ns = int(self._options.baseline_window_s * 1e9)
        self._open = QuantileWindow(0.0, 0.8, STEP, window_ns, EVERY_NS)
        self._all = QuantileWindow(0.0, 0.8, STEP, window_ns, EVERY_NS)
        self._accepted = 0
        self._offered = 0
        self._due_ns = self._open_ns = self._stretch_ns = -(1 << 62)
        self._before_ns = 0

    @property
    def learned(self) -> bool:
        """It is the person's own, not the prior."""
        return self._warm or self._pinned or self._started

    @property
    def pinned(self) -> bool:
        """It was set by :meth:`pin` and stays."""
        return self._pinned

    def add(self, time_ns: int, ear: float) -> None:
        """Learn from a usable reading; times must not fall."""
        if self._pinned or time_ns < self._due_ns:
            return
        self._due_ns = time_ns + EVERY_NS
        options = self._options
        if ear < options.baseline_floor:
            return
        known = self._warm or self._started
        opened_s = 0.0 if known else self._opened_s(time_ns)
        self._all.add(time_ns, ear)
        self._offered += 1
        if not known or ear > options.baseline_open_share * self.value:
            self._accepted += 1
            self._open.add(time_ns, ear)
            if self._warm or opened_s >= options.baseline_warm_up_s:
                self._warm = True
                self.value = self._open.quantile(options.baseline_quantile)
        if self._all.span_s >= 0.9 * options.baseline_window_s and self._offered >= len(self._all):
            if self._accepted < RELEARN_SHARE * self._offered:
                self._open.clear()
                self.value = self._all.quantile(options.baseline_quantile)
            self._offered = self._accepted = 0

    def _opened_s(self, time_ns: int) -> float:
        """Return how long the eyes have been open so far, at a reading above the floor."""
        if time_ns - self._open_ns > BREAK_NS:
            lasted = self._open_ns - self._stretch_ns
            self._before_ns += lasted if lasted >= STRETCH_NS else 0
            self._stretch_ns = time_ns
        self._open_ns = time_ns
        lasted = time_ns - self._stretch_ns
        return (self._before_ns + (lasted if lasted >= STRETCH_NS else 0)) * 1e-9

    def pin(self) -> float | None:
        """
        Keep the present baseline from now on.

        :return: it, or None where too little was seen of the person to know it
        """
        options = self._options
        if not self.learned:
            if self._all.span_s < options.baseline_warm_up_s:
                return None
            self.value = self._all.quantile(options.baseline_quantile)
        self._pinned = True
        return self.value
