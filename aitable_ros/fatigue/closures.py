# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
When the eyes are closed, and when lowered lids are only a look down.

On an image, lids over a phone and lids in sleep look the same, down to the EAR. What differs is the
head: who looks down moves it with the lids; who dozes off closes the eyes first. So lids that fall
together with the head, or while it is already well below its usual pitch, are not taken for a
closure, and neither are lids of somebody whose open eyes are not known. That time is unusable, not
closed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
import math

from aitable_ros.clock import Interval
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.quantile import QuantileWindow

FALLING_GAPS = 2
"""A closure that is not yet confirmed outlives a gap of so many times the usual one (a second image
dropped in a row at 10 a second), not more: two blinks are not to become one closure."""
DEEP_SHARE = 5 / 6
"""Of ``closed_enter``: lids that stay above are narrowed, not closed, unless it is a blink."""
LINGER_NS = 200_000_000
"""Lids above that for longer are not closed any more: the band up to ``closed_exit`` is there for
noise, not for half open eyes."""
ARRIVAL_NS = 2_000_000_000
"""Eyes of somebody whose open eyes are not known are closed once they are shut for so long."""
ARRIVAL_OPENNESS = 0.14
"""Those eyes are shut below this openness by the prior, an EAR of 0.075: shut eyes measured 0.03 to
0.06, the narrowest open ones (a squint) 0.11."""
ARRIVAL_PITCH = 0.1
"""Greatest pitch, up or down, at which those eyes are judged, radians: eyes lowered to a phone or a
table measure 0.05 to 0.11, at a pitch of 0.14 to 0.46."""
PITCH_TRACK_S = 0.3
"""Time constant of the head's pitch just before the lids fell."""
PITCH_WINDOW_NS = 30_000_000_000
PITCH_EVERY_NS = 200_000_000
PITCH_STEP = 0.02


class Lids(Enum):
    """State of the lids."""

    UNKNOWN = 'low, and the open eyes of the person are not known yet'
    OPEN = 'open'
    FALLING = 'closed, and not yet known whether it is a look down'
    CLOSED = 'closed'
    DOWN = 'lowered to look down'


@dataclass(frozen=True, slots=True)
class Closure(Interval):
    """
    A closure that is over.

    :param confirmed: no look down, and more than narrowed lids; a blink is never confirmed
    """

    confirmed: bool


