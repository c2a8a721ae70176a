# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Makes the ONNX graph that a TensorRT builder reads: simplified, rewritten, with its precision."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from hashlib import sha256
from importlib import resources
from importlib.util import find_spec
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TYPE_CHECKING

from aitable_ros import __version__
from aitable_ros.engines.build_options import better, BuildOptions
from aitable_ros.engines.graph.frame_crops import SIZES_KEY
from aitable_ros.engines.progress import BuildProgress
from aitable_ros.errors import InputError
from aitable_ros.inference.onnx_file import external_files
from aitable_ros.inference.protocol import BackendError
from aitable_ros.inference.tensorrt_version import calibrates, typed_by_onnx, Version
from aitable_ros.models.catalogue import model_home

if TYPE_CHECKING:
    from aitable_ros.engines.calibrator import CalibrationBatches

_QUANTISED = ('QuantizeLinear', 'DequantizeLinear', 'DynamicQuantizeLinear', 'QLinearConv',
              'QLinearMatMul')
"""Operators of a quantised graph: it has no fp32 values to compare an engine with."""
_CALIBRATION_BATCH = 8
"""For an open batch: fewer launches, and the scales do not depend on it."""
_CPU_SAMPLES = 64
"""Samples that find an inaccurate graph on the CPU; the engine is compared on all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderInput:
    """
    Input of a builder.

    :param name: of the ONNX file; names the timing cache
    :param content: the ONNX file
    :param nodes: name and operator of its nodes, in order
    :param inputs: name and shape; None is the open batch
    :param batches: smallest, best and largest of the profile; all equal for a fixed batch
    :param typed: the graph holds the precision; else the builder's flags do
    :param sizes: inputs that leave more open than the batch: smallest, best and largest shape
    :param fp32_nodes: names of nodes that flags must keep in fp32
    :param calibrator: for the entropy method: batches and cache
    :param quantized: for Q/DQ in the graph: report of the quantisation
    """

    name: str
    content: bytes
    source_sha256: str
    nodes: list[tuple[str, str]]
    inputs: dict[str, tuple[int | None, ...]]
    batches: tuple[int, int, int]
    typed: bool
    sizes: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    fp32_nodes: tuple[str, ...] = ()
    calibrator: CalibrationBatches | None = None
    quantized: dict[str, Any] | None = None

    @property
    def calibration(self) -> dict[str, Any] | None:
        """How int8 was calibrated, for the sidecar; complete after the build."""
        return self.calibrator.to_dict() if self.calibrator else self.quantized

    @property
    def sha256(self) -> str:
        """Digest of the ONNX file that the builder reads."""
        return sha256(self.content).hexdigest()

    def shapes(self, batch: int, end: int = 1) -> dict[str, tuple[int, ...]]:
        """
        Return the inputs' shapes for a batch.

        :param end: 0, 1 or 2: smallest, best or largest shape of an input of :attr:`sizes`
        """
        return {name: self.sizes[name][end] if name in self.sizes else
                tuple(batch if size is None else size for size in shape)
                for name, shape in self.inputs.items()}

    @property
    def dynamic(self) -> bool:
        """Tell whether the batch is open, so that an optimisation profile is needed."""
        return _open_batch(self.inputs)

    @property
    def strict(self) -> bool:
        """Tell whether the builder must obey fp32: TensorRT 8 fails if it must beside Q/DQ."""
        return self.quantized is None


@cache
def preparation() -> str:
    """Return a digest of this folder's code: an engine made by other code is built again."""
    digest = sha256()
    for file in sorted(resources.files(__package__ or '').iterdir(), key=lambda file: file.name):
        if file.name.endswith('.py'):
            digest.update(file.read_bytes())
    return f'{__version__}+{digest.hexdigest()[:12]}'


