# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The emotion stage on the real fer: when it reads, what it repeats, when it cannot tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.emotion.circumplex import CIRCUMPLEX
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.errors import InputError
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import Tensors
from aitable_ros.types import Detection, EmotionEstimate, Expression, Frame, ModelInfo, TrackedFace

# The face in scikit-image's portrait: box, then right eye, left eye, nose, mouth.
BOX = np.array([172, 74, 273, 175], np.float32)
POINTS = np.array([[203, 110], [243, 108], [226, 131], [225, 149]], np.float32)

TURNED = POINTS + np.array([[0, 0], [0, 0], [32, 0], [0, 0]], np.float32)  # the nose beyond the eye


class CountingFer(OnnxRuntimeBackend):
    """fer, and how many pictures it was given in each run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, model='fer')
        self.batches: list[int] = []

    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        self.batches.append(len(inputs['image']))
        return super().infer(inputs)


def face(track_id: int = 1, box: NDArray[np.float32] = BOX,
         points: NDArray[np.float32] = POINTS) -> TrackedFace:
    return TrackedFace(track_id, Detection(box, 0.9, points), primary=True)


class Room:
    """A reader and a picture to show it at given times."""

    def __init__(self, reader: EmotionReader, backend: CountingFer, image: np.ndarray) -> None:
        self.reader = reader
        self.backend = backend
        self.image = image

    def show(self, time_s: float, *faces: TrackedFace, image: np.ndarray | None = None,
             ) -> dict[int, EmotionEstimate]:
        frame = Frame(self.image if image is None else image, round(time_s * 1e9))
        return self.reader.update(frame, faces)


@pytest.fixture
def room(models: Path, portrait: NDArray[np.uint8]) -> Iterator[Room]:
    backend = CountingFer(models / 'fer.onnx')
    # as often as six images apart, so that the tests are short
    options = EmotionOptions(interval_s=0.2, others_interval_s=0.4)
    with EmotionReader(options, backend) as reader:
        yield Room(reader, backend, portrait)


class TestReading:

    def test_the_portrait_smiles(self, room: Room) -> None:
        estimate = room.show(0, face())[1]
        assert estimate.expression is Expression.HAPPY
        assert estimate.confidence == estimate.probabilities[Expression.HAPPY] > 0.9
        assert estimate.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert estimate.probabilities[Expression.CONTEMPT] == 0  # fer does not know it
        assert (estimate.from_cache, estimate.age_s) == (False, 0)
        assert room.reader.model == ModelInfo('fer', 'onnxruntime', 'fp32')

    def test_valence_and_arousal_are_the_circumplex_of_the_probabilities(self, room: Room) -> None:
        estimate = room.show(0, face())[1]
        expected = sum(
            estimate.probabilities[name] * np.array(place) for name, place in CIRCUMPLEX.items())
        np.testing.assert_allclose((estimate.valence, estimate.arousal), expected, atol=1e-5)

    def test_a_tilted_face_reads_as_the_upright_one(self, room: Room) -> None:
        upright = room.show(0, face())[1]
        turned = cv2.getRotationMatrix2D((222, 124), 25, 1)
        image = cv2.warpAffine(room.image, turned, (512, 512))
        points = (POINTS @ turned[:, :2].T + turned[:, 2]).astype(np.float32)
        tilted = room.show(0.4, face(2, BOX, points), image=image)[2]
        np.testing.assert_allclose(tilted.probabilities, upright.probabilities, atol=0.1)

    def test_key_points_are_wanted_not_needed(self, room: Room) -> None:
        estimate = room.show(0, face(points=np.zeros((0, 2), np.float32)))[1]
        assert estimate.expression is Expression.HAPPY

    @pytest.mark.parametrize('move', [(-172, 0), (0, -74), (239, 0), (0, 337), (239, 337)])
    def test_a_face_cut_by_the_edge_of_the_image_is_read_without_error(
        self, room: Room, move: tuple[int, int],
    ) -> None:
        shift = np.array(move, np.float32)
        estimate = room.show(0, face(box=BOX + np.tile(shift, 2), points=POINTS + shift))[1]
        assert np.isfinite(estimate.probabilities).all()


class TestTime:

    def test_it_reads_at_its_interval_of_image_time_and_repeats_in_between(
        self, room: Room,
    ) -> None:
        seen = [room.show(i / 30, face())[1] for i in range(31)]
        assert [i for i, e in enumerate(seen) if not e.from_cache] == [0, 6, 12, 18, 24, 30]
        assert [round(e.age_s * 30) for e in seen[:8]] == [0, 1, 2, 3, 4, 5, 0, 1]
        assert seen[3].probabilities is seen[0].probabilities

    def test_interval_zero_reads_every_image(self, room: Room) -> None:
        room.reader.configure(EmotionOptions(interval_s=0))
        assert not any(room.show(i / 30, face())[1].from_cache for i in range(5))

    def test_all_faces_that_are_due_go_in_one_run(self, room: Room) -> None:
        room.show(0, face(1), face(2))
        room.show(0.05, face(1), face(2), face(3))  # a new face does not wait
        room.show(0.15, face(1), face(2), face(3))
        room.show(0.2, face(1), face(2), face(3))  # 3 joins: its interval is nearly over
        views = room.backend.batches[0] // 2
        assert room.backend.batches == [2 * views, views, 3 * views]

    def test_others_are_read_less_often_than_the_primary_one(self, room: Room) -> None:
        other = replace(face(2), primary=False)
        seen = [room.show(i / 30, face(), other) for i in range(25)]
        for track_id, at in ((1, [0, 6, 12, 18, 24]), (2, [0, 12, 24])):
            assert [i for i, e in enumerate(seen) if not e[track_id].from_cache] == at
        room.reader.configure(EmotionOptions(interval_s=1.0))
        assert all(e.from_cache for e in room.show(1.4, face(), other).values())

    def test_smoothing_is_in_time_so_the_frame_rate_does_not_matter(
        self, room: Room, portrait: NDArray[np.uint8],
    ) -> None:
        """A step to another face comes through to 1 - 1/e after the time constant."""
        room.reader.configure(EmotionOptions(interval_s=0, smoothing_s=0.5, min_sharpness=0))
        still = np.full_like(portrait, 90)
        before = room.show(0, face())[1].probabilities
        after: dict[int, np.ndarray] = {}
        for rate in (10, 40):
            room.reader.reset()
            room.show(0, face())
            for i in range(1, rate // 2 + 1):
                after[rate] = room.show(i / rate, face(), image=still)[1].probabilities
        room.reader.reset()
        alone = room.show(0, face(), image=still)[1].probabilities
        np.testing.assert_allclose(after[10], after[40], atol=1e-3)
        np.testing.assert_allclose(after[10], alone + (before - alone) * np.exp(-1), atol=1e-3)

    def test_after_a_gap_the_average_starts_anew(self, room: Room) -> None:
        room.reader.configure(EmotionOptions(smoothing_s=10, min_sharpness=0))
        still = np.full_like(room.image, 90)
        room.show(0, face())
        for time_s in (1, 2, 3, 4):  # in sight, but turned away
            room.show(time_s, face(points=TURNED))
        assert room.show(4.5, face(), image=still)[1].expression is not Expression.HAPPY

    def test_a_bag_played_again_starts_anew(self, room: Room) -> None:
        room.show(100, face())
        estimate = room.show(1, face())[1]
        assert (estimate.from_cache, estimate.age_s) == (False, 0)

    def test_the_same_stamp_twice_is_harmless(self, room: Room) -> None:
        first, second = room.show(1, face())[1], room.show(1, face())[1]
        assert second.expression is first.expression


class TestCannotTell:

    @pytest.mark.parametrize('case', ['small', 'turned', 'blurred', 'motion', 'outside', 'nan'])
    def test_a_face_that_cannot_be_read_is_unknown(self, room: Room, case: str) -> None:
        box, points, image = BOX, POINTS, room.image
        if case == 'small':
            image = cv2.resize(image, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
            box, points = BOX * np.float32(0.2), POINTS * np.float32(0.2)
        elif case == 'turned':
            points = TURNED
        elif case == 'blurred':
            image = cv2.GaussianBlur(image, (0, 0), 6)
        elif case == 'motion':
            image = cv2.blur(image, (40, 1))
        elif case == 'outside':
            box, points = BOX + 2000, POINTS + 2000
        else:
            points = POINTS * np.float32('nan')
        estimate = room.show(0, face(box=box, points=points), image=image)[1]
        assert estimate.expression is Expression.UNKNOWN
        assert estimate.confidence == 0
        assert not estimate.probabilities.any()
        assert np.isnan([estimate.valence, estimate.arousal]).all()
        assert room.backend.batches == []

    def test_the_last_reading_stands_in_ages_and_runs_out(self, room: Room) -> None:
        blurred = cv2.GaussianBlur(room.image, (0, 0), 6)
        room.show(0, face())
        later = room.show(3.9, face(), image=blurred)[1]
        assert (later.expression, later.from_cache) == (Expression.HAPPY, True)
        assert later.age_s == pytest.approx(3.9)
        assert room.show(4.1, face(), image=blurred)[1].expression is Expression.UNKNOWN
        again = room.show(4.2, face())[1]
        assert (again.expression, again.from_cache) == (Expression.HAPPY, False)

    def test_people_who_left_are_forgotten_and_those_who_only_looked_away_are_not(
        self, room: Room,
    ) -> None:
        room.show(0, face(1), face(2))
        for time_s in (1.0, 2.0, 3.0, 4.5):
            room.show(time_s, face(1))
        assert room.reader._people.keys() == {1}

    def test_an_image_without_faces_costs_nothing(self, room: Room) -> None:
        assert room.show(0) == {}
        assert room.backend.batches == []


class TestStage:

    def test_open_takes_the_default_and_says_what_runs(self, expression_model: str) -> None:
        with EmotionReader.open(EmotionOptions()) as reader:
            assert reader.model.model == expression_model
            assert reader.model.backend in ('openvino', 'onnxruntime')
            assert reader.attempts[0].reason == ''
        reader.close()
        assert reader.model == ModelInfo()

    def test_switched_off_it_says_nothing(self, portrait: NDArray[np.uint8]) -> None:
        with EmotionReader.open(EmotionOptions(fallbacks=('off',))) as reader:
            assert reader.update(Frame(portrait, 0), [face()]) == {}
            assert reader.model == ModelInfo()

    def test_a_model_that_reads_no_expressions_is_refused(self, models: Path) -> None:
        with pytest.raises(InputError, match='facemesh_468: not an expression model'):
            EmotionReader.open(EmotionOptions(fallbacks=('facemesh_468',)))

    def test_a_cache_shorter_than_the_interval_is_refused(self) -> None:
        with pytest.raises(InputError, match='cache_timeout_s'):
            EmotionOptions(interval_s=5, cache_timeout_s=1)

    def test_both_backends_read_the_same(self, models: Path, portrait: NDArray[np.uint8]) -> None:
        readings = []
        for backend in ('openvino', 'onnxruntime'):
            with EmotionReader.open(EmotionOptions(backend=backend)) as reader:
                readings.append(reader.update(Frame(portrait, 0), [face()])[1])
        np.testing.assert_allclose(
            readings[0].probabilities, readings[1].probabilities, atol=1e-4)

    def test_options_that_change_while_running_take_effect(self, room: Room) -> None:
        room.show(0, face())
        room.reader.configure(replace(EmotionOptions(), min_face_px=200.0))
        assert room.show(1, face())[1].from_cache
