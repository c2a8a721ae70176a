# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""fer and faceexpress averaged, what becomes of their doubts, and a person's own resting face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.emotion.averaged import Averaged, SURE
from aitable_ros.emotion.circumplex import affect
from aitable_ros.emotion.faceexpress import CLASS_ORDER, crop, SIZE
from aitable_ros.emotion.fer import CLASS_ORDER as FER_ORDER
from aitable_ros.emotion.model import model_for
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.emotion.reading import Reading
from aitable_ros.emotion.resting_face import LEAD, RestingFace
from aitable_ros.engines.stage_backends import ReplayBackend
from aitable_ros.errors import InputError
from aitable_ros.inference.joined_models import JoinedModels
from aitable_ros.inference.protocol import BackendError, TensorSpec
from aitable_ros.pipeline import Pipeline
from aitable_ros.recordings.readers import open_source
from aitable_ros.types import Detection, Expression, Frame, TrackedFace

BOX = np.array([172, 74, 273, 175], np.float32)
POINTS = np.array([[203, 110], [243, 108], [226, 131], [225, 149]], np.float32)
Pair = tuple[ReplayBackend, ReplayBackend]
FACE = TrackedFace(1, Detection(BOX, 0.9, POINTS), primary=True)
NEUTRAL, HAPPY, SAD, FEAR = (
    Expression.NEUTRAL, Expression.HAPPY, Expression.SAD, Expression.FEAR)


def canned(order: tuple[Expression, ...], shape: tuple[int, ...], name: str) -> ReplayBackend:
    dtype = np.dtype(np.float32)
    backend = ReplayBackend(name, (TensorSpec('image', (None, *shape), dtype),),
                     (TensorSpec('probs', (None, 7), dtype),))
    backend.order = order  # type: ignore[attr-defined]
    return backend


def say(backend: ReplayBackend, words: dict[Expression, float]) -> None:
    """Let a model give these probabilities, the rest shared by the other words."""
    rest = (1 - sum(words.values())) / (7 - len(words))
    backend.answer = {'probs': np.array(
        [[words.get(word, rest) for word in backend.order]],  # type: ignore[attr-defined]
        np.float32)}


@pytest.fixture
def pair() -> Pair:
    return (canned(FER_ORDER, (1, 64, 64), 'fer'),
            canned(CLASS_ORDER, (3, SIZE, SIZE), 'faceexpress'))


@pytest.fixture
def reader(pair: Pair) -> Iterator[EmotionReader]:
    options = EmotionOptions(min_sharpness=0.0, interval_s=0.0)
    with EmotionReader(options, JoinedModels(pair)) as opened:
        yield opened


@pytest.fixture(scope='module')
def pipeline(faceexpress: Path) -> Iterator[Pipeline]:
    with Pipeline() as opened:
        yield opened


class TestAverage:

    def test_what_both_say_is_said_and_what_one_rules_out_is_not(
        self, pair: Pair, portrait: NDArray[np.uint8],
    ) -> None:
        say(pair[0], {HAPPY: 0.6, SAD: 0.35})
        say(pair[1], {HAPPY: 0.6, SAD: 1e-6})
        reading = Averaged(*pair).read(portrait, [FACE])[0]
        assert reading.expression is HAPPY
        assert reading.probabilities[HAPPY] > 0.7
        assert reading.probabilities[SAD] < 0.01
        assert reading.probabilities.sum() == pytest.approx(1)
        assert reading.probabilities[Expression.CONTEMPT] == 0  # neither knows it
        assert (reading.valence, reading.arousal) == affect(reading.probabilities)
        assert reading.doubt == 0

    def test_two_words_neither_of_them_likely_are_a_doubt(
        self, pair: Pair, portrait: NDArray[np.uint8],
    ) -> None:
        say(pair[0], {SAD: 0.35, NEUTRAL: 0.25})
        say(pair[1], {NEUTRAL: 0.1, Expression.ANGER: 0.4})
        doubtful = Averaged(*pair).read(portrait, [FACE])[0]
        assert doubtful.probabilities.max() < SURE
        assert doubtful.doubt == 1
        say(pair[1], {Expression.ANGER: 0.99})  # one is sure
        assert Averaged(*pair).read(portrait, [FACE])[0].doubt == 0

    def test_only_these_two_belong_together(self, pair: Pair) -> None:
        with pytest.raises(InputError, match=r'fer\+fer: only fer and faceexpress can be averaged'):
            model_for(JoinedModels([pair[0], pair[0]]))
        assert isinstance(model_for(JoinedModels(pair[::-1])), Averaged)

    def test_the_crop_is_level_and_as_large_as_the_card_says(
        self, portrait: NDArray[np.uint8],
    ) -> None:
        shown = crop(portrait, FACE.detection)
        assert shown.shape == (112, 112, 3)
        assert shown.dtype == np.uint8


