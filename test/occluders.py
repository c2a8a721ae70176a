# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Things drawn over a face, so that what is covered is known.

The mesh of the clean image says where eyes and mouth are. Each drawing is opaque and follows the
face's place, size and tilt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.fatigue.eyes import LEFT_EYE, MOUTH, RIGHT_EYE
from aitable_ros.types import FaceLandmarks

CHEEKS = (50, 280)
TEMPLES = (127, 356)

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
Drawing = tuple[NDArray[np.float32], NDArray[np.float32]]
"""What is drawn, ``(height, width, 3)``, and how opaque it is, ``(height, width)``, 0 ... 1."""


@dataclass(frozen=True, slots=True)
class Covered:
    """What an occluder hides; right and left are the person's."""

    right_eye: bool = False
    left_eye: bool = False
    mouth: bool = False

    @property
    def both_eyes(self) -> bool:
        """Neither eye can be seen."""
        return self.right_eye and self.left_eye


OCCLUDERS: dict[str, Covered] = {
    'bar': Covered(right_eye=True, left_eye=True),
    'bar_right': Covered(right_eye=True),
    'bar_left': Covered(left_eye=True),
    'dark_glasses': Covered(right_eye=True, left_eye=True),
    'hand_eyes': Covered(right_eye=True, left_eye=True),
    'hand_mouth': Covered(mouth=True),
    'hair': Covered(right_eye=True, left_eye=True),
    'text': Covered(right_eye=True, left_eye=True),
}
"""Every kind that :func:`occlude` draws, and what it hides."""


def occlude(
    image: Image, landmarks: FaceLandmarks, kind: str, rng: np.random.Generator,
) -> Image:
    """
    Cover a part of a face.

    :param image: ``(height, width, 3)`` uint8 RGB
    :param landmarks: mesh of the face in the same image, uncovered
    :param kind: a key of :data:`OCCLUDERS`
    :param rng: varies colour, texture and edges
    :return: a new image
    """
    face = _Face(np.asarray(landmarks.points[:468, :2], np.float64), image)
    cover, alpha = _DRAW[kind](face, rng)
    soft = _soft(alpha, max(0.4, 0.012 * face.unit))[..., None]
    mixed = image * (1 - soft) + cover * soft
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


class _Face:
    """Where the parts of a face are, and its own measure: the distance of the eyes."""

    def __init__(self, points: Points, image: Image) -> None:
        self.points, self.image = points, image
        self.right, self.left = (points[list(eye)].mean(axis=0) for eye in (RIGHT_EYE, LEFT_EYE))
        self.mouth = points[list(MOUTH)].mean(axis=0)
        self.middle = (self.right + self.left) / 2
        height = float(np.hypot(*(self.mouth - self.middle)))
        self.unit = max(float(np.hypot(*(self.left - self.right))), height)
        down = (self.mouth - self.middle) / max(height, 1e-6)
        self.across, self.down = np.array([down[1], -down[0]]), down

    def place(self, centre: Points, local: Points) -> Points:
        """``(n, 2)`` units across and down from a centre to pixels."""
        placed: Points = centre + self.unit * (
            local[:, :1] * self.across + local[:, 1:] * self.down)
        return placed

    def blank(self) -> NDArray[np.float32]:
        """An empty mask."""
        return np.zeros(self.image.shape[:2], np.float32)

    def colour(self, where: tuple[int, ...]) -> Points:
        """Median colour round some mesh points."""
        reach = max(1, round(0.08 * self.unit))
        seen = []
        for x, y in np.rint(self.points[list(where)]).astype(int).tolist():
            patch = self.image[max(0, y - reach):y + reach, max(0, x - reach):x + reach]
            seen.append(patch.reshape(-1, 3))
        pixels = np.concatenate(seen)
        if not len(pixels):
            return np.full(3, 128.0)
        return np.asarray(np.median(pixels, axis=0), np.float64)


