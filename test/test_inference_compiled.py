# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Models that OpenVINO has compiled, kept on disk: same results, and damage is harmless."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from aitable_ros.inference import compiled_models
from aitable_ros.inference.openvino import OpenVINOBackend

MODEL = 'blazeface_short'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('HOME', str(tmp_path))
    return tmp_path / '.cache' / 'aitable' / 'compiled'


def answers(path: Path, **options: object) -> dict[str, np.ndarray]:
    with OpenVINOBackend(path, threads=1, **options) as backend:  # type: ignore[arg-type]
        noise = np.random.default_rng(0)
        inputs = {spec.name: noise.random([size or 2 for size in spec.shape], np.float32)
                  for spec in backend.inputs}
        return {**backend.infer(inputs),
                'described': np.array(repr((backend.inputs, backend.outputs, backend.precision)))}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_an_imported_model_gives_the_same_bits(
    models: Path, folder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = answers(models / f'{MODEL}.onnx')
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(OpenVINOBackend, '_compile', None)  # a second compilation would fail
    assert same(answers(models / f'{MODEL}.onnx'), first)


@pytest.mark.parametrize('damage', ['empty', 'cut', 'a byte', 'zeros', 'text'])
def test_a_damaged_file_is_compiled_again_and_replaced(
    models: Path, folder: Path, damage: str,
) -> None:
    first = answers(models / f'{MODEL}.onnx')
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes({
        'empty': b'', 'cut': whole[:middle], 'text': b'<html>',
        'a byte': whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:],
        'zeros': whole[:middle] + bytes(len(whole) - middle)}[damage])
    assert same(answers(models / f'{MODEL}.onnx'), first)
    assert list(folder.iterdir()) == [file]
    assert compiled_models.load(file.stem) is not None


def test_another_model_of_the_name_or_another_setting_is_another_file(
    models: Path, folder: Path, tmp_path: Path,
) -> None:
    path = tmp_path / 'mine.onnx'
    path.write_bytes((models / f'{MODEL}.onnx').read_bytes())
    short = answers(path)
    path.write_bytes((models / 'blazeface_full.onnx').read_bytes())
    assert answers(path).keys() == short.keys()
    assert not same(answers(path), short)
    with OpenVINOBackend(path, threads=2) as backend:
        backend.warm_up()
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize('home', ['a file', 'read only'])
def test_a_home_that_cannot_be_written_costs_only_time(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str,
) -> None:
    place = tmp_path / 'home'
    place.write_text('') if home == 'a file' else place.mkdir(mode=0o500)
    monkeypatch.setenv('HOME', str(place))
    assert same(answers(models / f'{MODEL}.onnx'), answers(models / f'{MODEL}.onnx'))


def test_the_least_recently_used_files_go(
    models: Path, folder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled_models, 'MOST_FILES', 2)
    for name in (MODEL, 'blazeface_full', MODEL, 'facemesh_468'):
        answers(models / f'{name}.onnx')
    kept = {path.name for path in folder.iterdir()}
    assert len(kept) == 2
    answers(models / f'{MODEL}.onnx')
    assert {path.name for path in folder.iterdir()} == kept


def test_processes_that_compile_at_once_agree(models: Path, folder: Path) -> None:
    code = f"""
import numpy as np, pathlib
from aitable_ros.inference.openvino import OpenVINOBackend
with OpenVINOBackend(pathlib.Path({str(models / f'{MODEL}.onnx')!r}), threads=1) as backend:
    spec, = backend.inputs
    result = backend.infer({{spec.name: np.ones([size or 1 for size in spec.shape], np.float32)}})
print(sum(float(value.sum()) for value in result.values()))
"""
    running = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
               for _ in range(4)]
    assert len({process.communicate()[0] for process in running}) == 1
    assert {process.returncode for process in running} == {0}
    assert [path.suffix for path in folder.iterdir()] == ['.openvino']
