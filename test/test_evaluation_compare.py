# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Two runs compared: paired by input, on the same resamples, down to the frame."""

from __future__ import annotations

import json
import math
from pathlib import Path
import shutil
import subprocess

from films import write_film
from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.evaluation import compare
from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.metrics import expression_score, match_spans
from aitable_ros.evaluation.output_tables import EVENT_COLUMNS, event_table, FrameTable
from aitable_ros.evaluation.report.many_recordings import write_overview
from aitable_ros.evaluation.scores import of_spans
from aitable_ros.evaluation.summary import pooled, write_json
from aitable_ros.types import Expression

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') \
    or shutil.which('google-chrome')
QUICK = Path(__file__).parent / 'data' / 'quick.yaml'
FRAMES = 100
LABELLED = [FrameSpan(10, 13), FrameSpan(50, 53), FrameSpan(80, 82)]


def write_run(folder, name, found, *, expressions=(), perclos=0.02, gone=(), closed=()):
    """Write what `aitable evaluate` leaves of a recording of 100 frames, one person in it."""
    folder.mkdir(parents=True, exist_ok=True)
    expressions = [*expressions, *['happy'] * (FRAMES - len(expressions))]
    scores = {
        'blink': of_spans(match_spans(found, LABELLED), 1 / 60),
        'expression': expression_score(
            (Expression.HAPPY, Expression[label.upper()]) for label in expressions)}
    write_json(folder / 'summary.json', {
        'input': f'/data/{name}', 'topic': None, 'frames': FRAMES, 'face_ratio': 1.0,
        'blinks': [0] * len(found), 'perclos': perclos, 'level_max': 'ALERT', 'backend': {
            'mesh': {'model': 'facemesh', 'backend': 'openvino', 'precision': 'fp32'}},
        'events': dict.fromkeys(
            ('BLINK', 'LONG_CLOSURE', 'MICROSLEEP', 'SLEEP', 'YAWN', 'NOD'), 0),
        'scores': scores})
    with FrameTable.open(folder / 'frames.parquet') as table:
        table.add([
            {'frame': i, 'stamp_ns': i, 'time_s': i / 25, 'present': i not in gone, 'track_id': 1,
             'primary': i not in gone, 'expression': label, 'level': 'ALERT',
             'eyes_closed': i in closed, 'openness': 0.9}
            for i, label in enumerate(expressions)])
    with event_table(folder / 'events.csv') as events:
        for span in found:
            events.writerow({**dict.fromkeys(EVENT_COLUMNS, 0), 'type': 'BLINK', 'primary': 1,
                        'start_frame': span.start, 'end_frame': span.end})
        events.writerow({**dict.fromkeys(EVENT_COLUMNS, 0), 'type': 'LEVEL_CHANGED', 'primary': 1})


@pytest.fixture
def runs(tmp_path):
    """Make two runs of four inputs: B finds a blink more in each, and one that is none."""
    for index in range(4):
        write_run(tmp_path / 'a' / f'r{index}', f'r{index}.mp4', [FrameSpan(11, 12)],
                  expressions=['sad'] * 10, gone=range(90, 95))
        write_run(tmp_path / 'b' / f'r{index}', f'r{index}.mp4',
                  [FrameSpan(10, 12), FrameSpan(52, 54), FrameSpan(30, 31)],
                  expressions=['sad'] * 4, perclos=0.03, closed=range(60, 63))
    return tmp_path


def test_differences_are_b_minus_a_with_their_interval(runs):
    found = compare.compare(compare.read_run(runs / 'a'), compare.read_run(runs / 'b'))
    by_name = {entry['name']: entry for entry in found['scores']}
    f1 = by_name['blink.f1']
    assert (f1['a'], f1['b']) == (pytest.approx(2 / 4), pytest.approx(4 / 6))
    assert f1['difference'] == pytest.approx(1 / 6)
    assert f1['interval'] == pytest.approx([1 / 6, 1 / 6])  # all inputs differ in the same way
    assert f1['verdict'] == 'B better'
    assert by_name['blink.false_per_hour']['verdict'] == 'A better'
    assert by_name['expression.accuracy']['difference'] == pytest.approx(0.06)
    assert found['measured'][1]['difference'] == pytest.approx(0.01)  # PERCLOS, unlabelled
    assert (found['inputs'], found['people']) == (4, 4)


def test_the_events_and_frames_that_differ_are_named(runs):
    entry = compare.compare(
        compare.read_run(runs / 'a'), compare.read_run(runs / 'b'))['per_input'][0]
    assert entry['events']['both'] == 1
    assert entry['events']['only_a'] == []
    assert [(e['start_frame'], e['labelled']) for e in entry['events']['only_b']] == [
        (30, False), (52, True)]
    differ = entry['frames']['differ']
    assert differ['face'] == {'n': 5, 'spans': [[90, 94]]}
    assert differ['expression'] == {'n': 6, 'spans': [[4, 9]]}
    assert differ['eyes_closed'] == {'n': 3, 'spans': [[60, 62]]}
    assert differ['level'] == {'n': 0, 'spans': []}
    assert entry['frames']['mean_absolute_difference']['openness'] == pytest.approx(0)
    assert entry['frames']['mean_absolute_difference']['valence'] is None


