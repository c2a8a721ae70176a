# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
How large a compressed picture says that it is, read before anything is unpacked.

A PNG of 30,000 x 30,000 zeros has 2.6 MB and takes 2.7 GB once it is unpacked; one of 8 kB that
says it has a part of 2.4 GB makes OpenCV allocate them.
"""

from __future__ import annotations

import re
import struct

import numpy as np

HEAD_BYTES = 16384
"""Looked at for a size: the boxes before an AVIF's pixels, the comments of a PGM."""
JPEG_END = b'\xff\xd9'
JPEG_TAIL = 512
"""Bytes. Cameras pad an MJPEG buffer with zeros; the end marker is looked for there first."""
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
    Return width and height in pixels of a JPEG, PNG, TIFF, WebP, AVIF, BMP, PGM or PPM.

    :raises ValueError: none of these, no header that says a size, or a PNG or JPEG that is not
        whole; one line
    """
    whole = memoryview(data).cast('B')
    start = bytes(whole[:HEAD_BYTES])
    try:
        for tell in (_png_size, _jpeg_size, _tiff_size, _webp_size, _avif_size, _bmp_size,
                     _pnm_size):
            size = tell(start, whole)
            if size is not None:
                return size
    except (struct.error, IndexError):
        raise ValueError('a picture without a whole header') from None
    raise ValueError('neither JPEG nor PNG, TIFF, WebP, AVIF or BMP')


def is_picture_start(start: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a kind that :func:`picture_size` knows."""
    return start.startswith((PNG_START, JPEG_START + b'\xff', b'II*\0', b'MM\0*')) or (
        start[:4] == b'RIFF' and start[8:12] == b'WEBP') or (
        start[4:8] == b'ftyp' and start[8:12] == b'avif')


def _png_size(start: bytes, data: memoryview) -> tuple[int, int] | None:
    if not start.startswith(PNG_START):
        return None
    if len(data) < 24 or start[12:16] != b'IHDR':
        raise ValueError('PNG without a header')
    _check_parts(data)
    return struct.unpack_from('>II', start, 16)


def _tiff_size(start: bytes, data: memoryview) -> tuple[int, int] | None:
    if start[:4] not in (b'II*\0', b'MM\0*'):
        return None
    order = '<' if start[:2] == b'II' else '>'
    (at,) = struct.unpack_from(f'{order}I', data, 4)
    (entries,) = struct.unpack_from(f'{order}H', data, at)
    sizes = {}
    for entry in range(entries):
        tag, kind = struct.unpack_from(f'{order}HH', data, at + 2 + 12 * entry)
        if tag in (256, 257):  # ImageWidth, ImageLength: SHORT or LONG
            (sizes[tag],) = struct.unpack_from(
                f"{order}{'H' if kind == 3 else 'I'}", data, at + 10 + 12 * entry)
    if len(sizes) < 2:
        raise ValueError('TIFF without a size')
    return sizes[256], sizes[257]


def _webp_size(start: bytes, data: memoryview) -> tuple[int, int] | None:
    if start[:4] != b'RIFF' or start[8:12] != b'WEBP':
        return None
    if start[12:16] == b'VP8X':
        return (1 + int.from_bytes(start[24:27], 'little'),
                1 + int.from_bytes(start[27:30], 'little'))
    if start[12:16] == b'VP8L':
        (bits,) = struct.unpack_from('<I', start, 21)
        return 1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)
    width, height = struct.unpack_from('<HH', start, 26)
    return width & 0x3fff, height & 0x3fff


def _avif_size(start: bytes, data: memoryview) -> tuple[int, int] | None:
    if start[4:8] != b'ftyp' or start[8:12] not in (b'avif', b'avis'):
        return None
    sizes = []
    at = start.find(b'ispe')  # image spatial extents: one for each image in the file
    while at >= 0:
        sizes.append(struct.unpack_from('>II', start, at + 8))
        at = start.find(b'ispe', at + 4)
    if not sizes:
        raise ValueError('AVIF without a size')
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return width, height


def _bmp_size(start: bytes, data: memoryview) -> tuple[int, int] | None:
    if start[:2] != b'BM':
        return None
    width, height = struct.unpack_from('<ii', start, 18)
    return abs(width), abs(height)  # a height below 0: the first row is the top one


def _pnm_size(start: bytes, data: memoryview) -> tuple[int, int] | None:
    if start[:2] not in (b'P2', b'P3', b'P5', b'P6'):
        return None
    words = re.sub(rb'#[^\n]*', b'', start[2:]).split(maxsplit=2)
    if len(words) < 2 or not all(word.isdigit() for word in words[:2]):
        raise ValueError('PGM or PPM without a size')
    return int(words[0][:10]), int(words[1][:10])


def is_whole_jpeg(data: memoryview) -> bool:
    """
    Whether a JPEG has its end marker, wherever it is: cameras append more behind it.

    The end marker of a preview inside the Exif header is not taken for that of the picture.
    """
    if bytes(data[-JPEG_TAIL:]).rstrip(b'\0').endswith(JPEG_END):
        return True
    at = 2
    whole = np.frombuffer(data, np.uint8)
    for _ in range(_MOST_SEGMENTS):
        # Between the pixels' bytes, 0xff is followed by 0 or by a restart marker (D0 to D7).
        marks = np.flatnonzero(whole[at:-1] == 0xff) + at + 1
        codes = whole[marks]
        marks = marks[(codes != 0) & (codes != 0xff) & ((codes < 0xd0) | (codes > 0xd7))]
        if not len(marks):
            return False
        mark = int(marks[0])
        code = int(whole[mark])
        if code == JPEG_END[1]:
            return True
        at = mark + 1
        if code not in _ALONE:
            if at + 2 > len(data):
                return False
            at += max(int.from_bytes(data[at:at + 2], 'big'), 2)
    return False


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


def _jpeg_size(start: bytes, data: memoryview) -> tuple[int, int] | None:
    if not start.startswith(JPEG_START):
        return None
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
