# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``docs/architecture.md`` and its picture agree with the source."""

from __future__ import annotations

import importlib.util
from pathlib import Path
import re
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        'architecture_picture', ROOT / 'docs' / 'architecture_picture.py')
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_shows_the_imports_of_today(drawing: ModuleType) -> None:
    assert drawing.PICTURE.read_text(encoding='utf-8') == drawing.svg(), \
        'draw it again: PYTHONPATH=test .venv/bin/python docs/architecture_picture.py'


def test_an_arrow_that_follows_from_others_is_left_out(drawing: ModuleType) -> None:
    assert drawing.reduced({('a', 'b'), ('b', 'c'), ('a', 'c')}) == {('a', 'b'), ('b', 'c')}


def test_every_package_has_a_box(drawing: ModuleType) -> None:
    packages = {path.parent.name for path in (ROOT / 'aitable_ros').glob('*/__init__.py')}
    assert packages <= set(drawing.PURPOSE)


@pytest.mark.parametrize('name', sorted(set(re.findall(r'`(\w+(?:/\w+)*\.py)`', PAGE))))
def test_the_page_names_modules_that_exist(name: str) -> None:
    assert (ROOT / 'aitable_ros' / name).is_file() or (ROOT / name).is_file()


@pytest.mark.parametrize('name', sorted(set(re.findall(r'`([A-Z]\w+)\.(\w+)`', PAGE))))
def test_the_page_names_methods_that_exist(name: tuple[str, str]) -> None:
    cls, method = name
    sources = '\n'.join(
        path.read_text(encoding='utf-8') for path in (ROOT / 'aitable_ros').rglob('*.py'))
    (body,) = re.findall(rf'^class {cls}\b.*?(?=^\S|\Z)', sources, re.M | re.S)
    assert re.search(rf'def {method}\b|self\.{method}\b|^    {method}\b', body, re.M)


