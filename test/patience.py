# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How long tests wait."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import time

PATIENT_S = 150.0
"""
For something that comes soon on an idle machine, and comes late on a busy one.

Only a fault makes a test wait so long. How long things take is measured in ``benchmarks/``.
"""


def let_compute(process: subprocess.Popen, seconds: float) -> None:
    """Wait until a process and its children have computed so much more, or it has ended."""
    enough, end = _computed_s(process.pid) + seconds, time.monotonic() + PATIENT_S
    while process.poll() is None and _computed_s(process.pid) < enough:
        assert time.monotonic() < end, f'process {process.pid} does nothing'
        time.sleep(0.1)  # to look takes 10 ms of a processor


def _computed_s(pid: int) -> float:
    """Return the processor time of a process and of those below it."""
    ticks: dict[int, int] = {}
    below: dict[int, list[int]] = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = path.read_text().rpartition(')')[2].split()
        except OSError:  # it has ended
            continue
        number = int(path.parent.name)
        ticks[number] = int(fields[11]) + int(fields[12])
        below.setdefault(int(fields[1]), []).append(number)
    family = [pid]
    for one in family:
        family += below.get(one, [])
    return sum(ticks.get(one, 0) for one in family) / os.sysconf('SC_CLK_TCK')
