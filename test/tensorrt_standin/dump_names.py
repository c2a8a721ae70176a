# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Print the names of an installed TensorRT for ``names.json``: ``dump_names.py MODULE [FOLDER]``.

Needs no GPU. The bindings' wheels on PyPI (``tensorrt_cu12_bindings==10.3.0``, module
``tensorrt_bindings``, 1 MB) ask for a handful of C functions of TensorRT's libraries, and import
beside empty ones of those names: names are there as soon as the module is.
"""

from __future__ import annotations

from importlib import import_module
import json
import sys
from typing import Any

KEPT = (
    'Runtime', 'ICudaEngine', 'IExecutionContext', 'EngineInspector', 'IHostMemory', 'Logger',
    'ILogger', 'IProfiler', 'Builder', 'IBuilderConfig', 'INetworkDefinition', 'OnnxParser',
    'ParserError', 'ITensor', 'ILayer', 'IOptimizationProfile', 'ITimingCache', 'IInt8Calibrator',
    'IInt8EntropyCalibrator2', 'IProgressMonitor', 'Dims')


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


def main() -> None:
    sys.path[:0] = sys.argv[2:]
    trt = import_module(sys.argv[1])
    print(json.dumps({trt.__version__: {
        'module': public(trt),
        'classes': {name: public(getattr(trt, name)) for name in KEPT if hasattr(trt, name)},
        'enums': enumerations(trt)}}))


if __name__ == '__main__':
    main()
