# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins of TensorRT's logger, runtime, engine and context; ONNX Runtime does the sums."""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Any

import numpy as np

from .cuda import DriverError, GPU
from .plan import Plan, unpack
from .surface import Constructible, Dims, new, Overridable, overridden, StandInError, stands_for

ACTIVATION_BYTES = 1 << 16
_NUMPY = {'FLOAT': np.float32, 'HALF': np.float16, 'INT8': np.int8, 'INT32': np.int32,
          'INT64': np.int64, 'BOOL': np.bool_, 'UINT8': np.uint8}
_ONNX = {'tensor(float)': 'FLOAT', 'tensor(float16)': 'HALF', 'tensor(int8)': 'INT8',
         'tensor(int32)': 'INT32', 'tensor(int64)': 'INT64', 'tensor(bool)': 'BOOL',
         'tensor(uint8)': 'UINT8', 'tensor(bfloat16)': 'BF16'}
_LANES = {'LINEAR': 0, 'HWC': 1, 'HWC8': 8, 'HWC16': 16}


@stands_for('ILogger')
class ILogger(Overridable):
    """The base of a user's logger."""

    def log(self, severity: Any, msg: str) -> None:
        raise RuntimeError('Tried to call pure virtual function "ILogger::log"')


@stands_for('Logger')
class Logger(Constructible):
    """TensorRT's own logger prints on stderr, which nothing of ours may."""

    def __init__(self, min_severity: Any = None) -> None:
        raise StandInError("TensorRT's own logger prints on stderr")


@stands_for('IProfiler')
class IProfiler(Overridable):
    """The base of a user's profiler."""


def _here() -> None:
    """Fail where the real one would quietly take GPU 0, or crash without a driver."""
    try:
        GPU.need()
    except DriverError as error:
        raise StandInError(f'TensorRT is called without a CUDA context: {error}') from None


@stands_for('Runtime')
class Runtime(Constructible):
    """Loads engines."""

    def __init__(self, logger: Any) -> None:
        _here()
        self._logger = overridden(logger, 'ILogger')

    def _error(self, text: str) -> None:
        self._logger.log(self._trt.ILogger.ERROR, text)

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        _here()
        plan = unpack(bytes(serialized_engine))
        if plan is None:
            self._error('1: [stdArchiveReader.cpp::StdArchiveReader::30] Error Code 1: '
                        'Serialization (Serialization assertion magicTagRead == kMAGIC_TAG '
                        'failed.Magic tag does not match)')
            return None
        if plan.version != self._trt.__version__:
            self._error('6: The engine plan file is not compatible with this version of TensorRT, '
                        f'expecting library version {self._trt.__version__} got {plan.version}, '
                        'please rebuild.')
            return None
        here = '.'.join(map(str, GPU.compute_capability))
        if here not in plan.compute_capability.split(', '):
            self._error('6: The engine plan file is generated on an incompatible device, expecting '
                        f'compute {here} got compute {plan.compute_capability}, please rebuild.')
            return None
        try:
            weights = GPU.allocate(max(len(plan.onnx), 256))
        except DriverError as error:
            self._error('1: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime '
                        f'({error})')
            self._error('2: [safeDeserialize.cpp::load::269] Error Code 2: OutOfMemory (no further '
                        'information)')
            return None
        return new(self._trt, 'ICudaEngine', self._logger, plan, weights)


