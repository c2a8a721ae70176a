# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The programs: ``pipeline``, ``container``, and each node alone.

They take standard ROS arguments, end with status 0 on SIGINT and SIGTERM, with 2 and one line on
bad input. What is heavy is imported after the signal handlers and the environment are in place.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from itertools import pairwise
import os
import signal
import sys
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.nodes import environment

if TYPE_CHECKING:
    from aitable_ros.nodes.composition import Composition

PIPELINE = ('FaceDetectorNode', 'FatigueNode', 'EmotionNode')
"""The detector first: whoever works on faces finds it in its process."""
PARENT_CHECK_S = 0.5
SWITCH_INTERVAL_S = 0.0005
"""A thread that computes in Python yields the interpreter after this time. The default of 5 ms is a
third of what an image may take, and an image is handed over a few times before its answer."""


def pipeline(argv: Sequence[str] | None = None) -> int:
    """Run all nodes in one process."""
    return _main('pipeline', argv, _load_pipeline, (_overlay_argument,))


def container(argv: Sequence[str] | None = None) -> int:
    """Run an empty process into which ``ros2 component load`` and launch load nodes."""
    return _main('container', argv, _load_container)


def face_detector(argv: Sequence[str] | None = None) -> int:
    """Run the face detector alone."""
    return _main('face_detector', argv, lambda loaded, _: _load(loaded, 'FaceDetectorNode'))


def emotion(argv: Sequence[str] | None = None) -> int:
    """Run the emotion node alone."""
    return _main('emotion', argv, lambda loaded, _: _load(loaded, 'EmotionNode'))


def fatigue(argv: Sequence[str] | None = None) -> int:
    """Run the fatigue node alone."""
    return _main('fatigue', argv, lambda loaded, _: _load(loaded, 'FatigueNode'))


def overlay(argv: Sequence[str] | None = None) -> int:
    """Run the overlay node alone."""
    return _main('overlay', argv, lambda loaded, _: _load(loaded, 'OverlayNode'))


def _overlay_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--overlay', action='store_true', help='publish annotated images on the topic "overlay"')


def _load_pipeline(loaded: Composition, args: argparse.Namespace) -> None:
    loaded.load_all((*PIPELINE, *(('OverlayNode',) if args.overlay else ())))


def _load_container(loaded: Composition, args: argparse.Namespace) -> None:
    from aitable_ros.nodes.container import Container

    loaded.host(Container(loaded))


def _load(loaded: Composition, plugin: str) -> None:
    loaded.load(plugin)


def _main(
    name: str,
    argv: Sequence[str] | None,
    load: Callable[[Composition, argparse.Namespace], None],
    arguments: Sequence[Callable[[argparse.ArgumentParser], None]] = (),
) -> int:
    """Run a program to its end; returns its exit status."""
    stop = Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    parent = os.getppid()
    command = list(sys.argv[1:] if argv is None else argv)
    own, ros = _split(command)
    parser = argparse.ArgumentParser(
        prog=name, description=f'aitable_ros: {name}. ROS arguments go after --ros-args.')
    for add in arguments:
        add(parser)
    args = parser.parse_args(own)
    try:
        _check_parameter_files(ros)
        environment.prepare()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        return _run(load, args, [name, *ros], stop, parent)
    except InputError as error:
        if not stop.is_set():
            print(f'{name}: {error}', file=sys.stderr)  # noqa: T201
            return 2
    return 0


def _run(
    load: Callable[[Composition, argparse.Namespace], None],
    args: argparse.Namespace, ros: list[str], stop: Event, parent: int,
) -> int:
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from aitable_ros.nodes.composition import Composition

    try:
        rclpy.init(args=ros, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy has a type for each of its reasons, all of them bad input
        raise InputError(' '.join(str(error).split())) from None
    try:
        with Composition() as loaded:
            load(loaded, args)
            end_with_parent = os.environ.get(environment.END_WITH_PARENT) == '1'
            while not stop.wait(PARENT_CHECK_S if end_with_parent else None):
                if os.getppid() != parent:
                    break
    finally:
        rclpy.try_shutdown()
    return 0


def _split(command: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the program's own arguments from the stretches of ``--ros-args ... [--]``."""
    own: list[str] = []
    ros: list[str] = []
    target = own
    for word in command:
        if word == '--ros-args':
            target = ros
        target.append(word)
        if word == '--' and target is ros:
            target = own
    return own, ros


def _check_parameter_files(ros: Sequence[str]) -> None:
    """
    Read the parameter files for what rcl says in ten lines or not at all.

    :raises InputError: one is not there or not a parameter file
    """
    from aitable_ros.config import read_parameter_file

    for word, value in pairwise(ros):
        if word == '--params-file':
            read_parameter_file(value)
