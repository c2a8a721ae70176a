# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The preflight's look at models and what runs them: drivers, packages, engines, chains."""

from __future__ import annotations

from collections.abc import Iterator
import ctypes
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.inference.tensorrt_library import Library, RTX
from aitable_ros.nodes.start_check import Check, Status

if TYPE_CHECKING:
    from aitable_ros.inference.chain import ModelOptions
    from aitable_ros.inference.sidecar import Machine
    from aitable_ros.pipeline import PipelineOptions

RTX_REMEDY = 'pip install "aitable_ros[rtx]"'
OLDEST_TENSORRT = (8, 5)
"""JetPack 5.1; the first with the calls by tensor name."""
FETCH = 'aitable models fetch; aitable models list tells what else there is'


def check_gpu() -> tuple[Check, bool]:
    """Ask the NVIDIA driver for a GPU; the second value tells whether there is one."""
    try:
        driver = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return Check('GPU', Status.OK, 'no NVIDIA driver: models run on the CPU'), False
    count, version = ctypes.c_int(), ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return Check('GPU', Status.WARN, f'the NVIDIA driver answers with error {code}',
                     'see what nvidia-smi says; in a container: docker run --gpus all'), False
    if not count.value:
        return Check('GPU', Status.OK, 'no NVIDIA GPU: models run on the CPU'), False
    title = ctypes.create_string_buffer(128)
    driver.cuDeviceGetName(title, len(title), 0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    cuda = f'{version.value // 1000}.{version.value % 1000 // 10}'
    return Check(
        'GPU', Status.OK,
        f'{count.value} x {title.value.decode(errors="replace")}, driver for CUDA {cuda}'), True


def check_backends(gpu: bool) -> Iterator[Check]:
    """
    Import what runs models.

    :param gpu: there is a GPU, so what drives it is missed where it is not installed
    """
    usable, bindings = [], []
    for name, module, needs_gpu, remedy in (
        ('TensorRT', 'tensorrt', True, 'install python3-libnvinfer (JetPack, apt) or pip tensorrt'),
        ('TensorRT for RTX', RTX.package or RTX.packages[-1], True, RTX_REMEDY),
        ('PyCUDA', 'pycuda.driver', True, 'install python3-pycuda (apt) or pip pycuda'),
        ('cuda-python', 'cuda.bindings', True, 'pip install cuda-python: it replays CUDA graphs'),
        ('OpenVINO', 'openvino', False, 'pip install openvino: the quickest on an x86 CPU'),
        ('ONNX Runtime', 'onnxruntime', False, 'pip install onnxruntime'),
        ('PyTorch', 'torch', False, 'only .pth files and their export need it: pip install torch'),
    ):
        package = module.partition('.')[0]
        if find_spec(package) is None:
            # TensorRT for RTX is the other way to the same end, and not for every GPU
            if (gpu or not needs_gpu) and package not in RTX.packages:
                yield Check(name, Status.WARN, 'not installed', remedy)
            continue
        if package == 'torch':  # importing it takes seconds, and nothing here uses it
            yield Check(name, Status.OK, installed_version('torch'))
            continue
        try:
            loaded = import_module(module)
        except Exception as error:  # a library below it is missing or does not fit
            yield Check(name, Status.WARN, f'cannot be imported: {first_line(error)}', remedy)
            continue
        version = str(getattr(loaded, '__version__', ''))
        detail = version or installed_version(package) or 'installed'
        if package == 'onnxruntime':
            kinds = (kind.removesuffix('ExecutionProvider')
                     for kind in loaded.get_available_providers())
            detail = f'{detail} ({", ".join(kinds)})'
        if package in RTX.packages:
            check, runs = _rtx(loaded, detail, gpu)
            usable += [name] * runs
            yield check
            continue
        if package in ('pycuda', 'cuda'):
            bindings.append(name)
        elif gpu or not needs_gpu:
            usable.append(name)
        yield _old_tensorrt(detail) if package == 'tensorrt' else Check(name, Status.OK, detail)
    if gpu and 'TensorRT' in usable and not bindings:
        yield Check('CUDA in Python', Status.WARN, 'TensorRT without a way to reach the GPU memory',
                    'install python3-pycuda (apt), or pip install cuda-python')
        usable.remove('TensorRT')
    if not usable:
        yield Check('backends', Status.FAIL, 'nothing here can run a model',
                    'pip install onnxruntime openvino')


def _rtx(trt: Any, version: str, gpu: bool) -> tuple[Check, bool]:
    """Tell whether its engines run on the GPU here, in words and yes or no; it builds anywhere."""
    from aitable_ros.engines.tensorrt_rtx import capabilities

    able = capabilities(trt)
    here, lacking = _machine(RTX)
    if not gpu or here is None:
        return Check(RTX.spoken, Status.OK, f'{version}: builds engines for compute capability '
                     f"{', '.join(able)}; runs none here: {lacking or 'there is no GPU'}"), False
    if here.compute_capability not in able:
        return Check(RTX.spoken, Status.WARN, f'{version}: runs on compute capability '
                     f"{', '.join(able)}, and {here.gpu} has {here.compute_capability}",
                     'use TensorRT here: aitable models build --runtime tensorrt'), False
    return Check(RTX.spoken, Status.OK, version), True


def _old_tensorrt(version: str) -> Check:
    parts = tuple(int(part) for part in version.split('.')[:2] if part.isdigit())
    if len(parts) == 2 and parts < OLDEST_TENSORRT:
        return Check('TensorRT', Status.WARN, f'{version}: 8.5 is the oldest that this knows',
                     'update it (JetPack 5.1 or newer)')
    return Check('TensorRT', Status.OK, version)


def stages(parameters: Path | None) -> PipelineOptions:
    """
    Return the options of the stages.

    :param parameters: parameter file of the nodes, None for their defaults
    :raises InputError: the file, or a parameter in it, cannot be used
    """
    from aitable_ros.pipeline import PipelineOptions

    return PipelineOptions.from_file(parameters) if parameters else PipelineOptions()


def check_engines(options: PipelineOptions) -> Iterator[Check]:
    """Hold every engine that the parameters name, or that lies in the model home, against here."""
    from aitable_ros.inference import sidecar
    from aitable_ros.models.catalogue import model_home

    named = [entry for stage in _stages(options).values()
             for entry in (stage.model, *stage.fallbacks) if entry.endswith('.engine')]
    home = model_home()
    paths = {home / entry if '/' not in entry else Path(entry).expanduser() for entry in named}
    paths |= set(home.glob('*.engine'))
    for path in sorted(paths):
        if not path.is_file():
            continue  # the chain says so
        name = f'engine {path.name}'
        try:
            known = sidecar.read(path)
        except InputError as error:
            yield Check(name, Status.WARN, str(error), 'aitable models build --help')
            continue
        if known is None:
            yield Check(name, Status.WARN, 'no .json beside it: nobody knows what it was built for',
                        'build it with `aitable models build`')
            continue
        here, lacking = _machine(known.library)
        what = (f'{known.model} {known.precision}, for {known.fits}, '
                f'{known.library.spoken} {known.tensorrt}')
        wrong = sidecar.unproven(known)
        if here is not None:
            wrong = sidecar.mismatch(known, here) or wrong
        elif not wrong:
            wrong = f'cannot run here: {lacking}'
        if not wrong and path.stat().st_size != known.engine_bytes:
            wrong = f'damaged: {path.stat().st_size} bytes of {known.engine_bytes}'
        if wrong:
            remedy = known.rebuild or known.remedy if here is not None else ''
            yield Check(name, Status.WARN, f'{what}; {wrong}', remedy)
            continue
        remarks = sidecar.remarks(known, here) if here is not None else ''
        yield Check(name, Status.OK, '; '.join(filter(None, (what, remarks))))


def _machine(library: Library) -> tuple[Machine | None, str]:
    """Return what a library's engines are held against, or why there is nothing."""
    from aitable_ros.inference.protocol import BackendError
    from aitable_ros.inference.sidecar import Machine

    try:
        return Machine.here(library=library), ''
    except (ImportError, OSError, BackendError) as error:
        return None, first_line(error)


def check_chains(options: PipelineOptions) -> Iterator[Check]:
    """Load and run each stage's model the way the nodes do, and tell every step of its chain."""
    from aitable_ros.inference.chain import resolve
    from aitable_ros.inference.protocol import BackendError

    for name, stage in _stages(options).items():
        try:
            resolution = resolve(stage)
        except InputError as error:
            yield Check(name, Status.FAIL, str(error), FETCH)
            continue
        backend = resolution.backend
        if backend is None:
            off = any(attempt.entry == 'off' for attempt in resolution.attempts)
            yield Check(name, Status.OK if off else Status.WARN, resolution.explain(),
                        '' if off else FETCH)
            continue
        with backend:
            try:
                backend.warm_up()
            except BackendError as error:
                yield Check(name, Status.FAIL, f'{resolution.explain()}\nit fails: {error}', FETCH)
                continue
        stepped = any(attempt.reason for attempt in resolution.attempts)
        yield Check(name, Status.WARN if stepped else Status.OK, resolution.explain(),
                    'make the first choice work, or name another' if stepped else '')


def _stages(options: PipelineOptions) -> dict[str, ModelOptions]:
    posture: dict[str, ModelOptions] = {
        'posture model': options.posture, 'body detector': options.posture.detector_model,
    } if options.posture.enabled else {}
    return {
        'face model': options.face, 'close-up model': options.face.near_model,
        'fatigue model': options.fatigue, 'proof model': options.fatigue.proof_model,
        'emotion model': options.emotion, **posture}


def installed_version(package: str) -> str:
    """Return the version of an installed package; empty if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
