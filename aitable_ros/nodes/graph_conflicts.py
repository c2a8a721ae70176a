# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Other nodes in the graph that do not fit with ours: incompatible QoS, or the same name."""

from __future__ import annotations

from itertools import product
from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_check_compatible, QoSCompatibility, QoSProfile

NAME_LOOKS = 3
"""The name is checked every so many looks: the graph is asked for all nodes."""
_POLICIES = ('reliability', 'durability', 'deadline', 'liveliness')
"""The policies on which two sides can disagree."""


class GraphConflicts:
    """
    Other nodes that do not fit with one of ours, each logged once with what to set.

    ``now`` holds the conflicts of this moment: topic (or ``name``) -> one line.

    :param node: its publishers, subscriptions and name are checked
    """

    def __init__(self, node: Node) -> None:
        self.now: dict[str, str] = {}
        self._node = node
        self._logged: set[tuple[int, ...]] = set()
        self._topics: set[tuple[str, str]] = set()
        self._looks = 0

    def of_subscription(self, topic: str) -> Any:
        """Return the event callbacks for a subscription to a topic, fully resolved."""
        events, _ = _event_classes()
        return events(incompatible_qos=lambda _: self._topics.add((topic, 'subscription')))

    def watch_subscription(self, topic: str) -> None:
        """Check a subscription of which no event tells at every look."""
        self._topics.add((topic, 'subscription'))

    def of_publisher(self, topic: str) -> Any:
        """Return the event callbacks for a publisher on a topic, fully resolved."""
        _, events = _event_classes()
        return events(incompatible_qos=lambda _: self._topics.add((topic, 'publisher')))

    def look(self) -> None:
        """
        Check topics of which an event, or none, tells, and now and then the name; once a second.

        The names of the other nodes are known only some time after an event.
        """
        for topic, ours in tuple(self._topics):
            self._note(topic, self._qos_conflict(topic, ours))
        self._looks += 1
        if self._looks % NAME_LOOKS == 0:
            before = self.now.get('name')
            self._note('name', self._name_conflict())
            if not before and 'name' in self.now:
                self._node.get_logger().warning(self.now['name'])

    def _note(self, key: str, line: str) -> None:
        if line:
            self.now[key] = line
        else:
            self.now.pop(key, None)

    def _name_conflict(self) -> str:
        """Find other nodes of this name: services and parameters reach any one of them."""
        node = self._node
        own = (node.get_name(), node.get_namespace())
        count = node.get_node_names_and_namespaces().count(own)
        return '' if count < 2 else (
            f'{count} nodes are called {node.get_fully_qualified_name()}; start one of them with '
            '-r __node:=another_name or -r __ns:=/another_namespace')

    def _qos_conflict(self, topic: str, ours: str) -> str:
        """Log each peer that is new, and return the line about the last one; empty without any."""
        node = self._node
        senders = node.get_publishers_info_by_topic(topic)
        receivers = node.get_subscriptions_info_by_topic(topic)
        mine, peers = (receivers, senders) if ours == 'subscription' else (senders, receivers)
        name = (node.get_name(), node.get_namespace())
        own = [info for info in mine if (info.node_name, info.node_namespace) == name][:1]
        line = ''
        for here, peer in product(own, peers):
            offered, wanted = (peer, here) if ours == 'subscription' else (here, peer)
            fits, _ = qos_check_compatible(offered.qos_profile, wanted.qos_profile)
            identity = tuple(peer.endpoint_gid)
            if fits != QoSCompatibility.ERROR:
                continue
            line = _line(topic, ours, here, peer)
            if identity not in self._logged:
                self._logged.add(identity)
                node.get_logger().warning(line)
        return line


def _line(topic: str, ours: str, own: Any, peer: Any) -> str:
    """Return one line that names topic, policy and both sides, and what to set."""
    offered, wanted = (peer, own) if ours == 'subscription' else (own, peer)
    policy = next(
        (policy for policy in _POLICIES if not _fits(policy, offered, wanted)), _POLICIES[0])
    theirs, here = _value(peer, policy), _value(own, policy)
    who = f'{peer.node_namespace.rstrip("/")}/{peer.node_name}'
    verbs = ('offers', 'wants') if ours == 'subscription' else ('wants', 'offers')
    return (
        f"{topic}: nothing passes between {who} and this node: it {verbs[0]} {policy} '{theirs}', "
        f"this node {verbs[1]} '{here}'; start this node with parameter "
        f"'qos_overrides.{topic}.{ours}.{policy}' set to '{theirs}', or give {who} '{here}'")


def _fits(policy: str, offered: Any, wanted: Any) -> bool:
    """Compare one policy alone."""
    profiles = [
        QoSProfile(depth=1, **{policy: getattr(side.qos_profile, policy)})
        for side in (offered, wanted)]
    return bool(qos_check_compatible(*profiles)[0] != QoSCompatibility.ERROR)


def _value(side: Any, policy: str) -> str:
    value = getattr(side.qos_profile, policy)
    name = getattr(value, 'name', None)
    return str(name).lower() if name else str(value.nanoseconds)


def _event_classes() -> tuple[type, type]:
    """Return the classes for a subscription's and a publisher's events, by ROS distribution."""
    try:
        from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
    except ImportError:  # Humble
        from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks
    return SubscriptionEventCallbacks, PublisherEventCallbacks
