# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every pin in requirements/ has a wheel for every Python, and together they name all they need."""

from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ('3.10', '3.11', '3.12', '3.13', '3.14')
UBUNTU_2204 = 'manylinux_2_35'
"""The oldest C library among the supported systems."""
FILES = {
    'kilted': ('x86_64', ('build', 'run', 'test', 'ros-kilted')),
    'jazzy': ('x86_64', ('build', 'run', 'test', 'ros-jazzy')),
    'aarch64': ('aarch64', ('build', 'run')),  # a ROS 2 is sourced there: PyPI has none
}
NO_NETWORK = re.compile(r'dns error|Failed to fetch|error sending request|timed out', re.I)


def projects(text: str) -> set[str]:
    """Return the normalised names in a requirement file or in what uv prints."""
    names = (re.match(r'[\w.-]+', line) for line in text.splitlines())
    return {re.sub(r'[-_.]+', '-', match[0]).lower() for match in names if match}


def environment() -> dict[str, str]:
    """Let uv use the index that pip is configured for."""
    listed = subprocess.run(
        [sys.executable, '-m', 'pip', 'config', 'list'], capture_output=True, text=True).stdout
    index = re.search(r"^(?:global|install|:env:)\.index-url='(.+)'$", listed, re.M)
    return {**os.environ, **({'UV_DEFAULT_INDEX': index[1]} if index else {})}


@pytest.mark.slow
@pytest.mark.parametrize('target', FILES)
def test_every_pin_resolves(target: str) -> None:
    """All Pythons at once: uv waits for the index more than it computes."""
    if 'AITABLE_TEST_ALL' not in os.environ:
        pytest.skip('asks the package index for minutes: scripts/test.sh --all does')
    uv = Path(sys.executable).with_name('uv')
    if not uv.is_file():
        pytest.skip('uv is not installed here: requirements/test.txt pins it')
    machine, names = FILES[target]
    files = [ROOT / 'requirements' / f'{name}.txt' for name in names]
    pinned = set().union(*(projects(path.read_text()) for path in files))
    # empy is the one project without a wheel: pure Python, built in a second.
    running = {python: subprocess.Popen(
        [str(uv), 'pip', 'compile', '--quiet', '--no-header', '--no-annotate',
         '--only-binary', ':all:', '--no-binary', 'empy', '--python-version', python,
         '--python-platform', f'{machine}-{UBUNTU_2204}', *map(str, files)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        for python in PYTHONS}
    ended = {python: (*process.communicate(), process.returncode)
             for python, process in running.items()}
    if any(status and NO_NETWORK.search(error) for _, error, status in ended.values()):
        pytest.skip("the package index can't be reached from here")
    for python, (resolved, error, status) in ended.items():
        assert status == 0, f'Python {python}: {error}'
        assert projects(resolved) <= pinned, (
            f'Python {python}: installed with --no-deps, these would be missing')
