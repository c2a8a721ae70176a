# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Emotion and fatigue of the people in front of a robot, from any ROS 2 camera topic.

The library's public names are importable from here. Each is loaded at its first use, so that
``import aitable_ros`` alone loads neither numpy nor a model runtime.

>>> import aitable_ros
>>> aitable_ros.FatigueLevel.SEVERE > aitable_ros.FatigueLevel.MILD
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aitable_ros.errors import InputError
    from aitable_ros.fatigue.eyes import EyeReading
    from aitable_ros.pipeline import Pipeline, PipelineOptions
    from aitable_ros.types import (
        Detection, EmotionEstimate, Expression, FaceLandmarks, FaceResult, FatigueAssessment,
        FatigueEvent, FatigueEventType, FatigueLevel, FatigueReason, Frame, FrameResult, ModelInfo,
        TrackedFace, Validity
    )

__version__ = '0.2.0'

__all__ = [
    'Detection',
    'EmotionEstimate',
    'Expression',
    'EyeReading',
    'FaceLandmarks',
    'FaceResult',
    'FatigueAssessment',
    'FatigueEvent',
    'FatigueEventType',
    'FatigueLevel',
    'FatigueReason',
    'Frame',
    'FrameResult',
    'InputError',
    'ModelInfo',
    'Pipeline',
    'PipelineOptions',
    'TrackedFace',
    'Validity',
]

_MODULES = {
    'EyeReading': 'fatigue.eyes', 'InputError': 'errors', 'Pipeline': 'pipeline',
    'PipelineOptions': 'pipeline',
}


def __getattr__(name: str) -> object:
    """Load a public name from its module at its first use."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(f'{__name__}.{_MODULES.get(name, "types")}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
