# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The names that each TensorRT version has: a stand-in shows those and fails on any other.

``names.json`` was read out of the real Python bindings of 8.5.3.1, 8.6.0, 10.3.0, 10.13.3, 11.4.0
and TensorRT for RTX 1.7.1 by ``dump_names.py``: every public name of the classes that are stood in
for, of the module, and every member of every enumeration with its value. What is in it and not
written here fails as "not stood in for", so a hole in the stand-in never passes for a hole in
TensorRT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

VERSIONS = ('8.5.3.1', '8.6.0', '10.3.0', '11.4.0.106')
SURFACES = ('8.5.3.1', '8.6.0', '10.3.0', '10.13.3.9', '11.4.0.106')
"""All whose names are known; 10.13 (JetPack 7) differs from 10.3 in nothing that is used."""
RTX_VERSION, RTX_LIKE = '1.7.1.116', (11, 4)
"""TensorRT for RTX, and the version that its names are a part of."""


class StandInError(AssertionError):
    """The stand-in was used in a way that the real library punishes, if with luck it says so."""


@cache
def names(version: str) -> dict[str, Any]:
    """Return the names of one version: ``module``, ``classes`` and ``enums``."""
    text = (Path(__file__).parent / 'names.json').read_text(encoding='utf-8')
    found: dict[str, Any] = json.loads(text)[version]
    return found


_REGISTERED: dict[str, type] = {}
_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def stands_for(name: str) -> Callable[[Any], Any]:
    """
    Register a class, or a function of ``(module, *arguments)``, under its name in TensorRT.

    A class sees ``self._trt`` (the module it belongs to) and ``self._version`` (``(10, 3)``) and
    keeps its own state under names that begin with an underscore. Only a :class:`Constructible`
    can be made by the user, others are made with :func:`new`; an :class:`Overridable` is for the
    user to derive from.
    """
    def register(item: Any) -> Any:
        if isinstance(item, type):
            _REGISTERED[name] = item
        else:
            _FUNCTIONS[name] = item
        return item

    return register


class Constructible:
    """TensorRT lets the user make one; what is not, comes out of another object's method."""


class Overridable(Constructible):
    """
    A callback interface. The real one refuses an object whose ``__init__`` was not called.

    Its users add what attributes they like.
    """

    _made = False

    def __init__(self) -> None:
        self._made = True


def overridden(item: Any, kind: str) -> Any:
    """Return a callback object if TensorRT would take it."""
    if not any(base.__name__ == kind for base in type(item).__mro__):
        raise TypeError(f'incompatible function arguments: {type(item).__name__} is no {kind}')
    if not item._made:
        raise TypeError(f'{kind}.__init__() must be called when overriding __init__')
    return item


class _Meta(type):
    """Refuses what TensorRT's own classes refuse: to be made by hand."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        if not issubclass(cls, Constructible):
            raise TypeError(f'tensorrt.tensorrt.{cls.__name__}: No constructor defined!')
        return super().__call__(*arguments, **named)


def new(trt: ModuleType, name: str, *arguments: Any, **named: Any) -> Any:
    """Make an object that only TensorRT makes."""
    kind = trt._classes[name]
    return type.__call__(kind, *arguments, **named)


def _restricted(name: str, base: type, trt: ModuleType, version: str) -> type:
    """Return the class with one version's names."""
    allowed = frozenset(names(version)['classes'][name])
    label = f"'tensorrt.tensorrt.{name}' object has no attribute"
    counted = tuple(int(part) for part in version.split('.')[:2])
    body: dict[str, Any] = {
        '_trt': trt, '_version': RTX_LIKE if version == RTX_VERSION else counted,
        '__module__': 'tensorrt.tensorrt'}
    if not issubclass(base, Overridable):
        def read(self: Any, key: str) -> Any:
            if key.startswith('_'):
                return object.__getattribute__(self, key)
            if key not in allowed:
                raise AttributeError(f"{label} '{key}' in {version}")
            try:
                return object.__getattribute__(self, key)
            except AttributeError:
                if hasattr(type(self), key):
                    raise
                raise NotImplementedError(f'{name}.{key} is not stood in for') from None

        def write(self: Any, key: str, value: Any) -> None:
            if not key.startswith('_') and (key not in allowed):
                raise AttributeError(f"{label} '{key}' in {version}")
            if not key.startswith('_') and not hasattr(type(self), key):
                raise NotImplementedError(f'{name}.{key} is not stood in for')
            object.__setattr__(self, key, value)

        body['__getattribute__'], body['__setattr__'] = read, write
    return _Meta(name, (base,), body)


