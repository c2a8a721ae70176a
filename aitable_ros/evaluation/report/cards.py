# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The headline cards of one recording."""

from __future__ import annotations

from collections.abc import Sequence

from aitable_ros.evaluation.false_alarms import ALARMS
from aitable_ros.evaluation.report.elements import Card, State
from aitable_ros.evaluation.report.postures import spoken
from aitable_ros.evaluation.summary import Summary

LEVEL_STATES: dict[str, State] = {
    'ALERT': 'plain', 'MILD': 'warn', 'SEVERE': 'bad', 'ASLEEP': 'bad', 'UNKNOWN': 'plain'}


def recording_cards(summary: Summary, *, stills: bool) -> list[Card]:
    """Return the headline cards of one recording."""
    scores = summary['scores']
    cards = []
    for name, label in (('blink', 'Blinks'), ('closures', 'Closures'), ('yawns', 'Yawns'),
                        ('nods', 'Nods')):
        if name in scores:
            f1 = scores[name]['f1']
            cards.append(Card(label=f'{label}, F1', value=f'{f1:.3f}', state=_grade(f1, 0.95, 0.8),
                              note=_counts(scores[name])))
    if 'false_alarms' in scores:
        cards.append(_alarms_card(scores['false_alarms']))
    if 'expression' in scores:
        expression = scores['expression']
        cards.append(Card(
            label='Expression, accuracy', value=f'{expression["accuracy"]:.1%}',
            state=_grade(expression['accuracy'], 0.75, 0.5),
            note=f'{expression["n"]} labelled {"images" if stills else "frames"}'
                 + _sure(expression.get('interval', {}).get('accuracy'))))
    if 'posture' in scores:
        posture = scores['posture']
        accuracy = posture['accuracy']
        cards.append(Card(
            label='Posture, accuracy', value='–' if accuracy is None else f'{accuracy:.1%}',
            state='plain' if accuracy is None else _grade(accuracy, 0.8, 0.6),
            note=f'{posture["n"]} labelled frames'
                 + (f', {posture["unknown"]:.0%} unknown' if posture['unknown'] else '')))
    if 'perclos' in scores and scores['perclos']['error'] is not None:
        error = scores['perclos']['error']
        cards.append(Card(
            label='PERCLOS, error', value=f'{error:+.3f}', state=_grade(-abs(error), -0.02, -0.05),
            note=f'labelled {scores["perclos"]["labelled"]:.3f}'))
    faces = scores.get('faces', {})
    if 'boxes' in faces:
        boxes = faces['boxes']
        cards.append(Card(
            label='Faces, recall', value=f'{boxes["recall"]:.1%}',
            state=_grade(min(boxes['recall'], boxes['precision']), 0.9, 0.7),
            note=_counts(boxes)))
    elif 'exact' in faces:
        cards.append(Card(
            label='Right number of faces', value=f'{faces["exact"]:.1%}', note='of the frames',
            state=_grade(faces['exact'], 0.9, 0.7)))
    if not stills:
        level = summary['level_max']
        cards.append(Card(
            label='Highest level', value=level, state=LEVEL_STATES[level],
            note='too little usable time to tell' if level == 'UNKNOWN' else ''))
        cards.append(_perclos_card(summary))
        cards.append(_events_card(summary))
    share = summary['expression_share']
    if share:
        name = max(share, key=share.__getitem__)
        cards.append(Card(label='Mostly', value=name, note=f'{share[name]:.0%} of the readings'))
    if 'posture' in summary and not stills:
        cards.append(_posture_card(summary['posture']))
    ratio = summary['face_ratio']
    cards.append(Card(
        label='Face found', value=f'{ratio:.1%}', note=f'of the {"images" if stills else "frames"}',
        state='plain' if ratio >= 0.9 else 'warn'))
    return cards


def _alarms_card(score: Summary) -> Card:
    false = sum(score[name]['false'] for name in ALARMS)
    raised = sum(score[name]['told'] for name in ALARMS)
    return Card(
        label='False alarms', value=f'{false} of {raised}', state='bad' if false else 'good',
        note=f'microsleep, sleep, SEVERE; in {score["scored_s"] / 60:.1f} usable minutes')


def _perclos_card(summary: Summary) -> Card:
    perclos, usable = summary['perclos'], summary['usable_s']
    return Card(
        label='PERCLOS', value='–' if perclos is None else f'{perclos:.1%}',
        note='eyes could not be measured' if perclos is None else
             f'shut {summary["closed_s"]:.1f} s of {usable:.1f} usable s')


def _events_card(summary: Summary) -> Card:
    events = summary['events']
    minutes = summary['usable_s'] / 60
    kinds = ('SLEEP', 'MICROSLEEP', 'LONG_CLOSURE')
    asleep = {name: events[name] for name in kinds if events[name]}
    if asleep:
        name, count = next(iter(asleep.items()))
        spoken = name.replace('_', ' ').lower()
        return Card(
            label='Longest closures', value=f'{count} {spoken}{"s" if count > 1 else ""}',
            state='warn' if name == 'LONG_CLOSURE' else 'bad',
            note=f'beside {events["BLINK"]} blinks')
    return Card(
        label='Blinks', value=str(events['BLINK']),
        note=f'{events["BLINK"] / minutes:.1f} a minute; no long closure' if minutes >= 0.25 else
             'no long closure')


def _posture_card(posture: Summary) -> Card:
    share = posture['share']
    if not share:
        return Card(label='Posture', value='–', note='could not be told')
    name = max(share, key=share.__getitem__)
    slumped, changes = posture['events']['SLUMPED'], posture['changes']
    return Card(
        label='Posture, mostly', value=spoken(name), state='bad' if slumped else 'plain',
        note=f'{share[name]:.0%} of {posture["usable_s"]:.0f} s'
             + (f'; slumped {slumped} times' if slumped > 1 else '; slumped once' if slumped else
                f'; {changes or "no"} change{"" if changes == 1 else "s"}'))


def _counts(score: Summary) -> str:
    return f'{score["tp"]} found, {score["fn"]} missed, {score["fp"]} invented'


def _sure(ends: Sequence[float] | None) -> str:
    return f', 95 % {ends[0]:.0%} … {ends[1]:.0%}' if ends else ''


def _grade(value: float, good: float, bad: float) -> State:
    return 'good' if value >= good else 'warn' if value >= bad else 'bad'