class TestJoined:

    def test_inputs_and_outputs_go_by_model(self, pair: Pair) -> None:
        say(pair[0], {HAPPY: 0.9})
        say(pair[1], {SAD: 0.9})
        with JoinedModels(pair) as joined:
            assert joined.model == 'fer+faceexpress'
            assert (joined.name, joined.precision, joined.device) == ('replay', 'fp32', 'none')
            inputs = {spec.name: np.zeros((1, *spec.shape[1:]), np.float32)
                      for spec in joined.inputs}
            assert set(inputs) == {'fer/image', 'faceexpress/image'}
            out = joined.infer(inputs)
            assert out['fer/probs'].max() == out['faceexpress/probs'].max() == np.float32(0.9)
            with pytest.raises(BackendError, match='takes inputs'):
                joined.infer({'image': inputs['fer/image']})


class TestDoubt:

    def test_a_contradiction_that_lasts_is_unknown_and_a_passing_one_is_not(
        self, pair: Pair, reader: EmotionReader, portrait: NDArray[np.uint8],
    ) -> None:
        def look(time_s: float) -> Expression:
            return reader.update(Frame(portrait, round(time_s * 1e9)), [FACE])[1].expression

        for model in pair:
            say(model, {HAPPY: 0.9})
        assert look(0) is HAPPY
        say(pair[0], {SAD: 0.35, NEUTRAL: 0.25})
        say(pair[1], {NEUTRAL: 0.1, Expression.ANGER: 0.4})
        assert look(0.2) is HAPPY
        seen = [look(0.4 + 0.2 * step) for step in range(10)]
        assert seen[-1] is Expression.UNKNOWN
        last = reader.update(Frame(portrait, 10 ** 10), [FACE])[1]
        assert last.confidence == 0
        assert last.probabilities.sum() == pytest.approx(1)  # they can be looked at all the same


class TestRest:

    def test_a_sad_resting_face_becomes_neutral_and_a_laugh_stays_a_laugh(
        self, pair: Pair, reader: EmotionReader, portrait: NDArray[np.uint8],
    ) -> None:
        def look(time_s: float) -> tuple[Expression, float]:
            seen = reader.update(Frame(portrait, round(time_s * 1e9)), [FACE])[1]
            return seen.expression, seen.valence

        for model in pair:
            say(model, {SAD: 0.6, NEUTRAL: 0.3})
        assert look(0)[0] is SAD
        assert reader.calibrate() == {1: SAD}
        assert look(0.1) == (NEUTRAL, pytest.approx(0, abs=1e-3))
        for model in pair:
            say(model, {HAPPY: 0.8})
        reader.reset()
        assert look(0)[0] is HAPPY

    def test_a_rival_word_is_made_rarer_and_no_other_is(self) -> None:
        row = np.array([0.3, 0.02, 0.5, 0.02, 0.02, 0.02, 0.12, 0], np.float32)
        rest = RestingFace.of(Reading(row, -0.4, 0.1))
        seen = rest.applied(Reading(row, -0.4, 0.1))
        assert seen.probabilities[NEUTRAL] == pytest.approx(
            LEAD * seen.probabilities[SAD], rel=1e-4)
        assert rest.factors[HAPPY] == rest.factors[Expression.SURPRISE] == 1
        assert (seen.valence, seen.arousal) == (0, 0)
        assert rest.applied(Reading(row, 0.9, -1.0)).valence == 1

    @pytest.mark.parametrize('word', [HAPPY, Expression.SURPRISE])
    def test_a_laugh_is_no_resting_face(
        self, word: Expression, pair: Pair, reader: EmotionReader,
        portrait: NDArray[np.uint8],
    ) -> None:
        for model in pair:
            say(model, {word: 0.9})
        reader.update(Frame(portrait, 0), [FACE])
        with pytest.raises(InputError, match=f'person 1: the face is read as {word.name.lower()}'):
            reader.calibrate()

    def test_nobody_to_calibrate_is_said(self, reader: EmotionReader) -> None:
        with pytest.raises(InputError, match='nobody is seen'):
            reader.calibrate()

    def test_another_model_does_not_take_over_what_this_one_saw(
        self, pair: Pair, reader: EmotionReader, portrait: NDArray[np.uint8],
    ) -> None:
        for model in pair:
            say(model, {SAD: 0.6, NEUTRAL: 0.3})
        reader.update(Frame(portrait, 0), [FACE])
        reader.calibrate()
        with EmotionReader(reader.options, pair[0]) as other:
            reader.adopt(other)
        assert reader.update(Frame(portrait, 10 ** 9), [FACE])[1].expression is SAD


