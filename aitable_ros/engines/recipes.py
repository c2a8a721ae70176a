# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which engines to build of what: one model, the whole catalogue, or a YAML file's list."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import redirect_stdout
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from difflib import get_close_matches
from hashlib import sha256
from importlib.util import find_spec
import os
from pathlib import Path
import shutil
import sys
from tempfile import TemporaryDirectory
from typing import Any

from aitable_ros.engines.build import build
from aitable_ros.engines.build import kept
from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.progress import Progress
from aitable_ros.engines.toolchain import Toolchain
from aitable_ros.errors import first_line
from aitable_ros.errors import InputError
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.sidecar import Sidecar
from aitable_ros.inference.tensorrt_library import RTX
from aitable_ros.inference.tensorrt_library import TENSORRT
from aitable_ros.models.catalogue import card as card_of
from aitable_ros.models.catalogue import CATALOGUE
from aitable_ros.models.catalogue import model_home
from aitable_ros.models.catalogue import ModelCard
from aitable_ros.models.catalogue import onnx_path
from aitable_ros.models.convert import convert
from aitable_ros.models.convert import convert_once
from aitable_ros.models.convert import is_converted
from aitable_ros.models.fetch import is_fetched
from aitable_ros.models.store import write_atomically
from aitable_ros.models.upstream import checkpoint_path

YOLO = 'yolov8_face'
_STEMS = {'emonet_8': 'emonet'}
"""Engines whose names in config/jetson.yaml are not their model's."""
_YOLO_FILES = ('yolov8n-face.onnx', 'yolov8_face.onnx', 'yolov8n-face.pt', 'yolov8_face.pt')


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    One engine to build.

    :param source: catalogue name or file
    :param optional: nobody asked for it by name: where its file is the user's to provide and is not
        there, that is no failure
    """

    source: str
    engine: Path
    options: BuildOptions
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How it went.

    :param state: ``built``, ``kept``, ``skipped`` or ``failed``
    :param detail: why, where it is one of the last two
    """

    recipe: Recipe
    state: str
    detail: str = ''
    sidecar: Sidecar | None = None


def engine_path(source: str, precision: str, runtime: str = TENSORRT.name) -> Path:
    """
    Return where an engine goes if nobody says otherwise: ``NAME_PRECISION.engine`` in the models'
    folder, for ``emonet_8`` ``emonet_PRECISION.engine``; a file of the user's keeps its name.

    TensorRT for RTX: ``NAME_rtx.engine`` in fp16, ``NAME_PRECISION_rtx.engine`` in another.
    """
    rtx = runtime == RTX.name
    own = source not in CATALOGUE or source == YOLO
    stem = _STEMS.get(source, source)
    if own:
        stem = 'yolov8n-face' if source == YOLO else Path(source).stem
    kind = '' if own or (rtx and precision == 'fp16') else f'_{precision}'
    return model_home() / f"{stem}{kind}{'_rtx' if rtx else ''}.engine"


def onnx_of(source: str) -> tuple[Path, str]:
    """
    Return the fp32 ONNX file of a model, made where that is needed, and its catalogue name.

    :param source: catalogue name, ``.onnx``, ``.tflite``, ``.pth`` or ``.pt`` file
    :raises InputError: it is not there and cannot be made; the message says what to do
    """
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if not suffix and not path.is_file():
        return _of_card(card_of(source)), source
    if '/' not in source and not path.exists():
        path = model_home() / path
    if not path.is_file():
        raise InputError(f'{source}: no such file, here or in {model_home()}')
    makers: dict[str, Callable[[Path], Path]] = {
        '.onnx': lambda path: path, '.tflite': convert_once, '.pth': _exported, '.pt': _of_yolo}
    if suffix not in makers:
        raise InputError(f'{source} cannot be built: give a catalogue name or a '
                         f'{", ".join(makers)} file')
    return makers[suffix](path), ''


def _of_card(card: ModelCard) -> Path:
    path = onnx_path(card.name)
    if card.name == YOLO:
        found = next((model_home() / name for name in _YOLO_FILES
                      if (model_home() / name).is_file()), None)
        if found is None:
            raise InputError(f'{card.name} is not in {model_home()}: {card.remedy}, and give the '
                             'file: aitable models build yolov8n-face.pt')
        return onnx_of(str(found))[0]
    if card.upstream:
        if not path.is_file() and checkpoint_path(card).is_file():
            from aitable_ros.engines.export import export

            export(checkpoint_path(card), path)
        if not path.is_file():
            raise InputError(f'{card.name} is not in {model_home()}: {card.remedy}')
        return path
    if not is_converted(card) and (is_fetched(card) or not path.is_file()):
        return convert(card.name)
    return path  # also one that was copied from another machine


