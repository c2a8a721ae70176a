# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable preflight`` on this machine: as it is, and with things taken away."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any
import venv

import numpy as np
from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.nodes import start_check
from aitable_ros.tools.check_camera import judge

ROOT = Path(__file__).resolve().parent.parent


def preflight(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'aitable_ros', 'preflight', *arguments],
        capture_output=True, text=True, timeout=PATIENT_S, env={**os.environ, **environment})


def checks(ended: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check['name']: check for check in json.loads(ended.stdout)['checks']}


CAMERA = {
    'publishers': [{'node': '/camera', 'type': 'sensor_msgs/msg/Image', 'reliability': 'reliable',
                    'durability': 'volatile'}],
    'topics': ['/camera/image_raw'], 'seconds': 3.0, 'images': 90, 'incompatible': '', 'error': '',
    'backwards': 0, 'size': [1280, 720], 'encoding': 'bgr8', 'fps': 30.0, 'lag_s': 0.01,
    'lost': 0.0}


@pytest.mark.parametrize(('heard', 'name', 'status', 'words'), [
    ({}, 'camera', 'OK', '1280x720 bgr8, 30.0 images/s, 10 ms'),
    ({'publishers': []}, 'camera', 'FAIL', 'nobody publishes /cam; image topics here: /camera/'),
    ({'publishers': [{**CAMERA['publishers'][0], 'type': 'std_msgs/msg/String'}]}, 'camera', 'FAIL',
     'no image'),
    ({'incompatible': 'best effort publisher'}, 'camera', 'FAIL', 'QoS does not fit'),
    ({'images': 0}, 'camera', 'FAIL', 'not one image came in 3 s'),
    ({'error': "encoding '32FC1' is not known"}, 'camera', 'FAIL', '32FC1'),
    ({'fps': 12.0}, 'frame rate', 'WARN', 'too few for blinks'),
    ({'fps': 7.0}, 'frame rate', 'WARN', 'too few for PERCLOS'),
    ({'backwards': 3}, 'stamps', 'FAIL', '3 of 90'),
    ({'fps': 4.0, 'lost': 0.83}, 'camera', 'FAIL', 'about 8 of 10 images are lost'),
    ({'lag_s': 3600.0}, 'stamps', 'WARN', '3600.0 s behind'),
    ({'lag_s': -2.0}, 'stamps', 'WARN', '-2.0 s behind'),
])
def test_what_a_camera_is_judged_by(
        heard: dict[str, Any], name: str, status: str, words: str) -> None:
    check, = [one for one in judge('/cam', {**CAMERA, **heard}) if one.name == name]
    assert check.status.value == status
    assert words in check.detail
    assert bool(check.remedy) == (status != 'OK')


def test_it_listens_to_a_camera_that_is_there() -> None:
    from ros_graph import Graph, image

    with Graph() as graph:
        camera = graph.camera(topic='/preflight/image')
        frame = np.zeros((480, 640, 3), np.uint8)
        child = subprocess.Popen(
            [sys.executable, '-m', 'aitable_ros.tools.check_camera', '/preflight/image', '8'],
            stdout=subprocess.PIPE, text=True)
        while child.poll() is None:
            camera.publish(image(frame, 'bgr8', graph.tester.get_clock().now().nanoseconds))
            graph.rest(1 / 20)
        assert child.stdout is not None
        heard = json.loads(child.stdout.read().splitlines()[-1])
    assert heard['images'] > 1
    assert heard['size'] == [640, 480]
    assert 0 < heard['fps'] < 60
    assert -1.0 < heard['lag_s'] < 5.0
    assert heard['publishers'][0]['node'] == '/tester'
    assert judge('/preflight/image', heard)[0].status.value == 'OK'


