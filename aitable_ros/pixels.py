# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
From the bytes of a ``sensor_msgs`` image to RGB: the one decoder of nodes and bag reader.

No ROS here: the functions take a message's fields. cv_bridge is not used because the released ones
break under numpy 2 (ros-perception/vision_opencv issue 535).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
Convert = Callable[[NDArray[Any]], Any]


@dataclass(frozen=True, slots=True)
class _Layout:
    """
    How an encoding lays out a row.

    :param channels: samples per pixel and row position (2 for the interleaved 4:2:2 encodings)
    :param sample: ``u1`` or ``u2``
    :param convert: from ``(height, width, channels)`` (channels dropped where 1) to RGB uint8
    :param chroma: rows of chroma below the image, per row of the image
    :param even: width and, with chroma, height must be even
    """

    channels: int
    convert: Convert
    sample: str = 'u1'
    chroma: float = 0.0
    even: bool = False


def _with(code: int) -> Convert:
    return lambda pixels: cv2.cvtColor(pixels, code)


def _narrow(then: Convert) -> Convert:
    """16 bits to the 8 highest ones, as cv_bridge does."""
    return lambda pixels: then((pixels >> 8).astype(np.uint8))


def _same(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels


_LAYOUTS = {
    'rgb8': _Layout(3, _same),
    'bgr8': _Layout(3, _with(cv2.COLOR_BGR2RGB)),
    'rgba8': _Layout(4, _with(cv2.COLOR_RGBA2RGB)),
    'bgra8': _Layout(4, _with(cv2.COLOR_BGRA2RGB)),
    'mono8': _Layout(1, _with(cv2.COLOR_GRAY2RGB)),
    'rgb16': _Layout(3, _narrow(_same), 'u2'),
    'bgr16': _Layout(3, _narrow(_with(cv2.COLOR_BGR2RGB)), 'u2'),
    'mono16': _Layout(1, _narrow(_with(cv2.COLOR_GRAY2RGB)), 'u2'),
    'yuv422': _Layout(2, _with(cv2.COLOR_YUV2RGB_UYVY), even=True),
    'yuv422_yuy2': _Layout(2, _with(cv2.COLOR_YUV2RGB_YUY2), even=True),
    'nv12': _Layout(1, _with(cv2.COLOR_YUV2RGB_NV12), chroma=0.5, even=True),
    'nv21': _Layout(1, _with(cv2.COLOR_YUV2RGB_NV21), chroma=0.5, even=True),
    # OpenCV names a Bayer pattern after its second row and column, ROS after its first.
    'bayer_rggb8': _Layout(1, _with(cv2.COLOR_BayerBG2RGB)),
    'bayer_bggr8': _Layout(1, _with(cv2.COLOR_BayerRG2RGB)),
    'bayer_gbrg8': _Layout(1, _with(cv2.COLOR_BayerGR2RGB)),
    'bayer_grbg8': _Layout(1, _with(cv2.COLOR_BayerGB2RGB)),
}
_ALIASES = {
    'uyvy': 'yuv422',  # the names since ROS 2 Iron
    'yuyv': 'yuv422_yuy2',
    '8UC1': 'mono8',  # what OpenCV programs send that leave the encoding to cv_bridge
    '8UC3': 'bgr8',
    '8UC4': 'bgra8',
    '16UC1': 'mono16',
}
ENCODINGS: Sequence[str] = (*_LAYOUTS, *_ALIASES)
"""Every encoding that :func:`decode` knows."""


def decode(
    encoding: str, width: int, height: int, step: int, is_bigendian: bool, data: Any,
) -> RGB:
    """
    Decode the fields of a ``sensor_msgs/Image``.

    :param step: bytes from one row to the next, padding included
    :param data: anything with a buffer: bytes, ``array.array('B')``, ``(n,)`` uint8
    :return: ``(height, width, 3)`` uint8 RGB, C-contiguous; for ``rgb8`` without padding it shares
        memory with ``data``
    :raises ValueError: unknown encoding, no pixels, or ``step`` or ``data`` too short; one line
    """
    layout = _LAYOUTS.get(_ALIASES.get(encoding, encoding))
    if layout is None:
        raise ValueError(
            f"image encoding '{encoding}' is not supported; supported are {', '.join(_LAYOUTS)}")
    if width < 1 or height < 1:
        raise ValueError(f'image of {width}x{height} pixels is empty')
    if layout.even and (width % 2 or (layout.chroma and height % 2)):
        raise ValueError(f'a {encoding} image cannot be {width}x{height}: its colour covers pairs')
    size = int(layout.sample[1])
    used = width * layout.channels * size
    if step < used:
        raise ValueError(
            f'image step is {step} bytes, but a row of {width} {encoding} pixels takes {used}')
    rows = height + int(height * layout.chroma)
    buffer = np.frombuffer(data, np.uint8)
    if buffer.size < step * rows:
        raise ValueError(
            f'image data has {buffer.size} bytes, but {rows} rows of {step} bytes take '
            f'{step * rows}')
    pixels: NDArray[Any] = buffer[:step * rows].reshape(rows, step)[:, :used]
    if size > 1:
        pixels = np.ascontiguousarray(pixels).view(
            np.dtype(layout.sample).newbyteorder('>' if is_bigendian else '<'))
    if layout.channels > 1:
        pixels = pixels.reshape(rows, width, layout.channels)
    try:
        return np.ascontiguousarray(layout.convert(pixels), np.uint8)
    except cv2.error:  # a Bayer image of a pixel or two has no neighbours to interpolate from
        raise ValueError(f'a {encoding} image of {width}x{height} cannot be converted') from None


def decode_compressed(format_: str, data: Any) -> RGB:
    """
    Decode the fields of a ``sensor_msgs/CompressedImage``.

    :param format_: the message's ``format``, such as ``jpeg`` or ``bgr8; jpeg compressed bgr8``;
        only used to refuse depth and to name what failed: the bytes say what they are
    :return: ``(height, width, 3)`` uint8 RGB, C-contiguous
    :raises ValueError: not a picture that OpenCV can decode; one line
    """
    if 'compressedDepth' in format_:
        raise ValueError(f"compressed image format '{format_}' is a depth image, not a picture")
    buffer = np.frombuffer(data, np.uint8)
    try:
        picture = cv2.imdecode(buffer, cv2.IMREAD_COLOR) if buffer.size else None
    except cv2.error:
        picture = None
    if picture is None:
        raise ValueError(
            f"compressed image of {buffer.size} bytes and format '{format_}' cannot be decoded")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
