# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Largest allowed difference from the fp32 model, by precision, in the units of each task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    Limits of the figures in ``stage_metrics``.

    - ``expression_agreement``: share of faces with the same expression, or with one whose
      probability in the reference is within 0.05. The models are right three times in four; int8
      may cost one face in twenty.
    - ``probability_p95``: largest change of a class. Smoothing over 0.5 s does not reduce it.
    - ``affect_mean``, ``affect_p95``: valence and arousal, -1 ... 1. Neutral and happy are 0.96
      apart on the circumplex: int8 may move a face by a twelfth of that.
    - ``landmark_*``, ``eye_p95_px``: pixels of the mesh's 192. Landmarks of a steady face jitter by
      0.1 to 0.2 from frame to frame; fp16 must stay within 0.1.
    - ``ear_*``: EAR, 0.28 for open eyes. The shallowest blink that counts is 0.12 of that, 0.034:
      the largest error of int8 may be two fifths of it, of fp16 an eleventh, with a p95 of a
      seventeenth. (TensorRT's fp16 kernels may also sum in fp16: p95 0.0016 on an H200, against
      the 0.0004 of ``fp16.sensitive`` for sums in fp32.)
    - ``presence_*``: whether there is a face, and its probability, which ends the tracking of one.
    - ``same_faces``: share of images in which no face is lost or added, except near the threshold.
      ``box_iou_*``: a box off by 5 % of its side has IoU 0.9. ``score_p95``: an eighth of the gap
      between the thresholds of a new face (0.5) and of a tracked one (0.3).
    - ``keypoint_*``, ``angle_*``: joints in pixels of the 256 of BlazePose's crop; tilt of the
      shoulders, roll of the head and flexion of the neck in degrees. From image to image the angles
      of people who sit still change by 0.3; a posture must be right to 2. A joint may jump where
      its cell of the heat map is the next one, so the greatest error has no limit.
    - ``relative_p95``: for a model without a stage: largest error of an output, divided by the
      output's largest value.

    fp32 is not exact on a GPU: TensorRT may use TF32, whose mantissa has 10 bits like fp16's.
    """

    expression_agreement: float
    probability_p95: float
    affect_mean: float
    affect_p95: float
    landmark_p50_px: float
    landmark_p95_px: float
    landmark_max_px: float
    eye_p95_px: float
    ear_mean: float
    ear_p95: float
    ear_max: float
    presence_agreement: float
    presence_p95: float
    same_faces: float
    box_iou_p05: float
    box_iou_mean: float
    score_p95: float
    relative_p95: float
    keypoint_p50_px: float
    keypoint_p95_px: float
    angle_p50_deg: float
    angle_p95_deg: float


_FP32 = Limits(
    expression_agreement=0.99, probability_p95=0.005, affect_mean=0.002, affect_p95=0.005,
    landmark_p50_px=0.01, landmark_p95_px=0.04, landmark_max_px=0.2, eye_p95_px=0.03,
    ear_mean=0.0003, ear_p95=0.001, ear_max=0.002, presence_agreement=1.0, presence_p95=0.005,
    same_faces=1.0, box_iou_p05=0.99, box_iou_mean=0.995, score_p95=0.005, relative_p95=0.002,
    keypoint_p50_px=0.02, keypoint_p95_px=0.1, angle_p50_deg=0.02, angle_p95_deg=0.1)
_FP16 = Limits(
    expression_agreement=0.98, probability_p95=0.02, affect_mean=0.005, affect_p95=0.02,
    landmark_p50_px=0.02, landmark_p95_px=0.05, landmark_max_px=0.25, eye_p95_px=0.05,
    ear_mean=0.001, ear_p95=0.002, ear_max=0.003, presence_agreement=0.99, presence_p95=0.01,
    same_faces=0.99, box_iou_p05=0.98, box_iou_mean=0.99, score_p95=0.01, relative_p95=0.01,
    keypoint_p50_px=0.1, keypoint_p95_px=0.5, angle_p50_deg=0.1, angle_p95_deg=0.5)
_INT8 = Limits(
    expression_agreement=0.95, probability_p95=0.1, affect_mean=0.03, affect_p95=0.08,
    landmark_p50_px=0.25, landmark_p95_px=0.6, landmark_max_px=2.5, eye_p95_px=0.3,
    ear_mean=0.003, ear_p95=0.008, ear_max=0.014, presence_agreement=0.98, presence_p95=0.05,
    same_faces=0.98, box_iou_p05=0.9, box_iou_mean=0.95, score_p95=0.05, relative_p95=0.05,
    keypoint_p50_px=1.0, keypoint_p95_px=3.0, angle_p50_deg=0.5, angle_p95_deg=2.0)

LIMITS: dict[str, Limits] = {'fp32': _FP32, 'fp16': _FP16, 'bf16': _INT8, 'int8': _INT8}
"""By the model's precision. bf16 has a mantissa of 7 bits, so it gets the limits of int8."""
