# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The interface of what finds and follows bodies, and the one that fits a loaded model."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Protocol

from aitable_ros.errors import InputError
from aitable_ros.inference.protocol import Backend
from aitable_ros.posture.blazepose import BlazePose
from aitable_ros.posture.body_tracker import BodyTracker
from aitable_ros.posture.crop_follower import CropFollower
from aitable_ros.posture.late_detector import LateDetector
from aitable_ros.posture.yolov8_pose import Yolov8Pose
from aitable_ros.posture_types import Skeleton
from aitable_ros.types import Frame, TrackedFace


class BodySource(Protocol):
    """Follows bodies through a stream of images; serves one thread."""

    def follow(
        self, frame: Frame, most: int, faces: Mapping[int, TrackedFace], rest: Container[int] = (),
    ) -> dict[int, Skeleton]:
        """
        Read the bodies that are known in the next image, which is not empty.

        :param most: bodies that are followed, at most
        :param faces: in this image, of those among the bodies whose face is tracked, by number
        :param rest: bodies that need not be read: their last reading does
        :return: by a number that stays; a body that is lost is left out
        """

    def seek(
        self, frame: Frame, most: int, faces: Sequence[TrackedFace], look: bool,
    ) -> dict[int, Skeleton]:
        """
        Find further bodies in the image that was read last.

        :param faces: those without a body
        :param look: look for bodies without a face, too
        :return: all bodies
        """

    def forget(self) -> None:
        """Forget all bodies; numbers are not used again."""


def needs_detector(backend: Backend) -> bool:
    """Return whether a model reads joints in crops, which something else must find."""
    return BlazePose.fits(backend)


def source_for(backend: Backend, detector: LateDetector | None) -> BodySource:
    """
    Choose by the shapes of the model's input and outputs, whatever the file is called.

    :param detector: finds bodies for a model that reads crops; None: tracked faces alone do
    :raises InputError: not a model that we know
    """
    pose = pose_for(backend)
    return CropFollower(pose, detector) if isinstance(pose, BlazePose) else BodyTracker(pose)


def pose_for(backend: Backend) -> BlazePose | Yolov8Pose:
    """
    Choose the code for a model by the shapes of its input and outputs.

    :raises InputError: not a pose model that we know
    """
    if len(backend.inputs) == 1:
        if BlazePose.fits(backend):
            return BlazePose(backend)
        if Yolov8Pose.fits(backend):
            return Yolov8Pose(backend)
    inputs = ', '.join(f'{spec.name} {list(spec.shape)}' for spec in backend.inputs)
    outputs = ', '.join(f'{spec.name} {list(spec.shape)}' for spec in backend.outputs)
    raise InputError(f'{backend.model}: not a pose model that we know: it takes {inputs} and gives '
                     f"{outputs}; use 'blazepose' or a YOLOv8-pose export")
