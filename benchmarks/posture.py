# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Time BlazePose against MediaPipe's Pose on the same images, in turns, on one core.

Run ``.venv-mediapipe/bin/python -m benchmarks.posture CLIP`` from the repository root; the
environment is that of ``scripts/test.sh --all``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
import os
from pathlib import Path
import sys
import time

import numpy as np

from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.openvino import OpenVINOBackend
from aitable_ros.models.catalogue import onnx_path
from aitable_ros.posture.blazepose import BlazePose, roi_from_detection, roi_from_points
from aitable_ros.posture.blazepose_detector import BlazePoseDetector
from aitable_ros.recordings.readers import open_source

IMAGES, ROUNDS, UNCOUNTED = 30, 3, 5


def main(clip: Path) -> None:
    """Print the median of each way, milliseconds of CPU time."""
    from mediapipe.python.solutions.pose import Pose

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    images = [frame.image for frame in islice(open_source(clip), IMAGES)]
    spent: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        spent[name].append((time.process_time() - began) * 1e3)

    ours = {
        kind.name: (BlazePoseDetector(kind(onnx_path('blazepose_detector'), threads=1)),
                    BlazePose(kind(onnx_path('blazepose'), threads=1)))
        for kind in (OpenVINOBackend, OnnxRuntimeBackend)}
    with Pose(static_image_mode=True, model_complexity=1) as both, \
            Pose(model_complexity=1, smooth_landmarks=False) as following:
        for image in images * ROUNDS:
            with timed('MediaPipe, detector and landmarks'):
                both.process(image)
            with timed('MediaPipe, landmarks'):
                following.process(image)
            for name, (detector, pose) in ours.items():
                with timed(f'{name}, detector and landmarks'):
                    body, = pose.read(image, roi_from_detection(detector.detect(image)[0])[None])
                with timed(f'{name}, landmarks'):
                    pose.read(image, roi_from_points(body.alignment)[None])
    for name, times in spent.items():
        print(f'{name}: {np.median(times[UNCOUNTED:]):.1f} ms')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
