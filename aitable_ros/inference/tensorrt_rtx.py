# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
TensorRT for RTX: engines for the GPUs of a PC, whose kernels are compiled when an engine loads.

An engine runs as a TensorRT engine does. Its compiled kernels (the runtime cache) stay in a file
beside the engine, so that the next load is fast.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.inference.tensorrt import TensorRTBackend
from aitable_ros.inference.tensorrt_execution import Execution
from aitable_ros.inference.tensorrt_library import RTX
from aitable_ros.inference.tensorrt_log import quoting

_LOG = logging.getLogger(__name__)


def runtime_cache_path(engine: Path) -> Path:
    """Return the path of an engine's compiled kernels, whether the file exists or not."""
    return engine.with_name(engine.name + '.cache')


class TensorRTRtxBackend(TensorRTBackend):
    """
    An engine of TensorRT for RTX; see :class:`TensorRTBackend`.

    Kernels for a new batch size are compiled before its first run, not during later ones: a CUDA
    graph keeps its kernels, so answers do not change while a pipeline runs.
    """

    name = 'tensorrt_rtx'
    library = RTX
    _config: Any = None
    _cache: Any = None
    _cached = b''
    """Content of the runtime cache's file."""

    def _new_context(self) -> Any:
        if self._config is None:
            self._config = self._configured()
        return self._engine.create_execution_context(self._config)

    def _configured(self) -> Any:
        trt = self._trt
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER)
        self._cache = config.create_runtime_cache()
        try:
            self._cached = runtime_cache_path(self._path).read_bytes()
        except OSError:
            self._cached = b''
        if self._cached:
            with quoting() as said:  # of another GPU, driver or version: it is replaced
                if not self._cache.deserialize(self._cached):
                    _LOG.info('%s: its kernels are compiled again: %s', self.model, ' '.join(said))
                    self._cached = b''
        config.set_runtime_cache(self._cache)
        return config

    def _capturable(self, execution: Execution) -> bool:
        ready = bool(execution.context.is_stream_capturable(self._stream.handle))
        if ready:
            self._keep_kernels()
        return ready

    def warm_up(self) -> None:
        """Run on zeros as :meth:`TensorRTBackend.warm_up` does, and keep the compiled kernels."""
        super().warm_up()
        with self._device.current():
            self._keep_kernels()

    def _keep_kernels(self) -> None:
        """Write new kernels to the file: once for a batch size, before it becomes a graph."""
        from aitable_ros.models.store import write_atomically

        content = bytes(self._cache.serialize())
        if content == self._cached:
            return
        path = runtime_cache_path(self._path)
        try:
            write_atomically(path, content)
        except InputError as error:  # only the next load is slower
            _LOG.info('%s: the kernels compiled for this GPU are not kept: %s', self.model, error)
        self._cached = content

    def _let_go(self) -> None:
        super()._let_go()
        self._config = self._cache = None
