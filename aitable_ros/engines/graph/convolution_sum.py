# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Values that are sums of convolutions of other values, and arithmetic on such sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitable_ros.engines.graph.writer import Array


@dataclass(frozen=True, slots=True)
class Term:
    """
    One convolution of an existing value.

    :param weight: ``(out, in, height, width)``
    :param origin: offset of the window from the output's pixel times stride: minus the padding
    """

    source: str
    weight: Array
    origin: tuple[int, int]
    stride: int

    @property
    def pointwise(self) -> bool:
        """Whether this is a 1x1 convolution without stride."""
        return (self.weight.shape[2:] == (1, 1) and self.origin == (0, 0) and self.stride == 1)


@dataclass(frozen=True, slots=True)
class Linear:
    """A sum of convolutions: ``(n, channels, height, width)``."""

    terms: tuple[Term, ...]
    bias: Array
    size: tuple[int, int]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.bias)


def is_identity(term: Term) -> bool:
    """Tell whether a term is the value itself."""
    out, inputs = term.weight.shape[:2]
    return term.pointwise and out == inputs and bool(
        (term.weight[..., 0, 0] == np.eye(out)).all())


def through(weight: Array, x: Linear) -> Linear:
    """Return a 1x1 convolution of a value, without a bias of its own."""
    return Linear(
        tuple(Term(t.source, weight if is_identity(t) else np.einsum(
            'oi,ichw->ochw', weight[..., 0, 0], t.weight), t.origin, t.stride) for t in x.terms),
        weight[..., 0, 0] @ x.bias, x.size)


def total_of(values: Sequence[Linear]) -> Linear:
    """Add values of one shape."""
    terms: list[Term] = []
    for term in (term for value in values for term in value.terms):
        for index, other in enumerate(terms):
            if (other.source, other.stride) == (term.source, term.stride):
                terms[index] = sum_of(other, term)
                break
        else:
            terms.append(term)
    return Linear(tuple(terms), sum((v.bias for v in values), np.zeros(1)), values[0].size)


def dense(weight: Array, group: int) -> Array:
    """Return a grouped convolution's weights as dense ones, with zeros between groups."""
    if group == 1:
        return weight
    out, inputs = weight.shape[:2]
    dense = np.zeros((out, inputs * group, *weight.shape[2:]))
    for index, rows in enumerate(np.split(np.arange(out), group)):
        dense[rows, index * inputs:(index + 1) * inputs] = weight[rows]
    return dense


def sum_of(a: Term, b: Term) -> Term:
    """Add two convolutions of the same value."""
    low = tuple(min(pair) for pair in zip(a.origin, b.origin))
    high = [max(origin + size for origin, size in pair) for pair in
            zip(zip(a.origin, a.weight.shape[2:]), zip(b.origin, b.weight.shape[2:]))]
    weight = np.zeros((*a.weight.shape[:2], high[0] - low[0], high[1] - low[1]))
    for term in (a, b):
        top, left = (own - least for own, least in zip(term.origin, low))
        height, width = term.weight.shape[2:]
        weight[:, :, top:top + height, left:left + width] += term.weight
    return Term(a.source, weight, (low[0], low[1]), a.stride)


def attributes_of(node: Any) -> dict[str, Any]:
    """Return a node's attributes by name."""
    from onnx import helper
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
