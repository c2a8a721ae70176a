# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images that lie: refused before anything is allocated by what they claim, by codec and node."""

from array import array
import gc
import resource
import struct
import weakref
import zlib

import cv2
import malformed
import numpy as np
import pytest
from ros_graph import compressed, Graph, image, picture
from sensor_msgs.msg import CompressedImage, Image

from aitable_msgs.msg import FaceArray
from aitable_ros.errors import ImageError
from aitable_ros.image_codec import frame_from_compressed, frame_from_image
from aitable_ros.nodes.frame_source import ImageSource, Reader
from aitable_ros.nodes.graph_conflicts import GraphConflicts
from aitable_ros.picture_header import picture_size


def _stamped(message):
    message.header.stamp.sec = 1
    return message


@pytest.mark.parametrize(('data', 'words'), [
    (malformed.png(30_000, 30_000, zlib.compress(bytes(10_000_000))), '30000x30000'),
    (malformed.png(8192, 8193), 'at most 64 megapixels'),
    (malformed.png(2 ** 31 - 1, 2 ** 31 - 1), 'sides of 16 to 16384'),
    (malformed.png(0, 0), '0x0'),
    (malformed.png(64, 64)[:33] + struct.pack('>I4s', 2_400_000_000, b'IDAT') + bytes(8000),
     'longer than it is'),
    (malformed.png(64, 64, bytes(2000))[:-30], 'truncated PNG'),
    (malformed.png(8000, 8000, b'x'), 'cannot be an image of 8000x8000'),
    (malformed.jpeg(65535, 65535), '65535x65535'),
    (malformed.jpeg(65500, 900), 'sides of 16'),
    (malformed.jpeg(8000, 8000), 'cannot be an image of 8000x8000'),
    (b'\xff\xd8\xff\xd9', 'without a frame header'),
    (b'\xff\xd8' + b'\xff' * 100_000 + b'\xff\xd9', 'without a frame header'),
    (b'GIF89a' + bytes(100), 'neither JPEG nor PNG'),
], ids=range(13))
def test_what_would_unpack_to_too_much_is_refused_by_its_header(data, words):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=words):
        frame_from_compressed(_stamped(CompressedImage(format='jpeg', data=array('B', data))))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000, 'KiB'


def test_a_raw_image_that_claims_what_it_has_not_is_refused():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for width, height, step in ((65535, 65535, 65535 * 3), (16384, 16384, 2 ** 32 - 1),
                                (8000, 8000, 24000), (16, 2 ** 32 - 1, 48)):
        with pytest.raises(ImageError):
            frame_from_image(_stamped(Image(
                width=width, height=height, step=step, encoding='rgb8',
                data=array('B', bytes(1000)))))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, 'KiB'


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('shape', [(17, 31), (480, 640), (1080, 1920)])
def test_the_header_tells_the_size_that_the_decoder_finds(suffix, shape):
    rng = np.random.default_rng(1)
    picture = cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), shape[::-1])
    for flags in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if suffix == '.jpg' else []):
        data = cv2.imencode(suffix, picture, flags)[1].tobytes()
        assert picture_size(data) == shape[::-1]


def test_a_plain_wall_is_not_taken_for_a_bomb():
    wall = np.full((2160, 3840, 3), 127, np.uint8)
    for suffix in ('.jpg', '.png'):
        assert frame_from_compressed(compressed(wall, suffix)).width == 3840


def test_exif_before_the_frame_is_passed_over():
    data = cv2.imencode('.jpg', np.full((32, 48, 3), 90, np.uint8))[1].tobytes()
    thumbnail = b'Exif\0\0' + data  # with a frame header of its own
    segment = b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail
    assert picture_size(data[:2] + segment + data[2:]) == (48, 32)


def test_three_thousand_malformed_images():
    fared = malformed.fuzz(3000)
    assert {'frame', 'size', 'data', 'layout', 'stamp', 'encoding'} == set(fared)


@pytest.fixture
def callback_of(graph):
    """Give what a subscription for a reader calls: arrived and malformed, what the reader does."""
    def make(transport, arrived, malformed):
        node = graph.tester
        ImageSource('/camera', transport).join(
            Reader(node, arrived, malformed, GraphConflicts(node)))
        return next(one.callback for one in node.subscriptions if one.topic_name == '/camera')
    return make


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_nothing_leaves_the_callback(callback_of, transport):
    frames, errors = [], []
    received = callback_of(transport, frames.append, errors.append)
    kind = Image if transport == 'raw' else CompressedImage
    messages = [one for one in map(malformed.message, range(600)) if isinstance(one, kind)]
    for message in messages:
        received(message)
    received(object())  # nothing at all that we know
    assert len(frames) + len(errors) == len(messages) + 1
    assert errors[-1].cause == 'decoder'


def test_a_message_that_is_refused_is_let_go_at_once(callback_of):
    """Not when somebody collects garbage: at 720p that was after 120 MB."""
    class Watched(Image):
        pass

    errors = []
    received = callback_of('raw', errors.append, errors.append)
    bad = Watched(height=48, width=64, encoding='rgb8', step=192, data=bytes(9))  # no stamp
    gone = weakref.ref(bad)
    gc.collect()
    gc.disable()
    try:
        received(bad)
        errors.clear()
        del bad
        assert gone() is None
    finally:
        gc.enable()


def test_a_node_lives_through_them_and_finds_the_next_face(models, portrait, capfd):
    with Graph() as graph:
        node = graph.load('FaceDetectorNode', backend='onnxruntime')
        graph.listen(FaceArray, 'faces')
        publisher = graph.camera()
        assert graph.matched(publisher)
        raw = [one for one in map(malformed.message, range(200)) if isinstance(one, Image)]
        for message in raw:
            publisher.publish(message)
            graph.rest(0.005)
        good = image(picture(portrait), 'rgb8', graph.tick())
        answer = graph.answers(publisher, good, 'faces')
        assert len(answer.faces) == 1
        malformed_count = sum(node.images.statistics.snapshot(0.0).malformed.values())
        assert malformed_count > len(raw) / 4
        lines = graph.lines(capfd, 'image dropped')
        causes = node.images.statistics.snapshot(0.0).malformed
        assert len(lines) <= len(causes), 'each cause once a minute'
        assert not any('all is well' in line.partition('encoding')[0] for line in lines)


def test_one_corrupted_jpeg_in_five_costs_that_one(models, portrait, capfd):
    with Graph() as graph:
        node = graph.load(
            'FaceDetectorNode', image_transport='compressed', backend='onnxruntime')
        graph.listen(FaceArray, 'faces')
        publisher = graph.camera(CompressedImage, '/camera/image_raw/compressed')
        assert graph.matched(publisher)
        ids = set()
        for number in range(20):
            message = compressed(picture(portrait), '.jpg', graph.tick())
            if number % 5 == 3:
                message.data = message.data[:len(message.data) // 2]
                publisher.publish(message)
                graph.rest(0.05)
                continue
            answer = graph.answers(publisher, message, 'faces')
            ids.add(answer.faces[0].track_id)
        assert len(ids) == 1, 'nobody was lost'
        figures = node.images.statistics.snapshot(0.0)
        assert 1 <= figures.malformed['data'] <= 4
        assert len(graph.lines(capfd, 'truncated')) == 1
