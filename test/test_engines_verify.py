# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The gate: what does its task passes, what is broken fails, what cannot be told does neither."""

from __future__ import annotations

from dataclasses import fields, replace
import json

from album import write_album
import cv2
import numpy as np
import onnx
from onnx import numpy_helper
import pytest

from aitable_ros.engines.accuracy_limits import LIMITS
from aitable_ros.engines.graph.int8 import quantize
from aitable_ros.engines.model_inputs import collect_inputs, ModelInputs, Sample
from aitable_ros.engines.verify import Criterion, verify
from aitable_ros.errors import InputError

MODELS = ('fer', 'facemesh', 'blazeface_full', 'blazeface_short')


@pytest.fixture(scope='module')
def inputs(album_inputs):
    return album_inputs


def changed(models, name, folder, change):
    """Write a model with its weights changed: ``change(name, array) -> array``."""
    model = onnx.load(models / f'{name}.onnx')
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim == 4:
            tensor.CopyFrom(numpy_helper.from_array(
                np.asarray(change(array), np.float32), tensor.name))
    path = folder / f'{name}_changed.onnx'
    onnx.save(model, path)
    return path


def figures(report):
    return {metric.name: metric.value for metric in report.metrics}


@pytest.mark.parametrize(('name', 'batch'), [
    *((name, 1) for name in MODELS), ('fer', 4), ('blazeface_short', 4)])
def test_a_model_agrees_with_itself_on_another_backend(models, inputs, name, batch):
    path = models / f'{name}.onnx'
    report = verify(path, path, inputs[name], backend='openvino', batch=batch)
    assert report.passed, report.table()
    assert (report.candidate['backend'], report.reference['backend']) == (
        'openvino', 'onnxruntime')
    assert report.n == 36
    told = json.loads(json.dumps(report.to_dict()))
    assert told['passed'] is True
    assert len(told['crops']['frames']) == 36
    assert all(metric['passed'] for metric in told['metrics'])
    assert report.table().endswith('passed')


@pytest.mark.parametrize('name', ['fer', 'facemesh', 'blazeface_short'])  # one of each task
def test_perturbed_weights_fail(models, inputs, tmp_path, name):
    noise = np.random.default_rng(2)
    path = changed(models, name, tmp_path, lambda array: array * noise.normal(1, 0.8, array.shape))
    report = verify(path, models / f'{name}.onnx', inputs[name], precision='int8')
    assert report.verdict == 'failed', report.table()
    assert report.reasons
    assert not report.to_dict()['passed']
    assert 'FAIL' in report.table()


def sometimes_nan(models, name, folder):
    """Write a model that is right on a black or gray image and gives NaN on a real one."""
    model = onnx.load(models / f'{name}.onnx')
    given, out = model.graph.input[0].name, model.graph.output[0].name
    model.graph.initializer.extend([
        numpy_helper.from_array(np.float32(1e-3), 'little'),
        numpy_helper.from_array(np.float32(0), 'nothing')])
    maker = next(node for node in model.graph.node if out in node.output)
    maker.output[list(maker.output).index(out)] = 'good'
    model.graph.node.extend([
        onnx.helper.make_node('Abs', [given], ['size']),
        onnx.helper.make_node('ReduceMax', ['size'], ['largest'], keepdims=0),
        onnx.helper.make_node('Sub', ['little', 'largest'], ['under']),
        onnx.helper.make_node('Sqrt', ['under'], ['root']),
        onnx.helper.make_node('Mul', ['root', 'nothing'], ['trap']),
        onnx.helper.make_node('Add', ['good', 'trap'], [out])])
    path = folder / f'{name}_nan.onnx'
    onnx.save(model, path)
    return path


@pytest.mark.parametrize('name', ['fer', 'blazeface_short'])  # one output and two
def test_a_nan_on_a_real_input_fails_and_is_named(models, inputs, tmp_path, name):
    path = sometimes_nan(models, name, tmp_path)
    report = verify(path, models / f'{name}.onnx', inputs[name], precision='int8',
                    backend='onnxruntime')
    assert report.verdict == 'failed'
    assert 'no number' in report.reasons[0]
    assert onnx.load(path).graph.output[0].name in report.reasons[0]
    json.dumps(report.to_dict(), allow_nan=False)
    assert not verify(models / f'{name}.onnx', path, inputs[name]).passed, 'of the reference, too'


