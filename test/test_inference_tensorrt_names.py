# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The names that the version switches rest on, read out of the real Python bindings, from PyPI.

The wheels hold no library, so nothing runs; they import beside empty libraries, and a module has
its names as soon as it is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
from tensorrt_standin.surface import names, RTX_LIKE, RTX_VERSION, SURFACES

from aitable_ros.inference import tensorrt_version
from aitable_ros.inference.tensorrt_library import RTX

DUMP = Path(__file__).parent / 'tensorrt_standin' / 'dump_names.py'
WHEELS = {
    '10.3.0': 'tensorrt-cu12-bindings', '10.13.3.9': 'tensorrt-cu13-bindings',
    '11.4.0.106': 'tensorrt-cu13-bindings'}
"""10.3 and 10.13 are those of JetPack 6 and 7."""


def dumped(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(DUMP), *arguments], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize('version', WHEELS)
def test_the_list_is_that_of_the_real_bindings(version: str, tmp_path: Path) -> None:
    if shutil.which('gcc') is None:
        pytest.skip('the bindings import beside empty libraries, and there is no gcc to make them')
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:',
         '--dest', str(tmp_path), f'{WHEELS[version]}=={version}'],
        capture_output=True, text=True, timeout=240, check=False)
    wheels = list(tmp_path.glob('*.whl'))
    if done.returncode or not wheels:
        pytest.skip(f'pip has no {WHEELS[version]}=={version} for this Python and machine: '
                    + done.stderr.strip().rpartition('\n')[2])
    assert dumped('tensorrt_bindings', str(wheels[0])) == {version: names(version)}


def test_the_list_of_tensorrt_for_rtx_is_that_of_the_installed_one() -> None:
    if not RTX.package:
        pytest.skip('TensorRT for RTX is not installed here (Linux x86-64, glibc 2.28 or newer)')
    assert dumped(RTX.package) == {RTX_VERSION: names(RTX_VERSION)}


def test_tensorrt_for_rtx_has_the_names_of_11_that_are_used() -> None:
    like = next(version for version in SURFACES
                if tensorrt_version.parse_version(version) == RTX_LIKE)
    source = ''.join(path.read_text(encoding='utf-8') for folder in ('inference', 'models')
                     for path in Path(tensorrt_version.__file__).parents[1].glob(f'{folder}/*.py'))
    words = set(re.findall(r'\w+', source))
    lacking = {}
    for kind, members in names(like)['classes'].items():
        used = words & set(members)
        lacking[kind] = used - set(names(RTX_VERSION)['classes'].get(kind, ()))
    # words of ours that TensorRT has as names too, of what is not asked of it
    assert {kind: lack for kind, lack in lacking.items() if lack} == {'ITensor': {'location'}}
