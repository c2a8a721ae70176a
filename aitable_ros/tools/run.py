# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable run``: the ``pipeline`` executable, for machines without ``ros2 run``."""

from __future__ import annotations

import argparse

from aitable_ros.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--posture', action=argparse.BooleanOptionalAction, default=None,
        help='also read the posture of bodies; as the parameter file says where it is left out')
    parser.add_argument(
        '--overlay', action='store_true', help='publish annotated images on the topic "overlay"')
    parser.add_argument(
        '--hri', action='store_true', help='also publish REP-155 topics, /humans/...')
    parser.add_argument(
        '--container', action='store_true', help='also let `ros2 component` load nodes beside them')
    parser.add_argument(
        '--image', metavar='TOPIC', help='the camera topic, as with "-r image:=TOPIC"')
    parser.add_argument(
        '--camera', action='append', default=[], metavar='NAME=TOPIC',
        help='one of several cameras: its nodes get the namespace NAME; repeat it')
    parser.add_argument(
        '--cameras-per-process', metavar='N', help='more cameras than this are spread over several '
        'processes; 0 is one for all')
    parser.add_argument(
        '--camera-device', metavar='DEVICE', help='also run the camera in this process: 0, '
        '/dev/video0, rtsp://..., a video file')
    parser.add_argument(
        '--params-file', metavar='FILE', help='ROS 2 parameter file, such as config/cpu.yaml')
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[], metavar='...',
        help='standard ROS arguments, passed on; last on the line')


def run(args: argparse.Namespace) -> int:
    """
    Run the nodes until SIGINT or SIGTERM.

    :raises InputError: the arguments contradict each other
    """
    from aitable_ros.nodes.executables import pipeline, posture_options

    if args.image and args.camera:
        raise InputError(
            f'--image {args.image}: with --camera, give each camera as --camera NAME=TOPIC')
    ros = ['--ros-args']
    if args.image:
        ros += ['-r', f'image:={args.image}']
    if args.params_file:
        ros += ['--params-file', args.params_file]
    own = [f'--{name}' for name in ('overlay', 'hri', 'container') if getattr(args, name)]
    own += posture_options(args.posture)
    if args.camera_device:
        own += ['--camera-device', args.camera_device]
    if args.cameras_per_process is not None:
        own += ['--cameras-per-process', args.cameras_per_process]
    for camera in args.camera:
        own += ['--camera', camera]
    return pipeline([*own, *ros, *args.ros_args])
