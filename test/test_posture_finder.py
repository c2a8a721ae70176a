# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From images to followed bodies: who is found, whose they are, and that ids stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from itertools import islice
from pathlib import Path
import subprocess
import sys

import cv2
from films import clip_here, read_film
import numpy as np
from numpy.typing import NDArray
import pytest
from test_posture_angles import FILMS, turned

from aitable_ros.clock import SECOND_NS
from aitable_ros.errors import InputError
from aitable_ros.pipeline import Pipeline, PipelineOptions
from aitable_ros.posture.finder import BodyFinder
from aitable_ros.posture.monitor import PostureMonitor
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture_types import (
    Body, FIRST_BODY_ID, Joint, PostureEventType, PostureState, PostureUpdate, PostureValidity
)
from aitable_ros.types import (
    Detection, FatigueEventType, FatigueReason, Frame, FrameResult, TrackedFace
)

ON = PostureOptions(enabled=True, model='blazepose', fallbacks=(), others_interval_s=0.0)
STEP_NS = SECOND_NS // 5


@pytest.fixture(scope='module')
def opened(pose_models: Path) -> Iterator[PostureMonitor]:
    with PostureMonitor.open(ON) as monitor:
        yield monitor


@pytest.fixture
def monitor(opened: PostureMonitor) -> PostureMonitor:
    """One that knows nobody, with the default options."""
    opened.reset()
    opened.configure(ON)
    return opened


@pytest.fixture(scope='module')
def opened_pipeline(pose_models: Path) -> Iterator[Pipeline]:
    with Pipeline(PipelineOptions(posture=ON)) as pipeline:
        yield pipeline


@pytest.fixture
def pipeline(opened_pipeline: Pipeline) -> Pipeline:
    """All stages, and posture; it knows nobody."""
    opened_pipeline.reset()
    return opened_pipeline


@pytest.fixture(scope='module')
def every_image(pose_models: Path) -> Iterator[Pipeline]:
    """All stages, and posture in every image."""
    with Pipeline(PipelineOptions(posture=replace(ON, interval_s=0.0))) as pipeline:
        yield pipeline


@pytest.fixture
def sitting(shared_data: Path) -> list[NDArray[np.uint8]]:
    """One person, both shoulders in view."""
    return list(islice(read_film(clip_here(shared_data, 'cam_man_still.mp4')), 12))


def face_at(body: Body, track_id: int, *, primary: bool = True) -> TrackedFace:
    """Return a face where the body's head is."""
    ears = body.skeleton.points[[Joint.LEFT_EAR, Joint.RIGHT_EAR], :2]
    nose = body.skeleton.points[Joint.NOSE, :2]
    half = float(np.ptp(ears[:, 0]))
    return TrackedFace(
        track_id, Detection(np.concatenate([nose - half, nose + half]), 0.9), primary)


def test_a_body_is_followed_and_its_joints_stay(
    monitor: PostureMonitor, sitting: list[NDArray[np.uint8]],
) -> None:
    updates = [monitor.update(Frame(image, index * STEP_NS), ())
               for index, image in enumerate(sitting)]
    assert all(update.read and len(update.bodies) == 1 for update in updates)
    assert len({update.bodies[0].body_id for update in updates}) == 1
    noses = np.array([update.bodies[0].skeleton.points[Joint.NOSE, :2] for update in updates])
    assert np.ptp(noses, axis=0).max() < 0.05 * sitting[0].shape[1]
    assert monitor.model.model == 'blazepose'


