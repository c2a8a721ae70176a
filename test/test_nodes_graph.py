# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The nodes at work on real topics, in one process: lifecycle, watchdog, services, sharing."""

from pathlib import Path
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import CAMERA, image, picture, PIPELINE, values
from sensor_msgs.msg import Image, RegionOfInterest
from std_srvs.srv import Trigger

from aitable_msgs.msg import Emotion, Face, FaceArray, FatigueState
from aitable_msgs.srv import ReloadModel
from aitable_ros.config import CameraOptions
from aitable_ros.errors import InputError
from aitable_ros.face.finder import FaceFinder
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.nodes.absence import WATCH_PERIOD_S
from aitable_ros.nodes.composition import compose, Composition


@pytest.fixture
def pipeline(graph):
    return _pipeline(graph)


def _pipeline(graph):
    graph.face, graph.fatigue, graph.emotion = (
        graph.load(name, backend='onnxruntime') for name in PIPELINE)  # loads in 0.1 s
    graph.listen_to({'faces': FaceArray, 'fatigue': FatigueState, 'emotion': Emotion})
    graph.publisher = graph.camera()
    assert graph.matched(graph.publisher)
    return graph


def _see(graph, portrait, topic='fatigue', timeout_s=PATIENT_S):
    message = image(picture(portrait), 'bgr8', graph.tick())
    return graph.answers(graph.publisher, message, topic, timeout_s), message


def test_one_image_gives_faces_fatigue_and_emotion_with_its_header(
        pipeline, portrait, expression_model):
    answer, message = _see(pipeline, portrait)
    assert answer is not None
    assert pipeline.spin(lambda: pipeline.heard['emotion'])
    assert pipeline.spin(lambda: pipeline.heard['faces'])
    face = pipeline.heard['faces'][-1].faces[0]
    emotion = pipeline.heard['emotion'][-1]
    assert answer.header == emotion.header == message.header
    assert answer.track_id == emotion.track_id == face.track_id
    assert answer.primary
    assert answer.validity == FatigueState.VALIDITY_WARMING_UP
    assert 0.2 < answer.ear_left < 0.5
    assert emotion.expression == Emotion.EXPRESSION_HAPPY
    for one, model in ((answer, 'facemesh'), (emotion, expression_model)):
        assert one.model == model
        assert one.backend in ('openvino', 'onnxruntime')
        assert one.precision == 'fp32'


def test_one_process_subscribes_to_the_camera_once(pipeline):
    assert pipeline.publisher.get_subscription_count() == 1
    assert pipeline.fatigue.source.by_reference
    assert pipeline.emotion.source.by_reference


def test_the_mesh_tells_the_tracker_where_the_face_is(graph, portrait, monkeypatch):
    told, follow = [], FaceFinder.follow

    def listening(self, track_id, mesh):
        told.append((track_id, mesh))
        follow(self, track_id, mesh)
    monkeypatch.setattr(FaceFinder, 'follow', listening)
    pipeline = _pipeline(graph)
    answer, _ = _see(pipeline, portrait)
    assert pipeline.spin(lambda: told)
    assert told[-1][0] == answer.track_id
    assert told[-1][1].points.shape[1] == 3


def test_nobody_in_the_image_is_said_at_once(pipeline):
    message = image(np.full((240, 320, 3), 90, np.uint8), 'rgb8', pipeline.tick())
    answer = pipeline.answers(pipeline.publisher, message, 'fatigue')
    assert (answer.validity, answer.level, answer.track_id) == (
        FatigueState.VALIDITY_NO_FACE, FatigueState.LEVEL_UNKNOWN, 0)
    assert answer.header == message.header
    assert pipeline.spin(lambda: pipeline.heard['faces'])  # by reference it goes ahead of them
    assert pipeline.heard['faces'][-1].faces == []


