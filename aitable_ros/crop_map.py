# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Level crops: a turned rectangle of an image, cut out upright."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def crop_to_image(
    centre: tuple[float, float], angle: float, scale: float, size: tuple[float, float],
) -> NDArray[np.float64]:
    """
    Return the map from crop pixels to image pixels, as ``cv2.WARP_INVERSE_MAP`` takes it.

    :param centre: x, y of the rectangle in the image, pixels
    :param angle: of its upper edge, radians, clockwise as seen on the screen
    :param scale: image pixels to a crop pixel
    :param size: width and height of the crop, pixels
    :return: ``(2, 3)`` float64
    """
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    x, y = centre
    half_width, half_height = size[0] / 2, size[1] / 2
    return np.array([
        [cos, -sin, x - (cos * half_width - sin * half_height)],
        [sin, cos, y - (sin * half_width + cos * half_height)]])
