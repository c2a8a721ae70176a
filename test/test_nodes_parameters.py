# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Parameters: the files against the code, and a node that is asked, told and refuses."""

from dataclasses import fields
from pathlib import Path

import pytest
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, SetParameters, SetParametersAtomically
from ros_graph import Graph, parameter
import yaml

from aitable_ros.config import options_for, read_options, read_parameter_file
from aitable_ros.errors import InputError
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.nodes.parameter_file import lines
from aitable_ros.nodes.parameter_file import STAGES as KINDS

CONFIG = Path(__file__).resolve().parent.parent / 'config'


@pytest.mark.parametrize('node', KINDS)
def test_pipeline_yaml_holds_every_parameter_with_its_default(node):
    written = read_parameter_file(CONFIG / 'pipeline.yaml')[node]
    in_code = {
        item.name: list(item.default) if isinstance(item.default, tuple) else item.default
        for kind in KINDS[node] for item in fields(kind)}
    assert list(written) == list(in_code)
    assert written == in_code
    assert {k: type(v) for k, v in written.items()} == {k: type(v) for k, v in in_code.items()}


def test_pipeline_yaml_is_what_the_code_writes():
    assert (CONFIG / 'pipeline.yaml').read_text() == '\n'.join(lines()) + '\n', (
        'run: python -m aitable_ros.nodes.parameter_file > config/pipeline.yaml')


@pytest.mark.parametrize(('chosen', 'runs'), [
    ({'engine_path': 'facemesh_468'}, 'facemesh_468'),
    ({'model': 'facemesh_468'}, 'facemesh_468'),
    ({'model': 'facemesh_468', 'engine_path': 'facemesh_468'}, 'facemesh_468'),
    ({'model': 'facemesh_468', 'engine_path': ''}, 'facemesh_468'),
    ({'model': '', 'engine_path': 'facemesh_468'}, 'facemesh_468'),
])
def test_engine_path_is_another_name_of_model(models, tmp_path, chosen, runs):
    path = tmp_path / 'own.yaml'
    path.write_text(yaml.safe_dump({'/**/fatigue': {'ros__parameters': chosen}}))
    assert read_options(path, {'fatigue': FatigueOptions})['fatigue'].model == runs
    with Graph() as graph:
        node = graph.load('FatigueNode', backend='onnxruntime', **chosen)
        assert node.keeper.model.model == runs


def test_model_and_engine_path_that_differ_are_refused(models, tmp_path):
    path = tmp_path / 'own.yaml'
    chosen = {'model': 'facemesh', 'engine_path': 'facemesh_468'}
    path.write_text(yaml.safe_dump({'/**/fatigue': {'ros__parameters': chosen}}))
    words = "'model' .'facemesh'. and 'engine_path' .'facemesh_468'. are two names of one parameter"
    with pytest.raises(InputError, match=words) as error:
        read_options(path, {'fatigue': FatigueOptions})
    assert str(path) in str(error.value)
    with Graph() as graph, pytest.raises(InputError, match=f'/fatigue: .*{words}'):
        graph.load('FatigueNode', **chosen)


@pytest.mark.parametrize('preset', [
    'cpu.yaml', 'desktop.yaml', 'jetson.yaml', 'origin.yaml', 'pipeline.yaml'])
def test_presets_name_only_parameters_that_exist(preset):
    for node, values in read_parameter_file(CONFIG / preset).items():
        options_for(values, *KINDS[node], source=preset)


def test_presets_say_numbers_as_ros_wants_them():
    """An integer where a parameter is a double stops a ROS node."""
    for preset in CONFIG.glob('*.yaml'):
        for section, body in yaml.safe_load(preset.read_text()).items():
            kinds = KINDS[section.rsplit('/', 1)[-1]]
            types = {item.name: type(item.default) for kind in kinds for item in fields(kind)}
            for name, value in body['ros__parameters'].items():
                kind = list if types[name] is tuple else types[name]
                assert type(value) is kind, (preset.name, name)


@pytest.fixture(scope='module')
def graph(models):
    with Graph() as graph:
        graph.fatigue = graph.load('FatigueNode')
        yield graph


def _set(graph, kind=SetParameters, **values):
    request = kind.Request(
        parameters=[parameter(name, value).to_parameter_msg() for name, value in values.items()])
    suffix = 'set_parameters' if kind is SetParameters else 'set_parameters_atomically'
    return graph.call(kind, f'/fatigue/{suffix}', request)


