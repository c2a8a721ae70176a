# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Recordings labelled as a whole, such as alert or drowsy, and the figures of each class.

The area under the ROC curve (AUC) tells how well a figure separates two classes: the probability
that it is higher in a recording of the later class than in one of the earlier, equal values
counting half (Hanley & McNeil 1982). Recordings of one person are not independent, so the interval
is a bootstrap over people, as for all pooled scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.evaluation.bootstrap import interval, weights
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.types import FatigueEventType, FatigueLevel

Floats = NDArray[np.float64]
Score = dict[str, Any]
Scored = Sequence[tuple[str, Score]]
FIGURES = {
    'level': 'highest level', 'tired_share': 'share of time at MILD or above',
    'perclos': 'PERCLOS', 'yawns_per_minute': 'yawns a minute'}
"""Figures that are compared between classes."""


def of_video(measured: Measurements, labels: Labels) -> Score:
    """
    Return the class of a recording and its figures; None for an unknown figure.

    :return: ``class``, ``classes`` (of the data set, the most rested first), ``level_max``,
        ``level`` (its rank: ALERT 0 ... ASLEEP 3), ``tired_share`` (frames at MILD or above over
        those with a level), ``perclos``, ``yawns_per_minute`` (of usable time)
    """
    levels = [FatigueLevel(level) for level in measured.levels]
    known = [level for level in levels if level is not FatigueLevel.UNKNOWN]
    tired = sum(level is not FatigueLevel.ALERT for level in known)
    rank = measured.level_max - FatigueLevel.ALERT
    yawns = len(measured.of_primary(FatigueEventType.YAWN))
    return {
        'class': labels.video_class,
        'classes': list(labels.classes or (labels.video_class,)),
        'level_max': measured.level_max.name,
        'level': rank if rank >= 0 else None,
        'tired_share': tired / len(known) if known else None,
        'perclos': None if math.isnan(measured.perclos) else measured.perclos,
        'yawns_per_minute': 60 * yawns / measured.usable_s if measured.usable_s else None}


@dataclass(frozen=True, slots=True)
class Contrast:
    """
    A figure in two classes.

    :param of: class in which the figure should be higher
    :param against: class in which the figure should be lower
    """

    figure: str
    of: str
    against: str

    @property
    def name(self) -> str:
        """``video_class.perclos.drowsy-alert``."""
        return f'video_class.{self.figure}.{self.of}-{self.against}'.replace(' ', '_')

    @property
    def label(self) -> str:
        """Name in a report."""
        return f'AUC of {FIGURES[self.figure]}, {self.of} against {self.against}'


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """
    Comparisons between the recordings of two classes, summed by people.

    :param wins: ``(people, people)`` number of pairs in which the figure is higher in the later
        class (person of the row) than in the earlier one (person of the column); equal values count
        half
    :param counts: ``(2, people)`` number of recordings of the later and the earlier class
    """

    people: tuple[str, ...]
    wins: Floats
    counts: Floats

    @property
    def recordings(self) -> tuple[int, int]:
        """Number of recordings of the later and of the earlier class."""
        later, earlier = self.counts.sum(axis=1)
        return int(later), int(earlier)

    def auc(self, drawn: Floats | None = None) -> Floats:
        """
        Return the AUC of each replicate; NaN if a class is empty.

        :param drawn: ``(replicates, people)`` how often each person is in each replicate; None:
            one replicate with each person once
        """
        often = np.ones((1, len(self.people))) if drawn is None else drawn
        pairs = (often @ self.counts[0]) * (often @ self.counts[1])
        won = ((often @ self.wins) * often).sum(axis=1)
        with np.errstate(divide='ignore', invalid='ignore'):
            return np.where(pairs > 0, won / pairs, np.nan)


def order(scored: Scored) -> list[str]:
    """Return the classes that occur, in the order of the data set."""
    parts = [score['video_class'] for _, score in scored if 'video_class' in score]
    ordered = dict.fromkeys(name for part in parts for name in part['classes'])
    there = {part['class'] for part in parts}
    return [name for name in ordered if name in there]


def contrasts(scored: Scored) -> list[Contrast]:
    """Return the contrast of every figure and every pair of classes."""
    return [Contrast(figure, of, against) for figure in FIGURES
            for against, of in combinations(order(scored), 2)]


def ranks(scored: Scored, contrast: Contrast) -> Ranks | None:
    """
    Compare the recordings of two classes by a figure.

    :return: None if the figure is unknown in all recordings of a class
    """
    people = {person: index for index, person in enumerate(dict.fromkeys(
        person for person, score in scored if 'video_class' in score))}
    values: dict[str, list[tuple[int, float]]] = {contrast.of: [], contrast.against: []}
    for person, score in scored:
        part = score.get('video_class') or {}
        if part.get('class') in values and part[contrast.figure] is not None:
            values[part['class']].append((people[person], part[contrast.figure]))
    later, earlier = values[contrast.of], values[contrast.against]
    if not later or not earlier:
        return None
    wins, counts = np.zeros((len(people), len(people))), np.zeros((2, len(people)))
    for row, value in later:
        counts[0, row] += 1
        for column, other in earlier:
            wins[row, column] += float(value > other) + 0.5 * float(value == other)
    for column, _ in earlier:
        counts[1, column] += 1
    return Ranks(tuple(people), wins, counts)


def pool_classes(scored: Scored) -> Score:
    """
    Pool recordings of labelled classes.

    :return: ``{}`` without any; else ``inputs``, ``people``, ``classes`` (by class ``inputs``,
        ``people``, ``level_max`` counts, and of each figure ``known``, ``mean``, ``median``), and
        ``auc``: of each figure and pair of classes, with a 95 % ``interval``
    """
    parts = [(person, score['video_class']) for person, score in scored if 'video_class' in score]
    if not parts:
        return {}
    found: Score = {'inputs': len(parts), 'people': len({person for person, _ in parts}),
                    'classes': {}, 'auc': []}
    for name in order(scored):
        mine = [(person, part) for person, part in parts if part['class'] == name]
        entry: Score = {
            'inputs': len(mine), 'people': len({person for person, _ in mine}),
            'level_max': {level.name: count for level in FatigueLevel if (count := sum(
                part['level_max'] == level.name for _, part in mine))}}
        for figure in FIGURES:
            known = [part[figure] for _, part in mine if part[figure] is not None]
            entry[figure] = {
                'known': len(known), 'mean': float(np.mean(known)) if known else None,
                'median': float(np.median(known)) if known else None}
        found['classes'][name] = entry
    drawn = weights(found['people'])
    for contrast in contrasts(scored):
        ranked = ranks(scored, contrast)
        if ranked is None:
            continue
        later, earlier = ranked.recordings
        found['auc'].append({
            'figure': contrast.figure, 'of': contrast.of, 'against': contrast.against,
            'n': later, 'n_against': earlier, 'auc': float(ranked.auc()[0]),
            'interval': None if drawn is None else interval(ranked.auc(drawn))})
    return found
