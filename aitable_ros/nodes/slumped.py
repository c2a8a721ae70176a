# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Who is slumped by posture, told to a node of fatigue: by reference, or by messages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from threading import Lock
from typing import Any

from aitable_msgs.msg import Posture, PostureEvent
from aitable_ros.clock import header_stamp_ns
from aitable_ros.nodes.channel import channel, SharedPosture
from aitable_ros.nodes.managed_node import ManagedNode, subscribe_reliably
from aitable_ros.nodes.messages import CODEC
from aitable_ros.posture_types import PostureAssessment
from aitable_ros.posture_types import PostureEvent as Event
from aitable_ros.posture_types import PostureEventType, PostureState, PostureUpdate

SILENT_NS = 2_000_000_000
"""Postures older than this, in image time, are no evidence: five times a second is the default, and
the node of posture may have ended."""


class Slumped:
    """
    Remembers from events and postures who is slumped, and since when. Callable from any thread.

    SLUMPED begins it; another state than HEAD_DOWN ends it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._since_ns: dict[int, int] = {}
        self._told_ns: dict[int, int] = {}

    def event(self, stamp_ns: int, event: Event) -> None:
        """Take in an event of an image."""
        if event.type is PostureEventType.SLUMPED:
            with self._lock:
                self._since_ns[event.track_id] = event.start_ns
                self._told_ns[event.track_id] = stamp_ns

    def posture(self, assessment: PostureAssessment) -> None:
        """Take in the posture of one person."""
        track_id = assessment.track_id
        with self._lock:
            if assessment.state is PostureState.HEAD_DOWN:
                self._told_ns[track_id] = assessment.stamp_ns
            elif assessment.stamp_ns >= self._told_ns.get(track_id, 0):
                self._since_ns.pop(track_id, None)
                self._told_ns.pop(track_id, None)

    def update(self, stamp_ns: int, update: PostureUpdate) -> None:
        """Take in all that was told of an image."""
        for assessment in (*update.assessments.values(), *update.absent):
            self.posture(assessment)
        for event in update.events:
            self.event(stamp_ns, event)

    def at(self, stamp_ns: int) -> Mapping[int, int]:
        """Return the people who are slumped, by track, and since when; image time."""
        with self._lock:
            if not self._since_ns:
                return {}
            return {track_id: since_ns for track_id, since_ns in self._since_ns.items()
                    if abs(stamp_ns - self._told_ns[track_id]) <= SILENT_NS}

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._since_ns, self._told_ns = {}, {}


class SlumpedSource:
    """
    Listens to a node of posture, wherever one is; without one it does nothing.

    :param node: that asks; its threads are used
    """

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        self._people = Slumped()
        self._channel = channel(node.context, SharedPosture, node.resolve_topic_name('posture'))
        self._events = node.resolve_topic_name('posture/events')
        self._subscriptions: list[Any] = []
        self._listening = False

    def at(self, stamp_ns: int) -> Mapping[int, int]:
        """Return the people who are slumped, by track, and since when; image time."""
        return self._people.at(stamp_ns)

    def refresh(self) -> None:
        """Follow nodes of posture that come and go; call it once a second."""
        here = self._channel.has_producer
        if here and not self._listening:
            self._channel.listen(self._shared)
        elif self._listening and not here:
            self._channel.unlisten(self._shared)
        self._listening = here
        elsewhere = not here and self._node.count_publishers(self._events) > 0
        if elsewhere and not self._subscriptions:
            self._subscriptions = [
                subscribe_reliably(self._node, Posture, 'posture', self._posture_received),
                subscribe_reliably(
                    self._node, PostureEvent, 'posture/events', self._event_received)]
        elif self._subscriptions and not elsewhere:
            self._unsubscribe()

    def stop(self) -> None:
        """Stop listening and forget everybody. Idempotent."""
        self._channel.unlisten(self._shared)
        self._listening = False
        self._unsubscribe()
        self._people.clear()

    def _unsubscribe(self) -> None:
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _shared(self, shared: SharedPosture) -> None:
        self._people.update(shared.stamp_ns, shared.update)

    def _posture_received(self, message: Posture) -> None:
        with suppress(ValueError):  # of no node of ours
            self._people.posture(CODEC.posture_of(message))

    def _event_received(self, message: PostureEvent) -> None:
        with suppress(ValueError):
            self._people.event(header_stamp_ns(message), CODEC.posture_event_of(message))
