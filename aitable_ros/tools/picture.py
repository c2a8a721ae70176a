# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run: the source's images with what the nodes published about them drawn in."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.clock import header_stamp_ns
from aitable_ros.drawing import draw
from aitable_ros.tools.clip import ClipTruth
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.tools.story import Story
from aitable_ros.types import FaceLandmarks
from aitable_ros.types import FaceResult
from aitable_ros.types import Frame
from aitable_ros.types import FrameResult
from aitable_ros.types import ModelInfo
from aitable_ros.types import TrackedFace
from aitable_ros.types import Validity

Image = NDArray[np.uint8]

LATE_IN_MICROSLEEP_S = 1.8  # the event comes after 1.5 s
GIF_SECONDS = 3.2
GIF_FPS = 8
GIF_WIDTH = 320
GIF_COLOURS = 48


def key_frame(story: Story, truth: ClipTruth | None) -> int | None:
    """Choose the image to show: late in the microsleep, or where the level was worst."""
    if truth is not None:
        for sleep in truth.of_kind('microsleep'):
            index = sleep.start_frame + round(LATE_IN_MICROSLEEP_S * truth.fps)
            if index < len(story.sent):
                return index
    if not story.states:
        return None

    def weight(state: Any) -> tuple[bool, bool, int]:
        seen = bool(np.isfinite(state.openness))
        return seen, state.validity == Validity.VALID, int(state.level)
    worst = max(map(weight, story.states))
    alike = [state for state in story.states if weight(state) == worst]
    return story.stamps.index(header_stamp_ns(alike[len(alike) // 2]))


def frames_at(source: Any, indices: Sequence[int]) -> Iterator[Frame]:
    """Yield frames of a source again, by rising number."""
    if isinstance(source, ScriptedClip):
        yield from (source.frame(index) for index in indices)
        return
    wanted = set(indices)
    for index, frame in enumerate(islice(source, max(wanted) + 1)):
        if index in wanted:
            yield frame


def published(story: Story, index: int) -> FrameResult:
    """Return what was published about one image; an emotion is the newest of its face."""
    from aitable_ros.message_codec import faces_of
    from aitable_ros.message_codec import model_of
    from aitable_ros.nodes.messages import CODEC

    stamp = story.stamps[index]
    models: dict[str, ModelInfo] = {}
    faces: tuple[TrackedFace, ...] = ()
    for heard in story.ears.faces:
        if header_stamp_ns(heard.message) == stamp:
            faces, models['face'] = faces_of(heard.message), model_of(heard.message)
    fatigue = {}
    for heard in story.ears.fatigue:
        if header_stamp_ns(heard.message) == stamp:
            fatigue[heard.message.track_id] = CODEC.fatigue_of(heard.message)
            models['mesh'] = model_of(heard.message)
    emotions = {}
    for heard in story.ears.emotion:
        if header_stamp_ns(heard.message) <= stamp:
            emotions[heard.message.track_id] = CODEC.emotion_of(heard.message)
            models['emotion'] = model_of(heard.message)
    return FrameResult(
        stamp_ns=stamp, absent=(), events=(), models=models, elapsed_ms={},
        faces=tuple(
            FaceResult(
                face=face, fatigue=fatigue.get(face.track_id),
                emotion=emotions.get(face.track_id)) for face in faces))


def overlay(frame: Frame, result: FrameResult, landmarks: dict[int, FaceLandmarks]) -> Image:
    """Draw a result; the landmarks, which no topic carries, were read from the image again."""
    return draw(frame.image, FrameResult(
        stamp_ns=result.stamp_ns, absent=(), events=(), models=result.models, elapsed_ms={},
        faces=tuple(
            FaceResult(
                face=face.face, emotion=face.emotion, fatigue=face.fatigue,
                landmarks=landmarks.get(face.face.track_id)) for face in result.faces)))


def overlays(source: Any, story: Story, indices: Sequence[int]) -> Iterator[Image]:
    """Yield annotated images of a source, by rising number."""
    from aitable_ros.fatigue.monitor import FatigueMonitor
    from aitable_ros.fatigue.options import FatigueOptions

    with FatigueMonitor.open(FatigueOptions(required=False)) as monitor:
        for index, frame in zip(indices, frames_at(source, indices)):
            result = published(story, index)
            update = monitor.update(
                Frame(frame.image, story.stamps[index]), [face.face for face in result.faces])
            yield overlay(frame, result, update.landmarks)


def jpeg(image: Image) -> bytes:
    """Return an image as JPEG; a page with a few of them stays small."""
    good, data = cv2.imencode(
        '.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert good
    return bytes(data)


def gif_frames(story: Story, truth: ClipTruth) -> list[int]:
    """Choose the images of the moving picture: from just before the eyes shut."""
    fps = truth.fps
    shown = next(iter(truth.of_kind('microsleep')), truth.closures[0])
    start = shown.start_frame - round(0.6 * fps)
    step = max(1, round(fps / GIF_FPS))
    return [
        index for index in range(max(start, 0), start + round(GIF_SECONDS * fps), step)
        if index < len(story.sent)]


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
