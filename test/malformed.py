# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Images that no camera should send, by the thousand, the same ones for the same seed.

``fuzz(100_000)`` gives them to the codec and says how each fared; anything but a frame or an
``ImageError`` of one line is raised, with the seed that makes the message again.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
import struct
import zlib

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from aitable_ros.errors import ImageError
from aitable_ros.image_codec import frame_from_compressed, frame_from_image, MAX_PIXELS
from aitable_ros.pixels import ENCODINGS

ODD = (0, 1, 2, 15, 16, 17, 63, 64, 255, 4096, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1)
"""Numbers at which sizes, steps and stamps go wrong."""
MOST_BYTES = 60_000
STRANGE = (
    '', 'rgb8\0', 'RGB8', '32FC1', '8UC17', 'bayer', 'jpeg' * 3000, '\n\n[ERROR] all is well',
    "rgb8'; drop", '\U0001f600', '64FC4', 'mono8 ', 'rgb8; jpeg compressed bgr8')
LONGEST = 700
"""Characters that may be said about one message: the encodings that are known take 300."""


def png(width: int, height: int, body: bytes = b'', depth: int = 8, colour: int = 2) -> bytes:
    """Return a PNG that claims a size, with whatever pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack(
            '>I', zlib.crc32(kind + data))
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    return b''.join((
        b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', header), chunk(b'IDAT', body), chunk(b'IEND', b'')))


def jpeg(width: int, height: int, body: bytes = b'') -> bytes:
    """Return a JPEG that claims a size: a small one with another frame header, or a bare one."""
    _, data = cv2.imencode('.jpg', np.full((32, 32, 3), 90, np.uint8))
    whole = bytearray(data.tobytes())
    frame = whole.index(b'\xff\xc0')
    whole[frame + 5:frame + 9] = struct.pack('>HH', height & 0xffff, width & 0xffff)
    return bytes(whole[:-2]) + body + b'\xff\xd9'


def message(seed: int) -> Image | CompressedImage:
    """Return one message, malformed in one way or several, or by chance not at all."""
    rng = np.random.default_rng(seed)
    made = (_raw if rng.random() < 0.5 else _compressed)(rng)
    stamp = made.header.stamp
    stamp.sec, stamp.nanosec = 1, 0
    if rng.random() < 0.1:
        stamp.sec = int(_odd(rng, 2 ** 31 - 1)) * int(rng.choice([-1, 1]))
        stamp.nanosec = _odd(rng)
    return made


def _odd(rng: np.random.Generator, most: int = 2 ** 32 - 1) -> int:
    return min(int(rng.choice(ODD)), most)


def _noise(rng: np.random.Generator, most: int = MOST_BYTES) -> bytes:
    return rng.integers(0, 256, int(rng.integers(0, most)), np.uint8).tobytes()


def _raw(rng: np.random.Generator) -> Image:
    height, width = (int(side) for side in rng.integers(0, 130, 2))
    encoding = str(rng.choice(ENCODINGS)) if rng.random() < 0.8 else str(rng.choice(STRANGE))
    step = width * int(rng.integers(1, 9))
    data = rng.integers(0, 256, min(step * height * 2, MOST_BYTES), np.uint8).tobytes()
    for _ in range(int(rng.integers(0, 3))):
        match int(rng.integers(0, 5)):
            case 0:
                height = _odd(rng)
            case 1:
                width = _odd(rng)
            case 2:
                step = _odd(rng)
            case 3:
                data = data[:int(rng.integers(0, len(data) + 1))]
            case 4:
                width, height, step = 65535, 65535, 65535 * 3
    return Image(
        height=height, width=width, encoding=encoding, step=step,
        is_bigendian=int(rng.integers(0, 256)), data=array('B', data))


def _compressed(rng: np.random.Generator) -> CompressedImage:
    side = int(rng.integers(1, 120))
    picture = rng.integers(0, 256, (side, side + 3, 3), np.uint8)
    suffix = str(rng.choice(['.jpg', '.png', '.webp', '.bmp', '.tiff']))
    match int(rng.integers(0, 8)):
        case 0:
            data = _noise(rng, 2000)
        case 1:
            data = png(_odd(rng, 2 ** 31 - 1), _odd(rng, 2 ** 31 - 1), _noise(rng, 3000),
                       int(rng.choice([0, 1, 2, 4, 8, 16, 255])), int(rng.integers(0, 8)))
        case 2:
            data = jpeg(_odd(rng, 65535), _odd(rng, 65535), _noise(rng, 3000))
        case 3:
            data = png(30_000, 30_000, zlib.compress(bytes(100_000), 1))
        case 4:
            data = b'\xff\xd8' + b'\xff' * int(rng.integers(0, 50)) + _noise(rng, 300) + b'\xff\xd9'
        case _:
            data = cv2.imencode(suffix, picture)[1].tobytes()
            broken = bytearray(data)
            for _ in range(int(rng.integers(0, 6))):
                broken[int(rng.integers(0, len(broken)))] = int(rng.integers(0, 256))
            data = bytes(broken)
            if rng.random() < 0.3:
                data = data[:int(rng.integers(0, len(data)))]
    form = str(rng.choice(['jpeg', 'png', 'rgb8; jpeg compressed bgr8', *STRANGE,
                           '16UC1; compressedDepth png']))
    return CompressedImage(format=form, data=array('B', data))


def check(one: Image | CompressedImage) -> str:
    """Decode one message; returns the cause of its refusal, or ``frame``."""
    decode: Callable[..., object] = \
        frame_from_image if isinstance(one, Image) else frame_from_compressed
    try:
        frame = decode(one)
    except ImageError as error:
        text = str(error)
        assert not {'\n', '\0'} & set(text), repr(text)
        assert len(text) < LONGEST, len(text)
        return error.cause
    assert frame.image.shape[0] * frame.image.shape[1] <= MAX_PIXELS
    assert frame.image.dtype == np.uint8
    assert frame.stamp_ns > 0
    return 'frame'


def fuzz(count: int, first_seed: int = 0) -> Counter[str]:
    """Decode ``count`` messages; returns how many were refused for which cause, or were frames."""
    fared: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + count):
        try:
            fared[check(message(seed))] += 1
        except Exception as error:
            raise AssertionError(f'malformed.message({seed}): {error!r}') from error
    return fared
