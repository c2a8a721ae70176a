# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a process holds, out of /proc: what the soaks compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holding:
    """
    What a process holds at one moment.

    :param rss_mb: resident, shared segments included
    :param anonymous_mb: resident and the process's own
    """

    rss_mb: float
    anonymous_mb: float
    threads: int
    descriptors: int


def status(pid: int | str = 'self') -> dict[str, str]:
    """Return /proc/PID/status by name; :raises OSError: it has gone."""
    return dict(
        line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())


def memory_mb(name: str, pid: int | str = 'self') -> float:
    """Return one of its memory figures, ``VmRSS`` say."""
    return int(status(pid)[name].split()[0]) / 1024


def holding(pid: int) -> Holding:
    """Return what a process holds; :raises OSError, KeyError: it has gone, or is a zombie."""
    told = status(pid)
    rss_mb, anonymous_mb = (int(told[name].split()[0]) / 1024 for name in ('VmRSS', 'RssAnon'))
    return Holding(
        rss_mb, anonymous_mb, int(told['Threads']),
        len(list(Path(f'/proc/{pid}/fd').iterdir())))
