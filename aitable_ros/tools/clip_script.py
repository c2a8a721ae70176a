# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The script of the demo's clip: when the lids close, how far, and the truth that follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

HALF = 0.5
"""A labelled closure lasts while the lids cover at least half of the open eye: the full width at
half maximum that blink durations are given in (Caffier 2003)."""

CLOSED = 0.8
"""Eyes at least 80 % covered count for PERCLOS (P80, Wierwille 1994)."""

SHORTEST_WITH_MICROSLEEP_S = 20.0
SHORTEST_WITH_LONG_CLOSURE_S = 12.0
SHORTEST_S = 4.0

LONG_CLOSURE_S = 0.8
MICROSLEEP_S = 2.0


@dataclass(frozen=True, slots=True)
class ScriptedClosure:
    """
    A time in which the lids cover at least :data:`HALF` of the eyes.

    :param kind: ``blink``, ``long_closure`` or ``microsleep``
    :param start_frame: first frame, 0-based
    :param end_frame: last frame, inclusive
    """

    kind: str
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, eq=False)
class ClipTruth:
    """
    The contents of the clip.

    :param closure: ``(frames,)`` float32, 0 open ... 1 shut
    :param closures: all of them in the order of time
    """

    fps: float
    closure: NDArray[np.float32]
    closures: tuple[ScriptedClosure, ...]

    def of_kind(self, kind: str) -> tuple[ScriptedClosure, ...]:
        """Return the closures of one kind."""
        return tuple(item for item in self.closures if item.kind == kind)

    @property
    def blinks(self) -> tuple[ScriptedClosure, ...]:
        """The short closures."""
        return self.of_kind('blink')

    @property
    def perclos(self) -> float:
        """Share of the frames with the eyes at least :data:`CLOSED`."""
        return float(np.mean(self.closure >= CLOSED))

    def until(self, frames: int, settled: int) -> ClipTruth:
        """Return the truth of the first ``frames``, with closures over before ``settled``."""
        return replace(
            self, closure=self.closure[:frames],
            closures=tuple(item for item in self.closures if item.end_frame < settled))

    def perclos_over(self, window_s: float) -> NDArray[np.float64]:
        """Return the closed share of the window up to each frame, NaN in the first half of one."""
        closed = np.concatenate([[0.0], np.cumsum(self.closure >= CLOSED)])
        frames = np.arange(1, len(closed))
        window = np.minimum(frames, round(window_s * self.fps))
        share = (closed[1:] - closed[frames - window]) / window
        return np.where(frames < window_s * self.fps / 2, np.nan, share)

    def labels(self, settled: int | None = None) -> dict[str, Any]:
        """
        Return the truth in the form of a labels file.

        :param settled: frames to score; default: all
        """
        frames = len(self.closure)
        def span(item: ScriptedClosure) -> dict[str, Any]:
            return {'start_frame': item.start_frame, 'end_frame': item.end_frame}
        return {
            'blinks': [span(item) for item in self.blinks],
            'closures': [
                {'note': item.kind, **span(item)} for item in self.closures
                if item.kind != 'blink'],
            'perclos': round(self.perclos, 5),
            'faces': 1,
            'ignore': [] if settled in (None, frames) else [[settled, frames - 1]],
        }


@dataclass(frozen=True, slots=True)
class ScriptedLids:
    """One scripted closing of the lids: shut, hold, open, with the peak that it reaches."""

    kind: str
    start_s: float
    shut_s: float
    hold_s: float
    open_s: float
    peak: float

    @property
    def end_s(self) -> float:
        """Time at which the lids are open again."""
        return self.start_s + self.shut_s + self.hold_s + self.open_s

    def closure(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the closure at some times: fast down, slower up, smooth at the ends."""
        since = time_s - self.start_s
        down = np.clip(since / self.shut_s, 0.0, 1.0)
        up = np.clip((self.end_s - time_s) / self.open_s, 0.0, 1.0)
        return self.peak * _smooth(np.minimum(down, up))

    def half(self) -> tuple[float, float]:
        """Return when the closure passes :data:`HALF` on the way down and on the way up."""
        part = _inverse_smooth(HALF / self.peak)
        return self.start_s + part * self.shut_s, self.end_s - part * self.open_s


def write_script(seconds: float, seed: int) -> list[ScriptedLids]:
    """Write the script: blinks at uneven intervals round the long closures."""
    rng = np.random.default_rng(seed)
    script = []
    if seconds >= SHORTEST_WITH_LONG_CLOSURE_S:
        start = (0.45 if seconds >= SHORTEST_WITH_MICROSLEEP_S else 0.6) * seconds
        script.append(_held('long_closure', start, LONG_CLOSURE_S))
    if seconds >= SHORTEST_WITH_MICROSLEEP_S:
        script.append(_held('microsleep', 0.78 * seconds, MICROSLEEP_S))
    held = tuple(script)
    time_s = float(rng.uniform(1.8, 2.4))
    while True:
        blink = ScriptedLids(
            'blink', time_s, shut_s=float(rng.uniform(0.09, 0.13)),
            hold_s=float(rng.uniform(0.03, 0.07)), open_s=float(rng.uniform(0.16, 0.24)),
            peak=float(rng.uniform(0.92, 1.0)))
        if blink.end_s > seconds - 1.2:  # it must be seen to end
            break
        clash = next((h for h in held if h.start_s - 1.2 < time_s < h.end_s + 1.2), None)
        if clash is not None:
            time_s = clash.end_s + float(rng.uniform(1.3, 2.0))
            continue
        script.append(blink)
        # A resting adult's 15 to 20 a minute, at uneven intervals (Doughty 2001).
        time_s = blink.end_s + float(np.clip(rng.lognormal(math.log(2.9), 0.35), 1.6, 5.5))
    return sorted(script, key=lambda lids: lids.start_s)


def _held(kind: str, start_s: float, duration_s: float) -> ScriptedLids:
    """Return a slow closure that lasts as long as said between its half-way points."""
    shut_s, open_s = 0.20, 0.30
    return ScriptedLids(kind, start_s, shut_s, duration_s - (shut_s + open_s) / 2, open_s, 1.0)


def truth_of(script: list[ScriptedLids], fps: float, frames: int) -> ClipTruth:
    """Return the truth of a script at a frame rate."""
    time_s = np.arange(frames) / fps
    closure: NDArray[np.float32] = np.zeros(frames, np.float32)
    closures = []
    for lids in script:
        own = lids.closure(time_s).astype(np.float32)
        closure = np.maximum(closure, own)
        start_s, end_s = lids.half()
        covered = np.flatnonzero(own >= HALF)
        # At a low rate a blink may fall between two frames: then it is the one after its start.
        first, last = (covered[0], covered[-1]) if covered.size else [math.ceil(start_s * fps)] * 2
        closures.append(ScriptedClosure(lids.kind, start_s, end_s, int(first), int(last)))
    return ClipTruth(fps, closure, tuple(closures))


def _smooth(part: NDArray[np.float64]) -> NDArray[np.float64]:
    return (1.0 - np.cos(np.pi * part)) / 2.0


def _inverse_smooth(value: float) -> float:
    return math.acos(1.0 - 2.0 * value) / math.pi
