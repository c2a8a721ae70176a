# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Emotion and fatigue of the people in front of a robot, from any ROS 2 camera topic."""

__version__ = '0.1.0'
