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

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
import math
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.tools.clip_script import SHORTEST_S, truth_of, write_script
from aitable_ros.types import Frame

SIZES = {'vga': (640, 480), '720p': (1280, 720), '1080p': (1920, 1080)}
"""Names of image sizes -> (width, height)."""

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


class Clip(ABC):
    """
    A clip that is drawn: any frame can be made without those before it.

    :param fps: frames a second, 1 ... 240
    :param seconds: length, within :attr:`LENGTH_S`
    :param seed: of the noise, and of the script if that has chance in it
    :param size: ``(width, height)``
    :param start_ns: stamp of the first frame
    :raises InputError: a figure out of range, or scikit-image without its portrait
    """

    NAME: ClassVar[str]
    LENGTH_S: ClassVar[tuple[float, float]]
    kind = 'clip'

    def __init__(
        self, fps: float, seconds: float, seed: int, size: tuple[int, int], start_ns: int,
    ) -> None:
        if not 1.0 <= fps <= 240.0:
            raise InputError(f'the clip has 1 to 240 frames a second, not {fps:g}')
        shortest_s, longest_s = self.LENGTH_S
        if not shortest_s <= seconds <= longest_s:
            raise InputError(
                f'{self.NAME} lasts {shortest_s:g} to {longest_s:g} seconds, not {seconds:g}')
        self.fps = float(fps)
        self.frames = round(seconds * fps)
        self.duration_s = self.frames / self.fps
        self.seed = seed
        self.size = size
        self.start_ns = start_ns

    def __len__(self) -> int:
        return self.frames

    def frame(self, index: int) -> Frame:
        """Draw one frame; its image is read-only."""
        if not 0 <= index < self.frames:
            raise IndexError(index)
        image = np.asarray(self._draw(index), np.uint8)
        self._noise.add(image, index)
        image.flags.writeable = False
        stamp_ns = self.start_ns + round(index * 1e9 / self.fps)
        return Frame(image, stamp_ns, 'camera')

    @abstractmethod
    def _draw(self, index: int) -> Any:
        """Return the image without its noise: ``(height, width, 3)`` uint8 RGB."""

    @cached_property
    def _noise(self) -> SensorNoise:
        return SensorNoise(self.size, self.seed)


class ScriptedClip(Clip):
    """
    The clip: iterate it for ``(Frame, closure)``. The script is in seconds and holds at any rate.

    :param seconds: a long closure is in it from 12 s on, a microsleep from 20 s
    """

    NAME = 'the clip'
    LENGTH_S = SHORTEST_S, 3600.0

    def __init__(
        self, fps: float = 30.0, seconds: float = 60.0, seed: int = 0,
        size: tuple[int, int] = SIZES['720p'], start_ns: int = 0,
    ) -> None:
        super().__init__(fps, seconds, seed, size, start_ns)
        self.truth = truth_of(write_script(self.duration_s, seed), self.fps, self.frames)

    def __iter__(self) -> Iterator[tuple[Frame, float]]:
        for index in range(self.frames):
            yield self.frame(index), float(self.truth.closure[index])

    def _draw(self, index: int) -> Any:
        return cv2.warpAffine(
            self._scene.at(float(self.truth.closure[index])), self._sway(index / self.fps),
            self.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT)

    @cached_property
    def _scene(self) -> Scene:
        return Scene(self.size)

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


class SensorNoise:
    """
    The noise of a sensor: one pattern, thrown about from frame to frame.

    What to add and what to take away are kept apart: two uint8 passes cost 1 ms, a float one 9.

    :param size: ``(width, height)`` of the frames
    """

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self._size, self._seed = size, seed
        width, height = size
        shape = (height + _NOISE_SHIFT, width + _NOISE_SHIFT, 3)
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
        noise = np.rint(noise * _NOISE_SIGMA)
        self._parts = (
            np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8))

    def add(self, image: NDArray[Any], index: int) -> None:
        """Add the noise of one frame, in place."""
        width, height = self._size
        left, top = np.random.default_rng((self._seed, index)).integers(0, _NOISE_SHIFT, 2)
        for noise, apply in zip(self._parts, (cv2.add, cv2.subtract)):
            apply(image, noise[top:top + height, left:left + width], dst=image)


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
            portrait(), place, canvas, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
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


def portrait() -> NDArray[np.uint8]:
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
