# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Letterbox, suppression and the decoding of each detector, on graphs whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.errors import InputError
from aitable_ros.face.blazeface import BlazeFace, GRIDS
from aitable_ros.face.boxes import merge, overlap, suppress
from aitable_ros.face.detector import detector_for
from aitable_ros.face.letterbox import Letterbox
from aitable_ros.face.ssd import anchors
from aitable_ros.face.yolov8_face import Yolov8Face
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import Backend
from aitable_ros.types import Detection

ANSWERS = 8400
Opened = Callable[..., Backend]


@pytest.fixture
def opened(models: Path) -> Opened:
    """Load a model by path or name; close it after the test."""
    backends = []

    def open_model(entry: str | Path, backend: str = 'onnxruntime') -> Backend:
        resolution = resolve(ModelOptions(model=str(entry), backend=backend))
        backends.append(resolution.backend)
        return resolution.backend

    yield open_model
    for backend in backends:
        backend.close()


@pytest.fixture
def constant(tmp_path: Path) -> Iterator[Callable[..., Backend]]:
    """Make a model that gives the same outputs whatever the image, and load it."""
    import onnx
    from onnx import helper, numpy_helper

    def make(shape: list, **outputs: NDArray[np.float32]) -> Backend:
        nodes, values, zeros = [], [], []
        nodes.append(helper.make_node('ReduceMean', ['images'], ['mean'], keepdims=0))
        nodes.append(helper.make_node('Mul', ['mean', 'zero'], ['nothing']))
        zeros.append(numpy_helper.from_array(np.float32(0), 'zero'))
        for name, array in outputs.items():
            zeros.append(numpy_helper.from_array(array.astype(np.float32), f'{name}_value'))
            nodes.append(helper.make_node('Add', [f'{name}_value', 'nothing'], [name]))
            values.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape))
        image = helper.make_tensor_value_info('images', onnx.TensorProto.FLOAT, shape)
        graph = helper.make_graph(nodes, 'constant', [image], values, zeros)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
        path = tmp_path / 'model.onnx'
        onnx.save(model, path)
        # Not through the chain: it refuses what gives NaN, which a detector must bear, too.
        return backends.enter_context(OnnxRuntimeBackend(path))

    with ExitStack() as backends:
        yield make


# --- boxes

@pytest.mark.parametrize(('first', 'second', 'expected'), [
    ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
    ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3),
    ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),
    ([0, 0, 10, 10], [2, 2, 4, 4], 0.04),
    ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),
    ([10, 10, 0, 0], [0, 0, 10, 10], 0.0),
], ids=['same', 'half', 'touching', 'inside', 'empty', 'turned over'])
def test_overlap(first: list, second: list, expected: float) -> None:
    boxes = np.array([first, second], np.float32)
    assert overlap(boxes[:1], boxes[1:])[0, 0] == pytest.approx(expected)


def test_suppression_keeps_the_best_of_each_group() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10], [0, 0, 0, 0]], np.float32)
    scores = np.array([0.6, 0.9, 0.7, 0.5], np.float32)
    assert suppress(boxes, scores, 0.45) == [1, 2, 3]
    assert suppress(boxes, scores, 0.95) == [1, 2, 0, 3]
    assert suppress(boxes[:0], scores[:0], 0.45) == []


def test_merging_weighs_by_score() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10]], np.float32)
    ((score, mean),) = merge(boxes, np.array([0.25, 0.75], np.float32), boxes, 0.3)
    assert score == 0.75
    assert mean == pytest.approx([1.5, 0, 11.5, 10])


# --- letterbox

@pytest.mark.parametrize(('height', 'width'), [
    (720, 1280), (1280, 720), (480, 640), (375, 500), (192, 192), (101, 103), (50, 30),
    (1, 1), (1, 4000), (4000, 1), (2160, 3840)])
def test_the_way_back_is_exact(height: int, width: int) -> None:
    """The image's corners lie where the filling ends, and come back as its corners."""
    box = Letterbox(192, fill=7)
    placement = box.place(np.full((height, width, 3), 200, np.uint8))
    rows, columns = np.nonzero((box.square == 200).all(axis=2))
    corners = np.array([
        [columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]], np.float32)
    assert placement.to_image(corners) == pytest.approx(np.array([[0, 0], [width, height]]))
    others = (box.square == 7).all(axis=2)
    assert others.sum() + len(rows) == 192 * 192


def test_a_mark_comes_back_to_its_pixel() -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    image[300:330, 900:930] = 255
    box = Letterbox(192, fill=0)
    placement = box.place(image)
    weight = box.square[..., 0].astype(float)
    grid = np.arange(192) + 0.5
    centre = np.array([(weight.sum(0) * grid).sum(), (weight.sum(1) * grid).sum()]) / weight.sum()
    assert placement.to_image(centre.astype(np.float32)) == pytest.approx([915, 315], abs=1.5)


