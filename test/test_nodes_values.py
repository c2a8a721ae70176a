# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Messages both ways, the worker's slot, stamp matching, drawing: what needs no graph."""

from dataclasses import fields, replace
import math
import threading

from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from patience import PATIENT_S
import pytest

from aitable_ros.clock import stamp_ns
from aitable_ros.drawing import draw, STATE_COLOUR
from aitable_ros.message_codec import body_of, faces_of, model_of
from aitable_ros.nodes.channel import SharedFaces
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.overlay import Collector
from aitable_ros.nodes.worker import Worker, WorkerStoppedError
from aitable_ros.posture_types import (
    Body, FIRST_BODY_ID, Joint, PostureAssessment, PostureEvent, PostureEventType, PostureState,
    PostureUpdate, PostureValidity, Skeleton
)
from aitable_ros.recordings.bag_messages import BagMessages
from aitable_ros.types import (
    Detection, EmotionEstimate, Expression, FaceLandmarks, FaceResult, FatigueAssessment,
    FatigueEvent, FatigueEventType, FatigueLevel, FatigueReason, Frame, FrameResult, ModelInfo,
    TrackedFace, Validity
)

MODEL = ModelInfo('facemesh', 'openvino', 'fp32')


def frame(stamp=1_700_000_000_000_000_001):
    return Frame(np.zeros((240, 320, 3), np.uint8), stamp, 'camera')


def face(track_id=1, box=(10, 20, 110, 140), primary=True):
    keypoints = np.array([(40, 60), (80, 61)], np.float32)
    return TrackedFace(
        track_id, Detection(np.array(box, np.float32), 0.75, keypoints), primary=primary)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2 ** 31 * 10 ** 9 - 1))
def test_a_stamp_survives_to_the_nanosecond(stamp):
    assert stamp_ns(CODEC.time_message(stamp)) == stamp


@pytest.mark.parametrize(('seconds', 'expected'), [
    (0.0, (0, 0)), (1.5, (1, 500_000_000)), (0.1 + 0.2, (0, 300_000_000)),
    (math.nan, (0, 0)), (math.inf, (0, 0)), (1e12, (0, 0)), (-0.25, (-1, 750_000_000)),
])
def test_a_duration_that_is_not_known_is_zero(seconds, expected):
    duration = CODEC.duration_message(seconds)
    assert (duration.sec, duration.nanosec) == expected


@pytest.mark.parametrize(('sec', 'nanosec'), [(-1, 0), (0, 10 ** 9)])
def test_an_impossible_stamp_is_refused(sec, nanosec):
    with pytest.raises(ValueError, match='is not a time'):
        stamp_ns(Time(sec=sec, nanosec=nanosec))


@pytest.mark.parametrize(('box', 'expected'), [
    ((10, 20, 110, 140), (10, 20, 100, 120)),
    ((-30, -5, 50.4, 60.6), (0, 0, 50, 61)),
    ((300, 200, 900, 900), (300, 200, 20, 40)),
    ((400, 300, 500, 400), (320, 240, 0, 0)),
])
def test_a_box_is_clipped_to_the_image(box, expected):
    roi = CODEC.roi_message(np.array(box, np.float32), 320, 240)
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == expected


def test_faces_there_and_back():
    message = CODEC.face_array_message(frame(), [face(1), face(7, primary=False)], MODEL)
    assert message.header.frame_id == 'camera'
    assert model_of(message) == MODEL
    first, second = faces_of(message)
    assert (first.track_id, first.primary, second.track_id, second.primary) == (1, True, 7, False)
    assert first.detection.confidence == 0.75
    np.testing.assert_array_equal(first.box, face().box)
    np.testing.assert_array_equal(first.detection.keypoints, face().detection.keypoints)


def _same(one, other):
    for item in fields(one):
        a, b = getattr(one, item.name), getattr(other, item.name)
        if isinstance(a, float):
            assert b == pytest.approx(a, abs=1e-6, nan_ok=True), item.name
        elif isinstance(a, np.ndarray):
            np.testing.assert_allclose(a, b)
        else:
            assert (a, type(a)) == (b, type(b)), item.name


def test_emotion_there_and_back():
    probabilities = np.array([0, 0.5, 0, 0, 0.25, 0.25, 0, 0], np.float32)
    estimate = EmotionEstimate(
        3, Expression.HAPPY, 0.5, probabilities, 0.5, math.nan, from_cache=True, age_s=0.2)
    _same(estimate, CODEC.emotion_of(
        CODEC.emotion_message(frame(), face(3), estimate, MODEL)))


