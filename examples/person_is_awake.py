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
        self._state, self._heard_ns = None, 0
        node.create_subscription(FatigueState, 'fatigue', self._on_fatigue, 10)

    def _on_fatigue(self, state):
        if state.primary or state.track_id == 0:  # track 0: nobody is in front of the camera
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
