# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The package as a whole: what it imports and when, what it declares, what it installs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib import metadata
import os
from pathlib import Path
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from aitable_ros import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'aitable_ros'
SOURCES = sorted(PACKAGE.rglob('*.py'))

ROS = {'aitable_msgs', 'ament_index_python', 'builtin_interfaces', 'composition_interfaces',
       'launch', 'launch_ros', 'rcl_interfaces', 'rclpy', 'std_srvs'}
HEAVY = {'aiohttp', 'cuda', 'flatbuffers', 'h5py', 'jinja2', 'mediapipe', 'onnx', 'onnxruntime',
         'openvino', 'pandas', 'plotly', 'pyarrow', 'pycuda', 'ray', 'rich', 'rosbags', 'scipy',
         'skimage', 'tensorrt', 'tflite', 'torch', 'ultralytics', 'zstandard'}
# Where it is installed: a bridge that most robots do not want.
OPTIONAL = {'hri_msgs'}
# A package may use the packages below it. Inference takes models by name from `models`; `engines`
# builds, runs and compares them. fatigue reads face.mesh.
RANK = {
    '__init__': 0, 'closing': 0, 'errors': 0, 'types': 0, 'pixels': 0, 'options': 1, 'config': 2,
    'atomic': 1, 'crop_map': 0, 'drawing': 2, 'picture_header': 0, 'stopping': 0, 'image_codec': 2,
    'rcl_yaml': 1, 'rehearsal': 1, 'clock': 1, 'message_fields': 2, 'message_codec': 3,
    'models': 2, 'inference': 3,
    'face': 4, 'emotion': 4, 'fatigue': 5, 'posture': 5, 'pipeline': 6, 'recordings': 7, 'nodes': 7,
    'engines': 8, 'evaluation': 8, 'tools': 9, 'monitor': 9, 'cli': 10, '__main__': 11,
    'stamp_join': 0, 'posture_types': -1,
}


def is_ros(name: str) -> bool:
    return name in ROS or name.endswith('_msgs')


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Return each imported module's full name, and whether importing the file imports it."""
    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
                continue  # an expression imports nothing
            if isinstance(child, ast.Import):
                yield from ((alias.name, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                assert child.level == 0, f'{path}:{child.lineno}: relative import'
                yield child.module, at_import
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or (
                isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test))
            yield from walk(child, at_import and not later)

    return tuple(walk(ast.parse(path.read_text(encoding='utf-8')), True))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def python(code: str) -> str:
    child = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd='/')
    assert child.returncode == 0, child.stderr
    return child.stdout


def test_modules_outside_nodes_import_with_ros_absent() -> None:
    modules = [name_of(path) for path in SOURCES
               if room_of(path) != 'nodes' and path.name != '__main__.py']
    python(f"""
import importlib, sys
ROS = {ROS!r}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ROS or name.split('.')[0].endswith('_msgs'):
            raise ModuleNotFoundError(f'No module named {{name!r}} (blocked)', name=name)
sys.meta_path.insert(0, Absent())
for name in {modules!r}:
    importlib.import_module(name)
""")


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    early = {(name_of(path), name) for path in SOURCES for name, at_import in imports(path)
             if at_import and name.split('.')[0] in HEAVY}
    assert early == set()


@pytest.mark.parametrize('code', [
    'import aitable_ros',
    'from aitable_ros.cli import main\ntry: main(["--help"])\nexcept SystemExit: pass',
], ids=['import', 'help'])
def test_the_quick_ways_in_load_nothing_heavy(code: str) -> None:
    loaded = python(f'{code}\nimport sys\nprint("loaded", *sys.modules)').rpartition('loaded')[2]
    names = {name.split('.')[0] for name in loaded.split()}
    assert 'aitable_ros' in names
    assert not names & (HEAVY | ROS | {'numpy', 'cv2', 'yaml'})


def room_in(module: str) -> str:
    parts = module.split('.')[1:3] or ['__init__']
    return '.'.join(parts) if '.'.join(parts) in RANK else parts[0]


def test_dependencies_point_one_way() -> None:
    wrong = set()
    for path in SOURCES:
        room = room_in(name_of(path))
        if room == '__init__':  # it names what it exports, and loads a name at its first use
            continue
        for name, _ in imports(path):
            used = room_in(name)
            if name.split('.')[0] != 'aitable_ros' or used.split('.')[0] == room.split('.')[0]:
                continue
            if RANK[used] >= RANK[room]:
                wrong.add(f'{name_of(path)} uses {name}')
    assert wrong == set()


def test_only_nodes_tools_and_monitor_know_ros() -> None:
    knowing = {name_of(path) for path in SOURCES for name, _ in imports(path)
               if is_ros(name.split('.')[0])}
    rooms = {'nodes', 'tools', 'monitor'}
    assert {name for name in knowing if name.split('.')[1] not in rooms} == set()


