# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The report: self-contained, robust to gaps, and right in a real browser where there is one."""

from __future__ import annotations

from base64 import b64decode
import csv
from itertools import pairwise
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
from patience import PATIENT_S
import pytest

from aitable_ros.errors import InputError
from aitable_ros.evaluation.report.elements import (
    Card, Link, PersonPosture, Plot, PostureMark, Report, Series, Span, StageProvenance, Table,
    TimelineEvent, Truth
)
from aitable_ros.evaluation.report.page import figures, write_report
from aitable_ros.evaluation.report.tables import latencies
from aitable_ros.evaluation.report.timeline import binned, POINTS, runs, thin
from aitable_ros.types import FatigueEventType

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') \
    or shutil.which('google-chrome')


PIXEL = b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9'
                  'awAAAABJRU5ErkJggg==')


def full_report(seconds: float = 40.0) -> Report:
    time_s = np.arange(0, seconds, 1 / 30)
    n = len(time_s)
    openness = np.where((time_s > 5) & (time_s < 5.2), 0.0, 1.0)
    openness[100:110] = np.nan  # nobody there
    series = Series(
        time_s=time_s, ear=openness * 0.3, openness=openness,
        perclos=np.where(time_s > 30, 0.05, np.nan), perclos_long=np.full(n, np.nan),
        level=np.where(time_s > 30, 0, 255), probabilities=np.full((n, 8), 0.125),
        valence=np.sin(time_s), arousal=np.cos(time_s))
    return Report(
        title='A <script>alert(1)</script> clip', subtitle='40 s',
        cards=[Card(label='Blinks', value='1 of 1', state='good'),
                  Card(label='Latency', value='50 ms', state='bad')],
        measured=series,
        truth=Truth(series=Series(time_s=time_s, openness=openness, perclos=np.full(n, 0.05)),
                    blinks=[Span(5, 5.2)], closures=[Span(20, 22, 'microsleep')],
                    expressions=[Span(0, 10, 'neutral')], ignore=[Span(30, 35)],
                    postures=[Span(0, 20, 'UPRIGHT')]),
        events=[TimelineEvent(FatigueEventType.BLINK, 5.0, 0.2),
                 TimelineEvent(FatigueEventType.MICROSLEEP, 20.0, 2.0, 'raised', PIXEL)],
        postures=[
            PersonPosture(name='person 1', time_s=time_s, angles={}, spans=[
                Span(0, 21, 'UPRIGHT'), Span(21, 30, 'UNKNOWN'), Span(30, 38, 'HEAD_DOWN')]),
            PersonPosture(name='body 3', time_s=time_s, angles={}, spans=[
                Span(4, 9, 'LEANING_LEFT')])],
        posture_events=[PostureMark('slumped', 30.0, 2.0, 'frames 900 … 960')],
        posture_share={'UPRIGHT': 0.7, 'HEAD_DOWN': 0.3},
        expression_share={'happy': 0.75, 'neutral': 0.25, 'sad': 0.0},
        latency_ms={'stamp → fatigue': np.array([1.0, 2.0, 40.0, np.nan])}, latency_budget_ms=33,
        stages=[StageProvenance(stage='mesh', model='facemesh', backend='openvino',
                      precision='fp32', steps=['tensorrt: not installed', 'openvino: runs'])],
        plots=[Plot(title='Score by value', description='F1 by value', caption='Grey: the plateau.',
                    figure={'data': [{'type': 'scatter', 'x': [1, 2], 'y': [0.5, 1.0]}],
                            'layout': {'height': 300}}),
               Plot(title='Angles', description='angles over time', folded=True,
                    figure={'data': [{'type': 'scatter', 'x': [1, 2], 'y': [0.5, 1.0]}],
                            'layout': {'height': 300, 'showlegend': True}})],
        tables=[Table(title='Confusion', columns=['', 'happy', 'sad'], heat=True,
                      rows=[['happy', 3, 1], ['sad', 0, 0]]),
                Table(title='Inputs', columns=['', 'F1', '95 %'], wide=True,
                      rows=[[Link('a <b>.mp4', '#a'), '0.750', '0.700 … 0.800'],
                            ['b.mp4', '–', '']])],
        picture=PIXEL, notes=['Stamps are log times.'], facts={'machine': 'test'})


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp('report') / 'deep' / 'report.html', full_report())


