# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The camera node: its frames reach the nodes beside it by reference, and others by topic."""

from __future__ import annotations

import cv2
from films import write_film
import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import CAMERA, picture
from sensor_msgs.msg import CompressedImage, Image

from aitable_msgs.msg import FaceArray
from aitable_ros.clock import stamp_ns
from aitable_ros.errors import InputError
from aitable_ros.nodes import qos
from aitable_ros.nodes.capture import CaptureClock


@pytest.fixture
def film(tmp_path, portrait):
    """Return a film of a second, at 15 images a second."""
    return write_film(tmp_path / 'film.avi', [picture(portrait)] * 15)


def test_frames_reach_the_nodes_beside_it_without_the_topic(models, graph, film):
    graph.load('CameraNode', device=str(film))
    graph.load('FaceDetectorNode')
    graph.listen(FaceArray, 'faces')
    assert graph.spin(lambda: len(graph.heard['faces']) > 40)  # the film begins again at its end
    stamps = [stamp_ns(one.header.stamp) for one in graph.heard['faces']]
    assert np.all(np.diff(stamps) > 0)
    now = graph.tester.get_clock().now().nanoseconds
    assert abs(now - stamps[-1]) < PATIENT_S * 1e9
    assert any(len(one.faces) == 1 for one in graph.heard['faces'])
    assert graph.heard['faces'][-1].header.frame_id == 'camera'
    assert graph.tester.count_publishers(CAMERA) == 1
    assert graph.tester.count_subscribers(CAMERA) == 0


def test_nodes_follow_a_camera_that_comes_and_goes(models, graph, film):
    graph.load('FaceDetectorNode')
    assert graph.spin(lambda: graph.tester.count_subscribers(CAMERA) == 1)
    camera = graph.nodes.load('CameraNode', cli_args=['--ros-args', '-r', f'image:={CAMERA}'],
                              parameter_overrides=[_device(film)])
    assert graph.spin(lambda: graph.tester.count_subscribers(CAMERA) == 0)
    graph.nodes.unload(camera.unique_id)
    assert graph.spin(lambda: graph.tester.count_subscribers(CAMERA) == 1)


def _device(path):
    from ros_graph import parameter

    return parameter('device', str(path))


@pytest.mark.parametrize(('transport', 'kind', 'topic'), [
    ('raw', Image, CAMERA), ('compressed', CompressedImage, f'{CAMERA}/compressed')])
def test_it_publishes_what_another_node_subscribes_to(graph, film, transport, kind, topic):
    graph.load('CameraNode', device=str(film), image_transport=transport, frame_id='desk')
    heard = []
    graph.tester.create_subscription(kind, topic, heard.append, qos.IMAGE)
    assert graph.spin(lambda: heard)
    message = heard[0]
    assert message.header.frame_id == 'desk'
    if transport == 'raw':
        assert (message.encoding, message.step) == ('rgb8', 3 * message.width)
    else:
        assert cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR) is not None


@pytest.mark.parametrize(('parameters', 'words'), [
    ({}, "parameter 'device': name a camera"),
    ({'device': '/no/such.mp4'}, "'/no/such.mp4': no such file"),
    ({'device': '0', 'format': 'jpeg2'}, 'four letters'),
])
def test_a_device_that_can_never_be_opened_is_refused(graph, parameters, words):
    with pytest.raises(InputError, match=words):
        graph.load('CameraNode', **parameters)


def test_a_camera_that_is_not_plugged_in_is_waited_for(graph, capfd):
    graph.load('CameraNode', device='/dev/video97')
    assert graph.lines(capfd, '/dev/video97 cannot be opened; check that it is plugged in')


def test_stamps_of_a_v4l2_camera_are_those_of_the_driver():
    clock = CaptureClock()
    for number in range(1, 10):
        taken_s = 500.0 + number / 30
        read_s = taken_s + 0.02 + 0.01 * (number % 3)
        stamp = clock.stamp_ns(round(1e9 * (1000 + read_s)), read_s, 1e3 * taken_s)
        assert stamp == pytest.approx(1e9 * (1000 + taken_s), abs=1e3)


def test_stamps_of_a_stream_lose_the_jitter_and_follow_its_drift():
    clock = CaptureClock()
    random = np.random.default_rng(0)
    errors = []
    for number in range(1, 3000):
        taken_s = number / 30
        now_s = 1000 + 1.0001 * taken_s + random.uniform(0.02, 0.08)
        stamp = clock.stamp_ns(round(1e9 * now_s), 1e6 + now_s, 1e3 * taken_s)
        errors.append(stamp / 1e9 - (1000 + 1.0001 * taken_s))
    assert np.ptp(errors[100:]) < 0.02
    assert np.all(np.array(errors) > 0)


def test_a_capture_without_a_clock_takes_the_time_of_arrival():
    clock = CaptureClock()
    assert [clock.stamp_ns(now, 5.0, 0.0) for now in (10, 20)] == [10, 20]
