# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The page of several recordings: links to the page of each, and their pooled scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aitable_ros.evaluation.pooling import FAMILIES, Score, STATISTICS
from aitable_ros.evaluation.report.charts import AMBER, dot_plot, vertical_band, vertical_line
from aitable_ros.evaluation.report.elements import Card, Cell, Plot, Report, Table
from aitable_ros.evaluation.report.page import write_report
from aitable_ros.evaluation.report.score_tables import confusion_table, posture_table
from aitable_ros.evaluation.report.text import counted, interval_text, report_link, written
from aitable_ros.evaluation.summary import Summary
from aitable_ros.evaluation.video_classes import FIGURES
from aitable_ros.types import FatigueLevel

HEADLINES = [STATISTICS[name] for name in (
    'blink.f1', 'closures.f1', 'yawns.f1', 'nods.f1', 'eyes_shut.f1', 'drowsy.accuracy',
    'perclos.absolute_error', 'expression.accuracy', 'valence.ccc', 'arousal.ccc',
    'posture.accuracy', 'faces.boxes.f1', 'faces.exact')]
MOST_DOTS = 60
"""Inputs in the chart."""


def write_overview(output: Path, together: Summary, folders: Sequence[Path]) -> Path:
    """
    Write ``report.html`` of several recordings.

    :param together: content of ``summary.json`` of several inputs
    :param folders: folder of the result of each input
    :return: the file
    """
    summaries: list[Summary] = together['inputs']
    pooled: Score = together['pooled']
    frames = sum(summary['frames'] for summary in summaries)
    minutes = sum(summary['duration_s'] for summary in summaries) / 60
    length = f'{minutes:.1f} minutes · ' if minutes else ''
    people = {summary['subject'] for summary in summaries if summary.get('subject')}
    tables = [_inputs(summaries, folders, output), *class_tables(pooled.get('video_class', {}))]
    if pooled_rows(pooled):
        tables.append(Table(
            title='All inputs together', columns=('', '', '95 %'), rows=pooled_rows(pooled),
            caption='Pooled by counts and sums, not by means of scores.'))
    if 'confusion' in pooled.get('expression', {}):
        tables.append(confusion_table(pooled['expression']['confusion']))
    if 'confusion' in pooled.get('posture', {}):
        tables.append(posture_table(pooled['posture']))
    return write_report(output / 'report.html', Report(
        title=f'{len(summaries)} recordings', subtitle=f'{length}{frames} frames'
        + (f' · {counted(len(people), "labelled person", "labelled people")}' if people else ''),
        cards=_cards(pooled), notes=[*together['problems'], *_notes(pooled)],
        plots=_plots(summaries, pooled), tables=tables,
        facts=_models(summaries) | ({
            'intervals': '95 %, percentile bootstrap over people (inputs of one labelled subject '
                         'go together), 4000 replicates, seed 0'} if pooled else {})))


def pooled_rows(pooled: Score) -> list[list[Cell]]:
    """Return name, figure and 95 % interval of each pooled score."""
    return [
        [f'{family.title}: {statistic.label}', written(part[statistic.name], statistic.form),
         interval_text(part['interval'][statistic.name], statistic.form)]
        for family in FAMILIES if (part := family.within(pooled))
        for statistic in family.statistics]


