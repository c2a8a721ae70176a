# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The bridge to REP-155, where hri_msgs is installed; what it says where it is not."""

from __future__ import annotations

from importlib.util import find_spec
import re
import subprocess
import sys

import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import Graph, image, picture

from aitable_msgs.msg import Emotion, FatigueEvent, FatigueState
from aitable_ros.errors import InputError
from aitable_ros.nodes import hri
from aitable_ros.nodes.hri_bodies import keypoints, POINTS
from aitable_ros.nodes.hri_ids import RandomIds
from aitable_ros.posture_types import Joint, Skeleton

HAS_HRI = find_spec('hri_msgs') is not None
NEEDS_HRI = pytest.mark.skipif(
    not HAS_HRI, reason='hri_msgs is not installed here (apt install ros-$ROS_DISTRO-hri-msgs)')
WITHOUT_HRI = pytest.mark.skipif(HAS_HRI, reason='hri_msgs is installed here')


@pytest.mark.parametrize(('expression', 'level', 'expected'), [
    (Emotion.EXPRESSION_HAPPY, FatigueState.LEVEL_ALERT, 'happy'),
    (Emotion.EXPRESSION_FEAR, FatigueState.LEVEL_ALERT, 'scared'),
    (Emotion.EXPRESSION_CONTEMPT, FatigueState.LEVEL_ALERT, ''),
    (Emotion.EXPRESSION_UNKNOWN, FatigueState.LEVEL_ALERT, ''),
    (Emotion.EXPRESSION_HAPPY, FatigueState.LEVEL_MILD, 'happy'),
    (Emotion.EXPRESSION_HAPPY, FatigueState.LEVEL_SEVERE, 'tired'),
    (Emotion.EXPRESSION_UNKNOWN, FatigueState.LEVEL_ASLEEP, 'asleep'),
    (Emotion.EXPRESSION_HAPPY, FatigueState.LEVEL_UNKNOWN, 'happy'),
])
def test_expression_of_a_tired_or_sleeping_person(expression, level, expected):
    # Whatever the validity: who falls asleep while the window is still filling is asleep.
    for validity in (FatigueState.VALIDITY_VALID, FatigueState.VALIDITY_WARMING_UP):
        fatigue = FatigueState(validity=validity, level=level)
        assert hri.expression_of(Emotion(expression=expression), fatigue) == expected


def test_expression_with_one_half_missing():
    assert hri.expression_of(Emotion(expression=Emotion.EXPRESSION_SAD), None) == 'sad'
    assert hri.expression_of(None, FatigueState(level=FatigueState.LEVEL_ASLEEP)) == 'asleep'
    assert hri.expression_of(None, None) == ''


@pytest.mark.parametrize(('openness', 'expected'), [
    (1.0, (0.0, 1.0)), (0.0, (1.0, 1.0)), (0.25, (0.75, 1.0)), (1.3, (0.0, 1.0)),
    (-0.2, (1.0, 1.0)), (float('nan'), (0.0, 0.0)),
])
def test_eyes_closed_is_the_share_that_is_shut(openness, expected):
    assert hri.closure_of(FatigueState(openness=openness)) == pytest.approx(expected)


def test_a_face_that_comes_again_has_another_id():
    ids = RandomIds()
    first = ids[7]
    assert re.fullmatch('[a-z]{5}', first)
    assert ids[7] == first
    assert ids[8] != first
    assert ids.forget([8]) == [first]
    assert ids[7] != first


def test_a_skeleton_has_openpose_s_points_as_shares_of_the_image():
    points = np.zeros((33, 3), np.float32)
    points[[Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER], :2] = [[200, 50], [100, 70]]
    points[Joint.LEFT_WRIST, :2] = [500, -20]  # outside
    visibility = np.full(33, 0.75, np.float32)
    visibility[Joint.RIGHT_SHOULDER] = 0.5
    found = keypoints(Skeleton(points, visibility, points, 1.0), 400, 100)
    assert len(found) == len(POINTS) == 18
    assert found[5] == (0.5, 0.5, 0.75)
    assert found[2] == pytest.approx((0.25, 0.7, 0.5))
    assert found[1] == pytest.approx((0.375, 0.6, 0.5)), 'the neck is between the shoulders'
    assert found[7] == (1.0, 0.0, 0.0)


@NEEDS_HRI
def test_the_points_are_those_of_the_message():
    from hri_msgs.msg import Skeleton2D

    for joints, number in zip(POINTS, range(18)):
        name = 'NECK' if len(joints) > 1 else joints[0].name
        assert getattr(Skeleton2D, name) == number


@WITHOUT_HRI
def test_without_hri_msgs_the_executable_says_so_in_a_line():
    code = 'import sys; from aitable_ros.nodes.executables import hri_bridge as m; sys.exit(m())'
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=PATIENT_S)
    assert done.returncode == 2
    line, = [one for one in done.stderr.splitlines() if one.startswith('hri_bridge: ')]
    assert 'hri_msgs' in line
    assert 'apt install' in line


@WITHOUT_HRI
def test_without_hri_msgs_the_component_is_refused_and_the_rest_lives():
    with Graph() as graph:
        with pytest.raises(InputError, match='hri_msgs'):
            graph.load('HriNode')
        assert graph.nodes.components == ()


