# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A copy of the input with our topics, as if the nodes had run while it was recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np

from aitable_ros.atomic import legible
from aitable_ros.errors import InputError
from aitable_ros.message_fields import TOPICS
from aitable_ros.recordings.bag import BagFrame, CAMERAS
from aitable_ros.recordings.bag_messages import BagMessages
from aitable_ros.recordings.recording import Message, Recording
from aitable_ros.recordings.source import Source
from aitable_ros.recordings.storage import Topic
from aitable_ros.types import Frame, FrameResult

COMPRESSED = 'sensor_msgs/msg/CompressedImage'
VIDEO_TOPIC = '/camera/image_raw/compressed'
VIDEO_START_NS = 1_000_000_000
"""First stamp of a video, which has no time of day. It is not 0, since 0 means "no stamp"."""
JPEG_QUALITY = 92
NAMESPACES = ('', '/aitable', *(f'/aitable_{number}' for number in range(2, 100)))
"""Namespaces for our topics; the first one that the input does not use is taken."""


class BagCopy:
    """
    Writes the copy while the input is evaluated, in constant memory.

    The input is read a second time beside the evaluation. Our messages follow their image and have
    its log time. The bag appears in its place when :meth:`finish` returns.

    :param source: a bag's camera topic, or a video
    :param folder: of the new bag; must not exist
    :raises InputError: the folder exists or cannot be made, or the input is no bag and no video
    """

    def __init__(self, source: Source, folder: Path) -> None:
        if source.kind not in ('bag', 'video'):
            raise InputError(f'{source.path}: --write-bag takes a bag with a camera topic or a '
                             f'video, not {source.kind}')
        if legible(str(folder)) != str(folder):
            raise InputError(f'{folder}: --write-bag takes a name in UTF-8')
        if folder.exists():
            raise InputError(f'{folder}: exists already; --write-bag never overwrites, name '
                             'another or remove it')
        if source.path.is_dir() and source.path.resolve() in folder.resolve().parents:
            raise InputError(f'{folder}: is within the input; --write-bag must name another place')
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.rosbag2.enums import CompressionFormat, CompressionMode

        self._source = source
        self._folder = folder
        self._draft = folder.with_name(f'.{folder.name}.part')
        self._messages = BagMessages()
        self._connections: dict[tuple[str, str], Any] = {}
        self._images = 0
        self._broken = ''
        self._recording: Recording | None = None
        self._rest: Iterator[Message] = iter(())
        if source.kind == 'bag':
            self._recording = Recording(source.path)
            self._rest = self._recording.messages(None, self._describe)
        try:
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft.mkdir(parents=True)
            self._writer = Writer(
                self._draft / folder.name, version=9, storage_plugin=StoragePlugin.MCAP)
            if self._recording is not None and self._recording.is_compressed:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except OSError as error:
            raise self._unwritable(error) from None
        self._open = True
        taken = set(self._recording.topics) if self._recording else set()
        self._prefix = next(
            prefix for prefix in NAMESPACES
            if not taken & {f'{prefix}/{role}' for role in TOPICS})
        if self._prefix:
            source.note('the input has topics of our names already: those of this evaluation are '
                        f'under {self._prefix} in the written bag')
        self._ours = {role: self._connect(f'{self._prefix}/{role}', kind)
                      for role, kind in TOPICS.items() if not role.startswith('posture')}
        if source.kind == 'video':
            self._camera = self._connect(VIDEO_TOPIC, COMPRESSED)

    def add(self, frame: Frame, result: FrameResult) -> None:
        """
        Copy the input up to the next image, then write its results.

        :raises InputError: the disk is full
        """
        try:
            if self._recording is None:
                log_ns, frame = self._write_picture(frame)
                result = _later(result, VIDEO_START_NS)
            else:
                assert isinstance(frame, BagFrame)
                log_ns = self._copy_image(frame)
            for role, data in self._messages.encode(result, frame):
                if role not in self._ours:  # of posture, which is off by default
                    self._ours[role] = self._connect(f'{self._prefix}/{role}', TOPICS[role])
                self._writer.write(self._ours[role], log_ns, data)
        except OSError as error:
            raise self._unwritable(error) from None

    def finish(self, *, all_of_it: bool = True) -> None:
        """
        Copy the rest of the input and put the bag in place.

        :param all_of_it: False leaves the rest out, as after Ctrl-C
        :raises InputError: the input is damaged (its readable part is in the bag), or the disk is
            full (there is no bag)
        """
        if self._broken:
            self.discard()
            return
        damage: InputError | None = None
        try:
            if all_of_it:
                try:
                    for message in self._rest:
                        self._write(message)
                except InputError as error:
                    damage = error
            close = getattr(self._rest, 'close', None)
            if close is not None:
                close()
            self._writer.close()
            self._open = False
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            (self._draft / self._folder.name).rename(self._folder)
            self._draft.rmdir()
        except OSError as error:
            failed = self._unwritable(error)
            self.discard()
            raise failed from None
        if damage:
            raise damage

    def discard(self) -> None:
        """Remove the unfinished bag. Idempotent."""
        if self._open:
            self._open = False
            # close() would write an index, perhaps to a full disk.
            if self._writer.storage is not None:
                self._writer.storage.bio.close()  # type: ignore[attr-defined]
        shutil.rmtree(self._draft, ignore_errors=True)

    def _copy_image(self, frame: BagFrame) -> int:
        """Copy up to the image of a frame, included; return its log time."""
        for message in self._rest:
            self._write(message)
            if message.topic.name == self._source.topic and message.topic.kind in CAMERAS:
                self._images += 1
                if self._images > frame.number:
                    return message.log_ns
        return frame.stamp_ns

    def _write_picture(self, frame: Frame) -> tuple[int, Frame]:
        good, data = cv2.imencode(
            '.jpg', cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        assert good
        stamp_ns = frame.stamp_ns + VIDEO_START_NS
        moved = Frame(frame.image, stamp_ns, 'camera')
        self._writer.write(self._camera, stamp_ns, self._messages.serialize(
            self._messages.make(
                COMPRESSED, header=self._messages.codec.header_of(moved), format='jpeg',
                data=np.asarray(data, np.uint8).ravel())))
        return stamp_ns, moved

    def _write(self, message: Message) -> None:
        connection = self._connections.get((message.topic.name, message.topic.kind))
        if connection is not None:
            self._writer.write(connection, message.log_ns, message.data)

    def _describe(self, topics: Collection[Topic]) -> None:
        """Add the topics of a file of the input."""
        for topic in topics:
            if topic.serialization == 'ros1':
                self._source.note(f'{topic.name} is left out of the written bag: ROS 2 has no '
                                  f'{topic.kind} with the same fields')
            elif topic.kind in TOPICS.values() and not self._messages.defines(topic):
                self._source.note(f'{topic.name} is left out of the written bag: it was recorded '
                                  f'with another version of {topic.kind}, and a bag has one')
            elif (topic.name, topic.kind) not in self._connections:
                self._connect(topic.name, topic.kind, topic)

    def _connect(self, name: str, kind: str, topic: Topic | None = None) -> Any:
        text, digest, qos, form = '', '', (), 'cdr'
        if topic is not None:
            text, digest, qos, form = (
                topic.definition, topic.digest, topic.qos, topic.serialization)
        if not text:
            try:
                text, hashed = self._messages.definition(kind)
                digest = digest or hashed
            except Exception:  # neither the bag nor this package defines the type
                self._source.note(f'neither the bag nor this package defines {kind}: {name} is '
                                  'copied without a definition')
        connection = self._writer.add_connection(
            name, kind, msgdef=text, rihs01=digest or 'unknown', offered_qos_profiles=qos,
            serialization_format=form)
        if not digest:
            # rosbags insists on a hash. Older bags have none, which ROS writes as an empty one.
            known = connection._replace(digest='')
            self._writer.connections[-1] = known
            connection = known
        self._connections[name, kind] = connection
        return connection

    def _unwritable(self, error: OSError) -> InputError:
        self._broken = f'{self._folder}: cannot be written: {error.strerror or error}'
        return InputError(self._broken)


def _later(result: FrameResult, shift_ns: int) -> FrameResult:
    """Return a result whose events began so much later, as the images of the bag are."""
    posture = result.posture
    if posture is not None:
        posture = replace(posture, events=tuple(
            replace(event, start_ns=event.start_ns + shift_ns) for event in posture.events))
    return replace(result, posture=posture, events=tuple(
        replace(event, start_ns=event.start_ns + shift_ns) for event in result.events))
