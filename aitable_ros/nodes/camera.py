# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A camera in the process of the nodes that read it: frames reach them by reference.

The topic ``image`` is published only while another process subscribes to it; with
``image_transport: compressed`` it is ``image/compressed``, as JPEG.
"""

from __future__ import annotations

from array import array
from typing import Any

import cv2
from sensor_msgs.msg import CompressedImage, Image

from aitable_ros.config import CameraOptions, CaptureOptions
from aitable_ros.nodes import qos
from aitable_ros.nodes.camera_fault import Fault, FaultKind
from aitable_ros.nodes.capture import Capture, check_device
from aitable_ros.nodes.frame_source import Arrival, FrameSource
from aitable_ros.nodes.managed_node import ManagedNode
from aitable_ros.nodes.messages import CODEC
from aitable_ros.types import Frame

JPEG_QUALITY = 90


class CaptureSource(FrameSource):
    """The frames of a capture device, as :class:`Arrival`, also fed to the readers of the topic."""

    _capture: Capture | None = None

    @property
    def topic(self) -> str:
        """The topic that is fed and published."""
        return self._images.topic

    @property
    def expects(self) -> str:
        """The device."""
        return f'image from {self._options.device}'

    @property
    def _options(self) -> CaptureOptions:
        options: CaptureOptions = self._node.parameters[CaptureOptions]
        return options

    def announce(self, here: bool) -> None:
        """Tell the readers in this process whether a camera here feeds them."""
        self._images.set_feeder(self, here)

    def start(self) -> None:
        """Begin to read the device."""
        clock = self._node.get_clock()
        self._capture = Capture(self._options, self._read, lambda: int(clock.now().nanoseconds))
        self._capture.start()

    def stop(self) -> None:
        """Stop that. Idempotent."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.stop()

    def resubscribe(self) -> None:
        """Do nothing: the capture reconnects by itself."""

    def fault(self, waited_s: float, came: bool) -> Fault | None:
        """Return what is wrong with the device."""
        error = self._capture.error if self._capture else ''
        return Fault(FaultKind.NO_PUBLISHER, error) if error else None

    def _read(self, frame: Frame, received_s: float) -> None:
        self._images.feed(frame, received_s)
        self._image_arrived(Arrival(frame, received_s))

    def _image_arrived(self, arrival: Arrival) -> None:
        self._arrived(arrival)


class CameraNode(ManagedNode):
    """Reads a camera device, a stream or a video file; see :class:`CaptureOptions`."""

    NAME = 'camera'
    OPTIONS = (CaptureOptions, CameraOptions)
    SOURCE = CaptureSource
    source: CaptureSource

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._publisher_of_images: Any = None
        self._compressed = self.parameters[CameraOptions].image_transport == 'compressed'
        self.source.announce(True)

    def destroy_node(self) -> None:
        """Stop the capture; readers beside it subscribe to the topic again."""
        self.source.announce(False)
        super().destroy_node()

    def _make_publishers(self) -> None:
        check_device(self.parameters[CaptureOptions].device)
        self._publisher_of_images = self.create_lifecycle_publisher(
            CompressedImage if self._compressed else Image, self.source.topic, qos.own(qos.IMAGE),
            qos_overriding_options=qos.overridable(),
            event_callbacks=self.conflicts.of_publisher(self.source.topic))
        self._outputs.append(self._publisher_of_images)

    def _handle(self, item: Arrival) -> None:
        frame, publisher = item.frame, self._publisher_of_images
        if self._publishing and publisher.get_subscription_count():
            publisher.publish(self._message(frame))
        self.images.answered(frame, item.received_s)

    def _message(self, frame: Frame) -> Image | CompressedImage:
        data = array('B')
        if self._compressed:
            _, jpeg = cv2.imencode(
                '.jpg', cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR),
                (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
            data.frombytes(jpeg.data)
            return CompressedImage(header=CODEC.header_of(frame), format='jpeg', data=data)
        data.frombytes(frame.image.data)
        return Image(
            header=CODEC.header_of(frame), height=frame.height, width=frame.width, encoding='rgb8',
            is_bigendian=0, step=3 * frame.width, data=data)