def test_a_model_that_gives_nan_whatever_it_sees_does_not_load(models, inputs, tmp_path):
    path = changed(models, 'fer', tmp_path, lambda array: array * np.nan)
    with pytest.raises(InputError, match='not a number'):
        verify(path, models / 'fer.onnx', inputs['fer'], backend='onnxruntime')


def test_too_few_samples_cannot_tell(models, inputs):
    path = models / 'fer.onnx'
    report = verify(path, path, inputs['fer'].some(20))
    assert (report.verdict, report.passed) == ('cannot tell', False)
    assert report.reasons == ('20 samples, at least 32 are needed',)
    empty = replace(inputs['fer'], samples=(), inputs={'image': np.empty((0, 1, 64, 64), 'f4')})
    assert verify(path, path, empty).verdict == 'cannot tell'


@pytest.mark.parametrize(('first', 'agreement'), [(0.40, 1), (0.43, 0)])
def test_of_two_expressions_that_are_as_likely_either_is_right(monkeypatch, first, agreement):
    from aitable_ros.emotion.reading import Reading
    from aitable_ros.engines import stage_metrics as module

    def readings(first, second, valence):
        others = (1 - first - second) / 6
        return [Reading(np.array([first, second, *[others] * 6], np.float32), valence, 0.2)]

    monkeypatch.setattr(module, '_readings', lambda backend, outputs, crops: outputs)
    metrics, notes = module._judge_emotion(
        None, readings(0.37, 0.38, 0.9), readings(first, 0.37, 1.0), None, LIMITS['fp16'])
    assert {metric.name: metric.value for metric in metrics}['expression agreement'] == agreement
    assert "the reference's valence is at its end in 1 of them" in ' '.join(notes)
    assert 'arousal' not in ' '.join(notes)


def test_int8_costs_the_mesh_its_eyes_and_the_gate_says_so(models, inputs, tmp_path):
    # on 84 crops of the labelled clips: EAR Δ p95 0.014, eye landmarks p95 0.55 px
    quantize(models / 'facemesh.onnx', tmp_path / 'int8.onnx', inputs['facemesh'], method='minmax')
    report = verify(tmp_path / 'int8.onnx', models / 'facemesh.onnx', inputs['facemesh'],
                    backend='onnxruntime')
    assert report.precision == 'int8'
    assert report.verdict == 'failed'
    assert 'EAR' in ' '.join(report.reasons)
    assert 0.2 < figures(report)['eye landmarks p95'] < 3


def test_figures_are_in_the_units_of_the_task(models, inputs, tmp_path):
    model = onnx.load(models / 'facemesh.onnx')
    shift = numpy_helper.from_array(np.array([3, 4, 0], np.float32), 'shift')
    model.graph.initializer.append(shift)
    last = next(node for node in model.graph.node if 'landmarks' in node.output)
    last.output[:] = ['unshifted']
    model.graph.node.append(onnx.helper.make_node('Add', ['unshifted', 'shift'], ['landmarks']))
    onnx.save(model, tmp_path / 'shifted.onnx')
    report = verify(tmp_path / 'shifted.onnx', models / 'facemesh.onnx', inputs['facemesh'])
    values = figures(report)
    assert values['landmarks p50'] == pytest.approx(5, abs=1e-3)  # 3, 4, 5
    assert values['landmarks max'] == pytest.approx(5, abs=1e-3)
    assert values['EAR Δ max'] == pytest.approx(0, abs=1e-3)  # a shift shuts no eye
    assert values['presence agreement'] == 1
    assert not report.passed


def test_a_face_that_is_lost_counts(models, inputs, tmp_path):
    model = onnx.load(models / 'blazeface_full.onnx')
    model.graph.initializer.append(numpy_helper.from_array(np.float32(20), 'less'))
    last = next(node for node in model.graph.node if 'scores' in node.output)
    last.output[:] = ['before']
    model.graph.node.append(onnx.helper.make_node('Sub', ['before', 'less'], ['scores']))
    onnx.save(model, tmp_path / 'blind.onnx')
    report = verify(tmp_path / 'blind.onnx', models / 'blazeface_full.onnx',
                    inputs['blazeface_full'], precision='int8')
    assert figures(report)['same faces'] == 0
    assert report.verdict == 'failed'
    assert np.isnan(figures(report)['box IoU mean']), 'nothing to compare is no agreement'