def test_it_reads_every_interval_of_image_time_and_repeats_between(
    monitor: PostureMonitor, sitting: list[NDArray[np.uint8]],
) -> None:
    updates = [monitor.update(Frame(sitting[0], index * SECOND_NS // 30), ())
               for index in range(13)]
    assert [update.read for update in updates] == [
        index in (0, 6, 12) for index in range(13)]
    assert all(updates[index].bodies is updates[0].bodies for index in range(6))


def test_a_late_image_repeats_and_a_jump_forgets(
    monitor: PostureMonitor, sitting: list[NDArray[np.uint8]],
) -> None:
    first = monitor.update(Frame(sitting[0], 10 * SECOND_NS), ())
    late = monitor.update(Frame(np.zeros_like(sitting[0]), 10 * SECOND_NS - STEP_NS), ())
    assert (late.read, late.bodies) == (False, first.bodies)
    assert monitor.time.late == 1
    back = monitor.update(Frame(sitting[0], SECOND_NS), ())
    assert back.read
    assert back.bodies[0].body_id > first.bodies[0].body_id


def test_the_body_goes_by_its_faces_number_also_while_that_is_hidden(
    monitor: PostureMonitor, sitting: list[NDArray[np.uint8]],
) -> None:
    stamps = iter(range(0, SECOND_NS * 100, STEP_NS))

    def read(*faces: TrackedFace) -> Body:
        body, = monitor.update(Frame(sitting[0], next(stamps)), faces).bodies
        return body

    alone = read()
    assert alone.track_id == alone.body_id >= FIRST_BODY_ID
    seen = read(face_at(alone, 7))
    assert (seen.track_id, seen.has_face, seen.primary) == (7, True, True)
    hidden = read()
    assert (hidden.track_id, hidden.has_face, hidden.primary) == (7, False, True)
    back = read(face_at(alone, 9))
    assert back.track_id == 9
    assert {alone.body_id, seen.body_id, hidden.body_id, back.body_id} == {alone.body_id}
    assert read(face_at(alone, 11, primary=False)).primary is False


def test_a_body_that_was_lost_for_a_moment_is_the_same_persons(
    monitor: PostureMonitor, sitting: list[NDArray[np.uint8]],
) -> None:
    grey = np.full_like(sitting[0], 128)
    body, = monitor.update(Frame(sitting[0], 0), ()).bodies
    monitor.update(Frame(sitting[0], STEP_NS), (face_at(body, 3),))
    assert monitor.update(Frame(grey, 2 * STEP_NS), ()).bodies == ()
    again, = monitor.update(Frame(sitting[0], 3 * STEP_NS), ()).bodies
    assert (again.track_id, again.body_id) == (3, body.body_id)
    assert monitor.update(Frame(grey, 4 * STEP_NS), ()).bodies == ()
    later, = monitor.update(Frame(sitting[0], 4 * STEP_NS + 11 * SECOND_NS), ()).bodies
    assert later.track_id == later.body_id > body.body_id


def test_a_face_elsewhere_takes_its_number_along(
    monitor: PostureMonitor, sitting: list[NDArray[np.uint8]],
) -> None:
    """At first it may have stayed behind; after a second it is another person's."""
    body, = monitor.update(Frame(sitting[0], 0), ()).bodies
    face = face_at(body, 3)
    away = replace(face, detection=replace(face.detection, box=face.box + 10 * np.ptp(face.box)))
    ids = []
    for index in range(1, 10):
        one, = monitor.update(
            Frame(sitting[0], index * STEP_NS), (face if index == 1 else away,)).bodies
        ids.append(one.track_id)
    assert ids == [3] * 6 + [body.body_id] * 3


@pytest.mark.parametrize('shape', [(1, 1), (0, 0), (0, 640), (2, 3000), (3000, 2)])
def test_odd_images_between_two_good_ones(
    shape: tuple[int, int], monitor: PostureMonitor, sitting: list[NDArray[np.uint8]],
) -> None:
    images = sitting[0], np.zeros((*shape, 3), np.uint8), sitting[0]
    first, _, last = [
        monitor.update(Frame(image, index * STEP_NS), ()) for index, image in enumerate(images)]
    assert first.bodies[0].track_id == last.bodies[0].track_id


def test_who_sits_upright_is_told_so_and_can_be_calibrated(
    monitor: PostureMonitor, shared_data: Path,
) -> None:
    film = list(islice(read_film(clip_here(shared_data, 'webcam_glasses_15fps.avi')), 0, 150, 3))
    told = [monitor.update(Frame(image, number * STEP_NS), ()) for number, image in enumerate(film)]
    with pytest.raises(InputError, match='nobody to calibrate'):
        PostureMonitor(ON, BodyFinder(ON, None)).calibrate()
    track_id, = told[-1].assessments
    states = [update.assessments[track_id].state for update in told]
    assert set(states[:15]) == {PostureState.UNKNOWN}
    assert set(states[30:]) == {PostureState.UPRIGHT}
    assert told[-1].assessments[track_id].validity is PostureValidity.VALID
    assert monitor.calibrate() == {track_id: pytest.approx(0.59, abs=0.02)}
    assert not [event for update in told for event in update.events]


@pytest.mark.parametrize(('backward', 'kinds'), [
    (False, ['POSTURE_CHANGED']), (True, ['POSTURE_CHANGED', 'POSTURE_CHANGED', 'SLUMPED'])],
    ids=['rises', 'sinks'])
def test_a_head_that_hangs_for_twelve_seconds(
    backward: bool, kinds: list[str], monitor: PostureMonitor, shared_data: Path,
) -> None:
    """A real one: down from the start, then up. Backward, the same person's head sinks."""
    path = clip_here(shared_data, 'webcam_strong_motion.mp4')
    film = list(islice(read_film(path), 0, 780, 6))
    if backward:
        film.reverse()
    told = [monitor.update(Frame(image, number * STEP_NS), ()) for number, image in enumerate(film)]
    state = [one.state for update in told for one in update.assessments.values()]
    down = state[-30:] if backward else state[15:45]
    assert set(down) == {PostureState.HEAD_DOWN}
    assert PostureState.HEAD_DOWN not in (state[:60] if backward else state[-40:])
    assert [event.type.name for update in told for event in update.events] == kinds
    assert len(told[-1].slumped) == (1 if backward else 0)


def test_three_people(pipeline: Pipeline, shared_data: Path) -> None:
    """Each has a body, which goes by the number of the face."""
    path = clip_here(shared_data, 'three_people.gif')
    results = [pipeline.process(image, index * 80_000_000)
               for index, image in enumerate(read_film(path))]
    read = [result for result in results if result.posture.read]
    assert len(read) >= 0.3 * len(results)
    full = [result for result in read if len(result.posture.bodies) == 3]
    assert len(full) == len(read)
    assert len({body.body_id for result in read for body in result.posture.bodies}) == 3
    for result in full:
        bodies = {body.track_id: body for body in result.posture.bodies}
        assert set(bodies) == {face.face.track_id for face in result.faces}
        for face in result.faces:
            nose = bodies[face.face.track_id].skeleton.points[Joint.NOSE, :2]
            assert (nose > face.face.box[:2]).all()
            assert (nose < face.face.box[2:]).all()
    assert all(result.models['posture'].model == 'blazepose' for result in results)
    assert all('posture' in result.elapsed_ms for result in results)


def plain(result: FrameResult) -> list[object]:
    """All that a result says of faces, as bytes and numbers."""
    return [[(
        face.face.track_id, face.face.primary, face.face.box.tobytes(),
        None if face.landmarks is None else face.landmarks.points.tobytes(),
        None if face.emotion is None else (
            face.emotion.expression, face.emotion.probabilities.tobytes(), face.emotion.valence),
        None if face.fatigue is None else repr(astuple(face.fatigue))) for face in result.faces],
        repr(result.absent), repr(result.events)]


@pytest.mark.parametrize('name', ['three_people.gif', 'face_then_noface.mov'])
def test_faces_are_the_same_with_posture_on(
    name: str, pose_models: Path, shared_data: Path,
) -> None:
    from aitable_ros.face.tracker import number_from_one

    path = clip_here(shared_data, name)
    answers = []
    for posture in (ON, PostureOptions()):
        number_from_one()
        with Pipeline(PipelineOptions(posture=posture)) as pipeline:
            answers.append([
                pipeline.process(image, index * 80_000_000)
                for index, image in enumerate(islice(read_film(path), 20))])
    on, off = answers
    assert [plain(result) for result in on] == [plain(result) for result in off]
    assert all(isinstance(result.posture, PostureUpdate) for result in on)
    assert all(result.posture is None for result in off)


def test_fatigue_hears_of_a_slump(pipeline: Pipeline, shared_data: Path) -> None:
    """Once, and no level comes of it; the reason stays while the head is down."""
    film = list(islice(read_film(clip_here(shared_data, 'webcam_strong_motion.mp4')), 0, 780, 3))
    told = [pipeline.process(image, number * SECOND_NS // 10)
            for number, image in enumerate(reversed(film))]
    slump, = [event for result in told for event in result.events
              if event.type is FatigueEventType.SLUMPED]
    posture, = [event for result in told if result.posture is not None
                for event in result.posture.events if event.type is PostureEventType.SLUMPED]
    assert (slump.track_id, slump.start_ns) == (posture.track_id, posture.start_ns)
    reasons = [next(one.reasons for one in (*result.absent, *(
        face.fatigue for face in result.faces if face.fatigue is not None))
        if one.track_id == slump.track_id) for result in told[20:]]
    slumped = [FatigueReason.SLUMPED in reason for reason in reasons]
    assert slumped == sorted(slumped)
    assert slumped[-1]


def test_posture_off_is_not_even_imported(models: Path) -> None:
    code = ("import sys\nfrom aitable_ros import Pipeline\nPipeline().close()\n"
            "print(*(name for name in sys.modules if name.startswith('aitable_ros.posture.')))")
    printed = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ['aitable_ros.posture.options']


def test_the_chain_may_end_without_a_model(sitting: list[NDArray[np.uint8]]) -> None:
    with PostureMonitor.open(PostureOptions(enabled=True, model='', fallbacks=('off',))) as off:
        assert off.model.model == ''
        assert off.update(Frame(sitting[0], 0), ()).bodies == ()


def test_a_model_of_another_kind_is_passed_over_by_name(pose_models: Path) -> None:
    options = PostureOptions(model='facemesh', fallbacks=('blazepose',))
    with BodyFinder.open(options) as finder:
        assert finder.model.model == 'blazepose'
        assert 'not a pose model' in next(
            attempt.reason for attempt in finder.attempts if attempt.entry == 'facemesh')
    with BodyFinder.open(replace(ON, detector='facemesh')) as finder:
        assert finder.model.model == 'blazepose'
        assert 'not a body detector' in finder.attempts[-1].reason


@pytest.mark.parametrize('name', [
    'cam_man_still.mp4', 'webcam_glasses_30fps.avi', 'face_then_noface.mov'])
def test_a_head_that_cannot_be_seen_leaves_the_body(
    name: str, pipeline: Pipeline, shared_data: Path,
) -> None:
    """Painted over: the face is lost, the shoulders and the person's number stay; nobody joins."""
    image = next(read_film(clip_here(shared_data, name)))
    seen = pipeline.process(image, 0)
    (x1, y1, x2, y2), side = seen.primary.face.box, float(np.ptp(seen.primary.face.box[::2]))
    covered = cv2.ellipse(
        image.copy(), (int((x1 + x2) / 2), int((y1 + y2) / 2)),
        (int(0.75 * side), int(0.95 * side)), 0, 0, 360, (40, 30, 25), -1)
    results = [pipeline.process(covered, STEP_NS * index) for index in range(1, 26)]
    assert all(result.faces == () for result in results[-15:])
    before, = seen.posture.bodies
    for result in results:
        body, = result.posture.bodies
        assert (body.track_id, body.primary) == (before.track_id, True)
        assert body.skeleton.sees(Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER)


def test_who_leaves_has_no_body(
    monitor: PostureMonitor, sitting: list[NDArray[np.uint8]],
) -> None:
    noise = np.random.default_rng(0).integers(90, 160, sitting[0].shape, np.uint8)
    body, = monitor.update(Frame(sitting[0], 0), ()).bodies
    monitor.update(Frame(sitting[0], STEP_NS), (face_at(body, 3),))
    left = [monitor.update(Frame(np.roll(noise, 50 * index, 0), index * STEP_NS), ()).bodies
            for index in range(2, 12)]
    assert left == [()] * 10


@pytest.mark.parametrize('name', FILMS)
def test_a_person_who_is_turned_turns_the_angles(
    name: str, every_image: Pipeline, shared_data: Path,
) -> None:
    """Head within 2 degrees, by the eyes of the face; shoulders, which have no such help, 3."""
    path = clip_here(shared_data, name)
    tilts = {}
    for clockwise in (0, -20, 20):
        every_image.reset()
        for number, image in enumerate(turned(path, clockwise, 15)):
            result = every_image.process(image, number * SECOND_NS // 30)
        one = result.posture.assessments[result.primary.face.track_id]
        tilts[clockwise] = np.degrees([one.shoulder_tilt, one.head_roll])
    for clockwise, angles in tilts.items():
        shoulders, head = angles - tilts[0]
        assert head == pytest.approx(-clockwise, abs=2)
        assert np.isnan(shoulders) or shoulders == pytest.approx(-clockwise, abs=3)


def test_a_face_tells_where_the_body_is_and_no_detector_is_loaded(
    sitting: list[NDArray[np.uint8]], pose_models: Path,
) -> None:
    with BodyFinder.open(ON) as finder:
        found, = finder.update(Frame(sitting[0], 0), ())
        face = face_at(found, 3)
    with BodyFinder.open(replace(ON, detector='off')) as finder:
        assert finder.update(Frame(sitting[0], 0), ()) == ()
        by_face, = finder.update(Frame(sitting[0], STEP_NS), (face,))
    assert (by_face.track_id, by_face.has_face) == (3, True)
    apart = (by_face.skeleton.points - found.skeleton.points)[Joint.LEFT_SHOULDER, :2]
    assert np.hypot(*apart) < 0.05 * sitting[0].shape[1]


def test_others_are_read_in_turn(pose_models: Path, shared_data: Path) -> None:
    """The primary person five times a second, the others once."""
    path = clip_here(shared_data, 'three_people.gif')
    read: dict[int, list[int]] = {}
    with Pipeline(PipelineOptions(posture=replace(ON, others_interval_s=1.0))) as pipeline:
        last: dict[int, Body] = {}
        for index, image in enumerate(islice(read_film(path), 40)):
            result = pipeline.process(image, index * 100_000_000)
            for body in result.posture.bodies:
                before = last.get(body.track_id)
                if before is None or before.skeleton is not body.skeleton:
                    read.setdefault(body.track_id, []).append(index)
                last[body.track_id] = body
        primary = result.primary.face.track_id
    assert read.pop(primary) == list(range(0, 40, 2))
    assert len(read) == 2
    for turns in read.values():
        assert set(np.diff(turns)[1:].tolist()) == {10}, turns
    assert not set.intersection(*(set(turns[1:]) for turns in read.values()))


def test_options_come_from_the_file_that_the_nodes_take(tmp_path: Path) -> None:
    path = tmp_path / 'parameters.yaml'
    path.write_text('posture:\n  ros__parameters:\n    enabled: true\n    interval_s: 0.5\n')
    assert PipelineOptions.from_file(path).posture == PostureOptions(enabled=True, interval_s=0.5)
