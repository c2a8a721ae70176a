# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Whether a made model still does its task: against the fp32 ONNX file, on the same real inputs.

Judged by what the stage makes of the outputs, in the task's own units, as an error of the outputs
says nothing of a blink. A NaN fails, and so does what cannot be told for want of inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
import platform
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.emotion.model import model_for
from aitable_ros.emotion.reading import Reading
from aitable_ros.engines.accuracy_limits import LIMITS
from aitable_ros.engines.accuracy_limits import Limits
from aitable_ros.engines.model_inputs import ModelInputs
from aitable_ros.engines.stage_backends import EMOTION
from aitable_ros.engines.stage_backends import FACE
from aitable_ros.engines.stage_backends import MESH
from aitable_ros.engines.stage_backends import ReplayBackend
from aitable_ros.errors import InputError
from aitable_ros.face.boxes import overlap
from aitable_ros.face.detector import detector_for
from aitable_ros.face.mesh import FaceMesh
from aitable_ros.fatigue.eyes import aspect_ratios
from aitable_ros.fatigue.eyes import LEFT_EYE
from aitable_ros.fatigue.eyes import RIGHT_EYE
from aitable_ros.inference.chain import ModelOptions
from aitable_ros.inference.chain import resolve
from aitable_ros.inference.onnx_file import weight_precision
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection
from aitable_ros.types import FaceLandmarks
from aitable_ros.types import TrackedFace

