# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
From a frame to everything known about the people in it: detect, track, choose, read, judge.

No ROS and no input or output here; the nodes, the evaluation and five lines of Python share it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aitable_ros.closing import Closing
from aitable_ros.config import read_options
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.face.finder import FaceFinder, FaceOptions
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.options import Options
from aitable_ros.posture.options import PostureOptions
from aitable_ros.types import FaceResult, Frame, FrameResult, ModelInfo

if TYPE_CHECKING:
    from aitable_ros.posture.monitor import PostureMonitor


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """
    The options of the stages.

    >>> from aitable_ros import PipelineOptions
    >>> PipelineOptions().face.confidence
    0.5
    """

    face: FaceOptions = field(default_factory=FaceOptions)
    fatigue: FatigueOptions = field(default_factory=FatigueOptions)
    emotion: EmotionOptions = field(default_factory=EmotionOptions)
    posture: PostureOptions = field(default_factory=PostureOptions)

    @classmethod
    def from_file(
        cls, path: str | Path, warn: Callable[[str], None] | None = None,
    ) -> PipelineOptions:
        """
        Read the same YAML that the nodes take.

        :param warn: called with each ignored name, misspelt ones above all; None refuses them
        :raises InputError: the file, or a parameter in it, cannot be used
        """
        kinds: dict[str, type[Options]] = {
            'face_detector': FaceOptions, 'fatigue': FatigueOptions, 'emotion': EmotionOptions,
            'posture': PostureOptions}
        face, fatigue, emotion, posture = read_options(path, kinds, warn).values()
        assert isinstance(face, FaceOptions)
        assert isinstance(fatigue, FatigueOptions)
        assert isinstance(emotion, EmotionOptions)
        assert isinstance(posture, PostureOptions)
        return cls(face=face, fatigue=fatigue, emotion=emotion, posture=posture)

    @property
    def for_recordings(self) -> PipelineOptions:
        """The same where nothing waits for the answer: nobody is measured less often."""
        return replace(
            self, fatigue=replace(self.fatigue, others_fps=0.0),
            emotion=replace(self.emotion, others_interval_s=0.0),
            posture=replace(self.posture, others_interval_s=0.0))


class Pipeline(Closing):
    """
    Faces, fatigue, emotion and posture of each frame, on the caller's thread.

    Posture is read where its options enable it. Frames must come in the order of their stamps. A
    context manager; :meth:`close` frees the models.

    :raises InputError: a required model cannot be loaded

    >>> import numpy as np
    >>> from aitable_ros import Pipeline
    >>> with Pipeline() as pipeline:
    ...     result = pipeline.process(np.zeros((480, 640, 3), np.uint8), stamp_ns=0)
    >>> result.faces
    ()
    """

    def __init__(self, options: PipelineOptions | None = None) -> None:
        self.options = options or PipelineOptions()
        with ExitStack() as opened:
            self.faces = opened.enter_context(FaceFinder.open(self.options.face))
            self.fatigue = opened.enter_context(FatigueMonitor.open(self.options.fatigue))
            self.emotion = opened.enter_context(EmotionReader.open(self.options.emotion))
            self.posture = opened.enter_context(_open_posture(self.options.posture)) \
                if self.options.posture.enabled else None
            self._opened = opened.pop_all()

    @property
    def models(self) -> dict[str, ModelInfo]:
        """The models in use, by stage."""
        models = {
            'face': self.faces.model, 'mesh': self.fatigue.model, 'emotion': self.emotion.model}
        if self.posture is not None:
            models['posture'] = self.posture.model
        return models

    def process(self, image: NDArray[np.uint8], stamp_ns: int) -> FrameResult:
        """
        Read one image.

        :param image: ``(height, width, 3)`` uint8 RGB
        :param stamp_ns: when it was taken, nanoseconds of any clock that only moves forward
        """
        return self.process_frame(Frame(image, stamp_ns))

    def process_frame(self, frame: Frame) -> FrameResult:
        """Read one frame."""
        start = perf_counter()
        faces = self.faces.update(frame)
        found = perf_counter()
        posture = self.posture.update(frame, faces) \
            if self.posture is not None and self.posture.model.model else None
        seated = perf_counter()
        fatigue = self.fatigue.update(frame, faces, posture.slumped) \
            if posture is not None else self.fatigue.update(frame, faces)
        if self.fatigue.model.model:
            for track_id in fatigue.measured:
                self.faces.follow(track_id, fatigue.landmarks.get(track_id))
        judged = perf_counter()
        emotions = self.emotion.update(frame, faces)
        read = perf_counter()
        return FrameResult(
            stamp_ns=frame.stamp_ns,
            faces=tuple(
                FaceResult(
                    face=face,
                    landmarks=fatigue.landmarks.get(face.track_id),
                    emotion=emotions.get(face.track_id),
                    fatigue=fatigue.assessments.get(face.track_id))
                for face in faces),
            absent=fatigue.absent,
            events=fatigue.events,
            models=self.models,
            elapsed_ms={
                'face': (found - start) * 1e3,
                'fatigue': (judged - seated) * 1e3,
                'emotion': (read - judged) * 1e3,
                **({} if posture is None else {'posture': (seated - found) * 1e3})},
            posture=posture,
        )

    def reset(self) -> None:
        """Forget everybody, as before a new recording."""
        for stage in (self.faces, self.fatigue, self.emotion, self.posture):
            if stage is not None:
                stage.reset()

    def close(self) -> None:
        """Free the models. Idempotent."""
        self._opened.close()


def _open_posture(options: PostureOptions) -> PostureMonitor:
    """Load the stage, which nobody imports who does not enable it."""
    from aitable_ros.posture.monitor import PostureMonitor

    return PostureMonitor.open(options)
