# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Compares a model with the fp32 ONNX file that it was made from, on the same real inputs.

The figures are in the units of the task (``stage_metrics``). A NaN fails, and too few inputs fail.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
import platform
from time import perf_counter
from typing import Any

import numpy as np

from aitable_ros.engines.accuracy_limits import LIMITS, Limits
from aitable_ros.engines.model_inputs import ModelInputs
from aitable_ros.engines.stage_metrics import compare_outputs, Criterion, Outputs
from aitable_ros.errors import InputError
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.onnx_file import weight_precision
from aitable_ros.inference.protocol import Backend

MINIMUM = 32
"""Fewer samples give no verdict: one odd face in a dozen would decide."""
PASSED, FAILED, UNKNOWN = 'passed', 'failed', 'cannot tell'


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """
    Result of a comparison.

    :param verdict: ``passed``, ``failed`` or ``cannot tell``
    :param reasons: for a verdict other than passed, a line each
    :param notes: for the reader of a pass
    :param precision: whose limits were used
    :param n: number of samples
    :param candidate: its model, backend, precision and device
    :param reference: the same of the reference
    :param crops: the frames: :meth:`aitable_ros.engines.model_inputs.ModelInputs.to_dict`
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
        """Whether the candidate may be used."""
        return self.verdict == PASSED

    def to_dict(self) -> dict[str, Any]:
        """Return the report as an engine's sidecar holds it."""
        return {
            'passed': self.passed, 'verdict': self.verdict, 'task': self.task,
            'precision': self.precision, 'n': self.n, 'reasons': list(self.reasons),
            'notes': list(self.notes), 'metrics': [metric.to_dict() for metric in self.metrics],
            'candidate': self.candidate, 'reference': self.reference, 'machine': self.machine,
            'seconds': round(self.seconds, 3), 'crops': self.crops}

    def table(self) -> str:
        """Return a text: a line for each figure, then the verdict."""
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

    :param candidate: a ``.engine`` or ``.onnx`` file
    :param reference: the fp32 ``.onnx``, run by ONNX Runtime if that is installed
    :param crops: real inputs, see :func:`aitable_ros.engines.model_inputs.collect_inputs`
    :param limits: default: those of the precision
    :param precision: of the candidate; default: that of its weights or of its backend
    :param backend: of the candidate, one of ``runtimes.BACKENDS``
    :param batch: samples in one run of the candidate
    :param minimum: fewer samples give no verdict
    :raises InputError: a model cannot be loaded, or the inputs or outputs of the two differ
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
            metrics, notes = compare_outputs(ours, got, wanted, crops, chosen)
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
        model=str(path.absolute()), backend=backend, device_id=device_id, threads=0)).backend
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
    """Run all rows, ``batch`` samples at a time, or in the model's batch if that is fixed."""
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
