# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
How large a compressed picture says that it is, read before anything is unpacked.

A PNG of 30,000 x 30,000 zeros has 2.6 MB and takes 2.7 GB once it is unpacked; one of 8 kB that
says it has a part of 2.4 GB makes OpenCV allocate them.
"""

from __future__ import annotations

import struct

PNG_START = b'\x89PNG\r\n\x1a\n'
JPEG_START = b'\xff\xd8'
_ALONE = {0x01, *range(0xd0, 0xd9)}
"""Second bytes of JPEG markers that nothing belongs to (TEM, RST0-7, SOI)."""
_FRAME = set(range(0xc0, 0xd0)) - {0xc4, 0xc8, 0xcc}
"""Second bytes of the markers that begin a frame (SOF0-15; the three left out are tables)."""
_MOST_PARTS = 100_000
"""Of a PNG; of 8 kB each, as libpng writes them, they make 800 MB."""
_MOST_FILL = 16
"""Bytes 0xff that may come before a marker's second byte."""
_MOST_SEGMENTS = 1000
"""Before the frame; an ICC profile and Exif take a few dozen."""


def picture_size(data: bytes | memoryview) -> tuple[int, int]:
    """
    Return width and height in pixels.

    :raises ValueError: neither PNG nor JPEG, no header that says a size, or a PNG that is not
        whole; one line
    """
    start = bytes(data[:24])
    if start.startswith(PNG_START):
        if len(start) < 24 or start[12:16] != b'IHDR':
            raise ValueError('PNG without a header')
        _check_parts(memoryview(data).cast('B'))
        width, height = struct.unpack('>II', start[16:24])
        return width, height
    if start.startswith(JPEG_START):
        return _jpeg_size(memoryview(data).cast('B'))
    raise ValueError('neither JPEG nor PNG')


def _check_parts(data: memoryview) -> None:
    """Make sure that a PNG has all the parts that it speaks of."""
    at = len(PNG_START)
    for _ in range(_MOST_PARTS):
        if at + 12 > len(data):
            break
        length, kind = struct.unpack('>I4s', data[at:at + 8])
        at += 12 + length
        if kind == b'IEND' and at <= len(data):
            return
    raise ValueError('truncated PNG: its parts are longer than it is')


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    at = 2
    for _ in range(_MOST_SEGMENTS):
        lead = bytes(data[at:at + _MOST_FILL])
        filling = len(lead) - len(lead.lstrip(b'\xff'))
        if filling in (0, len(lead)):  # decoders search on; a camera's JPEG has no such thing
            break
        marker = lead[filling]
        at += filling + 1
        if marker in _ALONE or marker == 0:
            continue
        if at + 2 > len(data):
            break
        length = int.from_bytes(data[at:at + 2], 'big')
        if marker in _FRAME:
            if at + 7 > len(data):
                break
            height, width = struct.unpack('>HH', data[at + 3:at + 7])
            return width, height
        if marker in (0xd9, 0xda):  # the end, or the pixels
            break
        at += max(length, 2)
    raise ValueError('JPEG without a frame header')
