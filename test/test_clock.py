# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One policy for image time: what is late, what is another time, and what the stages do then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.clock import ImageTime, SECOND_NS, serialized_stamp_ns, stamp_ns, StampGuard, Step
from aitable_ros.errors import ImageError
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.pipeline import Pipeline, PipelineOptions
from aitable_ros.types import Expression

STEP_NS = SECOND_NS // 20
START_NS = 1_700_000_000 * SECOND_NS


@pytest.fixture(scope='module')
def opened(models: Path) -> Iterator[Pipeline]:
    with Pipeline(PipelineOptions().for_recordings) as pipeline:
        yield pipeline


@pytest.fixture
def pipeline(opened: Pipeline) -> Pipeline:
    """A pipeline that knows nobody."""
    opened.reset()
    return opened


@pytest.mark.parametrize(('step_s', 'found'), [
    (1e-9, Step.FORWARD), (3600.0, Step.FORWARD),  # a pause, however long
    (0.0, Step.LATE), (-0.001, Step.LATE), (-1.0, Step.LATE),
    (-1.001, Step.JUMP), (-3600.0, Step.JUMP)])
def test_a_stamp_is_late_up_to_a_second_behind(step_s: float, found: Step) -> None:
    time = ImageTime()
    assert time.step(START_NS) is Step.FORWARD
    after_ns = START_NS + round(step_s * 1e9)
    assert time.step(after_ns) is found
    assert time.late == (found is Step.LATE)
    assert time.newest_ns == (START_NS if found is Step.LATE else after_ns)


def test_lateness_is_measured_from_the_newest_not_the_last() -> None:
    """Each of three is 0.6 s before the one before it."""
    time = ImageTime()
    found = [time.step(START_NS - round(number * 0.6e9)) for number in range(3)]
    assert found == [Step.FORWARD, Step.LATE, Step.JUMP]


@pytest.mark.parametrize(('steps_s', 'refused'), [
    ([0.03] * 5, []),
    ([0.03, 3600, 0.03, 0.03], [1]),  # set forward
    ([0.03, -3600, 0.03, 0.03], [1]),  # set back
    ([0.03, 3600, -3600, 0.03], [1]),  # one wrong stamp
    ([0.03, -5, 5, 0.03], [1]),  # one wrong stamp, of a moment ago
    ([0.03, 3600, -1800, -1800, 0.03], [1, 2]),  # two wrong ones in a row
    ([0.03, -5, 0.03, 0.03], [1]),  # a short recording that plays again
    ([0.0] * 5, []),
    ([-0.5, 0.5, -0.9], []),  # late images: the stages ignore them
])
def test_the_guard_refuses_the_first_image_of_another_time(
    steps_s: list[float], refused: list[int],
) -> None:
    guard, stamp, got = StampGuard(), 10 ** 18, []
    guard.check(stamp, 0.0)
    for number, step in enumerate(steps_s):
        stamp += round(step * 1e9)
        try:
            guard.check(stamp, 0.03 * (number + 1))
        except ImageError:
            got.append(number)
    assert got == refused


def test_a_pause_is_no_jump() -> None:
    """A camera of one image in a minute; a recording that stood still."""
    guard = StampGuard()
    for minute in range(5):
        guard.check(10 ** 18 + minute * 60 * SECOND_NS, 60.0 * minute)
    guard.check(10 ** 18 + 240 * SECOND_NS + 1, 1000.0)


@pytest.mark.parametrize('late_ns', [0, 1_000_000, 900_000_000])
def test_a_late_image_changes_nothing_for_anybody(
    pipeline: Pipeline, portrait: NDArray[np.uint8], late_ns: int,
) -> None:
    for index in range(30):
        before = pipeline.process(portrait, START_NS + index * STEP_NS)
    late = pipeline.process(np.zeros_like(portrait), START_NS + 29 * STEP_NS - late_ns)
    after = pipeline.process(portrait, START_NS + 30 * STEP_NS)
    assert before.primary.emotion.expression is Expression.HAPPY
    for result in (late, after):
        assert result.primary.face.track_id == before.primary.face.track_id
        assert result.primary.emotion.expression is Expression.HAPPY
    assert late.primary.emotion.from_cache
    assert late.primary.fatigue == before.primary.fatigue
    assert after.primary.fatigue.usable_s == pytest.approx(
        before.primary.fatigue.usable_s + STEP_NS / 1e9, abs=STEP_NS / 1e9)
    assert after.primary.emotion.age_s > 0, 'the reading from before is still there'
    stages = (pipeline.faces, pipeline.fatigue, pipeline.emotion)
    assert {stage.time.newest_ns for stage in stages} == {START_NS + 30 * STEP_NS}


def test_usable_time_counts_once_with_late_images(
    pipeline: Pipeline, portrait: NDArray[np.uint8],
) -> None:
    """Every tenth image comes again, 1 ms late."""
    counted = Measurements()
    for index in range(60):
        counted.add(pipeline.process(portrait, index * STEP_NS))
        if index % 10 == 9:
            counted.add(pipeline.process(portrait, index * STEP_NS - 1_000_000))
    assert counted.duration_s == pytest.approx(60 * STEP_NS / 1e9)
    assert 0.9 * counted.duration_s < counted.usable_s <= counted.duration_s


def test_a_jump_back_begins_again_for_all(
    pipeline: Pipeline, portrait: NDArray[np.uint8],
) -> None:
    for index in range(30):
        before = pipeline.process(portrait, START_NS + index * STEP_NS)
    after = pipeline.process(portrait, START_NS - SECOND_NS)
    assert after.primary.face.track_id > before.primary.face.track_id
    assert after.primary.fatigue.usable_s < before.primary.fatigue.usable_s
    assert not after.primary.emotion.from_cache
    stages = (pipeline.faces, pipeline.fatigue, pipeline.emotion)
    assert {stage.time.newest_ns for stage in stages} == {START_NS - SECOND_NS}


def test_stamps_are_read_exactly() -> None:
    assert stamp_ns(SimpleNamespace(sec=1_700_000_000, nanosec=1)) == START_NS + 1
    for seconds, nanoseconds in ((-1, 0), (0, SECOND_NS)):
        with pytest.raises(ValueError, match='is not a time'):
            stamp_ns(SimpleNamespace(sec=seconds, nanosec=nanoseconds))


@pytest.mark.parametrize(('data', 'stamp'), [
    (bytes([0, 1, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]), 2 * SECOND_NS + 3),
    (bytes([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3]), 2 * SECOND_NS + 3),
    (b'', 0), (bytes(7), 0), (bytes([0, 1, 0, 0, 255, 255, 255, 255, 3, 0, 0, 0]), 0)])
def test_the_stamp_of_a_serialized_message_is_read_in_both_byte_orders(
    data: bytes, stamp: int,
) -> None:
    assert serialized_stamp_ns(data) == stamp
