# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The builders of engines: TensorRT's Python package, trtexec, TensorRT for RTX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TYPE_CHECKING

from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.progress import BuildProgress
from aitable_ros.errors import InputError
from aitable_ros.inference.sidecar import Machine
from aitable_ros.inference.tensorrt_library import RTX, TENSORRT
from aitable_ros.inference.tensorrt_version import Version

RUNTIMES = {'tensorrt': TENSORRT, 'rtx': RTX}
"""Choices of ``--runtime``."""

if TYPE_CHECKING:
    from aitable_ros.engines.graph.builder_input import BuilderInput


class Toolchain(Protocol):
    """A builder of engines."""

    name: str
    """``tensorrt-python``, ``tensorrt-rtx-python`` or ``trtexec``."""
    runtime: str
    """:attr:`Library.name` of the library that runs its engines."""
    compute_capabilities: tuple[str, ...]
    """GPUs that its engines run on, such as ``8.6``; empty: only the GPU that built them."""
    version: Version
    machine: Machine
    runs: bool
    """Whether this machine can run the engine and compare it with its ONNX."""

    def build(
        self, prepared: BuilderInput, engine: Path, options: BuildOptions, progress: BuildProgress,
    ) -> dict[str, int]:
        """
        Write the engine.

        :return: number of layers by the type they read; empty if the builder does not report it
        :raises InputError: the build failed; the reason is the builder's own
        """


def toolchain(
    device_id: int = 0, trtexec: Path | None = None, runtime: str = 'auto',
    targets: Sequence[str] = (),
) -> Toolchain:
    """
    Return the builder to use.

    :param trtexec: use this program, whatever is installed
    :param runtime: a key of ``RUNTIMES``, or ``auto``: TensorRT if it is installed, else
        TensorRT for RTX
    :param targets: compute capabilities to build for; only TensorRT for RTX can, so ``auto`` then
        means that
    :raises InputError: none is installed, it is too old, or the parameters contradict each other
    """
    from aitable_ros.engines.tensorrt_python import PythonToolchain
    from aitable_ros.engines.tensorrt_rtx import RtxToolchain
    from aitable_ros.engines.trtexec import find_trtexec, TrtexecToolchain

    if targets and (runtime == 'tensorrt' or trtexec is not None):
        raise InputError('--for goes with --runtime rtx: an engine of TensorRT is for the GPU that '
                         'it is built on')
    if runtime == 'rtx' and trtexec is not None:
        raise InputError('--trtexec goes with --runtime tensorrt')
    if runtime == 'rtx' or targets:
        return RtxToolchain(device_id, targets)
    if trtexec is None and TENSORRT.package:
        return PythonToolchain(device_id)
    program = find_trtexec(trtexec)
    if program is not None:
        return TrtexecToolchain(program, device_id)
    if runtime == 'auto' and RTX.package:
        return RtxToolchain(device_id)
    raise InputError(
        'TensorRT is not installed: neither its Python package (apt install '
        'python3-libnvinfer-dev on a Jetson) nor trtexec (PATH, /usr/src/tensorrt/bin) is there; '
        'for an RTX card: pip install "aitable_ros[rtx]"')
