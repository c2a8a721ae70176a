# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
From the bytes of a ``sensor_msgs`` image to RGB.

No ROS here: the functions take a message's fields. cv_bridge is not used because the released ones
break under numpy 2 (ros-perception/vision_opencv issue 535).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    :param sample: numpy's name of a sample's type; all but ``u1`` come as 8 bits to ``convert``
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


def _same(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels


def _nv24(pixels: NDArray[Any]) -> Any:
    """Luma at full size, then as many pairs of chroma; OpenCV has no code for it."""
    height, width = len(pixels) // 3, pixels.shape[1]
    chroma = pixels[height:].reshape(height, width, 2)
    return cv2.transform(np.dstack([pixels[:height], chroma]), _YUV_TO_RGB)


_YUV_TO_RGB = np.array([  # ITU-R BT.601, luma 16 ... 235, as OpenCV's other YUV codes have it
    [1.164, 0.0, 1.596, -16 * 1.164 - 128 * 1.596],
    [1.164, -0.392, -0.813, -16 * 1.164 + 128 * (0.392 + 0.813)],
    [1.164, 2.017, 0.0, -16 * 1.164 - 128 * 2.017]])
_BGR, _BGRA, _GRAY = map(_with, (cv2.COLOR_BGR2RGB, cv2.COLOR_BGRA2RGB, cv2.COLOR_GRAY2RGB))
# OpenCV names a Bayer pattern after its second row and column, ROS after its first.
_BAYER = {'rggb': cv2.COLOR_BayerBG2RGB, 'bggr': cv2.COLOR_BayerRG2RGB,
          'gbrg': cv2.COLOR_BayerGR2RGB, 'grbg': cv2.COLOR_BayerGB2RGB}
_LAYOUTS = {
    'rgb8': _Layout(3, _same),
    'bgr8': _Layout(3, _BGR),
    'rgba8': _Layout(4, _with(cv2.COLOR_RGBA2RGB)),
    'bgra8': _Layout(4, _BGRA),
    'mono8': _Layout(1, _GRAY),
    'rgb16': _Layout(3, _same, 'u2'),
    'bgr16': _Layout(3, _BGR, 'u2'),
    'rgba16': _Layout(4, _with(cv2.COLOR_RGBA2RGB), 'u2'),
    'bgra16': _Layout(4, _BGRA, 'u2'),
    'mono16': _Layout(1, _GRAY, 'u2'),
    'yuv422': _Layout(2, _with(cv2.COLOR_YUV2RGB_UYVY), even=True),
    'yuv422_yuy2': _Layout(2, _with(cv2.COLOR_YUV2RGB_YUY2), even=True),
    'nv12': _Layout(1, _with(cv2.COLOR_YUV2RGB_NV12), chroma=0.5, even=True),
    'nv21': _Layout(1, _with(cv2.COLOR_YUV2RGB_NV21), chroma=0.5, even=True),
    'nv24': _Layout(1, _nv24, chroma=2.0),
    **{f'bayer_{name}8': _Layout(1, _with(code)) for name, code in _BAYER.items()},
    **{f'bayer_{name}16': _Layout(1, _with(code), 'u2') for name, code in _BAYER.items()},
    # OpenCV's own types, with its order of colours; samples below 0 are black.
    **{f'{kind}C{channels}': _Layout(channels, convert, sample)
       for kind, sample in (('8S', 'i1'), ('16S', 'i2'), ('32S', 'i4'), ('32F', 'f4'),
                            ('64F', 'f8'))
       for channels, convert in ((3, _BGR), (4, _BGRA))},
}
_ALIASES = {
    'uyvy': 'yuv422',  # the names since ROS 2 Iron
    'yuyv': 'yuv422_yuy2',
    '8UC1': 'mono8',  # sent by OpenCV programs that leave the encoding to cv_bridge
    '8UC3': 'bgr8',
    '8UC4': 'bgra8',
    '16UC1': 'mono16',
    '16UC3': 'bgr16',
    '16UC4': 'bgra16',
}
ENCODINGS: Sequence[str] = (*_LAYOUTS, *_ALIASES)
"""Every encoding that :func:`decode` knows."""
DEPTH = ('32FC1', '64FC1', '8SC1', '16SC1', '32SC1')
"""One channel of signed or fractional numbers: a distance (REP 118), a disparity, no brightness."""
_BITS = (8, 10, 12, 14, 16)
"""Of camera sensors whose samples come in 16 bits."""


class SampleRange:
    """
    The range of a camera's samples, found in its images: one object for each camera.

    Sensors of 10 or 12 bits are published in 16, mostly in the low ones, and no field of the
    message says so. The range found only grows, so that the brightness does not flicker.
    """

    def __init__(self) -> None:
        self._bits = _BITS[0]
        self._most = 1.0

    def to_8_bits(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """
        Scale samples of any kind to 8 bits; those below 0 become 0, those that are no number too.

        :param pixels: any shape; fractions are taken as 0 ... 1 unless there are larger ones, then
            as 0 ... 255
        """
        if pixels.dtype.kind == 'f':
            pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
            self._most = max(self._most, float(pixels.max(initial=0.0)))
            scale = 255.0 if self._most <= 1.0 else 1.0
            return np.clip(pixels * scale, 0, 255).astype(np.uint8)
        if pixels.dtype.kind == 'i':
            pixels = np.clip(pixels, 0, 65535).astype(np.uint16)
        used = int(pixels.max(initial=0)).bit_length()
        self._bits = max(self._bits, next(bits for bits in _BITS if bits >= used))
        return (pixels >> (self._bits - 8)).astype(np.uint8)


def decode(
    encoding: str, width: int, height: int, step: int, is_bigendian: bool, data: Any,
    samples: SampleRange | None = None,
) -> RGB:
    """
    Decode the fields of a ``sensor_msgs/Image``.

    :param step: bytes from one row to the next, padding included
    :param data: anything with a buffer: bytes, ``array.array('B')``, ``(n,)`` uint8
    :param samples: of the camera, where its images have more than 8 bits; default: this image alone
    :return: ``(height, width, 3)`` uint8 RGB, C-contiguous; for ``rgb8`` without padding it shares
        memory with ``data``
    :raises ValueError: unknown encoding, no pixels, or ``step`` or ``data`` too short; one line
    """
    layout = _LAYOUTS.get(_ALIASES.get(encoding, encoding))
    if encoding in DEPTH:
        raise ValueError(f"image encoding '{encoding}' is not supported: a depth or disparity "
                         'image is no picture; name the camera topic beside it')
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
    if layout.sample != 'u1':
        if layout.sample == 'i1':
            pixels = pixels.view(np.int8)
        pixels = (samples or SampleRange()).to_8_bits(pixels)
    if layout.channels > 1:
        pixels = pixels.reshape(rows, width, layout.channels)
    try:
        return np.ascontiguousarray(layout.convert(pixels), np.uint8)
    except cv2.error:  # a Bayer image of a pixel or two has no neighbours to interpolate from
        raise ValueError(f'a {encoding} image of {width}x{height} cannot be converted') from None


def decode_compressed(format_: str, data: Any, samples: SampleRange | None = None) -> RGB:
    """
    Decode the fields of a ``sensor_msgs/CompressedImage``, or a picture file.

    :param format_: the message's ``format``, such as ``jpeg`` or ``bgr8; jpeg compressed bgr8``;
        only used to refuse depth and to name what failed: the bytes say what they are
    :param samples: as for :func:`decode`
    :return: ``(height, width, 3)`` uint8 RGB, C-contiguous
    :raises ValueError: not a picture that OpenCV can decode; one line
    """
    if 'compressedDepth' in format_:
        raise ValueError(f"compressed image format '{format_}' is a depth image, not a picture")
    buffer = np.frombuffer(data, np.uint8)
    try:
        picture = cv2.imdecode(
            buffer, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if buffer.size else None
    except cv2.error:
        picture = None
    if picture is None or picture.ndim != 3:
        raise ValueError(
            f"compressed image of {buffer.size} bytes and format '{format_}' cannot be decoded")
    pixels: NDArray[Any] = picture
    if pixels.dtype != np.uint8:
        pixels = (samples or SampleRange()).to_8_bits(pixels)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