def test_a_dead_camera_is_told_once_a_second_and_recovers(pipeline, portrait, capfd):
    begin = time.monotonic()
    answer, message = _see(pipeline, portrait)
    assert answer.validity != FatigueState.VALIDITY_NO_FACE
    pipeline.heard['fatigue'].clear()
    assert CameraOptions().stale_after_s + WATCH_PERIOD_S < 1.0, 'told within a second'
    assert pipeline.spin(lambda: len(pipeline.heard['fatigue']) >= 3)
    assert time.monotonic() - begin > 2.5, 'no oftener, on the busiest machine'
    for last in pipeline.heard['fatigue']:
        assert last.validity == FatigueState.VALIDITY_NO_FACE
        assert last.header == message.header
        assert last.track_id == answer.track_id
    line, = pipeline.lines(capfd, 'no image on')
    assert CAMERA in line
    answer, message = _see(pipeline, portrait)
    assert answer.validity != FatigueState.VALIDITY_NO_FACE
    assert answer.header == message.header


def _change(graph, node, transition):
    return graph.call(ChangeState, f'/{node}/change_state', ChangeState.Request(
        transition=Transition(id=transition))).success


def _state(graph, node):
    return graph.call(GetState, f'/{node}/get_state', GetState.Request()).current_state.label


def _usage():
    return threading.active_count(), len(list(Path('/proc/self/fd').iterdir()))


def test_every_transition_and_its_way_back(pipeline, portrait):
    """That rounds of them leave nothing behind, test_soak.py shows."""
    cycle = (
        (Transition.TRANSITION_DEACTIVATE, 'inactive'),
        (Transition.TRANSITION_CLEANUP, 'unconfigured'),
        (Transition.TRANSITION_CONFIGURE, 'inactive'),
        (Transition.TRANSITION_ACTIVATE, 'active'))
    for node in ('face_detector', 'emotion'):
        for transition, state in cycle:
            assert _change(pipeline, node, transition)
            assert _state(pipeline, node) == state
    assert pipeline.matched(pipeline.publisher)
    answer, _ = _see(pipeline, portrait, 'emotion')
    assert answer is not None


def test_deactivation_forgets_the_people(pipeline, portrait):
    first, _ = _see(pipeline, portrait)
    for node in ('face_detector', 'fatigue'):
        assert _change(pipeline, node, Transition.TRANSITION_DEACTIVATE)
        assert _change(pipeline, node, Transition.TRANSITION_ACTIVATE)
    assert pipeline.matched(pipeline.publisher)
    second, _ = _see(pipeline, portrait)
    assert second.track_id != first.track_id
    assert second.validity == FatigueState.VALIDITY_WARMING_UP


def test_a_transition_that_does_not_exist_is_refused(pipeline):
    assert not _change(pipeline, 'fatigue', Transition.TRANSITION_CONFIGURE)
    assert _state(pipeline, 'fatigue') == 'active'


def test_an_inactive_node_is_silent_and_the_others_go_on(pipeline, portrait):
    assert _change(pipeline, 'fatigue', Transition.TRANSITION_DEACTIVATE)
    answer, _ = _see(pipeline, portrait, 'emotion')
    assert answer is not None
    pipeline.rest(1.2)
    assert pipeline.heard['fatigue'] == []


def test_without_autostart_a_node_waits(graph):
    graph.load('FatigueNode', autostart=False)
    assert _state(graph, 'fatigue') == 'unconfigured'
    assert _change(graph, 'fatigue', Transition.TRANSITION_CONFIGURE)
    assert _change(graph, 'fatigue', Transition.TRANSITION_ACTIVATE)
    assert _state(graph, 'fatigue') == 'active'


@pytest.mark.parametrize('required', [True, False])
def test_a_missing_model_stops_only_a_node_that_requires_it(graph, portrait, capfd, required):
    chosen = {'engine_path': '/nowhere/gone.onnx', 'fallbacks': ['off'], 'required': required}
    if required:
        chosen['fallbacks'] = ['/nowhere/too.onnx']
        with pytest.raises(InputError, match=r'gone\.onnx'):
            graph.load('EmotionNode', **chosen)
        assert graph.nodes.components == ()
        line, = graph.lines(capfd, 'gone.onnx')
        assert 'ERROR' in line
        return
    graph.load('EmotionNode', **chosen)
    graph.load('FaceDetectorNode')
    graph.listen(DiagnosticArray, '/diagnostics')
    graph.listen(FaceArray, 'faces')
    graph.publisher = graph.camera()
    assert graph.matched(graph.publisher)
    assert _see(graph, portrait, 'faces')[0] is not None
    assert graph.spin(lambda: any(graph.statuses('emotion')))
    status = graph.statuses('emotion')[-1]
    assert status.level == DiagnosticStatus.WARN
    assert 'off' in status.message
    assert 'gone.onnx' in values(status)['attempt_1']
    assert ' :' not in values(status)['attempt_1'], 'no backend tried it'


