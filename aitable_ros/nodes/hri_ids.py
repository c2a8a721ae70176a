# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The transient ids of REP-155."""

from __future__ import annotations

from collections.abc import Iterable
from random import SystemRandom

ID_LETTERS = 'abcdefghijklmnopqrstuvwxyz'
ID_LENGTH = 5
"""Ids match ``[a-z]{5}``, as those of the ROS4HRI nodes; no part of a topic begins with a digit."""


class RandomIds:
    """Random ids for track ids; no id is used twice."""

    def __init__(self) -> None:
        self._random = SystemRandom()
        self._ids: dict[int, str] = {}
        self._used: set[str] = set()

    def __getitem__(self, track_id: int) -> str:
        """Return the id of a track, a new one for an unknown track."""
        if track_id not in self._ids:
            while True:
                fresh = ''.join(self._random.choice(ID_LETTERS) for _ in range(ID_LENGTH))
                if fresh not in self._used:
                    break
            self._used.add(fresh)
            self._ids[track_id] = fresh
        return self._ids[track_id]

    def forget(self, present: Iterable[int]) -> list[str]:
        """Drop the ids of all other tracks; returns the dropped ids."""
        gone = self._ids.keys() - set(present)
        return [self._ids.pop(track_id) for track_id in gone]
