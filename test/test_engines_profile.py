# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a model costs: figures that fit together, layers with kinds, commands that look deeper."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from aitable_ros.engines.layer_times import inspected, kind_of, layers_of
from aitable_ros.engines.model_inputs import ModelInputs, Sample
from aitable_ros.engines.profile import hints, LEAST, profile
from aitable_ros.errors import InputError


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_a_profile_of_a_real_model_fits_together(models, backend):
    report = profile(models / 'blazeface_short.onnx', backend=backend, batches=(1, 3),
                     seconds=0.05, threads=1)
    assert (report.backend, report.precision, report.inputs) == (backend, 'fp32', 'noise')
    assert [timing.batch for timing in report.timings] == [1, 3]
    for timing in report.timings:
        assert timing.n >= LEAST
        assert 0 < timing.p50_ms <= timing.p95_ms <= timing.p99_ms
        assert timing.per_second == pytest.approx(timing.batch * timing.n / timing.seconds)
        assert timing.seconds > 0.04
    assert report.device_bytes is None
    assert sum(count for count, _ in report.kinds.values()) == len(report.layers)
    assert sum(ms for _, ms in report.kinds.values()) == pytest.approx(
        sum(layer.ms for layer in report.layers))
    assert report.kinds['convolution'][0] > 20
    assert 'other' not in report.kinds
    assert [layer.ms for layer in report.layers] == sorted(
        (layer.ms for layer in report.layers), reverse=True)
    assert {layer.precision for layer in report.layers if layer.kind == 'convolution'} == {'fp32'}
    told = json.loads(json.dumps(report.to_dict()))
    assert told['kinds']['convolution']['layers'] == report.kinds['convolution'][0]
    table = report.table(3)
    for word in ('p50 ms', 'rows/s', 'memory: host', 'convolution', 'slowest 3 of', 'polygraphy'):
        assert word in table


def test_a_fixed_batch_is_said_and_the_rest_measured(models, tmp_path):
    import onnx

    model = onnx.load(models / 'fer.onnx')
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / 'one.onnx')
    report = profile(tmp_path / 'one.onnx', backend='onnxruntime', batches=(1, 4), seconds=0.02,
                     layers=False)
    one, four = report.timings
    assert one.n >= LEAST
    assert (four.n, four.refused) == (0, 'its batch is fixed at 1')
    assert 'fixed at 1' in report.table()
    assert report.layers_note == 'not asked for'
    json.dumps(report.to_dict(), allow_nan=False)


def test_real_inputs_are_said_to_be_real(models):
    rows = np.zeros((3, 1, 64, 64), np.float32)
    given = ModelInputs('fer', 'emotion', {'image': rows}, tuple(
        Sample('a', row, 0, 0) for row in range(3)))
    assert profile(models / 'fer.onnx', crops=given, batches=(8,), seconds=0.02,
                   layers=False).inputs == 'real'


@pytest.mark.parametrize('arguments', [
    {'batches': ()}, {'batches': (0,)}, {'seconds': 0}, {'seconds': math.nan}])
def test_nonsense_is_refused(models, arguments):
    with pytest.raises(InputError, match='batch sizes of at least 1'):
        profile(models / 'fer.onnx', **arguments)


@pytest.mark.parametrize(('word', 'kind'), [
    ('Convolution', 'convolution'), ('FusedConv', 'convolution'),
    ('CaskConvolution', 'convolution'), ('Conv_12 + PWN(Relu_13)', 'convolution'),
    ('PWN(Add_461)', 'pointwise'),
    ('Reformatting CopyNode for Input Tensor 0 to Conv_1', 'reformat'), ('Reorder', 'reformat'),
    ('ReorderOutput', 'reformat'), ('Cast', 'reformat'), ('MatMul', 'matrix'),
    ('Gemm', 'matrix'), ('MaxPool', 'pooling'), ('Softmax', 'reduction'),
    ('GridSample', 'resample'), ('{ForeignNode[Transpose_0...Conv_9]}', 'fused'),
    ('Shuffle', 'layout'),
    ('DepthToSpace', 'layout'), ('Subgraph', 'pointwise'), ('Mystery', 'other')])
def test_kinds(word, kind):
    assert kind_of(word) == kind


