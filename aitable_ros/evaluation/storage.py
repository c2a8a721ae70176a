# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
One storage file of a rosbag2: sqlite3 or mcap, whole or cut short, as a stream of messages.

``rosbags`` reads an mcap that was finished. What it does not read is read here: an mcap without its
footer, of a recorder that lost power (:mod:`aitable_ros.evaluation.salvage`), and sqlite3 with
definitions in IDL, with a write-ahead log, or cut short.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
import sqlite3
from tempfile import TemporaryDirectory
from typing import Any
from typing import Protocol

from aitable_ros.errors import InputError
from aitable_ros.evaluation.salvage import MAGIC
from aitable_ros.evaluation.salvage import SalvagedMcap

STORAGE = ('.db3', '.mcap')
PACKED = ('.zstd', '.zst')


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic as a storage file describes it.

    :param kind: message type, ``package/msg/Name``
    :param count: messages; None where that cannot be known before they are read
    :param definition: of the type and all that it is made of; empty where the file has none
    :param digest: ``RIHS01_…`` hash of the type, where the file has it
    :param qos: the publishers' profiles, as ``rosbags`` reads them
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
    """Log time of the first message; 0 where there is none or it is not known."""
    end_ns: int
    damage: str
    """Why it ends before its time, as far as is known so far; empty where it does not."""

    def messages(self, names: Collection[str]) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield (topic, log time in ns, serialised message) in the order of the log time."""


def is_storage(path: Path) -> bool:
    """Whether the name is that of a storage file, compressed or not."""
    name = path.with_suffix('') if path.suffix in PACKED else path
    return name.suffix in STORAGE


@contextmanager
def open_storage(file: Path) -> Iterator[Storage]:
    """
    Open a storage file; one that is compressed as a whole is unpacked to a temporary file.

    :raises InputError: it is none, or so damaged that not even its beginning can be read
    """
    with _explained(file), _unpacked(file) as plain:
        if plain.suffix == '.db3':
            with closing(_connect(plain)) as connection:
                yield _Sqlite(connection)
        elif not _is_finished(plain):
            with plain.open('rb') as stream:
                yield _CutMcap(SalvagedMcap(stream))
        else:
            from rosbags.rosbag2 import Reader

            with Reader(plain) as reader:
                yield _Mcap(reader)


class _Mcap:
    """A finished mcap."""

    damage = ''

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.topics = {
            c.topic: Topic(
                c.topic, c.msgtype, c.msgcount, c.msgdef.data, c.digest,
                c.ext.serialization_format, tuple(c.ext.offered_qos_profiles))
            for c in reader.connections}
        counted = reader.message_count > 0
        self.start_ns = reader.start_time if counted else 0
        self.end_ns = reader.end_time if counted else 0

    def messages(self, names: Collection[str]) -> Iterator[tuple[Topic, int, bytes]]:
        wanted = [c for c in self._reader.connections if c.topic in names]
        if wanted:
            for connection, log_ns, data in self._reader.messages(wanted):
                yield self.topics[connection.topic], log_ns, data


class _CutMcap:
    """An mcap without its end."""

    def __init__(self, file: SalvagedMcap) -> None:
        self._file = file
        self._by_id = {
            key: Topic(
                channel.topic, channel.kind, channel.count, channel.definition, '',
                channel.serialization, _profiles(channel.qos))
            for key, channel in file.channels.items()}
        self.topics = {topic.name: topic for topic in self._by_id.values()}
        self.start_ns, self.end_ns = file.start_ns, file.end_ns
        count = sum(channel.count for channel in file.channels.values())
        self.damage = ('truncated (the recorder was cut off, or the copy is incomplete); read as '
                       f'far as it goes, {count} messages')

    def messages(self, names: Collection[str]) -> Iterator[tuple[Topic, int, bytes]]:
        wanted = {key for key, topic in self._by_id.items() if topic.name in names}
        for key, log_ns, data in self._file.read(wanted):
            yield self._by_id[key], log_ns, data


class _Sqlite:
    """An sqlite3 storage of any rosbag2 version."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.damage = ''
        has = {
            table: {row[1] for row in connection.execute(f'PRAGMA table_info({table})')}
            for table in ('topics', 'messages', 'message_definitions')}
        if not has['topics'] or not has['messages']:
            raise InputError('no tables "topics" and "messages"')
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
        self.topics = {topic.name: topic for topic in self._by_id.values()}
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
        query = ('SELECT topic_id, timestamp, data FROM messages '  # noqa: S608  (question marks)
                 f'WHERE topic_id IN ({holders}) ORDER BY ')
        # A damaged file is read in the order in which it was written, without its index.
        orders = ('timestamp, id',) if self._is_whole() else ('+id',)
        try:
            for key, log_ns, data in self._connection.execute(query + orders[0], keys):
                yield self._by_id[key], log_ns, data
        except sqlite3.DatabaseError as error:
            self.damage = str(error)

    def _is_whole(self) -> bool:
        """Whether the file has all the pages that its header tells of."""
        (pages,) = self._connection.execute('PRAGMA page_count').fetchone()
        (size,) = self._connection.execute('PRAGMA page_size').fetchone()
        name = self._connection.execute('PRAGMA database_list').fetchone()[2]
        return not name or Path(name).stat().st_size >= pages * size


