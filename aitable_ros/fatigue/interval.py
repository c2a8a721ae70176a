# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A stretch of image time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``start_ns`` to ``end_ns``, nanoseconds of image time."""

    start_ns: int
    end_ns: int

    @property
    def duration_s(self) -> float:
        """Length, seconds."""
        return (self.end_ns - self.start_ns) * 1e-9
