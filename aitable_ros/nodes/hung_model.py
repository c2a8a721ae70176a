# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A model that does not return: its thread is left behind, and another model takes its place.

No thread can be ended from outside. The people known to the stage that hangs are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger

from aitable_ros.inference.chain import Avoid
from aitable_ros.inference.shared_models import HUNG_AFTER_S
from aitable_ros.nodes.model_keeper import GAP_S, ModelKeeper
from aitable_ros.nodes.worker import Worker, WorkerSlot, WorkerStoppedError

MOST_LEFT_BEHIND = 3
"""Hung models that are replaced until the node is configured again. Each stays in memory with its
thread, and where three hang the cause is not the model."""


class HungModelWatch:
    """
    Replaces the worker of a node when its model hangs.

    :param name: of the node
    :param open_worker: starts a worker with a new stage, some models passed over
    :param rehearse: runs a stage once on an empty picture
    """

    def __init__(
        self, name: str, log: RcutilsLogger, work: WorkerSlot, keeper: ModelKeeper,
        open_worker: Callable[[Avoid], Worker[Any, Any]], rehearse: Callable[[Any], None],
    ) -> None:
        self._name = name
        self._log = log
        self._work = work
        self._keeper = keeper
        self._open_worker = open_worker
        self._rehearse = rehearse
        self._hung: Worker[Any, Any] | None = None
        self._left_behind = 0

    def start(self) -> None:
        """Begin again: the node is configured."""
        self._hung, self._left_behind = None, 0

    def look(self) -> None:
        """Check the worker; call it once a second."""
        worker, before = self._work.worker, self._hung
        hung = worker if self._work.busy_s > HUNG_AFTER_S else None
        self._hung = hung
        if hung is None:
            if before is not None and before is worker:
                self._log.info('the model has returned')
            return
        if hung is before:
            return
        more = self._left_behind < MOST_LEFT_BEHIND
        self._log.error(
            f'the model has not returned for {hung.busy_s:.0f} s; images are dropped until '
            + ('another has been opened in its place' if more else
               'it does; clean the node up and configure it again'))
        if more:
            self._left_behind += 1
            Thread(target=self._replace, args=(hung,), name=f'{self._name}_replace',
                   daemon=True).start()

    def _replace(self, hung: Worker[Any, Any]) -> None:
        """
        Open another model; at the end of the chain, the same one again.

        It has a thread of its own: with a lost GPU, loading may hang as well.
        """
        try:
            fresh = self._keeper.without_hung(self._open_worker)
        except Exception as error:
            self._log.error(f'nothing takes the place of the model that hangs: {error}; '
                            'clean the node up and configure it again')
            return
        with suppress(Exception):  # an empty picture alone is no reason to refuse it
            fresh.call(self._rehearse, GAP_S)
        if not self._work.replace(hung, fresh):  # it has returned, or the node was cleaned up
            fresh.stop()
            return
        hung.stop(0.0)
        with suppress(WorkerStoppedError):
            fresh.call(self._keeper.runs)
            self._keeper.log_model()