def _made_of(path: Path) -> Path:
    try:
        digest = sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise InputError(f'cannot read {path}: {error.strerror}') from None
    return model_home() / 'converted' / f'{path.stem}-{digest}.onnx'


def _exported(path: Path) -> Path:
    output = _made_of(path)
    if not output.is_file():
        from aitable_ros.engines.export import export

        export(path, output)
    return output


def _of_yolo(path: Path) -> Path:
    """Let ultralytics export; it is AGPL-3.0 and the user's to install."""
    output = _made_of(path)
    if output.is_file():
        return output
    missing = [name for name in ('ultralytics', 'onnx') if find_spec(name) is None]
    if missing:
        raise InputError(
            f'exporting {path} needs {" and ".join(missing)} (ultralytics is AGPL-3.0, your '
            'decision): pip install ultralytics onnx onnxslim, or on another machine `yolo export '
            f'model={path.name} format=onnx opset=17`, and give its .onnx')
    # It would pip install what it misses while the robot waits, report its use to its makers, and
    # name files that are gone.
    for name, value in (('AUTOINSTALL', 'false'), ('OFFLINE', 'true'), ('VERBOSE', 'false')):
        os.environ.setdefault(f'YOLO_{name}', value)
    copy = path
    try:
        # It writes beside the checkpoint, where the user may have an .onnx of that name; and to
        # the standard output, where a report may have to be.
        with TemporaryDirectory(prefix='aitable-') as folder, redirect_stdout(sys.stderr):
            from ultralytics import YOLO as Yolo  # noqa: N811

            copy = Path(folder) / 'model.pt'  # to it, a name with ? or an upper-case .PT is none
            shutil.copyfile(path, copy)
            made = Yolo(str(copy)).export(format='onnx', opset=17, imgsz=640, dynamic=False)
            content = Path(made).read_bytes()
    except Exception as error:  # whatever a foreign checkpoint and library raise
        why = first_line(error).replace(str(copy), path.name).removeprefix('ERROR ❌️ ').rstrip('.')
        raise InputError(f'{path}: ultralytics cannot export it: {why}; update ultralytics, or '
                         'export it where it was trained and give the .onnx') from None
    write_atomically(output, content)
    return output


def of_catalogue(
    options: BuildOptions, precisions: Sequence[str], runtime: str = TENSORRT.name,
) -> list[Recipe]:
    """Return an engine of each model and precision."""
    found = [
        Recipe(name, engine_path(name, precision, runtime), replace(options, precision=precision),
               optional=True)
        for name in CATALOGUE for precision in precisions]
    return list({recipe.engine: recipe for recipe in found}.values())


def of_yaml(path: Path, options: BuildOptions, runtime: str = TENSORRT.name) -> list[Recipe]:
    """
    Read a list of engines.

    ``models:`` has names, files, or mappings with ``model``, ``output`` and any option of a build;
    options beside ``models:`` hold for all.

    :raises InputError: unreadable, or with something in it that is not known
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
    recipes = []
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
        recipes.append(Recipe(source, engine, own))
    return recipes


def _placed(output: str) -> Path:
    """Return the place of a file; a bare name is in the models' folder, as in a chain."""
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
    recipes: Sequence[Recipe], tools: Toolchain,
    watch: Callable[[Recipe], AbstractContextManager[Progress]], rebuild: bool = False,
) -> Iterator[Outcome]:
    """
    Build what is not there yet, one after another; one that fails does not stop the others.

    :param watch: shows a build
    :param rebuild: also what is there
    """
    for recipe in recipes:
        try:
            onnx, model = onnx_of(recipe.source)
        except InputError as error:
            yield Outcome(recipe, 'skipped' if recipe.optional else 'failed', str(error))
            continue
        try:
            sidecar = None if rebuild else kept(
                onnx, recipe.engine, recipe.options, tools.machine)
            if sidecar is not None:
                yield Outcome(recipe, 'kept', sidecar=sidecar)
                continue
            with watch(recipe) as progress:
                sidecar = build(onnx, recipe.engine, recipe.options, progress, model=model,
                                tools=tools)
        except (InputError, BackendError) as error:
            yield Outcome(recipe, 'failed', str(error))
        except Exception as error:  # the others are still to be built
            yield Outcome(recipe, 'failed', f'{type(error).__name__}: {error}')
        else:
            yield Outcome(recipe, 'built', sidecar=sidecar)
