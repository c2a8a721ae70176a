# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which model and backend to use, and why not the ones before it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from typing import TypeVar

import numpy as np

from aitable_ros.errors import first_line
from aitable_ros.errors import InputError
from aitable_ros.inference.joined import JoinedModels
from aitable_ros.inference.protocol import Backend
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.sidecar import library_of
from aitable_ros.inference.tensorrt_library import RTX
from aitable_ros.inference.tensorrt_library import TENSORRT
from aitable_ros.options import option
from aitable_ros.options import Options

FASTEST = 'fastest'
Stage = TypeVar('Stage')
BACKENDS = (
    'auto', FASTEST, 'tensorrt', 'tensorrt_rtx', 'openvino', 'onnxruntime', 'torch', 'mediapipe')


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Where a stage's model comes from; every stage's options begin with these."""

    engine_path: str = option(
        '', 'first choice: a .engine, .onnx, .pth or .tflite file or a catalogue name; empty goes '
        'straight to the fallbacks', dynamic=False)
    fallbacks: tuple[str, ...] = option(
        (), 'tried in order when the one before cannot load; "off" ends the chain without a model',
        dynamic=False)
    backend: str = option(
        'auto', 'what runs the model; auto takes the best one installed for each file, fastest '
        'loads and times all of them, which makes the start longer', choices=BACKENDS,
        dynamic=False)
    precision: str = option(
        'auto', 'auto, fp32, fp16, bf16 or int8; auto is fp32 on a CPU',
        choices=('auto', 'fp32', 'fp16', 'bf16', 'int8'), dynamic=False)
    device_id: int = option(0, 'GPU number', low=0, high=63, dynamic=False)
    threads: int = option(
        1, 'CPU threads for inference; 0 leaves it to the backend', low=0, high=256, dynamic=False)
    required: bool = option(
        True, 'fail to configure when no model of the chain loads; false leaves the stage off',
        dynamic=False)
    model_folder_only: bool = option(
        True, '~/reload_model takes only catalogue names, files in the model folder, and what '
        'these parameters name', dynamic=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One step of the chain.

    :param entry: the file or catalogue name tried
    :param backend: what tried it; empty where it did not come to that
    :param reason: why it was passed over; empty for the one that runs
    :param note: what is worth knowing of the one that runs
    """

    entry: str
    backend: str
    reason: str
    note: str = ''


@dataclass(frozen=True, slots=True)
class Resolution:
    """The chain's answer: the backend that runs (None = the stage is off), and the way there."""

    backend: Backend | None
    attempts: tuple[Attempt, ...]

    def hand_to(self, stage: Callable[[Backend | None, tuple[Attempt, ...]], Stage]) -> Stage:
        """
        Make a stage that owns the backend from now on; one that it refuses is closed.

        :raises InputError: the stage has no use for the model
        """
        try:
            return stage(self.backend, self.attempts)
        except InputError:
            if self.backend is not None:
                self.backend.close()
            raise

    def explain(self) -> str:
        """Return a line for each step: what was passed over and why, and what runs."""
        lines = [_line(attempt) for attempt in self.attempts if attempt.reason]
        if self.backend is None:
            return '\n'.join([*lines, 'no model runs'])
        runs = self.backend
        note = '; '.join(attempt.note for attempt in self.attempts if attempt.note)
        return '\n'.join(
            [*lines, f'{runs.model}: runs on {runs.name}, {runs.precision}, {runs.device}'
             + (f' ({note})' if note else '')])


@dataclass(frozen=True, slots=True)
class ModelKey:
    """
    What makes two loaded models the same one.

    :param entry: of the chain
    :param runtime: what runs it; CUDA and CPU of one library are two
    :param file: path, time of change in nanoseconds and size; a file replaced is another model
    """

    entry: str
    runtime: str
    file: tuple[str, int, int]
    precision: str
    device_id: int
    threads: int


Load = Callable[[ModelKey, Callable[[], Backend]], Backend]
"""Gives the model that the function makes, or the same one made before for somebody else."""
Avoid = Mapping[tuple[str, str], str]
"""Entry and runtime to pass over, and why: what loads but fails when it runs."""


