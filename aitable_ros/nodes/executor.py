# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
An executor that waits for images without preparing everything anew for each of them.

rclpy's executor makes a new wait set, in Python, before every wait, and its handler of a message
wakes the executor once more: each image cost two such rounds of 0.5 ms. Here the wait set is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from inspect import iscoroutinefunction
from itertools import chain
from typing import Any

from rclpy.executors import (
    ConditionReachedException, ExternalShutdownException, ShutdownException, SingleThreadedExecutor,
    TimeoutException
)
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.subscription import Subscription
from rclpy.waitable import NumberOfEntities

if not hasattr(SingleThreadedExecutor, '_spin_once_impl'):
    raise ImportError('this rclpy lacks what ImageExecutor is built on')

_MESSAGE_ONLY = getattr(getattr(Subscription, 'CallbackType', None), 'MessageOnly', None)
"""The kind of callback that takes the message alone; None on Humble, which has no other."""

_OTHERS = ('timer', 'guard_condition', 'service', 'client')
"""Kinds of entities, beside subscriptions and events, as a wait set names them."""


class ImageExecutor(SingleThreadedExecutor):  # type: ignore[misc]
    """
    Runs plain subscriptions from a wait set that is kept, and everything else as rclpy does.

    What is ready stays ready until it is taken. So a round of rclpy's, which does not wait, finds
    what the wait here has found. Whenever what is waited for changes, rclpy wakes the executor:
    such a round runs, and the wait set is made anew.
    """

    def __init__(self, *, context: Any = None) -> None:
        super().__init__(context=context)
        self._held = ExitStack()  # keeps what it waits for from being destroyed, as rclpy does
        self._waiting: _Waiting | None = None
        self._others_ready = True

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Let go of the entities, then as rclpy."""
        self._release()
        return bool(super().shutdown(timeout_sec))

    def _release(self) -> None:
        self._waiting = None
        self._held.close()

    def _spin_once_impl(
        self, timeout_sec: Any = None, wait_condition: Callable[[], bool] = lambda: False,
    ) -> None:
        if timeout_sec is not None:
            super()._spin_once_impl(timeout_sec, wait_condition)
        elif self._others_ready:
            self._release()
            self._run_others(wait_condition)
        else:
            self._wait_for_messages()

    def _run_others(self, wait_condition: Callable[[], bool]) -> None:
        """Run one thing that is ready, as rclpy; note when there is no more."""
        try:
            handler, _, _ = self.wait_for_ready_callbacks(0, None, wait_condition)
        except TimeoutException:
            # A task that came since rclpy looked for tasks has spent its wake-up call on that wait.
            with self._tasks_lock:
                self._others_ready = any(
                    not task.executing() and not task.done() for task, _, _ in self._tasks)
        except (ShutdownException, ConditionReachedException):
            pass
        else:
            handler()
            handler.result()  # raises what the callback raised

    def _wait_for_messages(self) -> None:
        """Wait for anything; run the subscriptions, and note whether something else is ready."""
        if self._waiting is None:
            try:
                self._waiting = _Waiting(self, self._held)
            except rclpy_implementation.InvalidHandle:  # destroyed just now
                self._others_ready = True
                return
        self._others_ready = self._waiting.wait()
        if not self._context.ok():
            self._release()
            raise ExternalShutdownException
        for subscription in self._waiting.messages():
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is not None:
                subscription.callback(taken[0])


class _Waiting:
    """
    A wait set with everything that an executor waits for.

    :param held: is given every entity
    :raises InvalidHandle: one of them has been destroyed
    """

    def __init__(self, executor: Any, held: ExitStack) -> None:
        nodes = executor.get_nodes()
        can = executor.can_execute
        subscriptions, timers, clients, services, self._guards, self._waitables = (
            [one for node in nodes for one in getattr(node, kind) if can(one)]
            for kind in ('subscriptions', 'timers', 'clients', 'services', 'guards', 'waitables'))
        guards = [*self._guards, executor._guard, executor._sigint_gc]
        handles = {
            'subscription': [one.handle for one in subscriptions],
            'guard_condition': [one.handle for one in guards if one is not None],
            'timer': [one.handle for one in timers],
            'client': [one.handle for one in clients],
            'service': [one.handle for one in services]}
        context = executor.context.handle
        for one in (*chain.from_iterable(handles.values()), *self._waitables, context):
            held.enter_context(one)
        count = NumberOfEntities(*(len(of_kind) for of_kind in handles.values()))
        for waitable in self._waitables:
            count += waitable.get_num_entities()
        make: Any = rclpy_implementation.WaitSet
        self._set = make(*(getattr(count, name) for name in count.__slots__), context)
        self._plain = {one.handle.pointer: one for one in subscriptions if _is_plain(one)}
        self._adders = [
            (getattr(self._set, f'add_{kind}'), handle)
            for kind, of_kind in handles.items() for handle in of_kind]
        self._ready: list[int] = []

    def wait(self) -> bool:
        """Wait; return whether anything but a plain subscription is ready."""
        ready = self._set
        ready.clear_entities()
        for add, handle in self._adders:
            add(handle)
        for waitable in self._waitables:
            waitable.add_to_wait_set(ready)
        ready.wait(-1)
        self._ready = ready.get_ready_entities('subscription')
        events = [waitable for waitable in self._waitables if waitable.is_ready(ready)]
        woken = ready.get_ready_entities('guard_condition')
        for guard in self._guards:
            if guard.handle.pointer in woken:
                guard._executor_triggered = True  # rclpy's next round triggers it again
        return bool(
            events or any(pointer not in self._plain for pointer in self._ready)
            or any(map(ready.get_ready_entities, _OTHERS)))

    def messages(self) -> list[Any]:
        """Return the plain subscriptions that are ready."""
        return [self._plain[pointer] for pointer in self._ready if pointer in self._plain]


def _is_plain(subscription: Any) -> bool:
    """Tell whether its callback is a function of the message alone."""
    return not iscoroutinefunction(subscription.callback) \
        and getattr(subscription, '_callback_type', None) is _MESSAGE_ONLY
