# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Build engines with TensorRT's Python package, any version from 8.5 on."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any, TYPE_CHECKING

from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.graph.builder_input import BuilderInput
from aitable_ros.engines.progress import BuildProgress, interruptible
from aitable_ros.errors import InputError
from aitable_ros.inference import tensorrt_version as versions
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.sidecar import Machine
from aitable_ros.inference.tensorrt_callbacks import set_calibrator, set_progress
from aitable_ros.inference.tensorrt_library import TENSORRT
from aitable_ros.inference.tensorrt_log import heard_by, logger, why
from aitable_ros.models.catalogue import model_home
from aitable_ros.models.store import write_atomically

if TYPE_CHECKING:
    from aitable_ros.engines.calibrator import CalibrationBatches
    from aitable_ros.inference.cuda_device import Device, DeviceMemory, Pinned

_LOGGED = (
    (re.compile(r'Timing Runner|Autotuning format combination'), 'timing kernels'),
    (re.compile(r'Graph (?:construction|optimization) time|fusions?\b', re.I),
     'optimising the graph'),
    (re.compile(r'Engine generation completed|Total (?:Host|Activation) '), 'writing the engine'),
)
"""Log messages of 8.5 to 9 and their phases: these versions have no progress monitor."""


class PythonToolchain:
    """
    TensorRT's builder in this process.

    :raises InputError: TensorRT is too old or cannot be loaded, or there is no such GPU
    """

    name = 'tensorrt-python'
    runtime = TENSORRT.name
    compute_capabilities: tuple[str, ...] = ()
    runs = True

    def __init__(self, device_id: int = 0) -> None:
        try:
            self.version = versions.trt_version()
            self.machine = Machine.here(device_id)
        except (ImportError, OSError, BackendError) as error:
            raise InputError(f'TensorRT cannot be used here: {error}') from None
        self._device_id = device_id

    def build(
        self, prepared: BuilderInput, engine: Path, options: BuildOptions, progress: BuildProgress,
    ) -> dict[str, int]:
        """:raises InputError: the build failed; the reason is TensorRT's own."""
        import tensorrt

        from aitable_ros.inference.cuda import primary_context

        stoppable = versions.reports_progress(self.version)
        tactics = versions.external_tactics(options.external_tactics)

        def work() -> bytes:
            with primary_context(self._device_id) as device, heard_by(
                    lambda level, text: _note(progress, level, text, stoppable)):
                builder = tensorrt.Builder(logger())
                network = parsed(tensorrt, builder, prepared, engine)
                config = builder.create_builder_config()
                feed = Feed(
                    prepared.calibrator, device, progress) if prepared.calibrator else None
                calibrator = _configure(
                    builder, network, config, prepared, options, tactics, feed)
                set_progress(config, progress)
                cache = options.timing_cache or _cache_path(self.machine, prepared.name)
                _load_timing_cache(config, cache, progress)
                progress.phase('building', 0, 0)
                try:
                    plan = builder.build_serialized_network(network, config)
                finally:
                    if feed:
                        feed.close()
                if calibrator is not None and calibrator.error is not None:
                    raise calibrator.error
                if plan is None:
                    raise InputError(
                        f'TensorRT cannot build {engine.name}: {why(progress.errors)}')
                _keep_timing_cache(builder, versions.timing_cache(config), cache, progress)
                return bytes(plan)

        engine.write_bytes(interruptible(work, progress, stoppable))
        return {}


def parsed(trt: Any, builder: Any, prepared: BuilderInput, engine: Path) -> Any:
    """
    Return the network of an ONNX file.

    :param trt: TensorRT's Python module
    :raises InputError: nodes that the parser does not understand
    """
    network = builder.create_network(versions.network_flags(prepared.typed, trt))
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse(prepared.content):
        errors = list(versions.parser_errors(parser, prepared.nodes, trt))
        raise InputError(f'TensorRT does not understand the ONNX of {engine.name}: '
                         + ('; '.join(errors) or 'it does not say why'))
    return network


def _configure(
    builder: Any, network: Any, config: Any, prepared: BuilderInput, options: BuildOptions,
    tactics: dict[str, bool], feed: Feed | None,
) -> Any:
    """Set all options of the builder; return the calibrator, which must outlive the build."""
    versions.set_precision(
        config, options.precision, typed=prepared.typed, tf32=options.tf32)
    versions.set_workspace(config, options.workspace_mib)
    versions.set_builder_level(config, options.builder_level)
    versions.set_aux_streams(config, options.aux_streams)
    versions.set_tactics(config, tactics)
    versions.set_detailed(config)
    versions.share_profile(config)
    if options.sparse:
        versions.set_sparse(config)
    if options.dla_core is not None:
        versions.set_dla(builder, config, options.dla_core)
    if prepared.fp32_nodes and not prepared.typed:
        versions.keep_fp32(
            network, config, prepared.fp32_nodes, strict=prepared.strict)
    if prepared.dynamic:
        config.add_optimization_profile(profile_of(builder, prepared, prepared.batches))
    if feed is None:
        return None
    size = feed.batch_size
    return set_calibrator(config, feed, profile_of(builder, prepared, (size, size, size)))


