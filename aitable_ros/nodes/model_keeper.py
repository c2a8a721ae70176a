# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Exchanging the model of a running node: on request, or because the running one fails.

The new model is loaded beside the running one, on a thread of its own, and tried. Then the two are
exchanged between two images, and people stay known. Where that fails the old one stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock, Thread
from typing import Any, TypeVar

from rclpy.impl.rcutils_logger import RcutilsLogger

from aitable_ros.errors import InputError
from aitable_ros.inference.chain import Attempt, Avoid
from aitable_ros.inference.shared_models import HUNG_AFTER_S, ModelFailure, SHARED
from aitable_ros.nodes.model_paths import outside
from aitable_ros.nodes.worker import WorkerSlot, WorkerStoppedError
from aitable_ros.types import ModelInfo

FAILURES = 5
"""Images in a row without an answer after which another model is looked for. A passing fault is
over by then, and at 30 fps a sixth of a second is lost."""
GAP_S = 10.0
"""An exchange waits this long for the image in hand; the slowest model takes 0.1 s."""

Open = Callable[[Any, Avoid], Any]
Made = TypeVar('Made')


class ModelKeeper:
    """
    Holds which model a node runs, and exchanges it.

    :param log: the node's
    :param work: owns the stage
    :param options: returns the stage's options in force
    :param open_stage: opens a stage by options, some models passed over
    :param rehearse: runs a stage once on an empty picture; raises what goes wrong
    """

    def __init__(
        self, log: RcutilsLogger, work: WorkerSlot, *, options: Callable[[], Any],
        open_stage: Open, rehearse: Callable[[Any], None],
    ) -> None:
        self.model = ModelInfo()
        self.attempts: tuple[Attempt, ...] = ()
        self.failures = 0
        """Images in a row without an answer."""
        self.reason = ''
        """Why the last of them had none."""
        self._log = log
        self._work = work
        self._options = options
        self._open = open_stage
        self._rehearse = rehearse
        self._loading = Lock()
        self._next_try = FAILURES
        self._avoid: dict[tuple[str, str], str] = {}

    def runs(self, stage: Any) -> None:
        """Note what a stage runs."""
        self.model, self.attempts = stage.model, tuple(stage.attempts)

    def start(self) -> None:
        """Forget what has failed: the node is configured."""
        self.failures, self._next_try = 0, FAILURES
        self._avoid = {}

    def log_model(self) -> None:
        """Log what runs, and what was passed over for it."""
        for attempt in self.attempts:
            if attempt.reason:
                by = f' with {attempt.backend}' if attempt.backend else ''
                self._log.info(f'{attempt.entry}{by} passed over: {attempt.reason}')
        model = self.model
        if model.model:
            self._log.info(f'runs {model.model} on {model.backend}, {model.precision}')
        else:
            self._log.warning('runs without a model: the stage is off')

    def reload(self, path: str) -> str:
        """
        Load a model and exchange it for the running one.

        :param path: file or catalogue name; empty walks the chain of the parameters again
        :return: old and new model, for the answer of the service
        :raises Exception: it could not be; the old one runs on
        """
        options = self._options()
        if path:
            named = (options.model, *options.fallbacks)  # at the start, by the operator
            reason = outside(path) if options.model_folder_only and path not in named else ''
            if reason:
                raise InputError(reason)
            options = replace(options, model=path, fallbacks=(), required=True)
        before = self.model
        self._exchange(options, {})
        self._avoid = {}
        after = self.model
        return (
            f'runs {after.model or "no model"} on {after.backend or "nothing"}, '
            f'{after.precision or "-"}, instead of {before.model or "none"} on '
            f'{before.backend or "nothing"}, {before.precision or "-"}; people are kept')

    def answered(self) -> None:
        """Note that an image was answered; on the worker's thread."""
        if not self.failures:
            return
        if self.failures >= FAILURES:
            self._log.info(f'answers images again; {self.failures} in a row had no answer')
        self.failures, self._next_try = 0, FAILURES

    def failed(self, error: Exception) -> None:
        """
        Note that an image was not answered; on the worker's thread.

        Another model is looked for after :data:`FAILURES` in a row.
        """
        self.failures += 1
        self.reason = f'{type(error).__name__}: {error}'
        failure = error if isinstance(error, ModelFailure) else self._blamed(error)
        if failure is not None and self.failures >= self._next_try:
            self._next_try = 2 * self.failures
            Thread(
                target=self._replace, args=(failure,), name='replace_model', daemon=True).start()

    def _blamed(self, error: Exception) -> ModelFailure | None:
        """Return an error as a failure of the running model, whose answer could not be read."""
        running = self.model.model.split(' + ')
        key = next((key for key in SHARED.keys
                    if (key.entry in running or key.entry.rpartition('/')[2] in running)
                    and key.runtime.split()[0] in self.model.backend), None)
        return None if key is None else ModelFailure(key, f'{type(error).__name__}: {error}')

    def without_hung(self, make: Callable[[Avoid], Made]) -> Made:
        """
        Make something of the chain without the models that hang, or of the whole chain at its end.

        :raises Exception: neither is possible
        """
        for key in SHARED.hung_keys:
            self._avoid[key.entry, key.runtime] = 'did not return while it ran'
        return self._walk(make)

    def _walk(self, make: Callable[[Avoid], Made]) -> Made:
        """Make it without the models that failed, or with all of them once none is left."""
        while True:
            try:
                return make(self._avoid)
            except (WorkerStoppedError, TimeoutError):
                raise
            except ModelFailure as failure:
                if not self._shun(failure):
                    break
            except Exception:
                break
        self._avoid = {}
        return make({})

    def _shun(self, failure: ModelFailure) -> bool:
        """Pass a model over from now on; return False where it is passed over already."""
        key = failure.key
        known = (key.entry, key.runtime) in self._avoid
        SHARED.discard(key)
        self._avoid[key.entry, key.runtime] = f'failed while it ran: {failure}'
        return not known

    def _replace(self, failure: ModelFailure) -> None:
        """Exchange a failing model for the next one; at the end of the chain, load it again."""
        key = failure.key
        self._log.error(
            f'{key.entry} fails on {self.failures} images in a row ({failure}); looking for '
            'another model')
        self._shun(failure)
        try:
            self._walk(lambda avoid: self._exchange(self._options(), avoid))
        except WorkerStoppedError:
            return
        except Exception as error:
            self._log.error(f'nothing takes the place of {key.entry}: {error}')

    def _exchange(self, options: Any, avoid: Avoid) -> None:
        if not self._loading.acquire(blocking=False):
            raise RuntimeError('a model is being loaded already; try again when it is')
        try:
            if self._work.worker is None:
                raise WorkerStoppedError('the node is not configured')
            if self._work.busy_s > HUNG_AFTER_S:
                raise RuntimeError(
                    'the running model does not return; try again when the log tells what runs')
            fresh = self._open(options, avoid)
            try:
                self._rehearse(fresh)

                def swap(stage: Any) -> None:
                    stage.adopt(fresh)
                    self.runs(stage)
                self._work.call(swap, GAP_S)
            finally:
                fresh.close()  # it holds the old model, once they are exchanged
            self.log_model()
        finally:
            self._loading.release()
