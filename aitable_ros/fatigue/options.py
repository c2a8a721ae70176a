# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every threshold of the fatigue stage; ``docs/fatigue.md`` says where each default comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aitable_ros.inference.chain import ModelOptions
from aitable_ros.options import option

PROOF = 'blazeface_short'
"""The only detector that proofs were measured with."""


@dataclass(frozen=True, kw_only=True)
class FatigueOptions(ModelOptions):
    """How tiredness is measured. Seconds are image time, EAR is the eye aspect ratio."""

    ORDERED: ClassVar = (
        ('closed_enter', 'closed_exit'),
        ('exclude_below_s', 'blink_max_s'),
        ('blink_min_s', 'blink_max_s'),
        ('blink_max_s', 'microsleep_s'),
        ('microsleep_s', 'sleep_s'),
        ('perclos_min_usable_s', 'perclos_window_s'),
        ('perclos_long_min_usable_s', 'perclos_long_window_s'),
        ('perclos_window_s', 'perclos_long_window_s'),
        ('perclos_mild', 'perclos_severe'),
        ('perclos_long_mild', 'perclos_long_severe'),
        ('yawn_min_s', 'yawn_max_s'),
        ('baseline_warm_up_s', 'baseline_window_s'),
        ('min_fps_closures', 'min_fps_perclos'),
        ('min_fps_perclos', 'min_fps_blinks'),
    )

    fallbacks: tuple[str, ...] = option(
        ('facemesh',), 'face meshes tried in order when the one before cannot load; "off" ends the '
        'chain without a model', dynamic=False)
    min_presence: float = option(
        0.5, 'least probability that a crop shows a face; below it the mesh is not read',
        low=0.05, high=0.99)
    proof: str = option(
        PROOF, 'detector that must confirm each mesh, since meshes fit hair and hands, '
        'too; "off" accepts every mesh', dynamic=False)
    proof_interval_s: float = option(
        1.0, 'seconds of image time between two proofs of a mesh that is followed; a new or '
        'doubtful mesh is proved at once', low=0.0, high=60.0)
    others_fps: float = option(
        15.0, 'images a second in which the faces other than the primary one are measured, in '
        'turn; blinks need 15; 0 measures everybody in every image', low=0.0, high=240.0)
    max_yaw: float = option(
        0.785, 'greatest turn of the head to a side at which eyes are read, radians',
        low=0.1, high=1.57)
    max_pitch: float = option(
        0.611, 'greatest tilt of the head up or down at which eyes are read, radians',
        low=0.1, high=1.57)

    ear_prior: float = option(
        0.28, "EAR of open eyes assumed until a person's own is known", low=0.1, high=0.6)
    ear_shut: float = option(
        0.15, "EAR of shut eyes as a share of the same person's open eyes; a property of the mesh",
        low=0.0, high=0.6)
    ear_closed: float = option(
        0.0, 'eyes count as closed below this EAR, the same for everybody, instead of by their own '
        'openness; 0 uses openness', low=0.0, high=0.6)
    min_eye_px: float = option(
        6.0, 'least width of an eye that is read, pixels', low=2.0, high=200.0)
    baseline_floor: float = option(
        0.14, 'least EAR learned as open eyes without being calibrated', low=0.0, high=0.5)
    baseline_window_s: float = option(
        30.0, 'seconds of open eyes that make a personal baseline', low=3.0, high=600.0)
    baseline_warm_up_s: float = option(
        2.0, 'seconds of open eyes before the baseline replaces the prior', low=0.7, high=60.0)
    baseline_quantile: float = option(
        0.75, "quantile of a person's EAR that stands for open eyes", low=0.5, high=0.95)
    baseline_open_share: float = option(
        0.6, 'share of the baseline above which eyes are open enough to learn from',
        low=0.3, high=0.9)

    closed_enter: float = option(
        0.3, 'openness below which eyes are closed; 0 shut, 1 open', low=0.0, high=0.9)
    closed_exit: float = option(
        0.5, 'openness above which closed eyes are open again', low=0.05, high=1.0)
    max_gap_s: float = option(
        0.25, 'seconds without a reading above which the time between counts as unusable',
        low=0.05, high=2.0)

    bridge_s: float = option(
        1.0, 'seconds without a reading that a long closure outlives when the eyes are closed '
        'before and after', low=0.0, high=5.0)
    gaze_window_s: float = option(
        0.5, 'a look down moves the head within so many seconds of the lids', low=0.1, high=1.5)
    gaze_pitch: float = option(
        0.08, 'least drop of the head within gaze_window_s that makes lowered lids a look down and '
        'not a closure, radians', low=0.02, high=1.57)
    gaze_down: float = option(
        0.2, 'lids that fall while the head is already so far below its usual pitch are a look '
        'down and not a closure, radians', low=0.05, high=1.57)

    blink_min_drop: float = option(
        0.3, 'least depth of a blink below the eyes just before and after it, as a share of those',
        low=0.05, high=0.9)
    blink_min_area_s: float = option(
        0.0115, 'least depth of a blink times the time between images, seconds; replaces '
        'blink_min_drop where images are so far apart that they miss or blur the lowest moment',
        low=0.0, high=0.1)
    blink_noise_factor: float = option(
        7.5, 'least depth of a blink over the median change of the eye within 60 ms',
        low=0.0, high=20.0)
    blink_shoulder_s: float = option(
        0.6, 'seconds before and after a blink that it is compared with; also its latency',
        low=0.2, high=2.0)
    blink_spacing_s: float = option(
        0.15, 'least seconds between the lowest points of two blinks', low=0.02, high=1.0)
    blink_min_s: float = option(
        0.02, 'shortest blink, at half depth, seconds', low=0.0, high=0.5)
    blink_max_s: float = option(
        0.5, 'longest blink; a longer closure is a long closure, seconds', low=0.1, high=2.0)
    blink_partial_max_s: float = option(
        0.3, 'longest blink that does not take the lids below closed_enter; longer ones '
        'are a look down, seconds', low=0.05, high=2.0)
    microsleep_s: float = option(
        1.5, 'eyes closed for so many seconds are a microsleep', low=0.2, high=10.0)
    sleep_s: float = option(
        3.0, 'eyes closed for so many seconds are sleep', low=0.5, high=60.0)

    perclos_window_s: float = option(
        60.0, 'length of the PERCLOS window, seconds', low=10.0, high=600.0)
    perclos_min_usable_s: float = option(
        30.0, 'usable seconds that the PERCLOS window needs', low=1.0, high=600.0)
    perclos_long_window_s: float = option(
        180.0, 'length of the long PERCLOS window, seconds', low=10.0, high=3600.0)
    perclos_long_min_usable_s: float = option(
        90.0, 'usable seconds that the long PERCLOS window needs', low=1.0, high=3600.0)
    exclude_blinks: bool = option(
        False, 'leave closures shorter than exclude_below_s out of PERCLOS')
    exclude_below_s: float = option(
        0.25, 'closures shorter than this are left out with exclude_blinks, seconds',
        low=0.05, high=1.0)

    perclos_mild: float = option(0.08, 'PERCLOS from which on the level is MILD', low=0.0, high=1.0)
    perclos_long_mild: float = option(
        0.08, 'long PERCLOS from which on the level is MILD', low=0.0, high=1.0)
    mean_blink_mild_s: float = option(
        0.4, 'mean blink duration above which the level is MILD, seconds', low=0.1, high=2.0)
    perclos_severe: float = option(
        0.15, 'PERCLOS from which on the level is SEVERE', low=0.0, high=1.0)
    perclos_long_severe: float = option(
        0.10, 'long PERCLOS from which on the level is SEVERE, given a long closure in its window',
        low=0.0, high=1.0)
    level_hold_s: float = option(
        10.0, 'seconds below a level before it is left', low=0.0, high=300.0)

    yawn_ratio: float = option(
        1.4, "mouth aspect ratio of a yawn over the person's usual one", low=1.0, high=10.0)
    yawn_min_mar: float = option(0.5, 'least mouth aspect ratio of a yawn', low=0.1, high=2.0)
    yawn_min_s: float = option(1.5, 'shortest yawn, seconds', low=0.3, high=10.0)
    yawn_max_s: float = option(10.0, 'longest yawn, seconds', low=1.0, high=60.0)
    nod_pitch: float = option(
        0.262, 'least drop of the head that is a nod, radians', low=0.05, high=1.57)
    nod_max_s: float = option(
        3.0, 'seconds within which the head of a nod is back', low=0.5, high=10.0)

    min_fps_blinks: float = option(
        15.0, 'images a second that blink rate and duration need', low=1.0, high=120.0)
    min_fps_perclos: float = option(
        10.0, 'images a second that PERCLOS and the level need', low=1.0, high=120.0)
    min_fps_closures: float = option(
        5.0, 'images a second that long closures, microsleep and sleep need', low=1.0, high=120.0)
    forget_s: float = option(
        10.0, 'seconds after which a lost person is forgotten', low=0.5, high=600.0)
    keep_baselines: bool = option(
        False, 'keep the baselines when the node is deactivated; otherwise everybody is forgotten')

    @property
    def proof_model(self) -> FatigueOptions:
        """The chain of the detector that confirms meshes; an engine falls back to the ONNX."""
        return self.beside(self.proof, PROOF)
