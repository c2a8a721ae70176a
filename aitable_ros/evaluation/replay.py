# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Keep the readings of a recording, and judge them again under other fatigue thresholds.

Vision takes milliseconds a frame, judging its readings microseconds: a recording is looked at once
and judged as often as one likes. Some kilobytes a frame are kept, no images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from aitable_ros.fatigue.eyes import EyeReading, read_faces
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.people import People
from aitable_ros.pipeline import Pipeline
from aitable_ros.recordings.source import Source
from aitable_ros.types import (
    FaceLandmarks, FatigueAssessment, FatigueEvent, Frame, FrameResult, TrackedFace
)

VISION = ('min_presence', 'proof', 'proof_interval_s')
"""Fatigue options on which the vision depends: the mesh is followed, or not, by them."""
EYES = ('max_yaw', 'max_pitch', 'min_eye_px')
"""Fatigue options on which the readings depend, and not the vision."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """
    One frame without its image.

    :param result: of the pipeline, without landmarks and fatigue
    :param readings: of each face, by track
    :param landmarks: of each face that has a mesh, by track; empty where they are not kept
    :param size: width and height of the image
    """

    result: FrameResult
    readings: dict[int, EyeReading]
    landmarks: dict[int, FaceLandmarks]
    size: tuple[int, int]


def look(
    source: Source, pipeline: Pipeline, *, landmarks: bool = False,
    progress: Callable[[int], None] = lambda frames: None,
) -> list[Seen]:
    """
    Run the models over a recording once.

    :param landmarks: keep them too, 6 kB a face
    """
    seen = []
    options = pipeline.options.fatigue
    pipeline.reset()
    with closing(iter(source)) as frames:
        for index, frame in enumerate(frames):
            if source.stills and index:
                pipeline.reset()
            result = pipeline.process_frame(frame)
            faces = [face.face for face in result.faces]
            meshes = {face.face.track_id: face.landmarks for face in result.faces
                      if face.landmarks is not None}
            seen.append(Seen(
                result=replace(result, absent=(), events=(), faces=tuple(
                    replace(face, landmarks=None, fatigue=None) for face in result.faces)),
                readings=read_faces(
                    faces, meshes, frame.stamp_ns, frame.width, frame.height, options),
                landmarks=meshes if landmarks else {}, size=(frame.width, frame.height)))
            progress(index + 1)
    return seen


def read_again(seen: Sequence[Seen], options: FatigueOptions) -> list[Seen]:
    """Read the eyes of kept landmarks under other options."""
    return [
        replace(frame, readings=read_faces(
            [face.face for face in frame.result.faces], frame.landmarks, frame.result.stamp_ns,
            *frame.size, options))
        for frame in seen]


def judge(seen: Iterable[Seen], options: FatigueOptions) -> Iterator[FrameResult]:
    """Yield the results of the frames as the pipeline would give them under these thresholds."""
    people = People(options)
    for frame in seen:
        judgement = people.update(frame.result.stamp_ns, frame.readings, {
            face.face.track_id: face.face.box for face in frame.result.faces})
        yield _with(frame.result, judgement.assessments, judgement.events)


def _with(
    result: FrameResult, assessments: dict[int, FatigueAssessment], events: Sequence[FatigueEvent],
) -> FrameResult:
    return replace(result, events=tuple(events), faces=tuple(
        replace(face, fatigue=assessments.get(face.face.track_id)) for face in result.faces))


def feel(
    source: Source, seen: Sequence[Seen], pipeline: Pipeline,
    progress: Callable[[int], None] = lambda frames: None,
) -> Iterator[FrameResult]:
    """Decode a recording again for the emotion stage alone, on the faces found before."""
    pipeline.emotion.reset()
    with closing(iter(source)) as frames:
        for index, (frame, known) in enumerate(zip(frames, seen)):
            if source.stills and index:
                pipeline.emotion.reset()
            faces = [face.face for face in known.result.faces]
            yield _feeling(pipeline, frame, faces, known.result)
            progress(index + 1)


def _feeling(
    pipeline: Pipeline, frame: Frame, faces: Sequence[TrackedFace], result: FrameResult,
) -> FrameResult:
    found = pipeline.emotion.update(frame, faces)
    return replace(result, faces=tuple(
        replace(face, emotion=found.get(face.face.track_id)) for face in result.faces))
