# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Work out the figures of docs/expression.md: ``python benchmarks/expression.py DATA``.

DATA holds ``image/`` with ``labels.csv`` and ``video/``. Nothing here is written anywhere but to
the standard output. A person counts once, however many pictures or images show that person.
"""

from __future__ import annotations

from collections import Counter, defaultdict
import csv
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
import sys

import cv2
import numpy as np

from aitable_ros.emotion.averaged import Averaged, SURE
from aitable_ros.emotion.faceexpress import FaceExpress
from aitable_ros.emotion.fer import Fer
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.emotion.reading import log_mean, tempered
from aitable_ros.inference.chain import resolve
from aitable_ros.pipeline import Pipeline
from aitable_ros.recordings.readers import open_source
from aitable_ros.types import Detection, Expression, TrackedFace

SAME = {'happy_02.jpg': 'happy_01.jpg'}
"""Pictures that show the same person."""
SPANS = {  # clip, first and last image, word: what its label or its description says
    'webcam_glasses_30fps.avi': ('glasses', [(0, 10 ** 9, 'neutral')]),
    'webcam_glasses_15fps.avi': ('glasses', [(0, 10 ** 9, 'neutral')]),
    'neutral_to_smile.mp4': ('smile', [(0, 14, 'neutral'), (24, 71, 'happy')]),
    'posed_expressions.mp4': ('posed', [(120, 165, 'anger'), (304, 353, 'surprise')]),
    'laugh_dark.mp4': ('laugh', [(200, 390, 'happy')]),
}
COPIES = 48
CHANGES = ('points', 'dark', 'noise', 'small', 'blur', 'turn')
CLASSES = 7
BANDS = (0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.01)


@dataclass(frozen=True)
class Answer:
    """What each model says of one picture."""

    person: str
    change: str
    label: int
    fer: np.ndarray
    fer_alone: np.ndarray
    faceexpress: np.ndarray


class Models:
    """The models as they run, and what each says before averaging."""

    def __init__(self) -> None:
        fer, faceexpress = (resolve(EmotionOptions(fallbacks=(name,))).backend
                            for name in ('fer', 'faceexpress'))
        self.pair = Averaged(fer, faceexpress)
        self.parts = (*self.pair._models, Fer(fer), FaceExpress(faceexpress))

    def ask(self, person: str, change: str, label: int, image: np.ndarray, found: Detection,
            ) -> Answer:
        """Read one face with each."""
        fer, faceexpress, alone, _ = (
            model.read(image, [TrackedFace(1, found)])[0].probabilities for model in self.parts)
        return Answer(person, change, label, fer, alone, faceexpress)


def changed(image: np.ndarray, found: Detection, change: str, random: np.random.Generator,
            ) -> tuple[np.ndarray, Detection]:
    """Return a picture as a worse camera or a less exact detector gives it."""
    between = float(np.hypot(*(found.keypoints[1] - found.keypoints[0])))
    points = found.keypoints + random.normal(0, 0.05 * between, found.keypoints.shape)
    pixels = image.astype(np.float32)
    if change == 'dark':
        pixels = pixels * random.uniform(0.25, 0.6)
    if change == 'noise':
        pixels = pixels + random.normal(0, random.uniform(8, 25), pixels.shape)
    if change == 'blur':
        pixels = cv2.GaussianBlur(pixels, (0, 0), between * random.uniform(0.02, 0.07))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    if change == 'small':
        scale = random.uniform(14, 24) / between
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        points = points * scale
    if change == 'turn':
        centre = tuple(map(float, found.keypoints.mean(axis=0)))
        turn = cv2.getRotationMatrix2D(centre, random.uniform(-20, 20), 1)
        pixels = cv2.warpAffine(
            pixels, turn, pixels.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        points = points @ turn[:, :2].T + turn[:, 2]
    return pixels, Detection(found.box, found.confidence, points.astype(np.float32))


def pictures(data: Path, models: Models, pipeline: Pipeline) -> list[Answer]:
    """Ask about every labelled picture and its changed copies."""
    with (data / 'image' / 'labels.csv').open(encoding='utf-8') as file:
        labels = {row['file']: Expression[row['expression'].upper()]
                  for row in csv.DictReader(file)}
    random, found = np.random.default_rng(20), []
    source = open_source(data / 'image')
    for name, frame in zip(source.names, source):
        pipeline.reset()
        primary = pipeline.process_frame(frame).primary
        assert primary is not None, name
        at, person = primary.face.detection, SAME.get(name, name)
        found.append(models.ask(person, '', labels[name], frame.image, at))
        for copy in range(COPIES):
            change = CHANGES[copy % len(CHANGES)]
            found.append(models.ask(
                person, change, labels[name], *changed(frame.image, at, change, random)))
    return found


def clips(data: Path, models: Models, pipeline: Pipeline) -> list[Answer]:
    """Print the share of each word in each clip; return what is said where a label says more."""
    answers = []
    print('\n| clip | model | ' + ' | '.join(word.name.lower() for word in Expression) + ' |')
    print('|---|---|' + '---|' * len(Expression))
    for path in sorted((data / 'video').iterdir()):
        person, spans = SPANS.get(path.name, ('', []))
        seen: dict[str, Counter[Expression]] = defaultdict(Counter)
        pipeline.reset()
        asked_ns = -10 ** 9
        with EmotionReader.open(EmotionOptions(fallbacks=('fer',))) as before:
            for number, frame in enumerate(open_source(path)):
                result = pipeline.process_frame(frame)
                primary = result.primary
                if primary is None or primary.emotion is None:
                    continue
                seen['pair'][primary.emotion.expression] += 1
                faces = [primary.face]
                seen['fer'][before.update(frame, faces)[primary.face.track_id].expression] += 1
                words = [word for first, last, word in spans if first <= number <= last]
                if words and frame.stamp_ns - asked_ns >= 2 * 10 ** 8:
                    asked_ns = frame.stamp_ns
                    answers.append(models.ask(
                        person, path.stem, Expression[words[0].upper()], frame.image,
                        primary.face.detection))
        for model, counts in seen.items():
            total = max(counts.total(), 1)
            shares = (f'{counts[word] / total:.2f}' if counts[word] else '' for word in Expression)
            print(f'| {path.stem} | {model} | ' + ' | '.join(shares) + ' |', flush=True)
    return answers


class Judged:
    """Answers, with each person counting once."""

    def __init__(self, answers: list[Answer]) -> None:
        self.people = np.array([answer.person for answer in answers])
        self.labels = np.array([answer.label for answer in answers])
        self.weights = np.array([1 / (self.people == person).sum() for person in self.people])
        self.weights /= self.weights.sum()

    def right(self, probabilities: np.ndarray, of: np.ndarray | None = None) -> float:
        """Return the share of right words."""
        chosen = np.ones(len(self.labels), bool) if of is None else of
        return float(np.average(
            probabilities.argmax(axis=1)[chosen] == self.labels[chosen],
            weights=self.weights[chosen]))

    def loss(self, probabilities: np.ndarray, temperature: float, of: np.ndarray) -> float:
        """Return the mean negative log likelihood."""
        told = tempered(probabilities + 1e-9, temperature)[np.arange(len(self.labels)), self.labels]
        return float(np.average(-np.log(told[of]), weights=self.weights[of]))

    def temperature(self, probabilities: np.ndarray, of: np.ndarray) -> float:
        """Return the temperature of least loss."""
        grid = np.exp(np.linspace(-0.7, 1.2, 96))
        return float(min(grid, key=lambda value: self.loss(probabilities, value, of)))

    def left_out(self, name: str, probabilities: np.ndarray) -> np.ndarray:
        """Fit the temperature without each person in turn; print it; return what is told then."""
        everybody = np.ones(len(self.labels), bool)
        told, fitted, losses = np.zeros_like(probabilities), [], []
        for person in dict.fromkeys(self.people):
            own = self.people == person
            fitted.append(self.temperature(probabilities, ~own))
            told[own] = tempered(probabilities[own] + 1e-9, fitted[-1])
            losses.append(self.loss(probabilities, fitted[-1], own))
        print(f'{name}: {len(fitted)} people, right {self.right(probabilities):.3f}; temperature '
              f'{self.temperature(probabilities, everybody):.2f}, without one person '
              f'{min(fitted):.2f} to {max(fitted):.2f}; loss {np.mean(losses):.3f} with it, '
              f'{self.loss(probabilities, 1, everybody):.3f} without')
        return told


def report(answers: list[Answer]) -> None:
    """Print how often the answers are right, and what their confidence means."""
    judged = Judged(answers)
    fer, alone, faceexpress = (np.array([getattr(answer, name) for answer in answers])
                               for name in ('fer', 'fer_alone', 'faceexpress'))
    average = log_mean(np.stack([fer, faceexpress], axis=1))
    originals = np.array([not answer.change for answer in answers])
    print(f'\n{originals.sum()} pictures, {len(answers)} answers')
    for name, probabilities in (('fer alone', alone), ('faceexpress alone', faceexpress),
                                ('both', average)):
        read = probabilities[originals].argmax(axis=1) == judged.labels[originals]
        print(f'{name}: {read.mean():.3f} of the pictures, '
              f'{judged.right(probabilities):.3f} of all')
    wrong = Counter(
        (Expression(label).name.lower(), Expression(int(row.argmax())).name.lower())
        for label, row in zip(judged.labels, average))
    words = sorted({word for pair in wrong for word in pair})
    print('\nrows: label, columns: told, all answers\n| | ' + ' | '.join(words) + ' |')
    for label in words:
        print(f'| {label} | ' + ' | '.join(str(wrong[label, word]) for word in words) + ' |')
    print('\nweight of faceexpress: ' + ', '.join(
        f'{weight:.1f}: {judged.right(fer ** (1 - weight) * faceexpress ** weight):.3f}'
        for weight in np.arange(0, 1.01, 0.1)))
    for name, probabilities in (('fer alone', alone), ('faceexpress alone', faceexpress)):
        judged.left_out(name, probabilities)
    told = judged.left_out('both', average)
    confidence = told.max(axis=1)
    contradict = (fer.argmax(1) != faceexpress.argmax(1)) & (confidence < SURE)
    for name, rows in (('told UNKNOWN', contradict), ('told a word', ~contradict)):
        print(f'{name}: {judged.weights[rows].sum():.3f} of all, '
              f'{judged.right(told, rows):.2f} of them right')
    print('\n| confidence | share | mean confidence | right |\n|---|---|---|---|')
    for low, high in pairwise(BANDS):
        rows = (confidence >= low) & (confidence < high)
        if rows.any():
            mean = np.average(confidence[rows], weights=judged.weights[rows])
            print(f'| {low:.2f} to {min(high, 1):.2f} | {judged.weights[rows].sum():.3f} | '
                  f'{mean:.2f} | {judged.right(told, rows):.2f} |')


def main(data: Path) -> None:
    """Print everything."""
    models = Models()
    with Pipeline() as pipeline:
        report(pictures(data, models, pipeline) + clips(data, models, pipeline))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
