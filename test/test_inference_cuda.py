# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""CUDA through PyCUDA and cuda-python; and that the stand-in punishes what the real one does."""

from __future__ import annotations

from collections.abc import Iterator
import gc
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from tensorrt_standin import cuda as gpus
from tensorrt_standin.harness import BINDINGS, install, TensorRTHere
from tensorrt_standin.surface import make_module, StandInError, VERSIONS
from test_inference_backends import convolution

from aitable_ros.inference.cuda import device, gpu, primary_context
from aitable_ros.inference.cuda_device import CudaError, Device, Gpu
from aitable_ros.inference.cuda_pycuda import PyCuda
from aitable_ros.inference.cuda_python import CudaPython
from aitable_ros.inference.sidecar import Machine


@pytest.fixture(params=[name for name in BINDINGS if name != 'none'])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[
        gpus.FakeGpu]:
    found = install(monkeypatch, binding=request.param)
    yield found
    gc.collect()
    assert found.lost or found.left() == []
    found.lost = False


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[gpus.FakeGpu]:
    """One stand-in, whose state does not matter afterwards."""
    yield install(monkeypatch)
    gpus.reset()


def there_and_back(where: Device, *, spin: bool = False, graph: bool = False) -> None:
    """Copy numbers to the GPU and back, in order, with one wait."""
    with where.current():
        memory, stream = where.allocate(4096), where.stream()
        source, target = where.pin(4096), where.pin(4096)
        target.array[:] = 0

        def work() -> None:
            where.upload(memory, source, 4000, stream)
            where.download(target, memory, 4000, stream)

        captured = where.capture(stream, work) if graph else None
        for seed in range(3):
            source.array[:] = np.random.default_rng(seed).integers(0, 256, 4096)
            if captured:
                captured.launch(stream)
            else:
                work()
            where.wait(stream, spin=spin)
            np.testing.assert_array_equal(target.array[:4000], source.array[:4000])
            assert not target.array[4000:].any()
        if captured:
            captured.free()
        for item in (stream, target, source, memory):
            where.free(item)


class TestDevice:

    @pytest.mark.parametrize('spin', [False, True])
    def test_numbers_go_there_and_come_back(self, machine: gpus.FakeGpu, spin: bool) -> None:
        there_and_back(device(), spin=spin)

    def test_a_graph_does_the_same_where_there_are_graphs(self, machine: gpus.FakeGpu) -> None:
        if device().captures:
            there_and_back(device(), graph=True)
            assert machine.launches == 3
        else:
            assert device().binding == 'pycuda'
            with device().current():
                stream = device().stream()
                with pytest.raises(CudaError, match='need cuda-python'):
                    device().capture(stream, lambda: None)
                device().free(stream)

    def test_says_which_gpu(self, machine: gpus.FakeGpu) -> None:
        assert gpu() == Gpu('Stand-in GPU', '9.0', '12.4')
        here = Machine.here()
        assert (here.tensorrt, here.gpu, here.compute_capability, here.cuda) == (
            '8.6.0', 'Stand-in GPU', '9.0', '12.4')

    @pytest.mark.parametrize('number', [1, -1])
    def test_a_gpu_that_is_not_there(self, machine: gpus.FakeGpu, number: int) -> None:
        with pytest.raises(CudaError, match='this machine has one GPU, number 0'):
            device(number)

    def test_no_gpu_at_all(self, machine: gpus.FakeGpu) -> None:
        machine.count = 0
        with pytest.raises(CudaError, match='the NVIDIA driver sees no GPU'):
            device()

    def test_out_of_memory_names_the_gpu_and_the_call(self, machine: gpus.FakeGpu) -> None:
        with primary_context() as here, pytest.raises(
                CudaError, match=r'^GPU 0: out of memory \(cuMemAlloc\)$'):
            here.allocate(1 << 40)

    def test_a_lost_gpu_is_an_error_and_giving_back_is_none(self, machine: gpus.FakeGpu) -> None:
        here = device()
        with here.current():
            memory, stream = here.allocate(256), here.stream()
            machine.lost = True
            with pytest.raises(CudaError, match='unspecified launch failure'):
                here.wait(stream)
            here.free(memory)
            here.free(stream)
        with pytest.raises(CudaError, match='unspecified launch failure'), here.current():
            pass

    def test_work_that_fails_while_it_is_captured_leaves_the_stream_usable(
        self, machine: gpus.FakeGpu,
    ) -> None:
        if not device().captures:
            return  # PyCUDA alone

        def fail() -> None:
            raise ValueError('no')

        with primary_context() as here:
            stream = here.stream()
            with pytest.raises(ValueError, match='no'):
                here.capture(stream, fail)
            here.wait(stream)
            here.free(stream)

    def test_a_context_is_popped_whatever_happens(self, machine: gpus.FakeGpu) -> None:
        def fail() -> None:
            with primary_context(), primary_context():
                assert machine.stack == [0, 0]
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert machine.stack == []

    def test_the_primary_context_is_retained_once_for_all_threads(
        self, machine: gpus.FakeGpu,
    ) -> None:
        def work() -> None:
            with primary_context():
                there_and_back(device())

        for _ in range(3):
            thread = Thread(target=work)
            thread.start()
            thread.join()
        assert machine.retained == 1

    def test_memory_that_is_free(self, machine: gpus.FakeGpu) -> None:
        with primary_context() as here:
            before = here.free_bytes()
            memory = here.allocate(1 << 20)
            assert before - here.free_bytes() >= 1 << 20
            here.free(memory)
            assert here.free_bytes() == before


