# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Models under a licence that is the user's decision: downloaded from their authors when taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import model_home
from aitable_ros.models.catalogue import ModelCard
from aitable_ros.models.catalogue import onnx_path
from aitable_ros.models.catalogue import Upstream
from aitable_ros.models.download import download
from aitable_ros.models.download import is_blob
from aitable_ros.models.store import home_lock

if TYPE_CHECKING:
    from aitable_ros.models.fetch import Progress

MIRROR = 'AITABLE_MODELS_URL'
"""Environment variable: a folder on a web server that has the files under their own names."""


def checkpoint_path(card: ModelCard) -> Path:
    """
    Return where the downloaded file lies.

    An ONNX file lies where the model's name finds it, a checkpoint under a bare name of a chain.
    """
    source = _upstream(card)
    return onnx_path(card.name) if source.is_onnx else model_home() / source.file_name


def is_downloaded(card: ModelCard) -> bool:
    """Tell whether the file is there and is the pinned one."""
    return card.upstream is not None and is_blob(checkpoint_path(card), card.upstream.git_blob)


def fetch_upstream(card: ModelCard, url: str = '', progress: Progress | None = None) -> Path:
    """
    Make sure that a model's file is there; the caller has the user's word on the licence.

    :param url: instead of the authors' own; default: the mirror that the environment names
    :raises InputError: it cannot be had, or what is had is not the pinned file
    """
    source, path = _upstream(card), checkpoint_path(card)
    with home_lock():
        if is_downloaded(card):
            return path
        return download(url or mirrored(source.url), path, source.git_blob, progress)


def mirrored(url: str) -> str:
    """Return where to get a file: the mirror that the environment names, or the authors' own."""
    mirror = os.environ.get(MIRROR, '').rstrip('/')
    return f"{mirror}/{url.rpartition('/')[2]}" if mirror else url


def _upstream(card: ModelCard) -> Upstream:
    if card.upstream is None:
        raise InputError(f'{card.name} is not downloaded from its authors')
    return card.upstream
