# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fatigue stage on images: real meshes of a real face, and people who come and go."""

from __future__ import annotations

from collections.abc import Iterator
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.errors import InputError
from aitable_ros.face.mesh import roi_from_detection
from aitable_ros.fatigue.eyes import LEFT_EYE, read_eyes, RIGHT_EYE
from aitable_ros.fatigue.head_pose import CANONICAL_FACE, head_angles, NodDetector
from aitable_ros.fatigue.monitor import FatigueMonitor, FatigueUpdate
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.types import Detection, FaceLandmarks, FatigueLevel, Frame, TrackedFace, Validity

BOX = np.array([172, 66, 278, 172], np.float32)
EYES = np.array([[204, 102], [246, 104.5]], np.float32)
"""The portrait's face."""
STEP_NS = 33_000_000


def face(track_id: int = 1, shift: float = 0.0, detected: bool = True) -> TrackedFace:
    offset = np.float32([shift, 0])
    detection = Detection(BOX + np.float32([shift, 0, shift, 0]), 0.9, EYES + offset)
    return TrackedFace(track_id, detection, primary=track_id == 1, detected=detected)


@pytest.fixture(scope='module')
def opened(models: Path) -> Iterator[FatigueMonitor]:
    with FatigueMonitor.open(FatigueOptions(baseline_warm_up_s=0.7)) as monitor:
        yield monitor


@pytest.fixture
def monitor(opened: FatigueMonitor) -> FatigueMonitor:
    opened.reset()
    return opened


def show(
    monitor: FatigueMonitor, image: NDArray[np.uint8], frames: int, start_ns: int = 0,
    faces: tuple[TrackedFace, ...] | None = None,
) -> FatigueUpdate:
    for k in range(frames):
        update = monitor.update(
            Frame(image, start_ns + k * STEP_NS), (face(),) if faces is None else faces)
    return update


def test_the_portrait_is_awake(monitor: FatigueMonitor, portrait: NDArray[np.uint8]) -> None:
    update = show(monitor, portrait, 20)
    assessment, reading = update.assessments[1], update.readings[1]
    assert reading.validity is Validity.VALID
    assert 0.2 < reading.ear < 0.45
    assert assessment.openness > 0.8
    assert not assessment.eyes_closed
    assert assessment.validity is Validity.WARMING_UP
    assert update.landmarks[1].points.shape == (478, 3)
    assert abs(reading.head_pitch) < 0.35
    assert abs(reading.head_yaw) < 0.35
    assert monitor.model.model == 'facemesh'