DYNAMIC = {'Name': 'a', 'Format/Datatype': 'N/A due to dynamic shapes'}
# as TensorRT 8.6's inspector writes it, shortened, with its bare control character
INSPECTED = json.dumps({'Layers': [
    {'Name': 'Conv_1 + Relu_2', 'LayerType': 'CaskConvolution',
     'Inputs': [{'Name': 'a', 'Format/Datatype':
                 'Channel major FP16 format where channel % 8 == 0'}], 'Outputs': []},
    {'Name': 'Reformatting CopyNode for Input Tensor 0 to Conv_1 + Relu_2',
     'LayerType': 'Reformat', 'Inputs': [{'Format/Datatype': 'Row major linear FP32'}]},
    {'Name': 'PWN(Mul_3)', 'LayerType': 'PointWiseV2', 'Inputs': [
        {'Format/Datatype': 'Thirty-two wide channel vectorized row major Int8 format'}]},
    {'Name': 'PWN(Sub_4)', 'LayerType': 'kMYSTERY', 'Inputs': []},
    {'Name': 'l_Conv_5', 'LayerType': 'CaskConvolution', 'Inputs': [DYNAMIC],
     'Weights': {'Type': 'Half', 'Count': 72}, 'Metadata': 'here'},
    {'Name': 'l_MatMul_6', 'LayerType': 'CaskGemmMatrixMultiply', 'Inputs': [DYNAMIC],
     'TacticName': 'sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize32x32x8'},
    {'Name': 'l_Pool_7', 'LayerType': 'CaskPooling', 'Inputs': [DYNAMIC],
     'TacticName': 'sm50_xmma_pooling_coalescedC_NHWC_kMAX_3_False'}],
    'Bindings': ['a']}).replace('here', '[ONNX Layer: a]\x1e[ONNX Layer: b]')


def test_the_inspectors_words_become_kinds_and_precisions():
    assert inspected(INSPECTED) == {
        'Conv_1 + Relu_2': ('convolution', 'fp16'),
        'Reformatting CopyNode for Input Tensor 0 to Conv_1 + Relu_2': ('reformat', 'fp32'),
        'PWN(Mul_3)': ('pointwise', 'int8'), 'PWN(Sub_4)': ('pointwise', ''),
        'l_Conv_5': ('convolution', 'fp16'), 'l_MatMul_6': ('matrix', 'fp32'),
        'l_Pool_7': ('pooling', '')}
    for without in ('{"Layers": ["Conv_1"], "Bindings": []}', 'no json', '[]'):
        assert inspected(without) == {}


class Engine:
    """The two questions that our TensorRT backend answers."""

    name, device, precision, model = 'tensorrt', 'cuda:0', 'fp16', 'a.engine'

    def __init__(self, text):
        self.text, self.runs = text, 0

    def profile_layers(self, inputs):
        self.runs += 1
        return [('Conv_1 + Relu_2', 0.2), ('PWN(Mul_3)', 0.1 * self.runs), ('PWN(Mul_3)', 0.1)]

    def infer(self, inputs):
        return {}

    def inspect(self):
        return self.text


def test_layers_of_an_engine_are_averaged_over_runs(tmp_path):
    layers, note = layers_of(Engine(INSPECTED), tmp_path, {}, 0, 3)
    assert [(layer.name, layer.kind, layer.precision) for layer in layers] == [
        ('Conv_1 + Relu_2', 'convolution', 'fp16'), ('PWN(Mul_3)', 'pointwise', 'int8')]
    assert layers[0].ms == pytest.approx(0.2)
    assert layers[1].ms == pytest.approx(0.3)
    assert '3 runs' in note
    bare, note = layers_of(Engine('{}'), tmp_path, {}, 0, 1)
    assert {layer.precision for layer in bare} == {''}
    assert 'not in this engine' in note


def test_what_looks_deeper_can_be_pasted(models, tmp_path):
    from aitable_ros.inference.chain import ModelOptions, resolve

    with resolve(ModelOptions(model='fer')).backend as backend:
        onnx_hints = hints(tmp_path / 'my model.onnx', backend, 4)
        engine_hints = hints(tmp_path / 'm.engine', backend, 2)
    assert "'image:[4,1,64,64]'" in onnx_hints[0]
    assert f"'{tmp_path}/my model.onnx'" in onnx_hints[0]
    assert '--shapes=image:2x1x64x64' in engine_hints[0]
    assert f'--loadEngine={tmp_path}/m.engine' in engine_hints[0]
