# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The status of a node in ``/diagnostics``, by the conventions of REP-107.

``diagnostic_updater`` publishes it where that is installed, with its parameters; the message is the
same without it. The rate is of steady time, so that a paused simulation does not silence it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
import os
from time import monotonic
from typing import Any, TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from aitable_ros.inference.chain import Attempt
from aitable_ros.inference.shared_models import HUNG_AFTER_S
from aitable_ros.nodes import qos
from aitable_ros.nodes.camera_fault import FaultKind
from aitable_ros.nodes.channel import producers, SharedFaces
from aitable_ros.nodes.image_statistics import ImageFigures
from aitable_ros.nodes.model_keeper import FAILURES
from aitable_ros.nodes.worker_load import Load
from aitable_ros.types import ModelInfo

if TYPE_CHECKING:
    from aitable_ros.nodes.managed_node import ManagedNode

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE
PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """
    What a node runs, and how it fares.

    :param attempts: how the chain came to the model
    :param failures: images in a row without an answer
    :param reason: why the last of them had none
    :param busy_s: how long the model has been at its image
    """

    model: ModelInfo
    attempts: tuple[Attempt, ...]
    failures: int
    reason: str
    busy_s: float


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """
    The state of a node at one moment.

    :param level: OK; WARN, works with limitations; ERROR, does not work; STALE, has no input
    :param message: what matters most, one line
    :param values: the figures
    """

    level: bytes
    message: str
    values: Mapping[str, object]


class Diagnostics:
    """
    Publishes the status of a node.

    :param what: follows the node's name in the name of the status
    :param hardware_id: the camera's topic, by which an aggregator groups
    :param status: called each time
    """

    def __init__(
        self, node: Node, what: str, hardware_id: str, status: Callable[[], NodeStatus],
    ) -> None:
        self._node = node
        self._name = f'{node.get_fully_qualified_name()}: {what}'
        self._hardware_id = hardware_id
        self._status = status
        self._updater = _updater(node, what, hardware_id, self._fill)
        self._publisher = None if self._updater is not None else node.create_publisher(
            DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)

    def publish(self) -> None:
        """Publish it now."""
        if self._publisher is None:
            self._updater.force_update()
            return
        now = self._status()
        message = DiagnosticArray(status=[DiagnosticStatus(
            level=now.level, name=self._name, message=now.message,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in now.values.items()])])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _fill(self, status: Any) -> Any:
        now = self._status()
        status.summary(now.level, now.message)
        for key, value in now.values.items():
            status.add(key, str(value))
        return status


def _updater(
    node: Node, what: str, hardware_id: str, fill: Callable[[Any], Any],
) -> Any:
    """Return an updater that publishes on request; None where the package is not installed."""
    try:
        from diagnostic_updater import Updater
    except ImportError:
        return None
    updater = Updater(node)
    timer = getattr(updater, 'timer', None)
    if timer is not None:
        timer.cancel()  # it runs on the node's clock, which a paused simulation stops
    updater.node_name = node.get_fully_qualified_name()  # else two cameras have one name
    updater.setHardwareID(hardware_id)
    updater.add(what, fill)
    return updater


def status_of(node: ManagedNode) -> NodeStatus:
    """Return the status of a node now."""
    now_s = monotonic()
    figures = node.images.statistics.snapshot(now_s)
    model = node.model_status()
    load = node.load.look(now_s, node.work.counts)
    level, message = next(
        _troubles(node, model, figures, load), (OK, _fine(node, model, figures)))
    return NodeStatus(level, message, _values(node, model, figures, load))


def _troubles(
    node: ManagedNode, model: ModelStatus | None, figures: ImageFigures, load: Load,
) -> Iterator[tuple[bytes, str]]:
    """Yield the faults, the gravest first."""
    watch, fault = node.images.watch, node.images.fault
    if node.failure:
        yield ERROR, node.failure
    if model and model.busy_s > HUNG_AFTER_S:
        yield ERROR, f'the model has not returned for {model.busy_s:.0f} s; images are dropped'
    if node.state != 'active':
        yield WARN, node.state
    if model and model.failures >= FAILURES:
        yield ERROR, f'{model.failures} images in a row not answered: {model.reason}'
    if model and not model.model.model:
        yield WARN, 'off: no model'
    if watch.stale:
        why = f': {fault.line}' if fault else ''
        yield STALE, f'no {node.source.expects or "faces"} for {watch.waited_s():.0f} s{why}'
    elif fault and (watch.came or fault.kind is not FaultKind.NO_PUBLISHER):
        yield WARN, fault.line
    if figures.bad_recently:
        causes = ', '.join(sorted(figures.malformed))
        yield WARN, f'{figures.bad_recently} malformed images in the last seconds: {causes}'
    if load.at_limit:
        yield WARN, load.line(max(producers(node.context, SharedFaces), 1))
    if model and model.failures:
        yield WARN, f'last image not answered: {model.reason}'
    for line in node.conflicts.now.values():
        yield WARN, line


def _fine(node: ManagedNode, model: ModelStatus | None, figures: ImageFigures) -> str:
    if not node.images.watch.came:
        return 'waiting for the first image'
    by = f', {model.model.model} on {model.model.backend}' if model and model.model.model else ''
    return f'{figures.fps:.1f} images/s{by}'


def _values(
    node: ManagedNode, model: ModelStatus | None, figures: ImageFigures, load: Load,
) -> dict[str, object]:
    values: dict[str, object] = {
        'state': node.state,
        'fps': f'{figures.fps:.1f}',
        'latency_p50_ms': f'{figures.latency_ms[0]:.1f}',
        'latency_p95_ms': f'{figures.latency_ms[1]:.1f}',
        'stamp_latency_p50_ms': f'{figures.stamp_latency_ms[0]:.1f}',
        'stamp_latency_p95_ms': f'{figures.stamp_latency_ms[1]:.1f}',
        'answered': figures.answered,
        'dropped': node.work.dropped,
        'answered_percent': f'{100 * load.answered:.0f}',
        'busy_percent': f'{100 * load.busy:.0f}',
        'process': os.getpid(),
        'failed': figures.failed,
        'late': figures.late,
        'malformed': sum(figures.malformed.values()),
        **{f'malformed_{cause}': n for cause, n in sorted(figures.malformed.items())},
    }
    if model:
        runs = model.model
        values.update(model=runs.model, backend=runs.backend, precision=runs.precision)
        values.update({
            f'attempt_{number}': f'{attempt.way}: {attempt.reason or "runs"}'
            for number, attempt in enumerate(model.attempts, 1)})
    values.update(node.details())
    return values
