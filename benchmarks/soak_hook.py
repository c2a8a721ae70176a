# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The ``pipeline`` executable with backends that do wrong when they are told to.

``python benchmarks/soak_hook.py [arguments of pipeline]``; the orders come through the file named
by ``AITABLE_SOAK_ORDER``. The product itself has no such door.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import sys
from threading import Lock
import time
from typing import Any

ORDER = 'AITABLE_SOAK_ORDER'


@dataclass(frozen=True, slots=True)
class Order:
    """
    What shall go wrong.

    :param do: ``throw`` or ``hang`` while it runs, ``memory`` while it is loaded
    :param model: part of the model's name
    :param backend: of this library only; empty is any
    :param times: so often, then no more; 0 is as long as the order stands
    :param seconds: how long it hangs
    """

    do: str
    model: str = ''
    backend: str = ''
    times: int = 0
    seconds: float = 0.0

    def give(self, path: Path) -> None:
        """Put it where the pipeline process looks."""
        part = path.with_suffix('.part')
        part.write_text(json.dumps(asdict(self)))
        part.replace(path)


class Orders:
    """Reads the order in force, and counts how often it was carried out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._read: tuple[int, Order | None] = (0, None)
        self._done = 0

    def due(self, do: tuple[str, ...], model: str, backend: str) -> Order | None:
        """Return the order if it is one of these and for this model."""
        with self._lock:
            try:
                changed = self._path.stat().st_mtime_ns
            except FileNotFoundError:
                return None
            if changed != self._read[0]:
                self._read = (changed, Order(**json.loads(self._path.read_text())))
                self._done = 0
            order = self._read[1]
            if order is None or order.do not in do or order.model not in model:
                return None
            if order.backend not in ('', backend) or (order.times and self._done >= order.times):
                return None
            self._done += 1
            return order


def install(orders: Orders) -> None:
    """Put the hook around every model's load and run."""
    from aitable_ros.inference.base import BackendBase
    from aitable_ros.inference.runtimes import Runtime

    infer, load = BackendBase.infer, Runtime.open

    def infer_or_not(self: BackendBase, inputs: Any) -> Any:
        order = orders.due(('throw', 'hang'), self.model, self.name)
        if order is not None and order.do == 'throw':
            raise RuntimeError('device lost (an order of the soak)')
        if order is not None:
            time.sleep(order.seconds)
        return infer(self, inputs)

    def load_or_not(runtime: Any, path: Any, *, model: str, **options: Any) -> Any:
        if orders.due(('memory',), model, runtime.module) is not None:
            raise MemoryError
        return load(runtime, path, model=model, **options)

    BackendBase.infer = infer_or_not  # type: ignore[method-assign]
    Runtime.open = load_or_not  # type: ignore[method-assign]


def main() -> int:
    """Run the pipeline."""
    from aitable_ros.nodes.executables import pipeline

    install(Orders(Path(os.environ[ORDER])))
    return pipeline()


if __name__ == '__main__':
    sys.exit(main())
