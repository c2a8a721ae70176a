# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
One storage file of a recording, as a stream of messages: sqlite3, mcap or a ROS 1 bag.

Each file is read as far as possible: an mcap without its end or its index
(:mod:`aitable_ros.recordings.mcap`), an sqlite3 with definitions in IDL, with a write-ahead log,
truncated, or with damaged pages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
import shutil
import sqlite3
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from aitable_ros.errors import InputError
from aitable_ros.recordings import ros1
from aitable_ros.recordings.mcap import MAGIC, McapChannel, McapFile

STORAGE = ('.db3', '.mcap', '.bag')
PACKED = ('.zstd', '.zst')
MOST_SAID = 200
"""Longest quotation of a library's error, in characters."""
MOST_MISSES = 1000
"""Consecutive unreadable rows after which the rest of a damaged sqlite3 file is given up."""


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic as a storage file describes it.

    :param kind: message type, ``package/msg/Name``
    :param count: number of messages; None if only reading them tells
    :param definition: text of the type and of all types in it; empty if the file has none
    :param digest: ``RIHS01_…`` hash of the type; empty if the file has none
    :param qos: quality of service of the publishers, as ``rosbags`` reads it
    """

    name: str
    kind: str
    count: int | None
    definition: str = ''
    digest: str = ''
    serialization: str = 'cdr'
    qos: tuple[Any, ...] = ()


class Storage(Protocol):
    """A storage file, open."""

    topics: dict[str, Topic]
    start_ns: int
    """Log time of the first message; 0 if there is none or it is unknown."""
    end_ns: int

    @property
    def damage(self) -> str:
        """What makes a part unreadable, as found so far; empty if nothing does."""

    def messages(self, names: Collection[str]) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield (topic, log time in ns, serialised message) in the order of the log time."""


def is_storage(path: Path) -> bool:
    """
    Return whether a path has the name of a storage file, compressed or not.

    The files ``._NAME`` that macOS puts beside others are left out.
    """
    name = path.with_suffix('') if path.suffix in PACKED else path
    return name.suffix.lower() in STORAGE and not path.name.startswith('._')


@contextmanager
def open_storage(file: Path) -> Iterator[Storage]:
    """
    Open a storage file; one that is compressed as a whole is unpacked to a temporary file.

    :raises InputError: the file is no storage file, or its very beginning is damaged
    """
    with _explained(file), _unpacked(file) as plain:
        if plain.suffix.lower() == '.db3':
            with closing(_connect(plain)) as connection:
                yield _Sqlite(connection, plain.stat().st_size)
        elif _begins(plain, ros1.MAGIC):
            from rosbags.rosbag1 import Reader

            with Reader(plain) as reader:
                yield _Ros1(reader)
        elif _begins(plain, MAGIC):
            with plain.open('rb') as stream:
                yield _Mcap(McapFile(stream))
        elif not plain.stat().st_size:
            raise _NoStorageError('empty')
        else:
            kind = 'ROS 1 bag' if plain.suffix.lower() == '.bag' else 'mcap'
            raise _NoStorageError(f'no {kind}: its first bytes are not those of one')


class _NoStorageError(Exception):
    """The file is not of the kind that its name says."""


def _begins(file: Path, magic: bytes) -> bool:
    with file.open('rb') as stream:
        return stream.read(len(magic)) == magic


def total(*counts: int | None) -> int | None:
    """Return the sum of numbers of messages; None if one of them is unknown."""
    return None if None in counts else sum(count or 0 for count in counts)


def _by_name(topics: Iterable[Topic]) -> dict[str, Topic]:
    """Merge the entries of several publishers of one topic."""
    found: dict[str, Topic] = {}
    for topic in topics:
        known = found.get(topic.name)
        if known is None:
            found[topic.name] = topic
        elif known.kind == topic.kind:
            found[topic.name] = replace(
                known, count=total(known.count, topic.count), qos=(*known.qos, *topic.qos))
    return found


