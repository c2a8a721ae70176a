# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recordings as people have them: each a report of somebody's trouble, with its right answer."""

from __future__ import annotations

from io import BytesIO
import json
import os
from pathlib import Path
import shutil
import struct
import tarfile
import zlib

import cv2
import numpy as np
from PIL import Image as Picture
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from rosbags.typesys import get_typestore, Stores
from test_evaluation_bag import write_mcap
from test_evaluation_readers import (
    CompressedImage, Header, jpeg, PERIOD_NS, picture, raw, START_NS, STORE, String, Time,
    write_bag, write_video
)

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.recordings.readers import open_source
from aitable_ros.recordings.storage import open_storage

QUICK = ('--params', Path(__file__).parent / 'data' / 'quick.yaml')

DATA = Path(__file__).resolve().parent / 'data' / 'recordings'
SECOND = 10 ** 9


def read(path, **options):
    """Return the source, its stamps, and what is said of its end."""
    source = open_source(path, **options)
    stamps, problem = [], ''
    try:
        stamps.extend(frame.stamp_ns for frame in source)
    except InputError as error:
        problem = str(error)
    assert '\n' not in problem
    return source, stamps, problem


def evaluate(*arguments):
    """Run the command; return its status and the summary, if there is one."""
    output = arguments[arguments.index('--output') + 1]
    quick = () if '--params' in arguments else QUICK
    status = main(['evaluate', *map(str, (*arguments, *quick))])
    summary = Path(output) / 'summary.json'
    return status, json.loads(summary.read_text()) if summary.is_file() else None


