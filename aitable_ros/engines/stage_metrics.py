# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The figures by which a model is compared with another one, in the units of its task.

Each stage of the pipeline runs on the recorded outputs of both models, since an error of raw
outputs says nothing about a blink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.model import model_for
from aitable_ros.emotion.reading import Reading
from aitable_ros.engines.accuracy_limits import Limits
from aitable_ros.engines.model_inputs import ModelInputs
from aitable_ros.engines.stage_backends import BODY, EMOTION, FACE, MESH, POSE, ReplayBackend
from aitable_ros.face.boxes import overlap
from aitable_ros.face.detector import detector_for
from aitable_ros.face.mesh import FACE_POINTS, FaceMesh
from aitable_ros.fatigue.eyes import aspect_ratios, LEFT_EYE, RIGHT_EYE
from aitable_ros.inference.protocol import Backend
from aitable_ros.posture.angles import measure
from aitable_ros.posture.blazepose import BlazePose
from aitable_ros.posture.blazepose_detector import BlazePoseDetector
from aitable_ros.posture.body_source import pose_for
from aitable_ros.posture.yolov8_pose import FAINT
from aitable_ros.posture_types import Skeleton, VISIBLE
from aitable_ros.types import Detection, FaceLandmarks, TrackedFace

PRESENT = 0.5
"""``FatigueOptions.min_presence``: least presence of a face."""
CONFIDENCE, NMS_IOU = 0.5, 0.45
"""``FaceOptions``: least confidence of a detection; IoU from which two detections are one."""
ON_THE_EDGE = 0.05
"""
A face whose score is this near the threshold may be on either side of it; of two expressions with
probabilities this near each other, either counts as right.
"""
SAME_FACE = 0.5
"""IoU from which two boxes of the two models belong to the same face."""
SAME_BODY = 0.5
"""Distance of the joints, over the extent of the body, up to which both models mean one body."""
Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Criterion:
    """
    A figure and its limit.

    :param limit: greatest value, or least with ``at_least``; NaN for a figure without a limit
    :param unit: of value and limit; empty for a share or a number
    """

    name: str
    value: float
    limit: float
    unit: str = ''
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit; NaN never is."""
        return bool(self.value >= self.limit if self.at_least else self.value <= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and ``passed``; a NaN, which JSON lacks, as None."""
        value = self.value if np.isfinite(self.value) else None
        return {**asdict(self), 'value': value, 'passed': self.passed}


