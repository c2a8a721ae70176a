# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
What ``/diagnostics`` shows of a node, by the conventions of REP-107.

Through ``diagnostic_updater`` where it is installed, so that its parameters are there, too; the
same message without it. Steady time makes the rate: a paused simulation is no reason for silence.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from rclpy.node import Node

from aitable_ros.nodes import qos

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE
PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """
    The state of a node at one moment.

    :param level: OK; WARN, it works less well than it could; ERROR, it does not; STALE, it would,
        but has nothing to work on
    :param message: the one thing that matters, one line
    :param values: the figures
    """

    level: bytes
    message: str
    values: Mapping[str, object]


class Diagnostics:
    """
    Publishes a node's report.

    :param what: follows the node's name in the status's name
    :param hardware_id: the camera's topic: what an aggregator groups by
    :param report: asked each time
    """

    def __init__(
        self, node: Node, what: str, hardware_id: str, report: Callable[[], Report],
    ) -> None:
        self._node = node
        self._name = f'{node.get_fully_qualified_name()}: {what}'
        self._hardware_id = hardware_id
        self._report = report
        self._updater = _updater(node, what, hardware_id, self._fill)
        self._publisher = None if self._updater is not None else node.create_publisher(
            DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)

    def publish(self) -> None:
        """Publish it now."""
        if self._publisher is None:
            self._updater.force_update()
            return
        report = self._report()
        message = DiagnosticArray(status=[DiagnosticStatus(
            level=report.level, name=self._name, message=report.message,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in report.values.items()])])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _fill(self, status: Any) -> Any:
        report = self._report()
        status.summary(report.level, report.message)
        for key, value in report.values.items():
            status.add(key, str(value))
        return status


def _updater(
    node: Node, what: str, hardware_id: str, fill: Callable[[Any], Any],
) -> Any:
    """Return an updater that waits to be told; None where there is none."""
    try:
        from diagnostic_updater import Updater
    except ImportError:
        return None
    updater = Updater(node)
    timer = getattr(updater, 'timer', None)
    if timer is not None:
        timer.cancel()  # on the node's clock, which stands still in a paused simulation
    updater.node_name = node.get_fully_qualified_name()  # two cameras, one name without it
    updater.setHardwareID(hardware_id)
    updater.add(what, fill)
    return updater
