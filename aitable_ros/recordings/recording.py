# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recordings of ROS messages: their files, topics and messages in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from aitable_ros.errors import InputError
from aitable_ros.recordings.mcap import MAGIC as MCAP_MAGIC
from aitable_ros.recordings.ros1 import MAGIC as ROS1_MAGIC
from aitable_ros.recordings.storage import is_storage, open_storage, PACKED, Topic, total

INDEX = 'metadata.yaml'


ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
"""First bytes of a message that is compressed by itself; CDR begins with a zero byte."""
MOST_MESSAGE = 1 << 29
"""Most bytes of an unpacked message; a message that claims more is damaged."""


def is_bag(path: Path) -> bool:
    """
    Whether this is a recording of ROS messages: a storage file, or a folder with one or an index.

    A file with another suffix is recognised by its first bytes.
    """
    if path.is_dir():
        return (path / INDEX).is_file() or any(map(is_storage, path.iterdir()))
    if is_storage(path):
        return True
    try:
        with path.open('rb') as stream:
            return stream.read(len(ROS1_MAGIC)).startswith((MCAP_MAGIC, ROS1_MAGIC))
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Message:
    """A recorded message."""

    topic: Topic
    log_ns: int
    data: bytes


class Recording:
    """
    A recording of ROS messages: sqlite3, mcap or ROS 1, also split, compressed or unfinished.

    :param note: takes remarks for the reader of the results, one line each
    :raises InputError: the recording cannot be read
    """

    def __init__(self, path: Path, note: Callable[[str], None] = lambda line: None) -> None:
        self.path = path
        self.files: list[Path] = []
        self.topics: dict[str, Topic] = {}
        self.duration_s = 0.0
        self._packed_messages = False
        self._note = note
        there = [path] if path.is_file() else sorted(filter(is_storage, path.iterdir()))
        if path.is_dir():
            try:
                self._read_metadata(there)
            except _NoIndexError as error:
                if not there:
                    raise InputError(f'{path / INDEX}: {error}, and the folder has no storage '
                                     'file') from None
                note(f'{error}; the files of the bag are read in the order of their first message')
        if not self.files:
            self._read_files(there)

    @property
    def is_compressed(self) -> bool:
        """Whether messages or whole files are compressed."""
        return self._packed_messages or any(file.suffix in PACKED for file in self.files)

    def _read_metadata(self, there: Sequence[Path]) -> None:
        """
        Read files and topics from the index.

        :param there: storage files of the folder
        :raises _NoIndexError: no index, or it does not describe the files
        """
        index = self.path / INDEX
        if not index.is_file():
            raise _NoIndexError(f'the bag has no {INDEX}')
        try:
            about = yaml.safe_load(index.read_text(encoding='utf-8'))[
                'rosbag2_bagfile_information']
            # Humble wrote paths with the folder in front, later releases without.
            names = [Path(name).name for name in about['relative_file_paths']]
            duration_s = about['duration']['nanoseconds'] / 1e9
            packed = str(about.get('compression_mode') or '').lower() == 'message'
            form = about.get('compression_format')
            topics = {
                entry['topic_metadata']['name']: Topic(
                    entry['topic_metadata']['name'], entry['topic_metadata']['type'],
                    int(entry['message_count']))
                for entry in about['topics_with_message_count']}
        except (KeyError, TypeError, ValueError, AttributeError, OSError, yaml.YAMLError):
            raise _NoIndexError(f'{INDEX} is not the index of a rosbag2 and is ignored') \
                from None
        if form not in (None, '', 'zstd'):
            raise InputError(f"{self.path}: compression '{form}' is not supported; rewrite it with "
                             '`ros2 bag convert`')
        files = [self._find(name, there) for name in names]
        if set(there) - set(files):
            extra = ', '.join(sorted(file.name for file in set(there) - set(files)))
            self._note(f'not named in {INDEX} and ignored: {extra}')
        if not any(topic.count for topic in topics.values()):
            raise _NoIndexError(f'{INDEX} lists no messages and is ignored')
        self.files, self.topics, self.duration_s = files, topics, duration_s
        self._packed_messages = packed

    def _find(self, name: str, there: Collection[Path]) -> Path:
        """
        Return a file that the index names, or its packed or unpacked copy.

        :raises InputError: no such file
        """
        file = self.path / name
        if file.is_file():
            return file
        plain = file.with_suffix('') if file.suffix in PACKED else file
        for other in (plain, *(plain.with_name(plain.name + ending) for ending in PACKED)):
            if other in there:
                self._note(f'{INDEX} names {name}; {other.name} is read in its place')
                return other
        raise InputError(f'{file}: named in {INDEX} but not there; put it back, or remove '
                         f'{INDEX} to read the files that are there')

    def _read_files(self, files: Collection[Path]) -> None:
        spans = []
        for file in files:
            with open_storage(file) as storage:
                for topic in storage.topics.values():
                    known = self.topics.get(topic.name)
                    self.topics[topic.name] = replace(
                        topic, count=total(topic.count, known.count if known else 0))
                spans.append((storage.start_ns, storage.end_ns, file))
        spans.sort()
        self.files = [file for _, _, file in spans]
        used = [(start, end) for start, end, _ in spans if end]
        if used:
            self.duration_s = (max(end for _, end in used) - used[0][0]) / 1e9

    def messages(
        self, names: Collection[str] | None = None,
        on_topics: Callable[[Collection[Topic]], None] = lambda topics: None,
    ) -> Generator[Message, None, None]:
        """
        Yield the messages of some topics, file by file.

        :param names: topics; None for all
        :param on_topics: takes the topics of each file before its first message
        :raises InputError: at the end, if a file was cut short; at once, if a file cannot be opened
        """
        cut = []
        for file in self.files:
            with open_storage(file) as storage:
                on_topics(storage.topics.values())
                wanted = storage.topics if names is None else names
                for topic, log_ns, data in storage.messages(wanted):
                    yield Message(topic, log_ns, self._unpacked(data))
                if storage.damage:
                    cut.append(f'{file}: {storage.damage}')
        if cut:
            raise InputError('; '.join(cut))

    def _unpacked(self, data: bytes) -> bytes:
        """Unpack a message that is compressed by itself; return a damaged one unchanged."""
        if not data.startswith(ZSTD_MAGIC):
            return data
        import zstandard

        self._packed_messages = True
        with suppress(zstandard.ZstdError):
            size = zstandard.frame_content_size(data)
            if size <= MOST_MESSAGE:
                # A frame need not say its size (-1).
                return zstandard.ZstdDecompressor().decompress(
                    data, max_output_size=MOST_MESSAGE if size < 0 else 0)
        return data


class _NoIndexError(Exception):
    """A folder has no usable index."""
