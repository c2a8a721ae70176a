# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Converts published models to ONNX without TensorFlow or Keras.

A catalogue model gets the names of inputs and outputs from its card, and an open batch. Other files
keep their own names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path

from aitable_ros import __version__
from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import card as card_of
from aitable_ros.models.catalogue import CATALOGUE, model_home, ModelCard, onnx_path
from aitable_ros.models.convert import attention_mesh, faceapi, keras, tflite
from aitable_ros.models.convert.onnx_graph import OnnxGraph, Shape
from aitable_ros.models.convert.tflite_file import read_tflite
from aitable_ros.models.fetch import fetch, is_fetched, source_path
from aitable_ros.models.store import home_lock, write_atomically

Outputs = Mapping[str, tuple[str, Shape]]

_TFLITE = ('.tflite',)
_HDF5 = ('.hdf5', '.h5')
_WEIGHTS = ('.bin',)
"""Weights of TensorFlow.js, with a manifest beside them."""
_MANIFEST = '-weights_manifest.json'
FINGERPRINT = 'aitable_ros.fingerprint'
"""Metadata key: identifies the converter and the source of a file."""


@cache
def converter_version() -> str:
    """Return the package's version with a digest of this folder's code."""
    digest = sha256()
    for entry in sorted(resources.files(__name__).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith('.py'):
            digest.update(entry.read_bytes())
    return f'{__version__}+{digest.hexdigest()[:12]}'


def is_converted(card: ModelCard) -> bool:
    """Tell whether the ONNX file is complete and made by this converter from the pinned source."""
    if not card.fetched:
        return onnx_path(card.name).is_file()
    try:
        # the metadata is the last thing in the file, so a truncated one lacks it
        return _fingerprint(card.sha256).encode() in onnx_path(card.name).read_bytes()
    except OSError:
        return False


def convert(name: str) -> Path:
    """
    Convert a fetched model if it is not converted yet, and return the ONNX file.

    :raises InputError: unknown name, not fetched, or a folder that cannot be written
    """
    card = card_of(name)
    path = onnx_path(name)
    with home_lock():
        if is_converted(card):
            return path
        if not is_fetched(card):
            if card.upstream and not card.upstream.is_onnx:
                raise InputError(f'{name} is exported from its checkpoint, not converted: run '
                                 f'`aitable models export {name}`')
            if card.upstream:
                raise InputError(f'{name} comes as ONNX and is not converted: {card.remedy}')
            raise InputError(f'{name} is not there to convert: {card.remedy}')
        source = source_path(card)
        write_atomically(path, _converted(source.read_bytes(), source, source.name, card))
    return path


def ensure(name: str) -> Path:
    """
    Return a model's ONNX file; fetch and convert it if needed.

    :raises InputError: it cannot be fetched or converted
    """
    card = card_of(name)
    if not is_converted(card):
        if card.fetched:
            fetch(name)
        convert(name)
    return onnx_path(name)


def convert_file(path: Path, output: Path) -> Path:
    """
    Convert a ``.tflite`` or Keras ``.hdf5`` file, or face-api.js's expression weights.

    The weights are a ``.bin`` with its ``-weights_manifest.json`` beside it.

    :raises InputError: missing, of another type, damaged, or with an unsupported operator
    """
    if path.suffix.lower() not in (*_TFLITE, *_HDF5, *_WEIGHTS):
        raise InputError(f'{path} cannot be converted: give a .tflite, .hdf5, .h5 or .bin file')
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f'cannot read {path}: {error.strerror}') from error
    digest = sha256(content).hexdigest()
    card = next((card for card in CATALOGUE.values() if card.sha256 == digest), None)
    write_atomically(output, _converted(content, path, str(path), card))
    return output


def convert_once(path: Path) -> Path:
    """
    Convert a user's file into the models' folder, unless this converter has already done so.

    :raises InputError: as :func:`convert_file`, or a folder that cannot be written
    """
    try:
        digest = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f'cannot read {path}: {error.strerror}') from error
    name = sha256(_fingerprint(digest).encode()).hexdigest()[:16]
    output = model_home() / 'converted' / f'{path.stem}-{name}.onnx'
    with home_lock():
        return output if output.is_file() else convert_file(path, output)


def _fingerprint(source_sha256: str) -> str:
    return f'{converter_version()} {source_sha256}'


