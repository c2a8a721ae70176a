# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""An empty picture and the box of a face in it, on which a newly loaded model is tried."""

from __future__ import annotations

import numpy as np

from aitable_ros.types import Detection, Frame, TrackedFace

SIDE = 128
# Noise, so that no stage takes it for too blurred to be read.
FRAME = Frame(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8), 1)
FACE = TrackedFace(
    track_id=1, primary=True, detection=Detection(
        box=np.array([32, 32, 96, 96], np.float32), confidence=1.0,
        # eyes, nose, mouth, ears of a face that looks straight ahead
        keypoints=np.array(
            [[50, 55], [78, 55], [64, 68], [64, 82], [36, 58], [92, 58]], np.float32)))
