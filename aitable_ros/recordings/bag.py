# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The camera topics of ROS recordings as frames, without ROS."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from aitable_ros.clock import (
    header_stamp_ns, ImageTime, jumps, SECOND_NS, serialized_stamp_ns, Step
)
from aitable_ros.errors import InputError
from aitable_ros.image_codec import ImageDecoder
from aitable_ros.recordings.recording import is_bag, Message, Recording
from aitable_ros.recordings.source import Skipped, Source
from aitable_ros.recordings.storage import Topic
from aitable_ros.types import Frame

__all__ = ['Bag', 'camera_topics', 'is_bag']

LOOK_AHEAD = 10_000
"""Images without a stamp after which the reader stops looking for the first stamp."""
ZERO_NS = 100_000_000
"""A stamp of zero this near to the time expected from the log time is taken as it is: simulations
and some drivers count from their start."""
OTHER_TIME = 'its stamp is of another time than those around it'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
CAMERAS = (IMAGE, COMPRESSED)


@dataclass(frozen=True, slots=True, eq=False)
class BagFrame(Frame):
    """
    An image of a bag.

    :param number: of the image in its topic, from 0; unusable images count
    """

    number: int = field(kw_only=True)


def camera_topics(recording: Recording) -> dict[str, int | None]:
    """Return the camera topics of a bag and their numbers of messages (None: unknown)."""
    return {
        name: topic.count for name, topic in sorted(recording.topics.items())
        if topic.kind in CAMERAS}


class Bag(Source):
    """
    One camera topic of a rosbag2: sqlite3 or mcap, one file or split, compressed or not.

    Frames come in the recorded order, with the header's stamp or, where that is zero, the log time.
    Images that cannot be decoded are left out and counted, as by the nodes.

    :param topic: needed if several camera topics have messages
    :param strict: end at the first unusable image
    """

    kind = 'bag'

    def __init__(self, path: Path, topic: str | None = None, *, strict: bool = False) -> None:
        super().__init__(path)
        self.strict = strict
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
        from rosbags.typesys import get_typestore, Stores

        # Image and CompressedImage are the same in every ROS 2: the bag need not define them.
        typestore = get_typestore(Stores.ROS2_HUMBLE)
        decoder = ImageDecoder(self.topic)
        skipped = Skipped(self, 'images', strict=self.strict)
        self.leaps.clear()
        encoding = ''
        given = most_ns = 0
        time = ImageTime()
        with ExitStack() as stack:  # sqlite3 must be closed on the thread that opened it
            recorded = stack.enter_context(closing(self._recording.messages([self.topic])))
            messages = stack.enter_context(closing(self._messages(recorded, typestore, skipped)))
            for timed in stack.enter_context(closing(self._stamped(messages, skipped))):
                message, place = timed.message, timed.recorded
                behind_ns = (time.newest_ns or 0) - timed.stamp_ns
                if time.step(timed.stamp_ns) is Step.LATE:
                    most_ns = max(most_ns, behind_ns)
                raw = place.topic.kind == IMAGE
                try:
                    image = decoder.raw(message) if raw else decoder.compressed(
                        str(message.format), message.data)
                except ValueError as error:
                    skipped.one(place.number, str(error))
                    continue
                found = message.encoding if raw else 'compressed'
                if encoding and found != encoding:
                    raise InputError(f"{self.path}: topic '{self.topic}' changes its encoding from "
                                     f'{encoding} to {found}; record one camera a topic')
                encoding = found
                if timed.leap:
                    self.leaps.add(given)
                given += 1
                yield BagFrame(image, timed.stamp_ns, str(message.header.frame_id),
                               number=place.number)
        skipped.end(given)
        if time.late:
            self.note(f'{time.late} images are late, not stamped after the newest one before them '
                      f'(by {most_ns / 1e6:.0f} ms at most); they are ignored, as by the nodes')

    def _messages(
        self, messages: Iterator[Message], typestore: Any, skipped: Skipped,
    ) -> Generator[tuple[Any, _Recorded, int], None, None]:
        """Yield the topic's messages that can be deserialised, with their header stamps."""
        number = 0
        for recorded in messages:
            if recorded.topic.kind not in CAMERAS:
                continue
            try:
                message: Any = typestore.deserialize_cdr(recorded.data, recorded.topic.kind)
                try:
                    stamp = header_stamp_ns(message)
                except ValueError as error:
                    skipped.one(number, f'header {error}')
                else:
                    yield message, _Recorded(recorded.topic, recorded.log_ns, number), stamp
            except InputError:
                raise
            except Exception:  # rosbags asserts, or numpy finds too few bytes
                skipped.one(number, f'a message of {len(recorded.data)} bytes is no whole image; '
                            'damaged?')
            number += 1

    def _stamped(
        self, messages: Iterator[tuple[Any, _Recorded, int]], skipped: Skipped,
    ) -> Generator[_Timed, None, None]:
        """Add the time of each message; a single stamp of another time costs its image."""
        stamps = Stamps(self.note, self._recording, self.topic)
        last: _Timed | None = None
        odd: _Timed | None = None
        first_waits = True  # only later stamps show whether the first one is right
        for message, recorded, stamp in messages:
            now = _Timed(message, recorded, stamps.of(stamp, recorded.log_ns))
            if last is None:
                last = now
                continue
            if now.is_of_another_time(last):
                if odd is None or now.is_of_another_time(odd):
                    if odd is not None:
                        skipped.one(odd.recorded.number, OTHER_TIME)
                    odd = now
                    continue
                if first_waits:
                    skipped.one(last.recorded.number, OTHER_TIME)
                    first_waits = False
                else:
                    leap_s = (odd.stamp_ns - last.stamp_ns) / SECOND_NS
                    self.note(f'the stamps leap by {leap_s:.1f} s at image {odd.recorded.number}: '
                              'the clock was set, or the recording plays again; the leap does '
                              'not count as time')
                    odd.leap = True
                yield odd
                last = odd
            elif odd is not None:  # a single wrong stamp
                skipped.one(odd.recorded.number, OTHER_TIME)
            odd = None
            if first_waits:
                first_waits = False
                yield last
            yield now
            last = max(last, now, key=lambda timed: timed.stamp_ns)
        if last is not None and first_waits:
            yield last
        if odd is not None:
            skipped.one(odd.recorded.number, OTHER_TIME)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """
    The place of a message in the bag.

    :param number: in its topic, from 0
    """

    topic: Topic
    log_ns: int
    number: int


