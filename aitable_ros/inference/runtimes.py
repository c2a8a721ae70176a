# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The runtimes: which files each one reads, whether it is installed, and how it loads a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.inference.gpu_wait import AUTO
from aitable_ros.inference.protocol import Backend, BackendError
from aitable_ros.inference.sidecar import library_of
from aitable_ros.inference.tensorrt_library import RTX, TENSORRT
from aitable_ros.models.catalogue import card, model_home, onnx_path

FASTEST = 'fastest'
MEDIAPIPE = 'mediapipe'
"""Both a backend and a chain entry without a file: the face mesh inside the MediaPipe package."""
BACKENDS = (
    'auto', FASTEST, TENSORRT.name, RTX.name, 'openvino', 'onnxruntime', 'torch', MEDIAPIPE)
ORT_CUDA = 'onnxruntime on CUDA'
ENGINE_SUFFIXES = ('.engine', '.plan')
TIMED_RUNS = 20
"""Runs of each rival: enough for a median that one busy moment does not decide."""
TIMED_S = 1.0
"""Timing stops after this long: the slow ones are known by then. EmoNet takes 0.08 s on a CPU."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """
    A library that runs models, and the backend class for it.

    :param module: of the class, below ``aitable_ros.inference``
    :param kind: name of the class
    :param packages: Python packages, one of which must be installed
    :param spoken: the library's name in messages
    :param extra: further arguments of the class
    :param waits: the class is told how to wait for the GPU
    """

    module: str
    kind: str
    packages: tuple[str, ...]
    spoken: str
    extra: tuple[tuple[str, Any], ...] = ()
    waits: bool = False

    @property
    def missing(self) -> str:
        """Why the library cannot be used; empty if it is installed. Does not import it."""
        return '' if any(map(find_spec, self.packages)) else f'{self.spoken} is not installed'

    def open(
        self, path: Path | None, *, model: str, precision: str, threads: int, device_id: int,
        wait: str = AUTO,
    ) -> Backend:
        """
        Load a model and run it twice on a black image.

        :raises BackendError: the model does not load or run, or returns values that are not finite
        """
        kind = getattr(import_module(f'aitable_ros.inference.{self.module}'), self.kind)
        backend: Backend = kind(path, model=model, precision=precision, threads=threads,
                                device_id=device_id, **dict(self.extra),
                                **({'wait': wait} if self.waits else {}))
        try:
            _check_runs(backend)
        except Exception:
            backend.close()
            raise
        return backend


RUNTIMES = {
    TENSORRT.name: Runtime('tensorrt', 'TensorRTBackend', TENSORRT.packages, TENSORRT.spoken,
                           waits=True),
    RTX.name: Runtime('tensorrt_rtx', 'TensorRTRtxBackend', RTX.packages, RTX.spoken,
                      waits=True),
    'openvino': Runtime('openvino', 'OpenVINOBackend', ('openvino',), 'OpenVINO'),
    'onnxruntime': Runtime('onnxruntime', 'OnnxRuntimeBackend', ('onnxruntime',), 'ONNX Runtime'),
    ORT_CUDA: Runtime('onnxruntime', 'OnnxRuntimeBackend', ('onnxruntime',), 'ONNX Runtime',
                      (('cuda', True),)),
    'torch': Runtime('torch', 'TorchBackend', ('torch',), 'PyTorch'),
    MEDIAPIPE: Runtime('mediapipe', 'MediaPipeBackend', ('mediapipe',), 'MediaPipe'),
}
_BY_SUFFIX = {
    '.engine': (TENSORRT.name, RTX.name),  # one of them: see `library_of`
    '.plan': (TENSORRT.name, RTX.name),
    '.onnx': (ORT_CUDA, 'openvino', 'onnxruntime'),
    '.pth': ('torch',),
    '.tflite': (ORT_CUDA, 'openvino', 'onnxruntime'),  # after conversion
    '.task': (MEDIAPIPE,),
}
"""Runtimes for each file suffix, best first. CUDA is skipped without ONNX Runtime's GPU build."""


def locate(entry: str) -> Path:
    """
    Return the file of a chain entry.

    An entry with a slash is a path, one with a suffix a file in the models' folder, any other a
    catalogue name.

    :raises BackendError: unknown name, or no readable file
    """
    path = Path(entry).expanduser()
    if '/' in entry:
        path = path.absolute()
    elif path.suffix:
        path = model_home() / path
    else:
        path = _of_catalogue(entry)
    try:
        with path.open('rb') as file:
            if not file.read(1):
                raise BackendError(f'{path}: the file is empty')
    except IsADirectoryError:
        raise BackendError(f'{path}: a folder, not a model file') from None
    except FileNotFoundError:
        raise BackendError(f'{path}: no such file') from None
    except OSError as error:
        raise BackendError(f'{path}: cannot be read: {error.strerror}') from None
    return path


