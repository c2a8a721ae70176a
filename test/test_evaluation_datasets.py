# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labels of public data sets: small files of the same form are read, others are refused."""

from __future__ import annotations

import json
import math

import pytest

from aitable_ros.errors import InputError
from aitable_ros.evaluation.datasets.formats import find, format_of, FORMATS, read
from aitable_ros.evaluation.inputs import labels_file, open_labelled
from aitable_ros.evaluation.job import fingerprint, Job
from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.types import Expression


def write(path, text='x'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def tag(*rows, end='#end\n'):
    """Write a .tag file's text; a row is (frame, blink)."""
    rest = 'X:X:X:X:X:240:204:138:122:258:224:283:225:320:226:347:224'
    return ('#some header\n#start\n'
            + ''.join(f'{frame}:{blink}:{rest}\n' for frame, blink in rows) + end)


# --- Eyeblink8, TalkingFace, Researcher's Night ---------------------------------------------------

def test_a_tag_file_gives_blinks_of_any_length(tmp_path):
    film = write(tmp_path / '3' / '26122013_223310_cam.avi')
    file = write(film.with_suffix('.tag'), tag(
        *((frame, -1) for frame in range(5)), (5, 1), (6, 1), (7, 1), (8, -1), (9, 2), (10, 3),
        (11, 3), (13, 3), (14, -1), (15, 1), (16, -1)))
    labels = read(file, film)
    assert labels.blinks == (FrameSpan(5, 7), FrameSpan(9, 9), FrameSpan(10, 13),
                             FrameSpan(15, 15))  # a number used again is another blink
    assert labels.blinks_any_length
    assert labels.closures is None
    assert labels.ignore == (FrameSpan(12, 12),)  # frame 12 has no line
    assert labels.frames == 17
    assert labels.subject == ''  # folders of Eyeblink8 are videos: it has four people in eight


def test_a_tag_file_without_its_end_is_read(tmp_path):
    file = write(tmp_path / 'talking.tag', tag((0, -1), (1, 1), (2, -1), end=''))
    labels = read(file, tmp_path / 'talking.avi')
    assert labels.blinks == (FrameSpan(1, 1),)
    assert labels.subject == ''


@pytest.mark.parametrize(('text', 'said'), [
    ('0:-1:X\n', 'no line #start'),
    ('#start\n#end\n', 'no frames between #start and #end'),
    ('#start\n0:-1:X\n#end\n', 'line 2: expected 19 fields frame:blink:'),
    (tag((0, 0)), "line 3: expected 19 fields frame:blink:..., not '0:0:X"),
    (tag((0, -1), (0, -1)), 'line 4: frame 0 is listed twice'),
])
def test_a_tag_file_of_another_form_is_refused_with_its_place(tmp_path, text, said):
    file = write(tmp_path / 'a.tag', text)
    with pytest.raises(InputError) as caught:
        read(file, tmp_path / 'a.avi')
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


# --- RT-BENE --------------------------------------------------------------------------------------

def rt_bene(folder, states, pictures):
    """Write labels by number, and pictures with these numbers."""
    file = write(folder / 's003_blink_labels.csv', ''.join(
        f'left_{number:06d}_rgb.png,{state}\n' for number, state in states.items()))
    faces = folder / 's003_noglasses' / 'natural' / 'face'
    for number in pictures:
        write(faces / f'face_{number:06d}_rgb.png')
    return file, faces


def test_rt_bene_is_read_as_a_film_whose_numbers_are_its_times(tmp_path):
    file, faces = rt_bene(
        tmp_path, {1: 0.0, 2: 1.0, 3: 1.0, 4: 0.5, 7: 0.0, 8: 1.0, 99: 1.0}, [1, 2, 3, 4, 6, 7, 8])
    labels = read(file, faces)
    assert labels.blinks == labels.shut == (FrameSpan(1, 2), FrameSpan(6, 6))
    assert labels.ignore == (FrameSpan(3, 4),)  # 4 is unsure, 6 has no label
    assert labels.subject == 's003'
    assert labels.frames == 7
    source = open_labelled(faces, None, labels)
    assert not source.stills
    assert (source.frames, source.fps, source.names) == (7, 30.0, ())
    assert labels.stamps_ns[:2] == (0, 33_333_333)
    assert labels.stamps_ns[4] == round(5e9 / 30)  # a missing picture is a gap, not a step
    assert any('2 of 7 images are not scored' in note for note in labels.notes)


@pytest.mark.parametrize(('text', 'said'), [
    ('left_000001_rgb.png,2\n', 'line 1: expected left_000001_rgb.png and 0.0, 0.5 or 1.0'),
    ('left_000001_rgb.png,0.0\nright,\n', 'line 2: expected left_000001_rgb.png'),
    ('left_000009_rgb.png,0.0\n', 'none of its 1 pictures is in'),
])
def test_rt_bene_that_does_not_fit_is_refused(tmp_path, text, said):
    file, faces = rt_bene(tmp_path, {}, [1])
    write(file, text)
    with pytest.raises(InputError) as caught:
        read(file, faces, 'rt-bene')
    assert said in str(caught.value)


def test_two_cameras_in_one_folder_are_refused(tmp_path):
    file, faces = rt_bene(tmp_path, {1: 0.0}, [1])
    write(faces / 'left_000001_rgb.png')
    with pytest.raises(InputError, match='have the same number'):
        read(file, faces)
    with pytest.raises(InputError, match='is no folder of pictures'):
        read(file, tmp_path / 'film.avi')


# --- NTHU-DDD -------------------------------------------------------------------------------------

def test_nthu_digit_strings_are_read_together(tmp_path):
    film = write(tmp_path / '001' / 'glasses' / 'sleepyCombination.avi')
    for kind, digits in (('drowsiness', '0011100'), ('head', '0110200'), ('mouth', '2211022'),
                         ('eye', '0001000')):
        write(film.parent / f'001_sleepyCombination_{kind}.txt', digits + '\n')
    assert find(film, tmp_path) == film.parent / '001_sleepyCombination_drowsiness.txt'
    labels = read(film.parent / '001_sleepyCombination_mouth.txt', film)
    assert labels.drowsy == (FrameSpan(2, 4),)
    assert labels.nods == (FrameSpan(1, 2),)
    assert labels.yawns == (FrameSpan(2, 3),)
    assert labels.periods
    assert (labels.frames, labels.subject, labels.video_class) == (7, '001', 'sleepy')
    assert labels.classes.index('not sleepy') < labels.classes.index('sleepy')
    assert 'sleepy eyes' in labels.notes[0]


@pytest.mark.parametrize(('film', 'labels'), [
    ('001/night_noglasses/slowBlinkWithNodding.avi', '001_slowBlinkWithNodding_drowsiness.txt'),
    ('001/glasses/nonsleepyCombination.avi', '001_nonSleepyCombination_drowsiness.txt'),
    ('004/004_glasses_mix.mp4', '004_glasses_mixing_drowsiness.txt'),
    ('004/004_nightnoglasses_mix.mp4', '004_nightnoglasses_mixing_drowsiness.txt'),
    ('004/004_nightnoglasses_mix.mp4', '004_night_noglasses_mixing_drowsiness.txt'),
])
def test_nthu_labels_are_found_beside_the_film_and_in_a_folder(tmp_path, film, labels):
    film = write(tmp_path / 'films' / film)
    assert find(film, tmp_path / 'films') is None
    elsewhere = write(tmp_path / 'labels' / labels, '0')
    assert find(film, tmp_path / 'labels') == elsewhere
    beside = write(film.parent / labels, '0')
    assert find(film, tmp_path / 'films') == beside


def test_nthu_files_of_different_length_are_scored_as_far_as_all_go(tmp_path):
    file = write(tmp_path / '004_glasses_mixing_drowsiness.txt', '00111')
    write(tmp_path / '004_glasses_mixing_mouth.txt', '0001')
    labels = read(file, tmp_path / '004_glasses_mix.mp4')
    assert labels.frames == 4
    assert labels.drowsy == (FrameSpan(2, 3),)
    assert labels.nods is None
    assert labels.video_class == ''
    assert 'drowsiness 5, mouth 4 frames' in labels.notes[0]


def test_nthu_refuses_other_characters_and_names(tmp_path):
    file = write(tmp_path / '001_yawning_drowsiness.txt', '0012')
    with pytest.raises(InputError, match="'2' at frame 3: expected one of the digits 0, 1 a frame"):
        read(file, tmp_path / 'yawning.avi')
    other = write(tmp_path / 'labels.txt', '0011')
    with pytest.raises(InputError, match='NTHU-DDD names its labels VIDEO_drowsiness'):
        read(other, tmp_path / 'yawning.avi', 'nthu-ddd')
    with pytest.raises(InputError, match='no digits in it'):
        read(write(file, '\n'), tmp_path / 'yawning.avi')


def test_labels_frame_by_frame_may_be_some_frames_off_and_no_more(tmp_path):
    labels = read(write(tmp_path / '1_yawning_mouth.txt', '0' * 90 + '1' * 10),
                  tmp_path / 'yawning.avi')
    labels.check(98, ())
    labels.check(None, ())
    assert labels.within(98).yawns == (FrameSpan(90, 97),)
    assert labels.within(98).ignore == ()
    assert labels.within(103).ignore == (FrameSpan(100, 102),)
    assert labels.within(50).yawns == ()
    with pytest.raises(InputError, match='labels 100 frames, but the input has 90'):
        labels.check(90, ())


# --- UTA-RLDD, YawDD ------------------------------------------------------------------------------

@pytest.mark.parametrize(('name', 'expected'), [
    ('0.mov', 'alert'), ('5.MOV', 'low vigilant'), ('10.mp4', 'drowsy'), ('10_2.mp4', 'drowsy')])
def test_uta_names_are_classes_and_folders_people(tmp_path, name, expected):
    labels = read(None, tmp_path / 'Fold1_part1' / '07' / name, 'uta-rldd')
    assert (labels.video_class, labels.subject) == (expected, '07')
    assert labels.classes == ('alert', 'low vigilant', 'drowsy')
    with pytest.raises(InputError, match='UTA-RLDD names its videos 0, 5 and 10'):
        read(None, tmp_path / '07' / 'clip10.mov', 'uta-rldd')


@pytest.mark.parametrize(('name', 'expected', 'subject'), [
    ('1-FemaleNoGlasses-Normal.avi', 'normal', 'female 1'),
    ('15-FemaleSunGlasses-Talking.avi', 'talking', 'female 15'),
    ('23-MaleGlassesBeard-Talking&Yawning.avi', 'talking and yawning', 'male 23'),
    ('12-MaleNoGlasses-Talking&yawning.avi.avi', 'talking and yawning', 'male 12'),
    ('40-MaleNoGlasses-Yawning.avi', 'yawning', 'male 40'),
    ('11-FemaleGlasses.avi.avi', 'all of them', 'female 11'),
    ('13-MaleNoGlasses .avi', 'all of them', 'male 13')])
def test_yawdd_names_are_classes(tmp_path, name, expected, subject):
    labels = read(None, tmp_path / name, 'yawdd')
    assert (labels.video_class, labels.subject) == (expected, subject)
    assert labels.video_class in labels.classes


@pytest.mark.parametrize('name', ['yawning.avi', '1-FemaleNoGlasses-Sleeping.avi'])
def test_yawdd_refuses_other_names(tmp_path, name):
    with pytest.raises(InputError, match='YawDD names its videos'):
        read(None, tmp_path / name, 'yawdd')


# --- pictures -------------------------------------------------------------------------------------

def test_a_folder_a_class_is_read_with_its_names(tmp_path):
    for name in ('happy/Training_1.jpg', 'happy/more/2.png', 'Angry/3.jpg', 'surprise/notes.txt'):
        write(tmp_path / 'test' / name)
    labels = read(None, tmp_path / 'test', 'class-folders')
    assert {name: label.expression for name, label in labels.pictures.items()} == {
        'happy/Training_1.jpg': Expression.HAPPY, 'happy/more/2.png': Expression.HAPPY,
        'Angry/3.jpg': Expression.ANGER}
    source = open_labelled(tmp_path / 'test', None, labels)
    assert source.stills
    assert set(source.names) == set(labels.pictures)
    labels.check(source.frames, source.names)
    one = read(None, tmp_path / 'test' / 'Angry', 'class-folders')
    assert list(one.pictures) == ['3.jpg']


def test_numbered_folders_need_the_data_set(tmp_path):
    write(tmp_path / '1' / 'a.jpg')
    with pytest.raises(InputError, match='numbers mean a class with --labels-format raf-db'):
        read(None, tmp_path, 'class-folders')
    assert read(None, tmp_path, 'raf-db').pictures['1/a.jpg'].expression is Expression.SURPRISE
    assert read(None, tmp_path, 'affectnet').pictures['1/a.jpg'].expression is Expression.HAPPY


def test_an_unknown_class_folder_is_named(tmp_path):
    write(tmp_path / 'happy' / 'a.jpg')
    write(tmp_path / 'bored' / 'a.jpg')
    with pytest.raises(InputError, match=r'bored: the folder is not named after a class; known'):
        read(None, tmp_path, 'class-folders')
    with pytest.raises(InputError, match='is no folder'):
        read(None, tmp_path / 'happy' / 'a.jpg', 'class-folders')


def test_raf_db_lists_pictures_that_are_called_aligned(tmp_path):
    for name in ('train_00001_aligned.jpg', 'test_0002_aligned.jpg', 'test_0003.jpg'):
        write(tmp_path / 'aligned' / name)
    file = write(tmp_path / 'list_patition_label.txt',
                 'train_00001.jpg 5\ntest_0002.jpg 1\ntest_0003.jpg 7\ntest_0004.jpg 4\n')
    labels = read(file, tmp_path / 'aligned')
    assert {name: label.expression for name, label in labels.pictures.items()} == {
        'train_00001_aligned.jpg': Expression.SAD, 'test_0002_aligned.jpg': Expression.SURPRISE,
        'test_0003.jpg': Expression.NEUTRAL}
    assert labels.notes == ('1 of 4 labelled pictures are not in the input',)
    write(file, 'train_00001.jpg 8\n')
    with pytest.raises(InputError, match=r'line 1: expected train_00001\.jpg and a class from 1 '):
        read(file, tmp_path / 'aligned')


AFFECTNET = ('subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,'
             'expression,valence,arousal\n')


def test_affectnet_gives_expression_valence_and_arousal_of_the_pictures_it_lists(tmp_path):
    for name in ('689/a.jpg', '689/b.jpg', '1/c.jpg', '1/other.jpg'):
        write(tmp_path / 'images' / name)
    file = write(tmp_path / 'validation.csv', AFFECTNET
                 + '689/a.jpg,1,1,9,9,1;2,1,0.8,-0.1\n689/b.jpg,1,1,9,9,1;2,7,-0.5,0.2\n'
                 + '1/c.jpg,1,1,9,9,1;2,8,0.1,0.3\n1/d.jpg,1,1,9,9,1;2,10,-2,-2\n')
    labels = read(file, tmp_path / 'images')
    a, b, c = (labels.pictures[name] for name in ('689/a.jpg', '689/b.jpg', '1/c.jpg'))
    assert (a.expression, a.valence, a.arousal) == (Expression.HAPPY, 0.8, -0.1)
    assert b.expression is Expression.CONTEMPT
    assert (c.expression, c.valence) == (None, 0.1)
    assert labels.files == ('689/a.jpg', '689/b.jpg', '1/c.jpg')  # and not 1/other.jpg
    assert '1 of 4 labelled pictures have neither a class nor valence' in labels.notes[0]


@pytest.mark.parametrize(('text', 'said'), [
    ('subDirectory_filePath,expression\na.jpg,1\n', 'line 1: no column valence, arousal'),
    (AFFECTNET + 'a.jpg,1,1,9,9,,11,0,0\n', 'line 2: expected a picture and a class from 0 to 10'),
    (AFFECTNET + 'a.jpg,1,1,9,9,,1,5,0\n', 'line 2: expected valence and arousal from -1 to 1'),
    (AFFECTNET + 'z.jpg,1,1,9,9,,1,0,0\n', 'none of its 1 pictures is in'),
])
def test_affectnet_of_another_form_is_refused(tmp_path, text, said):
    write(tmp_path / 'images' / 'a.jpg')
    with pytest.raises(InputError) as caught:
        read(write(tmp_path / 'v.csv', text), tmp_path / 'images')
    assert said in str(caught.value)


def test_valence_that_is_missing_is_not_zero(tmp_path):
    write(tmp_path / 'images' / 'a.jpg')
    label = read(write(tmp_path / 'v.csv', AFFECTNET + 'a.jpg,1,1,9,9,,1,-2,\n'),
                 tmp_path / 'images').pictures['a.jpg']
    assert math.isnan(label.valence)
    assert math.isnan(label.arousal)


# --- which form, and where ------------------------------------------------------------------------

@pytest.mark.parametrize(('name', 'text', 'expected'), [
    ('a.tag', '', 'tag'), ('a.json', '{}', 'aitable'),
    ('a.csv', 'file,expression\na.jpg,happy\n', 'aitable'),
    ('a.csv', 'left_000001_rgb.png,0.0\n', 'rt-bene'),
    ('a.csv', AFFECTNET, 'affectnet'),
    ('001_yawning_head.txt', '01', 'nthu-ddd'),
    ('list_patition_label.txt', 'train_00001.jpg 5\n', 'raf-db')])
def test_the_form_is_told_by_the_file(tmp_path, name, text, expected):
    assert format_of(write(tmp_path / name, text)) == expected
    assert expected in FORMATS


def test_a_form_that_nobody_knows_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match='no labels of a known form; name it with --labels-format'):
        read(write(tmp_path / 'a.txt', 'hello'), tmp_path / 'a.avi')
    with pytest.raises(InputError, match='this CSV holds the pictures themselves'):
        read(write(tmp_path / 'fer2013.csv', 'emotion,pixels,Usage\n0,70 80,Training\n'), tmp_path)
    with pytest.raises(InputError, match='cannot read the labels: No such file'):
        read(tmp_path / 'none.csv', tmp_path / 'a.avi')
    assert read(None, tmp_path / 'a.avi') is None


