# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The camera topics of rosbag2 recordings as frames: no ROS needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.evaluation.recording import is_bag
from aitable_ros.evaluation.recording import Recording
from aitable_ros.evaluation.source import Source
from aitable_ros.pixels import decode
from aitable_ros.pixels import decode_compressed
from aitable_ros.types import Frame

__all__ = ['Bag', 'camera_topics', 'is_bag']

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


def camera_topics(recording: Recording) -> dict[str, int | None]:
    """Return the camera topics of a bag with their numbers of messages (None: not known)."""
    return {
        name: topic.count for name, topic in sorted(recording.topics.items())
        if topic.kind in (IMAGE, COMPRESSED)}


class Bag(Source):
    """
    One camera topic of a rosbag2: sqlite3 or mcap, one file or split, compressed or not.

    Frames come in the recorded order with the header's stamp, or the log time where the header has
    none.

    :param topic: may be left out where the bag has one camera topic with messages
    """

    kind = 'bag'

    def __init__(self, path: Path, topic: str | None = None) -> None:
        super().__init__(path)
        self._recording = Recording(path, self.note)
        self.topic = self._choose(topic)
        self.frames = self._recording.topics[self.topic].count
        if self.frames and self.frames > 1 and self._recording.duration_s > 0:
            self.fps = (self.frames - 1) / self._recording.duration_s

    def _choose(self, wanted: str | None) -> str:
        topics = self._recording.topics
        cameras = camera_topics(self._recording)
        listed = ', '.join(
            f"{name} ({'?' if count is None else count})"
            for name, count in cameras.items()) or 'none'
        if wanted:
            name = wanted if wanted in topics else f'/{wanted}'
            if name not in topics:
                raise InputError(
                    f"{self.path}: no topic '{wanted}'; camera topics (messages): {listed}")
            if name not in cameras:
                raise InputError(f"{self.path}: topic '{name}' is {topics[name].kind}, not a "
                                 f'camera; camera topics (messages): {listed}')
        else:
            alive = [name for name, count in cameras.items() if count != 0] or list(cameras)
            if not alive:
                others = ', '.join(sorted(topics)) or 'none'
                hint = '; --from-topics reads what our nodes recorded' if any(
                    topic.kind.startswith('aitable_msgs/') for topic in topics.values()) else ''
                raise InputError(f'{self.path}: no camera topic; topics: {others}{hint}')
            if len(alive) > 1:
                raise InputError(f'{self.path}: several camera topics; choose one with --topic: '
                                 f"{listed}; or --topic '*' for a result of each")
            name = alive[0]
        if cameras[name] == 0:
            raise InputError(f"{self.path}: topic '{name}' has no messages")
        return name

    def _read(self) -> Iterator[Frame]:
        from rosbags.typesys import get_typestore
        from rosbags.typesys import Stores

        # Image and CompressedImage are the same in every ROS 2, so the bag's own definitions, which
        # old ones lack, are not needed.
        typestore = get_typestore(Stores.ROS2_HUMBLE)
        stamps = Stamps(self.note)
        encoding = ''
        for recorded in self._recording.messages([self.topic]):
            raw = recorded.topic.kind == IMAGE
            try:
                message: Any = typestore.deserialize_cdr(recorded.data, recorded.topic.kind)
            except Exception:  # rosbags asserts, or numpy finds too few bytes
                raise InputError(f"{self.path}: topic '{self.topic}': a message of "
                                 f'{len(recorded.data)} bytes is no whole image; damaged?') \
                    from None
            found = message.encoding if raw else 'compressed'
            if encoding and found != encoding:
                raise InputError(f"{self.path}: topic '{self.topic}' changes its encoding from "
                                 f'{encoding} to {found}; record one camera a topic')
            encoding = found
            try:
                image = decode(
                    message.encoding, message.width, message.height, message.step,
                    bool(message.is_bigendian), message.data,
                ) if raw else decode_compressed(message.format, message.data)
            except ValueError as error:
                raise InputError(f"{self.path}: topic '{self.topic}': {error}") from None
            header = message.header
            yield Frame(image, stamps.of(header.stamp, recorded.log_ns), header.frame_id)


class Stamps:
    """Header stamps; where one is zero, the log time, moved by the last known distance to it."""

    def __init__(self, note: Any) -> None:
        self._note = note
        self._distance_ns = 0

    def of(self, stamp: Any, log_ns: int) -> int:
        stamp_ns = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
        if stamp_ns > 0:
            self._distance_ns = stamp_ns - log_ns
            return stamp_ns
        self._note('some images have no header stamp; the time of recording (log time) is used '
                   'for them')
        return log_ns + self._distance_ns
