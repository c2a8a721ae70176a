# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The preflight's look at a camera: who publishes, with which QoS, how often, how large, how late.

It listens the way the nodes do, in a process of its own (``python -m ...check_camera TOPIC
SECONDS``): a middleware that cannot be loaded ends it without an exception.
"""

from __future__ import annotations

import json
from statistics import median
import subprocess
import sys
from time import monotonic
from typing import Any

from aitable_ros.nodes.camera_fault import IMAGE_TYPES, LossEstimate, MANY_LOST
from aitable_ros.nodes.environment import camera_remedy, child_environment
from aitable_ros.nodes.start_check import Check, Status

NAME = 'camera'
DISCOVERY_S = 3.0
"""So long the search for a publisher goes on; DDS finds one on the same machine in 0.1 to 1 s."""
START_S = 30.0
"""A process with rclpy starts in 1 s, in 10 on a busy Jetson."""
BLINK_FPS, PERCLOS_FPS = 15.0, 10.0
"""What blinks and PERCLOS need: ``min_fps_blinks`` and ``min_fps_perclos``."""
LATE_S = 0.5
"""A camera and its driver take 0.02 to 0.15 s; beyond this the clocks differ, or images queue."""


def check_camera(topic: str, seconds: float) -> list[Check]:
    """Listen to a topic for some seconds."""
    try:
        child = subprocess.run(
            [sys.executable, '-m', 'aitable_ros.tools.check_camera', topic, str(seconds)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, env=child_environment(),
            timeout=seconds + DISCOVERY_S + START_S)
        line = child.stdout.strip().splitlines()[-1]
        heard = json.loads(line)
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        return [Check(NAME, Status.FAIL, f'{topic}: cannot be listened to: ROS 2 does not work',
                      'mend what the checks above say of ROS 2')]
    return judge(topic, heard)


def judge(topic: str, heard: dict[str, Any]) -> list[Check]:
    """
    Say what is good and bad about a camera.

    :param heard: what :func:`listen` returns
    """
    publishers = heard['publishers']
    if not publishers:
        others = ', '.join(heard['topics']) or 'none'
        return [Check(NAME, Status.FAIL, f'nobody publishes {topic}; image topics here: {others}',
                      'start the camera driver, or name its topic (image:=TOPIC); check that both '
                      'have the same ROS_DOMAIN_ID')]
    who = '\n'.join(
        f'from {one["node"]}: {one["type"]}, {one["reliability"]}, {one["durability"]}'
        for one in publishers)
    kinds = sorted({one['type'] for one in publishers})
    if not set(kinds) & set(IMAGE_TYPES):
        return [Check(NAME, Status.FAIL, f'{topic} is {kinds[0]}, no image\n{who}',
                      "name the camera's image topic: image:=TOPIC")]
    if heard['incompatible']:
        return [Check(NAME, Status.FAIL, f'{who}\nits QoS does not fit: {heard["incompatible"]}',
                      "change the driver's QoS, or ours with qos_overrides.<topic>.subscription")]
    if not heard['images']:
        return [Check(NAME, Status.FAIL, f'{who}\nnot one image came in {heard["seconds"]:g} s',
                      f'check that the driver sends images; if it does: {camera_remedy()}')]
    return _measured(topic, heard, who)


def _measured(topic: str, heard: dict[str, Any], who: str) -> list[Check]:
    compressed = IMAGE_TYPES[1] in {one['type'] for one in heard['publishers']}
    size, rate, lag = heard['size'], heard['fps'], heard['lag_s']
    detail = (f'{topic}: {size[0]}x{size[1]} {heard["encoding"]}, {rate:.1f} images/s, '
              f'{lag * 1e3:.0f} ms after their stamps\n{who}')
    if heard['error']:
        return [Check(NAME, Status.FAIL, f'{detail}\nit cannot be read: {heard["error"]}',
                      'set the driver to another encoding, such as rgb8 or bgr8')]
    if heard['lost'] >= MANY_LOST and not compressed:
        return [Check(NAME, Status.FAIL,
                      f'{detail}\nabout {10 * heard["lost"]:.0f} of 10 images are lost on the way',
                      camera_remedy())]
    checks = []
    if compressed:
        detail += '\ncompressed: the nodes need the parameter image_transport: compressed'
    if rate < PERCLOS_FPS:
        checks.append(Check('frame rate', Status.WARN, f'{rate:.1f} images/s: too few for PERCLOS '
                            f'({PERCLOS_FPS:g}) and blinks ({BLINK_FPS:g})',
                            'more light, a shorter exposure, or a smaller image'))
    elif rate < BLINK_FPS:
        checks.append(Check('frame rate', Status.WARN,
                            f'{rate:.1f} images/s: too few for blinks ({BLINK_FPS:g})',
                            'more light, a shorter exposure, or a smaller image'))
    if heard['backwards']:
        checks.append(Check('stamps', Status.FAIL,
                            f'{heard["backwards"]} of {heard["images"]} stamps do not go forwards',
                            'one publisher a topic; fatigue is measured in the time of the stamps'))
    elif not -LATE_S < lag < LATE_S:
        checks.append(Check('stamps', Status.WARN, f'the stamps are {lag:.1f} s behind the clock',
                            "the camera's clock differs (fine for a recording), or the driver "
                            'lets images queue; across machines use chrony'))
    return [Check(NAME, Status.OK, detail), *checks]


def listen(topic: str, seconds: float) -> dict[str, Any]:
    """
    Listen as the nodes do.

    :return: publishers, image topics, number of images, rate by stamps, size, encoding, lag
    """
    import rclpy

    rclpy.init(args=[])
    node = rclpy.create_node('aitable_preflight')
    try:
        return _listen(node, topic, seconds)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _listen(node: Any, topic: str, seconds: float) -> dict[str, Any]:
    import rclpy
    from rclpy.qos import qos_check_compatible, QoSCompatibility
    from sensor_msgs.msg import CompressedImage, Image

    from aitable_ros.errors import ImageError
    from aitable_ros.image_codec import frame_from_compressed, frame_from_image, ImageDecoder
    from aitable_ros.nodes import qos

    found = _publishers(node, topic)
    heard: dict[str, Any] = {
        'seconds': seconds, 'images': 0, 'incompatible': '', 'error': '', 'backwards': 0,
        'publishers': [{
            'node': f'{one.node_namespace.rstrip("/")}/{one.node_name}', 'type': one.topic_type,
            'reliability': one.qos_profile.reliability.name.lower().replace('_', ' '),
            'durability': one.qos_profile.durability.name.lower().replace('_', ' ')}
            for one in found],
        'topics': sorted(name for name, kinds in node.get_topic_names_and_types()
                         if set(kinds) & set(IMAGE_TYPES) and node.count_publishers(name))}
    for one in found:
        verdict, reason = qos_check_compatible(one.qos_profile, qos.IMAGE)
        if verdict == QoSCompatibility.ERROR:
            heard['incompatible'] = reason
    compressed = any(one.topic_type == IMAGE_TYPES[1] for one in found)
    if not any(one.topic_type in IMAGE_TYPES for one in found):
        return heard
    stamps: list[int] = []
    lags: list[float] = []
    losses = LossEstimate()

    def received(message: Any) -> None:
        now = node.get_clock().now().nanoseconds
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        heard['backwards'] += bool(stamps) and stamp <= stamps[-1]
        stamps.append(stamp)
        losses.arrived(stamp)
        lags.append((now - stamp) * 1e-9)
        if len(stamps) > 1:
            return
        heard['encoding'] = message.format if compressed else message.encoding
        heard['size'] = [0, 0] if compressed else [message.width, message.height]
        try:
            frame = (frame_from_compressed if compressed else frame_from_image)(
                message, ImageDecoder(topic))
            heard['size'] = [frame.width, frame.height]
        except ImageError as error:
            heard['error'] = str(error)

    subscription = node.create_subscription(
        CompressedImage if compressed else Image, topic, received, qos.IMAGE)
    end = monotonic() + seconds
    while monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_subscription(subscription)
    span = (max(stamps) - min(stamps)) * 1e-9 if stamps else 0.0
    return {
        **heard, 'images': len(stamps), 'lost': losses.share() or 0.0,
        'lag_s': median(lags) if lags else 0.0,
        'fps': (len(stamps) - 1) / span if span > 0 else 0.0}


def _publishers(node: Any, topic: str) -> list[Any]:
    """Wait for a publisher."""
    import rclpy

    end = monotonic() + DISCOVERY_S
    while True:
        found = list(node.get_publishers_info_by_topic(topic))
        named = found and not any('UNKNOWN' in one.node_name for one in found)  # comes a bit later
        if named or monotonic() > end:
            return found
        rclpy.spin_once(node, timeout_sec=0.1)


if __name__ == '__main__':
    print(json.dumps(listen(sys.argv[1], float(sys.argv[2]))))  # noqa: T201
