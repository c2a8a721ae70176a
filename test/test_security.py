# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What SECURITY.md says, held against the code and the running nodes."""

from __future__ import annotations

import ast
from functools import cache
import importlib.util
import os
from pathlib import Path
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

from patience import PATIENT_S
import pytest
from rclpy.parameter import Parameter
from ros_graph import Graph
from sensor_msgs.msg import Image

from aitable_msgs.msg import Posture
from aitable_msgs.srv import ReloadModel
from aitable_ros.models.catalogue import model_home, onnx_path
from aitable_ros.nodes import executables, model_paths

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(ROOT / 'aitable_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py')])
POLICY = ROOT / 'config' / 'sros2' / 'aitable_policy.xml'
NAMESPACE = '/held_against'
CAMERA = '/camera/image_raw'

MODULES = {'pickle', 'cPickle', 'dill', 'marshal', 'shelve', 'joblib', 'cloudpickle'}
ALLOWED = {('aitable_ros/inference/emonet_network.py', 'pickle')}
"""For the name of the error that weights_only loading raises; see test_nothing_is_unpickled."""
CALLS = {'eval', 'exec', 'compile', 'os.system', 'os.popen', 'tempfile.mktemp', 'yaml.load',
         'yaml.unsafe_load', 'yaml.full_load', 'subprocess.getoutput', '__import__'}


@cache
def trees():
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding='utf-8')))
            for path in SOURCES]


@cache
def calls():
    """Return each call: its file, its dotted name, and its node."""
    return [(name, ast.unparse(node.func), node) for name, tree in trees()
            for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_nothing_is_unpickled():
    found = set()
    for name, tree in trees():
        for node in ast.walk(tree):
            names = [alias.name for alias in getattr(node, 'names', [])
                     ] if isinstance(node, ast.Import) else [
                getattr(node, 'module', '') or ''] if isinstance(node, ast.ImportFrom) else []
            found |= {(name, one) for one in names if one.split('.')[0] in MODULES}
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == 'pickle':
                assert node.attr == 'UnpicklingError', f'{name}:{node.lineno}'
    assert found <= ALLOWED


@pytest.mark.parametrize(('function', 'argument', 'value'), [
    ('torch.load', 'weights_only', True), ('np.load', 'allow_pickle', False)])
def test_loaders_that_could_unpickle_are_told_not_to(function, argument, value):
    for name, called, node in calls():
        if called != function:
            continue
        given = {word.arg: word.value for word in node.keywords}
        # np.load does not unpickle unless told to
        told = argument in given
        if told or function == 'torch.load':
            assert told, f'{name}:{node.lineno}'
            assert ast.literal_eval(given[argument]) is value, f'{name}:{node.lineno}'


def test_no_code_from_text_and_no_shell():
    for name, called, node in calls():
        assert called not in CALLS, f'{name}:{node.lineno}: {called}'
        shell = [word for word in node.keywords if word.arg == 'shell']
        assert not shell, f'{name}:{node.lineno}: shell='


@pytest.mark.parametrize(('entry', 'allowed'), [
    ('facemesh', True), ('my.onnx', True), ('my.engine', True),
    ('{home}/my.engine', True), ('{home}/sub/my.engine', True),
    ('/tmp/evil.engine', False), ('{home}/../evil.engine', False), ('{home}x/evil.engine', False),
    ('~/evil.engine', False), ('./evil.engine', False), ('../evil.engine', False),
    ('sub/evil.engine', False),
])
def test_which_models_may_be_named_over_the_graph(entry, allowed, tmp_path, monkeypatch):
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path / 'models'))
    monkeypatch.chdir(tmp_path)
    reason = model_paths.outside(entry.format(home=model_home()))
    assert (not reason) is allowed
    assert allowed or 'model_folder_only' in reason


@pytest.mark.parametrize(('parameters', 'words'), [
    ({'engine_path': 'facemesh', 'fallbacks': ['fer'], 'near': 'off'}, ''),
    ({'model': '/tmp/evil.engine'}, "'model'"),
    ({'engine_path': '/tmp/evil.engine'}, "'engine_path'"),
    ({'proof': '/tmp/evil.engine'}, "'proof'"),
    ({'fallbacks': ['facemesh', '/tmp/evil.engine']}, "'fallbacks'"),
    ({'near': '/tmp/evil.engine'}, "'near'"),
    ({'model_folder_only': False}, "'model_folder_only'"),
    ({'fallbacks': None}, ''),
])
def test_what_a_container_is_asked_for(parameters, words):
    reason = model_paths.refusal(parameters)
    assert words in reason
    assert bool(reason) == bool(words)


@pytest.mark.parametrize('only', [True, False])
def test_reload_stays_in_the_model_folder(models, tmp_path, only):
    path = tmp_path / 'mine.onnx'
    path.write_bytes(onnx_path('fer').read_bytes())
    with Graph() as graph:
        graph.load('EmotionNode', model_folder_only=only)
        answer = graph.call(
            ReloadModel, '/emotion/reload_model', ReloadModel.Request(model_path=str(path)))
        assert answer.success is not only, answer.message
        assert ('not in the model folder' in answer.message) is only
        result = graph.nodes.components[0].node.set_parameters(
            [Parameter('model_folder_only', value=False)])
        assert not result[0].successful


