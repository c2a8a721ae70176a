# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable evaluate`` on folders laid out as public data sets are, with the real models."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
from films import write_film
import numpy as np
import pytest

from aitable_ros.cli import main
from aitable_ros.tools.clip import ScriptedClip

QUICK = ('--params', Path(__file__).parent / 'data' / 'quick.yaml')

FPS = 30
CLIP_S = 8


def run(*arguments) -> int:
    quick = () if {'--params', '--compare'} & set(arguments) else QUICK
    return main(['evaluate', *map(str, (*arguments, *quick))])


def summary_of(folder):
    return json.loads((folder / 'summary.json').read_text())


@pytest.fixture(scope='module')
def clip():
    """Make a photographed person who blinks to a script; as VGA it is quick."""
    return ScriptedClip(fps=FPS, seconds=CLIP_S, size=(640, 480))


@pytest.fixture(scope='module')
def rt_bene(clip, models, tmp_path_factory):
    """Write the clip as RT-BENE is: numbered faces, of which some are missing, and a CSV."""
    root = tmp_path_factory.mktemp('rt-bene')
    faces = root / 's004_noglasses' / 'natural' / 'face'
    faces.mkdir(parents=True)
    rows = []
    for index, (frame, closure) in enumerate(clip):
        state = 1.0 if closure >= 0.8 else 0.0 if closure <= 0.2 else 0.5
        rows.append(f'left_{index + 1:06d}_rgb.png,{state}\n')
        if index % 97 != 50:
            name = str(faces / f'face_{index + 1:06d}_rgb.jpg')
            cv2.imwrite(name, frame.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    (root / 's004_blink_labels.csv').write_text(''.join(rows))
    return root, faces


def test_rt_bene_is_scored_by_blinks_and_by_frames_in_one_command(clip, rt_bene, tmp_path):
    root, faces = rt_bene
    assert run(faces, '--labels', root, '--output', tmp_path) == 0
    summary = summary_of(tmp_path)
    missing = sum(index % 97 == 50 for index in range(clip.frames))
    assert summary['frames'] == clip.frames - missing
    assert summary['duration_s'] == pytest.approx(CLIP_S, abs=0.05)
    assert summary['subject'] == 's004'
    blink, eyes = summary['scores']['blink'], summary['scores']['eyes_shut']
    assert blink['tp'] == len(clip.truth.blinks) > 0
    assert (blink['fp'], blink['fn']) == (0, 0)
    assert eyes['accuracy'] > 0.95
    assert eyes['tp'] > 0
    assert any('read as a film: the numbers in the names' in note for note in summary['notes'])
    assert 'numbered images' in (tmp_path / 'report.html').read_text()


def test_a_tag_file_beside_its_film_is_found(clip, models, tmp_path):
    film = tmp_path / '5' / 'cam.avi'
    film.parent.mkdir()
    write_film(film, (frame.image for frame, _ in clip), FPS)
    rows = []
    for index, _ in enumerate(clip):
        blink = next((number for number, item in enumerate(clip.truth.blinks, 1)
                      if item.start_frame <= index <= item.end_frame), -1)
        rows.append(f'{index}:{blink}:' + ':'.join(['X'] * 5 + ['9'] * 12) + '\n')
    film.with_suffix('.tag').write_text('#start\n' + ''.join(rows) + '#end\n')
    assert run(film, '--labels', tmp_path, '--output', tmp_path / 'out') == 0
    summary = summary_of(tmp_path / 'out')
    assert summary['scores']['blink']['f1'] == 1
    assert summary['scores']['blink']['tp'] == len(clip.truth.blinks)


def film_of(path, picture, frames=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_film(path, [picture] * frames)


def test_videos_whose_names_are_their_classes_give_a_table_by_class(
        models, portrait, tmp_path, capsys):
    picture = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    films = tmp_path / 'Fold1_part1'
    for person in ('01', '02', '03'):
        for name in ('0.avi', '10.avi'):
            film_of(films / person / name, picture, frames=10)
    film_of(films / '04' / 'notes.avi', picture)
    assert run(str(films / '*' / '*.avi'), '--labels-format', 'uta-rldd', '--output',
               tmp_path / 'out') == 2  # one name says no class; the others are done
    out = capsys.readouterr()
    assert 'notes.avi: UTA-RLDD names its videos 0, 5 and 10' in out.err
    assert 'Levels and figures by labelled class' in out.out
    pooled = summary_of(tmp_path / 'out')['pooled']['video_class']
    assert pooled['people'] == 3
    assert {name: entry['inputs'] for name, entry in pooled['classes'].items()} == {
        'alert': 3, 'drowsy': 3}
    # The films are the same, so no figure tells the classes apart.
    assert {entry['auc'] for entry in pooled['auc']} <= {0.5}
    html = (tmp_path / 'out' / 'report.html').read_text()
    assert 'How well each figure tells two classes apart' in html
    assert run('--compare', tmp_path / 'out', tmp_path / 'out', '--output', tmp_path / 'same') == 0


def test_nthu_films_are_scored_by_frames_and_refused_where_the_labels_are_of_another(
        models, portrait, tmp_path, capsys):
    picture = np.ascontiguousarray(
        cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA))
    film = tmp_path / '001' / 'glasses' / 'nonsleepyCombination.avi'
    film_of(film, picture)
    labels = film.parent / '001_nonsleepyCombination_drowsiness.txt'
    labels.write_text('0' * 31)
    labels.with_name('001_nonsleepyCombination_mouth.txt').write_text('2' * 31)
    assert run(film, '--labels', tmp_path, '--output', tmp_path / 'out') == 0
    scores = summary_of(tmp_path / 'out')['scores']
    assert scores['drowsy']['n'] == 30
    assert 'the labels list 31 frames, the input has 30: frames that only one of them has are ' \
        'not scored' in summary_of(tmp_path / 'out')['notes']
    assert scores['drowsy']['accuracy'] == 1
    assert scores['yawns']['f1'] == 1
    assert scores['video_class']['class'] == 'not sleepy'
    labels.write_text('0' * 60)
    labels.with_name('001_nonsleepyCombination_mouth.txt').unlink()
    assert run(film, '--labels', tmp_path, '--output', tmp_path / 'again') == 2
    assert 'labels 60 frames, but the input has 30' in capsys.readouterr().err


def test_pictures_in_a_folder_a_class_are_scored_and_a_bad_one_is_named(
        models, portrait, tmp_path, capsys):
    root = tmp_path / 'test'
    for name, picture in (('happy/1.jpg', portrait[..., ::-1]),
                          ('sad/2.jpg', np.full((200, 200, 3), 90, np.uint8))):
        (root / name).parent.mkdir(parents=True)
        cv2.imwrite(str(root / name), picture)
    assert run(root, '--labels-format', 'class-folders', '--output', tmp_path / 'out') == 0
    scores = summary_of(tmp_path / 'out')['scores']
    assert scores['expression']['confusion'] == {'happy': {'happy': 1}, 'sad': {'unknown': 1}}
    (root / 'sad' / '3.jpg').write_text('no picture')
    capsys.readouterr()
    assert run(root, '--labels-format', 'class-folders', '--output', tmp_path / 'bad') == 2
    assert '3.jpg' in capsys.readouterr().err
    assert summary_of(tmp_path / 'bad')['frames'] == 2


def test_labels_of_pictures_do_not_fit_a_film(models, portrait, tmp_path, capsys):
    film_of(tmp_path / 'a.avi', np.zeros((256, 256, 3), np.uint8), frames=2)
    file = tmp_path / 's001_blink_labels.csv'
    file.write_text('left_000001_rgb.png,0.0\n')
    assert run(tmp_path / 'a.avi', '--labels', file, '--output', tmp_path / 'out') == 2
    assert 'labels pictures, but' in capsys.readouterr().err
