# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What can be asked of the build of an engine."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import Any

from aitable_ros.errors import InputError

PRECISIONS = ('fp32', 'fp16', 'int8')


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """
    What the user asks of a build; each field is ``aitable models build``'s option of that name.

    :param max_batch: all faces of a frame run in one batch; the pipeline follows up to 4 by default
    :param workspace_mib: scratch memory a layer may take; 0 leaves it to TensorRT
    :param timing_cache: what builds measured, shared by all; None: one a GPU and version in the
        models' folder
    :param dla_core: None: the GPU
    :param builder_level: None: TensorRT's own, 3
    :param aux_streams: None: TensorRT decides; 0 also makes a CUDA graph simpler
    :param exclude_from_fp16: further ONNX nodes that stay fp32 (names, operators or patterns):
        those that compute with coordinates do anyway
    :param tf32: let fp32 convolutions run in TF32
    :param external_tactics: False: no kernels out of cuBLAS and cuDNN (TensorRT 8.5 to 9)
    :param quantization: ``entropy``, ``qdq``, or ``auto``: the second, but the first for a
        ``calibration_cache`` and, where there is a calibrator, for a DLA
    :param calibration_method: of ``qdq``: ``percentile``, ``entropy`` or ``minmax``
    :param spare: of ``qdq``: so many layers, the most sensitive ones, stay out of int8; None: as
        few as pass on the CPU. A number makes ``auto`` mean ``qdq``
    :param calibration_dir: images, videos or a bag
    :param verify: such a folder to compare with the fp32 ONNX on, after the build
    :param compute_capabilities: what an engine of TensorRT for RTX is to run on, ``sm86``; empty:
        all from 8.0 on
    :param force: name an engine that is not as accurate as it should be all the same
    """

    precision: str = 'fp16'
    min_batch: int = 1
    opt_batch: int = 1
    max_batch: int = 4
    workspace_mib: int = 0
    timing_cache: Path | None = None
    dla_core: int | None = None
    builder_level: int | None = None
    aux_streams: int | None = None
    sparse: bool = False
    exclude_from_fp16: tuple[str, ...] = ()
    tf32: bool = False
    external_tactics: bool = True
    quantization: str = 'auto'
    calibration_method: str = 'percentile'
    spare: int | None = None
    calibration_dir: Path | None = None
    calibration_samples: int = 256
    calibration_cache: Path | None = None
    verify: Path | None = None
    compute_capabilities: tuple[str, ...] = ()
    device_id: int = 0
    verbose: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f'--precision {self.precision}: there are {", ".join(PRECISIONS)}')
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            raise InputError(
                f'--min-batch {self.min_batch}, --opt-batch {self.opt_batch}, --max-batch '
                f'{self.max_batch}: they must not fall, and begin at 1')
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f'--{name.replace("_", "-")} {value}: give {low} to {high}')
        if self.dla_core is not None and (
                self.precision == 'fp32' or self.min_batch != self.max_batch):
            # with an open batch or in fp32 it takes nothing, and the GPU everything, unsaid
            raise InputError('--dla-core goes with fp16 or int8 and one batch size: give '
                             '--min-batch, --opt-batch and --max-batch the same number')
        if self.exclude_from_fp16 and self.precision == 'fp32':
            raise InputError('--exclude-from-fp16 goes with --precision fp16 or int8')

    @property
    def compared_on(self) -> Path | None:
        """What the engine is compared with the fp32 ONNX on; int8 is in any case."""
        return self.verify or (self.calibration_dir if self.precision == 'int8' else None)

    def shaping(self) -> dict[str, Any]:
        """Return what decides how the engine comes out, as JSON has it."""
        found = {name: value for name, value in asdict(self).items()
                 if name not in _PASSING and not (name == 'compute_capabilities' and not value)}
        return {name: list(value) if isinstance(value, tuple) else
                str(value) if isinstance(value, Path) else value
                for name, value in found.items()}

    def arguments(self) -> list[str]:
        """Return the command line's options that make this one again."""
        words = []
        for item in fields(self):
            value = getattr(self, item.name)
            option = '--' + item.name.replace('_', '-')
            if item.name == 'precision':
                words += [option, value]
            elif item.name == 'external_tactics':
                words += [] if value else ['--no-external-tactics']
            elif item.name == 'exclude_from_fp16':
                words += [option, *value] if value else []
            elif item.name == 'compute_capabilities':
                words += ['--for', ','.join(value)] if value else []
            elif value is True:
                words.append(option)
            elif value != item.default and value is not False:
                words += [option, str(value)]
        return words


def better(more: str) -> str:
    """Return what may help an engine, or its graph, that falls short; ``more``: ``, and so on``."""
    return (f'give it other pictures with --calibration-dir and --verify{more}, use fp16, or '
            'force it with --force')


_RANGES = (
    ('max_batch', 1, 256), ('workspace_mib', 0, 1 << 20), ('dla_core', 0, 15),
    ('builder_level', 0, 5), ('aux_streams', 0, 16), ('calibration_samples', 1, 100_000),
    ('spare', 0, 1000), ('device_id', 0, 63),
)
_PASSING = ('timing_cache', 'verify', 'verbose', 'force', 'device_id')
"""Options that leave the engine as it is."""
