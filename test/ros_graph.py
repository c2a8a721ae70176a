# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the nodes share: a graph of their own, and image messages of every encoding."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable
import time

import cv2
import numpy as np
from patience import PATIENT_S
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from aitable_ros.clock import stamp_ns
from aitable_ros.nodes import qos
from aitable_ros.nodes.composition import Composition
from aitable_ros.nodes.messages import CODEC

CAMERA = '/camera/image_raw'
PIPELINE = ('FaceDetectorNode', 'FatigueNode', 'EmotionNode')


class Graph:
    """A context, nodes under test in it, and one node beside them that publishes and listens."""

    def __init__(self, name='tester'):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.nodes = Composition(self.context)
        self.tester = rclpy.create_node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.tester)
        self.heard = defaultdict(list)
        self.text = ''
        self.stamp = 1_700_000_000_123_456_789

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.nodes.close()
        self.executor.shutdown()
        self.tester.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def load(self, plugin, name=None, **parameters):
        arguments = ['--ros-args', '-r', f'image:={CAMERA}']
        if name:
            arguments += ['-r', f'__node:={name}']
        overrides = [parameter(key, value) for key, value in parameters.items()]
        return self.nodes.load(
            plugin, cli_args=arguments, parameter_overrides=overrides).node

    def camera(self, kind=Image, topic=CAMERA):
        return self.tester.create_publisher(kind, topic, qos.IMAGE)

    def listen(self, kind, topic):
        self.tester.create_subscription(kind, topic, self.heard[topic].append, 50)

    def listen_to(self, kinds):
        """Listen to several topics: topic -> message type."""
        for topic, kind in kinds.items():
            self.listen(kind, topic)

    def tick(self, period_s=1 / 30):
        self.stamp += round(period_s * 1e9)
        return self.stamp

    def spin(self, until: Callable[[], bool], timeout_s=PATIENT_S) -> bool:
        end = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > end:
                return False
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def rest(self, seconds):
        """Let the nodes work for so long."""
        self.spin(lambda: False, seconds)

    def lines(self, capfd, words, count=1, timeout_s=PATIENT_S):
        """
        Return the log's lines with these words so far; wait for ``count`` of them.

        Nodes work on threads of their own: what a line tells of can be seen before the line.
        """
        def found():
            self.text += capfd.readouterr().err
            return [line for line in self.text.splitlines() if words in line]
        self.spin(lambda: len(found()) >= count, timeout_s)
        return found()

    def matched(self, publisher, count=1):
        return self.spin(lambda: publisher.get_subscription_count() >= count)

    def call(self, kind, name, request, timeout_s=PATIENT_S):
        client = self.tester.create_client(kind, name)
        assert client.wait_for_service(timeout_s)
        future = client.call_async(request)
        assert self.spin(future.done, timeout_s)
        self.tester.destroy_client(client)
        return future.result()

    def statuses(self, node):
        """Return what a node has said of itself on ``/diagnostics``."""
        return [status for message in self.heard['/diagnostics'] for status in message.status
                if status.name == f'/{node}: {node}']

    def next_status(self, node):
        """Wait for a status that the node makes from now on: the first one may be of before."""
        self.heard['/diagnostics'].clear()
        assert self.spin(lambda: len(self.statuses(node)) > 1)
        return self.statuses(node)[-1]

    def answers(self, publisher, message, topic, timeout_s=PATIENT_S):
        """Publish until an answer with that stamp comes: best effort may lose one."""
        stamp = stamp_ns(message.header.stamp)

        def there():
            return any(stamp_ns(one.header.stamp) == stamp for one in self.heard[topic])
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            publisher.publish(message)
            if self.spin(there, 0.5):
                return next(
                    one for one in self.heard[topic] if stamp_ns(one.header.stamp) == stamp)
        return None


def values(status):
    """Return the values of a diagnostic status, by key."""
    return {pair.key: pair.value for pair in status.values}


