# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Stand-ins of TensorRT's builder, parser and calibrator.

They refuse, in the real one's words, what it refuses: a network without explicit batch before 10,
precision flags on a strongly typed network, an open batch without a profile, int8 without scales, a
tactic source whose library is not there. What a test wants to know of a build is in ``BUILDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from .plan import Plan
from .surface import Constructible, Dims, new, Overridable, overridden, StandInError, stands_for

CACHE_MAGIC = b'TIMING'
UNREADABLE = b' of Myelin'
"""At the end of a timing cache: 8.6 wrote it, and has this to say when it is to read it."""


@dataclass
class Build:
    """What a builder was told, for tests; settings have TensorRT's names."""

    version: tuple[int, int]
    network_flags: set[str]
    flags: set[str]
    settings: dict[str, Any] = field(default_factory=dict)
    fp32_layers: list[str] = field(default_factory=list)
    calibration: dict[str, Any] | None = None


BUILDS: list[Build] = []
DLA_CORES = 0
"""How many a builder finds."""


def _indexed(name: str) -> tuple[property, Callable[[Any, int], Any]]:
    """Return the two members by which TensorRT shows a list: its length, and an item by index."""
    def item(self: Any, index: int) -> Any:
        return getattr(self, name)[index]

    return property(lambda self: len(getattr(self, name))), item


@stands_for('IHostMemory')
class HostMemory:
    """Bytes that TensorRT owns."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __bytes__(self) -> bytes:
        return self._content

    def __len__(self) -> int:
        return len(self._content)

    @property
    def nbytes(self) -> int:
        return len(self._content)


@stands_for('ITimingCache')
class TimingCache:
    """Knows which version it is of, as the real one does."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> HostMemory:
        return new(self._trt, 'IHostMemory', self._content)


@stands_for('IOptimizationProfile')
class OptimizationProfile:
    """Least, best and most of each input."""

    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        shapes = [list(shape) for shape in (min, opt, max)]
        if not all(low <= best <= high for low, best, high in zip(*shapes)):
            raise ValueError(f'The shape for input {input} is not valid')
        self._shapes[input] = shapes