def test_describes_type_range_and_whether_it_is_fixed(graph):
    names = ['closed_enter', 'fallbacks', 'backend', 'device_id']
    answer = graph.call(
        DescribeParameters, '/fatigue/describe_parameters', DescribeParameters.Request(names=names))
    enter, fallbacks, backend, device = answer.descriptors
    assert (enter.type, enter.read_only) == (ParameterType.PARAMETER_DOUBLE, False)
    assert 'openness' in enter.description
    assert (enter.floating_point_range[0].from_value, enter.floating_point_range[0].to_value) == (
        0.0, 0.9)
    assert (fallbacks.type, fallbacks.read_only) == (ParameterType.PARAMETER_STRING_ARRAY, True)
    assert 'openvino' in backend.additional_constraints
    assert device.integer_range[0].to_value == 63


@pytest.mark.parametrize(('name', 'value', 'words'), [
    ('closed_enter', 0.95, 'out of range'),
    ('closed_enter', 0.6, "must be at most 'closed_exit'"),
    ('closed_enter', 'wide', "'closed_enter' takes a number with a decimal point, not 'wide'"),
    ('closed_enter', 1, 'out of range'),
    ('backend', 'openvino', "'backend' is read-only, fixed while the node runs: start the node"),
    ('threads', 2, 'read-only'),
    ('model', 'facemesh_468', 'call /fatigue/reload_model with another model'),
    ('engine_path', 'facemesh_468', 'call /fatigue/reload_model with another model'),
    ('no_such_thing', 1, 'declared'),
])
def test_refuses_with_a_reason(graph, name, value, words):
    before = graph.fatigue.parameters[FatigueOptions]
    result, = _set(graph, **{name: value}).results
    assert not result.successful
    assert words in result.reason or name == 'no_such_thing'
    assert graph.fatigue.parameters[FatigueOptions] == before


@pytest.fixture
def configured(monkeypatch):
    """Return the options that the stage was given, in their order."""
    given, configure = [], FatigueMonitor.configure

    def listening(self, options):
        given.append(options)
        configure(self, options)
    monkeypatch.setattr(FatigueMonitor, 'configure', listening)
    return given


def test_applies_what_only_fits_together(graph, configured):
    """0.6 and 0.7 fit each other; 0.6 alone would be above closed_exit."""
    answer = _set(graph, SetParametersAtomically, closed_enter=0.6, closed_exit=0.7)
    assert answer.result.successful, answer.result.reason
    options = graph.fatigue.parameters[FatigueOptions]
    assert (options.closed_enter, options.closed_exit) == (0.6, 0.7)
    assert configured == [options]
    assert _set(graph, SetParametersAtomically, closed_enter=0.3, closed_exit=0.5).result.successful


def test_refuses_all_when_one_does_not_fit(graph, configured):
    before = graph.fatigue.parameters[FatigueOptions]
    answer = _set(graph, SetParametersAtomically, sleep_s=4.0, closed_enter=0.8)
    assert not answer.result.successful
    assert graph.fatigue.parameters[FatigueOptions] == before
    assert configured == []


@pytest.mark.parametrize(('values', 'words'), [
    ({'closed_enter': 'wide'}, "'closed_enter' takes a number"),
    ({'closed_enter': 1}, "'closed_enter' must be from 0 to 0.9"),
    ({'closed_enter': 5.0}, "'closed_enter' must be from 0 to 0.9"),
    ({'closed_enter': 0.8}, "'closed_exit'"),
    ({'backend': 'abacus'}, 'must be one of auto'),
    ({'fallbacks': 'facemesh'}, 'takes a list of strings'),
    ({'fallbacks': ['no_such_model']}, 'no_such_model'),
])
def test_a_wrong_override_is_one_line_that_names_it(graph, values, words):
    with pytest.raises(InputError, match=words) as error:
        graph.load('FatigueNode', 'wrong', **values)
    assert '\n' not in str(error.value)
    assert len(graph.nodes.components) == 1


def test_a_misspelt_parameter_is_pointed_out(graph, capfd):
    node = graph.load('FatigueNode', 'misspelt', closed_entre=0.2)
    assert "'closed_entre' is ignored; did you mean 'closed_enter'?" in capfd.readouterr().err
    graph.nodes.unload(next(c for c in graph.nodes.components if c.node is node).unique_id)


def test_a_whole_number_is_taken_for_a_float(graph):
    assert _set(graph, SetParametersAtomically, sleep_s=6).result.successful
    assert graph.fatigue.parameters[FatigueOptions].sleep_s == 6.0
    other = graph.load('FatigueNode', name='other', sleep_s=5, backend='onnxruntime')
    assert other.get_parameter('sleep_s').value == 5.0
