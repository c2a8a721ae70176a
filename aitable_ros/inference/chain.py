# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fallback chain: which model and backend run, and why each entry before them does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from aitable_ros.errors import first_line, InputError
from aitable_ros.inference.gpu_wait import AUTO, WAYS
from aitable_ros.inference.joined_models import JoinedModels
from aitable_ros.inference.protocol import Backend, BackendError
from aitable_ros.inference.runtimes import (
    BACKENDS, could_use_cuda, ENGINE_SUFFIXES, FASTEST, locate, MEDIAPIPE, runnable, RUNTIMES,
    runtimes_for, typical_run_s
)
from aitable_ros.models.catalogue import model_home
from aitable_ros.options import option, Options

Chain = TypeVar('Chain', bound='ModelOptions')
Stage = TypeVar('Stage')


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Where a stage's model comes from; every stage's options begin with these."""

    model: str = option(
        '', 'first choice: a .engine, .onnx, .pth or .tflite file or a catalogue name; empty goes '
        'straight to the fallbacks', dynamic=False, alias='engine_path')
    fallbacks: tuple[str, ...] = option(
        (), 'further models, tried in order until one loads; "off" ends the chain without a model',
        dynamic=False)
    backend: str = option(
        'auto', 'runtime of the model; auto takes the best one installed for each file, fastest '
        'loads and times all of them, which makes the start longer', choices=BACKENDS,
        dynamic=False)
    precision: str = option(
        'auto', 'auto, fp32, fp16, bf16 or int8; auto is fp32 on a CPU',
        choices=('auto', 'fp32', 'fp16', 'bf16', 'int8'), dynamic=False)
    device_id: int = option(0, 'GPU number', low=0, high=63, dynamic=False)
    threads: int = option(
        1, 'CPU threads for inference; 0 leaves it to the backend', low=0, high=256, dynamic=False)
    wait: str = option(
        AUTO, 'how a thread waits for TensorRT: spin keeps a core busy, sleep frees it and wakes '
        'later, nap sleeps for most of the usual time; auto is nap for short runs on four cores or '
        'more, else sleep', choices=WAYS, dynamic=False)
    required: bool = option(
        True, 'fail to configure when no model of the chain loads; false leaves the stage off',
        dynamic=False)
    model_folder_only: bool = option(
        True, '~/reload_model takes only catalogue names, files in the model folder, and what '
        'these parameters name', dynamic=False)

    def beside(self: Chain, model: str, onnx: str) -> Chain:
        """
        Return the chain of a second, optional model of the stage.

        :param model: its first choice
        :param onnx: catalogue name to fall back to where ``model`` is an engine that cannot run
        """
        fallbacks = (onnx,) if model.endswith(ENGINE_SUFFIXES) else ()
        return replace(self, model=model, fallbacks=fallbacks, required=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One step of the chain.

    :param entry: the file or catalogue name
    :param backend: that tried to load it; empty if none did
    :param reason: why the entry was skipped; empty for the one that runs
    :param note: a remark of the backend that runs
    """

    entry: str
    backend: str
    reason: str
    note: str = ''

    @property
    def way(self) -> str:
        """The entry, and the backend that tried it, if any did."""
        return f'{self.entry} on {self.backend}' if self.backend else self.entry


