# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A model exchanged while the node works, one that fails, one that hangs, one that is gone."""

import shutil
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import Graph, image, picture

from aitable_msgs.msg import Emotion, FaceArray, FatigueState
from aitable_msgs.srv import ReloadModel
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.inference import shared_models
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.openvino import OpenVINOBackend
from aitable_ros.inference.protocol import BackendError
from aitable_ros.models.catalogue import onnx_path
from aitable_ros.nodes import diagnostics, hung_model, model_keeper, worker
from aitable_ros.nodes.worker import Worker


@pytest.fixture
def graph(models):
    with Graph() as graph:
        graph.listen_to({
            'faces': FaceArray, 'fatigue': FatigueState, 'emotion': Emotion,
            '/diagnostics': DiagnosticArray})
        graph.publisher = graph.camera()
        yield graph
    end = time.monotonic() + PATIENT_S  # one that was being loaded is given back when it is
    while shared_models.SHARED.keys and time.monotonic() < end:
        time.sleep(0.01)
    assert not shared_models.SHARED.keys, 'a model was not given back'


def _load(graph, **fatigue):
    graph.face = graph.load('FaceDetectorNode', backend='onnxruntime')
    graph.fatigue = graph.load('FatigueNode', **{'backend': 'onnxruntime', **fatigue})
    assert graph.matched(graph.publisher)


def _see(graph, portrait, topic='fatigue', timeout_s=PATIENT_S):
    return graph.answers(
        graph.publisher, image(picture(portrait), 'bgr8', graph.tick()), topic, timeout_s)


def _reload(graph, path, node='fatigue'):
    return graph.call(ReloadModel, f'/{node}/reload_model', ReloadModel.Request(model_path=path))


@pytest.mark.parametrize(('node', 'path', 'model'), [
    ('fatigue', 'facemesh_468', 'facemesh_468'),
    ('face_detector', 'blazeface_short', 'blazeface_short'),
    ('emotion', 'fer', 'fer'),
])
def test_people_are_kept_when_the_model_is_exchanged(graph, portrait, node, path, model):
    _load(graph)
    graph.load('EmotionNode', backend='onnxruntime')
    before = [_see(graph, portrait) for _ in range(8)][-1]
    answer = _reload(graph, path, node)
    assert answer.success, answer.message
    assert 'people are kept' in answer.message
    assert answer.backend == 'onnxruntime'
    after = _see(graph, portrait)
    assert after.track_id == before.track_id
    assert after.perclos_coverage >= before.perclos_coverage > 0, 'the window goes on'
    assert after.baseline_ear == pytest.approx(before.baseline_ear, rel=0.2)
    topic = {'face_detector': 'faces', 'fatigue': 'fatigue', 'emotion': 'emotion'}[node]
    assert _see(graph, portrait, topic).model == model


def test_the_old_model_answers_while_the_new_one_loads(graph, portrait, monkeypatch):
    _load(graph)
    _see(graph, portrait)
    released, open_stage = threading.Event(), FatigueMonitor.open

    def slowly(*arguments):
        assert released.wait(PATIENT_S)
        return open_stage(*arguments)
    monkeypatch.setattr(FatigueMonitor, 'open', slowly)
    client = graph.tester.create_client(ReloadModel, '/fatigue/reload_model')
    assert client.wait_for_service(PATIENT_S)
    future = client.call_async(ReloadModel.Request(model_path='facemesh_468'))
    models = [_see(graph, portrait).model for _ in range(5)]
    assert models == ['facemesh'] * 5
    assert not future.done()
    with pytest.raises(RuntimeError, match='being loaded already'):
        graph.fatigue.keeper.reload('facemesh_468')
    released.set()
    assert graph.spin(future.done)
    assert future.result().success
    assert _see(graph, portrait).model == 'facemesh_468'


def test_a_model_file_deleted_and_restored(graph, portrait, tmp_path):
    path = tmp_path / 'mesh.onnx'
    shutil.copy(onnx_path('facemesh'), path)
    _load(graph, model=str(path), fallbacks=['off'])
    assert _see(graph, portrait).model == 'mesh.onnx'
    path.unlink()
    gone = _reload(graph, '')
    assert gone.success is False or 'no model' in gone.message
    assert _reload(graph, str(path)).message.endswith('the old model runs on')
    shutil.copy(onnx_path('facemesh_468'), path)
    assert _reload(graph, str(path)).success
    assert _see(graph, portrait).model == 'mesh.onnx'


@pytest.mark.parametrize(('error', 'words'), [
    (MemoryError(), 'out of memory'),
    (BackendError('facemesh: CUDA out of memory'), 'CUDA out of memory')])
