# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The pictures of a camera for the page.

A few times a second an image is chosen whose faces are known. The page draws the boxes, sharp at
any size; a picture carries the boxes of its own image in front of the JPEG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import json
import struct
from time import monotonic
from typing import Any

import cv2

from aitable_ros.stamp_join import StampBuffer
from aitable_ros.types import FatigueLevel, Frame, TrackedFace

PERIOD_S = 0.1
MAX_SIDE = 960
QUALITY = 75
HELD = 8
"""Images that wait for their faces: 0.27 s at 30 fps."""
ALONE_S = 0.5
"""Time without a matching image after which pictures are shown without boxes."""

Drawn = Sequence[tuple[TrackedFace, FatigueLevel]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for the page; ``number`` rises."""

    number: int
    data: bytes


class PictureChooser:
    """
    Chooses among the images of one camera; used from one thread.

    :param decode: makes a frame of a serialized image
    :param publish: gets each picture
    :param boxed: the images have boxes drawn in already
    """

    def __init__(
        self, decode: Callable[[Any], Frame], publish: Callable[[Picture], None], *,
        boxed: bool = False,
    ) -> None:
        self._decode = decode
        self._publish = publish
        self._boxed = boxed
        self._held: StampBuffer[Any] = StampBuffer(HELD)
        self._due_s = 0.0
        self._matched_s = 0.0
        self._number = 0

    def image(self, stamp_ns: int, raw: Any, drawn: Drawn | None) -> None:
        """
        Take in an image.

        :param drawn: its faces, where they came first
        """
        if drawn is not None or self._boxed:
            self._matched_s = monotonic()
            self._show(stamp_ns, raw, drawn or ())
        elif monotonic() - self._matched_s > ALONE_S:
            self._show(stamp_ns, raw, None)
        self._held.put(stamp_ns, raw)

    def faces(self, stamp_ns: int, drawn: Drawn) -> None:
        """Take in the faces of an image."""
        raw = self._held.get(stamp_ns)
        if raw is not None and not self._boxed:
            self._matched_s = monotonic()
            self._show(stamp_ns, raw, drawn)

    def _show(self, stamp_ns: int, raw: Any, drawn: Drawn | None) -> None:
        now_s = monotonic()
        if now_s < self._due_s:
            return
        # A tenth early is on time: with images every 33 ms the rate would be 7.5 otherwise.
        self._due_s = max(self._due_s + PERIOD_S, now_s + 0.6 * PERIOD_S)
        self._number += 1
        self._publish(Picture(
            self._number, picture(self._decode(raw), drawn, boxed=self._boxed)))


def picture(frame: Frame, drawn: Drawn | None, *, boxed: bool = False) -> bytes:
    """
    Return an image as the page takes it: length of the header, header (JSON), JPEG.

    :param drawn: faces and levels; None where they are not known
    """
    image = frame.image
    scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    if scale < 1:
        size = round(frame.width * scale), round(frame.height * scale)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    good, jpeg = cv2.imencode(
        '.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert good
    header = json.dumps({
        'stamp_s': round(frame.stamp_ns / 1e9, 3),
        'size': [frame.width, frame.height],
        'boxed': boxed,
        'faces': None if drawn is None else [
            {'id': face.track_id, 'primary': face.primary, 'level': level.name,
             'box': [round(float(value), 1) for value in face.box]}
            for face, level in drawn],
    }).encode()
    return struct.pack('<I', len(header)) + header + jpeg.tobytes()
