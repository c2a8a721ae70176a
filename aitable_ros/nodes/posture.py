# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node that reads postures: ``image`` and ``faces`` in, ``posture`` and its events out."""

from __future__ import annotations

from typing import Any

from aitable_msgs.msg import Posture, PostureEvent
from aitable_ros import rehearsal
from aitable_ros.config import CameraOptions
from aitable_ros.nodes.absence import AbsenceWatch
from aitable_ros.nodes.channel import SharedFaces, SharedPosture
from aitable_ros.nodes.managed_node import is_heard
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.model_node import ModelNode
from aitable_ros.posture.monitor import PostureMonitor
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture_types import (
    PostureAssessment, PostureState, PostureUpdate, PostureValidity
)
from aitable_ros.types import Frame


class PostureNode(ModelNode):
    """Publishes one ``Posture`` for each body in an image that it reads, and for who left."""

    NAME = 'posture'
    OPTIONS = (PostureOptions, CameraOptions)
    STAGE = PostureMonitor
    SHARES = (SharedPosture, 'posture')

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._topics: dict[str, Any] = {}
        self._first: PostureAssessment | None = None
        self._known: tuple[PostureAssessment, ...] = ()
        self._absence = AbsenceWatch(self, self._publish_absent)
        self._calibrates(
            lambda pinned: 'height of the ears over the shoulders, upright, is now ' + ', '.join(
                f'{height:.2f} for person {track_id}' for track_id, height in pinned.items()))

    def _rehearse(self, stage: PostureMonitor) -> None:
        stage.update(rehearsal.FRAME, (rehearsal.FACE,))

    def _make_publishers(self) -> None:
        self._topics = {
            'posture': self._publisher(Posture, 'posture'),
            'posture/events': self._publisher(PostureEvent, 'posture/events')}

    def _unsubscribe(self) -> None:
        super()._unsubscribe()
        self._absence.stop()

    def _step(self, stage: PostureMonitor, item: SharedFaces) -> None:
        item.precedence.give_way()
        update = stage.update(item.frame, item.faces)
        if not update.read:
            return
        self._note(update)
        if not self._publishing:
            return
        self._absence.answered(item.frame)
        self._channel.publish(SharedPosture(item.frame, update, stage.model))
        self._publish(update, item.frame, stage)
        self.images.answered(item.frame, item.received_s)

    def _note(self, update: PostureUpdate) -> None:
        """Keep who is known and, for diagnostics, the person dealt with."""
        self._tracks = len(update.bodies)
        self._known = (*update.assessments.values(), *update.absent)
        first = next((body for body in update.bodies if body.primary), None) or next(
            iter(update.bodies), None)
        self._first = None if first is None else update.assessments.get(first.track_id)

    def _publish_absent(self, stage: PostureMonitor, frame: Frame, stamp_ns: int) -> None:
        if not stage.model.model or not self._publishing:
            return
        absent = tuple(
            PostureAssessment(
                one.track_id, stamp_ns, PostureValidity.NO_BODY, state_time_s=one.state_time_s,
                calibrated=one.calibrated)
            for one in self._known)
        self._publish(PostureUpdate(read=True, absent=absent), frame, stage)

    def _publish(self, update: PostureUpdate, frame: Frame, stage: PostureMonitor) -> None:
        if is_heard(self._topics['posture']):
            for topic, message in CODEC.messages_of_posture(update, frame, stage.model):
                self._topics[topic].publish(message)
            return
        for event in update.events:
            self._topics['posture/events'].publish(
                CODEC.posture_event_message(CODEC.header_of(frame), event))

    def details(self) -> dict[str, object]:
        """Return the number of bodies, and for how much of the time each state was there."""
        first = self._first
        values: dict[str, object] = {'tracks': self._tracks}
        if first is not None:
            values['posture'] = first.state.name
            values['posture_share'] = shares(first)
        return {**values, **super().details()}


def shares(assessment: PostureAssessment) -> str:
    """Return the share of time in each state, such as ``UPRIGHT 0.80, SLOUCHED 0.20``."""
    total = sum(assessment.state_time_s)
    return ', '.join(
        f'{state.name} {seconds / total:.2f}'
        for state, seconds in zip(PostureState, assessment.state_time_s) if seconds > 0)
