# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Scores as pure functions of results and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.types import Expression

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]
A = TypeVar('A')
B = TypeVar('B')

TOLERANCE_FRAMES = 2
"""A found blink matches a labelled one that it overlaps within this many frames."""
FACE_IOU = 0.4
"""Least IoU of a found and a labelled box that match; labellers differ in the extent of a face."""


@dataclass(frozen=True, slots=True)
class Detections:
    """True and false positives and false negatives of a detection task."""

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float:
        """Share of true detections; 1 if nothing was found and nothing was labelled."""
        return self._share(self.fp)

    @property
    def recall(self) -> float:
        """Share of labels found; 1 if nothing was found and nothing was labelled."""
        return self._share(self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fp + self.fn else 1

    def _share(self, wrong: int) -> float:
        if self.tp + wrong:
            return self.tp / (self.tp + wrong)
        return 1.0 if not self.fp + self.fn else 0.0

    def __add__(self, other: Detections) -> Detections:
        """Add the counts of two recordings."""
        return Detections(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def match(
    left: Sequence[A], right: Sequence[B], fits: Callable[[A, B], bool],
) -> list[tuple[int, int]]:
    """
    Make as many pairs as possible, one to one, by augmenting paths (Kuhn 1955).

    :return: index pairs into ``left`` and ``right``
    """
    owner: dict[int, int] = {}

    def place(index: int, seen: set[int]) -> bool:
        for other, candidate in enumerate(right):
            if other in seen or not fits(left[index], candidate):
                continue
            seen.add(other)
            if other not in owner or place(owner[other], seen):
                owner[other] = index
                return True
        return False

    for index in range(len(left)):
        place(index, set())
    return sorted((index, other) for other, index in owner.items())


@dataclass(frozen=True, slots=True)
class Matching:
    """
    Pairs of found and labelled spans, and the spans without a partner.

    :param pairs: (found, labelled)
    :param missed: labelled and not found
    :param invented: found and not labelled
    """

    pairs: tuple[tuple[FrameSpan, FrameSpan], ...]
    missed: tuple[FrameSpan, ...]
    invented: tuple[FrameSpan, ...]

    @property
    def counts(self) -> Detections:
        """Number of pairs, invented and missed spans."""
        return Detections(tp=len(self.pairs), fp=len(self.invented), fn=len(self.missed))


def match_spans(
    found: Sequence[FrameSpan], labelled: Sequence[FrameSpan], ignore: Sequence[FrameSpan] = (),
    tolerance: int = TOLERANCE_FRAMES, *, periods: bool = False,
) -> Matching:
    """
    Match found with labelled spans that overlap within the tolerance.

    A labelled span that touches an ignored one is not scored. A found span that touches an ignored
    one (within the tolerance) and has no partner is not counted.

    :param tolerance: frames
    :param periods: a labelled span may hold several events; further ones in it are not invented
    """
    def near(a: FrameSpan, b: FrameSpan) -> bool:
        return a.start - tolerance <= b.end and b.start <= a.end + tolerance

    asked = [
        span for span in labelled
        if not any(span.start <= part.end and part.start <= span.end for part in ignore)]
    pairs = match(found, asked, near)
    taken = {index for index, _ in pairs}
    hit = {index for _, index in pairs}
    return Matching(
        pairs=tuple((found[index], asked[other]) for index, other in pairs),
        missed=tuple(span for index, span in enumerate(asked) if index not in hit),
        invented=tuple(
            span for index, span in enumerate(found)
            if index not in taken and not any(
                near(span, part) for part in (*ignore, *(asked if periods else ())))))


def box_score(
    found: Sequence[Sequence[float]], labelled: Sequence[Sequence[float]],
    least_iou: float = FACE_IOU,
) -> Detections:
    """Match boxes ``[x1, y1, x2, y2]`` (pixels) of one image, and count."""
    pairs = match(found, labelled, lambda a, b: iou(a, b) >= least_iou)
    return Detections(len(pairs), len(found) - len(pairs), len(labelled) - len(pairs))


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))


