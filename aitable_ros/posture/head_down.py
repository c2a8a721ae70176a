# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Whether the head is down, and whether it sank there while the body stayed.

Only what is seen counts: somebody who leaves, turns away, bends out of the image to a side or
covers the face has no head that went down.
"""

from __future__ import annotations

from collections import deque
import math

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.sighting import Sighting
from aitable_ros.posture_types import NAN

UP_HEIGHT = 0.55
"""Height of the head over the shoulders of somebody whose own is not known, in widths of the
shoulders: 27 people who sit upright measured 0.42 to 0.77."""
UP = 0.5
"""A head is up while it has gone less than this share of its way down."""
SUNK, SINKING, SINKING_NS = 0.5, 0.2, SECOND_NS
"""A head sank out of sight if it was last seen at least ``SUNK`` of its way down, and went
``SINKING`` of that way within ``SINKING_NS``. A head that rests is covered by something."""
ASIDE = 0.5
"""Nor may it have been further to a side than this, in widths of the shoulders: at their ends."""
STRAIGHT = 0.785
"""Greatest tilt of the shoulders, 45 degrees: beyond, a body lies or bends to a side."""
FALL = 0.2
"""A head that sank is lower in the image by at least this, in widths of the shoulders. If it is
not, the shoulders rose."""
LEAST_WAY = 0.2
"""Least height of a head that is up over one that is down, in widths of the shoulders."""
SINK_NS = 3 * SECOND_NS
"""A head was seen to sink if no more time lay between the last image with it not down and the
first with it down."""


class HeadWatch:
    """
    Follows the head of one person.

    :param options: the thresholds
    """

    def __init__(self, options: PostureOptions) -> None:
        self._options = options
        self._last_ns = self._not_down_ns = -(1 << 62)
        self._up_s = 0.0
        self._up_y = NAN
        self._was_up = False
        self._seen: deque[tuple[int, float]] = deque()
        self._y = NAN
        self._aside = True
        self._hidden = False
        self._down = False
        self._risen_ns: int | None = None
        self.sank = False

    def configure(self, options: PostureOptions) -> None:
        """Take other thresholds."""
        self._options = options

    def add(self, time_ns: int, sighting: Sighting, up_height: float = NAN) -> float:
        """
        Take in a reading; times must rise.

        :param up_height: of this person's head upright; NaN: not known
        :return: how far the head is down: 0 upright, 1 at ``head_down_height`` or under; NaN: not
            known. ``sank`` then says whether it was seen to sink
        """
        if not abs(sighting.angles.shoulder_tilt) <= STRAIGHT or math.isnan(sighting.width):
            return NAN
        if sighting.head_seen:
            self._hidden = False
            lowered = self._see(time_ns, sighting, up_height)
        else:
            self._hidden = self._hidden or (
                self._sinking and not self._aside
                and time_ns - self._last_ns <= self._options.max_gap_s * SECOND_NS)
            lowered = 1.0 if self._hidden else NAN
        if lowered >= 1:
            if not self._down:
                self._down = True
                self.sank = time_ns - self._not_down_ns <= SINK_NS \
                    and self._up_s >= self._options.dwell_s \
                    and self._y - self._up_y >= FALL * sighting.width
            self._risen_ns = None
        elif lowered < self._options.leave_share:
            # One wrong reading must not end what the state keeper holds.
            if self._risen_ns is None:
                self._risen_ns = time_ns
            if time_ns - self._risen_ns >= self._options.dwell_s * SECOND_NS:
                self._down = self.sank = False
        return lowered

    @property
    def _sinking(self) -> bool:
        """The head was low when it was last seen, and on its way down."""
        lowered = [one for _, one in self._seen]
        return bool(lowered) and lowered[-1] >= max(SUNK, min(lowered) + SINKING)

    def _see(self, time_ns: int, sighting: Sighting, up_height: float) -> float:
        low = self._options.head_down_height
        up = UP_HEIGHT if math.isnan(up_height) else up_height
        lowered = (up - sighting.head_height) / max(up - low, LEAST_WAY)
        if lowered < UP:
            step_s = (time_ns - self._last_ns) / SECOND_NS
            if self._was_up and step_s <= self._options.max_gap_s:
                self._up_s += step_s
                self._up_y = sighting.head[1]
        if lowered < 1:
            self._not_down_ns = time_ns
        self._was_up = lowered < UP
        self._seen.append((time_ns, lowered))
        while self._seen[0][0] < time_ns - SINKING_NS:
            self._seen.popleft()
        self._last_ns, self._y = time_ns, sighting.head[1]
        self._aside = sighting.head_aside > ASIDE
        return lowered
