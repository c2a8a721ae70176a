# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable run``: the ``pipeline`` executable, for whoever has no ``ros2 run``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--overlay', action='store_true', help='publish annotated images on the topic "overlay"')
    parser.add_argument(
        '--image', metavar='TOPIC', help='the camera topic, as with "-r image:=TOPIC"')
    parser.add_argument(
        '--params-file', metavar='FILE', help='ROS 2 parameter file, such as config/cpu.yaml')
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[], metavar='...',
        help='standard ROS arguments, passed on; last on the line')


def run(args: argparse.Namespace) -> int:
    """Run the nodes until SIGINT or SIGTERM."""
    from aitable_ros.nodes.executables import pipeline

    ros = ['--ros-args']
    if args.image:
        ros += ['-r', f'image:={args.image}']
    if args.params_file:
        ros += ['--params-file', args.params_file]
    return pipeline([*(['--overlay'] if args.overlay else []), *ros, *args.ros_args])