def unshared(key: ModelKey, make: Callable[[], Backend]) -> Backend:
    """Load for the caller alone."""
    return make()


@dataclass(frozen=True, slots=True)
class _Runtime:
    """
    Something that runs models.

    :param module: our module for it
    :param kind: the class in that module
    :param packages: the Python packages of which one must be installed
    :param spoken: its name in messages
    :param extra: further arguments of the class
    """

    module: str
    kind: str
    packages: tuple[str, ...]
    spoken: str
    extra: tuple[tuple[str, Any], ...] = ()

    @property
    def missing(self) -> str:
        """Why it cannot be used here; empty where it can. Does not import it."""
        return '' if any(map(find_spec, self.packages)) else f'{self.spoken} is not installed'


_ORT_CUDA = 'onnxruntime on CUDA'
_RUNTIMES = {
    TENSORRT.name: _Runtime(
        'tensorrt', 'TensorRTBackend', TENSORRT.packages, TENSORRT.spoken),
    RTX.name: _Runtime('tensorrt_rtx', 'TensorRTRtxBackend', RTX.packages, RTX.spoken),
    'openvino': _Runtime('openvino', 'OpenVINOBackend', ('openvino',), 'OpenVINO'),
    'onnxruntime': _Runtime(
        'onnxruntime', 'OnnxRuntimeBackend', ('onnxruntime',), 'ONNX Runtime'),
    _ORT_CUDA: _Runtime(
        'onnxruntime', 'OnnxRuntimeBackend', ('onnxruntime',), 'ONNX Runtime', (('cuda', True),)),
    'torch': _Runtime('torch', 'TorchBackend', ('torch',), 'PyTorch'),
    'mediapipe': _Runtime('mediapipe', 'MediaPipeBackend', ('mediapipe',), 'MediaPipe'),
}
_ENGINES = ('.engine', '.plan')
_BY_SUFFIX = {
    '.engine': (TENSORRT.name, RTX.name),  # one of them: see `library_of`
    '.plan': (TENSORRT.name, RTX.name),
    '.onnx': (_ORT_CUDA, 'openvino', 'onnxruntime'),
    '.pth': ('torch',),
    '.tflite': (_ORT_CUDA, 'openvino', 'onnxruntime'),  # once it is converted
    '.task': ('mediapipe',),
}
"""What runs which file, best first. CUDA is passed over where the GPU build is not installed."""
OFF = 'off'
JOIN = '+'
"""Between the models of one entry that run side by side: ``fer+faceexpress``."""
MEDIAPIPE = 'mediapipe'
"""An entry without a file: the face mesh inside the MediaPipe package."""


def resolve(
    options: ModelOptions, load: Load = unshared, avoid: Avoid | None = None,
    fit: Callable[[Backend], object] = lambda backend: None,
) -> Resolution:
    """
    Walk the chain and load the first model that loads and fits.

    Of an entry that joins several models, those that load run; the attempts tell why the others do
    not.

    :param load: see :class:`aitable_ros.inference.shared_models.SharedModels`
    :param avoid: what to pass over
    :param fit: tries a loaded model; whatever it raises, the chain goes on
    :raises InputError: nothing loaded and the model is required; the message tells every step
    """
    entries = [entry for entry in (options.engine_path, *options.fallbacks) if entry]
    attempts: list[Attempt] = []
    for entry in entries:
        if entry == OFF:
            attempts.append(Attempt(OFF, '', 'switched off by the parameters'))
            return Resolution(None, tuple(attempts))
        loaded = [backend for part in parts_of(entry) if (
            backend := _try_entry(part, options, attempts, load, avoid or {}, fit)) is not None]
        if loaded:
            backend = loaded[0] if len(loaded) == 1 else JoinedModels(loaded)
            return Resolution(backend, tuple(attempts))
    if options.required:
        steps = '; '.join(_line(attempt) for attempt in attempts)
        raise InputError(
            f"no model could be loaded: {steps or 'none is named'}; set 'engine_path' or "
            "'fallbacks' to one that can be, or 'required' to false")
    return Resolution(None, tuple(attempts))


