# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How many images of a run were answered and how soon, and which models answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import header_stamp_ns
from aitable_ros.evaluation.report.elements import StageProvenance
from aitable_ros.tools.live_graph import Received, ReceivedMessage, SentImage

STAGES = {
    'face_detector': 'face', 'fatigue': 'mesh', 'emotion': 'emotion', 'posture': 'posture'}
"""Node -> its stage in ``summary.json``, in the order of the pipeline."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; NaN without samples."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, samples_ms: NDArray[np.float64]) -> Percentiles:
        """Return the percentiles of some samples."""
        if not samples_ms.size:
            return cls(*[float('nan')] * 3)
        return cls(*(float(value) for value in np.percentile(samples_ms, (50, 95, 99))))


class Latency:
    """
    The answers to the images of one run.

    :param received: the messages of the nodes
    :param sent: the images of the camera, in order
    """

    def __init__(self, received: Received, sent: Sequence[SentImage]) -> None:
        self.images = len(sent)
        self._sent_ns = {image.stamp_ns: image.sent_ns for image in sent}
        self.samples_ms = {
            name: self._first_answers(messages) for name, messages in (
                ('faces', received.faces), ('fatigue', received.fatigue),
                ('emotion', received.emotion),
                *((('posture', received.posture),) if received.posture else ()))}
        """Time from the sending of each image to the receipt of its first answer, by topic."""

    @property
    def answered(self) -> int:
        """Images with a ``FatigueState``."""
        return len(self.samples_ms['fatigue'])

    @property
    def answered_share(self) -> float:
        """Of the images sent, 0 ... 1."""
        return self.answered / self.images if self.images else 0.0

    def summary(self) -> dict[str, Any]:
        """Return the keys that a live run adds to ``summary.json``."""
        return {
            'answered': self.answered,
            'answered_share': self.answered_share,
            'latency_ms': {
                name: {key: getattr(Percentiles.of(samples), key) for key in ('p50', 'p95', 'p99')}
                for name, samples in self.samples_ms.items()}}

    def _first_answers(self, messages: Sequence[ReceivedMessage]) -> NDArray[np.float64]:
        first: dict[int, int] = {}
        for item in messages:
            first.setdefault(header_stamp_ns(item.message), item.receive_ns)
        return np.array([
            (receive_ns - self._sent_ns[stamp]) / 1e6 for stamp, receive_ns in sorted(first.items())
            if stamp in self._sent_ns], np.float64)


def stages(received: Received) -> list[StageProvenance]:
    """Return the models that ran, from the last diagnostics of each node."""
    last: dict[str, dict[str, str]] = {}
    for item in received.diagnostics:
        for status in item.message.status:
            node = status.name.rpartition(': ')[2]
            if node in STAGES:
                last[node] = {entry.key: entry.value for entry in status.values}
    return [
        StageProvenance(
            stage=stage, model=last[node].get('model', ''),
            backend=last[node].get('backend', ''), precision=last[node].get('precision', ''),
            steps=[value for key, value in last[node].items() if key.startswith('attempt_')])
        for node, stage in STAGES.items() if node in last]
