# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Quantises an ONNX model to int8: Q/DQ pairs before the convolutions, with scales from real inputs.

The pairs are those that TensorRT requires and OpenVINO accepts: symmetric int8 for activations and
weights, zero point 0, weights by output channel, fp32 biases, and pairs only on the inputs of int8
layers, so that the builder may fuse.

ONNX Runtime's quantiser does not serve. Its histograms keep every activation of every input in
memory: 30 GB for EmoNet and 100 faces. Fed one sample at a time, its entropy method takes 27 s for
``fer`` and 36 samples, where this module takes 0.4 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.engines.graph.fp16 import node_name, sensitive
from aitable_ros.engines.model_inputs import ModelInputs
from aitable_ros.errors import InputError
from aitable_ros.models.store import Progress, write_atomically

METHODS = ('percentile', 'entropy', 'minmax')
LEVELS = 127
"""Levels of each sign."""
BINS = 2048
"""Bins of the histogram of an activation's absolute values, as many as in TensorRT's own."""
_STEP = 16
"""Bins between two candidate thresholds."""
TRIED = 4
"""Samples that measure the sensitivity of layers."""
SPARED = (0.0, 0.1, 0.2, 0.4)
"""Shares of the layers to keep in fp32, tried in turn until the model passes."""
_CHANNEL_AXIS = {'Conv': 0, 'ConvTranspose': 1, 'Gemm': 0, 'MatMul': 1}
"""Axis of the output channels in the weights (of a Gemm with transB, as exporters write it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeReport:
    """
    Report of a quantisation.

    :param layers: number of int8 layers
    :param excluded: layers of the same kind that stay fp32
    :param sensitivity: relative change of the outputs by layer, if it was measured
    :param sha256: of the written file
    """

    output: str
    method: str
    samples: int
    layers: int
    excluded: tuple[str, ...]
    sensitivity: dict[str, float]
    sha256: str
    crops: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a sidecar holds it."""
        return asdict(self)


def quantize(
    onnx: Path, output: Path, crops: ModelInputs, *, method: str = 'percentile',
    percentile: float = 99.99, operators: Sequence[str] = ('Conv',), exclude: Sequence[str] = (),
    spare: int | None = 0, judge: Callable[[Path], bool] | None = None,
    progress: Progress | None = None,
) -> QuantizeReport:
    """
    Write a model with Q/DQ pairs.

    :param onnx: the fp32 ``.onnx``
    :param output: the ``.onnx`` to write
    :param crops: inputs for the calibration
    :param method: how the range of an activation is found: ``percentile`` clips larger values,
        ``entropy`` loses least information, ``minmax`` clips nothing. The first did best on our
        models (docs/models.md)
    :param percentile: of the absolute values
    :param operators: types of int8 layers: Conv, ConvTranspose, Gemm, MatMul with constants
    :param exclude: node names that stay fp32, besides those of :func:`sensitive`
    :param spare: number of further layers to keep in fp32, those that change the outputs most when
        quantised alone; None: the least of :data:`SPARED` that ``judge`` passes, 0 without one
    :param judge: tells whether a written file is accurate enough; called for each candidate, and
        the last one is kept
    :raises InputError: not a model, an unknown node, nothing to quantise, ``spare`` out of range,
        or ONNX Runtime is missing
    """
    if method not in METHODS:
        raise InputError(f"calibration method '{method}': there are {', '.join(METHODS)}")
    model = _read(onnx)
    layers = {node_name(node): node for node in _layers(model, operators)}
    missing = [name for name in exclude if name not in {
        node_name(node) for node in model.graph.node}]
    if missing:
        raise InputError(f"{onnx.name}: no node is called '{missing[0]}'; it cannot be left out")
    plain = {*exclude, *sensitive(model)}
    chosen = [name for name in layers if name not in plain]
    if not chosen:
        raise InputError(f'{onnx.name}: nothing to quantise: no {" or ".join(operators)} with '
                         'constant weights is left')
    if spare is not None and not 0 <= spare < len(chosen):
        raise InputError(f'--spare {spare}: {onnx.name} has {len(chosen)} layers that can be int8, '
                         f'and at least one must be left: give 0 to {len(chosen) - 1}')
    counts = [spare] if spare is not None else list(
        dict.fromkeys(int(share * len(chosen)) for share in SPARED))
    ranges = activation_ranges(
        model, {layers[name].input[0] for name in chosen}, crops, method, percentile, progress)
    measured: dict[str, float] = {}
    for count in counts:
        if count and not measured:
            measured = _sensitivity(model, chosen, ranges, crops, progress)
        worst = sorted(measured, key=lambda name: -measured[name])[:count]
        kept = [name for name in chosen if name not in worst]
        paired = with_pairs(model, kept, ranges)
        _check(paired)
        content = paired.SerializeToString()
        write_atomically(output, content)
        if judge is None or judge(output):
            break
    return QuantizeReport(
        output=str(output), method=method, samples=len(crops), layers=len(kept),
        excluded=tuple(name for name in layers if name not in kept),
        sensitivity={name: round(value, 6) for name, value in measured.items()},
        sha256=sha256(content).hexdigest(), crops=crops.to_dict())


