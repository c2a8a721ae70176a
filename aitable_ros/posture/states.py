# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From the figures to a state, which changes only after another posture has lasted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.baseline import faces_camera, Upright
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.sighting import Sighting
from aitable_ros.posture_types import NAN, PostureState

STATES = len(PostureState)

ORDER = (
    PostureState.HEAD_DOWN, PostureState.LEANING_FORWARD, PostureState.LEANING_RIGHT,
    PostureState.LEANING_LEFT, PostureState.LEANING_BACK, PostureState.SLOUCHED)
"""Where several postures are met at once, the first of these is the state."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """
    How one reading differs from the same person upright; NaN where that is not known.

    :param drop: missing share of the ears' height
    :param growth: of the shoulders' width
    :param forward: lean of the trunk, radians
    :param right: lean of the trunk or tilt of the shoulders, the larger one, radians
    :param flexion: of the neck beyond the lean of the trunk, radians
    """

    drop: float = NAN
    growth: float = NAN
    forward: float = NAN
    right: float = NAN
    flexion: float = NAN


def compare(sighting: Sighting, upright: Upright) -> Deviation:
    """Compare a reading with the same person upright."""
    angles = sighting.angles
    forward = angles.forward_lean - upright.forward_lean
    # A nearer shoulder looks lower: the tilt of somebody who turns is none.
    tilt = angles.shoulder_tilt - upright.shoulder_tilt \
        if faces_camera(sighting, upright) else NAN
    sides = [side for side in (angles.lateral_lean - upright.lateral_lean, tilt)
             if not math.isnan(side)]
    return Deviation(
        1 - angles.ear_height / upright.ear_height, sighting.width / upright.width - 1, forward,
        max(sides, key=abs, default=NAN),
        angles.neck_flexion - upright.neck_flexion - (0.0 if math.isnan(forward) else forward))


def evidence(deviation: Deviation, head_down: float, options: PostureOptions) -> list[float]:
    """
    Return how far each posture is met, by state: 1 is its threshold; NaN is not known.

    :param head_down: that of HEAD_DOWN
    """
    met = [NAN] * STATES
    met[PostureState.HEAD_DOWN] = head_down
    met[PostureState.LEANING_RIGHT] = deviation.right / options.lean_side
    met[PostureState.LEANING_LEFT] = -deviation.right / options.lean_side
    if math.isnan(deviation.forward):
        nearer = deviation.growth / options.lean_growth
        lower = deviation.drop / options.lean_drop if options.lean_drop else 1.0
        met[PostureState.LEANING_FORWARD] = min(nearer, lower)
    else:
        met[PostureState.LEANING_FORWARD] = deviation.forward / options.lean_forward
        met[PostureState.LEANING_BACK] = -deviation.forward / options.lean_back
    met[PostureState.SLOUCHED] = max(
        (share for share in (deviation.drop / options.slouch_drop,
                             deviation.flexion / options.slouch_flexion)
         if not math.isnan(share)), default=NAN)
    if not math.isnan(deviation.drop):
        met[PostureState.UPRIGHT] = 1.0
    return met


@dataclass(frozen=True, slots=True)
class Change:
    """
    The state has become another one.

    :param start_ns: when the posture began
    :param before: the state before that was not UNKNOWN
    :param before_s: how long that one lasted
    """

    start_ns: int
    before: PostureState
    before_s: float


class StateKeeper:
    """
    The state of one person, with hysteresis, and the time in each.

    Another posture becomes the state when every usable reading of ``dwell_s`` has shown it. Without
    a usable reading for ``max_gap_s`` the state is UNKNOWN; time without usable readings always
    counts as UNKNOWN.
    """

    def __init__(self, options: PostureOptions) -> None:
        self._options = options
        self.state = PostureState.UNKNOWN
        self.since_ns = 0
        self.seconds = [0.0] * STATES
        self._last_ns: int | None = None
        self._usable = False
        self._usable_ns = -(1 << 62)
        self._next: PostureState | None = None
        self._next_ns = 0
        self._next_s = 0.0
        self._known: tuple[PostureState, int, int] | None = None

    def configure(self, options: PostureOptions) -> None:
        """Take other thresholds; the state stays until the next reading."""
        self._options = options

    def add(self, time_ns: int, met: Sequence[float]) -> Change | None:
        """
        Take in a reading; times must rise.

        :param met: as :func:`evidence` returns
        :return: the change of state that it makes, if there was a state before
        """
        gap_ns = int(self._options.max_gap_s * SECOND_NS)
        if self._last_ns is None:
            self.since_ns = time_ns
        else:
            self._credit(time_ns - self._last_ns, gap_ns)
        self._last_ns = time_ns
        if time_ns - self._usable_ns > gap_ns:
            self._next = None
            if self.state is not PostureState.UNKNOWN:
                self.state, self.since_ns = PostureState.UNKNOWN, self._usable_ns
        shown = self._shown(met)
        self._usable = shown is not PostureState.UNKNOWN
        if not self._usable:
            return None
        self._usable_ns = time_ns
        if shown is self.state:
            self._next = None
            self._known = (shown, self.since_ns, time_ns)
            return None
        if shown is not self._next:
            self._next, self._next_ns, self._next_s = shown, time_ns, 0.0
        if time_ns - self._next_ns < self._options.dwell_s * SECOND_NS:
            return None
        return self._enter(shown, time_ns)

    def _shown(self, met: Sequence[float]) -> PostureState:
        """Return the state that a reading shows."""
        for state in ORDER:
            if met[state] >= (self._options.leave_share if state is self.state else 1.0):
                return state
        known = met[PostureState.UPRIGHT] >= 1.0
        return PostureState.UPRIGHT if known else PostureState.UNKNOWN

    def _credit(self, step_ns: int, gap_ns: int) -> None:
        """Count the time since the last reading."""
        step_s = step_ns / SECOND_NS
        usable = self._usable and step_ns <= gap_ns
        self.seconds[self.state if usable else PostureState.UNKNOWN] += step_s
        if usable and self._next is not None:
            self._next_s += step_s

    def _enter(self, state: PostureState, time_ns: int) -> Change | None:
        """Change the state, from the moment at which its posture began."""
        self.seconds[self.state] -= self._next_s
        self.seconds[state] += self._next_s
        before, self._known = self._known, (state, self._next_ns, time_ns)
        self.state, self.since_ns, self._next = state, self._next_ns, None
        if before is None or before[0] is state:
            return None
        lasted_ns = min(before[2], self.since_ns) - before[1]
        return Change(self.since_ns, before[0], max(lasted_ns, 0) / SECOND_NS)
