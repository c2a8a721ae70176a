# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node of posture at work: its topics and services, who is slumped, and nothing where off."""

from __future__ import annotations

import subprocess
import sys

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import Graph, image, values
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from aitable_msgs.msg import FatigueEvent, FatigueState, Posture, PostureEvent
from aitable_msgs.srv import ReloadModel
from aitable_ros.clock import header_stamp_ns
from aitable_ros.drawing import STATE_COLOUR
from aitable_ros.inference.shared_models import SHARED
from aitable_ros.message_codec import body_of
from aitable_ros.nodes.composition import component_class
from aitable_ros.nodes.executables import posture_wanted
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.slumped import SILENT_NS, Slumped
from aitable_ros.posture_types import Body, FIRST_BODY_ID, Joint, PostureAssessment
from aitable_ros.posture_types import PostureEvent as Event
from aitable_ros.posture_types import PostureEventType, PostureState, PostureValidity, Skeleton
from aitable_ros.types import Frame, ModelInfo

SECOND = 10 ** 9
TOPICS = {
    'fatigue': FatigueState, 'fatigue/events': FatigueEvent, 'posture': Posture,
    'posture/events': PostureEvent, '/diagnostics': DiagnosticArray}


@pytest.fixture
def graph(pose_models):
    with Graph() as graph:
        graph.listen_to(TOPICS)
        graph.publisher = graph.camera()
        yield graph


def _load(graph, *more, **parameters):
    graph.load('FaceDetectorNode', backend='onnxruntime')
    graph.posture = graph.load('PostureNode', **{
        'model': 'blazepose', 'fallbacks': ['off'], 'backend': 'onnxruntime', **parameters})
    for plugin in more:
        graph.load(plugin, backend='onnxruntime')
    assert graph.matched(graph.publisher)


def _see(graph, rgb, topic='posture', step_s=0.25):
    return graph.answers(graph.publisher, image(rgb, 'bgr8', graph.tick(step_s)), topic)


def test_one_image_gives_a_posture_with_its_header_and_the_number_of_the_face(graph, portrait):
    _load(graph, 'FatigueNode')
    answer = _see(graph, portrait)
    assert answer.header.frame_id == 'camera'
    assert (answer.model, answer.backend, answer.precision) == ('blazepose', 'onnxruntime', 'fp32')
    assert graph.spin(lambda: graph.heard['fatigue'])
    assert answer.track_id == graph.heard['fatigue'][-1].track_id
    assert answer.primary
    assert answer.has_face
    body = body_of(answer)
    assert body.skeleton.sees(Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER, Joint.NOSE)
    nose = body.skeleton.points[Joint.NOSE]
    assert 180 < nose[0] < 260  # the portrait is hers
    assert 80 < nose[1] < 180
    assert answer.roi.width > 100
    told = values(graph.next_status('posture'))
    assert told['tracks'] == '1'
    assert told['model'] == 'blazepose'


def test_images_between_two_readings_are_not_answered(graph, portrait):
    _load(graph)
    first = header_stamp_ns(_see(graph, portrait))
    for _ in range(14):
        graph.publisher.publish(image(portrait, 'bgr8', graph.tick(0.05)))
        graph.rest(0.1)
    assert graph.spin(lambda: header_stamp_ns(graph.heard['posture'][-1]) > first + 0.5 * SECOND)
    steps = np.diff(sorted({header_stamp_ns(one) for one in graph.heard['posture']}))
    assert (steps >= 0.19 * SECOND).all()


def test_nobody_in_the_image_is_said_at_once(graph):
    _load(graph)
    answer = _see(graph, np.full((240, 320, 3), 90, np.uint8))
    assert (answer.track_id, answer.validity, answer.state) == (
        0, Posture.VALIDITY_NO_BODY, Posture.STATE_UNKNOWN)
    assert len(answer.joints) == 0


def test_a_dead_camera_takes_the_bodies_away(graph, portrait):
    _load(graph)
    seen = _see(graph, portrait)
    graph.heard['posture'].clear()
    assert graph.spin(lambda: len(graph.heard['posture']) >= 2)
    for away in graph.heard['posture']:
        assert away.validity == Posture.VALIDITY_NO_BODY
        assert away.header == seen.header


def test_every_transition_and_its_way_back(graph, portrait):
    _load(graph)
    track = _see(graph, portrait).track_id
    for transition, state in (
        (Transition.TRANSITION_DEACTIVATE, 'inactive'),
        (Transition.TRANSITION_CLEANUP, 'unconfigured'),
        (Transition.TRANSITION_CONFIGURE, 'inactive'),
        (Transition.TRANSITION_ACTIVATE, 'active'),
    ):
        assert graph.call(ChangeState, '/posture/change_state', ChangeState.Request(
            transition=Transition(id=transition))).success
        assert graph.posture.state == state
        if state == 'unconfigured':
            assert not [key for key in SHARED.keys if 'blazepose' in key.entry]
    graph.heard['posture'].clear()
    assert _see(graph, portrait).track_id == track


