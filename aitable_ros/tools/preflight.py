# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable preflight``: is everything in place for a run, and what to do where it is not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import ctypes
from dataclasses import asdict
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib import metadata
from importlib.util import find_spec
import json
import os
from pathlib import Path
import platform
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from aitable_ros.errors import InputError

if TYPE_CHECKING:
    from aitable_ros.pipeline import PipelineOptions

OLDEST, NEWEST = (3, 10), (3, 13)
"""The Pythons that the tests run on: Humble's, and the newest that all pins have wheels for."""
SHARED_MEMORY_BYTES = 256 << 20
"""Room in /dev/shm for the segments (64 MiB each) of a camera, our process and two listeners."""
DISK_BYTES = 500 << 20
"""Room for the models, their sources and what a wheel download needs meanwhile."""


class Status(str, Enum):
    """What a check found."""

    OK = 'OK'
    WARN = 'WARN'
    FAIL = 'FAIL'


@dataclass(frozen=True, slots=True)
class Check:
    """
    One thing that was looked at.

    :param detail: what is there; steps of a chain are on lines of their own
    :param remedy: what to do about it; empty where nothing is needed
    """

    name: str
    status: Status
    detail: str
    remedy: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--params-file', type=Path, metavar='FILE',
        help='check the models that this parameter file names (default: the default chains)')
    parser.add_argument('--json', action='store_true', help='print JSON')


def run(args: argparse.Namespace) -> int:
    """Check and print; 1 where something fails."""
    checks: list[Check] = []
    for check in all_checks(args.params_file):
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


def all_checks(parameters: Path | None = None) -> Iterator[Check]:
    """
    Look at everything, quick things first.

    :param parameters: parameter file of the nodes, None for their defaults
    :raises InputError: the file, or a parameter in it, cannot be used
    """
    libraries = check_libraries()
    stages = _stages(parameters) if libraries.status is Status.OK else None
    yield check_python()
    yield libraries
    yield from check_ros()
    yield check_images()
    yield check_shared_memory()
    gpu, cuda = check_gpu()
    yield gpu
    yield from check_backends(cuda)
    yield check_disk()
    if stages:
        yield from check_models(stages)


def check_python() -> Check:
    """Check the interpreter's version."""
    version = sys.version_info[:2]
    detail = f'{platform.python_version()}, {sys.executable}'
    if OLDEST <= version <= NEWEST:
        return Check('Python', Status.OK, detail)
    return Check(
        'Python', Status.WARN, detail, 'tested are 3.10 to 3.13: set AITABLE_PYTHON to one of them')


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
    reason = errors[-1] if errors else 'it ended without a word'
    distro = os.environ.get('ROS_DISTRO')
    origin = f'{distro} as sourced' if distro else f'rclpy {_version("rclpy") or "?"} from PyPI'
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
        ('numpy', 'python3-numpy'), ('cv2', 'python3-opencv'), ('scipy', 'python3-scipy'),
        ('yaml', 'python3-yaml'),
    ):
        try:
            found.append(f'{module} {import_module(module).__version__}')
        except Exception as error:  # not there, or a library below it does not fit
            missing.append((f'{module}: {_line(error)}', package))
    if not missing:
        return Check('libraries', Status.OK, ', '.join(found))
    return Check(
        'libraries', Status.FAIL, '; '.join(reason for reason, _ in missing),
        f'apt install {" ".join(package for _, package in missing)}, or rosdep install')


def check_images() -> Check:
    """Check that Fast DDS will carry camera images between processes."""
    from aitable_ros.nodes.environment import OWN_TRANSPORT_VARIABLES
    from aitable_ros.nodes.environment import PROFILE_VARIABLES
    from aitable_ros.nodes.environment import share_directory

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
            return Check(name, Status.OK, f'{variable}={value}')
    found = f'our executables set {profile}'
    if not os.environ.get('ROS_DISTRO'):  # ROS 2 from PyPI: the demo starts the camera itself
        return Check(name, Status.OK, found)
    return Check(
        name, Status.WARN, f'{found}; a camera driver without it loses images from 640x480 on',
        "in the camera driver's environment: export "
        + ' '.join(f'{name}={shlex.quote(str(profile))}' for name in PROFILE_VARIABLES))


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
    if room >= SHARED_MEMORY_BYTES:
        return Check(name, Status.OK, detail)
    return Check(
        name, Status.WARN, f'{detail}, {SHARED_MEMORY_BYTES >> 20} are wanted for images',
        'in a container: docker run --ipc=host or --shm-size=1g')


