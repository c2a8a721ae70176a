# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The TensorRT backend: the real one on a GPU machine, a faithful stand-in elsewhere.

The report's header says which. What only a stand-in can do (run out of memory at will, lose the
GPU, be another version) is done with it on both.
"""

from __future__ import annotations

from collections.abc import Iterator
import gc
import itertools
import json
import logging
from pathlib import Path
import subprocess
import sys
from threading import Thread

import cv2
import numpy as np
from patience import PATIENT_S
import pytest
from tensorrt_standin import cuda as gpus
from tensorrt_standin.harness import forget, install, rewrite, TensorRTHere
from tensorrt_standin.surface import names, RTX_VERSION, VERSIONS
from test_inference_backends import convolution, DAMAGES, resident_mib

from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import BackendError, Tensors
from aitable_ros.inference.tensorrt import TensorRTBackend
from aitable_ros.inference.tensorrt_layers import layers_in

pytestmark = pytest.mark.filterwarnings('error::pytest.PytestUnraisableExceptionWarning')
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convolution(tmp_path_factory.mktemp('small') / 'small.onnx')


@pytest.fixture
def engine(tensorrt: TensorRTHere, small: Path, tmp_path: Path) -> Path:
    return tensorrt.engine(small, tmp_path)


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TensorRTHere]:
    """TensorRT's stand-in on every machine; afterwards nothing may be left on its GPU."""
    gpu = install(monkeypatch)
    yield TensorRTHere('8.6.0', gpu, tmp_path)
    gc.collect()
    assert gpu.lost or gpu.left() == []
    gpu.lost = False


def images(count: int, seed: int = 0) -> Tensors:
    return {'image': np.random.default_rng(seed).normal(size=(count, 3, 16, 16)).astype('f4')}


def wanted(onnx: Path, inputs: Tensors) -> dict[str, np.ndarray]:
    with OnnxRuntimeBackend(onnx) as backend:
        return backend.infer(inputs)


def close_to(got: Tensors, expected: Tensors, share: float) -> None:
    """Hold arrays against each other, within a share of the largest value."""
    assert differences(got, expected, share) == []


def differences(got: Tensors, expected: Tensors, share: float) -> list[str]:
    """Return a line for each array that is further off than a share of the largest value."""
    assert got.keys() == expected.keys()
    lines = []
    for name, value in expected.items():
        assert (got[name].dtype, got[name].shape) == (value.dtype, value.shape)
        off = np.abs(got[name].astype(np.float64) - value)
        scale = max(1.0, float(np.abs(value).max()))
        beyond = ~(off <= share * scale)  # so that NaN is beyond
        if beyond.any():
            at = np.unravel_index(int(np.nanargmax(np.where(beyond, off, -1))), off.shape)
            lines.append(
                f"'{name}' {list(value.shape)}: {int(beyond.sum())} of {off.size} values are off by"
                f' more than {share:.1e} of the largest, {scale:.4g}; the furthest at '
                f'{list(map(int, at))} by {off[at] / scale:.1e}: {got[name][at]:.7g}, not '
                f'{value[at]:.7g}')
    return lines


def kernels(backend: TensorRTBackend) -> list[str]:
    """Return a line for each layer of an engine: its name, and the kernel that TensorRT chose."""
    layers = json.loads(backend.inspect(), strict=False).get('Layers', [])
    return [f"{layer.get('Name')}: {layer.get('TacticName')}" for layer in layers
            if isinstance(layer, dict)]


def nothing_left(tensorrt: TensorRTHere) -> None:
    gc.collect()
    if tensorrt.gpu is not None:
        assert tensorrt.gpu.left() == []