class Member:
    """A value of one of TensorRT's enumerations: equal to those of its own kind only."""

    def __init__(self, kind: str, name: str, value: int) -> None:
        self.kind, self.name, self.value = kind, name, value

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Member) and (self.kind, self.value) == (other.kind, other.value)

    def __hash__(self) -> int:
        return hash((self.kind, self.value))

    def __repr__(self) -> str:
        return f'<{self.kind}.{self.name}: {self.value}>'

    def __str__(self) -> str:
        return f'{self.kind}.{self.name}'

    @property
    def itemsize(self) -> int:
        """Bytes, of a DataType that whole bytes hold."""
        if self.kind != 'DataType':
            raise AttributeError(f"'{self.kind}' object has no attribute 'itemsize'")
        return _ITEMSIZE[self.name]


_ITEMSIZE = {'FLOAT': 4, 'HALF': 2, 'BF16': 2, 'INT8': 1, 'INT32': 4, 'INT64': 8, 'BOOL': 1,
             'UINT8': 1, 'FP8': 1}
_TYPES = {'float32': 'FLOAT', 'float16': 'HALF', 'bfloat16': 'BF16', 'int8': 'INT8',
          'int32': 'INT32', 'int64': 'INT64', 'bool': 'BOOL', 'uint8': 'UINT8', 'fp8': 'FP8',
          'int4': 'INT4'}


class Enumeration:
    """An enumeration with one version's members."""

    def __init__(self, kind: str, values: dict[str, int]) -> None:
        self._kind = kind
        self.__members__ = {key: Member(kind, key, value) for key, value in values.items()}
        for key, member in self.__members__.items():
            setattr(self, key, member)

    def __call__(self, value: int) -> Member:
        for member in self.__members__.values():
            if member.value == value:
                return member
        raise ValueError(f'{value} is no {self._kind}')

    def __getattr__(self, key: str) -> Any:
        raise AttributeError(f"type object 'tensorrt.tensorrt.{self._kind}' has no attribute "
                             f"'{key}'")


class Dims:
    """A shape; indexes and iterates, but is no tuple and equals none."""

    def __init__(self, shape: Any) -> None:
        self._shape = tuple(int(size) for size in shape)

    def __len__(self) -> int:
        return len(self._shape)

    def __getitem__(self, index: Any) -> Any:
        return self._shape[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._shape)

    def __str__(self) -> str:
        return str(self._shape)


def make_module(version: str, name: str = 'tensorrt') -> ModuleType:
    """Return a module that shows one version's surface of everything that was registered."""
    known = names(version)
    trt = ModuleType(name)

    def missing(key: str) -> Any:
        if key in known['module']:
            raise NotImplementedError(f'tensorrt.{key} is not stood in for')
        raise AttributeError(f"module 'tensorrt' has no attribute '{key}' in {version}")

    trt.__version__ = version  # type: ignore[attr-defined]
    enums = {kind: Enumeration(kind.rpartition('.')[2], values)
             for kind, values in known['enums'].items()}
    trt._enums = enums  # type: ignore[attr-defined]
    trt._classes = {  # type: ignore[attr-defined]
        kind: _restricted(kind, base, trt, version)
        for kind, base in _REGISTERED.items() if kind in known['classes']}
    for kind, cls in trt._classes.items():
        setattr(trt, kind, cls)
    for kind, enum in enums.items():
        owner, _, short = kind.rpartition('.')
        if not owner:
            setattr(trt, kind, enum)
        elif owner in trt._classes:
            setattr(trt._classes[owner], short, enum)
            for key, member in enum.__members__.items():
                if key in known['classes'][owner]:
                    setattr(trt._classes[owner], key, member)
    for key, kind in _TYPES.items():
        if key in known['module'] and kind in enums['DataType'].__members__:
            setattr(trt, key, enums['DataType'].__members__[kind])
    for key, function in _FUNCTIONS.items():
        if key in known['module']:
            setattr(trt, key, _bound(function, trt))
    trt.__getattr__ = missing  # type: ignore[method-assign]
    return trt


def _bound(function: Callable[..., Any], trt: ModuleType) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        return function(trt, *arguments, **named)

    return call


_NUMPY = {'FLOAT': np.float32, 'HALF': np.float16, 'INT8': np.int8, 'INT32': np.int32,
          'INT64': np.int64, 'BOOL': np.bool_, 'UINT8': np.uint8}


@stands_for('nptype')
def nptype(trt: ModuleType, dtype: Member) -> Any:
    """Return numpy's type; TypeError where it has none."""
    if dtype.name not in _NUMPY:
        raise TypeError('Could not resolve TensorRT datatype to an equivalent numpy datatype.')
    return _NUMPY[dtype.name]
