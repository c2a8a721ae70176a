# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Why images do not arrive: no publisher, another type, or images lost between processes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
import os
from typing import Any, TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.nodes.environment import camera_remedy

if TYPE_CHECKING:
    from rclpy.node import Node

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
LOOK_AFTER_S = 2.0
"""Silence after which the graph is asked. Discovery on one machine takes 0.1 to 1 s."""
MANY_LOST = 0.5
"""Share of lost images that counts as a fault; 0.8 to 0.9 are lost without the profile."""
FEWEST_STEPS, WINDOW_NS = 6, 10_000_000_000
"""Images are counted over the window, or longer where the window has fewer than so many steps: on
a busy machine, one image in several seconds arrives."""
HOLD_S = 10.0
"""A loss counts as over when so long after its last sign, the window, none was seen."""
PARTICIPANT_BYTES = 12
"""Length of the part of a DDS endpoint's id that all endpoints of a ROS context share."""


class LossEstimate:
    """
    Estimates from stamps how many images of a camera never arrive.

    A camera's period is taken as the 10th percentile of the steps between stamps. The median step
    of a camera whose images all arrive is about that long. :meth:`arrived` may run on any thread.
    """

    def __init__(self) -> None:
        self._stamps: deque[int] = deque(maxlen=100)

    def arrived(self, stamp_ns: int) -> None:
        """Add the stamp of an image."""
        self._stamps.append(stamp_ns)

    def share(self) -> float | None:
        """Return the share of images lost lately, 0 to 1; None for too few to tell."""
        import numpy as np  # the preflight names a missing numpy

        stamps = np.array(tuple(self._stamps), np.int64)
        if stamps.size <= FEWEST_STEPS:
            return None
        recent = np.count_nonzero(stamps >= stamps[-1] - WINDOW_NS)
        steps = np.diff(stamps[-max(recent, FEWEST_STEPS + 1):])
        steps = steps[steps > 0]
        if steps.size < FEWEST_STEPS:
            return None
        return float(1.0 - np.percentile(steps, 10) / np.median(steps))


class FaultKind(Enum):
    """Why images are missing."""

    NO_PUBLISHER = 'no publisher'
    OTHER_TYPE = 'another type'
    LOST = 'images lost between processes'


@dataclass(frozen=True, slots=True)
class Fault:
    """
    A reason for missing images.

    :param line: the reason and the remedy, one line
    """

    kind: FaultKind
    line: str


def find_fault(node: Node, topic: str, wanted: str, lost: float) -> Fault | None:
    """
    Look into the graph for the reason of missing images.

    :param node: a node that subscribes to the topic
    :param topic: fully resolved
    :param wanted: the type that the node subscribes to, such as ``sensor_msgs/msg/Image``
    :param lost: share of lost images, 0 to 1; 1 where none ever arrived
    :return: None where the graph shows no reason
    """
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        there = sorted(name for name, kinds in node.get_topic_names_and_types()
                       if set(kinds) & set(IMAGE_TYPES) and node.count_publishers(name))
        return Fault(FaultKind.NO_PUBLISHER, (
            f'nobody publishes {topic}; start the camera driver, or name its topic '
            f'(image:=TOPIC); image topics here: {", ".join(there) or "none"}'))
    fitting = [one for one in publishers if one.topic_type == wanted]
    if not fitting:
        return Fault(FaultKind.OTHER_TYPE, _of_another_type(topic, publishers[0], wanted))
    if lost < MANY_LOST:
        return None
    own = {bytes(one.endpoint_gid[:PARTICIPANT_BYTES])
           for one in node.get_subscriptions_info_by_topic(topic)
           if (one.node_name, one.node_namespace) == (node.get_name(), node.get_namespace())}
    foreign = [one for one in fitting if bytes(one.endpoint_gid[:PARTICIPANT_BYTES]) not in own]
    if not foreign:
        return None
    what = 'no image arrives' if lost >= 1 else f'about {10 * lost:.0f} of 10 images are lost'
    return Fault(FaultKind.LOST, (
        f'{name_of(foreign[0])} publishes {topic} from another process, and {what}; '
        f'{_remedy(wanted)}'))


def name_of(endpoint: Any) -> str:
    """Return the full name of the node that has an endpoint."""
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'


def _of_another_type(topic: str, publisher: Any, wanted: str) -> str:
    kind = publisher.topic_type
    if kind not in IMAGE_TYPES:
        remedy = "name the camera's image topic (image:=TOPIC)"
    else:
        remedy = 'set the parameter image_transport to ' + (
            'raw' if kind == IMAGE_TYPES[0] else 'compressed')
    return f'{name_of(publisher)} publishes {topic} as {kind}, this node reads {wanted}; {remedy}'


def _remedy(wanted: str) -> str:
    fast_dds = 'fastrtps' in os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp')
    if wanted != IMAGE_TYPES[0] or not fast_dds:
        return 'check that the driver sends images, and the network between the two'
    try:
        return camera_remedy()
    except InputError as error:
        return str(error)
