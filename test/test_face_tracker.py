# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Ids stay with their people: simulated detections of heads that move, cross, hide and leave."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from aitable_ros.face.tracker import Tracker
from aitable_ros.types import Detection, FaceLandmarks

NS = 1_000_000_000
Look = Callable[[Detection], Detection | None]
EYES = np.array([[-0.2, -0.2], [0.2, -0.2], [0, 0], [0, 0.25], [-0.5, -0.1], [0.5, -0.1]])


def face(x: float, y: float = 100.0, side: float = 50.0, confidence: float = 0.9) -> Detection:
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return Detection(box, confidence, (EYES * side + [x, y]).astype(np.float32))


def mesh(x: float, y: float = 100.0, side: float = 60.0) -> FaceLandmarks:
    """An ellipse of points as tall as a face is."""
    turn = np.linspace(0, 2 * np.pi, 478)
    points = np.stack([x + side / 2 * np.cos(turn), y + side / 2 * np.sin(turn), 0 * turn], axis=1)
    return FaceLandmarks(points.astype(np.float32), 1.0)


class Scene:
    """Feeds a tracker at a frame rate; ``step`` tells who is seen at what x."""

    def __init__(self, fps: float = 30.0, iou: float = 0.3, lost_after_s: float = 1.0) -> None:
        self.tracker, self.fps, self.iou, self.lost_after_s = Tracker(), fps, iou, lost_after_s
        self.frame = 0

    def step(
        self, detections: list[Detection] | None, closely: Look = lambda detection: detection,
    ) -> dict[int, float]:
        stamp_ns = round(self.frame / self.fps * NS)
        self.tracker.predict(stamp_ns, self.lost_after_s)
        if detections is not None:
            self.tracker.update(detections, stamp_ns, self.iou, 0.5, closely)
        self.frame += 1
        visible = (track for track in self.tracker.tracks if track.visible)
        return {track.track_id: float(track.centre[0]) for track in visible}


@pytest.mark.parametrize('every', [1, 5], ids=['every frame', 'every fifth frame'])
@pytest.mark.parametrize('fps', [7.5, 30.0])
def test_a_walking_person_keeps_one_id(fps: float, every: int) -> None:
    """Two face widths a second, through a crowd of one."""
    every = 1 if fps < 10 else every
    scene = Scene(fps)
    ids = set()
    for frame in range(int(4 * fps)):
        x = 100 + 100 * frame / fps
        seen = scene.step([face(x)] if frame % every == 0 else None)
        ids |= seen.keys()
        if frame > fps:
            assert next(iter(seen.values())) == pytest.approx(x, abs=6)
    assert len(ids) == 1


def test_two_people_cross_and_keep_their_ids() -> None:
    """They meet in the middle, where for 0.3 s the one behind is not found."""
    scene = Scene()
    ids: dict[int, list[float]] = {}
    for frame in range(90):
        left, right = 100 + 100 * frame / 30, 400 - 100 * frame / 30
        behind = abs(left - right) < 30
        found = [face(left)] + ([] if behind else [face(right, y=105.0)])
        for track_id, x in scene.step(found).items():
            ids.setdefault(track_id, []).append(x)
    assert len(ids) == 2
    first, second = (ids[track_id] for track_id in sorted(ids))
    assert [first[0], first[-1]] == pytest.approx([100, 100 + 100 * 89 / 30])
    assert [second[0], second[-1]] == pytest.approx([400, 400 - 100 * 89 / 30])


def test_an_occluded_face_is_not_reported_and_comes_back_with_its_id() -> None:
    scene = Scene()
    before = scene.step([face(100), face(300)])
    for _ in range(9):
        scene.step([face(100), face(300)])
    hidden = [scene.step([face(100)]) for _ in range(20)]
    back = scene.step([face(100), face(305)])
    assert back.keys() == before.keys()
    assert len(hidden[0]) == 2, 'one missed detection is a flicker'
    assert len(hidden[-1]) == 1, 'two thirds of a second are not'


def test_the_optimal_pairs_win_over_the_best_single_one() -> None:
    """Two people shift the same way by half a face: each detection overlaps the other's track."""
    scene = Scene(fps=5)
    scene.step([face(100), face(128)])
    before = sorted(scene.step([face(100), face(128)]).items())
    after = sorted(scene.step([face(118), face(146)]).items())
    assert [track_id for track_id, _ in before] == [track_id for track_id, _ in after]
    assert [x for _, x in after] == pytest.approx([118, 146])


def test_a_newcomer_takes_nobodys_id() -> None:
    """One of two leaves as a third arrives beyond the other: no chain of swaps."""
    scene = Scene()
    before = scene.step([face(100), face(160)])
    left, _ = sorted(before, key=before.get)
    after = scene.step([face(100), face(45)])
    assert after[left] == pytest.approx(100)
    assert sum(x == pytest.approx(45) for x in after.values()) == 1
    assert after.keys() - before.keys()


@pytest.mark.parametrize(('gone_s', 'kept'), [(0.9, True), (1.2, False)])
def test_lost_after_is_measured_in_image_time(gone_s: float, kept: bool) -> None:
    for fps in (7.0, 30.0):
        scene = Scene(fps)
        before = scene.step([face(100)])
        for _ in range(int(gone_s * fps)):
            scene.step([])
        assert (scene.step([face(100)]).keys() == before.keys()) is kept, fps


