# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The one decoder of sensor_msgs images: every encoding, padded rows, and what it refuses."""

from __future__ import annotations

from array import array
import re

import cv2
import numpy as np
import pytest

from aitable_ros.pixels import decode, decode_compressed, ENCODINGS, SampleRange

WIDTH, HEIGHT = 16, 12
RED = np.tile(np.array([200, 40, 30], np.uint8), (HEIGHT, WIDTH, 1))


def _rows(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)


def _bayer(pattern: str) -> np.ndarray:
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, colour in enumerate(pattern):
        mosaic[place // 2::2, place % 2::2] = RED[0, 0, 'rgb'.index(colour)]
    return mosaic


def _packed(encoding: str) -> np.ndarray:
    """Encode :data:`RED` as rows of bytes, independently of the decoder."""
    gray = cv2.cvtColor(RED, cv2.COLOR_RGB2GRAY)
    planar = cv2.cvtColor(RED, cv2.COLOR_RGB2YUV_I420)
    y, u, v = planar[0, 0], planar[HEIGHT, 0], planar[-1, -1]
    chroma = {'nv12': (u, v), 'nv21': (v, u)}
    if encoding in chroma:
        pairs = np.tile(np.array(chroma[encoding], np.uint8), (HEIGHT // 2, WIDTH // 2))
        return np.vstack([planar[:HEIGHT], pairs])
    if encoding == 'nv24':
        return np.vstack([planar[:HEIGHT], np.tile(np.array([u, v], np.uint8), (
            2 * HEIGHT, WIDTH // 2))])
    if encoding.startswith('bayer'):
        mosaic = _bayer(encoding[6:10])
        return _rows(mosaic.astype('<u2') << 8) if encoding.endswith('16') else mosaic
    if encoding[:2] in ('8S', '16', '32', '64') and encoding.endswith(('C3', 'C4')):
        kind = {'8S': 'i1', '16S': '<i2', '16U': '<u2', '32S': '<i4', '32F': '<f4', '64F': '<f8'}[
            encoding[:-2]]
        pixels = RED[..., ::-1] if encoding.endswith('3') else np.dstack([RED[..., ::-1], gray])
        if 'F' in encoding:
            return _rows((pixels / 255).astype(kind))
        return _rows(pixels.astype(kind) << 8 if '16U' in encoding else pixels.astype(kind))
    return {
        'rgb8': lambda: _rows(RED), 'bgr8': lambda: _rows(RED[..., ::-1]),
        '8UC3': lambda: _rows(RED[..., ::-1]),
        'rgba8': lambda: _rows(np.dstack([RED, gray])),
        'bgra8': lambda: _rows(np.dstack([RED[..., ::-1], gray])),
        '8UC4': lambda: _rows(np.dstack([RED[..., ::-1], gray])),
        'rgb16': lambda: _rows(RED.astype('<u2') << 8),
        'bgr16': lambda: _rows(RED[..., ::-1].astype('<u2') << 8),
        'rgba16': lambda: _rows(np.dstack([RED, gray]).astype('<u2') << 8),
        'bgra16': lambda: _rows(np.dstack([RED[..., ::-1], gray]).astype('<u2') << 8),
        'mono8': lambda: gray, '8UC1': lambda: gray,
        'mono16': lambda: _rows(gray.astype('<u2') << 8),
        '16UC1': lambda: _rows(gray.astype('<u2') << 8),
        'yuv422': lambda: np.tile(np.array([u, y, v, y], np.uint8), (HEIGHT, WIDTH // 2)),
        'uyvy': lambda: np.tile(np.array([u, y, v, y], np.uint8), (HEIGHT, WIDTH // 2)),
        'yuv422_yuy2': lambda: np.tile(np.array([y, u, y, v], np.uint8), (HEIGHT, WIDTH // 2)),
        'yuyv': lambda: np.tile(np.array([y, u, y, v], np.uint8), (HEIGHT, WIDTH // 2)),
    }[encoding]()


@pytest.mark.parametrize('padding', [0, 7])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_decodes_to_rgb_with_and_without_padded_rows(encoding, padding):
    rows = _packed(encoding)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=123)
    image = decode(encoding, WIDTH, HEIGHT, padded.shape[1], False, array('B', padded.tobytes()))
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    gray = 'mono' in encoding or encoding.endswith('C1')
    wanted = cv2.cvtColor(cv2.cvtColor(RED, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) \
        if gray else RED
    if encoding.startswith('8S'):
        wanted = np.where(wanted > 127, 0, wanted)  # 200 is below 0 there
    inner = (slice(2, -2), slice(2, -2))  # demosaicing guesses at the edge
    assert np.abs(image[inner].astype(int) - wanted[inner]).max() <= 3


def test_big_endian_samples_are_swapped():
    samples = np.full((2, 2), 200 << 8, '>u2')
    assert decode('mono16', 2, 2, 4, True, samples.tobytes())[0, 0].tolist() == [200] * 3


def test_rgb_without_padding_is_not_copied():
    data = RED.tobytes()
    assert np.shares_memory(
        decode('rgb8', WIDTH, HEIGHT, 3 * WIDTH, False, data), np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(('fields', 'said'), [
    (('16SC1', 4, 4, 8, False, bytes(32)), "encoding '16SC1' is not supported: a depth or"),
    (('rgb8', 0, 4, 0, False, b''), 'image of 0x4 pixels is empty'),
    (('rgb8', 4, 4, 11, False, bytes(44)), 'step is 11 bytes, but a row of 4 rgb8 pixels takes 12'),
    (('rgb8', 4, 4, 12, False, bytes(47)), 'data has 47 bytes, but 4 rows of 12 bytes take 48'),
    (('nv12', 4, 4, 4, False, bytes(16)), 'data has 16 bytes, but 6 rows of 4 bytes take 24'),
    (('nv12', 4, 3, 4, False, bytes(24)), 'a nv12 image cannot be 4x3'),
    (('yuv422', 3, 2, 6, False, bytes(12)), 'a yuv422 image cannot be 3x2'),
])
def test_what_cannot_be_decoded_is_said_in_one_line(fields, said):
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        decode(*fields)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_the_smallest_image_decodes_or_is_refused_but_never_crashes(encoding):
    try:
        image = decode(encoding, 1, 1, 8, False, bytes(64))
    except ValueError:
        return
    assert image.shape == (1, 1, 3)


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
@pytest.mark.parametrize('encoding', ['mono16', 'bayer_rggb16', 'rgb16'])
def test_the_bits_that_a_16_bit_camera_uses_are_found(encoding, bits):
    channels = 3 if encoding == 'rgb16' else 1
    pixels = np.linspace(0, 2 ** bits - 1, WIDTH * HEIGHT * channels).astype('<u2')
    image = decode(encoding, WIDTH, HEIGHT, 2 * channels * WIDTH, False, pixels.tobytes())
    assert image.max() >= (230 if 'bayer' in encoding else 250)  # the last rows are interpolated
    assert abs(int(image.mean()) - 127) < 4


def test_the_brightness_of_a_16_bit_camera_is_steady():
    """What is found grows with the images: a dark one after a bright one stays dark."""
    samples = SampleRange()
    bright, dark = (np.full((4, 4), value, np.uint16) for value in (1023, 200))
    assert samples.to_8_bits(bright).max() == 255
    assert samples.to_8_bits(dark).max() == 50
    assert samples.to_8_bits(bright).max() == 255


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_a_compressed_picture_of_10_bits_is_not_black(suffix):
    pixels = np.linspace(0, 1023, 32 * 32).astype(np.uint16).reshape(32, 32)
    image = decode_compressed('mono16', cv2.imencode(suffix, pixels)[1])
    assert image.max() == 255
    assert abs(int(image.mean()) - 127) < 4


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_compressed_images_come_out_as_rgb(suffix):
    data = cv2.imencode(suffix, RED[..., ::-1])[1].tobytes()
    image = decode_compressed('bgr8; jpeg compressed bgr8', array('B', data))
    assert np.abs(image.astype(int) - RED).max() <= 3


@pytest.mark.parametrize(('form', 'data', 'said'), [
    ('jpeg', b'', "0 bytes and format 'jpeg' cannot be decoded"),
    ('png', b'no picture', "10 bytes and format 'png' cannot be decoded"),
    ('16UC1; compressedDepth', b'x', 'is a depth image'),
])
def test_what_is_no_compressed_picture_is_said(form, data, said):
    with pytest.raises(ValueError, match=said):
        decode_compressed(form, data)
