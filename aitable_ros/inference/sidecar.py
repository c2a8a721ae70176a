# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The sidecar of a TensorRT engine: a JSON file that tells whether this machine can run the engine.

An engine is bound to its GPU and TensorRT version. TensorRT finds a mismatch only after loading the
engine, and its messages do not help; the sidecar finds it before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
import json
from pathlib import Path
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.inference.tensorrt_library import LIBRARIES, Library, RTX, TENSORRT

SCHEMA = 1
"""Raised when the meaning of a field changes; a field that is only added leaves it."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Machine:
    """
    The machine that an engine is bound to; unknown parts are empty and never compared.

    :param tensorrt: version, ``8.6.0``; of TensorRT for RTX, ``1.7.1.116``
    :param cuda: newest CUDA that the driver knows, ``12.4``
    :param driver: its version, ``550.54.15``; empty if unknown (Jetson)
    :param gpu: its name, ``NVIDIA H200``
    :param compute_capability: ``9.0``
    """

    tensorrt: str = ''
    cuda: str = ''
    driver: str = ''
    gpu: str = ''
    compute_capability: str = ''

    @classmethod
    def here(cls, device_id: int = 0, library: Library = TENSORRT) -> Machine:
        """
        Return this machine, without a context or memory on the GPU.

        :param library: whose version is returned
        :raises CudaError: no driver, no such GPU, or no Python package that reaches it
        :raises ImportError: the library is not installed
        """
        from aitable_ros.inference.cuda import gpu

        trt = library.load()
        found = gpu(device_id)
        return cls(
            tensorrt=str(trt.__version__), cuda=found.cuda, driver=driver_version(),
            gpu=found.name, compute_capability=found.compute_capability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """
    Source, machine, options and accuracy of an engine.

    :param engine_sha256: of the engine file; with ``engine_bytes`` it detects damage
    :param model: catalogue name, or the name of the file it was built from
    :param model_sha256: of the ONNX that the builder read
    :param source_sha256: of the ONNX file before it was prepared for TensorRT
    :param tensorrt: as the next four, see :class:`Machine`
    :param precision: ``fp32``, ``fp16`` or ``int8``
    :param runtime: the library that built and runs it, see :class:`Library`
    :param compute_capabilities: of TensorRT for RTX: those that the engine runs on, ``8.9``; it is
        not bound to one GPU: ``gpu``, ``compute_capability``, ``cuda`` and ``driver`` are empty
    :param layers: number of layers by the type they read; empty if the builder does not report it
    :param strongly_typed: the ONNX says the precision of each layer, not the builder's flags
    :param options: of the build
    :param calibration: for int8: ``method``, ``frames``, ``cache_sha256``; None otherwise
    :param accuracy: the report of ``aitable models verify``, with ``passed``; None before it ran
    :param forced: the user accepted int8 without a passing report
    :param built_with: ``tensorrt-python``, ``tensorrt-rtx-python`` or ``trtexec``
    :param seconds: duration of the build
    :param rebuild: the command that builds the engine again
    """

    engine_sha256: str
    engine_bytes: int
    model: str
    model_sha256: str
    source_sha256: str = ''
    tensorrt: str
    cuda: str
    driver: str
    gpu: str
    compute_capability: str
    precision: str
    min_batch: int
    opt_batch: int
    max_batch: int
    runtime: str = TENSORRT.name
    compute_capabilities: list[str] = field(default_factory=list)
    layers: dict[str, Any] = field(default_factory=dict)
    strongly_typed: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    accuracy: dict[str, Any] | None = None
    forced: bool = False
    built_with: str = 'tensorrt-python'
    seconds: float = 0.0
    rebuild: str = ''
    schema: int = SCHEMA

    @property
    def library(self) -> Library:
        """The library that runs the engine."""
        return LIBRARIES.get(self.runtime, TENSORRT)

    @property
    def fits(self) -> str:
        """Target of the engine in words: compute capabilities, or the GPU if known."""
        able = ', '.join(self.compute_capabilities)
        return f'compute capability {able}' if able else self.gpu

    @property
    def machine(self) -> Machine:
        """The machine that the engine is bound to."""
        return Machine(self.tensorrt, self.cuda, self.driver, self.gpu, self.compute_capability)

    @property
    def remedy(self) -> str:
        """Remedy for an engine that does not fit, as the end of a sentence."""
        return f'rebuild it: {self.rebuild}' if self.rebuild else 'rebuild it here'


def sidecar_path(engine: Path) -> Path:
    """Return the path of an engine's sidecar, whether the file exists or not."""
    return engine.with_name(engine.name + '.json')


def read(engine: Path) -> Sidecar | None:
    """
    Return an engine's sidecar; None if there is none.

    :raises InputError: the sidecar cannot be read
    """
    path = sidecar_path(engine)
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}') from None
    except ValueError:
        raise _damaged(path, 'it is no JSON') from None
    if not isinstance(found, dict) or not isinstance(found.get('schema'), int):
        raise _damaged(path, 'it is no sidecar of an engine')
    if found['schema'] > SCHEMA:
        raise InputError(
            f"{path}: written by a newer aitable_ros (schema {found['schema']}, this one knows "
            f'{SCHEMA}); update, or rebuild the engine')
    known = {item.name: item for item in fields(Sidecar)}
    values = {name: value for name, value in found.items() if name in known}
    for name, value in values.items():
        if not _fits(value, str(known[name].type)):
            raise _damaged(path, f"'{name}' is {value!r}")
    try:
        return Sidecar(**values)
    except TypeError:
        missing = sorted(_REQUIRED - values.keys())
        raise _damaged(path, f"it lacks {', '.join(missing)}") from None


