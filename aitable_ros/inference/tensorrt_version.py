# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
All differences between TensorRT versions; no other module depends on a version.

Checked against the sources of NVIDIA's Python bindings and trtexec, tags 8.5.3, 8.6.1, 9.3.0,
10.0.1, 10.3.0, 10.13.0, 11.0 and 11.1, and against the bindings themselves
(test_inference_tensorrt_names.py). JetPack 5 has 8.5, 6.0 has 8.6, 6.1 and 6.2 have 10.3, 7 has
10.13. TensorRT for RTX counts its own versions, and has the names of TensorRT 11.

``trt`` is the Python module; default: TensorRT's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
import ctypes
from pathlib import Path
import re
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.inference.tensorrt_library import is_rtx, TENSORRT

OLDEST = (8, 5)
"""The first with name-based I/O and GridSample."""
Version = tuple[int, int]
RTX_IS_LIKE = (11, 0)
"""TensorRT for RTX 1.4 to 1.7: strongly typed only, no calibrator, memory sizes as ``..._v2``."""


def parse_version(text: str) -> Version:
    """Return major and minor of ``10.3.0.26``."""
    numbers = re.match(r'(\d+)\.(\d+)', text)
    if numbers is None:
        raise InputError(f'TensorRT reports the version "{text}", which is not a number')
    return int(numbers[1]), int(numbers[2])


def trt_version(trt: Any = None) -> Version:
    """
    Return the major and minor version of TensorRT with the names of a module.

    :raises InputError: older than :data:`OLDEST`
    """
    trt = trt or TENSORRT.load()
    return RTX_IS_LIKE if is_rtx(trt) else check_version(parse_version(trt.__version__))


def check_version(version: Version) -> Version:
    """Return the version; :raises InputError: older than :data:`OLDEST`."""
    if version < OLDEST:
        raise InputError(
            f'TensorRT {version[0]}.{version[1]} is too old: 8.5 or newer is needed (it brought '
            'GridSample and input and output by name), which is JetPack 5.1 on a Jetson')
    return version


# Precision.

def typed_by_onnx(version: Version) -> bool:
    """Tell whether the ONNX file sets the precision (strongly typed), not the builder's flags."""
    return version >= (10, 0)


def reports_progress(version: Version) -> bool:
    """Tell whether a build reports its phases and can be stopped."""
    return version >= (10, 0)


def calibrates(version: Version) -> bool:
    """Tell whether this version has calibrators; 11 takes int8 only from the ONNX file (Q/DQ)."""
    return version < (11, 0)


def network_flags(typed: bool, trt: Any = None) -> int:
    """
    Return the flags for ``create_network``.

    ``EXPLICIT_BATCH`` must be set up to 9, is without meaning in 10 and gone in 11, where
    ``STRONGLY_TYPED`` is always on.
    """
    trt = trt or TENSORRT.load()
    flags = trt.NetworkDefinitionCreationFlag
    version = trt_version(trt)
    if version < (10, 0):
        return 1 << int(flags.EXPLICIT_BATCH)
    return 1 << int(flags.STRONGLY_TYPED) if typed and version < (11, 0) else 0


def set_precision(
    config: Any, precision: str, *, typed: bool, tf32: bool, trt: Any = None,
) -> None:
    """
    Set the precisions that a builder may use.

    TF32, which has ten bits of mantissa, is on by default; without ``tf32`` it is turned off.

    :param typed: the ONNX file sets the precision; flags are then an error
    """
    flags = (trt or TENSORRT.load()).BuilderFlag
    (config.set_flag if tf32 else config.clear_flag)(flags.TF32)
    if typed:
        return
    if precision in ('fp16', 'int8'):  # layers outside int8 run in fp16
        config.set_flag(flags.FP16)
    if precision == 'int8':
        config.set_flag(flags.INT8)


def keep_fp32(network: Any, config: Any, nodes: Collection[str], *, strict: bool = True) -> int:
    """
    Keep the layers of some ONNX nodes in fp32, on versions with precision flags (8.5 to 9).

    :param nodes: names of ONNX nodes
    :param strict: False lets the builder decide: with Q/DQ pairs in the graph, 8.6 fails if it must
        obey ("incorrectly marked as an int8 node")
    :return: number of these layers
    """
    import tensorrt

    wanted = set(nodes)
    # integers and shapes have no precision to set, and TensorRT rejects the network if one is
    fixed = {tensorrt.LayerType.SHAPE, tensorrt.LayerType.CONSTANT}
    floats = (tensorrt.float32, tensorrt.float16)
    held = 0
    for index in range(network.num_layers if wanted else 0):
        layer = network.get_layer(index)
        outputs = [layer.get_output(at) for at in range(layer.num_outputs)]
        if layer.type in fixed or _onnx_node(layer) not in wanted or not outputs or any(
                out.is_shape_tensor or out.dtype not in floats for out in outputs):
            continue
        layer.precision = tensorrt.float32
        for at in range(layer.num_outputs):
            layer.set_output_type(at, tensorrt.float32)
        held += 1
    if held:
        flags = tensorrt.BuilderFlag
        config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS if strict else
                        flags.PREFER_PRECISION_CONSTRAINTS)
    return held