@stands_for('ITensor')
class Tensor:
    """An input, an output or what passes between layers."""

    def __init__(self, name: str, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self._name, self._dtype, self._shape = name, dtype, shape

    name = property(attrgetter('_name'))
    dtype = property(attrgetter('_dtype'))

    @property
    def shape(self) -> Dims:
        return Dims(self._shape)

    @property
    def is_shape_tensor(self) -> bool:
        return self._dtype in (self._trt.int32, getattr(self._trt, 'int64', None))


@stands_for('ILayer')
class Layer:
    """What the parser makes of a node; the tests need one a node."""

    def __init__(
        self, name: str, node: str, kind: Any, outputs: list[Tensor], typed: bool,
    ) -> None:
        self._name, self._node, self._kind = name, node, kind
        self._outputs, self._typed = outputs, typed
        self._precision: Any = None
        self._types: dict[int, Any] = {}

    name = property(attrgetter('_name'))

    @property
    def metadata(self) -> str:
        return f'[ONNX Layer: {self._node}]'

    type = property(attrgetter('_kind'))
    num_outputs, get_output = _indexed('_outputs')

    @property
    def precision(self) -> Any:
        return self._precision or self._trt.float32

    @precision.setter
    def precision(self, dtype: Any) -> None:
        if self._typed:
            raise StandInError('INetworkDefinition::setPrecision: strongly typed network')
        if any(output.dtype not in (self._trt.float32, self._trt.float16)
               for output in self._outputs):
            raise StandInError(f'{self._name}: precision set on a layer of integers')
        self._precision = dtype

    def set_output_type(self, index: int, dtype: Any) -> None:
        if self._typed:
            raise StandInError('ILayer::setOutputType: strongly typed network')
        self._types[index] = dtype


@stands_for('INetworkDefinition')
class Network:
    """A parsed graph."""

    def __init__(self, flags: int) -> None:
        known = self._trt.NetworkDefinitionCreationFlag.__members__
        self._flags = {name for name, flag in known.items() if flags & 1 << int(flag)}
        if flags & ~sum(1 << int(flag) for flag in known.values()):
            raise StandInError(f'create_network: unknown flags {flags:#x}')
        if self._version < (10, 0) and 'EXPLICIT_BATCH' not in self._flags:
            raise StandInError('the ONNX parser supports only explicit batch networks')
        self._typed = self._version >= (11, 0) or 'STRONGLY_TYPED' in self._flags
        self._layers: list[Layer] = []
        self._inputs: list[Tensor] = []
        self._onnx = b''

    num_layers, get_layer = _indexed('_layers')
    num_inputs, get_input = _indexed('_inputs')


@stands_for('ParserError')
class ParserError:
    """What a parser did not understand."""

    def __init__(self, node: int, name: str, operator: str, reason: str) -> None:
        self._node, self._name, self._operator, self._reason = node, name, operator, reason

    def code(self) -> Any:
        return self._trt.ErrorCode(8)

    def desc(self) -> str:
        return self._reason

    def node(self) -> int:
        return self._node

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator


@stands_for('OnnxParser')
class OnnxParser(Constructible):
    """Understands what ONNX itself defines."""

    def __init__(self, network: Network, logger: Any) -> None:
        self._network, self._logger = network, logger
        self._errors: list[ParserError] = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        import onnx

        self._errors = []
        try:
            proto = onnx.load_model_from_string(model)
        except Exception:
            self._errors.append(new(self._trt, 'ParserError', -1, '', '', 'Failed to parse ONNX '
                                    'model. It is not a valid protobuf message'))
            return False
        for index, node in enumerate(proto.graph.node):
            if node.domain not in ('', 'ai.onnx'):
                self._errors.append(new(
                    self._trt, 'ParserError', index, node.name, node.op_type,
                    'No importer registered for op: ' + node.op_type))
        if self._errors:
            return False
        self._take(proto)
        self._network._onnx = model
        return True

    def _take(self, proto: Any) -> None:
        import onnx

        inferred = onnx.shape_inference.infer_shapes(proto).graph
        kinds = {value.name: value.type.tensor_type.elem_type
                 for values in (inferred.value_info, inferred.input, inferred.output)
                 for value in values}
        weights = {item.name for item in proto.graph.initializer}
        network = self._network
        network._inputs = [
            new(self._trt, 'ITensor', item.name, self._dtype(kinds[item.name]),
                tuple(size.dim_value or -1 for size in item.type.tensor_type.shape.dim))
            for item in proto.graph.input if item.name not in weights]
        types = self._trt.LayerType
        for node in proto.graph.node:
            outputs = [new(self._trt, 'ITensor', name, self._dtype(kinds.get(name, 1)))
                       for name in node.output if name]
            kind = {'Shape': types.SHAPE, 'Constant': types.CONSTANT,
                    'Conv': types.CONVOLUTION}.get(node.op_type, types.ELEMENTWISE)
            network._layers.append(new(
                self._trt, 'ILayer', node.name or f'(Unnamed Layer* {len(network._layers)})',
                node.name, kind, outputs, network._typed))

    def _dtype(self, kind: int) -> Any:
        # TensorProto: FLOAT 1, UINT8 2, INT8 3, INT32 6, INT64 7, BOOL 9, FLOAT16 10
        names = {1: 'float32', 3: 'int8', 6: 'int32', 7: 'int32', 9: 'bool', 10: 'float16',
                 2: 'uint8'}
        return getattr(self._trt, names.get(kind, 'float32'))

    num_errors, get_error = _indexed('_errors')


@stands_for('IProgressMonitor')
class ProgressMonitor(Overridable):
    """For the user to derive from."""


@stands_for('IInt8EntropyCalibrator2')
class Calibrator(Overridable):
    """For the user to derive from."""


def _setting(name: str, kind: str = '') -> Any:
    """Return a property of the settings; ``kind`` is the interface that its values derive from."""
    def read(self: BuilderConfig) -> Any:
        return self._settings.get(name)

    def write(self: BuilderConfig, value: Any) -> None:
        self._settings[name] = overridden(value, kind) if kind else value

    return property(read, write)


@stands_for('IBuilderConfig')
class BuilderConfig:
    """What a builder is told."""

    def __init__(self) -> None:
        self._set: set[str] = {'TF32'}  # on by default
        self._settings: dict[str, Any] = {}
        self._profiles: list[OptimizationProfile] = []
        self._cache: TimingCache | None = None
        sources = self._trt.TacticSource.__members__
        # up to 9 the libraries are on by default; from 10 on they are off
        self._sources = sum(1 << int(member) for name, member in sources.items()
                            if self._version < (10, 0) or not name.startswith('CU'))

    def _flag(self, flag: Any) -> str:
        if flag.kind != 'BuilderFlag':
            raise TypeError(f'incompatible function arguments: {flag!r}')
        return str(flag.name)

    def set_flag(self, flag: Any) -> None:
        self._set.add(self._flag(flag))

    def clear_flag(self, flag: Any) -> None:
        self._set.discard(self._flag(flag))

    def get_flag(self, flag: Any) -> bool:
        return self._flag(flag) in self._set

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._settings[pool.name] = pool_size

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_calibration_profile(self, profile: OptimizationProfile) -> bool:
        self._settings['calibration_profile'] = profile._shapes
        return True

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        if feature.kind != 'PreviewFeature':
            raise TypeError(f'incompatible function arguments: {feature!r}')
        self._settings[feature.name] = enable

    def get_tactic_sources(self) -> int:
        return self._sources

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        known = self._trt.TacticSource.__members__.values()
        if tactic_sources & ~sum(1 << int(member) for member in known):
            raise StandInError(f'set_tactic_sources: unknown sources {tactic_sources:#x}')
        self._sources = tactic_sources
        return True

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        return new(self._trt, 'ITimingCache', serialized_timing_cache)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        own = CACHE_MAGIC + self._trt.__version__.encode()
        if cache._content and not cache._content.startswith(own) and not ignore_mismatch:
            return False
        if cache._content.endswith(UNREADABLE):
            for line in ('1: [myelinCache.h::deserializeFromBuffer::52] Error Code 1: Myelin '
                         '(Myelin error from unknown graph)',
                         '4: The timing cache will not be used!'):
                self._logger.log(self._trt.ILogger.ERROR, line)
        self._cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self._cache

    builder_optimization_level = _setting('builder_optimization_level')
    max_aux_streams = _setting('max_aux_streams')
    profiling_verbosity = _setting('profiling_verbosity')
    default_device_type = _setting('default_device_type')
    DLA_core = _setting('DLA_core')
    engine_capability = _setting('engine_capability')
    hardware_compatibility_level = _setting('hardware_compatibility_level')
    progress_monitor = _setting('progress_monitor', 'IProgressMonitor')
    int8_calibrator = _setting('int8_calibrator', 'IInt8EntropyCalibrator2')


@stands_for('Builder')
class Builder(Constructible):
    """Builds a plan that the stand-in of the runtime runs."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    @property
    def num_DLA_cores(self) -> int:
        return DLA_CORES

    def create_network(self, flags: int = 0) -> Network:
        return new(self._trt, 'INetworkDefinition', flags)

    def create_builder_config(self) -> BuilderConfig:
        config = new(self._trt, 'IBuilderConfig')
        config._logger = self._logger
        return config

    def create_optimization_profile(self) -> OptimizationProfile:
        return new(self._trt, 'IOptimizationProfile')

    def build_serialized_network(
        self, network: Network, config: BuilderConfig,
    ) -> HostMemory | None:
        record = Build(
            self._version, network._flags, set(config._set),
            {name: value.name if hasattr(value, 'kind') else value
             for name, value in config._settings.items()},
            [layer._name for layer in network._layers if layer._precision is not None])
        record.settings['tactic_sources'] = {
            name for name, member in self._trt.TacticSource.__members__.items()
            if config._sources & 1 << int(member)}
        BUILDS.append(record)
        problem = self._problem(network, config, record)
        if problem:
            self._logger.log(self._trt.ILogger.ERROR, problem)
            return None
        if not self._build(config):
            return None
        if config._cache is not None:
            # (a GridSample stands for what makes Myelin's part of a cache unreadable)
            fused = self._version < (9, 0) and b'GridSample' in network._onnx
            config._cache._content = b''.join((
                CACHE_MAGIC, self._trt.__version__.encode(), b' measured',
                UNREADABLE if fused else b''))
        precision = 'FP16' if 'FP16' in config._set else 'FP32'
        held = set(record.fp32_layers)
        verbosity = config._settings.get('profiling_verbosity')
        return new(self._trt, 'IHostMemory', Plan(
            version=self._trt.__version__, onnx=network._onnx,
            profiles=[profile._shapes for profile in config._profiles],
            layers=[{'Name': layer._name, 'Precision': 'FP32' if layer._name in held else precision}
                    for layer in network._layers],
            verbosity=verbosity.name if verbosity else 'LAYER_NAMES_ONLY',
            shares_profile=self._version >= (10, 0) or bool(
                config._settings.get('PROFILE_SHARING_0806'))).pack())

    def _problem(self, network: Network, config: BuilderConfig, record: Build) -> str:
        """Return TensorRT's complaint."""
        precise = {'FP16', 'INT8', 'BF16', 'OBEY_PRECISION_CONSTRAINTS'} & config._set
        if network._typed and precise:
            return ('IBuilder::buildSerializedNetwork: Error Code 3: API Usage Error (Network '
                    f'created with kSTRONGLY_TYPED flag but {sorted(precise)[0]} is set)')
        external = {'CUBLAS', 'CUBLAS_LT', 'CUDNN'} & record.settings['tactic_sources']
        if external:
            raise StandInError(f'TensorRT loads {sorted(external)}, which this machine has not')
        open_inputs = {tensor._name for tensor in network._inputs if -1 in tensor._shape}
        covered = set(config._profiles[0]._shapes) if config._profiles else set()
        if open_inputs - covered:
            return ('4: [network.cpp::validate::3036] Error Code 4: Internal Error (Network has '
                    'dynamic or shape inputs, but no optimization profile has been defined.)')
        pairs = b'QuantizeLinear' in network._onnx
        if pairs and 'OBEY_PRECISION_CONSTRAINTS' in config._set:
            return ('2: [optimizer.cpp::filterQDQFormats::4670] Error Code 2: Internal Error '
                    '(Assertion !n->candidateRequirements.empty() failed. All of the candidates '
                    'were removed, which points to the node being incorrectly marked as an int8 '
                    'node.)')
        if 'INT8' in config._set and not pairs:
            calibrator = config._settings.get('int8_calibrator')
            if calibrator is None:
                return ('4: [standardEngineBuilder.cpp::initCalibrationParams::1402] Error Code 4: '
                        'Internal Error (Calibration failure occurred with no scaling factors '
                        'detected.)')
            record.calibration = _calibrate(calibrator, network)
            if not record.calibration['cached'] and not record.calibration['batches']:
                return ('2: [calibrator.cpp::calibrateEngine] Error Code 2: Internal Error '
                        '(Assertion context->executeV2(&bindings[0]) failed.)')
        return ''

    def _build(self, config: BuilderConfig) -> bool:
        monitor = config._settings.get('progress_monitor')
        if monitor is None:
            for line in ('Graph optimization time: 0.1 seconds.', 'Timing Runner: conv (Cask)',
                         'Engine generation completed in 0.2 seconds.'):
                self._logger.log(self._trt.ILogger.VERBOSE, line)
            return True
        monitor.phase_start('Building Engine', None, 3)
        monitor.phase_start('Tactic Selection', 'Building Engine', 2)
        going = all(monitor.step_complete('Tactic Selection', step) for step in range(2))
        monitor.phase_finish('Tactic Selection')
        monitor.phase_finish('Building Engine')
        return going


def _calibrate(calibrator: Any, network: Network) -> dict[str, Any]:
    """Ask in the real one's order; batches are addresses of device memory."""
    size = calibrator.get_batch_size()
    cache = calibrator.read_calibration_cache()
    batches = 0
    if not cache:
        names = [tensor._name for tensor in network._inputs]
        while (batch := calibrator.get_batch(names)) is not None:
            if len(batch) != len(names) or not all(isinstance(item, int) for item in batch):
                raise StandInError(f'get_batch returned {batch!r}, not an address an input')
            batches += 1
        calibrator.write_calibration_cache(b'TRT-EntropyCalibration2\nimage: 3c010a14\n')
    return {'batch_size': size, 'batches': batches, 'cached': bool(cache)}
