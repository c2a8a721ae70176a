# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Emotion and fatigue of the people in front of a camera.

    ros2 launch aitable_ros pipeline.launch.py image:=/camera/image_raw overlay:=true
    ros2 launch aitable_ros pipeline.launch.py cameras:='left=/left/image right=/right/image'

One process runs all nodes, which then share each image and each detection; ``processes:=many``
starts a process for each. Several cameras have one namespace each. They are spread over processes
of ``cameras_per_process`` at most, and those of one process share its models. ``bag:=`` plays a
recording as the camera; its end ends the launch.

The arguments are checked before anything starts. The environment of the parent launch stays as it
is: our variables are set for our processes only.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

from aitable_ros.config import read_parameter_file
from aitable_ros.errors import InputError
from aitable_ros.nodes.camera_groups import grouped, PER_PROCESS
from aitable_ros.nodes.environment import child_environment
from aitable_ros.nodes.executables import NAME_PATTERN, posture_options, posture_wanted
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, RegisterEventHandler, Shutdown
)
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration

ARGUMENTS = (
    ('image', '/camera/image_raw', 'the camera topic (sensor_msgs/Image, or the base name of a '
     'compressed one when the parameters say so)', None),
    ('camera_device', '', 'run the camera in the process of the nodes: 0, /dev/video0, rtsp://..., '
     'a video file; needs processes:=one', None),
    ('cameras', '', 'several cameras instead, as NAME=TOPIC with a space between: the nodes of '
     'each are in the namespace NAME, below namespace', None),
    ('cameras_per_process', str(PER_PROCESS), 'more cameras than this are spread over several '
     'processes; 0 is one process for all', None),
    ('params_file', '', 'ROS 2 parameter file; empty is the defaults. A bare name such as cpu.yaml '
     'is looked for in this package', None),
    ('namespace', '', 'namespace of the nodes and their topics', None),
    ('posture', 'auto', 'also read the posture of bodies; auto does so when params_file says '
     'posture: enabled: true', ('true', 'false', 'auto')),
    ('overlay', 'false', 'also publish annotated images', ('true', 'false')),
    ('hri', 'false', 'also publish REP-155 topics, /humans/..., where hri_msgs is installed',
     ('true', 'false')),
    ('use_sim_time', 'auto', 'take the time from /clock; auto does so when a bag is played',
     ('true', 'false', 'auto')),
    ('bag', '', 'a rosbag2 or a video to play on the camera topic; the launch ends with it', None),
    ('bag_rate', '1.0', 'speed of the playback: 2.0 is twice as fast', None),
    ('bag_topic', '', 'camera topic inside the bag; needed where the bag has several', None),
    ('processes', 'one', 'one process for all nodes, or many', ('one', 'many')),
    ('container', 'false', 'also let `ros2 component` load nodes into that one process',
     ('true', 'false')),
    ('respawn', 'false', 'start a process again, after 2 s, when it has ended', ('true', 'false')),
    ('autostart', 'true', 'configure and activate; false waits for `ros2 lifecycle set`',
     ('true', 'false')),
    ('log_level', 'info', 'of the nodes', ('debug', 'info', 'warn', 'error', 'fatal')),
)
RESPAWN_DELAY_S = 2.0
"""Keeps a process that cannot start from filling the log."""
BAD_INPUT = 2
"""Exit status of our programs for a parameter or file that cannot be used."""


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes."""
    return LaunchDescription([
        *(DeclareLaunchArgument(
            name, default_value=default, description=description, choices=choices)
          for name, default, description, choices in ARGUMENTS),
        OpaqueFunction(function=_nodes),
    ])


def _nodes(context, *args, **kwargs):
    """Check the arguments and return the actions that depend on them."""
    value = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    overlay = value['overlay'] == 'true'
    sim_time = value['use_sim_time'] == 'true' or (
        value['use_sim_time'] == 'auto' and bool(value['bag']))
    parameters = [{'use_sim_time': sim_time}]
    if value['autostart'] == 'false':  # a parameter file may say so, too
        parameters[0]['autostart'] = False
    if value['params_file']:
        parameters.insert(0, _parameter_file(value['params_file']))
    posture = value['posture'] == 'true' or (
        value['posture'] == 'auto' and bool(value['params_file'])
        and posture_wanted(['--params-file', parameters[0]]))
    cameras = _cameras(value['cameras'])
    player = _player(value) if value['bag'] else None
    if value['camera_device'] and (cameras or player or value['processes'] != 'one'):
        raise InputError('camera_device:= goes with neither cameras:=, bag:= nor processes:=many')
    if value['processes'] == 'one':
        programs = [
            ('pipeline', options, value['namespace'], value['image'])
            for options in _options(value, cameras)]
    else:
        names = ('face_detector', 'fatigue', 'emotion', *(['posture'] if posture else []),
                 *(['overlay'] if overlay else []),
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
            respawn=value['respawn'] == 'true', respawn_delay=RESPAWN_DELAY_S,
            additional_env=_environment())
        for program, options, namespace, topic in programs]
    handlers = [
        RegisterEventHandler(OnProcessExit(target_action=node, on_exit=_fail_on_bad_input))
        for node in nodes]
    if player is None:
        return [*handlers, *nodes]
    ended = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=_end_with_recording))
    return [*handlers, ended, *nodes, player]


def _options(value, cameras):
    """
    Return the options of each pipeline process.

    :raises InputError: the arguments do not go together
    """
    most = value['cameras_per_process']
    if not most.isdecimal():
        raise InputError(f'cameras_per_process:={most}: expected a whole number, such as 4')
    groups = grouped(list(cameras.items()), int(most)) or [[]]
    if len(groups) > 1 and value['container'] == 'true':
        raise InputError('container:= is one process: set cameras_per_process:=0, or leave it out')
    shared = ['--cameras-per-process', '0', *(['--overlay'] if value['overlay'] == 'true' else [])]
    processes = []
    for number, group in enumerate(groups):
        options = list(shared)
        if not number:  # a bridge's names are absolute: only the first camera has one
            options += [f'--{name}' for name in ('hri', 'container') if value[name] == 'true']
        options += posture_options({'true': True, 'false': False}.get(value['posture']))
        if value['camera_device']:
            options += ['--camera-device', value['camera_device']]
        for name, topic in group:
            options += ['--camera', f'{name}={topic}']
        processes.append(options)
    return processes


def _environment():
    """Return the variables that our processes need beyond the environment of the launch."""
    return {name: value for name, value in child_environment().items()
            if os.environ.get(name) != value}


def _fail_on_bad_input(event, context):
    """
    End the launch with status 1 when a process refuses its input.

    :raises RuntimeError: the process has said why
    """
    if event.returncode == BAD_INPUT and not context.is_shutdown:
        raise RuntimeError(f'{event.process_name}: bad input, see its line above')


def _end_with_recording(event, context):
    """End the launch at the end of the recording, with status 1 where it could not be played."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f'the recording was not played: status {event.returncode}')
    return [Shutdown(reason='the recording is at its end')]


