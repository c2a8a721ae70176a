# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The comparison of two runs, as a page and on a terminal."""

from __future__ import annotations

from pathlib import Path

from aitable_ros.evaluation.compare import nothing_differs, STATES
from aitable_ros.evaluation.pooling import Score
from aitable_ros.evaluation.report.charts import BLUE, dot_plot, GREY, vertical_line
from aitable_ros.evaluation.report.elements import Card, Cell, Plot, Report, Table
from aitable_ros.evaluation.report.terminal import open_console, print_lines, print_table
from aitable_ros.evaluation.report.text import (
    counted, interval_text, report_link, shortened, written
)

MOST_ROWS = 200
REST = '; comparison.json has all'
HEADLINES = ('blink.f1', 'closures.f1', 'perclos.error', 'expression.accuracy', 'valence.ccc',
             'faces.boxes.f1')
"""Scores in the table of inputs."""
CARDS = ('f1', 'macro_f1', 'absolute_error', 'ccc', 'exact')
"""Statistics with a card of their own."""
MOST_CARDS = 6


def comparison_report(found: Score, output: Path) -> Report:
    """
    Make the page of a comparison.

    :param found: content of ``comparison.json``
    :param output: folder of the page
    """
    per_input = found['per_input']
    differ = sum(entry['frames']['differ']['expression']['n'] for entry in per_input)
    frames = sum(entry['frames']['compared'] for entry in per_input)
    only_a, only_b = (sum(len(entry['events'][side]) for entry in per_input)
                      for side in ('only_a', 'only_b'))
    both = sum(entry['events']['both'] for entry in per_input)
    cards = [
        Card(label=entry['label'], value=_signed(entry['difference'], entry['form']),
             note=_change(entry['a'], entry['b'], entry['form'])
             + (f'; {entry["verdict"]}' if entry['verdict'] else ''))
        for entry in found['scores'] if entry['name'].rpartition('.')[2] in CARDS][:MOST_CARDS]
    cards += [
        Card(label='Events', value=f'{both} in both',
             note=f'{only_a} only in A, {only_b} only in B'),
        Card(label='Expression differs', value=f'{differ} frames', note=f'of {frames}')]
    return Report(
        title='B against A', subtitle=f'{Path(found["b"]).name} against {Path(found["a"]).name}, '
        + counted(found['inputs'], 'input', 'inputs'),
        cards=cards, notes=_notes(found), plots=_plots(found),
        tables=[_differences(found), _inputs(found, output), *_events(found), *_frames(found)],
        facts={
            'A': str(Path(found['a']).resolve()), 'B': str(Path(found['b']).resolve()),
            **_models(found),
            'intervals': '95 %, percentile bootstrap over people, paired: both runs on the same '
                         'resamples; 4000 replicates, seed 0'})


def print_comparison(found: Score, output: Path) -> None:
    """Print the differences, and how many events and frames of each input differ."""
    console = open_console()
    print_lines(console, f'A {found["a"]}', f'B {found["b"]}')
    print_table(console, _differences(found))
    for entry in found['per_input']:
        events, differ = entry['events'], entry['frames']['differ']
        print_lines(
            console, f'{entry["input"]}: {events["both"]} events in both, '
            f'{len(events["only_a"])} only in A, {len(events["only_b"])} only in B; of '
            f'{entry["frames"]["compared"]} frames '
            + ', '.join(f'{state["n"]} differ in {name}' for name, state in differ.items()))
    print_lines(console, *_notes(found), style='dim')
    print_lines(console, f'report: {output / "comparison.html"}')


def _signed(value: float | None, form: str) -> str:
    return written(value, form if form.startswith('+') else f'+{form}')


def _change(a: float | None, b: float | None, form: str = '.3f') -> str:
    return f'{written(a, form)} → {written(b, form)}'


def _notes(found: Score) -> list[str]:
    notes = [f'Only in {side.upper()}, left out: {", ".join(found[f"only_{side}"])}'
             for side in 'ab' if found[f'only_{side}']]
    if nothing_differs(found):
        notes.append('All frames and events of the two runs are equal.')
    if found['people'] < 3:
        notes.append('No intervals: fewer than 3 people.')
    return notes


