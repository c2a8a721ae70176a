# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The quality-of-service profiles of this package."""

from __future__ import annotations

from copy import copy

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
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



def own(profile: QoSProfile) -> QoSProfile:
    """Return a copy: rclpy writes a node's overrides into the profile that it is given."""
    return copy(profile)


def overridable() -> QoSOverridingOptions:
    """Let ``qos_overrides.<topic>.<publisher|subscription>.*`` parameters change a profile."""
    return QoSOverridingOptions(policy_kinds=(
        QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY, QoSPolicyKind.DEADLINE, QoSPolicyKind.LIVELINESS))
