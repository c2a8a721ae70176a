# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
What TensorRT's engine inspector says of an engine's layers.

Its text is nearly JSON: between the names of ONNX layers that became one stands a bare control
character (8.6.0, seen). Of an engine with an open batch the formats are ``N/A due to dynamic
shapes``; then the weights tell the precision, or the tactic's name.
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
_TOLD = re.compile(r'Name: (.*?), LayerType: (\w+), Inputs: ')
_TOLD_TYPE = re.compile(r'Datatype: (\w+)')
_SHORT = {'i8': 'int8', 'bf16': 'bf16', 'f16': 'fp16', 'f32': 'fp32'}


@dataclass(frozen=True, slots=True)
class InspectedLayer:
    """
    One layer.

    :param kind: TensorRT's word: ``CaskConvolution``, ``PointWiseV2``, ``Reformat``
    :param precision: what it reads; empty where the inspector does not say
    """

    name: str
    kind: str
    precision: str


def layers_in(text: str) -> list[InspectedLayer]:
    """Read the inspector's JSON; of an engine that was built without detail, nothing comes."""
    try:
        listed = json.loads(text, strict=False).get('Layers', [])
    except (ValueError, AttributeError):
        return []
    return [  # without detail they are only names
        InspectedLayer(str(layer.get('Name', '')), str(layer.get('LayerType', '')),
                       _precision(layer))
        for layer in listed if isinstance(layer, dict)]


def layers_told(texts: Iterable[str]) -> list[InspectedLayer]:
    """
    Find the layers in a builder's log, where it was told to be detailed; an engine need not load.

    Lines are ``Name: conv, LayerType: correlation, Inputs: [ { Name: image, ..., Datatype: Half,
    ...`` (TensorRT for RTX 1.7).
    """
    found = []
    for text in texts:
        for line in text.splitlines():
            told = _TOLD.match(line)
            if told:
                types = _TOLD_TYPE.findall(line)
                found.append(InspectedLayer(told[1], told[2], _named(types[0]) if types else ''))
    return found


def precision_of(layers: Iterable[InspectedLayer]) -> str:
    """Return an engine's precision: int8 where some layer is, else that of most of them."""
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
