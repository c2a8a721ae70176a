# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How a build tells how far it is, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import sys
from threading import Event
from threading import Lock
from threading import Thread
import time
from typing import TypeVar

_T = TypeVar('_T')
STOP_S = 15.0
"""How long a build that can be stopped may take to do so: it ends after the step it is at."""
LINE_S = 10.0
"""Least time between a line of a log and one for a phase that comes again: int8 builds twice."""


class Progress:
    """
    Takes note of phases, steps and what TensorRT says; shows nothing.

    Called from any thread.

    :param verbose: TensorRT's own words go to the standard error stream
    """

    def __init__(self, verbose: bool = False) -> None:
        self.stop = Event()
        self.errors: list[str] = []
        self._verbose = verbose
        self._lock = Lock()

    def phase(self, name: str, done: int, total: int) -> bool:
        """
        Take note of a step.

        :param total: steps of this phase; 0: nobody knows
        :return: False: stop
        """
        with self._lock:
            self.show(name, done, total)
        return not self.stop.is_set()

    def log(self, level: str, message: str) -> None:
        """Take note of what TensorRT says; ``level`` is error, warning, info or verbose."""
        with self._lock:
            if level == 'error':
                self.errors.append(' '.join(message.split()))
            if self._verbose and level != 'verbose':
                print(f'[{level}] {message}', file=sys.stderr)  # noqa: T201

    def show(self, name: str, done: int, total: int) -> None:
        """Show a step; for a subclass that has where to."""

    def remark(self, text: str) -> None:
        """Say what its user should know although the build goes on; as :meth:`show`."""


class _Shown(Progress):
    """What has a name and a beginning, and where to print."""

    def __init__(self, what: str, verbose: bool) -> None:
        super().__init__(verbose)
        self._what, self._began = what, time.monotonic()

    def remark(self, text: str) -> None:
        print(f'{self._what}: note: {text}', file=sys.stderr)  # noqa: T201


class Line(_Shown):
    """One line on a terminal: the model, the phase, the steps, the time so far."""

    def __init__(self, what: str, status: Callable[[str], None], verbose: bool = False) -> None:
        super().__init__(what, verbose)
        self._status = status
        self._now = ('', 0, 0)
        self._ended = Event()

    def show(self, name: str, done: int, total: int) -> None:
        """Keep the step; the line is drawn twice a second, so that the time goes on."""
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
def shown(what: str, verbose: bool = False) -> Iterator[Progress]:
    """Show a build on the terminal; without one, each phase gets a line when it begins."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, verbose)
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


class _Lines(_Shown):
    """A line a phase, for logs; one that comes again only if the last line is a while ago."""

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


def interruptible(work: Callable[[], _T], progress: Progress, stoppable: bool) -> _T:
    """
    Do long work in native code so that Ctrl-C is heard.

    :param stoppable: the work ends when ``progress.phase`` says so; else it is left behind, and
        the process must end without it: see :func:`left_behind`
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
    Tell whether native code still builds after an interruption: then only ``os._exit`` ends.

    (Not by the thread: up to Python 3.12 one whose ``join`` was interrupted counts as ended.)
    """
    return not all(done.is_set() for done in _unfinished)