def test_a_model_is_exchanged_and_the_person_stays(graph, portrait):
    _load(graph)
    before = _see(graph, portrait)
    answer = graph.call(
        ReloadModel, '/posture/reload_model', ReloadModel.Request(model_path='blazepose'))
    assert answer.success, answer.message
    assert 'people are kept' in answer.message
    assert _see(graph, portrait).track_id == before.track_id
    refused = graph.call(
        ReloadModel, '/posture/reload_model', ReloadModel.Request(model_path='facemesh'))
    assert not refused.success
    assert 'the old model runs on' in refused.message
    assert _see(graph, portrait).model == 'blazepose'


def test_the_services_say_how_it_went(graph):
    _load(graph)
    nobody = graph.call(Trigger, '/posture/calibrate', Trigger.Request())
    assert not nobody.success
    assert 'nobody' in nobody.message
    reset = graph.call(Trigger, '/posture/reset', Trigger.Request())
    assert (reset.success, reset.message) == (True, 'everybody is forgotten')


def test_without_a_model_the_stage_is_off_and_says_so(graph, portrait):
    _load(graph, 'FatigueNode', model='', fallbacks=['off'])
    assert _see(graph, portrait, 'fatigue') is not None
    status = graph.next_status('posture')
    assert status.message == 'off: no model'
    assert not graph.heard['posture']


def test_it_is_loaded_and_unloaded_as_a_component(graph, portrait):
    assert component_class('aitable_ros::PostureNode').NAME == 'posture'
    _load(graph)
    assert _see(graph, portrait) is not None
    loaded = next(one for one in graph.nodes.components if one.node is graph.posture)
    graph.nodes.unload(loaded.unique_id)
    assert not [key for key in SHARED.keys if 'blazepose' in key.entry]
    assert graph.spin(lambda: not graph.tester.count_publishers('/posture'))


