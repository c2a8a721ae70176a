# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Options: one frozen dataclass a stage is the single source of its parameters.

The same fields give the ROS parameters their names, types, descriptions and ranges, check the YAML
files, and configure the pipeline where there is no ROS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, Field, field, fields
import math
from typing import Any, ClassVar, TypeVar

from aitable_ros.errors import InputError

Self = TypeVar('Self', bound='Options')


def option(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    dynamic: bool = True,
    alias: str = '',
) -> Any:
    """
    Declare a field of an :class:`Options`.

    :param default: value and, through its type, the parameter's type; a tuple is a string list
    :param description: one sentence with the unit; shown by ``ros2 param describe``
    :param low: least allowed value, inclusive
    :param high: greatest allowed value, inclusive
    :param choices: the strings allowed
    :param dynamic: may change while the node runs; False makes the ROS parameter read-only
    :param alias: second name of the parameter, in files and on the command line
    """
    return field(default=default, metadata={
        'description': description, 'low': low, 'high': high, 'choices': choices,
        'dynamic': dynamic, 'alias': alias})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all options: checks each type and range, then calls :meth:`check`."""

    ORDERED: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of parameters whose first may not exceed the second."""

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, _checked(item, getattr(self, item.name)))
        self.check()

    def check(self) -> None:
        """Raise :class:`InputError` when values that are each in range do not fit together."""
        for low, high in self.ORDERED:
            if getattr(self, low) > getattr(self, high):
                raise InputError(
                    f"parameter '{low}' ({getattr(self, low):g}) must be at most "
                    f"'{high}' ({getattr(self, high):g})")

    @classmethod
    def from_mapping(cls: type[Self], values: Mapping[str, Any], source: str = '') -> Self:
        """
        Make options from plain values.

        :param source: the file that they come from, named in errors
        :raises InputError: unknown name, wrong type, out of range, or values that contradict
        """
        known = {name for item in fields(cls) for name in names_of(item)}
        prefix = f'{source}: ' if source else ''
        for name in values:
            if name not in known:
                raise InputError(
                    f"{prefix}unknown parameter '{name}'; known are {', '.join(sorted(known))}")
        try:
            return cls(**without_aliases(cls, values))
        except InputError as error:
            raise InputError(f'{prefix}{error}') from None


def names_of(item: Field[Any]) -> tuple[str, ...]:
    """Return the names of a parameter: the field's, then its alias if it has one."""
    alias: str = item.metadata.get('alias', '')
    return (item.name, alias) if alias else (item.name,)


def without_aliases(kind: type[Options], values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return values with each alias replaced by the name of its field; a default gives way.

    :raises InputError: a parameter and its alias have different values
    """
    named = dict(values)
    for item in fields(kind):
        alias = item.metadata.get('alias')
        if alias not in named:
            continue
        value = named.pop(alias)
        own = named.get(item.name, item.default)
        if value == item.default or value == own:
            continue
        if own != item.default:
            raise InputError(
                f"parameters '{item.name}' ({own!r}) and '{alias}' ({value!r}) are two names of "
                'one parameter and differ: give one of them')
        named[item.name] = value
    return named


def _checked(item: Any, value: Any) -> Any:
    """Return the value in the type of the default, or raise InputError."""
    kind = type(item.default)
    name = item.name
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not kind:
        raise InputError(f"parameter '{name}' takes {_spoken(kind)}, not {value!r}")
    if kind is tuple and not all(isinstance(entry, str) for entry in value):
        raise InputError(f"parameter '{name}' takes a list of strings, not {list(value)!r}")
    low, high = item.metadata.get('low'), item.metadata.get('high')
    if kind is float and not math.isfinite(value):
        raise InputError(f"parameter '{name}' takes a finite number, not {value!r}")
    if (low is not None and value < low) or (high is not None and value > high):
        raise InputError(f"parameter '{name}' must be {_interval(low, high)}, not {value!r}")
    choices = item.metadata.get('choices')
    if choices and value not in choices:
        raise InputError(f"parameter '{name}' must be one of {', '.join(choices)}, not {value!r}")
    return value


def _spoken(kind: type) -> str:
    return {
        bool: 'true or false', int: 'an integer', float: 'a number', str: 'a string',
        tuple: 'a list of strings'}[kind]


def _interval(low: float | None, high: float | None) -> str:
    if high is None:
        return f'at least {low:g}'
    if low is None:
        return f'at most {high:g}'
    return f'from {low:g} to {high:g}'
