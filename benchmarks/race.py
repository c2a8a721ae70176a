# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Part d: the same frames in our pipeline and in other people's software, block by block in turns.

Each subject is a process of its own, in an environment of its own, on a plain allocator. All are
asked for one inference thread where they can be asked; MediaPipe cannot (its graph has a pool of
threads, its inference takes one), so the processor's time of all threads is told beside it.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import subprocess
import sys
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.pictures import Clip, SIZES
from benchmarks.venvs import interpreter, PeerError, plain_environment

OURS = 'aitable'
RIVAL = 'mediapipe_facemesh'
"""What the whole pipeline must not be slower than (issue 8) ..."""
ASKED = {'median': 0.75, 'mean': 0.85}
"""... and the shares of its time a frame that are asked of it (issue 23)."""
BLOCK = 20
"""Frames that a subject reads before it is the next one's turn."""
WARM_UP = 2
"""Blocks that do not count."""
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class _Peer:
    """
    A subject.

    :param what: it does, for the table
    :param home: list of its environment; empty is ours
    :param model: variable that names the file of its model, which nothing here brings
    """

    what: str
    home: str = ''
    model: str = ''


PEERS = {
    OURS: _Peer('everything: detect, track, mesh, eyes, fatigue, emotion'),
    RIVAL: _Peer('tracks one face, refined mesh; no emotion, no fatigue', 'mediapipe'),
    'mediapipe_landmarker': _Peer(
        'tracks one face, mesh (Tasks)', 'mediapipe', 'AITABLE_FACE_LANDMARKER'),
    'mediapipe_detection': _Peer('finds faces, full range, in every image', 'mediapipe'),
    'opencv_haar': _Peer('finds faces in every image'),
    'opencv_yunet': _Peer('finds faces in every image', model='AITABLE_YUNET'),
    'fer': _Peer('finds faces (Haar), reads emotion', 'fer'),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the part's arguments."""
    parser.add_argument('--frames', type=int, help='that count (default: 600; quick: 100)')
    parser.add_argument('--size', choices=SIZES, default='720p')
    parser.add_argument('--subjects', nargs='+', choices=PEERS, default=list(PEERS))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns the result."""
    frames = args.frames or (100 if args.quick else 600)
    width, height = SIZES[args.size]
    clip = Clip(frames, (width, height), args.clip)
    rows: dict[str, dict[str, Any]] = {}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix='aitable_race_')))
        block = np.memmap(folder / 'block', np.uint8, 'w+', shape=(BLOCK, height, width, 3))
        racers = []
        for name in args.subjects:
            rows[name] = {'what': PEERS[name].what, 'skipped': ''}
            try:
                python = _python(name, args)
                racers.append(opened.enter_context(_Racer(name, python, block, folder / 'block')))
            except PeerError as error:
                rows[name]['skipped'] = str(error)
                measure.say(f'peers: {name}: {error}')
        blocks = -(-frames // BLOCK)
        for index in range(-WARM_UP, blocks):
            for place in range(BLOCK):
                block[place] = clip((index + WARM_UP) * BLOCK + place)
            for racer in measure.rounds_order(racers, index):
                racer.read((index + WARM_UP) * BLOCK, keep=index >= 0)
            if index % 5 == 0:
                measure.say(f'peers: block {index} of {blocks}')
        for racer in racers:
            rows[racer.name] |= racer.figures()
    _compare(rows)
    return {
        'clip': clip.name, 'size': args.size, 'frames': blocks * BLOCK, 'block': BLOCK,
        'rows': rows, 'must_hold': _verdict(rows)}


def _python(name: str, args: argparse.Namespace) -> Path:
    """
    Return the interpreter for a subject.

    :raises PeerError: why it does not take part
    """
    peer = PEERS[name]
    if name == 'fer' and not args.with_fer:
        raise PeerError('needs TensorFlow (some 2 GB): ask for it with --with-fer')
    if peer.model and not Path(os.environ.get(peer.model, '')).is_file():
        raise PeerError(f'its model is not bundled: name the file in {peer.model}')
    return interpreter(peer.home) if peer.home else Path(sys.executable)


@dataclass(slots=True)
class _Samples:
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    faces: list[int] = field(default_factory=list)


class _Racer(ExitStack):
    """One subject's process."""

    def __init__(self, name: str, python: Path, block: Any, path: Path) -> None:
        super().__init__()
        self.name = name
        self._samples = _Samples()
        self._last: dict[str, Any] = {}
        self._words = self.enter_context(TemporaryFile('w+'))  # noqa: SIM115
        shape = [str(block.shape[axis]) for axis in (1, 2, 0)]
        environment = plain_environment() | {
            'GLOG_minloglevel': '3', 'TF_CPP_MIN_LOG_LEVEL': '3', 'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': ''}
        if python == Path(sys.executable):
            environment['PYTHONPATH'] = str(measure.ROOT)
        self._process = self.enter_context(subprocess.Popen(
            [str(python), str(HERE / 'peers' / 'worker.py'), name, *shape, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, text=True,
            env=environment))
        self.callback(self._end)
        try:
            self._about = self._hear()
        except PeerError:
            self.close()
            raise

    def read(self, sequence: int, *, keep: bool) -> None:
        """Have it read the block."""
        assert self._process.stdin is not None
        self._process.stdin.write(f'{sequence} {BLOCK}\n')
        self._process.stdin.flush()
        self._last = self._hear()
        if keep:
            self._samples.wall += self._last['wall']
            self._samples.cpu += self._last['cpu']
            self._samples.faces += self._last['faces']

    def figures(self) -> dict[str, Any]:
        """Return what it took."""
        samples = self._samples
        return {
            'wall_ms': measure.figures(samples.wall), 'cpu_ms': measure.figures(samples.cpu),
            'seen': round(float(np.mean(np.array(samples.faces) > 0)), 4),
            'rss_mb': round(self._last['rss_mb']), 'threads': self._last['threads'], **self._about}

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self._process.wait()
        self._words.seek(0)
        lines = [line.strip() for line in self._words if line.strip()]
        raise PeerError(f'it ended: {lines[-1][:200] if lines else self._process.returncode}')

    def _end(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _compare(rows: dict[str, dict[str, Any]]) -> None:
    """Add what ours takes over what each other takes."""
    ours = rows.get(OURS, {})
    for row in rows.values():
        if 'wall_ms' in row and 'wall_ms' in ours:
            row['ours_over_this'] = {
                f'{kind}_{figure}': round(
                    ours[f'{kind}_ms'][figure] / max(row[f'{kind}_ms'][figure], 1e-9), 3)
                for kind in ('wall', 'cpu') for figure in ('p50', 'mean')}


def _verdict(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Say whether ours takes at most as long as the rival: by median, and amortised."""
    ratio = rows.get(RIVAL, {}).get('ours_over_this')
    if not ratio:
        return {'measured': False}
    return {
        'measured': True, 'limit': 1.0, 'median_ratio': ratio['wall_p50'],
        'mean_ratio': ratio['wall_mean'], 'median_holds': ratio['wall_p50'] <= 1.0,
        'mean_holds': ratio['wall_mean'] <= 1.0, 'asked': ASKED}