@stands_for('ICudaEngine')
class CudaEngine:
    """A plan in memory."""

    def __init__(self, logger: Any, plan: Plan, weights: int) -> None:
        import onnxruntime

        self._logger, self._plan, self._weights = logger, plan, weights
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            plan.onnx, options, providers=['CPUExecutionProvider'])
        self._io = {}
        for item in self._session.get_inputs():
            self._io[item.name] = ('INPUT', item)
        for item in self._session.get_outputs():
            self._io[item.name] = ('OUTPUT', item)
        self._contexts = 0
        self._profile_taken = False

    def __del__(self) -> None:
        if self._contexts:
            # the context's own reference keeps the engine alive, so this is the stand-in's fault
            raise StandInError('an engine went before its contexts')
        if GPU.memory.pop(self._weights, None) is not None and not GPU.lost and not GPU.stack:
            raise StandInError('an engine was freed without a CUDA context')

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def num_io_tensors(self) -> int:
        return len(self._io)

    @property
    def num_optimization_profiles(self) -> int:
        return max(len(self._plan.profiles), 1)

    @property
    def device_memory_size(self) -> int:
        return ACTIVATION_BYTES

    device_memory_size_v2 = device_memory_size

    def get_tensor_name(self, index: int) -> str:
        return list(self._io)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return getattr(self._trt.TensorIOMode, self._io[name][0] if name in self._io else 'NONE')

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims([size if isinstance(size, int) else -1 for size in self._io[name][1].shape])

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(self._trt.DataType, self._kind(name))

    def get_tensor_location(self, name: str) -> Any:
        return self._trt.TensorLocation.DEVICE

    def get_tensor_format(self, name: str, profile_index: int = 0) -> Any:
        return getattr(self._trt.TensorFormat, self._plan.formats.get(name, 'LINEAR'))

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        return [Dims(shape) for shape in self._plan.profiles[profile_index][name]]

    def create_runtime_config(self) -> Any:
        return new(self._trt, 'IRuntimeConfig')

    def create_execution_context(self, strategy: Any = None) -> Any:
        if isinstance(strategy, RuntimeConfig):
            context = new(self._trt, 'IExecutionContext', self, strategy._strategy.name == 'STATIC')
            context._config = strategy
            return context
        owned = strategy is None or strategy.name == 'STATIC'
        return new(self._trt, 'IExecutionContext', self, owned)

    def create_execution_context_without_device_memory(self) -> Any:
        return new(self._trt, 'IExecutionContext', self, False)

    def create_engine_inspector(self) -> Any:
        return new(self._trt, 'EngineInspector', self)

    def _kind(self, name: str) -> str:
        return self._plan.types.get(name) or _ONNX[self._io[name][1].type]

    def _shared(self) -> bool:
        return self._version >= (10, 0) or self._plan.shares_profile


@stands_for('IRuntimeCache')
class RuntimeCache:
    """Kernels made for a GPU: here, the shapes that have run on it."""

    def __init__(self) -> None:
        self._kernels: set[str] = set()

    def deserialize(self, blob: Any) -> bool:
        head, _, rest = bytes(blob).decode(errors='replace').partition('|')
        if head != f'KERNELS {GPU.name}':
            return False
        self._kernels |= set(filter(None, rest.split('|')))
        return True

    def serialize(self) -> Any:
        return new(self._trt, 'IHostMemory',
                   '|'.join([f'KERNELS {GPU.name}', *sorted(self._kernels)]).encode())


@stands_for('IRuntimeConfig')
class RuntimeConfig:
    """How contexts of TensorRT for RTX are made."""

    cuda_graph_strategy: Any = None
    dynamic_shapes_kernel_specialization_strategy: Any = None

    def __init__(self) -> None:
        self._strategy = self._trt.ExecutionContextAllocationStrategy.STATIC
        self._cache: RuntimeCache | None = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> Any:
        return new(self._trt, 'IRuntimeCache')

    def set_runtime_cache(self, cache: Any) -> bool:
        self._cache = cache
        return True


@stands_for('EngineInspector')
class EngineInspector:
    """Tells of an engine's layers what it was built to tell."""

    execution_context: Any = None

    def __init__(self, engine: CudaEngine) -> None:
        self._engine = engine

    def get_engine_information(self, format: Any) -> str:
        plan = self._engine._plan
        if plan.verbosity != 'DETAILED':
            return json.dumps({'Layers': [layer.get('Name', '') for layer in plan.layers],
                               'Bindings': list(self._engine._io)}, indent=2)
        layers = []
        for layer in plan.layers:
            precision = layer.get('Precision', 'FP32')
            stored = (f'Row major linear {precision} format' if not plan.profiles
                      else 'N/A due to dynamic shapes')
            ends = [{'Name': 'a', 'Location': 'Device', 'Format/Datatype': stored}]
            weights = {'FP32': 'Float', 'FP16': 'Half'}.get(precision, precision)
            layers.append({
                'Name': layer.get('Name', ''), 'LayerType': 'CaskConvolution', 'Inputs': ends,
                'Outputs': ends, 'Weights': {'Type': weights, 'Count': 72},
                'Metadata': '[ONNX Layer: one]SEPARATOR[ONNX Layer: two]'})
        text = json.dumps({'Layers': layers, 'Bindings': list(self._engine._io)}, indent=2)
        return text.replace('SEPARATOR', '\x1e')  # as the real one does: it is no JSON


