# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Reads the layers of an engine from TensorRT's engine inspector, or from a builder's log.

The inspector's text is nearly JSON: 8.6.0 writes a bare control character between the names of ONNX
layers that it fused. For an engine with an open batch the formats are ``N/A due to dynamic
shapes``; the precision is then that of the weights or of the tactic's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import json
import re
from typing import Any

_TYPES = (
    ('int8', 'int8'), ('bf16|bfloat', 'bf16'), ('fp8', 'fp8'), ('fp16|half', 'fp16'),
    ('fp32|float', 'fp32'), ('int32', 'int32'), ('int64', 'int64'))
_OF_TACTIC = re.compile(r'_(i8|bf16|f16|f32)(?=[a-z_])')
"""``sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize...``"""
_LOGGED = re.compile(r'Name: (.*?), LayerType: (\w+), Inputs: ')
_LOGGED_TYPE = re.compile(r'Datatype: (\w+)')
_SHORT = {'i8': 'int8', 'bf16': 'bf16', 'f16': 'fp16', 'f32': 'fp32'}


@dataclass(frozen=True, slots=True)
class InspectedLayer:
    """
    A layer of an engine.

    :param kind: TensorRT's name: ``CaskConvolution``, ``PointWiseV2``, ``Reformat``
    :param precision: of its input; empty if the inspector does not say
    """

    name: str
    kind: str
    precision: str


def layers_in(text: str) -> list[InspectedLayer]:
    """Read the inspector's JSON; an engine built without detailed verbosity gives no layers."""
    try:
        listed = json.loads(text, strict=False).get('Layers', [])
    except (ValueError, AttributeError):
        return []
    return [  # without detail, the entries are plain names
        InspectedLayer(str(layer.get('Name', '')), str(layer.get('LayerType', '')),
                       _precision(layer))
        for layer in listed if isinstance(layer, dict)]


def logged_layers(texts: Iterable[str]) -> list[InspectedLayer]:
    """
    Find the layers in the log of a builder with detailed verbosity, without loading the engine.

    Lines are ``Name: conv, LayerType: correlation, Inputs: [ { Name: image, ..., Datatype: Half,
    ...`` (TensorRT for RTX 1.7).
    """
    found = []
    for text in texts:
        for line in text.splitlines():
            match = _LOGGED.match(line)
            if match:
                types = _LOGGED_TYPE.findall(line)
                found.append(InspectedLayer(match[1], match[2], _named(types[0]) if types else ''))
    return found


def precision_of(layers: Iterable[InspectedLayer]) -> str:
    """Return an engine's precision: int8 if any layer has it, else that of most layers."""
    found = [layer.precision for layer in layers if layer.precision in ('fp32', 'fp16', 'int8')]
    if 'int8' in found:
        return 'int8'
    return max(sorted(set(found)), key=found.count, default='unknown')


def _named(word: str) -> str:
    return next((name for pattern, name in _TYPES if re.search(pattern, word, re.I)), '')


def _precision(layer: dict[str, Any]) -> str:
    ends = layer.get('Inputs') or layer.get('Outputs') or [{}]
    weights = layer.get('Weights')
    words = (ends[0].get('Format/Datatype', ''),
             weights.get('Type', '') if isinstance(weights, dict) else '')
    for word in words:
        if short := _named(str(word)):
            return short
    tactic = _OF_TACTIC.search(str(layer.get('TacticName', '')))
    return _SHORT[tactic[1]] if tactic else ''
