# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Labelled clips, as they are and as other cameras would have filmed them, read once and kept.

The whole vision path (detection, tracking, mesh, proof) runs on every film. The meshes are kept, so
that a change of the fatigue logic is scored in seconds. ``--fresh`` of ``fatigue_plots.py`` reads
again, as is needed after a change of the face stage, of the mesh or of its proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
import json
import math
from pathlib import Path
import pickle
import subprocess
import sys
import tempfile

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.face.finder import FaceFinder
from aitable_ros.fatigue.eyes import EyeReading, no_face, read_eyes
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.recordings.readers import open_source
from aitable_ros.types import FaceLandmarks, Frame

DATA = Path(__file__).resolve().parent.parent.parent / 'shared' / 'data'
CACHE = Path(tempfile.gettempdir()) / 'aitable_fatigue_films'
NOT_POOLED = 'laugh_dark'
"""The labels of this clip leave room for opinion."""
PLAIN, HALF = 'as it is', 'every second image'
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
    PLAIN: lambda image, t, rng: image,
    HALF: lambda image, t, rng: image,  # the reader drops the others
    'mirrored': lambda image, t, rng: np.ascontiguousarray(image[:, ::-1]),
    'size × 0.5': _scaled(0.5),
    'blurred': lambda image, t, rng: cv2.GaussianBlur(image, (0, 0), 2.0),
    'dark and noisy': _dark,
    'flickering light': _flicker,
    'JPEG quality 15': _jpeg,
    'turned by 10°': _turned(10),
    'shaken': _shaken,
}
"""What another camera might have done to each image, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """
    What the vision path saw in one image.

    :param boxes: ``(4,)`` of each face, by track
    :param meshes: points and presence of each face that has a mesh, by track
    :param primary: track of the primary person; None without a face
    """

    stamp_ns: int
    size: tuple[int, int]
    boxes: dict[int, NDArray[np.float32]]
    meshes: dict[int, tuple[NDArray[np.float32], float]]
    primary: int | None

    def readings(self, options: FatigueOptions) -> dict[int, EyeReading]:
        """Read the eyes of everybody, with the present code."""
        return {
            track: read_eyes(FaceLandmarks(*self.meshes[track]), self.stamp_ns, *self.size, options)
            if track in self.meshes else no_face(self.stamp_ns) for track in self.boxes}


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A clip's truth, in images of the film; None where it was not labelled."""

    blinks: list[FrameSpan] | None
    closures: list[FrameSpan] | None
    ignore: list[FrameSpan]
    yawns: list[FrameSpan]
    perclos: float | None
    longest_closure_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One clip as one camera saw it."""

    name: str
    person: str
    fps: float
    seen: list[Seen]
    truth: Labelled
    _readings: list[dict[int, EyeReading]] = field(default_factory=list)

    @property
    def readings(self) -> list[dict[int, EyeReading]]:
        """Readings of everybody in each image, under the default options."""
        if not self._readings:
            options = FatigueOptions()
            self._readings.extend(seen.readings(options) for seen in self.seen)
        return self._readings

    @property
    def duration_s(self) -> float:
        """From the first image to the last, seconds."""
        return (self.seen[-1].stamp_ns - self.seen[0].stamp_ns) * 1e-9

    def frame_at(self, stamp_ns: int) -> int:
        """Return the number of the image nearest to a time."""
        stamps = np.array([seen.stamp_ns for seen in self.seen])
        return int(np.abs(stamps - stamp_ns).argmin())

    def primary(self, index: int) -> EyeReading | None:
        """Return the primary person's reading in an image."""
        track = self.seen[index].primary
        return self.readings[index].get(track) if track is not None else None

    def looped(self, seconds: float) -> Film:
        """Show the film again and again, on a clock that goes on."""
        step = round(1e9 / self.fps)
        lasts = self.seen[-1].stamp_ns - self.seen[0].stamp_ns + step
        rounds = math.ceil(seconds * 1e9 / lasts)
        return replace(self, _readings=[], seen=[
            replace(seen, stamp_ns=seen.stamp_ns + turn * lasts)
            for turn in range(rounds) for seen in self.seen])

    def cut(self, first: int, last: int) -> Film:
        """Keep a part of the film."""
        return replace(self, _readings=[], seen=self.seen[first:last])


