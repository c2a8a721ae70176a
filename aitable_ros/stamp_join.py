# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Joining by stamp: an image and everything said about it carry the same stamp.

Parts come in any order, from several threads or files, and some never come: what waits is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Generic, TypeVar

Part = TypeVar('Part')
Left = TypeVar('Left')
Right = TypeVar('Right')
Other = TypeVar('Other')


class StampBuffer(Generic[Part]):
    """
    Parts that wait for the others of their image, by its stamp in nanoseconds.

    Not for use from several threads at once.

    :param depth: parts kept, None for no bound; one more drops the first that was put, and
        ``dropped`` counts it
    """

    def __init__(self, depth: int | None = None) -> None:
        self.dropped = 0
        self._depth = depth
        self._parts: dict[int, Part] = {}

    def __len__(self) -> int:
        """Return the number of parts that wait."""
        return len(self._parts)

    def put(self, stamp_ns: int, part: Part) -> None:
        """Keep a part, in place of an earlier one with that stamp."""
        self._parts[stamp_ns] = part
        while self._depth is not None and len(self._parts) > self._depth:
            del self._parts[next(iter(self._parts))]
            self.dropped += 1

    def at(self, stamp_ns: int, make: Callable[[], Part]) -> Part:
        """Return the part with a stamp, a new one where there is none."""
        if stamp_ns not in self._parts:
            self.put(stamp_ns, make())
        return self._parts[stamp_ns]

    def get(self, stamp_ns: int) -> Part | None:
        """Return the part with a stamp; it stays."""
        return self._parts.get(stamp_ns)

    def pop(self, stamp_ns: int) -> Part | None:
        """Take the part with a stamp out."""
        return self._parts.pop(stamp_ns, None)

    def pop_before(self, stamp_ns: int) -> Iterator[tuple[int, Part]]:
        """Take all earlier parts out; yields (stamp, part) in the order of the stamps."""
        for earlier in sorted(stamp for stamp in self._parts if stamp < stamp_ns):
            yield earlier, self._parts.pop(earlier)

    def pop_all(self) -> list[tuple[int, Part]]:
        """Take everything out, in the order of the stamps."""
        parts, self._parts = self._parts, {}
        return sorted(parts.items(), key=lambda entry: entry[0])


class StampMatcher(Generic[Left, Right]):
    """
    Pairs two streams by equal stamp; callable from any thread.

    :param depth: halves kept of each stream; older ones are dropped and counted
    """

    def __init__(self, depth: int) -> None:
        self._lock = Lock()
        self._left: StampBuffer[Left] = StampBuffer(depth)
        self._right: StampBuffer[Right] = StampBuffer(depth)

    @property
    def unmatched(self) -> int:
        """How many halves were dropped without their other half."""
        return self._left.dropped + self._right.dropped

    def left(self, stamp_ns: int, value: Left) -> tuple[Left, Right] | None:
        """Add to one stream; returns the pair if that completes one."""
        other = self._other(stamp_ns, value, self._left, self._right)
        return None if other is None else (value, other)

    def right(self, stamp_ns: int, value: Right) -> tuple[Left, Right] | None:
        """Add to the other stream; returns the pair if that completes one."""
        other = self._other(stamp_ns, value, self._right, self._left)
        return None if other is None else (other, value)

    def _other(
        self, stamp_ns: int, value: Part, own: StampBuffer[Part], others: StampBuffer[Other],
    ) -> Other | None:
        with self._lock:
            other = others.pop(stamp_ns)
            if other is None:
                own.put(stamp_ns, value)
            return other

    def __len__(self) -> int:
        """Return how many halves wait for the other one."""
        return len(self._left) + len(self._right)

    def clear(self) -> None:
        """Drop all halves."""
        with self._lock:
            self._left.pop_all()
            self._right.pop_all()