def test_two_faces_are_read_as_well_as_one(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    both = np.hstack([portrait, portrait])
    update = show(monitor, both, 5, faces=(face(1), face(2, 512.0)))
    assert update.readings[1].ear == pytest.approx(update.readings[2].ear, abs=0.01)
    assert set(update.assessments) == {1, 2}


def test_the_mesh_follows_a_face_that_moves_away_from_a_stale_box(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    stale = (face(detected=False),)
    for k in range(16):
        moved = np.roll(portrait, 3 * k, axis=1)
        update = monitor.update(Frame(moved, k * STEP_NS), stale)
    x1, _, x2, _ = update.landmarks[1].box
    assert (x1 + x2) / 2 == pytest.approx((BOX[0] + BOX[2]) / 2 + 45, abs=8)


def test_a_box_elsewhere_takes_the_mesh_there(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    both = np.hstack([portrait, portrait])
    show(monitor, both, 3)
    update = show(monitor, both, 1, 10**9, (face(1, 512.0),))
    assert update.landmarks[1].box[0] > 512


def test_a_crop_without_a_face_has_none(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    show(monitor, portrait, 3)
    update = show(monitor, np.full_like(portrait, 90), 1, 10**9)
    assert update.landmarks == {}
    assert update.assessments[1].validity is Validity.NO_FACE
    assert math.isnan(update.assessments[1].openness)
    update = show(monitor, portrait, 1, 2 * 10**9)
    assert update.readings[1].validity is Validity.VALID


def test_eyes_beyond_the_edge_are_occluded(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    cut = np.ascontiguousarray(portrait[:, 215:])
    update = show(monitor, cut, 4, faces=(face(1, -215.0),))
    assert update.readings[1].validity in (Validity.OCCLUDED, Validity.NO_FACE)
    assert math.isnan(update.readings[1].ear)


def test_a_small_face_is_not_read(monitor: FatigueMonitor, portrait: NDArray[np.uint8]) -> None:
    small = cv2.resize(portrait, None, fx=0.15, fy=0.15, interpolation=cv2.INTER_AREA)
    faces = (TrackedFace(1, Detection(BOX * 0.15, 0.9, EYES * 0.15)),)
    assert show(monitor, small, 3, faces=faces).readings[1].validity is not Validity.VALID


def test_who_leaves_is_missed_and_then_forgotten(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    show(monitor, portrait, 3)
    missed = show(monitor, portrait, 1, 10**9, ())
    assert [(a.track_id, a.validity, a.level) for a in missed.absent] == [
        (1, Validity.NO_FACE, FatigueLevel.UNKNOWN)]
    forgotten = show(monitor, portrait, 1, 12 * 10**9, ())
    assert [(a.track_id, a.validity) for a in forgotten.absent] == [(0, Validity.NO_FACE)]


def test_nobody_is_told_as_nobody(monitor: FatigueMonitor, portrait: NDArray[np.uint8]) -> None:
    update = show(monitor, portrait, 1, 5, ())
    assert [(a.track_id, a.stamp_ns, a.validity) for a in update.absent] == [
        (0, 5, Validity.NO_FACE)]
    assert update.assessments == {}


def test_the_watchdog_changes_nothing(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    assert [a.track_id for a in monitor.absent(7)] == [0]
    show(monitor, portrait, 5)
    [absent] = monitor.absent(10**9)
    assert (absent.track_id, absent.stamp_ns, absent.validity) == (1, 10**9, Validity.NO_FACE)
    assert absent.level is FatigueLevel.UNKNOWN
    assert math.isnan(absent.openness)
    update = show(monitor, portrait, 1, 5 * STEP_NS)
    assert update.note == ''
    assert update.readings[1].validity is Validity.VALID


@pytest.mark.parametrize('back_ns', [0, 20_000_000])
def test_a_stamp_that_does_not_rise_is_ignored_and_said(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8], back_ns: int,
) -> None:
    before = show(monitor, portrait, 5)
    late = monitor.time.late
    again = monitor.update(Frame(portrait, 4 * STEP_NS - back_ns), (face(),))
    assert 'ignored' in again.note
    assert monitor.time.late == late + 1
    assert again.assessments == before.assessments
    assert again.events == ()


def test_a_bag_that_loops_starts_anew_and_says_so(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    show(monitor, portrait, 30, 50 * 10**9)
    update = monitor.update(Frame(portrait, 0), (face(2),))
    assert 'time jumped back by 51.0 s' in update.note
    assert update.absent == ()
    assert not update.assessments[2].calibrated


def test_calibrate_pins_who_is_there(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    with pytest.raises(InputError, match='nobody to calibrate'):
        monitor.calibrate()
    show(monitor, portrait, 40)
    pinned = monitor.calibrate()
    update = show(monitor, portrait, 1, 40 * STEP_NS)
    assert update.assessments[1].calibrated
    assert update.assessments[1].baseline_ear == pinned[1]


@pytest.mark.parametrize('keep', [False, True])
def test_a_baseline_survives_a_reset_on_request(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8], keep: bool,
) -> None:
    options = monitor.options
    try:
        monitor.configure(FatigueOptions(baseline_warm_up_s=0.7, keep_baselines=keep))
        learned = show(monitor, portrait, 40).assessments[1].baseline_ear
        monitor.reset()
        update = show(monitor, portrait, 1, 10**10, (face(2),))
        assert update.assessments[2].calibrated is keep
        assert (update.assessments[2].baseline_ear == pytest.approx(learned, abs=0.01)) is keep
    finally:
        monitor.configure(options)


def test_no_model_no_answer(portrait: NDArray[np.uint8]) -> None:
    with FatigueMonitor.open(FatigueOptions(fallbacks=('off',))) as off:
        assert show(off, portrait, 1).assessments == {}
        assert off.model.model == ''


# --- head pose ------------------------------------------------------------------------------------

def turned(roll: float, pitch: float, yaw: float) -> NDArray[np.float32]:
    """Return a mesh whose rigid points are the canonical face, turned (REP-103) and projected."""
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    rotation = (
        np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]]))
    points = np.zeros((478, 3), np.float32)
    for index, (x, y, z) in CANONICAL_FACE.items():
        forward, left, up = rotation @ (z, x, y)
        points[index] = (320 + 9 * left, 240 - 9 * up, -9 * forward)
    return points


@pytest.mark.parametrize('angles', [
    (0, 0, 0), (0.4, 0, 0), (0, 0.5, 0), (0, 0, 0.7), (-0.3, -0.4, -0.6), (0.2, 0.3, 0.9)])
def test_head_angles_are_rep_103(angles: tuple[float, float, float]) -> None:
    assert head_angles(turned(*angles)) == pytest.approx(angles, abs=1e-4)


def test_a_portrait_turned_on_the_screen_rolls(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    level = show(monitor, portrait, 3).readings[1].head_roll
    centre = ((BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2)
    # Clockwise on the screen: the person's left eye (right in the image) goes down, and the head
    # tilts to the left shoulder.
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), -20, 1.0)
    tilted = cv2.warpAffine(portrait, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    eyes = EYES @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    faces = (TrackedFace(2, Detection(BOX, 0.9, eyes)),)
    rolled = show(monitor, tilted, 3, 10**9, faces).readings[2].head_roll
    assert rolled - level == pytest.approx(-math.radians(20), abs=0.06)


def test_an_eye_turned_away_weighs_less() -> None:
    def mesh(yaw: float) -> FaceLandmarks:
        points = turned(0, 0, yaw)
        for eye, height in ((LEFT_EYE, 8), (RIGHT_EYE, 2)):
            outer, inner = points[eye[0], :2], points[eye[3], :2]
            for upper, lower, at in ((1, 5, 0.3), (2, 4, 0.7)):
                middle = outer + at * (inner - outer)
                points[eye[upper], :2] = middle - (0, height / 2)
                points[eye[lower], :2] = middle + (0, height / 2)
        points[78, :2], points[308, :2] = (300, 280), (340, 280)
        return FaceLandmarks(points, 1.0)

    def far(yaw: float) -> float:
        reading = read_eyes(mesh(yaw), 0, 640, 480, FatigueOptions())
        return (reading.ear - reading.ear_right) / (reading.ear_left - reading.ear_right)
    assert far(0.0) == pytest.approx(0.5, abs=0.02)
    assert far(0.3) == pytest.approx(0.25, abs=0.02)  # looks to the person's left
    assert far(-0.3) == pytest.approx(0.75, abs=0.02)
    assert far(0.65) == pytest.approx(0.0, abs=0.01)
    assert read_eyes(mesh(0.9), 0, 640, 480, FatigueOptions()).validity \
        is Validity.POSE_OUT_OF_RANGE


@pytest.mark.parametrize(('back_s', 'drop', 'lids_down', 'nods'), [
    (0.5, 0.3, True, 1), (0.5, 0.3, None, 0), (0.5, 0.3, False, 0), (0.5, 0.2, True, 0),
    (2.8, 0.3, True, 0), (None, 0.3, True, 0)],
    ids=['a nod', 'eyes out of sight', 'eyes open', 'too small', 'too slow', 'stays down'])
def test_nods(back_s: float | None, drop: float, lids_down: bool | None, nods: int) -> None:
    detector = NodDetector(0.262, 3.0)
    found = []
    for k in range(300):
        t = k / 30
        pitch = drop * min(1.0, max(0.0, (t - 3) / 0.5))
        if back_s is not None:
            pitch -= drop * min(1.0, max(0.0, (t - 3.5 - back_s) / 0.5))
        nod = detector.add(round(t * 1e9), pitch, lids_down)
        found += [nod] if nod else []
    assert len(found) == nods


def test_the_crop_of_a_detection_fits_the_mesh(
    monitor: FatigueMonitor, portrait: NDArray[np.uint8],
) -> None:
    update = show(monitor, portrait, 1)
    cx, cy, size, _ = roi_from_detection(face().detection)
    x1, y1, x2, y2 = update.landmarks[1].box
    assert cx - size / 2 < x1 < x2 < cx + size / 2
    assert cy - size / 2 < y1 < y2 < cy + size / 2