def test_one_letterbox_takes_turns_between_shapes() -> None:
    box = Letterbox(64, fill=0)
    for height, width in ((90, 160), (160, 90), (90, 160), (100, 100)):
        image = np.full((height, width, 3), 255, np.uint8)
        box.place(image)
        again = Letterbox(64, fill=0)
        again.place(image)
        assert (box.square == again.square).all()


# --- BlazeFace

def test_anchors_are_mediapipes() -> None:
    short, full = anchors(128, GRIDS[128]), anchors(192, GRIDS[192])
    assert (short.shape, full.shape) == ((896, 2), (2304, 2))
    assert short[:3].tolist() == [[4, 4], [4, 4], [12, 4]]
    assert short[512:519].tolist() == [[8, 8]] * 6 + [[24, 8]]
    assert full[[0, 1, 48, -1]].tolist() == [[2, 2], [6, 2], [2, 6], [190, 190]]


@pytest.mark.parametrize('side', [128, 192])
def test_blazeface_decoding(side: int, constant: Callable[..., Backend]) -> None:
    """One known regressor: the box and key points come out in pixels of a wide image."""
    count = len(anchors(side, GRIDS[side]))
    boxes = np.zeros((1, count, 16), np.float32)
    scores = np.full((1, count, 1), -200.0, np.float32)
    index = count // 2
    boxes[0, index, :4] = [3, -2, 20, 10]
    boxes[0, index, 4:] = np.arange(12)
    scores[0, index] = 200.0
    boxes[0, 0], scores[0, 0] = np.nan, 50.0
    detector = detector_for(constant([1, side, side, 3], regressors=boxes, classificators=scores))
    assert isinstance(detector, BlazeFace)
    (found,) = detector.detect(np.zeros((360, 640, 3), np.uint8), 0.5, 0.45)
    scale, margin = 640 / side, (side - side * 360 / 640) / 2
    x, y = anchors(side, GRIDS[side])[index]
    corners = np.array([[x + 3 - 10, y - 2 - 5], [x + 3 + 10, y - 2 + 5]]) - [0, margin]
    assert found.box == pytest.approx((corners * scale).ravel(), abs=1e-3)
    points = np.arange(12).reshape(6, 2) + [x, y] - [0, margin]
    assert found.keypoints == pytest.approx(points * scale, abs=1e-3)
    assert found.confidence == pytest.approx(1.0)


# --- YOLOv8-face

KEYPOINTS = np.array([[250, 280], [390, 280], [320, 330], [270, 380], [370, 380]], np.float32)


def yolo_output(layout: str) -> NDArray[np.float32]:
    """Two answers for one face, a second face and a weak one, at 640 px; x1 200 … y2 420."""
    faces = [
        ((200, 220, 440, 420), 0.9, KEYPOINTS), ((204, 220, 444, 420), 0.8, KEYPOINTS + 4),
        ((20, 200, 80, 260), 0.7, KEYPOINTS / 4), ((500, 200, 560, 260), 0.3, KEYPOINTS)]
    width = {'5': 0, '15': 2, '20': 3, '6': 0, '16': 2, '21': 3}[layout]
    rows = []
    for (x1, y1, x2, y2), score, points in faces:
        parts = [points[:, :width]] if width == 2 else [points, np.ones((5, 1))] if width else []
        tail = np.concatenate(parts, axis=1).ravel() if parts else np.zeros(0)
        if layout in ('5', '15', '20'):
            rows.append(np.concatenate([
                [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, score], tail]))
        else:
            rows.append(np.concatenate([[x1, y1, x2, y2, score, 0], tail]))
    if layout in ('5', '15', '20'):
        output = np.zeros((int(layout), ANSWERS))
        output[:, 4000:4000 + len(rows)] = np.array(rows).T
    else:
        del rows[1]  # suppressed inside the graph
        output = np.zeros((300, int(layout)))
        output[:len(rows)] = rows
    return output[None].astype(np.float32)


@pytest.mark.parametrize('layout', ['5', '15', '20', '6', '16', '21'])
def test_yolov8_layouts(layout: str, constant: Callable[..., Backend]) -> None:
    detector = detector_for(constant([1, 3, 640, 640], output0=yolo_output(layout)))
    assert isinstance(detector, Yolov8Face)
    best, other = detector.detect(np.zeros((720, 1280, 3), np.uint8), 0.5, 0.45)
    assert [best.confidence, other.confidence] == pytest.approx([0.9, 0.7])
    assert best.box == pytest.approx([400, 160, 880, 560])  # (y - 140) * 2
    assert other.box == pytest.approx([40, 120, 160, 240])
    expected = (KEYPOINTS - [0, 140]) * 2 if layout not in ('5', '6') else np.zeros((0, 2))
    assert best.keypoints == pytest.approx(expected)