def source_digest(onnx_file: Path) -> str:
    """
    Return a hash of an ONNX file and of the files that hold its external weights.

    :raises InputError: a file cannot be read
    """
    digest = sha256()
    file = onnx_file
    try:
        digest.update(onnx_file.read_bytes())
        for file in external_files(onnx_file):
            digest.update(file.read_bytes())
    except BackendError:
        pass  # loading the model reports it
    except OSError as error:
        whose = '' if file == onnx_file else f', which holds weights of {onnx_file}'
        raise InputError(f'cannot read {file}{whose}: {error.strerror}') from None
    return digest.hexdigest()


def method(options: BuildOptions, version: Version) -> str:
    """
    Return how int8 is made: ``entropy`` (TensorRT calibrates) or ``qdq`` (scales in the graph).

    EmoNet by the calibrator agreed with fp32 on 0.67 of the expressions, with Q/DQ nodes on 0.97
    (TensorRT 8.6, H200): only Q/DQ can leave layers out. A DLA of a TensorRT with a calibrator
    takes no Q/DQ nodes: https://github.com/NVIDIA/TensorRT/issues/2222

    :raises InputError: this TensorRT does not support the options
    """
    chosen = options.quantization
    if chosen == 'auto':
        wanted = options.calibration_cache or (options.dla_core is not None and calibrates(version))
        chosen = 'entropy' if wanted and options.spare is None else 'qdq'
    if chosen == 'entropy' and not calibrates(version):
        option = '--quantization entropy' if options.quantization != 'auto' else (
            '--calibration-cache')
        raise InputError(f'{option}: TensorRT {version[0]} has no calibrator; '
                         'leave it out, and quantisation is written into the ONNX graph')
    if chosen == 'qdq' and options.calibration_cache:
        raise InputError("--calibration-cache is for TensorRT's calibrator: leave it out, or "
                         '--quantization qdq and --spare')
    if chosen == 'entropy' and options.spare is not None:
        raise InputError("--spare: TensorRT's calibrator leaves no layer out; give only one of it "
                         'and --quantization entropy')
    return chosen


def make_builder_input(
    onnx_file: Path, options: BuildOptions, version: Version, progress: BuildProgress,
    model: str = '', calibrating: bool = True,
) -> BuilderInput:
    """
    Read a file and prepare it for a version of TensorRT.

    :param model: catalogue name, which decides how pictures become inputs; or empty
    :param calibrating: False if no calibrator can run here: int8 needs Q/DQ or a cache then
    :raises InputError: not an ONNX file, an unsupported batch, or no pictures for int8
    """
    missing = [name for name in ('onnx', 'onnxslim') if find_spec(name) is None]
    if missing:
        raise InputError('preparing a model for TensorRT needs onnx and onnxslim: '
                         f'pip install {" ".join(missing)}')
    import onnx

    digest = source_digest(onnx_file)
    progress.phase('preparing the graph', 0, 0)
    try:
        proto = onnx.load(str(onnx_file))
        if not proto.graph.node:
            raise InputError(f'{onnx_file}: there is no graph in it')
        sizes = _sizes(proto)
    except InputError:
        raise
    except Exception as error:  # protobuf's exceptions differ with its version
        raise InputError(
            f'{onnx_file}: not an ONNX file, or cut short ({type(error).__name__})') from None
    done = next((node for node in proto.graph.node if node.op_type in _QUANTISED), None)
    if done is not None:
        raise InputError(f'{onnx_file} is quantised already ({done.op_type} {done.name}): give the '
                         'fp32 model that it was made from; --precision int8 quantises it')
    from aitable_ros.engines.graph.simplify import for_tensorrt

    proto = for_tensorrt(proto)
    entropy = options.precision == 'int8' and method(options, version) == 'entropy'
    typed = typed_by_onnx(version) and not entropy
    quantized: dict[str, Any] | None = None
    fp32_nodes: tuple[str, ...] = ()
    pictures = _pictures(model or onnx_file, options, needed=not entropy)
    if options.precision == 'int8' and not entropy:
        progress.phase('quantising', 0, 0)
        proto, quantized = _quantised(
            proto, onnx_file, model, pictures, options, progress,
            judging=calibrating and not options.force)
    if options.precision != 'fp32' and not typed:
        fp32_nodes = _sensitive(proto, options)
    elif options.precision == 'fp16':
        proto = _half(proto, options)
    elif options.precision == 'int8':
        proto = _half_beside_int8(proto, options, progress)
    ready = proto.SerializeToString()
    inputs = _inputs(proto, onnx_file, sizes)
    batches = _batches(inputs, onnx_file, options)
    calibrator = None
    if entropy:
        from aitable_ros.engines.calibrator import CalibrationBatches

        cache = options.calibration_cache or _calibration_cache(onnx_file)
        if not calibrating and not cache.exists():
            raise InputError(f'--precision int8: trtexec does not calibrate, and {cache} is not '
                             'there: make it where TensorRT has its Python package and name it '
                             'with --calibration-cache, or give --quantization qdq')
        calibrator = CalibrationBatches(
            pictures if calibrating else None,
            max(batches[2], _CALIBRATION_BATCH) if _open_batch(inputs) else batches[0],
            sha256(ready).hexdigest(), cache)
        if calibrator.note and options.calibration_cache:
            progress.remark(calibrator.note)
    return BuilderInput(
        name=onnx_file.stem, content=ready, source_sha256=digest,
        nodes=[(node.name, node.op_type) for node in proto.graph.node],
        inputs=inputs, batches=batches, typed=typed, sizes=sizes, fp32_nodes=fp32_nodes,
        calibrator=calibrator, quantized=quantized)