def activation_ranges(
    model: Any, tensors: Iterable[str], crops: ModelInputs, method: str, percentile: float = 99.99,
    progress: Progress | None = None,
) -> dict[str, float]:
    """
    Return the range of each tensor: the absolute value that becomes 127.

    Samples run one at a time, and twice for histograms, so memory does not grow.
    """
    names = sorted(set(tensors))
    highest = dict.fromkeys(names, 0.0)
    for values in _runs(model, names, crops, 'ranges', progress):
        for name, value in values.items():
            highest[name] = max(highest[name], float(np.abs(value).max(initial=0)))
    broken = [name for name, value in highest.items() if not np.isfinite(value)]
    if broken:
        raise InputError(f'activations of {broken[0]} are not finite; the model cannot be '
                         'calibrated')
    if method == 'minmax':
        return highest
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    for values in _runs(model, names, crops, 'histograms', progress):
        for name, value in values.items():
            top = highest[name] or 1.0
            counts[name] += np.histogram(np.abs(value), BINS, (0, top))[0]
    cut = _by_entropy if method == 'entropy' else lambda hist: _by_percentile(hist, percentile)
    return {name: highest[name] * cut(counts[name]) for name in names}


def with_pairs(model: Any, layers: Iterable[str], ranges: dict[str, float]) -> Any:
    """
    Return a copy of a model with Q/DQ pairs on activation and weights of the named layers.

    :param ranges: by tensor: the value that becomes 127
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    wanted = set(layers)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    pairs: dict[str, str] = {}
    nodes: list[Any] = []

    def pair(name: str, scale: NDArray[np.float32], axis: int | None) -> str:
        if name in pairs:
            return pairs[name]
        zero = np.zeros(scale.shape, np.int8)
        for suffix, value in (('scale', scale), ('zero', zero)):
            graph.initializer.append(onnx.numpy_helper.from_array(value, f'{name}_{suffix}'))
        where = {} if axis is None else {'axis': axis}
        pairs[name] = f'{name}_dequantized'
        parameters = [f'{name}_scale', f'{name}_zero']
        nodes.append(onnx.helper.make_node(
            'QuantizeLinear', [name, *parameters], [f'{name}_quantized'],
            name=f'quantize_{name}', **where))
        nodes.append(onnx.helper.make_node(
            'DequantizeLinear', [f'{name}_quantized', *parameters], [pairs[name]],
            name=f'dequantize_{name}', **where))
        return pairs[name]

    for node in graph.node:
        if node_name(node) in wanted:
            scale = np.array(max(ranges[node.input[0]], 1e-8) / LEVELS, np.float32)
            node.input[0] = pair(node.input[0], scale, None)
            axis = _CHANNEL_AXIS[node.op_type]
            weights = onnx.numpy_helper.to_array(constants[node.input[1]])
            others = tuple(at for at in range(weights.ndim) if at != axis)
            per_channel = np.maximum(np.abs(weights).max(axis=others), 1e-8) / LEVELS
            node.input[1] = pair(node.input[1], per_channel.astype(np.float32), axis)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return copy


def _check(model: Any) -> None:
    import onnx

    onnx.checker.check_model(model, full_check=True)


def _read(path: Path) -> Any:
    import onnx

    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise InputError(f'{path}: no such file') from None
    except Exception as error:  # protobuf's DecodeError
        raise InputError(f'{path}: not an ONNX file ({error})') from None


def _layers(model: Any, operators: Sequence[str]) -> list[Any]:
    """Return the nodes of these kinds that have constant weights."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node for node in model.graph.node if node.op_type in operators
        and node.op_type in _CHANNEL_AXIS and node.input[1] in constants
        and node.input[0] not in constants]


