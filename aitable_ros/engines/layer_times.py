# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Time, kind and precision of each layer, from the profiler of its runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path
import re
from tempfile import TemporaryDirectory
from typing import Any

from aitable_ros.inference.protocol import Backend, Tensors
from aitable_ros.inference.tensorrt_layers import layers_in

_KINDS = (
    ('fused', r'foreign|myelin|kgen'),
    ('reformat', r'reformat|reorder|\bcopy\b|cast|convert|memcpy|qlinear|quantize'),
    ('convolution', r'conv'),
    ('matrix', r'gemm|matmul|fullyconnected|fully.?connected|\bfc\b|dense|innerproduct'),
    ('pooling', r'pool'),
    ('reduction', r'reduce|softmax|norm'),
    ('resample', r'resize|interpolate|upsample|gridsample'),
    ('layout', r'transpose|permute|reshape|shuffle|slice|stridedslice|concat|split|gather|squeeze|'
               r'pad|flatten|depthtospace|crop|constant'),
    ('pointwise', r'pointwise|pwn|elementwise|eltwise|relu|sigmoid|add|sub|mul|div|max|min|clip|'
                  r'activation|scale|exp|sqrt|power|unary|tanh|subgraph|where|input|result|output'),
)
"""First match wins, on the runtime's name for the kind of layer, else on the layer's name."""


@dataclass(frozen=True, slots=True)
class LayerTime:
    """
    A layer, as the runtime fused it.

    :param kind: ``convolution``, ``matrix``, ``pooling``, ``pointwise``, ``reduction``,
        ``resample``, ``layout``, ``reformat``, ``fused`` (several layers, by TensorRT's Myelin) or
        ``other``
    :param precision: of its arithmetic; empty if the runtime does not report it
    :param ms: mean time of one run
    """

    name: str
    kind: str
    precision: str
    ms: float


def kind_of(word: str) -> str:
    """Return the kind of a layer from the runtime's name: ``Convolution``, ``PWN(...)``."""
    text = word.lower()
    return next((kind for kind, pattern in _KINDS if re.search(pattern, text)), 'other')


def layers_of(
    backend: Backend, path: Path, inputs: Tensors, threads: int, runs: int,
) -> tuple[list[LayerTime], str]:
    """
    Return the layers of a model, and the source of the figures or the reason for their absence.

    :param backend: runs the model; ONNX Runtime and OpenVINO load it again with profiling on
    """
    reader = _READERS.get(backend.name)
    if reader is None:
        return [], f'{backend.name} does not report its layers'
    return reader(backend, path, inputs, threads, runs)


_Read = tuple[list[LayerTime], str]


def _tensorrt(backend: Any, path: Path, inputs: Tensors, threads: int, runs: int) -> _Read:
    """Read times from ``IProfiler`` and types from the engine inspector."""
    sums: dict[str, float] = {}
    for _ in range(runs):
        for name, ms in backend.profile_layers(inputs):
            sums[name] = sums.get(name, 0.0) + float(ms)
    backend.infer(inputs)  # with an open batch, the inspector knows more after a run
    about = inspected(backend.inspect())
    layers = [
        LayerTime(name, *about.get(name, (kind_of(name), '')), spent / runs)
        for name, spent in sums.items()]
    note = f"TensorRT's IProfiler, {runs} runs without CUDA graph"
    if not any(layer.precision for layer in layers):
        note += '; precisions are not in this engine: build it with --verbose'
    return layers, note


def inspected(text: str) -> dict[str, tuple[str, str]]:
    """
    Read the engine inspector's text.

    :return: kind and precision by layer; empty for an engine built without detailed verbosity
    """
    found = {}
    for layer in layers_in(text):
        sort = kind_of(layer.kind)
        found[layer.name] = kind_of(layer.name) if sort == 'other' else sort, layer.precision
    return found


def _onnxruntime(backend: Any, path: Path, inputs: Tensors, threads: int, runs: int) -> _Read:
    import onnxruntime

    with TemporaryDirectory(prefix='aitable-') as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / 'run')
        options.log_severity_level = 4
        providers: list[Any] = ['CPUExecutionProvider']
        if backend.device.startswith('cuda'):
            number = int(backend.device.rpartition(':')[2])
            providers.insert(0, ('CUDAExecutionProvider', {'device_id': number, 'use_tf32': 0}))
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        for _ in range(runs + 1):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding='utf-8'))
    spent: dict[str, list[float]] = {}
    about: dict[str, tuple[str, str]] = {}
    for event in events:
        if event.get('cat') != 'Node' or not event['name'].endswith('_kernel_time'):
            continue
        name, arguments = event['name'].removesuffix('_kernel_time'), event['args']
        spent.setdefault(name, []).append(event['dur'] / 1e3)
        kinds = {kind for entry in arguments.get('input_type_shape', []) for kind in entry}
        about[name] = arguments.get('op_name', name), _ORT_TYPES.get(
            next((kind for kind in ('int8', 'uint8', 'float16', 'float') if kind in kinds), ''), '')
    return [LayerTime(name, kind_of(about[name][0]), about[name][1], sum(times[1:]) / runs)
            for name, times in spent.items()], \
        f"ONNX Runtime's profiler, {runs} runs after the first"


_ORT_TYPES = {'int8': 'int8', 'uint8': 'int8', 'float16': 'fp16', 'float': 'fp32'}
_OPENVINO_TYPES = {'f32': 'fp32', 'f16': 'fp16', 'bf16': 'bf16', 'i8': 'int8', 'u8': 'int8'}


def _openvino(backend: Any, path: Path, inputs: Tensors, threads: int, runs: int) -> _Read:
    from aitable_ros.inference.openvino import import_openvino

    hint = {'fp32': 'f32', 'fp16': 'f16', 'bf16': 'bf16'}.get(backend.precision, 'f32')
    config: dict[str, Any] = {
        'PERF_COUNT': True, 'PERFORMANCE_HINT': 'LATENCY', 'NUM_STREAMS': 1,
        'INFERENCE_PRECISION_HINT': hint}
    if threads:
        config['INFERENCE_NUM_THREADS'] = threads
    core = import_openvino().Core()
    network = core.read_model(str(path))
    network.reshape({name: list(array.shape) for name, array in inputs.items()})
    request = core.compile_model(network, 'CPU', config).create_infer_request()
    sums: dict[str, tuple[str, str, float]] = {}
    for run in range(runs + 1):
        request.infer(dict(inputs))
        for node in request.profiling_info if run else ():
            if str(node.status).endswith('NOT_RUN'):
                continue
            *_, spent = sums.get(node.node_name, ('', '', 0.0))
            sums[node.node_name] = (
                node.node_type, node.exec_type, spent + node.real_time.total_seconds() * 1e3)
    return [
        LayerTime(name, kind_of(kind), _OPENVINO_TYPES.get(executed.rpartition('_')[2].lower(), ''),
              spent / runs)
        for name, (kind, executed, spent) in sums.items()], \
        f"OpenVINO's counters, {runs} runs after the first"


_READERS: dict[str, Callable[[Any, Path, Tensors, int, int], _Read]] = {
    'tensorrt': _tensorrt, 'tensorrt_rtx': _tensorrt, 'onnxruntime': _onnxruntime,
    'openvino': _openvino}
