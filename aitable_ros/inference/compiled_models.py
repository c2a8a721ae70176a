# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Models that OpenVINO has compiled, on disk, for the next process.

Compiling the attention mesh takes 0.4 s of CPU, importing the compiled one 0.1 s (2 cores, OpenVINO
2025.4); the five models of the default pipeline together 1.0 s and 0.3 s, and 20 MB less memory.
The results are the same bits. OpenVINO's own cache (``CACHE_DIR``) is as fast but imports a file
that lost a block in a power cut; here a digest guards the file.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
import json
import os
from pathlib import Path
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.inference.onnx_file import external_files
from aitable_ros.models.store import write_atomically

MOST_FILES = 32
"""More are not kept: those used least recently go. The default pipeline has five."""


def folder() -> Path | None:
    """Return where the files lie: ``~/.cache/aitable/compiled``; None for a user without a home."""
    try:
        return Path('~/.cache/aitable/compiled').expanduser()
    except RuntimeError:
        return None


def key_of(onnx_file: Path, *conditions: object) -> str:
    """
    Return the name of a compiled model: a digest of the ONNX file and the conditions.

    :param conditions: everything else on which the compilation depends
    :raises OSError: the ONNX file or one of its weight files cannot be read
    :raises BackendError: it is no ONNX file
    """
    digest = sha256(repr(conditions).encode())
    for file in (onnx_file, *external_files(onnx_file)):
        if file.is_file():  # OpenVINO reports missing files
            digest.update(sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def load(key: str) -> tuple[dict[str, Any], bytes] | None:
    """Return description and content as stored; None if the file is missing or damaged."""
    path = _path(key)
    if path is None:
        return None
    try:
        digest, _, rest = path.read_bytes().partition(b'\n')
        if digest != _digest(rest):
            return None
        head, _, content = rest.partition(b'\n')
        os.utime(path)
    except OSError:
        return None
    description: dict[str, Any] = json.loads(head)
    return description, content


def store(key: str, description: dict[str, Any], content: bytes) -> None:
    """Keep a compiled model. A folder that cannot be written costs the next start its time only."""
    path = _path(key)
    if path is None:
        return
    rest = json.dumps(description).encode() + b'\n' + content
    with suppress(InputError, OSError):
        write_atomically(path, _digest(rest) + b'\n' + rest)
        for old in sorted(path.parent.glob('*.openvino'), key=_used)[:-MOST_FILES]:
            old.unlink(missing_ok=True)


def _path(key: str) -> Path | None:
    base = folder()
    return base and base / f'{key}.openvino'


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0


def _digest(data: bytes) -> bytes:
    return sha256(data).hexdigest().encode()
