# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The two libraries: TensorRT for Jetsons and servers, TensorRT for RTX for the GPUs of a PC."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True, slots=True)
class Library:
    """
    A library that builds and runs engines.

    :param name: of its backend, and of its engines in their sidecars
    :param spoken: its name in messages
    :param packages: Python packages that contain it, best first
    """

    name: str
    spoken: str
    packages: tuple[str, ...]

    @property
    def package(self) -> str:
        """The installed Python package; empty if there is none."""
        return next((package for package in self.packages if find_spec(package)), '')

    def load(self) -> Any:
        """
        Return its Python module.

        :raises ImportError: it is not installed
        :raises OSError: a shared library that it needs cannot be loaded
        """
        return import_module(self.package or self.packages[-1])


TENSORRT = Library('tensorrt', 'TensorRT', ('tensorrt',))
RTX = Library('tensorrt_rtx', 'TensorRT for RTX', ('tensorrt_rtx', 'tensorrt_rtx_bindings'))
"""The first package comes in NVIDIA's own archive, the second in the wheels on PyPI."""
LIBRARIES = {library.name: library for library in (TENSORRT, RTX)}


def is_rtx(trt: Any) -> bool:
    """Tell whether a module is TensorRT for RTX."""
    return trt.__name__ in RTX.packages
