# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the posture stage; ``docs/posture.md`` says where each default comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aitable_ros.inference.chain import ModelOptions
from aitable_ros.options import option

DETECTOR = 'blazepose_detector'
"""The only detector that we know."""


@dataclass(frozen=True, kw_only=True)
class PostureOptions(ModelOptions):
    """How bodies are found and judged. Seconds are image time."""

    ORDERED: ClassVar = (
        ('interval_s', 'max_gap_s'),
        ('dwell_s', 'slump_s'),
        ('lean_drop', 'slouch_drop'),
        ('head_down_height', 'baseline_floor'),
        ('baseline_warm_up_s', 'baseline_window_s'),
    )

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

    baseline_warm_up_s: float = option(
        3.0, "seconds of a person seen before that person's own upright posture is known",
        low=1.0, high=120.0)
    baseline_window_s: float = option(
        600.0, 'seconds that the upright posture is learned from', low=10.0, high=3600.0)
    baseline_quantile: float = option(
        0.9, "quantile of the height of a person's ears over the shoulders that stands for upright",
        low=0.5, high=0.99)
    baseline_floor: float = option(
        0.4, 'least height of the ears over the shoulders that is learned as upright without being '
        'calibrated, widths of the shoulders', low=0.0, high=1.0)

    lean_forward: float = option(
        0.349, 'lean of the trunk from upright that is LEANING_FORWARD, radians',
        low=0.05, high=1.57)
    lean_back: float = option(
        0.262, 'lean of the trunk back from upright that is LEANING_BACK, radians',
        low=0.05, high=1.57)
    lean_side: float = option(
        0.175, 'lean of the trunk, or tilt of the shoulders, to a side from upright that is '
        'LEANING_LEFT or LEANING_RIGHT, radians', low=0.05, high=1.57)
    lean_drop: float = option(
        0.1, "where the hips are hidden: share of the ears' height that is missing in "
        'LEANING_FORWARD', low=0.0, high=0.9)
    lean_growth: float = option(
        0.15, "where the hips are hidden: growth of the shoulders' width in LEANING_FORWARD",
        low=0.02, high=2.0)
    slouch_drop: float = option(
        0.25, "share of the ears' height that is missing in SLOUCHED", low=0.05, high=0.9)
    slouch_flexion: float = option(
        0.436, 'flexion of the neck from upright that is SLOUCHED, radians', low=0.05, high=1.57)
    head_down_height: float = option(
        0.1, 'height of the head over the shoulders, widths of the shoulders, below which it is '
        'HEAD_DOWN', low=-1.0, high=0.4)
    leave_share: float = option(
        0.7, 'a state is left below this share of the figure that it is entered with',
        low=0.1, high=1.0)
    dwell_s: float = option(
        2.0, 'seconds that another posture must last before the state changes', low=0.0, high=60.0)
    max_gap_s: float = option(
        1.0, 'seconds without a usable reading after which the state is UNKNOWN',
        low=0.1, high=10.0)

    slump_s: float = option(
        5.0, 'seconds that a head which sank must stay down to be SLUMPED', low=0.5, high=120.0)
    support_distance: float = option(
        0.45, 'distance of a hand from the head, widths of the shoulders, at which it supports the '
        'head', low=0.1, high=1.5)
    support_s: float = option(
        1.0, 'seconds that a hand must be there to support the head', low=0.0, high=60.0)
    still_s: float = option(
        1200.0, 'seconds without a change of posture that are STILL', low=5.0, high=36000.0)
    still_movement: float = option(
        0.15, 'least change of posture, radians or widths of the shoulders', low=0.02, high=1.0)
    forget_s: float = option(
        10.0, 'seconds after which a lost person is forgotten', low=0.5, high=600.0)

    @property
    def detector_model(self) -> PostureOptions:
        """The chain of the detector: where its engine cannot run, the same as ONNX."""
        return self.beside(self.detector, DETECTOR)
