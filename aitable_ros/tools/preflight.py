# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable preflight``: is everything in place for a run, and what to do where it is not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
import json
import os
from pathlib import Path
import re
import subprocess
import sys

from aitable_ros.nodes.start_check import (
    Check, check_disk, check_images, check_memory, check_python, check_shared_memory, Status
)
from aitable_ros.tools.check_camera import check_camera
from aitable_ros.tools.check_models import (
    check_backends, check_chains, check_engines, check_gpu, first_line, installed_version, stages
)

LISTEN_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--params', '--params-file', type=Path, metavar='FILE', dest='params_file',
        help='check the models that this parameter file names (default: the default chains)')
    parser.add_argument(
        '--image', metavar='TOPIC', help='also listen to this camera topic')
    parser.add_argument(
        '--seconds', type=_seconds, default=LISTEN_S, help='how long to listen (default: 3)')
    parser.add_argument('--json', action='store_true', help='print JSON')


def run(args: argparse.Namespace) -> int:
    """Check and print; 1 where something fails."""
    checks: list[Check] = []
    for check in all_checks(args.params_file, args.image, args.seconds):
        checks.append(check)
        if not args.json:
            _show(check)
    failed = any(check.status is Status.FAIL for check in checks)
    if args.json:
        document = {'ok': not failed, 'checks': [asdict(check) for check in checks]}
        print(json.dumps(document, indent=2))  # noqa: T201
    else:
        print(_verdict(checks))  # noqa: T201
    return int(failed)


def all_checks(
    parameters: Path | None = None, image: str | None = None, seconds: float = LISTEN_S,
) -> Iterator[Check]:
    """
    Look at everything, quick things first.

    :param parameters: parameter file of the nodes, None for their defaults
    :param image: camera topic to listen to, None for none
    :raises InputError: the file, or a parameter in it, cannot be used
    """
    libraries = check_libraries()
    options = stages(parameters) if libraries.status is Status.OK else None
    yield check_python()
    yield libraries
    ros = list(check_ros())
    yield from ros
    yield check_images()
    yield check_shared_memory()
    yield check_memory()
    yield check_disk()
    gpu, cuda = check_gpu()
    yield gpu
    yield from check_backends(cuda)
    if options is not None:
        yield from check_engines(options)
        yield from check_chains(options)
    if image is None:
        return
    if libraries.status is Status.OK and all(check.status is Status.OK for check in ros):
        yield from check_camera(image, seconds)
    else:
        yield Check('camera', Status.FAIL, f'{image}: cannot be listened to without the above',
                    'mend what failed above first')


_LOG = re.compile(r'\d{4}-\d\d-\d\d [\d:.]+ \[\w+ (Error|Warning)]|\[(INFO|WARN)]')
"""Lines of the logs of Fast DDS and ROS."""

# In a process of its own: a middleware that cannot be loaded ends it without an exception (exit
# 102), and Fast DDS writes its errors to standard output.
_ROS_PROBE = """
import rclpy
print('found', rclpy.__file__, flush=True)
rclpy.init(args=[])
rclpy.create_node('aitable_preflight').destroy_node()
print('found', rclpy.utilities.get_rmw_implementation_identifier(), flush=True)
import aitable_msgs.msg
aitable_msgs.msg.FatigueState.__class__.__import_type_support__()
print('found', aitable_msgs.msg.__file__, flush=True)
"""


def check_ros() -> Iterator[Check]:
    """Check rclpy, its middleware and our messages by using each; stops at the first that fails."""
    try:
        probe = subprocess.run(
            [sys.executable, '-c', _ROS_PROBE], capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL)
        output = re.sub(r'\x1b\[[\d;]*m', '', f'{probe.stdout}\n{probe.stderr}').splitlines()
    except subprocess.TimeoutExpired:
        output = ['no answer within 60 s']
    lines = [line.removeprefix('found ') for line in output if line.startswith('found ')]
    errors = [line for line in output if line.strip() and not line.startswith('found ')]
    # The log of Fast DDS comes from a thread of its own, also behind the error that ended all.
    errors = [line for line in errors if not _LOG.match(line)] or errors
    reason = errors[-1] if errors else 'it ended without a word'
    distro = os.environ.get('ROS_DISTRO')
    rclpy = installed_version('rclpy') or '?'
    origin = f'{distro} as sourced' if distro else f'rclpy {rclpy} from PyPI'
    domain = os.environ.get('ROS_DOMAIN_ID', '0')
    for name, detail, remedy in (
        ('ROS 2', f'{origin}, {{}}',
         "source ROS 2's setup.bash, or use scripts/demo.sh, which brings one; check "
         'RMW_IMPLEMENTATION'),
        ('middleware', f'{{}}, domain {domain}',
         'check RMW_IMPLEMENTATION and ROS_DOMAIN_ID (0 to 101)'),
        ('aitable_msgs', '{}',
         'colcon build and source install/setup.bash, or run scripts/test.sh'),
    ):
        if not lines:
            yield Check(name, Status.FAIL, reason, remedy)
            return
        yield Check(name, Status.OK, detail.format(lines.pop(0)))


def check_libraries() -> Check:
    """Check the Python packages that everything needs."""
    found, missing = [], []
    for module, package in (
        ('numpy', 'python3-numpy'), ('cv2', 'python3-opencv'), ('yaml', 'python3-yaml'),
    ):
        try:
            found.append(f'{module} {import_module(module).__version__}')
        except Exception as error:  # not there, or a library below it does not fit
            missing.append((f'{module}: {first_line(error)}', package))
    if not missing:
        return Check('libraries', Status.OK, ', '.join(found))
    return Check(
        'libraries', Status.FAIL, '; '.join(reason for reason, _ in missing),
        f'apt install {" ".join(package for _, package in missing)}, or rosdep install')


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.5 <= value <= 600.0:
        raise argparse.ArgumentTypeError(f"'{text}': expected 0.5 to 600 seconds")
    return value


_COLOURS = {Status.OK: 32, Status.WARN: 33, Status.FAIL: 31}
"""ANSI; no rich here, which may be what is missing."""


def _show(check: Check) -> None:
    word = f'{check.status.value:<5}'
    if sys.stdout.isatty() and 'NO_COLOR' not in os.environ:
        word = f'\033[{_COLOURS[check.status]}m{word}\033[0m'
    lines = check.detail.splitlines() or ['']
    if check.remedy:
        lines.append(f'-> {check.remedy}')
    indent = '\n' + ' ' * 20
    print(f'{word}{check.name:<14} {indent.join(lines)}', flush=True)  # noqa: T201


def _verdict(checks: list[Check]) -> str:
    count = {status: sum(check.status is status for check in checks) for status in Status}
    if count[Status.FAIL]:
        return f'not ready: {count[Status.FAIL]} of {len(checks)} checks failed'
    if count[Status.WARN]:
        return f'ready, with {count[Status.WARN]} remark{"s" if count[Status.WARN] > 1 else ""}'
    return 'ready'