def _share(values: Sequence[bool] | NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if len(values) else float('nan')


def _high(values: Any, percent: float = 95) -> float:
    return float(np.percentile(values, percent)) if np.size(values) else float('nan')


def _canned(
    backend: Backend, outputs: Outputs, crops: ModelInputs,
) -> tuple[ReplayBackend, list[Outputs]]:
    """Return a backend that replays, and the outputs of each sample."""
    parts = [{name: value[at:at + crops.rows] for name, value in outputs.items()}
             for at in range(0, len(crops) * crops.rows, crops.rows)]
    return ReplayBackend(backend.model, backend.inputs, backend.outputs), parts


_Judged = tuple[list[Criterion], list[str]]


def _judge_emotion(
    backend: Backend, got: Outputs, wanted: Outputs, crops: ModelInputs, limits: Limits,
) -> _Judged:
    ours, theirs = (_readings(backend, outputs, crops) for outputs in (got, wanted))
    probabilities = np.array([[reading.probabilities for reading in side]
                              for side in (ours, theirs)])
    change = np.abs(probabilities[0] - probabilities[1]).max(axis=1)
    affect = np.abs(np.array([(a.valence - b.valence, a.arousal - b.arousal)
                              for a, b in zip(ours, theirs)]))
    best = np.take_along_axis(
        probabilities[1], probabilities.argmax(axis=2).T, axis=1)  # as the reference sees both
    same = best[:, 1] - best[:, 0] <= ON_THE_EDGE
    metrics = [
        Criterion('expression agreement', _share(same), limits.expression_agreement, at_least=True),
        Criterion('probability Δ p95', _high(change), limits.probability_p95)]
    for name, column in zip(('valence', 'arousal'), affect.T):
        metrics += [Criterion(f'{name} Δ mean', float(column.mean()), limits.affect_mean),
                    Criterion(f'{name} Δ p95', _high(column), limits.affect_p95)]
    seen = {reading.expression.name.lower() for reading in theirs}
    notes = [f'the reference reads {next(iter(seen))} in all of them: agreement says little'] \
        if len(seen) == 1 else []
    for name in ('valence', 'arousal'):
        cut = sum(abs(getattr(reading, name)) == 1 for reading in theirs)
        if cut:
            notes.append(f"the reference's {name} is at its end in {cut} of them, where a change "
                         'may not show')
    return metrics, notes


def _readings(backend: Backend, outputs: Outputs, crops: ModelInputs) -> list[Reading]:
    canned, parts = _canned(backend, outputs, crops)
    model = model_for(canned)
    blank = np.zeros((64, 64, 3), np.uint8)
    face = TrackedFace(1, Detection(np.array([0, 0, 64, 64], np.float32), 1.0))
    found = []
    for answer in parts:
        canned.answer = answer
        found += model.read(blank, [face])
    return found


def _presence_criteria(
    ours: Sequence[FaceLandmarks | Skeleton], theirs: Sequence[FaceLandmarks | Skeleton],
    limits: Limits,
) -> list[Criterion]:
    same = [(a.presence >= PRESENT) == (b.presence >= PRESENT) for a, b in zip(ours, theirs)]
    presence = [abs(a.presence - b.presence) for a, b in zip(ours, theirs)]
    return [
        Criterion('presence agreement', _share(same), limits.presence_agreement, at_least=True),
        Criterion('presence Δ p95', _high(presence), limits.presence_p95)]


def _judge_mesh(
    backend: Backend, got: Outputs, wanted: Outputs, crops: ModelInputs, limits: Limits,
) -> _Judged:
    ours, theirs = (_meshes(backend, outputs, crops) for outputs in (got, wanted))
    both = [(a, b) for a, b in zip(ours, theirs) if b.presence >= PRESENT]
    # Of the face: nothing reads the irises, and OpenVINO does not measure them.
    apart = np.array([
        np.hypot(*(a.points - b.points)[:FACE_POINTS, :2].T) for a, b in both])
    eyes = apart[:, [*LEFT_EYE, *RIGHT_EYE]] if len(both) else apart
    ear = np.abs(np.array([
        np.subtract(aspect_ratios(a), aspect_ratios(b)) for a, b in both]))
    metrics = [
        *_presence_criteria(ours, theirs, limits),
        Criterion('landmarks p50', _high(apart, 50), limits.landmark_p50_px, 'px'),
        Criterion('landmarks p95', _high(apart), limits.landmark_p95_px, 'px'),
        Criterion('landmarks max', _high(apart, 100), limits.landmark_max_px, 'px'),
        Criterion('eye landmarks p95', _high(eyes), limits.eye_p95_px, 'px'),
        Criterion('EAR Δ mean', float(ear.mean()) if len(both) else float('nan'), limits.ear_mean),
        Criterion('EAR Δ p95', _high(ear), limits.ear_p95),
        Criterion('EAR Δ max', _high(ear, 100), limits.ear_max)]
    notes = [f'a face in {len(both)} of {len(theirs)}; landmarks are compared there'] \
        if len(both) < len(theirs) else []
    return metrics, notes


def _meshes(backend: Backend, outputs: Outputs, crops: ModelInputs) -> list[FaceLandmarks]:
    """Return the landmarks of each sample, in pixels of the crop."""
    canned, parts = _canned(backend, outputs, crops)
    mesh = FaceMesh(canned)
    side = int(backend.inputs[0].shape[1] or 0)
    blank = np.zeros((side, side, 3), np.uint8)
    whole = np.array([[side / 2, side / 2, side, 0]], np.float32)
    found = []
    for answer in parts:
        canned.answer = answer
        found += mesh.read(blank, whole)
    return found


def _judge_pose(
    backend: Backend, got: Outputs, wanted: Outputs, crops: ModelInputs, limits: Limits,
) -> _Judged:
    ours, theirs = (_skeletons(backend, outputs, crops) for outputs in (got, wanted))
    least = 0.0 if BlazePose.fits(backend) else PRESENT + ON_THE_EDGE
    sides = list(zip(ours, theirs))
    pairs = [(_nearest(mine, body), body) for mine, other in sides for body in other
             if body.presence >= least]
    both = [(a, b) for a, b in pairs if a.presence > 0 and b.presence >= PRESENT]
    pairs += [(body, _nearest(other, body)) for mine, other in sides for body in mine
              if body.presence >= least]
    apart = np.concatenate([
        np.hypot(*(a.points - b.points)[b.visibility >= VISIBLE, :2].T) for a, b in both]
    ) if both else np.empty(0)
    turned = np.degrees(np.abs(np.array([
        (first.shoulder_tilt - second.shoulder_tilt, first.head_roll - second.head_roll,
         first.neck_flexion - second.neck_flexion)
        for first, second in ((measure(a), measure(b)) for a, b in both)])))
    turned = turned[np.isfinite(turned)]
    return [
        *_presence_criteria([a for a, _ in pairs], [b for _, b in pairs], limits),
        Criterion('key points p50', _high(apart, 50), limits.keypoint_p50_px, 'px'),
        Criterion('key points p95', _high(apart), limits.keypoint_p95_px, 'px'),
        Criterion('angle Δ p50', _high(turned, 50), limits.angle_p50_deg, '°'),
        Criterion('angle Δ p95', _high(turned), limits.angle_p95_deg, '°'),
    ], [f'{len(both)} bodies compared, at the joints that the reference sees']


def _nearest(found: Sequence[Skeleton], body: Skeleton) -> Skeleton:
    """Return the body whose joints lie nearest; one with presence 0 where that is another."""
    def apart(other: Skeleton) -> float:
        return float(np.nanmean(np.hypot(*(other.points - body.points)[:, :2].T)))

    nearest = min(found, default=None, key=apart)
    extent = float(np.nanmax(np.ptp(body.points[np.isfinite(body.points[:, 0]), :2], axis=0)))
    if nearest is None or apart(nearest) > SAME_BODY * extent:
        return replace(body, presence=0.0)
    return nearest


def _skeletons(backend: Backend, outputs: Outputs, crops: ModelInputs) -> list[list[Skeleton]]:
    """Return the bodies of each sample, in pixels of the input, faint ones too."""
    canned, parts = _canned(backend, outputs, crops)
    pose = pose_for(canned)
    blank = np.zeros((pose.side, pose.side, 3), np.uint8)
    whole = np.array([[pose.side / 2, pose.side / 2, pose.side, 0]], np.float32)
    found = []
    for answer in parts:
        canned.answer = answer
        found.append([body.skeleton for body in pose.read(blank, whole)] if isinstance(
            pose, BlazePose) else [body for _, body in pose.detect(blank, FAINT)])
    return found


def _judge_face(
    backend: Backend, got: Outputs, wanted: Outputs, crops: ModelInputs, limits: Limits,
) -> _Judged:
    ours, theirs = (_faces(backend, outputs, crops) for outputs in (got, wanted))
    ious: list[float] = []
    scores: list[float] = []
    same = []
    for mine, other in zip(ours, theirs):
        shared = overlap(_boxes(other), _boxes(mine))
        missed = [face.confidence >= CONFIDENCE + ON_THE_EDGE and not (row >= SAME_FACE).any()
                  for face, row in zip(other, shared)]
        invented = [face.confidence >= CONFIDENCE + ON_THE_EDGE and not (row >= SAME_FACE).any()
                    for face, row in zip(mine, shared.T)]
        same.append(not any(missed) and not any(invented))
        for face, row in zip(other, shared):
            if face.confidence >= CONFIDENCE and row.size and row.max() >= SAME_FACE:
                ious.append(float(row.max()))
                scores.append(abs(face.confidence - mine[int(row.argmax())].confidence))
    metrics = [
        Criterion('same faces', _share(same), limits.same_faces, at_least=True),
        Criterion('box IoU p05', _high(ious, 5), limits.box_iou_p05, at_least=True),
        Criterion('box IoU mean', float(np.mean(ious)) if ious else float('nan'),
               limits.box_iou_mean, at_least=True),
        Criterion('score Δ p95', _high(scores), limits.score_p95)]
    return metrics, [f'{len(ious)} {"bodies" if crops.task == BODY else "faces"} compared']


def _faces(backend: Backend, outputs: Outputs, crops: ModelInputs) -> list[list[Detection]]:
    """Return the detections of each sample, pixels of the input, also just below the threshold."""
    canned, parts = _canned(backend, outputs, crops)
    detector = BlazePoseDetector(canned) if crops.task == BODY else detector_for(canned)
    blank = np.zeros((detector.side, detector.side, 3), np.uint8)
    found = []
    for answer in parts:
        canned.answer = answer
        found.append(detector.detect(blank, CONFIDENCE - ON_THE_EDGE, NMS_IOU))
    return found


def _boxes(found: Sequence[Detection]) -> NDArray[np.float32]:
    return np.array([face.box for face in found], np.float32).reshape(-1, 4)


def _judge_outputs(
    backend: Backend, got: Outputs, wanted: Outputs, crops: ModelInputs, limits: Limits,
) -> _Judged:
    """Return the relative error of each output, for a model that no stage runs."""
    metrics = []
    for name, value in wanted.items():
        size = float(np.abs(value).max()) or 1.0
        off = np.abs(got[name] - value).reshape(len(value), -1).max(axis=1) / size
        metrics.append(Criterion(f'{name}: relative Δ p95', _high(off), limits.relative_p95))
    return metrics, []


_BY_TASK: dict[str, Callable[[Backend, Outputs, Outputs, ModelInputs, Limits], _Judged]] = {
    EMOTION: _judge_emotion, MESH: _judge_mesh, FACE: _judge_face, BODY: _judge_face,
    POSE: _judge_pose}


def compare_outputs(
    backend: Backend, got: Outputs, wanted: Outputs, inputs: ModelInputs, limits: Limits,
) -> tuple[list[Criterion], list[str]]:
    """
    Compare the outputs of two models for the same inputs.

    :param backend: of either model: its input and output specs count
    :param got: outputs of the candidate, by name, first axis as in ``inputs``
    :param wanted: outputs of the fp32 reference
    :return: figures, and notes for the reader of a pass
    """
    return _BY_TASK.get(inputs.task, _judge_outputs)(backend, got, wanted, inputs, limits)
