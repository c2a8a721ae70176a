# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the pipeline that answers with what a robot's nodes recorded."""

from __future__ import annotations

from dataclasses import replace
import math

from aitable_ros.clock import SECOND_NS, Step
from aitable_ros.closing import Closing
from aitable_ros.fatigue.closures import ClosureTracker
from aitable_ros.fatigue.eyes import EyeReading, open_eye
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.roster import Roster
from aitable_ros.pipeline import PipelineOptions
from aitable_ros.posture_types import PostureUpdate
from aitable_ros.recordings.recorded_topics import AnsweredFrame, RecordedTopics
from aitable_ros.types import FatigueAssessment, Frame, FrameResult, Validity

LEAST_REPEATED_S = 1.0
"""A reading is repeated for as long as this, or two intervals, and not over a pause of the node."""


class _NoStage:
    """A stage of the pipeline that does not run."""

    attempts = ()

    def configure(self, options: object) -> None:
        """Ignore the options."""


class RecordedPipeline(Closing):
    """
    Answers each :class:`AnsweredFrame` with its recorded result.

    Messages do not carry the usable and closed time of a person. Both are counted from the recorded
    openness, by the rule of the fatigue stage. Posture is read several times a second: images
    between two readings repeat the answer, as in the pipeline.

    :param source: whose frames are answered
    """

    def __init__(self, options: PipelineOptions, source: RecordedTopics) -> None:
        self.options = options
        self.faces = self.fatigue = self.emotion = _NoStage()
        self.posture = _NoStage() if source.has_posture else None
        self._sitting = PostureUpdate()
        self._read_ns = 0
        self._people = Roster(lambda track_id: _EyeTime(self.options.fatigue))

    def reset(self) -> None:
        """Forget everybody."""
        self._people.known.clear()
        self._people.time.reset()
        self._sitting = PostureUpdate()

    def close(self) -> None:
        """Free nothing: no model is loaded."""

    def process_frame(self, frame: Frame) -> FrameResult:
        """Return the recorded result of a frame, with usable and closed time."""
        assert isinstance(frame, AnsweredFrame)
        faces = frame.result.faces
        step = self._people.begin(frame.stamp_ns)
        if step is Step.JUMP:
            self._people.known.clear()
            self._sitting = PostureUpdate()
        if step is not Step.LATE:
            self._people.meet(
                frame.stamp_ns, {face.face.track_id: face.face.box for face in faces},
                self.options.fatigue.forget_s)
        return replace(frame.result, posture=self._repeated(frame.result), faces=tuple(
            face if face.fatigue is None else replace(face, fatigue=self._timed(face.fatigue))
            for face in faces))

    def _repeated(self, result: FrameResult) -> PostureUpdate | None:
        """Return the posture of a frame: the reading, or the one before it."""
        found = result.posture
        if found is None:
            return None
        if found.read:
            self._sitting, self._read_ns = found, result.stamp_ns
            return found
        longest_s = max(LEAST_REPEATED_S, 2 * self.options.posture.interval_s)
        if result.stamp_ns - self._read_ns > longest_s * SECOND_NS:
            self._sitting = PostureUpdate()
        return replace(self._sitting, read=False, events=found.events)

    def _timed(self, state: FatigueAssessment) -> FatigueAssessment:
        known = self._people.known.get(state.track_id)
        if known is None:
            return state
        if state.validity is not Validity.NO_FACE:
            known.seen_ns = state.stamp_ns
        known.memory.add(state)
        return replace(
            state, usable_s=known.memory.usable_ns * 1e-9,
            closed_s=known.memory.closed_ns * 1e-9)


class _EyeTime:
    """Usable and closed time of one person's eyes."""

    def __init__(self, options: FatigueOptions) -> None:
        self.usable_ns = self.closed_ns = 0
        self._options = options
        self._lids = ClosureTracker(options, self._credit)

    def continue_as(self, track_id: int) -> None:
        """Count from zero under another track, as the fatigue stage does."""
        self.usable_ns = self.closed_ns = 0

    def add(self, state: FatigueAssessment) -> None:
        if not math.isfinite(state.openness):
            self._lids.expire(state.stamp_ns)
            return
        fixed, shut, base = (
            self._options.ear_closed, self._options.ear_shut, state.baseline_ear)
        ear = (state.openness * (1 - shut) + shut) * base
        reading = EyeReading(
            state.stamp_ns, Validity.VALID, state.ear_left, state.ear_right, ear,
            head_yaw=state.head_yaw)
        lids = float(ear >= fixed) if fixed else (open_eye(reading) / base - shut) / (1 - shut)
        self._lids.add(
            state.stamp_ns, lids, state.head_pitch, state.calibrated or bool(fixed))

    def _credit(self, start_ns: int, end_ns: int, closed: bool) -> None:
        self.usable_ns += end_ns - start_ns
        if closed:
            self.closed_ns += end_ns - start_ns
