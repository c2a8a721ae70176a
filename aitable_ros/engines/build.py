# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Builds a TensorRT engine from an ONNX file, checks it, and writes it with its sidecar.

Engine and sidecar are made in a hidden folder beside their place and get their names at the end, so
that an interrupted or failed build keeps the old files.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
import shlex
from tempfile import TemporaryDirectory
import time
from typing import Any, TYPE_CHECKING

import numpy as np

from aitable_ros.engines.build_options import better, BuildOptions
from aitable_ros.engines.graph.builder_input import make_builder_input, preparation, source_digest
from aitable_ros.engines.progress import BuildProgress
from aitable_ros.engines.toolchain import Toolchain, toolchain
from aitable_ros.errors import InputError
from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.sidecar import Machine, Sidecar
from aitable_ros.inference.tensorrt_library import RTX
from aitable_ros.models.store import put_in_place, unwritable

if TYPE_CHECKING:
    from aitable_ros.inference.tensorrt import TensorRTBackend


def build(
    onnx: Path, engine: Path, options: BuildOptions, progress: BuildProgress | None = None, *,
    model: str = '', tools: Toolchain | None = None,
) -> Sidecar:
    """
    Build an engine, check it, and write it.

    :param onnx: fp32 ONNX file
    :param model: its catalogue name, or empty
    :param tools: the builder; default: TensorRT's Python package, else trtexec
    :return: the sidecar, which is also written beside the engine
    :raises InputError: an operator or option that this TensorRT lacks, too little memory, or an
        int8 engine that is not accurate enough; old files are kept
    """
    progress = progress or BuildProgress()
    tools = tools or toolchain(options.device_id)
    began = time.monotonic()
    prepared = make_builder_input(
        onnx, options, tools.version, progress, model, calibrating=tools.runs)
    if options.precision == 'int8' and not options.force:
        _must_be_provable(engine, options, tools)  # before it takes minutes
    try:
        engine.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix='.build-', dir=engine.parent) as folder:
            part = Path(folder) / engine.name
            layers = tools.build(prepared, part, options, progress)
            digest, size = sidecars.fingerprint(part)
            sidecar = Sidecar(
                engine_sha256=digest, engine_bytes=size, model=model or onnx.name,
                model_sha256=prepared.sha256, source_sha256=prepared.source_sha256,
                **asdict(tools.machine), precision=options.precision,
                min_batch=prepared.batches[0], opt_batch=prepared.batches[1],
                max_batch=prepared.batches[2], runtime=tools.runtime,
                compute_capabilities=list(tools.compute_capabilities), layers=layers,
                strongly_typed=prepared.typed,
                options=_asked(options), calibration=prepared.calibration,
                built_with=tools.name, seconds=round(time.monotonic() - began, 1),
                rebuild=_rebuild(model or str(onnx), engine, options, tools))
            sidecar = _proved(sidecar, part, onnx, model, options, tools, progress)
            sidecars.write(part, sidecar)
            put_in_place(sidecars.sidecar_path(part), sidecars.sidecar_path(engine))
            put_in_place(part, engine)
    except OSError as error:
        raise unwritable(engine, error) from error
    return sidecar


def kept(
    onnx: Path, engine: Path, options: BuildOptions, machine: Machine,
) -> Sidecar | None:
    """
    Return the sidecar of an engine that a build would make again, else None.

    ONNX file, options, TensorRT and GPU must be the same, and the engine undamaged.
    """
    try:
        sidecar = sidecars.read(engine)
        content = engine.read_bytes()
        source = source_digest(onnx)
    except (OSError, InputError):
        return None
    same = (sidecar is not None and sidecar.source_sha256 == source
            and sidecar.options == _asked(options)
            and not sidecars.mismatch(sidecar, machine)
            and not sidecars.damage(sidecar, content)
            and (options.force or not sidecars.unproven(sidecar)))
    return sidecar if same else None


