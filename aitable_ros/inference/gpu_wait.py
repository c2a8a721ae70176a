# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How a thread waits for the GPU: on a busy core, asleep, or asleep for most of the time."""

from __future__ import annotations

import os
from time import monotonic, sleep

from aitable_ros.inference.cuda_device import Device, Stream

AUTO, SPIN, SLEEP, NAP = 'auto', 'spin', 'sleep', 'nap'
WAYS = (AUTO, SPIN, SLEEP, NAP)
SHORT_S = 0.003
"""
Only shorter runs are worth a busy core. Waking a thread took 0.03 to 0.36 ms on an H200 host
(benchmarks/results/models_gpu.json), up to a third of a short run.
"""
FEW_CORES = 4
"""With fewer cores than this a busy one is missed by the other threads, so all sleep."""
EARLY_S = 0.00015
"""A nap ends so long before the GPU usually does: a thread wakes 0.05 to 0.1 ms late."""
LEAST_NAP_S = 0.00005
"""Linux wakes no thread sooner (its timer slack)."""
SLOWER = 1.01
"""Each run lengthens the usual time by at most this factor. So one late waking hardly lengthens the
next nap, and a GPU that slows down is still followed."""


class GpuWait:
    """
    Waits for one stream.

    :param way: ``spin`` keeps a core busy; ``sleep`` wakes by an event of the driver; ``nap``
        sleeps by the clock for most of a run's usual time and then keeps the core busy; ``auto``
        is ``nap`` for runs shorter than :data:`SHORT_S`, ``sleep`` for others and on few cores
    """

    def __init__(self, way: str = AUTO) -> None:
        self._auto = way == AUTO
        self.way = SLEEP if self._auto else way
        self._usual_s: dict[object, float] = {}

    def measured(self, run_s: float) -> None:
        """Decide, if that is left to us, by how long a run takes."""
        if self._auto:
            few = (os.cpu_count() or 1) < FEW_CORES
            self.way = SLEEP if few or run_s >= SHORT_S else NAP

    def wait(self, device: Device, stream: Stream, began_s: float, work: object) -> None:
        """
        Wait until the stream has finished; call it with the GPU current.

        :param began_s: when the work was put on it, steady clock
        :param work: what kind of work it is; equal work takes equal time
        """
        if self.way != NAP:
            device.wait(stream, spin=self.way == SPIN)
            return
        usual_s = self._usual_s.get(work, 0.0)
        nap_s = began_s + usual_s - EARLY_S - monotonic()
        if nap_s > LEAST_NAP_S:
            sleep(nap_s)
        device.wait(stream, spin=True)
        took_s = monotonic() - began_s
        self._usual_s[work] = min(took_s, usual_s * SLOWER) if usual_s else took_s