def parameter(name, value):
    if value == []:
        return Parameter(name, Parameter.Type.STRING_ARRAY, [])
    return Parameter(name, value=value)


def picture(portrait, width=320, height=240):
    """Return the portrait's face at a common size; even sides, so that every encoding has it."""
    return np.ascontiguousarray(cv2.resize(portrait[:330, 30:470], (width, height)))


def _mosaic(rgb, pattern):
    plane = np.empty(rgb.shape[:2], np.uint8)
    for index, letter in enumerate(pattern):
        y, x = divmod(index, 2)
        plane[y::2, x::2] = rgb[y::2, x::2, 'rgb'.index(letter)]
    return plane


def _yuv_planes(rgb):
    """Return Y and half-size U and V in the range that video has."""
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    height, width = rgb.shape[:2]
    u, v = i420[height:].reshape(2, height // 2, width // 2)
    return i420[:height], u, v


def _packed_422(rgb, luma_first):
    luma, u, v = _yuv_planes(rgb)
    chroma = np.stack([u, v], axis=2).repeat(2, axis=0).reshape(luma.shape)
    pair = (luma, chroma) if luma_first else (chroma, luma)
    return np.stack(pair, axis=2).reshape(len(rgb), -1)


def _semi_planar(rgb, order):
    luma, u, v = _yuv_planes(rgb)
    chroma = np.stack((u, v) if order == 'uv' else (v, u), axis=2)
    return np.concatenate([luma, chroma.reshape(len(u), -1)])


def _gray(rgb):
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


ENCODERS = {
    'rgb8': lambda rgb: rgb.reshape(len(rgb), -1),
    'bgr8': lambda rgb: rgb[:, :, ::-1].reshape(len(rgb), -1),
    'rgba8': lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).reshape(len(rgb), -1),
    'bgra8': lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA).reshape(len(rgb), -1),
    'mono8': _gray,
    'mono16': lambda rgb: (_gray(rgb).astype('<u2') * 257).view(np.uint8),
    'mono16 big-endian': lambda rgb: (_gray(rgb).astype('<u2') << 8).astype('>u2').view(np.uint8),
    'yuv422': lambda rgb: _packed_422(rgb, luma_first=False),
    'yuv422_yuy2': lambda rgb: _packed_422(rgb, luma_first=True),
    'nv12': lambda rgb: _semi_planar(rgb, 'uv'),
    'nv21': lambda rgb: _semi_planar(rgb, 'vu'),
    'bayer_rggb8': lambda rgb: _mosaic(rgb, 'rggb'),
    'bayer_bggr8': lambda rgb: _mosaic(rgb, 'bggr'),
    'bayer_gbrg8': lambda rgb: _mosaic(rgb, 'gbrg'),
    'bayer_grbg8': lambda rgb: _mosaic(rgb, 'grbg'),
}
"""Encoding -> (rows, bytes a row) uint8 of an RGB image, written from the formats' definitions."""


def image(rgb, encoding='rgb8', stamp=1, padding=0, frame_id='camera'):
    rows = np.ascontiguousarray(ENCODERS[encoding](rgb))
    if padding:
        noise = np.random.default_rng(0).integers(0, 255, (len(rows), padding), np.uint8)
        rows = np.concatenate([rows, noise], axis=1)
    message = Image(
        height=rgb.shape[0], width=rgb.shape[1], encoding=encoding.split()[0],
        is_bigendian=int('big-endian' in encoding), step=rows.shape[1],
        data=array('B', rows.tobytes()))
    message.header.stamp = CODEC.time_message(stamp)
    message.header.frame_id = frame_id
    return message


def compressed(rgb, suffix='.jpg', stamp=1, frame_id='camera'):
    _, data = cv2.imencode(suffix, rgb[:, :, ::-1])
    message = CompressedImage(
        format='jpeg' if suffix == '.jpg' else 'png', data=array('B', data.tobytes()))
    message.header.stamp = CODEC.time_message(stamp)
    message.header.frame_id = frame_id
    return message