def parts_of(entry: str) -> tuple[str, ...]:
    """Return the models that an entry names: several where :data:`JOIN` stands between names."""
    from aitable_ros.models.catalogue import model_home

    if JOIN not in entry or '/' in entry or (model_home() / entry).exists():
        return (entry,)
    return tuple(part for part in entry.split(JOIN) if part)


def _try_entry(
    entry: str, options: ModelOptions, attempts: list[Attempt], load: Load, avoid: Avoid,
    fit: Callable[[Backend], object],
) -> Backend | None:
    """Load one entry with the first of its backends that can, and note how each of them fared."""
    try:
        path = None if entry == MEDIAPIPE else _locate(entry)
        names = _backends_for(path, options.backend)
        if path is not None and path.suffix.lower() == '.tflite':
            path = _converted(path)
    except BackendError as error:
        attempts.append(Attempt(entry, '', str(error)))
        return None
    if path is not None and _misses_cuda(path, options.backend, attempts):
        attempts.append(Attempt(
            entry, 'onnxruntime', 'no CUDA: its GPU build (onnxruntime-gpu) is not installed'))
    rivals: list[tuple[str, Backend]] = []
    for name in names:
        runtime = _RUNTIMES[name]
        spoken = name.split()[0]
        if runtime.missing:
            attempts.append(Attempt(entry, spoken, runtime.missing))
            continue
        if (entry, name) in avoid:
            attempts.append(Attempt(entry, spoken, avoid[entry, name]))
            continue
        try:
            backend = load(_key(entry, name, path, options), partial(
                _open, runtime, path, entry, options))
        except BackendError as error:
            attempts.append(Attempt(entry, spoken, str(error)))
        except MemoryError:
            attempts.append(Attempt(entry, spoken, 'out of memory while it was loaded'))
        except (ImportError, OSError) as error:  # installed, but a library below it is not
            attempts.append(
                Attempt(entry, spoken, f'{runtime.spoken} cannot be used: {first_line(error)}'))
        else:
            reason, hopeless = _misfit(backend, fit)
            if reason:
                attempts.append(Attempt(entry, '' if hopeless else spoken, reason))
                if hopeless:
                    break
                continue
            if options.backend != FASTEST:
                attempts.append(Attempt(entry, spoken, '', getattr(backend, 'note', '')))
                return backend
            rivals.append((spoken, backend))
    return _fastest(entry, rivals, attempts) if rivals else None


def _misfit(backend: Backend, fit: Callable[[Backend], object]) -> tuple[str, bool]:
    """
    Try a loaded model; one that does not fit is closed.

    :return: why it does not fit, empty where it does; and whether no other runtime could help
    """
    try:
        fit(backend)
    except Exception as error:  # of a model that somebody made anything can be wrong
        backend.close()
        known = isinstance(error, (InputError, BackendError))
        reason = first_line(error) if known else f'{type(error).__name__}: {first_line(error)}'
        return reason, isinstance(error, InputError)
    return '', False


def _fastest(
    entry: str, rivals: list[tuple[str, Backend]], attempts: list[Attempt],
) -> Backend:
    """Keep the one of several loaded backends that runs fastest, and close the others."""
    from aitable_ros.inference.timing import typical_run_s

    times = typical_run_s([backend for _, backend in rivals])
    ranked = sorted(zip(times, rivals), key=lambda timed: timed[0])
    best_s, (name, best) = ranked[0]
    for seconds, (slower, backend) in ranked[1:]:
        backend.close()
        attempts.append(Attempt(
            entry, slower, f'slower: {seconds * 1e3:.2f} ms a run, {name} {best_s * 1e3:.2f} ms'))
    note = f'fastest of {len(rivals)}: {best_s * 1e3:.2f} ms a run'
    attempts.append(Attempt(
        entry, name, '', '; '.join(filter(None, (note, getattr(best, 'note', ''))))))
    return best


def _open(runtime: _Runtime, path: Path | None, entry: str, options: ModelOptions) -> Backend:
    kind = getattr(import_module(f'aitable_ros.inference.{runtime.module}'), runtime.kind)
    backend: Backend = kind(
        path, model=_model_name(entry), precision=options.precision,
        threads=options.threads, device_id=options.device_id, **dict(runtime.extra))
    _warm_up(backend)
    return backend


