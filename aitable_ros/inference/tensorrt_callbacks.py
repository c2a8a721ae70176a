# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The classes that TensorRT calls back: logger, progress monitor, calibrator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aitable_ros.errors import InputError
from aitable_ros.inference.tensorrt_library import TENSORRT
from aitable_ros.inference.tensorrt_version import calibrates, reports_progress, trt_version


class PhaseListener(Protocol):
    """Receives the progress of a build, from any thread."""

    def phase(self, name: str, done: int, total: int) -> bool:
        """Record a phase; return False to stop the build."""


def set_progress(config: Any, listener: PhaseListener, trt: Any = None) -> bool:
    """
    Report phases and steps of a build to a listener.

    :return: False on 8.5 to 9, which report nothing and cannot be stopped
    """
    trt = trt or TENSORRT.load()
    if not reports_progress(trt_version(trt)):
        return False

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Forwards TensorRT's calls; only one outermost phase runs at a time."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.outermost = ''

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self.outermost = phase_name
            self.steps[phase_name] = num_steps
            listener.phase(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return listener.phase(phase_name, step + 1, self.steps.get(phase_name, 0))

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    monitor = Monitor()
    config.progress_monitor = monitor
    return True


def make_logger(sink: Callable[[str, str], None], trt: Any = None) -> Any:
    """
    Return a logger for TensorRT that forwards every message.

    :param sink: called from any thread with a level (``error``, ``warning``, ``info``, ``verbose``)
        and the message
    """
    trt = trt or TENSORRT.load()
    names = {
        trt.ILogger.INTERNAL_ERROR: 'error', trt.ILogger.ERROR: 'error',
        trt.ILogger.WARNING: 'warning', trt.ILogger.INFO: 'info'}

    class Logger(trt.ILogger):  # type: ignore[misc]
        """Forwards messages to the sink."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            sink(names.get(severity, 'verbose'), msg)

    return Logger()


def make_profiler(sink: Callable[[str, float], None], trt: Any) -> Any:
    """
    Return a profiler for an execution context.

    :param sink: called with each layer's name and milliseconds
    """
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        """Forwards times to the sink."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            sink(layer_name, ms)

    return Profiler()


class Batches(Protocol):
    """The data of an entropy calibrator, independent of TensorRT: see ``engines/calibrator.py``."""

    batch_size: int

    def next_batch(self, names: list[str]) -> list[int] | None:
        """Return the addresses of the next batch on the device, or None after the last."""

    def read_cache(self) -> bytes | None:
        """Return the result of an earlier calibration."""

    def write_cache(self, content: bytes) -> None:
        """Keep the result of this calibration."""


def set_calibrator(config: Any, batches: Batches, profile: Any) -> Any:
    """
    Let a builder calibrate with TensorRT's entropy method.

    :return: the calibrator, which must outlive the build
    :raises InputError: 11 has no calibrators
    """
    if not calibrates(trt_version()):
        raise InputError('TensorRT 11 has no calibrator: leave out --quantization entropy, and '
                         'quantisation is written into the ONNX graph')
    import tensorrt

    class Calibrator(tensorrt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        """Forwards TensorRT's calls."""

        def __init__(self) -> None:
            tensorrt.IInt8EntropyCalibrator2.__init__(self)
            self.error: BaseException | None = None

        def get_batch_size(self) -> int:
            return batches.batch_size

        def get_batch(self, names: list[str]) -> list[int] | None:
            try:
                return batches.next_batch(names)
            except Exception as error:  # TensorRT's C++ caller would swallow it
                self.error = error
                return None

        def read_calibration_cache(self) -> bytes | None:
            return batches.read_cache()

        def write_calibration_cache(self, cache: Any) -> None:
            batches.write_cache(bytes(cache))

    calibrator = Calibrator()
    config.int8_calibrator = calibrator
    config.set_calibration_profile(profile)
    return calibrator
