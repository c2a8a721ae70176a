# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Progress of a build: phases and steps on the terminal or in a log, and a way to stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import sys
from threading import Event, Lock, Thread
import time
from typing import TypeVar

_T = TypeVar('_T')
STOP_S = 15.0
"""Longest wait for a build to stop: it finishes the current step first."""
LINE_S = 10.0
"""Least time between two lines of a log if the second repeats a phase: int8 builds twice."""


class BuildProgress:
    """
    Records phases, steps and TensorRT's messages; shows nothing. Any thread may call it.

    :param verbose: print TensorRT's messages on the standard error stream
    """

    def __init__(self, verbose: bool = False) -> None:
        self.stop = Event()
        self.errors: list[str] = []
        self._verbose = verbose
        self._lock = Lock()

    def phase(self, name: str, done: int, total: int) -> bool:
        """
        Record a step.

        :param total: steps of this phase; 0 if unknown
        :return: False to stop the build
        """
        with self._lock:
            self.show(name, done, total)
        return not self.stop.is_set()

    def log(self, level: str, message: str) -> None:
        """Record a message of TensorRT; ``level`` is error, warning, info or verbose."""
        with self._lock:
            if level == 'error':
                self.errors.append(' '.join(message.split()))
            if self._verbose and level != 'verbose':
                print(f'[{level}] {message}', file=sys.stderr)  # noqa: T201

    def show(self, name: str, done: int, total: int) -> None:
        """Show a step; subclasses do."""

    def remark(self, text: str) -> None:
        """Tell the user something that does not end the build; subclasses do."""


class _Shown(BuildProgress):
    """Progress with the name of the engine and the time since the start."""

    def __init__(self, what: str, verbose: bool) -> None:
        super().__init__(verbose)
        self._what, self._began = what, time.monotonic()

    def remark(self, text: str) -> None:
        print(f'{self._what}: note: {text}', file=sys.stderr)  # noqa: T201


class Line(_Shown):
    """One line on a terminal: engine, phase, steps, time so far."""

    def __init__(self, what: str, status: Callable[[str], None], verbose: bool = False) -> None:
        super().__init__(what, verbose)
        self._status = status
        self._now = ('', 0, 0)
        self._ended = Event()

    def show(self, name: str, done: int, total: int) -> None:
        """Record the step; the line is drawn twice a second, so that its time advances."""
        self._now = (name, done, total)

    def draw(self) -> None:
        """Write the line."""
        name, done, total = self._now
        steps = f' {min(done, total)}/{total}' if total > 1 else f' {done}' if done else ''
        elapsed = int(time.monotonic() - self._began)
        self._status(f'{self._what}: {name}{steps}  {elapsed // 60}:{elapsed % 60:02d}')

    def keep_drawing(self) -> None:
        """Draw until :meth:`end`."""
        while not self._ended.wait(0.5):
            self.draw()

    def end(self) -> None:
        """Stop drawing."""
        self._ended.set()


@contextmanager
def shown(what: str, verbose: bool = False) -> Iterator[BuildProgress]:
    """Show a build on the terminal; without a terminal, print a line when a phase begins."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LogLines(what, verbose)
        return
    with console.status(what) as status:
        line = Line(what, status.update, verbose)
        thread = Thread(target=line.keep_drawing, daemon=True)
        thread.start()
        try:
            yield line
        finally:
            line.end()
            thread.join()


class _LogLines(_Shown):
    """A log line for each phase; a repeated phase gets one after :data:`LINE_S` at the earliest."""

    def __init__(self, what: str, verbose: bool) -> None:
        super().__init__(what, verbose)
        self._seen, self._last, self._said = {''}, '', -LINE_S

    def show(self, name: str, done: int, total: int) -> None:
        spent = time.monotonic() - self._began
        if name in self._seen and (name == self._last or spent - self._said < LINE_S):
            return
        self._seen.add(name)
        self._last, self._said = name, spent
        print(f'{self._what}: {name} ({spent:.0f} s)', file=sys.stderr)  # noqa: T201


_unfinished: list[Event] = []


def interruptible(work: Callable[[], _T], progress: BuildProgress, stoppable: bool) -> _T:
    """
    Run long native work on a thread, so that Ctrl-C works.

    :param stoppable: the work ends after ``progress.phase`` returns False; else an interruption
        leaves it running: see :func:`left_behind`
    """
    results: list[_T] = []
    errors: list[BaseException] = []
    done = Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    _unfinished[:] = [done]
    Thread(target=run, name='aitable-build', daemon=True).start()
    try:
        while not done.wait(0.2):
            pass
    except BaseException:
        progress.stop.set()
        done.wait(STOP_S if stoppable else 0.0)
        raise
    if errors:
        raise errors[0]
    return results[0]


def left_behind() -> bool:
    """
    Tell whether native code still builds after an interruption; only ``os._exit`` stops it.

    (The thread cannot tell: up to Python 3.12, one whose ``join`` was interrupted counts as ended.)
    """
    return not all(done.is_set() for done in _unfinished)
