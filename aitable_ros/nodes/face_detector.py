# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node that finds and follows faces: ``image`` in, ``faces`` out."""

from __future__ import annotations

from typing import Any

from aitable_msgs.msg import FaceArray
from aitable_ros import rehearsal
from aitable_ros.config import CameraOptions
from aitable_ros.face.finder import FaceFinder, FaceOptions
from aitable_ros.nodes.channel import SharedFaces
from aitable_ros.nodes.frame_source import Arrival, CameraSource
from aitable_ros.nodes.managed_node import is_heard
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.model_node import ModelNode


class FaceDetectorNode(ModelNode):
    """Detects, tracks and chooses the primary person; shares its frames with nodes beside it."""

    NAME = 'face_detector'
    OPTIONS = (FaceOptions, CameraOptions)
    STAGE = FaceFinder
    SHARES = (SharedFaces, 'faces')
    SOURCE = CameraSource

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._faces: Any = None

    def _rehearse(self, stage: FaceFinder) -> None:
        stage.update(rehearsal.FRAME)

    def _make_publishers(self) -> None:
        self._faces = self._publisher(FaceArray, 'faces')

    def _step(self, stage: FaceFinder, item: Arrival) -> None:
        faces = stage.update(item.frame, defer=True)
        self._tracks = len(faces)
        if not self._publishing:
            return
        shared = SharedFaces(item.frame, faces, stage.model, stage.follow, item.received_s)
        self._channel.publish(shared)
        shared.precedence.give_way()
        if is_heard(self._faces):
            self._faces.publish(CODEC.face_array_message(item.frame, faces, stage.model))
        self.images.answered(item.frame, item.received_s)
        stage.look()

    def details(self) -> dict[str, object]:
        """Return the number of faces."""
        return {'tracks': self._tracks}
