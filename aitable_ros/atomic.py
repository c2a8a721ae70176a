# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aitable_ros.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    Yield a temporary path that replaces ``path`` at the end of the block; an error removes it.

    :raises InputError: the folder is not writable, or the disk is full
    """
    draft = path.with_name(f'.{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise InputError(f'{path}: cannot be written: {error.strerror or error}') from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def legible(text: str) -> str:
    """Return text that UTF-8 can encode; other bytes of a file name become escapes."""
    return text.encode('utf-8', 'backslashreplace').decode()
