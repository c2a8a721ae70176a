# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A photographic clip whose truth is known: a portrait that blinks to a script.

The portrait is NASA's photograph of Eileen Collins, in the public domain, which scikit-image ships
as ``astronaut.png``. Its eyelids are slid over the eyes to a closure that the script gives as a
function of time; the head sways a little and the sensor is noisy. The same seed gives the same
pixels, and any frame can be made without those before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.types import Frame

SIZES = {'vga': (640, 480), '720p': (1280, 720), '1080p': (1920, 1080)}
"""Names of image sizes -> (width, height)."""

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

# Contours of the open eyes in astronaut.png, pixels, corner to corner from image left to right.
# Measured once with the attention mesh at three times the size and checked by eye. They only say
# where in the photograph the lids are, so that the lids can be moved; the truth is the script.
_UPPER_LIDS = (
    ((195.1, 101.0), (196.0, 100.3), (197.1, 99.5), (199.3, 98.5), (202.8, 98.1), (206.3, 98.6),
     (209.7, 100.3), (212.1, 102.5), (213.2, 103.9)),
    ((237.1, 105.2), (238.4, 104.0), (241.2, 102.0), (244.9, 100.6), (248.7, 100.4),
     (252.2, 101.3), (254.2, 102.6), (255.2, 103.6), (255.9, 104.4)),
)
_LOWER_LIDS = (
    ((195.1, 101.0), (196.2, 102.1), (197.5, 102.9), (199.6, 103.8), (202.9, 104.4),
     (206.4, 104.4), (209.8, 104.2), (212.0, 104.1), (213.2, 103.9)),
    ((237.1, 105.2), (238.2, 105.6), (240.5, 105.8), (243.9, 106.4), (247.3, 106.8),
     (250.7, 106.7), (253.0, 106.2), (254.5, 105.5), (255.9, 104.4)),
)

_FACE_CENTRE = (225.0, 130.0)  # pixels of astronaut.png; shown at the middle of the frame
_ZOOM = 3.0  # at a height of 720: the face is 280 px wide, a person at arm's length on a webcam
_MARGIN = 28  # pixels of picture beyond the frame, for the sway
_LEVELS = 64  # steps of closure that the lids are drawn in: under 0.4 px each
_NOISE_SIGMA = 2.5  # grey levels, a webcam in a lit room
_NOISE_SHIFT = 64  # pixels by which the noise pattern is thrown about from frame to frame


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
class _Lids:
    """One scripted closing of the lids: shut, hold, open, with the peak that it reaches."""

    kind: str
    start_s: float
    shut_s: float
    hold_s: float
    open_s: float
    peak: float

    @property
    def end_s(self) -> float:
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


