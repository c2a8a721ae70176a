# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""EmoNet against its written spec; what needs PyTorch is skipped, with the reason, without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aitable_ros.emotion.emonet import crop
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.inference.chain import resolve
from aitable_ros.inference.protocol import BackendError
from aitable_ros.types import Detection, Expression, Frame, TrackedFace

KEYS = Path(__file__).parent / 'data' / 'emonet_state_dict_keys.txt'


@pytest.fixture(scope='module')
def torch() -> Any:
    return pytest.importorskip('torch', reason='PyTorch is not installed here')


def seeded(torch: Any, expressions: int = 8) -> Any:
    """An EmoNet whose activations stay of the order of one, so that differences mean something."""
    from aitable_ros.inference.emonet_network import build

    torch.manual_seed(0)
    network = build(expressions)
    for name, value in network.named_buffers():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5)
        elif name.endswith('running_mean'):
            value.normal_(0, 0.1)
    return network


@pytest.fixture(scope='module')
def network(torch: Any) -> Any:
    return seeded(torch)


@pytest.fixture(scope='module')
def checkpoint(torch: Any, network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp('emonet') / 'emonet_8.pth'
    torch.save({f'module.{key}': value for key, value in network.state_dict().items()}, path)
    return path


class TestNetwork:

    def test_keys_and_shapes_are_the_official_checkpoints(self, network: Any) -> None:
        written = dict(
            line.split('\t') for line in KEYS.read_text(encoding='ascii').splitlines())
        ours = {key: str(tuple(value.shape)) for key, value in network.state_dict().items()}
        assert len(written) == 682
        assert ours == written

    def test_parameters_and_work_are_the_papers(self, torch: Any, network: Any) -> None:
        from torch.utils.flop_counter import FlopCounterMode

        assert sum(value.numel() for value in network.parameters()) == 13_963_410
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, 256, 256))
        assert counter.get_total_flops() / 1e9 == pytest.approx(33.9, abs=0.05)

    @pytest.mark.parametrize('expressions', [8, 5])
    def test_a_checkpoint_comes_back_as_it_was(
        self, torch: Any, tmp_path: Path, expressions: int,
    ) -> None:
        from aitable_ros.inference.emonet_network import load_checkpoint

        original = seeded(torch, expressions)
        torch.save(original.state_dict(), tmp_path / 'c.pth')
        loaded = load_checkpoint(tmp_path / 'c.pth')
        assert loaded.expressions == expressions
        assert not loaded.training
        for key, value in original.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)

    @pytest.mark.parametrize(('damage', 'says'), [
        ('missing', 'lacks conv1.bias'),
        ('extra', 'has unknown conv9.weight'),
        ('shape', 'bn1.weight is [3], not [64]'),
        ('head', '10 or 7'),
        ('other', 'lacks conv1.weight, conv1.bias, bn1.weight, bn1.bias, bn1.running_mean and'),
        ('list', 'not a state dict'),
        ('code', 'not a PyTorch checkpoint of plain weights'),
        ('text', 'not a PyTorch checkpoint of plain weights'),
        ('half', 'not a PyTorch checkpoint of plain weights'),
        ('opcode', 'not a PyTorch checkpoint of plain weights'),
        ('empty', 'not a PyTorch checkpoint of plain weights'),
    ])
    def test_a_wrong_checkpoint_says_in_a_line_what_differs(
        self, torch: Any, network: Any, checkpoint: Path, tmp_path: Path, damage: str, says: str,
    ) -> None:
        from aitable_ros.inference.emonet_network import load_checkpoint

        path = tmp_path / 'wrong.pth'
        state = dict(network.state_dict())
        if damage == 'missing':
            del state['conv1.bias']
        elif damage == 'extra':
            state['conv9.weight'] = torch.zeros(1)
        elif damage == 'shape':
            state['bn1.weight'] = torch.zeros(3)
        elif damage == 'head':
            state['emo_fc_2.3.bias'] = torch.zeros(4)
        elif damage == 'other':
            state = {'layer.weight': torch.zeros(1)}
        torch.save(state, path)
        if damage == 'list':
            torch.save([torch.zeros(1)], path)
        elif damage == 'code':
            torch.save({'conv1.weight': Planted(tmp_path / 'ran')}, path)
        elif damage == 'text':
            path.write_text('<html>404</html>')
        elif damage == 'half':
            path.write_bytes(checkpoint.read_bytes()[:1_000_000])
        elif damage == 'opcode':
            path.write_bytes(b'\x80\x02.')  # takes from a stack with nothing on it
        elif damage == 'empty':
            path.write_bytes(b'')
        with pytest.raises(BackendError) as error:
            load_checkpoint(path)
        assert says in str(error.value)
        assert '\n' not in str(error.value)
        assert 'weights_only' not in str(error.value), 'that would run it'
        assert not (tmp_path / 'ran').exists(), 'the checkpoint ran code'


