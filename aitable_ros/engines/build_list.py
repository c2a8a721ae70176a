# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Lists of engines to build: of the whole catalogue or of a YAML file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from aitable_ros.engines.build import build, kept
from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.progress import BuildProgress
from aitable_ros.engines.sources import CROPS, onnx_of, YOLO
from aitable_ros.engines.toolchain import Toolchain
from aitable_ros.errors import InputError
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.sidecar import Sidecar
from aitable_ros.inference.tensorrt_library import RTX, TENSORRT
from aitable_ros.models.catalogue import CATALOGUE, model_home

_STEMS = {'emonet_8': 'emonet'}
"""Engines whose names in config/jetson.yaml differ from their model's."""
CROPS_MADE = (f'{CROPS}192', f'{CROPS}256')
"""What cuts crops on the GPU for the face meshes and for BlazePose; seconds each."""


@dataclass(frozen=True, slots=True)
class BuildJob:
    """
    One engine to build.

    :param source: catalogue name or file
    :param optional: the user did not name it: if its file is missing, it is skipped
    """

    source: str
    engine: Path
    options: BuildOptions
    optional: bool = False


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """
    Result of a build.

    :param state: ``built``, ``kept``, ``skipped`` or ``failed``
    :param detail: reason, for the last two
    """

    job: BuildJob
    state: str
    detail: str = ''
    sidecar: Sidecar | None = None


def engine_path(source: str, precision: str, runtime: str = TENSORRT.name) -> Path:
    """
    Return the default path of an engine: ``NAME_PRECISION.engine`` in the models' folder.

    ``emonet_8`` becomes ``emonet_PRECISION.engine``, ``yolov8_pose`` ``yolov8n-pose_...``, and a
    user's file keeps its name. TensorRT for
    RTX: ``NAME_rtx.engine`` for fp16, else ``NAME_PRECISION_rtx.engine``.
    """
    rtx = runtime == RTX.name
    own = (source not in CATALOGUE or source == 'yolov8_face') and not source.startswith(CROPS)
    stem = {**_STEMS, **YOLO}.get(source, Path(source).stem if own else source)
    kind = '' if own or (rtx and precision == 'fp16') else f'_{precision}'
    return model_home() / f"{stem}{kind}{'_rtx' if rtx else ''}.engine"


def of_catalogue(
    options: BuildOptions, precisions: Sequence[str], runtime: str = TENSORRT.name,
) -> list[BuildJob]:
    """Return a job for each model and precision."""
    found = [
        BuildJob(name, engine_path(name, precision, runtime), replace(options, precision=precision),
               optional=True)
        for name in CATALOGUE for precision in precisions]
    found += [
        BuildJob(name, engine_path(name, 'fp32', runtime), replace(options, precision='fp32'),
                 optional=True)
        for name in CROPS_MADE]
    return list({job.engine: job for job in found}.values())


def of_yaml(path: Path, options: BuildOptions, runtime: str = TENSORRT.name) -> list[BuildJob]:
    """
    Read a list of engines.

    ``models:`` holds names, files, or mappings with ``model``, ``output`` and any build option;
    options beside ``models:`` apply to all.

    :raises InputError: unreadable, or an unknown option or value
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise InputError(f'cannot read {path}: {error.strerror}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: no YAML: {" ".join(str(error).split())[:200]}') from None
    if not isinstance(content, dict) or not isinstance(content.get('models'), list):
        raise InputError(f'{path}: needs a list of "models:"')
    shared = _with(options, {key: value for key, value in content.items() if key != 'models'}, path)
    jobs = []
    for entry in content['models']:
        values = {'model': entry} if isinstance(entry, str) else entry
        if not isinstance(values, dict) or not isinstance(values.get('model'), str):
            raise InputError(f'{path}: an entry of "models:" is neither a name nor has a "model:"')
        own = _with(shared, {key: value for key, value in values.items()
                             if key not in ('model', 'output')}, path)
        source = values['model']
        output = values.get('output')
        if output is not None and not str(output).endswith(('.engine', '.plan')):
            raise InputError(f'{path}: output {output} must end in .engine')
        engine = (engine_path(source, own.precision, runtime) if output is None else
                  _placed(str(output)))
        jobs.append(BuildJob(source, engine, own))
    return jobs


def _placed(output: str) -> Path:
    """Return the path of a file; a bare name is in the models' folder, as in a chain."""
    path = Path(output).expanduser()
    return path if '/' in output else model_home() / path


def _with(options: BuildOptions, values: dict[str, Any], path: Path) -> BuildOptions:
    known = {item.name: item for item in fields(BuildOptions)
             if item.name != 'compute_capabilities'}  # of the whole run: --for
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace('-', '_')
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise InputError(f'{path}: no option is called "{key}"'
                             + (f'; did you mean {near[0]}?' if near else ''))
        changes[name] = _value(known[name].type, value, f'{path}: {key}')
    return replace(options, **changes)


def _value(kind: Any, value: Any, where: str) -> Any:
    """Check a YAML value; :raises InputError: it is of another type."""
    kind = str(kind)
    if value is None and 'None' in kind:
        return None
    if kind.startswith('Path') and isinstance(value, str):
        return Path(value).expanduser()
    if kind.startswith('tuple') and isinstance(value, list) and all(
            isinstance(item, str) for item in value):
        return tuple(value)
    plain: dict[str, type] = {'str': str, 'bool': bool, 'int': int, 'int | None': int}
    if kind in plain and isinstance(value, plain[kind]) and (
            kind == 'bool' or not isinstance(value, bool)):
        return value
    raise InputError(f'{where}: {value!r} is no {kind.removesuffix(" | None")}')


def build_all(
    jobs: Sequence[BuildJob], tools: Toolchain,
    watch: Callable[[BuildJob], AbstractContextManager[BuildProgress]], rebuild: bool = False,
) -> Iterator[BuildOutcome]:
    """
    Build missing engines one after another; a failure does not stop the others.

    :param watch: shows the progress of a build
    :param rebuild: also build engines that fit
    """
    for job in jobs:
        try:
            onnx, model = onnx_of(job.source)
        except InputError as error:
            yield BuildOutcome(job, 'skipped' if job.optional else 'failed', str(error))
            continue
        try:
            sidecar = None if rebuild else kept(
                onnx, job.engine, job.options, tools.machine)
            if sidecar is not None:
                yield BuildOutcome(job, 'kept', sidecar=sidecar)
                continue
            with watch(job) as progress:
                sidecar = build(onnx, job.engine, job.options, progress, model=model,
                                tools=tools)
        except (InputError, BackendError) as error:
            yield BuildOutcome(job, 'failed', str(error))
        except Exception as error:  # the others must still be built
            yield BuildOutcome(job, 'failed', f'{type(error).__name__}: {error}')
        else:
            yield BuildOutcome(job, 'built', sidecar=sidecar)
