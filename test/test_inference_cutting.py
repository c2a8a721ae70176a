# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Crops that the GPU cuts: the graph against OpenCV, and the engine beside a model's.

ONNX Runtime does the sums everywhere; where there is no GPU, a stand-in of TensorRT carries them
out, with its addresses, streams and CUDA graphs. TensorRT for RTX builds the graph for real.
"""

from __future__ import annotations

from collections.abc import Iterator
import gc
import logging
from pathlib import Path
import shutil

import cv2
import numpy as np
import pytest
from tensorrt_standin.harness import TensorRTHere
from test_face_mesh import ear, FACE

from aitable_ros.crop_map import crop_to_image
from aitable_ros.engines.build import build
from aitable_ros.engines.build_list import engine_path
from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.sources import onnx_of
from aitable_ros.errors import InputError
from aitable_ros.face.faster_way import COUNTED, FasterWay, SETTLED
from aitable_ros.face.mesh import FaceMesh, roi_from_detection
from aitable_ros.inference.frame_cutter import rectangles, turns_of
from aitable_ros.inference.gpu_wait import EARLY_S, GpuWait
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import BackendError, cutting
from aitable_ros.inference.tensorrt import TensorRTBackend
from aitable_ros.inference.tensorrt_library import RTX
from aitable_ros.types import FaceLandmarks

SIDE = 192


@pytest.fixture
def crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the ONNX file of the graph that cuts crops for the mesh."""
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path / 'home'))
    return onnx_of(f'crops_{SIDE}')[0]


