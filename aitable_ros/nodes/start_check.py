# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Checks that take a few milliseconds: made at each start, and by the preflight.

No ROS is needed here, and nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
import os
from pathlib import Path
import platform
import shlex
import shutil
import sys

from aitable_ros.errors import InputError
from aitable_ros.nodes.environment import (
    camera_remedy, OWN_TRANSPORT_VARIABLES, PROFILE_VARIABLES, share_directory
)

OLDEST, NEWEST = (3, 10), (3, 14)
"""The Pythons that the tests run on: Humble's, and the newest that all pins have wheels for."""
SHARED_MEMORY_BYTES = 256 << 20
"""Room in /dev/shm for the segments (64 MiB each) of a camera, our process and two listeners."""
DISK_BYTES = 500 << 20
"""Room for the models, their sources and the wheels while they are downloaded."""
MEMORY_BYTES = 500 << 20
"""The default nodes in one process take 240 MB at 720p on OpenVINO; twice that while one loads."""
GPU_MEMORY_BYTES = 2 << 30
"""Of a Jetson, where CPU and GPU share it, and CUDA takes its part: a margin, not measured."""
TEGRA_RELEASE = Path('/etc/nv_tegra_release')
MEMORY_INFO = Path('/proc/meminfo')
MEMORY_LIMIT = Path('/sys/fs/cgroup/memory.max')
MEMORY_USED = Path('/sys/fs/cgroup/memory.current')


class Status(str, Enum):
    """The outcome of a check."""

    OK = 'OK'
    WARN = 'WARN'
    FAIL = 'FAIL'


@dataclass(frozen=True, slots=True)
class Check:
    """
    The result of one check.

    :param detail: what was found; each step of a chain has its own line
    :param remedy: what the user should do; empty where nothing is needed
    """

    name: str
    status: Status
    detail: str
    remedy: str = ''


def quick_checks() -> Iterator[Check]:
    """Run all checks of this module."""
    yield check_python()
    yield check_images()
    yield check_shared_memory()
    yield check_memory()
    yield check_disk()


def start_lines() -> Iterator[tuple[bool, str]]:
    """Yield the log lines of a start: (is a warning, line)."""
    checks = list(quick_checks())
    for check in checks:
        if check.status is not Status.OK:
            yield True, f'{check.name}: {check.detail}; {check.remedy}'
    good = ', '.join(check.name for check in checks if check.status is Status.OK)
    yield False, f'start check: {good} OK; `aitable preflight` looks at all'


def check_python() -> Check:
    """Check the interpreter's version."""
    detail = f'{platform.python_version()}, {sys.executable}'
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Check('Python', Status.OK, detail)
    return Check(
        'Python', Status.WARN, detail, 'tested are 3.10 to 3.14: set AITABLE_PYTHON to one of them')


def check_images() -> Check:
    """Check that Fast DDS will carry camera images between processes."""
    name = 'camera images'
    if 'fastrtps' not in os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp'):
        return Check(name, Status.OK, 'not on Fast DDS: its profile is not needed')
    try:
        profile = share_directory() / 'config' / 'fastdds_large_images.xml'
    except InputError as error:
        return Check(name, Status.FAIL, 'the Fast DDS profile is missing', str(error))
    for variable in OWN_TRANSPORT_VARIABLES:
        value = os.environ.get(variable, '')
        if variable in PROFILE_VARIABLES and value and not Path(value).is_file():
            return Check(name, Status.FAIL, f'{variable}={value}: no such file',
                         f'export {variable}={shlex.quote(str(profile))}')
        if value:
            return Check(name, Status.OK, f'{variable}={value}; a camera driver needs it, too')
    found = f'our executables set {profile}'
    if not os.environ.get('ROS_DISTRO'):  # ROS 2 from PyPI: the demo starts the camera itself
        return Check(name, Status.OK, found)
    return Check(
        name, Status.WARN, f'{found}; a camera driver without it loses images from 640x480 on',
        camera_remedy())


def check_shared_memory() -> Check:
    """Check /dev/shm, which carries the images; containers have 64 MiB by default."""
    name = 'shared memory'
    try:
        state = os.statvfs('/dev/shm')  # noqa: S108 -- the place itself, not a file in it
    except OSError as error:
        return Check(name, Status.WARN, f'no shared memory: {error.strerror}: /dev/shm',
                     'mount a tmpfs there: without it images take the slow way, over UDP')
    room = state.f_bavail * state.f_frsize
    detail = f'{room >> 20} MiB free in /dev/shm'
    return _room_check(
        name, room >= SHARED_MEMORY_BYTES, detail,
        f', {SHARED_MEMORY_BYTES >> 20} are wanted for images',
        'in a container: docker run --ipc=host or --shm-size=1g')


def check_memory() -> Check:
    """Check the memory that is left, to the machine or to the container that we are in."""
    name = 'memory'
    left = _number(MEMORY_INFO, 'MemAvailable:')
    if left is None:
        return Check(name, Status.WARN, f'{MEMORY_INFO} does not tell', 'see what `free -m` says')
    left *= 1024
    limit, used = _number(MEMORY_LIMIT), _number(MEMORY_USED)
    inside = ''
    if limit is not None and used is not None and limit - used < left:
        left, inside = limit - used, ' in this container'
    jetson = TEGRA_RELEASE.exists()
    wanted = GPU_MEMORY_BYTES if jetson else MEMORY_BYTES
    detail = f'{left / 1e9:.1f} GB available{inside}'
    if jetson:
        detail += f', shared with the GPU; {jetson_release()}'
    return _room_check(
        name, left >= wanted, detail, f'; {wanted / 1e9:.1f} GB are wanted',
        'end what else runs (on a Jetson the desktop takes 1 GB), or leave a stage off')


def jetson_release() -> str:
    """Return ``L4T 36.4.3``; empty where this is no Jetson."""
    try:
        words = TEGRA_RELEASE.read_text(encoding='utf-8').replace(',', ' ').split()
    except OSError:
        return ''
    try:  # "# R36 (release), REVISION: 4.3, GCID: ..."
        return f'L4T {words[1].lstrip("R")}.{words[words.index("REVISION:") + 1]}'
    except (IndexError, ValueError):
        return 'L4T of an unknown release'


def check_disk() -> Check:
    """Check the room where the models live."""
    from aitable_ros.models.catalogue import model_home

    home = model_home()
    place = home
    while not place.exists() and place != place.parent:
        place = place.parent
    room = shutil.disk_usage(place).free
    detail = f'{room / 1e9:.1f} GB free at {home}'
    if not os.access(place, os.W_OK):
        return Check('disk', Status.WARN, f'{home} cannot be written',
                     'set AITABLE_MODELS to a folder of yours')
    return _room_check(
        'disk', room >= DISK_BYTES, detail, '', f'free {DISK_BYTES / 1e9:.1f} GB for models')


def _room_check(name: str, enough: bool, detail: str, wanted: str, remedy: str) -> Check:
    """Return a warning with the amount wanted and a remedy where the room is not enough."""
    if enough:
        return Check(name, Status.OK, detail)
    return Check(name, Status.WARN, detail + wanted, remedy)


def _number(path: Path, key: str = '') -> int | None:
    """Return the number after a key in a file of the kernel's; None where it has none."""
    try:
        words = path.read_text(encoding='utf-8').split()
        return int(words[words.index(key) + 1 if key else 0])
    except (OSError, ValueError, IndexError):
        return None