def test_ids_are_never_used_again() -> None:
    seen = []
    for _ in range(3):
        scene = Scene()
        seen += scene.step([face(100), face(300)])
        seen += scene.step([face(800)]).keys() - set(seen)
    assert len(seen) == len(set(seen)) == 9
    assert max(seen) - min(seen) == 8, 'and none is left out'


def test_only_who_is_new_is_looked_at_closely() -> None:
    looked = []

    def closely(detection: Detection) -> Detection:
        looked.append(detection)
        return face(float(detection.box[::2].mean()) + 2)

    scene = Scene()
    first = scene.step([face(100), face(300)], closely)
    assert list(first.values()) == pytest.approx([102, 302]), 'where the close look sees it'
    for frame in range(10):
        seen = scene.step([face(102 + frame), face(302)], closely)
    assert seen.keys() == first.keys()
    assert len(looked) == 2


def test_a_faint_detection_serves_known_faces_only() -> None:
    """Below the confidence: it moves a face that is there and starts none."""
    scene = Scene()
    before = scene.step([face(100), face(400, confidence=0.45)])
    for frame in range(10):
        seen = scene.step([face(102 + 2 * frame, confidence=0.35), face(400, confidence=0.45)])
    assert seen == {next(iter(before)): pytest.approx(120)}
    assert not scene.tracker.tracks[0].missed


@pytest.mark.parametrize('confidence', [0.6, 0.9])
def test_what_is_no_face_when_looked_at_closely_is_none(confidence: float) -> None:
    scene = Scene()
    for _ in range(5):
        assert not scene.step([face(100, confidence=confidence)], lambda detection: None)
    assert scene.step([face(100, confidence=confidence)]), 'it may turn to the camera later'


def test_two_answers_that_are_one_face_when_looked_at_closely_are_one() -> None:
    """A detector gives the face and, of another size, a part of it."""
    scene = Scene()
    assert len(scene.step([face(100), face(110, side=20)], lambda detection: face(100))) == 1


@pytest.mark.parametrize(('agreed', 'close', 'shown'), [
    (False, False, False), (False, True, True), (True, False, True)],
    ids=['only the detector says so', 'the close look agrees', 'the mesh agreed before'])
def test_a_face_that_the_mesh_refuses_is_looked_at_again(
    agreed: bool, close: bool, shown: bool,
) -> None:
    scene = Scene()
    (track_id,) = scene.step([face(100)])
    if agreed:
        scene.tracker.follow(track_id, mesh(100))
        scene.step([face(100)])
    for _ in range(20):
        scene.tracker.follow(track_id, None)
        seen = scene.step([face(100)], lambda detection: detection if close else None)
        assert bool(seen) is shown


def test_the_mesh_moves_a_track_in_the_detectors_own_box() -> None:
    """The two draw different boxes; the track must not jump between them."""
    scene = Scene()
    (track_id,) = scene.step([face(100)])
    for frame in range(1, 60):
        x = 100 + 4 * frame
        scene.tracker.follow(track_id, mesh(100 + 4 * (frame - 1), y=90))
        scene.step([face(x)] if frame % 5 == 0 else None)
        (track,) = scene.tracker.tracks
        assert track.centre == pytest.approx([x, 100], abs=5)
        assert track.side == pytest.approx(50, abs=0.5)
        assert not track.missed


def test_the_mesh_holds_a_face_that_the_detector_misses() -> None:
    scene = Scene()
    (track_id,) = scene.step([face(100)])
    for _ in range(90):
        assert scene.step([]).keys() == {track_id}
        scene.tracker.follow(track_id, mesh(100))


def test_a_face_that_neither_finds_is_gone_at_once() -> None:
    scene = Scene()
    (track_id,) = scene.step([face(100)])
    scene.step(None)
    scene.tracker.follow(track_id, None)
    assert not scene.step([])
    assert scene.step([face(102)]).keys() == {track_id}, 'and back with its id'


@pytest.mark.parametrize('landmarks', [
    None, mesh(float('nan')), mesh(100, side=0.0), mesh(float('inf'))],
    ids=['none', 'nan', 'a point', 'infinite'])
def test_a_useless_mesh_moves_nothing(landmarks: FaceLandmarks | None) -> None:
    scene = Scene()
    (track_id,) = scene.step([face(100)])
    scene.tracker.follow(track_id, landmarks)
    scene.tracker.follow(track_id + 1000, mesh(500))
    assert scene.step(None) == {track_id: pytest.approx(100)}


def test_two_tracks_on_one_face_become_one() -> None:
    """A mesh that slid onto the neighbour: the detector's answer decides."""
    scene = Scene()
    first = scene.step([face(100), face(200)])
    left, right = sorted(first, key=first.get)
    scene.step(None)
    for x in (130, 160, 195):
        scene.tracker.follow(left, mesh(x))
        scene.tracker.follow(right, mesh(200))
        scene.step(None)
    assert len(scene.step([face(200)])) == 1
