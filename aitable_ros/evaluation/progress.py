# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Progress of one or several evaluations, on a terminal's stderr."""

from __future__ import annotations

from typing import Any

from aitable_ros.closing import Closing


class ProgressBars(Closing):
    """
    A bar for each running job, and one for all jobs; a context manager.

    There are no bars if stderr is no terminal, or if ``quiet``.

    :param jobs: number of jobs
    """

    def __init__(self, jobs: int, *, quiet: bool = False) -> None:
        self._jobs = jobs
        self._quiet = quiet
        self._bars: Any = None
        self._whole: Any = None
        self._tasks: dict[int, Any] = {}
        self._fps: dict[int, float | None] = {}

    def __enter__(self) -> ProgressBars:
        """Start drawing."""
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        if not self._quiet and console.is_terminal:
            self._bars = progress.Progress(
                progress.TextColumn('{task.description}'), progress.BarColumn(),
                progress.MofNCompleteColumn(), progress.TextColumn('{task.fields[rate]}'),
                progress.TimeRemainingColumn(), console=console, transient=True)
            self._bars.start()
            if self._jobs > 1:
                self._whole = self._bars.add_task('recordings', total=self._jobs, rate='')
        return self

    def close(self) -> None:
        """Remove all bars. Idempotent."""
        if self._bars is not None:
            self._bars.stop()

    def begin(self, index: int, name: str, frames: int | None, fps: float | None) -> None:
        """Add a bar; a job that is repeated keeps its bar."""
        self._fps[index] = fps
        if self._bars is not None and index not in self._tasks:
            self._tasks[index] = self._bars.add_task(name, total=frames, rate='')

    def at(self, index: int, frames: int) -> None:
        """Advance a bar."""
        if self._bars is None or index not in self._tasks:
            return
        task = self._tasks[index]
        speed = next((one.speed for one in self._bars.tasks if one.id == task), None)
        rate = f'{speed:.0f} frames/s' if speed else ''
        fps = self._fps.get(index)
        if speed and fps:
            rate += f', {speed / fps:.1f} × real time'
        self._bars.update(task, completed=frames, rate=rate)

    def end(self, index: int) -> None:
        """Remove a bar."""
        if self._bars is None:
            return
        if index in self._tasks:
            self._bars.remove_task(self._tasks.pop(index))
        if self._whole is not None:
            self._bars.advance(self._whole)