def _converted(content: bytes, path: Path, name: str, card: ModelCard | None) -> bytes:
    """
    Return the ONNX file's content.

    :param path: source of the content
    :param name: of the source in errors
    """
    graph = OnnxGraph(card.name if card else Path(name).stem)
    digest = sha256(content).hexdigest()
    metadata = {
        'aitable_ros.source': card.source if card else Path(name).name,
        'aitable_ros.source_sha256': digest,
        'aitable_ros.licence': card.licence if card else 'unknown',
        'aitable_ros.converter': converter_version(),
        FINGERPRINT: _fingerprint(digest),
    }
    try:
        if Path(name).suffix.lower() in _TFLITE:
            outputs = _from_tflite(content, name, card, graph)
        elif Path(name).suffix.lower() in _WEIGHTS:
            outputs = _from_weights(content, path, name, graph)
        else:
            outputs = _from_hdf5(content, name, card, graph)
        return graph.model(outputs, metadata)
    except ModuleNotFoundError as error:
        raise InputError(f'converting {name} needs {error.name}: install requirements/run.txt, or '
                         'copy the .onnx file from a machine that has it') from error
    except InputError as error:
        raise error if name in str(error) else InputError(f'{name}: {error}') from error
    except Exception as error:
        if card:  # the file is the pinned one: a bug of this converter
            raise
        reason = str(error).strip().partition('\n')[0]
        raise InputError(f'{name} is damaged, or of a kind that is not known '
                         f'({type(error).__name__}: {reason[:200]})') from error


def _from_tflite(content: bytes, name: str, card: ModelCard | None, graph: OnnxGraph) -> Outputs:
    source = read_tflite(content, name)
    names = (tuple(tensor.name for tensor in card.inputs) if card else
             tuple(source.tensors[index].name for index in source.inputs))
    translation = tflite.TfliteTranslation(source, graph, names)
    if card is None:
        return translation.outputs()
    return {tensor.name: (value, tensor.shape)
            for tensor, value in zip(card.outputs, _CANONICAL[card.name](translation))}


def _from_hdf5(content: bytes, name: str, card: ModelCard | None, graph: OnnxGraph) -> Outputs:
    translation = keras.KerasTranslation(keras.read_hdf5(content, name), graph, 'image')
    if card is None:
        return {'output': (translation.output, ('N', 'classes'))}
    return {card.outputs[0].name: (translation.output, card.outputs[0].shape)}


def _from_weights(content: bytes, path: Path, name: str, graph: OnnxGraph) -> Outputs:
    manifest = path.with_name(f'{path.stem}{_MANIFEST}')
    try:
        layout = manifest.read_bytes()
    except OSError as error:
        raise InputError(f'{name}: cannot read the manifest of its weights, {manifest}: '
                         f'{error.strerror}') from None
    weights = faceapi.read_weights(content, layout, name)
    return {'probs': (faceapi.expression_network(weights, graph), ('N', faceapi.CLASSES))}


def _detector(boxes: str, scores: str) -> Callable[[tflite.TfliteTranslation], tuple[str, ...]]:
    return lambda at: (at.by_name(boxes), at.by_name(scores))


def _facemesh(at: tflite.TfliteTranslation) -> tuple[str, ...]:
    return attention_mesh.merged_landmarks(at), at.graph.reshape(at.by_name('conv_faceflag'), -1, 1)


def _facemesh_468(at: tflite.TfliteTranslation) -> tuple[str, ...]:
    return (at.graph.reshape(at.by_name('conv2d_21'), -1, attention_mesh.MESH_POINTS, 3),
            at.graph.reshape(at.by_name('conv2d_31'), -1, 1))


def _blazepose(at: tflite.TfliteTranslation) -> tuple[str, ...]:
    return (at.graph.reshape(at.by_name('Identity'), -1, 39, 5), at.by_name('Identity_1'),
            at.by_name('Identity_3'), at.graph.reshape(at.by_name('Identity_4'), -1, 39, 3))


_CANONICAL: Mapping[str, Callable[[tflite.TfliteTranslation], tuple[str, ...]]] = {
    'blazeface_short': _detector('regressors', 'classificators'),
    'blazeface_full': _detector('Identity', 'Identity_1'),
    'facemesh': _facemesh,
    'facemesh_468': _facemesh_468,
    'blazepose_detector': _detector('Identity', 'Identity_1'),
    'blazepose': _blazepose,
}
"""Catalogue name -> the values of its card's outputs, in the card's order."""
