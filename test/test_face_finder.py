# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The whole stage on real frames: who is found, that ids stay, and what it does with odd input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
import json
from pathlib import Path
from threading import Event, Thread

import cv2
from films import read_film
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.errors import InputError
from aitable_ros.face.boxes import overlap
from aitable_ros.face.finder import FaceFinder, FaceOptions
from aitable_ros.face.mesh import FaceMesh, roi_from_detection, roi_from_landmarks
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.types import FaceLandmarks, Frame

NS = 1_000_000_000


@pytest.fixture(scope='module')
def opened(models: Path) -> Iterator[FaceFinder]:
    with FaceFinder.open(FaceOptions()) as finder:
        yield finder


@pytest.fixture
def finder(opened: FaceFinder) -> FaceFinder:
    """One that knows nobody, with the default options."""
    opened.reset()
    opened.configure(FaceOptions())
    return opened


def clip(path: Path, most: int | None = None) -> Iterator[Frame]:
    fps = cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS)
    for index, image in enumerate(islice(read_film(path), most)):
        yield Frame(image, round(index / fps * NS))


def at(image: NDArray[np.uint8], seconds: float) -> Frame:
    return Frame(image, round(seconds * NS))


def moved(portrait: NDArray[np.uint8], x: int, y: int = 100) -> NDArray[np.uint8]:
    """The portrait's head and shoulders at a place in a VGA image."""
    image = np.full((480, 640, 3), (186, 180, 178), np.uint8)
    head = portrait[0:300, 100:360]
    left, right = max(0, -x), min(260, 640 - x)
    if right > left:
        image[y:y + 300, x + left:x + right] = head[:, left:right]
    return image


@pytest.mark.parametrize(('name', 'people', 'ratio'), [
    ('three_people.gif', 3, 0.9), ('webcam_glasses_15fps.avi', 1, 0.99),
    ('talking_woman.mp4', 1, 0.99), ('laugh_dark.mp4', 1, 0.99), ('night_phone.mp4', 1, 0.99),
    ('posed_expressions.mp4', 1, 0.99), ('neutral_to_smile.mp4', 1, 0.99)])
def test_everybody_in_the_clips_keeps_one_id(
    name: str, people: int, ratio: float, finder: FaceFinder, shared_data: Path,
) -> None:
    counts = [
        {face.track_id for face in finder.update(frame)}
        for frame in clip(shared_data / 'video' / name, 120)]
    assert sum(len(ids) == people for ids in counts) >= ratio * len(counts)
    assert len(set.union(*counts)) == people


def test_the_mesh_keeps_the_detector_idle(
    models: Path, finder: FaceFinder, shared_data: Path,
) -> None:
    """With the mesh following, detection runs at its interval; ids and boxes are steady."""
    seen: Counter[int] = Counter()
    detected = 0
    last: dict[int, FaceLandmarks] = {}
    boxes: dict[int, list] = {}
    frames = list(clip(shared_data / 'video' / 'three_people.gif'))
    with resolve(ModelOptions(model='facemesh')).backend as backend:
        mesh = FaceMesh(backend)
        for frame in frames:
            faces = finder.update(frame)
            detected += any(face.detected for face in faces)
            for face in faces:
                known = last.get(face.track_id)
                roi = roi_from_landmarks(known) if known else roi_from_detection(face.detection)
                (found,) = mesh.read(frame.image, roi[None])
                assert found.presence > 0.5
                last[face.track_id] = found
                finder.follow(face.track_id, found)
                seen[face.track_id] += 1
                boxes.setdefault(face.track_id, []).append(face.box)
    assert list(seen.values()) == [len(frames)] * 3
    assert detected <= len(frames) / 6 + 1
    for track in boxes.values():
        track = np.array(track)
        centres, side = (track[:, :2] + track[:, 2:]) / 2, (track[:, 2] - track[:, 0])
        steps = np.hypot(*np.diff(centres, axis=0).T) / side[1:]
        assert steps.max() < 0.25, 'a box that jumps'


def test_a_face_that_leaves_is_gone_and_noise_is_not_a_face(
    finder: FaceFinder, shared_data: Path,
) -> None:
    until = json.loads(
        (shared_data / 'labels' / 'face_then_noface.json').read_text())['face_until_frame']
    counts = [
        len(finder.update(frame))
        for frame in clip(shared_data / 'video' / 'face_then_noface.mov', 140)]
    assert counts[:until + 1] == [1] * (until + 1)
    assert not any(counts[until + 10:])


