# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every transition's way to fail, and what unloading frees; test_soak.py has the rounds."""

from ctypes import c_size_t, CDLL, Structure
import gc
import threading

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import pytest
from rclpy.lifecycle import LifecyclePublisher
from ros_graph import parameter, PIPELINE

from aitable_ros.inference.shared_models import SHARED
from aitable_ros.nodes.composition import Composition
from aitable_ros.nodes.parameters import TYPE_DESCRIPTIONS

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
SHUTDOWN = Transition.TRANSITION_ACTIVE_SHUTDOWN


@pytest.fixture
def node(graph):
    return graph.load('FatigueNode', backend='onnxruntime', autostart=False)


def _change(graph, *transitions, node='fatigue'):
    return [
        graph.call(ChangeState, f'/{node}/change_state', ChangeState.Request(
            transition=Transition(id=transition))).success for transition in transitions]


def _boom(*args, **kwargs):
    raise RuntimeError('boom')


FAILURES = {
    'no model': ('_open', (), CONFIGURE, 'unconfigured', 'boom'),
    'no publishers': ('_make_publishers', (), CONFIGURE, 'unconfigured', 'boom'),
    'no subscription': ('_subscribe', (CONFIGURE,), ACTIVATE, 'inactive', 'cannot subscribe: boom'),
    'deactivate': ('_unsubscribe', (CONFIGURE, ACTIVATE), DEACTIVATE, 'unconfigured', 'an error'),
    'cleanup': ('_release', (CONFIGURE,), CLEANUP, 'unconfigured', 'an error'),
}


@pytest.mark.parametrize('name', FAILURES)
def test_a_transition_that_fails_says_why_and_can_be_tried_again(
        graph, node, monkeypatch, capfd, name):
    method, before, transition, state, reason = FAILURES[name]
    assert all(_change(graph, *before))
    with monkeypatch.context() as broken:
        broken.setattr(node, method, _boom)
        assert _change(graph, transition) == [False]
        assert node.state == state
        assert reason in node.failure
        assert reason in capfd.readouterr().err
    ready = {'unconfigured': (CONFIGURE, ACTIVATE), 'inactive': (ACTIVATE,)}[node.state]
    assert all(_change(graph, *ready))
    assert node.failure == ''
    assert node.state == 'active'
    if name == 'no model':
        assert threading.active_count() < 40


@pytest.mark.parametrize(('transition', 'asked'), [
    (Transition(id=ACTIVATE), "'activate' (3)"),
    (Transition(id=99), "'unknown' (99)"),
    (Transition(id=CONFIGURE, label='dance'), "'dance' (1)"),
])
def test_an_impossible_transition_is_refused_in_one_line(graph, node, capfd, transition, asked):
    answer = graph.call(
        ChangeState, '/fatigue/change_state', ChangeState.Request(transition=transition))
    assert not answer.success
    line, = graph.lines(capfd, 'transition')
    assert f'{asked} is refused: the node is unconfigured' in line
    assert line.endswith('configure (1), shutdown (5)')
    assert all(_change(graph, CONFIGURE, ACTIVATE)), 'its executor lives'
    assert graph.call(ChangeState, '/fatigue/change_state', ChangeState.Request(
        transition=Transition(label='deactivate'))).success
    assert node.state == 'inactive'


def test_publishers_are_silent_after_an_activation_that_failed(graph, node, monkeypatch):
    assert all(_change(graph, CONFIGURE))
    with monkeypatch.context() as broken:
        broken.setattr(node, '_subscribe', _boom)
        assert _change(graph, ACTIVATE) == [False]
    outputs = [one for one in node.publishers if isinstance(one, LifecyclePublisher)]
    assert outputs
    assert not any(publisher.is_activated for publisher in outputs)


def test_shutdown_frees_the_model_and_says_goodbye(graph, node):
    assert all(_change(graph, CONFIGURE, ACTIVATE))
    assert len(SHARED.keys) == 2  # the mesh and its proof
    assert all(_change(graph, SHUTDOWN))
    assert node.state == 'finalized'
    assert SHARED.keys == ()


class _Heap(Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = (
        *((name, c_size_t) for name in (
            'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks',
            'fordblks', 'keepcost')),)


def _in_use():
    gc.collect()
    libc = CDLL(None)
    if not hasattr(libc, 'mallinfo2'):
        pytest.skip('this C library does not tell what is in use')
    libc.mallinfo2.restype = _Heap
    heap = libc.mallinfo2()
    return heap.uordblks + heap.hblkhd


@pytest.mark.slow
def test_unloading_frees_everything(graph):
    """The tester lives on, and so does the DDS participant that it shares with the nodes."""
    def services():
        found = graph.tester.get_service_names_and_types()
        return {name for name, _ in found
                if name.startswith(('/face_detector/', '/fatigue/', '/emotion/'))}

    heaps = []
    for _ in range(9):
        with Composition(graph.context) as nodes:
            nodes.load_all(
                PIPELINE, parameter_overrides=[parameter('backend', 'onnxruntime')])
        heaps.append(_in_use())
    assert graph.spin(lambda: not services()), services()
    assert (heaps[-1] - heaps[3]) / 5 < 60e3, [round(heap / 1e3) for heap in heaps]


def test_types_are_described_when_asked(graph):
    node = graph.load('FatigueNode', autostart=False)
    if not node.has_parameter(TYPE_DESCRIPTIONS):
        pytest.skip('this rclpy describes no types')
    assert node.get_parameter(TYPE_DESCRIPTIONS).value is False
    asked = graph.load('EmotionNode', autostart=False, **{TYPE_DESCRIPTIONS: True})
    assert asked.get_parameter(TYPE_DESCRIPTIONS).value is True
