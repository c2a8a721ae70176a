# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A py_trees condition: SUCCESS while the person in front of the robot is there and awake."""

from py_trees.behaviour import Behaviour
from py_trees.common import Status

from aitable_msgs.msg import FatigueState

SILENCE_NS = 2_000_000_000
"""A fatigue node answers each image and, when images stop, at 1 Hz; silence means it is gone."""


class PersonIsAwake(Behaviour):
    """
    RUNNING until a level is known, FAILURE from SEVERE on and when the node is silent.

    :param node: rclpy node that is spun elsewhere
    """

    def __init__(self, name, node):
        super().__init__(name)
        self._clock = node.get_clock()
        self._state, self._heard_ns, self._person = None, 0, 0
        node.create_subscription(FatigueState, 'fatigue', self._on_fatigue, 10)

    def _on_fatigue(self, state):
        if state.primary:
            self._person = state.track_id
        # Somebody who left is sent for 10 s, no longer as primary; track 0: nobody is known.
        if state.primary or state.track_id in (0, self._person):
            self._state, self._heard_ns = state, self._clock.now().nanoseconds

    def update(self):
        """Return the status of this tick."""
        state = self._state
        if state is None:
            return Status.RUNNING
        if self._clock.now().nanoseconds - self._heard_ns > SILENCE_NS:
            return Status.FAILURE
        if state.level == FatigueState.LEVEL_UNKNOWN:
            return Status.RUNNING
        awake = state.level < FatigueState.LEVEL_SEVERE
        return Status.SUCCESS if awake else Status.FAILURE