class ClosureTracker:
    """
    Follows one person's lids through usable readings.

    :param options: the thresholds
    :param credit: called with ``(start_ns, end_ns, closed)`` for every piece of usable time, once
        it is known what it was
    """

    def __init__(
        self, options: FatigueOptions, credit: Callable[[int, int, bool], None],
    ) -> None:
        self._options = options
        self._credit = credit
        self._max_gap = int(options.max_gap_s * 1e9)
        self._bridge = int(options.bridge_s * 1e9)
        self._deep = DEEP_SHARE * options.closed_enter
        self._confirm = int(options.gaze_window_s * 1e9)
        self._longest_blink = int(options.blink_max_s * 1e9)
        self._excluded = int(options.exclude_below_s * 1e9) if options.exclude_blinks else 0
        self._usual_pitch = QuantileWindow(
            -1.6, 1.6, PITCH_STEP, PITCH_WINDOW_NS, PITCH_EVERY_NS)
        self._usual = 0.0
        self._usual_due = 0
        self._pitch = 0.0
        self._pitch_known = False
        self._was_low = False
        self._down_ns = -(1 << 62)
        self._credited = 0
        self._half_ns: int | None = None
        self._deep_ns: int | None = None
        self._shut_ns: int | None = None
        self._last_ns = -(1 << 62)
        self._last = 0.0
        self.lids = Lids.UNKNOWN
        self.start_ns = 0

    @property
    def closed(self) -> bool:
        """The eyes are closed, as far as is known."""
        return self.lids is Lids.CLOSED or self.lids is Lids.FALLING

    @property
    def confirmed(self) -> bool:
        """They are closed, and it is no look down."""
        return self.lids is Lids.CLOSED

    def add(
        self, time_ns: int, openness: float, pitch: float, known: bool = True,
    ) -> Closure | None:
        """
        Take in a usable reading; times must rise.

        :param openness: 0 shut ... 1 open; below ``closed_enter`` the eyes are closed
        :param pitch: of the head; NaN where unknown, which never makes a look down
        :param known: the openness is by the person's own baseline; before, lids are closed only on
            the evidence of :data:`ARRIVAL_NS`, :data:`ARRIVAL_OPENNESS` and :data:`ARRIVAL_PITCH`
        :return: a closure that is over with it
        """
        if not -math.pi <= pitch <= math.pi:
            pitch = self._pitch
        seen = time_ns - self._last_ns <= self._max_gap
        over = None if seen else self.expire(time_ns)
        if self.closed:
            over = self._while_closed(time_ns, openness, pitch, seen)
        elif self.lids in (Lids.UNKNOWN, Lids.DOWN) and openness > self._options.closed_exit:
            over = self._reopen(time_ns, openness, pitch, seen)
        elif self.lids is Lids.UNKNOWN and not known:
            self._wait_for_evidence(time_ns, openness, pitch, seen)
        else:
            self._begin(time_ns, openness, pitch, seen, known)
        self._last_ns, self._last = time_ns, openness
        return over

    def expire(self, time_ns: int) -> Closure | None:
        """
        Let time pass without a usable reading.

        :return: a closure whose end cannot be seen any more; it ended with the last reading
        """
        if not self.closed:
            return None
        unseen = time_ns - self._last_ns
        if unseen <= (self._bridge if self.lids is Lids.CLOSED else FALLING_GAPS * self._max_gap):
            return None
        return self._end(self._last_ns)

    def _begin(
        self, time_ns: int, openness: float, pitch: float, seen: bool, known: bool,
    ) -> None:
        """Take in a reading while the eyes are not closed."""
        options = self._options
        if openness < options.closed_enter:
            if self.lids is Lids.OPEN:
                start = time_ns
                if seen:
                    start = self._crossing(time_ns, openness, options.closed_enter)
                    self._credit(self._last_ns, start, False)
                self.start_ns = self._credited = start
                if not known:
                    self.lids, self._shut_ns = Lids.UNKNOWN, None
                    self._wait_for_evidence(time_ns, openness, pitch, True)
                    return
                half = openness > self._deep
                self._half_ns, self._deep_ns = (start, None) if half else (None, start)
                self.lids = Lids.FALLING
                self._was_low = self._pitch - self._usual > options.gaze_down or (
                    self._just_down(time_ns)
                    and pitch - self._pitch >= options.gaze_pitch / 2)
                return
            if self.lids is Lids.DOWN and pitch - self._pitch < options.gaze_pitch / 2 \
                    and not self._was_low:
                # The head is back up and the lids are not: they are closed after all.
                self.start_ns = self._credited = time_ns
                self._half_ns = None
                self.lids = Lids.CLOSED
            return
        if openness > options.closed_exit:
            if self.lids is Lids.OPEN and seen:
                self._credit(self._last_ns, time_ns, False)
            self.lids = Lids.OPEN
            self._follow_pitch(time_ns, pitch, seen)
        elif self.lids is Lids.OPEN:
            if seen:
                self._credit(self._last_ns, time_ns, False)
            self._follow_pitch(time_ns, pitch, seen)

    def _reopen(
        self, time_ns: int, openness: float, pitch: float, seen: bool,
    ) -> Closure | None:
        """
        Open lids that were not taken for closed.

        A short time was a blink if the head is back where it was; any other stays unusable.
        """
        options = self._options
        end = self._crossing(time_ns, openness, options.closed_exit)
        blink = seen and end - self.start_ns <= self._longest_blink
        if self.lids is Lids.DOWN:
            blink = blink and abs(pitch - self._pitch) <= options.gaze_pitch
            self._down_ns = time_ns
        self.lids = Lids.OPEN
        self._follow_pitch(time_ns, pitch, seen)
        if not blink:
            return None
        self._credit(self.start_ns, end, end - self.start_ns >= self._excluded)
        self._credit(end, time_ns, False)
        return Closure(self.start_ns, end, False)

    def _wait_for_evidence(
        self, time_ns: int, openness: float, pitch: float, seen: bool,
    ) -> None:
        """Close low lids of somebody unknown once they must be shut: they may be narrow eyes."""
        if not (openness <= ARRIVAL_OPENNESS and abs(pitch) <= ARRIVAL_PITCH):
            self._shut_ns = None
        elif self._shut_ns is None or not seen:
            self._shut_ns = time_ns
        elif time_ns - self._shut_ns >= ARRIVAL_NS:
            self.start_ns, self._half_ns, self.lids = self._shut_ns, None, Lids.CLOSED
            self._credit(self.start_ns, time_ns, True)
            self._credited = time_ns

    def _while_closed(
        self, time_ns: int, openness: float, pitch: float, seen: bool,
    ) -> Closure | None:
        options = self._options
        if openness <= self._deep:
            self._half_ns = None
        elif self._half_ns is None:
            self._half_ns = time_ns
        narrowed = self._half_ns is not None and time_ns - self._half_ns > LINGER_NS
        end = None
        if openness > options.closed_exit:
            end = self._crossing(time_ns, openness, options.closed_exit) if seen else self._last_ns
        elif narrowed and (self.confirmed or openness > options.closed_enter):
            end = self._half_ns
        if end is not None:
            closure = self._end(end)
            self._follow_pitch(time_ns, pitch, seen)
            if seen:
                self._credit(end, time_ns, False)
            return closure
        if not seen:
            self._credit(self._credited, self._last_ns, True)
            self._credited = time_ns
        if self.lids is Lids.FALLING:
            # Also with the first reading after that time: at a low rate it is the only one.
            if pitch - self._pitch > options.gaze_pitch:
                self.lids = Lids.DOWN
                return None
            if narrowed:
                self._deep_ns = None
            elif self._deep_ns is None and openness <= self._deep:
                self._deep_ns = self._crossing(time_ns, openness, self._deep) if seen else time_ns
            if self._deep_ns is not None and time_ns - self._deep_ns > self._confirm:
                self.lids = Lids.DOWN if self._was_low else Lids.CLOSED
                if self.lids is Lids.CLOSED:
                    self._credit(self._credited, time_ns, True)
                    self._credited = time_ns
            return None
        if self._half_ns is None:
            self._credit(self._credited, time_ns, True)
            self._credited = time_ns
        return None

    def _end(self, end_ns: int) -> Closure:
        """End the closure and count what of it has not been counted yet."""
        confirmed, lasted = self.confirmed, end_ns - self.start_ns
        if not confirmed or end_ns > self._credited:
            self._credit(
                self._credited, end_ns,
                self._excluded <= lasted and (confirmed or lasted <= self._longest_blink))
        self.lids = Lids.OPEN
        return Closure(self.start_ns, end_ns, confirmed)

    def _follow_pitch(self, time_ns: int, pitch: float, seen: bool) -> None:
        """Learn where the head usually is, and where it is just now, from open eyes."""
        if self._just_down(time_ns):
            return
        if not seen or not self._pitch_known:
            self._pitch, self._pitch_known = pitch, True
        else:
            share = (time_ns - self._last_ns) * 1e-9 / PITCH_TRACK_S
            self._pitch += (pitch - self._pitch) * (share if share < 1 else 1.0)
        if time_ns >= self._usual_due:
            self._usual_pitch.add(time_ns, pitch)
            self._usual = self._usual_pitch.quantile(0.5)
            self._usual_due = time_ns + PITCH_EVERY_NS

    def _just_down(self, time_ns: int) -> bool:
        """Whether eyes that looked down came up only now: a glance up, or the way back to it."""
        return time_ns - self._down_ns < self._confirm

    def _crossing(self, time_ns: int, openness: float, level: float) -> int:
        """Return when the line from the last reading to this one crosses a level."""
        last = self._last
        if (last - level) * (openness - level) >= 0:
            return self._last_ns
        share = (level - last) / (openness - last)
        return self._last_ns + int((time_ns - self._last_ns) * share)
