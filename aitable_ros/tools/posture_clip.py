# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A photographic clip of somebody who leans to one side and to the other, with known truth.

The portrait of :mod:`.clip`, head and shoulders, turned about the middle of the lower edge. A flat
picture can be turned and no more: leaning to a side is what it shows truly. It is mirrored: as it
is, the pose model takes the sitter for somebody who turns 45 degrees away, and the stage learns who
sits upright only from people who face the camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.posture_types import PostureState
from aitable_ros.tools.clip import Clip, portrait, SIZES
from aitable_ros.types import Frame

LEAN = math.radians(18)
"""Nearly twice the default of ``posture.lean_side``: a lean that nobody overlooks."""
MOVE_S = 1.0
"""From one posture to the next."""
SCRIPT = (
    (PostureState.UPRIGHT, 12.0), (PostureState.LEANING_RIGHT, 6.0), (PostureState.UPRIGHT, 5.0),
    (PostureState.LEANING_LEFT, 6.0))
"""
State, and how long it lasts with the move to the next, seconds. In the first the stage learns how
this person sits upright (``posture.baseline_warm_up_s``, of facing the camera). Each lasts for
longer than ``posture.dwell_s``, after which a state is told.
"""
LONGEST_S = sum(seconds for _, seconds in SCRIPT)
SHORTEST_S = SCRIPT[0][1] + SCRIPT[1][1]
"""Up to the end of the first lean."""

_PIVOT = (287.0, 512.0)  # pixels of the mirrored astronaut.png: below the head, at the lower edge
_ZOOM = 1.25  # at a height of 720: head and shoulders, as a camera on a table sees them
_MARGIN = 400  # pixels round the portrait
_BELOW = 0.03  # of the height: how far below the frame the pivot is, so that no corner shows
_SIGNS = {PostureState.LEANING_RIGHT: 1.0, PostureState.LEANING_LEFT: -1.0}


@dataclass(frozen=True, slots=True)
class ScriptedPosture:
    """
    A posture that is held, without the move to the next one.

    :param start_frame: first frame, 0-based
    :param end_frame: last frame, inclusive
    """

    state: PostureState
    start_frame: int
    end_frame: int


@dataclass(frozen=True, slots=True)
class PostureTruth:
    """
    The contents of the clip.

    :param frames: of the whole clip
    :param postures: in the order of time
    """

    fps: float
    frames: int
    postures: tuple[ScriptedPosture, ...]

    def until(self, frames: int, settled: int) -> PostureTruth:
        """Return the truth of the first ``frames``, with postures over before ``settled``."""
        return replace(self, frames=frames, postures=tuple(
            posture for posture in self.postures if posture.end_frame < settled))

    def labels(self, settled: int | None = None) -> dict[str, Any]:
        """
        Return the truth in the form of a labels file.

        :param settled: frames to score; default: all
        """
        return {
            'posture': [
                {'start_frame': one.start_frame, 'end_frame': one.end_frame,
                 'state': one.state.name} for one in self.postures],
            'faces': 1,
            'ignore': [] if settled in (None, self.frames) else [[settled, self.frames - 1]]}


class PostureClip(Clip):
    """The clip: iterate it for its frames."""

    NAME = 'the clip of posture'
    LENGTH_S = SHORTEST_S, LONGEST_S

    def __init__(
        self, fps: float = 30.0, seconds: float = LONGEST_S, seed: int = 0,
        size: tuple[int, int] = SIZES['720p'], start_ns: int = 0,
    ) -> None:
        super().__init__(fps, seconds, seed, size, start_ns)
        self.truth = PostureTruth(self.fps, self.frames, tuple(
            ScriptedPosture(
                state, math.ceil(start * fps), min(math.ceil(end * fps), self.frames) - 1)
            for state, start, end in _held() if start * fps < self.frames - 1))

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frames):
            yield self.frame(index)

    def _draw(self, index: int) -> Any:
        return cv2.warpAffine(
            self._picture, self._view(index / self.fps), self.size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)

    @cached_property
    def _picture(self) -> NDArray[np.uint8]:
        """The portrait with a blurred margin, which a lean brings into the frame."""
        wide = cv2.copyMakeBorder(
            cv2.flip(portrait(), 1), _MARGIN, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_REPLICATE)
        small = cv2.resize(wide, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
        soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), 4), wide.shape[1::-1])
        inside = np.zeros(wide.shape[:2], np.float32)
        inside[_MARGIN + 16:-_MARGIN, _MARGIN + 16:-_MARGIN - 16] = 1
        inside = cv2.blur(inside, (33, 33))[..., None]
        return np.asarray(wide * inside + soft * (1 - inside), np.uint8)

    def _view(self, time_s: float) -> NDArray[np.float64]:
        """Return the ``(2, 3)`` map from frame to portrait."""
        width, height = self.size
        angle = lean_at(time_s) + math.radians(0.8) * math.sin(2 * math.pi * time_s / 6.7)
        zoom = _ZOOM * height / 720.0
        cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([
            turn, np.array(_PIVOT) + _MARGIN - turn @ np.array([width / 2, (1 + _BELOW) * height])])


def lean_at(time_s: float) -> float:
    """Return the lean at a time, radians; > 0 to the person's own right, image left."""
    spans = _held()
    (state, _, before), *rest = spans
    lean = _SIGNS.get(state, 0.0)
    for state, start, end in rest:
        part = min(max((time_s - before) / (start - before), 0.0), 1.0)
        lean += (_SIGNS.get(state, 0.0) - lean) * (1 - math.cos(math.pi * part)) / 2
        before = end
        if time_s < end:
            break
    return LEAN * lean


def _held() -> list[tuple[PostureState, float, float]]:
    """Return the script as state, start and end of the time in which it is held, seconds."""
    held, start = [], 0.0
    for number, (state, seconds) in enumerate(SCRIPT):
        last = number == len(SCRIPT) - 1
        held.append((state, start, start + seconds - (0.0 if last else MOVE_S)))
        start += seconds
    return held
