# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Bags as robots leave them behind: cut off, split, with foreign types; and several cameras."""

from __future__ import annotations

import json
from pathlib import Path
import random
import shutil
import sqlite3

import lz4.frame
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from test_evaluation_readers import jpeg, LOG_LATE_NS, PERIOD_NS, raw, START_NS, STORE, write_bag

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.recordings.readers import open_source

QUICK = ('--params', str(Path(__file__).parent / 'data' / 'quick.yaml'))
COUNT = 40
CHUNK_BYTES = 20_000
"""About eight of the small images."""


def write_mcap(path: Path, compression: str, count: int = COUNT, first: int = 0) -> Path:
    """Write images in small chunks, compressed in any way that the format knows."""
    noise = np.random.default_rng(3)
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    if compression == 'zstd':
        from rosbags.rosbag2.enums import CompressionFormat
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        if compression == 'lz4':  # ros2's writer knows it, rosbags' does not
            writer.storage.compression, writer.storage.compressor = 'lz4', lz4.frame.compress
        connection = writer.add_connection('/image', raw(0).__msgtype__, typestore=STORE)
        for index in range(first, first + count):
            message = raw(index)
            message.data[1::3] = noise.integers(0, 255, 24 * 32)  # so that it does not vanish
            writer.write(
                connection, START_NS + index * PERIOD_NS + LOG_LATE_NS,
                STORE.serialize_cdr(message, message.__msgtype__))
            if writer.storage.chunk.bio.tell() > CHUNK_BYTES:
                writer.storage.close_chunk()
    return next(path.glob('*.mcap'))


def read(path) -> tuple[list[int], str]:
    """Return the numbers of the frames that can be read, and what is said of the end."""
    numbers, problem = [], ''
    try:
        numbers.extend(
            round((frame.stamp_ns - START_NS) / PERIOD_NS) for frame in open_source(path))
    except InputError as error:
        problem = str(error)
    return numbers, problem


@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
def test_an_mcap_is_read_in_every_compression_up_to_where_it_was_cut(tmp_path, compression):
    file = write_mcap(tmp_path / 'bag', compression)
    assert read(file) == (list(range(COUNT)), '')
    whole = file.read_bytes()
    for share, least in ((0.9, 25), (0.6, 15), (0.35, 5)):
        cut = tmp_path / f'cut_{share}.mcap'
        cut.write_bytes(whole[:round(len(whole) * share)])
        numbers, problem = read(cut)
        assert numbers == list(range(len(numbers)))
        assert least <= len(numbers) < COUNT
        assert f'{cut}: truncated' in problem
        assert f'{len(numbers)} messages' in problem
        assert '\n' not in problem


def test_only_the_end_of_an_mcap_is_missing_and_nothing_is_lost(tmp_path):
    file = write_mcap(tmp_path / 'bag', 'zstd')
    file.write_bytes(file.read_bytes()[:-12])
    numbers, problem = read(file)
    assert numbers == list(range(COUNT))
    assert 'truncated' in problem


def test_of_a_split_bag_whose_last_file_was_cut_the_rest_is_read(tmp_path):
    """As after a power cut: no metadata.yaml, and no end of the last file."""
    bag = tmp_path / 'drive'
    bag.mkdir()
    for part in range(3):
        file = write_mcap(tmp_path / f'part_{part}', 'zstd', 20, first=20 * part)
        shutil.copy(file, bag / f'drive_{part}.mcap')
    last = bag / 'drive_2.mcap'
    last.write_bytes(last.read_bytes()[:round(last.stat().st_size * 0.5)])
    numbers, problem = read(bag)
    assert numbers == list(range(len(numbers)))
    assert 44 < len(numbers) < 60
    assert 'drive_2.mcap: truncated' in problem


@pytest.mark.parametrize('storage', StoragePlugin)
def test_damage_anywhere_is_one_line_and_never_a_traceback(tmp_path, storage):
    dice = random.Random(5)
    if storage is StoragePlugin.MCAP:
        good = write_mcap(tmp_path / 'bag', 'zstd')
    else:
        write_bag(tmp_path / 'bag', {'/image': [raw(i) for i in range(COUNT)]})
        good = tmp_path / 'bag' / 'bag.db3'
    whole = good.read_bytes()
    for attempt in range(40):
        damaged = bytearray(whole[:dice.randrange(1, len(whole))] if attempt % 2 else whole)
        for _ in range(dice.randrange(1, 30)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        bad = tmp_path / f'bad{good.suffix}'
        bad.write_bytes(damaged)
        _, problem = read(bad)
        assert '\n' not in problem


def test_a_cut_sqlite_bag_gives_what_is_in_its_whole_pages(tmp_path):
    write_bag(tmp_path / 'bag', {'/image': [raw(i) for i in range(200)]})
    file = tmp_path / 'bag' / 'bag.db3'
    file.write_bytes(file.read_bytes()[:round(file.stat().st_size * 0.6)])
    numbers, problem = read(file)
    assert numbers == list(range(len(numbers)))
    assert 'bag.db3' in problem
    assert 'recover' in problem or 'malformed' in problem


def test_what_a_recorder_left_in_its_write_ahead_log_is_read(tmp_path):
    write_bag(tmp_path / 'bag', {'/image': [raw(i) for i in range(3)]})
    file = tmp_path / 'bag' / 'bag.db3'
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    writer = sqlite3.connect(file)
    writer.execute('PRAGMA journal_mode=WAL')
    data = STORE.serialize_cdr(raw(3), raw(3).__msgtype__)
    writer.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES (1, ?, ?)',
                   (START_NS + 3 * PERIOD_NS, bytes(data)))
    writer.commit()
    left = tmp_path / 'left'
    left.mkdir()
    for part in tmp_path.glob('bag/bag.db3*'):  # as they are while the recorder still lives
        shutil.copy(part, left / part.name)
    writer.close()
    assert read(left)[0] == [0, 1, 2, 3]


