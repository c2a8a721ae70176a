# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Models that are downloaded from their authors once the user has accepted the licence."""

from __future__ import annotations

import os
from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import model_home, ModelCard, onnx_path, Upstream
from aitable_ros.models.download import download, is_blob
from aitable_ros.models.store import home_lock, Progress

MIRROR = 'AITABLE_MODELS_URL'
"""Environment variable: address of a folder that holds the files under their own names."""


def checkpoint_path(card: ModelCard) -> Path:
    """
    Return the path of the downloaded file.

    An ONNX file gets the path of the model's name, a checkpoint its own name in the models' folder.
    """
    source = _upstream(card)
    return onnx_path(card.name) if source.is_onnx else model_home() / source.file_name


def is_downloaded(card: ModelCard) -> bool:
    """Tell whether the file exists and has the pinned hash."""
    return card.upstream is not None and is_blob(checkpoint_path(card), card.upstream.git_blob)


def fetch_upstream(card: ModelCard, url: str = '', progress: Progress | None = None) -> Path:
    """
    Download a model's file if it is missing, after the user has accepted the licence.

    :param url: address to use instead of the mirror's or the authors'
    :raises InputError: the download failed, or the file has another hash
    """
    source, path = _upstream(card), checkpoint_path(card)
    with home_lock():
        if is_downloaded(card):
            return path
        return download(url or mirrored(source.url), path, source.git_blob, progress)


def mirrored(url: str) -> str:
    """Return the address of a file: that of the mirror in the environment, or the authors'."""
    mirror = os.environ.get(MIRROR, '').rstrip('/')
    return f"{mirror}/{url.rpartition('/')[2]}" if mirror else url


def _upstream(card: ModelCard) -> Upstream:
    if card.upstream is None:
        raise InputError(f'{card.name} is not downloaded from its authors')
    return card.upstream
