# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's log: errors become reasons, warnings go to Python's logging, nothing to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
import logging
import re
from threading import local
from typing import Any

from aitable_ros.errors import first_line
from aitable_ros.inference.tensorrt_callbacks import make_logger

_LOG = logging.getLogger(__package__ + '.tensorrt')
_LOG.addHandler(logging.NullHandler())  # else Python prints warnings on stderr
_REMEDY = 'build it here with `aitable models build`'
_THREAD = local()


@contextmanager
def quoting() -> Iterator[list[str]]:
    """Collect the errors that TensorRT logs on this thread."""
    outer, _THREAD.errors = getattr(_THREAD, 'errors', None), []
    try:
        yield _THREAD.errors
    finally:
        _THREAD.errors = outer


_LISTENERS: list[Callable[[str, str], None]] = []


@contextmanager
def heard_by(listener: Callable[[str, str], None]) -> Iterator[None]:
    """Send everything that TensorRT logs on any thread to one listener until the block ends."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def _note(level: str, text: str) -> None:
    if _LISTENERS:
        _LISTENERS[-1](level, text)
        return
    if level == 'error':
        errors = getattr(_THREAD, 'errors', None)
        if errors is None:
            _LOG.error('%s', first_line(text))
        else:
            errors.append(text)
    elif level == 'warning':
        _LOG.warning('%s', first_line(text))
    else:
        _LOG.debug('%s', first_line(text))


@cache
def logger(trt: Any = None) -> Any:
    """Return the one logger of a library: TensorRT keeps the first that it gets for ever."""
    return make_logger(_note, trt)


_KNOWN = (
    (r'out of memory|OutOfMemory', 'out of GPU memory; close what else uses the GPU'),
    (r'version tag|library version|Version.*mismatch|assertion .*Version',
     f'it was built with another version of TensorRT; {_REMEDY}'),
    (r'magic ?tag', f'it is not a TensorRT engine, or damaged; {_REMEDY}'),
    (r'incompatible device|different platform|compute capability|expecting compute|device model',
     f'it was built for another GPU; {_REMEDY}'),
)


def why(said: list[str], otherwise: str = 'it does not say why') -> str:
    """Return logged errors as one line; the first of them is the cause."""
    if not said:
        return otherwise
    everything = ' '.join(said)
    plain = next((text for pattern, text in _KNOWN if re.search(pattern, everything, re.I)), '')
    # "[defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)"
    quote = re.sub(r'^(\d+: )?(\[[^\]]*\] ?)?(Error Code \d+: )?', '', first_line(said[0]))
    return f'{plain} ("{quote}")' if plain else quote
