# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Image messages to frames: what a message must have, around the decoder in ``pixels``.

Nothing is allocated by what a message claims: a raw image must have the bytes that it speaks of,
and of a compressed one the size is read and held against :data:`MAX_PIXELS` before it is unpacked.
"""

from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aitable_ros.picture_header import JPEG_START
from aitable_ros.picture_header import picture_size
from aitable_ros.pixels import decode
from aitable_ros.pixels import decode_compressed
from aitable_ros.pixels import ENCODINGS
from aitable_ros.types import Frame

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage
    from sensor_msgs.msg import Image

MIN_SIDE = 16
"""Pixels. Nothing smaller holds a face that any of our models can read."""
MAX_SIDE = 16384
"""Pixels. OpenCV's warps address at most twice that; no camera comes near."""
MAX_PIXELS = 1 << 26
"""67 megapixels (8192 x 8192), 200 MB of RGB: the largest image that is read, raw or compressed."""
MOST_RATIO = 2000
"""Bytes of RGB for a byte of a compressed image: deflate comes to 1032, a gray JPEG to some 200."""
JPEG_END = b'\xff\xd9'
JPEG_TAIL = 512
"""Bytes. Cameras pad an MJPEG buffer with zeros; the end marker is looked for in the last ones."""
SECOND_NS = 1_000_000_000
MOST_SHOWN = 40
"""Characters of a message's own text in what is said about it: it goes into the log."""


class ImageError(ValueError):
    """
    An image message that cannot be used.

    :param cause: one word for throttling and counting: ``stamp``, ``size``, ``data``, ``encoding``,
        ``layout``, ``jump``
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def frame_from_image(message: Image) -> Frame:
    """
    Decode a ``sensor_msgs/Image``.

    An ``rgb8`` image without row padding is not copied: the frame looks into the message.

    :raises ImageError: with the cause, for anything malformed
    """
    stamp = _stamp_ns(message)
    height, width, encoding = int(message.height), int(message.width), str(message.encoding)
    _check_size(width, height)
    if not len(message.data):
        raise ImageError('data', f'empty data in a {width}x{height} {_shown(encoding)} image')
    if encoding not in ENCODINGS:
        return _frame(_by_cv_bridge(message), stamp, message)
    try:
        rgb = decode(
            encoding, width, height, int(message.step), bool(message.is_bigendian), message.data)
    except ValueError as error:
        raise ImageError('layout', str(error)) from None
    return _frame(rgb, stamp, message)


def frame_from_compressed(message: CompressedImage) -> Frame:
    """
    Decode a ``sensor_msgs/CompressedImage``: JPEG or PNG.

    OpenCV unpacks more kinds; no camera driver sends them, and some go through files.

    :raises ImageError: with the cause, for anything malformed
    """
    stamp = _stamp_ns(message)
    data = np.frombuffer(message.data, np.uint8)
    form = _shown(str(message.format))
    if not data.size:
        raise ImageError('data', f'empty data in a compressed image of format {form}')
    if 'compressedDepth' in str(message.format):
        raise ImageError('data', f'compressed image format {form} is a depth image, not a picture')
    try:
        width, height = picture_size(data.data)
        _check_size(width, height)
        if width * height * 3 > data.size * MOST_RATIO:
            raise ImageError('size', f'{data.size} bytes cannot be an image of {width}x{height}')
    except ImageError:
        raise
    except ValueError as error:
        raise ImageError(
            'data', f'compressed image of {data.size} bytes and format {form}: {error}') from None
    tail = data[-JPEG_TAIL:].tobytes().rstrip(b'\0')
    if data[:2].tobytes() == JPEG_START and not tail.endswith(JPEG_END):
        # OpenCV would fill the rest with gray, and in a gray face nobody's eyes are open.
        raise ImageError('data', f'truncated JPEG of {data.size} bytes: no end marker')
    try:
        rgb = decode_compressed('', data)
    except ValueError:
        raise ImageError(
            'data', f'compressed image of {data.size} bytes and format {form} cannot be decoded',
        ) from None
    _check_size(rgb.shape[1], rgb.shape[0])
    return _frame(rgb, stamp, message)


def _frame(rgb: NDArray[np.uint8], stamp: int, message: Any) -> Frame:
    view = rgb.view()
    view.flags.writeable = False  # several nodes look at it
    return Frame(view, stamp, str(message.header.frame_id))


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    seconds, nanoseconds = int(stamp.sec), int(stamp.nanosec)
    if seconds < 0 or nanoseconds >= SECOND_NS:
        raise ImageError('stamp', f'header stamp {seconds} s + {nanoseconds} ns is not a time')
    if seconds == 0 and nanoseconds == 0:
        raise ImageError('stamp', 'header stamp is 0: the camera driver does not stamp its images')
    return seconds * SECOND_NS + nanoseconds


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


def _by_cv_bridge(message: Any) -> NDArray[np.uint8]:
    """Ask cv_bridge, where it is installed and works with this numpy (vision_opencv issue 535)."""
    known = ', '.join(ENCODINGS)
    encoding = _shown(message.encoding)
    try:
        from cv_bridge import CvBridge

        rgb = CvBridge().imgmsg_to_cv2(message, desired_encoding='rgb8')
    except ImportError:
        raise ImageError(
            'encoding', f'encoding {encoding} is not one of {known} (with cv_bridge '
            'installed there would be more)') from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ImageError(
            'encoding', f'encoding {encoding} is not one of {known}, and cv_bridge says: '
            f'{reason[:200]}') from None
    return np.ascontiguousarray(rgb, np.uint8)
