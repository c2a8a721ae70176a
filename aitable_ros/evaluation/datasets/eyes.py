# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Blinks and shut eyes: Eyeblink8, TalkingFace, Researcher's Night, RT-BENE."""

from __future__ import annotations

import csv
from itertools import groupby
from operator import itemgetter
from pathlib import Path
import re

from aitable_ros.errors import InputError
from aitable_ros.evaluation.labels import FrameSpan, Labels, read_label_text, runs
from aitable_ros.recordings.image_folder import is_picture

TAG_FIELDS = 19
"""Fields of a line of a .tag file; the first two are used: frame and number of the blink."""
NO_BLINK = -1
RT_BENE_FPS = 30.0
"""Frame rate of the Kinect v2 of RT-GENE; its images have numbers and no stamps."""
OPEN, SHUT, UNSURE = 0.0, 1.0, 0.5
EYE_NAME = re.compile(r'(?:left|right)_(\d+)\D*\.\w+')
NUMBER = re.compile(r'\d+')
SUBJECT = re.compile(r's\d{3}')


def tag_names(recording: Path) -> list[str]:
    """Return the name of the .tag file of a recording."""
    return [f'{recording.stem}.tag']


def read_tag(path: Path, recording: Path) -> Labels:
    """
    Read a .tag file: after ``#start`` ``frame:blink:...`` (19 fields) per frame, -1 for no blink.

    The flags of closed and hidden eyes are not used: by the authors they are not consistent.

    :raises InputError: another format
    """
    lines = [line.strip() for line in read_label_text(path).splitlines()]
    if '#start' not in lines:
        raise InputError(f'{path}: no line #start; a .tag file lists its frames after it')
    blinks: dict[int, int] = {}
    first = lines.index('#start') + 1
    for number, line in enumerate(lines[first:], first + 1):
        if line == '#end':
            break
        if not line:
            continue
        parts = line.split(':')
        try:
            frame, blink = int(parts[0]), int(parts[1])
        except (ValueError, IndexError):
            frame = blink = -2
        if len(parts) != TAG_FIELDS or frame < 0 or (blink < 1 and blink != NO_BLINK):
            raise InputError(f'{path}: line {number}: expected {TAG_FIELDS} fields '
                             f"frame:blink:..., not '{line[:60]}'")
        if frame in blinks:
            raise InputError(f'{path}: line {number}: frame {frame} is listed twice')
        blinks[frame] = blink
    if not blinks:
        raise InputError(f'{path}: no frames between #start and #end')
    frames = max(blinks) + 1
    spans: list[FrameSpan] = []
    for blink, run in groupby(sorted(blinks.items()), key=itemgetter(1)):
        listed = [frame for frame, _ in run]
        if blink != NO_BLINK:
            spans.append(FrameSpan(listed[0], listed[-1]))
    return Labels(
        path=path, frames=frames, blinks_any_length=True,
        blinks=tuple(spans),
        ignore=runs(frame not in blinks for frame in range(frames)))


def rt_bene_names(recording: Path) -> list[str]:
    """Return the name of the labels of a folder below ``s001_noglasses``."""
    found = (SUBJECT.match(part) for part in reversed(recording.absolute().parts))
    return [f'{match.group()}_blink_labels.csv' for match in found if match][:1]


def is_rt_bene(text: str) -> bool:
    """Whether a text starts like the labels of RT-BENE."""
    name, _, rest = text.partition('\n')[0].partition(',')
    return bool(EYE_NAME.fullmatch(name.strip())) and rest.strip()[:1] in ('0', '1')


def read_rt_bene(path: Path, recording: Path) -> Labels:
    """
    Read ``left_000001_rgb.png,0.0``: 0 open eyes, 1 shut, 0.5 the annotators disagree.

    The labels name images of one eye. The input is the folder of the whole faces with the same
    numbers, which count frames at 30 frames/s.

    :raises InputError: another format, or the input is no folder of numbered images
    """
    states: dict[int, float] = {}
    for number, row in enumerate(csv.reader(read_label_text(path).splitlines()), 1):
        if not row:
            continue
        match = EYE_NAME.fullmatch(row[0].strip())
        try:
            state = float(row[1])
        except (ValueError, IndexError):
            state = -1.0
        if match is None or state not in (OPEN, SHUT, UNSURE):
            raise InputError(f'{path}: line {number}: expected left_000001_rgb.png and 0.0, 0.5 or '
                             f"1.0, not '{','.join(row)[:60]}'")
        states[int(match.group(1))] = state
    pictures = _numbered(recording, path)
    if not states.keys() & pictures.keys():
        raise InputError(f'{path}: none of its {len(states)} pictures is in {recording}: the '
                         'numbers in the names differ')
    order = sorted(pictures)
    known = [states.get(number, UNSURE) for number in order]
    unsure = sum(state == UNSURE for state in known)
    shut = runs(state == SHUT for state in known)
    found = rt_bene_names(path)
    return Labels(
        path=path, subject=found[0][:4] if found else '', fps=RT_BENE_FPS, frames=len(order),
        blinks=shut, blinks_any_length=True, shut=shut,
        ignore=runs(state == UNSURE for state in known),
        files=tuple(pictures[number] for number in order),
        stamps_ns=tuple(round((number - order[0]) * 1e9 / RT_BENE_FPS) for number in order),
        notes=(f'read as a film: the numbers in the names are taken for {RT_BENE_FPS:g} images a '
               "second, the rate of RT-GENE's camera",
               *([f'{unsure} of {len(order)} images are not scored: not labelled, or the '
                  'annotators disagree'] if unsure else [])))


def _numbered(folder: Path, labels: Path) -> dict[int, str]:
    """Return the names of the images of a folder by the first number in them."""
    if not folder.is_dir():
        raise InputError(f'{labels}: labels pictures, but {folder} is no folder of pictures')
    found: dict[int, str] = {}
    for file in sorted(filter(is_picture, folder.iterdir())):
        match = NUMBER.search(file.name)
        if match is None:
            continue
        if int(match.group()) in found:
            raise InputError(f'{folder}: {found[int(match.group())]} and {file.name} have the same '
                             'number; name the folder of one camera')
        found[int(match.group())] = file.name
    return found
