# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What all readers of label files need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.evaluation.labels import FrameSpan


def text_of(path: Path) -> str:
    """
    Return the text of a label file.

    :raises InputError: it cannot be read, or is no UTF-8 text
    """
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: cannot read the labels: {reason}') from None


def runs(flags: Iterable[bool]) -> tuple[FrameSpan, ...]:
    """Return the unbroken runs of frames in which a flag is set."""
    marks = np.concatenate([[0], np.asarray(list(flags), np.int8), [0]])
    edges = np.flatnonzero(np.diff(marks)).reshape(-1, 2)
    return tuple(FrameSpan(int(first), int(after) - 1) for first, after in edges)
