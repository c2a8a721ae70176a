# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Parameter files as rcl reads them (rcl_yaml_param_parser), where there is no ROS.

A node's name may be one key with slashes or several keys below each other. The sections are applied
in the order of the file, each to the nodes that its name matches: ``*`` is one part of a name,
``**`` any number of them. So a ``/**`` at the end overrides what stands before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
import math
from pathlib import Path
import re
from typing import Any

import yaml

from aitable_ros.errors import InputError

PARAMETERS = 'ros__parameters'
NEAR = 0.8
"""Likeness (difflib's ratio) from which one name is taken for a misspelling of another: 'fatige'
is, 'fatigue_front' is not."""
_TRUE = ('y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON')
_FALSE = ('n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF')
_INTEGER = re.compile(r'[-+]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)')
_FLOAT = re.compile(r'[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?')
_INFINITE = re.compile(r'([-+]?)\.?(inf|Inf|INF)')
_NO_NUMBER = re.compile(r'[-+]?\.?(nan|NaN|NAN)')
_INT64 = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, slots=True)
class Section:
    """
    The parameters of the nodes that a name matches.

    :param name: as ``/robot/left/fatigue`` or ``/**/fatigue``
    :param values: by the parameter's full name, with dots; lists as lists
    """

    name: str
    values: dict[str, Any]

    @property
    def node(self) -> str:
        """The last part of the name: a node's, ``*`` or ``**``."""
        return self.name.rpartition('/')[2]

    def may_match(self, node: str) -> bool:
        """Whether it applies to a node of that name in some namespace."""
        return self.node in (node, '*', '**')


def read_sections(path: Path) -> list[Section]:
    """
    Read a parameter file.

    :return: its sections in their order
    :raises InputError: no such file, not YAML, or not in the form of a parameter file
    """
    try:
        text = path.read_text(encoding='utf-8')
        for event in yaml.parse(text):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1
                raise InputError(f'{path}: ROS takes no aliases (*{event.anchor}), as at line '
                                 f'{line}: write it out')
        documents = list(yaml.compose_all(text, yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: cannot read the parameter file: {reason}') from None
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        where = f' at line {mark.line + 1}' if mark else ''
        raise InputError(f'{path}: not valid YAML{where}') from None
    sections: list[Section] = []
    for document in documents:
        if isinstance(document, yaml.MappingNode):
            sections += _sections(document, (), path)
        elif not (isinstance(document, yaml.ScalarNode) and document.tag.endswith(':null')):
            kind = 'list' if isinstance(document, yaml.SequenceNode) else 'text'
            raise InputError(f"{path}: expected sections such as '/**/fatigue:', not a {kind}")
    return sections


def _sections(
    body: yaml.MappingNode, above: Sequence[str], path: Path,
) -> Iterator[Section]:
    for key, value in body.value:
        name = str(key.value)
        if name == PARAMETERS and isinstance(value, yaml.MappingNode):
            if not above:
                raise InputError(f"{path}: no node's name above '{PARAMETERS}:'")
            yield Section('/' + '/'.join(part.strip('/') for part in above),
                          dict(_values(value, '', path)))
        elif name != PARAMETERS and isinstance(value, yaml.MappingNode):
            yield from _sections(value, (*above, name), path)
        else:
            section = '/'.join(above) or name
            raise InputError(f"{path}: section '{section}' has no '{PARAMETERS}:' with parameters "
                             f'below it, at line {key.start_mark.line + 1}')


def _values(body: yaml.MappingNode, prefix: str, path: Path) -> Iterator[tuple[str, Any]]:
    for key, value in body.value:
        name = f'{prefix}{key.value}'
        if isinstance(value, yaml.MappingNode):
            yield from _values(value, f'{name}.', path)
        elif isinstance(value, yaml.SequenceNode):
            if not all(isinstance(item, yaml.ScalarNode) for item in value.value):
                raise InputError(f"{path}: parameter '{name}' is a list of lists or sections, at "
                                 f'line {key.start_mark.line + 1}')
            yield name, [_scalar(item) for item in value.value]
        else:
            yield name, _scalar(value)


def _scalar(node: yaml.ScalarNode) -> bool | int | float | str:
    """Return a value as rcl understands it; quoted or tagged values are text."""
    text = str(node.value)
    if node.style is not None:
        return text
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        digits = text.lstrip('+-')
        base = 16 if digits[:2] in ('0x', '0X') else 8 if digits[0] == '0' else 10
        value = int(digits, base) * (-1 if text[0] == '-' else 1)
        return value if value in _INT64 else float(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if infinite := _INFINITE.fullmatch(text):
        return -math.inf if infinite[1] == '-' else math.inf
    return math.nan if _NO_NUMBER.fullmatch(text) else text


def contradiction(sections: Sequence[Section], node: str) -> str:
    """Say which parameter of a node two namespaces give two values; empty where none does."""
    named = [one for one in sections if one.node == node and '*' not in one.name]
    given: dict[str, Section] = {}
    for section in named:
        for name, value in section.values.items():
            other = given.setdefault(name, section)
            if other.name != section.name and other.values[name] != value:
                return (f"'{other.name}' and '{section.name}' give '{name}' two values; a "
                        'recording has no namespace: take a file with one of them')
    return ''


def near_misses(sections: Sequence[Section], nodes: Sequence[str]) -> list[str]:
    """Return a line for each section whose name is almost, and not, that of a node."""
    lines = []
    for section in sections:
        if section.node not in (*nodes, '*', '**'):
            close = get_close_matches(section.node, nodes, n=1, cutoff=NEAR)
            if close:
                lines.append(f"section '{section.name}' is of none of our nodes and is passed "
                             f"over; did you mean '{close[0]}'?")
    return lines


def near(name: str, known: Sequence[str]) -> str:
    """Return the end of a sentence that names the nearest of the names that exist, or nothing."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ''
