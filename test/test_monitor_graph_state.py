# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the page is told: people come, change and go by image time, and nothing grows."""

from __future__ import annotations

import json
import math
import struct

import cv2
import numpy as np
import pytest

from aitable_ros.monitor.graph_state import (
    DiagnosticEntry, GraphState, MOST_CAMERAS, MOST_STATUSES, ViewerState
)
from aitable_ros.monitor.guard import Guard, is_loopback
from aitable_ros.monitor.pictures import MAX_SIDE, picture, PictureChooser
from aitable_ros.posture_types import PostureAssessment, PostureState, PostureValidity
from aitable_ros.types import (
    Detection, EmotionEstimate, Expression, FatigueAssessment, FatigueEvent, FatigueEventType,
    FatigueLevel, FatigueReason, Frame, ModelInfo, TrackedFace, Validity
)

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
MODEL = ModelInfo('facemesh', 'openvino', 'fp32')


def face(track_id: int, *, primary: bool = False) -> TrackedFace:
    box = np.array([100, 100, 200, 220], np.float32)
    return TrackedFace(track_id, Detection(box, 0.9), primary)


def state(track_id: int, at_s: float, **values: object) -> FatigueAssessment:
    return FatigueAssessment(**{  # type: ignore[arg-type]
        'track_id': track_id, 'stamp_ns': START + round(at_s * SECOND), 'validity': Validity.VALID,
        'level': FatigueLevel.ALERT, 'openness': 0.9, 'perclos': 0.03, **values})


def graph(*cameras: str) -> GraphState:
    made = GraphState()
    for camera in cameras or ('/c',):
        assert made.add(camera)
    return made


def see(made: GraphState, at_s: float, *ids: int, camera: str = '/c', **values: object) -> None:
    stamp = START + round(at_s * SECOND)
    made.faces(camera, stamp, [face(one, primary=one == ids[0]) for one in ids], MODEL)
    for one in ids:
        made.fatigue(camera, state(one, at_s, **values), MODEL)


def people(made: GraphState, memory: ViewerState | None = None) -> list[dict]:
    told = made.payload(memory or ViewerState())
    json.dumps(told, allow_nan=False)  # whatever is told can be sent
    return told['camera']['people']


