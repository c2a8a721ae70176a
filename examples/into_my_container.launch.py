# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Load two of our nodes into a container that runs already.

It must be a Python container, such as ours (a C++ container cannot load them):

    ros2 run aitable_ros container --ros-args -r __node:=people
"""

from launch_ros.actions import LoadComposableNodes
from launch_ros.descriptions import ComposableNode

from launch import LaunchDescription


def generate_launch_description():
    """Load the detector and the fatigue node: they share each image by reference."""
    def node(plugin):
        return ComposableNode(
            package='aitable_ros', plugin=f'aitable_ros::{plugin}', namespace='desk',
            remappings=[('image', '/camera/image_raw')])

    return LaunchDescription([LoadComposableNodes(
        target_container='/people', composable_node_descriptions=[
            node('FaceDetectorNode'), node('FatigueNode')])])
