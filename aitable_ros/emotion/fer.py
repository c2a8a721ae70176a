# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
``fer``'s mini-Xception: seven expressions from 64 gray pixels, the embedded default.

One crop gives an unsteady answer. So a face is cut level twice, framed by its key points, once as
tightly as FER-2013 frames faces and once wider and mirrored, contrast stretched, and the two
answers are averaged as logarithms. Of 1415 changed copies of the labelled pictures (turned, padded,
scaled, darkened, noisy; key points of five sources) 0.80 are read right, 0.69 by the package's own
recipe; one size and its mirror image gives 0.77 to 0.79, two sizes with theirs, for twice the time,
0.80. CLAHE and equalisation lost. The frame follows the key points alone, so it is the same
whichever detector, or the mesh, has placed them.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.reading import CLASSES
from aitable_ros.emotion.reading import Reading
from aitable_ros.emotion.reading import run_batch
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection
from aitable_ros.types import Expression
from aitable_ros.types import TrackedFace

SIZE = 64
SIDES = (2.6, 3.3)
"""Sides of the two crops, in distances between the eyes; the second is mirrored."""
EYE_TO_MOUTH = 0.935
"""Distance between the eyes over distance from eyes to mouth, of a face seen from the front."""
BELOW_EYES = 0.12
"""Centre of a crop below the line of the eyes, in sides."""
MARGIN_PX = 10
"""Without key points, the recipe of the ``fer`` package: the box made square, plus 10 pixels."""
Square = tuple[float, float, float, float]
"""Centre x, centre y, side in pixels, angle in radians, clockwise as seen."""
FLOOR = 1e-6
"""Probability under which a class counts as ruled out; keeps the logarithm finite."""
CLASS_ORDER = (
    Expression.ANGER, Expression.DISGUST, Expression.FEAR, Expression.HAPPY, Expression.SAD,
    Expression.SURPRISE, Expression.NEUTRAL)
"""The model's outputs, in order."""
CIRCUMPLEX = {
    Expression.NEUTRAL: (0.0, 0.0),
    Expression.HAPPY: (0.81, 0.51),
    Expression.SAD: (-0.63, -0.27),
    Expression.SURPRISE: (0.40, 0.67),
    Expression.FEAR: (-0.64, 0.60),
    Expression.DISGUST: (-0.60, 0.35),
    Expression.ANGER: (-0.51, 0.59),
}
"""
Valence and arousal of the seven words: mean pleasure and arousal ratings in Russell & Mehrabian,
"Evidence for a three-factor theory of emotions", J. Research in Personality 11 (1977), the figures
behind Russell's circumplex (1980). Neutral is the origin.
"""


class Fer:
    """
    Read expressions with ``fer``; valence and arousal are derived from them, not measured.

    They are the expectation of :data:`CIRCUMPLEX` under the class probabilities.

    :param backend: ``(n, 1, 64, 64)`` gray in [-1, 1] to ``probs`` ``(n, 7)``
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._order = np.array(CLASS_ORDER, np.intp)
        self._circumplex = np.array([CIRCUMPLEX[name] for name in CLASS_ORDER], np.float32)

    def read(self, image: NDArray[np.uint8], faces: Sequence[TrackedFace]) -> list[Reading]:
        """Read both views of all faces in one run."""
        crops = np.stack([views(image, face.detection) for face in faces])
        batch = (crops.reshape(-1, 1, SIZE, SIZE) / np.float32(127.5) - 1).astype(np.float32)
        probs = run_batch(self._backend, batch)['probs'].reshape(len(faces), -1, len(CLASS_ORDER))
        mean = np.exp(np.log(probs + FLOOR).mean(axis=1))
        mean /= mean.sum(axis=1, keepdims=True)
        probabilities = np.zeros((len(faces), CLASSES), np.float32)
        probabilities[:, self._order] = mean
        return [
            Reading(row, float(valence), float(arousal))
            for row, (valence, arousal) in zip(probabilities, mean @ self._circumplex)]


def views(image: NDArray[np.uint8], detection: Detection) -> NDArray[np.uint8]:
    """
    Cut a face as it is shown to the model.

    :param image: ``(h, w, 3)`` uint8 RGB
    :return: ``(2, 64, 64)`` uint8 gray; the second is mirrored
    """
    wanted = squares(detection)
    patch, origin, shrunk = _gray_patch(image, wanted[-1])
    tight, wide = (
        _cut(patch, (x - origin[0]) / shrunk, (y - origin[1]) / shrunk, side / shrunk, angle)
        for x, y, side, angle in wanted)
    return np.stack([tight, wide[:, ::-1]])


def squares(detection: Detection) -> tuple[Square, Square]:
    """Say where to cut; the second square has the first in it."""
    x1, y1, x2, y2 = (float(value) for value in detection.box)
    points = detection.keypoints.astype(np.float64)
    eyes = points[1] - points[0] if len(points) >= 3 else np.zeros(2)
    between = math.hypot(*eyes)
    if between < 1.0:
        plain = (x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, y2 - y1) + 2 * MARGIN_PX, 0.0
        return plain, plain
    middle = (points[0] + points[1]) / 2
    if len(points) > 3:
        # Five points end in the corners of the mouth, BlazeFace's six have its middle.
        mouth = points[3:5].mean(axis=0) if len(points) == 5 else points[3]
        between = (between + EYE_TO_MOUTH * math.hypot(*(mouth - middle))) / 2
    angle = math.atan2(eyes[1], eyes[0])
    down = np.array([-math.sin(angle), math.cos(angle)]) * BELOW_EYES
    tight, wide = (
        (*(middle + down * side * between).tolist(), side * between, angle) for side in SIDES)
    return tight, wide


def _gray_patch(
    image: NDArray[np.uint8], wanted: Square,
) -> tuple[NDArray[np.uint8], tuple[int, int], int]:
    """Return the part of the image that the square lies in, gray; its corner; its shrinking."""
    x, y, side, _ = wanted
    reach = side * math.sqrt(0.5) + 2
    height, width = image.shape[:2]
    left, top = min(max(int(x - reach), 0), width - 1), min(max(int(y - reach), 0), height - 1)
    right = max(min(math.ceil(x + reach), width), left + 1)
    bottom = max(min(math.ceil(y + reach), height), top + 1)
    gray = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    # Averaged down first: a warp samples single pixels, and is slow on many.
    shrunk = min(max(int(side / (2 * SIZE)), 1), *gray.shape)
    if shrunk > 1:
        rows, columns = gray.shape[0] // shrunk, gray.shape[1] // shrunk
        whole = gray[:rows * shrunk, :columns * shrunk]
        gray = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8), (left, top), shrunk


def _cut(
    gray: NDArray[np.uint8], x: float, y: float, side: float, angle: float,
) -> NDArray[np.uint8]:
    """Cut a turned square and stretch its contrast; outside the image its edge goes on."""
    fine = 2 * SIZE
    scale = side / fine
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    half = (fine - 1) / 2
    to_image = np.array([
        [cos, -sin, x - 0.5 - (cos - sin) * half], [sin, cos, y - 0.5 - (sin + cos) * half]])
    turned = cv2.warpAffine(
        gray, to_image, (fine, fine), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE)
    small = np.asarray(cv2.resize(turned, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.float32)
    low, high = float(small.min()), float(small.max())
    return np.asarray((small - low) * (255 / max(high - low, 1)), np.uint8)