def headlines_of(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Return the names of the headline scores that any input has, and a row of them per input."""
    heads = [(family, statistic) for family, statistic in HEADLINES if any(
        family.within(summary['scores']) is not None for summary in summaries)]
    return ([f'{family.title}, {statistic.label}' for family, statistic in heads],
            [['' if family.within(summary['scores']) is None else
              written(family.value(statistic, summary['scores']), statistic.form)
              for family, statistic in heads] for summary in summaries])


def class_tables(classes: Score) -> list[Table]:
    """
    Make the tables of recordings that are labelled as a whole.

    :param classes: content of ``pooled.video_class`` in ``summary.json``; empty: no tables
    """
    if not classes:
        return []
    levels = [level.name for level in FatigueLevel if any(
        level.name in entry['level_max'] for entry in classes['classes'].values())]
    rows: list[list[Cell]] = [
        [name, entry['inputs'], entry['people'],
         *(entry['level_max'].get(level, 0) for level in levels),
         *(written(entry[figure][key], form) for figure, key, form in (
             ('tired_share', 'mean', '.1%'), ('perclos', 'mean', '.3f'),
             ('perclos', 'median', '.3f'), ('yawns_per_minute', 'mean', '.2f')))]
        for name, entry in classes['classes'].items()]
    auc: list[list[Cell]] = [
        [FIGURES[entry['figure']], f'{entry["of"]} against {entry["against"]}',
         f'{entry["n"]}, {entry["n_against"]}', f'{entry["auc"]:.3f}',
         interval_text(entry['interval'])]
        for entry in classes['auc']]
    return [
        Table(title='Levels and figures by labelled class', rows=rows, wide=True,
              columns=('class', 'recordings', 'people', *(f'highest {name}' for name in levels),
                       'at MILD or above', 'PERCLOS, mean', 'PERCLOS, median', 'yawns a minute'),
              caption='Means are over the recordings in which the figure is known.'),
        Table(title='How well each figure tells two classes apart', rows=auc, wide=True,
              columns=('figure', 'classes', 'recordings', 'AUC', '95 %'),
              caption='AUC: the probability that the figure is higher in a recording of the first '
                      'class than in one of the second; 0.5 is chance.')]


def _models(summaries: Sequence[Summary]) -> dict[str, str]:
    """Name the models of each stage; all of them where inputs differ."""
    names: dict[str, dict[str, None]] = {}
    for summary in summaries:
        for stage, info in summary['backend'].items():
            name = f'{info["model"]} on {info["backend"]}, {info["precision"]}' \
                if info['model'] else 'off'
            names.setdefault(stage, {})[name] = None
    return {stage: '; '.join(each) for stage, each in names.items()}


def _cards(pooled: Score) -> list[Card]:
    cards = []
    for family, statistic in HEADLINES:
        part = family.within(pooled)
        if part is None:
            continue
        ends = interval_text(part['interval'][statistic.name], statistic.form)
        of = f'{counted(part["inputs"], "input", "inputs")}, ' \
             f'{counted(part["people"], "person", "people")}'
        cards.append(Card(
            label=f'{family.title}, {statistic.label}', note=f'95 % {ends}; {of}' if ends else of,
            value=written(part[statistic.name], statistic.form)))
    return cards


def _notes(pooled: Score) -> list[str]:
    few = [family.title.lower() for family in FAMILIES
           if (part := family.within(pooled)) and part['people'] < 3]
    return [f'No intervals for {", ".join(few)}: fewer than 3 people.'] if few else []


def _inputs(summaries: Sequence[Summary], folders: Sequence[Path], output: Path) -> Table:
    heads, scores = headlines_of(summaries)
    subjects = any(summary.get('subject') for summary in summaries)
    rows: list[list[Cell]] = []
    for summary, folder, figures in zip(summaries, folders, scores, strict=True):
        share, events = summary['expression_share'], summary['events']
        name = Path(summary['input']).name + (f' {summary["topic"]}' if summary['topic'] else '')
        rows.append([
            report_link(name, folder, output),
            *([summary.get('subject') or ''] if subjects else []),
            f'{summary["duration_s"]:.1f}', summary['frames'], f'{summary["face_ratio"]:.0%}',
            events['BLINK'],
            sum(events[kind] for kind in ('LONG_CLOSURE', 'MICROSLEEP', 'SLEEP')),
            written(summary['perclos']), summary['level_max'].lower(),
            max(share, key=share.__getitem__) if share else '–', *figures])
    return Table(
        title='Inputs', wide=True, rows=rows, columns=(
            'input', *(['subject'] if subjects else []), 'seconds', 'frames', 'face', 'blinks',
            'closures', 'PERCLOS', 'level', 'mostly', *heads))


def _plots(summaries: Sequence[Summary], pooled: Score) -> list[Plot]:
    """Draw the first headline score of each input, and the pooled one with its interval."""
    scored = [(family, statistic, part) for family, statistic in HEADLINES
              if (part := family.within(pooled)) is not None and part['inputs'] > 1]
    if not scored:
        return []
    family, statistic, part = scored[0]
    dots = sorted((value, Path(summary['input']).name) for summary in summaries if (
        value := family.value(statistic, summary['scores'])) is not None)[:MOST_DOTS]
    whole, ends = part[statistic.name], part['interval'][statistic.name]
    if whole is None or not dots:
        return []
    title = f'{family.title}, {statistic.label}'
    figure = dot_plot(
        [name for _, name in dots], [value for value, _ in dots], title,
        span=(-0.02, 1.02) if statistic.better > 0 else None,
        shapes=[vertical_line(whole, AMBER), *([vertical_band(ends, AMBER, 0.16)] if ends else [])])
    return [Plot(
        title=f'{title}, by input', figure=figure,
        description=f'{statistic.label} of each input; the table below has the figures.',
        caption='Line: all inputs together' + ('; band: its 95 %.' if ends else '.')
        + (f' The {MOST_DOTS} lowest.' if len(summaries) > MOST_DOTS else ''))]