def library_of(engine: Path) -> Library:
    """Return the library of an engine, by its sidecar, else by its name (``..._rtx``)."""
    try:
        known = read(engine)
    except InputError:
        known = None
    if known is not None:
        return known.library
    return RTX if engine.stem.endswith('_rtx') else TENSORRT


def write(engine: Path, sidecar: Sidecar) -> None:
    """
    Write the sidecar atomically beside its engine.

    :raises InputError: it cannot be written
    """
    from aitable_ros.models.store import write_atomically

    text = json.dumps(asdict(sidecar), indent=2, ensure_ascii=False) + '\n'
    write_atomically(sidecar_path(engine), text.encode())


def fingerprint(path: Path) -> tuple[str, int]:
    """
    Return sha256 and size of a file.

    :raises OSError: it cannot be read
    """
    digest, size = sha256(), 0
    with path.open('rb') as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def damage(sidecar: Sidecar, content: bytes) -> str:
    """
    Check whether an engine file is the one that the sidecar describes.

    :return: empty, or the difference and the remedy in a line
    """
    if len(content) != sidecar.engine_bytes:
        return (f'the engine is damaged: {len(content)} bytes of {sidecar.engine_bytes}; '
                f'{sidecar.remedy}')
    if sha256(content).hexdigest() != sidecar.engine_sha256:
        return f'the engine is not the one its .json describes (sha256); {sidecar.remedy}'
    return ''


def mismatch(sidecar: Sidecar, machine: Machine) -> str:
    """
    Check whether a machine can run the engine.

    :return: empty, or all differences and the command that rebuilds the engine, in a line
    """
    built, parts = sidecar.machine, []
    if not _same_version(built.tensorrt, machine.tensorrt):
        parts.append(f'{sidecar.library.spoken} {built.tensorrt}, here is {machine.tensorrt}')
    if _differ(built.gpu, machine.gpu):
        parts.append(f'{built.gpu}, here is {machine.gpu}')
    if _differ(built.compute_capability, machine.compute_capability):
        parts.append(f'compute capability {built.compute_capability}, '
                     f'here is {machine.compute_capability}')
    able, has, remedy = sidecar.compute_capabilities, machine.compute_capability, sidecar.remedy
    if able and has and has not in able:
        parts.append(f"compute capability {', '.join(able)}, here is {has} ({machine.gpu})")
        remedy = (f'build it with --for {has}, or with --runtime tensorrt for a GPU that '
                  f'{sidecar.library.spoken} does not know')
    return f"built for {'; for '.join(parts)}; {remedy}" if parts else ''


def remarks(sidecar: Sidecar, machine: Machine) -> str:
    """Return differences that deserve a warning, not a refusal; empty if there are none."""
    built, parts = sidecar.machine, []
    if _differ(built.driver, machine.driver):
        parts.append(f'driver {built.driver}, here is {machine.driver}')
    if _differ(built.cuda, machine.cuda):
        parts.append(f'CUDA {built.cuda}, here is {machine.cuda}')
    return f"built with {'; with '.join(parts)}" if parts else ''


def unproven(sidecar: Sidecar) -> str:
    """
    Check whether an int8 engine has a passing accuracy report.

    :return: empty if it may run, or the reason and the remedy in a line
    """
    if sidecar.precision != 'int8' or sidecar.forced:
        return ''
    if sidecar.accuracy is None:
        return ('int8 without an accuracy report; run `aitable models verify` on it, or build it '
                'with --force')
    if sidecar.accuracy.get('passed') is not True:
        return ('int8 that fell short of its accuracy thresholds; use fp16, calibrate it better, '
                'or build it with --force')
    return ''


def driver_version() -> str:
    """Return the version of the NVIDIA driver; empty if unknown."""
    for path in ('/sys/module/nvidia/version', '/proc/driver/nvidia/version'):
        try:
            text = Path(path).read_text(encoding='utf-8')
        except OSError:
            continue
        # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ..."
        words = text.splitlines()[0].split() if text.strip() else []
        return next((word for word in words if word.replace('.', '').isdigit()), '')
    return ''


_REQUIRED = {
    'engine_sha256', 'engine_bytes', 'model', 'model_sha256', 'tensorrt', 'cuda', 'driver', 'gpu',
    'compute_capability', 'precision', 'min_batch', 'opt_batch', 'max_batch'}
_KINDS: dict[str, tuple[type, ...]] = {
    'str': (str,), 'int': (int,), 'bool': (bool,), 'float': (float, int),
    'dict[str, Any]': (dict,), 'list[str]': (list,), 'dict[str, Any] | None': (dict, type(None))}


def _fits(value: object, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == 'bool' or not isinstance(value, bool))


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f'{path}: damaged, {reason}; rebuild the engine, or remove this file')


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def _same_version(one: str, other: str) -> bool:
    """Compare versions; 8.6.1 equals 8.6.1.6, since some packages leave out the build number."""
    pairs = zip(one.split('.')[:4], other.split('.')[:4])
    return not one or not other or all(
        first == second for first, second in pairs if first.isdigit() and second.isdigit())
