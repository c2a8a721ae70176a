# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The records of an mcap file and their fields, damaged ones told; see https://mcap.dev/spec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import struct
from struct import calcsize
from struct import Struct
from struct import unpack_from
from typing import BinaryIO
from zlib import crc32

FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
CHUNK_INDEX, STATISTICS, DATA_END = 0x08, 0x0b, 0x0f
READ = (SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, STATISTICS)
"""Records whose body is looked at; the others (attachments, indexes of messages) are skipped."""
MOST_UNPACKED = 1 << 29
"""Bytes. A chunk that claims to unpack to more is damage: rosbag2 writes chunks of 768 KiB."""
_HEAD = Struct('<BQ')
_CHUNK = Struct('<QQQI')


class DamageError(Exception):
    """A record makes no sense, or ends before its time."""


class Fields:
    """
    Reads the fields of a record, one after the other.

    :raises DamageError: from any method: the record ends before the field does
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Whether all were read."""
        return self._at >= len(self._data)

    def number(self, form: str) -> int:
        """Read a number of one of the formats of :mod:`struct`."""
        try:
            value: int = unpack_from(f'<{form}', self._data, self._at)[0]
        except struct.error:
            raise DamageError from None
        self._at += calcsize(f'<{form}')
        return value

    def raw(self, form: str = 'I') -> bytes:
        """Read bytes behind their number."""
        size = self.number(form)
        self._at += size
        return self._data[self._at - size:self._at]

    def text(self) -> str:
        """Read a string."""
        return self.raw().decode('utf-8', 'replace')

    def map(self) -> dict[str, str]:
        """Read strings by strings."""
        inside = Fields(self.raw())
        found = {}
        while not inside.at_end:
            key = inside.text()
            found[key] = inside.text()
        return found


def records(
    stream: BinaryIO, size: int, *, everything: bool = False,
) -> Iterator[tuple[int, bytes]]:
    """
    Yield (opcode, body); of a chunk that is cut, the part that is there.

    :param size: of the stream
    :param everything: give the body of records outside of :data:`READ`, too; else it is empty
    """
    while head := stream.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise DamageError
        code, length = _HEAD.unpack(head)
        left = size - stream.tell()
        if code == 0 or (length > left and code != CHUNK):
            raise DamageError
        length = min(length, left)
        if everything or code in READ:
            yield code, stream.read(length)
        else:
            stream.seek(length, 1)
            yield code, b''


def statistics(body: bytes) -> tuple[int, dict[int, int] | None]:
    """Return the number of chunks, and that of messages by channel where it is told."""
    fields = Fields(body)
    total, _ = fields.number('Q'), fields.number('H')
    for _ in range(3):  # channels, attachments, metadata
        fields.number('I')
    chunks = fields.number('I')
    fields.number('Q'), fields.number('Q')
    table = Fields(fields.raw())
    counts = {}
    while not table.at_end:
        key = table.number('H')
        counts[key] = table.number('Q')
    return chunks, counts if sum(counts.values()) == total else None


def unpacked(chunk: bytes) -> tuple[bytes, str]:
    """Return the records of a chunk as far as they unpack, and what is wrong with them, if so."""
    import zstandard

    if len(chunk) < _CHUNK.size:
        raise DamageError
    _, _, size, checksum = _CHUNK.unpack_from(chunk)
    fields = Fields(chunk[_CHUNK.size:])
    way = fields.text()
    packed = fields.raw('Q')
    if size > MOST_UNPACKED:
        raise DamageError
    done = bytearray()
    if not way:
        done += packed
    elif way == 'zstd':
        with suppress(zstandard.ZstdError):
            reader = zstandard.ZstdDecompressor().stream_reader(packed)
            while len(done) < size and (part := reader.read(min(1 << 16, size - len(done)))):
                done += part
    elif way == 'lz4':
        import lz4.frame  # type: ignore[import-untyped]

        unpacker = lz4.frame.LZ4FrameDecompressor()
        with suppress(RuntimeError, EOFError):
            done += unpacker.decompress(packed, max_length=size)
    else:
        return b'', f'is compressed with {way[:20]!r}, which is not known'
    if len(done) < size:
        return bytes(done), 'breaks off'
    if checksum and crc32(done) != checksum:
        return bytes(done), 'does not match its checksum'
    return bytes(done), ''
