# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable models quantize``, ``verify`` and ``profile``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
import json
from pathlib import Path
import sys
from typing import Any

from aitable_ros.engines.command.actions import Actions, add_action
from aitable_ros.engines.progress import BuildProgress, shown
from aitable_ros.engines.sources import onnx_of
from aitable_ros.errors import InputError
from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference.runtimes import BACKENDS
from aitable_ros.models.catalogue import CATALOGUE, model_home
from aitable_ros.models.store import put_in_place, unwritable


def add_quantize(actions: Actions) -> argparse.ArgumentParser:
    """Declare ``quantize``."""
    parser = add_action(
        actions, 'quantize', run_quantize,
        help='make an int8 ONNX file and compare it with the fp32 model',
        description='Write Q/DQ pairs with scales from real inputs into the ONNX graph, for '
        'OpenVINO, ONNX Runtime and TensorRT. The file is written only if it passes `verify`. '
        '`build --precision int8` includes this step.')
    parser.add_argument('source', metavar='NAME|FILE', help='catalogue name or model file')
    parser.add_argument('--calibration-dir', type=Path, required=True, metavar='DIR',
                        help='images, videos or a bag like those that the model will see')
    parser.add_argument('--calibration-samples', type=int, default=256, metavar='N',
                        help='(default: 256)')
    parser.add_argument('--method', choices=('percentile', 'entropy', 'minmax'),
                        default='percentile',
                        help='how the range of an activation is found (default: percentile)')
    parser.add_argument('--exclude', nargs='+', default=(), metavar='NODE',
                        help='nodes to keep in fp32')
    parser.add_argument('--spare', type=int, metavar='N',
                        help='keep the N most sensitive layers in fp32 (default: none, or '
                        'the tenth, fifth or two fifths that let the model pass)')
    parser.add_argument('--verify', type=Path, metavar='DIR',
                        help='compare on these (default: --calibration-dir)')
    parser.add_argument('--force', action='store_true',
                        help='write the file even if it does not pass')
    parser.add_argument('--output', type=Path, metavar='ONNX',
                        help="where to write (default: NAME_int8.onnx in the models' folder)")
    return parser


def add_verify(actions: Actions) -> argparse.ArgumentParser:
    """Declare ``verify``."""
    parser = add_action(
        actions, 'verify', run_verify, help="compare with the fp32 model in the task's own units",
        description='Run an engine or ONNX file and the fp32 ONNX on the same real inputs, and '
        "compare the stage's results. The report goes into an engine's sidecar; the exit status "
        'is 1 if it does not pass.')
    parser.add_argument('candidate', metavar='FILE', help='.engine or .onnx')
    parser.add_argument('data', type=Path, metavar='DIR', help='images, videos or a bag')
    parser.add_argument('--reference', metavar='NAME|FILE',
                        help='the fp32 model (default: what the engine was built from)')
    parser.add_argument('--samples', type=int, default=256, metavar='N', help='(default: 256)')
    _add_device(parser)
    return parser


def add_profile(actions: Actions) -> argparse.ArgumentParser:
    """Declare ``profile``."""
    parser = add_action(
        actions, 'profile', run_profile, help='measure latency, throughput, memory and layers',
        description='Measure latency as in the pipeline, throughput by batch, memory, and time '
        'and precision of each layer.')
    parser.add_argument('model', metavar='FILE', help='.engine or .onnx')
    parser.add_argument('--batch', type=int, nargs='+', default=[1], metavar='N',
                        help='batch sizes (default: 1)')
    parser.add_argument('--seconds', type=float, default=2.0, metavar='S',
                        help='for each batch size (default: 2)')
    parser.add_argument('--data', type=Path, metavar='DIR',
                        help='real inputs: images, videos or a bag (default: noise)')
    parser.add_argument('--reference', metavar='NAME|FILE',
                        help='with --data: the fp32 model (default: the source of the engine)')
    parser.add_argument('--layers', type=int, default=15, metavar='N',
                        help='slowest layers to list; 0 measures no layers (default: 15)')
    parser.add_argument('--backend', choices=BACKENDS, default='auto', help='(default: auto)')
    parser.add_argument('--threads', type=int, default=0, metavar='N',
                        help='CPU threads; 0 leaves it to the backend (default: 0)')
    _add_device(parser)
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--device-id', type=int, default=0, metavar='N', help='GPU (default: 0)')