def test_no_import_takes_the_gpu() -> None:
    assert 'pycuda.autoinit' not in {name for path in SOURCES for name, _ in imports(path)}


def own_files(*patterns: str) -> list[Path]:
    folders = [ROOT / name for name in (
        'aitable_ros', 'aitable_msgs', 'launch', 'test', 'scripts', 'benchmarks', '.ci')]
    found = [ROOT / 'setup.py', ROOT / '.ci' / 'run', ROOT / 'Makefile']
    found += [path for folder in folders for pattern in patterns for path in folder.rglob(pattern)]
    return sorted(found)


def test_every_source_file_names_its_licence() -> None:
    wrong = set()
    for path in own_files('*.py', '*.sh'):
        head = path.read_text(encoding='utf-8').removeprefix('#!/usr/bin/env bash\n')
        if not re.match(r'# Copyright \d{4} aitable_ros maintainers\n'
                        r'# SPDX-License-Identifier: Apache-2.0\n', head):
            wrong.add(str(path.relative_to(ROOT)))
    assert wrong == set()


def declared(package_xml: Path) -> tuple[str, dict[str, set[str]]]:
    tree = ET.parse(package_xml).getroot()
    depends: dict[str, set[str]] = {}
    for element in tree:
        if element.tag.endswith('depend'):
            depends.setdefault(element.tag, set()).add(element.text or '')
    return tree.findtext('version') or '', depends


def test_all_versions_agree() -> None:
    setup = re.search(r"version='([^']+)'", (ROOT / 'setup.py').read_text())
    assert setup
    assert {
        __version__, setup[1], declared(ROOT / 'package.xml')[0],
        declared(ROOT / 'aitable_msgs' / 'package.xml')[0], metadata.version('aitable_ros'),
    } == {__version__}


def test_package_xml_declares_every_ros_package_that_is_imported() -> None:
    files = [*SOURCES, *(ROOT / 'launch').glob('*.py')]
    used = {name.split('.')[0] for path in files for name, _ in imports(path)}
    depends = declared(ROOT / 'package.xml')[1]['exec_depend']
    # the REP-155 bridge is optional: it says what to install where it is asked for
    assert {name for name in used if is_ros(name)} - {'hri_msgs'} <= depends


@pytest.mark.parametrize(
    'entry', [
        *metadata.entry_points(group='rclpy_components'),
        *(entry for entry in metadata.entry_points(group='console_scripts')
          if entry.value.startswith('aitable_ros.'))],
    ids=lambda entry: entry.name)
def test_entry_points_resolve(entry: metadata.EntryPoint) -> None:
    assert callable(entry.load())


def test_components_are_listed_for_ros2_component_types() -> None:
    from aitable_ros.nodes.composition import COMPONENTS

    listed = (ROOT / 'resource' / 'rclcpp_components' / 'aitable_ros').read_text().split()
    names = {line.partition(';')[0] for line in listed}
    setup = (ROOT / 'setup.py').read_text()
    assert names == set(re.findall(r"'(aitable_ros::\w+) = ", setup))
    assert names >= {entry.name for entry in metadata.entry_points(group='rclpy_components')}
    assert names == {f'aitable_ros::{name}' for name in COMPONENTS}


def pins(path: Path) -> dict[str, str]:
    """Return what a requirement file pins: project, normalised, with marker -> version."""
    found = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith('#'):
            match = re.fullmatch(r'([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)( ; .*)?', line)
            assert match, f'{path.name}: not a pin: {line}'
            found[re.sub(r'[-_.]+', '-', match[1]).lower() + (match[3] or '')] = match[2]
    return found


@pytest.mark.parametrize('distro', ['kilted', 'jazzy'])
def test_requirement_files_are_pins_that_do_not_contradict_each_other(distro: str) -> None:
    together: dict[str, str] = {}
    for name in ('build', 'run', 'test', f'ros-{distro}'):
        found = pins(ROOT / 'requirements' / f'{name}.txt')
        assert not together.keys() & found.keys(), f'{name}.txt pins again what another file pins'
        together |= found


@pytest.mark.skipif('ROS_DISTRO' in os.environ, reason="a sourced ROS 2's packages are not ours")
def test_what_is_installed_here_is_whole() -> None:
    """--no-deps installs only what the files pin, so they must name every dependency."""
    child = subprocess.run(
        [sys.executable, '-m', 'pip', 'check'], capture_output=True, text=True)
    assert child.returncode == 0, child.stdout


def test_ctrl_c_while_a_command_is_imported_is_no_traceback(monkeypatch, capsys):
    from aitable_ros import cli

    def interrupted(name):
        raise KeyboardInterrupt
    monkeypatch.setattr(cli, 'import_module', interrupted)
    assert cli.main(['evaluate', 'film.mp4']) == 130
    assert capsys.readouterr() == ('', '')
