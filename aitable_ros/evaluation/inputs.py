# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Finds the inputs of an evaluation, their labels and the folders of their results."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.evaluation.datasets import formats
from aitable_ros.evaluation.labels import Labels
from aitable_ros.recordings.image_folder import ImageFolder
from aitable_ros.recordings.readers import open_source
from aitable_ros.recordings.source import Source


def expand_globs(inputs: Sequence[str]) -> list[Path]:
    """
    Expand the patterns that the shell did not.

    :raises InputError: a pattern matches nothing
    """
    paths: list[Path] = []
    for entry in inputs:
        if Path(entry).exists() or not any(mark in entry for mark in '*?['):
            paths.append(Path(entry))
            continue
        found = sorted(glob(entry, recursive=True))  # noqa: PTH207  Path.glob takes no absolute one
        if not found:
            raise InputError(f'{entry}: nothing matches')
        paths += map(Path, found)
    return paths


def output_folders(
    inputs: Sequence[tuple[Path, Sequence[str | None]]], output: Path,
) -> list[Path]:
    """
    Choose a folder for the result of each topic of each input.

    :param inputs: paths and their topics
    :return: ``output`` for one result; else folders below it, named after the input, or after the
        topic if there is one input, or after both; a number tells equal names apart
    """
    if sum(len(topics) for _, topics in inputs) == 1:
        return [output]
    folders: list[Path] = []
    for path, topics in inputs:
        stem = path.stem if path.is_file() else path.resolve().name
        for topic in topics:
            name = stem
            if len(topics) > 1:
                tail = (topic or '').strip('/').replace('/', '_')
                name = tail if len(inputs) == 1 else f'{stem}_{tail}'
            folder, number = output / name, 2
            while folder in folders:
                folder, number = output / f'{name}_{number}', number + 1
            folders.append(folder)
    return folders


def labels_file(
    path: Path, given: str | None, form: str = formats.AUTO, *, several: bool,
) -> Path | None:
    """
    Find the labels of an input.

    :param given: ``--labels``: a file, or a folder with files named after the inputs
    :param several: whether there are several inputs
    :return: None without labels
    :raises InputError: no such labels, or one file for several inputs
    """
    if given is None:
        if form != formats.AUTO and formats.FORMATS[form].by_name is None:
            raise InputError(f'--labels-format {form}: needs --labels, the file or the folder that '
                             'they are in')
        return None
    if form != formats.AUTO and formats.FORMATS[form].read is None:
        raise InputError(f'--labels-format {form}: the labels are in the names of the recordings; '
                         'leave --labels out')
    place = Path(given)
    if not place.is_dir():
        if several:
            raise InputError(f'{place}: one file cannot label several inputs; give a folder with a '
                             'file for each, such as NAME.json or NAME.csv')
        return place
    found = formats.find(path, place, form)
    if found is None and not several:
        wanted = formats.own_names(path)[:1] if form == formats.AUTO \
            else formats.FORMATS[form].names(path)
        if not wanted:
            raise InputError(f'--labels-format {form}: --labels takes a file, not the folder '
                             f'{place}')
        raise InputError(f'{place / wanted[0]}: no such labels')
    return found


def open_labelled(
    path: Path, topic: str | None, labels: Labels | None, *, fps: float | None = None,
    strict: bool = False,
) -> Source:
    """
    Open a recording; of a folder of images only those that the labels list, if they list any.

    :param fps: see :func:`.readers.open_source`; replaces the frame rate of the labels
    :param strict: see :func:`.readers.open_source`
    :raises InputError: see :func:`.readers.open_source`
    """
    if labels is not None and labels.files:
        stamps_ns = labels.stamps_ns
        if fps is not None and not stamps_ns:
            raise InputError(f'{path}: not a video, so it takes no frame rate; leave --fps out')
        if fps is not None and labels.fps and stamps_ns:
            stamps_ns = tuple(round(stamp * labels.fps / fps) for stamp in stamps_ns)
        return ImageFolder(
            path, files=labels.files, stamps_ns=stamps_ns, fps=fps or labels.fps)
    return open_source(path, topic, fps=fps, strict=strict)
