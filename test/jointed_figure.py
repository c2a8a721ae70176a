# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A jointed figure of known posture."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.posture_types import Joint, Skeleton

PAIRS = {'HIP': (0.1, 0.0, 0.0), 'SHOULDER': (0.18, -0.5, 0.0), 'EAR': (0.08, -0.72, 0.0),
         'EYE_OUTER': (0.05, -0.74, -0.08), 'WRIST': (0.2, -0.05, -0.3),
         'PINKY': (0.2, -0.05, -0.38), 'INDEX': (0.2, -0.05, -0.38)}
"""Place of the left joint of an upright person, metres; x to the person's left, y down, z back."""

_HEAD = [joint for joint in Joint if 'EAR' in joint.name or 'EYE_OUTER' in joint.name]
_UPPER = [*_HEAD, Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]


@cache
def _called(name: str) -> list[Joint]:
    """Return the joint of a name, or the pair."""
    return [joint for joint in Joint if joint.name.endswith(name)]


def turn(degrees: float, axis: str) -> NDArray[np.float64]:
    """Turn right-handed about x, y or z."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return {
        'x': np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]),
        'y': np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]),
        'z': np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])}[axis]


def figure(
    forward: float = 0, right: float = 0, neck: float = 0, facing: float = 0, depth: bool = True,
    hand_at_head: bool = False, hidden: Collection[str] = (), distance: float | None = None,
    noise: float = 0.0, random: np.random.Generator | None = None,
) -> Skeleton:
    """
    Return a person whose trunk leans by some degrees, whose neck bends, and who turns about.

    :param hidden: names of joints, or of pairs of joints
    :param distance: of the camera, which is as high as the head, metres; None: far away
    :param noise: standard deviation of each joint, metres
    """
    world = np.zeros((33, 3))
    for name, (x, y, z) in PAIRS.items():
        world[Joint[f'LEFT_{name}']] = x, y, z
        world[Joint[f'RIGHT_{name}']] = -x, y, z
    pivot = np.array([0, -0.5, 0])
    world[_HEAD] = (world[_HEAD] - pivot) @ turn(neck, 'x').T + pivot
    world[_UPPER] = world[_UPPER] @ (turn(forward, 'x') @ turn(-right, 'z')).T
    if hand_at_head:
        for name in ('WRIST', 'PINKY', 'INDEX'):
            world[Joint[f'RIGHT_{name}']] = world[Joint.RIGHT_EAR]
    world = world @ turn(facing, 'y').T
    if random is not None:
        world = world + random.normal(0, noise, world.shape)
    points = world.copy()
    if distance is not None:
        eye = np.array([0, -0.72, 0])
        points = (world - eye) * (distance / (distance + world[:, 2:])) + eye
    points = points * 400 + [320, 400, 0]
    visibility = np.ones(33, np.float32)
    for name in hidden:
        visibility[_called(name)] = 0.1
    return Skeleton(
        points.astype(np.float32), visibility,
        (world if depth else np.full((33, 3), np.nan)).astype(np.float32), 1.0)