def _onnx_node(layer: Any) -> str:
    """Return the ONNX node that a layer was made from; 8.5 has only the layer's own name."""
    if trt_version() >= (8, 6):
        # `[ONNX Layer: NAME]`, before `[...]` that other passes append
        found = re.search(r'\[ONNX Layer: (.*?)\]', layer.metadata or '')
        if found:
            return found[1]
    return str(layer.name)


# Other builder options.

def set_workspace(config: Any, mib: int, trt: Any = None) -> None:
    """Limit the scratch memory of a layer; 0: TensorRT's default, all memory."""
    if mib:
        pools = (trt or TENSORRT.load()).MemoryPoolType
        config.set_memory_pool_limit(pools.WORKSPACE, mib << 20)


def set_builder_level(config: Any, level: int | None, trt: Any = None) -> None:
    """
    Set how long the builder looks for faster kernels, 0 ... 5; None: its default, 3.

    :raises InputError: 8.5 has no levels
    """
    if level is not None:
        _since((8, 6), '--builder-level', trt_version(trt))
        config.builder_optimization_level = level


def set_aux_streams(config: Any, streams: int | None, trt: Any = None) -> None:
    """
    Set how many further streams an engine may use; None: TensorRT decides.

    :raises InputError: 8.5 has none
    """
    if streams is not None:
        _since((8, 6), '--aux-streams', trt_version(trt))
        config.max_aux_streams = streams


def set_sparse(config: Any, trt: Any = None) -> None:
    """Allow kernels for weights that are 2:4 sparse."""
    config.set_flag((trt or TENSORRT.load()).BuilderFlag.SPARSE_WEIGHTS)


def set_detailed(config: Any, trt: Any = None) -> None:
    """Keep layer names and precisions in the engine, for ``aitable models profile``."""
    config.profiling_verbosity = (trt or TENSORRT.load()).ProfilingVerbosity.DETAILED


def set_dla(builder: Any, config: Any, core: int) -> None:
    """
    Run supported layers on a deep learning accelerator, the others on the GPU.

    :raises InputError: the machine has no such core
    """
    import tensorrt

    if core >= builder.num_DLA_cores:
        raise InputError(
            f'--dla-core {core}: this machine has {builder.num_DLA_cores or "no"} DLA cores'
            + (', numbered from 0' if builder.num_DLA_cores else '; leave the option out'))
    config.default_device_type = tensorrt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(tensorrt.BuilderFlag.GPU_FALLBACK)


_EXTERNAL = (
    ('CUBLAS', ('libcublas.so.12', 'libcublas.so.11'), 'cublasGetProperty'),
    ('CUBLAS_LT', ('libcublasLt.so.12', 'libcublasLt.so.11'), 'cublasLtGetProperty'),
    ('CUDNN', ('libcudnn.so.8',), 'cudnnGetProperty'),
)
"""Libraries whose kernels 8.5 to 9 use; 10 does not by default, 11 cannot."""


def external_tactics(allowed: bool = True) -> dict[str, bool]:
    """
    Return the libraries whose kernels this version would use, and whether each is allowed.

    :param allowed: False forbids all. A library that cannot be loaded is always forbidden: with it
        TensorRT crashes or fails during a build
    """
    if trt_version() >= (10, 0):
        return {}
    return {name: allowed and any(_answers(library, symbol) for library in libraries)
            for name, libraries, symbol in _EXTERNAL}


def set_tactics(config: Any, external: dict[str, bool]) -> None:
    """Turn off the libraries that :func:`external_tactics` does not allow."""
    if external and not all(external.values()):
        import tensorrt

        sources = config.get_tactic_sources()
        for name, usable in external.items():
            if not usable:
                sources &= ~(1 << int(getattr(tensorrt.TacticSource, name)))
        config.set_tactic_sources(sources)


def _answers(library: str, symbol: str) -> bool:
    """Load a library and ask for its version, which a mere placeholder cannot give."""
    try:
        function = getattr(ctypes.CDLL(library), symbol)
    except (OSError, AttributeError):
        return False
    value = ctypes.c_int(-1)
    return function(0, ctypes.byref(value)) == 0 and value.value > 0  # 0: MAJOR_VERSION


def set_timing_cache(config: Any, content: bytes) -> bool:
    """
    Give a builder the measurements of earlier builds.

    :return: False if they are of another TensorRT or GPU; an empty cache is used then
    """
    if content:
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return True
    config.set_timing_cache(config.create_timing_cache(b''), False)
    return not content