def test_out_of_memory_on_load_takes_the_next_of_the_chain(
        graph, portrait, monkeypatch, capfd, error, words):
    def full(*args, **kwargs):
        raise error
    monkeypatch.setattr(OpenVINOBackend, '__init__', full)
    _load(graph, backend='auto')
    assert _see(graph, portrait).backend == 'onnxruntime'
    line, = graph.lines(capfd, 'facemesh with openvino passed over')
    assert words in line


def _failing(monkeypatch, backend, fails):
    """Let a backend's runs of the mesh fail while ``fails(it)``."""
    infer = backend.infer

    def perhaps(self, inputs):
        if 'facemesh' in self.model and fails(self):
            raise BackendError('facemesh: device lost')
        return infer(self, inputs)
    monkeypatch.setattr(backend, 'infer', perhaps)


def _the_first(of, then):
    """Return a condition on backends: ``then()`` for the first that asks, the one that runs now."""
    def condition(backend):
        of.append(backend)
        return backend is of[0] and then()
    return condition


def test_a_model_that_fails_once_costs_one_image(graph, portrait, monkeypatch, capfd):
    _load(graph)
    before = _see(graph, portrait)
    left = [1]
    _failing(monkeypatch, OnnxRuntimeBackend, lambda _: left and left.pop())
    graph.publisher.publish(image(picture(portrait), 'bgr8', graph.tick()))
    assert graph.spin(lambda: graph.fatigue.images.statistics.snapshot(0.0).failed == 1)
    after = _see(graph, portrait)
    assert (after.track_id, after.backend) == (before.track_id, 'onnxruntime')
    assert graph.spin(lambda: graph.fatigue.keeper.failures == 0)
    assert graph.fatigue.images.statistics.snapshot(0.0).failed == 1
    assert len(graph.lines(capfd, 'device lost')) == 1


def test_a_model_that_always_fails_gives_way_to_the_next(graph, portrait, monkeypatch, capfd):
    _load(graph, backend='auto')
    before = [_see(graph, portrait) for _ in range(4)][-1]
    assert before.backend == 'openvino'
    _failing(monkeypatch, OpenVINOBackend, lambda _: True)
    assert _go_on(graph, portrait, lambda: graph.heard['fatigue'][-1].backend == 'onnxruntime')
    after = graph.heard['fatigue'][-1]
    assert (after.backend, after.track_id) == ('onnxruntime', before.track_id)
    assert after.perclos_coverage > 0
    assert graph.lines(capfd, 'facemesh with openvino passed over: failed while it ran')
    assert graph.lines(capfd, 'answers images again')
    assert graph.spin(lambda: graph.fatigue.keeper.failures == 0)


def test_a_model_that_is_all_there_is_is_loaded_anew(graph, portrait, monkeypatch, capfd):
    _load(graph)
    before = _see(graph, portrait)
    _failing(monkeypatch, OnnxRuntimeBackend, _the_first([], lambda: True))
    assert _go_on(graph, portrait, lambda: graph.lines(capfd, 'answers images again', 0))
    after = _see(graph, portrait)
    assert after.track_id == before.track_id
    assert graph.lines(capfd, 'looking for another model')
    assert len(graph.lines(capfd, 'runs facemesh on onnxruntime', 2)) == 2


def _go_on(graph, portrait, until, timeout_s=PATIENT_S):
    """Send images like a camera until something is so."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and not until():
        graph.publisher.publish(image(picture(portrait), 'bgr8', graph.tick()))
        graph.rest(0.05)
    return until()


def test_failure_is_an_error_in_diagnostics(graph, portrait, monkeypatch):
    _load(graph, fallbacks=['facemesh'])
    _see(graph, portrait)
    _failing(monkeypatch, OnnxRuntimeBackend, lambda _: True)
    graph.heard['/diagnostics'].clear()
    assert _go_on(graph, portrait, lambda: any(
        status.level == DiagnosticStatus.ERROR and 'device lost' in status.message
        for status in graph.statuses('fatigue')))


@pytest.fixture
def impatient(monkeypatch):
    """Take a model for hung after a second."""
    for module in (shared_models, model_keeper, hung_model, worker, diagnostics):
        monkeypatch.setattr(module, 'HUNG_AFTER_S', 1.0)
    monkeypatch.setattr(Worker.stop, '__defaults__', (1.0,))  # it does not wait longer


def _hang(graph, monkeypatch):
    """Let the model that runs now hang; return what ends that."""
    free = threading.Event()
    kinds = {'openvino': OpenVINOBackend, 'onnxruntime': OnnxRuntimeBackend}
    _failing(monkeypatch, kinds[graph.fatigue.keeper.model.backend],
             _the_first([], lambda: not free.wait(PATIENT_S)))
    return free


def _workers():
    """Return how many threads of the node's have a model of their own."""
    return [thread.name for thread in threading.enumerate()].count('fatigue')


