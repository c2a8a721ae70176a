# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The bodies of REP-155: ``/humans/bodies/...`` from the postures of the same people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import RLock
from typing import Any

import numpy as np

from aitable_msgs.msg import Posture
from aitable_ros.clock import header_stamp_ns
from aitable_ros.message_codec import body_of
from aitable_ros.nodes import qos
from aitable_ros.nodes.channel import SharedPosture
from aitable_ros.nodes.hri_ids import RandomIds
from aitable_ros.nodes.managed_node import ManagedNode
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.posture_source import PostureSource
from aitable_ros.posture_types import Body, Joint, SHOULDERS, Skeleton

ROOT = '/humans/bodies'
MATCHES = '/humans/candidate_matches'
KEPT_NS = 1_000_000_000
"""A body that another process has not told of for so long, image time, is gone."""
POINTS: tuple[tuple[Joint, ...], ...] = (
    (Joint.NOSE,), SHOULDERS,
    (Joint.RIGHT_SHOULDER,), (Joint.RIGHT_ELBOW,), (Joint.RIGHT_WRIST,),
    (Joint.LEFT_SHOULDER,), (Joint.LEFT_ELBOW,), (Joint.LEFT_WRIST,),
    (Joint.RIGHT_HIP,), (Joint.RIGHT_KNEE,), (Joint.RIGHT_ANKLE,),
    (Joint.LEFT_HIP,), (Joint.LEFT_KNEE,), (Joint.LEFT_ANKLE,),
    (Joint.LEFT_EYE,), (Joint.RIGHT_EYE,), (Joint.LEFT_EAR,), (Joint.RIGHT_EAR,))
"""OpenPose's 18 points in the order of ``hri_msgs/Skeleton2D``, each the middle of ours."""


def keypoints(skeleton: Skeleton, width: int, height: int) -> list[tuple[float, float, float]]:
    """Return x, y and confidence of OpenPose's 18 points; 0 ... 1, confidence 0 outside of it."""
    found = []
    for joints in POINTS:
        x, y = skeleton.middle(*joints) / (width, height)
        inside = 0 <= x <= 1 and 0 <= y <= 1
        seen = float(skeleton.visibility[list(joints)].min()) if inside else 0.0
        found.append((_within(float(x)), _within(float(y)), seen))
    return found