def test_a_machine_with_nothing_is_told_what_it_lacks(tmp_path: Path) -> None:
    venv.create(tmp_path / 'bare')
    ended = subprocess.run(
        [tmp_path / 'bare' / 'bin' / 'python', '-m', 'aitable_ros', 'preflight', '--json',
         '--image', '/camera'], capture_output=True, text=True, timeout=PATIENT_S, cwd=tmp_path,
        env={'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path), 'PATH': os.environ['PATH']})
    found = checks(ended)
    assert ended.returncode == 1
    assert ended.stderr == ''
    for name in ('libraries', 'ROS 2', 'backends', 'camera'):
        assert found[name]['status'] == 'FAIL'
        assert found[name]['remedy']
    assert found['PyTorch']['status'] == 'WARN'


@pytest.mark.parametrize(('available_kb', 'limit', 'jetson', 'status', 'words'), [
    (4_000_000, None, False, 'OK', '4.1 GB available'),
    (400_000, None, False, 'WARN', '0.5 GB are wanted'),
    (4_000_000, 500_000_000, False, 'WARN', 'in this container'),
    (1_500_000, None, True, 'WARN', 'L4T 36.4.3'),
    (6_000_000, None, True, 'OK', 'shared with the GPU'),
])
def test_memory_is_that_of_the_container_and_of_the_gpu(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available_kb: int, limit: int | None,
        jetson: bool, status: str, words: str) -> None:
    files = {name: tmp_path / name.lower() for name in (
        'MEMORY_INFO', 'MEMORY_LIMIT', 'MEMORY_USED', 'TEGRA_RELEASE')}
    for name, path in files.items():
        monkeypatch.setattr(start_check, name, path)
    files['MEMORY_INFO'].write_text(f'MemTotal: 8000000 kB\nMemAvailable: {available_kb} kB\n')
    files['MEMORY_LIMIT'].write_text('max\n' if limit is None else f'{limit}\n')
    files['MEMORY_USED'].write_text('0\n')
    if jetson:
        files['TEGRA_RELEASE'].write_text('# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic')
    check = start_check.check_memory()
    assert check.status.value == status
    assert words in check.detail


def test_an_engine_is_held_against_this_machine(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aitable_ros.inference import sidecar
    from aitable_ros.inference.sidecar import Machine, Sidecar
    from aitable_ros.pipeline import PipelineOptions
    from aitable_ros.tools import check_models

    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path))
    here = Machine('8.6.1', '12.4', '550.1', 'NVIDIA H200', '9.0')
    monkeypatch.setattr(check_models, '_machine', lambda library: (here, ''))
    for name, tensorrt, size in (('fits', '8.6.1', 4), ('old', '8.5.2', 4), ('short', '8.6.1', 9)):
        engine = tmp_path / f'{name}.engine'
        engine.write_bytes(b'1234')
        sidecar.write(engine, Sidecar(
            engine_sha256='0', engine_bytes=size, model='facemesh', model_sha256='0',
            tensorrt=tensorrt, cuda='12.4', driver='550.1', gpu='NVIDIA H200',
            compute_capability='9.0', precision='fp16', min_batch=1, opt_batch=1, max_batch=4,
            rebuild=f'aitable models build facemesh --output {name}.engine'))
    (tmp_path / 'bare.engine').write_bytes(b'1234')
    (tmp_path / 'fer_rtx.engine').write_bytes(b'1234')
    sidecar.write(tmp_path / 'fer_rtx.engine', Sidecar(
        engine_sha256='0', engine_bytes=4, model='fer', model_sha256='0', tensorrt='8.6.1', cuda='',
        driver='', gpu='', compute_capability='', precision='fp16', min_batch=1, opt_batch=1,
        max_batch=4, runtime='tensorrt_rtx', compute_capabilities=['8.6', '8.9']))
    found = {check.name: check for check in check_models.check_engines(PipelineOptions())}
    assert {name: check.status.value for name, check in found.items()} == {
        'engine bare.engine': 'WARN', 'engine fits.engine': 'OK', 'engine old.engine': 'WARN',
        'engine short.engine': 'WARN', 'engine fer_rtx.engine': 'WARN'}
    assert found['engine fer_rtx.engine'].detail == (
        'fer fp16, for compute capability 8.6, 8.9, TensorRT for RTX 8.6.1; built for compute '
        'capability 8.6, 8.9, here is 9.0 (NVIDIA H200); build it with --for 9.0, or with '
        '--runtime tensorrt for a GPU that TensorRT for RTX does not know')
    assert 'TensorRT 8.5.2, here is 8.6.1' in found['engine old.engine'].detail
    assert found['engine old.engine'].remedy == (
        'aitable models build facemesh --output old.engine')
    assert 'damaged' in found['engine short.engine'].detail


@pytest.mark.parametrize(('gpu', 'capability', 'status', 'says'), [
    ('', '', 'OK', '; runs none here: no driver'),
    ('NVIDIA GeForce RTX 4060', '8.9', 'OK', ''),
    ('NVIDIA H200', '9.0', 'WARN', ', and NVIDIA H200 has 9.0')])
def test_tensorrt_for_rtx_is_held_against_the_gpu(
    gpu: str, capability: str, status: str, says: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    from aitable_ros.inference.sidecar import Machine
    from aitable_ros.inference.tensorrt_library import RTX
    from aitable_ros.tools import check_models

    if not RTX.package:
        pytest.skip('TensorRT for RTX is not installed here')
    here = Machine(gpu=gpu, compute_capability=capability) if gpu else None
    monkeypatch.setattr(
        check_models, '_machine', lambda library: (here, '' if gpu else 'no driver'))
    (check,) = (check for check in check_models.check_backends(bool(gpu))
                if check.name == 'TensorRT for RTX')
    assert check.status.value == status
    assert check.detail.startswith(RTX.load().__version__)
    assert check.detail.endswith(says)


@pytest.mark.parametrize('seconds', ['0', 'soon', '-1', '1000'])
def test_seconds_that_cannot_be_are_refused(
        seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(['preflight', '--image', '/x', '--seconds', seconds])
    assert ended.value.code == 2
    assert '0.5 to 600 seconds' in capsys.readouterr().err


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


MIDDLEWARE = {'RMW_IMPLEMENTATION': 'rmw_none_cpp'}
OTHERS = {'AITABLE_MODELS': '/no/such/folder', 'ROS_DOMAIN_ID': '4000',
          'FASTDDS_DEFAULT_PROFILES_FILE': '/no/profile.xml'}
MISSING = {
    'ROS 2': ('rmw_none_cpp', 'RMW_IMPLEMENTATION'),
    'fatigue model': ('`aitable models fetch facemesh`', 'aitable models fetch'),
    'middleware': ('domain', 'ROS_DOMAIN_ID'),
    'camera images': ('/no/profile.xml: no such file', 'export FASTDDS_DEFAULT_PROFILES_FILE=')}


@pytest.mark.parametrize(('environment', 'names'), [
    (MIDDLEWARE, ['ROS 2']), (OTHERS, ['fatigue model', 'middleware', 'camera images'])])
def test_what_is_missing_is_named_with_its_remedy(
        environment: dict[str, str], names: list[str]) -> None:
    ended = preflight('--json', **environment)
    assert ended.returncode == 1
    for name in names:
        check, (words, remedy) = checks(ended)[name], MISSING[name]
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
