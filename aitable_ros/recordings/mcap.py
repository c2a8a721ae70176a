# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Reads mcap files in the order of the log time, also unfinished, damaged or without an index.

The format (https://mcap.dev/spec) is a sequence of records: opcode, length, body. Of the summary
only the index of chunks is used, and messages are found by reading their chunk. So a file needs no
index of messages, all channels of a topic are read, and a file without its end is read up to the
break. The readable messages of a damaged chunk are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from io import BytesIO
from struct import Struct, unpack_from
from typing import BinaryIO
from zlib import crc32

from aitable_ros.recordings.mcap_records import (
    CHANNEL, CHUNK, CHUNK_INDEX, DamageError, DATA_END, Fields, FOOTER, MESSAGE, records, SCHEMA,
    STATISTICS, statistics, unpacked
)

MAGIC = b'\x89MCAP0\r\n'
MOST_HELD = 1 << 28
"""Most bytes of messages in memory while chunks that overlap in time are sorted."""
FOOTER_BYTES = 37
"""A footer record (9 + 20 bytes) and the magic at the end of the file."""
_MESSAGE = Struct('<HIQQ')


@dataclass(slots=True)
class McapChannel:
    """
    A channel: the messages of one publisher on a topic.

    :param kind: name of the schema
    :param definition: text of the schema
    :param serialization: message encoding, such as ``cdr``
    :param qos: profile of the publisher, as in the channel's metadata by rosbag2
    :param count: number of messages; None if unknown
    """

    topic: str
    kind: str
    definition: str
    serialization: str
    qos: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """
    Position of a chunk.

    :param start_ns: log time of its first message
    :param offset: of its record in the file
    :param channels: in it; None where that is not known
    """

    start_ns: int
    offset: int
    channels: frozenset[int] | None


class McapFile:
    """
    An mcap file, open.

    A file with an index of chunks is not read before :meth:`read`; any other file is read through
    once to find its channels and count their messages.

    :param stream: the open file, whose first 8 bytes are :data:`MAGIC`
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, 2)
        self.channels: dict[int, McapChannel] = {}
        self.start_ns = self.end_ns = 0
        """Log time of the first and the last message; 0 without messages."""
        self.damage = ''
        """Description of the damage found so far; empty without any."""
        self._schemas: dict[int, tuple[str, str]] = {}
        self._chunks: list[_Chunk] = []
        self._loose = False
        """Whether the file has messages outside of chunks."""
        self._damaged: dict[int, str] = {}
        finished = self._is_finished()
        if not (finished and self._read_summary()):
            self._scan(finished)

    def read(self, wanted: Collection[int] | None = None) -> Iterator[tuple[int, int, bytes]]:
        """
        Yield (channel, log time in ns, serialised message) in the order of the log time.

        Messages outside of chunks are yielded in the order of the file.

        :param wanted: channels; None for all
        """
        wanted = self.channels if wanted is None else wanted
        if self._loose:
            yield from self._read_through(wanted)
            return
        held: list[tuple[int, int, int, bytes]] = []
        held_bytes = number = 0
        for chunk in sorted(self._chunks, key=lambda one: (one.start_ns, one.offset)):
            if wanted is not None and chunk.channels is not None \
                    and chunk.channels.isdisjoint(wanted):
                continue
            while held and (held[0][0] < chunk.start_ns or held_bytes > MOST_HELD):
                log_ns, _, key, data = heappop(held)
                held_bytes -= len(data)
                yield key, log_ns, data
            for key, log_ns, data in self._messages_of(chunk.offset, wanted):
                heappush(held, (log_ns, number, key, data))
                held_bytes += len(data)
                number += 1
        while held:
            log_ns, _, key, data = heappop(held)
            yield key, log_ns, data

    def _is_finished(self) -> bool:
        if self._size < len(MAGIC) + FOOTER_BYTES:
            return False
        self._stream.seek(-len(MAGIC), 2)
        return self._stream.read(len(MAGIC)) == MAGIC

    def _read_summary(self) -> bool:
        """Read channels, counts and chunks from the summary; False if it is not reliable."""
        with suppress(DamageError):
            code, body = self._record_at(self._size - FOOTER_BYTES)
            if code != FOOTER or len(body) < 20:
                return False
            start, _, checksum = unpack_from('<QQI', body)
            if not len(MAGIC) <= start < self._size - FOOTER_BYTES:
                return False
            self._stream.seek(start)
            summary = self._stream.read(self._size - FOOTER_BYTES - start)
            # The checksum covers the footer too, up to the checksum itself.
            self._stream.seek(self._size - FOOTER_BYTES)
            footer = self._stream.read(FOOTER_BYTES - len(MAGIC) - 4)
            if checksum and crc32(footer, crc32(summary)) != checksum:
                return False
            counts: dict[int, int] | None = None
            total = None
            for code, body in records(BytesIO(summary), len(summary)):
                if code == CHUNK_INDEX:
                    self._take_chunk_index(body)
                elif code == STATISTICS:
                    total, counts = statistics(body)
                else:
                    self._declare(code, body)
            # The index is complete if it has every chunk and no message is outside of chunks.
            if total is not None and total == len(self._chunks) and self.channels:
                for key, channel in self.channels.items():
                    channel.count = None if counts is None else counts.get(key, 0)
                return bool(self._chunks) or not any(counts.values() if counts else ())
        return False

    def _take_chunk_index(self, body: bytes) -> None:
        fields = Fields(body)
        start_ns, end_ns = fields.number('Q'), fields.number('Q')
        offset, _ = fields.number('Q'), fields.number('Q')
        index = Fields(fields.raw())
        channels = set()
        while not index.at_end:
            channels.add(index.number('H'))
            index.number('Q')
        # Without an index of messages, the channels of a chunk are unknown.
        self._chunks.append(_Chunk(start_ns, offset, frozenset(channels) or None))
        self._extend(start_ns, end_ns)

    def _scan(self, finished: bool) -> None:
        """Read the whole file to find its chunks, channels and counts."""
        self.channels, self._chunks, self._schemas = {}, [], {}
        self.start_ns = self.end_ns = 0
        counts: Counter[int] = Counter()
        for key, log_ns, _ in self._read_through(note_chunks=True):
            counts[key] += 1
            self._extend(log_ns, log_ns)
        # A channel may be declared behind its first messages, in a chunk out of order.
        for key, channel in self.channels.items():
            channel.count = counts[key]
        if not finished:
            self.damage = (
                'truncated (the recorder was cut off, or the copy is incomplete); read as far as '
                f'it goes, {sum(counts[key] for key in self.channels)} messages')

    def _extend(self, start_ns: int, end_ns: int) -> None:
        if end_ns:
            self.start_ns = min(self.start_ns or start_ns, start_ns)
            self.end_ns = max(self.end_ns, end_ns)

    def _read_through(
        self, wanted: Collection[int] | None = None, *, note_chunks: bool = False,
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield the messages in the order of the file, up to its break."""
        self._stream.seek(len(MAGIC))
        at = len(MAGIC)
        try:
            for code, body in records(self._stream, self._size):
                here, at = at, self._stream.tell()
                if code == DATA_END:
                    return
                if code == CHUNK:
                    first, keys = 0, set()
                    for key, log_ns, data in self._messages_in(here, body, wanted):
                        first = min(first or log_ns, log_ns)
                        keys.add(key)
                        yield key, log_ns, data
                        self._stream.seek(at)
                    if note_chunks:
                        self._chunks.append(_Chunk(first, here, frozenset(keys)))
                elif code == MESSAGE:
                    self._loose = True
                    for message in self._message(body, wanted):
                        yield message
                        self._stream.seek(at)
                else:
                    self._declare(code, body)
        except DamageError:
            if not self.damage:
                self.damage = f'damaged at byte {at} of {self._size}; read up to there'

    def _messages_of(
        self, offset: int, wanted: Collection[int] | None,
    ) -> Iterator[tuple[int, int, bytes]]:
        try:
            code, body = self._record_at(offset)
            if code != CHUNK:
                raise DamageError
        except DamageError:
            self._note_damage(offset, 'is not where the index says')
            return
        yield from self._messages_in(offset, body, wanted)

    def _messages_in(
        self, offset: int, chunk: bytes, wanted: Collection[int] | None,
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield the messages of a chunk in the order of the chunk."""
        try:
            content, reason = unpacked(chunk)
            if reason:
                self._note_damage(offset, reason)
            for code, body in records(BytesIO(content), len(content)):
                if code == MESSAGE:
                    yield from self._message(body, wanted)
                else:
                    self._declare(code, body)
        except DamageError:  # the next chunk may be whole
            self._note_damage(offset, 'breaks off')

    def _message(
        self, body: bytes, wanted: Collection[int] | None,
    ) -> Iterator[tuple[int, int, bytes]]:
        if len(body) < _MESSAGE.size:
            raise DamageError
        key, _, log_ns, _ = _MESSAGE.unpack_from(body)
        if wanted is None or key in wanted:
            yield key, log_ns, body[_MESSAGE.size:]

    def _declare(self, code: int, body: bytes) -> None:
        """Register a schema or a channel."""
        fields = Fields(body)
        if code == SCHEMA:
            key, name, _ = fields.number('H'), fields.text(), fields.text()
            self._schemas.setdefault(key, (name, fields.text()))
        elif code == CHANNEL:
            key, schema = fields.number('H'), fields.number('H')
            topic, form = fields.text(), fields.text()
            metadata = fields.map()
            if key not in self.channels:
                kind, definition = self._schemas.get(schema, ('', ''))
                self.channels[key] = McapChannel(
                    topic, kind, definition, form, metadata.get('offered_qos_profiles', ''))

    def _note_damage(self, offset: int, reason: str) -> None:
        self._damaged.setdefault(offset, reason)
        if not self.damage or self.damage.startswith('damaged: '):
            first, why = next(iter(self._damaged.items()))
            more = f' (and {len(self._damaged) - 1} more)' if len(self._damaged) > 1 else ''
            self.damage = (f'damaged: the chunk at byte {first}{more} {why}; what can be read of '
                           'the file was')

    def _record_at(self, offset: int) -> tuple[int, bytes]:
        if not 0 <= offset < self._size:
            raise DamageError
        self._stream.seek(offset)
        return next(records(self._stream, self._size, everything=True))
