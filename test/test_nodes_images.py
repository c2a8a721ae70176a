# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images of every encoding and every kind of malformed one, through real topics."""

from array import array
import itertools
from time import monotonic

import cv2
import numpy as np
import pytest
from ros_graph import compressed, ENCODERS, Graph, image, picture
from sensor_msgs.msg import CompressedImage

from aitable_msgs.msg import FaceArray
from aitable_ros.errors import ImageError
from aitable_ros.image_codec import frame_from_compressed, frame_from_image, ImageDecoder
from aitable_ros.nodes import image_health


@pytest.fixture(scope='module')
def graph(models):
    with Graph() as graph:
        graph.detector = graph.load('FaceDetectorNode')
        graph.listen(FaceArray, 'faces')
        graph.publisher = graph.camera()
        assert graph.matched(graph.publisher)
        yield graph


@pytest.mark.parametrize('padding', [0, 13, 64])
@pytest.mark.parametrize('encoding', ENCODERS)
def test_decodes_to_the_same_picture(portrait, encoding, padding):
    """Within what each format loses; a swapped channel or plane is off by far more."""
    rgb = picture(portrait)
    if 'mono16' in encoding and padding % 2:
        padding += 1
    frame = frame_from_image(image(rgb, encoding, stamp=5, padding=padding))
    truth = rgb if 'mono' not in encoding else frame_from_image(image(rgb, 'mono8', 5)).image
    error = np.abs(frame.image.astype(int) - truth).mean(axis=(0, 1))
    assert error.max() < 6, error
    assert (frame.stamp_ns, frame.frame_id) == (5, 'camera')
    assert not frame.image.flags.writeable


