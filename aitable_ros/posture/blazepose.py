# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
BlazePose: a rotated square crop around a body goes in, its joints come out.

The crops are MediaPipe's (``pose_detection_to_roi.pbtxt``, ``pose_landmarks_to_roi.pbtxt`` and
``pose_landmark_filtering.pbtxt``), as is the refinement of the joints by heat maps
(``tensors_to_pose_landmarks_and_segmentation.pbtxt``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import InputError
from aitable_ros.face.turned_crops import to_image, TurnedCrops
from aitable_ros.inference.protocol import Backend, Tensors
from aitable_ros.posture.one_euro import OneEuroFilter
from aitable_ros.posture_types import JOINTS, Skeleton
from aitable_ros.types import Detection

CROP_SCALE = 1.25
"""Side of the crop over the diameter of the circle around the body; MediaPipe's graphs."""

MIN_PRESENCE = 0.5
"""Least presence of a body that is there; ``min_tracking_confidence`` of MediaPipe's Pose."""

OUTPUTS = {'landmarks': 5, 'presence': 1, 'heatmaps': 64, 'world': 3}
"""Names of the outputs, and the size of the last axis of each."""

SETTLING = 2
"""
Readings of a new body whose landmarks only place the next crop. On nine clips that no test of
angles uses, turned by up to 20 degrees, the tilt of the shoulders errs by 1.4 degrees in the
detector's crop (median of the clips' rms), by 1.1 after one such reading, 0.8 after two, 0.9 after
three, 1.3 after four. Where a portrait ends above the shoulders, crops drift off instead.
"""

KERNEL = 9
"""
Cells a side of the heat map around a joint that refine its place. The graph's source says 7; the
landmarks of mediapipe 0.10.21 are those of 9, to 0.05 px of the crop.
"""

MIN_HEAT = 0.5
"""Least maximum of these cells; below it the joint stays where the regression has it."""


@dataclass(frozen=True, slots=True, eq=False)
class BodyLandmarks:
    """
    The joints of one body, and the two points that place its next crop.

    :param alignment: ``(2, 2)`` float32, pixels of the image: mid-hip, and a point above it on the
        circle around the body
    """

    skeleton: Skeleton
    alignment: NDArray[np.float32]


def roi_from_detection(detection: Detection) -> NDArray[np.float32]:
    """
    Return the crop of a body that the detector found.

    :return: ``(4,)`` float32 ``[cx, cy, size, angle]``, pixels and radians, the angle clockwise as
        seen on the screen
    """
    return roi_from_points(detection.keypoints[:2])


def roi_from_points(alignment: NDArray[np.floating]) -> NDArray[np.float32]:
    """
    Return the crop in which a body's circle point is above its mid-hip.

    :param alignment: ``(2, 2)`` mid-hip and circle point, pixels of the image
    :return: as :func:`roi_from_detection`
    """
    (x, y), (above_x, above_y) = alignment.tolist()
    angle = math.atan2(above_y - y, above_x - x) + math.pi / 2
    size = 2 * CROP_SCALE * math.hypot(above_x - x, above_y - y)
    return np.array([x, y, size, math.remainder(angle, 2 * math.pi)], np.float32)


class NextCrop:
    """
    Places the next crop of one body from its landmarks: tracking without a detector.

    The two points are smoothed more than any joint, so that the crop of a resting body rests;
    the figures are those of MediaPipe's graph.
    """

    def __init__(self) -> None:
        self._filter = OneEuroFilter(min_cutoff_hz=0.01, beta=10.0)

    def update(self, stamp_ns: int, body: BodyLandmarks) -> NDArray[np.float32]:
        """Return the crop for the next image, as :func:`roi_from_detection`."""
        diameter = 2 * float(np.hypot(*(body.alignment[1] - body.alignment[0])))
        return roi_from_points(
            self._filter.update(stamp_ns, body.alignment, scale=1 / max(diameter, 1.0)))


class BlazePose:
    """
    Joints of bodies, one crop each.

    Buffers are kept between calls, so one instance serves one thread. The backend stays the
    caller's to close.

    :raises InputError: the model is another one
    """

    def __init__(self, backend: Backend) -> None:
        if not self.fits(backend):
            spec = backend.inputs[0]
            raise InputError(
                f'{backend.model}: not BlazePose: it takes {spec.name} {list(spec.shape)} and '
                f"gives {', '.join(output.name for output in backend.outputs)}; use 'blazepose'")
        self._crops = TurnedCrops(backend)
        self.side = self._crops.side

    @staticmethod
    def fits(backend: Backend) -> bool:
        """Tell whether the model has the inputs and outputs of BlazePose."""
        return TurnedCrops.fits(backend, OUTPUTS)

    def read(self, image: NDArray[np.uint8], rois: NDArray[np.float32]) -> list[BodyLandmarks]:
        """
        Find the joints in each region.

        :param image: ``(height, width, 3)`` uint8 RGB, not empty
        :param rois: ``(n, 4)`` float32 ``[cx, cy, size, angle]``; they may reach beyond the image
        :return: one for each region, in its order; a body is there if the presence of its
            skeleton is at least :data:`MIN_PRESENCE`
        :raises ValueError: a region that is not finite
        """
        rois = np.asarray(rois, np.float32).reshape(-1, 4)
        return [
            self._body(outputs, matrix, float(roi[3]))
            for roi, (outputs, matrix) in zip(rois, self._crops.run(image, rois))]

    def settle(
        self, image: NDArray[np.uint8], detections: Sequence[Detection],
    ) -> list[BodyLandmarks]:
        """
        Find the joints of bodies that a detector found, in crops from their own landmarks.

        :class:`NextCrop` holds on to its first crop, and the detector's is rough: see
        :data:`SETTLING`.

        :param image: as in :meth:`read`
        :return: one for each detection, in its order
        """
        rois = [roi_from_detection(detection) for detection in detections]
        for _ in range(SETTLING):
            rois = [roi_from_points(body.alignment) for body in self.read(image, np.array(rois))]
        return self.read(image, np.array(rois))

    def _body(
        self, outputs: Tensors, matrix: NDArray[np.float64], angle: float,
    ) -> BodyLandmarks:
        landmarks = outputs['landmarks']
        points = landmarks[:, :3].copy()
        refine(points[:, :2], outputs['heatmaps'], self.side)
        points = to_image(points, matrix)
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], np.float32)
        return BodyLandmarks(
            Skeleton(
                points=points[:JOINTS],
                visibility=_sigmoid(landmarks[:JOINTS, 3]),
                world=outputs['world'][:JOINTS] @ turn,
                presence=float(outputs['presence'].item())),
            alignment=points[JOINTS:JOINTS + 2, :2])


