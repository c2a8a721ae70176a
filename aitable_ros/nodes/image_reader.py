# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Reads the images of a subscription on a thread of its own, without an executor.

An executor waits for all that a node has, each time anew, and rclpy copies a picture three times on
its way. Here the middleware counts the images in an eventfd, from which the thread learns of them.
The thread takes each as the C message that ROS makes, and its picture stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ctypes import (
    addressof, c_bool, c_char_p, c_int32, c_size_t, c_uint8, c_uint32, c_void_p, cast, CDLL,
    py_object, PYFUNCTYPE, pythonapi, string_at, Structure
)
from dataclasses import dataclass
from functools import cache
import os
from threading import Thread
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from sensor_msgs.msg import Image

from aitable_ros.nodes import qos
from aitable_ros.nodes.graph_conflicts import GraphConflicts

OK = 0
"""``RCL_RET_OK``. After another status there is no message: a newer image has taken its place, and
was taken before; or it is damaged."""


class _Sequence(Structure):
    """A ``rosidl_runtime_c__uint8__Sequence``; a ``rosidl_runtime_c__String`` has its form."""

    _fields_ = (('data', c_void_p), ('size', c_size_t), ('capacity', c_size_t))

    def __str__(self) -> str:
        return string_at(self.data, self.size).decode() if self.size else ''


class _Time(Structure):
    _fields_ = (('sec', c_int32), ('nanosec', c_uint32))


class _Header(Structure):
    _fields_ = (('stamp', _Time), ('frame_id', _Sequence))


class _Image(Structure):
    """A C ``sensor_msgs/Image``, to be read like one of rclpy."""

    _fields_ = (
        ('header', _Header), ('height', c_uint32), ('width', c_uint32), ('encoding', _Sequence),
        ('is_bigendian', c_uint8), ('step', c_uint32), ('_data', _Sequence))

    @property
    def data(self) -> Any:
        """The picture's bytes, not copied; the image lives as long as they do."""
        found = (c_uint8 * self._data.size).from_address(self._data.data or 0)
        found.owner = self
        return found