def test_a_model_that_hangs_is_left_behind_and_the_chain_goes_on(
        graph, portrait, impatient, monkeypatch, capfd):
    _load(graph, backend='auto')
    assert _see(graph, portrait).backend == 'openvino'
    assert _workers() == 1
    free = _hang(graph, monkeypatch)
    assert _go_on(graph, portrait, lambda: graph.heard['fatigue'][-1].backend == 'onnxruntime')
    assert graph.fatigue.work.dropped >= 3, 'dropped, not queued'
    assert _see(graph, portrait).backend == 'onnxruntime'
    assert len(graph.lines(capfd, 'has not returned')) == 1
    assert _workers() == 2, 'no thread can be ended from outside'
    free.set()
    assert graph.spin(lambda: _workers() == 1)
    assert _see(graph, portrait).backend == 'onnxruntime'
    assert graph.spin(lambda: graph.fatigue.keeper.failures == 0)


def test_a_model_that_hangs_is_opened_anew_where_there_is_no_other(
        graph, portrait, impatient, monkeypatch, capfd):
    _load(graph)
    _see(graph, portrait)
    free = _hang(graph, monkeypatch)
    assert _go_on(graph, portrait, lambda: len(graph.lines(capfd, 'runs facemesh on', 0)) == 2)
    assert _see(graph, portrait).backend == 'onnxruntime'
    free.set()


def test_a_model_that_returns_late_is_kept(graph, portrait, impatient, monkeypatch, capfd):
    """While another is being opened; people stay known."""
    _load(graph)
    before = [_see(graph, portrait) for _ in range(8)][-1]
    opening, open_stage = threading.Event(), FatigueMonitor.open
    free = _hang(graph, monkeypatch)

    def slowly(*arguments):
        opening.set()
        assert free.wait(PATIENT_S)
        while graph.fatigue.work.busy_s > 0.5:
            time.sleep(0.01)
        return open_stage(*arguments)
    monkeypatch.setattr(FatigueMonitor, 'open', slowly)
    assert _go_on(graph, portrait, opening.is_set)
    free.set()
    assert _go_on(graph, portrait, lambda: not any(
        thread.name == 'fatigue_replace' for thread in threading.enumerate()))
    assert graph.lines(capfd, 'the model has returned')
    assert len(graph.lines(capfd, 'runs facemesh on')) == 1, 'no other one does'
    after = _see(graph, portrait)
    assert after.perclos_coverage >= before.perclos_coverage > 0, 'people are kept'


def test_where_models_hang_again_and_again_it_is_told_and_holds_nothing_up(
        graph, portrait, impatient, monkeypatch, capfd):
    monkeypatch.setattr(hung_model, 'MOST_LEFT_BEHIND', 0)
    _load(graph)
    _see(graph, portrait)
    free = _hang(graph, monkeypatch)
    assert _go_on(graph, portrait, lambda: graph.lines(capfd, 'has not returned', 0))
    graph.heard['/diagnostics'].clear()
    assert graph.spin(lambda: len(graph.heard['/diagnostics']) >= 4)
    status = graph.statuses('fatigue')[-1]
    assert status.level == DiagnosticStatus.ERROR
    assert 'has not returned' in status.message
    assert len(graph.lines(capfd, 'has not returned')) == 1
    assert 'does not return' in _reload(graph, 'facemesh_468').message
    for transition in (
            Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert graph.call(ChangeState, '/fatigue/change_state', ChangeState.Request(
            transition=Transition(id=transition)), 15.0).success
    assert _see(graph, portrait) is not None
    free.set()
    assert _see(graph, portrait) is not None


def test_a_model_that_gives_no_numbers_is_passed_over(graph, portrait, monkeypatch, capfd):
    """An engine in half precision that overflows."""
    infer = OpenVINOBackend.infer

    def broken(self, inputs):
        return {name: np.full_like(value, np.nan) for name, value in infer(self, inputs).items()}
    monkeypatch.setattr(OpenVINOBackend, 'infer', broken)
    _load(graph, backend='auto')
    assert _see(graph, portrait).backend == 'onnxruntime'
    assert 'is not a number' in graph.lines(capfd, 'facemesh with openvino passed over')[0]
