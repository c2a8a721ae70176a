# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Faults of the camera: it stops, dies, changes, lies about time, sends rubbish."""

from __future__ import annotations

from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
from soak_camera import encoded, IMAGE, image_message, jpeg, malformed_message, plain, Sent
from soak_faults import fault, Start
from soak_rig import Rig

ONE_IN = 5
HALF_HD = (854, 480)


@fault('nothing, for 5 s: what is lost without a fault on this machine')
def nothing(rig: Rig) -> None:
    """The measure for all others."""
    with rig.fault(concerns=False):
        rig.wait(5.0)


@fault('the camera node publishes nothing for 8 s', lines=2, level=3)
def camera_stops(rig: Rig) -> None:
    """The same publisher goes on afterwards."""
    with rig.fault():
        rig.camera.paused = True
        rig.wait(8.0)
    rig.camera.paused = False


@fault('the camera process is killed; 4 s later another is started', back_s=5.0, lines=4, level=3)
def camera_process_killed(rig: Rig) -> None:
    """What it held in shared memory stays behind."""
    rig.camera.close()
    first = _camera_process(rig, 'camera_1')
    rig.until(lambda: _rows(rig, 'camera_1'), 20.0, 'the first image of the first process')
    rig.wait(3.0)
    with rig.fault():
        first.process.kill()
        first.process.wait()
        rig.wait(4.0)
        second = _camera_process(rig, 'camera_2')
        rig.until(lambda: _rows(rig, 'camera_2'), 20.0, 'the first image of the second process')
    rig.wait(4.0)
    second.end()
    for name in ('camera_1', 'camera_2'):
        rig.camera.sent += _rows(rig, name)
    rig.camera.sent.sort(key=lambda sent: sent.time_s)
    again = time.monotonic()
    rig.camera.open()
    rig.until(lambda: rig.camera.sent[-1].time_s > again, 20.0, 'a subscription to our camera')
    rig.extra['our_camera_found_after_s'] = round(time.monotonic() - again, 2)


def _camera_process(rig: Rig, name: str) -> Any:
    from aitable_ros.tools.child_process import Child

    width = rig.camera._clip.size[0]
    return Child(name, [
        sys.executable, '-m', 'aitable_ros.tools.camera', '--topic', IMAGE,
        '--wait', '20', '--size', '720p' if width == 1280 else 'vga',
        '--record', str(_record(rig, name))],
        rig.folder / f'{name}.log')


def _record(rig: Rig, name: str) -> Path:
    return rig.folder / f'{name}.csv'


def _rows(rig: Rig, name: str) -> list[Any]:
    """Return what a camera process has sent."""
    path = _record(rig, name)
    if not path.exists():
        return []
    steady = time.monotonic() - time.time()
    rows = [line.split(',') for line in path.read_text().rpartition('\n')[0].splitlines()[1:]]
    return [Sent(int(row[1]), int(row[2]) / 1e9 + steady, False) for row in rows]


@fault('images of 854x480 instead of 1280x720 for 3 s', lines=0)
def resolution_changes(rig: Rig) -> None:
    """The first of each kind is concerned: the face is not where it was."""
    before = rig.camera.shape
    with rig.fault(concerns=False):
        rig.camera.shape = encoded(size=HALF_HD)
        rig.wait(3.0)
    rig.camera.shape = encoded()
    rig.wait(0.5)
    rig.camera.shape = before


@fault('rgb8, then mono8, yuv422, bayer_rggb8, bgr8 for 2 s each, then rgb8 again', lines=0)
def encoding_changes(rig: Rig) -> None:
    """The camera driver is reconfigured while it streams."""
    before = rig.camera.shape
    with rig.fault(concerns=False):
        for encoding in ('mono8', 'yuv422', 'bayer_rggb8', 'bgr8'):
            rig.camera.shape = encoded(encoding)
            rig.wait(2.0)
    rig.camera.shape = before


def _clock_is_set(rig: Rig, hours: int) -> None:
    before = rig.camera.offset_ns
    with rig.fault(concerns=False):
        rig.camera.shape = encoded()  # its first is concerned
        rig.camera.offset_ns = before + hours * 3_600_000_000_000
        rig.wait(0.5)
    rig.wait(3.0)


@fault("the camera's clock is set one hour forward", keeps=False, lines=2)
def stamps_jump_forward(rig: Rig) -> None:
    """A state of another time is worth nothing: windows begin anew."""
    _clock_is_set(rig, 1)


@fault("the camera's clock is set one hour back", keeps=False, lines=2)
def stamps_jump_back(rig: Rig) -> None:
    """The same the other way."""
    _clock_is_set(rig, -1)


@fault('single images are stamped one hour ahead or behind, 1 in 30', lines=2, level=1)
def single_stamps_wrong(rig: Rig) -> None:
    """Each costs itself."""
    def shape(picture: np.ndarray, number: int, stamp: int) -> Any:
        wrong = {0: 1, 15: -1}.get(number % 30, 0)
        message, = plain(picture, number, stamp + wrong * 3_600_000_000_000)
        return [(message[0], bool(wrong))]
    shaped(rig, shape, 4.0)


def shaped(rig: Rig, shape: Any, seconds: float) -> None:
    """Send images made otherwise for so long."""
    before = rig.camera.shape
    with rig.fault(concerns=False):
        rig.camera.shape = shape
        rig.wait(seconds)
        rig.camera.shape = before


@fault('stamps of zero for 3 s', lines=2, level=1)
def stamps_zero(rig: Rig) -> None:
    """A driver that does not stamp."""
    shaped(rig, lambda picture, number, stamp: [(plain(picture, number, 0)[0][0], True)], 3.0)


@fault("300 images at once, one in 30 ms of the camera's own time", lines=1)
def burst(rig: Rig) -> None:
    """Ten seconds of images that a network held back; what the model has no time for is dropped."""
    from aitable_ros.nodes.messages import CODEC

    rig.camera.paused = True
    rig.wait(0.3)
    message = image_message(rig.camera.picture(), 'rgb8', 1)
    with rig.fault():
        first = rig.camera.stamp() - 300 * 1_000_000
        for number in range(300):
            message.header.stamp = CODEC.time_message(first + number * 1_000_000)
            rig.camera.publish(message, True)
    rig.camera.paused = False


@fault('one Image in 5 is malformed, for 6 s (seeded generator)', lines=10, level=1)
def malformed_images(rig: Rig) -> None:
    """The 1,200 raw ones of the first seeds, as many as fit."""
    from sensor_msgs.msg import Image
    bad = (one for one in map(malformed_message, range(3000)) if isinstance(one, Image))

    def shape(picture: np.ndarray, number: int, stamp: int) -> Any:
        if number % ONE_IN:
            return plain(picture, number, stamp)
        return [(next(bad), True)]
    shaped(rig, shape, 6.0)


@fault('one JPEG in 5 is corrupted, for 6 s: cut short, or 20 bytes changed',
       start=Start(transport='compressed'), lines=4, level=1)
def corrupted_jpegs(rig: Rig) -> None:
    """One with changed bytes may still be a picture."""
    rng = np.random.default_rng(0)

    def shape(picture: np.ndarray, number: int, stamp: int) -> Any:
        (message, _), = jpeg(picture, number, stamp)
        if number % ONE_IN:
            return [(message, False)]
        data = bytearray(message.data)
        if rng.random() < 0.5:
            data = data[:int(rng.integers(0, len(data)))]
        else:
            for at in rng.integers(2, len(data), 20):
                data[at] = int(rng.integers(0, 256))
        message.data = data
        return [(message, True)]
    shaped(rig, shape, 6.0)
