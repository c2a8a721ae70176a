# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The environment that a process needs before rclpy is imported, so that camera images arrive.

With Fast DDS as it comes, best-effort images do not cross processes at all (720p: 0 of 120 arrived,
with our profile 120 of 120), and glibc gives every image's memory back to the kernel and faults it
in again (1080p subscriber: 6-30 % of a core, 6-7 % with the settings below). No ROS is needed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
import ctypes
from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import shlex
import sys

from aitable_ros.errors import InputError

ALLOCATOR = {
    'MALLOC_MMAP_THRESHOLD_': '1073741824',
    'MALLOC_TRIM_THRESHOLD_': '1073741824',
    'MALLOC_TOP_PAD_': '67108864',
    'MALLOC_ARENA_MAX': '1',
}
"""
glibc: keep freed image buffers in the heap instead of unmapping them, and in one heap for all
threads instead of in one each (15 to 30 MB less; the interpreter runs one thread at a time anyway).
"""
CUDA = {'CUDA_DEVICE_MAX_CONNECTIONS': '1', 'CUDA_MODULE_LOADING': 'LAZY'}
"""
CUDA's driver: one queue to the GPU instead of eight (434 -> 386 MB, and as fast, on an H200: our
runs wait for each other anyway); and kernels loaded when they are needed, as from CUDA 12.2 on by
default (TensorRT 8.6 loads 315 MB of its own at once otherwise).
"""
MAX_PIXELS = 1 << 26
"""Largest compressed image that OpenCV may unpack: 67 megapixels, 8192 x 8192 (a JPEG can lie)."""
_LARGE_IMAGES, _ANSWERS = 'fastdds_large_images.xml', 'fastdds_answers.xml'
"""Fast DDS profiles in ``config/``: for who publishes images, and for who publishes none."""
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
"""Fast DDS 3 reads the first and grumbles at the second, which Fast DDS 2 reads."""
FAST_DDS_2 = ('humble', 'iron', 'jazzy')
"""ROS distributions with Fast DDS 2."""
OWN_TRANSPORT_VARIABLES = (*PROFILE_VARIABLES, 'FASTDDS_BUILTIN_TRANSPORTS')
"""With one of these set the user has chosen the transport, and it stays as it is."""
END_WITH_PARENT = 'AITABLE_END_WITH_PARENT'
"""Set to 1: an executable ends when the process that started it is gone (``ros2 launch`` dies on
SIGTERM and leaves its children). Not set, it may be left running in the background."""
BOOTSTRAP_VARIABLE = '_ROS_WHEELS_BOOTSTRAP_COMPLETE'
"""The ROS wheels from PyPI set it together with LD_LIBRARY_PATH, for the venv they are in."""


def share_directory() -> Path:
    """
    Return the folder that holds ``config/`` and ``launch/``: the repository or the installed share.

    :raises InputError: the installation lacks them
    """
    repository = Path(__file__).resolve().parents[2]
    candidates = [repository]
    try:
        from ament_index_python.packages import get_package_share_directory

        candidates.append(Path(get_package_share_directory('aitable_ros')))
    except (ImportError, LookupError, OSError):  # OSError: no ROS is sourced
        pass
    candidates.append(Path(sys.prefix) / 'share' / 'aitable_ros')
    for candidate in candidates:
        if (candidate / 'config' / _LARGE_IMAGES).is_file():
            return candidate
    raise InputError(
        f'config/ is in none of {", ".join(map(str, candidates))}: '
        'install the package again')


def additions(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to ``environment``; empty where none is missing."""
    added = {
        name: value for name, value in (
            *ALLOCATOR.items(), *CUDA.items(), ('OPENCV_IO_MAX_IMAGE_PIXELS', str(MAX_PIXELS)))
        if name not in environment}
    fast_dds = 'fastrtps' in environment.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp')
    if fast_dds and not any(environment.get(name) for name in OWN_TRANSPORT_VARIABLES):
        profile = share_directory() / 'config' / _LARGE_IMAGES
        added[PROFILE_VARIABLES[_has_fast_dds_2(environment)]] = str(profile)
    return added


def send_little() -> None:
    """
    Take the profile for a process that publishes no images, where ours is in use.

    Its own shared memory is smaller by 30 MiB. Call it before the first node is made: Fast DDS
    reads the variable then.
    """
    config = share_directory() / 'config'
    for name in PROFILE_VARIABLES:
        if os.environ.get(name) == str(config / _LARGE_IMAGES):
            os.environ[name] = str(config / _ANSWERS)


def give_memory_back() -> None:
    """
    Give the kernel what the loading of a model left behind, 4 to 18 MB; :data:`ALLOCATOR` keeps it.

    Without glibc nothing happens.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _has_fast_dds_2(environment: Mapping[str, str]) -> bool:
    sourced = environment.get('ROS_DISTRO')
    if sourced:
        return sourced in FAST_DDS_2
    try:
        return bool(version('ros-fastrtps'))  # the wheels from PyPI; those of 3 are ros-fastdds
    except PackageNotFoundError:
        return False


def camera_remedy() -> str:
    """
    Return what to set in the terminal or systemd unit of a camera driver on the same machine.

    :raises InputError: the profile is not installed
    """
    variable = PROFILE_VARIABLES[_has_fast_dds_2(os.environ)]
    profile = share_directory() / 'config' / _LARGE_IMAGES
    return ("Fast DDS needs our profile in the camera's process, too; in its terminal: "
            f'export {variable}={shlex.quote(str(profile))} (systemd: '
            f'Environment="{variable}={profile}"), then start it again')


def child_environment(
    base: Mapping[str, str] | None = None, *, python: str | Path | None = None,
) -> dict[str, str]:
    """
    Return the environment for a child that runs nodes of this package.

    The child ends when the caller does (see :data:`END_WITH_PARENT`).

    :param base: the environment to extend; ``os.environ`` where None
    :param python: the child's interpreter; in another venv than ours it must find its own ROS
        libraries, so the bootstrap of the ROS wheels runs again there
    """
    environment = dict(os.environ if base is None else base)
    environment.update(additions(environment))
    environment.setdefault(END_WITH_PARENT, '1')
    if python is not None and Path(python).absolute().parent != Path(sys.executable).parent:
        environment.pop(BOOTSTRAP_VARIABLE, None)
        environment.pop('LD_LIBRARY_PATH', None)
    return environment


def prepare() -> None:
    """
    Give this process the environment it needs, restarting the process if variables are missing.

    The allocator reads its settings when a process starts, so there the same command replaces this
    process (same pid). Call it first thing, before anything heavy is imported or any thread runs.
    """
    missing = additions(os.environ)
    if missing:
        sys.stdout.flush()
        sys.stderr.flush()
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **missing})  # noqa: S606
