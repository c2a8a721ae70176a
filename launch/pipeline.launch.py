# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Emotion and fatigue of the people in front of a camera.

    ros2 launch aitable_ros pipeline.launch.py image:=/camera/image_raw overlay:=true
    ros2 launch aitable_ros pipeline.launch.py cameras:='left=/left/image right=/right/image'

One process for all nodes (they share each image and each detection), or one for each with
``processes:=many``. Several cameras have one namespace each, and share the models of that process.
``bag:=`` plays a recording as the camera and ends with it.
"""

import os
from pathlib import Path
import sys

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument
from launch.actions import ExecuteProcess
from launch.actions import OpaqueFunction
from launch.actions import RegisterEventHandler
from launch.actions import SetEnvironmentVariable
from launch.actions import Shutdown
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from aitable_ros.config import read_parameter_file
from aitable_ros.nodes.environment import child_environment
from launch import LaunchDescription

ARGUMENTS = (
    ('image', '/camera/image_raw', 'the camera topic (sensor_msgs/Image, or the base name of a '
     'compressed one when the parameters say so)', None),
    ('cameras', '', 'several cameras instead, as NAME=TOPIC with a space between: the nodes of '
     'each are in the namespace NAME, below namespace', None),
    ('params_file', '', 'ROS 2 parameter file; empty is the defaults. A bare name such as cpu.yaml '
     'is looked for in this package', None),
    ('namespace', '', 'namespace of the nodes and their topics', None),
    ('overlay', 'false', 'also publish annotated images', ('true', 'false')),
    ('hri', 'false', 'also publish REP-155 topics, /humans/faces/..., where hri_msgs is installed',
     ('true', 'false')),
    ('use_sim_time', 'auto', 'take the time from /clock; auto does so when a bag is played',
     ('true', 'false', 'auto')),
    ('bag', '', 'a rosbag2 to play, by `ros2 bag play` where that is installed, else its camera '
     'topic by our own player; its end ends the launch', None),
    ('bag_rate', '1.0', 'how fast to play it', None),
    ('bag_topic', '', 'camera topic of a bag that has several, for our own player; empty is the '
     'one that it has', None),
    ('processes', 'one', 'one process for all nodes, or many', ('one', 'many')),
    ('container', 'false', 'also let `ros2 component` load nodes into that one process',
     ('true', 'false')),
    ('respawn', 'false', 'start a process again, after 2 s, when it has ended', ('true', 'false')),
    ('autostart', 'true', 'configure and activate; false waits for `ros2 lifecycle set`',
     ('true', 'false')),
    ('log_level', 'info', 'of the nodes', ('debug', 'info', 'warn', 'error', 'fatal')),
)
RESPAWN_DELAY_S = 2.0
"""So that a process which cannot start does not fill the log."""


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, set the environment, start the nodes."""
    needed = child_environment()
    return LaunchDescription([
        *(DeclareLaunchArgument(
            name, default_value=default, description=description, choices=choices)
          for name, default, description, choices in ARGUMENTS),
        # Large images across processes, the allocator, and an end with launch: see environment.py.
        *(SetEnvironmentVariable(name, value) for name, value in needed.items()
          if os.environ.get(name) != value),
        OpaqueFunction(function=_nodes),
    ])


def _nodes(context, *args, **kwargs):
    """Make the actions that depend on the arguments."""
    value = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    overlay = value['overlay'] == 'true'
    sim_time = value['use_sim_time'] == 'true' or (
        value['use_sim_time'] == 'auto' and bool(value['bag']))
    parameters = [{'use_sim_time': sim_time}]
    if value['autostart'] == 'false':  # true is the default, and a file may say otherwise
        parameters[0]['autostart'] = False
    if value['params_file']:
        parameters.insert(0, _parameter_file(value['params_file']))
    cameras = _cameras(value['cameras'])
    if value['processes'] == 'one':
        options = [f'--{name}' for name in ('overlay', 'hri', 'container')
                   if value[name] == 'true']
        for name, topic in cameras.items():
            options += ['--camera', f'{name}={topic}']
        programs = [('pipeline', options, value['namespace'], value['image'])]
    else:
        names = ('face_detector', 'fatigue', 'emotion', *(['overlay'] if overlay else []),
                 *(['hri_bridge'] if value['hri'] == 'true' else []))
        places = [(f'{value["namespace"]}/{name}', topic) for name, topic in cameras.items()]
        programs = [
            (name, [], namespace, topic)
            for namespace, topic in places or [(value['namespace'], value['image'])]
            for name in names]
    nodes = [
        Node(
            package='aitable_ros', executable=program, namespace=namespace,
            remappings=[('image', topic)], parameters=parameters, arguments=options,
            ros_arguments=['--log-level', value['log_level']], output='screen',
            respawn=value['respawn'] == 'true', respawn_delay=RESPAWN_DELAY_S)
        for program, options, namespace, topic in programs]
    if not value['bag']:
        return nodes
    player = ExecuteProcess(cmd=_player(value, sim_time=sim_time), output='screen')
    ended = OnProcessExit(
        target_action=player, on_exit=[Shutdown(reason='the recording is at its end')])
    return [*nodes, RegisterEventHandler(ended), player]


def _cameras(text):
    """Return name -> topic of several cameras; the executable checks the names."""
    cameras = {}
    for word in text.replace(',', ' ').split():
        name, separator, topic = word.partition('=')
        if not (name and separator and topic) or name in cameras:
            raise RuntimeError(
                f"cameras:='{text}': '{word}' is not NAME=TOPIC with a NAME of its own")
        cameras[name] = topic
    return cameras


def _player(value, *, sim_time):
    """Return the command that plays the bag once the nodes have their models."""
    try:
        get_package_share_directory('ros2bag')
    except LookupError:
        return [
            sys.executable, '-m', 'aitable_ros.tools.camera', '--input', value['bag'],
            '--topic', value['image'], '--keep-stamps', '--rate', value['bag_rate'],
            '--wait', '60', *(['--bag-topic', value['bag_topic']] if value['bag_topic'] else [])]
    return ['ros2', 'bag', 'play', value['bag'], '--rate', value['bag_rate'], '--delay', '3',
            *(['--clock'] if sim_time else [])]


def _parameter_file(name: str) -> str:
    """
    Return a path: as given, or in this package's config folder.

    :raises InputError: it cannot be used; launch_ros would go on without it, in silence
    """
    shipped = Path(get_package_share_directory('aitable_ros'), 'config', name)
    path = shipped if shipped.is_file() and not Path(name).is_file() else Path(name)
    read_parameter_file(path)
    return str(path)
