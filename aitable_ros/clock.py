# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Image time: how stamps are read, which images are late, and when the clock has jumped.

Everything that measures in image time asks this module, so that a late image is ignored everywhere
and time begins again everywhere at the same image.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import struct
from typing import Any

from aitable_ros.errors import ImageError

SECOND_NS = 1_000_000_000
JUMP_BACK_NS = SECOND_NS
"""
A stamp further behind the newest one belongs to another time: the clock was set back, or a
recording plays again. Images that overtake each other on the way are a few frames late, and the
shortest recordings that are played in a loop last seconds.
"""
JUMP_AHEAD_NS = 10 * SECOND_NS
"""
A stamp may be ahead of the time that passed since the newest one by this much. A recording played
at ten times its speed is 0.3 s ahead at 30 fps. People are forgotten after 10 s, so a wrong stamp
further ahead would cost more than its image.
"""
STAMP_SLACK_S = 0.005
"""A camera's stamps jitter; what is due 5 ms from now is due."""


class Step(Enum):
    """How a stamp follows the newest one before it."""

    FORWARD = 'later than the newest, or the first'
    LATE = 'not later than the newest: the image is ignored'
    JUMP = 'of another time: time begins again with it'


class ImageTime:
    """
    The time of one camera as its stamps tell it.

    ``newest_ns`` is the newest stamp since the last jump, None before the first one; ``late``
    counts the late images.
    """

    def __init__(self) -> None:
        self.newest_ns: int | None = None
        self.late = 0

    def step(self, stamp_ns: int) -> Step:
        """Take the next image's stamp, nanoseconds."""
        newest_ns = self.newest_ns
        if newest_ns is not None and 0 <= newest_ns - stamp_ns <= JUMP_BACK_NS:
            self.late += 1
            return Step.LATE
        self.newest_ns = stamp_ns
        return Step.FORWARD if newest_ns is None or stamp_ns > newest_ns else Step.JUMP

    def reset(self) -> None:
        """Begin again: any stamp may come next."""
        self.newest_ns = None


class StampGuard:
    """
    Refuses the first image of another time, since its stamp alone may be wrong.

    When the next image agrees with it the clock was set (or a recording plays again), and both
    times are told apart from there on. Late images pass: stages ignore them.
    """

    def __init__(self) -> None:
        self._newest: tuple[int, float] | None = None
        self._refused: tuple[int, float] | None = None

    def check(self, stamp_ns: int, received_s: float) -> None:
        """
        Take the next image's stamp.

        :param received_s: when the image was received, seconds of a steady clock
        :raises ImageError: the image is the first of another time
        """
        now = (stamp_ns, received_s)
        newest, refused = self._newest, self._refused
        if newest is None or not jumps(newest, now):
            self._newest, self._refused = now if newest is None else max(newest, now), None
            return
        if refused is not None and not jumps(refused, now):
            self._newest, self._refused = max(refused, now), None
            return
        self._refused = now
        ahead_s = (stamp_ns - newest[0]) / SECOND_NS
        raise ImageError(
            'jump', f'its stamp is {abs(ahead_s):.1f} s {"after" if ahead_s > 0 else "before"} '
            f'that of the newest image, received {received_s - newest[1]:.1f} s ago; if the next '
            'image agrees with it, the clock was set')


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``start_ns`` to ``end_ns``, nanoseconds of image time."""

    start_ns: int
    end_ns: int

    @property
    def duration_s(self) -> float:
        """Length, seconds."""
        return (self.end_ns - self.start_ns) * 1e-9


def jumps(newest: tuple[int, float], now: tuple[int, float]) -> bool:
    """
    Return whether an image is of another time than the newest one before it.

    :param newest: stamp in nanoseconds, and when it was received in seconds of a steady clock
    :param now: the same of the image in question
    """
    step_ns = now[0] - newest[0]
    return not -JUMP_BACK_NS <= step_ns <= (now[1] - newest[1]) * SECOND_NS + JUMP_AHEAD_NS


def stamp_ns(time: Any) -> int:
    """
    Return a ``builtin_interfaces/Time`` in nanoseconds.

    :raises ValueError: no clock shows that time (negative, or over a second of nanoseconds)
    """
    if time.sec < 0 or time.nanosec >= SECOND_NS:
        raise ValueError(f'stamp {time.sec} s + {time.nanosec} ns is not a time')
    return int(time.sec) * SECOND_NS + int(time.nanosec)


def header_stamp_ns(message: Any) -> int:
    """
    Return the stamp of a message's header in nanoseconds.

    :raises ValueError: it is not a time
    """
    return stamp_ns(message.header.stamp)


def serialized_stamp_ns(data: bytes) -> int:
    """
    Return the stamp of a serialised message that begins with a header, without reading the rest.

    :return: nanoseconds; 0 where the message is too short or the stamp is negative
    """
    try:
        seconds, rest = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
    except (IndexError, struct.error):
        return 0
    return max(int(seconds) * SECOND_NS + int(rest), 0)
