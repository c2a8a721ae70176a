# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Small pictures of the primary person's face at the events, made only on request."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.output_tables import read_columns
from aitable_ros.recordings.source import Source
from aitable_ros.types import FatigueEventType

MOST = 60
"""Most pictures in a report. Severe events come first; blinks are spread evenly."""
SIDE_PX = 112
MARGIN = 1.5
"""Side of the picture over the longer side of the box."""
RANK = (FatigueEventType.SLEEP, FatigueEventType.MICROSLEEP, FatigueEventType.LONG_CLOSURE,
        FatigueEventType.NOD, FatigueEventType.YAWN, FatigueEventType.BLINK)


def thumbnails(source: Source, measured: Measurements, table: Path) -> dict[int, bytes]:
    """
    Read the recording again for the face in the middle of each event.

    :param table: its ``frames.parquet``, with the boxes of the faces
    :return: JPEG by index into ``measured.events``, of at most :data:`MOST` events
    """
    wanted = _frames(measured)
    boxes = _boxes(table, set(wanted))
    last = max(boxes, default=-1)
    found: dict[int, bytes] = {}
    with closing(iter(source)) as frames:
        try:
            for number, frame in enumerate(frames):
                if number > last:
                    break
                if number in boxes:
                    picture = _face(frame.image, boxes[number])
                    found |= dict.fromkeys(wanted[number], picture)
        except InputError:
            pass  # a damaged end, which the summary names
    return found


def _frames(measured: Measurements) -> dict[int, list[int]]:
    """Return frame -> indices of the events shown by this frame."""
    ranked: list[int] = []
    for kind in RANK:
        kept = [i for i, e in enumerate(measured.events) if e.primary and e.event.type is kind]
        room = MOST - len(ranked)
        if len(kept) > room:
            kept = [kept[i] for i in np.linspace(0, len(kept) - 1, room).round().astype(int)]
        ranked += kept
    frames: dict[int, list[int]] = {}
    for index in ranked:
        event = measured.events[index]
        frames.setdefault((event.start_frame + event.end_frame) // 2, []).append(index)
    return frames


def _boxes(table: Path, frames: set[int]) -> dict[int, tuple[float, ...]]:
    columns = read_columns(table, ('frame', 'primary', 'x1', 'y1', 'x2', 'y2'))
    rows = np.flatnonzero(
        (columns['primary'] == 1) & np.isin(columns['frame'], sorted(frames))
        & np.isfinite(columns['x1']))
    return {int(columns['frame'][row]): tuple(float(columns[name][row]) for name in (
        'x1', 'y1', 'x2', 'y2')) for row in rows}


def _face(image: NDArray[np.uint8], box: tuple[float, ...]) -> bytes:
    """Cut a square around a face, as JPEG."""
    x1, y1, x2, y2 = box
    side = max(8, round(MARGIN * max(x2 - x1, y2 - y1)))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    square = np.full((side, side, 3), 128, np.uint8)
    inside = image[max(0, top):max(0, top + side), max(0, left):max(0, left + side)]
    at_y, at_x = max(0, -top), max(0, -left)
    square[at_y:at_y + inside.shape[0], at_x:at_x + inside.shape[1]] = inside
    small: Any = cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    good, data = cv2.imencode(
        '.jpg', cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert good
    return bytes(data)
