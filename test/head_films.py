# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Films of a head that moves to a script: nods of a person who dozes off, and what is none.

The portrait of :mod:`aitable_ros.tools.clip` is turned in 3D by :mod:`turning_head` while
its lids move. The truth of every image is the script's: pose, closure of the lids, nods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from turning_head import HeadPose, TurningHead

from aitable_ros.face.mesh import FaceMesh, roi_from_landmarks
from aitable_ros.tools.clip import Scene
from aitable_ros.types import Frame

SIZE = (640, 480)
RATES = (10.0, 15.0, 25.0, 30.0)
"""Images a second; each kind of film comes in all of them."""

LEAD_S = 3.0
"""Seconds of an upright head with open eyes and one blink before anything happens."""

TAIL_S = 1.8
"""Seconds of the same afterwards."""

_MESH_ROUNDS = 4  # crops until the mesh's own crop stays where it is
_NOISE_SIGMA = 2.5  # grey levels, as in the clip
_NOISE_SHIFT = 64  # pixels by which the noise is thrown about from image to image


@dataclass(frozen=True, slots=True)
class Track:
    """
    A figure that changes with time: values at times, half a cosine between two of them.

    :param points: ``(seconds, value)`` in the order of time; the first and last value go on
    """

    points: tuple[tuple[float, float], ...] = ((0.0, 0.0),)

    def at(self, time_s: float) -> float:
        """Return the value at a time."""
        before = self.points[0]
        for point in self.points:
            if time_s < point[0]:
                part = (time_s - before[0]) / (point[0] - before[0]) if before[0] <= time_s else 0.0
                return before[1] + (point[1] - before[1]) * (1 - math.cos(math.pi * part)) / 2
            before = point
        return before[1]


