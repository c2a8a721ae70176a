# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Parameter files: the ROS 2 YAML that the nodes read, read here too where there is no ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from aitable_ros.errors import InputError
from aitable_ros.options import option
from aitable_ros.options import Options

NODES = ('face_detector', 'emotion', 'fatigue', 'overlay')
"""Names of the nodes, and so of the sections in a parameter file."""


@dataclass(frozen=True, kw_only=True)
class CameraOptions(Options):
    """What every node that reads a camera takes beside its stage's own options."""

    image_transport: str = option(
        'raw', 'raw reads sensor_msgs/Image, compressed reads sensor_msgs/CompressedImage',
        choices=('raw', 'compressed'), dynamic=False)
    stale_after_s: float = option(
        0.8, 'seconds without an image after which the camera counts as gone', low=0.1, high=60.0)
    autostart: bool = option(
        True, 'configure and activate by itself; false waits for lifecycle transitions',
        dynamic=False)


def read_parameter_file(path: str | Path) -> dict[str, dict[str, Any]]:
    """
    Read a ROS 2 parameter file.

    :return: the parameters of each of :data:`NODES`; a section applies to a node whose name its key
        ends with, or to all for ``/**``
    :raises InputError: no such file, not YAML, or not in the form of a parameter file
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: cannot read the parameter file: {reason}') from None
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        where = f' at line {mark.line + 1}' if mark else ''
        raise InputError(f'{path}: not valid YAML{where}') from None
    if document is None:
        document = {}
    sections: dict[str, dict[str, Any]] = {name: {} for name in NODES}
    if not isinstance(document, dict):
        raise InputError(
            f"{path}: expected sections such as '/**/fatigue:', not a {_kind(document)}")
    for key, body in document.items():
        parameters = body.get('ros__parameters') if isinstance(body, dict) else None
        if not isinstance(parameters, dict):
            raise InputError(f"{path}: section '{key}' has no 'ros__parameters:' below it")
        name = str(key).rsplit('/', 1)[-1]
        for target in NODES if name in ('**', '*') else (name,):
            if target in sections:
                sections[target].update(parameters)
    return sections


def options_for(
    values: Mapping[str, Any], *kinds: type[Options], source: str = '',
) -> tuple[Any, ...]:
    """
    Split one node's parameters over the option classes that it is made of.

    :return: one instance for each of ``kinds``
    :raises InputError: a name that none of them has, or a value that one of them refuses
    """
    names = {kind: {item.name for item in fields(kind)} for kind in kinds}
    known = set().union(*names.values())
    foreign = [name for name in values if name not in known and name != 'use_sim_time']
    if foreign:
        prefix = f'{source}: ' if source else ''
        raise InputError(
            f"{prefix}unknown parameter '{foreign[0]}'; known are {', '.join(sorted(known))}")
    return tuple(
        kind.from_mapping({k: v for k, v in values.items() if k in names[kind]}, source)
        for kind in kinds)


def _kind(value: object) -> str:
    names: dict[type, str] = {list: 'list', str: 'text'}
    return names.get(type(value), type(value).__name__)