@pytest.mark.parametrize('assessment', [
    FatigueAssessment(0, 5, Validity.NO_FACE),
    FatigueAssessment(
        9, 123456789123456789, Validity.VALID, FatigueLevel.SEVERE,
        FatigueReason.PERCLOS | FatigueReason.NODDING, 0.25, 0.3, 0.9, True, 1.25, 0.2, 0.1, 0.9,
        0.5, 12, 14.5, 0.2, 0.4, True, 3, 0.1, -0.2, 0.3, True, 0.29, 0.05),
])
def test_fatigue_there_and_back(assessment):
    header = CODEC.header_of(frame(assessment.stamp_ns))
    _same(assessment, CODEC.fatigue_of(CODEC.fatigue_message(header, assessment, MODEL)))


def test_event_there_and_back():
    event = FatigueEvent(2, FatigueEventType.MICROSLEEP, 10 ** 18 + 1, 1.75, FatigueLevel.SEVERE)
    assert CODEC.event_of(CODEC.event_message(CODEC.header_of(frame()), event)) == event


def body(track_id=3, seen=0.9, **values):
    random = np.random.default_rng(track_id)
    points = random.uniform(20, 200, (33, 3)).astype(np.float32)
    visibility = np.full(33, seen, np.float32)
    visibility[Joint.LEFT_ANKLE] = 0.25
    return Body(track_id, Skeleton(points, visibility, points / 100, 0.9), **values)


POSTURE = PostureAssessment(
    3, 1_700_000_000_000_000_001, PostureValidity.VALID, PostureState.SLOUCHED, 2.5,
    (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.5, 7.0), 0.1, -0.2, 0.3, math.nan, 0.4, 0.5, True, 0.6, 0.25,
    -0.125, True)


def _codecs():
    messages = BagMessages()
    return {
        'rclpy': (CODEC, lambda message: message),
        'bag': (messages.codec, lambda message: messages.decode(
            message.__msgtype__, messages.serialize(message)))}


@pytest.mark.parametrize('where', ['rclpy', 'bag'])
def test_posture_there_and_back(where):
    codec, carried = _codecs()[where]
    sent = body(has_face=True, primary=True)
    message = carried(codec.posture_message(frame(), POSTURE, MODEL, sent))
    _same(POSTURE, codec.posture_of(message))
    assert model_of(message) == MODEL
    found = body_of(message)
    assert (found.track_id, found.has_face, found.primary) == (3, True, True)
    np.testing.assert_array_equal(found.skeleton.points, sent.skeleton.points)
    np.testing.assert_array_equal(found.skeleton.visibility, sent.skeleton.visibility)
    x1, y1, x2, y2 = np.round(sent.skeleton.box)
    assert (message.roi.x_offset, message.roi.y_offset) == (x1, y1)
    assert (message.roi.width, message.roi.height) == (x2 - x1, y2 - y1)


@pytest.mark.parametrize('where', ['rclpy', 'bag'])
@pytest.mark.parametrize('seen', [None, body(seen=0.1)], ids=['no body', 'no joint seen'])
def test_a_posture_without_joints_that_are_seen_has_no_box(where, seen):
    codec, carried = _codecs()[where]
    absent = PostureAssessment(3, 5, PostureValidity.NO_BODY)
    message = carried(codec.posture_message(frame(5), absent, MODEL, seen))
    _same(absent, codec.posture_of(message))
    assert (message.roi.width, message.roi.height, message.primary) == (0, 0, False)
    assert (body_of(message) is None) is (seen is None)


@pytest.mark.parametrize('where', ['rclpy', 'bag'])
def test_a_posture_event_there_and_back(where):
    codec, carried = _codecs()[where]
    event = PostureEvent(
        FIRST_BODY_ID, PostureEventType.SLUMPED, 10 ** 18 + 1, 1.75, PostureState.HEAD_DOWN,
        PostureState.UPRIGHT)
    message = carried(codec.posture_event_message(codec.header_of(frame()), event))
    assert codec.posture_event_of(message) == event