@dataclass(frozen=True, slots=True)
class Person:
    """
    The portrait made to look like somebody else.

    :param mirrored: left and right exchanged
    :param width: of the face over its height, relative to the portrait's
    :param narrow: share of the portrait's open eye that this person's open eye lacks
    :param gain: brightness
    """

    mirrored: bool = False
    width: float = 1.0
    narrow: float = 0.0
    gain: float = 1.0

    def look(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Change the portrait, ``(height, width, 3)`` uint8 RGB."""
        height, width = picture.shape[:2]
        across = -self.width if self.mirrored else self.width
        matrix = np.array([[across, 0.0, (1 - across) * (width - 1) / 2], [0.0, 1.0, 0.0]])
        image = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        return np.asarray(cv2.convertScaleAbs(image, alpha=self.gain), np.uint8)


PEOPLE = (
    Person(),
    Person(mirrored=True, width=0.92, gain=0.8),
    Person(width=1.08, narrow=0.25),
    Person(mirrored=True, width=1.03, narrow=0.15, gain=1.1),
    Person(width=0.95, gain=0.6),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFilm:
    """
    A script.

    :param kind: ``nod``, or which of the movements that are none
    :param roll: of the head relative to the photograph, radians; pitch and yaw alike, with the
        signs of :class:`turning_head.HeadPose`
    :param closure: of the lids, 0 this person's open eye ... 1 shut
    :param nods: start of the fall and end of the rise, seconds
    """

    name: str
    kind: str
    fps: float
    seconds: float
    person: Person = PEOPLE[0]
    roll: Track = Track()
    pitch: Track = Track()
    yaw: Track = Track()
    closure: Track = Track()
    nods: tuple[tuple[float, float], ...] = ()

    @property
    def frames(self) -> int:
        """Number of images."""
        return round(self.seconds * self.fps)

    def pose(self, time_s: float) -> HeadPose:
        """Return the pose at a time."""
        return HeadPose(self.roll.at(time_s), self.pitch.at(time_s), self.yaw.at(time_s))


@dataclass(frozen=True, slots=True, eq=False)
class HeadFrame:
    """
    One image and its truth.

    :param pose: relative to the photograph
    :param closure: 0 this person's open eye ... 1 shut
    """

    frame: Frame
    pose: HeadPose
    closure: float


class Camera:
    """
    Draws the films; keeps the head of each person.

    :param mesh: gives the relief of the face
    :param size: of the images, width and height
    """

    def __init__(self, mesh: FaceMesh, size: tuple[int, int] = SIZE) -> None:
        self._mesh, self._size = mesh, size
        self._scene = Scene(size)
        self._heads: dict[Person, TurningHead] = {}

    def picture(self, person: Person, closure: float) -> NDArray[np.uint8]:
        """Draw a person as in the photograph, with a margin round the image."""
        return person.look(self._scene.at(person.narrow + (1 - person.narrow) * closure))

    def head(self, person: Person) -> TurningHead:
        """Give the head of :meth:`picture`."""
        if person not in self._heads:
            picture = self.picture(person, 0.0)
            height, width = picture.shape[:2]
            roi = np.array([[width / 2, height / 2, 0.7 * self._size[1], 0.0]], np.float32)
            for _ in range(_MESH_ROUNDS):
                landmarks = self._mesh.read(picture, roi)[0]
                roi = roi_from_landmarks(landmarks)[None]
            self._heads[person] = TurningHead(landmarks.points, (width, height))
        return self._heads[person]

    def film(self, film: HeadFilm) -> Iterator[HeadFrame]:
        """Yield the images of a film."""
        width, height = self._size
        head = self.head(film.person)
        rng = np.random.default_rng(0)
        shape = (height + _NOISE_SHIFT, width + _NOISE_SHIFT, 3)
        noise = np.rint(rng.normal(0, _NOISE_SIGMA, shape)).astype(np.int16)
        for index in range(film.frames):
            time_s = index / film.fps
            pose, closure = film.pose(time_s), film.closure.at(time_s)
            turned = head.turn(self.picture(film.person, closure), pose)
            top, left = ((np.array(turned.shape[:2]) - (height, width)) // 2).tolist()
            down, right = rng.integers(0, _NOISE_SHIFT, 2).tolist()
            noisy = turned[top:top + height, left:left + width].astype(np.int16)
            noisy += noise[down:down + height, right:right + width]
            image = np.clip(noisy, 0, 255).astype(np.uint8)
            image.flags.writeable = False
            yield HeadFrame(Frame(image, round(index * 1e9 / film.fps), 'camera'), pose, closure)


def nod_films(count: int = 24, seed: int = 0) -> tuple[HeadFilm, ...]:
    """
    Write nods: the lids fall, the head falls after them, jerks up and the eyes open.

    Falls of 17 to 35 degrees in 0.4 to 1.5 s, up to 0.6 s at the bottom, back within 0.25 to 0.6 s;
    the lids go first by 0.1 to 0.6 s and open from 0.05 to 0.3 s into the jerk.
    """
    rng = np.random.default_rng(seed)
    depths = rng.permutation(np.linspace(17, 35, count))
    films = []
    for number, (depth, fps, person) in enumerate(zip(depths, cycle(RATES), cycle(PEOPLE))):
        fall_s, hold_s, jerk_s, lead_s, late_s = (float(rng.uniform(*bounds)) for bounds in (
            (0.4, 1.5), (0.0, 0.6), (0.25, 0.6), (0.1, 0.6), (0.05, 0.3)))
        level = float(rng.uniform(-9, -3))  # the photograph looks a little down
        start = LEAD_S + lead_s
        bottom, jerk, end = (
            start + fall_s, start + fall_s + hold_s, start + fall_s + hold_s + jerk_s)
        shut = float(rng.uniform(0.88, 1.0))
        films.append(HeadFilm(
            name=f'nod_{number:02}', kind='nod', fps=fps, seconds=end + TAIL_S, person=person,
            pitch=_degrees((start, level), (bottom, level + depth), (jerk, level + depth),
                           (end, level + float(rng.uniform(-3, 3)))),
            yaw=_drift(rng, end, 4), roll=_drift(rng, end, 5),
            closure=_lids((LEAD_S, 0.0), (LEAD_S + lead_s + 0.3 * fall_s, shut),
                          (jerk + late_s, shut), (jerk + late_s + 0.25, 0.0)),
            nods=((start, end),)))
    return tuple(films)


def other_films(rounds: int = 4, seed: int = 0) -> tuple[HeadFilm, ...]:
    """
    Write what is no nod of a person who dozes off, each kind once a round.

    ``yes``: nodding with open eyes. ``table``: a look down and back; the lids go down with the gaze
    and are up before the head. ``glance``: the same, quicker, with a blink as the gaze leaves and
    one as it returns. ``reading``: eyes down for long. ``shake``: saying no, with blinks. ``slow``:
    a slow bow with a blink on the way. ``laugh``: the head bobs with narrowed eyes.
    """
    rng = np.random.default_rng(seed + 1)
    kinds: tuple[Callable[[np.random.Generator], _Script], ...] = (
        _yes, _table, _glance, _reading, _shake, _slow, _laugh)
    films = []
    rates, people = cycle(RATES), cycle(PEOPLE)
    for number in range(rounds):
        for kind in kinds:
            script = kind(rng)
            name = kind.__name__.lstrip('_')
            films.append(HeadFilm(
                name=f'{name}_{number}', kind=name, fps=next(rates), seconds=script.end + TAIL_S,
                person=next(people), pitch=_degrees(*script.pitch),
                yaw=_degrees(*script.yaw) if script.yaw else _drift(rng, script.end, 4),
                roll=_drift(rng, script.end, 5), closure=_lids(*script.lids)))
        next(rates)  # so that a kind meets another rate in the next round
    return tuple(films)


Points = list[tuple[float, float]]


@dataclass(slots=True)
class _Script:
    """A movement: degrees and closure by seconds."""

    end: float
    pitch: Points
    lids: Points = field(default_factory=list)
    yaw: Points = field(default_factory=list)


def _yes(rng: np.random.Generator) -> _Script:
    level, deep = float(rng.uniform(-9, -4)), float(rng.uniform(16, 26))
    time, pitch = LEAD_S, [(LEAD_S, level)]
    for _ in range(int(rng.integers(2, 4))):
        pace = float(rng.uniform(0.3, 0.5))
        pitch += [(time + pace, level + deep), (time + 2 * pace, level)]
        time += 2 * pace
    return _Script(time, pitch)


def _table(rng: np.random.Generator) -> _Script:
    level, deep = float(rng.uniform(-9, -4)), float(rng.uniform(18, 30))
    fall, stay, rise = float(rng.uniform(0.4, 0.8)), float(rng.uniform(0.5, 1.6)), 0.6
    low = float(rng.uniform(0.45, 0.65))
    down, up = LEAD_S + fall, LEAD_S + fall + stay
    return _Script(
        up + rise, [(LEAD_S, level), (down, level + deep), (up, level + deep), (up + rise, level)],
        [(LEAD_S, 0.0), (LEAD_S + 0.7 * fall, low), (up - 0.05, low), (up + 0.25, 0.0)])


def _glance(rng: np.random.Generator) -> _Script:
    level, deep = float(rng.uniform(-9, -4)), float(rng.uniform(16, 24))
    fall, stay, rise = 0.35, float(rng.uniform(0.5, 1.0)), 0.4
    low = float(rng.uniform(0.4, 0.6))
    down, up = LEAD_S + fall, LEAD_S + fall + stay
    return _Script(
        up + rise, [(LEAD_S, level), (down, level + deep), (up, level + deep), (up + rise, level)],
        [(LEAD_S, 0.0), (LEAD_S + 0.1, 1.0), (LEAD_S + 0.16, 1.0), (LEAD_S + 0.32, low),
         (up, low), (up + 0.08, 1.0), (up + 0.13, 1.0), (up + 0.3, 0.0)])


def _reading(rng: np.random.Generator) -> _Script:
    level, deep = float(rng.uniform(-9, -4)), float(rng.uniform(20, 30))
    low = float(rng.uniform(0.45, 0.65))
    down, up = LEAD_S + 0.7, LEAD_S + 5.5
    return _Script(
        up + 0.7, [(LEAD_S, level), (down, level + deep), (up, level + deep), (up + 0.7, level)],
        [(LEAD_S, 0.0), (down - 0.2, low), (down + 2.0, low), (down + 2.1, 1.0),
         (down + 2.15, 1.0), (down + 2.35, low), (up, low), (up + 0.3, 0.0)])


def _shake(rng: np.random.Generator) -> _Script:
    level, wide = float(rng.uniform(-8, -2)), float(rng.uniform(18, 30))
    time, yaw = LEAD_S, [(LEAD_S, 0.0)]
    for turn in range(5):
        time += float(rng.uniform(0.25, 0.4))
        yaw.append((time, wide if turn % 2 else -wide))
    yaw.append((time + 0.3, 0.0))
    blink = LEAD_S + 0.5
    return _Script(
        time + 0.3, [(LEAD_S, level), (LEAD_S + 0.6, level + 5), (time, level + 3)],
        [(blink, 0.0), (blink + 0.1, 1.0), (blink + 0.15, 1.0), (blink + 0.35, 0.0)], yaw)


def _slow(rng: np.random.Generator) -> _Script:
    level, deep = float(rng.uniform(-9, -4)), float(rng.uniform(17, 24))
    down, up = LEAD_S + float(rng.uniform(1.2, 1.8)), LEAD_S + float(rng.uniform(1.9, 2.2))
    blink = down - 0.6
    return _Script(
        up + 0.9, [(LEAD_S, level), (down, level + deep), (up, level + deep), (up + 0.9, level)],
        [(blink, 0.0), (blink + 0.1, 1.0), (blink + 0.15, 1.0), (blink + 0.35, 0.0)])


def _laugh(rng: np.random.Generator) -> _Script:
    level, deep = float(rng.uniform(-6, 0)), float(rng.uniform(5, 9))
    low, pace = float(rng.uniform(0.45, 0.6)), float(rng.uniform(0.12, 0.17))
    time, pitch = LEAD_S + 0.4, [(LEAD_S, level), (LEAD_S + 0.4, level - 8)]
    for bob in range(8):
        time += pace
        pitch.append((time, level - 8 + (0 if bob % 2 else deep)))
    pitch += [(time + 0.4, level + 9), (time + 0.9, level)]
    lids = [(LEAD_S, 0.0), (LEAD_S + 0.3, low), (time + 0.5, low), (time + 0.8, 0.0)]
    return _Script(time + 0.9, pitch, lids)


def _degrees(*points: tuple[float, float]) -> Track:
    return Track(tuple((time, math.radians(value)) for time, value in points))


def _drift(rng: np.random.Generator, end: float, most: float) -> Track:
    """A head that nobody holds still: degrees."""
    return _degrees(*((end * part, float(rng.uniform(-most, most))) for part in (0, 0.4, 0.8, 1.2)))


def _lids(*points: tuple[float, float]) -> Track:
    """Lids that blink once before the rest."""
    blink = LEAD_S - 1.6
    return Track((
        (blink, 0.0), (blink + 0.1, 1.0), (blink + 0.15, 1.0), (blink + 0.37, 0.0), *points))
