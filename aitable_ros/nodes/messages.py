# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Our values to messages and back.

Times go through integers of nanoseconds, exact both ways; a duration that is not known (NaN) is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from builtin_interfaces.msg import Duration
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point32
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from aitable_msgs.msg import Emotion
from aitable_msgs.msg import Face
from aitable_msgs.msg import FaceArray
from aitable_msgs.msg import FatigueEvent as FatigueEventMessage
from aitable_msgs.msg import FatigueState
from aitable_ros.types import Detection
from aitable_ros.types import EmotionEstimate
from aitable_ros.types import Expression
from aitable_ros.types import FatigueAssessment
from aitable_ros.types import FatigueEvent
from aitable_ros.types import FatigueEventType
from aitable_ros.types import FatigueLevel
from aitable_ros.types import FatigueReason
from aitable_ros.types import Frame
from aitable_ros.types import ModelInfo
from aitable_ros.types import TrackedFace
from aitable_ros.types import Validity

SECOND_NS = 1_000_000_000


def stamp_ns(time: Time) -> int:
    """
    Return a stamp as nanoseconds.

    :raises ValueError: the message holds what no clock shows (negative, or over a second of ns)
    """
    if time.sec < 0 or time.nanosec >= SECOND_NS:
        raise ValueError(f'stamp {time.sec} s + {time.nanosec} ns is not a time')
    return int(time.sec) * SECOND_NS + int(time.nanosec)


def time_message(nanoseconds: int) -> Time:
    """Return nanoseconds as a stamp."""
    seconds, rest = divmod(nanoseconds, SECOND_NS)
    return Time(sec=seconds, nanosec=rest)


def duration_message(seconds: float) -> Duration:
    """Return seconds as a duration; NaN, and what an int32 of seconds cannot hold, as 0."""
    if not math.isfinite(seconds) or abs(seconds) >= 2 ** 31:
        return Duration()
    whole, rest = divmod(round(seconds * SECOND_NS), SECOND_NS)
    return Duration(sec=whole, nanosec=rest)


def duration_s(duration: Duration) -> float:
    """Return a duration as seconds."""
    return (int(duration.sec) * SECOND_NS + int(duration.nanosec)) / SECOND_NS


def header_of(frame: Frame) -> Header:
    """Return the header of the image that a frame was decoded from, as it came."""
    return Header(stamp=time_message(frame.stamp_ns), frame_id=frame.frame_id)


def roi_message(box: NDArray[np.floating[Any]], width: int, height: int) -> RegionOfInterest:
    """
    Return a box as whole pixels inside the image.

    :param box: ``(4,)`` ``[x1, y1, x2, y2]``
    """
    limits = (width, height, width, height)
    x1, y1, x2, y2 = (
        min(max(round(float(value)), 0), limit) for value, limit in zip(box, limits))
    return RegionOfInterest(
        x_offset=x1, y_offset=y1, width=max(x2 - x1, 0), height=max(y2 - y1, 0))


def box_of(roi: RegionOfInterest) -> NDArray[np.floating[Any]]:
    """Return a region as ``(4,)`` float32 ``[x1, y1, x2, y2]``."""
    return np.array(
        [roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height],
        np.float32)


def face_array_message(
    frame: Frame, faces: Sequence[TrackedFace], model: ModelInfo,
) -> FaceArray:
    """Return the faces of one frame as a message."""
    return FaceArray(
        header=header_of(frame),
        faces=[
            Face(
                track_id=face.track_id,
                primary=face.primary,
                confidence=float(face.detection.confidence),
                roi=roi_message(face.box, frame.width, frame.height),
                keypoints=[
                    Point32(x=float(x), y=float(y)) for x, y in face.detection.keypoints])
            for face in faces],
        model=model.model, backend=model.backend, precision=model.precision)


def faces_of(message: FaceArray) -> tuple[TrackedFace, ...]:
    """Return the faces of a message, in its order."""
    return tuple(
        TrackedFace(
            track_id=int(face.track_id),
            detection=Detection(
                box=box_of(face.roi),
                confidence=float(face.confidence),
                keypoints=np.array(
                    [(point.x, point.y) for point in face.keypoints], np.float32).reshape(-1, 2)),
            primary=bool(face.primary))
        for face in message.faces)


def model_of(message: FaceArray | Emotion | FatigueState) -> ModelInfo:
    """Return what produced a message."""
    return ModelInfo(message.model, message.backend, message.precision)


