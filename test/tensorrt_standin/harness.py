# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT for a test: the real one where there is a GPU, a stand-in elsewhere; and its engines."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from hashlib import sha256
import importlib
import importlib.machinery
import json
from pathlib import Path
import shutil
import sys
from types import ModuleType

import pytest

from aitable_ros.inference import cuda
from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference import tensorrt as backend
from aitable_ros.inference import tensorrt_log
from aitable_ros.inference.sidecar import Sidecar

from . import cuda as gpus
from .plan import Plan
from .surface import make_module, RTX_VERSION

BINDINGS = {
    'pycuda': (gpus.pycuda,),
    'cuda-python': (gpus.cuda_python,),
    'cuda-python 11': (lambda: gpus.cuda_python('cuda.cuda'),),
    'both': (gpus.pycuda, gpus.cuda_python),
    'none': ()}
_HIDDEN = ('pycuda', 'pycuda.driver', 'cuda', 'cuda.cuda', 'cuda.bindings', 'cuda.bindings.driver')


OF_RTX = {
    'runtime': 'tensorrt_rtx', 'compute_capabilities': ['8.6', '8.9'], 'compute_capability': '',
    'gpu': '', 'cuda': '', 'driver': ''}
"""What the sidecar of an RTX engine says otherwise."""


def forget() -> None:
    """Drop what the package remembers of the stand-in's GPUs. Never while the real one is there."""
    cuda._DEVICES.clear()


def install(
    patch: pytest.MonkeyPatch, version: str = '8.6.0', binding: str = 'both', count: int = 1,
) -> gpus.FakeGpu:
    """
    Put a stand-in in TensorRT's place until ``patch`` is undone.

    :param version: one of ``surface.VERSIONS``
    :param binding: key of ``BINDINGS``: which Python packages reach the GPU
    :param count: of GPUs
    """
    for name in ('builder', 'runtime'):
        importlib.import_module(f'{__package__}.{name}')
    gpu = gpus.reset(count)
    name = 'tensorrt_rtx_bindings' if version == RTX_VERSION else 'tensorrt'
    patch.setitem(sys.modules, name, _spec(make_module(version, name)))
    for name in _HIDDEN:
        patch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    for modules in BINDINGS[binding]:
        for name, module in modules().items():
            patch.setitem(sys.modules, name, module)
    # what is remembered of a real GPU and TensorRT must live on: TensorRT calls its first logger
    patch.setattr(cuda, '_DEVICES', {})
    patch.setattr(cuda, '_has_driver', lambda: True)
    patch.setattr(backend, 'logger', cache(tensorrt_log.logger.__wrapped__))
    return gpu


def _spec(module: ModuleType) -> ModuleType:
    module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
    return module


class TensorRTHere:
    """
    What the ``tensorrt`` fixture gives.

    :param version: TensorRT's, whole
    :param gpu: the stand-in's; None where it is the real one
    :param folder: for engines, kept for the session
    """

    def __init__(self, version: str, gpu: gpus.FakeGpu | None, folder: Path) -> None:
        self.version, self.gpu, self._folder = version, gpu, folder

    @property
    def real(self) -> bool:
        return self.gpu is None

    def engine(
        self, onnx: Path, to: Path, *, precision: str = 'fp32', batches: tuple[int, int, int] = (
            1, 1, 4), types: dict[str, str] | None = None, formats: dict[str, str] | None = None,
    ) -> Path:
        """
        Return an engine of an ONNX file with its sidecar, in a folder where a test may spoil it.

        :param types: stand-in only: type of an input or output where it is not the ONNX file's
        :param formats: stand-in only: likewise its layout
        """
        rtx = '_rtx' if self.version == RTX_VERSION else ''
        path = to / f'{onnx.stem}_{precision}{rtx}.engine'
        if self.gpu is not None:
            self._pack(onnx, path, precision, batches, types or {}, formats or {})
            return path
        key = sha256(f'{onnx.read_bytes()!r}{precision}{batches}'.encode()).hexdigest()[:12]
        made = self._folder / key / path.name
        if not made.exists():
            from aitable_ros.engines.build import build
            from aitable_ros.engines.build_options import BuildOptions

            low, best, high = batches
            build(onnx, made, BuildOptions(
                precision=precision, min_batch=low, opt_batch=best, max_batch=high,
                builder_level=0, force=True))
        for file in (made, sidecars.sidecar_path(made)):
            shutil.copy(file, path.with_name(file.name))
        return path

    def _pack(
        self, onnx: Path, path: Path, precision: str, batches: tuple[int, int, int],
        types: dict[str, str], formats: dict[str, str],
    ) -> None:
        import onnxruntime

        assert self.gpu is not None
        content = onnx.read_bytes()
        session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
        sizes = json.loads(session.get_modelmeta().custom_metadata_map.get('aitable_sizes', '{}'))
        profile = {
            item.name: sizes.get(item.name) or [[batch, *item.shape[1:]] for batch in batches]
            for item in session.get_inputs() if not isinstance(item.shape[0], int)}
        capability = '.'.join(map(str, self.gpu.compute_capability))
        if self.version == RTX_VERSION:
            capability = ', '.join(OF_RTX['compute_capabilities'])
        path.write_bytes(Plan(
            version=self.version, onnx=content, profiles=[profile] if profile else [],
            types=types, formats=formats, compute_capability=capability, verbosity='DETAILED',
            layers=[{'Name': 'layer', 'Precision': precision.upper().replace('INT', 'Int')}],
            shares_profile=not self.version.startswith('8.5')).pack())
        digest, size = sidecars.fingerprint(path)
        low, best, high = batches
        known = Sidecar(
            engine_sha256=digest, engine_bytes=size, model=onnx.name,
            model_sha256=sha256(content).hexdigest(), tensorrt=self.version, cuda='12.4',
            driver=sidecars.driver_version(), gpu=self.gpu.name, compute_capability=capability,
            precision=precision, min_batch=low, opt_batch=best, max_batch=high,
            rebuild=f'aitable models build {onnx.name} --precision {precision}')
        if self.version == RTX_VERSION:
            known = replace(known, **OF_RTX)  # type: ignore[arg-type]
        sidecars.write(path, known)


def rewrite(engine: Path, **changes: object) -> None:
    """Change what an engine's sidecar says."""
    sidecar = sidecars.read(engine)
    assert sidecar is not None
    sidecars.write(engine, replace(sidecar, **changes))  # type: ignore[arg-type]
