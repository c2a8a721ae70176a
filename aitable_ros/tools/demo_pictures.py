# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run: images of the source with the published results drawn in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.drawing import draw
from aitable_ros.tools.clip import Clip
from aitable_ros.tools.clip_script import ClipTruth
from aitable_ros.tools.posture_clip import PostureTruth
from aitable_ros.types import Frame, FrameResult, Validity

Image = NDArray[np.uint8]

LATE_IN_MICROSLEEP_S = 1.8
"""The level is SEVERE from 1.5 s on."""
EMOTION_FRAMES = 30
"""Images back in which the newest emotion of a face is looked for."""
GIF_SECONDS = 3.2
GIF_FPS = 8
GIF_WIDTH = 320
GIF_COLOURS = 48


def key_frame(
    results: Sequence[FrameResult], truth: ClipTruth | PostureTruth | None,
) -> int | None:
    """Choose the image: late in the microsleep or in the last lean, or where it was worst."""
    if isinstance(truth, PostureTruth) and truth.postures:
        return min(truth.postures[-1].end_frame, len(results) - 1)
    if isinstance(truth, ClipTruth):
        for sleep in truth.of_kind('microsleep'):
            index = sleep.start_frame + round(LATE_IN_MICROSLEEP_S * truth.fps)
            if index < len(results):
                return index

    def weight(result: FrameResult) -> tuple[bool, bool, int]:
        state = result.primary and result.primary.fatigue
        if not state:
            return False, False, 0
        return math.isfinite(state.openness), state.validity is Validity.VALID, int(state.level)
    worst = max(map(weight, results), default=(False, False, 0))
    alike = [index for index, result in enumerate(results) if weight(result) == worst]
    return alike[len(alike) // 2] if alike else None


class Overlays:
    """
    Draws results into the images of the source.

    :param source: the images, which are read again
    :param results: of each image, in the order of the frames
    :param numbers: stamp -> number of the image in the source
    """

    def __init__(
        self, source: Any, results: Sequence[FrameResult], numbers: Mapping[int, int],
    ) -> None:
        self._source = source
        self._results = results
        self._numbers = numbers

    def draw(self, indices: Sequence[int]) -> Iterator[Image]:
        """Yield annotated images, by rising index of their results."""
        from aitable_ros.fatigue.monitor import FatigueMonitor
        from aitable_ros.fatigue.options import FatigueOptions

        results = [self._with_emotions(index) for index in indices]
        wanted = [self._numbers.get(result.stamp_ns, -1) for result in results]
        # No topic carries the landmarks: they are measured again.
        with FatigueMonitor.open(FatigueOptions(required=False)) as monitor:
            for frame, result in zip(self._frames(wanted), results):
                meshes = monitor.update(
                    Frame(frame.image, result.stamp_ns), [face.face for face in result.faces],
                ).landmarks
                yield draw(frame.image, replace(result, faces=tuple(
                    replace(face, landmarks=meshes.get(face.face.track_id))
                    for face in result.faces)))

    def _with_emotions(self, index: int) -> FrameResult:
        """Return a result in which each face has its newest emotion."""
        recent = self._results[max(index - EMOTION_FRAMES, 0):index + 1]
        newest = {
            face.face.track_id: face.emotion for result in recent for face in result.faces
            if face.emotion is not None}
        result = self._results[index]
        return replace(result, faces=tuple(
            replace(face, emotion=newest.get(face.face.track_id)) for face in result.faces))

    def _frames(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """Yield images of the source by rising number."""
        if isinstance(self._source, Clip):
            yield from (self._source.frame(number) for number in numbers)
            return
        wanted = set(numbers)
        for number, frame in enumerate(islice(self._source, max(wanted) + 1)):
            if number in wanted:
                yield frame


def jpeg(image: Image) -> bytes:
    """Return an image as JPEG; a page with a few of them stays small."""
    good, data = cv2.imencode(
        '.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert good
    return bytes(data)


def gif_frames(frames: int, truth: ClipTruth) -> list[int]:
    """Choose the images of the moving picture: from just before the eyes shut."""
    fps = truth.fps
    shown = next(iter(truth.of_kind('microsleep')), truth.closures[0])
    start = shown.start_frame - round(0.6 * fps)
    step = max(1, round(fps / GIF_FPS))
    return [
        index for index in range(max(start, 0), start + round(GIF_SECONDS * fps), step)
        if index < frames]


def write_gif(path: Path, images: Iterable[Image]) -> None:
    """Write a moving picture of the face and its panel, small enough for a page."""
    from PIL import Image as Pillow

    small = []
    for image in images:
        height, width = image.shape[:2]
        face = image[int(0.2 * height):int(0.8 * height), int(0.36 * width):int(0.82 * width)]
        size = GIF_WIDTH, round(GIF_WIDTH * face.shape[0] / face.shape[1])
        # Noise is what a GIF cannot pack.
        smooth = cv2.resize(cv2.bilateralFilter(face, 5, 18, 3), size, interpolation=cv2.INTER_AREA)
        small.append(Pillow.fromarray(np.asarray(smooth, np.uint8)))
    # One palette for all, from all: the level's colour changes on the way.
    some = np.vstack([np.asarray(image) for image in small[::4]])
    palette = Pillow.fromarray(some).quantize(GIF_COLOURS, method=Pillow.Quantize.MEDIANCUT)
    packed = [image.quantize(palette=palette, dither=Pillow.Dither.NONE) for image in small]
    packed[0].save(
        path, save_all=True, append_images=packed[1:], duration=1000 // GIF_FPS, loop=0,
        optimize=True)
