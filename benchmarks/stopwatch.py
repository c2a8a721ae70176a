# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Time by stage of a pipeline that knows nothing of it: its methods are wrapped while it lasts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
import functools
from importlib import import_module
from time import perf_counter
from typing import Any
from unittest.mock import patch

SPOTS = (
    ('detect', 'aitable_ros.face.scanner', 'Scanner.desk'),
    ('detect', 'aitable_ros.face.scanner', 'Scanner.room'),
    ('detect', 'aitable_ros.face.scanner', 'Scanner.closely'),
    ('track', 'aitable_ros.face.finder', 'FaceFinder.update'),
    ('mesh', 'aitable_ros.face.mesh', 'FaceMesh.read'),
    ('eyes', 'aitable_ros.fatigue.eyes', 'read_eyes'),
    ('fatigue', 'aitable_ros.fatigue.monitor', 'FatigueMonitor.update'),
    ('emotion', 'aitable_ros.emotion.reader', 'EmotionReader.update'),
)
"""Stage, module, and what belongs to it; what it calls of another stage is counted there alone."""
STAGES = ('detect', 'track', 'mesh', 'eyes', 'fatigue', 'emotion')


class Stopwatch(ExitStack):
    """A context manager; :meth:`lap` gives the milliseconds by stage since the last lap."""

    def __init__(self) -> None:
        super().__init__()
        self._spent: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def __enter__(self) -> Stopwatch:
        """Wrap the stages, before the pipeline is made."""
        super().__enter__()
        for stage, module, name in SPOTS:
            owner: Any = import_module(module)
            *classes, attribute = name.split('.')
            for part in classes:
                owner = getattr(owner, part)
            self.enter_context(
                patch.object(owner, attribute, self._wrapped(stage, getattr(owner, attribute))))
        return self

    def lap(self) -> dict[str, float]:
        """Return what each stage took, and begin anew."""
        spent = {stage: self._spent[stage] * 1e3 for stage in STAGES}
        self._spent.clear()
        return spent

    def _wrapped(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                took = perf_counter() - start
                self._spent[stage] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took
        return watched