class Planted:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class TestBackends:

    def test_the_checkpoint_runs_on_pytorch_as_the_named_fallback(
        self, network: Any, checkpoint: Path, torch: Any,
    ) -> None:
        image = np.random.default_rng(7).uniform(0, 1, (1, 3, 256, 256)).astype(np.float32)
        resolution = resolve(EmotionOptions(
            model='/nowhere/emonet.engine', fallbacks=(str(checkpoint),)))
        assert resolution.backend is not None
        with resolution.backend as backend:
            assert (backend.name, backend.precision) == ('torch', 'fp32')
            assert [spec.shape for spec in backend.outputs] == [(None, 8), (None,), (None,)]
            out = backend.infer({'image': image})
        with torch.inference_mode():
            wanted = network(torch.from_numpy(image))
        np.testing.assert_allclose(out['expression'], wanted[0].numpy(), atol=1e-5)
        with pytest.raises(BackendError, match='closed'):
            backend.infer({'image': image})


def stand_in(path: Path, classes: int, valence: float) -> Path:
    """Write a model with EmoNet's inputs and outputs: class k is how bright channel k % 3 is."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed here')
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    mix = np.zeros((3, classes), np.float32)
    mix[[0, 1, 2], [1, 2, 3]] = 20
    constants = {'mix': mix, 'v': np.full((3, 1), valence, np.float32), 'one': np.array([1])}
    graph = onnx.helper.make_graph(
        [node('ReduceMean', ['image'], ['mean'], axes=[2, 3], keepdims=0),
         node('MatMul', ['mean', 'mix'], ['expression']),
         node('MatMul', ['mean', 'v'], ['v2']), node('Squeeze', ['v2', 'one'], ['valence']),
         node('Neg', ['valence'], ['arousal'])],
        'emonet', [info('image', 1, ['N', 3, 256, 256])],
        [info('expression', 1, ['N', classes]), info('valence', 1, ['N']),
         info('arousal', 1, ['N'])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


class TestPictures:

    @pytest.mark.parametrize('classes', [8, 5])
    def test_colours_classes_and_clamped_valence_arrive_where_they_belong(
        self, tmp_path: Path, classes: int,
    ) -> None:
        path = stand_in(tmp_path / f'emonet_{classes}.onnx', classes, valence=3.0)
        image = np.zeros((100, 300, 3), np.uint8)
        image[:, :100, 0], image[:, 100:200, 1], image[:, 200:, 2] = 255, 255, 255
        faces = [
            TrackedFace(i, Detection(np.array([100 * i + 25, 25, 100 * i + 75, 75], 'f4'), 1.0))
            for i in range(3)]
        options = EmotionOptions(model=str(path), min_sharpness=0.0)
        with EmotionReader.open(options) as reader:
            estimates = reader.update(Frame(image, 0), faces)
        assert [estimates[i].expression for i in range(3)] == [
            Expression.HAPPY, Expression.SAD, Expression.SURPRISE]
        assert [(e.valence, e.arousal) for e in estimates.values()] == [(1, -1)] * 3
        assert all(e.probabilities.shape == (8,) for e in estimates.values())

    def test_the_crop_is_the_square_of_the_spec(self) -> None:
        """Side (w + h) / 1.1 around the centre of the box, black beyond the image."""
        image = np.zeros((400, 400, 3), np.uint8)
        image[150:250, 100:300] = (255, 128, 0)
        out = crop(image, np.array([100, 150, 300, 250], np.float32)) / 255
        side = 300 / 1.1
        inside = out[..., 0] > 0.5
        assert inside.sum() == pytest.approx(200 * 100 / side ** 2 * 256 ** 2, rel=0.01)
        rows, columns = np.nonzero(inside)
        assert (rows.mean(), columns.mean()) == pytest.approx((127.5, 127.5), abs=0.3)
        np.testing.assert_allclose(out[128, 128], (1, 128 / 255, 0), atol=1e-6)
        corner = crop(image, np.array([-100, -100, 100, 100], np.float32))
        assert not corner[:100, :100].any()
