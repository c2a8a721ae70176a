# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Build engines with TensorRT for RTX: in seconds, for several GPUs at once, without a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
import re
from typing import Any

from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.graph.builder_input import BuilderInput
from aitable_ros.engines.progress import BuildProgress, interruptible
from aitable_ros.engines.tensorrt_python import parsed, profile_of
from aitable_ros.errors import InputError
from aitable_ros.inference import tensorrt_version as versions
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.sidecar import Machine
from aitable_ros.inference.tensorrt_callbacks import set_progress
from aitable_ros.inference.tensorrt_layers import logged_layers
from aitable_ros.inference.tensorrt_library import RTX
from aitable_ros.inference.tensorrt_log import heard_by, logger, why

_UNASKED = 80
"""Least default target: Turing, 7.5, must be named."""
_FOREIGN = (
    ('dla_core', '--dla-core: TensorRT for RTX runs on cards, which have no DLA'),
    ('calibration_cache', '--calibration-cache: TensorRT for RTX has no calibrator'),
    ('timing_cache', '--timing-cache: TensorRT for RTX times no kernels when it builds'))


class RtxToolchain:
    """
    TensorRT for RTX's builder in this process.

    :param targets: compute capabilities to build for, ``8.6`` or ``sm86``; empty: all from 8.0 on
    :raises InputError: the library is missing or cannot be loaded, or does not know a target
    """

    name = 'tensorrt-rtx-python'
    runtime = RTX.name

    def __init__(self, device_id: int = 0, targets: Sequence[str] = ()) -> None:
        if not RTX.package:
            raise InputError(f'{RTX.spoken} is not installed: pip install "aitable_ros[rtx]"')
        try:
            self._trt = RTX.load()
        except (ImportError, OSError) as error:
            raise InputError(f'{RTX.spoken} cannot be used here: {error}') from None
        self.version = versions.trt_version(self._trt)
        self.machine = Machine(tensorrt=str(self._trt.__version__))
        self._targets = _targets(self._trt, targets)
        self.compute_capabilities: tuple[str, ...] = tuple(map(dotted, self._targets))
        self.runs = _capability(device_id) in self.compute_capabilities

    def build(
        self, prepared: BuilderInput, engine: Path, options: BuildOptions, progress: BuildProgress,
    ) -> dict[str, int]:
        """
        Write the engine; see :class:`aitable_ros.engines.toolchain.Toolchain`.

        :raises InputError: the build failed; the reason is the builder's own
        """
        for name, says in _FOREIGN:
            if getattr(options, name) is not None:
                raise InputError(f'{says}: leave it out, or build with --runtime tensorrt')
        trt = self._trt
        messages: list[str] = []

        def heard(level: str, text: str) -> None:
            progress.log(level, text)
            messages.append(text)

        def work() -> bytes:
            with heard_by(heard):
                builder = trt.Builder(logger(trt))
                network = parsed(trt, builder, prepared, engine)
                config = self._configured(builder, prepared, options)
                set_progress(config, progress, trt)
                progress.phase('building', 0, 0)
                plan = builder.build_serialized_network(network, config)
                if plan is None:
                    raise InputError(
                        f'{RTX.spoken} cannot build {engine.name}: {why(progress.errors)}')
                return bytes(plan)

        engine.write_bytes(interruptible(work, progress, stoppable=True))
        layers = logged_layers(messages)
        return dict(Counter(layer.precision for layer in layers if layer.precision))

    def _configured(self, builder: Any, prepared: BuilderInput, options: BuildOptions) -> Any:
        trt = self._trt
        config = builder.create_builder_config()
        config.num_compute_capabilities = len(self._targets)
        for index, name in enumerate(self._targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
        versions.set_precision(
            config, options.precision, typed=True, tf32=options.tf32, trt=trt)
        versions.set_workspace(config, options.workspace_mib, trt)
        versions.set_builder_level(config, options.builder_level, trt)
        versions.set_aux_streams(config, options.aux_streams, trt)
        versions.set_detailed(config, trt)
        if options.sparse:
            versions.set_sparse(config, trt)
        if prepared.dynamic:
            config.add_optimization_profile(profile_of(builder, prepared, prepared.batches))
        return config


def dotted(target: str) -> str:
    """Return ``12.0`` for ``SM120``."""
    return f'{target[2:-1]}.{target[-1]}'


def capabilities(trt: Any) -> list[str]:
    """Return all compute capabilities of the library, ``7.5`` first."""
    return [dotted(name) for name in _known(trt)]


def _known(trt: Any) -> list[str]:
    return [name for name in trt.ComputeCapability.__members__ if re.fullmatch(r'SM\d+', name)]


def _targets(trt: Any, asked: Sequence[str]) -> tuple[str, ...]:
    """
    Return the library's names of compute capabilities.

    :raises InputError: the library does not know one
    """
    known = _known(trt)
    if not asked:
        return tuple(name for name in known if int(name[2:]) >= _UNASKED)
    found = []
    for word in asked:
        name = 'SM' + re.sub(r'^sm_?|\.', '', word.strip().lower())
        if name not in known:
            able = ', '.join(name.lower() for name in known)
            raise InputError(
                f'--for {word}: {RTX.spoken} {trt.__version__} builds for {able}; any other GPU '
                'takes an engine of TensorRT, built on it (--runtime tensorrt)')
        found.append(name)
    return tuple(dict.fromkeys(found))


def _capability(device_id: int) -> str:
    """Return the compute capability of the GPU; empty if there is none."""
    from aitable_ros.inference.cuda import gpu

    try:
        return gpu(device_id).compute_capability
    except (ImportError, OSError, BackendError):
        return ''