def stamped(stamp_ns, index=0):
    message = jpeg(index)
    message.header = Header(stamp=Time(stamp_ns // SECOND, stamp_ns % SECOND), frame_id='camera')
    return message


def bag_of_stamps(path, stamps, logs=None):
    """Write an image for each stamp; the log time is even unless given."""
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    with writer:
        camera = writer.add_connection('/image', CompressedImage.__msgtype__, typestore=STORE)
        for index, stamp_ns in enumerate(stamps):
            log_ns = logs[index] if logs else START_NS + index * SECOND // 30
            writer.write(camera, log_ns, STORE.serialize_cdr(
                stamped(stamp_ns, index), CompressedImage.__msgtype__))
    return path


# --- storage --------------------------------------------------------------------------------------

def test_two_channels_of_one_topic_are_both_read_and_copied(models, tmp_path):
    path = DATA / 'two_channels.mcap'
    source, stamps, _ = read(path)
    assert source.frames == len(stamps) == 30
    assert stamps == sorted(stamps)
    status, summary = evaluate(path, '--output', tmp_path / 'o', '--write-bag', tmp_path / 'bag')
    assert (status, summary['frames'], summary['duration_s']) == (0, 30, 1.0)
    with open_storage(next((tmp_path / 'bag').glob('*.mcap'))) as copy:
        assert copy.topics['/cam/compressed'].count == 30


def test_an_mcap_needs_no_index_of_messages():
    source, stamps, _ = read(DATA / 'no_message_index.mcap')
    assert len(stamps) == source.frames == 30
    assert not source.notes


def chunks_of(file):
    """Return the stretches of an mcap: what is before, each chunk with its indexes, the rest."""
    whole = file.read_bytes()
    parts, at, begin = [], 8, 0
    while at < len(whole) - 8:
        code, size = struct.unpack_from('<BQ', whole, at)
        if code == 6:
            parts.append(whole[begin:at])
            begin = at
        elif code == 0x0f:
            break
        at += 9 + size
    return [*parts, whole[begin:at]]


@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
def test_chunks_in_another_order_are_put_right(tmp_path, compression):
    """With or without an index; the order is that of the log time."""
    head, *chunks = chunks_of(write_mcap(tmp_path / 'bag', compression))
    assert len(chunks) > 3
    file = tmp_path / 'mixed.mcap'
    file.write_bytes(head + b''.join(reversed(chunks)))
    _, stamps, problem = read(file)
    assert stamps == [START_NS + i * PERIOD_NS for i in range(40)]
    assert 'truncated' in problem


def test_a_damaged_chunk_costs_its_messages_and_is_told(tmp_path):
    file = write_mcap(tmp_path / 'bag', 'zstd')
    head, first, second, *_ = chunks_of(file)
    data = bytearray(file.read_bytes())
    at = len(head) + len(first) + len(second) // 4
    data[at:at + len(second) // 2] = bytes(len(second) // 2)
    file.write_bytes(data)
    _, stamps, problem = read(file)
    assert 30 <= len(stamps) < 40
    assert stamps[-1] == START_NS + 39 * PERIOD_NS
    assert f'{file}: damaged: the chunk at byte {len(head) + len(first)}' in problem


@pytest.mark.parametrize('named', ['file', 'folder'])
@pytest.mark.parametrize('storage', StoragePlugin)
def test_messages_compressed_one_by_one_need_no_metadata(tmp_path, storage, named):
    path = write_bag(tmp_path / 'bag', {'/image': [jpeg(i) for i in range(30)]}, storage,
                     CompressionMode.MESSAGE)
    (path / 'metadata.yaml').unlink()
    file = next(path.iterdir())
    assert len(read(file if named == 'file' else path)[1]) == 30


def test_a_file_that_was_unpacked_by_hand_is_read_in_place_of_the_packed_one(tmp_path):
    import zstandard

    path = write_bag(tmp_path / 'bag', {'/image': [jpeg(i) for i in range(10)]},
                     StoragePlugin.MCAP, CompressionMode.FILE)
    packed = path / 'bag.mcap.zstd'
    (path / 'bag.mcap').write_bytes(
        zstandard.ZstdDecompressor().stream_reader(packed.read_bytes()).read())
    packed.unlink()
    source, stamps, _ = read(path)
    assert len(stamps) == 10
    assert source.notes == ['metadata.yaml names bag.mcap.zstd; bag.mcap is read in its place']


def test_what_macos_leaves_beside_the_files_is_passed_over(tmp_path):
    path = write_bag(tmp_path / 'bag', {'/image': [jpeg(i) for i in range(10)]},
                     StoragePlugin.MCAP)
    (path / 'metadata.yaml').unlink()
    (path / '._bag.mcap').write_bytes(b'\x00\x05\x16\x07' + bytes(92))
    assert len(read(path)[1]) == 10
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    for index in range(3):
        cv2.imwrite(str(pictures / f'IMG_{index}.JPG'), picture(index))
        (pictures / f'._IMG_{index}.JPG').write_bytes(b'\x00\x05\x16\x07' + bytes(92))
    assert len(read(pictures)[1]) == 3


def test_a_name_in_a_file_cannot_break_the_line(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/a\n[ERROR] all is well\0': [jpeg(0)], '/b': [jpeg(1)]})
    with pytest.raises(InputError) as caught:
        open_source(bag)
    assert str(caught.value).isprintable()
    assert r'/a\n[ERROR]' in str(caught.value)


def test_metadata_that_counts_nothing_is_not_believed(tmp_path):
    """As a recorder leaves it that was killed after the first lines."""
    path = write_bag(tmp_path / 'bag', {'/image': [jpeg(i) for i in range(4)]})
    index = path / 'metadata.yaml'
    index.write_text(index.read_text().replace('message_count: 4', 'message_count: 0'))
    source, stamps, _ = read(path)
    assert len(stamps) == 4
    assert 'lists no messages' in source.notes[0]


def test_damaged_pages_of_an_sqlite_bag_cost_only_their_messages(tmp_path):
    path = write_bag(tmp_path / 'bag', {'/image': [raw(i) for i in range(200)]})
    file = path / 'bag.db3'
    data = bytearray(file.read_bytes())
    at = len(data) // 2 // 4096 * 4096
    data[at:at + 4096] = os.urandom(4096)
    file.write_bytes(data)
    _, stamps, _ = read(path)
    assert len(stamps) > 150
    assert max(stamps) == START_NS + 199 * PERIOD_NS


# --- ROS 1 ----------------------------------------------------------------------------------------

STORE1 = get_typestore(Stores.ROS1_NOETIC)
CUSTOM = 'acme/msg/Thing'


def write_ros1(path, cameras, count=20, hz=10):
    """Write a ROS 1 bag with JPEG images, text, and a type of nobody else's."""
    from rosbags.typesys import get_types_from_msg

    STORE1.register(get_types_from_msg('Header header\nfloat64[] values\n', CUSTOM))
    kind = 'sensor_msgs/msg/CompressedImage'
    header, time = STORE1.types['std_msgs/msg/Header'], STORE1.types['builtin_interfaces/msg/Time']
    with Writer1(path) as writer:
        topics = [writer.add_connection(name, kind, typestore=STORE1) for name in cameras]
        text = writer.add_connection('/chatter', 'std_msgs/msg/String', typestore=STORE1)
        thing = writer.add_connection('/thing', CUSTOM, typestore=STORE1)
        for index in range(count):
            stamp_ns = START_NS + index * SECOND // hz
            head = header(seq=index, stamp=time(stamp_ns // SECOND, stamp_ns % SECOND),
                          frame_id='camera')
            data = cv2.imencode('.jpg', picture(index)[..., ::-1])[1].ravel()
            for topic in topics:
                writer.write(topic, stamp_ns + 1000, STORE1.serialize_ros1(
                    STORE1.types[kind](header=head, format='jpeg', data=data), kind))
            writer.write(text, stamp_ns, STORE1.serialize_ros1(
                STORE1.types['std_msgs/msg/String'](data='hello'), 'std_msgs/msg/String'))
            writer.write(thing, stamp_ns, STORE1.serialize_ros1(
                STORE1.types[CUSTOM](header=head, values=np.arange(3.0)), CUSTOM))
    return path


def test_a_ros1_bag_is_read_by_its_stamps(tmp_path):
    source, stamps, _ = read(write_ros1(tmp_path / 'one.bag', ['/cam/compressed']))
    assert stamps == [START_NS + i * SECOND // 10 for i in range(20)]
    assert (source.kind, source.topic, source.frames) == ('bag', '/cam/compressed', 20)
    assert source.fps == pytest.approx(10, rel=0.01)


def test_each_camera_of_a_ros1_bag_has_a_result_of_its_own_and_a_copy_in_ros2(models, tmp_path):
    bag = write_ros1(tmp_path / 'two.bag', ['/left/compressed', '/right/compressed'])
    with pytest.raises(InputError, match='several camera topics'):
        open_source(bag)
    status, together = evaluate(bag, '--topic', '*', '--output', tmp_path / 'o',
                                '--write-bag', tmp_path / 'copy')
    assert status == 0
    assert [one['frames'] for one in together['inputs']] == [20, 20]
    copy = next((tmp_path / 'copy').glob('*/*.mcap'))
    with open_storage(copy) as storage:
        assert {name: topic.count for name, topic in storage.topics.items()
                if not topic.kind.startswith('aitable')} == {
            '/left/compressed': 20, '/right/compressed': 20, '/chatter': 20, '/thing': 20}
        texts = [data for _, _, data in storage.messages(['/chatter'])]
    assert STORE.deserialize_cdr(texts[0], String.__msgtype__).data == 'hello'


def test_an_mcap_with_ros1_messages_is_read(tmp_path):
    """As ``mcap convert`` makes it of a ROS 1 bag."""
    def text(value):
        return struct.pack('<I', len(value)) + value.encode()

    def record(code, body):
        return struct.pack('<BQ', code, len(body)) + body
    kind = 'sensor_msgs/msg/CompressedImage'
    definition = STORE1.generate_msgdef(kind)[0]
    header, time = STORE1.types['std_msgs/msg/Header'], STORE1.types['builtin_interfaces/msg/Time']
    out = b'\x89MCAP0\r\n' + record(1, text('ros1') + text('me'))
    out += record(3, struct.pack('<H', 1) + text('sensor_msgs/CompressedImage') + text('ros1msg')
                  + text(definition))
    out += record(4, struct.pack('<HH', 0, 1) + text('/cam') + text('ros1') + struct.pack('<I', 0))
    for index in range(5):
        message = STORE1.types[kind](
            header=header(seq=index, stamp=time(100 + index, 0), frame_id='c'), format='jpeg',
            data=cv2.imencode('.jpg', picture(index))[1].ravel())
        out += record(5, struct.pack('<HIQQ', 0, index, SECOND * index, SECOND * index)
                      + bytes(STORE1.serialize_ros1(message, kind)))
    out += record(0x0f, bytes(4)) + record(2, bytes(20)) + b'\x89MCAP0\r\n'
    file = tmp_path / 'converted.mcap'
    file.write_bytes(out)
    _, stamps, problem = read(file)
    assert stamps == [SECOND * (100 + index) for index in range(5)]
    assert not problem


def test_an_archive_is_refused(tmp_path):
    """FFmpeg would find a video in it."""
    file = tmp_path / 'pictures.tar'
    with tarfile.open(file, 'w') as archive:
        for index in range(20):
            data = cv2.imencode('.jpg', picture(index))[1].tobytes()
            entry = tarfile.TarInfo(f'{index}.jpg')
            entry.size = len(data)
            archive.addfile(entry, BytesIO(data))
    with pytest.raises(InputError, match='a tar archive; unpack it'):
        open_source(file)


@pytest.mark.parametrize('start', [
    b'PK\x03\x04', b'\x1f\x8b\x08', b'%PDF-1.4', b'\x7fELF', b'RIFF\0\0\0\0WAVE', b'ID3',
    b'SQLite'])
def test_a_file_of_another_kind_with_jpegs_in_it_is_no_video(tmp_path, start):
    file = tmp_path / 'a.bin'
    data = cv2.imencode('.jpg', picture(1))[1].tobytes()
    file.write_bytes(start + bytes(600) + 10 * data)
    with pytest.raises(InputError, match='not a video that can be read'):
        open_source(file)


# --- bad messages ---------------------------------------------------------------------------------

def test_bad_messages_are_counted_and_the_rest_is_read(models, tmp_path, capsys):
    messages = [jpeg(i) for i in range(60)]
    for number, data in ((10, b'<html>'), (20, b''), (30, b'\xff\xd8\xff\xe0 cut')):
        messages[number].data = np.frombuffer(data, np.uint8)
    bag = write_bag(tmp_path / 'bag', {'/image': messages}, StoragePlugin.MCAP)
    status, summary = evaluate(bag, '--output', tmp_path / 'o', '--write-bag', tmp_path / 'copy')
    assert (status, summary['frames']) == (0, 57)
    assert summary['duration_s'] == pytest.approx(60 * PERIOD_NS / 1e9, abs=1e-3)
    note = summary['notes'][0]
    assert note.startswith('3 of 60 images cannot be used and are left out; the first is number 10')
    assert '3 of 60 images' in ' '.join(capsys.readouterr().out.split())
    assert '3 of 60 images' in (tmp_path / 'o' / 'report.html').read_text()
    # The answers follow the images that they are about, and the bad ones are in the copy, too.
    with open_storage(next((tmp_path / 'copy').glob('*.mcap'))) as storage:
        order = [topic.name for topic, _, _ in storage.messages(['/image', '/fatigue'])]
    assert order.count('/image') == 60
    assert order[19:24] == ['/fatigue', '/image', '/image', '/fatigue', '/image']
    status, summary = evaluate(bag, '--strict', '--output', tmp_path / 'strict')
    assert (status, summary['frames']) == (2, 10)
    assert 'number 10' in summary['partial']


def test_where_no_message_can_be_used_it_is_refused(tmp_path):
    messages = [jpeg(i) for i in range(3)]
    for message in messages:
        message.data = np.zeros(0, np.uint8)
    bag = write_bag(tmp_path / 'bag', {'/image': messages})
    with pytest.raises(InputError, match='empty data in a compressed image'):
        list(open_source(bag))


# --- stamps ---------------------------------------------------------------------------------------

def test_a_first_stamp_of_zero_is_one_like_the_others(models, tmp_path):
    """A driver that counts from its start, recorded with wall time."""
    bag = bag_of_stamps(tmp_path / 'bag', [i * SECOND // 30 for i in range(60)])
    status, summary = evaluate(bag, '--output', tmp_path / 'o')
    assert (status, summary['frames'], summary['duration_s']) == (0, 60, 2.0)
    _, stamps, _ = read(bag)
    assert (stamps[0], stamps[-1]) == (0, 59 * SECOND // 30)


def test_images_before_the_first_stamp_are_timed_by_it(tmp_path):
    stamps = [0, 0, 0, *(5 * SECOND + i * SECOND // 30 for i in range(3, 20))]
    source, read_back, _ = read(bag_of_stamps(tmp_path / 'bag', stamps))
    assert np.allclose(np.diff(read_back), SECOND / 30, atol=3)
    assert 'log time' in source.notes[0]


def test_a_single_stamp_of_another_time_costs_its_image(tmp_path):
    for place in (0, 10, 19):
        stamps = [START_NS + i * SECOND // 30 for i in range(20)]
        stamps[place] = 7 * SECOND
        source, read_back, _ = read(bag_of_stamps(tmp_path / f'bag{place}', stamps))
        assert len(read_back) == 19
        assert np.ptp(read_back) < SECOND
        assert f'number {place}: its stamp is of another time' in source.notes[0]


@pytest.mark.parametrize(('before', 'after'), [
    (100 * SECOND, START_NS), (START_NS, START_NS - 3600 * SECOND)], ids=['ahead', 'back'])
def test_a_clock_that_is_set_adds_no_time(models, tmp_path, before, after):
    """As on a robot without a clock of its own, once it has the network."""
    from pyarrow import parquet
    stamps = [before + i * SECOND // 30 for i in range(30)]
    stamps += [after + i * SECOND // 30 for i in range(30)]
    bag = bag_of_stamps(tmp_path / 'bag', stamps)
    status, summary = evaluate(bag, '--output', tmp_path / 'o')
    assert (status, summary['frames']) == (0, 60)
    assert summary['duration_s'] == pytest.approx(2.0, abs=0.05)
    assert 'the clock was set' in summary['notes'][0]
    times = parquet.read_table(tmp_path / 'o' / 'frames.parquet').column('time_s').to_pylist()
    assert times == pytest.approx([i / 30 for i in range(30)] + [(i + 29) / 30 for i in range(30)])


@pytest.mark.parametrize('kind', ['swapped', 'set back'])
def test_late_stamps_are_noted(models, tmp_path, kind):
    stamps = [START_NS + i * SECOND // 30 for i in range(90)]
    if kind == 'swapped':
        stamps[40], stamps[41] = stamps[41], stamps[40]
    else:
        stamps[45:] = [stamp - 150_000_000 for stamp in stamps[45:]]
    status, summary = evaluate(bag_of_stamps(tmp_path / 'bag', stamps), '--output', tmp_path / 'o')
    assert (status, summary['frames']) == (0, 90)
    assert summary['duration_s'] == pytest.approx(3.0 if kind == 'swapped' else 2.85, abs=0.01)
    count = 1 if kind == 'swapped' else 4
    assert summary['notes'][0].startswith(f'{count} images are late')


# --- videos ---------------------------------------------------------------------------------------

def test_a_browsers_webm_is_timed_by_its_stamps():
    """It says 1000 frames a second, and not how long it is."""
    source, stamps, problem = read(DATA / 'browser.webm')
    assert (len(stamps), problem, source.notes) == (291, '', [])
    assert stamps[-1] / 1e9 == pytest.approx(10.02, abs=0.01)


def test_a_bare_stream_has_a_rate_that_is_assumed_said_and_can_be_given(models, tmp_path, capsys):
    status, summary = evaluate(DATA / 'bare.h264', '--output', tmp_path / 'o')
    assert (status, summary['frames'], summary['duration_s']) == (0, 60, 2.0)
    said = '30 frames/s are assumed; --fps gives another'
    assert said in summary['notes'][0]
    assert said in ' '.join(capsys.readouterr().out.split())
    assert said in (tmp_path / 'o' / 'report.html').read_text()
    status, summary = evaluate(DATA / 'bare.h264', '--fps', 15, '--output', tmp_path / 'given')
    assert (status, summary['duration_s']) == (0, 4.0)


@pytest.mark.parametrize('rate', ['0', '-3', 'nan', '1e9'])
def test_a_rate_that_is_none_is_refused(tmp_path, capsys, rate):
    status, _ = evaluate(DATA / 'bare.h264', f'--fps={rate}', '--output', tmp_path / 'o')
    assert status == 2
    assert '--fps takes 0.1 to 1000' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['sound_longer.mkv', 'sound_longer.mp4'])
def test_sound_that_is_longer_than_the_picture_is_no_damage(name):
    _, stamps, problem = read(DATA / name)
    assert (len(stamps), problem) == (90, '')


def test_a_gif_whose_last_picture_stays_is_whole(tmp_path):
    pictures = [Picture.fromarray(np.full((24, 32, 3), 12 * i, np.uint8)) for i in range(20)]
    path = tmp_path / 'a.gif'
    pictures[0].save(path, save_all=True, append_images=pictures[1:], loop=0,
                     duration=[100] * 19 + [3000])
    _, stamps, problem = read(path)
    assert (len(stamps), problem) == (20, '')
    assert stamps[-1] / 1e9 == pytest.approx(1.9, abs=0.01)
    path.write_bytes(path.read_bytes()[:-1])  # without the end marker, which some leave out
    assert read(path)[2] == ''


def test_a_file_that_is_cut_says_so_whatever_the_container(tmp_path):
    video = write_video(tmp_path / 'a.avi', count=40)
    noise = np.random.default_rng(1).integers(0, 255, (20, 48, 64), np.uint8)
    frames = [Picture.fromarray(one) for one in noise]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:], duration=50)
    for path in (video, tmp_path / 'a.gif', DATA / 'sound_longer.mkv'):
        cut = tmp_path / f'cut_{path.name}'
        cut.write_bytes(path.read_bytes()[:round(path.stat().st_size * 0.7)])
        _, stamps, problem = read(cut)
        assert stamps
        assert f'{cut}: ends after {len(stamps)}' in problem
        assert 'truncated or damaged' in problem


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    write_video(tmp_path / 'clip.avi').rename(tmp_path / '2024-01-01T10:00.avi')
    monkeypatch.chdir(tmp_path)
    assert len(read(Path('2024-01-01T10:00.avi'))[1]) == 20


# --- pictures -------------------------------------------------------------------------------------

def test_a_bad_picture_costs_only_itself_and_is_named(models, tmp_path, capsys):
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f'{index}.jpg'), picture(index))
    (folder / '1.jpg').write_bytes(b'')
    status, summary = evaluate(folder, '--output', tmp_path / 'o')
    assert (status, summary['frames']) == (2, 3)
    assert '1.jpg: not an image that can be read' in summary['partial']
    assert '1.jpg: not an image' in capsys.readouterr().err
    assert summary['notes'] == ['1 of 4 images cannot be read and are left out: 1.jpg']
    source = open_source(folder)
    assert len(list(source)) == 3
    assert source.names == ('0.jpg', '2.jpg', '3.jpg')
    with pytest.raises(InputError, match=r'1\.jpg'):
        list(open_source(folder, strict=True))


def test_labels_stay_with_their_pictures_where_one_is_bad(models, tmp_path):
    from pyarrow import parquet

    folder = tmp_path / 'pictures'
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f'{index}.jpg'), picture(index))
    (folder / '1.jpg').write_bytes(b'')
    labels = tmp_path / 'labels.csv'
    labels.write_text('file,expression\n' + ''.join(f'{i}.jpg,happy\n' for i in range(4)))
    status, summary = evaluate(folder, '--labels', labels, '--output', tmp_path / 'o')
    assert (status, summary['frames']) == (2, 3)
    names = parquet.read_table(tmp_path / 'o' / 'frames.parquet', columns=['file'])
    assert names['file'].to_pylist() == ['0.jpg', '2.jpg', '3.jpg']


def test_pictures_that_are_passed_over_are_named(tmp_path):
    for index in range(2):
        cv2.imwrite(str(tmp_path / f'{index}.jpg'), picture(index))
    (tmp_path / '2.heic').write_bytes(b'\0\0\0\x18ftypheic' + bytes(12))
    (tmp_path / 'labels.txt').write_text('beside them')
    shutil.copy(DATA / 'picture.avif', tmp_path / '3.avif')
    (tmp_path / '4').write_bytes((tmp_path / '0.jpg').read_bytes())  # a data set's, without ending
    source, stamps, problem = read(tmp_path)
    if not cv2.haveImageReader(str(tmp_path / '3.avif')):
        assert '3.avif' in source.problem
    else:
        assert (len(stamps), problem, source.problem) == (4, '', '')
    assert '1 of 5 files are of an unknown kind and are left out: 2.heic' in source.notes


def test_names_are_ordered_by_their_numbers_whatever_else_is_in_them(tmp_path):
    for name in ('1²3.jpg', '2.jpg', '10.jpg', '٣.jpg'):
        (tmp_path / name).write_bytes(cv2.imencode('.jpg', picture(1))[1].tobytes())
    source, stamps, _ = read(tmp_path)
    assert len(stamps) == 4
    assert source.names[-1] == '10.jpg'


# --- names ----------------------------------------------------------------------------------------

@pytest.mark.parametrize('encoding', ['utf-8', 'ascii'])
def test_names_that_are_not_utf8_are_read_and_printed(models, tmp_path, monkeypatch, encoding):
    """As an old disk has them; OpenCV crashes on such a name."""
    import io
    import sys

    folder = os.fsdecode(os.fsencode(tmp_path) + b'/\xfcber')
    Path(folder).mkdir()
    shutil.copy(DATA / 'sound_longer.mp4', Path(folder) / 'a.mp4')
    bag = write_bag(Path(tmp_path) / 'bag', {'/image': [jpeg(i) for i in range(3)]})
    shutil.copy(bag / 'bag.db3', Path(folder) / 'a.db3')
    shutil.copy(DATA / 'two_channels.mcap', Path(folder) / 'a.mcap')
    (Path(folder) / 'pictures').mkdir()
    name = os.fsdecode(b'\xfc.jpg')
    (Path(folder) / 'pictures' / name).write_bytes(cv2.imencode('.jpg', picture(1))[1].tobytes())
    inputs = {'a.mp4': 90, 'a.db3': 3, 'a.mcap': 30, 'pictures': 1}
    if encoding == 'ascii':  # what is printed is the same for all
        inputs = {'a.db3': 3}
    for inside, frames in inputs.items():
        out = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, 'stdout', out)
        status, summary = evaluate(
            str(Path(folder) / inside), '--output', str(Path(folder) / f'o_{inside}'))
        assert (status, summary['frames']) == (0, frames)
        out.flush()
        assert inside in out.buffer.getvalue().decode(encoding)
        assert (Path(folder) / f'o_{inside}' / 'report.html').is_file()


def test_two_topics_that_sound_alike_have_a_folder_each(models, tmp_path):
    bag = write_bag(tmp_path / 'bag', {
        '/cam/left': [jpeg(i) for i in range(3)], '/cam_left': [jpeg(i) for i in range(4)]})
    status, together = evaluate(bag, '--topic', '*', '--output', tmp_path / 'o',
                                '--write-bag', tmp_path / 'copy')
    assert status == 0
    found = {json.loads((tmp_path / 'o' / name / 'summary.json').read_text())['topic']: name
             for name in ('cam_left', 'cam_left_2')}
    assert set(found) == {'/cam/left', '/cam_left'}
    assert [one['frames'] for one in together['inputs']] == [3, 4]
    assert len(list((tmp_path / 'copy').iterdir())) == 2


def test_a_checksum_is_checked(tmp_path):
    """An uncompressed chunk whose bytes have changed still reads; it is told."""
    file = write_mcap(tmp_path / 'bag', '')
    data = bytearray(file.read_bytes())
    at = len(chunks_of(file)[0])
    body = data[at + 9:at + 9 + struct.unpack_from('<Q', data, at + 1)[0]]
    records = bytes(body[40:])
    struct.pack_into('<I', data, at + 9 + 24, zlib.crc32(records) ^ 1)
    file.write_bytes(data)
    _, stamps, problem = read(file)
    assert len(stamps) == 40
    assert f'the chunk at byte {at} does not match its checksum' in problem
