# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Where a node's frames and faces come from.

Nodes of one process that read one image topic share one subscription and one decode. Faces come by
reference from a detector in the same process; from another process they come as messages and meet
their image by its stamp.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
import math
from threading import Lock
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from aitable_msgs.msg import FaceArray
from aitable_ros.clock import stamp_ns, StampGuard
from aitable_ros.errors import ImageError
from aitable_ros.image_codec import frame_from_compressed, frame_from_image, ImageDecoder
from aitable_ros.message_codec import faces_of, model_of
from aitable_ros.nodes import qos
from aitable_ros.nodes.camera_fault import (
    Fault, FaultKind, find_fault, HOLD_S, IMAGE_TYPES, LOOK_AFTER_S, LossEstimate, MANY_LOST
)
from aitable_ros.nodes.channel import channel, SharedFaces
from aitable_ros.nodes.graph_conflicts import GraphConflicts
from aitable_ros.nodes.image_reader import ImageSubscription
from aitable_ros.stamp_join import StampMatcher
from aitable_ros.types import Frame

MATCH_DEPTH = 8
"""Images (or face messages) that wait for their other half: 0.27 s at 30 fps, 50 MB at 1080p. A
detector that takes longer than that drops frames itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """
    A frame and when it came.

    :param received_s: steady clock, before it was decoded
    """

    frame: Frame
    received_s: float


@dataclass(frozen=True, eq=False)
class Reader:
    """
    One node's share in an :class:`ImageSource`.

    :param arrived: called with every good image; must not wait
    :param malformed: called with the error of an image that cannot be used
    :param conflicts: gets a camera whose quality of service does not fit
    """

    node: Node
    arrived: Callable[[Arrival], None]
    malformed: Callable[[ImageError], None]
    conflicts: GraphConflicts


class ImageSource:
    """One subscription and one decode for all nodes of a process that read one image topic."""

    def __init__(self, topic: str, transport: str) -> None:
        self.topic = topic
        self._compressed = transport == 'compressed'
        self._lock = Lock()
        self._readers: tuple[Reader, ...] = ()
        self._carrier: Reader | None = None
        self._subscription: ImageSubscription | None = None
        self._guard = StampGuard()
        self._decoder = ImageDecoder(topic)
        self._losses = LossEstimate()
        self._loss: tuple[Fault, float] | None = None
        """The last loss of images, and when it was seen in those that arrived, steady clock."""
        self._unheard_s: float | None = None
        """Since when there is a camera of which no image has arrived, steady clock."""
        self._feeder: object | None = None

    def set_feeder(self, feeder: object, here: bool) -> None:
        """Announce a camera in this process, or take that back; readers follow in a second."""
        with self._lock:
            if here:
                self._feeder = feeder
            elif self._feeder is feeder:
                self._feeder = None

    def follow_feeder(self, reader: Reader) -> None:
        """Subscribe or not, as a camera in this process comes or goes; on the reader's thread."""
        with self._lock:
            if self._carrier is reader and (self._subscription is None) == (self._feeder is None):
                self._drop_subscription()
                self._carry(reader)

    def join(self, reader: Reader) -> None:
        """Give ``reader`` every image from now on."""
        with self._lock:
            self._readers = (*self._readers, reader)
            if self._carrier is None:
                self._carry(reader)

    def leave(self, reader: Reader) -> None:
        """
        Stop that, on the thread that spins the reader's node (or while nothing spins it).

        When its node carried the subscription, the next reader's takes over.
        """
        with self._lock:
            self._readers = tuple(other for other in self._readers if other is not reader)
            if self._carrier is reader:
                self._drop_subscription()
                self._carrier = None
                if self._readers:
                    self._carry(self._readers[0])

    def resubscribe(self, reader: Reader) -> None:
        """Recreate the subscription if this reader's node carries it; on the node's thread."""
        with self._lock:
            if self._carrier is reader:
                self._drop_subscription()
                self._carry(reader)

    def fault(self, node: Node, waited_s: float, came: bool) -> Fault | None:
        """
        Return why images are missing (see :func:`find_fault`); None while they arrive.

        A loss stays until so many images have arrived that it can be told to be over.
        """
        if self._feeder is not None:
            return None
        lost = self._losses.share() if came else 1.0
        found = None
        if waited_s >= LOOK_AFTER_S or (came and (lost or 0.0) >= MANY_LOST):
            found = find_fault(node, self.topic, IMAGE_TYPES[self._compressed], lost or 0.0)
        now, loss = monotonic(), self._loss
        if found is None or found.kind is not FaultKind.LOST or came:
            self._unheard_s = None
        elif self._unheard_s is None or now - self._unheard_s < LOOK_AFTER_S:
            self._unheard_s = self._unheard_s or now
            return None  # the camera has only just come
        if found is not None:
            self._loss = (found, now if came else -math.inf) \
                if found.kind is FaultKind.LOST else None
        elif loss is not None and (lost is None or now - loss[1] < HOLD_S):
            return loss[0]
        return found

    def _drop_subscription(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _carry(self, reader: Reader) -> None:
        self._carrier = reader
        if self._feeder is None:
            self._subscription = ImageSubscription(
                reader.node, CompressedImage if self._compressed else Image, self.topic,
                self._received, reader.conflicts)

    def _received(self, message: Any) -> None:
        received_s = monotonic()
        decode = frame_from_compressed if self._compressed else frame_from_image
        try:
            frame = decode(message, self._decoder)
            self._losses.arrived(frame.stamp_ns)
            self._guard.check(frame.stamp_ns, received_s)
        except Exception as failure:  # whatever a message holds, the callback lives on
            error = failure if isinstance(failure, ImageError) else ImageError(
                'decoder', f'{type(failure).__name__} while it was decoded')
            # Its traceback knows this frame, this frame knows it: a circle that would keep the
            # message until the next garbage collection, 120 MB of them at 720p.
            error.__traceback__ = None
            for reader in self._readers:
                reader.malformed(error)
            return
        self.feed(frame, received_s)

    def feed(self, frame: Frame, received_s: float) -> None:
        """
        Give all readers a frame.

        :param received_s: when it arrived, seconds of the steady clock
        """
        arrival = Arrival(frame, received_s)
        for reader in self._readers:
            reader.arrived(arrival)


_sources: WeakKeyDictionary[Any, dict[tuple[str, str], ImageSource]] = WeakKeyDictionary()
_sources_lock = Lock()


def image_source(node: Node, transport: str) -> ImageSource:
    """Return the source that this process's nodes with that ``image`` topic and transport share."""
    topic = node.resolve_topic_name('image')
    if transport == 'compressed' and not topic.endswith('/compressed'):
        topic += '/compressed'  # as image_transport names it
    with _sources_lock:
        return _sources.setdefault(node.context, {}).setdefault(
            (topic, transport), ImageSource(topic, transport))


class FrameSource(ABC):
    """
    What a node works on: images, or faces with their image.

    :param transport: of the image topic, ``raw`` or ``compressed``
    :param arrived: called with every item; must not wait
    :param malformed: called with the error of an image that cannot be used
    :param conflicts: gets publishers whose quality of service does not fit
    """

    def __init__(
        self, node: Node, transport: str, arrived: Callable[[Any], None],
        malformed: Callable[[ImageError], None], conflicts: GraphConflicts,
    ) -> None:
        self._node = node
        self._arrived = arrived
        self._images = image_source(node, transport)
        self._conflicts = conflicts
        self._reader = Reader(node, self._image_arrived, malformed, conflicts)
        self._started = False

    @property
    @abstractmethod
    def expects(self) -> str:
        """What is waited for, for the log; empty where another node here reports its absence."""

    @abstractmethod
    def start(self) -> None:
        """Begin to call ``arrived``."""

    @abstractmethod
    def stop(self) -> None:
        """Stop calling it, on the thread that spins the node (or while nothing spins it)."""

    @abstractmethod
    def resubscribe(self) -> None:
        """Recreate the subscriptions; in-process channels are kept. On the node's thread."""

    def fault(self, waited_s: float, came: bool) -> Fault | None:
        """
        Return why images are missing; None while they arrive, or where nothing shows why.

        :param waited_s: time since the last item, or since the node waits
        :param came: whether there was an item
        """
        return self._images.fault(self._node, waited_s, came) if self.expects else None

    def refresh(self) -> None:  # noqa: B027 -- nothing to follow, by default
        """Follow producers of this process that come and go; call it once a second."""

    def details(self) -> dict[str, object]:
        """Return figures for diagnostics."""
        return {}

    @abstractmethod
    def _image_arrived(self, arrival: Arrival) -> None:
        """Take in an image of the topic."""


class CameraSource(FrameSource):
    """The images of the topic ``image``, as :class:`Arrival`."""

    @property
    def expects(self) -> str:
        """The topic that is read; of compressed images it has another name."""
        return f'image on {self._images.topic}'

    def start(self) -> None:
        """Begin to call ``arrived``."""
        self._started = True
        self._images.join(self._reader)

    def stop(self) -> None:
        """Stop calling it. Idempotent."""
        if self._started:
            self._started = False
            self._images.leave(self._reader)

    def refresh(self) -> None:
        """Follow a camera of this process that comes or goes."""
        if self._started:
            self._images.follow_feeder(self._reader)

    def resubscribe(self) -> None:
        """Recreate the subscription if this node carries it."""
        if self._started:
            self._images.resubscribe(self._reader)

    def _image_arrived(self, arrival: Arrival) -> None:
        self._arrived(arrival)


class FaceSource(FrameSource):
    """Faces with their image, as :class:`SharedFaces`: by reference, or by messages and stamp."""

    def __init__(
        self, node: Node, transport: str, arrived: Callable[[SharedFaces], None],
        malformed: Callable[[ImageError], None], conflicts: GraphConflicts,
    ) -> None:
        super().__init__(node, transport, arrived, malformed, conflicts)
        self.matcher: StampMatcher[Arrival, FaceArray] = StampMatcher(MATCH_DEPTH)
        self._channel = channel(node.context, SharedFaces, node.resolve_topic_name('faces'))
        self._subscription: Any = None

    @property
    def by_reference(self) -> bool:
        """Whether the detector is in this process."""
        return self._subscription is None

    @property
    def expects(self) -> str:
        """The faces topic; empty where a detector in this process reports missing images."""
        if self.by_reference:
            return ''
        return f'faces with their image on {self._node.resolve_topic_name("faces")}'

    def details(self) -> dict[str, object]:
        """Return how the faces come."""
        return {
            'faces_by_reference': str(self.by_reference).lower(),
            'unmatched': self.matcher.unmatched}

    def start(self) -> None:
        """Begin to call ``arrived``."""
        self._started = True
        self._channel.listen(self._arrived)
        self.refresh()

    def stop(self) -> None:
        """Stop calling it. Idempotent."""
        self._started = False
        self._channel.unlisten(self._arrived)
        self._unsubscribe()

    def refresh(self) -> None:
        """Subscribe while there is no detector in this process."""
        if not self._started:
            return
        if self._channel.has_producer:
            self._unsubscribe()
        elif self._subscription is None:
            self._subscription = self._node.create_subscription(
                FaceArray, 'faces', self._faces_arrived, qos.own(qos.OUTPUT),
                qos_overriding_options=qos.overridable(),
                event_callbacks=self._conflicts.of_subscription(
                    self._node.resolve_topic_name('faces')))
            self._images.join(self._reader)

    def resubscribe(self) -> None:
        """Recreate the subscriptions, if there are any."""
        if self._subscription is not None:
            self._unsubscribe()
            self.refresh()

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._images.leave(self._reader)
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
            self.matcher.clear()

    def _image_arrived(self, arrival: Arrival) -> None:
        pair = self.matcher.left(arrival.frame.stamp_ns, arrival)
        if pair is not None:
            self._matched(*pair)

    def _faces_arrived(self, message: FaceArray) -> None:
        try:
            stamp = stamp_ns(message.header.stamp)
        except ValueError:
            return  # not ours: the image of such a stamp was refused
        pair = self.matcher.right(stamp, message)
        if pair is not None:
            self._matched(*pair)

    def _matched(self, arrival: Arrival, message: FaceArray) -> None:
        self._arrived(SharedFaces(
            frame=arrival.frame, faces=faces_of(message), model=model_of(message), follow=None,
            received_s=arrival.received_s))
