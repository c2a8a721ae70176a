# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a node that is left running, each injected and shown recovered."""

import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
from patience import PATIENT_S
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.clock import ClockType, ROSClock
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from ros_graph import CAMERA, Graph, image, picture
from sensor_msgs.msg import Image

from aitable_msgs.msg import FaceArray, FatigueEvent, FatigueState
from aitable_ros.clock import stamp_ns
from aitable_ros.face.finder import FaceFinder
from aitable_ros.nodes import image_watch
from aitable_ros.nodes.image_watch import Change, ImageWatch

SECOND = 10 ** 9


@pytest.fixture
def graph(graph):
    graph.listen_to({
        'faces': FaceArray, 'fatigue': FatigueState, 'fatigue/events': FatigueEvent,
        '/diagnostics': DiagnosticArray})
    return graph


def _pair(graph, **parameters):
    graph.publisher = graph.camera()
    graph.face = graph.load('FaceDetectorNode', backend='onnxruntime', **parameters)
    graph.fatigue = graph.load('FatigueNode', backend='onnxruntime')
    assert graph.matched(graph.publisher)


def _see(graph, portrait, stamp=None, **shape):
    graph.stamp = stamp or graph.tick()
    return graph.answers(
        graph.publisher, image(picture(portrait, **shape), 'bgr8', graph.stamp), 'fatigue')


class Clock:
    """Steady and simulated time by hand."""

    def __init__(self, monkeypatch):
        self.steady_s = 100.0
        self.ros_ns = None
        monkeypatch.setattr(image_watch, 'monotonic', lambda: self.steady_s)

    @property
    def ros_time_is_active(self):
        return self.ros_ns is not None

    def now(self):
        return Time(nanoseconds=self.ros_ns or 0, clock_type=ClockType.ROS_TIME)


def test_the_watch_backs_off_from_one_to_thirty_seconds(monkeypatch):
    clock = Clock(monkeypatch)
    watch = ImageWatch(clock)
    watch.start()
    watch.arrived()
    retries, changes = [], []
    for _ in range(1200):
        clock.steady_s += 0.1
        changes.append(watch.look(0.8))
        if watch.retry_due():
            retries.append(clock.steady_s)
    steps = np.diff([100.9, *retries])
    np.testing.assert_allclose(steps, [1, 2, 4, 8, 16, 30, 30], atol=0.31)
    assert changes.count(Change.STALE) == 1
    watch.arrived()
    assert watch.look(0.8) is Change.BACK
    assert not watch.retry_due()


@pytest.mark.parametrize(('ros_steps_s', 'stale'), [
    ([0.0] * 50, False),  # the simulation is paused
    ([0.01] * 50, False),  # played at a tenth of its speed
    ([1.0] * 50, True),
    ([1.0] * 3 + [-100.0] + [0.001] * 40, False),  # the simulation began anew
])
def test_simulated_time_that_stands_still_makes_nothing_stale(monkeypatch, ros_steps_s, stale):
    clock = Clock(monkeypatch)
    clock.ros_ns = 500 * SECOND
    watch = ImageWatch(clock)
    watch.start()
    watch.arrived()
    for step in ros_steps_s:
        clock.steady_s += 1.0
        clock.ros_ns += round(step * 1e9)
        watch.look(0.8)
    assert watch.stale is stale


def test_a_real_clock_of_ros_will_do():
    watch = ImageWatch(ROSClock())
    watch.start()
    assert watch.waited_s() < 5.0


def test_a_camera_that_stops_is_subscribed_to_anew_and_comes_back(
        graph, portrait, capfd, monkeypatch):
    monkeypatch.setattr(image_watch, 'FIRST_RETRY_S', 0.2)  # else after 1 s and 2 s more
    _pair(graph)
    before = _see(graph, portrait)
    made = set()

    def subscribed_anew():
        made.update(bytes(one.endpoint_gid) for one in (
            graph.tester.get_subscriptions_info_by_topic(CAMERA)))
        return len(made) >= 3
    graph.tester.destroy_publisher(graph.publisher)
    assert graph.spin(subscribed_anew), 'twice'
    status = graph.next_status('face_detector')
    assert status.level == DiagnosticStatus.STALE
    assert CAMERA in status.message
    graph.publisher = graph.camera()
    assert graph.matched(graph.publisher)
    assert _see(graph, portrait, before.header.stamp.sec * SECOND + 20 * SECOND) is not None
    assert graph.spin(lambda: not graph.face.images.watch.stale)
    assert len(graph.lines(capfd, 'there again')) == 1
    assert len(graph.lines(capfd, f'no image on {CAMERA}')) == 1
    assert graph.publisher.get_subscription_count() == 1