@dataclass(frozen=True, slots=True)
class Resolution:
    """The result of the chain: the backend that runs (None: the stage is off), and each attempt."""

    backend: Backend | None
    attempts: tuple[Attempt, ...]

    def hand_to(self, stage: Callable[[Backend | None, tuple[Attempt, ...]], Stage]) -> Stage:
        """
        Make a stage that owns the backend; a backend that the stage refuses is closed.

        :raises InputError: the stage cannot use the model
        """
        try:
            return stage(self.backend, self.attempts)
        except InputError:
            if self.backend is not None:
                self.backend.close()
            raise

    def explain(self) -> str:
        """Return a line for each skipped entry and its reason, and one for the model that runs."""
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
    Identifies a loaded model, so that it can be shared.

    :param entry: of the chain
    :param runtime: name in ``RUNTIMES``; CUDA and CPU of one library are two
    :param file: path, modification time in nanoseconds, size: a replaced file is another model
    """

    entry: str
    runtime: str
    file: tuple[str, int, int]
    precision: str
    device_id: int
    threads: int
    wait: str = AUTO


Load = Callable[[ModelKey, Callable[[], Backend]], Backend]
"""Returns the model that the function makes, or one that was made earlier for the same key."""
Avoid = Mapping[tuple[str, str], str]
"""Entries and runtimes to skip, with the reason: they load but fail when they run."""


def unshared(key: ModelKey, make: Callable[[], Backend]) -> Backend:
    """Load a model for the caller alone."""
    return make()


OFF = 'off'
JOIN = '+'
"""Joins the models of one entry that run side by side: ``fer+faceexpress``."""


def resolve(
    options: ModelOptions, load: Load = unshared, avoid: Avoid | None = None,
    fit: Callable[[Backend], object] = lambda backend: None,
) -> Resolution:
    """
    Walk the chain and return the first model that loads and fits.

    Of an entry that joins several models, all that load run; the attempts name the others.

    :param load: see :class:`aitable_ros.inference.shared_models.SharedModels`
    :param avoid: entries and runtimes to skip
    :param fit: called with a loaded model; after any exception the chain goes on
    :raises InputError: nothing loaded and the model is required; the message names every attempt
    """
    entries = [entry for entry in (options.model, *options.fallbacks) if entry]
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
            f"no model could be loaded: {steps or 'none is named'}; set 'model' or "
            "'fallbacks' to one that can be, or 'required' to false")
    return Resolution(None, tuple(attempts))


@contextmanager
def resolve_two(
    options: ModelOptions, beside: Callable[[Backend], ModelOptions | None], load: Load,
    avoid: Avoid | None, fit: Callable[[Backend], object],
) -> Iterator[tuple[Backend | None, Backend | None, tuple[Attempt, ...]]]:
    """
    Resolve the chain of a stage, and that of a second model beside the first.

    The context gives both models and the attempts of both chains; an error in it closes the models.

    :param beside: returns the options of the second model for the first one; None for no second
    :raises InputError: as :func:`resolve`
    """
    with ExitStack() as opened:
        first = resolve(options, load, avoid, fit)
        second = Resolution(None, ())
        if first.backend is not None:
            opened.enter_context(first.backend)
            more = beside(first.backend)
            if more is not None:
                second = resolve(more, load, avoid)
        if second.backend is not None:
            opened.enter_context(second.backend)
        yield first.backend, second.backend, first.attempts + second.attempts
        opened.pop_all()


def parts_of(entry: str) -> tuple[str, ...]:
    """Return the models that an entry names: several if :data:`JOIN` stands between names."""
    if JOIN not in entry or '/' in entry or (model_home() / entry).exists():
        return (entry,)
    return tuple(part for part in entry.split(JOIN) if part)


def _try_entry(
    entry: str, options: ModelOptions, attempts: list[Attempt], load: Load, avoid: Avoid,
    fit: Callable[[Backend], object],
) -> Backend | None:
    """Load one entry with the first runtime that can, and add an attempt for each runtime."""
    try:
        path = None if entry == MEDIAPIPE else locate(entry)
        names = runtimes_for(path, options.backend)
        path = path and runnable(path)
    except BackendError as error:
        attempts.append(Attempt(entry, '', str(error)))
        return None
    after_engines = any(Path(attempt.entry).suffix in ENGINE_SUFFIXES for attempt in attempts)
    if path is not None and after_engines and could_use_cuda(path, options.backend):
        attempts.append(Attempt(
            entry, 'onnxruntime', 'no CUDA: its GPU build (onnxruntime-gpu) is not installed'))
    rivals: list[tuple[str, Backend]] = []
    for name in names:
        runtime = RUNTIMES[name]
        spoken = name.split()[0]
        if runtime.missing:
            attempts.append(Attempt(entry, spoken, runtime.missing))
            continue
        if (entry, name) in avoid:
            attempts.append(Attempt(entry, spoken, avoid[entry, name]))
            continue
        try:
            backend = load(_key(entry, name, path, options), partial(
                runtime.open, path, model=Path(entry).name if '/' in entry else entry,
                precision=options.precision, threads=options.threads,
                device_id=options.device_id, wait=options.wait))
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
    Try a loaded model, and close it if it does not fit.

    :return: why it does not fit, empty if it does; and whether no other runtime could help
    """
    try:
        fit(backend)
    except Exception as error:  # a user's model may be wrong in any way
        backend.close()
        known = isinstance(error, (InputError, BackendError))
        reason = first_line(error) if known else f'{type(error).__name__}: {first_line(error)}'
        return reason, isinstance(error, InputError)
    return '', False


def _fastest(
    entry: str, rivals: list[tuple[str, Backend]], attempts: list[Attempt],
) -> Backend:
    """Keep the fastest of several loaded backends, and close the others."""
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


def _key(entry: str, runtime: str, path: Path | None, options: ModelOptions) -> ModelKey:
    file = ('', 0, 0)
    if path is not None:
        found = path.stat()
        file = (str(path), found.st_mtime_ns, found.st_size)
    return ModelKey(entry, runtime, file, options.precision, options.device_id, options.threads,
                    options.wait)


def _line(attempt: Attempt) -> str:
    who = f'{attempt.entry} ({attempt.backend})' if attempt.backend else attempt.entry
    reason = attempt.reason.removeprefix(f'{attempt.entry}: ')
    return f'{who}: {reason}'
