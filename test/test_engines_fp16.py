# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""fp16 inside the file: types that agree at every node, and landmarks that stay where they were."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
import onnxruntime
import pytest

from aitable_ros.engines.graph.fp16 import node_name, sensitive, to_fp16
from aitable_ros.engines.verify import verify
from aitable_ros.errors import InputError

MODELS = ('fer', 'facemesh', 'facemesh_468', 'blazeface_full', 'blazeface_short')
DEKKER = 8193.0
"""2^13 + 1: (x c) - (x c - x) is x with 11 bits of mantissa, fp16's; in plain fp32 arithmetic."""
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def load(models, name):
    return onnx.load(models / f'{name}.onnx')


def types(model):
    """Return the element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for values in (graph.input, graph.output, graph.value_info):
        found.update({value.name: value.type.tensor_type.elem_type for value in values})
    return found


def tiny(nodes, constants):
    """Make a model of ``x`` (N, 4) and constants."""
    graph = make_graph(
        nodes, 'tiny', [make_tensor_value_info('x', 1, ['N', 4])],
        [make_tensor_value_info('y', 1, ['N', 4])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name)
         for name, value in constants.items()])
    return make_model(graph, ir_version=8, opset_imports=[make_opsetid('', 17)])


def run(model, x):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, {session.get_inputs()[0].name: x})


def as_a_gpu_would(model):
    """
    Turn an fp16 model into one of fp32 that rounds every result of an fp16 node to 11 bits.

    ONNX Runtime has no fp16 kernels on a CPU: it casts, and leaves out casts that cancel out.
    """
    kinds = types(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    nodes = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(
                numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    graph.initializer.append(numpy_helper.from_array(np.float32(DEKKER), 'dekker'))
    for node in graph.node:
        if node.op_type == 'Cast' and kinds[node.input[0]] in FLOATS:
            node.CopyFrom(make_node('Identity', node.input, node.output))
        nodes.append(node)
        for at, name in enumerate(node.output):
            if kinds[name] == TensorProto.FLOAT16:
                raw, a, b = (f'{name}_{step}' for step in ('raw', 'a', 'b'))
                node.output[at] = raw
                nodes += [make_node('Mul', [raw, 'dekker'], [a]), make_node('Sub', [a, raw], [b]),
                          make_node('Sub', [a, b], [name])]
    del graph.node[:]
    graph.node.extend(nodes)
    return copy


@pytest.fixture(scope='module')
def mesh_crops(album_inputs):
    return album_inputs['facemesh']


@pytest.mark.parametrize('kept', [True, False], ids=['sensitive in fp32', 'all in fp16'])
@pytest.mark.parametrize('name', MODELS)
def test_floats_agree_at_every_node_and_the_ends_stay_fp32(models, name, kept):
    model = load(models, name)
    half = to_fp16(model, sensitive(model) if kept else ())
    onnx.checker.check_model(half, full_check=True)
    kinds = types(half)
    for value in (*half.graph.input, *half.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT, value.name
    mixed = [
        node_name(node) for node in half.graph.node
        if len({kinds[item] for item in node.input if item and kinds[item] in FLOATS}) > 1
        and node.op_type != 'Resize']  # its scales are fp32 by definition
    assert mixed == []
    made = {kinds[item] for node in half.graph.node for item in node.output
            if node.op_type == 'Conv'}
    assert made == ({*FLOATS} if kept else {TensorProto.FLOAT16})
    assert model == load(models, name), 'the original was changed'


@pytest.mark.parametrize('name', MODELS)
def test_onnx_runtime_runs_it_and_gives_nearly_the_same(models, name):
    model = load(models, name)
    half = to_fp16(model, sensitive(model))
    size = [item.dim_value or 2 for item in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).uniform(0, 1, size).astype(np.float32)
    for ours, theirs in zip(run(half, x), run(model, x)):
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() <= 0.02 * max(np.abs(theirs).max(), 1)


@pytest.mark.parametrize(('keep', 'verdict'), [(True, 'passed'), (False, 'failed')])
def test_what_is_kept_in_fp32_is_what_the_landmarks_need(
        models, mesh_crops, tmp_path, keep, verdict):
    model = load(models, 'facemesh')
    path = tmp_path / 'rounded.onnx'
    onnx.save(as_a_gpu_would(to_fp16(model, sensitive(model) if keep else ())), path)
    report = verify(
        path, models / 'facemesh.onnx', mesh_crops, precision='fp16', backend='onnxruntime')
    values = {metric.name: metric.value for metric in report.metrics}
    assert report.verdict == verdict, report.table()
    assert (values['landmarks p95'] < 0.03) == keep
    assert values['landmarks p95'] > 0.001, 'nothing was rounded'


def test_sensitive_of_the_attention_mesh_is_places_and_results(models):
    model = load(models, 'facemesh')
    found = set(sensitive(model))
    by_name = {node_name(node): node for node in model.graph.node}
    assert {'landmarks', 'presence'} <= found
    assert sum(by_name[name].op_type == 'Conv' for name in found) == 7  # coarse, 5 refined, flag
    assert 'GridSample' not in {by_name[name].op_type for name in found}
    assert len(found) < 0.15 * len(by_name)


def test_nodes_are_kept_by_name_operator_and_pattern():
    nodes = [make_node('Relu', ['x'], ['a'], name='first/relu'),
             make_node('Mul', ['a', 'c'], ['b'], name='first/mul'),
             make_node('Add', ['b', 'c'], ['y'])]
    model = tiny(nodes, {'c': [1, 2, 3, 4]})
    for keep, half in ((('first/relu',), {'b', 'y'}), (('Add',), {'a', 'b'}),
                       (('first/*', 'y'), set()), ((), {'a', 'b', 'y'})):
        kinds = types(to_fp16(model, keep))
        got = {name for name in 'ab' if kinds[name] == TensorProto.FLOAT16}
        got |= {'y'} if kinds.get('y_fp16') == TensorProto.FLOAT16 else set()
        assert got == half, keep
    with pytest.raises(InputError, match="called 'second/\\*'"):
        to_fp16(model, ['second/*'])


def test_an_output_that_is_also_used_inside_keeps_its_name():
    nodes = [make_node('Relu', ['x'], ['y']), make_node('Mul', ['y', 'c'], ['z'])]
    model = tiny(nodes, {'c': [1, 2, 3, 4]})
    model.graph.output.append(make_tensor_value_info('z', 1, ['N', 4]))
    x = np.array([[0.1, -1, 2, 3]], np.float32)
    y, z = run(to_fp16(model), x)
    assert np.allclose(y, np.maximum(x, 0), rtol=1e-3)
    assert np.allclose(z, np.maximum(x, 0) * [1, 2, 3, 4], rtol=1e-3)


def test_constants_beyond_fp16_stay_fp32():
    model = tiny([make_node('Mul', ['x', 'c'], ['y'])], {'c': [1e5, 1, 1, 1]})
    y, = run(to_fp16(model), np.ones((1, 4), np.float32))
    assert y.tolist() == [[1e5, 1, 1, 1]]


def test_constants_inside_nodes_and_casts_follow():
    twos = numpy_helper.from_array(np.float32([2, 2, 2, 2]))
    nodes = [make_node('Constant', [], ['k'], value=twos), make_node('Shape', ['x'], ['s']),
             make_node('Cast', ['s'], ['f'], to=TensorProto.FLOAT),
             make_node('ReduceSum', ['f'], ['r'], keepdims=0),
             make_node('Mul', ['x', 'k'], ['a']), make_node('Add', ['a', 'r'], ['y'])]
    half = to_fp16(tiny(nodes, {}))
    assert types(half)['f'] == TensorProto.FLOAT16
    y, = run(half, np.ones((3, 4), np.float32))
    assert y.tolist() == [[9.0] * 4] * 3


def test_control_flow_is_refused():
    branch = make_graph([make_node('Identity', ['x'], ['b'])], 'b', [],
                        [make_tensor_value_info('b', 1, ['N', 4])])
    other = make_graph([make_node('Neg', ['x'], ['d'])], 'd', [],
                       [make_tensor_value_info('d', 1, ['N', 4])])
    nodes = [make_node('Constant', [], ['yes'], value=numpy_helper.from_array(np.array(True))),
             make_node('If', ['yes'], ['y'], then_branch=branch, else_branch=other)]
    with pytest.raises(InputError, match='control flow'):
        to_fp16(tiny(nodes, {}))


def pairs(scale, opset):
    """Make a model with a Q/DQ pair between two sums."""
    model = tiny([
        make_node('Add', ['x', 'one'], ['a'], 'first'),
        make_node('QuantizeLinear', ['a', 'scale', 'zero'], ['q'], 'quantize'),
        make_node('DequantizeLinear', ['q', 'scale', 'zero'], ['d'], 'dequantize'),
        make_node('Mul', ['d', 'two'], ['y'], 'last')],
        {'one': 1, 'two': 2, 'scale': scale})
    model.graph.initializer.append(numpy_helper.from_array(np.int8(0), 'zero'))
    model.opset_import[0].version = opset
    return model


@pytest.mark.parametrize(('scale', 'opset', 'half'), [
    (0.05, 19, True), (0.05, 17, False), (1e-5, 19, False)])
def test_a_pair_is_half_where_the_opset_and_its_scale_allow_it(scale, opset, half):
    made = types(to_fp16(pairs(scale, opset)))
    wanted = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    node = next(node for node in to_fp16(pairs(scale, opset)).graph.node
                if node.op_type == 'DequantizeLinear')
    assert made[node.output[0]] == made[node.input[1]] == wanted
    assert made['q'] == TensorProto.INT8
    assert made['y'] == TensorProto.FLOAT


def test_half_pairs_say_what_single_ones_do():
    """To a level of int8: ONNX Runtime on a CPU cuts off in fp16 where it rounds in fp32."""
    x = np.random.default_rng(3).uniform(-3, 3, (64, 4)).astype(np.float32)
    single, half = run(pairs(0.05, 19), x)[0], run(to_fp16(pairs(0.05, 19)), x)[0]
    assert np.abs(single - half).max() < 2 * 0.05 * 1.1
