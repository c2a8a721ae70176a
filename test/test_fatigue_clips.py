# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fatigue stage on film: labelled clips where they are, and the demo clip's known truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
import json
from pathlib import Path

import cv2
from films import clip_here, read_film
from head_films import Camera, nod_films, other_films
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.face.finder import FaceFinder
from aitable_ros.face.mesh import FaceMesh
from aitable_ros.fatigue.eyes import EyeReading
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.person import PersonFatigue
from aitable_ros.inference.chain import resolve
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.types import (
    FatigueAssessment, FatigueEvent, FatigueEventType, FatigueLevel, Frame, Validity
)

EVENT = FatigueEventType
SLEEPY = {EVENT.MICROSLEEP, EVENT.SLEEP}


Stages = tuple[FaceFinder, FatigueMonitor]


@pytest.fixture(scope='module')
def stages(models: Path) -> Iterator[Stages]:
    with FaceFinder.open() as finder, FatigueMonitor.open() as monitor:
        yield finder, monitor


def watch(
    stages: Stages, frames: Iterable[NDArray[np.uint8]], fps: float,
) -> tuple[list[FatigueAssessment], list[FatigueEvent], list[EyeReading]]:
    """Return one assessment and reading an image, of the primary person."""
    assessments, events, readings = [], [], []
    finder, monitor = stages
    finder.reset()
    monitor.reset()
    for index, image in enumerate(frames):
        frame = Frame(image, round(index / fps * 1e9))
        faces = finder.update(frame)
        update = monitor.update(frame, faces)
        for face in faces:
            finder.follow(face.track_id, update.landmarks.get(face.track_id))
        events += update.events
        assessments.append(update.assessments[faces[0].track_id] if faces else update.absent[0])
        if faces:
            readings.append(update.readings[faces[0].track_id])
    return assessments, events, readings


def clip(
    stages: Stages, data: Path, name: str, blur: float = 0.0, most: int | None = None,
) -> tuple[
        list[FatigueAssessment], list[FatigueEvent], dict, float]:
    path = clip_here(data, name)
    fps = cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS)
    labels = json.loads((data / 'labels' / f'{path.stem}.json').read_text())
    film = islice(read_film(path), most)
    if blur:
        film = (cv2.GaussianBlur(image, (0, 0), blur) for image in film)
    assessments, events, _ = watch(stages, film, fps)
    return assessments, events, labels, fps


def spans(events: Iterable[FatigueEvent], fps: float) -> list[tuple[float, float]]:
    return [
        (e.start_ns * 1e-9 * fps, (e.start_ns * 1e-9 + e.duration_s) * fps)
        for e in events if e.type is EVENT.BLINK]


def unmatched(
    found: list[tuple[float, float]], labels: list[dict],
) -> tuple[list[dict], list[tuple[float, float]]]:
    """Return the labelled without a match and the found without one; within 2 frames, 1 : 1."""
    left, missed = list(found), []
    for label in labels:
        match = next((
            span for span in left
            if span[0] <= label['end_frame'] + 2 and span[1] >= label['start_frame'] - 2), None)
        if match is None:
            missed.append(label)
        else:
            left.remove(match)
    return missed, left


def test_the_labelled_blinks_are_found(stages: Stages, shared_data: Path) -> None:
    """At 15 images a second, through glasses."""
    _, events, labels, fps = clip(stages, shared_data, 'webcam_glasses_15fps.avi', most=480)
    blinks = [blink for blink in labels['blinks'] if blink['end_frame'] < 470]
    assert len(blinks) == 6
    missed, invented = unmatched(spans(events, fps), blinks)
    hits = len(blinks) - len(missed)
    assert 2 * hits / (2 * hits + len(missed) + len(invented)) >= 0.9, (missed, invented)
    assert not {e.type for e in events} & SLEEPY


def test_the_labelled_blinks_are_found_at_thirty_images_a_second(talking_woman: Path) -> None:
    """In what `aitable evaluate` made of that film once for all tests."""
    summary = json.loads((talking_woman / 'summary.json').read_text(encoding='utf-8'))
    assert summary['scores']['blink']['f1'] >= 0.94
    assert not any(summary['events'][kind.name] for kind in SLEEPY)


