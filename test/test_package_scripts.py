# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""scripts/: what a user meets when something is not as it should be. CI runs the good case."""

from __future__ import annotations

import os
from pathlib import Path
import shlex
import subprocess
import sys

from patience import PATIENT_S
import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCED = ('env.sh', 'extras.sh')
SCRIPTS = sorted([*(ROOT / 'scripts').glob('*.sh'), ROOT / '.ci' / 'run'])


def bash(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ['bash', '-c', command], capture_output=True, text=True, cwd=ROOT, timeout=PATIENT_S,
        env={**os.environ, **environment})


def test_bash_can_read_every_script() -> None:
    assert bash(f'bash -n {" ".join(map(repr, map(str, SCRIPTS)))}').returncode == 0
    assert all(os.access(path, os.X_OK) for path in SCRIPTS if path.name not in SOURCED)


@pytest.mark.parametrize(('environment', 'words'), [
    ({'AITABLE_PYTHON': '/bin/false'}, 'AITABLE_PYTHON=/bin/false is not a Python 3.10 to 3.14'),
    ({'AITABLE_PYTHON': '/no/python'}, 'AITABLE_PYTHON=/no/python is not a Python 3.10 to 3.14'),
    ({'ROS_DISTRO_WHEELS': 'foxy'}, 'ROS_DISTRO_WHEELS=foxy: there are pins for kilted and jazzy'),
])
@pytest.mark.parametrize('script', ['demo', 'test'])
def test_a_wrong_setting_gives_one_line_and_status_2(
        script: str, environment: dict[str, str], words: str) -> None:
    ended = bash(f'scripts/{script}.sh', **environment)
    assert ended.returncode == 2
    assert ended.stderr == f'aitable: {words}\n'


def test_libraries_of_another_ros_wheel_environment_are_left_behind(tmp_path: Path) -> None:
    other = tmp_path / 'other'
    (other / 'lib').mkdir(parents=True)
    (other / 'pyvenv.cfg').touch()
    libraries = f'{other}/lib:{other}/lib/python3.11/site-packages/ros_rcl.libs:/opt/mine/lib'
    ended = bash(
        '. scripts/env.sh; _leave_ros_wheels; env',
        _ROS_WHEELS_BOOTSTRAP_COMPLETE='1', LD_LIBRARY_PATH=libraries)
    assert 'LD_LIBRARY_PATH=/opt/mine/lib\n' in ended.stdout
    assert '_ROS_WHEELS_BOOTSTRAP_COMPLETE' not in ended.stdout


def test_the_users_own_library_path_stays() -> None:
    environment = {name: value for name, value in os.environ.items()
                   if name != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
    ended = subprocess.run(
        ['bash', '-c', '. scripts/env.sh; _leave_ros_wheels; echo "$LD_LIBRARY_PATH"'],
        capture_output=True, text=True, cwd=ROOT, env={**environment, 'LD_LIBRARY_PATH': '/a:/b'})
    assert ended.stdout == '/a:/b\n'


def robot(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/robot.sh with our environment as the sourced ROS 2; only colcon is a stand-in."""
    (tmp_path / 'python' / 'colcon_core').mkdir(parents=True, exist_ok=True)
    (tmp_path / 'python' / 'colcon_core' / '__init__.py').touch()
    command = ' '.join(['scripts/robot.sh', *map(repr, words)])
    return bash(command, **{
        'ROS_DISTRO': 'kilted', 'HOME': str(tmp_path), 'PYTHONPATH': str(tmp_path / 'python'),
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}', **environment})


@pytest.mark.parametrize(('words', 'environment', 'said'), [
    ((), {'ROS_DISTRO': ''}, 'no ROS 2 is sourced: source /opt/ros/<distribution>/setup.bash first '
     '(without ROS 2: scripts/demo.sh)'),
    (('--fast',), {}, 'unknown option --fast; scripts/robot.sh --help lists them'),
    (('/a', '/b'), {}, 'one workspace, not two: /a and /b'),
])
def test_robot_setup_refuses_in_one_line(
        tmp_path: Path, words: tuple[str, ...], environment: dict[str, str], said: str) -> None:
    ended = robot(tmp_path, *words, **environment)
    assert ended.returncode == 2
    assert ended.stderr == f'aitable: {said}\n'


def test_robot_setup_prints_its_steps_and_changes_nothing(tmp_path: Path) -> None:
    workspace = tmp_path / 'a robot'
    ended = robot(tmp_path, str(workspace), '--dry-run', '--no-rosdep')
    assert ended.returncode == 0, ended.stderr
    steps = [shlex.split(line[2:]) for line in ended.stdout.splitlines() if line[:2] == '+ ']
    links = {step[-1]: step[-2] for step in steps if step[0] == 'ln'}
    assert links == {str(workspace / 'src' / 'aitable_ros'): str(ROOT),
                     str(workspace / 'src' / 'aitable_msgs'): str(ROOT / 'aitable_msgs')}
    assert ['-m', 'colcon', 'build', '--packages-select', 'aitable_msgs', 'aitable_ros'] in [
        step[1:] for step in steps]
    assert steps[-1] == ['ros2', 'run', 'aitable_ros', 'aitable', 'preflight']
    assert 'ros2 launch aitable_ros pipeline.launch.py' in ended.stdout
    assert not workspace.exists()


def test_robot_setup_keeps_what_is_built_against_the_installed_numpy(tmp_path: Path) -> None:
    from importlib import metadata

    text = (ROOT / 'scripts' / 'robot.sh').read_text()
    function = text[text.index('KEPT='):text.index('DRY=')] + text[
        text.index('constraints() {'):text.index('has_modules() {')]
    ended = bash(f'{function}\nconstraints {sys.executable!r}')
    pins = dict(line.split('==') for line in ended.stdout.split())
    for name in ('numpy', 'scipy', 'h5py', 'scikit-image', 'opencv-python-headless'):
        assert pins[name] == metadata.version(name)
