# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a user imports: the exported names, their examples, and the README's lines of Python."""

from __future__ import annotations

import ast
import doctest
from pathlib import Path
import re
import subprocess
import sys

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

import aitable_ros

README = (Path(__file__).resolve().parent.parent / 'README.md').read_text(encoding='utf-8')


def test_every_exported_name_is_there_and_typed() -> None:
    """The imports that mypy reads are those that ``__getattr__`` makes."""
    source = Path(aitable_ros.__file__).read_text(encoding='utf-8')
    typed = {
        (node.module, alias.name) for block in ast.parse(source).body if isinstance(block, ast.If)
        for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {name for _, name in typed} == set(aitable_ros.__all__)
    for module, name in typed:
        assert getattr(aitable_ros, name) is getattr(sys.modules[module], name)
    assert set(aitable_ros.__all__) <= set(dir(aitable_ros))
    with pytest.raises(AttributeError, match='no attribute'):
        aitable_ros.nothing  # noqa: B018


@pytest.mark.usefixtures('models')
@pytest.mark.parametrize('name', aitable_ros.__all__)
def test_the_example_of_each_exported_name_runs(name: str) -> None:
    value = getattr(aitable_ros, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(
        value, name, globs=dict(vars(sys.modules[value.__module__])))
    assert example.examples, f'{name} has no example'
    assert doctest.DocTestRunner().run(example).failed == 0


def test_the_example_of_the_package_runs() -> None:
    assert doctest.testmod(aitable_ros) == (0, 2)


@pytest.mark.usefixtures('models')
@pytest.mark.parametrize('shown', ['a face', 'nobody'])
def test_the_lines_of_the_readme_run(
    tmp_path: Path, portrait: NDArray[np.uint8], shown: str,
) -> None:
    (lines,) = re.findall(r'```python\n(.*?)```', README, re.S)
    image = portrait if shown == 'a face' else np.full((480, 640, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / 'me.jpg'), np.ascontiguousarray(image[..., ::-1]))
    done = subprocess.run(
        [sys.executable, '-c', lines], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if shown == 'nobody':
        assert done.stdout == ''
    else:
        expression, ear = done.stdout.split()
        assert expression == 'HAPPY'
        assert 0.1 < float(ear) < 0.6
