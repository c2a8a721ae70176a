# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Batches and a result cache for TensorRT's entropy calibrator (up to TensorRT 10).

This module does not need TensorRT; the builder wraps it. TensorRT's cache holds only tensors and
scales, so a JSON file beside it names the model and the inputs. A cache of others is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.engines.model_inputs import ModelInputs
from aitable_ros.errors import InputError
from aitable_ros.models.store import write_atomically

METHOD = 'entropy'
"""``IInt8EntropyCalibrator2``, which works on GPU and DLA."""


class CalibrationBatches:
    """
    Batches of real inputs, and the cache.

    :param crops: inputs for the calibration; None to use the cache
    :param batch_size: rows in each batch; the last batch is filled with the first rows
    :param model_sha256: of the ONNX file that is being built
    :param cache: path of the cache; None for no cache
    :raises InputError: neither inputs nor a cache of this model
    """

    def __init__(
        self, crops: ModelInputs | None, batch_size: int, model_sha256: str,
        cache: Path | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.note = ''
        """Why an existing cache is not used; empty otherwise."""
        self.reused = False
        """Whether the cache was read."""
        self._crops = crops
        self._model = model_sha256
        self._inputs = crops.sha256 if crops else ''
        self.cache = cache
        self.batches = -(-len(crops) // batch_size) if crops else 0
        self._frames: dict[str, Any] = crops.to_dict() if crops else {}
        self._content = self._load()
        self._feed = self._cut()
        if crops is None and self._content is None:
            raise InputError(
                f'int8 needs inputs to calibrate with: {self.note or "no cache is named"}; name '
                'pictures, a video or a bag with --calibration-dir')

    def next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch, by input name; None after the last one."""
        return next(self._feed, None)

    def read_cache(self) -> bytes | None:
        """Return the cache of this model and these inputs; None if there is none."""
        self.reused = self._content is not None
        return self._content

    def write_cache(self, content: bytes) -> None:
        """
        Write the cache.

        :raises InputError: the file cannot be written
        """
        self._content = bytes(content)
        if self.cache:
            write_atomically(self.cache, self._content)
            write_atomically(key_path(self.cache), json.dumps(
                {'model_sha256': self._model, 'inputs_sha256': self._inputs,
                 'cache_sha256': sha256(self._content).hexdigest(), 'crops': self._frames},
                indent=1).encode())

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as a sidecar holds it."""
        return {
            'method': METHOD, **self._frames, 'cache': str(self.cache or ''),
            'cache_sha256': sha256(self._content).hexdigest() if self._content else '',
            'reused': self.reused}

    def _load(self) -> bytes | None:
        if self.cache is None or not self.cache.exists():
            self.note = f'{self.cache} is not there' if self.cache else ''
            return None
        try:
            content = self.cache.read_bytes()
            key = json.loads(key_path(self.cache).read_text(encoding='utf-8'))
            of = [key[name] for name in ('cache_sha256', 'model_sha256', 'inputs_sha256')]
        except FileNotFoundError:
            self.note = (f'{self.cache} is not used: {key_path(self.cache).name} beside it, '
                         'which names its model and inputs, is missing')
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.note = f'{self.cache} is not used: it cannot be read ({error})'
            return None
        other = [
            what for what, ours, theirs in zip(
                ('content', 'model', 'inputs'),
                (sha256(content).hexdigest(), self._model, self._inputs or of[2]), of)
            if ours != theirs]
        if other:
            self.note = f'{self.cache} is not used: it is of another {" and ".join(other)}'
            return None
        self._frames = self._frames or dict(key.get('crops') or {})
        return content

    def _cut(self) -> Iterator[dict[str, NDArray[Any]]]:
        if self._crops is None:
            return
        for rows in self._crops.batches(self.batch_size):
            short = self.batch_size - len(next(iter(rows.values())))
            yield {
                name: np.ascontiguousarray(
                    np.concatenate([array, np.resize(self._crops.inputs[name], (
                        short, *array.shape[1:]))]) if short else array)
                for name, array in rows.items()}


def key_path(cache: Path) -> Path:
    """Return the file that says what a cache is of."""
    return cache.with_name(f'{cache.name}.json')
