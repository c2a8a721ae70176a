# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A camera that costs little, so that rates are the nodes' limit and not its own.

``python -m benchmarks.camera SIZE FRAMES TOPIC ANSWERS`` draws its frames ahead. Each line of JSON
on its standard input, ``{"fps": 30, "seconds": 5, "path": "serialized"}``, is an order; the next
line ends the one before. When an order is done, its answer is a line in the file ANSWERS.
"""

from __future__ import annotations

from array import array
import json
from pathlib import Path
from select import select
import struct
import sys
import time
from typing import Any

from benchmarks.pictures import Clip, SIZES

_STAMP = struct.Struct('<iI')
_STAMP_AT = 4
"""Behind the four bytes that name the encoding, little-endian CDR; the header comes first."""


class Ring:
    """So many images, ready to be sent as they are or as bytes."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        from rclpy.serialization import serialize_message
        from sensor_msgs.msg import Image

        clip = Clip(count, size)
        self._messages, self._bytes = [], []
        for index in range(2 * count - 2):
            if index >= count:  # the way back is the way there
                self._messages.append(self._messages[2 * count - 2 - index])
                self._bytes.append(self._bytes[2 * count - 2 - index])
                continue
            data = array('B')
            data.frombytes(clip(index).tobytes())
            message = Image(
                encoding='rgb8', width=size[0], height=size[1], step=3 * size[0])
            message.data = data
            message.header.frame_id = 'camera'
            self._messages.append(message)
            self._bytes.append(bytearray(serialize_message(message)))

    def __call__(self, index: int, stamp_ns: int, path: str) -> Any:
        """Return a frame with its stamp, as a message or serialized."""
        seconds, rest = divmod(stamp_ns, 1_000_000_000)
        place = index % len(self._messages)
        if path == 'message':
            message = self._messages[place]
            message.header.stamp.sec, message.header.stamp.nanosec = seconds, rest
            return message
        image = self._bytes[place]
        _STAMP.pack_into(image, _STAMP_AT, seconds, rest)
        return bytes(image)


def main() -> int:
    """Serve until standard input ends."""
    from aitable_ros.nodes import environment

    environment.prepare()
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    size, count, topic, answers = sys.argv[1:]
    rclpy.init(args=[])
    node = rclpy.create_node('bench_camera', start_parameter_services=False)
    publisher = node.create_publisher(Image, topic, qos_profile_sensor_data)
    ring = Ring(SIZES[size], int(count))
    with Path(answers).open('a', buffering=1) as file:
        print(json.dumps({'ready': True}), file=file)
        while line := sys.stdin.readline():
            order = json.loads(line)
            if order:
                print(json.dumps(_obey(order, ring, publisher)), file=file)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def _obey(order: dict[str, Any], ring: Ring, publisher: Any) -> dict[str, Any]:
    stamps, publish_ms = [], []
    begin = time.monotonic()
    for index in range(round(order['fps'] * order['seconds'])):
        left = begin + index / order['fps'] - time.monotonic()
        if left > 0:
            time.sleep(left)
        if not index % 8 and select([sys.stdin], [], [], 0)[0]:
            break
        stamp_ns = time.time_ns()
        image = ring(index, stamp_ns, order['path'])
        start = time.perf_counter()
        publisher.publish(image)
        publish_ms.append(round((time.perf_counter() - start) * 1e3, 3))
        stamps.append(stamp_ns)
    return {'stamps': stamps, 'publish_ms': publish_ms, 'seconds': time.monotonic() - begin}


if __name__ == '__main__':
    sys.exit(main())