def test_figures_are_told_as_they_were_published_and_unknown_ones_as_null():
    made = graph()
    see(made, 0, 7, level=FatigueLevel.SEVERE, eyes_closed=True, closure_s=1.6, openness=0.04,
        reasons=FatigueReason.PERCLOS | FatigueReason.MICROSLEEP, perclos=0.1875,
        perclos_long=math.nan, perclos_coverage=0.5, blink_count=12, head_yaw=-0.5)
    made.emotion('/c', START, EmotionEstimate(
        7, Expression.SURPRISE, 0.6, np.array([0.1, 0.3, 0, 0.6, 0, 0, 0, 0], np.float32),
        valence=0.25), ModelInfo('fer', 'onnxruntime', 'fp32'))
    one, = people(made)
    assert (one['id'], one['primary'], one['here']) == (7, True, True)
    fatigue = one['fatigue']
    assert (fatigue['level'], fatigue['validity']) == ('SEVERE', 'VALID')
    assert fatigue['reasons'] == ['PERCLOS', 'MICROSLEEP']
    assert (fatigue['closed'], fatigue['closure_s']) == (True, 1.6)
    assert (fatigue['perclos'], fatigue['coverage']) == (0.1875, 0.5)
    assert fatigue['perclos_long'] is None
    assert fatigue['head'] == [None, None, -0.5]
    emotion = one['emotion']
    assert (emotion['expression'], emotion['confidence']) == ('SURPRISE', 0.6)
    assert emotion['probabilities'][:4] == [0.1, 0.3, 0.0, 0.6]
    assert (emotion['valence'], emotion['arousal']) == (0.25, None)
    assert one['bins'] == [[START // 200_000_000, 0.04, 0.188, 3, 3]]
    told = made.payload(ViewerState())
    assert told['camera']['models']['emotion'] == ['fer', 'onnxruntime', 'fp32']
    assert told['cameras'][0]['level'] == 'SEVERE'


def test_a_posture_is_told_and_keeps_a_person_whose_face_is_hidden():
    made = graph()
    see(made, 0, 7)
    assert people(made)[0]['posture'] is None

    def sit(at_s, validity, **values):
        made.posture('/c', PostureAssessment(
            7, START + round(at_s * SECOND), validity, PostureState.HEAD_DOWN, 2.5, **values),
            ModelInfo('blazepose', 'openvino', 'fp32'))
    sit(0, PostureValidity.VALID, forward_lean=0.25, height_drop=0.5, head_supported=True)
    told = people(made)[0]['posture']
    assert (told['state'], told['state_s'], told['validity']) == ('HEAD_DOWN', 2.5, 'VALID')
    assert (told['lean'], told['neck'], told['drop']) == ([0.25, None], None, 0.5)
    assert told['supported'] is True
    made.faces('/c', START + 3 * SECOND, [], MODEL)
    assert [(one['here'], one['absent_s']) for one in people(made)] == [(False, 3.0)]
    sit(3, PostureValidity.PARTIAL)
    assert [(one['here'], one['absent_s']) for one in people(made)] == [(True, 0.0)]
    sit(4, PostureValidity.NO_BODY)
    made.faces('/c', START + 4 * SECOND, [], MODEL)
    assert [one['here'] for one in people(made)] == [False]
    assert made.payload(ViewerState())['camera']['models']['posture'][0] == 'blazepose'


def test_the_timeline_keeps_the_shut_eye_of_a_blink_and_the_worst_level():
    made = graph()
    for index, openness in enumerate((0.9, 0.1, math.nan, 0.8)):
        see(made, index * 0.033, 1, openness=openness,
            level=FatigueLevel.MILD if index == 1 else FatigueLevel.ALERT)
    (_, openness, _, level, _), = people(made)[0]['bins']
    assert (openness, level) == (0.1, FatigueLevel.MILD)


def test_three_minutes_are_kept_and_only_news_told_again():
    made, memory = graph(), ViewerState()
    for index in range(2400):  # 240 s at 10 fps
        see(made, index / 10, 1)
    first = people(made, memory)[0]['bins']
    assert len(first) == 900
    assert first[0][0] == (START + 60 * SECOND) // 200_000_000
    see(made, 240, 1)
    again = people(made, memory)[0]['bins']
    assert again[-1][0] == (START + 240 * SECOND) // 200_000_000
    assert len(again) <= 6
    assert len(people(made, ViewerState())[0]['bins']) == 900, 'a new viewer gets all'


def test_who_left_stays_for_a_while_and_then_goes():
    made = graph()
    see(made, 0, 1, 2)
    see(made, 5, 2)
    told = people(made)
    assert [(one['id'], one['here'], one['absent_s']) for one in told] == [
        (2, True, 0.0), (1, False, 5.0)]
    see(made, 19, 2)
    assert [one['id'] for one in people(made)] == [2, 1]
    see(made, 21, 2)
    assert [one['id'] for one in people(made)] == [2]


@pytest.mark.parametrize(('later_s', 'blinks'), [(30.0, 5), (3.0, 0)], ids=[
    'the number returns after the nodes forgot it', 'the counts begin again: nodes restarted'])
def test_the_same_number_later_is_somebody_else(later_s, blinks):
    made = graph()
    see(made, 0, 1, blink_count=5)
    key = people(made)[0]['key']
    see(made, later_s, 1, blink_count=blinks)
    one, = people(made)
    assert one['key'] != key
    assert len(one['bins']) == 1


def test_a_bag_that_begins_again_begins_a_new_timeline():
    made, memory = graph(), ViewerState()
    see(made, 100, 1)
    before = made.payload(memory)['camera']['epoch']
    see(made, 0, 2)
    camera = made.payload(memory)['camera']
    assert camera['epoch'] != before
    assert [one['id'] for one in camera['people']] == [2]
    assert camera['stamp_s'] == START / 1e9


def test_events_are_told_by_person_and_forgotten_with_the_window():
    made = graph()
    see(made, 0, 1)
    made.event('/c', FatigueEvent(
        1, FatigueEventType.MICROSLEEP, START, 1.75, FatigueLevel.SEVERE))
    made.event('/c', FatigueEvent(9, FatigueEventType.BLINK, START, 0.1, FatigueLevel.ALERT))
    assert people(made)[0]['events'] == [
        ['MICROSLEEP', START / 200_000_000, 1.75, 'SEVERE']]
    for second in range(0, 190, 5):
        see(made, second, 1)
    assert people(made)[0]['events'] == []


def test_track_zero_and_strangers_are_nobody():
    made = graph()
    made.fatigue('/c', state(0, 0, validity=Validity.NO_FACE), MODEL)
    made.fatigue('/c', state(4, 0), MODEL)
    assert people(made) == []


def test_cameras_and_statuses_are_bounded():
    made = GraphState()
    assert [made.add(f'/c{index}') for index in range(MOST_CAMERAS + 1)].count(False) == 1
    assert made.add('/c0'), 'known already'
    made.statuses(
        DiagnosticEntry(f'/c0/n{index}: x', 0, '', '', {}, 0.0)
        for index in range(3 * MOST_STATUSES))
    shown = made.payload(ViewerState(camera='/c0', chosen=True))['camera']['diagnostics']
    assert len(shown) == MOST_STATUSES
    assert f'/c0/n{3 * MOST_STATUSES - 1}: x' in {one['name'] for one in shown}


def test_diagnostics_of_the_camera_come_first_and_name_its_image():
    made = graph('/a', '/b')
    made.statuses([
        DiagnosticEntry('/a/fatigue: fatigue', 0, '', '/a/image', {}, 0.0),
        DiagnosticEntry('/b/fatigue: fatigue', 1, 'no image', '/b/image', {}, 0.0),
        DiagnosticEntry('battery', 0, '', 'pack', {}, 0.0)])
    told = made.payload(ViewerState(camera='/b', chosen=True))['camera']
    assert [(one['name'], one['own']) for one in told['diagnostics']] == [
        ('/b/fatigue: fatigue', True), ('/a/fatigue: fatigue', False), ('battery', False)]
    assert made.image_topic('/a') == '/a/image'
    assert made.image_topic('/c') == ''


def test_a_camera_that_does_not_exist_shows_the_first_that_was_heard():
    made, memory = graph('/a', '/b'), ViewerState(camera='/../etc')
    see(made, 0, 1, camera='/b')
    assert made.payload(memory)['camera']['name'] == '/b'
    assert memory.camera == '/b'


def test_who_chose_nothing_goes_on_to_the_first_that_speaks():
    made, memory, decided = graph('/a', '/b'), ViewerState(), ViewerState(camera='/a', chosen=True)
    assert [made.payload(one)['camera']['name'] for one in (memory, decided)] == ['/a', '/a']
    see(made, 0, 1, camera='/b')
    assert [made.payload(one)['camera']['name'] for one in (memory, decided)] == ['/b', '/a']
    see(made, 0, 1, camera='/a')
    assert made.payload(memory)['camera']['name'] == '/b', 'and stays there'


def split(data: bytes) -> tuple[dict, np.ndarray]:
    length, = struct.unpack_from('<I', data)
    jpeg = np.frombuffer(data, np.uint8, offset=4 + length)
    return json.loads(data[4:4 + length]), cv2.imdecode(jpeg, cv2.IMREAD_COLOR)


def test_a_picture_is_small_and_carries_the_boxes_of_its_own_image():
    image = np.zeros((1080, 1920, 3), np.uint8)
    image[..., 0] = 200  # red: a swap of the channels would show
    header, pixels = split(picture(
        Frame(image, START), [(face(3, primary=True), FatigueLevel.MILD)]))
    assert pixels.shape == (540, MAX_SIDE, 3)
    assert pixels[0, 0, 2] > 150 > pixels[0, 0, 0]
    assert header['size'] == [1920, 1080]
    assert header['faces'] == [
        {'id': 3, 'primary': True, 'level': 'MILD', 'box': [100.0, 100.0, 200.0, 220.0]}]
    assert split(picture(Frame(image, START), None))[0]['faces'] is None


def test_the_desk_shows_ten_a_second_each_with_its_own_faces(monkeypatch):
    shown = []
    now = [100.0]
    monkeypatch.setattr('aitable_ros.monitor.pictures.monotonic', lambda: now[0])
    blank = np.zeros((16, 16, 3), np.uint8)
    chooser = PictureChooser(lambda stamp: Frame(blank, stamp), shown.append)
    for index in range(300):  # ten seconds at 30 fps, faces two images late
        chooser.image(index + 1, index + 1, None)
        chooser.faces(index - 1, [(face(index - 1), FatigueLevel.ALERT)])
        now[0] += 1 / 30
    assert 90 <= len(shown) <= 101
    headers = [split(one.data)[0] for one in shown[2:]]
    assert all(one['faces'] for one in headers)
    assert [one.number for one in shown] == list(range(1, len(shown) + 1))
    count = len(shown)
    for index in range(300, 330):  # the nodes are gone, the camera goes on
        chooser.image(index + 1, index + 1, None)
        now[0] += 1 / 30
    assert len(shown) > count + 2
    assert split(shown[-1].data)[0]['faces'] is None


@pytest.mark.parametrize(('bound', 'called', 'admitted'), [
    ('127.0.0.1', '127.0.0.1:8080', True),
    ('127.0.0.1', 'localhost:8080', True),
    ('127.0.0.1', 'LOCALHOST', True),
    ('127.0.0.1', '[::1]:8080', True),
    ('127.0.0.1', 'evil.example', False),
    ('127.0.0.1', 'evil.example:8080', False),
    ('127.0.0.1', '127.0.0.1.evil.example', False),
    ('127.0.0.1', 'localhost@evil.example', False),
    ('127.0.0.1', '[::1', False),
    ('127.0.0.1', '', False),
    ('127.0.0.1', None, False),
    ('0.0.0.0', '192.168.7.9:8080', True),
    ('0.0.0.0', 'evil.example', False),
    ('robot.lan', 'robot.lan:8080', True),
])
def test_only_a_host_header_of_ours_is_admitted(bound, called, admitted):
    assert Guard(bound).admits(called) is admitted


@pytest.mark.parametrize(('origin', 'same'), [
    (None, True), ('http://127.0.0.1:8080', True), ('http://127.0.0.1:9', False),
    ('https://evil.example', False), ('null', False)])
def test_only_our_own_page_may_open_the_socket(origin, same):
    assert Guard('127.0.0.1').same_origin(origin, '127.0.0.1:8080') is same


@pytest.mark.parametrize(('host', 'only_here'), [
    ('127.0.0.1', True), ('127.8.8.8', True), ('::1', True), ('localhost', True),
    ('0.0.0.0', False), ('::', False), ('192.168.0.2', False), ('robot', False)])
def test_loopback_is_known(host, only_here):
    assert is_loopback(host) is only_here