class HriBodies:
    """
    Publishes ``tracked`` and, for each body, ``roi`` and ``skeleton2d``, and whose face it has.

    :param node: publishes
    :param lock: held while anything of it changes: postures come on the threads of other nodes
    :param face_id: returns the id of a person's face; empty while there is none
    """

    def __init__(
        self, node: ManagedNode, lock: RLock, face_id: Callable[[int], str],
    ) -> None:
        self._node = node
        self._lock = lock
        self._face_id = face_id
        self._source = PostureSource(node, self._shared, self._received)
        self._ids = RandomIds()
        self._lists: dict[str, Any] = {}
        self._outputs: dict[int, dict[str, Any]] = {}
        self._told_ns: dict[int, int] = {}
        self._matched: dict[int, tuple[str, str]] = {}
        self.size = (0, 0)
        """Of the images, pixels: messages do not tell it."""

    def refresh(self) -> None:
        """Follow nodes of posture that come and go; call it once a second while active."""
        self._source.refresh()
        if not self._source.connected:
            self._clear()
            return
        with self._lock:
            if not self._lists:
                from hri_msgs.msg import IdsList, IdsMatch

                self._lists = {
                    'tracked': self._node.create_publisher(IdsList, f'{ROOT}/tracked', qos.OUTPUT),
                    'matches': self._node.create_publisher(IdsMatch, MATCHES, qos.OUTPUT)}

    def stop(self) -> None:
        """Stop listening, and remove the bodies. Idempotent."""
        self._source.stop()
        self._clear()

    def _clear(self) -> None:
        """Publish an empty list of bodies, then remove all topics."""
        with self._lock:
            if self._lists:
                from hri_msgs.msg import IdsList

                self._only(())
                self._lists['tracked'].publish(IdsList())
            while self._lists:
                self._node.destroy_publisher(self._lists.popitem()[1])

    def _shared(self, shared: SharedPosture) -> None:
        frame = shared.frame
        with self._lock:
            if not self._lists:
                return
            self.size = frame.width, frame.height
            bodies = shared.update.bodies
            self._only(body.track_id for body in bodies)
            self._publish(CODEC.header_of(frame), bodies)

    def _received(self, message: Posture) -> None:
        with self._lock, suppress(ValueError):  # of no node of ours
            stamp_ns = header_stamp_ns(message)
            if not self._lists or not self.size[0]:
                return
            body = body_of(message)
            for track_id in [key for key, told_ns in self._told_ns.items()
                             if abs(stamp_ns - told_ns) > KEPT_NS]:
                del self._told_ns[track_id]
            if body is None:
                self._told_ns.pop(message.track_id, None)
            else:
                self._told_ns[body.track_id] = stamp_ns
            self._only(self._told_ns)
            self._publish(message.header, () if body is None else (body,))

    def _publish(self, header: Any, bodies: Iterable[Body]) -> None:
        from hri_msgs.msg import IdsList, IdsMatch, NormalizedPointOfInterest2D
        from hri_msgs.msg import NormalizedRegionOfInterest2D as Region
        from hri_msgs.msg import Skeleton2D

        width, height = self.size
        for body in bodies:
            outputs = self._outputs_for(body.track_id)
            x1, y1, x2, y2 = (_within(float(value)) for value in np.nan_to_num(
                body.skeleton.box / (width, height, width, height)))
            outputs['roi'].publish(Region(
                header=header, xmin=x1, ymin=y1, xmax=x2, ymax=y2, c=float(x2 > x1)))
            outputs['skeleton2d'].publish(Skeleton2D(header=header, skeleton=[
                NormalizedPointOfInterest2D(x=x, y=y, c=c)
                for x, y, c in keypoints(body.skeleton, width, height)]))
            face = self._face_id(body.track_id) if body.has_face else ''
            pair = face, self._ids[body.track_id]
            if face and self._matched.get(body.track_id) != pair:
                self._matched[body.track_id] = pair
                self._lists['matches'].publish(_match(IdsMatch, pair, 1.0))
        self._lists['tracked'].publish(
            IdsList(header=header, ids=[self._ids[track_id] for track_id in self._outputs]))

    def _outputs_for(self, track_id: int) -> dict[str, Any]:
        if track_id not in self._outputs:
            from hri_msgs.msg import NormalizedRegionOfInterest2D, Skeleton2D

            root = f'{ROOT}/{self._ids[track_id]}'
            self._outputs[track_id] = {
                topic: self._node.create_publisher(kind, f'{root}/{topic}', qos.OUTPUT)
                for topic, kind in (
                    ('roi', NormalizedRegionOfInterest2D), ('skeleton2d', Skeleton2D))}
        return self._outputs[track_id]

    def _only(self, present: Iterable[int]) -> None:
        """Remove the topics of all other bodies."""
        from hri_msgs.msg import IdsMatch

        present = set(present)
        for track_id in self._outputs.keys() - present:
            for publisher in self._outputs.pop(track_id).values():
                self._node.destroy_publisher(publisher)
            self._told_ns.pop(track_id, None)
            pair = self._matched.pop(track_id, None)
            if pair is not None:
                self._lists['matches'].publish(_match(IdsMatch, pair, 0.0))
        self._ids.forget(present)


def _match(kind: Any, pair: tuple[str, str], confidence: float) -> Any:
    return kind(id1=pair[0], id1_type=kind.FACE, id2=pair[1], id2_type=kind.BODY,
                confidence=confidence)


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)
