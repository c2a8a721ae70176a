# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What turns ONNX into an engine on this machine: TensorRT's Python package, else trtexec."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from typing import TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.inference.sidecar import Machine
from aitable_ros.inference.tensorrt_version import Version
from aitable_ros.models.build_options import BuildOptions
from aitable_ros.models.progress import Progress

if TYPE_CHECKING:
    from aitable_ros.models.prepare import Prepared


class Toolchain(Protocol):
    """One way to build."""

    name: str
    """``tensorrt-python`` or ``trtexec``."""
    version: Version
    machine: Machine
    runs: bool
    """Whether the engine can be run here, to compare it with its ONNX."""

    def build(
        self, prepared: Prepared, engine: Path, options: BuildOptions, progress: Progress,
    ) -> None:
        """
        Write the engine.

        :raises InputError: it cannot be built; the reason is TensorRT's own
        """


def toolchain(device_id: int = 0, trtexec: Path | None = None) -> Toolchain:
    """
    Return what builds here.

    :param trtexec: use this program, whatever else there is
    :raises InputError: there is neither, or it is too old
    """
    from aitable_ros.models.tensorrt_python import PythonToolchain
    from aitable_ros.models.trtexec import find_trtexec
    from aitable_ros.models.trtexec import TrtexecToolchain

    if trtexec is None and find_spec('tensorrt') is not None:
        return PythonToolchain(device_id)
    program = find_trtexec(trtexec)
    if program is not None:
        return TrtexecToolchain(program, device_id)
    raise InputError(
        'TensorRT is not installed: neither its Python package (apt install '
        'python3-libnvinfer-dev on a Jetson) nor trtexec (PATH, /usr/src/tensorrt/bin) is there')