def test_the_overlay_is_off_unless_asked_for(monkeypatch):
    seen = []

    def main(name, argv, load, arguments, processes):
        import argparse
        parser = argparse.ArgumentParser()
        arguments(parser)

        class Loaded:
            def load_all(self, plugins, **kwargs):
                seen.extend(plugins)
        load(Loaded(), parser.parse_args(argv, argparse.Namespace(ros=[])))
        return 0
    monkeypatch.setattr(executables, '_main', main)
    executables.pipeline([])
    assert 'OverlayNode' not in seen
    executables.pipeline(['--overlay'])
    assert 'OverlayNode' in seen
    seen.clear()
    executables.pipeline([])
    assert 'PostureNode' not in seen
    executables.pipeline(['--posture'])
    assert 'PostureNode' in seen
    for path in (ROOT / 'launch').glob('*.launch.py'):
        assert re.search(r"\('overlay', 'false'", path.read_text()), path.name


def _policy(node):
    """Return what the policy allows a node: kind -> names, in NAMESPACE."""
    profile = ET.parse(POLICY).getroot().find(f".//profile[@node='{node}']")
    assert profile is not None, f'{POLICY.name} has no profile of {node}'

    def full(name):
        if name.startswith('~/'):
            return f'{NAMESPACE}/{node}/{name[2:]}'
        return name if name.startswith('/') else f'{NAMESPACE}/{name}'
    allowed = {}
    for group in profile:
        (attribute, _), = group.attrib.items()
        allowed.setdefault(attribute, set()).update(full(item.text) for item in group)
    return allowed


NODES = {'FaceDetectorNode': 'face_detector', 'FatigueNode': 'fatigue', 'EmotionNode': 'emotion',
         'PostureNode': 'posture', 'OverlayNode': 'overlay', 'HriNode': 'hri_bridge'}


@pytest.mark.parametrize('plugin', NODES)
def test_the_sros2_policy_is_what_the_node_has(models, plugin):
    """Alone in its process, on simulated time and with a listener, a node has all that it can."""
    if plugin == 'HriNode' and importlib.util.find_spec('hri_msgs') is None:
        pytest.skip('hri_msgs is not installed here')
    name, graph = NODES[plugin], Graph()
    try:
        graph.listen(Image, f'{NAMESPACE}/overlay')
        if name != 'posture':  # who listens to posture does so where there is some
            graph.tester.create_publisher(Posture, f'{NAMESPACE}/posture', 1)
        graph.nodes.load(
            plugin,
            cli_args=['--ros-args', '-r', f'__ns:={NAMESPACE}', '-r', f'image:={CAMERA}'],
            parameter_overrides=[Parameter('use_sim_time', value=True)])
        tester = graph.tester
        questions = {
            'publish': tester.get_publisher_names_and_types_by_node,
            'subscribe': tester.get_subscriber_names_and_types_by_node,
            'reply': tester.get_service_names_and_types_by_node,
            'request': tester.get_client_names_and_types_by_node}
        allowed = _policy(name)

        def found(kind):
            names = {topic for topic, _ in questions[kind](name, NAMESPACE)}
            return {re.sub('^(/humans/(faces|bodies))/.*', r'\1/*', topic) for topic in names}
        graph.spin(lambda: all(
            found(kind) == allowed.get(kind, set()) for kind in questions), 5.0)
        for kind in questions:
            # what a distribution adds to every node (type descriptions, Jazzy on) may be absent
            ours = {one for one in allowed.get(kind, set()) if '/get_type_description' not in one}
            assert found(kind) - ours <= {f'{NAMESPACE}/{name}/get_type_description'}, kind
            assert ours - found(kind) <= {f'{NAMESPACE}/{name}/get_transition_graph'}, kind
    finally:
        graph.close()


def test_the_policy_names_no_node_that_is_gone():
    nodes = {profile.get('node') for profile in ET.parse(POLICY).iter('profile')}
    assert nodes == {*NODES.values(), 'aitable_container'}


def test_the_systemd_unit_ends_launch_with_sigint():
    unit = (ROOT / 'config' / 'systemd' / 'aitable.service').read_text()
    for line in ('KillSignal=SIGINT', 'KillMode=mixed', 'Restart=always'):
        assert f'\n{line}\n' in unit
    assert re.search(r'ExecStart=.*&& exec ros2 launch aitable_ros pipeline\.launch\.py', unit)
    arguments = re.findall(r'(\w+):=', unit.partition('ExecStart=')[2].partition('\n')[0])
    declared = (ROOT / 'launch' / 'pipeline.launch.py').read_text()
    for name in arguments:
        assert f"('{name}', " in declared, f'{name} is no argument of the launch file'


def test_a_refused_model_is_one_line_from_the_command_line_too(tmp_path):
    """The operator's own files are allowed at the start: what is missing there is just missing."""
    done = subprocess.run(
        [sys.executable, '-c',
         'import sys; from aitable_ros.nodes.executables import emotion; sys.exit(emotion())',
         '--ros-args', '-p', f'engine_path:={tmp_path}/gone.onnx', '-p', 'fallbacks:=[gone]'],
        capture_output=True, text=True, timeout=PATIENT_S)
    assert done.returncode == 2
    assert 'model folder' not in done.stderr.replace(str(model_home()), '')


def test_openvino_reports_to_nobody(tmp_path):
    """Its package sends an event to Google Analytics where it finds ``openvino_telemetry``."""
    pytest.importorskip('openvino_telemetry')
    code = """
import sys, urllib.request
from pathlib import Path
asked = []
urllib.request.urlopen = lambda *given, **options: asked.append(given)
import socket
socket.getaddrinfo = lambda *given, **options: asked.append(given)
from aitable_ros.inference.openvino import import_openvino
import_openvino().Core()
import time; time.sleep(1.0)  # telemetry has a thread of its own
print(asked, 'openvino_telemetry' in sys.modules, sorted(Path.home().iterdir()))
"""
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                          env={**os.environ, 'HOME': str(tmp_path)}).stdout
    assert said.strip() == '[] False []'