def _key(entry: str, runtime: str, path: Path | None, options: ModelOptions) -> ModelKey:
    file = ('', 0, 0)
    if path is not None:
        found = path.stat()
        file = (str(path), found.st_mtime_ns, found.st_size)
    return ModelKey(entry, runtime, file, options.precision, options.device_id, options.threads)


def _locate(entry: str) -> Path:
    """
    Find an entry's file: a path has a slash, a file in the model home an ending, a name neither.

    :raises BackendError: there is no such name or file, or it cannot be read
    """
    from aitable_ros.models.catalogue import card
    from aitable_ros.models.catalogue import model_home
    from aitable_ros.models.catalogue import onnx_path

    path = Path(entry).expanduser()
    if '/' in entry:
        path = path.absolute()
    elif path.suffix:
        path = model_home() / path
    else:
        try:
            known = card(entry)
        except InputError as error:
            raise BackendError(str(error)) from None
        path = onnx_path(entry)
        if not path.exists():
            if (known.upstream and not known.upstream.is_onnx
                    and (path.parent / known.upstream.file_name).exists()):
                raise BackendError(
                    f'not exported: run `aitable models export {entry}`, or name '
                    f'{known.upstream.file_name} to run it on PyTorch')
            raise BackendError(f'not in {path.parent}: {known.remedy}')
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


def _converted(path: Path) -> Path:
    """
    Return what the converter makes of a ``.tflite`` file; made once.

    :raises BackendError: it cannot be converted
    """
    from aitable_ros.models.convert import convert_once

    try:
        return convert_once(path)
    except InputError as error:
        raise BackendError(str(error)) from None


def _backends_for(path: Path | None, wanted: str) -> tuple[str, ...]:
    """
    Return what to try for a file, or for MediaPipe's own mesh, in order.

    :raises BackendError: nothing reads such files, or not the backend that is wanted
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
    if not _cuda_build_of_onnxruntime():
        able = tuple(name for name in able if name != _ORT_CUDA)
    if wanted in ('auto', FASTEST):
        return able
    forced = tuple(name for name in able if name.split()[0] == wanted)
    if not forced:
        raise BackendError(f"backend '{wanted}' does not read {path.suffix} files")
    return forced


def _misses_cuda(path: Path, wanted: str, attempts: list[Attempt]) -> bool:
    """Tell whether a chain that began with engines goes on to the CPU for want of CUDA."""
    gpu = any(Path(attempt.entry).suffix in _ENGINES for attempt in attempts)
    return (gpu and _ORT_CUDA in _BY_SUFFIX[path.suffix.lower()]
            and wanted in ('auto', FASTEST, 'onnxruntime') and not _cuda_build_of_onnxruntime())


@cache
def _cuda_build_of_onnxruntime() -> bool:
    """Look for the provider's library beside the package, without importing it."""
    spec = find_spec('onnxruntime')
    folders = spec.submodule_search_locations if spec else None
    return any(
        any((Path(folder) / 'capi').glob('*onnxruntime_providers_cuda.*'))
        for folder in folders or ())


def _warm_up(backend: Backend) -> None:
    """
    Prove that a model that loads also runs, and let the first image not be the slow one.

    :raises BackendError: it does not run, or gives what is no number; it is closed then
    """
    if any(None in spec.shape[1:] for spec in backend.inputs):
        return  # no telling what size it wants
    try:
        backend.warm_up()
        outputs = backend.infer({
            spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype)
            for spec in backend.inputs})
        wrong = [name for name, value in outputs.items() if not np.isfinite(value).all()]
        if wrong:  # half precision that overflows, an engine of another GPU
            raise BackendError(
                f"{backend.model}: output '{wrong[0]}' of a black image is not a number; the file "
                f'does not run in {backend.precision} on {backend.device}')
    except Exception:
        backend.close()
        raise


def _model_name(entry: str) -> str:
    return Path(entry).name if '/' in entry else entry


def _line(attempt: Attempt) -> str:
    who = f'{attempt.entry} ({attempt.backend})' if attempt.backend else attempt.entry
    reason = attempt.reason.removeprefix(f'{attempt.entry}: ')
    return f'{who}: {reason}'