class TakenImage(_Image):
    """A message that ``_Parts.create`` made; it is destroyed with the last reference to it."""

    def __del__(self) -> None:
        parts = _parts()
        if parts is not None:
            parts.destroy(addressof(self))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is called in C; other threads of Python run during ``take`` and ``set_callback``."""

    take: Callable[..., int]
    set_callback: Callable[..., int]
    count_in: Any
    create: Callable[[], int]
    destroy: Callable[[int], None]


@cache
def _parts() -> _Parts | None:
    """Return what images are read with; None where this ROS, or this system, lacks some of it."""
    try:
        rcl = CDLL('librcl.so')
        take, set_callback = rcl.rcl_take, rcl.rcl_subscription_set_on_new_message_callback
        take.argtypes = [c_void_p] * 4
        set_callback.argtypes = [c_void_p] * 3
        # It is called with the eventfd and a number of messages, as eventfd_write(int, uint64_t).
        count_in = cast(CDLL(None).eventfd_write, c_void_p) if hasattr(os, 'eventfd') else None
        Image.__class__.__import_type_support__()
        create = PYFUNCTYPE(c_void_p)(_pointer(Image._CREATE_ROS_MESSAGE))
        destroy = PYFUNCTYPE(None, c_void_p)(_pointer(Image._DESTROY_ROS_MESSAGE))
        convert = PYFUNCTYPE(c_bool, py_object, c_void_p)(_pointer(Image._CONVERT_FROM_PY))
    except (AttributeError, OSError, TypeError, ValueError):
        return None
    parts = _Parts(take, set_callback, count_in, create, destroy)
    return parts if count_in and _is_laid_out_as_here(parts, convert) else None


def _pointer(capsule: Any) -> int:
    """Return what a ``PyCapsule`` holds."""
    get_name, get = pythonapi.PyCapsule_GetName, pythonapi.PyCapsule_GetPointer
    get_name.argtypes, get_name.restype = [py_object], c_char_p
    get.argtypes, get.restype = [py_object, c_char_p], c_void_p
    return int(get(capsule, get_name(capsule)))


def _is_laid_out_as_here(parts: _Parts, convert: Callable[[Any, int], bool]) -> bool:
    """Tell whether an image of this ROS has its fields where :class:`_Image` looks for them."""
    known = Image(height=2, width=3, encoding='mono8', is_bigendian=4, step=5, data=b'sixth')
    known.header.stamp.sec, known.header.stamp.nanosec, known.header.frame_id = 7, 8, 'tenth'
    address = parts.create()
    try:
        made, found = convert(known, address), _Image.from_address(address)
        stamp = found.header.stamp
        return made and (
            found.header.frame_id.size, found.encoding.size, found._data.size, found.height,
            found.width, found.is_bigendian, found.step, stamp.sec, stamp.nanosec,
        ) == (5, 5, 5, 2, 3, 4, 5, 7, 8) and (
            str(found.header.frame_id), str(found.encoding), bytes(found.data),
        ) == ('tenth', 'mono8', b'sixth')  # read last: they are wherever a pointer points
    finally:
        parts.destroy(address)


class Aside(MutuallyExclusiveCallbackGroup):  # type: ignore[misc]
    """
    Keeps a subscription and its events from executors.

    Fast DDS wakes whoever waits for an event of a reader also for its messages, and goes on if the
    message was taken meanwhile.
    """

    def can_execute(self, entity: Any) -> bool:
        """Let nothing run."""
        return False


class ImageReader:
    """
    Calls a subscription's callback with its messages, on a thread.

    :param subscription: of images, compressed or not, in a group of :class:`Aside`
    :param parts: from :func:`_parts`
    :raises OSError: the middleware cannot tell of messages
    """

    def __init__(self, subscription: Any, parts: _Parts) -> None:
        self._kind, self._callback = subscription.msg_type, subscription.callback
        self._handle = subscription.handle
        self._parts = parts
        self._next: TakenImage | None = None
        self._ended = False
        self._count = os.eventfd(0)
        if not self._tell(parts.count_in, self._count):
            os.close(self._count)
            raise OSError('messages are not told of')
        self._thread = Thread(
            target=self._run, name=f'reads {subscription.topic_name}', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, before the subscription; nothing is called afterwards. Idempotent."""
        if not self._ended:
            self._ended = True
            self._tell(None, None)
            os.eventfd_write(self._count, 1)
            self._thread.join()
            os.close(self._count)

    def _tell(self, function: Any, argument: int | None) -> bool:
        """Have the middleware call a function with a number of messages whenever some came."""
        with suppress(rclpy_implementation.InvalidHandle), self._handle:
            return self._parts.set_callback(self._handle.pointer, function, argument) == OK
        return False

    def _run(self) -> None:
        take = self._take if self._kind is Image else self._take_by_rclpy
        with suppress(rclpy_implementation.InvalidHandle):  # its node was destroyed
            while True:
                for _ in range(os.eventfd_read(self._count)):
                    message = None if self._ended else take()
                    if message is None:
                        break
                    self._callback(message)
                    del message  # an image must not live until the next one comes
                if self._ended:
                    return

    def _take(self) -> TakenImage | None:
        image, self._next = self._next, None
        image = image or TakenImage.from_address(self._parts.create())
        with self._handle:
            if self._parts.take(self._handle.pointer, addressof(image), None, None) == OK:
                return image
        self._next = image
        return None

    def _take_by_rclpy(self) -> Any:
        with self._handle:
            taken = self._handle.take_message(self._kind, False)
        return taken[0] if taken else None


class ImageSubscription:
    """
    A subscription to images: read on a thread of its own, or, failing that, by the executor.

    :param kind: ``Image`` or ``CompressedImage``
    :param topic: fully resolved
    :param received: gets each message; a raw one may be a :class:`TakenImage`
    :param conflicts: gets cameras whose quality of service does not fit
    """

    def __init__(
        self, node: Node, kind: type, topic: str, received: Callable[[Any], None],
        conflicts: GraphConflicts,
    ) -> None:
        self._node = node
        self._reader: ImageReader | None = None

        def subscribe(group: Aside | None) -> Any:
            return node.create_subscription(
                kind, topic, received, qos.own(qos.IMAGE),
                qos_overriding_options=qos.overridable(), callback_group=group,
                event_callbacks=conflicts.of_subscription(topic))

        parts = _parts()
        if parts is not None:
            self._subscription = subscribe(Aside())
            try:
                self._reader = ImageReader(self._subscription, parts)
                conflicts.watch_subscription(topic)
                return
            except OSError:
                node.destroy_subscription(self._subscription)
        self._subscription = subscribe(None)

    def close(self) -> None:
        """Unsubscribe, on the thread that spins the node (or while nothing spins it)."""
        if self._reader is not None:
            self._reader.close()
        self._node.destroy_subscription(self._subscription)