class TestRealModels:

    def test_the_portrait_smiles_and_what_ran_is_named(
        self, pipeline: Pipeline, portrait: NDArray[np.uint8],
    ) -> None:
        pipeline.reset()
        result = pipeline.process(portrait, 0)
        assert result.models['emotion'].model == 'fer+faceexpress'
        assert result.models['emotion'].precision == 'fp32'
        assert result.primary is not None
        assert result.primary.emotion is not None
        assert result.primary.emotion.expression is HAPPY
        assert result.primary.emotion.confidence > 0.95

    def test_labelled_pictures_are_read_better_than_by_fer(
        self, pipeline: Pipeline, shared_data: Path, capsys: pytest.CaptureFixture[str],
    ) -> None:
        with (shared_data / 'image' / 'labels.csv').open(encoding='utf-8') as file:
            labels = {row['file']: row['expression'] for row in csv.DictReader(file)}
        source = open_source(shared_data / 'image')
        wrong: Counter[tuple[str, str]] = Counter()
        for name, frame in zip(source.names, source):
            pipeline.reset()
            primary = pipeline.process_frame(frame).primary
            assert primary is not None
            assert primary.emotion is not None
            word = primary.emotion.expression.name.lower()
            if word != labels[name]:
                wrong[labels[name], word] += 1
        right = 1 - wrong.total() / len(labels)
        with capsys.disabled():
            print(f'\nfer+faceexpress on {len(labels)} pictures: {right:.3f} right; taken for '
                  f'another: {dict(wrong)}')
        assert right >= 0.88

    @pytest.mark.parametrize(('clip', 'word', 'least', 'most'), [
        ('webcam_glasses_15fps.avi', NEUTRAL, 0.9, 1.0), ('talking_woman.mp4', FEAR, 0.0, 0.05),
        ('katiehill_talk.mp4', FEAR, 0.0, 0.05), ('vr_woman_talk.mp4', FEAR, 0.0, 0.05),
        ('noblink_22s.mp4', FEAR, 0.0, 0.05)])
    def test_a_resting_face_is_neutral_and_speech_is_not_fear(
        self, clip: str, word: Expression, least: float, most: float, pipeline: Pipeline,
        shared_data: Path,
    ) -> None:
        pipeline.reset()
        seen: Counter[Expression] = Counter()
        for number, frame in enumerate(open_source(shared_data / 'video' / clip)):
            if frame.stamp_ns > 25 * 10 ** 9:
                break
            if number % 6:  # some 5 images a second: a reading is due at every other one
                continue
            primary = pipeline.process_frame(frame).primary
            if primary is not None and primary.emotion is not None:
                seen[primary.emotion.expression] += 1
        assert seen.total() > 30
        assert least <= seen[word] / seen.total() <= most, seen


def test_of_the_pair_the_one_that_is_there_runs_and_the_other_is_named(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / 'fer.onnx').symlink_to(models / 'fer.onnx')
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))
    with EmotionReader.open(replace(EmotionOptions(), backend='onnxruntime')) as reader:
        assert reader.model.model == 'fer'
        told = {attempt.entry: attempt.reason for attempt in reader.attempts}
    assert told['fer'] == ''
    assert told['faceexpress'].endswith('run `aitable models fetch faceexpress`')
