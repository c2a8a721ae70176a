# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Merges parallel branches of the same architecture into one branch of grouped convolutions.

The attention mesh reads lips and eyes with five such branches of different weights. Stacked along
the channels they need a fifth of the kernels, each five times as wide.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from aitable_ros.engines.graph.convolution_sum import attributes_of
from aitable_ros.engines.graph.writer import Array, Writer


def merge_branches(model: Any) -> Any:
    """
    Merge the branches that follow equal slices of one value.

    :param model: a ModelProto with shapes that can be inferred
    :return: a new ModelProto, or the given one if it has no such branches
    """
    return _Merger(model).run()


class _Merger:

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper, shape_inference

        self.model = model
        self.writer = Writer('t_')
        self.constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        inferred = shape_inference.infer_shapes(model).graph
        self.shapes = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            for value in (*inferred.value_info, *inferred.input, *inferred.output)}
        self.readers: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        # member -> (stacked value, first channel, number of channels)
        self.where: dict[str, tuple[str, int, int]] = {}
        self.stacks: dict[str, list[str]] = {}
        self.done: set[str] = set()

    def run(self) -> Any:
        """Return the merged model."""
        graph = self.model.graph
        slices = self._slices()
        if not slices:
            return self.model
        pending = list(graph.node)
        ready = {value.name for value in graph.input} | set(self.constants) | {''}
        while pending:
            progress = False
            for node in list(pending):
                if node.output[0] in self.done:
                    pending.remove(node)
                    progress = True
                    continue
                if not all(name in ready or name in self.where for name in node.input):
                    continue
                if node in slices:
                    self._stack(slices)
                    progress = True
                    break
                if node.input[0] in self.where or (
                        len(node.input) > 1 and node.input[1] in self.where):
                    group = self._alike(node, pending, ready)
                    if group is None:
                        continue  # until the same node of the other branches is ready
                    if group:
                        self._merge(group)
                        progress = True
                        break
                self._copy(node)
                ready.update(node.output)
                pending.remove(node)
                progress = True
            if not progress:
                # nothing more merges: copy one node
                node = next(n for n in pending if all(
                    name in ready or name in self.where for name in n.input))
                self._copy(node)
                ready.update(node.output)
                pending.remove(node)
        return self.writer.model(graph.input, graph.output, graph.name,
                                 self.model.opset_import[0].version, self.model.ir_version)

    def _slices(self) -> list[Any]:
        """Return the slices that divide the rows of one image into equal parts, in order."""
        for readers in self.readers.values():
            parts = [node for node in readers if node.op_type == 'Slice' and len(node.input) > 3
                     and self.constants.get(node.input[3], np.zeros(0)).tolist() == [2]]
            parts.sort(key=lambda node: int(self.constants[node.input[1]][0]))
            bounds = [(int(self.constants[node.input[1]][0]), int(self.constants[node.input[2]][0]))
                      for node in parts]
            sizes = {end - begin for begin, end in bounds}
            if len(parts) > 1 and len(sizes) == 1 and bounds[0][0] == 0 and all(
                    one[1] == two[0] for one, two in pairwise(bounds)):
                return parts
        return []

    def _stack(self, slices: list[Any]) -> None:
        """Move row parts to channels: ``(n, c, parts * h, w)`` to ``(n, parts * c, h, w)``."""
        source = slices[0].input[0]
        shape = self.shapes[slices[0].output[0]]
        _, channels, height, width = shape
        parts, w = len(slices), self.writer
        out = w.add('Reshape', source, w.constant([-1, channels, parts, height, width], np.int64))
        out = w.add('Transpose', out, perm=[0, 2, 1, 3, 4])
        out = w.add('Reshape', out, w.constant([-1, parts * channels, height, width], np.int64))
        self._note(out, [node.output[0] for node in slices], [int(channels)] * parts)
        self.done.update(node.output[0] for node in slices)

    def _note(self, stacked: str, members: list[str], channels: list[int]) -> None:
        first = 0
        for member, count in zip(members, channels):
            self.where[member] = stacked, first, count
            first += count
        self.stacks[stacked] = members

    def _channels(self, name: str) -> int:
        return int(self.shapes[name][1])

    def _alike(self, node: Any, pending: list[Any], ready: set[str]) -> list[Any] | None:
        """Return the nodes to merge this one with; empty for none, None to wait."""
        if node.op_type not in ('Conv', 'Relu', 'PRelu', 'MaxPool', 'Add', 'Pad'):
            return []
        stacks = [self.where[name][0] for name in node.input if name in self.where]
        members = {member for stack in stacks for member in self.stacks[stack]}
        found = [other for other in pending if other.op_type == node.op_type
                 and other.output[0] not in self.done
                 and all(name in ready or name in self.where for name in other.input)
                 and [self.where[name][0] for name in other.input if name in self.where] == stacks
                 and _key(other) == _key(node)
                 and self.shapes[other.output[0]][2:] == self.shapes[node.output[0]][2:]
                 and any(name in members for name in other.input)]
        images = [name for name in node.input if name not in self.constants]
        found.sort(key=lambda other: self.where[
            next(name for name in other.input if name in self.where)][1])
        covered = {name for other in found for name in other.input if name in self.where}
        if len(found) < 2 or any(name not in self.where for name in images):
            return []
        if node.op_type != 'Conv' and covered != members:
            return []
        if node.op_type == 'Conv' and not covered >= set(self.stacks[stacks[0]]):
            # a part of the towers goes another way: only where the others cannot come any more
            return found if len(found) > 1 else []
        return found

    def _merge(self, nodes: list[Any]) -> None:
        first, w = nodes[0], self.writer
        inputs = [name for name in first.input if name in self.where]
        stacked = self.where[inputs[0]][0]
        out_channels = [self._channels(node.output[0]) for node in nodes]
        if first.op_type == 'Conv':
            out = self._conv(nodes, stacked)
        elif first.op_type == 'Add':
            other = self.where[inputs[1]][0]
            out = w.add('Add', stacked, other)
        elif first.op_type == 'PRelu':
            slopes = np.concatenate([np.broadcast_to(
                self.constants[node.input[1]].reshape(-1), (count,))
                for node, count in zip(nodes, out_channels)])
            out = w.add('PRelu', stacked, w.constant(slopes.reshape(-1, 1, 1)))
        else:
            extra = [w.constant(self.constants[name], self.constants[name].dtype)
                     for name in first.input[1:]]
            out = w.add(first.op_type, stacked, *extra, **attributes_of(first))
        self._note(out, [node.output[0] for node in nodes], out_channels)
        self.done.update(node.output[0] for node in nodes)

    def _conv(self, nodes: list[Any], stacked: str) -> str:
        weights: list[Array] = [self.constants[node.input[1]] for node in nodes]
        biases = [self.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight))
                  for node, weight in zip(nodes, weights)]
        attributes = attributes_of(nodes[0])
        places = [self.where[node.input[0]] for node in nodes]
        total = sum(self._channels(member) for member in self.stacks[stacked])
        aligned = (
            [place[1] for place in places] == [i * places[0][2] for i in range(len(places))]
            and places[-1][1] + places[-1][2] == total
            and len({weight.shape for weight in weights}) == 1)
        if aligned:
            weight, group = np.concatenate(weights), len(nodes)
        else:
            weight, group = np.zeros((sum(map(len, weights)), total, *weights[0].shape[2:])), 1
            row = 0
            for own, (_, begin, count) in zip(weights, places):
                weight[row:row + len(own), begin:begin + count] = own
                row += len(own)
        return self.writer.conv(
            stacked, weight, np.concatenate(biases), pads=attributes.get('pads', [0, 0, 0, 0]),
            stride=attributes.get('strides', [1, 1])[0], group=group)

    def _copy(self, node: Any) -> None:
        copied = type(node)()
        copied.CopyFrom(node)
        del copied.input[:]
        for name in node.input:
            if name in self.constants:
                name = self.writer.constant(self.constants[name], self.constants[name].dtype)
            elif name in self.where:
                name = self._part(name)
            copied.input.append(name)
        self.writer.nodes.append(copied)

    def _part(self, name: str) -> str:
        """Slice one branch's value from the stacked value."""
        stacked, begin, count = self.where[name]
        w = self.writer
        return w.add('Slice', stacked, w.constant([begin], np.int64),
                     w.constant([begin + count], np.int64), w.constant([1], np.int64))


def _key(node: Any) -> str:
    return repr(sorted(attributes_of(node).items()))
