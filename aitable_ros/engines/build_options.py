# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The options of a build: their defaults, ranges, command-line options and help."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from aitable_ros.errors import InputError

PRECISIONS = ('fp32', 'fp16', 'int8')
_BATCH, _BUILDER, _PRECISION = 'batch', 'builder', 'precision'
_NOT_SHAPING = ('timing_cache', 'verify', 'verbose', 'force', 'device_id')
"""Options that do not change the engine."""


def _option(
    default: Any, group: str, text: str, *, metavar: str | None = None, flag: str = '',
    choices: tuple[str, ...] = (), low: int = 0, high: int = 0,
) -> Any:
    """
    Declare an option.

    :param group: of the command line's help
    :param flag: on the command line; default: ``--`` and the field's name
    :param low: least number, if ``high`` is above it
    """
    return field(default=default, metadata={
        'group': group, 'help': text, 'metavar': metavar or 'N', 'flag': flag, 'choices': choices,
        'low': low, 'high': high})


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """
    The options of a build; each field is an option of ``aitable models build`` and of its YAML.

    :raises InputError: out of range, or contradictory
    """

    precision: str = 'fp16'
    min_batch: int = _option(1, _BATCH, 'smallest batch (default: 1)')
    opt_batch: int = _option(1, _BATCH, 'batch that the engine is tuned for (default: 1)')
    max_batch: int = _option(
        4, _BATCH, 'largest batch: faces of one frame that run together (default: 4)',
        low=1, high=256)
    workspace_mib: int = _option(
        0, _BUILDER, 'scratch memory of a layer (default: all)', metavar='MIB', high=1 << 20)
    timing_cache: Path | None = _option(  # noqa: RUF009
        None, _BUILDER, "measurements of earlier builds (default: a file for each model and GPU in "
        "the models' folder)", metavar='FILE')
    dla_core: int | None = _option(
        None, _BUILDER, 'deep learning accelerator; the GPU runs the layers that it cannot',
        high=15)
    builder_level: int | None = _option(
        None, _BUILDER, 'how long to look for fast kernels (default: 3; TensorRT 8.6 on)',
        metavar='0-5', high=5)
    aux_streams: int | None = _option(
        None, _BUILDER, 'further streams of the engine (default: TensorRT decides; 8.6 on)',
        high=16)
    sparse: bool = _option(False, _BUILDER, 'use weights that are 2:4 sparse')
    exclude_from_fp16: tuple[str, ...] = _option(
        (), _PRECISION, 'ONNX nodes to keep in fp32, besides those that compute with coordinates: '
        'names, operators or patterns', metavar='NODE')
    tf32: bool = _option(
        False, _BUILDER, 'let fp32 convolutions run in TF32: faster, 10 bits of mantissa')
    external_tactics: bool = _option(
        True, _BUILDER, 'no kernels of cuBLAS and cuDNN (TensorRT 8.5 to 9; always left out if '
        'they cannot be loaded)', flag='--no-external-tactics')
    quantization: str = _option(
        'auto', _PRECISION, "int8 by TensorRT's calibrator (entropy) or in the ONNX graph (qdq; "
        'default: qdq, but entropy for --calibration-cache and, up to TensorRT 10, --dla-core)',
        choices=('auto', 'entropy', 'qdq'))
    calibration_method: str = _option(
        'percentile', _PRECISION, 'for qdq: how the range of an activation is found (default: '
        'percentile)', choices=('percentile', 'entropy', 'minmax'))
    spare: int | None = _option(
        None, _PRECISION, 'for qdq: keep the N most sensitive layers out of int8 (default: none, '
        'or the tenth, fifth or two fifths that let the graph pass on the CPU)', high=1000)
    calibration_dir: Path | None = _option(  # noqa: RUF009
        None, _PRECISION, 'images, videos or a bag like those that the model will see; int8 needs '
        'them', metavar='DIR')
    calibration_samples: int = _option(256, _PRECISION, '(default: 256)', low=1, high=100_000)
    calibration_cache: Path | None = _option(  # noqa: RUF009
        None, _PRECISION, "the calibrator's result; read if the file exists, else written",
        metavar='FILE')
    verify: Path | None = _option(  # noqa: RUF009
        None, _PRECISION, 'compare with the fp32 ONNX on these after the build; an engine that '
        'does not pass is not written (int8: default --calibration-dir)', metavar='DIR')
    compute_capabilities: tuple[str, ...] = _option(
        (), _BUILDER, 'compute capabilities that an engine of TensorRT for RTX runs on, as '
        'sm86,sm89,sm120 (default: all from sm80 on)', metavar='SM[,SM...]', flag='--for')
    device_id: int = _option(0, _BUILDER, 'GPU (default: 0)', high=63)
    verbose: bool = _option(False, _BUILDER, "show TensorRT's own log")
    force: bool = _option(
        False, _PRECISION, 'write the engine even if it is less accurate than it should be')

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f'--precision {self.precision}: there are {", ".join(PRECISIONS)}')
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            raise InputError(
                f'--min-batch {self.min_batch}, --opt-batch {self.opt_batch}, --max-batch '
                f'{self.max_batch}: they must not fall, and begin at 1')
        for item in fields(self):
            value = getattr(self, item.name)
            low, high = item.metadata.get('low', 0), item.metadata.get('high', 0)
            if high > low and value is not None and not low <= value <= high:
                raise InputError(f'{_flag(item)} {value}: give {low} to {high}')
        if self.dla_core is not None and (
                self.precision == 'fp32' or self.min_batch != self.max_batch):
            # with an open batch or in fp32 the GPU silently runs everything
            raise InputError('--dla-core goes with fp16 or int8 and one batch size: give '
                             '--min-batch, --opt-batch and --max-batch the same number')
        if self.exclude_from_fp16 and self.precision == 'fp32':
            raise InputError('--exclude-from-fp16 goes with --precision fp16 or int8')

    @property
    def compared_on(self) -> Path | None:
        """Data for the comparison with the fp32 ONNX; int8 engines are always compared."""
        return self.verify or (self.calibration_dir if self.precision == 'int8' else None)

    def shaping(self) -> dict[str, Any]:
        """Return the options that change the engine, as JSON holds them."""
        found = {name: value for name, value in asdict(self).items()
                 if name not in _NOT_SHAPING and not (
                     name == 'compute_capabilities' and not value)}
        return {name: list(value) if isinstance(value, tuple) else
                str(value) if isinstance(value, Path) else value
                for name, value in found.items()}

    def arguments(self) -> list[str]:
        """Return the command-line options that make these options again."""
        words = ['--precision', self.precision]
        for item in fields(self)[1:]:
            value = getattr(self, item.name)
            if value == item.default:
                continue
            words.append(_flag(item))
            if item.name == 'compute_capabilities':
                words.append(','.join(value))
            elif isinstance(value, tuple):
                words += value
            elif not isinstance(value, bool):
                words.append(str(value))
        return words


