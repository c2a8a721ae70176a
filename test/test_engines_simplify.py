# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Rewritten graphs are smaller and compute the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import emonet_seeded
import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import onnxruntime
import pytest

from aitable_ros.engines.graph.fuse_prelu import fuse_prelu
from aitable_ros.engines.graph.merge_branches import merge_branches
from aitable_ros.engines.graph.merge_convolutions import Composer
from aitable_ros.engines.graph.simplify import for_tensorrt, simplify
from aitable_ros.models.convert import ensure


def outputs_of(model: Any, batch: int = 2) -> list[np.ndarray]:
    """Run a model of one input on ONNX Runtime, on the same noise every time."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider'])
    value = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else batch for size in value.shape]
    noise = np.random.default_rng(5).random(shape, np.float32)
    return session.run(None, {value.name: noise})


def assert_same(model: Any, rewritten: Any) -> None:
    onnx.checker.check_model(rewritten, full_check=True)
    assert [o.name for o in rewritten.graph.output] == [o.name for o in model.graph.output]
    for got, wanted in zip(outputs_of(rewritten), outputs_of(model), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)


def network(nodes: list[Any], weights: Mapping[str, np.ndarray], shape: list[int]) -> Any:
    """Return a model from ``x``, 2 images of ``shape``, to ``y``."""
    graph = helper.make_graph(
        nodes, 'small', [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['N', *shape])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 17)])
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(('name', 'most'), [
    ('blazeface_short', 60), ('blazeface_full', 140), ('facemesh_468', 75), ('facemesh', 170),
    ('fer', 33)])
def test_models_for_tensorrt_are_smaller_and_equal(name: str, most: int) -> None:
    model = onnx.load(ensure(name))
    rewritten = for_tensorrt(model)
    assert len(rewritten.graph.node) <= most
    assert_same(model, rewritten)
    assert {p.key: p.value for p in rewritten.metadata_props} == {
        p.key: p.value for p in model.metadata_props}


@pytest.mark.parametrize(('expressions', 'heat_maps'), [(8, False), (5, True)])
def test_emonet_is_equal_and_its_head_is_small(expressions: int, heat_maps: bool) -> None:
    """Two hourglasses of 111 blocks' convolutions; all around them in 8, with the maps 9."""
    model = emonet_seeded.to_onnx(emonet_seeded.state(expressions, narrow=8), heat_maps)
    rewritten = for_tensorrt(model)
    assert_same(model, rewritten)
    found = operators(rewritten)
    assert found['Conv'] == 119 + heat_maps
    assert found['Concat'] == 35, 'one a block is left'
    assert not found.keys() & {'BatchNormalization', 'Gemm', 'Gather', 'Slice', 'ReduceSum'}


def normalised(concatenated: bool) -> Any:
    """A convolution, normalised for the next one; and perhaps put together with that one."""
    nodes = [
        helper.make_node('Conv', ['x', 'w'], ['a'], kernel_shape=[1, 1]),
        helper.make_node('BatchNormalization', ['a', 'g', 'b', 'm', 'v'], ['n']),
        helper.make_node('Relu', ['n'], ['r']),
        helper.make_node('Conv', ['r', 'w'], ['c'], kernel_shape=[1, 1]),
        helper.make_node('Concat', ['a', 'c'] if concatenated else ['c', 'r'], ['y'], axis=1)]
    return network(nodes, {'w': random(4, 4, 1, 1), 'g': np.array([1, -2, 0.5, 0], np.float32),
                           'b': random(4), 'm': random(4), 'v': np.abs(random(4))}, [4, 3, 3])


def test_only_pre_activation_is_rewritten() -> None:
    model = normalised(concatenated=False)
    assert for_tensorrt(model) == simplify(model)
    model = normalised(concatenated=True)
    assert_same(model, for_tensorrt(model))
    assert operators(for_tensorrt(model)) == {
        'Conv': 2, 'Mul': 1, 'Add': 1, 'Relu': 1, 'Concat': 1}


def test_a_mask_goes_through_the_convolution_of_what_it_masks() -> None:
    """Masked are 6 of 9 channels; the product is 2 channels wide afterwards."""
    nodes = [
        helper.make_node('Relu', ['x'], ['m4']),
        helper.make_node('Conv', ['x', 'one'], ['m'], kernel_shape=[1, 1]),
        helper.make_node('Conv', ['m4', 'in'], ['i'], kernel_shape=[1, 1]),
        helper.make_node('Concat', ['i', 'x'], ['f'], axis=1),
        helper.make_node('Mul', ['f', 'm'], ['p']),
        helper.make_node('Concat', ['x', 'p'], ['all'], axis=1),
        helper.make_node('Conv', ['all', 'w', 'wb'], ['y'], kernel_shape=[1, 1])]
    model = network(nodes, {'one': random(1, 3, 1, 1), 'in': random(3, 3, 1, 1),
                            'w': random(2, 9, 1, 1), 'wb': random(2)}, [3, 4, 4])
    rewritten = Composer(model).run()
    assert_same(model, rewritten)
    assert operators(rewritten)['Concat'] == 0


