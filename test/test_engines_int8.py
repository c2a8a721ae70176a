# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""int8: Q/DQ pairs as TensorRT wants them, scales from real inputs, and the calibrator's cache."""

from __future__ import annotations

from hashlib import sha256
import json

import numpy as np
import onnx
from onnx import numpy_helper, TensorProto
import pytest

from aitable_ros.engines.calibrator import CalibrationBatches, key_path
from aitable_ros.engines.graph.int8 import _by_entropy, _by_percentile, BINS, quantize
from aitable_ros.engines.verify import verify
from aitable_ros.errors import InputError

CONVOLUTIONS = 23
"""Of ``fer``."""


@pytest.fixture(scope='module')
def faces(album_inputs):
    return album_inputs['fer']


@pytest.fixture(scope='module')
def made(models, faces, tmp_path_factory):
    path = tmp_path_factory.mktemp('int8') / 'fer.onnx'
    return path, quantize(models / 'fer.onnx', path, faces)


def test_pairs_are_symmetric_int8_on_inputs_and_weights_of_convolutions_only(models, made):
    path, report = made
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    quantized = [node for node in model.graph.node if node.op_type == 'QuantizeLinear']
    for node in quantized:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
        assert (constants[node.input[1]] > 0).all()
    convolutions = [node for node in model.graph.node if node.op_type == 'Conv']
    assert report.layers == len(convolutions) - 1 == CONVOLUTIONS - 1
    assert report.excluded == ('Conv_36',)  # the last one
    for node in convolutions[:-1]:
        activation, weight = (makers[name] for name in node.input[:2])
        assert activation.op_type == weight.op_type == 'DequantizeLinear'
        scale = constants[weight.input[1]]
        original = constants[makers[weight.input[0]].input[0]]
        assert scale.shape == original.shape[:1]  # one scale an output channel
        largest = np.abs(original).reshape(len(original), -1).max(axis=1)
        assert np.allclose(scale * 127, np.maximum(largest, 1e-8))
        assert constants[activation.input[1]].shape == ()
        if len(node.input) > 2:
            assert constants[node.input[2]].dtype == np.float32  # biases are TensorRT's affair
    assert {node.output[0] for node in quantized if node.input[0] == 'image'}, 'the first one too'
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert report.sha256 == sha256(path.read_bytes()).hexdigest()
    assert json.dumps(report.to_dict())
    assert [frame['file'] for frame in report.crops['frames']][:2] == ['000.png', '001.png']


def test_fer_in_int8_passes_its_gate(models, made, faces):
    report = verify(made[0], models / 'fer.onnx', faces, backend='onnxruntime')
    assert (report.precision, report.verdict) == ('int8', 'passed'), report.table()
    change = next(metric for metric in report.metrics if metric.name.startswith('probability'))
    assert change.value > 1e-4, 'nothing was quantised'


def test_layers_are_left_out_by_name_and_by_sensitivity(models, faces, tmp_path):
    report = quantize(
        models / 'fer.onnx', tmp_path / 'a.onnx', faces.some(8), method='minmax',
        exclude=['Conv_0'], spare=2)
    assert report.layers == CONVOLUTIONS - 4
    assert {'Conv_0', 'Conv_36'} < set(report.excluded)
    measured = report.sensitivity
    spared = sorted(measured[name] for name in report.excluded if name in measured)
    assert spared == sorted(measured.values())[-2:]
    model = onnx.load(tmp_path / 'a.onnx')
    first = next(node for node in model.graph.node if node.name == 'Conv_0')
    assert not any('dequantized' in name for name in first.input)


@pytest.mark.parametrize(('passes', 'asked', 'layers'), [(1, 1, 22), (2, 2, 20), (9, 4, 14)])
def test_no_more_layers_are_left_out_than_it_takes(
        models, faces, tmp_path, passes, asked, layers):
    path, tried = tmp_path / 'a.onnx', []

    def judge(candidate):
        tried.append(sha256(candidate.read_bytes()).hexdigest())
        return len(tried) == passes
    report = quantize(models / 'fer.onnx', path, faces.some(8), spare=None, judge=judge)
    assert len(set(tried)) == len(tried) == asked
    assert report.layers == layers
    assert bool(report.sensitivity) is (asked > 1), 'measured only where it is used'
    assert report.sha256 == tried[-1] == sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(('arguments', 'reason'), [
    ({'method': 'magic'}, "'magic': there are percentile"),
    ({'exclude': ['Conv_x']}, "called 'Conv_x'"),
    ({'operators': ['Gemm']}, 'fer.onnx: nothing to quantise'),
    ({'spare': 22}, '--spare 22: fer.onnx has 22 layers'),
    ({'spare': -1}, 'give 0 to 21'),
])
def test_what_cannot_be_is_said(models, faces, tmp_path, arguments, reason):
    with pytest.raises(InputError, match=reason):
        quantize(models / 'fer.onnx', tmp_path / 'a.onnx', faces, **arguments)
    assert not (tmp_path / 'a.onnx').exists()