@NEEDS_HRI
def test_people_are_on_the_topics_of_rep_155(models, portrait):
    from hri_msgs.msg import Expression, FacialActionUnits, IdsList
    from hri_msgs.msg import NormalizedRegionOfInterest2D as Region
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    with Graph() as graph:
        for plugin in ('FaceDetectorNode', 'FatigueNode', 'EmotionNode', 'HriNode'):
            graph.load(plugin)
        graph.listen(IdsList, '/humans/faces/tracked')
        camera = graph.camera()
        assert graph.matched(camera)
        frame = picture(portrait)
        heard = graph.heard
        tracked = heard['/humans/faces/tracked']

        def show(until, seconds=15.0):
            for _ in range(round(seconds * 15)):
                camera.publish(image(frame, 'rgb8', graph.tick(1 / 15)))
                if graph.spin(until, 1 / 15):
                    return True
            return False
        assert show(lambda: any(one.ids for one in tracked))
        face, = next(one.ids for one in tracked if one.ids)
        assert re.fullmatch('[a-z]{5}', face)
        root = f'/humans/faces/{face}'
        for kind, topic in (
                (Region, 'roi'), (Expression, 'expression'), (FacialActionUnits, 'facs')):
            graph.listen(kind, f'{root}/{topic}')
        assert show(lambda: all(heard[f'{root}/{topic}'] for topic in (
            'roi', 'expression', 'facs')))
        for kind, topic in ((FatigueState, 'fatigue'), (FatigueEvent, 'fatigue/events')):
            odd = kind(track_id=1)
            odd.header.stamp.sec = -1  # no time: passed over
            publisher = graph.tester.create_publisher(kind, topic, 10)
            assert graph.matched(publisher)
            publisher.publish(odd)
        del heard[f'{root}/facs'][:]
        assert show(lambda: heard[f'{root}/facs'])
        roi = heard[f'{root}/roi'][-1]
        assert 0 <= roi.xmin < roi.xmax <= 1
        assert 0 <= roi.ymin < roi.ymax <= 1
        assert roi.header.frame_id == 'camera'
        assert heard[f'{root}/expression'][-1].expression in {*hri.EXPRESSIONS.values(), ''}
        units = heard[f'{root}/facs'][-1]
        assert len(units.intensity) == len(units.confidence) == hri.UNITS
        assert units.confidence[hri.EYES_CLOSED] == 1.0
        assert units.intensity[hri.EYES_CLOSED] < 0.7  # she smiles, with open eyes
        assert sum(units.confidence) == 2.0, 'only 43 and 45 are measured'
        answer = graph.call(ChangeState, '/hri_bridge/change_state', ChangeState.Request(
            transition=Transition(id=Transition.TRANSITION_DEACTIVATE)))
        assert answer.success
        assert graph.spin(lambda: tracked[-1].ids == [])
        assert graph.spin(
            lambda: not graph.tester.get_publishers_info_by_topic(f'{root}/roi'))


@NEEDS_HRI
@pytest.mark.parametrize('here', [True, False], ids=['one process', 'by topics'])
def test_bodies_are_on_the_topics_of_rep_155(pose_models, portrait, here):
    from hri_msgs.msg import IdsList, IdsMatch
    from hri_msgs.msg import NormalizedRegionOfInterest2D as Region
    from hri_msgs.msg import Skeleton2D

    with Graph() as graph, Graph('elsewhere') as other:
        nodes = graph if here else other
        graph.load('FaceDetectorNode')
        graph.load('HriNode')
        nodes.load('PostureNode', model='blazepose', fallbacks=['off'], backend='onnxruntime')
        tracked, matches = '/humans/bodies/tracked', '/humans/candidate_matches'
        graph.listen_to({tracked: IdsList, matches: IdsMatch, '/humans/faces/tracked': IdsList})
        camera, heard = graph.camera(), graph.heard
        assert graph.matched(camera, 1 if here else 2)

        def show(until):
            for _ in range(round(PATIENT_S * 5)):
                camera.publish(image(portrait, 'rgb8', graph.tick(0.2)))
                if graph.spin(until, 0.2):
                    return True
            return False
        assert show(lambda: any(one.ids for one in heard[tracked]) and heard[matches])
        body, = next(one.ids for one in heard[tracked] if one.ids)
        match = heard[matches][0]
        assert (match.id1_type, match.id2_type, match.id2) == (IdsMatch.FACE, IdsMatch.BODY, body)
        assert match.id1 in heard['/humans/faces/tracked'][-1].ids
        assert match.confidence == 1.0
        graph.listen_to({f'/humans/bodies/{body}/roi': Region,
                         f'/humans/bodies/{body}/skeleton2d': Skeleton2D})
        assert show(lambda: heard[f'/humans/bodies/{body}/skeleton2d']
                    and heard[f'/humans/bodies/{body}/roi'])
        skeleton = heard[f'/humans/bodies/{body}/skeleton2d'][-1].skeleton
        left, right = skeleton[Skeleton2D.LEFT_SHOULDER], skeleton[Skeleton2D.RIGHT_SHOULDER]
        assert left.c > 0.5
        assert right.c > 0.5
        assert left.x > right.x  # she looks at the camera
        nodes.nodes.unload(next(
            one.unique_id for one in nodes.nodes.components if one.plugin == 'PostureNode'))
        assert graph.spin(lambda: not graph.tester.get_publishers_info_by_topic(
            f'/humans/bodies/{body}/skeleton2d'))