def test_detection_runs_at_its_interval(finder: FaceFinder, portrait: NDArray[np.uint8]) -> None:
    finder.configure(replace(finder.options, detect_interval_s=0.17))
    detected = [finder.update(at(portrait, index / 30))[0].detected for index in range(16)]
    assert detected == [index % 5 == 0 for index in range(16)]
    finder.configure(replace(finder.options, detect_interval_s=0.0))
    assert all(finder.update(at(portrait, index / 30))[0].detected for index in range(16, 20))


def test_a_look_that_is_left_for_later_shows_in_the_next_image(
    finder: FaceFinder, portrait: NDArray[np.uint8],
) -> None:
    """A newcomer is found by the look after the answer; a lost face is not left for later."""
    finder.configure(replace(finder.options, detect_interval_s=0.05))
    two = np.hstack([portrait, portrait])
    (known,) = finder.update(at(np.hstack([portrait, np.zeros_like(portrait)]), 0), defer=True)
    assert known.detected
    for step, expected in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 2)):
        faces = finder.update(at(two, step / 30), defer=True)
        assert (len(faces), faces[0].track_id) == (expected, known.track_id)
        assert not any(face.detected for face in faces), 'the detector ran before the answer'
        finder.look()
        finder.look()  # nothing is left then
    finder.follow(known.track_id, None)
    assert finder.update(at(two, 6 / 30), defer=True)[0].detected


def test_a_slow_camera_is_looked_at_each_time(
    finder: FaceFinder, portrait: NDArray[np.uint8],
) -> None:
    assert all(finder.update(at(portrait, index / 4))[0].detected for index in range(8))


def test_between_detections_a_face_moves_on(
    finder: FaceFinder, portrait: NDArray[np.uint8],
) -> None:
    """240 px/s: without the velocity it would be 32 px behind before each detection."""
    ids = set()
    for index in range(45):
        (face,) = finder.update(at(moved(portrait, 20 + 8 * index), index / 30))
        ids.add(face.track_id)
        if index > 15:
            assert face.box[0] - 8 * index == pytest.approx(92, abs=10)
            assert (face.detection.keypoints > face.box[:2] - 20).all()
            assert (face.detection.keypoints < face.box[2:] + 20).all()
    assert len(ids) == 1


@pytest.mark.parametrize(('jump_s', 'same'), [
    (0.0, True), (0.5, True), (-0.1, True), (-100.0, False), (1e6, False),
    (1.5, True), (9.0, True),  # a camera that stood still
    (11.0, False)])
def test_stamps_that_jump_start_anew(
    jump_s: float, same: bool, finder: FaceFinder, portrait: NDArray[np.uint8],
) -> None:
    (before,) = finder.update(at(portrait, 200))
    (after,) = finder.update(at(portrait, 200 + jump_s))
    assert (before.track_id == after.track_id) is same


def test_a_late_image_changes_nothing(finder: FaceFinder, portrait: NDArray[np.uint8]) -> None:
    """Two images that swapped places on the way: nobody is forgotten, nobody moves."""
    finder.update(at(moved(portrait, 100), 10.0))
    before = finder.update(at(moved(portrait, 110), 10.1))
    assert finder.update(at(moved(portrait, 200), 10.05)) is before
    (after,) = finder.update(at(moved(portrait, 120), 10.2))
    assert after.track_id == before[0].track_id


def test_reset_forgets_and_close_is_for_good(
    models: Path, portrait: NDArray[np.uint8],
) -> None:
    finder = FaceFinder.open(FaceOptions())
    (before,) = finder.update(at(portrait, 0))
    finder.reset()
    (after,) = finder.update(at(portrait, 0.01))
    assert after.track_id > before.track_id
    finder.close()
    finder.close()
    finder.reset()
    assert finder.update(at(portrait, 0.02)) == ()


def test_only_the_most_important_are_reported_and_always_the_same(
    finder: FaceFinder, shared_data: Path,
) -> None:
    image = cv2.cvtColor(
        cv2.imread(str(shared_data / 'faces' / 'group_1.jpg')), cv2.COLOR_BGR2RGB)
    faces = [finder.update(at(image, index / 30)) for index in range(12)]
    assert [len(found) for found in faces] == [4] * 12
    assert len({tuple(face.track_id for face in found) for found in faces}) == 1
    assert [face.primary for face in faces[0]] == [True, False, False, False]
    finder.configure(replace(finder.options, max_faces=7))
    assert len(finder.update(at(image, 0.5))) == 7


