# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Build engines with trtexec, for machines without TensorRT's Python package (some JetPacks)."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess

from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.graph.builder_input import BuilderInput
from aitable_ros.engines.progress import BuildProgress
from aitable_ros.errors import InputError
from aitable_ros.inference import tensorrt_version as versions
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.sidecar import driver_version, Machine
from aitable_ros.inference.tensorrt_library import TENSORRT

PLACES = (Path('/usr/src/tensorrt/bin/trtexec'),)
"""Path in NVIDIA's Debian packages, outside of PATH."""


def find_trtexec(given: Path | None = None) -> Path | None:
    """
    Return the program; None if there is none.

    :raises InputError: the given program does not exist
    """
    if given is not None:
        if not os.access(given, os.X_OK):
            raise InputError(f'--trtexec {given}: there is no such program')
        return given
    found = shutil.which('trtexec')
    return Path(found) if found else next(
        (path for path in PLACES if os.access(path, os.X_OK)), None)


class TrtexecToolchain:
    """
    Builder that runs trtexec.

    :raises InputError: trtexec does not run, or is too old
    """

    name = 'trtexec'
    runtime = TENSORRT.name
    compute_capabilities: tuple[str, ...] = ()
    runs = False

    def __init__(self, program: Path, device_id: int = 0) -> None:
        self._program = program
        self._device_id = device_id
        self.version = versions.check_version(_version(program))
        self.machine = _machine(self.version, device_id)

    def build(
        self, prepared: BuilderInput, engine: Path, options: BuildOptions, progress: BuildProgress,
    ) -> dict[str, int]:
        """:raises InputError: the build failed; the reason is trtexec's own."""
        onnx = engine.with_suffix('.onnx')
        onnx.write_bytes(prepared.content)
        if prepared.calibrator:
            prepared.calibrator.read_cache()
        progress.phase('building with trtexec', 0, 0)
        command = [str(self._program), *arguments(
            self.version, prepared, onnx, engine, options, self._device_id)]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors='replace')
        lines = []
        try:
            for line in child.stdout or ():
                lines.append(line.rstrip())
                progress.log('error' if '[E]' in line else 'info', line.rstrip())
        finally:
            if child.poll() is None:
                child.kill()
            status = child.wait()
            onnx.unlink(missing_ok=True)
        if status or not engine.is_file():
            raise InputError(f'trtexec cannot build {engine.name}: {_why(lines, status)}')
        return {}


def arguments(
    version: versions.Version, prepared: BuilderInput, onnx: Path, engine: Path,
    options: BuildOptions, device_id: int = 0,
) -> list[str]:
    """
    Return trtexec's arguments for the options of a build.

    :raises InputError: this version lacks an option
    """
    words = [f'--onnx={onnx}', f'--saveEngine={engine}', '--profilingVerbosity=detailed']
    if prepared.dynamic:
        for end, (kind, batch) in enumerate(zip(('min', 'opt', 'max'), prepared.batches)):
            shapes = ','.join(f'{name}:{"x".join(map(str, shape))}'
                              for name, shape in prepared.shapes(batch, end).items())
            words.append(f'--{kind}Shapes={shapes}')
    cache = prepared.calibrator.cache if prepared.calibrator else None
    words += versions.trtexec_precision(
        version, options.precision, typed=prepared.typed, tf32=options.tf32,
        fp32_layers=prepared.fp32_nodes, calibration_cache=cache,
        strict=prepared.strict)
    words += versions.trtexec_options(
        version, workspace_mib=options.workspace_mib, builder_level=options.builder_level,
        aux_streams=options.aux_streams)
    if options.timing_cache is not None:
        words.append(f'--timingCacheFile={options.timing_cache}')
    if options.dla_core is not None:
        words += [f'--useDLACore={options.dla_core}', '--allowGPUFallback']
    if options.sparse:
        words.append('--sparsity=enable')
    if device_id:
        words.append(f'--device={device_id}')
    if options.verbose:
        words.append('--verbose')
    return words


def _version(program: Path) -> versions.Version:
    try:
        answer = subprocess.run(
            [str(program), '--help'], capture_output=True, text=True, errors='replace',
            stdin=subprocess.DEVNULL, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f'{program} does not run: {error}') from None
    found = versions.trtexec_version(answer.stdout + answer.stderr)
    if found is None:
        lines = (answer.stderr + answer.stdout).strip().splitlines() or ['it prints nothing']
        raise InputError(f'{program} does not tell its version: {lines[0][:200]}')
    return found


def _machine(version: versions.Version, device_id: int) -> Machine:
    """Return what is known without TensorRT's package; unknown parts are never compared."""
    from aitable_ros.inference import cuda

    tensorrt = f'{version[0]}.{version[1]}'
    try:
        gpu = cuda.gpu(device_id)
    except (ImportError, OSError, BackendError):
        return Machine(tensorrt=tensorrt, driver=driver_version())
    return Machine(tensorrt=tensorrt, cuda=gpu.cuda, driver=driver_version(), gpu=gpu.name,
                   compute_capability=gpu.compute_capability)


def _why(lines: list[str], status: int) -> str:
    """Return trtexec's first error, without its time stamp."""
    errors = [line.partition('[E]')[2].strip() for line in lines if '[E]' in line]
    if errors:
        return errors[0][:300]
    if status < 0:
        return f'it was ended by signal {-status} (too little memory?)'
    return f'it ended with status {status}: {lines[-1][:200] if lines else "without a word"}'