def _profiles(text: str) -> tuple[Any, ...]:
    """Read the publishers' QoS; a profile of a release to come is no reason not to read a bag."""
    from rosbags.rosbag2.metadata import parse_qos

    with suppress(Exception):
        return tuple(parse_qos(text)) if text else ()
    return ()


def _connect(file: Path) -> sqlite3.Connection:
    # immutable: no lock and no journal, so that a bag on a read-only disk can be read; but what a
    # recorder in WAL mode left in its log would be passed over.
    log = file.with_name(f'{file.name}-wal')
    mode = 'mode=ro' if log.is_file() and log.stat().st_size else 'immutable=1'
    connection = sqlite3.connect(f'{file.resolve().as_uri()}?{mode}', uri=True)
    connection.text_factory = lambda raw: raw.decode('utf-8', 'replace')
    return connection


def _is_finished(file: Path) -> bool:
    with file.open('rb') as stream:
        head = stream.read(8)
        if head != MAGIC:
            raise InputError('no mcap: its first bytes are not those of one' if head else 'empty')
        stream.seek(0, 2)
        if stream.tell() < 45:
            return False
        stream.seek(-8, 2)
        return stream.read(8) == MAGIC


@contextmanager
def _unpacked(file: Path) -> Iterator[Path]:
    """Give a plain storage file: the file itself or, where it is compressed, a temporary copy."""
    if file.suffix not in PACKED:
        yield file
        return
    import zstandard

    with TemporaryDirectory(prefix='aitable_bag_') as folder:
        plain = Path(folder) / file.stem
        with file.open('rb') as packed, plain.open('wb') as out:
            zstandard.ZstdDecompressor().copy_stream(packed, out)
        yield plain


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn what a damaged bag makes the libraries raise into one line."""
    import zstandard

    try:
        yield
    except (GeneratorExit, KeyboardInterrupt, MemoryError):
        raise
    except InputError as error:
        text = str(error)
        if text.startswith(str(file.parent)) or ': ' in text:
            raise
        raise InputError(f'{file}: not a readable rosbag2: {text}') from None
    except (OSError, sqlite3.Error, zstandard.ZstdError) as error:
        raise InputError(f'{file}: cannot be read: {_line(error)}; truncated or damaged? '
                         f'{remedy(file)}') from None
    except Exception as error:  # rosbags raises asserts, struct and key errors too
        raise InputError(f'{file}: not a readable rosbag2: {_line(error)}; truncated or of an '
                         f'unknown version? {remedy(file)}') from None


def _line(error: BaseException) -> str:
    text = ' '.join(str(error).split()).rstrip('.')
    return text or type(error).__name__


def remedy(file: Path) -> str:
    """Name the tool that may save more."""
    if '.mcap' in file.suffixes:
        return '`mcap recover` may save what is left'
    return '`sqlite3 FILE .recover` may save what is left'