def test_posture_is_sent_for_images_that_were_read():
    update = PostureUpdate(
        read=True, bodies=(body(3),), assessments={3: POSTURE},
        absent=(PostureAssessment(4, 1, PostureValidity.NO_BODY),),
        events=(PostureEvent(3, PostureEventType.STILL, 1, 2.0),))
    result = FrameResult(1, (), (), (), {'posture': MODEL}, {}, posture=update)
    sent = list(CODEC.messages_of(result, frame()))
    assert [topic for topic, _ in sent] == ['posture', 'posture', 'posture/events']
    assert [one.track_id for _, one in sent] == [3, 4, 3]
    assert model_of(sent[0][1]) == MODEL
    repeated = replace(result, posture=replace(update, read=False, events=()))
    assert not list(CODEC.messages_of(repeated, frame()))


class Recorder:
    """A stage that notes which thread does what."""

    def __init__(self):
        self.items = []
        self.threads = {threading.get_ident()}
        self.closed = 0

    def close(self):
        self.threads.add(threading.get_ident())
        self.closed += 1


def _worker(step, failed=None):
    worker = Worker('test', Recorder, step, failed or (lambda error: None))
    worker.start()
    return worker


def test_worker_keeps_only_the_newest_and_counts_the_rest():
    release, entered = threading.Event(), threading.Event()

    def step(stage, item):
        stage.items.append(item)
        entered.set()
        release.wait(5)
    worker = _worker(step)
    worker.offer(0)
    assert entered.wait(PATIENT_S)
    for item in range(1, 101):
        worker.offer(item)
    release.set()
    items = worker.call(lambda stage: stage.items)
    assert worker.call(lambda stage: list(stage.items)) == [0, 100]
    assert items[-1] == 100
    assert worker.dropped == 99
    assert worker.stop()


def test_worker_owns_its_stage_on_one_thread():
    stages = []
    worker = _worker(lambda stage, item: stages.append(stage))
    worker.offer(1)
    worker.call(lambda stage: stage.threads.add(threading.get_ident()))
    assert worker.stop()
    assert worker.stop(), 'stopping twice'
    stage = stages[0]
    assert stage.threads.isdisjoint({threading.get_ident()})
    assert len(stage.threads) == 1
    assert stage.closed == 1


def test_worker_survives_a_stage_that_raises():
    errors = []

    def step(stage, item):
        if item == 'bad':
            raise ValueError('once')
        stage.items.append(item)
    worker = _worker(step, errors.append)
    worker.offer('bad')
    worker.call(lambda stage: None)
    worker.offer('good')
    worker.call(lambda stage: None)
    assert worker.call(lambda stage: stage.items) == ['good']
    assert [str(error) for error in errors] == ['once']
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda stage: 1 / 0)
    worker.stop()
    with pytest.raises(WorkerStoppedError):
        worker.call(lambda stage: None)


def test_worker_hands_on_what_opening_raised():
    def broken():
        raise OSError('no such model')
    worker = Worker('test', broken, lambda stage, item: None, lambda error: None)
    with pytest.raises(OSError, match='no such model'):
        worker.start()
    assert worker.stop()


def _shared(stamp, *tracks):
    faces = tuple(face(track) for track in tracks)
    return SharedFaces(frame(stamp), faces, MODEL, None, 0.0)


def _states(stamp, *tracks):
    return {track: FatigueAssessment(track, stamp, Validity.VALID) for track in tracks}


@pytest.mark.parametrize(('steps', 'drawn'), [
    # (a faces or fatigue message: stamp, tracks) -> stamps drawn, with the tracks that have fatigue
    ('faces 1: a b, fatigue 1: a, fatigue 1: b', ['1 ab']),
    ('faces 1: a b, fatigue 1: a, faces 2: a, fatigue 2: a', ['1 a', '2 a']),
    ('fatigue 1: a, faces 1: a', ['1 a']),  # overtook its faces on the way
    ('faces 2: a, fatigue 1: a, fatigue 2: a', ['2 a']),  # too late
    ('faces 1:, faces 2:', ['1 ', '2 ']),
    ('faces 9: a, faces 1: a, fatigue 1: a, faces 2:', ['1 a', '2 ']),  # the clock was set back
])
def test_an_overlay_joins_what_the_nodes_say_about_an_image(steps, drawn):
    collector = Collector()
    found = []
    for step in steps.split(', '):
        head, _, names = step.partition(':')
        kind, stamp = head.split()
        tracks = [ord(name) for name in names.split()]
        if kind == 'faces':
            picture = collector.faces(_shared(int(stamp), *tracks))
        else:
            picture = collector.fatigue(int(stamp), _states(int(stamp), *tracks), {}, MODEL)
        if picture is not None:
            found.append(f'{picture.result.stamp_ns} ' + ''.join(
                chr(one.face.track_id) for one in picture.result.faces if one.fatigue))
    assert found == drawn