def test_no_model_is_one_line(faces, tmp_path):
    (tmp_path / 'a.onnx').write_bytes(b'nonsense')
    for name, reason in (('a.onnx', 'not an ONNX file'), ('b.onnx', 'no such file')):
        with pytest.raises(InputError, match=reason):
            quantize(tmp_path / name, tmp_path / 'c.onnx', faces)


def histogram(values, top=None):
    return np.histogram(np.abs(values), BINS, (0, top or np.abs(values).max()))[0]


def test_thresholds_cut_off_outliers_and_nothing_else():
    noise = np.random.default_rng(1)
    even = noise.uniform(0, 1, 100_000)
    assert _by_entropy(histogram(even)) > 0.9
    assert _by_percentile(histogram(even), 99) == pytest.approx(0.99, abs=2e-3)
    tail = np.concatenate([noise.normal(0, 1, 100_000), [40.0]])
    assert 0.05 < _by_entropy(histogram(tail)) < 0.25
    assert _by_percentile(histogram(tail), 99.99) * 40 == pytest.approx(3.9, abs=0.4)
    mostly_zero = np.concatenate([np.zeros(10 ** 6), even])
    assert _by_entropy(histogram(mostly_zero)) > 0.9
    assert _by_entropy(np.zeros(BINS, np.int64)) == 1.0


class TestCalibrationBatches:
    """The cache is used for the same model and inputs, and for nothing else."""

    def test_every_batch_is_full(self, faces):
        batches = CalibrationBatches(faces, 10, 'model')
        sizes = []
        rows = []
        while (batch := batches.next()) is not None:
            sizes.append(len(batch['image']))
            assert batch['image'].flags.c_contiguous
            rows.append(batch['image'])
        assert sizes == [10] * 8  # 36 faces, two views each
        got = np.concatenate(rows)
        assert np.array_equal(got[:72], faces.inputs['image'])
        assert np.array_equal(got[72:], faces.inputs['image'][:8])

    def test_a_batch_larger_than_all_inputs_repeats_them(self, faces):
        batch = CalibrationBatches(faces.some(2), 7, 'model').next()
        assert batch['image'].shape == (7, 1, 64, 64)
        assert np.array_equal(batch['image'][4:], batch['image'][:3])

    def test_the_cache_comes_back_for_the_same_and_for_nobody_else(self, faces, tmp_path):
        cache = tmp_path / 'cache'
        first = CalibrationBatches(faces, 8, 'model', cache)
        assert first.read_cache() is None
        assert 'not there' in first.note
        first.write_cache(b'TRT-8600-EntropyCalibration2\nimage: 3c010a14\n')
        again = CalibrationBatches(faces, 8, 'model', cache)
        assert again.read_cache() == cache.read_bytes()
        assert again.reused
        assert not again.note
        assert again.to_dict()['cache_sha256'] == sha256(cache.read_bytes()).hexdigest()
        other = CalibrationBatches(faces, 8, 'another', cache)
        assert other.read_cache() is None
        assert 'of another model' in other.note
        fewer = CalibrationBatches(faces.some(9), 8, 'model', cache)
        assert fewer.read_cache() is None
        assert 'of another inputs' in fewer.note

    def test_without_pictures_the_cache_must_do(self, faces, tmp_path):
        cache = tmp_path / 'cache'
        CalibrationBatches(faces, 8, 'model', cache).write_cache(b'x')
        alone = CalibrationBatches(None, 8, 'model', cache)
        assert alone.read_cache() == b'x'
        assert alone.next() is None
        assert len(alone.to_dict()['frames']) == len(faces)
        for model, path in (('other', cache), ('model', None), ('model', tmp_path / 'none')):
            with pytest.raises(InputError, match='needs inputs to calibrate with'):
                CalibrationBatches(None, 8, model, path)

    @pytest.mark.parametrize(('change', 'reason'), [
        (lambda cache: cache.write_bytes(b'y'), 'of another content'),
        (lambda cache: key_path(cache).unlink(), 'missing'),
        (lambda cache: key_path(cache).write_text('{'), 'cannot be read'),
        (lambda cache: key_path(cache).write_text('[]'), 'cannot be read'),
    ])
    def test_a_cache_of_unknown_origin_is_not_used(self, faces, tmp_path, change, reason):
        cache = tmp_path / 'cache'
        CalibrationBatches(faces, 8, 'model', cache).write_cache(b'x')
        change(cache)
        batches = CalibrationBatches(faces, 8, 'model', cache)
        assert batches.read_cache() is None
        assert reason in batches.note