def test_labels_are_found_for_one_input_and_for_several(tmp_path):
    film = write(tmp_path / 'films' / 'talking.avi')
    folder = tmp_path / 'labels'
    folder.mkdir()
    with pytest.raises(InputError, match=r'talking\.json: no such labels'):
        labels_file(film, str(folder), several=False)
    assert labels_file(film, str(folder), several=True) is None
    file = write(folder / 'talking.tag', tag((0, -1)))
    assert labels_file(film, str(folder), several=True) == file
    own = write(folder / 'talking.json', json.dumps({}))
    assert labels_file(film, str(folder), several=True) == own
    assert labels_file(film, str(folder), 'tag', several=True) == file
    with pytest.raises(InputError, match='one file cannot label several inputs'):
        labels_file(film, str(file), several=True)
    with pytest.raises(InputError, match='needs --labels'):
        labels_file(film, None, 'tag', several=False)
    with pytest.raises(InputError, match='leave --labels out'):
        labels_file(film, str(folder), 'uta-rldd', several=False)
    with pytest.raises(InputError, match='--labels takes a file, not the folder'):
        labels_file(film, str(folder), 'raf-db', several=False)
    assert labels_file(film, None, 'uta-rldd', several=False) is None


def test_a_result_is_done_again_when_any_of_its_label_files_changed(tmp_path):
    film = write(tmp_path / 'yawning.avi')
    named = write(tmp_path / '001_yawning_drowsiness.txt', '01')
    mouth = write(tmp_path / '001_yawning_mouth.txt', '01')
    item = Job(path=film, output=tmp_path / 'out', labels=named)
    before = fingerprint(item)
    assert fingerprint(item) == before
    write(mouth, '00')
    assert fingerprint(item) != before
    assert fingerprint(Job(path=film, output=tmp_path / 'out', labels=named,
                            labels_format='nthu-ddd')) != fingerprint(item)
