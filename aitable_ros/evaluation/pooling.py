# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Pooled scores of several inputs, with intervals by a bootstrap over people.

Every score is a function of sums (counts, or sums of products). Inputs are pooled by adding sums,
never by averaging scores, and a bootstrap replicate is a weighted sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.evaluation.bootstrap import interval, LEAST, REPLICATES, SEED, weights
from aitable_ros.evaluation.false_alarms import ALARMS
from aitable_ros.evaluation.metrics import expression_score
from aitable_ros.evaluation.postures import confusion_counts
from aitable_ros.evaluation.postures import LABELLED as POSTURES
from aitable_ros.evaluation.postures import pairs_of, posture_score
from aitable_ros.evaluation.video_classes import pool_classes
from aitable_ros.posture_types import PostureState
from aitable_ros.types import Expression

Floats = NDArray[np.float64]
Score = dict[str, Any]

LABELLED = tuple(e for e in Expression if e is not Expression.UNKNOWN)
CLASSES = tuple(e.name.lower() for e in LABELLED)
READS = tuple(e.name.lower() for e in Expression)


@dataclass(frozen=True, slots=True)
class Statistic:
    """
    A statistic of a family of scores.

    :param better: +1 more is better, -1 less is better, 0 nearer to zero is better
    :param of: ``(..., sums)`` -> ``(...)``, NaN where not defined
    :param form: format specification
    """

    name: str
    label: str
    better: int
    of: Callable[[Floats], Floats]
    form: str = '.3f'


@dataclass(frozen=True, slots=True)
class Family:
    """
    Statistics that are computed from the same sums.

    :param path: its keys in ``summary['scores']``
    :param sums: returns the sums of one input's score
    :param needs: key of the score that is absent or None if an input has no such score
    """

    path: tuple[str, ...]
    title: str
    sums: Callable[[Score], list[float]]
    statistics: tuple[Statistic, ...]
    needs: str

    @property
    def name(self) -> str:
        """``blink``, ``expression.by_span``, ..."""
        return '.'.join(self.path)

    def within(self, scores: Score) -> Score | None:
        """Return the part of this family in the scores of an input, or in pooled ones."""
        for key in self.path:
            scores = scores.get(key) or {}
        return scores if scores.get(self.needs) is not None or 'people' in scores else None

    def value(self, statistic: Statistic, scores: Score) -> float | None:
        """Return a statistic of one input's scores; None where it is not defined."""
        part = self.within(scores)
        if part is None:
            return None
        value = float(statistic.of(np.asarray(self.sums(part), np.float64)))
        return value if np.isfinite(value) else None


def _over(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide='ignore', invalid='ignore'):
        result: Floats = np.where(below > 0, above / below, np.nan)
    return result


def _precision(s: Floats) -> Floats:
    return np.where(s[..., :3].sum(-1) == 0, 1.0, np.nan_to_num(
        _over(s[..., 0], s[..., 0] + s[..., 1])))


def _recall(s: Floats) -> Floats:
    return np.where(s[..., :3].sum(-1) == 0, 1.0, np.nan_to_num(
        _over(s[..., 0], s[..., 0] + s[..., 2])))


def _f1(s: Floats) -> Floats:
    return np.where(s[..., :3].sum(-1) == 0, 1.0, np.nan_to_num(
        _over(2 * s[..., 0], 2 * s[..., 0] + s[..., 1] + s[..., 2])))


def _false_per_hour(s: Floats) -> Floats:
    return _over(s[..., 1] * 3600, s[..., 3])


def _alarms(score: Score) -> list[float]:
    return [score['scored_s'], *(score[name]['false'] for name in ALARMS)]


def _alarm_rate(index: int) -> Callable[[Floats], Floats]:
    return lambda s: _over(s[..., index] * 3600, s[..., 0])


def _frames(score: Score) -> list[float]:
    return [score['tp'], score['fp'], score['fn'], score['tn']]


def _counts(score: Score) -> list[float]:
    return [score['tp'], score['fp'], score['fn'], score.get('scored_s') or 0.0]


def _confusion(score: Score) -> list[float]:
    table = score['confusion']
    return [float(table.get(truth, {}).get(read, 0)) for truth in CLASSES for read in READS]


def _table(s: Floats) -> Floats:
    return s.reshape(*s.shape[:-1], len(CLASSES), len(READS))


def _accuracy(s: Floats) -> Floats:
    return _over(np.trace(_table(s), axis1=-2, axis2=-1), s.sum(-1))


def _class_f1(s: Floats, index: int) -> Floats:
    table = _table(s)
    labelled = table[..., index, :].sum(-1)
    score = _over(2 * table[..., index, index], labelled + table[..., :, index].sum(-1))
    return np.where(labelled > 0, score, np.nan)


def _macro_f1(s: Floats) -> Floats:
    each = np.stack([_class_f1(s, index) for index in range(len(CLASSES))], axis=-1)
    known = np.isfinite(each)
    return _over(np.where(known, each, 0.0).sum(-1), known.sum(-1).astype(np.float64))


