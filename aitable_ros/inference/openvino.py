# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU: the fastest of the CPU backends for every model in the catalogue."""

from __future__ import annotations

from functools import cache
from pathlib import Path
import sys
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.inference import compiled_models
from aitable_ros.inference.base import BackendBase
from aitable_ros.inference.onnx_file import weight_precision
from aitable_ros.inference.openvino_mesh import tailor
from aitable_ros.inference.protocol import BackendError, Tensors, TensorSpec

_HINTS = {'auto': 'f32', 'fp32': 'f32', 'fp16': 'f16', 'bf16': 'bf16', 'int8': 'f32'}
"""
``INFERENCE_PRECISION_HINT`` for a precision. It is always set: without it OpenVINO silently uses
bf16 on a CPU that has it. Quantised layers of an int8 file run in int8 whatever the hint.
"""
_WORTH_KEEPING_S = 0.03
"""CPU time of a compilation from which the result is kept on disk; importing takes 0.02 s."""
_SPOKEN = {'f32': 'fp32', 'f16': 'fp16', 'bf16': 'bf16', 'i8': 'int8', 'u8': 'int8'}
_HEAVY = ('Convolution', 'GroupConvolution', 'Deconvolution', 'FullyConnected', 'MatMul')


class OpenVINOBackend(BackendBase):
    """
    An ONNX model on OpenVINO's CPU plugin.

    A model with an open batch is compiled for one row and runs row by row. With dynamic shapes the
    attention mesh took 2.0 ms instead of 0.8, and 22 ms after a change of batch size. A batch of
    four is no faster than four rows (mesh, BlazeFace, EmoNet; ``fer`` gains 12 % on one thread).

    :param path: the ``.onnx`` file
    :param model: name to report
    :param precision: ``auto`` (fp32), or the precision that must run
    :param threads: 0 leaves it to OpenVINO
    :param device_id: not used
    :raises BackendError: cannot load, or would run in another precision than the one asked for
    """

    name = 'openvino'

    def __init__(
        self, path: Path, *, model: str = '', precision: str = 'auto', threads: int = 1,
        device_id: int = 0,
    ) -> None:
        self.model = model or path.name
        self.device = 'cpu'
        self._bound: dict[str, tuple[int, NDArray[Any]]] = {}
        config: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'NUM_STREAMS': 1,
            'INFERENCE_PRECISION_HINT': _HINTS[precision],
            # With pinning, several processes on one robot would use the same cores.
            'ENABLE_CPU_PINNING': False,
        }
        if threads:
            config['INFERENCE_NUM_THREADS'] = threads
        try:
            key = compiled_models.key_of(path, config, 'mesh with joined branches', *_machine())
            if not self._import(key, config):
                self._compile(path, config, key)
            self._request = self._compiled.create_infer_request()
            self._results = self._result_views()
        except BackendError:
            raise
        except Exception as error:  # its bindings raise bare RuntimeError and worse
            raise BackendError(f'{path}: OpenVINO cannot load it: {_reason(error)}') from None
        self._open = True
        if precision not in ('auto', self.precision):
            self.close()
            raise BackendError(
                f'{path}: OpenVINO would run it in {self.precision} on this CPU, not {precision}')

    def _import(self, key: str, config: dict[str, Any]) -> bool:
        """Import a model that an earlier process compiled; return False if there is none."""
        kept = compiled_models.load(key)
        if kept is None:
            return False
        description, content = kept
        try:
            self._compiled = _core().import_model(content, 'CPU', config)
        except Exception:  # bare RuntimeError: of another build of the same version
            return False
        self.inputs, self.outputs = (
            tuple(TensorSpec(name, tuple(shape), np.dtype(dtype)) for name, shape, dtype in specs)
            for specs in (description['inputs'], description['outputs']))
        self._by_row, self.precision = description['by_row'], description['precision']
        return True

    def _compile(self, path: Path, config: dict[str, Any], key: str) -> None:
        weight_precision(path)  # raises a clear error for other files
        began = process_time()
        network = _core().read_model(str(path))
        self.inputs = tuple(_spec(port) for port in network.inputs)
        self.outputs = tuple(_spec(port) for port in network.outputs)
        self._by_row = _open_batch_only(self.inputs) and all(
            spec.shape and spec.shape[0] is None for spec in self.outputs)
        if self._by_row:
            network.reshape({spec.name: [1, *spec.shape[1:]] for spec in self.inputs})
        tailor(network, import_openvino().opset13)
        self._compiled = _core().compile_model(network, 'CPU', config)
        self.precision = _running_precision(self._compiled)
        if process_time() - began < _WORTH_KEEPING_S:
            return
        exported = self._compiled.export_model()
        compiled_models.store(key, {
            'inputs': [_described(spec) for spec in self.inputs],
            'outputs': [_described(spec) for spec in self.outputs],
            'by_row': self._by_row, 'precision': self.precision,
        }, exported if isinstance(exported, bytes) else exported.getvalue())

    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        whole = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        rows = len(next(iter(whole.values()))) if self._by_row else 1
        if rows == 1:
            return self._once(whole)
        runs = [
            self._once({name: array[row:row + 1] for name, array in whole.items()})
            for row in range(rows)]
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}

    def _result_views(self) -> dict[str, NDArray[Any]]:
        """Return where the outputs will be, for a model of fixed shapes; empty for another one."""
        ports = (*self._compiled.inputs, *self._compiled.outputs)
        if any(port.partial_shape.is_dynamic for port in ports):
            return {}
        return {spec.name: self._request.get_output_tensor(index).data
                for index, spec in enumerate(self.outputs)}

    def _once(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        try:
            if not self._results:
                # Inputs are read in place; outputs are copied, since they outlive the next run.
                found = self._request.infer(dict(inputs), share_inputs=True, share_outputs=False)
                return {spec.name: value for spec, value in zip(self.outputs, found.to_tuple())}
            for name, array in inputs.items():
                self._bind(name, array)
            self._request.infer(share_outputs=True)
        except Exception as error:  # see above
            raise BackendError(f'{self.model}: OpenVINO failed: {_reason(error)}') from None
        return {name: view.copy() for name, view in self._results.items()}

    def _bind(self, name: str, array: NDArray[Any]) -> None:
        """
        Have an input read in place, from now on.

        Callers keep their buffers, so mostly it is there already: that spares OpenVINO's Python
        0.05 ms a run. What is held here cannot be freed, so an address means the same memory.
        """
        address = array.__array_interface__['data'][0]
        bound = self._bound.get(name)
        if bound is None or bound[0] != address:
            if not array.flags.writeable:
                array = array.copy()
                address = 0
            tensor = import_openvino().Tensor(array, shared_memory=True)
            self._request.set_tensor(name, tensor)
            self._bound[name] = address, array

    def _free(self) -> None:
        self._results.clear()
        self._bound.clear()
        del self._request
        del self._compiled


@cache
def import_openvino() -> Any:
    """
    Import OpenVINO without its telemetry.

    Its package reports each import to Google Analytics, unasked, where it finds
    ``openvino_telemetry``. A program that looks at people must not call anywhere.
    """
    hidden = 'openvino_telemetry' not in sys.modules
    if hidden:
        sys.modules['openvino_telemetry'] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules['openvino_telemetry']
    return openvino


@cache
def _core() -> Any:
    """One a process: each loads the plugin again, and takes 20 ms."""
    return import_openvino().Core()


@cache
def _machine() -> tuple[str, ...]:
    """Return what a compiled model depends on beside the model: OpenVINO and the processor."""
    return (import_openvino().get_version(), str(_core().get_property('CPU', 'FULL_DEVICE_NAME')),
            str(sorted(_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))))