def test_off_is_nothing(models):
    """A process of its own: this one has imported all of it."""
    code = """
import sys
from aitable_ros.nodes.composition import Composition
from aitable_ros.nodes.executables import PIPELINE
import rclpy
rclpy.init()
with Composition() as nodes:
    nodes.load_all((*PIPELINE, 'OverlayNode'))
    print([name for name in sys.modules if name.startswith('aitable_ros.posture.')])
    topics = [topic for one in nodes.components
              for topic, _ in one.node.get_topic_names_and_types() if 'posture' in topic]
    print(topics)
rclpy.try_shutdown()
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=PATIENT_S)
    assert done.stdout.split() == ['[]', '[]'], done.stderr


@pytest.mark.parametrize(('text', 'wanted'), [
    ('/**/posture:\n  ros__parameters:\n    enabled: true\n', True),
    ('/**/posture:\n  ros__parameters:\n    enabled: false\n', False),
    ('/**/fatigue:\n  ros__parameters:\n    threads: 1\n', False)])
def test_a_parameter_file_says_whether_the_node_runs(tmp_path, text, wanted):
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    assert posture_wanted(['--ros-args', '--params-file', str(path)]) is wanted


def test_a_detector_outside_the_model_folder_is_refused_over_the_graph():
    from aitable_ros.nodes.model_paths import refusal

    assert "'detector'" in refusal({'detector': '/tmp/evil.engine'})


# --- who is slumped -----------------------------------------------------------------------------


def posture(track_id, stamp_ns, state):
    return PostureAssessment(track_id, stamp_ns, PostureValidity.VALID, state)


def slump(track_id, start_ns):
    return Event(
        track_id, PostureEventType.SLUMPED, start_ns, 3.0, PostureState.HEAD_DOWN,
        PostureState.UPRIGHT)


def test_who_slumps_stays_so_until_another_state_or_silence():
    people = Slumped()
    people.posture(posture(1, 5 * SECOND, PostureState.HEAD_DOWN))
    assert people.at(5 * SECOND) == {}, 'a head that is down is not yet slumped'
    people.event(8 * SECOND, slump(1, 5 * SECOND))
    people.event(8 * SECOND, Event(2, PostureEventType.STILL, 0, 8.0))
    assert people.at(8 * SECOND) == {1: 5 * SECOND}
    people.posture(posture(1, 9 * SECOND, PostureState.HEAD_DOWN))
    assert people.at(9 * SECOND + SILENT_NS) == {1: 5 * SECOND}
    assert people.at(9 * SECOND + SILENT_NS + 1) == {}
    people.posture(posture(1, 10 * SECOND, PostureState.UPRIGHT))
    assert people.at(10 * SECOND) == {}


def test_a_posture_that_overtook_the_event_does_not_end_it():
    people = Slumped()
    people.event(8 * SECOND, slump(1, 5 * SECOND))
    people.posture(posture(1, 7 * SECOND, PostureState.UPRIGHT))  # late
    assert people.at(8 * SECOND) == {1: 5 * SECOND}


def test_fatigue_hears_across_processes_who_is_slumped(graph, portrait):
    graph.load('FaceDetectorNode', backend='onnxruntime')
    fatigue = graph.load('FatigueNode', backend='onnxruntime')
    assert graph.matched(graph.publisher)
    before = _see(graph, portrait, 'fatigue', 1 / 30)
    assert not before.reasons & FatigueState.REASON_SLUMPED
    assert fatigue.count_subscribers('/posture') == 1, 'the tester alone: there is no posture'
    states = graph.tester.create_publisher(Posture, 'posture', 10)
    events = graph.tester.create_publisher(PostureEvent, 'posture/events', 10)
    assert graph.matched(states, 2)
    assert graph.matched(events, 2)
    frame = image(portrait, 'bgr8', graph.tick(1 / 30))
    start = graph.stamp - 4 * SECOND
    events.publish(CODEC.posture_event_message(frame.header, slump(before.track_id, start)))

    def reasons(wanted):
        for _ in range(round(PATIENT_S / 0.2)):
            heard = _see(graph, portrait, 'fatigue', 1 / 30)
            if bool(heard.reasons & FatigueState.REASON_SLUMPED) is wanted:
                return heard
        return None
    slumped = reasons(True)
    assert slumped is not None
    assert slumped.level == before.level, 'it raises no level'
    assert graph.spin(lambda: graph.heard['fatigue/events'])
    event, = [one for one in graph.heard['fatigue/events']
              if one.type == FatigueEvent.EVENT_SLUMPED]
    assert event.track_id == before.track_id
    up = Posture(
        header=image(portrait, 'bgr8', graph.stamp).header, track_id=before.track_id,
        state=Posture.STATE_UPRIGHT, validity=Posture.VALIDITY_VALID)
    states.publish(up)
    assert reasons(False) is not None


def test_fatigue_hears_in_one_process_who_is_slumped(graph, portrait):
    _load(graph, 'FatigueNode')
    before = _see(graph, portrait, 'fatigue')
    fatigue = next(one.node for one in graph.nodes.components if one.plugin == 'FatigueNode')
    assert fatigue.count_subscribers('/posture/events') == 1, 'the tester alone'
    from aitable_ros.nodes.channel import channel, SharedPosture
    from aitable_ros.posture_types import PostureUpdate

    told = PostureUpdate(read=True, slumped={before.track_id: graph.stamp - 4 * SECOND})

    def tell():
        channel(graph.context, SharedPosture, '/posture').publish(
            SharedPosture(
                Frame(portrait, graph.stamp, 'camera'), told, graph.posture.keeper.model))
        return _see(graph, portrait, 'fatigue', 1 / 30).reasons & FatigueState.REASON_SLUMPED
    assert graph.spin(tell)


# --- the overlay --------------------------------------------------------------------------------


def test_the_overlay_draws_the_skeleton_of_another_process(graph):
    graph.load('FaceDetectorNode', backend='onnxruntime')
    graph.load('OverlayNode')
    graph.listen(Image, 'overlay')
    states = graph.tester.create_publisher(Posture, 'posture', 10)
    assert graph.matched(graph.publisher)
    assert graph.matched(states, 2)
    points = np.zeros((33, 3), np.float32)
    points[[Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER], :2] = [[60, 120], [260, 120]]
    visibility = np.zeros(33, np.float32)
    visibility[[Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]] = 1.0
    body = Body(FIRST_BODY_ID, Skeleton(points, visibility, points, 1.0))
    blank = np.full((240, 320, 3), 90, np.uint8)

    def drawn():
        graph.tick(1 / 30)
        states.publish(CODEC.posture_message(
            Frame(blank, graph.stamp, 'camera'),
            posture(FIRST_BODY_ID, graph.stamp, PostureState.HEAD_DOWN),
            ModelInfo('blazepose', 'openvino', 'fp32'), body))
        graph.publisher.publish(image(blank, 'bgr8', graph.stamp))
        graph.rest(0.05)
        pixels = [np.frombuffer(one.data, np.uint8).reshape(240, 320, 3)[120, 160]
                  for one in graph.heard['overlay']]
        return any(np.allclose(pixel, STATE_COLOUR[PostureState.HEAD_DOWN], atol=20)
                   for pixel in pixels)
    assert graph.spin(drawn)
