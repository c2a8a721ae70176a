# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A camera node that plays the demo's clip and does as it is told: what it sent is known."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
import sys
from threading import Thread
import time
from typing import Any

import cv2
import numpy as np

TESTS = Path(__file__).resolve().parent.parent / 'test'
sys.path.insert(0, str(TESTS))  # the tests' encoders and malformed images

from malformed import message as malformed_message  # noqa: E402, F401
from ros_graph import image as image_message  # noqa: E402

CLIP_S = 30.0

NAMESPACE = '/soak'

IMAGE = f'{NAMESPACE}/camera/image_raw'

Shape = Callable[[np.ndarray, int, int], Sequence[tuple[Any, bool]]]
"""Picture, number and stamp to the messages that go out for it; True for one that is concerned."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An image that went out; ``time_s`` is the steady clock."""

    stamp_ns: int
    time_s: float
    concerned: bool


class Camera:
    """
    Plays the demo's clip, round and round, as the clock says.

    :param transport: ``raw`` or ``compressed``
    """

    def __init__(self, size: tuple[int, int], fps: float, transport: str = 'raw') -> None:
        from aitable_ros.tools.clip import ScriptedClip

        self.sent: list[Sent] = []
        self.paused = False
        self.concerned = False  # every image, from now on
        self.shape: Shape = plain
        self.offset_ns = 0
        self.fps = fps
        self._transport = transport
        self._clip = ScriptedClip(fps, CLIP_S, 0, size)
        self._number = 0
        self._opened = ExitStack()
        self._ended = True

    def open(self) -> None:
        """Join the graph and play; again after :meth:`close` as another participant."""
        import rclpy
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import CompressedImage, Image

        from aitable_ros.nodes import qos

        raw = self._transport == 'raw'
        context = rclpy.Context()
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        self._opened.callback(context.try_shutdown)
        node = rclpy.create_node('soak_camera', context=context, enable_rosout=False)
        self._opened.callback(node.destroy_node)
        self._publisher = node.create_publisher(
            Image if raw else CompressedImage, IMAGE if raw else f'{IMAGE}/compressed',
            qos.own(qos.IMAGE))
        self._ended = False
        thread = Thread(target=self._play, name='camera', daemon=True)
        thread.start()
        self._opened.callback(thread.join)
        self._opened.callback(self._end)

    def _end(self) -> None:
        self._ended = True

    def close(self) -> None:
        """Stop and leave the graph. Idempotent."""
        self._opened.close()

    @property
    def wanted(self) -> int:
        """How many subscribe."""
        return int(self._publisher.get_subscription_count())

    def publish(self, message: Any, concerned: bool) -> None:
        """Send one message, and write it down."""
        from aitable_ros.clock import stamp_ns

        stamp = message.header.stamp
        known = stamp.sec >= 0 and stamp.nanosec < 10 ** 9
        self.sent.append(Sent(
            stamp_ns(stamp) if known else 0, time.monotonic(), concerned or self.concerned))
        self._publisher.publish(message)

    def publish_bytes(self, data: bytes) -> None:
        """Send what is said to be a serialized message."""
        self._publisher.publish(data)

    def picture(self) -> np.ndarray:
        """Draw the next frame of the clip."""
        self._number = (self._number + 1) % len(self._clip)
        return self._clip.frame(self._number).image

    def stamp(self) -> int:
        """Return the stamp for an image of now."""
        return time.time_ns() + self.offset_ns

    def _play(self) -> None:
        while not self._ended and not self.wanted:  # what nobody subscribes to yet is not lost
            time.sleep(0.05)
        due = time.monotonic()
        number = 0
        while not self._ended:
            due = max(due + 1 / self.fps, time.monotonic() - 1 / self.fps)
            picture = self.picture()
            time.sleep(max(0.0, due - time.monotonic()))
            if self.paused:
                continue
            number += 1
            for message, concerned in self.shape(picture, number, self.stamp()):
                self.publish(message, concerned)


def plain(picture: np.ndarray, number: int, stamp_ns: int) -> Sequence[tuple[Any, bool]]:
    """Make an ``rgb8`` image."""
    return [(image_message(picture, 'rgb8', stamp_ns), False)]


def encoded(
    encoding: str = 'rgb8', size: tuple[int, int] | None = None, first: bool = True,
) -> Shape:
    """Return what makes images of another encoding or size; the first is concerned."""
    begun = [not first]

    def shape(picture: np.ndarray, number: int, stamp_ns: int) -> Sequence[tuple[Any, bool]]:
        if size is not None:
            picture = cv2.resize(picture, size)
        is_first, begun[0] = not begun[0], True
        return [(image_message(picture, encoding, stamp_ns), is_first)]
    return shape


def jpeg(picture: np.ndarray, number: int, stamp_ns: int) -> Any:
    """Make a ``CompressedImage`` as image_transport does."""
    from sensor_msgs.msg import CompressedImage

    from aitable_ros.nodes.messages import CODEC

    _, data = cv2.imencode('.jpg', picture[:, :, ::-1])
    message = CompressedImage(
        format='rgb8; jpeg compressed bgr8', data=array('B', data.tobytes()))
    message.header.stamp = CODEC.time_message(stamp_ns)
    return [(message, False)]