@cache
def index() -> dict[str, dict[str, str]]:
    """Return the labelled clips by name, with the file, the person and the labels."""
    entries = json.loads((DATA / 'index.json').read_text())
    return {Path(entry['file']).stem: entry for entry in entries if entry.get('labels')}


@cache
def read_film(name: str, change: str = PLAIN) -> Film:
    """Run the vision path over a changed clip, or take the meshes that an earlier run kept."""
    entry = index()[name]
    step = 2 if change == HALF else 1
    kept = CACHE / f'{name}_{list(CHANGES).index(change):02}.pkl'
    if not kept.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(watch(changed(open_source(DATA / entry['file']), change))))
    seen = pickle.loads(kept.read_bytes())  # noqa: S301 - written by this script
    labels = json.loads((DATA / entry['labels']).read_text())
    steps = np.diff([one.stamp_ns for one in seen])
    fps = labels.get('fps', 0) / step or 1e9 / float(np.median(steps))
    return Film(name, entry.get('person', name), fps, seen, _truth(labels, step, fps))


def _truth(labels: dict[str, list], step: int, fps: float) -> Labelled:
    def spans(key: str) -> list[FrameSpan] | None:
        if key not in labels:
            return None
        return [FrameSpan(span['start_frame'] // step, span['end_frame'] // step)
                for span in labels[key]]
    closures = spans('closures')
    ignore = [FrameSpan(first // step, last // step) for first, last in (
        *labels.get('ignore', ()), *labels.get('eyes_closed', ()))]
    return Labelled(
        spans('blinks'), closures, ignore, spans('yawns') or [], labels.get('perclos'),
        max(((span.end - span.start + 1) / fps for span in closures or ()), default=0.0))


def changed(frames: Iterable[Frame], change: str) -> Iterator[Frame]:
    """Yield the frames as another camera would have given them."""
    rng = np.random.default_rng(0)
    for number, frame in enumerate(frames):
        if change != HALF or number % 2 == 0:
            yield Frame(
                CHANGES[change](frame.image, frame.stamp_ns * 1e-9, rng), frame.stamp_ns)


def watch(frames: Iterable[Frame]) -> list[Seen]:
    """Run the vision path over frames."""
    seen = []
    with FaceFinder.open() as finder, \
            FatigueMonitor.open(FatigueOptions(others_fps=0.0)) as monitor:
        for frame in frames:
            faces = finder.update(frame)
            meshes = monitor.update(frame, faces).landmarks
            for face in faces:
                finder.follow(face.track_id, meshes.get(face.track_id))
            seen.append(Seen(
                frame.stamp_ns, (frame.width, frame.height),
                {face.track_id: face.box for face in faces},
                {track: (mesh.points, mesh.presence) for track, mesh in meshes.items()},
                next((face.track_id for face in faces if face.primary), None)))
    return seen


MEDIAPIPE = """
import sys, cv2, numpy as np, mediapipe
mesh = mediapipe.solutions.face_mesh.FaceMesh(refine_landmarks=True, max_num_faces=1)
video, points = cv2.VideoCapture(sys.argv[1]), []
while True:
    there, image = video.read()
    if not there:
        break
    if len(sys.argv) > 3 and int(video.get(cv2.CAP_PROP_POS_FRAMES)) % 2 == 0:
        continue
    found = mesh.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).multi_face_landmarks
    height, width = image.shape[:2]
    points.append(
        [[p.x * width, p.y * height] for p in found[0].landmark] if found else [[np.nan] * 2] * 478)
np.save(sys.argv[2], np.array(points, np.float32))
"""
"""MediaPipe's own tracking and refined mesh, as its users call it."""


@cache
def mediapipe_mesh(name: str, change: str, python: str) -> NDArray[np.float32]:
    """
    Return MediaPipe's own mesh in each image of a clip, ``(n, 478, 2)`` pixels, NaN without a face.

    :param change: :data:`PLAIN` or :data:`HALF`
    :param python: interpreter that has ``mediapipe==0.10.21``
    """
    kept = CACHE / f'{name}_{list(CHANGES).index(change):02}_mediapipe.npy'
    if not kept.is_file():
        arguments = [python, '-c', MEDIAPIPE, str(DATA / index()[name]['file']), str(kept)]
        subprocess.run(
            [*arguments, *(['half'] if change == HALF else [])], check=True,
            stdout=sys.stderr, stderr=subprocess.DEVNULL)
    found: NDArray[np.float32] = np.load(kept)
    return found