def timing_cache(config: Any) -> bytes:
    """Return the measurements of this and earlier builds."""
    return bytes(config.get_timing_cache().serialize())


# Running engines.

def share_profile(config: Any, trt: Any = None) -> None:
    """
    Allow several execution contexts for one optimisation profile, each with a CUDA graph.

    8.5 cannot: its engines keep the graph of one batch size. From 10 on this is always allowed.
    """
    trt = trt or TENSORRT.load()
    if (8, 6) <= trt_version(trt) < (10, 0):
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)


def activation_bytes(engine: Any, trt: Any = None) -> int:
    """Return the scratch memory of a context for its largest batch, bytes."""
    if trt_version(trt) < (11, 0):
        return int(engine.device_memory_size)
    return int(engine.device_memory_size_v2)


def create_context(engine: Any, trt: Any = None) -> Any:
    """Return an execution context without scratch memory, or None on failure."""
    trt = trt or TENSORRT.load()
    if trt_version(trt) < (10, 0):
        return engine.create_execution_context_without_device_memory()
    return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)


def give_memory(context: Any, address: int, nbytes: int, trt: Any = None) -> None:
    """Give a context its scratch memory, which other contexts may use between its runs."""
    if trt_version(trt) < (10, 1):
        context.device_memory = address
    else:
        context.set_device_memory(address, nbytes)


# Parser errors.

def parser_errors(
    parser: Any, nodes: list[tuple[str, str]], trt: Any = None,
) -> Iterator[str]:
    """
    Yield a line for each error of an ONNX parser: node, operator, reason.

    :param nodes: name and operator of the graph's nodes, in order; up to 8.6 errors only count them
    """
    named = trt_version(trt) >= (9, 0)
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        if named:
            name, operator = error.node_name(), error.node_operator()
        else:
            at = error.node()
            name, operator = nodes[at] if 0 <= at < len(nodes) else ('', '')
        where = f"node '{name}' ({operator}): " if operator else ''
        yield where + ' '.join(str(error.desc()).split())


# trtexec, the builder without Python bindings.

def trtexec_version(banner: str) -> Version | None:
    """Find the version in trtexec's output, ``[TensorRT v8601]`` or, from 10 on, ``v100300``."""
    found = re.search(r'\[TensorRT v(\d+)\]', banner)
    if found is None:
        return None
    number = int(found[1])
    return (number // 10000, number // 100 % 100) if number >= 10000 else (
        number // 1000, number // 100 % 10)


def trtexec_precision(
    version: Version, precision: str, *, typed: bool, tf32: bool, fp32_layers: Collection[str],
    calibration_cache: Path | None, strict: bool = True,
) -> list[str]:
    """Return the arguments for the precision, like :func:`set_precision` and :func:`keep_fp32`."""
    arguments = [] if tf32 else ['--noTF32']
    if typed:  # always on from 11 on, where the option is left only as one without effect
        return arguments + (['--stronglyTyped'] if version < (11, 0) else [])
    if precision in ('fp16', 'int8'):
        arguments.append('--fp16')
    if precision == 'int8':
        arguments.append('--int8')
        if calibration_cache:
            arguments.append(f'--calib={calibration_cache}')
    if fp32_layers and precision != 'fp32':
        unfit = [name for name in fp32_layers if set(name) & set(':,')]
        if unfit:
            raise InputError(f"trtexec cannot take the layer name '{unfit[0]}', which has ':' or "
                             "',': leave it out of --exclude-from-fp16")
        layers = ','.join(f'{name}:fp32' for name in fp32_layers)
        arguments += [f"--precisionConstraints={'obey' if strict else 'prefer'}",
                      f'--layerPrecisions={layers}',
                      f'--layerOutputTypes={layers}']
    return arguments


def trtexec_options(
    version: Version, *, workspace_mib: int, builder_level: int | None, aux_streams: int | None,
) -> list[str]:
    """
    Return the options that differ between versions.

    ``--workspace`` went with 10; ``--memPoolSize`` came with 8.4, so all of ours have it.

    :raises InputError: this version lacks an option
    """
    arguments = ['--skipInference' if version >= (8, 6) else '--buildOnly']
    if (8, 6) <= version < (10, 0):  # see share_profile
        arguments.append('--preview=+profileSharing0806')
    if workspace_mib:
        arguments.append(f'--memPoolSize=workspace:{workspace_mib}')
    if builder_level is not None:
        _since((8, 6), '--builder-level', version)
        arguments.append(f'--builderOptimizationLevel={builder_level}')
    if aux_streams is not None:
        _since((8, 6), '--aux-streams', version)
        arguments.append(f'--maxAuxStreams={aux_streams}')
    return arguments


def _since(first: Version, option: str, version: Version | None = None) -> None:
    here = version or trt_version()
    if here < first:
        raise InputError(f'{option} needs TensorRT {first[0]}.{first[1]}, and this is '
                         f'{here[0]}.{here[1]}: leave it out')
