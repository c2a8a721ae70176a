# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself in ``/diagnostics``: the one thing that matters, and the figures."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import ClassVar
from typing import Protocol

from aitable_ros.inference.shared_models import HUNG_AFTER_S
from aitable_ros.nodes.diagnostics import ERROR
from aitable_ros.nodes.diagnostics import OK
from aitable_ros.nodes.diagnostics import Report
from aitable_ros.nodes.diagnostics import STALE
from aitable_ros.nodes.diagnostics import WARN
from aitable_ros.nodes.model_keeper import FAILURES
from aitable_ros.nodes.model_keeper import ModelKeeper
from aitable_ros.nodes.qos import Disagreements
from aitable_ros.nodes.statistics import Snapshot
from aitable_ros.nodes.statistics import Statistics
from aitable_ros.nodes.watchdog import ImageWatch


class Reported(Protocol):
    """What a report asks of a node: see :class:`aitable_ros.nodes.managed_node.ManagedNode`."""

    HAS_MODEL: ClassVar[bool]
    statistics: Statistics
    watch: ImageWatch
    disagreements: Disagreements
    keeper: ModelKeeper
    twin: str

    @property
    def failure(self) -> str:
        """Why it is not configured; empty otherwise."""

    @property
    def state(self) -> str:
        """Of the life cycle: ``active``."""

    @property
    def busy_s(self) -> float:
        """How long the model has been at its image."""

    @property
    def dropped(self) -> int:
        """Images that came while it was busy."""

    def details(self) -> dict[str, object]:
        """Figures of the node's own."""

    def expects(self) -> str:
        """What it waits for, in a word."""


def report_on(node: Reported) -> Report:
    """Look at a node."""
    figures = node.statistics.snapshot(monotonic())
    level, message = next(_troubles(node, figures), (OK, _fine(node, figures)))
    return Report(level, message, _values(node, figures))


def _troubles(node: Reported, figures: Snapshot) -> Iterator[tuple[bytes, str]]:
    """Yield what is wrong, the gravest first."""
    keeper, hung_s = node.keeper, node.busy_s
    if node.failure:
        yield ERROR, node.failure
    if hung_s > HUNG_AFTER_S:
        yield ERROR, f'the model has not returned for {hung_s:.0f} s; images are dropped'
    if node.state != 'active':
        yield WARN, node.state
    if keeper.failures >= FAILURES:
        yield ERROR, f'{keeper.failures} images in a row not answered: {keeper.reason}'
    if node.HAS_MODEL and not keeper.model.model:
        yield WARN, 'off: no model'
    if node.watch.stale:
        yield STALE, f'no {node.expects() or "faces"} for {node.watch.waited_s():.0f} s'
    if figures.bad_recently:
        causes = ', '.join(sorted(figures.malformed))
        yield WARN, f'{figures.bad_recently} malformed images in the last seconds: {causes}'
    if keeper.failures:
        yield WARN, f'last image not answered: {keeper.reason}'
    if node.twin:
        yield WARN, node.twin
    for line in node.disagreements.now.values():
        yield WARN, line


def _fine(node: Reported, figures: Snapshot) -> str:
    if not node.watch.came:
        return 'waiting for the first image'
    model = node.keeper.model
    by = f', {model.model} on {model.backend}' if model.model else ''
    return f'{figures.fps:.1f} images/s{by}'


def _values(node: Reported, figures: Snapshot) -> dict[str, object]:
    keeper, model = node.keeper, node.keeper.model
    values: dict[str, object] = {
        'state': node.state,
        'fps': f'{figures.fps:.1f}',
        'latency_p50_ms': f'{figures.latency_ms[0]:.1f}',
        'latency_p95_ms': f'{figures.latency_ms[1]:.1f}',
        'stamp_latency_p50_ms': f'{figures.stamp_latency_ms[0]:.1f}',
        'stamp_latency_p95_ms': f'{figures.stamp_latency_ms[1]:.1f}',
        'answered': figures.answered,
        'dropped': node.dropped,
        'failed': figures.failed,
        'late': figures.late,
        'malformed': sum(figures.malformed.values()),
        **{f'malformed_{cause}': n for cause, n in sorted(figures.malformed.items())},
    }
    if node.HAS_MODEL:
        values.update(model=model.model, backend=model.backend, precision=model.precision)
        values.update({
            f'attempt_{number}': f'{attempt.entry} {attempt.backend}: {attempt.reason or "runs"}'
            for number, attempt in enumerate(keeper.attempts, 1)})
    values.update(node.details())
    return values