class _Mcap:
    """An mcap file; its ROS 1 messages are converted."""

    def __init__(self, file: McapFile) -> None:
        self._file = file
        self._converters: dict[int, ros1.Converter] = {}
        self._by_id: dict[int, Topic] = {}
        for key, channel in file.channels.items():
            self._by_id[key] = self._topic(key, channel)
        self.topics = _by_name(self._by_id.values())
        self.start_ns, self.end_ns = file.start_ns, file.end_ns

    def _topic(self, key: int, channel: McapChannel) -> Topic:
        kind, definition, form = channel.kind, channel.definition, channel.serialization
        if form == 'ros1':
            kind = ros1.ros2_name(kind)
            with suppress(Exception):  # a definition that cannot be read: the topic stays ROS 1
                self._converters[key] = ros1.Converter(kind, definition)
                definition, form = self._converters[key].definition, 'cdr'
        return Topic(
            channel.topic, kind, channel.count, definition, '', form, _profiles(channel.qos))

    @property
    def damage(self) -> str:
        """See :class:`Storage`."""
        return self._file.damage

    def messages(self, names: Collection[str]) -> Iterator[tuple[Topic, int, bytes]]:
        wanted = {key for key, topic in self._by_id.items() if topic.name in names}
        for key, log_ns, data in self._file.read(wanted):
            if key in self._converters:
                data = _converted(self._converters[key], data)
            yield self._by_id[key], log_ns, data


class _Ros1:
    """A ROS 1 bag; its messages are converted."""

    damage = ''

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._converters: dict[int, ros1.Converter] = {}
        self._by_id: dict[int, Topic] = {}
        for connection in reader.connections:
            definition, form = '', 'ros1'
            with suppress(Exception):  # a definition that cannot be read: the topic stays ROS 1
                converter = ros1.Converter(connection.msgtype, connection.msgdef.data)
                self._converters[connection.id] = converter
                definition, form = converter.definition, 'cdr'
            self._by_id[connection.id] = Topic(
                connection.topic, connection.msgtype, connection.msgcount, definition,
                serialization=form)
        self.topics = _by_name(self._by_id.values())
        counted = reader.message_count > 0
        self.start_ns = reader.start_time if counted else 0
        self.end_ns = reader.end_time if counted else 0

    def messages(self, names: Collection[str]) -> Iterator[tuple[Topic, int, bytes]]:
        wanted = [c for c in self._reader.connections if c.topic in names]
        if not wanted:
            return
        for connection, log_ns, data in self._reader.messages(wanted):
            if connection.id in self._converters:
                data = _converted(self._converters[connection.id], data)
            yield self._by_id[connection.id], log_ns, data


def _converted(converter: ros1.Converter, data: bytes) -> bytes:
    """Convert a message; a message that does not fit its definition becomes empty."""
    try:
        return converter.to_cdr(data)
    except Exception:  # rosbags asserts, unpacks and indexes
        return b''


