# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Package of the ROS 2 nodes; colcon and pip both read it."""

from pathlib import Path
import sys

from setuptools import find_packages, setup

NAME = 'aitable_ros'
SHARE = 'share/ament_index/resource_index'


def files(folder, pattern):
    """Return what ``share/`` gets from a folder."""
    return sorted(str(path) for path in Path(folder).glob(pattern) if path.is_file())


setup(
    name=NAME,
    version='0.2.0',
    description='Emotion and fatigue of the people in front of a robot, as ROS 2 topics.',
    author='aitable_ros maintainers',
    author_email='maintainers@aitable.invalid',
    maintainer='aitable_ros maintainers',
    maintainer_email='maintainers@aitable.invalid',
    license='Apache-2.0',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: [
        'py.typed', '**/*.html', '**/*.json', '**/*.npz', '**/*.css', '**/*.js', '**/*.svg']},
    tests_require=['pytest'],  # colcon runs pytest where this, or the extra, names it
    extras_require={
        'test': ['pytest'],
        'monitor': ['aiohttp>=3.8'],
        # Under NVIDIA's own licence; the two must be of one version.
        'rtx': ['tensorrt-rtx-cu13-bindings==1.7.1.116', 'tensorrt-rtx-cu13-libs==1.7.1.116',
                'cuda-python>=13', 'onnx>=1.16', 'onnxslim>=0.1.98'],
    },
    data_files=[
        (f'{SHARE}/packages', [f'resource/{NAME}']),
        (f'{SHARE}/rclcpp_components', [f'resource/rclcpp_components/{NAME}']),
        # pip puts the console script into bin/ itself; colcon puts it where only `ros2 run` looks.
        *([] if 'bdist_wheel' in sys.argv else [('bin', ['scripts/aitable'])]),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/config', files('config', '*')),
        (f'share/{NAME}/config/sros2', files('config/sros2', '*')),
        (f'share/{NAME}/config/systemd', files('config/systemd', '*')),
        (f'share/{NAME}/launch', files('launch', '*.launch.py')),
        (f'share/{NAME}/examples', files('examples', '*')),
    ],
    python_requires='>=3.10',
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'aitable = aitable_ros.cli:main',
            'pipeline = aitable_ros.nodes.executables:pipeline',
            'container = aitable_ros.nodes.executables:container',
            'camera = aitable_ros.nodes.executables:camera',
            'face_detector = aitable_ros.nodes.executables:face_detector',
            'emotion = aitable_ros.nodes.executables:emotion',
            'fatigue = aitable_ros.nodes.executables:fatigue',
            'posture = aitable_ros.nodes.executables:posture',
            'overlay = aitable_ros.nodes.executables:overlay',
            'hri_bridge = aitable_ros.nodes.executables:hri_bridge',
            'player = aitable_ros.tools.camera:main',
        ],
        'rclpy_components': [
            'aitable_ros::CameraNode = aitable_ros.nodes.camera:CameraNode',
            'aitable_ros::FaceDetectorNode = aitable_ros.nodes.face_detector:FaceDetectorNode',
            'aitable_ros::EmotionNode = aitable_ros.nodes.emotion:EmotionNode',
            'aitable_ros::FatigueNode = aitable_ros.nodes.fatigue:FatigueNode',
            'aitable_ros::PostureNode = aitable_ros.nodes.posture:PostureNode',
            'aitable_ros::OverlayNode = aitable_ros.nodes.overlay:OverlayNode',
            'aitable_ros::HriNode = aitable_ros.nodes.hri:HriNode',
        ],
    },
)
