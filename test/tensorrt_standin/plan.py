# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The stand-in's engine file: what a builder decided, around the ONNX that ONNX Runtime runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from hashlib import sha256
import json
from typing import Any

MAGIC = b'TRTSTAND'


@dataclass
class Plan:
    """
    An engine.

    :param version: of the TensorRT that built it, whole
    :param onnx: the model; its inputs' and outputs' types are the engine's
    :param profiles: per optimisation profile and input: smallest, best and largest shape
    :param types: input or output name to DataType member name, where the network was told another
        type than the ONNX file's (``HALF``, ``UINT8`` ...)
    :param formats: likewise TensorFormat, ``LINEAR`` where not named
    :param layers: what the inspector tells: ``{'Name': ..., 'Precision': 'FP32'}``
    :param shares_profile: 8.6's PROFILE_SHARING_0806 was set; 10 and later always share
    :param verbosity: ``LAYER_NAMES_ONLY``, ``DETAILED`` or ``NONE``
    """

    version: str
    onnx: bytes
    profiles: list[dict[str, list[list[int]]]] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    compute_capability: str = '9.0'
    verbosity: str = 'LAYER_NAMES_ONLY'
    name: str = ''
    shares_profile: bool = False

    def pack(self) -> bytes:
        """Return the file's content."""
        values = asdict(self)
        onnx = values.pop('onnx')
        head = json.dumps(values).encode()
        body = len(head).to_bytes(8, 'little') + head + onnx
        return MAGIC + sha256(body).digest() + body


def unpack(content: bytes) -> Plan | None:
    """Return the plan in a file; None where it is none, or damaged."""
    if not content.startswith(MAGIC):
        return None
    digest, body = content[8:40], content[40:]
    if len(digest) < 32 or sha256(body).digest() != digest:
        return None
    size = int.from_bytes(body[:8], 'little')
    return Plan(onnx=body[8 + size:], **json.loads(body[8:8 + size]))
