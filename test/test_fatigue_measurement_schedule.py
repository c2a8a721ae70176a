# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Who is measured when: the primary face in each image, the others as often as is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.fatigue.measurement_schedule import MeasurementSchedule
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.types import Detection, Frame, TrackedFace

SECONDS = 10


def people(count: int) -> list[TrackedFace]:
    box = np.array([0, 0, 9, 9], np.float32)
    return [TrackedFace(number, Detection(box, 0.9), primary=number == 1)
            for number in range(1, count + 1)]


@pytest.mark.parametrize(('camera', 'others', 'count', 'each', 'most'), [
    pytest.param(30, 15, 4, 15, 3, id='every second image, evenly spread'),
    pytest.param(30, 15, 2, 15, 2, id='one other'),
    pytest.param(25, 15, 4, 15, 3, id='a rate that does not divide'),
    pytest.param(12, 15, 4, 12, 4, id='a slow camera: everybody in every image'),
    pytest.param(60, 15, 5, 15, 2, id='a fast camera'),
    pytest.param(30, 0, 4, 30, 4, id='0 means every image'),
])
@pytest.mark.parametrize('jitter_ns', [0, 3_000_000])
def test_the_others_take_turns(
    camera: int, others: float, count: int, each: float, most: int, jitter_ns: int,
) -> None:
    turns, faces = MeasurementSchedule(), people(count)
    rng = np.random.default_rng(camera)
    measured: dict[int, list[int]] = {face.track_id: [] for face in faces}
    sizes = []
    for index in range(camera * SECONDS):
        now = 10 ** 9 + round(index * 1e9 / camera) + int(rng.uniform(-1, 1) * jitter_ns)
        chosen = turns.choose(
            now, faces, [key for key, stamps in measured.items() if stamps], others)
        sizes.append(len(chosen))
        assert [face.track_id for face in chosen] == sorted(face.track_id for face in chosen)
        for face in chosen:
            measured[face.track_id].append(now)
    assert sizes[0] == count, 'who is new is measured at once'
    assert max(sizes[1:]) <= most + bool(jitter_ns)
    assert len(measured[1]) == camera * SECONDS
    for track_id in range(2, count + 1):
        assert len(measured[track_id]) == pytest.approx(each * SECONDS, rel=0.03)
        gaps = np.diff(measured[track_id]) * 1e-9
        assert gaps.max() < 2 / each + 2 * jitter_ns * 1e-9, 'nobody waits two turns'


def test_figures_stay_between_two_turns(models: Path, portrait: NDArray[np.uint8]) -> None:
    """A face that is not measured keeps its figures, and what they say stays true to their time."""
    face = TrackedFace(7, Detection(np.array([172, 70, 282, 190], np.float32), 0.9))
    with FatigueMonitor.open(FatigueOptions(others_fps=15.0)) as monitor:
        updates = [
            monitor.update(Frame(portrait, 10 ** 9 + index * 33_333_333), [face])
            for index in range(9)]
    measured = [bool(update.measured) for update in updates]
    assert measured == [True, False] * 4 + [True]
    for index, update in enumerate(updates):
        assert update.assessments[7].stamp_ns == 10 ** 9 + (index - index % 2) * 33_333_333
        assert update.landmarks[7] is updates[index - index % 2].landmarks[7]
        assert not update.absent