def test_the_command_writes_a_page_and_json_and_ends_with_0(runs, capsys):
    assert main(['evaluate', '--compare', str(runs / 'a'), str(runs / 'b'), '--output',
                 str(runs / 'out')]) == 0
    said = capsys.readouterr().out
    assert 'B better' in said
    assert 'r0.mp4: 1 events in both, 0 only in A, 2 only in B' in said
    whole = json.loads((runs / 'out' / 'comparison.json').read_text())
    assert whole['inputs'] == 4
    html = (runs / 'out' / 'comparison.html').read_text(encoding='utf-8')
    for text in ('Paired differences', '52 … 54'.replace(' ', '\N{NO-BREAK SPACE}'),
                 'href="../a/r0/report.html"', 'facemesh@openvino/fp32', 'not labelled'):
        assert text in html, text
    assert main(['evaluate', '--compare', str(runs / 'a'), str(runs / 'a'), '--output',
                 str(runs / 'same'), '--json']) == 0
    same = json.loads(capsys.readouterr().out)
    assert compare.nothing_differs(same)
    assert all(entry['difference'] == 0 for entry in same['scores'])
    assert {entry['verdict'] for entry in same['scores']} <= {'', 'not told apart'}


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason='no Chromium here to open the pages with')
def test_a_browser_draws_the_pages_over_several_inputs_without_an_error(runs):
    folders = [runs / 'b' / f'r{index}' for index in range(4)]
    summaries = [json.loads((folder / 'summary.json').read_text()) | {
        'duration_s': 4.0, 'expression_share': {'happy': 1.0}} for folder in folders]
    overview = write_overview(runs / 'b', {
        'inputs': summaries, 'pooled': pooled(summaries), 'problems': []}, folders)
    assert main(['evaluate', '--compare', str(runs / 'a'), str(runs / 'b'), '--output',
                 str(runs / 'out')]) == 0
    for page in (overview, runs / 'out' / 'comparison.html'):
        done = subprocess.run(
            [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
             '--no-first-run', '--disable-background-networking', '--disable-component-update',
             '--disable-sync', f'--user-data-dir={runs / "profile"}', '--window-size=1280,900',
             '--enable-logging=stderr', '--virtual-time-budget=8000', '--dump-dom', page.as_uri()],
            capture_output=True, text=True, timeout=PATIENT_S, check=True)
        assert not [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
        assert 'class="main-svg"' in done.stdout
        assert 'r3.mp4' in done.stdout


def test_inputs_of_one_run_only_are_left_out_and_named(runs, capsys):
    write_run(runs / 'b' / 'extra', 'extra.mp4', [])
    found = compare.compare(compare.read_run(runs / 'a'), compare.read_run(runs / 'b'))
    assert found['only_b'] == ['extra.mp4']
    assert found['inputs'] == 4
    write_run(runs / 'c', 'other.mp4', [])
    with pytest.raises(InputError, match='no input in common'):
        compare.compare(compare.read_run(runs / 'a'), compare.read_run(runs / 'c'))


@pytest.mark.parametrize(('arguments', 'said'), [
    (['--compare', 'nowhere', 'nowhere'], 'nowhere: no such folder'),
    (['--compare', '.', '.'], 'no summary.json of an input in it'),
    (['x.mp4', '--compare', '.', '.', '--thumbnails'], 'takes no INPUT, --thumbnails'),
    (['x.mp4', '--objective', 'blink.f1'], '--objective: goes with --sweep'),
    (['x.mp4', '--sweep', 'a=1:2:3', '--workers', '2'], 'one --params, one --topic and one worker'),
    ([], 'nothing to evaluate: name a rosbag2'),
    (['x.mp4', '--params', 'a', '--params', 'b', '--params', 'c'], 'two parameter files'),
])
def test_bad_use_is_one_line_and_status_2(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['evaluate', *arguments, '--output', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_damaged_run_is_told(runs):
    (runs / 'a' / 'r0' / 'events.csv').write_text('nonsense\n1\n')
    with pytest.raises(InputError, match=r'events\.csv: cannot be read'):
        compare.compare(compare.read_run(runs / 'a'), compare.read_run(runs / 'b'))
    (runs / 'a' / 'r0' / 'summary.json').write_text('{')
    with pytest.raises(InputError, match=r'summary\.json: cannot be read'):
        compare.read_run(runs / 'a')


def test_two_parameter_files_are_evaluated_and_compared(models, portrait, tmp_path, capsys):
    for name in ('one', 'two'):
        write_film(tmp_path / f'{name}.avi', [portrait] * 12, 25)
        (tmp_path / f'{name}.json').write_text(json.dumps(
            {'blinks': [], 'expression': [{'start_frame': 0, 'end_frame': 11, 'label': 'happy'}]}))
    (tmp_path / 'plain.yaml').write_text(QUICK.read_text())
    (tmp_path / 'blind.yaml').write_text(
        QUICK.read_text().removesuffix('\n') + '\n    min_face_px: 900.0\n')
    out = tmp_path / 'out'
    assert main(['evaluate', str(tmp_path / 'one.avi'), str(tmp_path / 'two.avi'), '--labels',
                 str(tmp_path), '--params', str(tmp_path / 'plain.yaml'), '--params',
                 str(tmp_path / 'blind.yaml'), '--output', str(out)]) == 0
    whole = json.loads((out / 'comparison.json').read_text())
    accuracy = next(e for e in whole['scores'] if e['name'] == 'expression.accuracy')
    assert (accuracy['a'], accuracy['b']) == (1, 0)
    assert accuracy['interval'] is None
    differ = whole['per_input'][0]['frames']['differ']
    assert differ['expression']['n'] == 12
    assert differ['face']['n'] == 0
    for page in ('comparison.html', 'plain/report.html', 'blind/two/report.html'):
        assert (out / page).is_file()
    index = (out / 'plain' / 'report.html').read_text(encoding='utf-8')
    assert 'href="one/report.html"' in index
    assert not math.isnan(whole['per_input'][0]['a']['perclos'])
