# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Drowsiness and yawns: NTHU-DDD, UTA-RLDD, YawDD."""

from __future__ import annotations

from pathlib import Path
import re

from aitable_ros.errors import InputError
from aitable_ros.evaluation.labels import FrameSpan, Labels, read_label_text, runs

NTHU_DIGITS = {'drowsiness': '01', 'head': '012', 'mouth': '012', 'eye': '01'}
"""Kinds of label files and their digits; 0 is stillness in all."""
NTHU_FILE = re.compile(r'(?P<video>.+)_(?P<kind>drowsiness|head|mouth|eye)\.txt', re.IGNORECASE)
NTHU_CLASSES = {
    'nonsleepycombination': 'not sleepy', 'slowblinkwithnodding': 'slow blinks and nods',
    'yawning': 'yawns', 'sleepycombination': 'sleepy'}
"""Classes by the names of the training videos, from rested to drowsy."""
UTA_CLASSES = {'0': 'alert', '5': 'low vigilant', '10': 'drowsy'}
UTA_NAME = re.compile(r'(0|5|10)(?:[ _-].*)?')
YAWDD_NAME = re.compile(
    r'(?P<number>\d+)-(?P<gender>male|female)(?P<looks>[a-z]*)\s*'
    r'(?:-\s*(?P<actions>[a-z& ]+?))?\s*(?:\.avi)*', re.IGNORECASE)
YAWDD_ACTIONS = ('normal', 'talking', 'singing', 'yawning')
YAWDD_CLASSES = ('normal', 'talking', 'talking and yawning', 'yawning', 'all of them')


def nthu_names(recording: Path) -> list[str]:
    """
    Return possible names of the labels of a recording.

    Training: ``001_yawning_drowsiness.txt`` beside ``001/glasses/yawning.avi``. Evaluation and
    test: ``004_glasses_mixing_drowsiness.txt`` for ``004_glasses_mix.mp4``; some copies have one
    more underscore in the names of night videos.
    """
    stem = recording.stem
    parent = recording.absolute().parent.parent.name
    names = [f'{parent}_{stem}', re.sub('mix$', 'mixing', stem)]
    names.append(re.sub('_night(no)?glasses_', r'_night_\1glasses_', names[-1]))
    return [f'{name}_{kind}.txt' for name in dict.fromkeys(names) for kind in NTHU_DIGITS]


def nthu_files(path: Path) -> dict[str, Path]:
    """
    Return all label files of a recording by their kind, given one of them.

    :raises InputError: the name of the file is not of this form
    """
    match = NTHU_FILE.fullmatch(path.name)
    if match is None:
        raise InputError(f'{path}: NTHU-DDD names its labels VIDEO_drowsiness.txt, VIDEO_head.txt, '
                         'VIDEO_mouth.txt and VIDEO_eye.txt')
    found = {match['kind'].lower(): path}
    for kind in NTHU_DIGITS:
        file = path.with_name(f'{match["video"]}_{kind}.txt')
        if kind not in found and file.is_file():
            found[kind] = file
    return found


def read_nthu(path: Path, recording: Path) -> Labels:
    """
    Read a digit per frame from the files for drowsiness, head, mouth and eye that exist.

    1 is drowsy, nodding, yawning; 2 is looking aside (head), talking and laughing (mouth). A run of
    nodding or yawning may hold several nods or yawns. Sleepy eyes are not used: low lids are
    neither a closure nor a blink.

    :raises InputError: another character, or an empty file
    """
    digits = {kind: _digits(file, NTHU_DIGITS[kind]) for kind, file in nthu_files(path).items()}
    lengths = {kind: len(text) for kind, text in digits.items()}
    frames = min(lengths.values())

    def ones(kind: str) -> tuple[FrameSpan, ...] | None:
        return runs(mark == '1' for mark in digits[kind][:frames]) if kind in digits else None

    notes = ['not used in the labels: sleepy eyes'] if 'eye' in digits else []
    if len(set(lengths.values())) > 1:
        each = ', '.join(f'{kind} {length}' for kind, length in lengths.items())
        notes.append(f'the label files differ in length ({each} frames); the common part is scored')
    match = NTHU_FILE.fullmatch(path.name)
    parts = match['video'].split('_') if match else ['']
    subject = next((part for part in parts if re.fullmatch(r'\d{3}', part)), '')
    return Labels(
        path=path, subject=subject, frames=frames, periods=True,
        drowsy=ones('drowsiness'), nods=ones('head'), yawns=ones('mouth'),
        video_class=NTHU_CLASSES.get(parts[-1].lower(), ''), classes=tuple(NTHU_CLASSES.values()),
        notes=tuple(notes))


def _digits(path: Path, allowed: str) -> str:
    text = ''.join(read_label_text(path).split())
    strange = next((place for place, mark in enumerate(text) if mark not in allowed), None)
    if strange is not None:
        raise InputError(f"{path}: '{text[strange]}' at frame {strange}: expected one of the "
                         f'digits {", ".join(allowed)} a frame')
    if not text:
        raise InputError(f'{path}: no digits in it')
    return text


def read_uta(recording: Path) -> Labels:
    """
    Read the class of a UTA-RLDD video from its name: 0 alert, 5 low vigilant, 10 drowsy.

    The folder of the video is the participant.

    :raises InputError: another name
    """
    match = UTA_NAME.fullmatch(recording.stem)
    if match is None:
        raise InputError(f'{recording}: UTA-RLDD names its videos 0, 5 and 10 (alert, low '
                         'vigilant, drowsy), in a folder a participant')
    return Labels(
        path=recording, subject=recording.absolute().parent.name,
        video_class=UTA_CLASSES[match.group(1)], classes=tuple(UTA_CLASSES.values()))


def read_yawdd(recording: Path) -> Labels:
    """
    Read the class of a YawDD video from its name: ``1-FemaleNoGlasses-Yawning.avi``.

    The names of dash camera videos have no class: they show all actions.

    :raises InputError: another name
    """
    match = YAWDD_NAME.fullmatch(recording.name)
    actions = (match['actions'] or '').lower().split('&') if match else []
    actions = [part.strip() for part in actions]
    if match is None or (actions != [''] and not set(actions) <= set(YAWDD_ACTIONS)):
        raise InputError(f'{recording}: YawDD names its videos 1-FemaleNoGlasses-Yawning.avi, with '
                         'Normal, Talking, Yawning or Talking&Yawning')
    actions = ['talking' if action == 'singing' else action for action in actions]
    return Labels(
        path=recording, subject=f'{match["gender"].lower()} {int(match["number"])}',
        video_class=' and '.join(sorted(set(actions))) if actions != [''] else YAWDD_CLASSES[-1],
        classes=YAWDD_CLASSES)