def run_quantize(args: argparse.Namespace) -> int:
    """Write an int8 ONNX file."""
    from aitable_ros.engines.graph.int8 import quantize
    from aitable_ros.engines.model_inputs import collect_inputs, JUDGING
    from aitable_ros.engines.verify import verify

    onnx, model = onnx_of(args.source)
    output = args.output or model_home() / f'{model or onnx.stem}_int8.onnx'
    if output.suffix.lower() != '.onnx':
        raise InputError(f'{output}: the file to quantise to must end in .onnx')
    with shown(output.name) as progress, _hidden(output) as part:
        found = collect_inputs(model or onnx, args.calibration_dir, args.calibration_samples)
        judged = collect_inputs(model or onnx, args.verify or args.calibration_dir,
                       args.calibration_samples, phase=JUDGING)
        reports = []

        def judge(candidate: Path) -> bool:
            progress.phase('verifying', 0, 0)
            reports.append(verify(candidate, onnx, judged, precision='int8'))
            return reports[-1].passed

        made = quantize(onnx, part, found, method=args.method, exclude=args.exclude,
                        spare=args.spare, judge=judge, progress=_steps(progress))
        report = reports[-1]
        if report.passed or args.force:
            put_in_place(part, output)
    written = report.passed or args.force
    if args.json:
        _print(json.dumps({'output': str(output) if written else None, **made.to_dict(),
                           'report': report.to_dict()}, indent=2))
    else:
        _print(report.table())
        _print(f'{output}: {made.layers} layers in int8, {len(made.excluded)} left out'
               if written else
               f'{output} is not written; try another --method, --exclude or other pictures, or '
               'write it with --force')
    return 0 if report.passed else 1


def run_verify(args: argparse.Namespace) -> int:
    """Compare, and keep the report."""
    from aitable_ros.engines.model_inputs import collect_inputs, JUDGING
    from aitable_ros.engines.verify import verify

    candidate = _file(args.candidate)
    record = sidecars.read(candidate) if _is_engine(candidate) else None
    onnx, model = _reference(args.reference, candidate, record)
    precision = record.precision if record else ''
    with shown(candidate.name) as progress:
        progress.phase('making inputs', 0, 0)
        found = collect_inputs(model or onnx, args.data, args.samples, phase=JUDGING)
        progress.phase('comparing', 0, 0)
        with _unlocked(candidate, record):
            report = verify(candidate, onnx, found, precision=precision, device_id=args.device_id)
    if record is not None:
        sidecars.write(candidate, replace(
            record, accuracy=report.to_dict(), forced=record.forced and not report.passed))
    _print(json.dumps(report.to_dict(), indent=2) if args.json else report.table())
    return 0 if report.passed else 1


def run_profile(args: argparse.Namespace) -> int:
    """Measure."""
    from aitable_ros.engines.profile import profile

    path = _file(args.model)
    found = None
    with shown(path.name) as progress:
        if args.data:
            from aitable_ros.engines.model_inputs import collect_inputs

            record = sidecars.read(path) if _is_engine(path) else None
            onnx, model = _reference(args.reference or (
                None if _is_engine(path) else str(path)), path, record)
            progress.phase('making inputs', 0, 0)
            found = collect_inputs(model or onnx, args.data, 64)
        progress.phase('measuring', 0, 0)
        result = profile(
            path, crops=found, batches=args.batch, seconds=args.seconds, backend=args.backend,
            threads=args.threads, device_id=args.device_id, layers=args.layers > 0)
    _print(json.dumps(result.to_dict(), indent=2) if args.json else result.table(args.layers))
    return 0


def _is_engine(path: Path) -> bool:
    return path.suffix.lower() in ('.engine', '.plan')


def _reference(
    given: str | None, candidate: Path, record: sidecars.Sidecar | None,
) -> tuple[Path, str]:
    """Return the fp32 model of a candidate, and its catalogue name; :raises InputError: unknown."""
    source = given or (record.model if record else '')
    try:
        if source:
            return onnx_of(source)
        reason = 'its fp32 model is unknown'
    except InputError as error:
        if given:
            raise
        reason = str(error)
    raise InputError(f'{candidate}: {reason}; give --reference NAME or FILE.onnx')


@contextmanager
def _unlocked(engine: Path, record: sidecars.Sidecar | None) -> Iterator[None]:
    """Let an int8 engine without a report load, to make the report."""
    if record is None or not sidecars.unproven(record):
        yield
        return
    sidecars.write(engine, replace(record, forced=True))
    try:
        yield
    finally:
        sidecars.write(engine, record)


@contextmanager
def _hidden(output: Path) -> Iterator[Path]:
    """Return a path beside the file for a candidate; it is deleted at the end."""
    part = output.with_name(f'.{output.name}.part.onnx')
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(output, error) from error
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _file(given: str) -> Path:
    """Return an existing path, also in the models' folder; :raises InputError: no such file."""
    path = Path(given).expanduser()
    if '/' not in given and not path.is_file():
        path = model_home() / given
    if not path.is_file():
        hint = ' (a file is wanted, not a catalogue name)' if given in CATALOGUE else ''
        raise InputError(f'{given}: no such file, here or in {model_home()}{hint}')
    return path


def _steps(progress: BuildProgress) -> Any:
    def step(what: str, done: int, total: int) -> None:
        progress.phase(what, done, total)

    return step


def _print(text: str) -> None:
    print(text, file=sys.stdout)  # noqa: T201
