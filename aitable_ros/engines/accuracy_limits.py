# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How far a made model may be from the fp32 model, by precision, in the units of its task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What the stage can bear.

    - ``expression_agreement``: share of faces with the same expression, or one that the reference
      holds to be as likely to 0.05. The model itself is right three times in four; int8 may cost
      one face in twenty.
    - ``probability_p95``: largest change of any class. Smoothing over 0.5 s passes it on whole.
    - ``affect_mean``, ``affect_p95``: valence and arousal, -1 ... 1. Neutral and happy are 0.96
      apart on the circumplex: int8 may move a face by a twelfth of that.
    - ``landmark_*``, ``eye_p95_px``: pixels of the mesh's 192. Steady faces jitter by 0.1 to 0.2
      from frame to frame, and issue 5 wants fp16 within 0.1.
    - ``ear_*``: EAR, open eyes 0.28. The shallowest blink that counts is 0.12 of that, 0.034:
      int8's worst may be two fifths of it, fp16's an eleventh and its p95 a seventeenth.
      (TensorRT's fp16 kernels may add up in fp16, too: p95 0.0016 on an H200, where
      ``fp16.sensitive`` tells 0.0004 for sums in fp32.)
    - ``presence_*``: whether there is a face, and how surely. It ends the tracking of a face.
    - ``same_faces``: share of images with neither a face lost nor one invented, those next to the
      threshold left out. ``box_iou_*``: a box off by 5 % of its side still has IoU 0.9.
      ``score_p95``: an eighth of what separates a face (0.5) from one that is followed (0.3).
    - ``relative_p95``: of a model that we have no stage for: largest error of an output over that
      output's largest value.

    fp32 is not exact on a GPU: TensorRT may take TF32, whose mantissa has fp16's 10 bits.
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


_FP32 = Limits(
    expression_agreement=0.99, probability_p95=0.005, affect_mean=0.002, affect_p95=0.005,
    landmark_p50_px=0.01, landmark_p95_px=0.04, landmark_max_px=0.2, eye_p95_px=0.03,
    ear_mean=0.0003, ear_p95=0.001, ear_max=0.002, presence_agreement=1.0, presence_p95=0.005,
    same_faces=1.0, box_iou_p05=0.99, box_iou_mean=0.995, score_p95=0.005, relative_p95=0.002)
_FP16 = Limits(
    expression_agreement=0.98, probability_p95=0.02, affect_mean=0.005, affect_p95=0.02,
    landmark_p50_px=0.02, landmark_p95_px=0.05, landmark_max_px=0.25, eye_p95_px=0.05,
    ear_mean=0.001, ear_p95=0.002, ear_max=0.003, presence_agreement=0.99, presence_p95=0.01,
    same_faces=0.99, box_iou_p05=0.98, box_iou_mean=0.99, score_p95=0.01, relative_p95=0.01)
_INT8 = Limits(
    expression_agreement=0.95, probability_p95=0.1, affect_mean=0.03, affect_p95=0.08,
    landmark_p50_px=0.25, landmark_p95_px=0.6, landmark_max_px=2.5, eye_p95_px=0.3,
    ear_mean=0.003, ear_p95=0.008, ear_max=0.014, presence_agreement=0.98, presence_p95=0.05,
    same_faces=0.98, box_iou_p05=0.9, box_iou_mean=0.95, score_p95=0.05, relative_p95=0.05)

LIMITS: dict[str, Limits] = {'fp32': _FP32, 'fp16': _FP16, 'bf16': _INT8, 'int8': _INT8}
"""By what the model claims to be. bf16 has 7 bits, int8's neighbour and not fp16's."""