def test_of_any_other_model_the_outputs_are_compared(tmp_path):
    def write(name, factor):
        nodes = [onnx.helper.make_node('Mul', ['x', 'k'], ['y'])]
        value = [onnx.helper.make_tensor_value_info(item, 1, ['N', 3]) for item in 'xy']
        graph = onnx.helper.make_graph(nodes, 'g', value[:1], value[1:], [
            numpy_helper.from_array(np.float32(factor), 'k')])
        onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[
            onnx.helper.make_opsetid('', 17)]), tmp_path / name)
        return tmp_path / name
    rows = np.ones((40, 3), np.float32)
    given = ModelInputs('any', '', {'x': rows}, tuple(Sample('x', row, 0, 0) for row in range(40)))
    reference = write('reference.onnx', 2)
    assert verify(write('same.onnx', 2), reference, given).passed
    report = verify(write('other.onnx', 2.1), reference, given)
    assert figures(report) == {'y: relative Δ p95': pytest.approx(0.05)}
    assert not report.passed


def test_models_with_other_outputs_are_not_compared(models, inputs):
    with pytest.raises(InputError, match='cannot be compared with facemesh'):
        verify(models / 'fer.onnx', models / 'facemesh.onnx', inputs['fer'])
    with pytest.raises(InputError, match='no such file'):
        verify(models / 'none.onnx', models / 'fer.onnx', inputs['fer'])


def test_an_unvarying_reference_is_told(models, inputs):
    report = verify(models / 'fer.onnx', models / 'fer.onnx', inputs['fer'])
    assert any('happy in all of them' in note for note in report.notes)  # the astronaut smiles


@pytest.mark.parametrize(('value', 'limit', 'at_least', 'passed'), [
    (0.1, 0.2, False, True), (0.2, 0.2, False, True), (0.3, 0.2, False, False),
    (0.9, 0.8, True, True), (0.7, 0.8, True, False),
    (float('nan'), 0.2, False, False), (float('nan'), 0.2, True, False),
])
def test_a_metric_holds_or_not(value, limit, at_least, passed):
    assert Criterion('m', value, limit, at_least=at_least).passed is passed


def test_the_coarser_the_precision_the_wider_its_limits():
    for name in (item.name for item in fields(LIMITS['fp32'])):
        values = [getattr(LIMITS[precision], name) for precision in ('fp32', 'fp16', 'int8')]
        least = 'agreement' in name or 'iou' in name or name == 'same_faces'
        assert values == sorted(values, reverse=least), name


@pytest.mark.parametrize(('name', 'task', 'shape'), [
    ('blazepose_detector', 'body', (224, 224, 3)), ('blazepose', 'pose', (256, 256, 3))])
def test_posture_is_judged_by_joints_and_angles(
    pose_models, portrait, tmp_path, name, task, shape,
):
    found = collect_inputs(name, write_album(tmp_path / 'album', portrait, 36), 36)
    assert (found.task, len(found), found.inputs['image'].shape) == (task, 36, (36, *shape))
    path = pose_models / f'{name}.onnx'
    report = verify(path, path, found, backend='openvino')
    assert report.passed, report.table()
    assert 'bodies compared' in report.table()
    noise = np.random.default_rng(0)
    harmed = changed(pose_models, name, tmp_path, lambda array: array * noise.normal(
        1, 0.3, array.shape))
    report = verify(harmed, path, found.some(8))
    failed = {metric.name for metric in report.metrics if not metric.passed}
    assert failed & ({'box IoU p05'} if task == 'body' else {'key points p95', 'angle Δ p95'})


def test_pictures_without_a_body_are_no_inputs(pose_models, tmp_path):
    cv2.imwrite(str(tmp_path / 'dark.png'), np.zeros((240, 320, 3), np.uint8))
    with pytest.raises(InputError, match='0 inputs with a body found for blazepose'):
        collect_inputs('blazepose', tmp_path, 4)
