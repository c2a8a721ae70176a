# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Finds the inputs of an evaluation, their labels and the folders of their results."""

from __future__ import annotations

from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.evaluation.labels import Labels
from aitable_ros.recordings.image_folder import ListedImages
from aitable_ros.recordings.readers import open_source
from aitable_ros.recordings.source import Source


def open_labelled(
    path: Path, topic: str | None, labels: Labels | None, *, fps: float | None = None,
    strict: bool = False,
) -> Source:
    """
    Open a recording; of pictures those that the labels list, where they list them.

    :param fps: see :func:`.readers.open_source`; replaces the rate that the labels assume
    :param strict: see :func:`.readers.open_source`
    :raises InputError: absent or unreadable, as :func:`.readers.open_source` tells
    """
    if labels is not None and labels.files:
        stamps_ns = labels.stamps_ns
        if fps is not None and not stamps_ns:
            raise InputError(f'{path}: not a video, so it takes no frame rate; leave --fps out')
        if fps is not None and labels.fps and stamps_ns:
            stamps_ns = tuple(round(stamp * labels.fps / fps) for stamp in stamps_ns)
        return ListedImages(path, labels.files, stamps_ns, fps or labels.fps)
    return open_source(path, topic, fps=fps, strict=strict)
