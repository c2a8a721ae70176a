# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Parameter files: the ROS 2 YAML that the nodes read, read here too where there is no ROS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from aitable_ros.errors import InputError
from aitable_ros.options import names_of, option, Options
from aitable_ros.rcl_yaml import contradiction, near, near_misses, read_sections

NODES = ('camera', 'face_detector', 'emotion', 'fatigue', 'posture', 'overlay')
"""Names of the nodes, and so of the sections in a parameter file."""
BRIDGE = 'hri_bridge'
"""A node without a stage."""
OF_ROS = ('use_sim_time', 'start_type_description_service')
"""Parameters that rclpy declares for every node."""
QOS = 'qos_overrides.'
"""How the names of the parameters begin that change a topic's quality of service."""
Kind = TypeVar('Kind', bound=Options)


@dataclass(frozen=True, kw_only=True)
class CameraOptions(Options):
    """Options of every node that reads a camera, beside those of its stage."""

    image_transport: str = option(
        'raw', 'raw reads sensor_msgs/Image, compressed reads sensor_msgs/CompressedImage',
        choices=('raw', 'compressed'), dynamic=False)
    stale_after_s: float = option(
        0.8, 'seconds without an image after which the camera counts as gone', low=0.1, high=60.0)
    autostart: bool = option(
        True, 'configure and activate by itself; false waits for lifecycle transitions',
        dynamic=False)


@dataclass(frozen=True, kw_only=True)
class CaptureOptions(Options):
    """What the camera node takes."""

    device: str = option(
        '', 'camera to read: 0, /dev/video0, rtsp://..., a video file (repeated at its end) or a '
        'GStreamer pipeline with its !', dynamic=False)
    width: int = option(
        0, 'width asked of the device, pixels; 0 leaves it', low=0, high=16384, dynamic=False)
    height: int = option(
        0, 'height asked of the device, pixels; 0 leaves it', low=0, high=16384, dynamic=False)
    fps: float = option(
        0.0, 'images a second asked of the device; 0 leaves it', low=0.0, high=1000.0,
        dynamic=False)
    format: str = option(
        '', 'pixel format asked of the device as its four letters, such as MJPG or YUYV; empty '
        'leaves it', dynamic=False)
    frame_id: str = option('camera', 'frame of the camera, REP-103 optical', dynamic=False)

    def check(self) -> None:
        """Check the pixel format."""
        if len(self.format) not in (0, 4):
            raise InputError(f"'format' takes four letters such as MJPG, not '{self.format}'")


def read_parameter_file(
    path: str | Path, warn: Callable[[str], None] = lambda line: None,
) -> dict[str, dict[str, Any]]:
    """
    Read a ROS 2 parameter file as rcl does.

    :param warn: called with a line for each section whose name is almost that of a node
    :return: the parameters of each of :data:`NODES`, of whatever namespace
    :raises InputError: no such file, not YAML, or not in the form of a parameter file
    """
    sections = read_sections(Path(path))
    for line in near_misses(sections, (*NODES, BRIDGE)):
        warn(f'{path}: {line}')
    found: dict[str, dict[str, Any]] = {name: {} for name in NODES}
    for name, values in found.items():
        for section in sections:
            if section.may_match(name):
                values.update(section.values)
    return found


def read_options(
    path: str | Path, kinds: Mapping[str, type[Kind]],
    warn: Callable[[str], None] | None = None,
) -> dict[str, Kind]:
    """
    Read the options of stages that run outside of nodes, and so in no namespace.

    A name below ``/**`` need not be one of every node.

    :param kinds: node -> the options of its stage
    :param warn: called with a line for each ignored parameter; None refuses misspelt ones
    :raises InputError: the file, or a parameter in it, cannot be used
    """
    sections = read_sections(Path(path))
    values = read_parameter_file(path, warn or (lambda line: None))
    options = {}
    for node, kind in kinds.items():
        reason = contradiction(sections, node)
        if reason:
            raise InputError(f'{path}: {reason}')
        source = f'{path}: {node}'
        known = [name for each in (kind, CameraOptions) for item in fields(each)
                 for name in names_of(item)]
        own = {name for one in sections if one.node == node for name in one.values}
        for name in [name for name in values[node] if name not in known]:
            if name in OF_ROS or name.startswith(QOS) or (warn is None and name in own):
                continue  # the last is refused below
            del values[node][name]
            if warn is not None and name in own:
                warn(f"{source}: unknown parameter '{name}' is ignored{near(name, known)}")
        options[node] = options_for(values[node], kind, CameraOptions, source=source)[0]
    return options


def options_for(
    values: Mapping[str, Any], *kinds: type[Options], source: str = '',
) -> tuple[Any, ...]:
    """
    Split one node's parameters over the option classes that it is made of.

    Parameters of every ROS node, which ``ros2 param dump`` writes too, are left out.

    :return: one instance for each of ``kinds``
    :raises InputError: a name that none of them has, or a value that one of them refuses
    """
    names = {
        kind: {name for item in fields(kind) for name in names_of(item)} for kind in kinds}
    known = set().union(*names.values())
    foreign = [name for name in values
               if name not in known and name not in OF_ROS and not name.startswith(QOS)]
    if foreign:
        prefix = f'{source}: ' if source else ''
        raise InputError(
            f"{prefix}unknown parameter '{foreign[0]}'; known are {', '.join(sorted(known))}")
    return tuple(
        kind.from_mapping({k: v for k, v in values.items() if k in names[kind]}, source)
        for kind in kinds)