def test_rgb8_without_padding_is_not_copied(portrait):
    message = image(picture(portrait))
    assert np.shares_memory(
        frame_from_image(message).image, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize('encoding', ENCODERS)
def test_a_face_is_found_in_every_encoding(graph, portrait, encoding):
    message = image(picture(portrait), encoding, graph.tick(), padding=6)
    answer = graph.answers(graph.publisher, message, 'faces')
    assert answer is not None, 'no answer'
    assert answer.header == message.header
    assert len(answer.faces) == 1
    assert answer.faces[0].primary


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_a_face_is_found_in_a_compressed_image(models, portrait, suffix):
    with Graph() as graph:
        graph.load('FaceDetectorNode', image_transport='compressed')
        graph.listen(FaceArray, 'faces')
        publisher = graph.camera(CompressedImage, '/camera/image_raw/compressed')
        assert graph.matched(publisher)
        message = compressed(picture(portrait), suffix, graph.tick())
        answer = graph.answers(publisher, message, 'faces')
        assert answer is not None
        assert answer.header == message.header
        assert len(answer.faces) == 1


def _change(**values):
    def change(message):
        for name, value in values.items():
            setattr(message, name, value)
    return change


def _stamp(seconds, nanoseconds):
    def change(message):
        message.header.stamp.sec = seconds
        message.header.stamp.nanosec = nanoseconds
    return change


MALFORMED = {
    'unknown encoding': (_change(encoding='32FC1'), 'encoding', "'32FC1'"),
    'empty encoding': (_change(encoding=''), 'encoding', "''"),
    'step too small': (_change(step=10), 'layout', 'step is 10'),
    'step 0': (_change(step=0), 'layout', 'step is 0'),
    'step too large for the data': (_change(step=4000), 'layout', 'data has'),
    'empty data': (_change(data=array('B')), 'data', 'empty data'),
    'data cut off': (_change(data=array('B', bytes(1000))), 'layout', '1000 bytes'),
    'zero width': (_change(width=0), 'size', '0x240'),
    'zero height': (_change(height=0), 'size', '320x0'),
    'one pixel': (
        _change(width=1, height=1, step=3, data=array('B', b'abc')), 'size', '1x1'),
    'absurd width': (_change(width=2 ** 32 - 1), 'size', '4294967295x240'),
    'odd width of a shared-colour encoding': (
        _change(encoding='nv12', width=319), 'layout', '319x240'),
    'no stamp': (_stamp(0, 0), 'stamp', 'stamp is 0'),
    'negative stamp': (_stamp(-5, 0), 'stamp', '-5 s'),
    'more than a second of nanoseconds': (_stamp(1, 2_000_000_000), 'stamp', '2000000000'),
}


HOURS = itertools.count(1)


@pytest.mark.parametrize('name', MALFORMED)
def test_malformed_image_is_named_counted_and_survived(
        graph, portrait, capfd, monkeypatch, name):
    change, cause, words = MALFORMED[name]
    good = image(picture(portrait), 'rgb8', graph.tick())
    bad = image(picture(portrait), 'rgb8', graph.tick())
    change(bad)
    with pytest.raises(ImageError, match=words) as error:
        frame_from_image(bad)
    assert error.value.cause == cause
    assert '\n' not in str(error.value)
    statistics, before = graph.detector.images.statistics, _malformed(graph, cause)
    hours = next(HOURS)  # what was said in the last minute is not said again
    monkeypatch.setattr(image_health, 'monotonic', lambda: monotonic() + 3600 * hours)
    told = len(graph.lines(capfd, 'image dropped', 0))
    for _ in range(3):
        graph.publisher.publish(bad)
        count = _malformed(graph, cause)
        graph.spin(lambda n=count: _malformed(graph, cause) > n, 1.0)
    assert _malformed(graph, cause) > before
    assert statistics is graph.detector.images.statistics, 'the node was configured anew'
    lines = graph.lines(capfd, 'image dropped', told + 1)[told:]
    assert len(lines) == 1, lines
    assert words in lines[0]
    answer = graph.answers(graph.publisher, good, 'faces')
    assert answer is not None
    assert len(answer.faces) == 1


def _malformed(graph, cause):
    return graph.detector.images.statistics.snapshot(0.0).malformed.get(cause, 0)


@pytest.mark.parametrize(('change', 'words'), [
    (lambda m: _change(data=m.data[:len(m.data) // 2])(m), 'truncated JPEG'),
    (_change(data=array('B')), 'empty data'),
    (_change(data=array('B', b'not a picture')), '13 bytes'),
    (_change(format='16UC1; compressedDepth png'), 'depth'),
    (_stamp(0, 0), 'stamp is 0'),
])
def test_malformed_compressed_image_is_refused(portrait, change, words):
    message = compressed(picture(portrait))
    change(message)
    with pytest.raises(ImageError, match=words):
        frame_from_compressed(message)


def test_jpeg_padded_with_zeros_is_read(portrait):
    """As USB cameras hand it on."""
    message = compressed(picture(portrait))
    message.data.extend(bytes(300))
    assert frame_from_compressed(message).width == 320


@pytest.mark.parametrize('tail', [bytes(65536), b'\x01', bytes(600) + b'\x01', b'\xff' * 40,
                                  b'APPENDED' * 200])
def test_what_a_camera_appends_to_a_jpeg_is_passed_over(portrait, tail):
    message = compressed(picture(portrait))
    message.data.extend(tail)
    assert frame_from_compressed(message).width == 320


@pytest.mark.parametrize('quality', ['baseline', 'progressive', 'restarts'])
def test_a_cut_jpeg_with_something_behind_it_is_refused(portrait, quality):
    flags = {'baseline': [], 'progressive': [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
             'restarts': [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]}[quality]
    whole = cv2.imencode('.jpg', picture(portrait), flags)[1].tobytes()
    message = compressed(picture(portrait))
    for tail in (b'', bytes(600), b'\x01'):
        message.data = array('B', whole + tail)
        assert frame_from_compressed(message).width == 320
        for share in (0.3, 0.7, 0.99):
            message.data = array('B', whole[:int(share * len(whole))] + tail)
            with pytest.raises(ImageError, match='truncated JPEG'):
                frame_from_compressed(message)


def test_the_end_of_a_preview_in_a_jpeg_is_not_its_end(portrait):
    """Exif holds a small JPEG, end marker and all."""
    whole = cv2.imencode('.jpg', picture(portrait))[1].tobytes()
    preview = cv2.imencode('.jpg', picture(portrait)[::8, ::8])[1].tobytes()
    exif = b'\xff\xe1' + (2 + len(preview)).to_bytes(2, 'big') + preview
    message = compressed(picture(portrait))
    message.data = array('B', whole[:2] + exif + whole[2:] + b'\x01')
    assert frame_from_compressed(message).width == 320
    message.data = array('B', whole[:2] + exif + whole[2:-800] + b'\x01')
    with pytest.raises(ImageError, match='truncated JPEG'):
        frame_from_compressed(message)


@pytest.mark.parametrize('suffix', ['.tiff', '.webp', '.bmp', '.avif', '.ppm', '.png', '.jpg'])
def test_every_kind_that_a_compressed_image_may_be_is_decoded(portrait, suffix):
    rgb = picture(portrait)
    try:
        data = cv2.imencode(suffix, rgb[..., ::-1])[1].tobytes()
    except cv2.error:
        pytest.skip(f'this OpenCV writes no {suffix}')
    message = compressed(rgb)
    message.format, message.data = suffix[1:], array('B', data)
    frame = frame_from_compressed(message)
    assert np.abs(frame.image.astype(int) - rgb).mean() < 4


@pytest.mark.parametrize(('topic', 'encoding', 'refused'), [
    ('/camera/depth/image_raw', '16UC1', True), ('/camera/aligned_depth', 'mono16', True),
    ('/camera/infra1/image', '16UC1', False), ('/camera/infra1/image', 'mono16', False),
    ('/camera/color', '32FC1', True), ('/camera/depth/color', 'rgb8', False)])
def test_depth_is_refused_in_a_line(portrait, topic, encoding, refused):
    message = image(picture(portrait), 'rgb8' if encoding == 'rgb8' else 'mono16')
    message.encoding = encoding
    decoder = ImageDecoder(topic)
    if not refused:
        assert decoder.raw(message).shape == (240, 320, 3)
        return
    with pytest.raises(ImageError, match='depth or disparity') as error:
        decoder.raw(message)
    assert error.value.cause == 'encoding'
