# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Say "take a break" when the person in front of the robot is tired: python3 take_a_break.py."""

import rclpy
from rclpy.node import Node

from aitable_msgs.msg import FatigueState


class TakeABreak(Node):
    """Speaks once each time the primary person becomes tired."""

    def __init__(self):
        super().__init__('take_a_break')
        self._tired = False
        self.create_subscription(FatigueState, 'fatigue', self._on_fatigue, 10)

    def _on_fatigue(self, state):
        if not state.primary:
            return
        tired = state.level >= FatigueState.LEVEL_SEVERE
        if tired and not self._tired:
            self.get_logger().warning('Please take a break.')
        self._tired = tired


if __name__ == '__main__':
    rclpy.init()
    rclpy.spin(TakeABreak())
