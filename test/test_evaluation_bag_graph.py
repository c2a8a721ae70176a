# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A bag gives the same answer offline and through the real nodes, at whatever rate it is played."""

from __future__ import annotations

import csv
import json
from pathlib import Path
import subprocess
import sys

from patience import PATIENT_S
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from test_evaluation_bag_topics import Image, image_message
from test_evaluation_readers import START_NS, STORE

from aitable_ros.cli import main
from aitable_ros.tools.clip import ScriptedClip

FPS = 20
SECONDS = 12
RATE = 2
BAG = Path(__file__).resolve().parent / 'data' / 'recordings' / 'two_channels.mcap'
AITABLE = [sys.executable, '-m', 'aitable_ros']


@pytest.fixture(scope='module')
def recording(models, tmp_path_factory):
    """Make a bag of the scripted clip, and evaluate it offline."""
    folder = tmp_path_factory.mktemp('same')
    clip = ScriptedClip(fps=FPS, seconds=SECONDS, size=(640, 360))
    with Writer(folder / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for number, topic in enumerate(('/camera/image_raw', '/idle/image_raw')):
            camera = writer.add_connection(topic, Image.__msgtype__, typestore=STORE)
            for frame, _ in (clip if not number else ()):
                stamp_ns = START_NS + frame.stamp_ns
                writer.write(camera, stamp_ns + 1_000_000, STORE.serialize_cdr(
                    image_message(frame.image, stamp_ns), Image.__msgtype__))
    assert main(['evaluate', str(folder / 'bag'), '--output', str(folder / 'offline')]) == 0
    return folder


def summary_of(folder):
    return json.loads((folder / 'summary.json').read_text())


def blinks_of(folder):
    """Return (start, end) of the primary person's blinks in seconds of the recording's clock."""
    with (folder / 'events.csv').open(newline='') as file:
        return [
            (int(row['start_ns']) / 1e9, int(row['start_ns']) / 1e9 + float(row['duration_s']))
            for row in csv.DictReader(file) if row['type'] == 'BLINK' and row['primary'] == '1']


@pytest.mark.slow
def test_the_played_bag_gives_the_blinks_and_perclos_of_the_evaluation(recording, tmp_path):
    done = subprocess.run(
        [*AITABLE, 'demo', '--input', str(recording / 'bag'), '--rate', str(RATE), '--no-browser',
         '--output', str(tmp_path / 'demo')], capture_output=True, text=True, timeout=PATIENT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / 'demo' / 'camera.csv').open(newline='') as file:
        sent = list(csv.DictReader(file))
    assert [int(row['stamp_ns']) for row in sent] == [
        START_NS + round(index * 1e9 / FPS) for index in range(FPS * SECONDS)]
    took_s = (int(sent[-1]['sent_ns']) - int(sent[0]['sent_ns'])) / 1e9
    assert took_s > 0.9 * SECONDS / RATE, 'no sooner, on the busiest machine'
    told = summary_of(tmp_path / 'demo')
    assert told['frames'] == FPS * SECONDS
    assert told['face_ratio'] > 0.9
    assert [check['name'] for check in told['verdict']] == ['faces'], 'no truth to ask for more'
    assert f"answered {told['answered']} of {told['frames']} images" in done.stdout
    assert 0 < told['latency_ms']['fatigue']['p50'] < 1000, 'from the sending, not the stamp'
    offline = summary_of(recording / 'offline')
    dropped = told['frames'] - told['answered']
    if dropped > 0.1 * told['frames']:
        pytest.skip(f'this machine is too busy to play at {RATE}×: {dropped} images dropped')
    assert told['perclos'] == pytest.approx(offline['perclos'], abs=0.01)
    expected, found = blinks_of(recording / 'offline'), blinks_of(tmp_path / 'demo')
    assert len(expected) >= 3
    assert len(found) == len(expected)
    for (start, end), (told_start, told_end) in zip(expected, found):
        assert told_start == pytest.approx(start, abs=2.5 / FPS)
        assert told_end == pytest.approx(end, abs=2.5 / FPS)


@pytest.mark.parametrize(('arguments', 'said'), [
    (('--rate', '3'), '--rate is for a bag or a video'),
    (('--input', 'BAG', '--rate', '0'), '--rate takes a number above 0'),
    (('--input', 'BAG', '--topic', '/other'), "no topic '/other'")])
def test_bad_arguments_are_one_line(
        tmp_path, environment_of_nodes, capfd, arguments, said):
    given = [str(BAG) if word == 'BAG' else word for word in arguments]
    assert main(['demo', '--no-browser', '--output', str(tmp_path / 'demo'), *given]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert said in line
