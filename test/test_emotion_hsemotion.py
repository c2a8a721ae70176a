# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
EmotiEffLib's networks: crop, class order, outputs, and the way through build and chain.

Their weights are the user's own download and not to be had here: EfficientNet-B0 with seeded
weights, of the same layers and parameters, stands in for them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
from efficientnet_seeded import build
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.cli import main
from aitable_ros.emotion.circumplex import affect
from aitable_ros.emotion.hsemotion import HsEmotion
from aitable_ros.emotion.model import model_for
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.engines.stage_backends import ReplayBackend
from aitable_ros.inference import sidecar
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import TensorSpec
from aitable_ros.types import Detection, Expression, Frame, TrackedFace

BOX = np.array([172, 74, 273, 175], np.float32)
POINTS = np.array([[203, 110], [243, 108], [226, 131], [225, 149]], np.float32)
SIZES = {'hsemotion_b0': (224, 10), 'hsemotion_mbf': (112, 10), 'hsemotion_b2': (260, 8)}
NARROW = 8
"""One channel in so many does where only the graph counts."""
UPSTREAM = {0: 'anger', 1: 'contempt', 2: 'disgust', 3: 'fear', 4: 'happy', 5: 'neutral', 6: 'sad',
            7: 'surprise'}


@pytest.fixture(params=SIZES)
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model home with one of the networks in it, where its download would lie."""
    size, outputs = SIZES[request.param]
    (tmp_path / f'{request.param}.onnx').write_bytes(build(outputs, size, NARROW)[0])
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))
    return tmp_path


def test_the_stand_in_has_efficientnet_b0s_parameters() -> None:
    # torchvision 0.17: 4,020,358 with ten outputs; folding takes a scale off 21,008 channels
    assert build()[1] == 4_020_358 - 21_008


def canned(size: int, row: list[float]) -> ReplayBackend:
    dtype = np.dtype(np.float32)
    backend = ReplayBackend('x', (TensorSpec('input', (None, 3, size, size), dtype),),
                     (TensorSpec('output', (None, len(row)), dtype),))
    backend.answer = {'output': np.array([row], np.float32)}
    return backend


@pytest.mark.parametrize('index', UPSTREAM)
def test_classes_are_in_upstreams_order(index: int, portrait: NDArray[np.uint8]) -> None:
    logits = [5.0 if place == index else 0.0 for place in range(8)]
    reading = HsEmotion(canned(224, [*logits, 0.25, -1.5])).read(
        portrait, [TrackedFace(1, Detection(BOX, 1.0))])[0]
    assert reading.expression is Expression[UPSTREAM[index].upper()]
    assert reading.probabilities.sum() == pytest.approx(1)
    assert reading.probabilities.max() == pytest.approx(np.exp(5) / (np.exp(5) + 7), rel=1e-5)
    assert (reading.valence, reading.arousal) == (0.25, -1)  # as measured, within their range


def test_without_valence_and_arousal_they_are_derived(portrait: NDArray[np.uint8]) -> None:
    reading = HsEmotion(canned(260, [0, 0, 0, 0, 3, 0, 0, 0])).read(
        portrait, [TrackedFace(1, Detection(BOX, 1.0))])[0]
    assert (reading.valence, reading.arousal) == affect(reading.probabilities)
    assert reading.valence > 0.5


@pytest.mark.parametrize('name', SIZES)
def test_a_box_goes_in_as_upstream_puts_it_in(
    name: str, portrait: NDArray[np.uint8], tmp_path: Path,
) -> None:
    """Upstream's ``_preprocess`` on ``frame[y1:y2, x1:x2]``, in its own words."""
    size, outputs = SIZES[name]
    (tmp_path / 'x.onnx').write_bytes(build(outputs, size, NARROW)[0])
    mean, std = ([0.5] * 3, [0.5] * 3) if name.endswith('mbf') else (
        [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with OnnxRuntimeBackend(tmp_path / 'x.onnx') as backend:
        x = cv2.resize(portrait[74:175, 172:273], (size, size)) / 255
        for i in range(3):
            x[..., i] = (x[..., i] - mean[i]) / std[i]
        x = x.transpose(2, 0, 1).astype('float32')[np.newaxis, ...]
        logits = backend.infer({'input': x})['output'][0]
        model = model_for(backend)
        reading = model.read(portrait, [TrackedFace(1, Detection(BOX, 1.0))])[0]
    assert isinstance(model, HsEmotion)
    weights = np.exp(logits[:8] - logits[:8].max())
    wanted = dict(zip(UPSTREAM.values(), weights / weights.sum()))
    for word, value in wanted.items():
        assert reading.probabilities[Expression[word.upper()]] == pytest.approx(value, abs=1e-4)
    if outputs == 10:
        assert (reading.valence, reading.arousal) == pytest.approx(
            np.clip(logits[8:], -1, 1), abs=1e-3)


def test_the_box_follows_the_key_points_not_the_detector(portrait: NDArray[np.uint8]) -> None:
    seen = []

    class Noting(ReplayBackend):

        def infer(self, inputs: object) -> dict[str, NDArray[np.float32]]:
            seen.append(inputs['input'].copy())  # type: ignore[index]
            return super().infer(inputs)  # type: ignore[arg-type]

    backend = canned(224, [0.0] * 10)
    noting = Noting('x', backend.inputs, backend.outputs)
    noting.answer = backend.answer
    for box in (BOX, BOX + 40):
        HsEmotion(noting).read(portrait, [TrackedFace(1, Detection(box, 1.0, POINTS))])
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize('move', [(-172, 0), (0, -150), (400, 0), (9000, 9000), (-9000, -9000)])
def test_a_face_beyond_the_edge_breaks_nothing(
    move: tuple[int, int], portrait: NDArray[np.uint8],
) -> None:
    shift = np.array(move, np.float32)
    face = TrackedFace(1, Detection(BOX + np.tile(shift, 2), 1.0, POINTS + shift))
    reading = HsEmotion(canned(224, [0.0] * 10)).read(portrait, [face])[0]
    assert np.isfinite(reading.probabilities).all()


def test_a_chain_runs_it_by_its_name_a_batch_at_a_time(
    home: Path, portrait: NDArray[np.uint8],
) -> None:
    name = next(home.glob('*.onnx')).stem
    with EmotionReader.open(EmotionOptions(model=name)) as reader:
        assert reader.model.model == name
        faces = [TrackedFace(number, Detection(BOX + 5 * number, 1.0)) for number in (1, 2, 3)]
        together = reader.update(Frame(portrait, 0), faces)
        reader.reset()
        for face in faces:
            alone = reader.update(Frame(portrait, 0), [face])[face.track_id]
            np.testing.assert_allclose(
                together[face.track_id].probabilities, alone.probabilities, atol=1e-4)
            reader.reset()


@pytest.mark.parametrize('tensorrt', ['8.6.0'], indirect=True)
def test_an_engine_is_built_verified_and_read(
    tensorrt: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path,
    portrait: NDArray[np.uint8], capsys: pytest.CaptureFixture[str], models: Path,
) -> None:
    for file in models.glob('*.onnx'):
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / 'hsemotion_mbf.onnx').write_bytes(build(10, 112, NARROW)[0])
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))
    assert main(['models', 'build', 'hsemotion_mbf', '--precision', 'fp16']) == 0
    engine = tmp_path / 'hsemotion_mbf_fp16.engine'
    record = sidecar.read(engine)
    assert record is not None
    assert (record.model, record.precision) == ('hsemotion_mbf', 'fp16')
    capsys.readouterr()
    status = main(['models', 'verify', str(engine), str(shared_data / 'image'),
                   '--reference', 'hsemotion_mbf'])
    told = capsys.readouterr().out
    assert 'expression agreement' in told
    assert 'valence' in told
    assert status in (0, 1)  # 17 pictures may be too few to tell, and random weights are no face's
    face = TrackedFace(1, Detection(BOX, 1.0, POINTS))
    wanted, got = (
        EmotionReader.open(EmotionOptions(model=entry)).update(Frame(portrait, 0), [face])[1]
        for entry in ('hsemotion_mbf', engine.name))
    np.testing.assert_allclose(got.probabilities, wanted.probabilities, atol=2e-2)
    assert got.valence == pytest.approx(wanted.valence, abs=2e-2)