def test_an_unconfigured_node_answers_its_services(graph):
    graph.load('FatigueNode', autostart=False)
    for kind, name, request in (
            (Trigger, 'reset', Trigger.Request()), (Trigger, 'calibrate', Trigger.Request()),
            (ReloadModel, 'reload_model', ReloadModel.Request(model_path='facemesh'))):
        answer = graph.call(kind, f'/fatigue/{name}', request)
        assert not answer.success
        assert 'not configured' in answer.message


def test_reset_forgets_and_calibrate_needs_somebody(pipeline, portrait):
    answer = pipeline.call(Trigger, '/fatigue/calibrate', Trigger.Request())
    assert not answer.success
    assert 'nobody' in answer.message
    first, _ = _see(pipeline, portrait)
    assert pipeline.call(Trigger, '/face_detector/reset', Trigger.Request()).success
    second, _ = _see(pipeline, portrait)
    assert second.track_id != first.track_id


@pytest.mark.parametrize(('path', 'success', 'model'), [
    ('no_such_model', False, 'facemesh'), ('/nowhere/gone.onnx', False, 'facemesh'),
    ('fer', False, 'facemesh'), ('facemesh_468', True, 'facemesh_468')])
def test_a_model_is_swapped_or_the_old_one_stays(pipeline, portrait, path, success, model):
    answer = pipeline.call(
        ReloadModel, '/fatigue/reload_model', ReloadModel.Request(model_path=path))
    assert answer.success is success, answer.message
    assert answer.backend in ('openvino', 'onnxruntime')
    assert '\n' not in answer.message
    assert _see(pipeline, portrait)[0].model == model


def test_a_laughing_face_is_not_taken_for_one_at_rest(pipeline, portrait):
    pipeline.listen(Emotion, 'emotion')
    assert _see(pipeline, portrait)[0] is not None
    assert pipeline.spin(lambda: pipeline.heard['emotion'])
    answer = pipeline.call(Trigger, '/emotion/calibrate', Trigger.Request())
    assert not answer.success
    assert 'the face is read as happy' in answer.message
    assert 'not at rest; try again' in answer.message


