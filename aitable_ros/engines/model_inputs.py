# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Real inputs for a model, made from pictures and recordings by the pipeline stage that feeds it.

Inputs for calibration and comparison must resemble those of the running pipeline. So its stages run
here on a sample of the frames, and a recording backend collects the model's inputs: a mesh gets the
crop of a tracked face, an expression model the crop that the mesh placed, a second detector its
close-up views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.engines.recording_stages import BodyStages, FaceStages, recording_stages
from aitable_ros.engines.stage_backends import BODY, OTHER, POSE, task_of
from aitable_ros.errors import InputError
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.protocol import Backend
from aitable_ros.models.catalogue import ModelCard
from aitable_ros.models.store import Progress
from aitable_ros.recordings.image_folder import ImageFolder, is_picture
from aitable_ros.recordings.readers import open_source
from aitable_ros.recordings.recording import is_bag
from aitable_ros.recordings.source import Source

MINIMUM = 16
"""Fewer inputs are an error, unless fewer were asked for."""
CALIBRATING, JUDGING = 0.25, 0.75
"""Phases: a model is compared on other frames than those that calibrated it."""
SPARE = 1.5
"""Frames read for each input wanted: some show no usable face."""
VIDEOS = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.gif')
ARRAYS = '.npz'


@dataclass(frozen=True, slots=True)
class Sample:
    """
    Origin of an input.

    :param file: relative to the given folder
    :param frame: number in the file, from 0; 0 for a picture
    :param stamp_ns: of the frame, from the file
    :param face: number of the input within the frame: a face, or a view of the detector
    """

    file: str
    frame: int
    stamp_ns: int
    face: int


@dataclass(frozen=True, slots=True, eq=False)
class ModelInputs:
    """
    Real inputs of a model.

    :param model: catalogue name or file name
    :param task: ``face``, ``mesh``, ``emotion`` or empty, as in the catalogue
    :param inputs: by input name, first axis ``len(samples) * rows``
    :param samples: origin of each
    :param rows: rows of one sample; ``fer`` reads two views of a face
    :param source: path that was given
    """

    model: str
    task: str
    inputs: dict[str, NDArray[Any]]
    samples: tuple[Sample, ...]
    rows: int = 1
    source: str = ''

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def batches(self, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the inputs in batches of ``size`` rows; the last one may be smaller."""
        total = len(self.samples) * self.rows
        for start in range(0, total, size):
            yield {name: array[start:start + size] for name, array in self.inputs.items()}

    def some(self, count: int) -> ModelInputs:
        """Return ``count`` evenly chosen samples, or all if there are fewer."""
        chosen = _evenly(len(self), min(count, len(self)))
        rows = (chosen[:, None] * self.rows + np.arange(self.rows)).reshape(-1)
        return replace(
            self, samples=tuple(self.samples[index] for index in chosen),
            inputs={name: array[rows] for name, array in self.inputs.items()})

    @property
    def sha256(self) -> str:
        """Digest of all inputs: other code may crop the same frames differently."""
        digest = sha256()
        for name in sorted(self.inputs):
            array = np.ascontiguousarray(self.inputs[name])
            digest.update(f'{name} {array.dtype} {array.shape}'.encode())
            digest.update(array.data)
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return source and frames, for the sidecar."""
        return {
            'source': self.source, 'n': len(self), 'sha256': self.sha256,
            'frames': [asdict(sample) for sample in self.samples]}


@dataclass(slots=True, eq=False)
class _Found:
    """Inputs from one file."""

    samples: list[Sample] = field(default_factory=list)
    rows: list[list[dict[str, NDArray[Any]]]] = field(default_factory=list)


def collect_inputs(
    model: ModelCard | str | Path, source: Path, samples: int, *, per_file: int | None = None,
    topic: str | None = None, minimum: int = MINIMUM, phase: float = CALIBRATING,
    progress: Progress | None = None,
) -> ModelInputs:
    """
    Make real inputs for a model, spread evenly over pictures and recordings.

    :param model: a catalogue name, its card, or an fp32 ``.onnx`` that a stage accepts; it runs on
        the CPU
    :param source: a picture, a video, a rosbag2, a folder of these, or a ``.npz`` with an array of
        rows for each input (then any model will do)
    :param samples: most inputs to return
    :param per_file: most inputs from one file; a file gives more than its share only if others
        have too few
    :param topic: camera topic of a bag
    :param phase: position of the frame taken within each part of a recording, 0 ... 1;
        :data:`CALIBRATING` and :data:`JUDGING` take different frames of the same recording
    :param minimum: least number, or ``samples`` if that is less
    :raises InputError: nothing readable, too few faces (the message gives their number), or a model
        that cannot be loaded or that no stage runs
    """
    if samples < 1:
        raise InputError(f'{samples} inputs of a model asked for; at least 1 must be')
    entry = model.name if isinstance(model, ModelCard) else str(model)
    if isinstance(model, Path) and '/' not in entry:
        entry = f'./{entry}'
    with resolve(ModelOptions(model=entry)).backend or _nothing() as backend:
        if source.suffix.lower() == ARRAYS:
            found = _from_arrays(backend, source, samples)
        else:
            found = _from_pictures(backend, source, samples, per_file, topic, phase, progress)
    least = min(minimum, samples)
    if len(found) < least:
        shown = 'body' if found.task in (BODY, POSE) else 'face'
        what = 'rows' if source.suffix.lower() == ARRAYS else f'inputs with a {shown}'
        raise InputError(
            f'{source}: {len(found)} {what} found for {entry}, at least {least} are needed; give '
            'more pictures or longer recordings of faces that look at the camera')
    return found


def _nothing() -> Backend:
    raise AssertionError('a chain that is required ends with a model')


def _from_arrays(backend: Backend, source: Path, samples: int) -> ModelInputs:
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f'{source}: no .npz file of arrays: {error}') from None
    wanted = {spec.name: spec for spec in backend.inputs}
    if arrays.keys() != wanted.keys():
        raise InputError(f'{source}: has arrays {sorted(arrays)}, {backend.model} takes '
                         f'{sorted(wanted)}')
    for name, spec in wanted.items():
        shape = arrays[name].shape
        if len(shape) != len(spec.shape) or any(
                size not in (None, got) for got, size in zip(shape[1:], spec.shape[1:])):
            raise InputError(f"{source}: '{name}' is {list(shape)}, {backend.model} takes "
                             f'{["n", *spec.shape[1:]]}')
    count = min(len(array) for array in arrays.values())
    chosen = _evenly(count, min(samples, count))
    return ModelInputs(
        backend.model, task_of(backend),
        {name: arrays[name][chosen].astype(spec.dtype) for name, spec in wanted.items()},
        tuple(Sample(source.name, int(row), 0, 0) for row in chosen), source=str(source))