def _postures(score: Score) -> list[float]:
    return confusion_counts(score['confusion'])


def _posture_counts(s: Floats) -> tuple[Floats, Floats, Floats]:
    """Return how many frames are labelled, unknown and right."""
    table = s.reshape(*s.shape[:-1], len(POSTURES), len(PostureState))
    right = np.trace(table[..., 1:], axis1=-2, axis2=-1)
    return s.sum(-1), table[..., PostureState.UNKNOWN].sum(-1), right


def _posture_accuracy(s: Floats) -> Floats:
    n, unknown, right = _posture_counts(s)
    return _over(right, n - unknown)


def _posture_unknown(s: Floats) -> Floats:
    n, unknown, _ = _posture_counts(s)
    return _over(unknown, n)


def _moments(score: Score) -> list[float]:
    n = score['n']
    if not n:
        return [0.0] * 7
    x, y, sx, sy = (score[key] for key in ('mean', 'labelled_mean', 'std', 'labelled_std'))
    covariance = (score['pcc'] or 0.0) * sx * sy
    return [n, n * x, n * y, n * (sx**2 + x**2), n * (sy**2 + y**2), n * (covariance + x * y),
            n * score['sagr']]


def _spread(s: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Variances, covariance and squared distance of the means."""
    x, y, xx, yy, xy = (_over(s[..., i], s[..., 0]) for i in range(1, 6))
    return (np.maximum(xx - x**2, 0), np.maximum(yy - y**2, 0), xy - x * y, (x - y)**2)


def _ccc(s: Floats) -> Floats:
    vx, vy, covariance, apart = _spread(s)
    return _over(2 * covariance, vx + vy + apart)


def _pcc(s: Floats) -> Floats:
    vx, vy, covariance, _ = _spread(s)
    spread = np.sqrt(vx * vy)
    return _over(covariance, np.where(spread > 1e-9, spread, 0))


def _rmse(s: Floats) -> Floats:
    vx, vy, covariance, apart = _spread(s)
    result: Floats = np.sqrt(np.maximum(vx + vy - 2 * covariance + apart, 0))
    return result


def _mean(index: int) -> Callable[[Floats], Floats]:
    return lambda s: _over(s[..., index], s[..., 0])


_DETECTION = (
    Statistic('precision', 'precision', 1, _precision),
    Statistic('recall', 'sensitivity', 1, _recall), Statistic('f1', 'F1', 1, _f1))
_SPANS = (
    *_DETECTION, Statistic('false_per_hour', 'false alarms per hour', -1, _false_per_hour, '.1f'))
_FRAMES = (*_DETECTION, Statistic('accuracy', 'accuracy', 1, lambda s: _over(
    s[..., 0] + s[..., 3], s.sum(-1))))
_ALARMS = tuple(
    Statistic(name, f'{what} an hour', -1, _alarm_rate(index + 1), '.2f')
    for index, (name, what) in enumerate(zip(ALARMS, ('microsleeps', 'sleeps', 'SEVERE'))))
_EXPRESSION = (
    Statistic('accuracy', 'accuracy', 1, _accuracy),
    Statistic('macro_f1', 'macro F1', 1, _macro_f1))
_POSTURE = (
    Statistic('accuracy', 'accuracy', 1, _posture_accuracy),
    Statistic('unknown', 'share unknown', -1, _posture_unknown))
_AFFECT = (
    Statistic('ccc', 'CCC', 1, _ccc), Statistic('pcc', 'PCC', 1, _pcc),
    Statistic('rmse', 'RMSE', -1, _rmse),
    Statistic('sagr', 'SAGR', 1, lambda s: _over(s[..., 6], s[..., 0])))
FAMILIES = (
    Family(('blink',), 'Blinks', _counts, _SPANS, 'tp'),
    Family(('closures',), 'Closures', _counts, _SPANS, 'tp'),
    Family(('yawns',), 'Yawns', _counts, _SPANS, 'tp'),
    Family(('nods',), 'Nods', _counts, _SPANS, 'tp'),
    Family(('false_alarms',), 'False alarms', _alarms, _ALARMS, 'scored_s'),
    Family(('eyes_shut',), 'Frames with shut eyes', _frames, _FRAMES, 'tp'),
    Family(('drowsy',), 'Drowsy frames', _frames, _FRAMES, 'tp'),
    Family(('perclos',), 'PERCLOS', lambda score: [
        1, score['error'], abs(score['error']), score['error']**2], (
        Statistic('error', 'mean error', 0, _mean(1), '+.3f'),
        Statistic('absolute_error', 'mean absolute error', -1, _mean(2)),
        Statistic('rmse', 'RMSE', -1, lambda s: np.sqrt(_mean(3)(s)))), 'error'),
    Family(('expression',), 'Expression', _confusion, _EXPRESSION, 'confusion'),
    Family(('expression', 'by_span'), 'Expression by span', _confusion, _EXPRESSION, 'confusion'),
    Family(('valence',), 'Valence', _moments, _AFFECT, 'n'),
    Family(('arousal',), 'Arousal', _moments, _AFFECT, 'n'),
    Family(('posture',), 'Posture', _postures, _POSTURE, 'confusion'),
    Family(('posture', 'by_span'), 'Posture by span', _postures, _POSTURE, 'confusion'),
    Family(('faces',), 'Number of faces', lambda score: [
        score['n'], score['n'] * score['exact'], score['n'] * score['mean_absolute_error']], (
        Statistic('exact', 'exact', 1, _mean(1)),
        Statistic('mean_absolute_error', 'mean absolute error', -1, _mean(2))), 'exact'),
    Family(('faces', 'boxes'), 'Face boxes', _counts, _DETECTION, 'tp'),
)
STATISTICS = {f'{family.name}.{statistic.name}': (family, statistic)
              for family in FAMILIES for statistic in family.statistics}
"""Every statistic with its family, by names such as ``blink.f1``."""


def sums_of(
    family: Family, scored: Sequence[tuple[str, Score]],
) -> tuple[Floats, list[str]]:
    """
    Add the sums of a family by person.

    :param scored: (person, scores) of each input
    :return: ``(people, sums)``, and the people, in the order of the inputs
    """
    people: dict[str, Floats] = {}
    for person, scores in scored:
        part = family.within(scores)
        if part is None:
            continue
        sums = np.asarray(family.sums(part), np.float64)
        people[person] = people[person] + sums if person in people else sums
    return (np.stack(list(people.values())) if people else np.zeros((0, 1))), list(people)


def pool(scored: Sequence[tuple[str, Score]]) -> Score:
    """
    Pool the scores of several inputs.

    :param scored: (person, scores) of each input; all inputs of a person are resampled together
    :return: by family its statistics, counts, ``inputs``, ``people`` and ``interval`` (95 %, by
        statistic, None for too few people); ``video_class`` as in
        :func:`.video_classes.pool_classes`. ``{}`` without scores
    """
    found: Score = {}
    for family in FAMILIES:
        sums, people = sums_of(family, scored)
        if not people:
            continue
        total = sums.sum(axis=0)
        drawn = weights(len(people))
        replicates = None if drawn is None else drawn @ sums
        score: Score = {
            'inputs': sum(family.within(scores) is not None for _, scores in scored),
            'people': len(people)}
        if family.sums is _counts:
            score |= dict(zip(('tp', 'fp', 'fn'), map(int, total[:3].tolist()), strict=True))
        score |= {statistic.name: float(statistic.of(total)) for statistic in family.statistics}
        if family.sums is _confusion:
            score |= _classes(total, replicates)
        elif family.sums is _postures:
            score |= posture_score(pairs_of(total))
        elif family.sums is _frames:
            score |= dict(zip(('tp', 'fp', 'fn', 'tn'), map(int, total.tolist()), strict=True))
        elif family.sums is _alarms:
            score |= {'scored_s': float(total[0]), 'false': dict(zip(
                ALARMS, map(int, total[1:].tolist()), strict=True))}
        elif family.sums is _moments or family.path == ('faces',):
            score['n'] = int(total[0])
        score['interval'] = {
            statistic.name: None if replicates is None else interval(statistic.of(replicates))
            for statistic in family.statistics}
        _place(found, family.path, score)
    classes = pool_classes(scored)
    return found | ({'video_class': classes} if classes else {})


def _classes(total: Floats, replicates: Floats | None) -> Score:
    """Return the score of a confusion, with an interval of the F1 of each class."""
    score = expression_score({
        (truth, read): int(count) for truth, row in zip(LABELLED, _table(total), strict=True)
        for read, count in zip(Expression, row, strict=True)})
    for name, part in score['per_class'].items():
        part['f1_interval'] = None if replicates is None \
            else interval(_class_f1(replicates, CLASSES.index(name)))
    return score


def over_images(score: Score) -> dict[str, list[float] | None]:
    """
    Return the 95 % intervals of an expression score over its images.

    Each image counts as a person. Drawing images is drawing cells of the confusion, at a cost that
    does not depend on the number of images.

    :return: by statistic of the family ``expression``; None for fewer than
        :data:`.bootstrap.LEAST` images
    """
    cells = np.asarray(_confusion(score), np.float64)
    images = int(cells.sum())
    drawn = np.random.default_rng(SEED).multinomial(
        images, cells / images, REPLICATES).astype(np.float64) if images >= LEAST else None
    return {statistic.name: None if drawn is None else interval(statistic.of(drawn))
            for statistic in _EXPRESSION}


def _place(found: Score, path: tuple[str, ...], score: Score) -> None:
    for key in path[:-1]:
        found = found.setdefault(key, {})
    found[path[-1]] = {**score, **found.get(path[-1], {})}


def person_of(summary: Score) -> str:
    """Return the person of an input: its labelled subject, else the input itself."""
    return str(summary.get('subject') or f'{summary["input"]}\n{summary.get("topic") or ""}')
