# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images read aside from the executor: the same as rclpy's, kept while used, and let go then."""

from array import array
from ctypes import c_uint64, Structure
from dataclasses import replace
import gc
import struct
from threading import current_thread
import weakref

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import serialize_message
from ros_graph import CAMERA, Graph
from sensor_msgs.msg import CompressedImage, Image

from aitable_ros.nodes import image_reader
from aitable_ros.nodes.graph_conflicts import GraphConflicts
from aitable_ros.nodes.image_reader import ImageSubscription, TakenImage


class Listening:
    """A subscription of the graph's tester, whose executor runs only inside ``graph.spin``."""

    def __init__(self, graph, kind=Image):
        self.graph = graph
        self.heard, self.threads = [], set()
        self.camera = graph.camera(kind)
        self.subscription = ImageSubscription(
            graph.tester, kind, CAMERA, self._received, GraphConflicts(graph.tester))
        assert graph.matched(self.camera)

    def _received(self, message):
        self.threads.add(current_thread().name)
        self.heard.append(message)

    def after(self, message):
        """Return what is heard of a message; best effort may lose one."""
        for _ in range(20):
            self.heard.clear()
            self.camera.publish(message)
            if self.graph.spin(lambda: self.heard, 0.5):
                return self.heard.pop()
        raise AssertionError('nothing was heard')


@pytest.fixture
def graph():
    with Graph() as made:
        yield made


def an_image(frame_id='camera', encoding='rgb8', size=60, value=0):
    message = Image(
        height=4, width=5, encoding=encoding, is_bigendian=1, step=15,
        data=array('B', [(n + value) % 251 for n in range(size)]))
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 123_456_789
    message.header.frame_id = frame_id
    return message


def fields(image):
    return (
        image.header.stamp.sec, image.header.stamp.nanosec, str(image.header.frame_id),
        image.height, image.width, str(image.encoding), image.is_bigendian, image.step,
        bytes(image.data))


def test_what_is_read_is_what_was_sent(graph):
    listening = Listening(graph)
    for sent in (
            *(an_image(frame_id=name) for name in ('', 'a', 'abcd', 'Tisch_\u00fc')),
            *(an_image(encoding=name) for name in ('', 'mono8', 'yuv422_yuy2')),
            *(an_image(size=size) for size in (0, 1, 3_000_000))):
        found = listening.after(sent)
        assert isinstance(found, TakenImage)
        assert fields(found) == fields(sent)
    assert listening.threads == {f'reads {CAMERA}'}


def test_a_picture_stays_while_it_is_looked_at_and_no_longer(graph):
    listening = Listening(graph)
    kept, images = [], []
    for value in range(20):
        found = listening.after(an_image(value=value, size=100_000))
        images.append(weakref.ref(found))
        kept.append(np.frombuffer(found.data, np.uint8)[10:90])
        del found
    for value, pixels in enumerate(kept):
        assert pixels.tolist() == [(n + value) % 251 for n in range(10, 90)]
    assert all(image() is not None for image in images)
    gc.collect()
    gc.disable()
    try:
        del kept[:], pixels
        assert all(image() is None for image in images)
    finally:
        gc.enable()


def test_what_is_damaged_is_passed_over(graph):
    listening = Listening(graph)
    whole = bytes(serialize_message(an_image()))
    lie = whole.replace(struct.pack('<I', 60), struct.pack('<I', 2 ** 31 - 1))
    for damaged in (whole[:40], lie, b'\x00\x01\x00\x00'):
        listening.camera.publish(damaged)
        graph.rest(0.1)
        assert not listening.heard
        assert fields(listening.after(an_image())) == fields(an_image())


def test_compressed_images_are_read_aside_too(graph):
    listening = Listening(graph, CompressedImage)
    found = listening.after(CompressedImage(format='jpeg', data=b'picture'))
    assert (found.format, bytes(found.data)) == ('jpeg', b'picture')
    assert listening.threads == {f'reads {CAMERA}'}


def test_nothing_comes_after_the_end(graph):
    listening = Listening(graph)
    listening.after(an_image())
    listening.subscription.close()
    assert graph.spin(lambda: not listening.camera.get_subscription_count())
    listening.heard.clear()
    listening.camera.publish(an_image())
    graph.rest(0.2)
    assert not listening.heard


def test_a_node_that_is_destroyed_takes_the_subscription_along(graph):
    """Its thread waits on, and must not keep it in the graph."""
    camera = graph.camera()
    node = graph.nodes.load('FaceDetectorNode', cli_args=[
        '--ros-args', '-r', f'image:={CAMERA}', '-p', 'autostart:=false']).node
    heard = []
    ImageSubscription(node, Image, CAMERA, heard.append, GraphConflicts(node))
    assert graph.matched(camera)
    graph.nodes.close()
    assert graph.spin(lambda: not camera.get_subscription_count())


class Other(Structure):
    """An image as a ROS to come may have it."""

    _fields_ = (('more', c_uint64), *image_reader._Image._fields_)
    data = image_reader._Image.data


def _lacks_a_library():
    return None


def _middleware_tells_nothing():
    return replace(image_reader._parts(), set_callback=lambda *_: 1)


@pytest.mark.parametrize('parts', [_lacks_a_library, _middleware_tells_nothing])
@pytest.mark.parametrize('kind', [Image, CompressedImage])
def test_where_it_cannot_be_done_the_executor_reads(graph, monkeypatch, parts, kind):
    made = parts()
    monkeypatch.setattr(image_reader, '_parts', lambda: made)
    listening = Listening(graph, kind)
    sent = an_image() if kind is Image else CompressedImage(data=b'picture')
    assert bytes(listening.after(sent).data) == bytes(sent.data)
    assert listening.threads == {'MainThread'}
    listening.subscription.close()
    assert graph.spin(lambda: not listening.camera.get_subscription_count())


def test_a_message_of_another_layout_is_not_read(monkeypatch):
    assert image_reader._parts.__wrapped__() is not None
    monkeypatch.setattr(image_reader, '_Image', Other)
    assert image_reader._parts.__wrapped__() is None
