# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The chain: every step down is taken for a stated reason, and the first that runs wins."""

from __future__ import annotations

import importlib.util
from pathlib import Path
import shutil

import pytest

from aitable_ros.errors import InputError
from aitable_ros.inference.chain import ModelOptions, Resolution, resolve


def walk(*entries: str, **options: object) -> Resolution:
    """Resolve a chain that may end with nothing."""
    values = {'required': False, **options}
    resolution = resolve(ModelOptions(model=entries[0], fallbacks=entries[1:], **values))
    if resolution.backend is not None:
        resolution.backend.close()
    return resolution


@pytest.fixture
def home(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model home with nothing in it but fer, reached by its environment variable."""
    folder = tmp_path / 'home with space'
    folder.mkdir()
    shutil.copy(models / 'fer.onnx', folder)
    monkeypatch.setenv('AITABLE_MODELS', str(folder))
    return folder


class TestWhere:

    def test_a_catalogue_name(self, home: Path) -> None:
        resolution = walk('fer')
        assert resolution.backend is not None
        assert resolution.backend.model == 'fer'

    def test_a_bare_file_name_is_looked_up_in_the_model_home(self, home: Path) -> None:
        resolution = walk('fer.onnx')
        assert resolution.backend is not None
        assert resolution.backend.model == 'fer.onnx'

    def test_a_path_absolute_relative_or_from_the_users_home(
        self, home: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv('HOME', str(home))
        monkeypatch.chdir(home)
        for entry in (str(home / 'fer.onnx'), './fer.onnx', '~/fer.onnx'):
            assert walk(entry).backend is not None, entry

    @pytest.mark.parametrize(('entry', 'reason'), [
        ('facemesh', 'space: run `aitable models fetch facemesh`'),
        ('facemash', 'facemesh'),
        ('emonet_8', 'run `aitable models fetch emonet_8` and decide on its licence'),
        ('emonet_5', 'not exported: run `aitable models export emonet_5`'),
        ('mine.onnx', 'no such file'),
        ('~/nowhere/mine.onnx', 'no such file'),
        ('notes.txt', 'not a model file'),
        ('folder.onnx', 'a folder, not a model file'),
        ('empty.onnx', 'the file is empty'),
        ('text.onnx', 'not an ONNX file'),
    ])
    def test_what_cannot_be_used_says_why_in_a_line(
        self, home: Path, entry: str, reason: str,
    ) -> None:
        (home / 'folder.onnx').mkdir()
        (home / 'empty.onnx').touch()
        (home / 'text.onnx').write_text('hello')
        (home / 'notes.txt').write_text('hello')
        (home / 'emonet_5.pth').write_text('hello')
        resolution = walk(entry, 'fer')
        first = resolution.attempts[0]
        assert (first.entry, reason in first.reason) == (entry, True), first.reason
        assert '\n' not in first.reason
        assert resolution.attempts[-1].entry == 'fer'
        assert resolution.attempts[-1].reason == ''


class TestTflite:

    def test_is_converted_once_and_runs(self, home: Path, models: Path) -> None:
        file = home / 'mine.tflite'
        shutil.copy(models / 'source' / 'face_landmark.tflite', file)
        for _ in range(2):
            resolution = walk('mine.tflite')
            assert resolution.backend is not None
            assert resolution.backend.model == 'mine.tflite'
            assert [spec.name for spec in resolution.backend.outputs] == ['landmarks', 'presence']
            (made,) = (home / 'converted').iterdir()
        assert made.name.startswith('mine-')

    def test_that_cannot_be_converted_is_passed_over(self, home: Path) -> None:
        (home / 'robot.tflite').write_bytes(b'something')
        resolution = walk('robot.tflite', 'fer')
        assert 'robot.tflite is not a TensorFlow Lite model' in resolution.attempts[0].reason
        assert resolution.attempts[-1].entry == 'fer'


class TestOrder:

    def test_a_cpu_takes_openvino_before_onnxruntime(self, home: Path) -> None:
        assert [(a.backend, a.reason) for a in walk('fer').attempts] == [('openvino', '')]

    def test_a_forced_backend_is_the_one_that_runs(self, home: Path) -> None:
        resolution = walk('fer', backend='onnxruntime')
        assert [(a.backend, a.reason) for a in resolution.attempts] == [('onnxruntime', '')]
        assert resolution.backend is not None
        assert resolution.backend.name == 'onnxruntime'

    def test_a_forced_backend_that_does_not_read_the_file_is_no_reason_to_take_another(
        self, home: Path,
    ) -> None:
        resolution = walk('fer', backend='torch')
        assert resolution.backend is None
        assert "backend 'torch' does not read .onnx files" in resolution.explain()

    def test_the_next_backend_is_tried_when_one_cannot_do_the_precision(self, home: Path) -> None:
        resolution = walk('fer', precision='int8')
        assert [a.backend for a in resolution.attempts] == ['openvino', 'onnxruntime']
        assert all('not int8' in a.reason for a in resolution.attempts)

    @pytest.mark.parametrize(('file', 'package', 'reason'), [
        ('robot.engine', 'tensorrt', 'TensorRT is not installed'),
        ('robot.pth', 'torch', 'PyTorch is not installed'),
        ('robot.task', 'mediapipe', 'MediaPipe is not installed'),
        ('mediapipe', 'mediapipe', 'MediaPipe is not installed'),
    ])
    def test_a_missing_library_is_named_and_the_chain_goes_on(
        self, home: Path, file: str, package: str, reason: str,
    ) -> None:
        if importlib.util.find_spec(package):
            pytest.skip(f'{package} is installed here')
        if Path(file).suffix:
            (home / file).write_bytes(b'something')
        resolution = walk(file, 'fer')
        assert resolution.attempts[0].reason == reason
        assert resolution.backend is not None
        first, *between, last = resolution.explain().splitlines()
        assert (first, last) == (f'{file} ({resolution.attempts[0].backend}): {reason}',
                                 'fer: runs on openvino, fp32, cpu')
        assert between == [
            'fer (onnxruntime): no CUDA: its GPU build (onnxruntime-gpu) is not installed'
        ] * file.endswith('.engine')


class TestEnd:

    def test_off_ends_the_chain_even_where_a_model_is_required(self, home: Path) -> None:
        resolution = walk('mine.onnx', 'off', 'fer', required=True)
        assert resolution.backend is None
        assert [a.entry for a in resolution.attempts] == ['mine.onnx', 'off']

    def test_a_required_model_that_is_nowhere_fails_and_tells_every_step(self, home: Path) -> None:
        (home / 'text.onnx').write_text('hello')
        with pytest.raises(InputError) as error:
            walk('mine.onnx', 'text.onnx', 'facemesh', required=True)
        message = str(error.value)
        assert '\n' not in message
        for part in ('mine.onnx', 'no such file', 'text.onnx (openvino)', 'text.onnx (onnxruntime)',
                     'aitable models fetch facemesh', "'fallbacks'"):
            assert part in message, part

    def test_an_optional_one_leaves_the_stage_off(self, home: Path) -> None:
        resolution = walk('mine.onnx')
        assert resolution.backend is None
        assert resolution.explain().endswith('no model runs')

    def test_an_empty_chain_says_so(self) -> None:
        with pytest.raises(InputError, match='none is named'):
            resolve(ModelOptions())
        assert resolve(ModelOptions(required=False)).backend is None


def test_a_chain_that_began_with_an_engine_says_why_onnx_is_not_on_cuda(
    models: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For config/desktop.yaml and jetson.yaml; who asks for no engine asks for no GPU."""
    def steps(*entries: str) -> list[tuple[str, str]]:
        resolution = resolve(ModelOptions(model=entries[0], fallbacks=entries[1:]))
        assert resolution.backend is not None
        resolution.backend.close()
        return [(step.entry, step.reason) for step in resolution.attempts]

    monkeypatch.setattr('aitable_ros.inference.runtimes.has_cuda_onnxruntime', lambda: False)
    engine, cuda, last = steps('nowhere_rtx.engine', 'fer')
    assert engine == ('nowhere_rtx.engine', f'{models}/nowhere_rtx.engine: no such file')
    assert cuda == ('fer', 'no CUDA: its GPU build (onnxruntime-gpu) is not installed')
    assert last == ('fer', '')
    assert steps('fer') == [('fer', '')]