def _of_catalogue(name: str) -> Path:
    try:
        known = card(name)
    except InputError as error:
        raise BackendError(str(error)) from None
    path = onnx_path(name)
    if path.exists():
        return path
    if (known.upstream and not known.upstream.is_onnx
            and (path.parent / known.upstream.file_name).exists()):
        raise BackendError(
            f'not exported: run `aitable models export {name}`, or name '
            f'{known.upstream.file_name} to run it on PyTorch')
    raise BackendError(f'not in {path.parent}: {known.remedy}')


def runnable(path: Path) -> Path:
    """
    Return the file that a runtime reads: a ``.tflite`` file is converted to ONNX, once.

    :raises BackendError: the file cannot be converted
    """
    if path.suffix.lower() != '.tflite':
        return path
    from aitable_ros.models.convert import convert_once

    try:
        return convert_once(path)
    except InputError as error:
        raise BackendError(str(error)) from None


def runtimes_for(path: Path | None, wanted: str) -> tuple[str, ...]:
    """
    Return the names of the runtimes to try for a file, best first.

    :param path: None for MediaPipe's own mesh
    :param wanted: one of :data:`BACKENDS`
    :raises BackendError: no runtime reads such files, or not the wanted one
    """
    if path is None:
        if wanted not in ('auto', FASTEST, MEDIAPIPE):
            raise BackendError(f"backend '{wanted}' does not run the mesh inside MediaPipe")
        return (MEDIAPIPE,)
    able = _BY_SUFFIX.get(path.suffix.lower())
    if able is None:
        raise BackendError(
            f"{path}: not a model file; known endings are {', '.join(_BY_SUFFIX)}")
    if RTX.name in able:
        library = library_of(path)
        if wanted not in ('auto', FASTEST, library.name):
            raise BackendError(f"backend '{wanted}' does not run engines of {library.spoken}")
        return (library.name,)
    if not has_cuda_onnxruntime():
        able = tuple(name for name in able if name != ORT_CUDA)
    if wanted in ('auto', FASTEST):
        return able
    forced = tuple(name for name in able if name.split()[0] == wanted)
    if not forced:
        raise BackendError(f"backend '{wanted}' does not read {path.suffix} files")
    return forced


def could_use_cuda(path: Path, wanted: str) -> bool:
    """Tell whether ONNX Runtime would run a file on CUDA if its GPU build were installed."""
    return (ORT_CUDA in _BY_SUFFIX[path.suffix.lower()]
            and wanted in ('auto', FASTEST, 'onnxruntime') and not has_cuda_onnxruntime())


@cache
def has_cuda_onnxruntime() -> bool:
    """Look for the CUDA provider's library in the onnxruntime package, without importing it."""
    spec = find_spec('onnxruntime')
    folders = spec.submodule_search_locations if spec else None
    return any(
        any((Path(folder) / 'capi').glob('*onnxruntime_providers_cuda.*'))
        for folder in folders or ())


def _black(backend: Backend) -> dict[str, NDArray[Any]]:
    return {spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype)
            for spec in backend.inputs}


def _check_runs(backend: Backend) -> None:
    """:raises BackendError: a run fails, or its outputs are not finite."""
    if any(None in spec.shape[1:] for spec in backend.inputs):
        return  # the size of its images is unknown
    backend.warm_up()
    outputs = backend.infer(_black(backend))
    wrong = [name for name, value in outputs.items() if not np.isfinite(value).all()]
    if wrong:  # half precision that overflows, an engine of another GPU
        raise BackendError(
            f"{backend.model}: output '{wrong[0]}' of a black image is not a number; the file "
            f'does not run in {backend.precision} on {backend.device}')


def typical_run_s(backends: Sequence[Backend]) -> list[float]:
    """
    Time loaded models on black images, in turn, so that a busy moment affects all of them.

    :return: median run of each, seconds
    :raises BackendError: one of them fails
    """
    inputs = list(map(_black, backends))
    taken: list[list[float]] = [[] for _ in backends]
    begin = perf_counter()
    for _ in range(TIMED_RUNS):
        for backend, images, times in zip(backends, inputs, taken):
            start = perf_counter()
            backend.infer(images)
            times.append(perf_counter() - start)
        if perf_counter() - begin > TIMED_S:
            break
    return [median(times) for times in taken]
