# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The table of our messages: their topics, fields and constants, and how a field is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import SECOND_NS, stamp_ns
from aitable_ros.posture_types import PostureEventType, PostureState, PostureValidity
from aitable_ros.types import Expression, FatigueEventType, FatigueLevel, FatigueReason, Validity

PACKAGE = 'aitable_msgs/msg/'
FACE, FACES, EMOTION, FATIGUE, EVENT, POSTURE, POSTURE_EVENT = (
    f'{PACKAGE}{name}' for name in (
        'Face', 'FaceArray', 'Emotion', 'FatigueState', 'FatigueEvent', 'Posture', 'PostureEvent'))
TOPICS = {
    'faces': FACES, 'emotion': EMOTION, 'fatigue': FATIGUE, 'fatigue/events': EVENT,
    'posture': POSTURE, 'posture/events': POSTURE_EVENT}
"""Our topics, relative to the namespace of the nodes, and their types."""

Constants = Mapping[str, Mapping[str, int]]
"""Type of message -> name of a constant -> its value."""


TIME, DURATION, VECTOR, SECONDS = 'time', 'duration', 'vector', 'seconds'
"""In our values, a time is an int of nanoseconds, a duration a float of seconds, a vector a float32
array, and seconds are a tuple of floats."""
FIELDS: dict[str, dict[str, Any]] = {
    EMOTION: {
        'track_id': int, 'expression': Expression, 'confidence': float, 'probabilities': VECTOR,
        'valence': float, 'arousal': float, 'from_cache': bool, 'age': DURATION},
    FATIGUE: {
        'track_id': int, 'level': FatigueLevel, 'validity': Validity, 'reasons': FatigueReason,
        'ear_left': float, 'ear_right': float, 'openness': float, 'eyes_closed': bool,
        'closure_duration': DURATION, 'perclos': float, 'perclos_long': float,
        'perclos_p80': float, 'perclos_coverage': float, 'perclos_long_coverage': float,
        'blink_count': int, 'blink_rate': float, 'mean_blink_duration': float, 'mar': float,
        'yawning': bool, 'yawn_count': int, 'head_roll': float, 'head_pitch': float,
        'head_yaw': float, 'calibrated': bool, 'baseline_ear': float},
    EVENT: {
        'track_id': int, 'type': FatigueEventType, 'start': TIME, 'duration': DURATION,
        'level': FatigueLevel},
    POSTURE: {
        'track_id': int, 'state': PostureState, 'state_duration': DURATION, 'state_time': SECONDS,
        'validity': PostureValidity, 'shoulder_tilt': float, 'head_roll': float,
        'forward_lean': float, 'lateral_lean': float, 'neck_flexion': float,
        'hand_to_head': float, 'head_supported': bool, 'ear_height': float, 'height_drop': float,
        'size_change': float, 'calibrated': bool},
    POSTURE_EVENT: {
        'track_id': int, 'type': PostureEventType, 'start': TIME, 'duration': DURATION,
        'state': PostureState, 'previous_state': PostureState}}
"""
Type of message -> the fields that it has in common with its value, and their kinds. The values are
:class:`EmotionEstimate`, :class:`FatigueAssessment`, :class:`FatigueEvent`,
:class:`PostureAssessment` and :class:`PostureEvent`. Header, ``primary``, ``roi``, joints and model
come from elsewhere.
"""
ATTRIBUTES = {
    'age': 'age_s', 'closure_duration': 'closure_s', 'duration': 'duration_s',
    'mean_blink_duration': 'mean_blink_s', 'start': 'start_ns', 'state_duration': 'state_s',
    'state_time': 'state_time_s'}
"""Fields whose attribute in our values has another name."""

PREFIXES: dict[Any, str] = {
    Expression: 'EXPRESSION_', FatigueLevel: 'LEVEL_', Validity: 'VALIDITY_',
    FatigueReason: 'REASON_', FatigueEventType: 'EVENT_', PostureState: 'STATE_',
    PostureValidity: 'VALIDITY_', PostureEventType: 'EVENT_'}
"""Of the constants of each enum. In aitable_msgs 0.1 they had none."""
LEVELS_0_1 = {
    0: FatigueLevel.ALERT, 1: FatigueLevel.MILD, 2: FatigueLevel.SEVERE, 3: FatigueLevel.ASLEEP,
    255: FatigueLevel.UNKNOWN}
"""Levels of a FatigueEvent of aitable_msgs 0.1, whose definition does not list them."""


def duration_s(duration: Any) -> float:
    """Return a ``Duration`` as seconds."""
    return (int(duration.sec) * SECOND_NS + int(duration.nanosec)) / SECOND_NS


def vector(values: Any) -> NDArray[np.float32]:
    """Return numbers as a float32 array."""
    return np.asarray(values, np.float32)


def seconds(values: Any) -> tuple[float, ...]:
    """Return numbers as a tuple of floats."""
    return tuple(float(value) for value in values)


def reader_of(kind: Any, constants: Mapping[str, int] | None) -> Callable[[Any], Any]:
    """Return what turns a field into an attribute, by the constants of its definition."""
    if kind in (int, float, bool):
        return kind  # type: ignore[no-any-return]
    if kind not in PREFIXES:
        return {TIME: stamp_ns, DURATION: duration_s, VECTOR: vector, SECONDS: seconds}[kind]
    prefix = PREFIXES[kind]
    if constants is None:
        return kind  # type: ignore[no-any-return]
    named: dict[int, Any] = {}
    for member in kind:
        value = constants.get(prefix + member.name, constants.get(member.name))
        if value is not None:
            named[value] = member
    if kind is FatigueLevel and not named:
        named.update(LEVELS_0_1)
    return _flags_reader(kind, named) if issubclass(kind, IntFlag) else _enum_reader(kind, named)


def _enum_reader(kind: type[IntEnum], named: Mapping[int, IntEnum]) -> Callable[[Any], IntEnum]:
    def read(value: Any) -> IntEnum:
        if int(value) not in named:
            raise ValueError(f'{value} is no {kind.__name__}')
        return named[int(value)]
    return read


def _flags_reader(kind: type[IntFlag], named: Mapping[int, IntFlag]) -> Callable[[Any], IntFlag]:
    def read(mask: Any) -> IntFlag:
        found = kind(0)
        for bit, flag in named.items():
            if int(mask) & bit:
                found |= flag
        return found
    return read