def _soft(mask: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)


def _fill(mask: NDArray[np.float32], outline: Points) -> None:
    cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)


def _box(half_width: float, half_height: float) -> Points:
    return np.array([(-half_width, -half_height), (half_width, -half_height),
                     (half_width, half_height), (-half_width, half_height)])


def _ellipse(half_width: float, half_height: float, power: float = 2.0) -> Points:
    """An ellipse; a higher power makes it a rounded box."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.column_stack([
        half_width * np.sign(cos) * np.abs(cos) ** (2 / power),
        half_height * np.sign(sin) * np.abs(sin) ** (2 / power)])


def _plain(face: _Face, mask: NDArray[np.float32], colour: Points | float) -> Drawing:
    return np.broadcast_to(np.asarray(colour, np.float32), face.image.shape).copy(), mask


def _bar(face: _Face, rng: np.random.Generator) -> Drawing:
    mask = face.blank()
    _fill(mask, face.place(face.middle, _box(0.95, float(rng.uniform(0.24, 0.34)))))
    return _plain(face, mask, float(rng.uniform(0, 20)))


def _bar_over(eye: str) -> Callable[[_Face, np.random.Generator], Drawing]:
    def draw(face: _Face, rng: np.random.Generator) -> Drawing:
        mask = face.blank()
        centre = face.right if eye == 'right' else face.left
        _fill(mask, face.place(centre, _box(0.38, float(rng.uniform(0.24, 0.32)))))
        return _plain(face, mask, float(rng.uniform(0, 20)))
    return draw


def _dark_glasses(face: _Face, rng: np.random.Generator) -> Drawing:
    """Two lenses with a faint reflection, a bridge and the sides to the temples."""
    mask, shine = face.blank(), face.blank()
    lens = _ellipse(float(rng.uniform(0.36, 0.42)), float(rng.uniform(0.26, 0.34)), 2.8)
    for eye in (face.right, face.left):
        _fill(mask, face.place(eye + 0.03 * face.unit * face.down, lens))
        _fill(shine, face.place(eye, _ellipse(0.22, 0.07) + rng.uniform(-0.12, 0.12, 2)))
    thick = max(1, round(0.05 * face.unit))
    temples = face.points[list(TEMPLES)]
    for first, second in (
            (face.right, face.left), (face.right, temples[0]), (face.left, temples[1])):
        ends = [(round(float(x)), round(float(y))) for x, y in (first, second)]
        cv2.line(mask, ends[0], ends[1], 1.0, thick, cv2.LINE_AA)
    cover, mask = _plain(face, mask, rng.uniform(8, 40) + rng.uniform(-6, 6, 3))
    cover += _soft(shine, max(0.5, 0.06 * face.unit))[..., None] * float(rng.uniform(10, 70))
    return cover, mask


def _hand_over(part: str) -> Callable[[_Face, np.random.Generator], Drawing]:
    """Four fingers side by side, of the colour of the cheeks."""
    def draw(face: _Face, rng: np.random.Generator) -> Drawing:
        mask = face.blank()
        centre = face.middle if part == 'eyes' else face.mouth
        skin = face.colour(CHEEKS) * rng.uniform(0.75, 1.1)
        cover, _ = _plain(face, mask, skin)
        cover += _texture(face, rng, 0.04) * 5 + _texture(face, rng, 0.25) * 10
        tilt, side = float(rng.uniform(-0.35, 0.35)), float(rng.choice([-1.0, 1.0]))
        turn = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
        for place, reach in zip((-0.42, -0.14, 0.14, 0.42), rng.uniform(0.95, 1.2, 4)):
            finger = _ellipse(1.3, 0.17, 4.0) + (side * (1.3 - reach), place)
            outline = face.place(centre, finger @ turn)
            _fill(mask, outline)
            shape = face.blank()
            _fill(shape, outline)
            steps = max(1, round(0.035 * face.unit))
            inside = np.asarray(cv2.erode(shape, np.ones((3, 3)), iterations=steps), np.float32)
            cover -= _soft(shape - inside, max(0.5, 0.03 * face.unit))[..., None] * 55
        return cover, mask
    return draw


def _hair(face: _Face, rng: np.random.Generator) -> Drawing:
    """A fringe that falls from the forehead below the eyes."""
    mask = face.blank()
    fringe = np.array([(-1.0, -1.1), (1.0, -1.1), (1.05, 0.25), (0.5, 0.38), (0.0, 0.3),
                       (-0.5, 0.4), (-1.05, 0.25)])
    _fill(mask, face.place(face.middle, fringe))
    tone = np.array([(30, 24, 20), (74, 50, 34), (120, 86, 52), (150, 130, 110)])[rng.integers(4)]
    cover, _ = _plain(face, mask, tone * 0.8)
    drawn = np.ascontiguousarray(np.clip(cover, 0, 255).astype(np.uint8))
    along = np.linspace(0, 1, 12)
    for _ in range(260):
        x, sway, wave = rng.uniform(-1.05, 1.05), rng.normal(0, 0.18), rng.uniform(-0.08, 0.08)
        strand = np.column_stack([
            x + sway * along ** 2 + wave * np.sin(4 * along), -1.1 + along * rng.uniform(1.3, 1.6)])
        shade = tuple(float(v) for v in tone * rng.uniform(0.45, 1.6))
        path = np.rint(face.place(face.middle, strand) * 16).astype(np.int32)
        cv2.polylines(drawn, [path], False, shade, max(1, round(0.02 * face.unit)), cv2.LINE_AA, 4)
        cv2.polylines(mask, [path], False, 1.0, max(1, round(0.02 * face.unit)), cv2.LINE_AA, 4)
    return drawn.astype(np.float32), mask


def _text(face: _Face, rng: np.random.Generator) -> Drawing:
    """A caption in two lines on a plain ground."""
    mask = face.blank()
    height = float(rng.uniform(0.3, 0.38))
    _fill(mask, face.place(face.middle, _box(1.1, height)))
    ground, ink = (235, 15) if rng.random() < 0.5 else (25, 240)
    page = np.full((64, 220, 3), ground, np.uint8)
    letters = 'ABCDEFGHKLMNOPRSTUVWXZ'
    for line in (26, 56):
        words = ''.join(letters[k] for k in rng.integers(0, len(letters), 11))
        cv2.putText(
            page, words, (4, line), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (ink,) * 3, 2, cv2.LINE_AA)
    corners = face.place(face.middle, _box(1.1, height)[:3]).astype(np.float32)
    matrix = cv2.getAffineTransform(np.array([(0, 0), (220, 0), (220, 64)], np.float32), corners)
    height_px, width_px = face.image.shape[:2]
    cover = cv2.warpAffine(
        page, matrix, (width_px, height_px), borderMode=cv2.BORDER_REPLICATE)
    return cover.astype(np.float32), mask


def _texture(face: _Face, rng: np.random.Generator, grain: float) -> NDArray[np.float32]:
    """Smooth noise of unit variance; grain in units of the face."""
    size = max(0.6, grain * face.unit)
    shape = [max(4, math.ceil(length / size)) for length in face.image.shape[:2]]
    noise = rng.standard_normal(shape, np.float32)
    height, width = face.image.shape[:2]
    whole = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(whole, np.float32)[..., None]


_DRAW: dict[str, Callable[[_Face, np.random.Generator], Drawing]] = {
    'bar': _bar,
    'bar_right': _bar_over('right'),
    'bar_left': _bar_over('left'),
    'dark_glasses': _dark_glasses,
    'hand_eyes': _hand_over('eyes'),
    'hand_mouth': _hand_over('mouth'),
    'hair': _hair,
    'text': _text,
}
