# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The definitions of aitable_msgs: their constants are our enums, and zeros claim nothing."""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum
import math
from pathlib import Path
import re
from typing import Any

import pytest
from rosbags.typesys import get_types_from_msg

from aitable_ros.fatigue.eyes import EyeReading
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.person import PersonFatigue
from aitable_ros.message_fields import (
    ATTRIBUTES, EMOTION, EVENT, FATIGUE, FIELDS, POSTURE, POSTURE_EVENT
)
from aitable_ros.posture_types import (
    PostureAssessment, PostureEvent, PostureEventType, PostureState, PostureValidity
)
from aitable_ros.recordings.bag_messages import definitions
from aitable_ros.types import (
    EmotionEstimate, Expression, FatigueAssessment, FatigueEvent, FatigueEventType, FatigueLevel,
    FatigueReason, ModelInfo, Validity
)

KINDS = ('Emotion', 'FatigueState', 'FatigueEvent', 'Posture', 'PostureEvent')


def constants(message: str) -> dict[str, int]:
    kind = f'aitable_msgs/msg/{message}'
    found, _ = get_types_from_msg(definitions()[kind], kind)[kind]
    return {name: value for name, _, value in found}


@pytest.mark.parametrize(('message', 'prefix', 'enum'), [
    ('Emotion', 'EXPRESSION', Expression), ('FatigueState', 'LEVEL', FatigueLevel),
    ('FatigueState', 'VALIDITY', Validity), ('FatigueState', 'REASON', FatigueReason),
    ('FatigueEvent', 'EVENT', FatigueEventType), ('FatigueEvent', 'LEVEL', FatigueLevel),
    ('Posture', 'STATE', PostureState), ('Posture', 'VALIDITY', PostureValidity),
    ('PostureEvent', 'EVENT', PostureEventType), ('PostureEvent', 'STATE', PostureState)])
def test_the_constants_of_a_field_are_an_enum_of_ours(
    message: str, prefix: str, enum: type[IntEnum],
) -> None:
    found = {name: value for name, value in constants(message).items()
             if name.startswith(f'{prefix}_')}
    assert found == {f'{prefix}_{one.name}': one.value for one in enum if one.name != 'NONE'}


@pytest.mark.parametrize(('kind', 'value', 'others'), [
    (EMOTION, EmotionEstimate, {'header', 'primary', 'roi', 'model', 'backend', 'precision'}),
    (FATIGUE, FatigueAssessment, {'header', 'primary', 'model', 'backend', 'precision'}),
    (EVENT, FatigueEvent, {'header'}),
    (POSTURE, PostureAssessment, {
        'header', 'primary', 'has_face', 'roi', 'joints', 'joint_visibility', 'model', 'backend',
        'precision'}),
    (POSTURE_EVENT, PostureEvent, {'header'})])
def test_the_codec_forgets_no_field(kind: str, value: type, others: set[str]) -> None:
    _, found = get_types_from_msg(definitions()[kind], kind)[kind]
    assert {name for name, _ in found} == set(FIELDS[kind]) | others
    unpublished = {'stamp_ns', 'usable_s', 'closed_s'}
    assert {one.name for one in fields(value)} - unpublished == {
        ATTRIBUTES.get(name, name) for name in FIELDS[kind]}


def test_every_constant_carries_the_name_of_its_field() -> None:
    prefixes = {name.partition('_')[0] for kind in KINDS for name in constants(kind)}
    assert prefixes == {'EXPRESSION', 'LEVEL', 'VALIDITY', 'REASON', 'EVENT', 'STATE', 'FIRST'}


def test_the_docs_name_constants_that_exist() -> None:
    page = Path(__file__).resolve().parent.parent / 'docs' / 'messages.md'
    named = set(re.findall(
        r'\b(?:EXPRESSION|LEVEL|VALIDITY|REASON|EVENT|STATE)_[A-Z_]*[A-Z]\b', page.read_text()))
    known = {name for kind in KINDS for name in constants(kind)}
    assert named
    assert named - known - {'LEVEL_CHANGED'} == set()


def test_a_message_full_of_zeros_claims_nothing() -> None:
    message = pytest.importorskip('aitable_msgs.msg')
    state, event, emotion = message.FatigueState(), message.FatigueEvent(), message.Emotion()
    assert state.level == state.LEVEL_UNKNOWN
    assert state.validity == state.VALIDITY_NO_FACE
    assert not state.level >= state.LEVEL_SEVERE
    assert state.reasons == 0
    assert event.type not in [value for name, value in constants('FatigueEvent').items()
                              if name.startswith('EVENT_')]
    assert emotion.confidence == 0
    posture, change = message.Posture(), message.PostureEvent()
    assert posture.state == posture.STATE_UNKNOWN
    assert posture.validity == posture.VALIDITY_NO_BODY
    assert not posture.joints
    assert change.type not in [value for name, value in constants('PostureEvent').items()
                               if name.startswith('EVENT_')]


def should_wake(state: Any) -> bool:
    """Judge as a client that follows FatigueState.msg does."""
    return bool(state.level != state.LEVEL_UNKNOWN and state.level >= state.LEVEL_ASLEEP)


def test_a_client_wakes_a_person_who_falls_asleep_8_s_after_arriving() -> None:
    pytest.importorskip('rclpy')
    from std_msgs.msg import Header

    from aitable_ros.nodes.messages import CODEC

    person = PersonFatigue(1, FatigueOptions())
    states = []
    for index in range(30 * 12):
        ear = 0.3 if index < 30 * 8 else 0.03
        assessment, _ = person.update(EyeReading(
            1 + round(index * 1e9 / 30), Validity.VALID, ear, ear, ear, 0.05, 0.0, 0.0, 0.0))
        states.append(CODEC.fatigue_message(Header(), assessment, ModelInfo()))
    asleep = [index / 30 for index, state in enumerate(states) if should_wake(state)]
    assert asleep[0] == pytest.approx(8 + 3, abs=0.1)
    assert {state.validity for state in states} == {states[0].VALIDITY_WARMING_UP}
    assert all(math.isnan(state.perclos) for state in states)