def _flag(item: Any) -> str:
    return str(item.metadata.get('flag') or '--' + item.name.replace('_', '-'))


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Declare all options but ``--precision``; an option that is not given is None."""
    groups: dict[str, Any] = {}
    for item in fields(BuildOptions)[1:]:
        about = item.metadata
        if about['group'] not in groups:
            groups[about['group']] = parser.add_argument_group(about['group'])
        how: dict[str, Any] = {'metavar': about['metavar']}
        if isinstance(item.default, bool):
            how = {'action': 'store_const', 'const': not item.default}
        elif about['choices']:
            how = {'choices': about['choices']}
        elif 'Path' in str(item.type):
            how['type'] = Path
        elif 'int' in str(item.type):
            how['type'] = int
        elif item.name == 'exclude_from_fp16':
            how['nargs'] = '+'
        groups[about['group']].add_argument(
            _flag(item), dest=item.name, default=None, help=about['help'], **how)


def build_options(args: argparse.Namespace, precision: str) -> BuildOptions:
    """:raises InputError: out of range, or contradictory."""
    given = {item.name: getattr(args, item.name, None) for item in fields(BuildOptions)}
    given['precision'] = precision
    if given['exclude_from_fp16'] is not None:
        given['exclude_from_fp16'] = tuple(given['exclude_from_fp16'])
    if given['compute_capabilities'] is not None:
        given['compute_capabilities'] = tuple(
            given['compute_capabilities'].replace(',', ' ').split())
    return BuildOptions(**{name: value for name, value in given.items() if value is not None})


def better(more: str) -> str:
    """Return a remedy for an inaccurate engine or graph; ``more``: further options, after ', '."""
    return (f'give it other pictures with --calibration-dir and --verify{more}, use fp16, or '
            'force it with --force')