def _asked(options: BuildOptions) -> dict[str, Any]:
    return {**options.shaping(), 'graph': preparation()}


def _rebuild(source: str, engine: Path, options: BuildOptions, tools: Toolchain) -> str:
    runtime = ['--runtime', 'rtx'] if tools.runtime == RTX.name else []
    return shlex.join(['aitable', 'models', 'build', source, *runtime, *options.arguments(),
                       '--output', str(engine)])


def _proved(
    sidecar: Sidecar, part: Path, onnx: Path, model: str, options: BuildOptions, tools: Toolchain,
    progress: BuildProgress,
) -> Sidecar:
    """
    Compare the engine with the fp32 ONNX and add the report.

    :raises InputError: the engine is not accurate enough
    """
    gate = options.precision == 'int8'
    source = options.compared_on
    report: dict[str, Any] | None = None
    if tools.runs:
        progress.phase('verifying', 0, 0)
        # int8 does not load without a report, which this run makes
        sidecars.write(part, replace(sidecar, forced=True))
        if source:
            report = _verify(part, onnx, model, source, options)
        else:
            _must_be_finite(part, options, tools)
    passed = report is not None and report.get('passed') is True
    if (gate or report is not None) and not passed and not options.force:
        assert report is not None  # int8 without one was refused before it was built
        entropy = (sidecar.calibration or {}).get('method') == 'entropy'
        fewer = '' if not gate else ', --quantization qdq' if entropy else ', a higher --spare'
        raise InputError(f"{part.name} is not written: {report['verdict']}: "
                         f"{'; '.join(report['reasons'])}; {better(fewer)}")
    return replace(sidecar, accuracy=report, forced=options.force and gate and not passed)


def _verify(
    engine: Path, onnx: Path, model: str, source: Path, options: BuildOptions,
) -> dict[str, Any]:
    from aitable_ros.engines.model_inputs import collect_inputs, JUDGING
    from aitable_ros.engines.verify import verify

    inputs = collect_inputs(model or onnx, source, options.calibration_samples, phase=JUDGING)
    return verify(
        engine, onnx, inputs, precision=options.precision,
        device_id=options.device_id).to_dict()


def _must_be_finite(engine: Path, options: BuildOptions, tools: Toolchain) -> None:
    """
    Run the engine on noise.

    :raises InputError: the run fails, or an output is not finite: fp16 ends at 65504
    """
    noise = np.random.default_rng(0)
    try:
        with _backend(tools)(engine, device_id=options.device_id) as backend:
            outputs = backend.infer({
                spec.name: noise.uniform(0, 1, [size or 1 for size in spec.shape]).astype(
                    spec.dtype) for spec in backend.inputs})
    except BackendError as error:
        raise InputError(f'{engine.name} is not written: it does not run: {error}') from None
    broken = [name for name, value in outputs.items() if not np.isfinite(value).all()]
    if broken and not options.force:
        raise InputError(
            f"{engine.name} is not written: its output '{broken[0]}' is no number in "
            f'{options.precision}; name what overflows with --exclude-from-fp16, or use fp32')


def _backend(tools: Toolchain) -> type[TensorRTBackend]:
    if tools.runtime == RTX.name:
        from aitable_ros.inference.tensorrt_rtx import TensorRTRtxBackend

        return TensorRTRtxBackend
    from aitable_ros.inference.tensorrt import TensorRTBackend

    return TensorRTBackend


def _must_be_provable(engine: Path, options: BuildOptions, tools: Toolchain) -> None:
    """:raises InputError: an int8 engine could not be compared with the fp32 model here."""
    if not tools.runs or not options.compared_on:
        remedy = ('--calibration-dir or --verify FOLDER of pictures does' if tools.runs else
                  f'{tools.name} alone cannot run it here')
        raise InputError(f'{engine.name} is not built: nothing would show that int8 is still '
                         f'accurate enough ({remedy}); force it with --force')