def _half(proto: Any, options: BuildOptions) -> Any:
    from aitable_ros.engines.graph.fp16 import sensitive, to_fp16

    return to_fp16(proto, [*sensitive(proto), *_excluded(proto, options)])


def _half_beside_int8(proto: Any, options: BuildOptions, progress: BuildProgress) -> Any:
    """Convert all nodes that int8 does not cover to fp16, as the builder's flags do on 8.5 to 9."""
    from onnx.version_converter import convert_version

    from aitable_ros.engines.graph.fp16 import opset, PAIR_OPSET

    if opset(proto) < PAIR_OPSET:
        try:
            proto = convert_version(proto, PAIR_OPSET)
        except Exception as error:  # its exceptions are of several kinds, none of them documented
            progress.remark('what int8 does not cover stays fp32: the graph cannot be had in opset '
                            f'{PAIR_OPSET} ({type(error).__name__})')
            return proto
    return _half(proto, options)


def _sensitive(proto: Any, options: BuildOptions) -> tuple[str, ...]:
    """Return the nodes that :func:`_half` keeps in fp32, for the builder's flags."""
    from aitable_ros.engines.graph.fp16 import sensitive

    return tuple(dict.fromkeys([*sensitive(proto), *_excluded(proto, options)]))


def _excluded(proto: Any, options: BuildOptions) -> list[str]:
    """
    Return the nodes that the user gave by name, operator or shell pattern of either.

    :raises InputError: a pattern matches no node
    """
    found = []
    names = {node.name: node.op_type for node in proto.graph.node}
    for pattern in options.exclude_from_fp16:
        hits = [name for name, operator in names.items()
                if fnmatchcase(name, pattern) or fnmatchcase(operator, pattern)]
        if not hits:
            near = get_close_matches(pattern, [*names, *names.values()], n=2, cutoff=0.4)
            hint = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else ''
            raise InputError(
                f'--exclude-from-fp16: no node or operator is called "{pattern}"{hint}')
        found += hits
    return found