class Feed:
    """Copies calibration batches to the GPU; implements ``tensorrt_callbacks.Batches``."""

    def __init__(
        self, calibration: CalibrationBatches, device: Device, progress: BuildProgress,
    ) -> None:
        self.batch_size = calibration.batch_size
        self._calibration, self._device, self._progress = calibration, device, progress
        self._held: dict[str, tuple[DeviceMemory, Pinned]] = {}
        self._stream = device.stream()
        self._given = 0

    def next_batch(self, names: list[str]) -> list[int] | None:
        """Return the addresses of the next batch, in the order of the names."""
        batch = self._calibration.next()
        if batch is None:  # TensorRT now compares histograms of each tensor, on one core
            self._progress.phase('calibrating: scales', 0, 0)
            return None
        self._given += 1
        self._progress.phase('calibrating', self._given, self._calibration.batches)
        for name in names:
            array = batch[name]
            if name not in self._held:
                self._held[name] = (
                    self._device.allocate(array.nbytes), self._device.pin(array.nbytes))
            memory, pinned = self._held[name]
            pinned.array[:array.nbytes] = array.reshape(-1).view('u1')
            self._device.upload(memory, pinned, array.nbytes, self._stream)
        self._device.wait(self._stream)
        return [self._held[name][0].address for name in names]

    def read_cache(self) -> bytes | None:
        """Return the result of an earlier calibration of this model with these inputs."""
        return self._calibration.read_cache()

    def write_cache(self, content: bytes) -> None:
        """Keep the result of this calibration; a failure is only a remark."""
        try:
            self._calibration.write_cache(content)
        except InputError as error:
            self._progress.remark(f'the scales are not kept: {error}')

    def close(self) -> None:
        """Free the memory; called once, with the GPU current."""
        for memory, pinned in self._held.values():
            self._device.free(memory)
            self._device.free(pinned)
        self._device.free(self._stream)


def profile_of(builder: Any, prepared: BuilderInput, batches: tuple[int, int, int]) -> Any:
    """Return the optimisation profile of an open batch: smallest, best and largest."""
    profile = builder.create_optimization_profile()
    least, best, most = (prepared.shapes(batch, end) for end, batch in enumerate(batches))
    for name in prepared.inputs:
        profile.set_shape(name, least[name], best[name], most[name])
    return profile


def _cache_path(machine: Machine, model: str) -> Path:
    # A file for each model: TensorRT 8.6 cannot read its own cache of some models (EmoNet), which
    # would spoil a common one.
    name = re.sub(r'[^\w.]+', '_', f'{model}_{machine.gpu}_{machine.tensorrt}')
    return model_home() / 'timing' / f'{name}.cache'


def _load_timing_cache(config: Any, path: Path, progress: BuildProgress) -> None:
    try:
        content = path.read_bytes()
    except OSError:
        content = b''
    if not _takes(config, content, progress):
        versions.set_timing_cache(config, b'')
        progress.remark(f'{path} is of another TensorRT or GPU, or one that TensorRT wrote and '
                        'cannot read: starting a new one')


def _keep_timing_cache(builder: Any, content: bytes, path: Path, progress: BuildProgress) -> None:
    """Write the measurements, unless TensorRT cannot read them back."""
    if not _takes(builder.create_builder_config(), content, progress):
        progress.remark(f'{path} is not written: TensorRT cannot read its own cache of this model')
        return
    try:
        write_atomically(path, content)
    except InputError as error:  # the engine is worth more
        progress.remark(f'the measurements are not kept: {error}')


def _takes(config: Any, content: bytes, progress: BuildProgress) -> bool:
    """Give a builder earlier measurements; TensorRT's complaints about them are not errors."""
    before = len(progress.errors)
    taken = versions.set_timing_cache(config, content) and len(progress.errors) == before
    del progress.errors[before:]
    return taken


def _note(progress: BuildProgress, level: str, text: str, monitored: bool) -> None:
    progress.log(level, text)
    if not monitored:
        phase = next((name for pattern, name in _LOGGED if pattern.search(text)), '')
        if phase:
            progress.phase(phase, 0, 0)
