# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Labelled clips, as they are and as other cameras would have filmed them, read once and kept.

The whole vision path (detection, tracking, mesh) runs on every film. What is kept of it are the
meshes, so that a change of the fatigue logic is scored in seconds. Delete the cache after a change
of the face stage or of the mesh.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
import json
import math
from pathlib import Path
import tempfile

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.readers import open_source
from aitable_ros.face.finder import FaceFinder
from aitable_ros.fatigue.eyes import no_face
from aitable_ros.fatigue.eyes import read_eyes
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.types import EyeReading
from aitable_ros.types import FaceLandmarks
from aitable_ros.types import Frame

DATA = Path(__file__).resolve().parent.parent.parent / 'shared' / 'data'
CACHE = Path(tempfile.gettempdir()) / 'aitable_fatigue_films'
BLINK_CLIPS = ('webcam_glasses_30fps.avi', 'webcam_glasses_15fps.avi', 'talking_woman.mp4')
"""Pooled; the labels of laugh_dark leave room for opinion and are listed beside."""
LAUGH = 'laugh_dark.mp4'
CALM_CLIPS = ('night_phone.mp4', 'posed_expressions.mp4', 'neutral_to_smile.mp4',
              'face_then_noface.mov')
Image = NDArray[np.uint8]
Change = Callable[[Image, float, np.random.Generator], Image]