def refine(points: NDArray[np.float32], heatmaps: NDArray[np.float32], side: int) -> None:
    """
    Move points to the centre of heat around them, in place.

    MediaPipe's ``RefineLandmarksFromHeatmapCalculator``: cells count by the corner they begin at.

    :param points: ``(n, 2)`` float32 x, y in pixels of the crop
    :param heatmaps: ``(n, cells, cells)`` float32 logits
    :param side: of the crop, pixels
    """
    cells = heatmaps.shape[1]
    places = points * (cells / side)
    inside = np.all((places > -1) & (places < cells), axis=1)
    middle = np.where(inside[:, None], places, 0).astype(np.intp)
    around = middle[:, :, None] + np.arange(KERNEL) - KERNEL // 2  # n, x and y, kernel
    there = (around >= 0) & (around < cells)
    columns, rows = np.moveaxis(np.clip(around, 0, cells - 1), 1, 0)
    heat = _sigmoid(
        heatmaps[np.arange(len(points))[:, None, None], rows[:, :, None], columns[:, None, :]])
    heat *= there[:, 1][:, :, None] & there[:, 0][:, None, :]
    hot = inside & (heat.max(axis=(1, 2)) >= MIN_HEAT)
    heat = heat[hot]
    total = heat.sum(axis=(1, 2))
    points[hot, 0] = (heat.sum(axis=1) * columns[hot]).sum(axis=1) / total * (side / cells)
    points[hot, 1] = (heat.sum(axis=2) * rows[hot]).sum(axis=1) / total * (side / cells)


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)
