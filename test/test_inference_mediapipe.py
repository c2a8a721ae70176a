# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""MediaPipe as the fallback of the face mesh, against ours; skipped where not installed."""

from __future__ import annotations

from pathlib import Path
import zipfile

import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.face.mesh import FaceMesh
from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.protocol import BackendError

ROI = np.array([[222.5, 130.0, 190.0, 0.1]], np.float32)
"""The portrait's face: centre, side, turn."""
NOBODY = np.array([[60.0, 440.0, 100.0, 0.0]], np.float32)


@pytest.fixture(autouse=True)
def mediapipe() -> None:
    pytest.importorskip('mediapipe', reason='MediaPipe is not installed here')


@pytest.fixture
def no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))


def through(entry: str, image: NDArray[np.uint8], rois: NDArray[np.float32]) -> list[object]:
    resolution = resolve(ModelOptions(model='facemesh.engine', fallbacks=(entry,)))
    assert resolution.backend is not None
    with resolution.backend as backend:
        assert (backend.name, backend.precision, backend.device) == ('mediapipe', 'fp32', 'cpu')
        assert backend.model == Path(entry).name
        return FaceMesh(backend).read(image, rois)


def test_the_mesh_in_the_package_is_ours(
    models: Path, no_files: None, portrait: NDArray[np.uint8],
) -> None:
    rois = np.concatenate([ROI, NOBODY, ROI * [1, 1, 1.2, -2]])
    with OnnxRuntimeBackend(models / 'facemesh.onnx') as backend:
        ours = FaceMesh(backend).read(portrait, rois)
    theirs = through('mediapipe', portrait, rois)
    assert [face.presence > 0.5 for face in theirs] == [True, False, True]
    assert [face.presence > 0.5 for face in ours] == [True, False, True]
    for mine, its in zip(ours[::2], theirs[::2]):
        assert its.points.shape == (478, 3)
        np.testing.assert_allclose(its.points, mine.points, atol=1e-3)


def test_a_task_file_is_run_by_the_tasks_api(
    tmp_path: Path, portrait: NDArray[np.uint8],
) -> None:
    """The bundle's mesh has 468 points where 478 are read: they are MediaPipe's, but no face's."""
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

    path = bundle(tmp_path)
    crop = np.ascontiguousarray(portrait[34:226, 126:318])
    options = FaceLandmarkerOptions(
        BaseOptions(model_asset_path=str(path)), min_face_detection_confidence=0.2)
    with FaceLandmarker.create_from_options(options) as landmarker:
        found = landmarker.detect(Image(image_format=ImageFormat.SRGB, data=crop))
    wanted = [(point.x * 192, point.y * 192, point.z * 192) for point in found.face_landmarks[0]]
    here, nobody = through(str(path), portrait, np.array([[222, 130, 192, 0], NOBODY[0]]))
    assert (here.presence > 0.5, nobody.presence > 0.5) == (True, False)
    np.testing.assert_allclose(here.points, np.add(wanted, (126, 34, 0)), atol=1e-3)


def bundle(folder: Path) -> Path:
    """Make what users download, out of the package: a detector and the plain mesh."""
    import mediapipe
    from mediapipe.tasks.python.metadata.metadata_writers import metadata_writer

    modules = Path(mediapipe.__file__).parent / 'modules'
    path = folder / 'face_landmarker.task'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as file:
        for name, source, mean, scale in (
            ('face_detector', 'face_detection/face_detection_short_range', 127.5, 127.5),
            ('face_landmarks_detector', 'face_landmark/face_landmark', 0.0, 255.0),
        ):
            model = bytearray((modules / f'{source}.tflite').read_bytes())
            writer = metadata_writer.MetadataWriter.create(model)
            file.writestr(f'{name}.tflite',
                          bytes(writer.add_image_input([mean], [scale]).populate()[0]))
    return path


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 no bundle', b'hello'])
def test_what_is_no_bundle_is_passed_over_with_a_reason(
    content: bytes, tmp_path: Path,
) -> None:
    path = tmp_path / 'broken.task'
    path.write_bytes(content)
    resolution = resolve(ModelOptions(
        model=str(path), fallbacks=('mediapipe',), precision='fp16', required=False))
    assert resolution.backend is None
    assert 'fp32, not fp16' in resolution.attempts[-1].reason
    resolution = resolve(ModelOptions(model=str(path), required=False))
    assert resolution.backend is None
    assert str(path) in resolution.attempts[0].reason
    assert '\n' not in resolution.attempts[0].reason


def test_another_backend_cannot_run_it() -> None:
    resolution = resolve(ModelOptions(
        model='mediapipe', backend='openvino', required=False))
    assert resolution.attempts[0].reason == (
        "backend 'openvino' does not run the mesh inside MediaPipe")


def test_it_closes_without_a_trace() -> None:
    from aitable_ros.inference.mediapipe import MediaPipeBackend

    def cycle() -> None:
        with MediaPipeBackend() as backend:
            backend.warm_up()
        backend.close()
        with pytest.raises(BackendError, match='closed'):
            backend.warm_up()

    cycle()
    tasks = Path('/proc/self/task')
    threads = len(list(tasks.iterdir()))
    for _ in range(5):
        cycle()
    assert len(list(tasks.iterdir())) <= threads
