# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
One subject of the race in a process, and perhaps an environment, of its own: needs numpy only.

``worker.py SUBJECT HEIGHT WIDTH COUNT FILE`` maps FILE, a block of COUNT RGB frames, says what it
is in a line of JSON, and then for each line ``SEQUENCE FRAMES`` on its standard input reads so many
frames of the block and answers with a line of JSON: milliseconds of the clock and of the processor
(all threads) for each, and how many faces it saw.
"""

import contextlib
from importlib import metadata
import json
import mmap
import os
from pathlib import Path
import sys
from time import perf_counter, process_time

import numpy as np

NS = 1_000_000_000
FPS = 30


def _package(*names):
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _aitable():
    """Return our whole pipeline with its default options."""
    import cv2

    from aitable_ros.pipeline import Pipeline

    cv2.setNumThreads(1)
    pipeline = Pipeline()

    def read(image, sequence):
        return len(pipeline.process(image, NS + round(sequence * NS / FPS)).faces)
    models = {name: ' '.join((info.model, info.backend, info.precision))
              for name, info in pipeline.models.items()}
    return read, {**_package('aitable_ros', 'openvino', 'opencv-python-headless'), **models}


def _facemesh():
    """Return MediaPipe's FaceMesh with attention (refined lips, eyes, irises), as for a video."""
    import cv2
    import mediapipe

    cv2.setNumThreads(1)
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=False, max_num_faces=1, refine_landmarks=True)

    def read(image, sequence):
        return len(mesh.process(image).multi_face_landmarks or ())
    return read, _package('mediapipe', 'numpy')


def _face_detection():
    """Return MediaPipe's face detection, full range, alone."""
    import mediapipe

    finder = mediapipe.solutions.face_detection.FaceDetection(model_selection=1)

    def read(image, sequence):
        return len(finder.process(image).detections or ())
    return read, _package('mediapipe', 'numpy')


def _landmarker():
    """Return MediaPipe's FaceLandmarker (Tasks), as for a video; the model is the user's."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    model = Path(os.environ['AITABLE_FACE_LANDMARKER']).read_bytes()
    landmarker = vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=model),
        running_mode=vision.RunningMode.VIDEO))

    def read(image, sequence):
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        return len(landmarker.detect_for_video(
            picture, round(sequence * 1000 / FPS)).face_landmarks)
    return read, _package('mediapipe', 'numpy')


def _haar():
    """Return OpenCV's Haar cascade for frontal faces, on one thread."""
    import cv2

    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(
        str(Path(cv2.data.haarcascades) / 'haarcascade_frontalface_default.xml'))

    def read(image, sequence):
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return len(cascade.detectMultiScale(gray, 1.1, 5, minSize=(60, 60)))
    return read, _package('opencv-python-headless')


def _yunet():
    """Return OpenCV's YuNet on one thread, at the size of the image; the model is the user's."""
    import cv2

    cv2.setNumThreads(1)
    finder = cv2.FaceDetectorYN.create(os.environ['AITABLE_YUNET'], '', (320, 320))

    def read(image, sequence):
        finder.setInputSize((image.shape[1], image.shape[0]))
        _, faces = finder.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return 0 if faces is None else len(faces)
    return read, _package('opencv-python-headless')


def _fer():
    """Return the fer package: Haar finds faces, mini-Xception on TensorFlow reads them."""
    import cv2
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    cv2.setNumThreads(1)
    from fer.fer import FER

    reader = FER(mtcnn=False)

    def read(image, sequence):
        return len(reader.detect_emotions(cv2.cvtColor(image, cv2.COLOR_RGB2BGR)))
    return read, _package('fer', 'tensorflow-cpu', 'tensorflow', 'numpy')


SUBJECTS = {
    'aitable': _aitable, 'mediapipe_facemesh': _facemesh, 'mediapipe_detection': _face_detection,
    'mediapipe_landmarker': _landmarker, 'opencv_haar': _haar, 'opencv_yunet': _yunet, 'fer': _fer}


def main():
    """Serve until standard input ends."""
    subject, height, width, count, path = sys.argv[1:]
    shape = tuple(map(int, (count, height, width, 3)))
    with Path(path).open('rb') as file:
        block = np.frombuffer(
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8).reshape(shape)
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # whatever a library prints is not an answer
    read, versions = SUBJECTS[subject]()
    print(json.dumps({'versions': versions, 'python': sys.version.split()[0]}), file=answers,
          flush=True)
    image = np.empty(shape[1:], np.uint8)
    for line in sys.stdin:
        sequence, frames = map(int, line.split())
        wall, cpu, faces = [], [], []
        for index in range(frames):
            np.copyto(image, block[index])  # as a camera's driver just wrote it; not timed
            start, spent = perf_counter(), process_time()
            seen = read(image, sequence + index)
            wall.append(round((perf_counter() - start) * 1e3, 4))
            cpu.append(round((process_time() - spent) * 1e3, 4))
            faces.append(int(seen))
        status = dict(
            row.split(':', 1) for row in Path('/proc/self/status').read_text().splitlines())
        print(json.dumps({
            'wall': wall, 'cpu': cpu, 'faces': faces, 'threads': int(status['Threads']),
            'rss_mb': int(status['VmRSS'].split()[0]) / 1024}), file=answers, flush=True)


if __name__ == '__main__':
    main()
