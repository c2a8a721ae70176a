# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The postures of a node of posture, wherever one is; without one, nothing is subscribed to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aitable_msgs.msg import Posture, PostureEvent
from aitable_ros.nodes.channel import channel, SharedPosture
from aitable_ros.nodes.managed_node import ManagedNode, subscribe_reliably


class PostureSource:
    """
    Listens by reference to a node of this process, or else to the topics.

    :param node: that listens; its threads call
    :param shared: called with what a node of this process read in an image
    :param posture: called with each message of another process
    :param event: called with each event of another process; None leaves them out
    """

    def __init__(
        self, node: ManagedNode, shared: Callable[[SharedPosture], None],
        posture: Callable[[Posture], None], event: Callable[[PostureEvent], None] | None = None,
    ) -> None:
        self._node = node
        self._shared = shared
        self._posture = posture
        self._event = event
        self._topic = node.resolve_topic_name('posture')
        self._channel = channel(node.context, SharedPosture, self._topic)
        self._subscriptions: list[Any] = []
        self._listening = False

    @property
    def connected(self) -> bool:
        """Whether there is a node of posture."""
        return self._listening or bool(self._subscriptions)

    def refresh(self) -> None:
        """Follow nodes of posture that come and go; call it once a second while active."""
        here = self._channel.has_producer
        if here and not self._listening:
            self._channel.listen(self._shared)
        elif self._listening and not here:
            self._channel.unlisten(self._shared)
        self._listening = here
        elsewhere = not here and self._node.count_publishers(self._topic) > 0
        if elsewhere and not self._subscriptions:
            self._subscribe()
        elif self._subscriptions and not elsewhere:
            self._unsubscribe()

    def stop(self) -> None:
        """Stop listening. Idempotent."""
        self._channel.unlisten(self._shared)
        self._listening = False
        self._unsubscribe()

    def _subscribe(self) -> None:
        self._subscriptions.append(
            subscribe_reliably(self._node, Posture, 'posture', self._posture))
        if self._event is not None:
            self._subscriptions.append(
                subscribe_reliably(self._node, PostureEvent, 'posture/events', self._event))

    def _unsubscribe(self) -> None:
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