def test_the_file_needs_nothing_else(written):
    html = written.read_text(encoding='utf-8')
    own = html.replace(max(re.findall(r'<script>(.*?)</script>', html, re.S), key=len), '')
    assert html.count('<script>') == 2  # plotly once, and our few lines
    assert 'Plotly.newPlot' in own
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)
    assert not re.findall(r'url\(|@import|https?://', own)
    assert len(html) < 8_000_000
    assert [entry.name for entry in written.parent.iterdir()] == ['report.html']


def test_what_it_is_told_is_escaped(written):
    html = written.read_text(encoding='utf-8')
    assert 'A &lt;script&gt;alert(1)&lt;/script&gt; clip' in html
    assert '<script>alert' not in html


def test_everything_told_is_there(written):
    html = written.read_text(encoding='utf-8')
    for text in ('1 of 1', '✓ pass', '✗ fail', 'Stamps are log times.', 'tensorrt: not installed',
                 'Confusion', 'microsleep', 'raised', '75.0 %', 'Posture, share of time', '30.0 %',
                 'frames 900 … 960', '<summary>show</summary>', 'data:image/png;base64,',
                 'prefers-color-scheme: dark', '@media print', 'under 33 ms', 'Grey: the plateau.',
                 '<a href="#a">a &lt;b&gt;.mp4</a>', 'alt="microsleep at 20.00 s"',
                 '<td class="n">0.750</td>', '<th scope="col" class="n">95 %</th>'):
        assert text in html, text
    assert 'sad</span><i' not in html  # a share of nothing


def test_figures_are_json_without_nan():
    found = figures(full_report())
    assert set(found) == {'timeline', 'circumplex', 'plot-1', 'plot-2'}
    assert found['plot-2']['layout']['showlegend']
    json.dumps(found, allow_nan=False)
    titles = ' '.join(a['text'] for a in found['timeline']['layout']['annotations'])
    for word in ('Events', 'Openness', 'EAR', 'PERCLOS', 'Level', 'Posture', 'head down',
                 'Expression', 'valence'):
        assert word in titles
    axes = [key for key in found['timeline']['layout'] if key.startswith('yaxis')]
    strips = next(axis for axis in map(found['timeline']['layout'].get, axes)
                  if 'body 3' in axis.get('ticktext', ()))
    assert strips['ticktext'] == ['body 3', '✓ labelled', 'person 1']
    domains = sorted(found['timeline']['layout'][axis]['domain'] for axis in axes)
    assert all(0 <= low < high <= 1 for low, high in domains)
    assert all(below[1] < above[0] for below, above in pairwise(domains))


@pytest.mark.parametrize('report', [
    Report(title='empty'),
    Report(title='no frames', measured=Series(time_s=np.zeros(0), openness=np.zeros(0),
                                              level=np.zeros(0, int), valence=np.zeros(0),
                                              arousal=np.zeros(0), probabilities=np.zeros((0, 8)))),
    Report(title='one frame', measured=Series(
        time_s=np.zeros(1), openness=np.full(1, np.nan), level=np.full(1, 255),
        probabilities=np.full((1, 8), np.nan))),
    Report(title='truth alone', truth=Truth(series=Series(
        time_s=np.arange(3.0), openness=np.ones(3), perclos=np.zeros(3)))),
], ids=lambda report: report.title)
def test_a_section_without_data_does_not_appear(tmp_path, report):
    html = write_report(tmp_path / 'report.html', report).read_text(encoding='utf-8')
    assert report.title in html
    assert 'id="circumplex"' not in html
    assert '<table>' not in html


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=r'report\.html: cannot be written'):
        write_report(tmp_path / 'file' / 'report.html', Report(title='x'))


def test_thinning_keeps_a_single_frame_blink():
    time_s = np.arange(100_000) / 30
    openness = np.ones(100_000)
    openness[54_321] = 0.0
    x, y = thin(time_s, openness)
    assert len(x) <= POINTS
    assert y.min() == 0.0
    assert x[y.argmin()] == time_s[54_321]
    assert (np.diff(x) > 0).all()


