# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node that reads expressions: ``image`` and ``faces`` in, ``emotion`` out."""

from __future__ import annotations

from typing import Any

from aitable_msgs.msg import Emotion
from aitable_ros import rehearsal
from aitable_ros.config import CameraOptions
from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.nodes.channel import SharedEmotion, SharedFaces
from aitable_ros.nodes.managed_node import is_heard
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.model_node import ModelNode


class EmotionNode(ModelNode):
    """Publishes one ``Emotion`` for each face and image."""

    NAME = 'emotion'
    OPTIONS = (EmotionOptions, CameraOptions)
    STAGE = EmotionReader
    SHARES = (SharedEmotion, 'emotion')

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._emotion: Any = None
        self._calibrates(
            lambda read: 'the face at rest is neutral now, and was read as ' + ', '.join(
                f'{word.name.lower()} for person {track_id}' for track_id, word in read.items()))

    def _rehearse(self, stage: EmotionReader) -> None:
        stage.update(rehearsal.FRAME, (rehearsal.FACE,))

    def _make_publishers(self) -> None:
        self._emotion = self._publisher(Emotion, 'emotion')

    def _step(self, stage: EmotionReader, item: SharedFaces) -> None:
        item.precedence.give_way()
        estimates = stage.update(item.frame, item.faces)
        self._tracks = len(estimates)
        if not self._publishing:
            return
        self._channel.publish(SharedEmotion(item.frame.stamp_ns, estimates, stage.model))
        for face in item.faces if is_heard(self._emotion) else ():
            if face.track_id in estimates:
                self._emotion.publish(CODEC.emotion_message(
                    item.frame, face, estimates[face.track_id], stage.model))
        self.images.answered(item.frame, item.received_s)

    def details(self) -> dict[str, object]:
        """Return the number of faces."""
        return {'tracks': self._tracks, **super().details()}
