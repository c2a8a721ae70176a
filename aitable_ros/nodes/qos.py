# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The quality-of-service profiles of this package, and what is said where two do not fit."""

from __future__ import annotations

from copy import copy
from itertools import product
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import HistoryPolicy
from rclpy.qos import qos_check_compatible
from rclpy.qos import QoSCompatibility
from rclpy.qos import QoSPolicyKind
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

IMAGE = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE,
    history=HistoryPolicy.KEEP_LAST, depth=1)
"""Sensor data, but of a camera only the newest image: an older one is a stale answer."""

OUTPUT = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE,
    history=HistoryPolicy.KEEP_LAST, depth=10)
"""Results: a subscriber, best effort or reliable, gets every one."""

DIAGNOSTICS = OUTPUT
"""What diagnostic_aggregator expects on ``/diagnostics``."""

_POLICIES = ('reliability', 'durability', 'deadline', 'liveliness')
"""Those that two sides can disagree on."""


def own(profile: QoSProfile) -> QoSProfile:
    """Return a copy: rclpy writes a node's overrides into the profile that it is given."""
    return copy(profile)


def overridable() -> QoSOverridingOptions:
    """Let ``qos_overrides.<topic>.<publisher|subscription>.*`` parameters change a profile."""
    return QoSOverridingOptions(policy_kinds=(
        QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY, QoSPolicyKind.DEADLINE, QoSPolicyKind.LIVELINESS))


class Disagreements:
    """
    Tells once for each peer that it and a node of ours do not fit, and what to set.

    :param node: whose publishers and subscriptions are watched
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._told: set[tuple[int, ...]] = set()
        self._topics: set[tuple[str, str]] = set()
        self.now: dict[str, str] = {}
        """Topic -> what is wrong with it at present."""

    def of_subscription(self, topic: str) -> Any:
        """Return the event callbacks for a subscription to a topic, fully resolved."""
        events, _ = _event_classes()
        return events(incompatible_qos=lambda _: self._topics.add((topic, 'subscription')))

    def of_publisher(self, topic: str) -> Any:
        """Return the event callbacks for a publisher on a topic, fully resolved."""
        _, events = _event_classes()
        return events(incompatible_qos=lambda _: self._topics.add((topic, 'publisher')))

    def look(self) -> None:
        """Look at the topics that had an event; call it now and then: names come after events."""
        for topic, ours in tuple(self._topics):
            line = self._line_about(topic, ours)
            if line:
                self.now[topic] = line
            else:
                self.now.pop(topic, None)

    def _line_about(self, topic: str, ours: str) -> str:
        """Log whoever is new, and return what was, or would be, said of the last."""
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
            if identity not in self._told:
                self._told.add(identity)
                node.get_logger().warning(line)
        return line


def _line(topic: str, ours: str, own: Any, peer: Any) -> str:
    """Return one line: topic, policy, both sides, and what to set."""
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
        from rclpy.event_handler import PublisherEventCallbacks
        from rclpy.event_handler import SubscriptionEventCallbacks
    except ImportError:  # Humble
        from rclpy.qos_event import PublisherEventCallbacks
        from rclpy.qos_event import SubscriptionEventCallbacks
    return SubscriptionEventCallbacks, PublisherEventCallbacks
