# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One model for several: loaded once, freed once, fair, on one thread where it must be."""

from __future__ import annotations

from collections import Counter
from threading import current_thread, Event, Thread
import time

import numpy as np
import pytest
from test_inference_backends import convolution

from aitable_ros.inference import shared_models
from aitable_ros.inference.chain import ModelKey, ModelOptions, resolve
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.shared_models import ModelFailure, SharedModels

BOUND, FREE = 'torch', 'onnxruntime'


def key(runtime: str = FREE, entry: str = 'mesh') -> ModelKey:
    return ModelKey(entry, runtime, ('/x', 1, 1), 'auto', 0, 1)


class Fake:
    """A backend that notes its threads and can be made to wait or to fail."""

    name, model, precision, device = 'fake', 'mesh', 'fp32', 'cpu'
    inputs = outputs = ()

    def __init__(self) -> None:
        self.threads = [current_thread()]
        self.closed = 0
        self.order: list[object] = []
        self.gate = Event()
        self.gate.set()
        self.error: Exception | None = None
        self.running = 0

    def infer(self, inputs):
        self.threads.append(current_thread())
        self.running += 1
        assert self.running == 1, 'two runs at once'
        self.gate.wait(10)
        time.sleep(0.005)  # as long as a model takes: who had an answer has asked again by then
        self.order.append(inputs)
        self.running -= 1
        if self.error:
            raise self.error
        return {'y': np.zeros(1)}

    def warm_up(self) -> None:
        self.threads.append(current_thread())

    def close(self) -> None:
        self.threads.append(current_thread())
        self.closed += 1


@pytest.mark.parametrize('runtime', [BOUND, FREE])
def test_is_made_once_and_closed_with_its_last_user(runtime: str) -> None:
    models, made = SharedModels(), []

    def make():
        made.append(Fake())
        return made[-1]
    one, two = (models.load(key(runtime), make) for _ in range(2))
    assert len(made) == 1
    one.infer({})
    one.close()
    one.close()
    assert not made[0].closed
    two.infer({})
    with pytest.raises(BackendError, match='closed'):
        one.infer({})
    two.close()
    assert made[0].closed == 1
    assert models.keys == ()
    models.load(key(runtime), make).close()
    assert len(made) == 2


def test_a_library_that_wants_one_thread_has_one() -> None:
    models, fake = SharedModels(), []
    borrowed = models.load(key(BOUND), lambda: fake.append(Fake()) or fake[0])
    for _ in range(3):
        thread = Thread(target=lambda: borrowed.infer({}))
        thread.start()
        thread.join()
    borrowed.close()
    assert len(set(fake[0].threads)) == 1
    assert fake[0].threads[0] is not current_thread()


def test_another_file_of_that_name_is_another_model() -> None:
    models = SharedModels()
    one = models.load(key(), Fake)
    other = models.load(ModelKey('mesh', FREE, ('/x', 2, 1), 'auto', 0, 1), Fake)
    assert len(models.keys) == 2
    one.close()
    other.close()


@pytest.mark.parametrize('runtime', [BOUND, FREE])
def test_turns_are_taken_in_the_order_asked(runtime: str) -> None:
    models, fake = SharedModels(), Fake()
    cameras = [models.load(key(runtime), lambda: fake) for _ in range(3)]

    def ask(number):
        for _ in range(20):
            cameras[number].infer(number)
    fake.gate.clear()
    threads = [Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    fake.gate.set()
    for thread in threads:
        thread.join()
    for start in range(3, 45, 3):  # once all three are asking, each has a turn in three
        assert max(Counter(fake.order[start:start + 6]).values()) <= 3
    for camera in cameras:
        camera.close()
    assert fake.closed == 1


@pytest.mark.parametrize('error', [BackendError('lost'), ValueError('lost\nmore')])
def test_a_failure_says_which_model(error: Exception) -> None:
    models, fake = SharedModels(), Fake()
    borrowed = models.load(key(), lambda: fake)
    fake.error = error
    with pytest.raises(ModelFailure, match='lost') as caught:
        borrowed.infer({})
    assert caught.value.key == key()
    assert '\n' not in str(caught.value)
    models.discard(key())
    assert models.load(key(), Fake)._backend is not fake, 'made anew'
    borrowed.close()
    assert fake.closed == 1


def test_who_cannot_load_leaves_nothing_behind() -> None:
    models = SharedModels()

    def fail():
        raise BackendError('no')
    for runtime in (BOUND, FREE):
        with pytest.raises(BackendError):
            models.load(key(runtime), fail)
    assert models.keys == ()


@pytest.mark.parametrize('runtime', [BOUND, FREE])
def test_nobody_joins_a_model_that_hangs(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_models, 'HUNG_AFTER_S', 0.1)
    models, fake = SharedModels(), Fake()
    stuck = models.load(key(runtime), lambda: fake)
    fake.gate.clear()
    thread = Thread(target=lambda: stuck.infer({}), daemon=True)
    thread.start()
    time.sleep(0.3)
    other = models.load(key(runtime), Fake)
    other.infer({})
    stuck.close()  # does not wait for it
    assert not fake.closed
    fake.gate.set()
    thread.join(5)
    other.close()
    assert models.keys == ()


def test_a_real_model_gives_the_same_answers_shared(models) -> None:
    options = ModelOptions(fallbacks=('fer',), backend='onnxruntime')
    sharing = SharedModels()
    picture = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)
    with resolve(options).backend as alone, resolve(options, sharing.load).backend as borrowed:
        inputs = {alone.inputs[0].name: picture}
        assert borrowed.inputs == alone.inputs
        np.testing.assert_array_equal(
            alone.infer(inputs)['probs'], borrowed.infer(inputs)['probs'])
        assert [one.entry for one in sharing.keys] == ['fer']
    assert sharing.keys == ()


def test_one_engine_serves_cameras_on_threads_of_their_own(tensorrt, tmp_path) -> None:
    """On the real GPU too: made on this thread, run on two others, closed on a fourth."""
    onnx = convolution(tmp_path / 'small.onnx')
    options = ModelOptions(model=str(tensorrt.engine(onnx, tmp_path)), fallbacks=())
    sharing, wrong = SharedModels(), []
    cameras = [resolve(options, sharing.load).backend for _ in range(2)]
    assert len(sharing.keys) == 1

    def look(camera, seed):
        rng = np.random.default_rng(seed)
        with OnnxRuntimeBackend(onnx) as reference:
            for _ in range(50):
                rows = int(rng.integers(1, 5))
                inputs = {'image': rng.normal(size=(rows, 3, 16, 16)).astype(np.float32)}
                for name, value in reference.infer(inputs).items():
                    if not np.allclose(camera.infer(inputs)[name], value, atol=1e-2):
                        wrong.append((seed, rows, name))
    looking = [Thread(target=look, args=(camera, seed)) for seed, camera in enumerate(cameras)]
    for thread in looking:
        thread.start()
    for thread in looking:
        thread.join()
    closing = Thread(target=lambda: [camera.close() for camera in cameras])
    closing.start()
    closing.join()
    assert wrong == []
    assert sharing.keys == ()


def test_what_is_to_be_avoided_is_passed_over_and_says_why(models) -> None:
    options = ModelOptions(fallbacks=('fer',))
    found = resolve(options, avoid={('fer', 'openvino'): 'failed while it ran: lost'})
    with found.backend as backend:
        assert backend.name == 'onnxruntime'
    assert [attempt.reason for attempt in found.attempts] == ['failed while it ran: lost', '']
