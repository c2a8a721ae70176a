# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Opens a GPU and makes its primary context current while it is used.

PyCUDA reaches the GPU (rosdep and Ubuntu have it), or cuda-python if PyCUDA is missing. CUDA graphs
need cuda-python in either case.

No context stays current on a thread: PyCUDA aborts the process at its end over a context that was
pushed and not popped, and other libraries expect their own context back. The primary context, which
TensorRT and PyTorch use too, is retained once for each GPU until the process ends: PyCUDA leaves a
released one on the driver's stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
from threading import Lock

from aitable_ros.errors import first_line
from aitable_ros.inference.cuda_device import CudaError, Device, Gpu

_NO_BINDING = ('neither PyCUDA nor cuda-python can be used ({}); install one: '
               '`sudo apt install python3-pycuda` or `pip install cuda-python`')
_DRIVER = 'libcuda.so.1'
_DEVICES: dict[int, Device] = {}
_OPENING = Lock()


def device(device_id: int = 0) -> Device:
    """
    Return a GPU, opened by the first package that can; one object for each GPU and process.

    :raises CudaError: neither package is installed, no driver, or no such GPU
    """
    with _OPENING:
        if device_id not in _DEVICES:
            _DEVICES[device_id] = _opened(device_id)
        return _DEVICES[device_id]


def _opened(device_id: int) -> Device:
    from aitable_ros.inference.cuda_pycuda import PyCuda
    from aitable_ros.inference.cuda_python import CudaPython

    reasons = []
    for kind in (PyCuda, CudaPython):
        try:
            return kind(device_id)
        except (ImportError, OSError) as error:
            reasons.append(first_line(error))
    if not _has_driver():
        raise CudaError(f'no NVIDIA driver here ({_DRIVER})')
    raise CudaError(_NO_BINDING.format('; '.join(reasons)))


def _has_driver() -> bool:
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def gpu(device_id: int = 0) -> Gpu:
    """:raises CudaError: see :func:`device`."""
    return device(device_id).gpu


@contextmanager
def primary_context(device_id: int = 0) -> Iterator[Device]:
    """
    Make a GPU current for a while.

    :raises CudaError: see :func:`device`
    """
    found = device(device_id)
    with found.current():
        yield found