@pytest.mark.gpu
class TestRealGpu:

    @pytest.mark.parametrize('kind', [PyCuda, CudaPython])
    def test_numbers_go_there_and_come_back(self, kind: type[Device]) -> None:
        try:
            where = kind(0)
        except ImportError as error:
            pytest.skip(str(error))
        for spin in (False, True):
            there_and_back(where, spin=spin)
        if where.captures:
            there_and_back(where, graph=True)

    def test_from_several_threads_and_nothing_is_left_on_any(self) -> None:
        problems: list[BaseException] = []

        def work() -> None:
            try:
                there_and_back(device())
            except BaseException as error:
                problems.append(error)

        threads = [Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []


class TestTheStandInPunishes:
    """Each is a mistake that a GPU answers with garbage, a crash or an abort."""

    def test_a_result_that_is_read_before_the_wait_is_not_there(self, alone: gpus.FakeGpu) -> None:
        with primary_context() as here:
            stream, memory = here.stream(), here.allocate(256)
            source, target = here.pin(256), here.pin(256)
            source.array[:], target.array[:] = 7, 1
            here.upload(memory, source, 256, stream)
            here.download(target, memory, 256, stream)
            assert target.array[0] == 1
            here.wait(stream)
            assert target.array[0] == 7

    def test_memory_after_its_end(self, alone: gpus.FakeGpu) -> None:
        with primary_context() as here:
            stream, memory, source = here.stream(), here.allocate(256), here.pin(256)
            here.free(memory)
            with pytest.raises(StandInError, match='no memory of the GPU'):
                here.upload(memory, source, 256, stream)

    def test_memory_that_is_too_small(self, alone: gpus.FakeGpu) -> None:
        with primary_context() as here:
            stream, memory, source = here.stream(), here.allocate(128), here.pin(256)
            with pytest.raises(StandInError, match='do not fit'):
                here.upload(memory, source, 256, stream)

    def test_memory_that_is_freed_while_work_goes_on(self, alone: gpus.FakeGpu) -> None:
        with primary_context() as here:
            stream, memory, source = here.stream(), here.allocate(256), here.pin(256)
            here.upload(memory, source, 256, stream)
            for item in (memory, source):
                with pytest.raises(StandInError, match='freed while'):
                    here.free(item)

    def test_memory_that_is_not_pinned(self, alone: gpus.FakeGpu) -> None:
        with primary_context() as here:
            stream, memory, source = here.stream(), here.allocate(256), here.pin(256)
            source.array = np.zeros(256, np.uint8)
            with pytest.raises(StandInError, match='not pinned'):
                here.upload(memory, source, 256, stream)

    def test_a_context_that_stays_pushed(self, alone: gpus.FakeGpu) -> None:
        device()._push()
        assert alone.left() == ['1 contexts on a stack']

    def test_a_thread_without_a_context(self, alone: gpus.FakeGpu) -> None:
        with pytest.raises(CudaError, match='invalid device context'):
            device().allocate(256)

    @pytest.mark.parametrize('version', VERSIONS)
    def test_names_that_a_version_has_not(self, version: str) -> None:
        trt = make_module(version)
        for wrong in ('nothing', 'OnnxParserRefitterOld'):
            with pytest.raises(AttributeError):
                getattr(trt, wrong)
        assert hasattr(trt.BuilderFlag, 'FP16') == (version < '11' or version[0] == '8')
        assert hasattr(trt.NetworkDefinitionCreationFlag, 'EXPLICIT_BATCH') == (
            not version.startswith('11'))
        with pytest.raises(TypeError, match='No constructor'):
            trt.ICudaEngine()


class TestTheStandInOfTheRuntimePunishes:

    @pytest.fixture
    def context(self, alone: gpus.FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> \
            Iterator[object]:
        import tensorrt

        from aitable_ros.inference.tensorrt_callbacks import make_logger

        path = TensorRTHere('8.6.0', alone, tmp_path).engine(
            convolution(tmp_path / 'small.onnx'), tmp_path)
        logger = make_logger(lambda level, text: self.said.append(text))
        self.said: list[str] = []
        with primary_context() as here:
            self.here, self.stream = here, here.stream()
            runtime = tensorrt.Runtime(logger)
            engine = runtime.deserialize_cuda_engine(path.read_bytes())
            context = engine.create_execution_context()
            yield context
            del context, engine

    def bind(self, context: object, size: int = 1 << 16) -> None:
        for name in ('image', 'out'):
            assert context.set_tensor_address(name, self.here.allocate(size).address)

    def test_a_shape_that_is_not_set(self, context: object) -> None:
        self.bind(context)
        assert not context.execute_async_v3(self.stream.handle)
        assert 'are not set' in self.said[-1]

    def test_a_batch_outside_of_the_profile(self, context: object) -> None:
        assert not context.set_input_shape('image', (5, 3, 16, 16))
        assert 'does not satisfy the profile' in self.said[-1]

    def test_an_address_that_is_not_set(self, context: object) -> None:
        assert context.set_input_shape('image', (1, 3, 16, 16))
        assert not context.execute_async_v3(self.stream.handle)
        assert 'address of image is not set' in self.said[-1]

    def test_a_buffer_that_is_too_small(self, context: object) -> None:
        self.bind(context, 256)
        assert context.set_input_shape('image', (1, 3, 16, 16))
        with pytest.raises(StandInError, match='do not fit'):
            context.execute_async_v3(self.stream.handle)

    def test_a_capture_before_the_first_run(self, context: object) -> None:
        self.bind(context)
        assert context.set_input_shape('image', (1, 3, 16, 16))
        with pytest.raises(CudaError, match='during capture'):
            self.here.capture(self.stream, lambda: context.execute_async_v3(self.stream.handle))

    def test_a_graph_of_other_shapes(self, context: object) -> None:
        self.bind(context)
        assert context.set_input_shape('image', (1, 3, 16, 16))
        assert context.execute_async_v3(self.stream.handle)
        self.here.wait(self.stream)
        graph = self.here.capture(
            self.stream, lambda: context.execute_async_v3(self.stream.handle))
        assert context.set_input_shape('image', (2, 3, 16, 16))
        graph.launch(self.stream)
        with pytest.raises(StandInError, match='other shapes'):
            self.here.wait(self.stream)

    def test_a_name_that_is_gone(self, context: object) -> None:
        for owner, name in ((context, 'execute_async_v4'), (context.engine, 'get_aliased')):
            with pytest.raises(AttributeError, match=r'in 8\.6\.0'):
                getattr(owner, name)

    def test_a_thread_without_a_context(self, context: object) -> None:
        problems = []

        def work() -> None:
            try:
                context.set_input_shape('image', (1, 3, 16, 16))
            except StandInError as error:
                problems.append(str(error))

        thread = Thread(target=work)
        thread.start()
        thread.join()
        assert len(problems) == 1
        assert 'without a CUDA context' in problems[0]
