# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image stamps that jump: a single one that is wrong costs its image, and no more."""

from __future__ import annotations

import struct
from typing import Any

from aitable_ros.image_codec import ImageError

SECOND_NS = 1_000_000_000

JUMP_S = 10.0
"""
So far a stamp may be ahead of the time that has passed since the last image, or behind the last
stamp. A recording played at ten times its speed is 0.3 s ahead at 30 fps; people are forgotten
after 10 s, so beyond that a wrong stamp would cost more than its image.
"""


class StampGuard:
    """
    Holds back the first image of another time.

    Where the next one is of that time, too, the clock was set (or a recording began anew), and time
    goes on from there; where it is not, the stamp was wrong.
    """

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None
        self._odd: tuple[int, float] | None = None

    def check(self, stamp_ns: int, received_s: float) -> None:
        """
        Take in an image.

        :param received_s: steady clock
        :raises ImageError: it is the first of another time
        """
        now = (stamp_ns, received_s)
        last, odd = self._last, self._odd
        if last is None or not jumps(last, now) or (odd is not None and not jumps(odd, now)):
            self._last, self._odd = now, None
            return
        self._odd = now
        ahead = (stamp_ns - last[0]) * 1e-9
        raise ImageError(
            'jump', f'its stamp is {abs(ahead):.1f} s {"after" if ahead > 0 else "before"} that of '
            f'the last one, {received_s - last[1]:.1f} s ago; if the next one agrees with it, the '
            'clock was set')


def jumps(before: tuple[int, float], now: tuple[int, float]) -> bool:
    """
    Tell whether two images are of different times.

    :param before: stamp in nanoseconds, and when it was received in seconds of a steady clock
    """
    step_s = (now[0] - before[0]) * 1e-9
    return step_s < -JUMP_S or step_s > now[1] - before[1] + JUMP_S


# --- stamps of messages -------------------------------------------------------------------------


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
