# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Our messages as the bytes that are in a bag, without ROS."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.message_codec import MessageCodec
from aitable_ros.message_fields import TOPICS
from aitable_ros.recordings.storage import Topic
from aitable_ros.types import Frame, FrameResult


def definitions(package: str = 'aitable_msgs') -> dict[str, str]:
    """
    Return the message definitions of a package as text, by type name.

    :raises InputError: they are not installed
    """
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    folders = [Path(prefix, 'share', package, 'msg') for prefix in prefixes if prefix]
    folders.append(Path(__file__).resolve().parents[2] / package / 'msg')
    for folder in folders:
        texts = {
            f'{package}/msg/{path.stem}': path.read_text(encoding='utf-8')
            for path in sorted(folder.glob('*.msg'))}
        if texts:
            return texts
    raise InputError(f'no message definitions of {package} in {", ".join(map(str, folders))}')


class BagMessages:
    """
    Serialises and deserialises our messages.

    :param topics: of a bag: its own definitions of our types are preferred to the installed ones
    """

    def __init__(self, topics: Mapping[str, Topic] | None = None) -> None:
        from rosbags.typesys import get_typestore, Stores

        self.store = get_typestore(Stores.ROS2_HUMBLE)
        self._own = {
            topic.kind: types for topic in (topics or {}).values()
            if topic.kind in TOPICS.values() and (types := _types(topic.kind, topic.definition))}
        known = self._own if set(self._own) == set(TOPICS.values()) else {
            **{kind: _types(kind, text) for kind, text in definitions().items()}, **self._own}
        for types in known.values():
            # A definition in a bag includes the types that it is made of: some are known already.
            new = {kind: one for kind, one in types.items() if kind not in self.store.fielddefs}
            if new:
                self.store.register(new)
        self.codec = MessageCodec(self.make, {
            kind: {name: int(value) for name, _, value in self.store.fielddefs[kind][0]}
            for kind in TOPICS.values()})

    def make(self, kind: str, **fields: Any) -> Any:
        """Return a message of any known type; all of its fields must be given."""
        return self.store.types[kind](**{
            name: np.asarray(value) if isinstance(value, array) else value
            for name, value in fields.items()})

    def serialize(self, message: Any) -> bytes:
        """Return a message as the bytes that are in a bag."""
        return bytes(self.store.serialize_cdr(message, message.__msgtype__))

    def encode(self, result: FrameResult, frame: Frame) -> Iterator[tuple[str, bytes]]:
        """Yield (topic, serialised message) as the nodes would publish them about one frame."""
        for topic, message in self.codec.messages_of(result, frame):
            yield topic, self.serialize(message)

    def decode(self, kind: str, data: bytes) -> Any:
        """
        Return a message of one of our types.

        :raises InputError: it does not fit its definition
        """
        try:
            return self.store.deserialize_cdr(data, kind)
        except Exception:  # rosbags asserts, unpacks and indexes
            hint = '' if kind in self._own else (
                ': the bag does not define the type, and it has changed since; record with mcap, '
                'which keeps definitions')
            raise InputError(f'a {kind} of {len(data)} bytes does not fit its definition{hint}') \
                from None

    def defines(self, topic: Topic) -> bool:
        """Return whether a topic was recorded with the definition that messages are made with."""
        types = _types(topic.kind, topic.definition)
        return not types or types[topic.kind] == self.store.fielddefs[topic.kind]

    def definition(self, kind: str) -> tuple[str, str]:
        """Return the definition of a type with all that it is made of, and its hash."""
        text, _ = self.store.generate_msgdef(kind, ros_version=2)
        return text, self.store.hash_rihs01(kind)


def _types(kind: str, definition: str) -> dict[str, Any]:
    """Return the types in a definition; none if it is empty, in IDL or damaged."""
    from rosbags.typesys import get_types_from_msg

    if definition and not definition.startswith('=' * 80 + '\nIDL: '):
        with suppress(Exception):  # of the parser: several kinds
            return dict(get_types_from_msg(definition, kind))
    return {}