def _result(size, count=1):
    width = size[1] / (count + 1)
    faces = []
    for index in range(count):
        x = width * (index + 0.5)
        points = np.random.default_rng(index).uniform(0, 100, (478, 3)).astype(np.float32)
        points[:, :2] += (x, 10)
        faces.append(FaceResult(
            face=face(index + 1, (x, 10, x + 100, 110), primary=index == 0),
            landmarks=FaceLandmarks(points, 0.9),
            emotion=EmotionEstimate(
                index + 1, Expression.HAPPY, 0.8, np.full(8, 0.125, np.float32), 0.4, math.nan),
            fatigue=FatigueAssessment(
                index + 1, 1, Validity.VALID, FatigueLevel.MILD, FatigueReason.PERCLOS,
                openness=0.4, perclos=0.1)))
    return FrameResult(1, tuple(faces), (), (), {'mesh': MODEL}, {})


@pytest.mark.parametrize('size', [(480, 640), (720, 1280), (1080, 1920), (64, 48), (16, 16)])
@pytest.mark.parametrize('count', [0, 1, 4])
def test_draws_on_a_copy_at_any_size(size, count):
    image = np.full((*size, 3), 90, np.uint8)
    image.flags.writeable = False
    drawn = draw(image, _result(size, count))
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (image == 90).all()
    assert (drawn != 90).any()


def test_a_skeleton_is_drawn_where_its_joints_are_seen():
    blank = np.full((240, 320, 3), 90, np.uint8)
    one = body(3)
    one.skeleton.points[[Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER], :2] = [[60, 120], [260, 120]]
    told = replace(POSTURE, state=PostureState.HEAD_DOWN)

    def drawn(**seen):
        posture = PostureUpdate(
            bodies=(replace(one, skeleton=replace(one.skeleton, **seen)),), assessments={3: told})
        return draw(blank, replace(_result((240, 320), 0), posture=posture))
    np.testing.assert_allclose(
        drawn()[120, 160], STATE_COLOUR[PostureState.HEAD_DOWN], atol=20)  # its edge is soft
    hidden = np.zeros(33, np.float32)
    assert tuple(drawn(visibility=hidden)[120, 160]) == (90, 90, 90)
    broken = one.skeleton.points.copy()
    broken[Joint.LEFT_SHOULDER] = np.nan
    broken[Joint.LEFT_HIP] = 1e9
    assert drawn(points=broken).shape == blank.shape


def test_a_face_has_its_posture_in_its_panel():
    result = _result((720, 1280), 1)
    told = PostureUpdate(assessments={1: replace(POSTURE, track_id=1)})
    blank = np.full((720, 1280, 3), 90, np.uint8)
    bare, more = draw(blank, result), draw(blank, replace(result, posture=told))
    assert (np.any(more != 90, axis=2).any(axis=1).sum()
            > np.any(bare != 90, axis=2).any(axis=1).sum()), 'a row more'


def test_an_overlay_shows_the_last_posture_of_each_person_for_a_second():
    collector = Collector()

    def ids(stamp):
        collector.faces(_shared(stamp))
        picture = collector.faces(_shared(stamp + 1))
        update = picture.result.posture
        return [] if update is None else [one.track_id for one in update.bodies]
    at = 10 ** 10
    for track in (3, 4):
        collector.posture(replace(POSTURE, track_id=track, stamp_ns=at), body(track), MODEL)
    assert ids(at + 10) == [3, 4]
    collector.posture(replace(POSTURE, track_id=4, stamp_ns=at), None, MODEL)
    assert ids(at + 20) == [3]
    collector.postures(PostureUpdate(
        read=True, bodies=(body(5),),
        assessments={5: replace(POSTURE, track_id=5, stamp_ns=at)}), MODEL)
    assert ids(at + 30) == [5]
    assert ids(at + 2 * 10 ** 9) == []


def test_panels_do_not_hide_the_faces_in_a_group():
    size = (720, 1280)
    bare = replace(_result(size, 4))
    drawn = draw(np.full((*size, 3), 90, np.uint8), replace(bare, faces=tuple(
        replace(one, landmarks=None) for one in bare.faces)))
    for one in bare.faces:
        x1, y1, x2, y2 = (int(v) for v in one.face.box)
        inside = drawn[y1 + 25:y2 - 25, x1 + 25:x2 - 25]
        assert (inside == 90).mean() > 0.99
