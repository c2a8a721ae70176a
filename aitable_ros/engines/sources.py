# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fp32 ONNX file of a model: found, or made from the file that the model comes in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from hashlib import sha256
from importlib.util import find_spec
import os
from pathlib import Path
import shutil
import sys
from tempfile import TemporaryDirectory

from aitable_ros.errors import first_line, InputError
from aitable_ros.models.catalogue import card as card_of
from aitable_ros.models.catalogue import model_home, ModelCard, onnx_path
from aitable_ros.models.convert import convert, convert_once, is_converted
from aitable_ros.models.fetch import is_fetched
from aitable_ros.models.store import write_atomically
from aitable_ros.models.upstream import checkpoint_path

YOLO = {'yolov8_face': 'yolov8n-face', 'yolov8_pose': 'yolov8n-pose'}
"""The catalogue's models that are the user's own files, and their usual names."""
CROPS = 'crops_'
"""Followed by a number of pixels: not a model, but the graph that cuts crops of that size on the
GPU for a model that reads such; see :mod:`aitable_ros.inference.frame_cutter`."""
CROP_SIDES = range(16, 1025)


def onnx_of(source: str) -> tuple[Path, str]:
    """
    Return the fp32 ONNX file of a model and its catalogue name; convert or export if needed.

    :param source: catalogue name, ``.onnx``, ``.tflite``, ``.pth`` or ``.pt`` file
    :raises InputError: the file is missing and cannot be made; the message gives the remedy
    """
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if source.startswith(CROPS):
        return _crops(source), ''
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
    if card.name in YOLO:
        usual = YOLO[card.name]
        found = next((file for suffix in ('.onnx', '.pt') for stem in (usual, card.name)
                      if (file := model_home() / f'{stem}{suffix}').is_file()), None)
        if found is None:
            raise InputError(f'{card.name} is not in {model_home()}: {card.remedy}, and give the '
                             f'file: aitable models build {usual}.pt')
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
    return path  # a file copied from another machine counts, too


def _crops(source: str) -> Path:
    side = source.removeprefix(CROPS)
    if not side.isdecimal() or int(side) not in CROP_SIDES:
        raise InputError(f'{source}: the size of crops is {CROP_SIDES[0]} to {CROP_SIDES[-1]} '
                         f'pixels, such as {CROPS}192')
    if find_spec('onnx') is None:
        raise InputError(f'making {source} needs onnx: pip install onnx')
    from aitable_ros.engines.graph.frame_crops import crop_graph

    output = model_home() / 'converted' / f'{CROPS}{int(side)}.onnx'
    write_atomically(output, crop_graph(int(side)).SerializeToString())
    return output


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
    """Export with ultralytics, which is AGPL-3.0 and installed by the user."""
    output = _made_of(path)
    if output.is_file():
        return output
    missing = [name for name in ('ultralytics', 'onnx') if find_spec(name) is None]
    if missing:
        raise InputError(
            f'exporting {path} needs {" and ".join(missing)} (ultralytics is AGPL-3.0, your '
            'decision): pip install ultralytics onnx onnxslim, or on another machine `yolo export '
            f'model={path.name} format=onnx opset=17`, and give its .onnx')
    # By default it installs packages while the robot waits, reports its use to its makers, and
    # prints paths of temporary files.
    for name, value in (('AUTOINSTALL', 'false'), ('OFFLINE', 'true'), ('VERBOSE', 'false')):
        os.environ.setdefault(f'YOLO_{name}', value)
    copy = path
    try:
        # It writes beside the checkpoint, where the user may have an .onnx of that name, and to
        # the standard output, which may carry a JSON report.
        with TemporaryDirectory(prefix='aitable-') as folder, redirect_stdout(sys.stderr):
            from ultralytics import YOLO as Yolo  # noqa: N811

            copy = Path(folder) / 'model.pt'  # it rejects names with ? and upper-case .PT
            shutil.copyfile(path, copy)
            made = Yolo(str(copy)).export(format='onnx', opset=17, imgsz=640, dynamic=False)
            content = Path(made).read_bytes()
    except Exception as error:  # whatever a foreign checkpoint and library raise
        why = first_line(error).replace(str(copy), path.name).removeprefix('ERROR ❌️ ').rstrip('.')
        raise InputError(f'{path}: ultralytics cannot export it: {why}; update ultralytics, or '
                         'export it where it was trained and give the .onnx') from None
    write_atomically(output, content)
    return output
