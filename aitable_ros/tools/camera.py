# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A camera node: plays the scripted clip, a recording or a real camera as ``sensor_msgs/Image``.

It runs in a process of its own (``python -m aitable_ros.tools.camera``), publishes best effort at
the source's own rate, and stamps an image when it publishes it; or, with ``--keep-stamps``, plays a
recording at any rate with the stamps that it was recorded with, and ``/clock``. ``--record`` keeps,
for each image, its number, its stamp, when it was sent and what the script says of it, so that what
is heard later can be judged.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from select import select
import sys
import time
from typing import Any, TextIO

import cv2
import numpy as np

from aitable_ros.errors import InputError
from aitable_ros.stopping import StopSignal
from aitable_ros.tools.clip import Clip, ScriptedClip, SIZES
from aitable_ros.tools.posture_clip import LONGEST_S, PostureClip
from aitable_ros.types import Frame

TOPIC = 'camera/image_raw'
RECORD_HEADER = 'frame,stamp_ns,sent_ns,closure'
SETTLE_S = 0.5  # without a further subscriber before the first image, and after the last
LOADING_S = 1.0  # the former where nodes may be loading still, one after the other
UNSTAMPED_START_NS = 1_000_000_000  # a video's stamps begin at 0, which in ROS means "none"
MOST_RATE = 1000.0
LONGEST_PAUSE_S = 2.0  # a longer hole between two stamps of a recording is played as this


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names a source to a parser; the demo and the bench take the same."""
    parser.add_argument(
        '--seconds', type=float,
        help='stop after this long (default: a clip or camera 60, a recording its end)')
    parser.add_argument('--fps', type=float, default=30.0, help='rate of the clip (default: 30)')
    parser.add_argument(
        '--size', choices=tuple(SIZES), default='720p', help='size of the clip (default: 720p)')
    parser.add_argument('--seed', type=int, default=0, help=argparse.SUPPRESS)


def info_topic(image_topic: str) -> str:
    """Return the name of the ``CameraInfo`` topic beside an image topic."""
    return ''.join(image_topic.rpartition('/')[:2]) + 'camera_info'


class LiveCamera:
    """
    A camera of this machine, by its index, as a source of frames.

    :raises InputError: it cannot be opened or gives no picture
    """

    kind = 'camera'

    def __init__(self, index: int) -> None:
        self._index = index
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise InputError(
                f'camera {index}: cannot be opened; try another index, or check that '
                f'/dev/video{index} exists and you may read it')
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or 30.0

    def __iter__(self) -> Iterator[Frame]:
        while True:
            good, image = self._capture.read()
            if not good:
                raise InputError(f'camera {self._index}: gives no picture any more')
            picture = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(picture, time.time_ns(), 'camera')

    def close(self) -> None:
        """Give the camera back. Idempotent."""
        self._capture.release()


def open_input(
    name: str | None, args: argparse.Namespace, topic: str | None = None,
) -> Any:
    """
    Open what the user named.

    :param name: None is the scripted clip, with ``args.posture`` that of posture; digits are a
        camera; else a video, folder or bag
    :param topic: camera topic of a bag; may be left out where it has one
    :raises InputError: it cannot be read
    """
    if args.seconds is not None and not 0 < args.seconds < float('inf'):
        raise InputError(f'--seconds takes a number above 0, not {args.seconds:g}')
    if name is None and getattr(args, 'posture', False):
        return PostureClip(
            args.fps, LONGEST_S if args.seconds is None else args.seconds, args.seed,
            SIZES[args.size])
    if name is None:
        seconds = 60.0 if args.seconds is None else args.seconds
        return ScriptedClip(args.fps, seconds, args.seed, SIZES[args.size])
    cv2.setLogLevel(0)  # what it has to say of bad input is said by us, in one line
    if name.isdigit() and not Path(name).exists():
        return LiveCamera(int(name))
    from aitable_ros.recordings.readers import open_source

    return open_source(name, topic)


def check_rate(rate: float) -> None:
    """
    Refuse a rate at which nothing can be played.

    :raises InputError: it is none
    """
    if not 0 < rate <= MOST_RATE:
        raise InputError(f'--rate takes a number above 0 up to {MOST_RATE:g}, not {rate:g}')


def play(
    frames: Iterable[Frame], publisher: _Publisher, stop: StopSignal, *, paced: bool,
    seconds: float | None = None, rate: float = 1.0,
) -> int:
    """
    Publish frames until they end.

    :param paced: keep the distance of their stamps; False sends them as they come
    :param seconds: end after this long
    :param rate: so many times faster
    :return: how many were sent
    """
    begin = due = time.monotonic()
    previous_ns: int | None = None
    sent = 0
    for frame in frames:
        if previous_ns is None:
            begin = due = time.monotonic()  # opening and the first decode take their time
        elif paced:
            # The frame was drawn before its time: that keeps the drawing out of the rate.
            due += min(max((frame.stamp_ns - previous_ns) / 1e9, 0.0), LONGEST_PAUSE_S) / rate
            if stop.wait(max(0.0, due - time.monotonic())):
                break
        previous_ns = frame.stamp_ns
        if stop.is_set() or (seconds is not None and time.monotonic() - begin >= seconds):
            break
        publisher.send(frame)
        sent += 1
    return sent


class _Publisher:
    """Puts frames on the topic, each into the same message, and writes down what went out when."""

    def __init__(
        self, node: Any, topic: str, record: TextIO | None, *, keep_stamps: bool = False,
    ) -> None:
        from rclpy.qos import qos_profile_sensor_data, QoSProfile
        from sensor_msgs.msg import CameraInfo, Image

        self._publisher = node.create_publisher(Image, topic, qos_profile_sensor_data)
        self._info_publisher = node.create_publisher(
            CameraInfo, info_topic(topic), QoSProfile(depth=100))
        self._info = CameraInfo()
        self._message = Image(encoding='rgb8', is_bigendian=0)
        self._record = record
        self._clock: Any = None
        self._start_ns: int | None = None
        if keep_stamps:
            from rosgraph_msgs.msg import Clock

            self._clock = node.create_publisher(Clock, '/clock', QoSProfile(depth=1))
            self._time = Clock()
        self.closure: Sequence[float] = ()
        self._sent = 0
        if record is not None:
            print(RECORD_HEADER, file=record, flush=True)

    def subscribers(self) -> int:
        """Return how many subscribe."""
        return int(self._publisher.get_subscription_count())

    def send(self, frame: Frame) -> None:
        """Publish, with the clock at the frame's own time where stamps are kept."""
        message = self._message
        message.height, message.width, message.step = frame.height, frame.width, 3 * frame.width
        message.header.frame_id = frame.frame_id or 'camera'
        # rclpy takes array('B') as it is, 0.2 ms; anything else it checks value by value.
        data = array('B')
        data.frombytes(np.ascontiguousarray(frame.image).data)
        message.data = data
        now = time.time_ns()
        stamp_ns = now if self._clock is None else self._kept(frame.stamp_ns)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        if self._clock is not None:
            self._time.clock = message.header.stamp
            self._clock.publish(self._time)
        self._publisher.publish(message)
        self._info.header, self._info.width, self._info.height = (
            message.header, frame.width, frame.height)
        self._info_publisher.publish(self._info)
        if self._record is not None:
            closure = f'{self.closure[self._sent]:.4f}' if self._sent < len(self.closure) else ''
            self._record.write(f'{self._sent},{stamp_ns},{now},{closure}\n')
        self._sent += 1

    def _kept(self, stamp_ns: int) -> int:
        if self._start_ns is None:
            self._start_ns = 0 if stamp_ns else UNSTAMPED_START_NS
        return stamp_ns + self._start_ns


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the camera.

    :return: 0 played or asked to end, 1 nobody subscribed, 2 bad input
    """
    parser = argparse.ArgumentParser(
        prog='python -m aitable_ros.tools.camera', description='Plays pictures as a camera topic.')
    parser.add_argument('--input', help='video, image folder, bag or camera index (default: clip)')
    add_source_arguments(parser)
    parser.add_argument('--posture', action='store_true', help='play the clip of posture')
    parser.add_argument('--bag-topic', help='camera topic of a bag that has several')
    parser.add_argument(
        '--keep-stamps', action='store_true', help='keep the stamps of a recording, and publish '
        '/clock with them, for nodes with use_sim_time')
    parser.add_argument(
        '--rate', type=float, default=1.0, help='play so many times faster (with --keep-stamps)')
    parser.add_argument('--topic', default=TOPIC, help=f'topic, may be relative (default: {TOPIC})')
    parser.add_argument('--namespace', default='', help='of the node')
    parser.add_argument('--record', type=Path, help='CSV of what was sent when')
    parser.add_argument(
        '--wait', type=float, default=0.0, metavar='S',
        help='wait this long for subscribers before the first image')
    parser.add_argument(
        '--gate', action='store_true',
        help='wait for a line on standard input before the first image; its end ends the camera')
    args = parser.parse_args(argv)
    try:
        return _run(args)
    except InputError as error:
        print(f'camera: {error}', file=sys.stderr)  # noqa: T201
        return 2


def _run(args: argparse.Namespace) -> int:
    from aitable_ros.nodes import environment

    environment.prepare()
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    stop = StopSignal()
    cv2.setNumThreads(1)  # one core must stay for the nodes
    check_rate(args.rate)
    if args.rate != 1 and not args.keep_stamps:
        raise InputError('--rate needs --keep-stamps: new stamps would make the time another')
    source = open_input(args.input, args, args.bag_topic)
    if args.keep_stamps and getattr(source, 'kind', '') not in ('bag', 'video'):
        raise InputError('--keep-stamps is for a bag or a video')
    frames: Iterable[Frame] = source
    if isinstance(source, ScriptedClip):
        frames = (frame for frame, _ in source)
    with ExitStack() as opened:
        if hasattr(source, 'close'):
            opened.callback(source.close)
        record = opened.enter_context(args.record.open('w', buffering=1)) if args.record else None
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        opened.callback(rclpy.try_shutdown)
        node = rclpy.create_node('camera', namespace=args.namespace)
        opened.callback(node.destroy_node)
        publisher = _Publisher(node, args.topic, record, keep_stamps=args.keep_stamps)
        if isinstance(source, ScriptedClip):
            publisher.closure = source.truth.closure.tolist()
            source.frame(0)  # draws the eyelids, a quarter of a second
        if args.gate and not _gate_opens(stop):
            return 0
        steady_s = SETTLE_S if args.gate else LOADING_S
        if args.wait and not _all_are_there(publisher, stop, args.wait, steady_s):
            print(f'camera: nobody subscribed within {args.wait:g} s', file=sys.stderr)  # noqa: T201
            return 1
        play(
            frames, publisher, stop, paced=not isinstance(source, LiveCamera),
            seconds=None if isinstance(source, Clip) else args.seconds,
            rate=args.rate)
        stop.wait(SETTLE_S)  # the last image must get through before its writer goes
    return 0


def _all_are_there(
    publisher: _Publisher, stop: StopSignal, wait_s: float, steady_s: float,
) -> bool:
    """Wait for subscribers until no further one comes, or it took too long; False: nobody came."""
    began = changed = time.monotonic()
    known = 0
    while not stop.is_set():
        now, count = time.monotonic(), publisher.subscribers()
        if count != known:
            known, changed = count, now
        if (known and now - changed >= steady_s) or now - began > wait_s:
            return bool(known)
        stop.wait(0.05)
    return True


def _gate_opens(stop: StopSignal) -> bool:
    """Wait for a line on standard input; False where there comes none any more."""
    while not stop.is_set():
        readable, _, _ = select([sys.stdin], [], [], 0.1)
        if readable:
            return bool(sys.stdin.readline())
    return False


if __name__ == '__main__':
    sys.exit(main())
