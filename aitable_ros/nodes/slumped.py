# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Who is slumped by posture, told to a node of fatigue: by reference, or by messages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from threading import Lock

from aitable_msgs.msg import Posture, PostureEvent
from aitable_ros.clock import header_stamp_ns
from aitable_ros.nodes.channel import SharedPosture
from aitable_ros.nodes.managed_node import ManagedNode
from aitable_ros.nodes.messages import CODEC
from aitable_ros.nodes.posture_source import PostureSource
from aitable_ros.posture_types import PostureAssessment
from aitable_ros.posture_types import PostureEvent as Event
from aitable_ros.posture_types import PostureEventType, PostureState, PostureUpdate

SILENT_NS = 2_000_000_000
"""A posture older than this, in image time, is no evidence: the node of posture may have ended. By
default it tells five a second."""


class Slumped:
    """
    Remembers from events and postures who is slumped, and since when. Callable from any thread.

    SLUMPED begins it; another state than HEAD_DOWN ends it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._since_ns: dict[int, int] = {}
        self._told_ns: dict[int, int] = {}

    def event(self, stamp_ns: int, event: Event) -> None:
        """Take in an event of an image."""
        if event.type is PostureEventType.SLUMPED:
            with self._lock:
                self._since_ns[event.track_id] = event.start_ns
                self._told_ns[event.track_id] = stamp_ns

    def posture(self, assessment: PostureAssessment) -> None:
        """Take in the posture of one person."""
        track_id = assessment.track_id
        with self._lock:
            if assessment.state is PostureState.HEAD_DOWN:
                self._told_ns[track_id] = assessment.stamp_ns
            elif assessment.stamp_ns >= self._told_ns.get(track_id, 0):
                self._since_ns.pop(track_id, None)
                self._told_ns.pop(track_id, None)

    def update(self, stamp_ns: int, update: PostureUpdate) -> None:
        """Take what a node of this process knows at an image in place of what was told before."""
        with self._lock:
            self._since_ns = dict(update.slumped)
            self._told_ns = dict.fromkeys(update.slumped, stamp_ns)

    def at(self, stamp_ns: int) -> Mapping[int, int]:
        """Return the people who are slumped, by track, and since when; image time."""
        with self._lock:
            if not self._since_ns:
                return {}
            return {track_id: since_ns for track_id, since_ns in self._since_ns.items()
                    if abs(stamp_ns - self._told_ns[track_id]) <= SILENT_NS}

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._since_ns, self._told_ns = {}, {}


class SlumpedSource(PostureSource):
    """
    What a node of posture says about who is slumped.

    :param node: that asks; its threads are used
    """

    def __init__(self, node: ManagedNode) -> None:
        super().__init__(node, self._told, self._told_posture, self._told_event)
        self._people = Slumped()

    def at(self, stamp_ns: int) -> Mapping[int, int]:
        """Return the people who are slumped, by track, and since when; image time."""
        return self._people.at(stamp_ns)

    def stop(self) -> None:
        """Stop listening and forget everybody. Idempotent."""
        super().stop()
        self._people.clear()

    def _told(self, shared: SharedPosture) -> None:
        self._people.update(shared.frame.stamp_ns, shared.update)

    def _told_posture(self, message: Posture) -> None:
        with suppress(ValueError):  # of no node of ours
            self._people.posture(CODEC.posture_of(message))

    def _told_event(self, message: PostureEvent) -> None:
        with suppress(ValueError):
            self._people.event(header_stamp_ns(message), CODEC.posture_event_of(message))