def _scaled(factor: float) -> Change:
    return lambda image, t, rng: cv2.resize(
        image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _turned(degrees: float) -> Change:
    def change(image: Image, t: float, rng: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return change


def _cropped(left: float, top: float, right: float, bottom: float) -> Change:
    def change(image: Image, t: float, rng: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        return np.ascontiguousarray(image[
            round(top * height):height - round(bottom * height),
            round(left * width):width - round(right * width)])
    return change


def _dark(image: Image, t: float, rng: np.random.Generator) -> Image:
    """Gamma 2.2 and the noise of a small sensor, sigma 6 of 255."""
    dark = 255 * (image / 255.0) ** 2.2 + rng.normal(0, 6, image.shape)
    return np.clip(dark, 0, 255).astype(np.uint8)


def _flicker(image: Image, t: float, rng: np.random.Generator) -> Image:
    """A lamp that pulses by a fifth, at 3.3 Hz and slowly."""
    gain = 1 - 0.2 * math.sin(2 * math.pi * 3.3 * t) - 0.15 * math.sin(2 * math.pi * 0.4 * t)
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def _jpeg(image: Image, t: float, rng: np.random.Generator) -> Image:
    coded = cv2.imencode('.jpg', image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1])


def _shaken(image: Image, t: float, rng: np.random.Generator) -> Image:
    """A camera on a table that is knocked: some pixels at 2 and 5 Hz."""
    x = 0.008 * image.shape[1] * math.sin(2 * math.pi * 2.1 * t)
    y = 0.008 * image.shape[1] * math.sin(2 * math.pi * 4.7 * t)
    matrix = np.array([[1, 0, x], [0, 1, y]])
    return cv2.warpAffine(
        image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


CHANGES: dict[str, Change] = {
    'as it is': lambda image, t, rng: image,
    'mirrored': lambda image, t, rng: np.ascontiguousarray(image[:, ::-1]),
    'size × 0.7': _scaled(0.7),
    'size × 0.5': _scaled(0.5),
    'size × 0.35': _scaled(0.35),
    'blurred': lambda image, t, rng: cv2.GaussianBlur(image, (0, 0), 2.0),
    'dark and noisy': _dark,
    'flickering light': _flicker,
    'JPEG quality 15': _jpeg,
    'MPEG-4 at a low rate': lambda image, t, rng: image,  # done to the whole film
    'turned by +10°': _turned(10),
    'turned by −10°': _turned(-10),
    'face elsewhere, left': _cropped(0.14, 0.06, 0.0, 0.0),
    'face elsewhere, right': _cropped(0.0, 0.0, 0.14, 0.06),
    'shaken': _shaken,
}
"""What another camera might have done to each image, by name."""


@dataclass(frozen=True)
class Film:
    """
    One person's readings, one an image, and the labels in frames of the unchanged clip.

    :param clock: stamp of each frame of the clip, rising
    :param shut: labelled as closed or looking down: no blink is asked for there, none held against
    :param period: frames between two readings, so how exact a time can be
    """

    name: str
    clock: NDArray[np.int64]
    readings: list[EyeReading]
    blinks: list[FrameSpan]
    shut: list[FrameSpan]
    period: int = 1

    @property
    def fps(self) -> float:
        """Frames a second."""
        return 1e9 / float(np.median(np.diff(self.clock)))

    def frame_at(self, stamp_ns: int) -> int:
        """Return the number of the frame nearest to a time."""
        return int(np.abs(self.clock - stamp_ns).argmin())


@cache
def read_film(name: str, change: str = 'as it is', mesh: str = 'facemesh') -> Film:
    """Run the vision path over a changed clip, or take the meshes that an earlier run kept."""
    path = DATA / 'video' / name
    labels = json.loads((DATA / 'labels' / f'{path.stem}.json').read_text())
    kept = CACHE / f'{path.stem}_{mesh}_{list(CHANGES).index(change):02}.npz'
    if not kept.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        source = open_source(path)
        save_meshes(kept, meshes_of(changed(source, change), mesh))
    readings, clock = readings_of(kept)
    return Film(
        path.stem, clock, readings,
        [FrameSpan(b['start_frame'], b['end_frame']) for b in labels.get('blinks', ())],
        [FrameSpan(*span) for span in labels.get('eyes_closed', ())])


def readings_of(path: Path) -> tuple[list[EyeReading], NDArray[np.int64]]:
    """Read the eyes of kept meshes, with the present code; and the stamps."""
    data, options = np.load(path), FatigueOptions()
    readings = [
        no_face(stamp) if presence < 0 else
        read_eyes(FaceLandmarks(points, presence), stamp, width, height, options)
        for points, presence, stamp, (width, height) in zip(
            data['points'], data['presence'].tolist(), data['stamps'].tolist(),
            data['sizes'].tolist())]
    return readings, data['stamps']


def changed(frames: Iterable[Frame], change: str) -> Iterator[Frame]:
    """Yield the frames as another camera would have given them."""
    rng = np.random.default_rng(0)
    if change.startswith('MPEG'):
        frames = _recoded(list(frames))
    for frame in frames:
        image = CHANGES[change](frame.image, frame.stamp_ns * 1e-9, rng)
        yield Frame(image, frame.stamp_ns)


def _recoded(frames: list[Frame]) -> Iterator[Frame]:
    """Send a film through MPEG-4 at three quarters of its size, as a cheap recorder does."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / 'film.mp4')
        size = (frames[0].width * 3 // 8 * 2, frames[0].height * 3 // 8 * 2)
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), 30.0, size)
        for frame in frames:
            writer.write(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)[:, :, ::-1])
        writer.release()
        video = cv2.VideoCapture(path)
        for frame in frames:
            there, image = video.read()
            if not there:
                return
            yield Frame(np.ascontiguousarray(image[:, :, ::-1]), frame.stamp_ns)


Mesh = tuple[FaceLandmarks | None, Frame]


def meshes_of(frames: Iterable[Frame], mesh: str) -> Iterator[Mesh]:
    """Yield the primary person's mesh in each frame."""
    with FaceFinder.open() as finder, \
            FatigueMonitor.open(FatigueOptions(fallbacks=(mesh,))) as monitor:
        for frame in frames:
            faces = finder.update(frame)
            update = monitor.update(frame, faces)
            for face in faces:
                finder.follow(face.track_id, update.landmarks.get(face.track_id))
            yield (update.landmarks.get(faces[0].track_id) if faces else None), frame


def save_meshes(path: Path, meshes: Iterable[Mesh]) -> None:
    """Keep meshes; a frame without one has presence -1."""
    points, presence, stamps, sizes = [], [], [], []
    for found, frame in meshes:
        points.append(np.zeros((478, 3), np.float32))
        presence.append(-1.0)
        if found is not None:
            points[-1][:len(found.points)] = found.points
            presence[-1] = found.presence
        stamps.append(frame.stamp_ns)
        sizes.append((frame.width, frame.height))
    np.savez(path, points=np.array(points), presence=presence, stamps=stamps, sizes=sizes)


def _scaled_time(film: Film, factor: float) -> Film:
    return replace(film, clock=(film.clock / factor).astype(np.int64), readings=[
        replace(r, stamp_ns=round(r.stamp_ns / factor)) for r in film.readings])


def _jittered(film: Film, rng: np.random.Generator) -> Film:
    """Stamps late by up to half a frame, at random."""
    late = rng.uniform(0, 0.5 / film.fps * 1e9, len(film.readings))
    return replace(film, readings=[
        replace(r, stamp_ns=r.stamp_ns + int(by)) for r, by in zip(film.readings, late)])


def _dropped(film: Film, rng: np.random.Generator) -> Film:
    kept = rng.random(len(film.readings)) > 0.2
    return replace(film, readings=[r for r, keep in zip(film.readings, kept) if keep])


def looped(film: Film, seconds: float) -> Film:
    """Show a film again and again to one person's memory, on a clock that goes on."""
    step = int(np.median(np.diff(film.clock)))
    lasts = int(film.clock[-1] - film.clock[0]) + step
    rounds = math.ceil(seconds * 1e9 / lasts)
    return replace(film, readings=[
        replace(r, stamp_ns=r.stamp_ns + turn * lasts)
        for turn in range(rounds) for r in film.readings])


def _every(film: Film, step: int) -> list[Film]:
    return [replace(film, readings=film.readings[phase::step], period=step)
            for phase in range(step)]


TIMINGS: dict[str, Callable[[Film], list[Film]]] = {
    'every 2nd image': lambda film: _every(film, 2),
    'every 3rd image': lambda film: _every(film, 3),
    '20 % of images dropped': lambda film: [
        _dropped(film, np.random.default_rng(seed)) for seed in range(5)],
    'jittered stamps': lambda film: [
        _jittered(film, np.random.default_rng(seed)) for seed in range(3)],
    'slower by 0.7': lambda film: [_scaled_time(film, 0.7)],
    'faster by 1.5': lambda film: [_scaled_time(film, 1.5)],
}
"""What a camera might have done to time; several films where chance or phase has a say."""