@dataclass(slots=True)
class _Timed:
    """
    A message and its time.

    :param leap: the clock was set before it
    """

    message: Any
    recorded: _Recorded
    stamp_ns: int
    leap: bool = False

    def is_of_another_time(self, other: _Timed) -> bool:
        """Compare with one before it, as :class:`aitable_ros.clock.StampGuard` does."""
        return jumps(*((one.stamp_ns, one.recorded.log_ns / SECOND_NS) for one in (other, self)))


class Stamps:
    """
    Header stamps; for a stamp of zero, the log time plus the distance of the two clocks.

    The distance is that of the last image with a stamp or, at the beginning, of the next one. A
    first stamp of zero that agrees with the stamps after it is taken as it is.
    """

    def __init__(self, note: Callable[[str], None], recording: Recording, topic: str) -> None:
        self._note = note
        self._recording = recording
        self._topic = topic
        self._distance_ns: int | None = None

    def of(self, stamp_ns: int, log_ns: int) -> int:
        """Return the time of an image in nanoseconds, given its header stamp, which may be 0."""
        if stamp_ns > 0:
            self._distance_ns = stamp_ns - log_ns
            return stamp_ns
        if self._distance_ns is None:
            self._distance_ns = self._look_ahead()
        estimate_ns = log_ns + self._distance_ns
        if abs(estimate_ns) < ZERO_NS:
            return 0
        self._note('some images have no header stamp; the time of recording (log time) is used '
                   'for them')
        return estimate_ns

    def _look_ahead(self) -> int:
        """Return the distance at the first stamp that is not zero; 0 if there is none."""
        with suppress(InputError), closing(self._recording.messages([self._topic])) as messages:
            for message in islice(messages, LOOK_AHEAD):
                stamp = serialized_stamp_ns(message.data)
                if stamp:
                    return stamp - message.log_ns
        return 0
