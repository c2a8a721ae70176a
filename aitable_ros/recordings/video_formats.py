# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The format of a video file, by its first bytes, and whether the file is cut short.

FFmpeg alone finds a video in almost anything, such as the JPEGs in an archive or in a ROS 1 bag.
"""

from __future__ import annotations

from os import SEEK_CUR
from pathlib import Path
import struct
from typing import BinaryIO

HEAD_BYTES = 600
"""Enough for three packets of an MPEG transport stream and for the magic of a tar at 257."""
MP4, AVI, MATROSKA, GIF, BARE = 'mp4', 'avi', 'matroska', 'gif', 'bare'
RATED = (MP4, AVI)
"""Containers with a frame rate; FFmpeg invents that of the others."""
COUNTED = (*RATED, GIF)
"""Containers whose frames FFmpeg counts; for the others it estimates from the duration."""
NO_CLOCK = (BARE,)
"""Streams without a container, and so without stamps."""
_BOXES = (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'pnot', b'styp')
_PICTURES = (b'avif', b'avis', b'heic', b'heix', b'heim', b'heis', b'hevc', b'mif1', b'msf1')
"""Brands of still images that use the boxes of MP4."""
_STARTS = {
    b'\x1a\x45\xdf\xa3': MATROSKA, b'GIF87a': GIF, b'GIF89a': GIF, b'FLV\x01': 'flv',
    b'OggS': 'ogg', b'\x30\x26\xb2\x75\x8e\x66\xcf\x11': 'asf', b'YUV4MPEG2 ': 'y4m',
    b'DKIF': 'ivf', b'\x06\x0e\x2b\x34': 'mxf', b'\x00\x00\x01\xba': 'mpeg',
    b'\x00\x00\x00\x01': BARE, b'\x00\x00\x01': BARE}
"""The last two start a unit of a bare H.264, H.265 or MPEG video stream."""
_ARCHIVES = {
    b'PK\x03\x04': 'zip', b'PK\x05\x06': 'zip', b'\x1f\x8b': 'gzip', b'BZh': 'bzip2',
    b'\xfd7zXZ': 'xz', b'7z\xbc\xaf\x27\x1c': '7z', b'Rar!': 'rar', b'\x28\xb5\x2f\xfd': 'zstd'}
_BARE_JPEGS = ('.mjpg', '.mjpeg')
_APNG = '.apng'
_MOST_PARTS = 100_000
"""Most parts of a file that are checked."""


def video_kind(path: Path) -> str:
    """Return the format of a video; empty if it is unknown."""
    start = _start(path)
    if start[4:8] in _BOXES and start[8:12] not in _PICTURES:
        return MP4
    if start[:4] == b'RIFF' and start[8:12] == b'AVI ':
        return AVI
    if start[:3] == b'\xff\xd8\xff' and path.suffix.lower() in _BARE_JPEGS:
        return BARE
    if start[:4] == b'\x89PNG' and path.suffix.lower() == _APNG:
        return 'apng'
    for offset, size in ((0, 188), (4, 192)):  # a transport stream, as broadcast and as on disks
        if start[offset:offset + 2 * size + 1:size] == b'\x47\x47\x47':
            return 'mpeg'
    return next((kind for magic, kind in _STARTS.items() if start.startswith(magic)), '')


def archive_kind(path: Path) -> str:
    """Return the format of an archive; empty for other files."""
    start = _start(path)
    if start[257:262] == b'ustar':
        return 'tar'
    return next((kind for magic, kind in _ARCHIVES.items() if start.startswith(magic)), '')


def is_cut_short(path: Path, kind: str) -> bool:
    """
    Whether a file is shorter than the lengths in it say.

    :param kind: from :func:`video_kind`; false for formats without lengths
    """
    walk = {MP4: _mp4_is_cut, AVI: _avi_is_cut, MATROSKA: _matroska_is_cut, GIF: _gif_is_cut}
    with path.open('rb') as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        try:
            return kind in walk and walk[kind](stream, size)
        except (struct.error, IndexError):
            return True


def _start(path: Path) -> bytes:
    with path.open('rb') as stream:
        return stream.read(HEAD_BYTES)


def _mp4_is_cut(stream: BinaryIO, size: int) -> bool:
    at = 0
    for _ in range(_MOST_PARTS):
        if at >= size:
            break
        stream.seek(at)
        head = stream.read(16)
        (length,) = struct.unpack_from('>I', head)
        if length == 1:
            (length,) = struct.unpack_from('>Q', head, 8)
        if length == 0:  # to the end of the file
            return False
        if length < 8:
            return False  # padding behind the last box
        at += length
    return at > size


def _avi_is_cut(stream: BinaryIO, size: int) -> bool:
    at = 0
    for _ in range(_MOST_PARTS):  # a long one has several RIFF parts
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8 or head[:4] != b'RIFF':
            break
        (length,) = struct.unpack_from('<I', head, 4)
        if not length:  # the recorder did not finish the file
            return False
        at += 8 + length + length % 2
    return at > size + 1


def _matroska_is_cut(stream: BinaryIO, size: int) -> bool:
    head = stream.read(64)
    length, at = _ebml_number(head, 4)
    at += length
    if head[at:at + 4] != b'\x18\x53\x80\x67':
        return False
    field = head[at + 4]
    length, begin = _ebml_number(head, at + 4)
    width = begin - at - 4
    if length == (1 << 7 * width) - 1 or not field:  # a live recording of unknown length
        return False
    return begin + length > size


def _ebml_number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable width without its marker bit, and the offset behind it."""
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at:at + width], 'big')
    return value & ((1 << 7 * width) - 1), at + width


def _gif_is_cut(stream: BinaryIO, size: int) -> bool:
    def skip_table(flags: int) -> None:
        if flags & 0x80:
            stream.seek(3 << ((flags & 7) + 1), SEEK_CUR)

    def skip_blocks() -> None:
        while length := stream.read(1)[0]:
            stream.seek(length, SEEK_CUR)

    skip_table(stream.read(13)[10])
    for _ in range(_MOST_PARTS):
        mark = stream.read(1)
        if mark in (b'', b';'):  # some writers omit the end marker
            return stream.tell() > size
        if mark == b'!':
            stream.read(1)
            skip_blocks()
        elif mark == b',':
            skip_table(stream.read(9)[8])
            stream.read(1)
            skip_blocks()
        else:
            return False  # bytes behind the last block
    return False