def cut_by_opencv(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(
        image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE)


def maps(*rois: tuple[float, float, float, float]) -> np.ndarray:
    return np.stack([
        crop_to_image((x, y), angle, size / SIDE, (SIDE, SIDE)) for x, y, size, angle in rois])


PLACES = {
    'inside': (640, 360, 300, 0.4),
    'upside down': (640, 360, 300, 3.0),
    'smaller than the crop': (640, 360, 40, -0.2),
    'over a corner': (1270, 710, 350, 0.7),
    'all of it and more': (640, 360, 1700, 0.0),
    'beside it': (-500, -300, 200, 0.0),
}


class TestTheGraph:

    @pytest.mark.parametrize('size', [(720, 1280), (480, 640), (1080, 1920), (1, 1)], ids=str)
    def test_cuts_what_opencv_cuts(self, crops: Path, portrait: np.ndarray, size) -> None:
        image = cv2.resize(portrait, size[::-1])
        matrices = maps(*PLACES.values())
        with OnnxRuntimeBackend(crops) as backend:
            found = backend.infer({'frame': image, 'turns': turns_of(matrices, *size)})['image']
        for name, matrix, crop in zip(PLACES, matrices, found):
            off = np.abs(crop * 255 - cut_by_opencv(image, matrix).astype(np.float32))
            # OpenCV rounds to whole values, and places to 1/32 of a pixel
            assert off.mean() < 0.6, name
            assert np.percentile(off, 99) < 6, name

    def test_the_mesh_reads_the_same_from_its_crops(
        self, crops: Path, models: Path, portrait: np.ndarray,
    ) -> None:
        rois = np.stack([roi_from_detection(FACE)] * 3)
        rois[1, :2] += 9.3
        rois[2, 3] += 0.4
        matrices = maps(*rois.tolist())
        with OnnxRuntimeBackend(crops) as cutter, OnnxRuntimeBackend(
                models / 'facemesh.onnx') as mesh:
            cut = cutter.infer(
                {'frame': portrait, 'turns': turns_of(matrices, *portrait.shape[:2])})['image']
            ours = mesh.infer({'image': cut})['landmarks']
            theirs = mesh.infer({'image': np.stack([
                cut_by_opencv(portrait, matrix) for matrix in matrices]).astype('f4') / 255})[
                    'landmarks']
        assert np.abs(ours - theirs)[..., :2].max() < 0.2, 'pixels of the crop'
        for one, other in zip(ours, theirs):
            assert abs(ear(FaceLandmarks(one, 1.0)) - ear(FaceLandmarks(other, 1.0))) < 0.002

    @pytest.mark.parametrize('roi', PLACES.values(), ids=list(PLACES))
    def test_the_rectangle_holds_all_that_a_crop_reads(
        self, crops: Path, portrait: np.ndarray, roi: tuple[float, float, float, float],
    ) -> None:
        image = cv2.resize(portrait, (1280, 720))
        matrices = maps(roi)
        (left, top, right, bottom), = rectangles(matrices, SIDE, 720, 1280)
        assert 0 <= left < right <= 1280
        assert 0 <= top < bottom <= 720
        masked = np.zeros_like(image)
        masked[top:bottom, left:right] = image[top:bottom, left:right]
        with OnnxRuntimeBackend(crops) as backend:
            turns = turns_of(matrices, 720, 1280)
            whole, part = (backend.infer({'frame': frame, 'turns': turns})['image']
                           for frame in (image, masked))
        np.testing.assert_array_equal(part, whole)

    @pytest.mark.skipif(not RTX.package, reason='TensorRT for RTX is not installed here')
    def test_a_real_parser_and_builder_of_tensorrt_take_it(
        self, crops: Path, tmp_path: Path,
    ) -> None:
        from aitable_ros.engines.tensorrt_rtx import RtxToolchain

        path = engine_path(f'crops_{SIDE}', 'fp32', RTX.name)
        assert path.name == 'crops_192_fp32_rtx.engine'
        sidecar = build(crops, path, BuildOptions(precision='fp32'),
                        tools=RtxToolchain(targets=('sm89',)))
        assert sidecar.max_batch == 4
        assert path.stat().st_size > 10_000

    @pytest.mark.parametrize('name', ['crops_', 'crops_5', 'crops_big', 'crops_99999'])
    def test_a_size_that_is_none_is_refused(self, name: str) -> None:
        with pytest.raises(InputError, match='the size of crops is 16 to 1024 pixels'):
            onnx_of(name)


@pytest.fixture
def mesh(
    tensorrt: TensorRTHere, crops: Path, models: Path, tmp_path: Path,
) -> Iterator[TensorRTBackend]:
    """Yield the mesh's engine with the one that cuts its crops beside it."""
    tensorrt.engine(crops, tmp_path)
    path = tensorrt.engine(models / 'facemesh.onnx', tmp_path)
    with TensorRTBackend(path, model='facemesh') as backend:
        yield backend
    gc.collect()
    if tensorrt.gpu is not None:
        assert tensorrt.gpu.left() == []


class TestTheEngine:

    def test_gives_what_the_model_gives_on_opencv_s_crops(
        self, mesh: TensorRTBackend, portrait: np.ndarray,
    ) -> None:
        """Any number of crops, images of several sizes, any order, often enough for graphs."""
        assert cutting(mesh) is mesh
        assert mesh.most_cut == (1088, 1920, 4)
        rois = [roi_from_detection(FACE) + np.array([shift, -shift, 0, shift / 50], np.float32)
                for shift in (0, 4, 8, 12)]
        small = cv2.resize(portrait, None, fx=0.9, fy=0.8)
        for image in (portrait, portrait, portrait, small, portrait):
            for count in (1, 3, 4, 1, 2, 1):
                matrices = list(maps(*(roi.tolist() for roi in rois[:count])))
                wanted = mesh.infer({'image': np.stack([
                    cut_by_opencv(image, matrix) for matrix in matrices]).astype('f4') / 255})
                found = mesh.infer_cut(image, matrices)
                assert found.keys() == wanted.keys()
                assert found['landmarks'].shape == wanted['landmarks'].shape
                off = np.abs(found['landmarks'] - wanted['landmarks'])[..., :2]
                assert np.percentile(off, 99) < 0.2, (image.shape, count)
                assert off.max() < 0.4, 'OpenCV rounds places to 1/32 of a pixel'

    def test_the_stage_takes_both_ways_and_keeps_one(
        self, mesh: TensorRTBackend, models: Path, portrait: np.ndarray,
    ) -> None:
        rois = np.stack([roi_from_detection(FACE)] * 2)
        stage = FaceMesh(mesh)
        way = stage.crops.way
        with OnnxRuntimeBackend(models / 'facemesh.onnx') as backend:
            wanted = FaceMesh(backend).read(portrait, rois)
        for _ in range(2 * (SETTLED + COUNTED)):
            assert not way.chosen
            for ours, theirs in zip(stage.read(portrait, rois), wanted):
                assert np.abs(ours.points - theirs.points)[:, :2].max() < 0.2
        assert set(way.chosen) == {(*portrait.shape[:2], 2)}

    def test_what_it_cannot_take_is_cut_on_the_cpu(
        self, mesh: TensorRTBackend, portrait: np.ndarray,
    ) -> None:
        wide = np.zeros((200, 2000, 3), np.uint8)
        with pytest.raises(BackendError, match=r'does not cut 1 crops of an image of \[200, 2000'):
            mesh.infer_cut(wide, list(maps(PLACES['inside'])))
        stage = FaceMesh(mesh)
        assert len(stage.read(wide, roi_from_detection(FACE)[None])) == 1
        assert len(stage.read(portrait, np.stack([roi_from_detection(FACE)] * 9))) == 9
        assert stage.crops.way.next((200, 2000, 1)) == 0

    def test_closed_it_cuts_nothing(self, mesh: TensorRTBackend, portrait: np.ndarray) -> None:
        mesh.infer_cut(portrait, list(maps(PLACES['inside'])))
        mesh.close()
        with pytest.raises(BackendError, match='does not cut'):
            mesh.infer_cut(portrait, list(maps(PLACES['inside'])))

    def test_another_engine_of_that_name_is_passed_over_and_said(
        self, tensorrt: TensorRTHere, models: Path, tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        path = tensorrt.engine(models / 'facemesh.onnx', tmp_path)
        shutil.copy(path, tmp_path / 'crops_192_fp32.engine')
        with caplog.at_level(logging.WARNING), TensorRTBackend(path) as backend:
            assert cutting(backend) is None
            assert backend.infer({'image': np.zeros((1, SIDE, SIDE, 3), np.float32)})
        assert 'does not cut crops of 192 pixels' in caplog.text


class Gpu:
    """Notes how it was waited for; its work is done at a time of a clock that waiting moves."""

    def __init__(self) -> None:
        self.now_s, self.done_s = 0.0, 0.0
        self.awake_s, self.slept_s = 0.0, 0.0

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.now_s += seconds

    def wait(self, stream: object, *, spin: bool) -> None:
        left_s = max(self.done_s - self.now_s, 0.0)
        self.awake_s += left_s if spin else 0.0
        self.now_s += left_s


class TestWaiting:

    @pytest.fixture
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> Gpu:
        gpu = Gpu()
        monkeypatch.setattr('aitable_ros.inference.gpu_wait.monotonic', lambda: gpu.now_s)
        monkeypatch.setattr('aitable_ros.inference.gpu_wait.sleep', gpu.sleep)
        return gpu

    def run(self, gpu: Gpu, wait: GpuWait, takes_s: float) -> float:
        """Return how long it took."""
        began_s = gpu.now_s
        gpu.done_s = began_s + takes_s
        wait.wait(gpu, None, began_s, 'work')  # type: ignore[arg-type]
        return gpu.now_s - began_s

    def test_a_nap_ends_before_the_gpu_usually_does(self, gpu: Gpu) -> None:
        wait = GpuWait('nap')
        assert self.run(gpu, wait, 0.001) == pytest.approx(0.001)
        gpu.awake_s = 0.0
        for _ in range(10):
            assert self.run(gpu, wait, 0.001) == pytest.approx(0.001)
        assert gpu.awake_s <= 10 * EARLY_S + 1e-9
        assert gpu.slept_s >= 10 * (0.001 - EARLY_S) - 1e-9

    def test_one_that_gets_faster_is_not_slept_over_twice(self, gpu: Gpu) -> None:
        wait = GpuWait('nap')
        for _ in range(3):
            self.run(gpu, wait, 0.002)
        self.run(gpu, wait, 0.0005)
        for _ in range(40):
            took_s = self.run(gpu, wait, 0.0005)
        assert took_s < 0.0005 + EARLY_S

    def test_a_run_too_short_for_a_nap_is_waited_for_awake(self, gpu: Gpu) -> None:
        wait = GpuWait('nap')
        for _ in range(5):
            self.run(gpu, wait, EARLY_S)
        assert gpu.slept_s == 0


class TestFasterWay:

    @pytest.mark.parametrize(('first_s', 'second_s', 'chosen'), [(1, 2, 0), (2, 1, 1)])
    def test_both_are_timed_in_turn_then_the_faster_is_kept(
        self, first_s: float, second_s: float, chosen: int,
    ) -> None:
        way = FasterWay('crops', ('CPU', 'GPU'))
        taken = []
        for _ in range(2 * (SETTLED + COUNTED) + 5):
            one = way.next('four')
            taken.append(one)
            # the runs that settle are slow, and one busy moment is, too
            slow = 50 if len(taken) <= 2 * SETTLED or len(taken) == 11 else 0
            way.took('four', one, (first_s, second_s)[one] + slow)
        assert taken[:4] == [0, 1, 0, 1]
        assert taken[-5:] == [chosen] * 5
        assert way.next('one') == 0, 'another kind is decided by itself'