def test_an_sqlite_bag_with_definitions_in_idl_is_read(tmp_path):
    write_bag(tmp_path / 'bag', {'/image': [raw(0), raw(1)]})
    database = sqlite3.connect(tmp_path / 'bag' / 'bag.db3')
    idl = '=' * 80 + '\nIDL: sensor_msgs/msg/Image\nmodule sensor_msgs {};'
    database.execute(
        "UPDATE message_definitions SET encoding='ros2idl', encoded_message_definition=?", (idl,))
    database.commit()
    database.close()
    assert read(tmp_path / 'bag') == ([0, 1], '')


@pytest.mark.parametrize('storage', StoragePlugin)
def test_types_that_nobody_knows_are_passed_over(tmp_path, storage):
    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=storage)
    with writer:
        camera = writer.add_connection('/image', raw(0).__msgtype__, typestore=STORE)
        odd = writer.add_connection(
            '/odd', 'acme_msgs/msg/Odd', msgdef='acme_msgs/Thing[<=7] things\nbroken', rihs01='x')
        for index in range(4):
            writer.write(odd, START_NS + index, b'\x00\x01\x00\x00 who knows')
            writer.write(camera, START_NS + index,
                         STORE.serialize_cdr(raw(index), raw(index).__msgtype__))
    assert read(tmp_path / 'bag') == ([0, 1, 2, 3], '')


@pytest.mark.parametrize('strict', [False, True])
def test_a_message_that_is_cut_is_counted_or_with_strict_the_end(tmp_path, strict):
    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP)
    with writer:
        camera = writer.add_connection('/image', raw(0).__msgtype__, typestore=STORE)
        for index in range(3):
            data = STORE.serialize_cdr(raw(index), raw(0).__msgtype__)
            writer.write(camera, START_NS + index, bytes(data[:60] if index == 1 else data))
    source = open_source(tmp_path / 'bag', strict=strict)
    if strict:
        with pytest.raises(InputError, match='number 1: a message of 60 bytes is no whole image'):
            list(source)
        return
    assert len(list(source)) == 2
    assert source.notes == [
        '1 of 3 images cannot be used and are left out; the first is number 1: a message of 60 '
        'bytes is no whole image; damaged?']


def test_a_bag_cut_off_keeps_its_results_and_says_so_with_status_2(models, tmp_path, capsys):
    file = write_mcap(tmp_path / 'bag', 'zstd')
    file.write_bytes(file.read_bytes()[:file.stat().st_size // 2])
    assert main(['evaluate', str(file), *QUICK, '--output', str(tmp_path / 'out')]) == 2
    assert 'truncated' in capsys.readouterr().err
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert 10 < summary['frames'] < COUNT
    assert 'truncated' in summary['partial']


@pytest.mark.parametrize(('asked', 'folders'), [
    (['*'], ['front_image', 'left_image', 'right_image']),
    (['/left/*', '/front/image'], ['front_image', 'left_image']),
    (['left/image', '/right/image'], ['left_image', 'right_image'])])
def test_several_cameras_of_a_bag_give_a_result_each(models, tmp_path, asked, folders):
    bag = write_bag(tmp_path / 'bag', {
        '/left/image': [raw(i) for i in range(3)], '/right/image': [jpeg(i) for i in range(4)],
        '/front/image': [raw(0, 'bgr8'), raw(1, 'bgr8')], '/idle': []})
    arguments = [word for topic in asked for word in ('--topic', topic)]
    assert main(['evaluate', str(bag), *arguments, *QUICK, '--output', str(tmp_path / 'out')]) == 0
    together = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert sorted(path.name for path in (tmp_path / 'out').iterdir() if path.is_dir()) == folders
    frames = {'/left/image': 3, '/right/image': 4, '/front/image': 2}
    for entry in together['inputs']:
        assert entry['frames'] == frames[entry['topic']]
    assert len(together['inputs']) == len(folders)


def test_a_camera_that_is_not_there_does_not_stop_the_others(models, tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag', {'/left': [raw(0)], '/right': [raw(1)]})
    status = main(['evaluate', str(bag), '--topic', '/left', '--topic', '/top', *QUICK, '--output',
                   str(tmp_path / 'out')])
    assert status == 2
    assert "no topic '/top'" in capsys.readouterr().err
    assert (tmp_path / 'out' / 'left' / 'summary.json').is_file()
