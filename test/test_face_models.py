# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Detectors that other people exported: half precision, more scales, and what does not work."""

from __future__ import annotations

import numpy as np
import pytest

from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.graph.builder_input import make_builder_input, source_digest
from aitable_ros.engines.progress import BuildProgress
from aitable_ros.errors import InputError
from aitable_ros.face.finder import FaceFinder, FaceOptions
from aitable_ros.inference.chain import ModelKey
from aitable_ros.inference.shared_models import ModelFailure
from aitable_ros.types import Frame

SIDE = 64
IMAGE = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
BACKENDS = ('openvino', 'onnxruntime')


def write_model(path, rows=5, answers=84, dtype=np.float32, fails=False):
    """Write a model that finds one face, at (16, 16) to (48, 48), in whatever image."""
    import onnx
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    found = np.zeros((1, rows, answers), dtype)
    found[0, :5, 7] = (32, 32, 32, 32, 0.9)
    weights = {'found': found, 'zero': np.zeros(1, dtype), 'shape': np.array([1, 1, 1], np.int64)}
    nodes = [
        helper.make_node('ReduceMean', ['images'], ['mean'], axes=[1, 2, 3], keepdims=1),
        helper.make_node('Reshape', ['mean', 'shape'], ['flat']),
        helper.make_node('Mul', ['flat', 'zero'], ['nothing']),
        helper.make_node('Add', ['found', 'nothing'], ['output0'])]
    if fails:  # with anything but a black image: there is no row 1, 2, ...
        weights |= {'many': np.array([1000], dtype), 'table': np.zeros(1, dtype),
                    'one': np.array([1], np.int64)}
        nodes[2:3] = [
            helper.make_node('Mul', ['flat', 'many'], ['large']),
            helper.make_node('Cast', ['large'], ['number'], to=onnx.TensorProto.INT64),
            helper.make_node('Gather', ['table', 'number'], ['row']),
            helper.make_node('Mul', ['row', 'zero'], ['nothing'])]
    graph = helper.make_graph(
        nodes, 'detector', [helper.make_tensor_value_info('images', kind, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info('output0', kind, [1, rows, answers])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    onnx.save(model, path)
    return path


def finder(path, **options):
    return FaceFinder.open(FaceOptions(model=str(path), **options))


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(('rows', 'answers', 'dtype'), [
    (5, 84, np.float32), (5, 84, np.float16), (20, 340, np.float32), (15, 20, np.float32),
    (20, 340, np.float16)])
def test_half_precision_and_any_number_of_answers_are_read(tmp_path, backend, rows, answers, dtype):
    path = write_model(tmp_path / 'model.onnx', rows, answers, dtype)
    with finder(path, fallbacks=(), backend=backend) as found:
        assert found.model.backend == backend
        face, = found.update(Frame(IMAGE, 1))
        np.testing.assert_allclose(face.box, (16, 16, 48, 48), atol=0.1)
        assert face.detection.confidence == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize(('made', 'said'), [
    ({'rows': 7}, 'not a face detector that we know'), ({'fails': True}, 'failed')])
def test_the_chain_goes_on_whatever_the_first_model_does(models, tmp_path, made, said):
    path = write_model(tmp_path / 'model.onnx', **made)
    with finder(path, fallbacks=('blazeface_full',), backend='onnxruntime') as found:
        assert found.model.model.startswith('blazeface_full')
        assert said in found.attempts[0].reason
        assert '\n' not in found.attempts[0].reason
    with pytest.raises(InputError, match=said):
        finder(path, fallbacks=(), backend='onnxruntime')


def test_a_model_that_fails_on_every_runtime_does_not_block_the_next():
    pytest.importorskip('rclpy')
    from aitable_ros.nodes.model_keeper import ModelKeeper

    keeper = ModelKeeper(None, None, options=None, open_stage=None, rehearse=None)
    runtimes = [('mine', 'openvino'), ('mine', 'onnxruntime'), ('next', 'openvino')]

    def make(avoid):
        entry, runtime = next(one for one in runtimes if one not in avoid)
        if entry == 'mine':
            raise ModelFailure(
                ModelKey(entry, runtime, ('', 0, 0), 'auto', 0, 1), 'fails on an image')
        return entry

    assert keeper._walk(make) == 'next'


def with_external_data(folder):
    import onnx

    folder.mkdir()
    model = onnx.load(write_model(folder / 'plain.onnx', answers=500))
    onnx.save(model, folder / 'model.onnx', save_as_external_data=True, location='model.data',
              size_threshold=100)
    (folder / 'plain.onnx').unlink()
    return folder / 'model.onnx'


def test_weights_in_a_file_beside_the_model_are_found_and_part_of_its_hash(tmp_path, monkeypatch):
    path = with_external_data(tmp_path / 'models')
    monkeypatch.chdir(tmp_path)
    before = source_digest(path)
    ready = make_builder_input(path, BuildOptions(), (10, 0), BuildProgress())
    assert ready.source_sha256 == before
    assert len(ready.content) > 500 * 5 * 4  # the weights are in it
    data = path.with_name('model.data')
    changed = bytearray(data.read_bytes())
    changed[8] ^= 1
    data.write_bytes(changed)
    assert source_digest(path) != before
    data.unlink()
    with pytest.raises(InputError, match=r'cannot read .*model\.data, which holds weights of'):
        make_builder_input(path, BuildOptions(), (10, 0), BuildProgress())
