# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Looking into serialized images: what rclpy reads, or nothing."""

from array import array
import struct

import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from aitable_ros.nodes.serialized_image import image_in


def an_image(frame_id='camera', encoding='rgb8', size=60):
    message = Image(
        height=4, width=5, encoding=encoding, is_bigendian=1, step=15,
        data=array('B', [n % 251 for n in range(size)]))
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 123_456_789
    message.header.frame_id = frame_id
    return message


def fields(image):
    return (
        image.header.stamp.sec, image.header.stamp.nanosec, image.header.frame_id, image.height,
        image.width, image.encoding, image.is_bigendian, image.step, bytes(image.data))


@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'abcd', 'Tisch_\u00fc'])
@pytest.mark.parametrize('encoding', ['', 'rgb8', 'mono8', 'bayer_rggb8', 'yuv422_yuy2'])
@pytest.mark.parametrize('size', [0, 1, 60])
def test_it_reads_what_rclpy_wrote(frame_id, encoding, size):
    message = an_image(frame_id, encoding, size)
    assert fields(image_in(serialize_message(message))) == fields(message)


def test_it_reads_no_part_of_an_image_and_no_other_representation():
    whole = bytes(serialize_message(an_image()))
    assert fields(image_in(whole + b'more')) == fields(an_image())
    end = whole.index(bytes(an_image().data)) + 60
    assert all(image_in(whole[:length]) is None for length in range(end))
    assert image_in(b'\x00\x07' + whole[2:]) is None


def test_it_survives_damage_as_rclpy_does():
    """Whatever it reads, rclpy reads too; what it does not read is left to rclpy."""
    whole = bytearray(serialize_message(an_image()))
    for at in range(4, 80):
        for value in (0, 1, 127, 255):
            damaged = bytes(whole[:at] + bytes([value]) + whole[at + 1:])
            found = image_in(damaged)
            if found is not None:
                assert fields(found) == fields(deserialize_message(damaged, Image))


def test_it_reads_the_other_byte_order():
    whole = b'\x00\x00\x00\x00' + struct.pack(
        '>iII4sIII5sB2xII', 7, 8, 4, b'cam\0', 2, 1, 5, b'rgb8\0', 0, 3, 6) + b'abcdef'
    found = image_in(whole)
    assert fields(found)[:6] == (7, 8, 'cam', 2, 1, 'rgb8')
    assert bytes(found.data) == b'abcdef'