def test_a_camera_whose_quality_does_not_fit_is_told_once_with_the_remedy(
        graph, portrait, capfd):
    override = {f'qos_overrides.{CAMERA}.subscription.reliability': 'reliable'}
    graph.publisher = graph.camera()  # best effort
    node = graph.load('FaceDetectorNode', backend='onnxruntime', **override)
    assert graph.spin(lambda: node.conflicts.now)
    line, = graph.lines(capfd, 'nothing passes')
    for words in (CAMERA, '/tester', "offers reliability 'best_effort'", "wants 'reliable'",
                  f"'qos_overrides.{CAMERA}.subscription.reliability' set to 'best_effort'"):
        assert words in line
    assert graph.next_status('face_detector').level == DiagnosticStatus.WARN
    graph.tester.create_publisher(
        Image, CAMERA, QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE))
    other = graph.camera()
    assert len(graph.lines(capfd, 'nothing passes', 2)) == 2
    graph.rest(1.1)
    assert len(graph.lines(capfd, 'nothing passes', 2)) == 2, 'the other one, by itself'
    for publisher in (graph.publisher, other):
        graph.tester.destroy_publisher(publisher)
    assert graph.spin(lambda: not node.conflicts.now)


def test_a_subscriber_that_does_not_fit_is_told_too(graph, capfd):
    node = graph.load('FaceDetectorNode', backend='onnxruntime')
    graph.tester.create_subscription(
        FaceArray, 'faces', lambda _: None,
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    assert graph.spin(lambda: node.conflicts.now)
    line, = graph.lines(capfd, 'nothing passes')
    assert "wants durability 'transient_local', this node offers 'volatile'" in line
    assert "'qos_overrides./faces.publisher.durability' set to 'transient_local'" in line


def test_the_parameter_that_is_named_helps(graph):
    graph.load('FaceDetectorNode', backend='onnxruntime', **{
        'qos_overrides./faces.publisher.durability': 'transient_local'})
    publisher, = graph.tester.get_publishers_info_by_topic('/faces')
    assert publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_resolution_and_encoding_change_mid_stream(graph, portrait):
    _pair(graph)
    answers = []
    for width, height, encoding in (
            (320, 240, 'bgr8'), (640, 480, 'rgb8'), (320, 240, 'mono8'), (640, 360, 'nv12')):
        for _ in range(3):  # the first may be lost: the face is not where it was
            message = image(picture(portrait, width, height), encoding, graph.tick())
            answer = graph.answers(graph.publisher, message, 'fatigue')
        answers.append(answer)
    assert len({answer.track_id for answer in answers}) == 1, 'nobody was lost'
    assert all(answer.validity != FatigueState.VALIDITY_NO_FACE for answer in answers)


@pytest.mark.parametrize('hours', [1, -1])
def test_a_clock_that_is_set_costs_one_image_and_no_closure(graph, portrait, capfd, hours):
    _pair(graph)
    for _ in range(10):
        _see(graph, portrait)
    graph.stamp += hours * 3600 * SECOND
    for _ in range(10):
        answer = _see(graph, portrait)
        assert answer.header.stamp.sec == graph.stamp // SECOND
    assert answer.validity in (
        FatigueState.VALIDITY_WARMING_UP, FatigueState.VALIDITY_LOW_FRAME_RATE)
    assert not answer.eyes_closed
    graph.rest(0.3)
    assert {event.type for event in graph.heard['fatigue/events']} <= {
        FatigueEvent.EVENT_LEVEL_CHANGED}
    assert graph.face.images.statistics.snapshot(0.0).malformed == {'jump': 1}
    assert graph.lines(capfd, '3600.')


@pytest.mark.parametrize('hours', [1, -1])
def test_a_single_wrong_stamp_costs_its_image_and_nobody(graph, portrait, hours):
    _pair(graph)
    before = [_see(graph, portrait) for _ in range(8)][-1]
    wrong = image(picture(portrait), 'bgr8', graph.stamp + hours * 3600 * SECOND)
    count = graph.face.images.statistics
    while not count.snapshot(0.0).malformed:  # best effort: it may get lost
        graph.publisher.publish(wrong)
        graph.spin(lambda: count.snapshot(0.0).malformed, 1.0)
    after = _see(graph, portrait)
    assert after.track_id == before.track_id
    assert after.perclos_coverage >= before.perclos_coverage > 0


@pytest.mark.parametrize(('stood_s', 'kept'), [(5.0, True), (9.0, True), (10.5, False)])
def test_a_camera_that_stood_still_for_less_than_ten_seconds_keeps_its_people(
        graph, portrait, stood_s, kept):
    """Nobody was seen to leave; 60 and 180 s of PERCLOS must not go with one hiccup of USB."""
    _pair(graph)
    before = [_see(graph, portrait) for _ in range(10)][-1]
    after = _see(graph, portrait, graph.stamp + round(stood_s * SECOND))
    after = _see(graph, portrait)
    assert (after.track_id == before.track_id) is kept
    assert (after.perclos_coverage >= before.perclos_coverage) is kept
    assert not after.eyes_closed
    assert after.closure_duration.sec == 0, 'the pause was no closure'


@pytest.mark.parametrize(('name', 'value', 'kept'), [
    ('perclos_mild', 0.07, True), ('stale_after_s', 2.0, True), ('closed_enter', 0.15, False)])
def test_a_threshold_that_judges_leaves_the_windows(graph, portrait, name, value, kept):
    _pair(graph)
    before = [_see(graph, portrait) for _ in range(15)][-1]
    request = SetParameters.Request(
        parameters=[Parameter(name, value=value).to_parameter_msg()])
    answer = graph.call(SetParameters, '/fatigue/set_parameters', request)
    assert answer.results[0].successful, answer.results[0].reason
    after = _see(graph, portrait)
    assert after.track_id == before.track_id
    assert (after.perclos_coverage >= before.perclos_coverage) is kept


def test_the_topic_that_is_missing_is_the_one_that_is_read(graph):
    face = graph.load('FaceDetectorNode', backend='onnxruntime', image_transport='compressed')
    assert face.source.expects == f'image on {CAMERA}/compressed'


def test_repeated_stamps_change_nothing(graph, portrait):
    _pair(graph)
    before = [_see(graph, portrait) for _ in range(5)][-1]
    count = graph.face.images.statistics
    while count.snapshot(0.0).late < 5:  # best effort: one may get lost
        graph.publisher.publish(image(picture(portrait), 'bgr8', graph.stamp))
        graph.spin(lambda: count.snapshot(0.0).late >= 5, 0.1)
    after = _see(graph, portrait)
    assert after.track_id == before.track_id
    assert not after.eyes_closed


def test_a_burst_is_dropped_not_queued(graph, portrait, monkeypatch):
    """While the stage is at an image only the newest of the others waits."""
    _pair(graph)
    before = _see(graph, portrait)
    update, free = FaceFinder.update, threading.Event()

    def held(self, *arguments, **options):
        assert free.wait(PATIENT_S)
        return update(self, *arguments, **options)
    monkeypatch.setattr(FaceFinder, 'update', held)
    burst = set()
    while graph.face.work.dropped < 20 and len(burst) < 200:  # best effort: some may be lost
        burst.add(graph.tick(1 / 300))
        graph.publisher.publish(image(picture(portrait), 'bgr8', graph.stamp))
        time.sleep(0.002)
    assert graph.face.work.dropped >= 20
    free.set()
    after = _see(graph, portrait)
    assert after.track_id == before.track_id
    answered = {stamp_ns(one.header.stamp) for one in graph.heard['fatigue']} & burst
    assert len(answered) <= 2, 'the image in hand and the newest'


def test_two_nodes_of_one_name_are_told_with_the_remedy(graph, capfd):
    graph.load('FaceDetectorNode', backend='onnxruntime')
    other = Graph('other')
    try:
        other.load('FaceDetectorNode', backend='onnxruntime')
        twins = [*graph.nodes.components, *other.nodes.components]
        assert graph.spin(lambda: all('name' in one.node.conflicts.now for one in twins))
        assert '__node:=' in twins[0].node.conflicts.now['name']
    finally:
        other.close()
    assert len(graph.lines(capfd, '2 nodes are called /face_detector', 2)) == 2, 'each once'
    assert graph.spin(lambda: not graph.nodes.components[0].node.conflicts.now)


def test_a_node_that_came_and_went_leaves_no_name(graph):
    node = graph.load('FaceDetectorNode', backend='onnxruntime')
    assert graph.spin(lambda: 'face_detector' in graph.tester.get_node_names())
    graph.nodes.unload(graph.nodes.components[0].unique_id)
    assert graph.spin(lambda: 'face_detector' not in graph.tester.get_node_names())
    assert node.state == 'destroyed'
