# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The CPU backends on real and on small models: run, refuse, report, leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
import gc
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from aitable_ros.inference.base import BackendBase
from aitable_ros.inference.onnx_file import weight_precision
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.openvino import OpenVINOBackend
from aitable_ros.inference.protocol import BackendError
from aitable_ros.models.convert.attention_mesh import CONTOUR, LEFT_EYE, RIGHT_EYE

BACKENDS = [
    pytest.param(kind, id=kind.name, marks=pytest.mark.skipif(
        importlib.util.find_spec(kind.name) is None, reason=f'{kind.name} is not installed here'))
    for kind in (OpenVINOBackend, OnnxRuntimeBackend)]
Opener = Callable[..., BackendBase]


def convolution(path: Path, dtype: type = np.float32, batch: int | str = 'N') -> Path:
    """Write a model: one 3x3 convolution of (batch, 3, 16, 16), no padding, 8 channels."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed here')
    weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(dtype)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Conv', ['image', 'w'], ['out'])], 'g',
        [onnx.helper.make_tensor_value_info('image', kind, [batch, 3, 16, 16])],
        [onnx.helper.make_tensor_value_info('out', kind, [batch, 8, 14, 14])],
        [onnx.numpy_helper.from_array(weights, 'w')])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convolution(tmp_path_factory.mktemp('small') / 'small.onnx')


@pytest.mark.parametrize('kind', BACKENDS)
class TestRun:

    def test_specs_say_what_goes_in_and_out_and_the_batch_is_open(
        self, kind: Opener, models: Path,
    ) -> None:
        with kind(models / 'fer.onnx', model='fer') as backend:
            assert [(s.name, s.shape, s.dtype) for s in backend.inputs] == [
                ('image', (None, 1, 64, 64), np.float32)]
            assert [(s.name, s.shape) for s in backend.outputs] == [('probs', (None, 7))]
            assert (backend.model, backend.device, backend.precision) == ('fer', 'cpu', 'fp32')

    def test_a_batch_equals_its_rows_whatever_sizes_come_in_turn(
        self, kind: Opener, models: Path,
    ) -> None:
        images = np.random.default_rng(1).uniform(-1, 1, (5, 1, 64, 64)).astype(np.float32)
        with kind(models / 'fer.onnx') as backend:
            rows = [backend.infer({'image': image[None]})['probs'] for image in images]
            for count in (5, 1, 3, 2):
                out = backend.infer({'image': images[:count]})['probs']
                np.testing.assert_allclose(out, np.concatenate(rows[:count]), atol=1e-6)
            np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-5)

    def test_outputs_belong_to_the_caller(self, kind: Opener, small: Path) -> None:
        image = np.ones((1, 3, 16, 16), np.float32)
        with kind(small) as backend:
            first = backend.infer({'image': image})['out']
            before = first.copy()
            image[:] = 5
            second = backend.infer({'image': image})['out']
            np.testing.assert_array_equal(first, before)
            first[:] = 0
            np.testing.assert_allclose(second, before * 5, rtol=1e-4)
        assert second.any()

    def test_read_only_and_strided_inputs_are_taken(self, kind: Opener, small: Path) -> None:
        wide = np.random.default_rng(2).normal(size=(3, 3, 16, 32)).astype(np.float32)
        strided = wide[:, :, :, ::2]
        frozen = np.ascontiguousarray(strided)
        frozen.flags.writeable = False
        with kind(small) as backend:
            expected = backend.infer({'image': frozen.copy()})['out']
            for image in (strided, frozen):
                np.testing.assert_array_equal(backend.infer({'image': image})['out'], expected)

    @pytest.mark.parametrize(('inputs', 'says'), [
        ({}, "takes inputs 'image', not none"),
        ({'picture': np.zeros((1, 3, 16, 16), np.float32)}, "'picture'"),
        ({'image': np.zeros((1, 3, 16, 16))}, 'takes float32, not float64'),
        ({'image': [[1.0]]}, 'takes float32, not list'),
        ({'image': np.zeros((3, 16, 16), np.float32)}, '[N,3,16,16], not [3,16,16]'),
        ({'image': np.zeros((1, 3, 16, 17), np.float32)}, '[N,3,16,16], not [1,3,16,17]'),
        ({'image': np.zeros((0, 3, 16, 16), np.float32)}, 'not [0,3,16,16]'),
    ])
    def test_wrong_inputs_are_refused_by_name(
        self, kind: Opener, small: Path, inputs: dict[str, np.ndarray], says: str,
    ) -> None:
        with kind(small) as backend, pytest.raises(BackendError) as error:
            backend.infer(inputs)
        assert says in str(error.value)
        assert 'small.onnx' in str(error.value)
        assert '\n' not in str(error.value)

    def test_close_may_come_twice_and_running_after_it_says_so(
        self, kind: Opener, small: Path,
    ) -> None:
        backend = kind(small)
        backend.close()
        backend.close()
        with pytest.raises(BackendError, match='closed'):
            backend.warm_up()

    def test_a_fixed_batch_is_kept_and_checked(self, kind: Opener, tmp_path: Path) -> None:
        with kind(convolution(tmp_path / 'two.onnx', batch=2)) as backend:
            assert backend.inputs[0].shape == (2, 3, 16, 16)
            image = np.zeros((2, 3, 16, 16), np.float32)
            assert backend.infer({'image': image})['out'].shape == (2, 8, 14, 14)
            with pytest.raises(BackendError, match=r'not \[1,3,16,16\]'):
                backend.infer({'image': image[:1]})

    def test_open_and_close_leaves_nothing(
        self, kind: Opener, small: Path,
    ) -> None:
        image = {'image': np.zeros((1, 3, 16, 16), np.float32)}

        def cycle(times: int) -> None:
            for _ in range(times):
                with kind(small) as backend:
                    backend.infer(image)

        cycle(30)
        gc.collect()
        memory, threads = resident_mib(), thread_count()
        cycle(150)
        gc.collect()
        # A session of the smallest model holds some 100 KiB; a leak of them would be 15 MiB.
        assert resident_mib() - memory < 8
        assert thread_count() <= threads + 2


@pytest.mark.parametrize('kind', BACKENDS)
class TestReport:

    @pytest.mark.parametrize('threads', [1, 2])
    def test_no_more_threads_work_than_were_asked_for(
        self, kind: Opener, models: Path, threads: int,
    ) -> None:
        with kind(models / 'blazeface_full.onnx', threads=threads) as backend:
            backend.warm_up()
            before = cpu_ns_by_thread()
            for _ in range(60):
                backend.warm_up()
            spent = {task: ns - before.get(task, 0) for task, ns in cpu_ns_by_thread().items()}
        # On a busy machine a helper may hardly get to work; an idle one has exactly none.
        assert sum(ns > 0.01 * max(spent.values()) for ns in spent.values()) <= threads

    def test_auto_is_fp32_even_where_the_library_would_take_less(
        self, kind: Opener, models: Path,
    ) -> None:
        """OpenVINO takes bf16 by itself on a CPU that has it; its error would be 1e-2, not 1e-5."""
        image = np.random.default_rng(3).uniform(0, 1, (1, 192, 192, 3)).astype(np.float32)
        with kind(models / 'facemesh_468.onnx') as backend, \
                OnnxRuntimeBackend(models / 'facemesh_468.onnx') as reference:
            assert backend.precision == 'fp32'
            ours, theirs = backend.infer({'image': image}), reference.infer({'image': image})
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, atol=2e-3)

    def test_without_its_irises_the_mesh_is_the_same(self, kind: Opener, models: Path) -> None:
        image = np.random.default_rng(5).uniform(0, 1, (1, 192, 192, 3)).astype(np.float32)
        with kind(models / 'facemesh.onnx') as backend, \
                OnnxRuntimeBackend(models / 'facemesh.onnx') as reference:
            ours, theirs = backend.infer({'image': image}), reference.infer({'image': image})
        np.testing.assert_allclose(ours['presence'], theirs['presence'], atol=2e-3)
        (ours,), (theirs,) = ours['landmarks'], theirs['landmarks']
        np.testing.assert_allclose(ours[:468], theirs[:468], atol=2e-3)
        assert ours.shape == (478, 3)
        for eye, iris in ((LEFT_EYE, slice(468, 473)), (RIGHT_EYE, slice(473, 478))):
            middle = ours[list(eye[:CONTOUR])].mean(axis=0)
            if kind is OpenVINOBackend:
                np.testing.assert_allclose(ours[iris], np.tile(middle, (5, 1)), atol=2e-3)
            else:
                np.testing.assert_allclose(ours[iris], theirs[iris], atol=2e-3)

    @pytest.mark.parametrize('reused', [True, False])
    def test_an_answer_is_of_the_image_of_its_call(
        self, kind: Opener, models: Path, reused: bool,
    ) -> None:
        random = np.random.default_rng(6)
        images = random.uniform(-1, 1, (4, 1, 1, 64, 64)).astype(np.float32)
        buffer = np.empty_like(images[0])
        with kind(models / 'fer.onnx') as backend, kind(models / 'fer.onnx') as fresh:
            answers = []
            for image in images:
                buffer[:] = image
                given = buffer if reused else image.copy()
                given.flags.writeable = reused
                answers.append(backend.infer({'image': given})['probs'])
            for image, answer in zip(images, answers):
                np.testing.assert_array_equal(fresh.infer({'image': image})['probs'], answer)

    @pytest.mark.parametrize('precision', ['fp16', 'bf16', 'int8'])
    def test_another_precision_runs_for_real_or_is_refused(
        self, kind: Opener, models: Path, precision: str,
    ) -> None:
        image = {'image': np.random.default_rng(4).uniform(-1, 1, (1, 1, 64, 64)).astype('f4')}
        with OnnxRuntimeBackend(models / 'fer.onnx') as reference:
            exact = reference.infer(image)['probs']
        try:
            backend = kind(models / 'fer.onnx', precision=precision)
        except BackendError as refusal:
            reason = str(refusal)
        else:
            reason = ''
            with backend:
                assert backend.precision == precision
                difference = np.abs(backend.infer(image)['probs'] - exact).max()
            assert 1e-6 < difference < 0.2, 'reported reduced precision, ran fp32'
        assert not reason or f'not {precision}' in reason

    def test_half_weights_on_a_cpu_without_such_kernels_count_as_fp32(
        self, kind: Opener, tmp_path: Path,
    ) -> None:
        path = convolution(tmp_path / 'half.onnx', np.float16)
        assert weight_precision(path) == 'fp16'
        with kind(path) as backend:
            backend.warm_up()
            image = {'image': np.full((1, 3, 16, 16), 0.1, np.float16)}
            out = backend.infer(image)['out']
            assert out.dtype == np.float16
            assert backend.precision in ('fp32', 'fp16')
        if os.uname().machine == 'x86_64' and kind is OnnxRuntimeBackend:
            assert backend.precision == 'fp32'


DAMAGES = {
    'an empty file': lambda whole: b'',
    'text': lambda whole: b'not a model at all\n' * 50,
    'zeros': lambda whole: bytes(1000),
    'noise': lambda whole: np.random.default_rng(5).bytes(4000),
    'half of the file': lambda whole: whole[:len(whole) // 2],
}
"""What a bad file may hold, from the bytes of a good one; for any kind of model file."""
BAD_FILES = {
    **DAMAGES,
    'a model without its last byte': lambda whole: whole[:-1],
    'a model with something behind it': lambda whole: whole + b'<html>404</html>',
}


@pytest.mark.parametrize('kind', BACKENDS)
@pytest.mark.parametrize('case', BAD_FILES)
def test_a_bad_file_gives_one_clear_line(
    kind: Opener, case: str, models: Path, tmp_path: Path,
) -> None:
    path = tmp_path / 'bad model.onnx'
    path.write_bytes(BAD_FILES[case]((models / 'fer.onnx').read_bytes()))
    with pytest.raises(BackendError) as error:
        kind(path)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)
    assert 'ONNX file' in str(error.value)


@pytest.mark.parametrize('kind', BACKENDS)
def test_a_graph_that_the_library_refuses_gives_one_clear_line(
    kind: Opener, tmp_path: Path,
) -> None:
    """Well-formed ONNX of an operator that nobody has."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed here')
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Levitate', ['x'], ['y'])], 'g',
        [value('x', 1, [1])], [value('y', 1, [1])])
    path = tmp_path / 'levitate.onnx'
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    with pytest.raises(BackendError) as error:
        kind(path)
    assert 'Levitate' in str(error.value)
    assert '\n' not in str(error.value)


def resident_mib() -> float:
    pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2 ** 20


def cpu_ns_by_thread() -> dict[str, int]:
    return {
        task.name: int((task / 'schedstat').read_text(encoding='ascii').split()[0])
        for task in Path('/proc/self/task').iterdir()}


def thread_count() -> int:
    return len(list(Path('/proc/self/task').iterdir()))
