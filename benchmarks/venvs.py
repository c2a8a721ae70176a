# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""An environment for each peer, made once from its pinned list."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
import os
from pathlib import Path
import shutil
import subprocess
import sys

from benchmarks import measure

LISTS = Path(__file__).resolve().parent / 'peers'
_NOT_OURS = ('_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'PYTHONHOME')


class PeerError(RuntimeError):
    """A peer cannot be installed here; one line."""


def plain_environment(drop: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment without what belongs to our own process: ROS, the allocator."""
    return {name: value for name, value in os.environ.items()
            if name not in (*_NOT_OURS, *drop) and not name.startswith('MALLOC_')}


def interpreter(peer: str) -> Path:
    """
    Return the Python of a peer's environment, which is made where it is not there or outdated.

    :param peer: name of its list in ``benchmarks/peers``
    :raises PeerError: it cannot be made
    """
    wanted = LISTS / f'{peer}.txt'
    folder = measure.cache() / peer
    stamp = folder / 'installed'
    key = sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    python = folder / 'bin' / 'python'
    if stamp.is_file() and stamp.read_text() == key:
        return python
    measure.say(f'{peer}: installing into {folder}')
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _do([getattr(sys, '_base_executable', sys.executable), '-m', 'venv', str(folder)], peer)
    _do([str(python), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps',
         '-r', str(wanted)], peer)
    stamp.write_text(key)
    return python


def _do(command: list[str], peer: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, env=plain_environment())
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.startswith('ERROR')]
        raise PeerError(f'{peer} cannot be installed: {lines[-1] if lines else ended.returncode}')
