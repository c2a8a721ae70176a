# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Print the names of TensorRT's Python bindings for ``names.json``: ``dump_names.py MODULE [WHEEL]``.

Needs no GPU. The bindings' wheels on PyPI (``tensorrt-cu13-bindings``, module
``tensorrt_bindings``, 1 MB) ask for a handful of C functions of TensorRT's libraries, and import
beside empty ones of those names (made here with gcc): names are there as soon as the module is.
"""

from __future__ import annotations

import ctypes
from importlib import import_module
import json
from pathlib import Path
import re
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

KEPT = (
    'Runtime', 'ICudaEngine', 'IExecutionContext', 'EngineInspector', 'IHostMemory', 'Logger',
    'ILogger', 'IProfiler', 'Builder', 'IBuilderConfig', 'INetworkDefinition', 'OnnxParser',
    'ParserError', 'ITensor', 'ILayer', 'IOptimizationProfile', 'ITimingCache', 'IInt8Calibrator',
    'IInt8EntropyCalibrator2', 'IProgressMonitor', 'IRuntimeConfig', 'IRuntimeCache', 'Dims')
_FUNCTIONS = re.compile(rb'(?:createInfer|createNv|getNv|getInfer|getBuilder|getPlugin|getLogger|'
                        rb'initLib|getInferLib)[A-Za-z_]*(?=\0)')
"""How the C functions begin that the bindings ask for."""


def public(item: Any) -> list[str]:
    return sorted(name for name in dir(item) if not name.startswith('_'))


def enumerations(owner: Any, prefix: str = '') -> dict[str, dict[str, int]]:
    found = {}
    for name in public(owner):
        item = getattr(owner, name)
        if isinstance(item, type):
            if hasattr(item, '__members__'):
                found[prefix + name] = {key: int(v) for key, v in item.__members__.items()}
            elif not prefix:
                found |= enumerations(item, f'{name}.')
    return found


def names_of(trt: Any) -> dict[str, Any]:
    return {
        'module': public(trt),
        'classes': {name: public(getattr(trt, name)) for name in KEPT if hasattr(trt, name)},
        'enums': enumerations(trt)}


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack bindings and load empty libraries of the names and functions that they ask for."""
    with ZipFile(wheel) as file:
        file.extractall(folder)
    (binding,) = folder.glob('tensorrt_bindings/tensorrt.so')
    content = binding.read_bytes()
    stubs = ''.join(f'void {name.decode()}(void) {{}}\n'
                    for name in sorted(set(_FUNCTIONS.findall(content))))
    source = folder / 'stub.c'
    source.write_text(stubs)
    needed = sorted(set(re.findall(rb'libnv[a-z_]+\.so\.\d+', content)))
    for library in (name.decode() for name in needed):
        made = folder / library
        subprocess.run(['gcc', '-shared', '-fPIC', '-w', f'-Wl,-soname,{library}', '-o', str(made),
                        str(source)], check=True)
        ctypes.CDLL(str(made), mode=ctypes.RTLD_GLOBAL)


def main() -> None:
    with TemporaryDirectory() as folder:
        for wheel in sys.argv[2:]:
            unpack(Path(wheel), Path(folder))
            sys.path.insert(0, folder)
        trt = import_module(sys.argv[1])
        print(json.dumps({trt.__version__: names_of(trt)}))


if __name__ == '__main__':
    main()
