# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Child processes that never outlive this one.

Whatever ends this process - its end, Ctrl-C, SIGTERM, SIGKILL - the children end, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
import ctypes
import os
from pathlib import Path
import signal
import subprocess
import sys
from types import FrameType

from aitable_ros.errors import InputError

END_S = 8.0
"""Patience with a child after SIGINT."""
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class ProcessError(RuntimeError):
    """A child process failed or died; the message ends with the last lines of its output."""


class Child:
    """
    A child process whose output goes to a file, and which ends when this process does.

    :param name: shown in errors
    :param gated: the child waits for a line on its standard input, see :meth:`go`
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, gated: bool = False,
    ) -> None:
        from aitable_ros.nodes.environment import child_environment

        self.name = name
        self.log = log
        with log.open('wb') as output:
            # A session of its own: Ctrl-C in the terminal comes to us, and we end it in order.
            self.process = subprocess.Popen(
                list(command), stdin=subprocess.PIPE if gated else subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
                env={**child_environment(), 'PYTHONUNBUFFERED': '1'}, start_new_session=True,
                bufsize=0, preexec_fn=_die_with_parent)

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def go(self) -> None:
        """Let a gated child begin; :meth:`check` notices one that has died."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(b'\n')

    def last_output(self, lines: int = 5) -> str:
        """Return the last lines of its output."""
        text = self.log.read_text(encoding='utf-8', errors='replace')
        return '\n'.join([line for line in text.splitlines() if line.strip()][-lines:])

    def check(self) -> None:
        """
        Raise if it has ended by itself.

        :raises InputError: the child could not use its input
        :raises ProcessError: it failed or died
        """
        status = self.process.poll()
        if status == 2:
            raise InputError(self.last_output(1).removeprefix(f'{self.name}: '))
        if status is not None:
            raise ProcessError(_epitaph(self, status))

    def end(self) -> int:
        """End the child by SIGINT, else SIGTERM, else SIGKILL; return its exit status."""
        for number, patience in (
                (signal.SIGINT, END_S), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            if self.process.poll() is not None:
                break
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait()


def executable(name: str) -> str:
    """
    Return the path of one of the package's executables.

    :raises InputError: it is not installed
    """
    beside = Path(sys.executable).with_name(name)
    if os.access(beside, os.X_OK):
        return str(beside)
    try:
        from ament_index_python.packages import get_package_prefix

        installed = Path(get_package_prefix('aitable_ros'), 'lib', 'aitable_ros', name)
        if os.access(installed, os.X_OK):
            return str(installed)
    except (ImportError, OSError, LookupError):
        pass  # no workspace is sourced
    raise InputError(
        f"the executable '{name}' is not installed beside {sys.executable}: run scripts/demo.sh, "
        'or build and source the workspace')


class sigterm_as_interrupt:  # noqa: N801  (used like a function)
    """While open, SIGTERM raises KeyboardInterrupt as Ctrl-C does, so that everything is ended."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, self._interrupt)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt


_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None


def _die_with_parent() -> None:
    """In a child before it starts: be terminated when the parent is gone, even if it was killed."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _epitaph(child: Child, status: int) -> str:
    how = f'was killed by signal {-status}' if status < 0 else f'ended with status {status}'
    return f'the {child.name} process {how}; its last output ({child.log}):\n{child.last_output()}'
