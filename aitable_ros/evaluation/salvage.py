# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
An mcap that was never finished: read from its beginning to where it breaks off.

The format is at https://mcap.dev/spec: records of an opcode, a length and a body, one after the
other, so that everything before the break can be had without the index at the end. Of a chunk that
is cut, the messages that its part still unpacks to are kept.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from struct import calcsize
from struct import Struct
from struct import unpack_from
from typing import BinaryIO

MAGIC = b'\x89MCAP0\r\n'
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0f
MOST_BYTES = 1 << 32
"""No record is longer: a length beyond it is damage."""
MOST_UNPACKED = 1 << 30
"""A chunk that claims to unpack to more is damage: rosbag2 writes chunks of 768 KiB."""
_HEAD = Struct('<BQ')
_MESSAGE = Struct('<HIQQ')


@dataclass(slots=True)
class Channel:
    """A topic of the file, counted so far."""

    topic: str
    kind: str
    definition: str
    serialization: str
    qos: str
    count: int = 0


class _BreakError(Exception):
    """The file ends, or stops making sense."""


class SalvagedMcap:
    """
    Everything that can be read of an mcap without an end; in the order of the file.

    The whole file is read once to find its topics.

    :param stream: the open file
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._schemas: dict[int, tuple[str, str]] = {}
        self.channels: dict[int, Channel] = {}
        self.start_ns = self.end_ns = 0
        for key, log_ns, _ in self.read():
            self.channels[key].count += 1
            self.start_ns = min(self.start_ns or log_ns, log_ns)
            self.end_ns = max(self.end_ns, log_ns)

    def read(self, wanted: Collection[int] | None = None) -> Iterator[tuple[int, int, bytes]]:
        """
        Yield (channel, log time in ns, serialised message) up to the break.

        :param wanted: channels; None is all
        """
        self._stream.seek(len(MAGIC))
        with suppress(_BreakError):
            for code, body in _records(self._stream):
                if code == CHUNK:
                    with suppress(_BreakError):  # a bad chunk does not spoil the next one
                        for inner, content in _records(BytesIO(_unpacked(body))):
                            yield from self._message(inner, content, wanted)
                elif code == DATA_END:
                    return
                else:
                    yield from self._message(code, body, wanted)

    def _message(
        self, code: int, body: bytes, wanted: Collection[int] | None,
    ) -> Iterator[tuple[int, int, bytes]]:
        if code == MESSAGE and len(body) >= _MESSAGE.size:
            key, _, log_ns, _ = _MESSAGE.unpack_from(body)
            if key in self.channels and (wanted is None or key in wanted):
                yield key, log_ns, body[_MESSAGE.size:]
        elif code == SCHEMA:
            fields = _Fields(body)
            key, name, _ = fields.number('H'), fields.text(), fields.text()
            self._schemas.setdefault(key, (name, fields.text()))
        elif code == CHANNEL:
            fields = _Fields(body)
            key, schema = fields.number('H'), fields.number('H')
            topic, form = fields.text(), fields.text()
            metadata = fields.map()
            if key not in self.channels:
                kind, definition = self._schemas.get(schema, ('', ''))
                self.channels[key] = Channel(
                    topic, kind, definition, form, metadata.get('offered_qos_profiles', ''))


class _Fields:
    """Reads the fields of a record."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str) -> int:
        value: int = unpack_from(f'<{form}', self._data, self._at)[0]
        self._at += calcsize(f'<{form}')
        return value

    def raw(self, form: str = 'I') -> bytes:
        size = self.number(form)
        self._at += size
        return self._data[self._at - size:self._at]

    def text(self) -> str:
        return self.raw().decode('utf-8', 'replace')

    def map(self) -> dict[str, str]:
        inside = _Fields(self.raw())
        found = {}
        while inside._at < len(inside._data):
            key = inside.text()
            found[key] = inside.text()
        return found


def _records(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (opcode, body); the last chunk may be cut, any other record that is cut is the end."""
    while True:
        head = stream.read(_HEAD.size)
        if not head:
            return
        if len(head) < _HEAD.size:
            raise _BreakError
        code, size = _HEAD.unpack(head)
        if size > MOST_BYTES or code == 0:
            raise _BreakError
        body = stream.read(size)
        if len(body) < size and code != CHUNK:
            raise _BreakError
        yield code, body


def _unpacked(chunk: bytes) -> bytes:
    """Return the records of a chunk, as far as they unpack."""
    import zstandard

    if len(chunk) < 32:
        raise _BreakError
    fields = _Fields(chunk)
    fields.number('Q')
    fields.number('Q')
    size = fields.number('Q')
    fields.number('I')
    way = fields.text()
    packed = fields.raw('Q')
    if size > MOST_UNPACKED:
        raise _BreakError
    if not way:
        return packed
    done = bytearray()
    if way == 'zstd':
        with suppress(zstandard.ZstdError):
            reader = zstandard.ZstdDecompressor().stream_reader(packed)
            while part := reader.read(1 << 16):
                done += part
    elif way == 'lz4':
        import lz4.frame  # type: ignore[import-untyped]

        unpacker = lz4.frame.LZ4FrameDecompressor()
        with suppress(RuntimeError, EOFError):
            done += unpacker.decompress(packed)
    else:
        raise _BreakError
    return bytes(done)
