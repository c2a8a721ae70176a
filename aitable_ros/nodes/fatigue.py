# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node that judges fatigue: ``image`` and ``faces`` in, ``fatigue`` and its events out."""

from __future__ import annotations

from typing import Any

from aitable_msgs.msg import FatigueEvent, FatigueState
from aitable_ros import rehearsal
from aitable_ros.config import CameraOptions
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.nodes.absence import AbsenceWatch
from aitable_ros.nodes.channel import SharedFaces, SharedFatigue
from aitable_ros.nodes.managed_node import is_heard
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.model_node import ModelNode
from aitable_ros.nodes.slumped import SlumpedSource
from aitable_ros.types import Frame


class FatigueNode(ModelNode):
    """Publishes one ``FatigueState`` for each face and image, and for people who left."""

    NAME = 'fatigue'
    OPTIONS = (FatigueOptions, CameraOptions)
    STAGE = FatigueMonitor
    SHARES = (SharedFatigue, 'fatigue')

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._states: Any = None
        self._events: Any = None
        self._usable = 0.0
        self._slumped = SlumpedSource(self)
        self._calibrates(lambda pinned: 'EAR of open eyes is now ' + ', '.join(
            f'{ear:.3f} for person {track_id}' for track_id, ear in pinned.items()))
        self._absence = AbsenceWatch(self, self._publish_absent)

    def _rehearse(self, stage: FatigueMonitor) -> None:
        stage.update(rehearsal.FRAME, (rehearsal.FACE,))

    def _make_publishers(self) -> None:
        self._states = self._publisher(FatigueState, 'fatigue')
        self._events = self._publisher(FatigueEvent, 'fatigue/events')

    def _subscribe(self) -> None:
        super()._subscribe()
        self._slumped.refresh()

    def _unsubscribe(self) -> None:
        super()._unsubscribe()
        self._slumped.stop()
        self._absence.stop()

    def _once_a_second(self) -> None:
        super()._once_a_second()
        self._slumped.refresh()

    def _offer(self, item: SharedFaces) -> None:
        item.precedence.claim()
        super()._offer(item)

    def _step(self, stage: FatigueMonitor, item: SharedFaces) -> None:
        try:
            self._judge(stage, item)
        finally:
            item.precedence.answered()

    def _judge(self, stage: FatigueMonitor, item: SharedFaces) -> None:
        update = stage.update(item.frame, item.faces, self._slumped.at(item.frame.stamp_ns))
        if update.note:
            self.images.complain('note', update.note)
        if item.follow is not None and stage.model.model:
            for track_id in update.measured:
                item.follow(track_id, update.landmarks.get(track_id))
        if not self._publishing:
            return
        self._absence.answered(item.frame)
        self._tracks = len(update.assessments)
        self._usable = max(
            (one.perclos_coverage for one in update.assessments.values()), default=0.0)
        header = CODEC.header_of(item.frame)
        heard = is_heard(self._states)
        for face in item.faces:
            if heard and face.track_id in update.measured:
                self._states.publish(CODEC.fatigue_message(
                    header, update.assessments[face.track_id], stage.model, primary=face.primary))
        for assessment in update.absent if heard else ():
            self._states.publish(CODEC.fatigue_message(header, assessment, stage.model))
        for event in update.events:
            self._events.publish(CODEC.event_message(header, event))
        self.images.answered(item.frame, item.received_s)
        self._channel.publish(SharedFatigue(
            item.frame.stamp_ns, update.assessments, update.absent, update.landmarks,
            stage.model))

    def _publish_absent(self, stage: FatigueMonitor, frame: Frame, stamp_ns: int) -> None:
        if not stage.model.model or not self._publishing:
            return
        header = CODEC.header_of(frame)
        for assessment in stage.absent(stamp_ns):
            self._states.publish(CODEC.fatigue_message(header, assessment, stage.model))

    def details(self) -> dict[str, object]:
        """Return the number of faces and how much of the last minute could be judged."""
        return {
            'tracks': self._tracks, 'usable_share': f'{self._usable:.2f}', **super().details()}