def _from_pictures(
    backend: Backend, source: Path, samples: int, per_file: int | None, topic: str | None,
    phase: float, progress: Progress | None,
) -> ModelInputs:
    task = task_of(backend)
    if task == OTHER:
        raise InputError(
            f'{backend.model}: no stage of the pipeline runs it, so its inputs cannot be made from '
            'pictures; give a .npz file with an array for each input')
    files = _files(source, topic)
    spread = _spread([_length(file) for file in files], math.ceil(samples * SPARE))
    found: list[_Found] = []
    with recording_stages(task, backend) as stages:
        for file, share in zip(files, spread):
            found += _from_file(stages, file, share, source, phase, progress)
    shares = _spread([min(len(part.rows), per_file or samples) for part in found], samples)
    found = [_thinned(part, share) for part, share in zip(found, shares)]
    flat = [row for part in found for rows in part.rows for row in rows]
    return ModelInputs(
        backend.model, task,
        {spec.name: np.concatenate([row[spec.name] for row in flat]) if flat else np.empty(0)
         for spec in backend.inputs},
        tuple(sample for part in found for sample in part.samples), stages.rows, str(source))


def _from_file(
    stages: FaceStages | BodyStages, file: Source, share: int, source: Path, phase: float,
    progress: Progress | None,
) -> list[_Found]:
    """Read ``share`` frames of a recording, or pictures of a folder, each of which is a file."""
    name = file.path.relative_to(source).as_posix() if file.path != source else ''
    folder = f'{name}/' if name and file.names else ''
    wanted = set(_evenly(_length(file), share, phase).tolist())
    last, done = max(wanted, default=-1), 0
    found = [_Found() for _ in file.names] or [_Found()]
    for index, frame in enumerate(file):
        if index in wanted:
            still = file.names[index] if file.names else ''
            part = found[index if still else 0]
            for number, rows in enumerate(stages.look(frame)):
                part.samples.append(Sample(
                    f'{folder}{still}' if still else name or file.path.name,
                    0 if still else index, frame.stamp_ns, number))
                part.rows.append(rows)
            done += 1
            if progress:
                progress(name or file.path.name, done, len(wanted))
        if index >= last:
            break
    return found


def _thinned(part: _Found, wanted: int) -> _Found:
    chosen = _evenly(len(part.rows), wanted)
    return _Found([part.samples[index] for index in chosen], [part.rows[index] for index in chosen])


def _files(source: Path, topic: str | None) -> list[Source]:
    """Open a file, or all files below a folder; the pictures of a folder are one source."""
    if not source.is_dir() or is_bag(source):
        return [open_source(source, topic)]
    files = list(_below(source, topic))
    if not files:
        raise InputError(f'{source}: no picture, video or rosbag2 in it')
    return files


def _below(folder: Path, topic: str | None) -> Iterator[Source]:
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
    if any(map(is_picture, inside)):
        yield ImageFolder(folder)
    for path in inside:
        if is_bag(path):
            yield open_source(path, topic)
        elif path.is_dir():
            yield from _below(path, topic)
        elif path.suffix.lower() in VIDEOS:
            yield open_source(path)


def _length(file: Source) -> int:
    """Return the number of frames; they are counted if the file does not give it."""
    return file.frames or sum(1 for _ in file)


def _spread(lengths: Sequence[int], wanted: int) -> list[int]:
    """Divide a number evenly, where no share exceeds its length."""
    shares = [0] * len(lengths)
    left = min(wanted, sum(lengths))
    while left > 0:
        able = [index for index, length in enumerate(lengths) if shares[index] < length]
        able = [able[index] for index in _evenly(len(able), min(left, len(able)))]
        each = max(1, left // len(able))
        for index in able:
            more = min(each, lengths[index] - shares[index], left)
            shares[index] += more
            left -= more
    return shares


def _evenly(count: int, wanted: int, phase: float = 0.5) -> NDArray[np.intp]:
    """Return ``wanted`` of ``count`` numbers, one from each of as many equal parts."""
    return ((np.arange(wanted) + phase) * (count / max(wanted, 1))).astype(np.intp)
