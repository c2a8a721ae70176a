# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``scripts/robot.sh``: what it would do, and what it refuses, without a robot."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parent.parent
STEPS = (
    'aitable_msgs', 'rosdep install', 'pip install', 'colcon build', 'models fetch', 'preflight')


def robot(*arguments: str, distro: str = 'kilted', home: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != 'ROS_DISTRO'}
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    environment |= {'HOME': str(home), 'PATH': path}
    if distro:
        environment['ROS_DISTRO'] = distro
    return subprocess.run(
        [str(ROOT / 'scripts' / 'robot.sh'), *arguments], env=environment, capture_output=True,
        text=True)


@pytest.mark.parametrize('distro', ['kilted', ''])
def test_a_dry_run_prints_every_step_and_changes_nothing(tmp_path: Path, distro: str) -> None:
    workspace = tmp_path / 'my würkspace'
    done = robot('--dry-run', str(workspace), distro=distro, home=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith('+ ')]
    # What this machine has already is no step.
    found = [step for step in STEPS if any(step in line for line in lines)]
    assert found == [step for step in STEPS if step in found]
    assert {'aitable_msgs', 'rosdep install', 'colcon build', 'models fetch'} <= set(found)
    assert 'ros2 launch aitable_ros pipeline.launch.py' in done.stdout
    assert not workspace.exists()
    assert ('no ROS 2 is sourced' in done.stderr) == (not distro)


@pytest.mark.parametrize(('arguments', 'distro', 'says'), [
    (('--no-rosdep',), '', 'no ROS 2 is sourced: source /opt/ros/<distribution>/setup.bash'),
    (('--fast',), 'kilted', 'unknown option --fast'),
    (('one', 'two'), 'kilted', 'one workspace, not two: one and two'),
])
def test_what_is_missing_ends_it_with_one_line_and_status_2(
    tmp_path: Path, arguments: tuple[str, ...], distro: str, says: str,
) -> None:
    done = robot(*arguments, distro=distro, home=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count('\n') == 1
    assert list(tmp_path.iterdir()) == []
