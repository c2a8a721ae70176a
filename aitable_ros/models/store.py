# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The models' folder: files are written atomically, by one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import fcntl
import os
from pathlib import Path
import sys
import tempfile

from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import model_home

Progress = Callable[[str, int, int], None]
"""Called with the name of the work, the part that is done and the total (0: unknown)."""


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error for a file that cannot be written, with reason and remedy."""
    return InputError(
        f'cannot write {path}: {error.strerror or error}; make room or access there, '
        'or point AITABLE_MODELS at another folder')


def write_atomically(path: Path, content: bytes) -> None:
    """
    Write a file so that a reader sees the old or the new content, never a part.

    :raises InputError: the folder cannot be written or is full; an old file is kept
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
        try:
            with os.fdopen(handle, 'wb') as file:
                file.write(content)
            put_in_place(Path(name), path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise unwritable(path, error) from error


def put_in_place(part: Path, path: Path) -> None:
    """
    Rename a complete file in one step that also survives a power cut.

    :param part: in the same folder
    :raises InputError: it cannot be renamed; an old file is kept
    """
    try:
        with part.open('rb') as file:
            os.fsync(file.fileno())
        # temporary files are private; models are for all users of the machine
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def home_lock() -> Iterator[None]:
    """
    Hold the lock of the models' folder, so that one process at a time fetches and converts.

    The lock ends with the process.

    :raises InputError: the models' folder cannot be made or written
    """
    path = model_home() / '.lock'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a')
    except OSError as error:
        raise unwritable(path.parent, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(  # noqa: T201 -- else a long wait looks like a hang
                f'waiting for another process that fetches models to {path.parent}',
                file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
