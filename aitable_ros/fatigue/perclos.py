# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""PERCLOS: the share of usable time with closed eyes, over two windows, in image time."""

from __future__ import annotations

SLOT_NS = 250_000_000
"""Resolution of the windows' far ends; bounds the memory whatever the frame rate."""


class PerclosWindows:
    """
    Usable and closed time of the last seconds, kept in slots of a quarter of a second.

    Sums are whole nanoseconds, so nothing drifts. Time may be credited late (a closure that had to
    be confirmed first), as long as it is within the window.

    :param windows_s: the lengths of the windows, seconds
    """

    def __init__(self, *windows_s: float) -> None:
        self._slots = tuple(max(1, round(window * 1e9 / SLOT_NS)) for window in windows_s)
        self._size = max(self._slots)
        self._usable = [0] * self._size
        self._closed = [0] * self._size
        self._usable_sums = [0] * len(self._slots)
        self._closed_sums = [0] * len(self._slots)
        self._now: int | None = None

    def advance(self, time_ns: int) -> None:
        """Move the windows' near end to this time; it never moves back."""
        slot = time_ns // SLOT_NS
        if self._now is None:
            self._now = slot
        if slot - self._now >= self._size:
            self._usable, self._closed = [0] * self._size, [0] * self._size
            self._usable_sums, self._closed_sums = [0] * len(self._slots), [0] * len(self._slots)
            self._now = slot
        while self._now < slot:
            self._now += 1
            for window, slots in enumerate(self._slots):
                leaving = (self._now - slots) % self._size
                self._usable_sums[window] -= self._usable[leaving]
                self._closed_sums[window] -= self._closed[leaving]
            self._usable[self._now % self._size] = self._closed[self._now % self._size] = 0

    def credit(self, start_ns: int, end_ns: int, closed: bool) -> None:
        """
        Count a piece of usable time.

        :param closed: the eyes were closed during it
        """
        self.advance(end_ns)
        assert self._now is not None
        while start_ns < end_ns:
            slot = start_ns // SLOT_NS
            until = min(end_ns, (slot + 1) * SLOT_NS)
            age = self._now - slot
            if age < self._size:
                place, length = slot % self._size, until - start_ns
                self._usable[place] += length
                if closed:
                    self._closed[place] += length
                for window, slots in enumerate(self._slots):
                    if age < slots:
                        self._usable_sums[window] += length
                        if closed:
                            self._closed_sums[window] += length
                start_ns = until
            else:
                start_ns = max(until, (self._now - self._size + 1) * SLOT_NS)

    def usable_s(self, window: int) -> float:
        """Seconds of usable time in one of the windows."""
        return self._usable_sums[window] * 1e-9

    def share(self, window: int) -> float:
        """Closed over usable time in one of the windows; NaN without usable time."""
        usable = self._usable_sums[window]
        return self._closed_sums[window] / usable if usable else float('nan')