@stands_for('IExecutionContext')
class ExecutionContext:
    """Shapes, addresses and a run on a stream."""

    def __init__(self, engine: CudaEngine, owned: bool) -> None:
        _here()
        self._engine, self._logger = engine, engine._logger
        self._memory = GPU.allocate(ACTIVATION_BYTES) if owned else 0
        self._owned = owned
        free = engine._shared() or not engine._profile_taken or not engine._plan.profiles
        self._profile = 0 if free else -1
        engine._profile_taken = True
        engine._contexts += 1
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._state = 0
        """Counts changes of the shapes."""
        self._ran_at = -1
        self._profiler: Any = None
        self._config: Any = None
        """How it was made, by TensorRT for RTX."""

    def __del__(self) -> None:
        if not hasattr(self, '_engine'):
            return
        self._engine._contexts -= 1
        if self._profile == 0 and not self._engine._shared():
            self._engine._profile_taken = False
        if self._owned:
            GPU.memory.pop(self._memory, None)

    def _error(self, text: str) -> bool:
        self._logger.log(self._trt.ILogger.ERROR, text)
        return False

    engine = property(attrgetter('_engine'))
    active_optimization_profile = property(attrgetter('_profile'))

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        _here()
        if not self._engine._shared() and self._engine._profile_taken and self._profile != 0:
            return self._error(
                '3: [executionContext.cpp::setOptimizationProfileInternal::1328] Error Code 3: API '
                'Usage Error (Profile 0 has been chosen by another IExecutionContext. Use another '
                'profileIndex or destroy the IExecutionContext that use this profile.)')
        self._profile = profile_index
        return True

    def _give(self, memory: int) -> None:
        if memory % 256:
            raise StandInError('scratch memory must be aligned to 256 bytes')
        GPU.view(memory, ACTIVATION_BYTES)
        self._memory = memory

    device_memory = property(None, _give)

    def set_device_memory(self, memory: int, size: int) -> None:
        if size < ACTIVATION_BYTES:
            raise StandInError('too little scratch memory')
        self._give(memory)

    @property
    def profiler(self) -> Any:
        return self._profiler

    @profiler.setter
    def profiler(self, value: Any) -> None:
        self._profiler = None if value is None else overridden(value, 'IProfiler')

    def set_input_shape(self, name: str, shape: Any) -> bool:
        _here()
        if self._profile < 0:
            return self._error('3: no optimization profile was selected')
        shape = tuple(int(size) for size in shape)
        static = tuple(self._engine.get_tensor_shape(name))
        if -1 in static:
            low, _, high = self._engine._plan.profiles[self._profile][name]
        else:
            low = high = list(static)
        if len(shape) != len(low) or not all(a <= b <= c for a, b, c in zip(low, shape, high)):
            return self._error(
                '3: [executionContext.cpp::validateInputBindings::2045] Error Code 3: API Usage '
                f'Error (IExecutionContext::setInputShape: {list(shape)} for {name} does not '
                f'satisfy the profile {low} to {high})')
        if self._shapes.get(name) != shape:
            self._shapes[name] = shape
            self._state += 1
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        shape = self._engine.get_tensor_shape(name)
        if self._engine._io[name][0] == 'INPUT':
            return Dims(self._shapes.get(name, tuple(shape)))
        if self._missing():
            return shape
        batch = next(iter(self._shapes.values()))[0] if self._shapes else None
        # an open dimension has a name in ONNX, and inputs of that name say how large it is
        known = {word: size for given, sizes in self._shapes.items()
                 for word, size in zip(self._engine._io[given][1].shape, sizes)
                 if isinstance(word, str)}
        first = known.get(self._engine._io[name][1].shape[0], batch)
        return Dims([first if size == -1 and at == 0 and first else size
                     for at, size in enumerate(shape)])

    def _missing(self) -> list[str]:
        return [name for name, (mode, _) in self._engine._io.items()
                if mode == 'INPUT' and name not in self._shapes
                and -1 in tuple(self._engine.get_tensor_shape(name))]

    def infer_shapes(self) -> list[str]:
        return self._missing()

    def set_tensor_address(self, name: str, memory: int) -> bool:
        _here()
        if name not in self._engine._io:
            return self._error(f'3: no tensor is called {name}')
        if memory % 256:
            raise StandInError('tensor addresses must be aligned to 256 bytes')
        self._addresses[name] = int(memory)
        return True

    def is_stream_capturable(self, stream_handle: int) -> bool:
        """Tell whether its kernels are made: no compiler runs in a capture."""
        return self._config is None or self._kernel() in self._config._cache._kernels

    def _kernel(self) -> str:
        return str(sorted(self._shapes.items()))

    def execute_async_v3(self, stream_handle: int) -> bool:
        _here()
        if self._config is not None:
            self._config._cache._kernels.add(self._kernel())
        stream = GPU.streams[stream_handle]
        if self._missing():
            return self._error('3: [executionContext.cpp::enqueueInternal::1] Error Code 3: API '
                               f'Usage Error (shapes of {self._missing()} are not set)')
        unbound = [name for name in self._engine._io if name not in self._addresses]
        if unbound:
            return self._error('3: [executionContext.cpp::enqueueV3::2666] Error Code 3: API Usage '
                               f'Error (address of {unbound[0]} is not set)')
        if not self._memory:
            raise StandInError('a context runs without scratch memory')
        if stream.capture is not None and self._ran_at != self._state:
            stream.spoiled = True  # it sets things up with the first run, which cannot be captured
            return self._error('1: [graphContext.h::~MyelinGraphContext::35] Error Code 1: Cuda '
                               'Runtime (operation not permitted when stream is capturing)')
        GPU.enqueued += stream.capture is None
        self._ran_at = state = self._state
        shapes = {name: tuple(self.get_tensor_shape(name)) for name in self._engine._io}
        addresses = dict(self._addresses)
        for name, shape in shapes.items():
            GPU.view(addresses[name], self._nbytes(name, shape))

        def work() -> None:
            if self._state != state:
                raise StandInError('a graph runs whose context has other shapes by now')
            GPU.view(self._memory, ACTIVATION_BYTES)
            self._compute(shapes, addresses)

        stream.add(work, self._memory, *addresses.values())
        return True

    def _stored(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        lanes = _LANES[self._engine._plan.formats.get(name, 'LINEAR')]
        if not lanes:
            return shape
        batch, channels, height, width = shape
        return batch, height, width, -(-channels // lanes) * lanes

    def _nbytes(self, name: str, shape: tuple[int, ...]) -> int:
        dtype = np.dtype(_NUMPY[self._engine._kind(name)])
        return int(np.prod(self._stored(name, shape))) * dtype.itemsize

    def _compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        engine = self._engine
        feeds = {}
        for name, (mode, item) in engine._io.items():
            if mode == 'INPUT':
                memory = GPU.view(addresses[name], self._nbytes(name, shapes[name]))
                stored = np.frombuffer(memory, _NUMPY[engine._kind(name)]).reshape(
                    self._stored(name, shapes[name]))
                if stored.shape != shapes[name]:
                    stored = stored.transpose(0, 3, 1, 2)[:, :shapes[name][1]]
                feeds[name] = np.ascontiguousarray(stored).astype(_NUMPY[_ONNX[item.type]])
        names = [name for name, (mode, _) in engine._io.items() if mode == 'OUTPUT']
        for name, value in zip(names, engine._session.run(names, feeds)):
            if value.shape != shapes[name]:
                raise StandInError(f'{name} came out as {value.shape}, not {shapes[name]}')
            stored = np.zeros(self._stored(name, shapes[name]), _NUMPY[engine._kind(name)])
            if stored.shape == shapes[name]:
                stored[...] = value
            else:
                stored.transpose(0, 3, 1, 2)[:, :shapes[name][1]] = value
            GPU.view(addresses[name], stored.nbytes)[:] = stored.tobytes()
        if self._profiler is not None:
            for layer in engine._plan.layers or [{'Name': 'everything'}]:
                self._profiler.report_layer_time(layer.get('Name', ''), 0.01)