def _described(spec: TensorSpec) -> tuple[str, tuple[int | None, ...], str]:
    return spec.name, spec.shape, spec.dtype.name


def _spec(port: Any) -> TensorSpec:
    return TensorSpec(
        name=port.any_name,
        shape=tuple(
            None if size.is_dynamic else int(size.get_length()) for size in port.partial_shape),
        dtype=np.dtype(port.element_type.to_dtype()))


def _reason(error: BaseException) -> str:
    """Its messages begin with where in its source they come from and end with what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _open_batch_only(specs: tuple[TensorSpec, ...]) -> bool:
    return all(
        spec.shape and spec.shape[0] is None and None not in spec.shape[1:] for spec in specs)


def _running_precision(compiled: Any) -> str:
    """Return the precision of most heavy layers of the compiled graph."""
    counts: dict[str, int] = {}
    for operation in compiled.get_runtime_model().get_ops():
        info = operation.get_rt_info()
        if info['layerType'].astype(str) in _HEAVY:
            kind = info['runtimePrecision'].astype(str)
            counts[kind] = counts.get(kind, 0) + 1
    if not counts:
        hint = str(compiled.get_property('INFERENCE_PRECISION_HINT'))
        return 'bf16' if 'bfloat16' in hint else 'fp16' if 'float16' in hint else 'fp32'
    kind = max(counts, key=lambda name: counts[name])
    return _SPOKEN.get(kind, kind)
