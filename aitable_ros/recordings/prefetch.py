# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prefetching: an iterator that runs ahead on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar('T')


def prefetch(make: Callable[[], Iterable[T]], depth: int = 8) -> Generator[T, None, None]:
    """
    Yield the items of ``make()``, which a thread produces while the caller works.

    ``make`` is called, iterated and closed on that thread, as an sqlite connection requires. Its
    exception is raised here, after the items before it. Closing the generator ends the thread.

    :param depth: most items that may wait
    """
    waiting: Queue[tuple[bool, T | BaseException | None]] = Queue(depth)
    stop = Event()

    def put(more: bool, value: T | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put((more, value), timeout=0.1)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        items = iter(make())
        try:
            for item in items:
                if not put(True, item):
                    break
        except BaseException as error:  # raised again by the consumer
            put(False, error)
        else:
            put(False, None)
        finally:
            close = getattr(items, 'close', None)
            if close is not None:
                close()

    thread = Thread(target=produce, name='aitable-ahead', daemon=True)
    thread.start()
    try:
        while True:
            more, value = waiting.get()
            if more:
                yield value  # type: ignore[misc]
                continue
            if isinstance(value, BaseException):
                raise value
            return
    finally:
        stop.set()
        while thread.is_alive():  # the thread may wait for room in the queue
            try:
                waiting.get_nowait()
            except Empty:
                thread.join(0.05)
