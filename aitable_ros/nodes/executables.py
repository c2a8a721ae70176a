# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The programs: ``pipeline``, ``container``, and each node alone.

They take standard ROS arguments, end with status 0 on SIGINT and SIGTERM, with 2 and one line on
bad input. What is heavy is imported after the signal handlers and the environment are in place.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
import os
import re
import sys
from typing import TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.nodes import environment
from aitable_ros.nodes.camera_groups import grouped, PER_PROCESS, run_processes
from aitable_ros.stopping import StopSignal

if TYPE_CHECKING:
    from aitable_ros.nodes.composition import Composition

PIPELINE = ('FaceDetectorNode', 'FatigueNode', 'EmotionNode')
"""The detector comes first, so that the nodes that work on faces find it in their process."""
NAME_PATTERN = re.compile('[A-Za-z][A-Za-z0-9_]*')
"""Of a camera: one token of a ROS name."""
PARENT_CHECK_S = 0.5
SWITCH_INTERVAL_S = 0.0005
"""A thread that computes in Python yields the interpreter after this time. The default of 5 ms is a
third of what an image may take, and an image is handed over a few times before its answer."""


def pipeline(argv: Sequence[str] | None = None) -> int:
    """Run all nodes in one process, once for each camera; many cameras in several processes."""
    return _main('pipeline', argv, _load_pipeline, _pipeline_arguments, _processes)


def container(argv: Sequence[str] | None = None) -> int:
    """Run an empty process into which ``ros2 component load`` and launch load nodes."""
    return _main('container', argv, _load_container)


def _alone(name: str, node: str) -> Callable[[Sequence[str] | None], int]:
    """Return the program that runs one node alone."""
    def run(argv: Sequence[str] | None = None) -> int:
        return _main(name, argv, lambda loaded, _: _load(loaded, node))
    return run


camera = _alone('camera', 'CameraNode')
face_detector = _alone('face_detector', 'FaceDetectorNode')
emotion = _alone('emotion', 'EmotionNode')
fatigue = _alone('fatigue', 'FatigueNode')
posture = _alone('posture', 'PostureNode')
overlay = _alone('overlay', 'OverlayNode')
hri_bridge = _alone('hri_bridge', 'HriNode')


def _pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--posture', action=argparse.BooleanOptionalAction, default=None,
        help='also read the posture of bodies; as the parameter file says (posture: enabled) '
        'where it is left out')
    parser.add_argument(
        '--overlay', action='store_true', help='publish annotated images on the topic "overlay"')
    parser.add_argument(
        '--hri', action='store_true',
        help='also publish REP-155 topics, /humans/..., where hri_msgs is installed')
    parser.add_argument(
        '--container', action='store_true',
        help='also let `ros2 component` load nodes beside these, and unload them')
    parser.add_argument(
        '--camera', action='append', default=[], type=_camera, metavar='NAME=TOPIC',
        help='one of several cameras: its nodes get the namespace NAME and read TOPIC; repeat it')
    parser.add_argument(
        '--cameras-per-process', type=_at_least_0, default=PER_PROCESS, metavar='N',
        help='more cameras than this are spread over several processes; 0 is one for all '
        '(default %(default)s)')
    parser.add_argument(
        '--camera-device', metavar='DEVICE',
        help='also run the camera in this process: 0, /dev/video0, rtsp://..., a video file; other '
        'processes see its topic, too')


def _camera(text: str) -> tuple[str, str]:
    """
    Return the name and the topic of a camera.

    :raises ArgumentTypeError: the text is not of the form NAME=TOPIC
    """
    name, separator, topic = text.partition('=')
    if not (separator and topic and NAME_PATTERN.fullmatch(name)):
        raise argparse.ArgumentTypeError(
            f"'{text}': expected NAME=TOPIC, such as front=/front/image_raw")
    return name, topic


