# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable models build`` and ``aitable models all``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

from aitable_ros.engines.build import build
from aitable_ros.engines.build_list import (
    build_all, BuildOutcome, engine_path, of_catalogue, of_yaml
)
from aitable_ros.engines.build_options import (
    add_build_options, build_options, BuildOptions, PRECISIONS
)
from aitable_ros.engines.command.actions import Actions, add_action
from aitable_ros.engines.progress import shown
from aitable_ros.engines.sources import onnx_of
from aitable_ros.engines.toolchain import RUNTIMES, Toolchain, toolchain
from aitable_ros.errors import InputError
from aitable_ros.inference.sidecar import Sidecar


def add_build(actions: Actions) -> argparse.ArgumentParser:
    """Declare ``build``."""
    parser = add_action(
        actions, 'build', run_build, help='make a TensorRT engine',
        description='Build an engine and its sidecar (NAME.engine.json). An engine of TensorRT '
        'runs only on the GPU that built it: build it on the robot. An engine of TensorRT for RTX '
        'is built on any machine and runs on the RTX cards of --for.')
    parser.add_argument(
        'source', metavar='NAME|FILE',
        help='catalogue name, crops_192 (what cuts crops of 192 pixels on the GPU; --precision '
        'fp32), .onnx, .tflite, .pth (EmoNet, needs PyTorch) or .pt (YOLOv8-face, '
        'needs ultralytics)')
    parser.add_argument(
        '--output', type=Path, metavar='ENGINE',
        help="where to write (default: NAME_PRECISION.engine in the models' folder, FILE.engine "
        'for a file; TensorRT for RTX: NAME_rtx.engine)')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp16', help='(default: fp16)')
    _add_options(parser)
    return parser


def add_all(actions: Actions) -> argparse.ArgumentParser:
    """Declare ``all``."""
    parser = add_action(
        actions, 'all', run_all, help='make the engines of all models',
        description='Build an engine of every model on this machine, or of those in a YAML file. '
        'Engines that fit are kept, so an interrupted run continues. A failed build does not stop '
        'the others; the exit status is then 1.')
    parser.add_argument('yaml', nargs='?', type=Path, metavar='YAML', help='a list: docs/models.md')
    parser.add_argument(
        '--precision', action='append', choices=PRECISIONS,
        help='may be repeated (default: fp16)')
    parser.add_argument('--rebuild', action='store_true', help='also build engines that fit')
    _add_options(parser)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_build_options(parser)
    tools = parser.add_argument_group('tools')
    tools.add_argument('--runtime', choices=('auto', *RUNTIMES), default='auto',
                       help='TensorRT, or TensorRT for RTX (default: the first if it is '
                       'installed; the second for --for)')
    tools.add_argument('--trtexec', type=Path, metavar='PROGRAM',
                       help='build with this program (default: only if TensorRT has no Python '
                       'package here)')


def _tools(args: argparse.Namespace, options: BuildOptions) -> Toolchain:
    return toolchain(
        options.device_id, args.trtexec, args.runtime, options.compute_capabilities)


def run_build(args: argparse.Namespace) -> int:
    """Build one engine."""
    options = build_options(args, args.precision)
    tools = _tools(args, options)
    onnx, model = onnx_of(args.source)
    engine = args.output or engine_path(args.source, options.precision, tools.runtime)
    if engine.suffix not in ('.engine', '.plan'):
        raise InputError(f'{engine}: an engine must end in .engine')
    with shown(engine.name, options.verbose) as progress:
        sidecar = build(onnx, engine, options, progress, model=model, tools=tools)
    if args.json:
        print(json.dumps({'engine': str(engine), **asdict(sidecar)}, indent=2))  # noqa: T201
        return 0
    print(f'{engine}\n  {described(sidecar)}')  # noqa: T201
    return 0


def run_all(args: argparse.Namespace) -> int:
    """Build many."""
    precisions = args.precision or ['fp16']
    options = build_options(args, precisions[0])
    tools = _tools(args, options)
    jobs = (of_yaml(args.yaml, options, tools.runtime) if args.yaml else
               of_catalogue(options, precisions, tools.runtime))
    outcomes: list[BuildOutcome] = []
    at = {job.engine: f'[{number}/{len(jobs)}] {job.engine.name}'
          for number, job in enumerate(jobs, 1)}
    for outcome in build_all(
            jobs, tools, lambda job: shown(at[job.engine], options.verbose),
            args.rebuild):
        outcomes.append(outcome)
        if not args.json:
            print(_line(outcome), flush=True)  # noqa: T201
    if args.json:
        print(json.dumps([_row(outcome) for outcome in outcomes], indent=2))  # noqa: T201
    return 1 if any(outcome.state == 'failed' for outcome in outcomes) else 0


def described(sidecar: Sidecar) -> str:
    """Return an engine's sidecar as a line."""
    batch = (f'batch {sidecar.min_batch} to {sidecar.max_batch}'
             if sidecar.max_batch > sidecar.min_batch else f'batch {sidecar.max_batch}')
    parts = [sidecar.precision, batch, f'{sidecar.engine_bytes / 1e6:.1f} MB',
             f'{sidecar.library.spoken} {sidecar.tensorrt}', sidecar.fits, _layers(sidecar),
             f'{sidecar.seconds:.0f} s', _accuracy(sidecar)]
    return ', '.join(part for part in parts if part)


def _layers(sidecar: Sidecar) -> str:
    """Return ``layers: 12 fp16, 2 fp32``; empty if the builder did not report them."""
    counts = ', '.join(f'{count} {kind}' for kind, count in sorted(sidecar.layers.items()))
    return f'layers: {counts}' if counts else ''


def _accuracy(sidecar: Sidecar) -> str:
    if sidecar.forced:
        return 'forced'
    return str(sidecar.accuracy.get('verdict', '')) if sidecar.accuracy else 'not verified'


def _line(outcome: BuildOutcome) -> str:
    name = f'{outcome.state:8}{outcome.job.engine.name}'
    if outcome.sidecar is not None:
        return f'{name}: {described(outcome.sidecar)}'
    return f'{name}: {outcome.detail}'


def _row(outcome: BuildOutcome) -> dict[str, Any]:
    return {
        'model': outcome.job.source, 'precision': outcome.job.options.precision,
        'engine': str(outcome.job.engine), 'state': outcome.state, 'detail': outcome.detail,
        'seconds': outcome.sidecar.seconds if outcome.sidecar else None,
        'bytes': outcome.sidecar.engine_bytes if outcome.sidecar else None}
