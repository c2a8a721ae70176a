# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which faces are measured in which image: each further person costs a mesh."""

from __future__ import annotations

from collections.abc import Container, Sequence

from aitable_ros.types import TrackedFace

EARLY = 0.25
"""Of a turn that may come too soon: a camera's stamps jitter, and one face at half of the camera's
rate must not wait for a third image because two made 0.998 of a turn."""


class MeasurementSchedule:
    """
    Measures the primary face in each image, and the others in turn, evenly spread over the images.

    Spread, so that no image costs more than another: of three faces at half of the camera's rate
    one and two are measured in turn, not three and none.
    """

    def __init__(self) -> None:
        self._stamp_ns = 0
        self._saved = 0.0
        self._queue: list[int] = []

    def choose(
        self, stamp_ns: int, faces: Sequence[TrackedFace], measured: Container[int],
        others_fps: float,
    ) -> list[TrackedFace]:
        """
        Return the faces to measure in an image.

        :param stamp_ns: of the image; later than that of the call before
        :param measured: tracks that have figures; other faces are measured now
        :param others_fps: measurements a second of each face that is not primary; 0 for every image
        :return: some of the faces, in their order
        """
        elapsed_s = (stamp_ns - self._stamp_ns) * 1e-9
        self._stamp_ns = stamp_ns
        others = {
            face.track_id for face in faces if not face.primary and face.track_id in measured}
        waiting = [track_id for track_id in self._queue if track_id in others]
        waiting += sorted(others.difference(waiting))
        self._queue = waiting
        if not waiting or not others_fps:
            return list(faces)
        turns = self._saved + len(waiting) * min(1.0, elapsed_s * others_fps)
        number = min(int(turns + EARLY), len(waiting))
        self._saved = min(turns - number, 1.0)
        self._queue = waiting[number:] + waiting[:number]
        skipped = set(waiting[number:])
        return [face for face in faces if face.track_id not in skipped]
