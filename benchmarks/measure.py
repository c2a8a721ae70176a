# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What every part shares: the machine, figures of samples, result files, where children are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
from time import perf_counter, process_time
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'benchmarks' / 'results'
MOST_BYTES = 200_000
"""Of a result file: they are kept in the repository."""
PACKAGES = ('aitable_ros', 'numpy', 'opencv-python-headless', 'onnxruntime', 'openvino', 'tensorrt',
            'ros-rclpy', 'ros-fastdds')
FLAGS = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'asimd', 'bf16')
"""Of a processor, that inference uses."""


def cache() -> Path:
    """Return the folder of what is not kept: peers' environments, quick results."""
    return Path(os.environ.get('AITABLE_PEERS') or '~/.cache/aitable/peers').expanduser()


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    info = _first_processor()
    words = set(info.get('flags', info.get('Features', '')).split())
    return {
        'processor': info.get('model name', platform.processor() or platform.machine()),
        'architecture': platform.machine(),
        'cores': os.cpu_count(), 'instructions': [flag for flag in FLAGS if flag in words],
        'memory_gb': round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9, 1),
        'system': f'{platform.system()} {platform.release()}',
        'python': platform.python_version(), 'packages': versions(),
        'commit': _commit(), 'load': [round(value, 2) for value in os.getloadavg()]}


def versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of those packages that are here."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def figures(samples: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return median, mean, p95, p99 and number of some milliseconds."""
    values = np.asarray(samples, np.float64)
    if not values.size:
        return {'n': 0}
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {'n': int(values.size), 'p50': _short(p50), 'mean': _short(values.mean()),
            'p95': _short(p95), 'p99': _short(p99)}


def timed(call: Callable[[], object], runs: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each of some runs: by the clock, and of the processor."""
    wall, cpu = [], []
    for _ in range(runs):
        start, spent = perf_counter(), process_time()
        call()
        wall.append((perf_counter() - start) * 1e3)
        cpu.append((process_time() - spent) * 1e3)
    return wall, cpu


def write(name: str, content: dict[str, Any], folder: Path | None = None) -> Path:
    """
    Write a part's results.

    :param name: of the file, without its ending
    """
    path = (folder or RESULTS) / f'{name}.json'
    text = json.dumps(content, indent=1) + '\n'
    assert len(text) < MOST_BYTES, f'{path.name}: {len(text)} bytes of results'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return path


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def rounds_order(items: Sequence[Any], index: int) -> list[Any]:
    """Return the items in the order of one round: each round begins with the next one."""
    first = index % max(len(items), 1)
    return [*items[first:], *items[:first]]


def _short(value: float) -> float:
    return float(f'{value:.4g}')


def _first_processor() -> dict[str, str]:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').partition('\n\n')[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(':') for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _commit() -> str:
    """Return git's short name of what was measured; with changes on top it ends in a plus."""
    try:
        found = subprocess.run(
            ['git', '-C', str(ROOT), 'describe', '--always', '--dirty=+', '--exclude=*'],
            capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return found.stdout.strip()
