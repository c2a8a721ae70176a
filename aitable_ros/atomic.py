# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path

from aitable_ros.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    Give a draft beside ``path`` that takes its place when the block ends, and goes when it fails.

    :raises InputError: the folder cannot be written, or the disk is full
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
    """Return text that UTF-8 can encode: bytes of a file's name that are none become escapes."""
    return text.encode('utf-8', 'backslashreplace').decode()
