# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Two cameras in one process: one model for both, each gets its turn, nobody is mixed up."""

import time

import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import Graph, image, parameter, picture, PIPELINE
from sensor_msgs.msg import Image

from aitable_msgs.msg import Emotion, FaceArray, FatigueState
from aitable_ros.inference.shared_models import SHARED
from aitable_ros.nodes import qos

SIDES = ('left', 'right')


@pytest.fixture
def graph(models):
    with Graph() as graph:
        yield graph
    assert SHARED.keys == ()


def _load(graph, side):
    return [
        graph.nodes.load(plugin, cli_args=[
            '--ros-args', '-r', f'__ns:=/{side}', '-r', f'image:=/{side}/image_raw'],
            parameter_overrides=[parameter('backend', 'onnxruntime')]).node
        for plugin in PIPELINE]


def _two_cameras(graph):
    nodes = {side: _load(graph, side) for side in SIDES}
    cameras = {}
    for side in SIDES:
        for kind, topic in ((FaceArray, 'faces'), (FatigueState, 'fatigue'), (Emotion, 'emotion')):
            graph.listen(kind, f'/{side}/{topic}')
        cameras[side] = graph.tester.create_publisher(
            Image, f'/{side}/image_raw', qos.IMAGE)
        assert graph.matched(cameras[side])
    return nodes, cameras


def test_one_model_each_for_both_and_equal_turns(graph, portrait, expression_model):
    nodes, cameras = _two_cameras(graph)
    loaded = sorted(key.entry for key in SHARED.keys)
    assert loaded == sorted([
        'blazeface_full', 'blazeface_short', 'facemesh', *expression_model.split('+')]), 'each once'
    frame = picture(portrait, 640, 480)
    topics = ('faces', 'fatigue', 'emotion')
    end = time.monotonic() + PATIENT_S
    while time.monotonic() < end and any(
            len(graph.heard[f'/{side}/{topic}']) < 30 for side in SIDES for topic in topics):
        stamp = graph.tick()
        for side in SIDES:
            cameras[side].publish(image(frame, 'rgb8', stamp))
        graph.rest(0.03)
    for topic in topics:
        left, right = (len(graph.heard[f'/{side}/{topic}']) for side in SIDES)
        assert min(left, right) >= 0.7 * max(left, right) >= 20, f'{topic}: {left} and {right}'
    for side in SIDES:
        ids = {face.track_id for one in graph.heard[f'/{side}/faces'] for face in one.faces}
        states = {one.track_id for one in graph.heard[f'/{side}/fatigue'] if one.track_id}
        assert len(ids) == 1
        assert states == ids
        assert nodes[side][1].get_fully_qualified_name() == f'/{side}/fatigue'


def test_what_one_camera_sees_stays_out_of_the_other(graph, portrait):
    _, cameras = _two_cameras(graph)
    seen, empty = picture(portrait), np.full((240, 320, 3), 90, np.uint8)
    for _ in range(12):
        stamp = graph.tick()
        cameras['left'].publish(image(seen, 'rgb8', stamp))
        cameras['right'].publish(image(empty, 'rgb8', stamp))
        graph.rest(0.05)
    assert graph.spin(lambda: graph.heard['/right/fatigue'] and graph.heard['/left/fatigue'])
    nobody = FatigueState.VALIDITY_NO_FACE
    assert all(one.validity == nobody for one in graph.heard['/right/fatigue'])
    assert all(one.faces == [] for one in graph.heard['/right/faces'])
    assert any(one.validity != nobody for one in graph.heard['/left/fatigue'])


def test_the_model_stays_while_one_of_them_needs_it(graph, portrait):
    _, cameras = _two_cameras(graph)
    for component in graph.nodes.components[-3:]:
        graph.nodes.unload(component.unique_id)
    assert len(SHARED.keys) == 5  # two detectors, the mesh, two for the expression
    answer = graph.answers(
        cameras['left'], image(picture(portrait), 'rgb8', graph.tick()), '/left/fatigue')
    assert answer is not None
