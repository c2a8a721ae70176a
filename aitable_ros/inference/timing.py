# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How long a run takes, for ``backend: fastest``."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter

import numpy as np

from aitable_ros.inference.protocol import Backend

ROUNDS = 20
"""Runs of each: enough for a median that a busy moment does not decide."""
LIMIT_S = 1.0
"""After this long it is known who is slow; EmoNet takes 0.08 s a run on a CPU."""


def typical_run_s(backends: Sequence[Backend]) -> list[float]:
    """
    Time loaded models on black images, in turn, so that a busy moment meets them all.

    :return: median of the runs of each, seconds
    :raises BackendError: one of them does not run
    """
    inputs = [
        {spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype)
         for spec in backend.inputs} for backend in backends]
    taken: list[list[float]] = [[] for _ in backends]
    begin = perf_counter()
    for _ in range(ROUNDS):
        for backend, images, times in zip(backends, inputs, taken):
            start = perf_counter()
            backend.infer(images)
            times.append(perf_counter() - start)
        if perf_counter() - begin > LIMIT_S:
            break
    return [median(times) for times in taken]