def check_gpu() -> tuple[Check, bool]:
    """Ask the NVIDIA driver for a GPU; the second value tells whether there is one."""
    try:
        driver = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return Check('GPU', Status.OK, 'no NVIDIA driver: models run on the CPU'), False
    count = ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return Check('GPU', Status.WARN, f'the NVIDIA driver answers with error {code}',
                     'see what nvidia-smi says; in a container: docker run --gpus all'), False
    if not count.value:
        return Check('GPU', Status.OK, 'no NVIDIA GPU: models run on the CPU'), False
    title = ctypes.create_string_buffer(128)
    driver.cuDeviceGetName(title, len(title), 0)
    return Check('GPU', Status.OK, f'{count.value} x {title.value.decode(errors="replace")}'), True


def check_backends(gpu: bool) -> Iterator[Check]:
    """
    Import what runs models.

    :param gpu: there is a GPU, so what drives it is missed where it is not installed
    """
    usable = []
    for name, module, needs_gpu, remedy in (
        ('TensorRT', 'tensorrt', True, 'install python3-libnvinfer (JetPack, apt) or pip tensorrt'),
        ('PyCUDA', 'pycuda.driver', True, 'install python3-pycuda (apt) or pip pycuda'),
        ('OpenVINO', 'openvino', False, 'pip install openvino: the quickest on an x86 CPU'),
        ('ONNX Runtime', 'onnxruntime', False, 'pip install onnxruntime'),
    ):
        package = module.partition('.')[0]
        if find_spec(package) is None:
            if gpu or not needs_gpu:
                yield Check(name, Status.WARN, 'not installed', remedy)
            continue
        try:
            loaded = import_module(module)
        except Exception as error:  # a library below it is missing or does not fit
            yield Check(name, Status.WARN, f'cannot be imported: {_line(error)}', remedy)
            continue
        detail = str(getattr(loaded, '__version__', '') or _version(package))
        if package == 'onnxruntime':
            kinds = (kind.removesuffix('ExecutionProvider')
                     for kind in loaded.get_available_providers())
            detail = f'{detail} ({", ".join(kinds)})'
        if package != 'pycuda' and (gpu or not needs_gpu):
            usable.append(name)
        yield Check(name, Status.OK, detail)
    if not usable:
        yield Check('backends', Status.FAIL, 'nothing here can run a model',
                    'pip install onnxruntime openvino')


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
    if room < DISK_BYTES:
        return Check('disk', Status.WARN, detail, f'free {DISK_BYTES / 1e9:.1f} GB for models')
    return Check('disk', Status.OK, detail)


def _stages(parameters: Path | None) -> PipelineOptions:
    from aitable_ros.pipeline import PipelineOptions

    return PipelineOptions.from_file(parameters) if parameters else PipelineOptions()


def check_models(stages: PipelineOptions) -> Iterator[Check]:
    """Load and run each stage's model the way the nodes do, and tell every step of its chain."""
    from aitable_ros.inference.chain import resolve
    from aitable_ros.inference.protocol import BackendError

    for name, options in (
        ('face model', stages.face), ('close-up model', stages.face.near_model),
        ('fatigue model', stages.fatigue), ('emotion model', stages.emotion),
    ):
        remedy = 'aitable models fetch; aitable models list tells what else there is'
        try:
            resolution = resolve(options)
        except InputError as error:
            yield Check(name, Status.FAIL, str(error), remedy)
            continue
        backend = resolution.backend
        if backend is None:
            off = any(attempt.entry == 'off' for attempt in resolution.attempts)
            yield Check(name, Status.OK if off else Status.WARN, resolution.explain(),
                        '' if off else remedy)
            continue
        with backend:
            try:
                backend.warm_up()
            except BackendError as error:
                yield Check(name, Status.FAIL, f'{resolution.explain()}\nit fails: {error}', remedy)
                continue
        stepped = any(attempt.reason for attempt in resolution.attempts)
        yield Check(name, Status.WARN if stepped else Status.OK, resolution.explain(),
                    'make the first choice work, or name another' if stepped else '')


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


def _line(error: BaseException) -> str:
    """Return an error's first line, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
    print(f'{word}{check.name:<15}{indent.join(lines)}', flush=True)  # noqa: T201


def _verdict(checks: list[Check]) -> str:
    count = {status: sum(check.status is status for check in checks) for status in Status}
    if count[Status.FAIL]:
        return f'not ready: {count[Status.FAIL]} of {len(checks)} checks failed'
    if count[Status.WARN]:
        return f'ready, with {count[Status.WARN]} remark{"s" if count[Status.WARN] > 1 else ""}'
    return 'ready'
