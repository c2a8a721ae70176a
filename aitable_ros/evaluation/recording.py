# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 as a whole: which files, which topics, and all messages in order."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

import yaml

from aitable_ros.errors import InputError
from aitable_ros.evaluation.storage import is_storage
from aitable_ros.evaluation.storage import open_storage
from aitable_ros.evaluation.storage import Topic


def is_bag(path: Path) -> bool:
    """Whether this is a rosbag2: a storage file, or a folder with one or with an index."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or any(map(is_storage, path.iterdir()))
    return is_storage(path)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was recorded."""

    topic: Topic
    log_ns: int
    data: bytes


class Recording:
    """
    A rosbag2: sqlite3 or mcap, one file or split, compressed or not, finished or not.

    :param note: told, in one line each, what a reader of the results must know
    :raises InputError: it cannot be read
    """

    def __init__(self, path: Path, note: Callable[[str], None] = lambda line: None) -> None:
        self.path = path
        self.files: list[Path] = []
        self.topics: dict[str, Topic] = {}
        self.duration_s = 0.0
        self.packed_messages = False
        self._note = note
        if path.is_dir() and (path / 'metadata.yaml').is_file():
            self._read_metadata()
            return
        if path.is_dir():
            note('the bag has no metadata.yaml; its files are read in the order of their first '
                 'message')
        self._read_files(
            [path] if path.is_file() else [file for file in path.iterdir() if is_storage(file)])

    def _read_metadata(self) -> None:
        index = self.path / 'metadata.yaml'
        try:
            about = yaml.safe_load(index.read_text(encoding='utf-8'))[
                'rosbag2_bagfile_information']
            # Humble wrote paths with the folder in front, later releases without.
            self.files = [self.path / Path(name).name for name in about['relative_file_paths']]
            self.duration_s = about['duration']['nanoseconds'] / 1e9
            self.packed_messages = str(about.get('compression_mode') or '').lower() == 'message'
            if about.get('compression_format') not in (None, '', 'zstd'):
                raise InputError(f"{self.path}: compression '{about['compression_format']}' is not "
                                 'supported; rewrite it with `ros2 bag convert`')
            for entry in about['topics_with_message_count']:
                topic = entry['topic_metadata']
                self.topics[topic['name']] = Topic(
                    topic['name'], topic['type'], int(entry['message_count']))
        except (KeyError, TypeError, AttributeError, OSError, UnicodeDecodeError, yaml.YAMLError):
            raise InputError(f'{index}: not the index of a rosbag2; `ros2 bag reindex` makes it '
                             'anew, or remove it') from None
        missing = [file for file in self.files if not file.is_file()]
        if missing:
            raise InputError(f'{missing[0]}: named in metadata.yaml but not there')

    def _read_files(self, files: Collection[Path]) -> None:
        spans = []
        for file in files:
            with open_storage(file) as storage:
                for topic in storage.topics.values():
                    known = self.topics.get(topic.name)
                    counts = (topic.count, known.count if known else 0)
                    total = None if None in counts else sum(count or 0 for count in counts)
                    self.topics[topic.name] = replace(topic, count=total)
                spans.append((storage.start_ns, storage.end_ns, file))
        spans.sort()
        self.files = [file for _, _, file in spans]
        used = [(start, end) for start, end, _ in spans if end]
        if used:
            self.duration_s = (max(end for _, end in used) - used[0][0]) / 1e9

    def messages(
        self, names: Collection[str] | None = None,
        on_topics: Callable[[Collection[Topic]], None] = lambda topics: None,
    ) -> Iterator[Message]:
        """
        Yield the messages of some topics, file after file.

        :param names: None is all
        :param on_topics: told each file's own topics before its first message
        :raises InputError: at the end, where a file was cut short; at once, where one cannot be
            opened
        """
        import zstandard

        unpack = zstandard.ZstdDecompressor().decompress
        cut = []
        for file in self.files:
            with open_storage(file) as storage:
                on_topics(storage.topics.values())
                wanted = storage.topics if names is None else names
                for topic, log_ns, data in storage.messages(wanted):
                    yield Message(topic, log_ns, unpack(data) if self.packed_messages else data)
                if storage.damage:
                    cut.append(f'{file}: {storage.damage}')
        if cut:
            raise InputError('; '.join(cut))