def test_yolov8_is_fed_rgb_planes_and_a_grey_margin(
    tmp_path: Path, opened: Opened,
) -> None:
    """A graph that answers with what it was given: the brightest and darkest of each plane."""
    import onnx
    from onnx import helper, numpy_helper

    probe = [
        helper.make_node('ReduceMax', ['images'], ['high'], axes=[2, 3], keepdims=0),
        helper.make_node('ReduceMin', ['images'], ['low'], axes=[2, 3], keepdims=0),
        helper.make_node('Concat', ['high', 'low'], ['both'], axis=1),
        helper.make_node('Reshape', ['both', 'form'], ['output0']),
    ]
    form = numpy_helper.from_array(np.array([1, 1, 6]), 'form')
    graph = helper.make_graph(
        probe, 'probe',
        [helper.make_tensor_value_info('images', onnx.TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info('output0', onnx.TensorProto.FLOAT, [1, 1, 6])],
        [form])
    path = tmp_path / 'probe.onnx'
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), path)
    backend = opened(path)
    image = np.empty((32, 64, 3), np.uint8)
    image[:] = (255, 0, 51)
    seen = []
    infer = backend.infer
    backend.infer = lambda inputs: seen.append(infer(inputs)) or seen[-1]
    detector_for(backend).detect(image, 0.5, 0.45)
    red, green, blue = 255 / 255, 114 / 255, 114 / 255
    assert seen[0]['output0'].ravel() == pytest.approx(
        [red, green, blue, 114 / 255, 0, 51 / 255], abs=1e-6)


@pytest.mark.parametrize(('shape', 'outputs'), [
    ([1, 3, 640, 640], {'x': np.zeros((1, 7, 8400))}),
    ([1, 192, 192, 3], {'boxes': np.zeros((1, 2304, 16))}),
    ([1, 224, 224, 3], {'boxes': np.zeros((1, 2304, 16)), 'scores': np.zeros((1, 2304, 1))}),
    ([1, 10], {'x': np.zeros((1, 5, 8400))}),
], ids=['seven columns', 'no scores', 'another size', 'no image'])
def test_another_model_is_refused_in_one_line(
    shape: list, outputs: dict, constant: Callable[..., Backend],
) -> None:
    with pytest.raises(InputError, match=r'model\.onnx: not a face detector') as caught:
        detector_for(constant(shape, **outputs))
    assert '\n' not in str(caught.value)
    assert 'blazeface_full' in str(caught.value)


# --- the real ones, on labelled pictures

def labelled(shared_data: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    labels = json.loads((shared_data / 'faces' / 'labels.json').read_text())
    pictures = []
    for name, entry in labels.items():
        boxes = np.array(entry['boxes_top_left_width_height'], np.float32)
        corners = np.stack([
            boxes[:, 1], boxes[:, 0], boxes[:, 1] + boxes[:, 2], boxes[:, 0] + boxes[:, 3]], axis=1)
        image = cv2.cvtColor(cv2.imread(str(shared_data / 'faces' / name)), cv2.COLOR_BGR2RGB)
        pictures.append((image, corners))
    return pictures


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_the_default_detector_finds_the_labelled_faces(
    runtime: str, opened: Opened, shared_data: Path,
) -> None:
    detector = detector_for(opened('blazeface_full', runtime))
    found = expected = 0
    for image, labels in labelled(shared_data):
        boxes = np.array([face.box for face in detector.detect(image, 0.5, 0.45)]).reshape(-1, 4)
        shared = overlap(labels, boxes)
        found += int((shared.max(axis=1, initial=0) >= 0.4).sum())
        expected += len(labels)
        assert (shared.max(axis=0) >= 0.4).all(), 'a false face'
    assert found / expected >= 0.9


@pytest.mark.parametrize('name', ['blazeface_short', 'blazeface_full'])
def test_one_face_looks_the_same_in_every_frame_shape(
    name: str, opened: Opened, portrait: NDArray[np.uint8],
) -> None:
    """Pasted into portrait and landscape images: box and key points stay on the same spots."""
    detector = detector_for(opened(name))
    reference = best(detector.detect(portrait, 0.5, 0.45))
    for height, width, x, y in ((512, 640, 99, 0), (640, 512, 0, 64), (600, 600, 88, 88)):
        image = np.full((height, width, 3), 90, np.uint8)
        image[y:y + 512, x:x + 512] = portrait
        found = best(detector.detect(image, 0.5, 0.45))
        side = reference.box[2] - reference.box[0]
        assert overlap((found.box - [x, y, x, y])[None], reference.box[None])[0, 0] > 0.75
        assert np.abs(found.keypoints - [x, y] - reference.keypoints).max() < 0.2 * side


def test_key_points_are_the_persons(opened: Opened, portrait: NDArray[np.uint8]) -> None:
    """Right eye (on the image's left), left eye, nose, mouth, right ear, left ear."""
    for name in ('blazeface_short', 'blazeface_full'):
        points = best(detector_for(opened(name)).detect(portrait, 0.5, 0.45)).keypoints
        right_eye, left_eye, nose, mouth, right_ear, left_ear = points
        assert right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0], name
        assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1], name


def best(found: list[Detection]) -> Detection:
    assert found
    return found[0]