def expression_score(
    pairs: Iterable[tuple[Expression, Expression]] | Mapping[tuple[Expression, Expression], int],
) -> dict[str, Any]:
    """
    Score expressions. UNKNOWN is a wrong answer.

    :param pairs: (labelled, read), or the count of each pair
    :return: ``n``, ``accuracy``, ``macro_f1`` (the mean F1 of the labelled classes), ``per_class``
        (``n`` labelled, precision, recall, F1) and ``confusion``: labelled -> read -> count
    """
    counts = +Counter(pairs)
    n = counts.total()
    confusion: dict[str, dict[str, int]] = {}
    per_class: dict[str, dict[str, Any]] = {}
    for truth in sorted({truth for truth, _ in counts}):
        name, right = truth.name.lower(), counts[truth, truth]
        confusion[name] = {read.name.lower(): counts[truth, read]
                           for read in Expression if counts[truth, read]}
        labelled = sum(confusion[name].values())
        read = sum(count for (_, answer), count in counts.items() if answer is truth)
        per_class[name] = {
            'n': labelled, 'precision': right / read if read else None, 'recall': right / labelled,
            'f1': 2 * right / (labelled + read)}
    right = sum(count for (truth, answer), count in counts.items() if truth is answer)
    f1s = [float(score['f1']) for score in per_class.values()]
    return {'n': n, 'accuracy': right / n if n else None,
            'macro_f1': sum(f1s) / len(f1s) if f1s else None, 'per_class': per_class,
            'confusion': confusion}


def frame_score(truth: Flags, measured: Flags, known: Flags) -> dict[str, float | int]:
    """
    Score a state that is labelled frame by frame.

    :param truth: ``(n,)`` bool, labelled state
    :param measured: ``(n,)`` bool, measured state
    :param known: ``(n,)`` bool, whether the state was measured; else it counts as false
    :return: ``n``, ``tp``, ``fp``, ``fn``, ``tn``, ``unknown``, ``accuracy``, ``precision``,
        ``recall``, ``f1``
    """
    measured = measured & known
    counts = Detections(int((truth & measured).sum()), int((~truth & measured).sum()),
                        int((truth & ~measured).sum()))
    right = int((truth == measured).sum())
    return {'n': len(truth), 'tp': counts.tp, 'fp': counts.fp, 'fn': counts.fn,
            'tn': right - counts.tp, 'unknown': int((~known).sum()),
            'accuracy': right / len(truth), 'precision': counts.precision,
            'recall': counts.recall, 'f1': counts.f1}


def majority(answers: Sequence[Expression]) -> Expression:
    """Return the most frequent answer, UNKNOWN included; of equals the first."""
    return Counter(answers).most_common(1)[0][0]


def affect_score(found: Floats, labelled: Floats) -> dict[str, float | int | None]:
    """
    Score valence or arousal over the ``n`` entries in which both are known.

    :return: ``n``, ``ccc`` (Lin's concordance), ``pcc`` (Pearson), ``rmse``, ``sagr`` (share of
        equal signs); None for too few or constant entries. ``mean``, ``std``, ``labelled_mean`` and
        ``labelled_std`` serve to pool several inputs
    """
    known = np.isfinite(found) & np.isfinite(labelled)
    x, y = found[known].astype(np.float64), labelled[known].astype(np.float64)
    names = ('ccc', 'pcc', 'rmse', 'sagr', 'mean', 'std', 'labelled_mean', 'labelled_std')
    if not len(x):
        return {'n': 0, **dict.fromkeys(names)}
    covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
    spread = float(x.std() * y.std())
    distance = float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    values = (
        2 * covariance / distance if distance > 0 else None,
        covariance / spread if spread > 0 else None,
        float(np.sqrt(np.mean((x - y) ** 2))), float(np.mean(np.sign(x) == np.sign(y))),
        float(x.mean()), float(x.std()), float(y.mean()), float(y.std()))
    return {'n': len(x), **dict(zip(names, values, strict=True))}