MINIMUM = 32
"""Fewer samples cannot tell: one odd face in a dozen would decide."""
PRESENT = 0.5
"""``FatigueOptions.min_presence``: from here on a mesh counts as a face."""
CONFIDENCE, NMS_IOU = 0.5, 0.45
"""``FaceOptions``: what a detection needs, and what makes two of them one."""
ON_THE_EDGE = 0.05
"""
A face that scores so near the threshold may be on either side of it; of two expressions so near
each other either is right.
"""
SAME_FACE = 0.5
"""IoU from which a box of the one is the box of the other."""
PASSED, FAILED, UNKNOWN = 'passed', 'failed', 'cannot tell'
Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Criterion:
    """
    One figure and what it must be.

    :param limit: greatest value; the least where ``at_least``; NaN for a figure that is only told
    :param unit: of both; empty for a share or a number
    """

    name: str
    value: float
    limit: float
    unit: str = ''
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether it holds; NaN never does."""
        return bool(self.value >= self.limit if self.at_least else self.value <= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Return it with its verdict; a NaN, which JSON lacks, as None."""
        value = self.value if np.isfinite(self.value) else None
        return {**asdict(self), 'value': value, 'passed': self.passed}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """
    How a candidate did.

    :param verdict: ``passed``, ``failed`` or ``cannot tell``
    :param reasons: why it did not pass, a line each
    :param notes: what a reader of a pass must know
    :param precision: whose limits were used
    :param n: samples compared
    :param candidate: what ran it: model, backend, precision, device
    :param reference: the same of the reference
    :param crops: which frames: :meth:`aitable_ros.engines.model_inputs.ModelInputs.to_dict`
    """

    task: str
    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    precision: str
    n: int
    metrics: tuple[Criterion, ...]
    candidate: dict[str, str]
    reference: dict[str, str]
    machine: str
    seconds: float
    crops: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether it may be used."""
        return self.verdict == PASSED

    def to_dict(self) -> dict[str, Any]:
        """Return what the sidecar keeps."""
        return {
            'passed': self.passed, 'verdict': self.verdict, 'task': self.task,
            'precision': self.precision, 'n': self.n, 'reasons': list(self.reasons),
            'notes': list(self.notes), 'metrics': [metric.to_dict() for metric in self.metrics],
            'candidate': self.candidate, 'reference': self.reference, 'machine': self.machine,
            'seconds': round(self.seconds, 3), 'crops': self.crops}

    def table(self) -> str:
        """Return it for people: a line a figure, then the verdict."""
        who, other = (' '.join(value for value in side.values() if value)
                      for side in (self.candidate, self.reference))
        lines = [f'{who} against {other}, {self.n} samples, limits for {self.precision}']
        width = max((len(metric.name) for metric in self.metrics), default=0)
        for metric in self.metrics:
            sign = '≥' if metric.at_least else '≤'
            mark = 'ok  ' if metric.passed else 'FAIL'
            lines.append(f'  {mark} {metric.name:{width}}  {metric.value:9.5f} '
                         f'(must be {sign} {metric.limit:g}{" " * bool(metric.unit)}{metric.unit})')
        lines += [f'  note: {note}' for note in self.notes]
        return '\n'.join([*lines, f'{self.verdict}{": " * bool(self.reasons)}'
                                  f'{"; ".join(self.reasons)}'])


def verify(
    candidate: Path, reference: Path, crops: ModelInputs, limits: Limits | None = None, *,
    precision: str = '', backend: str = 'auto', device_id: int = 0, batch: int = 1,
    minimum: int = MINIMUM,
) -> VerifyReport:
    """
    Compare a candidate with the fp32 model that it was made from.

    :param candidate: a ``.engine`` or ``.onnx`` file, run by whatever backend runs such files
    :param reference: the fp32 ``.onnx``, run by ONNX Runtime where it is installed
    :param crops: real inputs, see :func:`aitable_ros.engines.model_inputs.collect_inputs`
    :param limits: default: those of the precision
    :param precision: what the candidate claims to be; default: as its weights or its backend say
    :param backend: of the candidate, as the parameter of that name
    :param batch: samples in one run of the candidate
    :param minimum: fewer samples cannot tell
    :raises InputError: one of the two cannot be loaded, or their inputs and outputs differ
    """
    start = perf_counter()
    with ExitStack() as opened:
        ours = opened.enter_context(_open(candidate, backend, device_id))
        theirs = opened.enter_context(_open_reference(reference))
        _same_outputs(ours, theirs)
        claimed = precision or _claimed(candidate, ours)
        chosen = limits or LIMITS.get(claimed, LIMITS['fp32'])
        got, wanted = _run(ours, crops, batch), _run(theirs, crops, 1)
        reasons = [f"the {who}'s output '{name}' has {bad} values that are no number"
                   for who, outputs in (('candidate', got), ('reference', wanted))
                   for name, bad in _not_finite(outputs)]
        metrics: list[Criterion] = []
        notes: list[str] = []
        if len(crops) and not reasons:
            metrics, notes = _JUDGES.get(crops.task, _judge_outputs)(
                ours, got, wanted, crops, chosen)
        if claimed != ours.precision:
            notes.append(f'the file is {claimed}, {ours.name} computes in {ours.precision} here: '
                         'this tells of its weights, not of what a GPU makes of them')
        reasons += [f'{metric.name} is {metric.value:.4g}{metric.unit and " " + metric.unit}, '
                    f'not {metric.limit:g}' for metric in metrics if not metric.passed]
        verdict = FAILED if reasons else PASSED
        if len(crops) < minimum and verdict == PASSED:
            verdict = UNKNOWN
            reasons.append(f'{len(crops)} samples, at least {minimum} are needed')
        return VerifyReport(
            task=crops.task, verdict=verdict, reasons=tuple(reasons), notes=tuple(notes),
            precision=claimed, n=len(crops), metrics=tuple(metrics), candidate=_who(ours),
            reference=_who(theirs), machine=f'{platform.node()} {platform.machine()}',
            seconds=perf_counter() - start, crops=crops.to_dict())


def _open(path: Path, backend: str, device_id: int = 0) -> Backend:
    found = resolve(ModelOptions(
        engine_path=str(path.absolute()), backend=backend, device_id=device_id, threads=0)).backend
    assert found is not None
    return found


def _open_reference(path: Path) -> Backend:
    return _open(path, 'onnxruntime' if find_spec('onnxruntime') else 'auto')


def _claimed(path: Path, backend: Backend) -> str:
    return weight_precision(path) if path.suffix.lower() == '.onnx' else backend.precision


def _same_outputs(ours: Backend, theirs: Backend) -> None:
    for which in ('inputs', 'outputs'):
        a, b = ({spec.name: spec.shape[1:] for spec in getattr(side, which)}
                for side in (ours, theirs))
        if a != b:
            raise InputError(f'{ours.model} cannot be compared with {theirs.model}: its {which} '
                             f'are {a}, not {b}')


def _who(backend: Backend) -> dict[str, str]:
    return {'model': backend.model, 'backend': backend.name, 'precision': backend.precision,
            'device': backend.device}


def _run(backend: Backend, crops: ModelInputs, batch: int) -> Outputs:
    """Run all rows, ``batch`` samples at a time, in the model's own batch where that is fixed."""
    size = backend.inputs[0].shape[0] or batch * crops.rows
    parts: list[Outputs] = []
    kinds = {spec.name: spec.dtype for spec in backend.inputs}
    for rows in crops.batches(size):
        count = len(next(iter(rows.values())))
        fixed = backend.inputs[0].shape[0] is not None
        if fixed and count < size:
            rows = {name: np.concatenate([part, np.repeat(part[-1:], size - count, axis=0)])
                    for name, part in rows.items()}
        outputs = backend.infer({
            name: np.ascontiguousarray(part, kinds[name]) for name, part in rows.items()})
        parts.append({name: np.asarray(value, np.float32)[:count]
                      for name, value in outputs.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} \
        if parts else {}


def _not_finite(outputs: Outputs) -> list[tuple[str, int]]:
    counts = [(name, int(np.count_nonzero(~np.isfinite(value))))
              for name, value in outputs.items()]
    return [(name, bad) for name, bad in counts if bad]


def _share(values: Sequence[bool] | NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if len(values) else float('nan')


def _high(values: Any, percent: float = 95) -> float:
    return float(np.percentile(values, percent)) if np.size(values) else float('nan')


def _canned(
    backend: Backend, outputs: Outputs, crops: ModelInputs,
) -> tuple[ReplayBackend, list[Outputs]]:
    """Return a backend for the stage, and its answers for the samples."""
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


def _judge_mesh(
    backend: Backend, got: Outputs, wanted: Outputs, crops: ModelInputs, limits: Limits,
) -> _Judged:
    ours, theirs = (_meshes(backend, outputs, crops) for outputs in (got, wanted))
    both = [(a, b) for a, b in zip(ours, theirs) if b.presence >= PRESENT]
    apart = np.array([np.hypot(*(a.points - b.points)[:, :2].T) for a, b in both])
    eyes = apart[:, [*LEFT_EYE, *RIGHT_EYE]] if len(both) else apart
    ear = np.abs(np.array([
        np.subtract(aspect_ratios(a), aspect_ratios(b)) for a, b in both]))
    same = [(a.presence >= PRESENT) == (b.presence >= PRESENT) for a, b in zip(ours, theirs)]
    presence = [abs(a.presence - b.presence) for a, b in zip(ours, theirs)]
    metrics = [
        Criterion('presence agreement', _share(same), limits.presence_agreement, at_least=True),
        Criterion('presence Δ p95', _high(presence), limits.presence_p95),
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
    """Return the landmarks in pixels of the crop."""
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
    return metrics, [f'{len(ious)} faces compared']


def _faces(backend: Backend, outputs: Outputs, crops: ModelInputs) -> list[list[Detection]]:
    """Return what is found in each, in pixels of the input; also a little below the threshold."""
    canned, parts = _canned(backend, outputs, crops)
    detector = detector_for(canned)
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
    """Of a model that no stage of ours runs: how far its outputs are off, of their own size."""
    metrics = []
    for name, value in wanted.items():
        size = float(np.abs(value).max()) or 1.0
        off = np.abs(got[name] - value).reshape(len(value), -1).max(axis=1) / size
        metrics.append(Criterion(f'{name}: relative Δ p95', _high(off), limits.relative_p95))
    return metrics, []


_JUDGES: dict[str, Callable[[Backend, Outputs, Outputs, ModelInputs, Limits], _Judged]] = {
    EMOTION: _judge_emotion, MESH: _judge_mesh, FACE: _judge_face}
