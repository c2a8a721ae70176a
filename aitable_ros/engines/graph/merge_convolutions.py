# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Merges everything between two non-linear operators into one convolution.

A depthwise convolution, the pointwise one after it, the shortcut around both and its zero-filled
channels are linear together: one dense convolution replaces them. It computes more, but the number
of kernels limits mobile networks on a large GPU.

In pre-activation blocks (EmoNet's) the normalisation precedes the convolution, and another branch
reads its input, so it cannot go into weights. As plain arithmetic it becomes one pointwise kernel
with the ReLU after it. Chains of 1x1 convolutions between such blocks become one convolution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aitable_ros.engines.graph.convolution_sum import (
    attributes_of, dense, is_identity, Linear, Term, through, total_of
)
from aitable_ros.engines.graph.writer import Array, Writer

MAX_MACS = 4e8
"""A composed convolution with more multiplications than this stays as it was: 4e8 take an H200's
tensor cores 1 us and an Orin's 30."""


@dataclass
class Composer:
    """
    Rewrites a graph's convolutions; everything else is copied.

    :param model: shapes inferred, batch open or fixed
    """

    model: Any
    writer: Writer = field(default_factory=lambda: Writer('l_'))

    def run(self) -> Any:
        """Return the rewritten model."""
        from onnx import numpy_helper, shape_inference

        graph = self.model.graph
        inferred = shape_inference.infer_shapes(self.model).graph
        self.shapes = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            for value in (*inferred.value_info, *inferred.input, *inferred.output)}
        # 0 is an open dimension
        self.constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.linear: dict[str, Linear] = {}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers = Counter(name for node in graph.node for name in node.input)
        self.later: dict[str, Any] = {}  # copied only if another operator reads them
        self.flat: set[str] = set()  # (n, channels) in the graph, an image of one pixel here
        self.raw: dict[str, str] = {}
        outputs = {output.name for output in graph.output}
        for node in graph.node:
            handle: Callable[[Any], bool] | None = getattr(self, '_' + node.op_type.lower(), None)
            if handle is None or not handle(node):
                self._copy(node)
        for name in outputs:
            value = self.value(name)
            if value != name:
                self.writer.add('Identity', value, name=name)
        opset = self.model.opset_import[0].version
        return self.writer.model(graph.input, graph.output, graph.name, opset,
                                 self.model.ir_version)

    # values

    def lin(self, name: str) -> Linear | None:
        """Return a value as a sum of convolutions; None if it is not an image."""
        if name in self.linear:
            return self.linear[name]
        self.value(name)
        shape = self.shapes.get(name, ())
        if name in self.constants or len(shape) != 4 or not all(shape[1:]):
            return None
        channels = int(shape[1])
        return Linear(
            (Term(name, np.eye(channels)[..., None, None], (0, 0), 1),), np.zeros(channels),
            (int(shape[2]), int(shape[3])))

    def value(self, name: str) -> str:
        """Return the new graph's name of an original value; write the value if needed."""
        if name in self.constants:
            return self.writer.constant(self.constants[name], self.constants[name].dtype)
        if name in self.later:
            self._copy(self.later.pop(name))
        if name not in self.linear:
            return name
        if name not in self.raw:
            value = self.linear[name]
            if name in self.flat:
                self.raw[name] = self._reshaped(name, [-1, value.channels])
            else:  # later readers use this value
                self.raw[name] = self.emit(value)
                self._exists(name, self.raw[name], value.channels, value.size)
        return self.raw[name]

    def _reshaped(self, name: str, shape: list[int], result: str = '') -> str:
        return self.writer.add('Reshape', self.emit(self.linear[name]),
                               self.writer.constant(shape, np.int64), name=result)

    def emit(self, value: Linear, relu: bool = False) -> str:
        """Write a sum of convolutions."""
        plus, bias = '', value.bias
        identity = [term for term in value.terms if is_identity(term)]
        if len(value.terms) == 1 and identity and not bias.any() and not relu:
            return value.terms[0].source
        terms = [term for term in value.terms if not is_identity(term)]
        if identity and terms:
            plus = identity[0].source
            terms += identity[1:]
        elif identity:
            terms = identity
        # the largest convolution last: runtimes fuse sum and activation into its kernel
        terms.sort(key=lambda term: term.weight.size)
        for index, term in enumerate(terms):
            height, width = term.weight.shape[2:]
            top, left = (-origin for origin in term.origin)
            # padding beyond the far edge
            source = self._size(term.source)
            pads = [top, left] + [
                (out - 1) * term.stride + kernel - before - have for out, kernel, before, have in
                zip(value.size, (height, width), (top, left), source)]
            if min(pads) < 0:
                pads = [max(pad, 0) for pad in pads]
            last = index == len(terms) - 1
            plus = self.writer.conv(
                term.source, term.weight, bias if last else None, pads=pads, stride=term.stride,
                plus=plus, relu=relu and last)
        return plus

    def _size(self, source: str) -> tuple[int, int]:
        shape = self.shapes[source]
        return shape[2], shape[3]

    # operators

    def _copy(self, node: Any) -> None:
        copied = type(node)()
        copied.CopyFrom(node)
        del copied.input[:]
        copied.input.extend(self.value(name) if name else '' for name in node.input)
        self.writer.nodes.append(copied)

    def _conv(self, node: Any) -> bool:
        weight = self.constants.get(node.input[1])
        attributes = attributes_of(node)
        masked = None
        if (weight is not None and weight.shape[2:] == (1, 1) and attributes.get('group', 1) == 1
                and set(attributes.get('strides', [1])) == {1}
                and not any(attributes.get('pads', []))):
            masked = self._with_mask(node.input[0], weight.astype(np.float64))
        x = masked or self.lin(node.input[0])
        strides = attributes.get('strides', [1, 1])
        if (x is None or weight is None or weight.ndim != 4 or strides[0] != strides[1]
                or any(n != 1 for n in attributes.get('dilations', []))
                or attributes.get('auto_pad', b'NOTSET') != b'NOTSET'):
            return False
        weight = dense(weight.astype(np.float64), attributes.get('group', 1))
        size = self.shapes[node.output[0]][2:]
        bias = (self.constants[node.input[2]].astype(np.float64) if len(node.input) > 2
                else np.zeros(len(weight)))
        top, left = attributes.get('pads', [0, 0, 0, 0])[:2]
        stride = int(strides[0])
        if weight.shape[2:] == (1, 1) and stride == 1 and not (top or left):
            value = masked or through(weight, x)
            terms, total = list(value.terms), value.bias + bias
        elif all(t.pointwise for t in x.terms) and not x.bias.any():
            terms = [Term(t.source, weight if is_identity(t) else np.einsum(
                'oihw,ic->ochw', weight, t.weight[..., 0, 0]), (-top, -left), stride)
                for t in x.terms]
            total = bias
        else:
            source = self.value(node.input[0])
            self._note(source, node.input[0])
            terms = [Term(source, weight, (-top, -left), stride)]
            total = bias
        result = Linear(tuple(terms), total, (int(size[0]), int(size[1])))
        macs = sum(t.weight.size for t in terms) * size[0] * size[1]
        if macs > MAX_MACS and attributes.get('group', 1) > 1:
            return False
        self.linear[node.output[0]] = result
        return True

    def _note(self, new: str, old: str) -> None:
        self.shapes.setdefault(new, self.shapes[old])

    def _add(self, node: Any) -> bool:
        if self.flat.intersection(node.input):
            return False
        a, b = (self.lin(name) for name in node.input)
        if a is None or b is None:
            value = a or b
            constant = next((self.constants[n] for n in node.input if n in self.constants), None)
            if value is None or constant is None or constant.size not in (1, value.channels):
                return False
            if constant.size > 1 and (constant.ndim < 3 or constant.shape[-3] != value.channels):
                return False
            self.linear[node.output[0]] = Linear(
                value.terms, value.bias + constant.reshape(-1), value.size)
            return True
        if a.channels != b.channels or a.size != b.size or all(
                map(is_identity, (*a.terms, *b.terms))):
            return False
        self.linear[node.output[0]] = total_of([a, b])
        return True

    def _batchnormalization(self, node: Any) -> bool:
        if not ({*node.input[1:]} <= self.constants.keys() and self.shapes.get(node.input[0])):
            return False
        gamma, beta, mean, var = (self.constants[n].astype(np.float64) for n in node.input[1:5])
        scale = gamma / np.sqrt(var + attributes_of(node).get('epsilon', 1e-5))
        x = self.linear.get(node.input[0])
        if x is None or self.readers[node.input[0]] > 1 or all(map(is_identity, x.terms)):
            # no convolution to fold it into, or one that is also read without it
            shape = (-1, *(1 for _ in self.shapes[node.input[0]][2:]))
            scaled = self.writer.add('Mul', self.value(node.input[0]),
                                     self.writer.constant(scale.reshape(shape)))
            self.writer.add('Add', scaled,
                            self.writer.constant((beta - scale * mean).reshape(shape)),
                            name=node.output[0])
            return True
        self._also_flat(node)
        self.linear[node.output[0]] = Linear(
            tuple(Term(t.source, t.weight * scale[:, None, None, None], t.origin, t.stride)
                  for t in x.terms), scale * (x.bias - mean) + beta, x.size)
        return True

    def _pad(self, node: Any) -> bool:
        x = self.lin(node.input[0])
        pads = self.constants.get(node.input[1])
        if (x is None or pads is None or pads.size != 8 or pads[[0, 2, 3, 4, 6, 7]].any()
                or (len(node.input) > 2 and node.input[2])):
            return False
        before, after = int(pads[1]), int(pads[5])
        self.linear[node.output[0]] = Linear(
            tuple(Term(t.source, np.pad(t.weight, ((before, after), (0, 0), (0, 0), (0, 0))),
                       t.origin, t.stride) for t in x.terms),
            np.pad(x.bias, (before, after)), x.size)
        return True

    def _maxpool(self, node: Any) -> bool:
        if self.lin(node.input[0]) is None:
            return False
        self._copy(node)
        return True

    def _relu(self, node: Any) -> bool:
        x = self.linear.get(node.input[0])
        if x is None:
            return False
        self._also_flat(node)
        name = self.emit(x, relu=True)
        self._exists(node.output[0], name, x.channels, x.size)
        return True

    def _prelu(self, node: Any) -> bool:
        x = self.lin(node.input[0])
        slope = self.constants.get(node.input[1])
        if x is None or slope is None or slope.size not in (1, x.channels):
            return False
        slopes = np.broadcast_to(slope.reshape(-1), (x.channels,))
        name = self.writer.add('PRelu', self.emit(x), self.writer.constant(
            slopes.reshape(-1, 1, 1)))
        self._exists(node.output[0], name, x.channels, x.size)
        return True

    def _concat(self, node: Any) -> bool:
        self.later[node.output[0]] = node
        return True

    _mul = _concat

    def _reducesum(self, node: Any) -> bool:
        x = self.linear.get(node.input[0])
        axes = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        if (x is None or node.input[0] in self.flat or axes is None or axes.tolist() != [1]
                or not attributes_of(node).get('keepdims', 1) or all(map(is_identity, x.terms))):
            return False
        self.linear[node.output[0]] = through(np.ones((1, x.channels, 1, 1)), x)
        return True

    def _with_mask(self, name: str, weight: Array) -> Linear | None:
        """
        Apply a mask of one channel after a 1x1 convolution instead of before it.

        ``conv([a, m [b, c]]) = conv(a) + m conv([b, c])``: the product then has fewer channels.

        :param name: value that is convolved
        :return: None if the value has no such product
        """
        parts = self._concatenated(name)
        masked = [one for one in parts if getattr(
            self.makers.get(one[0]), 'op_type', '') == 'Mul' and one[0] in self.later]
        if len(masked) != 1 or len(parts) < 2:
            return None
        product, begin, count = masked[0]
        factors = self.later[product].input
        size = self.shapes[product][2:]
        for image, mask in (factors, factors[::-1]):
            inner = self._concatenated(image) or [(image, 0, count)]
            if (self.shapes.get(mask, ())[1:] != (1, *size)
                    or self.shapes.get(image, ())[1:] != (count, *size)):
                continue
            bare = self._columns(weight[:, begin:begin + count], inner)
            out = self.writer.add('Mul', self.emit(bare), self.value(mask))
            self._exists(out, out, len(weight), bare.size)
            rest = [one for one in parts if one[1] != begin]
            return total_of([self.linear.pop(out), self._columns(weight, rest)])
        return None

    def _columns(self, weight: Array, parts: list[tuple[str, int, int]]) -> Linear:
        values = ((self.lin(name), first, count) for name, first, count in parts)
        return total_of([through(weight[:, first:first + count], value)
                       for value, first, count in values if value is not None])

    def _concatenated(self, name: str) -> list[tuple[str, int, int]]:
        """Return concatenated parts: name, first channel, channels; empty for other values."""
        node = self.makers.get(name)
        if node is None or node.op_type != 'Concat' or attributes_of(node).get('axis') != 1:
            return []
        sizes = [self.shapes.get(part, ())[1:] for part in node.input]
        if any(len(size) != 3 or not all(size) for size in sizes):
            return []
        ends = np.cumsum([size[0] for size in sizes])
        return [(part, int(end) - size[0], size[0])
                for part, end, size in zip(node.input, ends, sizes)]

    # a classifier: operators on an image of one pixel

    def _flatten(self, node: Any) -> bool:
        x = self.lin(node.input[0])
        if x is None or x.size != (1, 1) or attributes_of(node).get('axis', 1) != 1:
            return False
        self.linear[node.output[0]] = x
        self.flat.add(node.output[0])
        return True

    def _gemm(self, node: Any) -> bool:
        attributes = attributes_of(node)
        if (node.input[0] not in self.flat or not attributes.get('transB') or len(node.input) < 3
                or attributes.get('transA') or attributes.get('alpha', 1) != 1
                or attributes.get('beta', 1) != 1
                or not {*node.input[1:]} <= self.constants.keys()):
            return False
        weight, bias = (self.constants[name].astype(np.float64) for name in node.input[1:])
        x = through(weight[..., None, None], self.linear[node.input[0]])
        self.linear[node.output[0]] = Linear(x.terms, x.bias + bias.reshape(-1), x.size)
        self.flat.add(node.output[0])
        return True

    def _slice(self, node: Any) -> bool:
        given = [self.constants.get(name, np.zeros(0)).tolist() for name in node.input[1:]]
        if (node.input[0] not in self.flat or len(given) < 3 or given[2] != [1]
                or given[3:] not in ([], [[1]])):
            return False
        channels = range(self.linear[node.input[0]].channels)
        return self._rows(node, list(channels[given[0][0]:given[1][0]]), flat=False)

    def _gather(self, node: Any) -> bool:
        index = self.constants.get(node.input[1])
        if (node.input[0] not in self.flat or index is None or index.ndim
                or attributes_of(node).get('axis') != 1):
            return False
        return self._rows(node, [int(index)], flat=True)

    def _rows(self, node: Any, rows: list[int], flat: bool) -> bool:
        """Write some outputs of a classifier as their own convolution, without a copying kernel."""
        x = self.linear[node.input[0]]
        self.linear[node.output[0]] = Linear(
            tuple(Term(t.source, t.weight[rows], t.origin, t.stride) for t in x.terms),
            x.bias[rows], x.size)
        self.raw[node.output[0]] = self._reshaped(
            node.output[0], [-1] if flat else [-1, len(rows)], node.output[0])
        del self.linear[node.output[0]]
        return True

    def _also_flat(self, node: Any) -> None:
        if node.input[0] in self.flat:
            self.flat.add(node.output[0])

    def _exists(self, old: str, name: str, channels: int, size: tuple[int, int]) -> None:
        self.shapes[name] = (0, channels, *size)
        self.linear[old] = Linear(
            (Term(name, np.eye(channels)[..., None, None], (0, 0), 1),), np.zeros(channels), size)
