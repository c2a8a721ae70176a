# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Parameter files: what rcl makes of them, and that we make the same of them without ROS."""

from __future__ import annotations

import re

import pytest

from aitable_ros.config import read_parameter_file
from aitable_ros.errors import InputError
from aitable_ros.pipeline import PipelineOptions
from aitable_ros.rcl_yaml import read_sections

NODE, NAMESPACE = 'fatigue', '/robot/left'
BODY = '{ros__parameters: {a: 1}}'
FILES = {
    'several keys': 'robot:\n  left:\n    fatigue: ' + BODY,
    'one key': '/robot/left/fatigue: ' + BODY,
    'no slash in front': 'robot/left/fatigue: ' + BODY,
    'without its namespace': 'fatigue: ' + BODY,
    'any namespace': '/**/fatigue: ' + BODY,
    'all': '/**: ' + BODY,
    'all in quotes': "'**': " + BODY,
    'one part': '/*: ' + BODY,
    'two parts': '/*/*/fatigue: ' + BODY,
    'one part too few': '/*/fatigue: ' + BODY,
    'all of a namespace': '/robot/**: ' + BODY,
    'in the middle': '/robot/**/fatigue: ' + BODY,
    'other namespace': '/robot/right/fatigue: ' + BODY,
    'below all': '/**:\n  fatigue: ' + BODY,
    'all over the node':
        '/robot/left/fatigue: {ros__parameters: {a: 1}}\n/**: {ros__parameters: {a: 2, b: 3}}',
    'the node over all':
        '/**: {ros__parameters: {a: 2, b: 3}}\n/robot/left/fatigue: {ros__parameters: {a: 1}}',
    'both below one key': "'**':\n  ros__parameters: {a: 2}\n  fatigue: " + BODY,
    'twice': '/**: {ros__parameters: {a: 1}}\n/**: {ros__parameters: {b: 2}}',
    'two documents': '/**: {ros__parameters: {a: 1}}\n---\n/**: {ros__parameters: {a: 2}}',
    'names with dots': '/**: {ros__parameters: {x: {y: 1}, z.w: 2}}',
    'quality of service': '/**: {ros__parameters: {qos_overrides: {/image: {subscription: '
                          '{reliability: reliable}}}}}',
    'nothing': '', 'a comment': '# nothing\n', 'no parameters': '/**: {ros__parameters: {}}',
    'no section below': '/**/fatigue: {foo: 1}', 'nothing below': '/**/fatigue:\n',
    'empty below': '/**/fatigue:\n  ros__parameters:\n', 'a list': '- a\n',
    'no node': 'ros__parameters: {a: 1}',
    'an alias': '/**: {ros__parameters: &p {a: 1}}\n/x: {ros__parameters: *p}',
    **{f'value {text}': f'/**:\n  ros__parameters:\n    a: {text}\n' for text in (
        'yes', 'Off', 'n', 'tRue', "'yes'", '1', '+1', '-2', '010', '08', '0x1F', '1e3', '5e-1',
        '.5', '1.', '1_000', '.inf', '-.inf', 'inf', '9999999999999999999', '2020-01-01', '1:30',
        'null', '~', '""', '"1"', '[x, z]', '[1.0, 2.0]', '|\n      two\n      lines')},
}


def by_rcl(path):
    """Return the overrides that rclpy gives a node, or None where rcl refuses the file."""
    import rclpy
    from rclpy.node import Node

    context = rclpy.Context()
    try:
        rclpy.init(args=['--ros-args', '--params-file', str(path)], context=context)
    except Exception:
        return None
    try:
        node = Node(NODE, namespace=NAMESPACE, context=context, enable_rosout=False,
                    start_parameter_services=False)
        found = {name: one.value for name, one in node._parameter_overrides.items()}
        node.destroy_node()
        return found
    finally:
        rclpy.shutdown(context=context)


def by_us(path):
    """Match the sections with the node's whole name."""
    parts = {'*': r'/\w+', '**': r'(/\w+)*'}
    found = {}
    try:
        for section in read_sections(path):
            pattern = ''.join(
                parts.get(part, f'/{re.escape(part)}') for part in section.name[1:].split('/'))
            if re.fullmatch(pattern, f'{NAMESPACE}/{NODE}'):
                found.update(section.values)
    except InputError as error:
        return None if str(path) in str(error) and '\n' not in str(error) else str(error)
    return found


@pytest.mark.parametrize('name', FILES)
def test_a_file_is_read_as_rcl_reads_it(tmp_path, name):
    pytest.importorskip('rclpy')
    path = tmp_path / 'parameters.yaml'
    path.write_text(FILES[name])
    theirs, ours = by_rcl(path), by_us(path)
    assert repr(theirs) == repr(ours)


def options(tmp_path, text):
    """Return the options that a recording is evaluated with, and what was warned of."""
    path = tmp_path / 'parameters.yaml'
    path.write_text(text)
    warnings = []
    return PipelineOptions.from_file(path, warnings.append), warnings


@pytest.mark.parametrize('text', [
    'robot:\n  left:\n    fatigue: {ros__parameters: {sleep_s: 4.0}}',
    'camera: {driver: {ros__parameters: {x: 1}}}\n'
    '/**/fatigue: {ros__parameters: {sleep_s: 4.0}}',
    '/fatigue:\n  ros__parameters:\n    sleep_s: 4.0\n    model_folder_only: true\n'
    '    start_type_description_service: false\n    use_sim_time: false\n'
    '    qos_overrides: {/fatigue: {publisher: {depth: 10}}}',
    '/**/fatigue: {ros__parameters: {sleep_s: 4.0, qos_overrides: {/image: {subscription: '
    '{reliability: reliable}}}}}',
    '/**: {ros__parameters: {sleep_s: 4.0, confidence: 0.6, of_another_node: 1}}',
    '/robot/fatigue: {ros__parameters: {sleep_s: 3.0}}\n/**: {ros__parameters: {sleep_s: 4.0}}',
])
def test_a_recording_takes_the_nodes_files(tmp_path, text):
    found, warnings = options(tmp_path, text)
    assert found.fatigue.sleep_s == 4.0
    assert warnings == []


@pytest.mark.parametrize(('text', 'said'), [
    ('/**/fatige: {ros__parameters: {sleep_s: 4.0}}', "did you mean 'fatigue'?"),
    ('/robot/face_detection: {ros__parameters: {a: 1}}', "did you mean 'face_detector'?"),
    ('fatigue: {ros__parameters: {slep_s: 4.0}}', "'slep_s' is ignored; did you mean 'sleep_s'?"),
    ('camera: {driver: {ros__parameters: {x: 1}}}', ''),
    ('/**/fatigue_front: {ros__parameters: {x: 1}}', ''),
])
def test_a_near_miss_is_told(tmp_path, text, said):
    found, warnings = options(tmp_path, text)
    assert found.fatigue.sleep_s == 3.0
    assert len(warnings) == bool(said)
    assert said in ''.join(warnings)


def test_two_namespaces_that_contradict_each_other_are_refused(tmp_path):
    text = '/left/fatigue: {ros__parameters: {sleep_s: 4.0}}\n' \
           '/right/fatigue: {ros__parameters: {sleep_s: %s}}\n'
    assert options(tmp_path, text % '4.0')[0].fatigue.sleep_s == 4.0
    with pytest.raises(InputError, match="'/left/fatigue' and '/right/fatigue' give 'sleep_s' two"):
        options(tmp_path, text % '5.0')
    assert read_parameter_file(tmp_path / 'parameters.yaml')['fatigue'] == {'sleep_s': 5.0}