class TestRun:

    @pytest.mark.parametrize(('tensorrt', 'name'), [
        *((version, 'fer') for version in VERSIONS), ('', 'blazeface_short')],
        indirect=['tensorrt'])
    def test_gives_what_onnxruntime_gives_for_any_batch_in_any_order(
        self, tensorrt: TensorRTHere, name: str, models: Path, tmp_path: Path,
    ) -> None:
        """
        On this noise another order of summation moves an output by up to 2e-6 of the largest value,
        and TF32 in all convolutions by 4e-4 to 1e-2 (both computed with ONNX Runtime on a CPU).
        """
        onnx = models / f'{name}.onnx'
        path = tensorrt.engine(onnx, tmp_path)
        random = np.random.default_rng(1)
        wrong = []
        with OnnxRuntimeBackend(onnx) as theirs, TensorRTBackend(path, model=name) as ours:
            assert ours.inputs == theirs.inputs
            # TensorRT 8.6 lists the outputs of the same graph in one order or the other.
            assert sorted(ours.outputs, key=lambda spec: spec.name) == sorted(
                theirs.outputs, key=lambda spec: spec.name)
            assert (ours.name, ours.model, ours.precision, ours.device) == (
                'tensorrt', name, 'fp32', 'cuda:0')
            for call, count in enumerate((1, 1, 1, 2, 1, 3, 4, 4, 4, 5, 9, 1, 2)):  # built for 4
                inputs = {spec.name: random.uniform(-1, 1, (count, *spec.shape[1:])).astype('f4')
                          for spec in ours.inputs}
                wrong += [f'call {call}, batch {count}: {line}' for line in differences(
                    ours.infer(inputs), theirs.infer(inputs), 2e-4)]
            if wrong:
                wrong += kernels(ours)
        assert not wrong, '\n'.join(wrong)
        nothing_left(tensorrt)

    @pytest.mark.parametrize(('name', 'precision', 'share'), [
        ('facemesh', 'fp32', 5e-4), ('facemesh', 'fp16', 2e-2), ('fer', 'fp16', 2e-2)])
    def test_the_mesh_and_half_precision(
        self, tensorrt: TensorRTHere, name: str, precision: str, share: float, models: Path,
        tmp_path: Path,
    ) -> None:
        onnx = models / f'{name}.onnx'
        path = tensorrt.engine(onnx, tmp_path, precision=precision)
        face = drawn_face()
        inputs = {'image': face[None] if name == 'facemesh' else np.ascontiguousarray(
            face.mean(2)[None, None, ::3, ::3] * 2 - 1, np.float32)}
        expected = wanted(onnx, inputs)
        with TensorRTBackend(path, precision=precision) as backend:
            assert backend.precision == precision
            for _ in range(3):
                close_to(backend.infer(inputs), expected, share)

    def test_outputs_belong_to_the_caller(self, engine: Path) -> None:
        with TensorRTBackend(engine) as backend:
            first = backend.infer(images(1))['out']
            before = first.copy()
            second = backend.infer(images(1, seed=1))['out']
            np.testing.assert_array_equal(first, before)
            second[:] = 0

    def test_read_only_and_strided_inputs_are_taken(self, engine: Path, small: Path) -> None:
        wide = np.random.default_rng(2).normal(size=(3, 3, 16, 32)).astype(np.float32)
        frozen = np.ascontiguousarray(wide[:, :, :, ::2])
        frozen.flags.writeable = False
        expected = wanted(small, {'image': frozen})
        with TensorRTBackend(engine) as backend:
            for image in (wide[:, :, :, ::2], frozen):
                close_to(backend.infer({'image': image}), expected, 2e-4)

    @pytest.mark.parametrize(('inputs', 'says'), [
        ({}, "takes inputs 'image', not none"),
        ({'image': np.zeros((1, 3, 16, 16))}, 'takes float32, not float64'),
        ({'image': np.zeros((1, 3, 16, 17), np.float32)}, '[N,3,16,16], not [1,3,16,17]'),
        ({'image': np.zeros((0, 3, 16, 16), np.float32)}, 'not [0,3,16,16]'),
    ])
    def test_wrong_inputs_are_refused_by_name(
        self, engine: Path, inputs: dict[str, np.ndarray], says: str,
    ) -> None:
        with TensorRTBackend(engine, model='small') as backend:
            with pytest.raises(BackendError) as error:
                backend.infer(inputs)
            assert says in str(error.value)
            backend.warm_up()  # and is none the worse for it

    def test_waiting_on_the_cpu_and_running_without_graphs_give_the_same(
        self, engine: Path, small: Path,
    ) -> None:
        expected = wanted(small, images(2))
        for ways in ({'wait': 'spin'}, {'wait': 'nap'}, {'graphs': False}):
            with TensorRTBackend(engine, **ways) as backend:
                for _ in range(3):
                    close_to(backend.infer(images(2)), expected, 2e-4)

    @pytest.mark.parametrize(('asked', 'cores', 'lasts_s', 'spins'), [
        ('auto', 16, 0.0001, True), ('auto', 2, 0.0001, False), ('auto', 16, 0.02, False),
        ('sleep', 16, 0.0001, False), ('spin', 2, 0.02, True), ('nap', 2, 0.02, True)])
    def test_short_runs_are_waited_for_awake_where_cores_are_many_unless_told(
        self, engine: Path, monkeypatch: pytest.MonkeyPatch, asked: str, cores: int,
        lasts_s: float, spins: bool,
    ) -> None:
        clock = itertools.count(0.0, lasts_s)
        monkeypatch.setattr('aitable_ros.inference.tensorrt.monotonic', lambda: next(clock))
        monkeypatch.setattr('os.cpu_count', lambda: cores)
        with TensorRTBackend(engine, wait=asked) as backend:
            backend.warm_up()
            waited = []
            wait = type(backend._device).wait
            monkeypatch.setattr(
                type(backend._device), 'wait',
                lambda where, stream, spin: (waited.append(spin), wait(where, stream, spin=spin)))
            backend.infer(images(1))
            assert waited == [spins]

    def test_nothing_is_printed(
        self, tensorrt: TensorRTHere, engine: Path, tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        with TensorRTBackend(engine) as backend:
            backend.warm_up()
        (tmp_path / 'text.engine').write_text('hello, this is not an engine')
        assert 'TensorRT cannot load it' in refusal(tensorrt, tmp_path / 'text.engine')
        assert capfd.readouterr() == ('', '')

    def test_layers_are_timed_and_the_engine_runs_on(
        self, tensorrt: TensorRTHere, engine: Path, small: Path,
    ) -> None:
        with TensorRTBackend(engine) as backend:
            backend.warm_up()
            layers = backend.profile_layers(images(2))
            assert layers
            assert all(isinstance(name, str) and ms >= 0 for name, ms in layers)
            for _ in range(3):
                close_to(backend.infer(images(2)), wanted(small, images(2)), 2e-4)
            assert backend.memory() > engine.stat().st_size
            assert {layer.precision for layer in layers_in(backend.inspect())} >= {'fp32'}
        nothing_left(tensorrt)


def drawn_face() -> np.ndarray:
    """Return something like a face, (192, 192, 3) in [0, 1]: on noise the mesh is no match."""
    image = np.full((192, 192, 3), (90, 110, 120), np.uint8)
    for centre, axes, colour in (
            ((96, 96), (58, 76), (225, 180, 160)), ((74, 80), (11, 6), (250, 250, 250)),
            ((118, 80), (11, 6), (250, 250, 250)), ((74, 80), (5, 5), (60, 40, 30)),
            ((118, 80), (5, 5), (60, 40, 30)), ((96, 108), (7, 10), (205, 155, 135)),
            ((96, 138), (22, 7), (170, 60, 70))):
        cv2.ellipse(image, centre, axes, 0, 0, 360, colour, -1)
    return cv2.GaussianBlur(image, (5, 5), 0).astype(np.float32) / 255


class TestThreads:

    def test_opened_used_and_closed_on_three_threads(
        self, tensorrt: TensorRTHere, engine: Path, small: Path,
    ) -> None:
        found: dict[str, object] = {}

        def on_a_thread(work) -> None:  # type: ignore[no-untyped-def]
            thread = Thread(target=work)
            thread.start()
            thread.join()

        on_a_thread(lambda: found.update(backend=TensorRTBackend(engine)))
        backend = found['backend']
        assert isinstance(backend, TensorRTBackend)
        for seed in range(3):
            on_a_thread(lambda seed=seed: found.update(out=backend.infer(images(1, seed))))
            close_to(found['out'], wanted(small, images(1, seed)), 2e-4)  # type: ignore[arg-type]
        on_a_thread(backend.close)
        backend.close()
        with pytest.raises(BackendError, match='closed'):
            backend.warm_up()
        found.clear()
        nothing_left(tensorrt)

    def test_two_models_on_two_threads_do_not_disturb_each_other(
        self, tensorrt: TensorRTHere, small: Path, models: Path, tmp_path: Path,
    ) -> None:
        fer = models / 'fer.onnx'
        faces = {'image': np.random.default_rng(3).uniform(-1, 1, (2, 1, 64, 64)).astype('f4')}
        jobs = [(tensorrt.engine(small, tmp_path), images(3), wanted(small, images(3))),
                (tensorrt.engine(fer, tmp_path), faces, wanted(fer, faces))]
        problems: list[BaseException] = []

        def work(path: Path, inputs: Tensors, expected: Tensors) -> None:
            try:
                with TensorRTBackend(path) as backend:
                    for count in range(60):
                        part = {name: array[:1 + count % 2] for name, array in inputs.items()}
                        close_to(backend.infer(part), {
                            name: array[:1 + count % 2] for name, array in expected.items()}, 5e-4)
            except BaseException as error:
                problems.append(error)

        threads = [Thread(target=work, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        nothing_left(tensorrt)

    def test_open_run_close_leaves_nothing(
        self, tensorrt: TensorRTHere, engine: Path,
    ) -> None:
        from aitable_ros.inference.cuda import primary_context

        def cycle(times: int) -> tuple[float, int]:
            for _ in range(times):
                with TensorRTBackend(engine) as backend:
                    backend.infer(images(1))
                    backend.infer(images(1))
            gc.collect()
            with primary_context() as device:
                return resident_mib(), device.free_bytes()

        host, device = cycle(60)
        host_after, device_after = cycle(300)
        # an engine with its buffers holds over 100 KiB of each
        assert host_after - host < 16
        assert device - device_after < 4 << 20
        nothing_left(tensorrt)


class TestRefused:

    @pytest.mark.parametrize('case', DAMAGES)
    def test_a_file_that_is_no_engine_gives_one_clear_line(
        self, tensorrt: TensorRTHere, engine: Path, case: str,
    ) -> None:
        """Without a sidecar, so that TensorRT itself gets to see it."""
        engine.write_bytes(DAMAGES[case](engine.read_bytes()))
        sidecars.sidecar_path(engine).unlink()
        says = refusal(tensorrt, engine)
        assert str(engine) in says
        assert 'TensorRT cannot load it: ' in says

    @pytest.mark.parametrize('case', [*DAMAGES, 'without its last byte', 'one bit'])
    def test_a_damaged_engine_is_told_by_its_sidecar_before_tensorrt_sees_it(
        self, engine: Path, case: str, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        whole = engine.read_bytes()
        changes = {'without its last byte': lambda whole: whole[:-1],
                   'one bit': lambda whole: whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]}
        engine.write_bytes({**DAMAGES, **changes}[case](whole))
        monkeypatch.setattr(TensorRTBackend, '_load', lambda *_: pytest.fail('TensorRT was asked'))
        with pytest.raises(BackendError) as error:
            TensorRTBackend(engine)
        assert 'aitable models build' in str(error.value)
        assert 'damaged' in str(error.value) or 'sha256' in str(error.value)
        assert '\n' not in str(error.value)

    @pytest.mark.parametrize(('change', 'says'), [
        ({'tensorrt': '7.2.1'}, 'built for TensorRT 7.2.1, here is '),
        ({'gpu': 'Orin'}, 'built for Orin, here is '),
        ({'compute_capability': '5.3'}, 'built for compute capability 5.3, here is '),
    ])
    def test_an_engine_of_another_machine_names_what_differs_and_the_command(
        self, engine: Path, change: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        rewrite(engine, rebuild='aitable models build small --precision fp32', **change)
        monkeypatch.setattr(TensorRTBackend, '_load', lambda *_: pytest.fail('TensorRT was asked'))
        with pytest.raises(BackendError) as error:
            TensorRTBackend(engine)
        assert says in str(error.value)
        assert str(error.value).endswith('; rebuild it: aitable models build small '
                                         '--precision fp32')

    def test_another_driver_is_worth_a_note(
        self, engine: Path, caplog: pytest.LogCaptureFixture,
    ) -> None:
        rewrite(engine, cuda='11.4')
        with caplog.at_level(logging.WARNING), TensorRTBackend(engine) as backend:
            assert 'CUDA 11.4, here is' in backend.note
        assert 'CUDA 11.4' in caplog.text

    def test_without_a_sidecar_it_is_tried_and_says_so(
        self, engine: Path, small: Path,
    ) -> None:
        sidecars.sidecar_path(engine).unlink()
        with TensorRTBackend(engine) as backend:
            assert backend.precision == 'fp32'
            assert 'no small_fp32.engine.json beside it' in backend.note
            close_to(backend.infer(images(1)), wanted(small, images(1)), 2e-4)

    @pytest.mark.parametrize(('change', 'says'), [
        ({}, 'without an accuracy report'),
        ({'accuracy': {'passed': False}}, 'fell short'),
        ({'accuracy': {'passed': True}}, ''),
        ({'forced': True}, ''),
    ])
    def test_int8_runs_only_where_something_vouches_for_it(
        self, engine: Path, change: dict[str, object], says: str,
    ) -> None:
        rewrite(engine, precision='int8', **change)
        if says:
            with pytest.raises(BackendError, match=says):
                TensorRTBackend(engine)
        else:
            with TensorRTBackend(engine) as backend:
                assert backend.precision == 'int8'

    @pytest.mark.parametrize('precision', ['fp16', 'bf16', 'int8'])
    def test_another_precision_is_refused(self, engine: Path, precision: str) -> None:
        with pytest.raises(BackendError, match=f'runs in fp32, as it was built, not {precision}'):
            TensorRTBackend(engine, precision=precision)

    def test_a_gpu_that_is_not_there(self, engine: Path) -> None:
        with pytest.raises(BackendError, match="'device_id' is 17, and this machine has"):
            TensorRTBackend(engine, device_id=17)

    def test_names_are_those_of_the_real_library(self, tensorrt: TensorRTHere) -> None:
        """The stand-in's lists, held against the library where that is here."""
        import tensorrt as trt

        if trt.__version__ not in VERSIONS:
            pytest.skip(f'no list of TensorRT {trt.__version__}')
        known = names(trt.__version__)
        classes = {name: set(known['classes'][name]) for name in (
            'Runtime', 'ICudaEngine', 'IExecutionContext', 'EngineInspector')}
        if tensorrt.real:
            assert classes == {name: {key for key in dir(getattr(trt, name)) if key[0] != '_'}
                               for name in classes}
            assert set(known['module']) == {key for key in dir(trt) if key[0] != '_'}
        else:
            assert not [key for name in classes for key in vars(getattr(trt, name).__mro__[1])
                        if key[0] != '_' and not any(
                            key in names(version)['classes'][name]
                            for version in (*VERSIONS, RTX_VERSION))]


def refusal(tensorrt: TensorRTHere, engine: Path) -> str:
    """Return why an engine is refused; a process of its own for the real library, which may die."""
    if not tensorrt.real:
        with pytest.raises(BackendError) as error:
            TensorRTBackend(engine)
        says = str(error.value)
    else:
        done = subprocess.run(
            [sys.executable, '-c', 'import sys; from pathlib import Path\n'
             'from aitable_ros.inference.tensorrt import BackendError, TensorRTBackend\n'
             'try: TensorRTBackend(Path(sys.argv[1]))\n'
             'except BackendError as error: print(error)', str(engine)],
            cwd=ROOT, capture_output=True, text=True, timeout=PATIENT_S, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ''
        says = done.stdout.rstrip('\n')
    assert '\n' not in says
    return says


class TestChain:

    def walk(self, *entries: str) -> list[tuple[str, str, str]]:
        resolution = resolve(ModelOptions(
            model=entries[0], fallbacks=entries[1:], required=False))
        if resolution.backend is not None:
            resolution.backend.close()
        return [(step.entry, step.backend, step.reason) for step in resolution.attempts]

    def test_an_engine_runs_first(self, engine: Path) -> None:
        assert self.walk(str(engine), 'fer') == [(str(engine), 'tensorrt', '')]

    def test_a_plan_is_an_engine(self, engine: Path) -> None:
        plan = engine.rename(engine.with_suffix('.plan'))
        assert self.walk(str(plan)) == [(str(plan), 'tensorrt', '')]

    def test_each_step_down_has_its_reason_once_and_the_last_one_runs(
        self, tensorrt: TensorRTHere, engine: Path, small: Path, models: Path, tmp_path: Path,
    ) -> None:
        rewrite(engine, gpu='Orin')
        steps = self.walk(str(tmp_path / 'nowhere.engine'), str(engine), str(small))
        assert 'no such file' in steps[0][2]
        assert 'built for Orin, here is' in steps[1][2]
        assert steps[-1][0] == str(small)
        assert steps[-1][2] == ''

    def test_an_engine_without_sidecar_is_explained(self, engine: Path) -> None:
        sidecars.sidecar_path(engine).unlink()
        resolution = resolve(ModelOptions(model=str(engine)))
        assert resolution.backend is not None
        resolution.backend.close()
        assert '(no small_fp32.engine.json beside it' in resolution.explain()

    def test_an_onnx_file_beside_a_missing_engine_is_not_built_from(
        self, tensorrt: TensorRTHere, small: Path, tmp_path: Path,
    ) -> None:
        (tmp_path / 'mine.onnx').write_bytes(small.read_bytes())
        (step,) = self.walk(str(tmp_path / 'mine.engine'))
        assert 'no such file' in step[2]
        assert sorted(path.name for path in tmp_path.iterdir()) == ['mine.onnx']

    def test_without_tensorrt_the_reason_is_that(
        self, standin: TensorRTHere, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = standin.engine(small, tmp_path)
        monkeypatch.setitem(sys.modules, 'tensorrt', None)
        assert self.walk(str(path), str(small))[0][2] == 'TensorRT is not installed'


class TestGpuTrouble:
    """With the stand-in: a real GPU does not fail on demand."""

    def test_out_of_memory_at_any_point_is_a_reason_and_leaves_nothing(
        self, standin: TensorRTHere, small: Path, tmp_path: Path,
    ) -> None:
        assert standin.gpu is not None
        path = standin.engine(small, tmp_path)
        reasons = []
        for at in range(1, 20):
            standin.gpu.fail_at = at
            try:
                with TensorRTBackend(path) as backend:
                    backend.warm_up()
                break
            except BackendError as error:
                reasons.append(str(error))
            gc.collect()
            assert standin.gpu.left() == [], reasons[-1]
        assert len(reasons) == 4  # weights, scratch, inputs, outputs
        assert all('out of' in reason and 'memory' in reason for reason in reasons)

    def test_a_lost_gpu_is_a_reason_and_close_does_not_fail(
        self, standin: TensorRTHere, small: Path, tmp_path: Path,
    ) -> None:
        assert standin.gpu is not None
        backend = TensorRTBackend(standin.engine(small, tmp_path))
        backend.warm_up()
        standin.gpu.lost = True
        with pytest.raises(BackendError, match=r'engine: TensorRT failed: GPU 0: unspecified'):
            backend.warm_up()
        backend.close()
        backend.close()
        forget()
        with pytest.raises(BackendError, match='no CUDA-capable device'):
            TensorRTBackend(tmp_path / 'small_fp32.engine')

    def test_where_nothing_can_be_captured_it_runs_without_graphs(
        self, standin: TensorRTHere, small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    ) -> None:
        assert standin.gpu is not None
        standin.gpu.captures = False
        with TensorRTBackend(standin.engine(small, tmp_path)) as backend:
            for _ in range(4):
                close_to(backend.infer(images(1)), wanted(small, images(1)), 1e-6)
        assert (standin.gpu.launches, standin.gpu.enqueued) == (0, 4)
        assert caplog.text.count('runs without a CUDA graph') == 1

    @pytest.mark.parametrize(('tensorrt', 'graphs'), [
        ('8.5.3.1', 2), ('8.6.0', 5), ('10.3.0', 5), ('11.4.0.106', 5)], indirect=['tensorrt'])
    def test_a_batch_size_keeps_its_graph_where_contexts_can_share_a_profile(
        self, tensorrt: TensorRTHere, graphs: int, small: Path, tmp_path: Path,
    ) -> None:
        """8.5 has one context for all: the graph goes when the batch size changes."""
        if tensorrt.gpu is None:
            pytest.skip('graphs are counted by the stand-in')
        with TensorRTBackend(tensorrt.engine(small, tmp_path)) as backend:
            for count in (1, 1, 2, 2, 1, 2, 1):
                close_to(backend.infer(images(count)), wanted(small, images(count)), 1e-6)
        assert tensorrt.gpu.launches == graphs
        nothing_left(tensorrt)

    def test_more_batch_sizes_than_are_kept(
        self, standin: TensorRTHere, small: Path, tmp_path: Path,
    ) -> None:
        path = standin.engine(small, tmp_path, batches=(1, 1, 8))
        with TensorRTBackend(path) as backend:
            for count in (*range(1, 9), *range(1, 9), 1, 1):
                close_to(backend.infer(images(count)), wanted(small, images(count)), 1e-6)

    @pytest.mark.parametrize('binding', ['pycuda', 'cuda-python', 'cuda-python 11', 'both'])
    def test_runs_through_either_cuda_package(
        self, binding: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        gpu = install(monkeypatch, binding=binding)
        path = TensorRTHere('8.6.0', gpu, tmp_path).engine(small, tmp_path)
        with TensorRTBackend(path) as backend:
            for count in (1, 1, 1, 2, 2):
                close_to(backend.infer(images(count)), wanted(small, images(count)), 1e-6)
        gc.collect()
        assert gpu.left() == []
        assert bool(gpu.launches) == (binding != 'pycuda')

    def test_without_either_the_reason_names_both(
        self, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        gpu = install(monkeypatch, binding='none')
        path = TensorRTHere('8.6.0', gpu, tmp_path).engine(small, tmp_path)
        with pytest.raises(BackendError, match='apt install python3-pycuda') as error:
            TensorRTBackend(path)
        assert 'pip install cuda-python' in str(error.value)

    def test_the_second_gpu_is_the_one_that_is_used(
        self, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        gpu = install(monkeypatch, count=2)
        path = TensorRTHere('8.6.0', gpu, tmp_path).engine(small, tmp_path)
        pushed = []
        monkeypatch.setattr(gpus.FakeGpu, 'copy_in', lambda self, *_: pushed.extend(self.stack))
        with TensorRTBackend(path, device_id=1, graphs=False) as backend:
            assert backend.device == 'cuda:1'
            backend.warm_up()
        assert set(pushed) == {1}


class TestTypesAndLayouts:

    @pytest.mark.parametrize('layout', ['LINEAR', 'HWC', 'HWC8', 'HWC16'])
    @pytest.mark.parametrize('kind', ['FLOAT', 'HALF'])
    def test_the_caller_sees_fp32_in_the_models_own_order_whatever_the_engine_wants(
        self, standin: TensorRTHere, layout: str, kind: str, small: Path, tmp_path: Path,
    ) -> None:
        names = ('image', 'out')
        path = standin.engine(small, tmp_path, types=dict.fromkeys(names, kind),
                              formats=dict.fromkeys(names, layout))
        with OnnxRuntimeBackend(small) as theirs, TensorRTBackend(path) as ours:
            assert ours.inputs == theirs.inputs
            # TensorRT 8.6 lists the outputs of the same graph in one order or the other.
            assert sorted(ours.outputs, key=lambda spec: spec.name) == sorted(
                theirs.outputs, key=lambda spec: spec.name)
            for count in (1, 1, 3, 5):
                inputs = images(count, seed=count)
                close_to(ours.infer(inputs), theirs.infer(inputs), 5e-3 if kind == 'HALF' else 1e-6)

    @pytest.mark.parametrize('dtype', [np.uint8, np.int32, np.bool_])
    def test_whole_numbers_go_in_as_they_are(
        self, standin: TensorRTHere, dtype: type, tmp_path: Path,
    ) -> None:
        onnx = pytest.importorskip('onnx', reason='onnx is not installed here')
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node('Cast', ['x'], ['y'], to=1)], 'g',
            [value('x', kind, ['N', 5])], [value('y', 1, ['N', 5])])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)])
        model.ir_version = 8
        path = tmp_path / 'cast.onnx'
        onnx.save(model, str(path))
        numbers = np.arange(10).reshape(2, 5).astype(dtype)
        with TensorRTBackend(standin.engine(path, tmp_path)) as backend:
            assert backend.inputs[0].dtype == dtype
            np.testing.assert_array_equal(backend.infer({'x': numbers})['y'], numbers)

    def test_a_batch_below_the_profile_is_filled_up_and_cut(
        self, standin: TensorRTHere, small: Path, tmp_path: Path,
    ) -> None:
        with TensorRTBackend(standin.engine(small, tmp_path, batches=(2, 2, 4))) as backend:
            for count in (4, 1, 2, 1, 5, 3):
                close_to(backend.infer(images(count)), wanted(small, images(count)), 1e-6)

    def test_a_fixed_batch_is_kept_and_checked(
        self, standin: TensorRTHere, tmp_path: Path,
    ) -> None:
        onnx = convolution(tmp_path / 'two.onnx', batch=2)
        with TensorRTBackend(standin.engine(onnx, tmp_path)) as backend:
            assert backend.inputs[0].shape == (2, 3, 16, 16)
            close_to(backend.infer(images(2)), wanted(onnx, images(2)), 1e-6)
            with pytest.raises(BackendError, match=r'not \[1,3,16,16\]'):
                backend.infer(images(1))

    def test_a_layout_that_nobody_fills_is_refused(
        self, standin: TensorRTHere, small: Path, tmp_path: Path,
    ) -> None:
        path = standin.engine(small, tmp_path, formats={'image': 'CHW32'})
        with pytest.raises(BackendError, match="'image' has layout CHW32"):
            TensorRTBackend(path)