def _models(found: Score) -> dict[str, str]:
    names = {}
    for side in 'ab':
        models = {stage: name for entry in found['per_input']
                  for stage, name in entry[side]['models'].items()}
        names[f'models of {side.upper()}'] = ', '.join(
            f'{stage} {name}' for stage, name in models.items())
    return names


def _plots(found: Score) -> list[Plot]:
    """Draw the differences of the scores that are shares, with their intervals."""
    entries = [entry for entry in reversed(found['scores'])
               if entry['difference'] is not None and not entry['name'].endswith('per_hour')]
    if not entries:
        return []
    x = [entry['difference'] for entry in entries]
    ends = [entry['interval'] or [entry['difference']] * 2 for entry in entries]
    reach = max([0.02, *(abs(end) for pair in ends for end in pair)]) * 1.1
    figure = dot_plot(
        [entry['label'] for entry in entries], x, 'B − A', form='+.3f', span=(-reach, reach),
        shapes=[vertical_line(0, GREY, 1.5)],
        error={'type': 'data', 'symmetric': False, 'color': BLUE, 'thickness': 1.6, 'width': 4,
               'array': [high - d for d, (_, high) in zip(x, ends, strict=True)],
               'arrayminus': [d - low for d, (low, _) in zip(x, ends, strict=True)]})
    return [Plot(title='Differences of the scores', figure=figure,
                 description='Each score of B minus A with its interval; the table has the '
                             'figures.',
                 caption='Bars: 95 %, with at least 3 people. Errors (RMSE, absolute error) are '
                         'better to the left, other scores to the right.')]


def _differences(found: Score) -> Table:
    return Table(
        title='Paired differences', wide=True, columns=('', 'A', 'B', 'B − A', '95 %', ''), rows=[
            [entry['label'], written(entry['a'], entry['form']),
             written(entry['b'], entry['form']), _signed(entry['difference'], entry['form']),
             interval_text(entry['interval'], '+' + entry['form'].lstrip('+')), entry['verdict']]
            for entry in (*found['scores'], *found['measured'])])


def _inputs(found: Score, output: Path) -> Table:
    headlines = [name for name in HEADLINES if any(
        name in entry['a']['scores'] for entry in found['per_input'])]
    states = [name for name in STATES if any(
        name in entry['frames']['differ'] for entry in found['per_input'])]
    rows: list[list[Cell]] = []
    for entry in found['per_input']:
        a, b = entry['a'], entry['b']
        rows.append([
            entry['input'], report_link('A', a['folder'], output),
            report_link('B', b['folder'], output),
            *(_change(a['scores'].get(name), b['scores'].get(name)) for name in headlines),
            _change(a['perclos'], b['perclos']), f'{a["blinks"]} → {b["blinks"]}',
            *(entry['frames']['differ'].get(name, {'n': ''})['n'] for name in states)])
    return Table(
        title='By input', wide=True, rows=rows,
        columns=('input', '', '', *headlines, 'PERCLOS', 'blinks',
                 *(f'frames: {name.replace("_", " ")}' for name in states)),
        caption='A → B, and the number of frames that differ.')


def _events(found: Score) -> list[Table]:
    rows: list[list[Cell]] = [
        [entry['input'], side[-1].upper(), event['type'].replace('_', ' ').lower(),
         f'{event["start_frame"]} … {event["end_frame"]}',
         {True: 'labelled', False: 'not labelled', None: ''}[event['labelled']]]
        for entry in found['per_input'] for side in ('only_a', 'only_b')
        for event in entry['events'][side]]
    return shortened('Events in one run only', ('input', 'only in', 'what', 'frames', ''), rows,
                     MOST_ROWS, rest=REST)


def _frames(found: Score) -> list[Table]:
    rows: list[list[Cell]] = [
        [entry['input'], name.replace('_', ' '), f'{first} … {last}', last - first + 1]
        for entry in found['per_input'] for name, state in entry['frames']['differ'].items()
        for first, last in state['spans']]
    return shortened('Frames that differ', ('input', 'in', 'frames', 'how many'), rows, MOST_ROWS,
                     rest=REST)