def _cameras(text):
    """
    Return name -> topic of several cameras.

    :raises InputError: a word is not NAME=TOPIC, or two cameras have one name
    """
    cameras = {}
    for word in text.replace(',', ' ').split():
        name, separator, topic = word.partition('=')
        if not (separator and topic and NAME_PATTERN.fullmatch(name)) or name in cameras:
            raise InputError(
                f"cameras:='{text}': '{word}' is not NAME=TOPIC with a NAME of its own, "
                'such as left=/left/image_raw')
        cameras[name] = topic
    return cameras


def _player(value):
    """
    Return the process that plays the camera topic of a bag once the nodes have subscribed.

    :raises InputError: there is no such recording, or an argument does not go with it
    """
    if not Path(value['bag']).exists():
        raise InputError(f'bag:={value["bag"]}: no such file or folder')
    if value['cameras']:
        raise InputError('bag:= plays one camera: use image:= instead of cameras:=')
    try:
        rate = float(value['bag_rate'])
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise InputError(f'bag_rate:={value["bag_rate"]}: expected a number above 0, such as 2.0')
    return ExecuteProcess(
        name='player', output='screen', additional_env=_environment(), cmd=[
            ExecutableInPackage('player', 'aitable_ros'), '--input', value['bag'],
            '--topic', value['image'], '--namespace', value['namespace'], '--keep-stamps',
            '--rate', value['bag_rate'], '--wait', '60',
            *(['--bag-topic', value['bag_topic']] if value['bag_topic'] else [])])


def _parameter_file(name: str) -> str:
    """
    Return a path: as given, or in this package's config folder.

    :raises InputError: the file cannot be used; launch_ros would ignore it without a word
    """
    shipped = Path(get_package_share_directory('aitable_ros'), 'config', name)
    path = shipped if shipped.is_file() and not Path(name).is_file() else Path(name)
    read_parameter_file(path)
    return str(path)
