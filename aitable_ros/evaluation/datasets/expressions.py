# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Expressions of images: a folder per class (FER-2013), RAF-DB, AffectNet."""

from __future__ import annotations

from collections.abc import Mapping
import csv
from pathlib import Path
import re

import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.evaluation.datasets.own import NAMES
from aitable_ros.evaluation.labels import Labels, PictureLabel, read_label_text
from aitable_ros.recordings.image_folder import is_picture
from aitable_ros.types import Expression, NAN

RAF_CLASSES = {
    '1': Expression.SURPRISE, '2': Expression.FEAR, '3': Expression.DISGUST,
    '4': Expression.HAPPY, '5': Expression.SAD, '6': Expression.ANGER, '7': Expression.NEUTRAL}
RAF_LINE = re.compile(r'(\S+\.\w+)[ \t]+(\d+)')
AFFECTNET_CLASSES = {str(int(e)): e for e in Expression if e is not Expression.UNKNOWN}
"""AffectNet's order is EmoNet's, and this package's."""
AFFECTNET_NO_CLASS = ('8', '9', '10')
"""Classes of images with another expression, an uncertain one, or no face."""
AFFECTNET_COLUMNS = ('subDirectory_filePath', 'expression', 'valence', 'arousal')
AFFECTNET_UNKNOWN = -2.0
"""Valence and arousal of images without them."""


def read_class_folders(
    recording: Path, classes: Mapping[str, Expression] | None = None,
) -> Labels:
    """
    Read the expression of each image from the name of its folder.

    :param recording: a folder with a folder per class, or one of these
    :param classes: expression by folder name in lower case; None: names such as happy or Sadness
    :raises InputError: no folders, or a folder that is not named after a class
    """
    known = NAMES if classes is None else classes
    if not recording.is_dir():
        raise InputError(f'{recording}: is no folder with a folder per class')
    folders = sorted(entry for entry in recording.iterdir() if entry.is_dir())
    pictures: dict[str, PictureLabel] = {}
    for folder in folders or [recording]:
        name = folder.absolute().name
        expression = known.get(name.lower())
        if expression is None:
            hint = '; numbers mean a class with --labels-format raf-db or affectnet' \
                if name.isdecimal() and classes is None else ''
            raise InputError(f'{folder}: the folder is not named after a class; known are '
                             f'{", ".join(sorted(known))}{hint}')
        pictures |= {file.relative_to(recording).as_posix(): PictureLabel(expression=expression)
                     for file in folder.rglob('*') if is_picture(file)}
    if not pictures:
        raise InputError(f'{recording}: no pictures in its folders')
    files = tuple(sorted(pictures))
    return Labels(path=recording, pictures={name: pictures[name] for name in files}, files=files)


def is_raf_db(text: str) -> bool:
    """Whether a text starts like the label list of RAF-DB."""
    return RAF_LINE.fullmatch(text.partition('\n')[0].strip()) is not None


def read_raf_db(path: Path, recording: Path) -> Labels:
    """
    Read ``list_patition_label.txt``: ``train_00001.jpg 5``, classes from 1 to 7.

    The names of aligned images are ``train_00001_aligned.jpg``.

    :raises InputError: another format, or none of the images exists
    """
    listed: dict[str, PictureLabel] = {}
    for number, line in enumerate(read_label_text(path).splitlines(), 1):
        if not line.strip():
            continue
        match = RAF_LINE.fullmatch(line.strip())
        expression = RAF_CLASSES.get(match.group(2)) if match else None
        if match is None or expression is None:
            raise InputError(f'{path}: line {number}: expected train_00001.jpg and a class from 1 '
                             f"to 7, not '{line.strip()[:60]}'")
        listed[match.group(1)] = PictureLabel(expression=expression)
    there = _pictures(recording, path)
    found = {}
    for name, label in listed.items():
        stem, _, suffix = name.rpartition('.')
        file = next((way for way in (f'{stem}_aligned.{suffix}', name) if way in there), None)
        if file is not None:
            found[file] = label
    return _chosen(path, recording, found, len(listed))


def is_affectnet(text: str) -> bool:
    """Whether a text starts like the CSV of AffectNet."""
    return AFFECTNET_COLUMNS[0] in text.partition('\n')[0].split(',')


def read_affectnet(path: Path, recording: Path) -> Labels:
    """
    Read the CSV of AffectNet: path of each image, class from 0 to 10, valence, arousal.

    Images without one of the eight classes keep their valence and arousal; -2 means none.

    :raises InputError: another format, or none of the images exists
    """
    rows = csv.DictReader(read_label_text(path).splitlines())
    missing = [name for name in AFFECTNET_COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(f'{path}: line 1: no column {", ".join(missing)}')
    there = _pictures(recording, path)
    listed, passed, found = 0, 0, {}
    for row in rows:
        where = f'{path}: line {rows.line_num}'
        name = (row['subDirectory_filePath'] or '').strip().replace('\\', '/')
        kind = (row['expression'] or '').strip()
        if not name or kind not in (*AFFECTNET_CLASSES, *AFFECTNET_NO_CLASS):
            raise InputError(f"{where}: expected a picture and a class from 0 to 10, not '{name}' "
                             f"and '{kind}'")
        label = PictureLabel(
            expression=AFFECTNET_CLASSES.get(kind), valence=_affect(row['valence'], where),
            arousal=_affect(row['arousal'], where))
        listed += 1
        if label.expression is None and not np.isfinite([label.valence, label.arousal]).any():
            passed += 1
        elif name in there:
            found[name] = label
    notes = [f'{passed} of {listed} labelled pictures have neither a class nor valence and '
             'arousal: no face, uncertain, or none of the eight'] if passed else []
    return _chosen(path, recording, found, listed - passed, notes)


def _affect(text: str | None, where: str) -> float:
    try:
        value = float(text or 'nan')
    except ValueError:
        value = -3.0
    if value == AFFECTNET_UNKNOWN or value != value:
        return NAN
    if not -1 <= value <= 1:
        raise InputError(f"{where}: expected valence and arousal from -1 to 1, or -2, not '{text}'")
    return value


def _pictures(recording: Path, labels: Path) -> set[str]:
    """Return the paths of the images below a folder, relative to it."""
    if not recording.is_dir():
        raise InputError(f'{labels}: labels pictures, but {recording} is no folder')
    return {file.relative_to(recording).as_posix()
            for file in recording.rglob('*') if is_picture(file)}


def _chosen(
    path: Path, recording: Path, found: Mapping[str, PictureLabel], listed: int,
    notes: list[str] | None = None,
) -> Labels:
    """Return the labels of the images that exist, and a note on the others."""
    if not found:
        raise InputError(f'{path}: none of its {listed} pictures is in {recording}')
    remarks = list(notes or ())
    if len(found) < listed:
        remarks.append(f'{listed - len(found)} of {listed} labelled pictures are not in the input')
    return Labels(path=path, pictures=dict(found), files=tuple(found), notes=tuple(remarks))
