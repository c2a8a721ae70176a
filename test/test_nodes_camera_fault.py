# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a camera: no publisher, another type, images lost between processes."""

from __future__ import annotations

import os
import subprocess
import sys

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from patience import PATIENT_S
import pytest
from ros_graph import CAMERA, Graph
from sensor_msgs.msg import Image, PointCloud2

from aitable_ros.nodes import frame_source
from aitable_ros.nodes.camera_fault import LossEstimate, MANY_LOST
from aitable_ros.nodes.environment import OWN_TRANSPORT_VARIABLES

FOREIGN = f"""
from array import array
import time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

rclpy.init()
node = rclpy.create_node('my_driver')
publisher = node.create_publisher(Image, '{CAMERA}', qos_profile_sensor_data)
image = Image(height=1080, width=1920, step=5760, encoding='rgb8',
              data=array('B', bytes(1080 * 5760)))
while True:
    image.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(image)
    time.sleep(1 / 30)
"""


@pytest.mark.parametrize(('kept', 'expected'), [
    ([True], False), ([True, False], False), ([True] + [False] * 5, False),
    ([True] * 9 + [False], False),
], ids=['all', 'every other', 'slow camera', 'one of ten lost'])
def test_a_regular_camera_loses_nothing_whatever_its_rate(kept, expected):
    losses = LossEstimate()
    for number in range(300):
        if kept[number % len(kept)]:
            losses.arrived(number * 33_333_333)
    assert (losses.share() >= MANY_LOST) is expected


def test_a_camera_of_one_image_in_four_seconds_loses_nothing():
    losses = LossEstimate()
    shares = []
    for number in range(9):
        losses.arrived(number * 4 * 10 ** 9)
        shares.append(losses.share())
    assert shares == [None] * 6 + [0.0] * 3


@pytest.mark.parametrize('arrive', [0.01, 0.07, 0.12, 0.19])
def test_images_lost_at_random_are_noticed(arrive):
    """The shares that arrived from a camera without the profile, at 30 Hz."""
    random = np.random.default_rng(0)
    losses, shares = LossEstimate(), []
    for number in np.flatnonzero(random.random(round(60 / arrive)) < arrive):
        losses.arrived(int(number) * 33_333_333 + int(random.normal(0, 1e6)))
        shares.append(losses.share() or 0.0)
    assert max(shares[:8]) >= MANY_LOST
    assert np.mean(np.array(shares) >= MANY_LOST) > 0.6


def test_a_foreign_camera_without_our_profile_is_named(models, graph, capfd):
    """Loopback alone: whatever share Fast DDS loses by default, it is most of 1080p."""
    bare = {name: value for name, value in os.environ.items()
            if name not in OWN_TRANSPORT_VARIABLES}
    camera = subprocess.Popen([sys.executable, '-c', FOREIGN], env=bare)
    try:
        graph.listen(DiagnosticArray, '/diagnostics')
        graph.load('FaceDetectorNode')
        words = '/my_driver publishes /camera/image_raw from another process'
        assert graph.lines(capfd, words)
        said = graph.text
        assert 'export FASTDDS_DEFAULT_PROFILES_FILE=' in said or 'export FASTRTPS' in said
        assert 'systemd: Environment=' in said
        assert graph.spin(lambda: any(
            words in status.message for one in graph.heard['/diagnostics']
            for status in one.status), PATIENT_S)
    finally:
        camera.kill()
        camera.wait()


def test_a_camera_that_has_only_just_come_is_no_fault(graph, monkeypatch):
    """A node that has waited for long may see the camera a moment before its first image."""
    clock = [1000.0]
    monkeypatch.setattr(frame_source, 'monotonic', lambda: clock[0])
    with Graph('my_camera') as camera:
        camera.camera()
        node = graph.load('FaceDetectorNode')
        assert graph.spin(lambda: node.count_publishers(CAMERA))
        assert graph.spin(lambda: '/my_camera' in {
            f'/{one.node_name}' for one in node.get_publishers_info_by_topic(CAMERA)})
        assert node.source.fault(60.0, False) is None
        clock[0] += 3.0
        fault = node.source.fault(60.0, False)
        assert 'no image arrives' in fault.line
        clock[0] += 60.0
        assert node.source.fault(0.1, True) == fault, 'too few images have come to tell'


def test_another_type_on_the_topic_is_named(models, graph, capfd):
    lidar = Graph('lidar')
    try:
        lidar.tester.create_publisher(PointCloud2, CAMERA, 1)
        graph.load('FaceDetectorNode')
        assert graph.lines(capfd, f'/lidar publishes {CAMERA} as sensor_msgs/msg/PointCloud2')
    finally:
        lidar.close()


def test_a_topic_without_a_publisher_is_named_with_those_that_have_one(models, graph, capfd):
    graph.tester.create_subscription(Image, '/awaited', lambda _: None, 1)
    graph.tester.create_publisher(Image, '/there', 1)
    graph.load('FaceDetectorNode')
    line, *_ = graph.lines(capfd, f'nobody publishes {CAMERA}')
    assert line.strip().endswith('image topics here: /there')
