# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is added up over a recording, whatever its stamps do: never more time than it lasts."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from aitable_ros.emotion.reader import EmotionOptions
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.replay import judge, look, Seen
from aitable_ros.fatigue.eyes import EyeReading
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.pipeline import Pipeline, PipelineOptions
from aitable_ros.recordings.readers import open_source
from aitable_ros.types import Detection, FaceResult, FrameResult, TrackedFace, Validity

SECOND = 10 ** 9
START_NS = 1_700_000_000 * SECOND


def stamps_of(rng: np.random.Generator) -> list[int]:
    """Make the stamps of a recording with all that goes wrong in them."""
    fps = float(rng.choice([7, 15, 30, 60]))
    steps = rng.normal(1 / fps, 0.1 / fps, int(rng.integers(50, 400)))
    for _ in range(int(rng.integers(0, 6))):
        at = int(rng.integers(len(steps)))
        steps[at] = rng.choice([-0.15, -0.9, -1.1, -5, -60, 0.0, 0.3, 2.0, 15.0, 3600.0])
    stamps = START_NS + np.cumsum(np.round(steps * SECOND)).astype(np.int64)
    for at in rng.integers(len(stamps) - 1, size=int(rng.integers(0, 10))):
        stamps[[at, at + 1]] = stamps[[at + 1, at]]
    return stamps.tolist()


def seen_of(rng: np.random.Generator, stamps: list[int]) -> list[Seen]:
    """Make people who come, go, blink, sleep and take turns at being the primary one."""
    people = {track: [False, False] for track in range(1, int(rng.integers(2, 5)))}
    primary = 1
    frames = []
    for stamp_ns in stamps:
        for state in people.values():
            state[0] ^= rng.random() < 0.01  # away
            state[1] ^= rng.random() < (0.3 if state[1] else 0.05)  # shut
        if rng.random() < 0.02:
            primary = int(rng.choice(list(people)))
        here = [track for track, (away, _) in people.items() if not away]
        readings = {}
        for track in here:
            ear = (0.05 if people[track][1] else 0.3) + float(rng.normal(0, 0.005))
            readings[track] = EyeReading(
                stamp_ns=stamp_ns, validity=Validity.VALID if rng.random() > 0.02
                else Validity.NO_FACE, ear_left=ear, ear_right=ear, ear=ear)
        faces = tuple(
            FaceResult(face=TrackedFace(
                track, Detection(np.array([0, 0, 99, 99], np.float32), 0.9),
                primary=track == primary)) for track in here)
        frames.append(Seen(
            FrameResult(stamp_ns=stamp_ns, faces=faces, absent=(), events=(), models={},
                        elapsed_ms={}), readings, {}, (640, 480)))
    return frames


@pytest.mark.parametrize('seed', range(60))
def test_usable_time_is_never_more_than_there_was(seed):
    rng = np.random.default_rng(seed)
    stamps = stamps_of(rng)
    leaps = {int(at) for at in rng.integers(1, len(stamps), size=int(rng.integers(0, 3)))}
    measured = Measurements()
    for index, result in enumerate(judge(seen_of(rng, stamps), FatigueOptions())):
        measured.add(result, leap=index in leaps)
        assert 0 <= measured.closed_s <= measured.usable_s <= measured.duration_s


def figures(seen: list[Seen]) -> tuple[int, float, float, float]:
    measured = Measurements()
    for result in judge(seen, FatigueOptions()):
        measured.add(result)
    return len(measured.blinks()), measured.perclos, measured.usable_s, measured.duration_s


def test_late_images_change_neither_blinks_nor_perclos(shared_data, models):
    """A pair of images exchanged every two seconds."""
    source = open_source(shared_data / 'video' / 'webcam_glasses_30fps.avi')
    source._read = lambda read=source._read: islice(read(), 600)
    options = PipelineOptions(emotion=EmotionOptions(model='off', fallbacks=()))
    with Pipeline(options.for_recordings) as pipeline:
        seen = look(source, pipeline)
    blinks, perclos, usable_s, duration_s = figures(seen)
    assert blinks
    swapped = list(seen)
    for at in range(30, len(swapped) - 1, 60):
        swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    again = figures(swapped)
    assert again[0] == blinks
    assert again[1] == pytest.approx(perclos, abs=0.01)
    assert again[2] == pytest.approx(usable_s, abs=0.5)
    assert again[3] == pytest.approx(duration_s, abs=1e-6)
