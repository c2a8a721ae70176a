# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the posture stage; ``docs/posture.md`` says where each default comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aitable_ros.inference.chain import ModelOptions
from aitable_ros.options import option

DETECTOR = 'blazepose_detector'
"""The only detector that we know."""


@dataclass(frozen=True, kw_only=True)
class PostureOptions(ModelOptions):
    """How bodies are found and judged. Seconds are image time."""

    enabled: bool = option(
        False, 'read the posture of bodies; false loads no model', dynamic=False)
    model: str = option(
        'yolov8n-pose_fp16.engine', 'first choice of the pose model: an .engine, .onnx or .tflite '
        'file or a catalogue name', dynamic=False, alias='engine_path')
    fallbacks: tuple[str, ...] = option(
        ('yolov8n-pose.onnx', 'blazepose', 'off'), 'further models, tried in order until one '
        'loads; "off" ends the chain without a model', dynamic=False)
    detector: str = option(
        DETECTOR, 'finds bodies without a tracked face for a BlazePose model; "off" '
        'does without; not used with a model that finds bodies itself', dynamic=False)
    required: bool = option(
        False, 'fail to configure when no model of the chain loads; false leaves the stage off',
        dynamic=False)
    interval_s: float = option(
        0.2, 'time between two readings, s; 0 reads each image', low=0.0, high=10.0)
    others_interval_s: float = option(
        1.0, 'time between two readings of each body that is not the primary person, s; 0 reads '
        'all each time; a model that finds all bodies at once does so anyway', low=0.0, high=10.0)
    max_bodies: int = option(4, 'largest number of bodies that are followed', low=1, high=16)

    @property
    def detector_model(self) -> PostureOptions:
        """The chain of the detector: where its engine cannot run, the same as ONNX."""
        others = (DETECTOR,) if self.detector.endswith(('.engine', '.plan')) else ()
        return replace(self, model=self.detector, fallbacks=others, required=False)