@pytest.mark.parametrize('looks', ['desk', 'room'])
@pytest.mark.parametrize('noise', [0, 12])
def test_the_labelled_groups_are_found_and_nothing_else(
    noise: int, looks: str, finder: FaceFinder, shared_data: Path,
) -> None:
    """Recall at least 0.9 at an IoU of 0.4, no false face: each picture by itself."""
    finder.configure(FaceOptions(max_faces=16, range=looks))
    rng = np.random.default_rng(0)
    labels = json.loads((shared_data / 'faces' / 'labels.json').read_text())
    hits = total = 0
    for index, (name, entry) in enumerate(labels.items()):
        image = cv2.cvtColor(
            cv2.imread(str(shared_data / 'faces' / name)), cv2.COLOR_BGR2RGB)
        image = np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
        found = np.array([face.box for face in finder.update(at(image, 10 * index))])
        top, left, width, height = np.array(entry['boxes_top_left_width_height'], np.float32).T
        boxes = np.stack([left, top, left + width, top + height], axis=1)
        shared = overlap(boxes, found)
        assert (shared.max(axis=0) >= 0.4).all(), name
        hits += int((shared.max(axis=1) >= 0.4).sum())
        total += len(boxes)
    assert hits >= 0.9 * total


@pytest.mark.parametrize('shape', [
    (1, 1), (1, 2), (2, 1), (0, 0), (0, 640), (480, 0), (3, 5000), (5000, 3), (4000, 6000)])
@pytest.mark.parametrize('looks', ['desk', 'room'])
def test_odd_images(shape: tuple[int, int], looks: str, finder: FaceFinder) -> None:
    finder.configure(FaceOptions(range=looks))
    assert finder.update(Frame(np.zeros((*shape, 3), np.uint8), 0)) == ()
    assert finder.update(Frame(np.full((*shape, 3), 255, np.uint8), NS)) == ()


def test_an_empty_image_forgets_nobody(finder: FaceFinder, portrait: NDArray[np.uint8]) -> None:
    (before,) = finder.update(at(portrait, 0))
    finder.update(at(portrait[:0], 0.03))
    (after,) = finder.update(at(portrait, 0.06))
    assert before.track_id == after.track_id


