# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable preflight`` on this machine: as it is, and with one thing taken away at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest


def preflight(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'aitable_ros', 'preflight', *arguments],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


def checks(ended: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check['name']: check for check in json.loads(ended.stdout)['checks']}


@pytest.mark.usefixtures('models')
def test_this_machine_is_ready() -> None:
    ended = preflight('--json')
    found = checks(ended)
    failed = {name: check for name, check in found.items() if check['status'] == 'FAIL'}
    assert failed == {}
    assert ended.returncode == 0
    assert json.loads(ended.stdout)['ok'] is True
    assert 'runs on' in found['fatigue model']['detail']
    assert 'rmw' in found['middleware']['detail']


@pytest.mark.parametrize(('environment', 'name', 'words', 'remedy'), [
    ({'AITABLE_MODELS': '/no/such/folder'}, 'fatigue model', '`aitable models fetch facemesh`',
     'aitable models fetch'),
    ({'RMW_IMPLEMENTATION': 'rmw_none_cpp'}, 'ROS 2', 'rmw_none_cpp', 'RMW_IMPLEMENTATION'),
    ({'ROS_DOMAIN_ID': '4000'}, 'middleware', 'domain', 'ROS_DOMAIN_ID'),
    ({'FASTDDS_DEFAULT_PROFILES_FILE': '/no/profile.xml'}, 'camera images',
     '/no/profile.xml: no such file', 'export FASTDDS_DEFAULT_PROFILES_FILE='),
])
def test_what_is_missing_is_named_with_its_remedy(
        environment: dict[str, str], name: str, words: str, remedy: str) -> None:
    ended = preflight('--json', **environment)
    check = checks(ended)[name]
    assert ended.returncode == 1
    assert check['status'] == 'FAIL'
    assert words in check['detail']
    assert remedy in check['remedy']


def test_a_chain_that_steps_down_is_a_remark(models: Path, tmp_path: Path) -> None:
    parameters = tmp_path / 'own.yaml'
    parameters.write_text(
        '/**/emotion:\n  ros__parameters:\n    engine_path: /no/emonet.onnx\n'
        '    fallbacks: [fer]\n')
    ended = preflight('--json', '--params-file', str(parameters))
    check = checks(ended)['emotion model']
    assert ended.returncode == 0
    assert check['status'] == 'WARN'
    assert '/no/emonet.onnx' in check['detail'].splitlines()[0]
    assert check['detail'].splitlines()[-1].startswith('fer: runs on')


def test_a_parameter_file_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    ended = preflight('--params-file', str(tmp_path / 'none.yaml'))
    assert ended.returncode == 2
    assert ended.stdout == ''
    assert 'none.yaml' in ended.stderr
    assert ended.stderr.count('\n') == 1


def test_the_text_ends_with_the_verdict(models: Path) -> None:
    ended = preflight(AITABLE_MODELS='/no/such/folder')
    lines = ended.stdout.splitlines()
    assert lines[-1].startswith('not ready: ')
    assert any(line.strip().startswith('-> ') for line in lines)