def _quantised(
    proto: Any, onnx_file: Path, model: str, pictures: Any, options: BuildOptions,
    progress: BuildProgress, judging: bool,
) -> tuple[Any, dict[str, Any]]:
    """
    Return the graph with Q/DQ nodes, and the report of the quantisation.

    With ``judging``, the graph is first compared on the CPU like the engine later. It predicts the
    engine: EmoNet with all layers in int8 agreed with fp32 on 0.66 of the expressions on the CPU,
    and its engine, which took an H200 384 s to build, on 0.69.

    :raises InputError: the graph is not accurate enough
    """
    import onnx

    from aitable_ros.engines.graph.int8 import quantize
    from aitable_ros.engines.model_inputs import collect_inputs, JUDGING
    from aitable_ros.engines.verify import verify, VerifyReport

    reports: list[VerifyReport] = []
    judged = collect_inputs(
        model or onnx_file, options.compared_on, min(options.calibration_samples, _CPU_SAMPLES),
        phase=JUDGING) if judging and options.compared_on else None

    def judge(candidate: Path) -> bool:
        assert judged is not None
        progress.phase('comparing int8 on the CPU', 0, 0)
        reports.append(verify(
            candidate, onnx_file, judged, precision='int8', backend='onnxruntime'))
        return reports[-1].passed

    with TemporaryDirectory(prefix='aitable-') as folder:
        source, output = (Path(folder) / f'{part}{onnx_file.name}' for part in ('', 'int8_'))
        source.write_bytes(proto.SerializeToString())
        report = quantize(
            source, output, pictures, method=options.calibration_method, spare=options.spare,
            exclude=_excluded(proto, options), judge=None if judged is None else judge,
            progress=lambda what, *steps: _report(progress, f'quantising: {what}', *steps))
        if reports and not reports[-1].passed:
            more = '' if options.spare is None else f', another --spare than {options.spare}'
            raise InputError(
                f'{onnx_file.name} is not built in int8; its graph, {report.layers} layers of it '
                f"in int8, on the CPU: {reports[-1].verdict}: {'; '.join(reports[-1].reasons)}; "
                f'{better(more)}')
        record = {**report.to_dict(), 'method': f'qdq, {report.method}'}
        del record['output']
        return onnx.load(output), record


def _calibration_cache(onnx_file: Path) -> Path:
    # EmoNet's scales take TensorRT 8.6 minutes; a build that stops later keeps them.
    return model_home() / 'calibration' / f'{onnx_file.stem}.cache'


def _report(progress: BuildProgress, name: str, done: int, total: int) -> None:
    progress.phase(name, done, total)


def _pictures(model: str | Path, options: BuildOptions, needed: bool) -> Any:
    """
    Return the inputs that calibrate int8; None for other precisions, or if a cache suffices.

    :raises InputError: none are given
    """
    if options.precision != 'int8' or (options.calibration_dir is None and not needed):
        return None
    if options.calibration_dir is None:
        raise InputError('--precision int8 needs pictures like those of its later use: give '
                         '--calibration-dir FOLDER (images, videos or a bag)')
    from aitable_ros.engines.model_inputs import collect_inputs

    return collect_inputs(model, options.calibration_dir, options.calibration_samples)


def _sizes(proto: Any) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return what one of our own graphs says of inputs of open size; see ``frame_crops``."""
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    return {name: tuple(map(tuple, shapes))
            for name, shapes in json.loads(texts.get(SIZES_KEY, '{}')).items()}


def _inputs(
    proto: Any, path: Path, sized: Collection[str],
) -> dict[str, tuple[int | None, ...]]:
    weights = {item.name for item in proto.graph.initializer}
    found = {}
    for item in proto.graph.input:
        if item.name in weights:
            continue
        sizes = tuple(size.dim_value or None for size in item.type.tensor_type.shape.dim)
        if None in sizes[1:] and item.name not in sized:
            raise InputError(f"{path}: input '{item.name}' leaves more open than the batch: export "
                             'it with a fixed size')
        found[item.name] = sizes
    return found


def _open_batch(inputs: Mapping[str, tuple[int | None, ...]]) -> bool:
    return any(None in shape for shape in inputs.values())


def _batches(
    inputs: Mapping[str, tuple[int | None, ...]], path: Path, options: BuildOptions,
) -> tuple[int, int, int]:
    if _open_batch(inputs):
        return options.min_batch, options.opt_batch, options.max_batch
    fixed = max((shape[0] for shape in inputs.values() if shape and shape[0]), default=1)
    if options.opt_batch > fixed or options.min_batch > fixed:
        raise InputError(f'{path}: its batch is fixed at {fixed}: leave out --min-batch and '
                         '--opt-batch, or export it with an open batch')
    return fixed, fixed, fixed