def mobile_block(slope: np.ndarray, stride: int = 1) -> Any:
    """PRelu, depthwise, pointwise to twice the channels, and the zero-filled shortcut around."""
    nodes = [
        helper.make_node('PRelu', ['x', 'slope'], ['p']),
        helper.make_node('Conv', ['p', 'dw', 'dwb'], ['d'], group=4, kernel_shape=[3, 3],
                         strides=[stride, stride],
                         pads=[1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]),
        helper.make_node('Conv', ['d', 'pw', 'pwb'], ['q'], kernel_shape=[1, 1]),
        *([helper.make_node('MaxPool', ['p'], ['m'], kernel_shape=[2, 2], strides=[2, 2])]
          if stride == 2 else []),
        helper.make_node('Pad', ['p' if stride == 1 else 'm', 'pads'], ['s']),
        helper.make_node('Add', ['s', 'q'], ['a']),
        helper.make_node('Relu', ['a'], ['y'])]
    weights = {'slope': slope, 'dw': random(4, 1, 3, 3), 'dwb': random(4), 'pw': random(8, 4, 1, 1),
               'pwb': random(8), 'pads': np.array([0, 0, 0, 0, 0, 4, 0, 0])}
    return network(nodes, weights, [4, 6, 6])


@pytest.mark.parametrize('slope', [-0.5, 0.0, 0.3, 1.7])
@pytest.mark.parametrize('stride', [1, 2])
def test_a_mobile_block_is_equal_for_any_slope(slope: float, stride: int) -> None:
    model = mobile_block(np.array([slope, 0.1, -0.2, 2], np.float32).reshape(4, 1, 1), stride)
    assert_same(model, Composer(model).run())


def test_a_mobile_block_without_stride_is_one_convolution() -> None:
    model = mobile_block(np.full((4, 1, 1), 0.25, np.float32))
    rewritten = Composer(model).run()
    assert operators(rewritten) == {'PRelu': 1, 'Conv': 1, 'Relu': 1, 'Identity': 1}  # y's name


@pytest.mark.parametrize('slope', [-1.0, 0.5, 1.0])
def test_prelu_is_found_as_a_maximum(slope: float) -> None:
    nodes = [helper.make_node('Mul', ['x', 's'], ['m']), helper.make_node('Max', ['m', 'x'], ['y'])]
    model = network(nodes, {'s': np.full((1, 3, 1, 1), slope, np.float32)}, [3, 4, 4])
    rewritten = fuse_prelu(model)
    assert operators(rewritten) == {'PRelu': 1}
    assert_same(model, rewritten)


def test_a_maximum_that_is_no_prelu_stays() -> None:
    nodes = [helper.make_node('Mul', ['x', 's'], ['m']), helper.make_node('Max', ['m', 'x'], ['y'])]
    model = network(nodes, {'s': np.full((1, 3, 1, 1), 1.5, np.float32)}, [3, 4, 4])
    assert operators(fuse_prelu(model)) == {'Mul': 1, 'Max': 1}


@pytest.mark.parametrize('sizes', [(5, 5, 5), (5, 2, 7)])
def test_towers_become_one(sizes: tuple[int, ...]) -> None:
    """Equal ones as grouped convolutions, unequal ones with zeros between them."""
    nodes, weights = [], {'axis': np.array([2])}
    for tower, size in enumerate(sizes):
        weights |= {f'b{tower}': np.array([4 * tower]), f'e{tower}': np.array([4 * tower + 4]),
                    f'w{tower}': random(size, 3, 3, 3) + tower, f'c{tower}': random(size)}
        nodes += [
            helper.make_node('Slice', ['x', f'b{tower}', f'e{tower}', 'axis'], [f's{tower}']),
            helper.make_node('Conv', [f's{tower}', f'w{tower}', f'c{tower}'], [f'f{tower}'],
                             kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node('Relu', [f'f{tower}'], [f'r{tower}'])]
    nodes.append(helper.make_node('Concat', [f'r{t}' for t in range(len(sizes))], ['y'], axis=1))
    model = network(nodes, weights, [3, 12, 4])
    rewritten = merge_branches(model)
    assert operators(rewritten)['Conv'] == operators(rewritten)['Relu'] == 1
    assert_same(model, rewritten)


def test_simplify_folds_shapes_and_drops_identities() -> None:
    nodes = [
        helper.make_node('Constant', [], ['two'], value=numpy_helper.from_array(np.array([2, 2]))),
        helper.make_node('Concat', ['minus', 'two', 'two'], ['shape'], axis=0),
        helper.make_node('Identity', ['x'], ['i']),
        helper.make_node('Reshape', ['i', 'shape'], ['r']),
        helper.make_node('Relu', ['r'], ['y']),
        helper.make_node('Abs', ['r'], ['unread'])]
    model = network(nodes, {'minus': np.array([-1])}, [2, 2, 4])
    simple = simplify(model)
    assert operators(simple) == {'Reshape': 1, 'Relu': 1}
    assert_same(model, simple)
    assert len(model.graph.node) == 6, 'the model given stays as it is'