@pytest.mark.parametrize('view', ['read-only', 'mirrored', 'cut out', 'fortran', 'grey', 'bgr'])
def test_any_view_of_an_image_will_do(
    view: str, finder: FaceFinder, portrait: NDArray[np.uint8],
) -> None:
    large = np.zeros((600, 700, 3), np.uint8)
    large[40:552, 60:572] = portrait
    image = {
        'read-only': portrait,
        'mirrored': portrait[:, ::-1],
        'cut out': large[40:552, 60:572],
        'fortran': np.asfortranarray(portrait),
        'grey': np.repeat(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
        'bgr': portrait[..., ::-1],
    }[view]
    (face,) = finder.update(Frame(image, 0))
    x = 225 if view != 'mirrored' else 511 - 225
    assert (face.box[::2].mean(), face.box[1::2].mean()) == pytest.approx((x, 119), abs=8)


@pytest.mark.parametrize(('x', 'found'), [(-90, True), (-200, False), (450, True), (640, False)])
def test_a_face_at_the_border(
    x: int, found: bool, finder: FaceFinder, portrait: NDArray[np.uint8],
) -> None:
    """Half a face may be found; its box is not clipped to the image."""
    faces = finder.update(at(moved(portrait, x), 0))
    assert len(faces) == found


def test_follow_from_other_threads_while_frames_come(
    finder: FaceFinder, portrait: NDArray[np.uint8],
) -> None:
    (face,) = finder.update(at(portrait, 0))
    points = np.tile(np.float32([[180, 70, 0], [272, 178, 0]]), (239, 1))
    over = Event()
    failures: list[Exception] = []

    def feed(landmarks: FaceLandmarks | None) -> None:
        try:
            while not over.wait(0.0002):
                finder.follow(face.track_id, landmarks)
                finder.follow(10**9, landmarks)
        except Exception as error:
            failures.append(error)

    threads = [
        Thread(target=feed, args=(landmarks,))
        for landmarks in (FaceLandmarks(points, 1.0), None)]
    for thread in threads:
        thread.start()
    ids = {
        tracked.track_id for index in range(100)
        for tracked in finder.update(at(portrait, index / 30))}
    over.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert ids == {face.track_id}


def test_what_runs_is_told(finder: FaceFinder) -> None:
    assert finder.model.model == 'blazeface_full + blazeface_short'
    assert finder.model.backend in {'openvino', 'onnxruntime', 'tensorrt'}
    assert finder.model.precision
    assert [attempt.entry for attempt in finder.attempts if not attempt.reason] == [
        'blazeface_full', 'blazeface_short']


@pytest.mark.parametrize(('values', 'model', 'told'), [
    ({'near': 'off'}, 'blazeface_full', 'off: switched off by the parameters'),
    ({'near': '/nowhere/near.onnx'}, 'blazeface_full',
     '/nowhere/near.onnx: /nowhere/near.onnx: no such file'),
    ({'fallbacks': ('blazeface_short',)}, 'blazeface_short', '')])
def test_without_the_near_model_the_other_one_runs_alone(
    values: dict, model: str, told: str, models: Path, portrait: NDArray[np.uint8],
) -> None:
    with FaceFinder.open(FaceOptions(**values)) as finder:
        assert len(finder.update(at(portrait, 0))) == 1
        assert finder.model.model == model
        assert [f'{step.entry}: {step.reason}' for step in finder.attempts if step.reason] == (
            [told] if told else [])


def test_switched_off_it_finds_nobody(models: Path, portrait: NDArray[np.uint8]) -> None:
    with FaceFinder.open(FaceOptions(fallbacks=('off',))) as finder:
        assert finder.update(at(portrait, 0)) == ()
        assert finder.model.model == ''


@pytest.mark.parametrize(('values', 'message'), [
    ({'fallbacks': ('fer',)}, 'not a face detector'),
    ({'fallbacks': ('blazeface_ful',)}, 'blazeface_full'),
    ({'near': 'blazeface_full'}, "'near'.*'blazeface_short'"),
    ({'near': 'fer'}, 'not a face detector'),
    ({'primary_confidence_weight': 0.0, 'primary_size_weight': 0.0, 'primary_centre_weight': 0.0},
     'all 0'),
    ({'range': 'street'}, 'desk, room'),
    ({'detect_interval_s': -1.0}, 'detect_interval_s'),
    ({'confidence': 1.5}, 'confidence'),
    ({'lost_after_s': float('nan')}, 'lost_after_s')])
def test_bad_options_are_refused_in_one_line(values: dict, message: str, models: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        FaceFinder.open(FaceOptions(**values))
    assert '\n' not in str(caught.value)


def with_mesh(finder: FaceFinder, mesh: FaceMesh | None, frames: list[Frame]) -> list[dict]:
    """Run a clip, the mesh following where there is one; centre x of each face by id."""
    last: dict[int, FaceLandmarks] = {}
    seen = []
    for frame in frames:
        faces = finder.update(frame)
        seen.append({face.track_id: float(face.box[::2].mean()) for face in faces})
        for face in faces if mesh else ():
            known = last.pop(face.track_id, None)
            roi = roi_from_landmarks(known) if known else roi_from_detection(face.detection)
            (found,) = mesh.read(frame.image, roi[None])
            if found.presence >= 0.5:
                last[face.track_id] = found
            finder.follow(face.track_id, last.get(face.track_id))
    return seen


@pytest.fixture(params=[False, True], ids=['detector alone', 'with the mesh'])
def mesh(request: pytest.FixtureRequest, models: Path) -> Iterator[FaceMesh | None]:
    if not request.param:
        yield None
        return
    with resolve(ModelOptions(model='facemesh')).backend as backend:
        yield FaceMesh(backend)


def test_two_people_walk_past_each_other(
    finder: FaceFinder, mesh: FaceMesh | None, portrait: NDArray[np.uint8],
) -> None:
    """One passes in front of the other, who is smaller and hidden for a moment."""
    near = portrait[0:260, 110:350]
    far = cv2.resize(near[:, ::-1], None, fx=0.8, fy=0.8)
    frames = []
    for index in range(84):
        image = np.full((480, 640, 3), (186, 180, 178), np.uint8)
        for head, x, y in ((far, 440 - 5 * index, 150), (near, 5 * index - 20, 110)):
            height, width = head.shape[:2]
            left = max(0, -x)
            rows, columns = np.mgrid[:height, :width]
            inside = np.hypot(columns / width * 2 - 1, rows / height * 2 - 1) < 0.95
            area = image[y:y + height, x + left:x + width]
            area[inside[:, left:]] = head[:, left:][inside[:, left:]]
        frames.append(at(image, index / 30))
    seen = with_mesh(finder, mesh, frames)
    assert len({track_id for faces in seen for track_id in faces}) == 2
    assert [len(faces) for faces in seen].count(2) > 60
    left, right = sorted(seen[3], key=seen[3].get)
    assert seen[-1][left] > seen[-1][right]


def test_a_face_behind_a_cup_keeps_its_id(
    finder: FaceFinder, mesh: FaceMesh | None, portrait: NDArray[np.uint8],
) -> None:
    hidden = portrait.copy()
    hidden[60:190, 160:290] = (90, 60, 40)
    pictures = [portrait] * 10 + [hidden] * 18 + [portrait] * 10
    seen = with_mesh(finder, mesh, [at(image, i / 30) for i, image in enumerate(pictures)])
    assert len({track_id for faces in seen for track_id in faces}) == 1
    assert seen[9]
    assert not any(seen[20:28]), 'a face that cannot be seen is not reported'
    assert all(seen[30:]), 'and it is found again at once'
