# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Where the head points, from the mesh; and nods."""

from __future__ import annotations

from collections import deque
import math

import numpy as np
from numpy.typing import NDArray

CANONICAL_FACE = {
    10: (0.0, 8.261778, 4.481535),
    151: (0.0, 6.545390, 5.027311),
    9: (0.0, 4.885979, 5.385258),
    168: (0.0, 3.271027, 5.236015),
    6: (0.0, 2.473255, 5.788627),
    197: (0.0, 1.728369, 6.316750),
    33: (-4.445859, 2.663991, 3.173422), 263: (4.445859, 2.663991, 3.173422),
    133: (-1.856432, 2.585245, 3.757904), 362: (1.856432, 2.585245, 3.757904),
    127: (-7.743095, 2.364999, -2.005167), 356: (7.743095, 2.364999, -2.005167),
    234: (-7.664182, 0.673132, -2.435867), 454: (7.664182, 0.673132, -2.435867),
    54: (-6.279331, 6.615427, 1.425850), 284: (6.279331, 6.615427, 1.425850),
}
"""
Mesh points that neither speech nor expression moves, in centimetres, x to the person's left, y up,
z out of the face: from MediaPipe's ``canonical_face_model.obj`` (Apache-2.0).
"""

POINTS = np.array(list(CANONICAL_FACE))

LIDS_DOWN_RATIO = 4
"""In a nod the lids are down four times as long as open while the head is low, ..."""
LOW_SHARE = 0.5
"""The head is low beyond this share of its fall."""
FALL_BEGINS = 0.1
"""Share of the fall that the head may have made when the fall begins: it sways before."""
LIDS_DOWN_NS = 250_000_000
"""... and are seen down for longer than a blink takes."""


def _fit() -> NDArray[np.float64]:
    """Return the ``(3, n)`` matrix that takes mesh points to the least-squares linear map."""
    model = np.array([(z, x, y) for x, y, z in CANONICAL_FACE.values()])
    model -= model.mean(axis=0)
    fit = np.linalg.pinv(model)
    return np.asarray(fit - fit.mean(axis=1, keepdims=True), np.float64)


_FIT = _fit()


def head_angles(points: NDArray[np.float32]) -> tuple[float, float, float]:
    """
    Say how the head is turned relative to the camera.

    The linear map that best takes the canonical face to the mesh, made a rotation by
    orthogonalising its left and up axes: a tenth of the cost of PnP, and no focal length to guess.

    :param points: ``(>= 468, 3)`` mesh in image pixels
    :return: roll, pitch, yaw in radians, REP-103: roll > 0 tilts to the person's right shoulder,
        pitch > 0 looks down, yaw > 0 looks to the person's left
    """
    (lx, ly, lz), (ux, uy, uz) = (_FIT @ points[POINTS]).tolist()[1:]
    # Image to REP-103: forward is -z, left is the image's right, up is -y.
    left, up = (-lz, lx, -ly), (-uz, ux, -uy)
    size = math.sqrt(left[0] ** 2 + left[1] ** 2 + left[2] ** 2)
    if not size > 0:
        return math.nan, math.nan, math.nan
    left = (left[0] / size, left[1] / size, left[2] / size)
    along = up[0] * left[0] + up[1] * left[1] + up[2] * left[2]
    up = (up[0] - along * left[0], up[1] - along * left[1], up[2] - along * left[2])
    size = math.sqrt(up[0] ** 2 + up[1] ** 2 + up[2] ** 2)
    if not size > 0:
        return math.nan, math.nan, math.nan
    up = (up[0] / size, up[1] / size, up[2] / size)
    forward = (
        left[1] * up[2] - left[2] * up[1], left[2] * up[0] - left[0] * up[2],
        left[0] * up[1] - left[1] * up[0])
    return (
        math.atan2(left[2], up[2]),
        -math.asin(max(-1.0, min(1.0, forward[2]))),
        math.atan2(forward[1], forward[0]))


class NodDetector:
    """
    A head that falls with the lids down and comes back.

    Who says yes keeps the eyes open, and who looks up from something opens them before the head has
    come up.

    :param drop: least fall, radians
    :param within_s: the whole nod takes no longer, seconds
    """

    MAX_GAP_NS = 1_000_000_000

    def __init__(self, drop: float, within_s: float) -> None:
        self._drop, self._within = drop, int(within_s * 1e9)
        self._upright: deque[tuple[int, float]] = deque()
        self._fall: tuple[int, float] | None = None
        self._lowest = 0.0
        self._low_ns = self._open_ns = 0
        self._last = 0

    def add(
        self, time_ns: int, pitch: float, lids_down: bool | None,
    ) -> tuple[int, int] | None:
        """
        Take in the head's pitch.

        :param lids_down: the eyes are closed or lowered; None where they cannot be seen
        :return: start and end of a nod that is over with this reading, nanoseconds
        """
        upright = self._upright
        if time_ns - self._last > self.MAX_GAP_NS:
            upright.clear()
            self._fall = None
        since, self._last = time_ns - self._last, time_ns
        while upright and upright[0][0] < time_ns - self._within:
            upright.popleft()
        while upright and upright[-1][1] >= pitch:
            upright.pop()
        upright.append((time_ns, pitch))
        if self._fall is None:
            if pitch - upright[0][1] >= self._drop:
                # The head was upright until it had fallen by a tenth of the way.
                level = upright[0][1] + FALL_BEGINS * (pitch - upright[0][1])
                self._fall = next(
                    (at, value) for at, value in reversed(upright) if value <= level)
                self._lowest = pitch
                self._low_ns = self._open_ns = 0
            return None
        start, level = self._fall
        self._lowest = max(self._lowest, pitch)
        if pitch > level + (self._lowest - level) * LOW_SHARE and lids_down is not None:
            if lids_down:
                self._low_ns += since
            else:
                self._open_ns += since
        if time_ns - start > self._within:
            self._fall = None
            upright.clear()
        elif pitch <= level + (self._lowest - level) / 3:
            self._fall = None
            upright.clear()
            down = self._low_ns >= max(LIDS_DOWN_NS, LIDS_DOWN_RATIO * self._open_ns)
            return (start, time_ns) if down else None
        return None
