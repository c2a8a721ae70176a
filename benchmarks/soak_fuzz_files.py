# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Damaged recordings by the thousand, through the readers of ``aitable evaluate``.

Bytes flipped, stretches cut out, the end cut off, parts exchanged: mcap, sqlite3, MP4, GIF, JPEG.
Each must give its images and at most one line, within seconds and a bounded memory. The readers run
in processes of their own, so that a crash of a decoder is found and is not the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
import resource
from tempfile import TemporaryDirectory
import time
from typing import Any

import numpy as np

MOST_S = 10.0
MOST_MB = 1024
MOST_FRAMES = 200
"""Taken of one file: flipped bytes may make a video endless."""
LONGEST_LINE = 1000
FILES_A_WORKER = 500
"""After so many a worker is replaced, so that memory is that of few files."""
Seeds = dict[str, bytes]


def run(files: int, seed: int) -> dict[str, Any]:
    """Read so many damaged files; returns the figures, and ``passed``."""
    fared: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = peak = 0.0
    begin = time.monotonic()
    with TemporaryDirectory(prefix='aitable_fuzz_files_') as folder:
        place = Path(folder)
        seeds = _seeds(place)
        worker: _Worker | None = None
        for number in range(seed, seed + files):
            if worker is None or worker.done >= FILES_A_WORKER:
                if worker is not None:
                    worker.end()
                worker = _Worker(place)
            name, data = damaged(seeds, number)
            verdict, seconds, memory_mb = worker.read(name, data)
            slowest, peak = max(slowest, seconds), max(peak, memory_mb)
            kind = Path(name).suffix
            fared[f'{kind} {verdict.partition(":")[0]}'] += 1
            if not verdict.startswith(('read', 'refused')):
                wrong.append(f'{number} ({name}): {verdict}')
                worker.end()
                worker = None
        if worker is not None:
            worker.end()
    return {
        'files': files, 'seed': seed, 'seconds': round(time.monotonic() - begin, 1),
        'fared': dict(sorted(fared.items())), 'slowest_s': round(slowest, 2),
        'peak_mb': round(peak, 1), 'wrong': wrong[:50],
        'passed': not wrong and slowest < MOST_S and peak < MOST_MB}


