# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Videos, GIFs, folders of images and bags as frames with stamps; damage as one clear line."""

from __future__ import annotations

from collections.abc import Iterator
import shutil
import threading
import time

import cv2
from films import write_film
import numpy as np
from PIL import Image as Picture
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import get_typestore, Stores
import yaml

from aitable_ros.errors import InputError
from aitable_ros.recordings.prefetch import prefetch
from aitable_ros.recordings.readers import open_source

STORE = get_typestore(Stores.ROS2_JAZZY)
Header = STORE.types['std_msgs/msg/Header']
Time = STORE.types['builtin_interfaces/msg/Time']
Image = STORE.types['sensor_msgs/msg/Image']
CompressedImage = STORE.types['sensor_msgs/msg/CompressedImage']
String = STORE.types['std_msgs/msg/String']
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 33_000_000
LOG_LATE_NS = 5_000_000


def picture(index: int) -> np.ndarray:
    """Return a small RGB image that says which it is in its red channel."""
    image = np.zeros((24, 32, 3), np.uint8)
    image[..., 0] = (20 + 10 * index) % 250
    image[..., 2] = 90
    return image


def raw(index: int, encoding: str = 'rgb8', *, stamped: bool = True):
    stamp_ns = START_NS + index * PERIOD_NS if stamped else 0
    image = picture(index)
    if encoding == 'bgr8':
        image = image[..., ::-1]
    return Image(
        header=Header(stamp=Time(stamp_ns // 10**9, stamp_ns % 10**9), frame_id='camera'),
        height=24, width=32, encoding=encoding, is_bigendian=0, step=96,
        data=np.ascontiguousarray(image).ravel())


def jpeg(index: int, **_):
    stamp_ns = START_NS + index * PERIOD_NS
    data = cv2.imencode('.png', picture(index)[..., ::-1])[1]
    return CompressedImage(
        header=Header(stamp=Time(stamp_ns // 10**9, stamp_ns % 10**9), frame_id='camera'),
        format='rgb8; png compressed bgr8', data=data.ravel())


def write_bag(
    path, topics, storage=StoragePlugin.SQLITE3, mode=CompressionMode.NONE, first=0,
):
    """Write messages of some topics: name -> list of messages, by turns."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if mode is not CompressionMode.NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        for name, messages in topics.items():
            kind = messages[0].__msgtype__ if messages else Image.__msgtype__
            connection = writer.add_connection(name, kind, typestore=STORE)
            for index, message in enumerate(messages, first):
                log_ns = START_NS + index * PERIOD_NS + LOG_LATE_NS
                writer.write(connection, log_ns, STORE.serialize_cdr(message, kind))
    return path


def write_video(path, count=20, fps=25.0, size=(64, 48)):
    noise = np.random.default_rng(1)
    return write_film(path, (
        noise.integers(0, 255, (size[1], size[0], 3), np.uint8) for _ in range(count)), fps)


# --- videos ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(('name', 'frames', 'last_s'), [
    ('webcam_glasses_30fps.avi', 1790, 59.975), ('webcam_glasses_15fps.avi', 879, 59.956),
    ('talking_woman.mp4', 464, 15.449), ('face_then_noface.mov', 169, 6.377),
    ('three_people.gif', 41, 3.33)])
def test_real_clips_give_every_frame_with_the_containers_time(shared_data, name, frames, last_s):
    source = open_source(shared_data / 'video' / name)
    stamps = [frame.stamp_ns for frame in source]
    assert source.frames == len(stamps) == frames
    assert stamps[0] == 0
    assert np.diff(stamps).min() > 0
    assert stamps[-1] / 1e9 == pytest.approx(last_s, abs=2e-3)
    assert not source.notes


def test_a_gif_keeps_the_duration_of_each_frame(tmp_path):
    durations = [100, 300, 50, 200, 100]
    pictures = [Picture.fromarray(np.full((24, 32, 3), 40 * i, np.uint8)) for i in range(5)]
    path = tmp_path / 'uneven.gif'
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    stamps = [frame.stamp_ns for frame in open_source(path)]
    assert stamps == pytest.approx([0, 100e6, 400e6, 450e6, 650e6], abs=2e6)


def test_colours_of_a_video_are_rgb(tmp_path):
    path = write_film(tmp_path / 'red.avi', [np.full((48, 64, 3), (220, 0, 0), np.uint8)] * 3)
    red, green, blue = next(iter(open_source(path))).image.mean(axis=(0, 1))
    assert red > 200
    assert max(green, blue) < 30


def test_a_source_can_be_read_again(tmp_path):
    source = open_source(write_video(tmp_path / 'clip.avi'))
    first, second = ([frame.stamp_ns for frame in source] for _ in range(2))
    assert first == second
    assert len(first) == 20


def test_a_truncated_avi_gives_its_frames_and_then_says_so(tmp_path):
    path = write_video(tmp_path / 'cut.avi', count=40)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    frames = []
    with pytest.raises(InputError, match=r'cut\.avi: ends after \d+ frames.*truncated'):
        frames.extend(open_source(path))
    assert 10 < len(frames) < 30


# --- images ---------------------------------------------------------------------------------------

def test_images_come_in_natural_order_and_are_stills(tmp_path):
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f'face_{number}.png'), picture(number)[..., ::-1])
    (tmp_path / 'notes.txt').write_text('not a picture')
    source = open_source(tmp_path)
    assert source.stills
    assert source.names == ('face_1.png', 'face_2.png', 'face_10.png')
    assert [int(frame.image[0, 0, 0]) for frame in source] == [30, 40, 120]


# --- bags -----------------------------------------------------------------------------------------

MODES = [
    (storage, mode)
    for storage in StoragePlugin
    for mode in (CompressionMode.NONE, CompressionMode.FILE, CompressionMode.MESSAGE,
                 CompressionMode.STORAGE)
    if not (storage is StoragePlugin.SQLITE3 and mode is CompressionMode.STORAGE)]


@pytest.mark.parametrize('make', [raw, jpeg])
@pytest.mark.parametrize(('storage', 'mode'), MODES, ids=lambda value: value.name.lower())
def test_bags_of_every_storage_and_compression(tmp_path, storage, mode, make):
    path = write_bag(
        tmp_path / 'bag', {'/camera/image_raw': [make(i) for i in range(6)]}, storage, mode)
    source = open_source(path)
    frames = list(source)
    assert source.frames == 6
    assert source.topic == '/camera/image_raw'
    assert [frame.stamp_ns for frame in frames] == [START_NS + i * PERIOD_NS for i in range(6)]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [20 + 10 * i for i in range(6)]
    assert frames[0].frame_id == 'camera'
    assert source.fps == pytest.approx(1e9 / PERIOD_NS, rel=0.01)
    assert not source.notes


@pytest.mark.parametrize('storage', StoragePlugin)
def test_a_bare_storage_file_is_a_bag(tmp_path, storage):
    path = write_bag(tmp_path / 'bag', {'/image': [raw(i) for i in range(3)]}, storage)
    (file,) = (f for f in path.iterdir() if f.suffix != '.yaml')
    assert len(list(open_source(file))) == 3


@pytest.mark.parametrize('indexed', [True, False])
@pytest.mark.parametrize('storage', StoragePlugin)
def test_split_bags_are_read_through_with_or_without_their_index(tmp_path, storage, indexed):
    halves = [
        write_bag(tmp_path / name, {'/image': [raw(i) for i in range(first, first + 4)]}, storage,
                  first=first)
        for first, name in ((0, 'part_1'), (4, 'part_0'))]  # the later part sorts first by name
    bag = tmp_path / 'split'
    bag.mkdir()
    files = []
    for half in halves:
        (file,) = (f for f in half.iterdir() if f.suffix != '.yaml')
        shutil.copy(file, bag / file.name)
        files.append(file.name)
    if indexed:
        index = yaml.safe_load((halves[0] / 'metadata.yaml').read_text())
        about = index['rosbag2_bagfile_information']
        about['relative_file_paths'] = [f'split/{name}' for name in files]  # as Humble writes it
        about['message_count'] = about['topics_with_message_count'][0]['message_count'] = 8
        (bag / 'metadata.yaml').write_text(yaml.safe_dump(index))
    source = open_source(bag)
    assert [frame.stamp_ns for frame in source] == [START_NS + i * PERIOD_NS for i in range(8)]
    assert source.frames == 8
    assert bool(source.notes) is not indexed


@pytest.mark.parametrize('text', ['', 'rosbag2_bagfile_information: 7', '{[', 'a: 1'])
def test_an_index_that_is_none_is_passed_over_with_a_note(tmp_path, text):
    path = write_bag(tmp_path / 'bag', {'/image': [raw(i) for i in range(3)]})
    (path / 'metadata.yaml').write_text(text)
    source = open_source(path)
    assert len(list(source)) == 3
    assert 'not the index of a rosbag2 and is ignored' in source.notes[0]


def test_images_without_a_header_stamp_take_the_log_time_and_say_so(tmp_path):
    path = write_bag(tmp_path / 'bag', {'/image': [raw(i, stamped=False) for i in range(3)]})
    source = open_source(path)
    assert [frame.stamp_ns for frame in source] == [
        START_NS + i * PERIOD_NS + LOG_LATE_NS for i in range(3)]
    assert any('log time' in note for note in source.notes)


def test_one_missing_stamp_is_filled_in_without_a_jump(tmp_path):
    messages = [raw(0), raw(1), raw(2, stamped=False), raw(3)]
    path = write_bag(tmp_path / 'bag', {'/image': messages})
    assert [f.stamp_ns for f in open_source(path)] == [START_NS + i * PERIOD_NS for i in range(4)]


def test_the_camera_is_found_beside_other_topics_and_chosen_among_several(tmp_path):
    chatter = [String(data='hello')]
    one = write_bag(tmp_path / 'one', {'/chatter': chatter, '/image': [raw(0)], '/idle': []})
    assert open_source(one).topic == '/image'
    two = write_bag(tmp_path / 'two', {'/left': [raw(0)], '/right': [jpeg(1)]})
    assert open_source(two, 'right').topic == '/right'
    assert int(next(iter(open_source(two, '/right'))).image[0, 0, 0]) == 30
    with pytest.raises(InputError, match=r'several .*--topic: /left \(1\), /right \(1\)'):
        open_source(two)


# --- what cannot be read --------------------------------------------------------------------------

def _text(folder):
    (folder / 'notes.mp4').write_text('no video')
    return folder / 'notes.mp4'


def _cut_mp4(folder):
    path = write_video(folder / 'cut.mp4')
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])  # the index is at its end
    return path


def _sound(folder):
    import wave
    with wave.open(str(folder / 'sound.wav'), 'wb') as out:
        out.setparams((1, 2, 8000, 0, 'NONE', ''))
        out.writeframes(bytes(1600))
    return folder / 'sound.wav'


def _empty(folder):
    (folder / 'empty').mkdir()
    return folder / 'empty'


def _bad_picture(folder):
    (folder / 'face.jpg').write_bytes(b'\xff\xd8 no')
    return folder / 'face.jpg'


def _bag(topics, storage=StoragePlugin.SQLITE3):
    return lambda folder: write_bag(folder / 'bag', topics, storage)


def _cut_bag(storage):
    def make(folder):
        path = write_bag(folder / 'bag', {'/image': [raw(i) for i in range(40)]}, storage)
        (file,) = (f for f in path.iterdir() if f.suffix != '.yaml')
        file.write_bytes(file.read_bytes()[:file.stat().st_size // 2])
        return path
    return make


def _lost_file(folder):
    path = write_bag(folder / 'bag', {'/image': [raw(0)]})
    (path / 'bag.db3').unlink()
    return path


def _wrong_step(folder):
    message = raw(0)
    message.step = 10
    return write_bag(folder / 'bag', {'/image': [message]})


@pytest.mark.parametrize(('make', 'topic', 'said'), [
    (lambda folder: folder / 'gone.avi', None, 'gone.avi: no such file or folder'),
    (_text, None, 'notes.mp4: not a video that can be read'),
    (_cut_mp4, None, 'cut.mp4: not a video that can be read: truncated'),
    (_sound, None, 'sound.wav: not a video that can be read'),
    (_empty, None, 'empty: nothing to evaluate: no rosbag2 and no image'),
    (_bad_picture, None, 'face.jpg: not an image that can be read'),
    (_text, '/image', 'not a rosbag2, so it has no topic /image'),
    (_bag({'/image': [raw(0)]}), '/video',
     "no topic '/video'; camera topics (messages): /image (1)"),
    (_bag({'/image': [raw(0)], '/chatter': [String(data='x')]}), '/chatter',
     "topic '/chatter' is std_msgs/msg/String, not a camera"),
    (_bag({'/chatter': [String(data='x')]}), None, 'no camera topic; topics: /chatter'),
    (_bag({'/image': [], '/chatter': [String(data='x')]}), None, "topic '/image' has no messages"),
    (_bag({'/image': [raw(0), raw(1, 'bgr8')]}), None, 'changes its encoding from rgb8 to bgr8'),
    (_bag({'/image': [raw(0, '32FC1')]}), None, "encoding '32FC1' is not supported"),
    (_cut_bag(StoragePlugin.SQLITE3), None, 'bag.db3: cannot be read'),
    (_cut_bag(StoragePlugin.MCAP), None, 'bag.mcap: truncated'),
    (_lost_file, None, 'bag.db3: named in metadata.yaml but not there'),
    (_wrong_step, None, "topic '/image': image step is 10 bytes, but a row of 32 rgb8"),
])
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, make, topic, said):
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        list(open_source(path, topic))
    assert said in str(caught.value)
    assert '\n' not in str(caught.value)


# --- decoding ahead -------------------------------------------------------------------------------

def test_it_works_ahead_by_no_more_than_the_bound():
    made = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = prefetch(numbers, depth=4)
    assert next(items) == 0
    time.sleep(0.3)
    assert 4 <= len(made) <= 6  # taken, waiting, and the one in the producer's hand
    assert list(items) == list(range(1, 100))


def test_an_error_comes_after_the_items_before_it():
    def broken() -> Iterator[int]:
        yield 1
        raise InputError('damaged')

    items = prefetch(broken)
    assert next(items) == 1
    with pytest.raises(InputError, match='damaged'):
        next(items)


def test_leaving_early_closes_the_producer_and_ends_its_thread():
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    items = prefetch(endless)
    next(items)
    items.close()
    assert closed.is_set()
    assert threading.active_count() == before