class _Sqlite:
    """An sqlite3 storage of any rosbag2 version."""

    def __init__(self, connection: sqlite3.Connection, size: int) -> None:
        self._connection = connection
        self._size = size
        self.damage = ''
        has = {
            table: {row[1] for row in connection.execute(f'PRAGMA table_info({table})')}
            for table in ('topics', 'messages', 'message_definitions')}
        if not has['topics'] or not has['messages']:
            raise _NoStorageError('no tables "topics" and "messages"')
        defined = {}
        if has['message_definitions']:
            defined = dict(connection.execute(
                'SELECT topic_type, encoded_message_definition FROM message_definitions'))
        qos, digest = (
            name if name in has['topics'] else "''"
            for name in ('offered_qos_profiles', 'type_description_hash'))
        rows = connection.execute(
            f'SELECT id, name, type, serialization_format, {qos}, {digest} FROM topics '  # noqa: S608  (constants)
            'ORDER BY id').fetchall()
        counts = self._counts()
        self._by_id: dict[int, Topic] = {}
        for key, name, kind, form, profiles, hashed in rows:
            self._by_id[key] = Topic(
                name, kind, counts.get(key, 0) if counts is not None else None,
                defined.get(kind, ''), hashed or '', form, _profiles(profiles))
        self.topics = _by_name(self._by_id.values())
        self.start_ns = self.end_ns = 0
        with suppress(sqlite3.DatabaseError):
            span = connection.execute('SELECT min(timestamp), max(timestamp) FROM messages')
            self.start_ns, self.end_ns = (value or 0 for value in span.fetchone())

    def _counts(self) -> dict[int, int] | None:
        try:
            return dict(self._connection.execute(
                'SELECT topic_id, count(*) FROM messages GROUP BY topic_id'))
        except sqlite3.DatabaseError:
            return None

    def messages(self, names: Collection[str]) -> Iterator[tuple[Topic, int, bytes]]:
        keys = [key for key, topic in self._by_id.items() if topic.name in names]
        if not keys:
            return
        holders = ','.join('?' * len(keys))
        columns = 'SELECT id, topic_id, timestamp, data FROM messages'
        query = f'{columns} WHERE topic_id IN ({holders}) ORDER BY '  # question marks only
        # A damaged file is read in the order of writing, without its index.
        whole = self._is_whole()
        done = set()
        try:
            for number, key, log_ns, data in self._connection.execute(
                    query + ('timestamp, id' if whole else '+id'), keys):
                done.add(number)
                yield self._by_id[key], _integer(log_ns), _bytes(data)
        except sqlite3.DatabaseError as error:
            self.damage = str(error)
        if self.damage:
            yield from self._rescued(f'{columns} WHERE id = ?', set(keys), done)

    def _rescued(
        self, query: str, keys: Collection[int], done: Collection[int],
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield the readable messages of the rest of a damaged file, with one query each."""
        number, misses = max(done, default=0), 0
        while misses < MOST_MISSES:
            number += 1
            misses += 1
            if number in done:
                continue
            with suppress(sqlite3.DatabaseError):
                row = self._connection.execute(query, (number,)).fetchone()
                if row is not None and row[1] in keys:
                    misses = 0
                    yield self._by_id[row[1]], _integer(row[2]), _bytes(row[3])

    def _is_whole(self) -> bool:
        """Return whether the file has all pages that its header counts."""
        (pages,) = self._connection.execute('PRAGMA page_count').fetchone()
        (size,) = self._connection.execute('PRAGMA page_size').fetchone()
        return self._size >= int(pages) * int(size)


def _integer(value: object) -> int:
    """Return the value of an integer column; a damaged file may hold another type."""
    return value if isinstance(value, int) else 0


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b''


def _profiles(text: str) -> tuple[Any, ...]:
    """Return the publishers' QoS; none where it is of an unknown release."""
    from rosbags.rosbag2.metadata import parse_qos

    with suppress(Exception):
        return tuple(parse_qos(text)) if text else ()
    return ()


def _connect(file: Path) -> sqlite3.Connection:
    # "immutable" needs no lock and no journal, so a bag on a read-only disk can be read. But it
    # misses what a recorder in WAL mode left in its log.
    log = file.with_name(f'{file.name}-wal')
    mode = 'mode=ro' if log.is_file() and log.stat().st_size else 'immutable=1'
    connection = sqlite3.connect(f'{file.resolve().as_uri()}?{mode}', uri=True)
    connection.text_factory = lambda raw: raw.decode('utf-8', 'replace')
    return connection


@contextmanager
def _unpacked(file: Path) -> Iterator[Path]:
    """Yield the file itself or, if it is compressed, a temporary plain copy."""
    if file.suffix not in PACKED:
        yield file
        return
    import zstandard

    with TemporaryDirectory(prefix='aitable_bag_') as folder:
        plain = Path(folder) / file.stem
        with file.open('rb') as packed, plain.open('wb') as out:
            shutil.copyfileobj(
                zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True), out)
        yield plain


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn the libraries' errors about a damaged bag into one line."""
    import zstandard

    try:
        yield
    except (GeneratorExit, KeyboardInterrupt, MemoryError, InputError):
        raise
    except _NoStorageError as error:
        raise InputError(f'{file}: not a readable recording: {error}') from None
    except (OSError, sqlite3.Error, zstandard.ZstdError) as error:
        raise InputError(f'{file}: cannot be read: {_line(error)}; truncated or damaged? '
                         f'{remedy(file)}') from None
    except Exception as error:  # rosbags raises asserts, struct and key errors too
        raise InputError(f'{file}: not a readable recording: {_line(error)}; truncated or of an '
                         f'unknown version? {remedy(file)}') from None


def _line(error: BaseException) -> str:
    text = ' '.join(str(error).split()).rstrip('.')
    return text[:MOST_SAID] or type(error).__name__


def remedy(file: Path) -> str:
    """Return a hint at the tool that may recover more."""
    if '.mcap' in file.suffixes:
        return '`mcap recover` may save what is left'
    if '.bag' in file.suffixes:
        return '`rosbag reindex` may save what is left'
    return '`sqlite3 FILE .recover` may save what is left'