def _seeds(folder: Path) -> Seeds:
    """Make a good file of each kind."""
    import cv2
    from PIL import Image as Picture
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
    from rosbags.typesys import get_typestore, Stores

    rng = np.random.default_rng(0)
    pictures = [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
                for _ in range(24)]
    jpegs = [cv2.imencode('.jpg', one)[1] for one in pictures]
    store = get_typestore(Stores.ROS2_JAZZY)
    kind = 'sensor_msgs/msg/CompressedImage'
    header, stamp = store.types['std_msgs/msg/Header'], store.types['builtin_interfaces/msg/Time']
    seeds: Seeds = {}

    def bag(name: str, plugin: StoragePlugin, mode: CompressionMode) -> None:
        writer = Writer(folder / name, version=9, storage_plugin=plugin)
        if mode is not CompressionMode.NONE:
            writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            camera = writer.add_connection('/camera', kind, typestore=store)
            for index, data in enumerate(jpegs):
                writer.write(camera, 10 ** 18 + index * 33_000_000, store.serialize_cdr(
                    store.types[kind](
                        header=header(stamp=stamp(10 ** 9, index * 33_000_000), frame_id='c'),
                        format='jpeg', data=data.ravel()), kind))
                if plugin is StoragePlugin.MCAP and index % 6 == 5:
                    writer.storage.close_chunk()  # type: ignore[attr-defined]
        file = next(one for one in (folder / name).iterdir() if one.suffix != '.yaml')
        seeds[f'{name}{file.suffix}'] = file.read_bytes()
    bag('plain', StoragePlugin.MCAP, CompressionMode.NONE)
    bag('chunks', StoragePlugin.MCAP, CompressionMode.STORAGE)
    bag('table', StoragePlugin.SQLITE3, CompressionMode.NONE)
    bag('messages', StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    video = folder / 'video.mp4'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'mp4v'), 25, (64, 48))
    for one in pictures:
        writer.write(one)
    writer.release()
    seeds['video.mp4'] = video.read_bytes()
    first, *rest = [Picture.fromarray(one[:, :, 0]) for one in pictures[:8]]
    first.save(folder / 'a.gif', save_all=True, append_images=rest, duration=40)
    seeds['a.gif'] = (folder / 'a.gif').read_bytes()
    seeds['a.jpg'] = jpegs[0].tobytes()
    seeds['progressive.jpg'] = cv2.imencode(
        '.jpg', pictures[1], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    return seeds


def damaged(seeds: Seeds, number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of one file, the same for the same number."""
    rng = np.random.default_rng(number)
    name = list(seeds)[number % len(seeds)]
    data = bytearray(seeds[name])
    ways: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
        _flip, _flip, _numbers, _cut, _drop, _exchange, _double)
    for _ in range(int(rng.integers(1, 4))):
        data = ways[int(rng.integers(len(ways)))](data, rng)
    return name, bytes(data)


def _flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 30))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return data


def _numbers(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Put a length that is far too large, or zero, somewhere; mostly near the beginning."""
    size = int(rng.choice([2, 4, 8]))
    most = min(len(data), int(rng.choice([64, 512, len(data)])))
    at = int(rng.integers(max(most - size, 1)))
    data[at:at + size] = int(rng.choice([0, 255, 127])).to_bytes(1, 'big') * size
    return data


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[:int(rng.integers(1, len(data) + 1))]


def _drop(data: bytearray, rng: np.random.Generator) -> bytearray:
    first, last = sorted(rng.integers(len(data), size=2).tolist())
    return data[:first] + data[last:] or data


def _exchange(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Exchange two stretches that lie beside each other, as chunks in another order are."""
    a, b, c = sorted(rng.integers(len(data) + 1, size=3).tolist())
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _double(data: bytearray, rng: np.random.Generator) -> bytearray:
    first, last = sorted(rng.integers(len(data), size=2).tolist())
    return data[:last] + data[first:]


class _Worker:
    """A process that reads one file after the other."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context('spawn')
        self.done = 0
        self._folder = folder
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it has imported what it needs

    def read(self, name: str, data: bytes) -> tuple[str, float, float]:
        """Return what became of a file, the seconds it took, and the peak of memory in MB."""
        self.done += 1
        path = self._folder / f'{self.done % 2}_{name}'
        path.write_bytes(data)
        begin = time.monotonic()
        try:
            self._pipe.send(str(path))
            if not self._pipe.poll(2 * MOST_S):
                return 'hung', time.monotonic() - begin, 0.0
            answer: tuple[str, float, float] = self._pipe.recv()
            return answer
        except (EOFError, ConnectionError):
            self._process.join(5)
            return f'crashed: status {self._process.exitcode}', time.monotonic() - begin, 0.0

    def end(self) -> None:
        self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection) -> None:
    from aitable_ros.recordings import readers  # noqa: F401

    pipe.send('ready')
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        begin = time.process_time(), time.monotonic()
        verdict = _read(Path(path))
        # Processor time: the machine may be doing something else.
        spent = min(time.process_time() - begin[0], time.monotonic() - begin[1])
        pipe.send((verdict, spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def _read(path: Path) -> str:
    from aitable_ros.errors import InputError
    from aitable_ros.recordings.readers import open_source

    count = 0
    try:
        source = open_source(path)
        frames = iter(source)
        try:
            for frame in islice(frames, MOST_FRAMES):
                count += 1
                assert frame.image.ndim == 3
        finally:
            frames.close()  # type: ignore[attr-defined]
        lines = [*source.notes, source.problem]
    except InputError as error:
        lines = [str(error)]
        if not count:
            return 'refused' if _is_line(lines[0]) else f'no line: {lines[0]!r}'
    except Exception as error:
        return f'traceback: {type(error).__name__}: {error}'
    return 'read' if all(map(_is_line, lines)) else f'no line: {lines!r}'


def _is_line(text: str) -> bool:
    return not {'\n', '\r', '\0'} & set(text) and len(text) < LONGEST_LINE