def test_binning_leaves_unknown_time_unknown():
    shares = np.full((6000, 8), 0.125)
    shares[:3000] = np.nan
    _, means = binned(np.arange(6000.0), shares)
    assert np.isnan(means[:300]).all()
    assert means[300:] == pytest.approx(0.125)


def test_runs_of_equal_labels_join():
    assert runs(np.arange(5.0), ['a', 'a', 'b', 'b', 'a']) == [
        Span(0, 2, 'a'), Span(2, 4, 'b'), Span(4, 4, 'a')]


def test_latency_percentiles_and_the_budget():
    (row,) = latencies(Report(
        title='x', latency_ms={'a': np.arange(101.0), 'none': np.full(3, np.nan)},
        latency_budget_ms=90))
    assert (row['p50'], row['p95'], row['p99'], row['max'], row['over']) == (50, 95, 99, 100, True)


def test_series_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r'Series\.ear has 2 values for 3 times'):
        Series(time_s=np.zeros(3), ear=np.zeros(2))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason='no Chromium here to open the report with')
def test_a_browser_draws_it_without_an_error_and_the_keyboard_reaches_it(written, tmp_path):
    page = tmp_path / 'probe.html'
    probe = """<script>
      const key = (name) => timeline.dispatchEvent(new KeyboardEvent('keydown', {key: name}));
      setTimeout(() => {
        const before = timeline.layout.xaxis.range.slice();
        timeline.focus(); key('+'); key('ArrowRight');
        const fold = document.querySelector('details.chart-fold'); fold.open = true;
        setTimeout(() => {
          const after = timeline.layout.xaxis.range.slice(); key('0');
          document.title = JSON.stringify({
            focused: document.activeElement.id, before, after,
            unfolded: fold.querySelector('.main-svg').getBoundingClientRect().width,
            traces: document.querySelectorAll('.js-plotly-plot .trace').length,
            wide: document.documentElement.scrollWidth <= innerWidth,
            unreachable: [...document.querySelectorAll('a, summary, .chart')].filter(
              (e) => e.tabIndex < 0).length,
            unnamed: [...document.querySelectorAll('.chart, img')].filter(
              (e) => !(e.getAttribute('aria-label') || e.getAttribute('alt'))).length,
            drawn: [...document.querySelectorAll('.chart')].filter(
              (e) => e.querySelector('.main-svg')).length,
            broken: [...document.images].filter((e) => !e.naturalWidth).length});
        }, 500);
      }, 500);</script></body>"""
    page.write_text(
        written.read_text(encoding='utf-8').replace('</body>', probe), encoding='utf-8')
    done = subprocess.run(
        [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         f'--user-data-dir={tmp_path / "profile"}', '--window-size=1280,900',
         '--enable-logging=stderr', '--virtual-time-budget=8000', '--dump-dom', page.as_uri()],
        capture_output=True, text=True, timeout=PATIENT_S, check=True)
    said = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    assert not said
    found = json.loads(re.search(r'<title>(\{.*?\})</title>', done.stdout).group(1))
    assert found['focused'] == 'timeline'
    assert found['traces'] >= 15
    assert found['wide']
    assert found['unreachable'] == 0
    assert found['unnamed'] == 0
    assert found['drawn'] == 4
    assert found['unfolded'] > 900, 'as wide as the page'
    assert found['broken'] == 0
    width = found['before'][1] - found['before'][0]
    assert found['after'][1] - found['after'][0] == pytest.approx(width / 2)
    assert found['after'][0] > found['before'][0]


def test_thumbnails_show_the_face_at_each_event_of_the_person(talking_woman):
    html = (talking_woman / 'report.html').read_text(encoding='utf-8')
    with (talking_woman / 'events.csv').open(newline='', encoding='utf-8') as lines:
        events = [row for row in csv.DictReader(lines)
                  if row['primary'] == '1' and row['type'] != 'LEVEL_CHANGED']
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(pictures) == len(events) >= 6
    image = cv2.imdecode(np.frombuffer(b64decode(pictures[0]), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (112, 112, 3)
    assert image.std() > 20
