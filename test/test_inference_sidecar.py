# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What lies beside an engine: written whole, read with care, held against the machine."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import pytest

from aitable_ros.errors import InputError
from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference.sidecar import Machine, Sidecar

COMMAND = 'aitable models build facemesh --precision fp16'
BUILT = Sidecar(
    engine_sha256='ab' * 32, engine_bytes=1234, model='facemesh', model_sha256='cd' * 32,
    tensorrt='10.3.0', cuda='12.6', driver='540.4.0', gpu='Orin', compute_capability='8.7',
    precision='fp16', min_batch=1, opt_batch=1, max_batch=4, strongly_typed=True,
    options={'builder_level': 3}, accuracy={'passed': True, 'landmarks_px': 0.04}, seconds=191.5,
    rebuild=COMMAND)
HERE = Machine('10.3.0', '12.6', '540.4.0', 'Orin', '8.7')


def test_what_is_written_is_read(tmp_path: Path) -> None:
    engine = tmp_path / 'face mesh.engine'
    assert sidecars.read(engine) is None
    sidecars.write(engine, BUILT)
    assert sidecars.sidecar_path(engine) == tmp_path / 'face mesh.engine.json'
    assert sidecars.read(engine) == BUILT
    assert [path.name for path in tmp_path.iterdir()] == ['face mesh.engine.json']


def test_a_field_that_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    sidecars.write(tmp_path / 'a.engine', BUILT)
    path = tmp_path / 'a.engine.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'colour': 'red'}))
    assert sidecars.read(tmp_path / 'a.engine') == BUILT


@pytest.mark.parametrize(('change', 'says'), [
    ('', 'no JSON'), ('{', 'no JSON'), ('[1]', 'no sidecar'), ('{}', 'no sidecar'),
    ({'schema': 99}, 'written by a newer aitable_ros'),
    ({'engine_bytes': '12'}, "'engine_bytes' is '12'"),
    ({'engine_bytes': True}, "'engine_bytes' is True"),
    ({'options': None}, "'options' is None"),
    ({'accuracy': []}, "'accuracy' is []"),
    ({'gpu': ...}, 'it lacks gpu'),
    ({'gpu': ..., 'tensorrt': ...}, 'it lacks gpu, tensorrt'),
])
def test_a_damaged_one_is_told_in_a_line(tmp_path: Path, change: object, says: str) -> None:
    engine = tmp_path / 'a.engine'
    sidecars.write(engine, BUILT)
    path = sidecars.sidecar_path(engine)
    if isinstance(change, dict):
        values = {**json.loads(path.read_text()), **change}
        path.write_text(json.dumps({key: v for key, v in values.items() if v is not ...}))
    else:
        path.write_text(str(change))
    with pytest.raises(InputError) as error:
        sidecars.read(engine)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


def test_one_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='cannot write'):
        sidecars.write(tmp_path / 'file' / 'a.engine', BUILT)


@pytest.mark.parametrize(('here', 'says'), [
    ({}, ''),
    ({'tensorrt': '10.3.0.26'}, ''),
    ({'driver': '1', 'cuda': '1'}, ''),
    ({'gpu': '', 'compute_capability': ''}, ''),
    ({'tensorrt': '10.3.1'}, 'built for TensorRT 10.3.0, here is 10.3.1'),
    ({'tensorrt': '10.13.0'}, 'built for TensorRT 10.3.0, here is 10.13.0'),
    ({'gpu': 'NVIDIA H200', 'compute_capability': '9.0'},
     'built for Orin, here is NVIDIA H200; for compute capability 8.7, here is 9.0'),
])
def test_a_machine_that_cannot_run_it(here: dict[str, str], says: str) -> None:
    expected = f'{says}; rebuild it: {COMMAND}' if says else ''
    assert sidecars.mismatch(BUILT, replace(HERE, **here)) == expected


def test_without_a_command_it_says_to_build_it_here() -> None:
    assert sidecars.mismatch(replace(BUILT, rebuild=''), replace(HERE, gpu='Xavier')) == (
        'built for Orin, here is Xavier; rebuild it here')


def test_driver_and_cuda_are_remarks() -> None:
    assert sidecars.remarks(BUILT, HERE) == ''
    assert sidecars.remarks(BUILT, replace(HERE, driver='', cuda='')) == ''
    assert sidecars.remarks(BUILT, replace(HERE, driver='550.1', cuda='12.8')) == (
        'built with driver 540.4.0, here is 550.1; with CUDA 12.6, here is 12.8')


@pytest.mark.parametrize(('change', 'says'), [
    ({'precision': 'fp16', 'accuracy': None}, ''),
    ({'precision': 'int8'}, ''),
    ({'precision': 'int8', 'accuracy': None}, '`aitable models verify`'),
    ({'precision': 'int8', 'accuracy': {}}, 'fell short'),
    ({'precision': 'int8', 'accuracy': {'passed': 'yes'}}, 'fell short'),
    ({'precision': 'int8', 'accuracy': {'passed': False}}, 'fell short'),
    ({'precision': 'int8', 'accuracy': {'passed': False}, 'forced': True}, ''),
])
def test_int8_needs_a_passing_report_or_force(change: dict[str, object], says: str) -> None:
    found = sidecars.unproven(replace(BUILT, **change))  # type: ignore[arg-type]
    assert (says in found, bool(found)) == (True, bool(says))


def test_a_file_that_is_not_the_one_described(tmp_path: Path) -> None:
    engine = tmp_path / 'a.engine'
    engine.write_bytes(b'engine')
    digest, size = sidecars.fingerprint(engine)
    sidecar = replace(BUILT, engine_sha256=digest, engine_bytes=size)
    assert sidecars.damage(sidecar, b'engine') == ''
    assert '5 bytes of 6' in sidecars.damage(sidecar, b'engin')
    assert 'sha256' in sidecars.damage(sidecar, b'enginf')


@pytest.mark.parametrize(('text', 'version'), [
    ('550.54.15\n', '550.54.15'),
    ('NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n'
     'GCC version:  gcc version 12', '550.54.15'),
    ('NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (root)\n',
     '540.4.0'),
    ('', ''), ('nonsense', ''),
])
def test_the_drivers_version(
    text: str, version: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, 'read_text', lambda *_, **__: text)
    assert sidecars.driver_version() == version


def test_no_driver_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, 'read_text', missing)
    assert sidecars.driver_version() == ''
