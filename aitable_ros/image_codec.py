# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Image messages to frames: the checks of a message, around the decoder in ``pixels``.

No claim of a message is trusted with memory: a raw image must have the bytes that its size needs,
and the size of a compressed one is read and checked against :data:`MAX_PIXELS` before decoding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import header_stamp_ns
from aitable_ros.errors import ImageError
from aitable_ros.picture_header import is_whole_jpeg, JPEG_START, picture_size, PNG_START
from aitable_ros.pixels import decode, decode_compressed, DEPTH, ENCODINGS, SampleRange
from aitable_ros.types import Frame

MIN_SIDE = 16
"""Pixels. Nothing smaller holds a face that any of our models can read."""
MAX_SIDE = 16384
"""Pixels. OpenCV's warps address at most twice that; no camera comes near."""
MAX_PIXELS = 1 << 26
"""67 megapixels (8192 x 8192), 200 MB of RGB: the largest image that is read, raw or compressed."""
MOST_RATIO = 2000
"""Bytes of RGB for a byte of a compressed image: deflate comes to 1032, a gray JPEG to some 200."""
MOST_SHOWN = 40
"""Characters of a message's own text in an error, which goes into the log."""


class ImageDecoder:
    """
    Decodes the images of one camera to RGB, for the nodes and for the readers of recordings.

    :param topic: of the camera. One with ``depth`` in its name has distances in ``16UC1`` and
        ``mono16`` (REP 118), which are refused there; elsewhere these are infrared pictures
    """

    def __init__(self, topic: str = '') -> None:
        self._samples = SampleRange()
        self._is_depth = 'depth' in topic.lower()

    def raw(self, message: Any) -> NDArray[np.uint8]:
        """
        Decode a ``sensor_msgs/Image``, of rclpy or of rosbags.

        :return: ``(height, width, 3)`` RGB; of ``rgb8`` without row padding not copied
        :raises ImageError: with the cause, for anything malformed
        """
        height, width, encoding = int(message.height), int(message.width), str(message.encoding)
        _check_size(width, height)
        if not len(message.data):
            raise ImageError('data', f'empty data in a {width}x{height} {_shown(encoding)} image')
        if encoding in DEPTH or (self._is_depth and encoding in ('16UC1', 'mono16')):
            raise ImageError('encoding', f'encoding {_shown(encoding)} is not supported: a depth '
                             'or disparity image is no picture; name the camera topic beside it')
        if encoding not in ENCODINGS:
            raise ImageError('encoding', f'encoding {_shown(encoding)} is not one of '
                             f'{", ".join(ENCODINGS)}')
        try:
            return decode(
                encoding, width, height, int(message.step), bool(message.is_bigendian),
                message.data, self._samples)
        except ValueError as error:
            raise ImageError('layout', str(error)) from None

    def compressed(self, format_: str, data: Any) -> NDArray[np.uint8]:
        """
        Decode the fields of a ``sensor_msgs/CompressedImage``, or a picture file.

        JPEG, PNG, TIFF, WebP, AVIF (where OpenCV has it), BMP, PGM and PPM; OpenCV unpacks more
        kinds, but some of them through files.

        :param format_: the message's, or the ending of a file's name
        :return: ``(height, width, 3)`` RGB
        :raises ImageError: with the cause, for anything malformed
        """
        data = np.frombuffer(data, np.uint8)
        form = _shown(format_)
        if not data.size:
            raise ImageError('data', f'empty data in a compressed image of format {form}')
        if 'compressedDepth' in format_:
            raise ImageError(
                'data', f'compressed image format {form} is a depth image, not a picture')
        start = data[:len(PNG_START)].tobytes()
        is_jpeg = start.startswith(JPEG_START)
        try:
            width, height = picture_size(data.data)
            _check_size(width, height)
            if (is_jpeg or start == PNG_START) and width * height * 3 > data.size * MOST_RATIO:
                raise ImageError(
                    'size', f'{data.size} bytes cannot be an image of {width}x{height}')
        except ImageError:
            raise
        except ValueError as error:
            raise ImageError(
                'data', f'compressed image of {data.size} bytes and format {form}: {error}',
            ) from None
        if is_jpeg and not is_whole_jpeg(data.data):
            # OpenCV would fill the rest with gray, and a gray face has no open eyes.
            raise ImageError('data', f'truncated JPEG of {data.size} bytes: no end marker')
        try:
            rgb = decode_compressed('', data, self._samples)
        except ValueError:
            raise ImageError(
                'data', f'compressed image of {data.size} bytes and format {form} cannot be '
                'decoded') from None
        _check_size(rgb.shape[1], rgb.shape[0])
        return rgb


def frame_from_image(message: Any, decoder: ImageDecoder | None = None) -> Frame:
    """
    Make a frame of a ``sensor_msgs/Image``; an ``rgb8`` one without row padding is not copied.

    :param decoder: the camera's; default: one for this image
    :raises ImageError: with the cause, for anything malformed
    """
    stamp = _stamp_ns(message)
    return _frame((decoder or ImageDecoder()).raw(message), stamp, message)


def frame_from_compressed(
    message: Any, decoder: ImageDecoder | None = None,
) -> Frame:
    """
    Make a frame of a ``sensor_msgs/CompressedImage``.

    :param decoder: the camera's; default: one for this image
    :raises ImageError: with the cause, for anything malformed
    """
    stamp = _stamp_ns(message)
    rgb = (decoder or ImageDecoder()).compressed(str(message.format), message.data)
    return _frame(rgb, stamp, message)


def _frame(rgb: NDArray[np.uint8], stamp: int, message: Any) -> Frame:
    view = rgb.view()
    view.flags.writeable = False  # several nodes look at it
    return Frame(view, stamp, str(message.header.frame_id))


def _stamp_ns(message: Any) -> int:
    try:
        stamp = header_stamp_ns(message)
    except ValueError as error:
        raise ImageError('stamp', f'header {error}') from None
    if not stamp:
        raise ImageError('stamp', 'header stamp is 0: the camera driver does not stamp its images')
    return stamp


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise ImageError(
            'size', f'image of {width}x{height}; sides of {MIN_SIDE} to {MAX_SIDE} are read')
    if width * height > MAX_PIXELS:
        raise ImageError(
            'size', f'image of {width}x{height}; at most {MAX_PIXELS >> 20} megapixels are read')


def _shown(text: str) -> str:
    """Return a message's text fit for one line of a log."""
    return repr(text if len(text) <= MOST_SHOWN else f'{text[:MOST_SHOWN]}...')
