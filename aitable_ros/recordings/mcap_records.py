# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Records of mcap files and their fields, with checks for damage; see https://mcap.dev/spec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import struct
from struct import calcsize, Struct, unpack_from
from typing import BinaryIO
from zlib import crc32

FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
CHUNK_INDEX, STATISTICS, DATA_END = 0x08, 0x0b, 0x0f
READ = (SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, STATISTICS)
"""Records that are parsed; the others (attachments, indexes of messages) are skipped."""
MOST_UNPACKED = 1 << 29
"""Most bytes of an unpacked chunk; rosbag2 writes chunks of 768 KiB."""
_HEAD = Struct('<BQ')
_CHUNK = Struct('<QQQI')


class DamageError(Exception):
    """A record is malformed, or ends early."""


class Fields:
    """
    Reads the fields of a record in their order.

    :raises DamageError: from any method, if the record ends within the field
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Whether all fields were read."""
        return self._at >= len(self._data)

    def number(self, form: str) -> int:
        """Read a number by a format of :mod:`struct`."""
        try:
            value: int = unpack_from(f'<{form}', self._data, self._at)[0]
        except struct.error:
            raise DamageError from None
        self._at += calcsize(f'<{form}')
        return value

    def raw(self, form: str = 'I') -> bytes:
        """Read bytes that follow their length."""
        size = self.number(form)
        self._at += size
        return self._data[self._at - size:self._at]

    def text(self) -> str:
        """Read a string."""
        return self.raw().decode('utf-8', 'replace')

    def map(self) -> dict[str, str]:
        """Read a map of strings."""
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
    Yield (opcode, body) of each record; of a chunk that is cut, the part in the file.

    :param size: bytes of the stream
    :param everything: also yield the body of records outside of :data:`READ`; else it is empty
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
    """Return the number of chunks, and of messages by channel; None if they do not add up."""
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
    """Return the readable part of a chunk's records, and its damage; empty if it is whole."""
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
