# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Exports a PyTorch checkpoint to ONNX; the file is written only if its outputs are the same."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros import __version__
from aitable_ros.errors import InputError
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.openvino import OpenVINOBackend
from aitable_ros.inference.protocol import BackendError
from aitable_ros.models.catalogue import CATALOGUE
from aitable_ros.models.download import git_blob
from aitable_ros.models.store import write_atomically

TOLERANCE = 1e-4
"""
Largest difference from PyTorch's outputs (logits, valence and arousal are of the order of one). For
heat maps, which range from 1e-4 to tens, it is a share of their largest value.
"""
_BACKENDS = (OnnxRuntimeBackend, OpenVINOBackend)


def export(source: Path, output: Path, heatmaps: bool = False) -> dict[str, Any]:
    """
    Export EmoNet, and compare it with PyTorch on ONNX Runtime and OpenVINO if installed.

    :param source: the ``.pth`` checkpoint, 8 or 5 classes
    :param output: the ``.onnx`` file; an old one is kept if the new one differs from PyTorch
    :param heatmaps: add the landmark heat maps as a fourth output
    :return: ``source``, ``output`` and ``difference``: the largest by backend
    :raises InputError: PyTorch is missing, the file is no EmoNet checkpoint, or the outputs differ
    """
    for package, spoken in (('torch', 'PyTorch'), ('onnx', 'onnx')):
        if find_spec(package) is None:
            raise InputError(
                f'exporting {source} needs {spoken}: pip install torch onnx, here or on any other '
                'machine, and copy the .onnx file from there')
    kinds = [kind for kind in _BACKENDS if find_spec(kind.name)]
    if not kinds:
        raise InputError(f'exporting {source} needs ONNX Runtime or OpenVINO to compare it with '
                         'PyTorch: pip install onnxruntime')
    if output.suffix.lower() != '.onnx':
        raise InputError(f'{output}: the file to export to must end in .onnx')
    from aitable_ros.inference.emonet_network import load_checkpoint, to_onnx

    try:
        network = load_checkpoint(source)
    except BackendError as error:
        raise InputError(str(error)) from None
    model = _described(to_onnx(network, heatmaps), source)
    pairs = [(images, _on_pytorch(network, images, heatmaps)) for images in _noise()]
    difference = {kind.name: _difference(kind, model, pairs) for kind in kinds}
    wrong = [f'{name} by {value:.1e}' for name, value in difference.items()
             if not value <= TOLERANCE]
    if wrong:
        raise InputError(f'{output} is not written: its outputs differ from those of {source} on '
                         f'PyTorch, {" and ".join(wrong)} (at most {TOLERANCE:.0e} may be)')
    write_atomically(output, model)
    return {'source': str(source), 'output': str(output), 'difference': difference}


def _described(model: bytes, source: Path) -> bytes:
    """Add the source, its hash and its licence, as the converters do."""
    import onnx

    blob = git_blob(source.read_bytes())
    card = next((card for card in CATALOGUE.values()
                 if card.upstream and card.upstream.git_blob == blob), None)
    proto = onnx.load_model_from_string(model)
    onnx.helper.set_model_props(proto, {
        'aitable_ros.source': card.source if card else source.name,
        'aitable_ros.source_git_blob': blob,
        'aitable_ros.licence': card.licence if card else 'unknown',
        'aitable_ros.exporter': __version__,
    })
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


def _noise() -> list[NDArray[np.float32]]:
    """Return ``(n, 3, 256, 256)`` images for a batch of one and one of two: the batch is open."""
    noise = np.random.default_rng(0)
    batches = []
    for count in (1, 2):
        # coarse noise, too: fine noise averages to gray in the small feature maps
        coarse = noise.uniform(0, 1, (count, 3, 8, 8)).astype(np.float32)
        images = coarse.repeat(32, axis=2).repeat(32, axis=3)
        batches.append(0.8 * images + 0.2 * noise.uniform(0, 1, images.shape).astype(np.float32))
    return batches


def _difference(
    kind: Any, model: bytes, pairs: list[tuple[NDArray[np.float32], list[NDArray[np.float32]]]],
) -> float:
    """Return the largest difference from PyTorch's outputs; NaN if any is NaN."""
    largest = 0.0
    with tempfile.TemporaryDirectory(prefix='aitable-') as folder:
        path = Path(folder) / 'exported.onnx'
        path.write_bytes(model)
        with kind(path, threads=0) as backend:
            for images, wanted in pairs:
                got = backend.infer({backend.inputs[0].name: images})
                for spec, value in zip(backend.outputs, wanted):
                    scale = max(1.0, float(np.abs(value).max()) if value.ndim == 4 else 1.0)
                    gap = float(np.abs(got[spec.name] - value).max()) / scale
                    largest = float(np.maximum(largest, gap))
    return largest


def _on_pytorch(
    network: Any, images: NDArray[np.float32], heatmaps: bool,
) -> list[NDArray[np.float32]]:
    import torch

    network.heat_maps = heatmaps
    with torch.inference_mode():
        return [value.numpy() for value in network(torch.from_numpy(images))]