def test_a_stage_that_throws_is_logged_once_and_the_node_lives(
        pipeline, portrait, capfd, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(FatigueMonitor, 'update', lambda *_: 1 / 0)
        for _ in range(4):
            assert _see(pipeline, portrait, 'faces')[0] is not None
        assert pipeline.spin(lambda: pipeline.fatigue.images.statistics.snapshot(0.0).failed >= 2)
    assert _see(pipeline, portrait)[0] is not None
    assert len(pipeline.lines(capfd, 'ZeroDivisionError')) == 1


def test_diagnostics_tell_rate_latency_backend_and_people(pipeline, portrait):
    pipeline.listen(DiagnosticArray, '/diagnostics')
    message = image(picture(portrait), 'bgr8')
    models = {'face_detector': 'blazeface', 'fatigue': 'mesh', 'emotion': 'fer'}

    def told(node):
        """Whether a report counts answers: the first may be of before."""
        newest = pipeline.statuses(node)[-1:]
        return bool(newest) and float(values(newest[0])['fps']) > 1
    end = time.monotonic() + PATIENT_S
    while not all(map(told, models)) and time.monotonic() < end:
        message.header.stamp = pipeline.tester.get_clock().now().to_msg()
        pipeline.publisher.publish(message)
        pipeline.rest(0.03)
    for node, model in models.items():
        status = pipeline.statuses(node)[-1]
        said = values(status)
        assert status.level == DiagnosticStatus.OK, status.message
        assert float(said['fps']) > 1
        assert 0 < float(said['latency_p50_ms']) <= float(said['latency_p95_ms'])
        assert float(said['stamp_latency_p50_ms']) > 0
        assert model in said['model']
        assert said['precision'] == 'fp32'
        assert said['attempt_1'].endswith('runs')
        assert said['tracks'] == '1'
        assert int(said['dropped']) >= 0
    assert 0 <= float(values(pipeline.statuses('fatigue')[-1])['usable_share']) <= 1


def test_the_overlay_draws_only_for_someone(pipeline, portrait):
    overlay = pipeline.load('OverlayNode')
    for _ in range(3):
        _see(pipeline, portrait)
    assert overlay.images.statistics.snapshot(0.0).answered == 0
    pipeline.listen(Image, 'overlay')
    for _ in range(60):  # it looks now and then who listens
        drawn, message = _see(pipeline, portrait, 'overlay', 1.0)
        if drawn is not None:
            break
    assert drawn is not None
    assert drawn.header == message.header
    assert (drawn.encoding, drawn.width, drawn.height, drawn.step) == ('rgb8', 320, 240, 960)
    picture_drawn = np.frombuffer(drawn.data, np.uint8).reshape(240, 320, 3)
    changed = np.abs(picture_drawn.astype(int) - picture(portrait)).max(axis=2) > 20
    assert 0.03 < changed.mean() < 0.6


def test_nodes_without_a_detector_share_one_subscription_and_hand_it_over(graph, portrait):
    """Faces come as messages here; images and faces meet by their stamps."""
    fatigue, emotion = graph.load('FatigueNode'), graph.load('EmotionNode')
    graph.listen(FatigueState, 'fatigue')
    graph.listen(Emotion, 'emotion')
    publisher = graph.camera()
    faces = graph.tester.create_publisher(FaceArray, 'faces', 10)
    assert graph.matched(publisher)
    assert graph.matched(faces, 2)
    assert publisher.get_subscription_count() == 1
    assert not fatigue.source.by_reference

    def see(*, answers):
        message = image(picture(portrait), 'rgb8', graph.tick())
        found = _face_message(message)
        before = len(graph.heard['fatigue'])
        for _ in range(10):  # best effort: an image may get lost
            publisher.publish(message)
            if graph.spin(lambda: len(emotion.source.matcher), 0.5):
                break
        faces.publish(found)
        assert graph.spin(lambda: graph.heard['emotion'][-1:] and (
            graph.heard['emotion'][-1].header == message.header), 3.0)
        graph.spin(lambda: len(graph.heard['fatigue']) > before, 1.0 if answers else 0.2)
        return [one.track_id for one in graph.heard['fatigue'][before:]]
    assert see(answers=True) == [41]
    assert _change(graph, 'fatigue', Transition.TRANSITION_DEACTIVATE)
    assert publisher.get_subscription_count() == 1, 'the emotion node carries it now'
    assert see(answers=False) == []
    graph.load('FaceDetectorNode')
    assert graph.spin(lambda: emotion.source.by_reference), 'a detector came into the process'


def _face_message(message):
    found = FaceArray(header=message.header, model='given')
    found.faces = [Face(
        track_id=41, primary=True, confidence=0.9,
        roi=RegionOfInterest(x_offset=120, y_offset=40, width=120, height=130))]
    return found


def test_components_come_and_go_while_images_flow(graph, portrait):
    graph.publisher = graph.camera()
    graph.listen(FaceArray, 'faces')
    graph.load('FaceDetectorNode')
    assert graph.matched(graph.publisher)
    usage = []
    for _ in range(12):
        node = graph.load('FatigueNode', backend='onnxruntime')
        assert _see(graph, portrait, 'faces')[0] is not None
        number = next(c.unique_id for c in graph.nodes.components if c.node is node)
        graph.nodes.unload(number)
        usage.append(_usage())
    assert usage[-1][0] <= usage[2][0]
    assert usage[-1][1] <= usage[2][1] + 2


def test_compose_loads_all_or_nothing(graph):
    with compose(['FaceDetectorNode', 'aitable_ros::FatigueNode'], graph.context) as both:
        assert [one.node.get_name() for one in both.components] == ['face_detector', 'fatigue']
    before = threading.active_count()
    with pytest.raises(InputError, match='NoSuchNode'):
        compose(['FaceDetectorNode', 'NoSuchNode'], graph.context)
    assert threading.active_count() == before
    with Composition(graph.context) as empty, pytest.raises(InputError, match='number 7'):
        empty.unload(7)