def test_laughter_is_no_sleep(stages: Stages, shared_data: Path) -> None:
    assessments, events, labels, fps = clip(stages, shared_data, 'laugh_dark.mp4')
    assert unmatched(spans(events, fps), labels['blinks'])[0] == []
    assert not {e.type for e in events} & SLEEPY
    assert FatigueLevel.SEVERE not in {a.level for a in assessments}


@pytest.mark.parametrize(('name', 'blur'), [
    ('night_phone.mp4', 0.0), ('night_phone.mp4', 2.0), ('posed_expressions.mp4', 0.0),
    ('posed_expressions.mp4', 2.0), ('neutral_to_smile.mp4', 0.0)])
def test_lowered_eyes_are_no_sleep(
    stages: Stages, shared_data: Path, name: str, blur: float,
) -> None:
    assessments, events, _, _ = clip(stages, shared_data, name, blur)
    assert not {e.type for e in events} & SLEEPY
    assert not {a.level for a in assessments} & {FatigueLevel.SEVERE, FatigueLevel.ASLEEP}


def test_a_cut_to_no_face_is_told_within_a_second(stages: Stages, shared_data: Path) -> None:
    assessments, events, labels, fps = clip(stages, shared_data, 'face_then_noface.mov')
    cut = labels['face_until_frame'] + 1
    assert {a.validity for a in assessments[:cut - 2]} == {Validity.WARMING_UP}
    assert {a.validity for a in assessments[cut + round(fps):]} == {Validity.NO_FACE}
    assert not {e.type for e in events} & SLEEPY


@pytest.mark.parametrize('kind', ['nod', 'yes', 'table', 'glance'])
def test_a_nod_with_the_lids_down_is_told_and_no_other_movement(stages: Stages, kind: str) -> None:
    """A photograph turned in 3D, small: the film of each kind with the fewest images a second."""
    backend = resolve(FatigueOptions()).backend
    assert backend is not None
    films = sorted(
        (film for film in (*nod_films(), *other_films()) if film.kind == kind),
        key=lambda film: film.fps)
    told, real = 0, 0
    with backend:
        camera = Camera(FaceMesh(backend), (320, 240))
        for film in films[:1]:
            images = (shot.frame.image for shot in camera.film(film))
            _, events, _ = watch(stages, images, film.fps)
            told += sum(event.type is EVENT.NOD for event in events)
            real += len(film.nods)
    assert told == real


def test_the_demo_clip_at_any_rate(stages: Stages) -> None:
    """Every image, every other, every third, and with a fifth of them lost."""
    script = ScriptedClip(fps=30.0, seconds=22.0, size=(320, 180))
    _, _, readings = watch(stages, (frame.image for frame, _ in script), script.fps)
    kinds = {
        'blink': EVENT.BLINK, 'long_closure': EVENT.LONG_CLOSURE, 'microsleep': EVENT.MICROSLEEP}
    expected = sorted((real.start_s, kinds[real.kind]) for real in script.truth.closures)
    assert EVENT.MICROSLEEP in {kind for _, kind in expected}
    for step, drop in ((1, 0.0), (2, 0.0), (3, 0.0), (1, 0.2)):
        rng = np.random.default_rng(0)
        person = PersonFatigue(1, FatigueOptions(perclos_min_usable_s=10.0))
        events: list[FatigueEvent] = []
        for reading in readings[::step]:
            if rng.random() >= drop:
                assessment, told = person.update(reading)
                events += told
        which = f'each {step}., {drop:.0%} lost'
        assert assessment.perclos == pytest.approx(script.truth.perclos, abs=0.02), which
        told_events = sorted(
            (e.start_ns * 1e-9, e.type) for e in events if e.type is not EVENT.LEVEL_CHANGED)
        assert [kind for _, kind in told_events] == [kind for _, kind in expected], which
        assert [start for start, _ in told_events] == pytest.approx(
            [start for start, _ in expected], abs=0.1), which
