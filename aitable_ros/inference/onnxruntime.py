# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: on the CPU, and on CUDA with its GPU build."""

from __future__ import annotations

from pathlib import Path
import re
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import first_line
from aitable_ros.inference.base import BackendBase
from aitable_ros.inference.onnx_file import weight_precision
from aitable_ros.inference.protocol import BackendError, Tensors, TensorSpec

_CUDA = 'CUDAExecutionProvider'
_DTYPES = {
    'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(double)': np.float64,
    'tensor(int64)': np.int64, 'tensor(int32)': np.int32, 'tensor(uint8)': np.uint8,
    'tensor(int8)': np.int8, 'tensor(bool)': np.bool_}


class OnnxRuntimeBackend(BackendBase):
    """
    An ONNX model on ONNX Runtime.

    The precision is that of the file, or fp32 for fp16 weights if the CPU has no kernels for them.

    :param path: the ``.onnx`` file
    :param model: name to report
    :param precision: ``auto``, or the precision that must run
    :param threads: within an operator; 0 leaves it to ONNX Runtime
    :param device_id: GPU number, with ``cuda``
    :param cuda: run on CUDA, else on the CPU
    :raises BackendError: cannot load, another precision, or no CUDA
    """

    name = 'onnxruntime'

    def __init__(
        self, path: Path, *, model: str = '', precision: str = 'auto', threads: int = 1,
        device_id: int = 0, cuda: bool = False,
    ) -> None:
        import onnxruntime

        self.model = model or path.name
        self.precision = weight_precision(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # By default idle threads spin between frames and keep a core busy.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.log_severity_level = 4  # failures raise exceptions; warnings do not concern users
        providers: list[Any] = ['CPUExecutionProvider']
        if cuda:
            # TF32 is not fp32: the reported precision must be the one that runs.
            providers.insert(0, (_CUDA, {'device_id': device_id, 'use_tf32': 0}))
        with TemporaryDirectory() as folder:
            optimised = Path(folder) / 'optimised.onnx'
            if self.precision in ('fp16', 'bf16') and not cuda:
                options.optimized_model_filepath = str(optimised)
            try:
                self._session = onnxruntime.InferenceSession(
                    str(path), options, providers=providers)
            except Exception as error:  # its exceptions have no common base
                raise BackendError(
                    f'{path}: ONNX Runtime cannot load it: {_reason(error)}') from None
            self._open = True
            if optimised.exists():
                # Without fp16 kernels it silently casts the weights while loading.
                self.precision = weight_precision(optimised)
        if precision not in ('auto', self.precision):
            self.close()
            raise BackendError(
                f'{path}: ONNX Runtime would run it in {self.precision}, as it is, not {precision}')
        if cuda and self._session.get_providers()[0] != _CUDA:
            self.close()
            raise BackendError('ONNX Runtime cannot use the GPU: its CUDA provider did not start')
        self.device = f'cuda:{device_id}' if cuda else 'cpu'
        self.inputs = tuple(_spec(item) for item in self._session.get_inputs())
        self.outputs = tuple(_spec(item) for item in self._session.get_outputs())

    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        try:
            results = self._session.run(None, dict(inputs))
        except Exception as error:  # see above
            raise BackendError(f'{self.model}: ONNX Runtime failed: {_reason(error)}') from None
        return {spec.name: value for spec, value in zip(self.outputs, results)}

    def _free(self) -> None:
        del self._session


def _spec(item: Any) -> TensorSpec:
    return TensorSpec(
        name=item.name,
        shape=tuple(size if isinstance(size, int) else None for size in item.shape),
        dtype=np.dtype(_DTYPES.get(item.type, np.object_)))


def _reason(error: BaseException) -> str:
    """``[ONNXRuntimeError] : 1 : FAIL : Load model from X failed:/onnxruntime_src/Y what``."""
    text = re.sub(r'^\[ONNXRuntimeError\] : \d+ : \w+ : ', '', first_line(error))
    text = re.sub(r'^Load model from .*? failed:', '', text)
    return re.sub(r'/onnxruntime_src/\S+ .*?\) (?=[A-Z])', '', text)