class ScriptedClip:
    """
    The clip: iterate it for ``(Frame, closure)``.

    :param fps: frames a second, 1 ... 240; the script is in seconds, so it holds at any rate
    :param seconds: length, at least 4; a long closure is in it from 12 s on, a microsleep from 20 s
    :param seed: another seed gives other blinks and other noise
    :param size: ``(width, height)``
    :param start_ns: stamp of the first frame
    :raises InputError: a figure out of range, or scikit-image without its portrait
    """

    kind = 'clip'

    def __init__(
        self, fps: float = 30.0, seconds: float = 60.0, seed: int = 0,
        size: tuple[int, int] = SIZES['720p'], start_ns: int = 0,
    ) -> None:
        if not 1.0 <= fps <= 240.0:
            raise InputError(f'the clip has 1 to 240 frames a second, not {fps:g}')
        if not SHORTEST_S <= seconds <= 3600.0:
            raise InputError(f'the clip lasts {SHORTEST_S:g} to 3600 seconds, not {seconds:g}')
        self.fps = float(fps)
        self.frames = round(seconds * fps)
        self.duration_s = self.frames / self.fps
        self.seed = seed
        self.size = size
        self.start_ns = start_ns
        self.truth = _truth(_script(self.duration_s, seed), self.fps, self.frames)

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[tuple[Frame, float]]:
        for index in range(self.frames):
            yield self.frame(index), float(self.truth.closure[index])

    def frame(self, index: int) -> Frame:
        """Draw one frame; its image is read-only."""
        if not 0 <= index < self.frames:
            raise IndexError(index)
        width, height = self.size
        picture = self._scene.at(float(self.truth.closure[index]))
        image = cv2.warpAffine(
            picture, self._sway(index / self.fps), (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT)
        left, top = np.random.default_rng((self.seed, index)).integers(0, _NOISE_SHIFT, 2)
        for noise, apply in zip(self._noise, (cv2.add, cv2.subtract)):
            apply(image, noise[top:top + height, left:left + width], dst=image)
        image.flags.writeable = False
        stamp_ns = self.start_ns + round(index * 1e9 / self.fps)
        return Frame(np.asarray(image, np.uint8), stamp_ns, 'camera')

    @cached_property
    def _scene(self) -> Scene:
        return Scene(self.size)

    @cached_property
    def _noise(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """What to add and what to take away: two uint8 passes cost 1 ms, a float one 9."""
        width, height = self.size
        shape = (height + _NOISE_SHIFT, width + _NOISE_SHIFT, 3)
        noise = np.random.default_rng(self.seed).standard_normal(shape, np.float32)
        noise = np.rint(noise * _NOISE_SIGMA)
        return np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)

    def _sway(self, time_s: float) -> NDArray[np.float64]:
        """Return the ``(2, 3)`` map from frame to picture: a sitting head moves slowly."""
        width, height = self.size
        unit = height / 720.0
        angle = math.radians(1.6) * math.sin(2 * math.pi * time_s / 7.3)
        zoom = 1.0 + 0.008 * math.sin(2 * math.pi * time_s / 11.0)
        move_x = unit * (7.0 * math.sin(2 * math.pi * time_s / 5.1) + 2.0 * math.sin(1.9 * time_s))
        move_y = unit * (3.5 * math.sin(2 * math.pi * time_s / 4.3 + 1.0) + math.sin(2.7 * time_s))
        cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
        centre = np.array([width / 2, height / 2])
        turn = np.array([[cos, -sin], [sin, cos]])
        offset = centre + _MARGIN - np.array([move_x, move_y]) - turn @ centre
        return np.column_stack([turn, offset])


class Scene:
    """
    The still picture, and its eyes at every level of closure.

    :param size: ``(width, height)`` of the frames; the picture has a margin for movement round it
    """

    def __init__(self, size: tuple[int, int]) -> None:
        width, height = size
        zoom = _ZOOM * height / 720.0
        canvas = (width + 2 * _MARGIN, height + 2 * _MARGIN)
        self._origin = np.array(canvas) / 2 - zoom * np.array(_FACE_CENTRE)
        place = np.column_stack([np.eye(2) * zoom, self._origin])
        picture = cv2.warpAffine(
            _portrait(), place, canvas, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        # The photograph is a third of this size: give its edges back some of their bite.
        soft = cv2.GaussianBlur(picture, (0, 0), 0.7 * zoom)
        self._picture = np.asarray(cv2.addWeighted(picture, 1.5, soft, -0.5, 0.0), np.uint8)
        self._eyes = [
            _eye_levels(self._picture, self._place(upper, zoom), self._place(lower, zoom))
            for upper, lower in zip(_UPPER_LIDS, _LOWER_LIDS)]

    def _place(self, points: Any, zoom: float) -> NDArray[np.float64]:
        return np.asarray(points, np.float64) * zoom + self._origin

    def at(self, closure: float) -> NDArray[np.uint8]:
        """Return the picture, valid until the next call, with the lids at a closure."""
        for rows, columns, levels in self._eyes:
            self._picture[rows, columns] = levels[round(closure * _LEVELS)]
        return self._picture


def _eye_levels(
    picture: NDArray[np.uint8], upper: NDArray[np.float64], lower: NDArray[np.float64],
) -> tuple[slice, slice, list[NDArray[np.uint8]]]:
    """
    Draw one eye at every level of closure.

    Works in the eye's own frame: x from corner to corner, y down. The upper lid's margin with its
    lashes comes down as it is and the skin between it and the brow stretches after it; the lower
    lid rises to meet it over the last fifth of the slit. What they cover is hidden, not squeezed.

    :param upper: ``(n, 2)`` pixels along the upper lid's edge
    :param lower: the same of the lower lid
    :return: rows and columns of the patch, and the patches
    """
    first, last = upper[0], upper[-1]
    centre, along = (first + last) / 2, last - first
    width = float(np.hypot(*along))
    axis = along / width
    turn = np.array([axis, [-axis[1], axis[0]]])
    reach = round(0.95 * width)
    left, top = (int(value) - reach for value in centre)
    columns, rows = slice(left, left + 2 * reach), slice(top, top + 2 * reach)
    grid = np.stack(np.meshgrid(np.arange(left, columns.stop), np.arange(top, rows.stop)), -1)
    local = (grid - centre) @ turn.T
    x, y = local[..., 0], local[..., 1]

    def edge(points: NDArray[np.float64]) -> NDArray[np.float64]:
        bent = (points - centre) @ turn.T
        return np.asarray(np.polyval(np.polyfit(bent[:, 0], bent[:, 1], 3), x))

    # 1 at the middle of the eye, 0 beyond its corners: everything tapers off with it.
    taper = np.sqrt(np.clip(1.0 - (x / (0.56 * width)) ** 2, 0.0, 1.0))
    upper_edge = edge(upper) - 0.02 * width * taper
    lower_edge = np.maximum(edge(lower) + 0.02 * width * taper, upper_edge + 1e-3)
    meet = upper_edge + 0.8 * (lower_edge - upper_edge)
    margin = 0.13 * width * taper  # lashes and lid margin: moved, not stretched
    brow = upper_edge - margin - 0.30 * width * taper - 1e-3
    cheek = lower_edge + 0.33 * width * taper + 1e-3
    levels = []
    for level in range(_LEVELS + 1):
        closure = level / _LEVELS
        down = closure * (meet - upper_edge)
        up = closure * (lower_edge - meet)
        lid, low = upper_edge + down, lower_edge - up
        stretched = brow + (y - brow) * (
            (upper_edge - margin - brow) / np.maximum(lid - margin - brow, 1e-6))
        pushed = cheek - (cheek - y) * (cheek - lower_edge) / np.maximum(cheek - low, 1e-6)
        source = np.select(
            [(y <= brow) | (y >= cheek) | (taper <= 0), y <= lid - margin, y <= lid, y >= low],
            [y, stretched, y - down, pushed], default=y)
        back = (np.stack([x, source], -1) @ turn + centre).astype(np.float32)
        patch = np.asarray(cv2.remap(picture, back, np.empty(0), cv2.INTER_CUBIC))
        # The lid throws a soft shadow on the eyeball.
        depth = np.where((y > lid) & (y < low), np.exp((lid - y) / (0.07 * width)), 0.0)
        shade = 1.0 - 0.55 * min(1.0, 3.0 * closure) * cv2.GaussianBlur(depth, (0, 0), 0.8)
        levels.append((patch * shade[..., None]).astype(np.uint8))
    return rows, columns, levels


def _script(seconds: float, seed: int) -> list[_Lids]:
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
        blink = _Lids(
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


def _held(kind: str, start_s: float, duration_s: float) -> _Lids:
    """Return a slow closure that lasts as long as said between its half-way points."""
    shut_s, open_s = 0.20, 0.30
    return _Lids(kind, start_s, shut_s, duration_s - (shut_s + open_s) / 2, open_s, 1.0)


def _truth(script: list[_Lids], fps: float, frames: int) -> ClipTruth:
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


def _portrait() -> NDArray[np.uint8]:
    """Read the portrait from scikit-image's own folder, without importing it: no network, 20 ms."""
    spec = find_spec('skimage')
    if spec is None or spec.origin is None:
        raise InputError('the demo clip needs scikit-image: pip install scikit-image==0.25.2')
    path = Path(spec.origin).parent / 'data' / 'astronaut.png'
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None or image.shape != (512, 512, 3):
        raise InputError(
            f'{path}: the portrait is missing: pip install --force-reinstall scikit-image==0.25.2')
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