def _at_least_0(text: str) -> int:
    """
    Return a number of cameras.

    :raises ArgumentTypeError: it is not a whole number from 0 on
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}': expected a whole number, such as 4")
    return int(text)


def _processes(args: argparse.Namespace) -> dict[str, list[str]]:
    """
    Return the commands that run groups of cameras; empty where this process runs all of them.

    :raises InputError: the arguments contradict each other
    """
    names = Counter(name for name, _ in args.camera)
    for name, count in names.items():
        if count > 1:
            raise InputError(f"--camera: {count} cameras are called '{name}'")
    if args.camera_device and names:
        raise InputError('--camera-device is one camera: leave --camera out')
    groups = grouped(args.camera, args.cameras_per_process)
    if len(groups) < 2:
        return {}
    if args.container:
        raise InputError(
            f'--container is one process, and {len(names)} cameras take {len(groups)}: leave it '
            'out, or set --cameras-per-process 0')
    commands = {}
    for number, group in enumerate(groups):
        options = [*(['--overlay'] if args.overlay else []), *posture_options(args.posture)]
        if args.hri and not number:  # see nodes/hri.py
            options.append('--hri')
        for name, topic in group:
            options += ['--camera', f'{name}={topic}']
        commands[', '.join(name for name, _ in group)] = [
            '-m', 'aitable_ros', 'run', *options,
            '--cameras-per-process', str(args.cameras_per_process), *args.ros]
    return commands


def _load_pipeline(loaded: Composition, args: argparse.Namespace) -> None:
    posture = posture_wanted(args.ros) if args.posture is None else args.posture
    plugins = (*PIPELINE, *(('PostureNode',) if posture else ()),
               *(('OverlayNode',) if args.overlay else ()))
    if args.hri:
        plugins = (*plugins, *_hri())
    if args.camera_device:
        _load_camera(loaded, args.camera_device)
    if not args.camera:
        loaded.load_all(plugins)
    for name, topic in args.camera:
        loaded.load_all(plugins, cli_args=[
            '--ros-args', '-r', f'__ns:={namespace_of(args.ros)}/{name}', '-r', f'image:={topic}'])
        plugins = tuple(plugin for plugin in plugins if plugin != 'HriNode')  # see nodes/hri.py
    if args.container:
        _load_container(loaded, args)


def posture_options(wanted: bool | None) -> list[str]:
    """Return the option that says so; none where the parameter file decides."""
    return [] if wanted is None else ['--posture' if wanted else '--no-posture']


def posture_wanted(ros: Sequence[str]) -> bool:
    """Return whether a parameter file among ROS arguments enables the reading of posture."""
    from aitable_ros.config import read_parameter_file

    return any(
        read_parameter_file(value)['posture'].get('enabled') is True
        for word, value in pairwise(ros) if word == '--params-file')


def _load_camera(loaded: Composition, device: str) -> None:
    from rclpy.parameter import Parameter

    loaded.load('CameraNode', parameter_overrides=[Parameter('device', value=device)])


def _hri() -> tuple[str, ...]:
    """Return the bridge, or nothing and a line in the log: the rest goes on without it."""
    from rclpy.logging import get_logger

    from aitable_ros.nodes.hri import missing

    reason = missing()
    if reason:
        get_logger('aitable').warning(f'no REP-155 topics: {reason}')
    return () if reason else ('HriNode',)


def namespace_of(ros: Sequence[str]) -> str:
    """Return the namespace that ROS arguments give every node, without a slash at its end."""
    rules = (word.partition(':=') for word in ros)
    found = next((to.strip('/') for name, _, to in rules if name in ('__ns', '__namespace')), '')
    return f'/{found}' if found else ''


def _load_container(loaded: Composition, args: argparse.Namespace) -> None:
    from aitable_ros.nodes.container import Container

    loaded.host(Container(loaded))


def _load(loaded: Composition, plugin: str) -> None:
    loaded.load(plugin)


def _main(
    name: str,
    argv: Sequence[str] | None,
    load: Callable[[Composition, argparse.Namespace], None],
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    processes: Callable[[argparse.Namespace], dict[str, list[str]]] = lambda args: {},
) -> int:
    """
    Run a program to its end; returns its exit status.

    :param processes: returns the commands of several processes that do its work, or none
    """
    stop = StopSignal()
    parent = os.getppid()
    command = list(sys.argv[1:] if argv is None else argv)
    own, ros = _split(command)
    parser = argparse.ArgumentParser(
        prog=name, description=f'aitable_ros: {name}. ROS arguments go after --ros-args.')
    arguments(parser)
    args = parser.parse_args(own, argparse.Namespace(ros=ros))
    try:
        warnings = _check_parameter_files(ros)
        commands = processes(args)
        if commands:
            return _run_processes(name, commands, stop, parent)
        environment.prepare()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        return _run(load, args, [name, *ros], stop, parent, warnings)
    except InputError as error:
        if not stop.is_set():
            print(f'{name}: {error}', file=sys.stderr)  # noqa: T201
            return 2
    return 0


def _run_processes(
    name: str, commands: dict[str, list[str]], stop: StopSignal, parent: int,
) -> int:
    """Run several processes in place of one; returns the exit status."""
    def ended(wait_s: float) -> bool:
        return stop.wait(wait_s) or _orphaned(parent)

    try:
        return run_processes(commands, environment.child_environment(), ended)
    except RuntimeError as error:
        print(f'{name}: {error}', file=sys.stderr)  # noqa: T201
        return 1


def _orphaned(parent: int) -> bool:
    """Whether to end because the process that started this one has ended."""
    return os.environ.get(environment.END_WITH_PARENT) == '1' and os.getppid() != parent


def _run(
    load: Callable[[Composition, argparse.Namespace], None],
    args: argparse.Namespace, ros: list[str], stop: StopSignal, parent: int,
    warnings: Sequence[str],
) -> int:
    import rclpy
    from rclpy.logging import get_logger
    from rclpy.signals import SignalHandlerOptions

    from aitable_ros.nodes.composition import Composition
    from aitable_ros.nodes.start_check import start_lines

    try:
        rclpy.init(args=ros, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy has a type for each of its reasons, all of them bad input
        remedy = ('; where the home folder cannot be written, set ROS_LOG_DIR'
                  if 'log' in str(error) else '')
        raise InputError(' '.join(str(error).split()) + remedy) from None
    try:
        log = get_logger('aitable')
        for is_warning, line in start_lines():
            (log.warning if is_warning else log.info)(line)
        for line in warnings:
            log.warning(line)
        if not _publishes_images(ros[0], args):
            environment.send_little()
        with Composition() as loaded:
            load(loaded, args)
            end_with_parent = os.environ.get(environment.END_WITH_PARENT) == '1'
            while not stop.wait(PARENT_CHECK_S if end_with_parent else None):
                if _orphaned(parent):
                    break
    finally:
        rclpy.try_shutdown()
    return 0


def _publishes_images(name: str, args: argparse.Namespace) -> bool:
    """Return whether a program publishes images, or may once other nodes are loaded into it."""
    if name != 'pipeline':
        return name in ('camera', 'overlay', 'container')
    return bool(args.overlay or args.camera_device or args.container)


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


def _check_parameter_files(ros: Sequence[str]) -> list[str]:
    """
    Check the parameter files for mistakes that rcl reports in ten lines or not at all.

    :return: a line for each name that is almost one of ours
    :raises InputError: one is not there or not a parameter file
    """
    from aitable_ros.config import read_parameter_file

    warnings: list[str] = []
    for word, value in pairwise(ros):
        if word == '--params-file':
            read_parameter_file(value, warnings.append)
    return warnings
