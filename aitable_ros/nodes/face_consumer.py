# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the nodes that work on found faces have in common."""

from __future__ import annotations

from typing import Any

from aitable_ros.config import CameraOptions
from aitable_ros.nodes.frame_source import FaceSource
from aitable_ros.nodes.managed_node import ManagedNode


class FaceConsumerNode(ManagedNode):
    """Receives faces with their image, from a detector in this process or from topics."""

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self.faces = FaceSource(
            self, self.parameters[CameraOptions].image_transport, self._offer, self._malformed,
            self.disagreements)

    def _subscribe(self) -> None:
        self.faces.start()

    def _unsubscribe(self) -> None:
        self.faces.stop()

    def _resubscribe(self) -> None:
        self.faces.resubscribe()

    def _once_a_second(self) -> None:
        self.faces.follow_producer()

    def expects(self) -> str:
        """Return what it waits for; nothing where a detector beside it tells that."""
        if self.faces.by_reference:
            return ''
        return f'faces with their image on {self.resolve_topic_name("faces")}'

    def details(self) -> dict[str, object]:
        """Add how the faces come."""
        return {
            'faces_by_reference': str(self.faces.by_reference).lower(),
            'unmatched': self.faces.matcher.unmatched}