def _runs(
    model: Any, names: Sequence[str], crops: ModelInputs, label: str,
    progress: Progress | None = None,
) -> Iterable[dict[str, NDArray[Any]]]:
    """Run each sample and yield the named tensors."""
    import onnx

    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = _session(tapped)
    for done, rows in enumerate(crops.batches(crops.rows), 1):
        yield dict(zip(names, session.run(list(names), rows)))
        if progress:
            progress(label, done, len(crops))


def _session(model: Any) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise InputError('quantising needs ONNX Runtime: pip install onnxruntime, here or on any '
                         'other machine, and copy the .onnx file from there') from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=['CPUExecutionProvider'])


def _sensitivity(
    model: Any, layers: Sequence[str], ranges: dict[str, float], crops: ModelInputs,
    progress: Progress | None,
) -> dict[str, float]:
    """Quantise each layer alone; return the relative change of the outputs by layer."""
    outputs = [tensor.name for tensor in model.graph.output]
    few = crops.some(TRIED)

    def answers(of: Any) -> list[NDArray[Any]]:
        session = _session(of)
        runs = [session.run(outputs, rows) for rows in few.batches(few.rows)]
        return [np.concatenate(parts) for parts in zip(*runs)]

    unchanged = answers(model)
    found = {}
    for done, name in enumerate(layers, 1):
        changed = answers(with_pairs(model, [name], ranges))
        found[name] = max(
            float(np.abs(a - b).mean() / (np.abs(b).mean() + 1e-12))
            for a, b in zip(changed, unchanged))
        if progress:
            progress('sensitivity', done, len(layers))
    return found


def _by_percentile(counts: NDArray[np.int64], percentile: float) -> float:
    """Return the share of the range below which a percentage of the values lies."""
    below = np.cumsum(counts) / max(int(counts.sum()), 1)
    return (int(np.searchsorted(below, percentile / 100)) + 1) / len(counts)


def _by_entropy(counts: NDArray[np.int64]) -> float:
    """
    Return the share of the range whose 128 levels describe the distribution best.

    Migacz, "8-bit Inference with TensorRT", GTC 2017: the least Kullback-Leibler divergence between
    the values clipped at the threshold and the same values quantised.
    """
    histogram = counts.astype(np.float64)
    histogram[0] = histogram[1]  # zeros, frequent after a ReLU, are exact at any scale
    if not histogram.any():
        return 1.0
    levels = LEVELS + 1
    best, share = np.inf, 1.0
    for length in range(levels, len(histogram) + 1, _STEP):
        inside = histogram[:length]
        reference = inside.copy()
        reference[-1] += histogram[length:].sum()
        filled = inside > 0
        level = (np.arange(length) * levels) // length
        total = np.bincount(level, inside, levels)
        members = np.bincount(level, filled, levels)
        spread = np.where(filled, (total / np.maximum(members, 1))[level], 0)
        if not spread.any():
            continue
        p, q = reference / reference.sum(), spread / spread.sum()
        both = p > 0
        divergence = float(np.sum(p[both] * np.log(p[both] / np.maximum(q[both], 1e-12))))
        if divergence < best:
            best, share = divergence, length / len(histogram)
    return share