def emotion_message(
    frame: Frame, face: TrackedFace, estimate: EmotionEstimate, model: ModelInfo,
) -> Emotion:
    """Return one face's emotion as a message."""
    return Emotion(
        header=header_of(frame),
        track_id=estimate.track_id,
        primary=face.primary,
        roi=roi_message(face.box, frame.width, frame.height),
        expression=int(estimate.expression),
        confidence=float(estimate.confidence),
        probabilities=np.asarray(estimate.probabilities, np.float32),
        valence=float(estimate.valence),
        arousal=float(estimate.arousal),
        model=model.model, backend=model.backend, precision=model.precision,
        from_cache=bool(estimate.from_cache),
        age=duration_message(estimate.age_s))


def emotion_of(message: Emotion) -> EmotionEstimate:
    """Return the estimate that a message carries."""
    return EmotionEstimate(
        track_id=int(message.track_id),
        expression=Expression(message.expression),
        confidence=float(message.confidence),
        probabilities=np.asarray(message.probabilities, np.float32),
        valence=float(message.valence),
        arousal=float(message.arousal),
        from_cache=bool(message.from_cache),
        age_s=duration_s(message.age))


def fatigue_message(
    header: Header, assessment: FatigueAssessment, model: ModelInfo, *, primary: bool = False,
) -> FatigueState:
    """
    Return one person's fatigue as a message.

    :param header: of the image that it belongs to
    """
    return FatigueState(
        header=header,
        track_id=assessment.track_id,
        primary=primary,
        validity=int(assessment.validity),
        level=int(assessment.level),
        reasons=int(assessment.reasons),
        ear_left=float(assessment.ear_left),
        ear_right=float(assessment.ear_right),
        openness=float(assessment.openness),
        eyes_closed=bool(assessment.eyes_closed),
        closure_duration=duration_message(assessment.closure_s),
        perclos=float(assessment.perclos),
        perclos_long=float(assessment.perclos_long),
        perclos_p80=float(assessment.perclos_p80),
        perclos_coverage=float(assessment.perclos_coverage),
        perclos_long_coverage=float(assessment.perclos_long_coverage),
        blink_count=int(assessment.blink_count),
        blink_rate=float(assessment.blink_rate),
        mean_blink_duration=float(assessment.mean_blink_s),
        mar=float(assessment.mar),
        yawning=bool(assessment.yawning),
        yawn_count=int(assessment.yawn_count),
        head_roll=float(assessment.head_roll),
        head_pitch=float(assessment.head_pitch),
        head_yaw=float(assessment.head_yaw),
        calibrated=bool(assessment.calibrated),
        baseline_ear=float(assessment.baseline_ear),
        model=model.model, backend=model.backend, precision=model.precision)


def fatigue_of(message: FatigueState) -> FatigueAssessment:
    """Return the assessment that a message carries."""
    return FatigueAssessment(
        track_id=int(message.track_id),
        stamp_ns=stamp_ns(message.header.stamp),
        validity=Validity(message.validity),
        level=FatigueLevel(message.level),
        reasons=FatigueReason(message.reasons),
        ear_left=float(message.ear_left),
        ear_right=float(message.ear_right),
        openness=float(message.openness),
        eyes_closed=bool(message.eyes_closed),
        closure_s=duration_s(message.closure_duration),
        perclos=float(message.perclos),
        perclos_long=float(message.perclos_long),
        perclos_p80=float(message.perclos_p80),
        perclos_coverage=float(message.perclos_coverage),
        perclos_long_coverage=float(message.perclos_long_coverage),
        blink_count=int(message.blink_count),
        blink_rate=float(message.blink_rate),
        mean_blink_s=float(message.mean_blink_duration),
        mar=float(message.mar),
        yawning=bool(message.yawning),
        yawn_count=int(message.yawn_count),
        head_roll=float(message.head_roll),
        head_pitch=float(message.head_pitch),
        head_yaw=float(message.head_yaw),
        calibrated=bool(message.calibrated),
        baseline_ear=float(message.baseline_ear))


def event_message(header: Header, event: FatigueEvent) -> FatigueEventMessage:
    """
    Return an event as a message.

    :param header: of the image that made it certain
    """
    return FatigueEventMessage(
        header=header,
        track_id=event.track_id,
        type=int(event.type),
        start=time_message(event.start_ns),
        duration=duration_message(event.duration_s),
        level=int(event.level))


def event_of(message: FatigueEventMessage) -> FatigueEvent:
    """Return the event that a message carries."""
    return FatigueEvent(
        track_id=int(message.track_id),
        type=FatigueEventType(message.type),
        start_ns=stamp_ns(message.start),
        duration_s=duration_s(message.duration),
        level=FatigueLevel(message.level))
