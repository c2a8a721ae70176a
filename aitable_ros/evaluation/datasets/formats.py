# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The formats of labels: recognising a format, finding the labels of a recording, reading them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.evaluation.datasets import drowsiness, expressions, eyes
from aitable_ros.evaluation.datasets.own import read_labels
from aitable_ros.evaluation.labels import Labels, read_label_text

AUTO = 'auto'
OWN = 'aitable'


@dataclass(frozen=True, slots=True)
class Format:
    """
    A format of labels.

    :param of: data sets with this format
    :param read: reads the label file of a recording; None if there is no file
    :param names: returns possible names of the label file of a recording
    :param by_name: reads the labels from the name of the recording; None if they are not in it
    """

    of: str
    read: Callable[[Path, Path], Labels] | None = None
    names: Callable[[Path], list[str]] = lambda recording: []
    by_name: Callable[[Path], Labels] | None = None


def own_names(recording: Path) -> list[str]:
    """Return the names of a recording's labels in this package's own format."""
    stem = recording.stem if recording.is_file() else recording.resolve().name
    return [f'{stem}.json', f'{stem}.csv']


FORMATS = {
    OWN: Format("this package's JSON or CSV", lambda path, _: read_labels(path), own_names),
    'tag': Format("Eyeblink8, TalkingFace, Researcher's Night", eyes.read_tag, eyes.tag_names),
    'rt-bene': Format('RT-BENE', eyes.read_rt_bene, eyes.rt_bene_names),
    'nthu-ddd': Format('NTHU-DDD', drowsiness.read_nthu, drowsiness.nthu_names),
    'uta-rldd': Format('UTA-RLDD', by_name=drowsiness.read_uta),
    'yawdd': Format('YawDD', by_name=drowsiness.read_yawdd),
    'class-folders': Format(
        'images in a folder per class, such as FER-2013', by_name=expressions.read_class_folders),
    'raf-db': Format('RAF-DB', expressions.read_raf_db, by_name=lambda folder:
                     expressions.read_class_folders(folder, expressions.RAF_CLASSES)),
    'affectnet': Format('AffectNet', expressions.read_affectnet, by_name=lambda folder:
                        expressions.read_class_folders(folder, expressions.AFFECTNET_CLASSES)),
}


def format_of(path: Path) -> str:
    """
    Recognise the format of a label file by its name and its first line.

    :raises InputError: the file cannot be read, or has another format
    """
    suffix = path.suffix.lower()
    if suffix == '.tag':
        return 'tag'
    if suffix == '.txt' and drowsiness.NTHU_FILE.fullmatch(path.name):
        return 'nthu-ddd'
    if suffix == '.txt' and expressions.is_raf_db(read_label_text(path)):
        return 'raf-db'
    if suffix == '.csv':
        text = read_label_text(path)
        if eyes.is_rt_bene(text):
            return 'rt-bene'
        if expressions.is_affectnet(text):
            return 'affectnet'
        if text.startswith('emotion,pixels'):
            raise InputError(f'{path}: this CSV holds the pictures themselves; write them to files '
                             'in a folder per class, and use --labels-format class-folders')
    if suffix in ('.json', '.csv'):
        return OWN
    raise InputError(f'{path}: no labels of a known form; name it with --labels-format '
                     f'({", ".join(FORMATS)})')


def read(path: Path | None, recording: Path, form: str = AUTO) -> Labels | None:
    """
    Read the labels of a recording.

    :param path: label file; None if there is none
    :param form: one of :data:`FORMATS`, or ``auto``
    :return: None without labels
    :raises InputError: the labels cannot be understood, or are of another recording
    """
    if path is None:
        by_name = FORMATS[form].by_name if form != AUTO else None
        return by_name(recording) if by_name else None
    reader = FORMATS[format_of(path) if form == AUTO else form].read
    if reader is None:
        raise InputError(f'{path}: the labels of {form} are in the names of the recordings')
    return reader(path, recording)


def files_of(path: Path) -> list[Path]:
    """Return all label files of a recording, of which ``path`` is one."""
    if drowsiness.NTHU_FILE.fullmatch(path.name):
        return sorted(drowsiness.nthu_files(path).values())
    return [path]


def find(recording: Path, given: Path, form: str = AUTO) -> Path | None:
    """
    Find the labels of a recording in a folder, or beside a recording below that folder.

    :return: None without labels
    """
    wanted = list(FORMATS) if form == AUTO else [form]
    places = [given]
    if given.resolve() in recording.resolve().parents:
        places.append(recording.parent)
    for place in places:
        there = {file.name.lower(): file for file in place.iterdir() if file.is_file()}
        for name in (name for entry in wanted for name in FORMATS[entry].names(recording)):
            if name.lower() in there:
                return there[name.lower()]
    return None
