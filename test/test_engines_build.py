# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
``aitable models build`` and ``all``: what TensorRT is told, what comes out, what is left behind.

On a CPU these run against stand-ins of TensorRT 8.5, 8.6, 10.3 and 11.4 that have the real ones'
names and complaints and compute with ONNX Runtime; on a GPU machine against its TensorRT.
"""

from __future__ import annotations

from importlib.machinery import ModuleSpec
import json
import os
from pathlib import Path
import re
import shutil
import signal
import sys
import threading
import time
from types import ModuleType

import numpy as np
import pytest
from tensorrt_standin import builder as standin
from tensorrt_standin.surface import VERSIONS
import yaml

from aitable_ros.cli import main
from aitable_ros.engines import build as build_module
from aitable_ros.engines import sources
from aitable_ros.engines.build import build
from aitable_ros.engines.build_list import engine_path, of_catalogue, of_yaml
from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.graph.builder_input import method
from aitable_ros.engines.progress import BuildProgress
from aitable_ros.engines.sources import onnx_of
from aitable_ros.errors import InputError
from aitable_ros.face.yolov8_face import Yolov8Face
from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.tensorrt import TensorRTBackend

every_version = pytest.mark.parametrize('tensorrt', VERSIONS, indirect=True)
up_to_8 = pytest.mark.parametrize('tensorrt', VERSIONS[:2], indirect=True)
"""For what the real parser and builder of test_engines_rtx.py show of later ones."""
UNREADABLE = 'is not written: TensorRT cannot read its own cache of this model'
TOLERANCE = {'fp32': 1e-4, 'fp16': 2e-2}


@pytest.fixture
def home(tmp_path, monkeypatch, models):
    """Return a models' folder with the ONNX of two models in it."""
    folder = tmp_path / 'home'
    folder.mkdir()
    for name in ('fer', 'blazeface_short'):
        shutil.copy(models / f'{name}.onnx', folder)
    monkeypatch.setenv('AITABLE_MODELS', str(folder))
    standin.BUILDS.clear()
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*')
                  if path.is_file() and path.name != '.lock')


def quantised():
    """Return a graph whose fp32 is gone."""
    onnx = pytest.importorskip('onnx')
    helper = onnx.helper
    scale = helper.make_tensor('scale', onnx.TensorProto.FLOAT, [], [0.1])
    return helper.make_model(helper.make_graph(
        [helper.make_node('QuantizeLinear', ['x', 'scale'], ['y'], 'q')], 'g',
        [helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info('y', onnx.TensorProto.UINT8, [1, 4])], [scale]))


def both(onnx, engine, batch):
    """Return the outputs of ONNX Runtime and of the engine, on the same noise."""
    noise = np.random.default_rng(1)
    with OnnxRuntimeBackend(onnx) as wanted, TensorRTBackend(engine) as got:
        inputs = {spec.name: noise.uniform(-1, 1, [size or batch for size in spec.shape]).astype(
            np.float32) for spec in wanted.inputs}
        return wanted.infer(inputs), got.infer(inputs)


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_an_engine_says_what_its_onnx_says(tensorrt, home, capsys, precision):
    """On one TensorRT: what each version is told is below."""
    assert main(['models', 'build', 'fer', '--precision', precision, '--json']) == 0, (
        capsys.readouterr().err)
    report = json.loads(capsys.readouterr().out)
    engine = home / f'fer_{precision}.engine'
    assert report['engine'] == str(engine)
    assert [name for name in files(home) if name.startswith('fer')] == [
        'fer.onnx', engine.name, f'{engine.name}.json']
    record = sidecars.read(engine)
    assert (record.model, record.precision, record.max_batch) == ('fer', precision, 4)
    assert record.tensorrt == tensorrt.version
    assert record.built_with == 'tensorrt-python'
    assert record.rebuild == (
        f'aitable models build fer --precision {precision} --output {engine}')
    assert not sidecars.damage(record, engine.read_bytes())
    for batch in (1, 3, 4):
        wanted, got = both(home / 'fer.onnx', engine, batch)
        np.testing.assert_allclose(got['probs'], wanted['probs'], atol=TOLERANCE[precision])


@every_version
def test_each_version_is_told_what_it_knows(tensorrt, home):
    """The stand-in fails on every name that the real one of that version lacks."""
    if tensorrt.real:
        pytest.skip('the real one does not tell what it was told')
    old = tensorrt.version.startswith('8.5')
    command = ['models', 'build', 'fer', '--workspace-mib', '256', '--sparse', '--max-batch', '2']
    assert main(command if old else [
        *command, '--builder-level', '4', '--aux-streams', '0']) == 0
    told = standin.BUILDS[-1]
    assert told.settings['WORKSPACE'] == 256 << 20
    assert told.settings['profiling_verbosity'] == 'DETAILED'
    assert told.settings['tactic_sources'] == {'EDGE_MASK_CONVOLUTIONS', 'JIT_CONVOLUTIONS'}
    assert 'TF32' not in told.flags
    assert 'SPARSE_WEIGHTS' in told.flags
    if told.version < (10, 0):
        assert told.network_flags == {'EXPLICIT_BATCH'}
        assert {'FP16', 'OBEY_PRECISION_CONSTRAINTS'} <= told.flags
        assert told.fp32_layers, 'what is sensitive is held in fp32'
        assert 'progress_monitor' not in told.settings
    else:
        assert not {'FP16', 'OBEY_PRECISION_CONSTRAINTS'} & told.flags
        assert told.network_flags == ({'STRONGLY_TYPED'} if told.version < (11, 0) else set())
        assert told.settings['progress_monitor'] is not None
    assert told.settings.get('builder_optimization_level') == (None if old else 4)
    assert told.settings.get('max_aux_streams') == (None if old else 0)
    assert told.settings.get('PROFILE_SHARING_0806', False) == (told.version == (8, 6))


@every_version
def test_fp32_is_fp32_unless_asked(tensorrt, home):
    if tensorrt.real:
        pytest.skip('the real one does not tell what it was told')
    assert main(['models', 'build', 'fer', '--precision', 'fp32', '--tf32']) == 0
    assert standin.BUILDS[-1].flags == {'TF32'}
    assert sidecars.read(home / 'fer_fp32.engine').options['tf32'] is True
    assert main(['models', 'build', 'fer', '--precision', 'fp32']) == 0
    assert standin.BUILDS[-1].flags == set()


@every_version
def test_precision_lies_in_the_onnx_from_10_on(tensorrt, home):
    assert main(['models', 'build', 'fer']) == 0
    record = sidecars.read(home / 'fer_fp16.engine')
    assert record.strongly_typed == (int(tensorrt.version.split('.')[0]) >= 10)
    if not tensorrt.real:
        from tensorrt_standin.plan import unpack

        onnx = pytest.importorskip('onnx')
        graph = onnx.load_model_from_string(
            unpack((home / 'fer_fp16.engine').read_bytes()).onnx).graph
        halves = [item for item in graph.initializer if item.data_type == 10]
        assert bool(halves) == record.strongly_typed


@every_version
def test_what_was_measured_is_used_again(tensorrt, home, capsys):
    assert main(['models', 'build', 'fer', '--timing-cache', str(home / 'cache')]) == 0
    if tensorrt.real and UNREADABLE in capsys.readouterr().err:
        pytest.skip('this one cannot read its own cache of fer')
    content = (home / 'cache').read_bytes()
    assert content
    assert main(['models', 'build', 'fer', '--timing-cache', str(home / 'cache')]) == 0
    (home / 'cache').write_bytes(b'TIMING of another version')
    assert main(['models', 'build', 'fer', '--timing-cache', str(home / 'cache')]) == 0
    assert (home / 'cache').read_bytes() == content or tensorrt.real
    assert main(['models', 'build', 'fer']) == 0
    assert len(list((home / 'timing').iterdir())) == 1


@pytest.mark.parametrize('tensorrt', ['8.6.0'], indirect=True)
def test_a_timing_cache_that_tensorrt_cannot_read_is_no_error_of_the_build(tensorrt, home):
    if tensorrt.real:
        pytest.skip('needs a cache that the real one cannot read')
    cache = home / 'cache'
    cache.write_bytes(b'TIMING8.6.0 measured' + standin.UNREADABLE)
    progress = BuildProgress()
    options = BuildOptions(timing_cache=cache)
    build(home / 'fer.onnx', home / 'x.engine', options, progress)
    assert progress.errors == []
    assert cache.read_bytes() == b'TIMING8.6.0 measured'


def test_an_engine_is_not_lost_over_a_cache_that_cannot_be_written(tensorrt, home, capsys):
    (home / 'timing').write_text('where a folder should be')
    (home / 'calibration').write_text('where a folder should be')
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 1, 64, 64)).astype(np.float32)
    np.savez(home / 'faces.npz', image=noise)
    way = 'auto' if tensorrt.version.startswith('11') else 'entropy'
    for precision in ('fp16', 'int8'):
        assert main(['models', 'build', 'fer', '--precision', precision, '--force',
                     '--quantization', way, '--calibration-dir', str(home / 'faces.npz')]) == 0
        told = capsys.readouterr().err
        assert f'fer_{precision}.engine: note: the measurements are not kept: cannot' in told or (
            tensorrt.real and UNREADABLE in told)
        assert ('note: the scales are not kept: cannot' in told) == (
            precision == 'int8' and way == 'entropy')
        assert (home / f'fer_{precision}.engine').is_file()


@pytest.mark.parametrize('tensorrt', ['8.6.0'], indirect=True)
def test_a_model_whose_timings_cannot_be_read_back_leaves_the_cache_as_it_is(tensorrt, home):
    if tensorrt.real:
        pytest.skip('needs a model that the real one cannot cache')
    onnx = pytest.importorskip('onnx')
    make, kinds = onnx.helper, onnx.TensorProto
    grid = onnx.numpy_helper.from_array(np.zeros((1, 4, 4, 2), np.float32), 'grid')
    graph = make.make_graph(
        [make.make_node('GridSample', ['image', 'grid'], ['crop'])], 'crops',
        [make.make_tensor_value_info('image', kinds.FLOAT, [1, 1, 8, 8])],
        [make.make_tensor_value_info('crop', kinds.FLOAT, [1, 1, 4, 4])], [grid])
    model = make.make_model(graph, opset_imports=[make.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, home / 'crops.onnx')
    cache = home / 'cache'
    for name in ('fer', 'crops', 'fer'):
        progress = BuildProgress()
        build(home / f'{name}.onnx', home / 'x.engine', BuildOptions(timing_cache=cache), progress)
        assert progress.errors == []
        assert cache.read_bytes() == b'TIMING8.6.0 measured'
    for name in ('fer', 'crops'):
        build(home / f'{name}.onnx', home / 'x.engine', BuildOptions())
    assert [path.name for path in (home / 'timing').iterdir()] == [
        'fer_Stand_in_GPU_8.6.0.cache']


def test_a_dla_that_is_not_there_is_told(tensorrt, home, capsys, monkeypatch):
    if tensorrt.real:
        pytest.skip('depends on the machine')
    one = ['--min-batch', '2', '--opt-batch', '2', '--max-batch', '2']
    assert main(['models', 'build', 'fer', *one, '--dla-core', '0']) == 2
    assert 'this machine has no DLA cores; leave the option out' in capsys.readouterr().err
    monkeypatch.setattr(standin, 'DLA_CORES', 2)
    assert main(['models', 'build', 'fer', *one, '--dla-core', '1']) == 0
    told = standin.BUILDS[-1]
    assert (told.settings['default_device_type'], told.settings['DLA_core']) == ('DLA', 1)
    assert 'GPU_FALLBACK' in told.flags


@up_to_8
def test_what_the_parser_does_not_know_is_named(tensorrt, home, tmp_path, capsys):
    onnx = pytest.importorskip('onnx')
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Relu', ['a'], ['b'], name='fine'),
         onnx.helper.make_node('Landmarks2', ['b'], ['c'], name='crop/eye', domain='mine')],
        'odd', [make('a', 1, ['N', 4])], [make('c', 1, ['N', 4])])
    path = tmp_path / 'odd.onnx'
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[
        onnx.helper.make_opsetid('', 17), onnx.helper.make_opsetid('mine', 1)]), path)
    assert main(['models', 'build', str(path), '--precision', 'fp32']) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert "node 'crop/eye' (Landmarks2)" in err
    assert files(home) == ['blazeface_short.onnx', 'fer.onnx']


@pytest.mark.parametrize(('arguments', 'says'), [
    (['nofer'], 'no model is called "nofer": did you mean fer?'),
    (['emonet_8'], 'run `aitable models fetch emonet_8` and decide on its licence'),
    (['yolov8_face'], 'give the file: aitable models build yolov8n-face.pt'),
    (['nowhere.onnx'], 'nowhere.onnx: no such file'),
    (['text.onnx'], 'text.onnx: not an ONNX file, or cut short'),
    (['text.engine'], 'text.engine cannot be built: give a catalogue name or a .onnx'),
    (['fer', '--max-batch', '0'], 'they must not fall, and begin at 1'),
    (['fer', '--min-batch', '3', '--opt-batch', '2'], 'they must not fall'),
    (['fer', '--builder-level', '9'], '--builder-level 9: give 0 to 5'),
    (['fer', '--dla-core', '0'], '--dla-core goes with fp16 or int8 and one batch size'),
    (['fer', '--precision', 'fp32', '--exclude-from-fp16', 'x'], 'goes with --precision fp16'),
    (['fer', '--exclude-from-fp16', 'Covn'], 'is called "Covn"; did you mean Conv'),
    (['fer', '--precision', 'int8', '--quantization', 'qdq'], 'give --calibration-dir FOLDER'),
    (['fer', '--output', 'x.bin'], 'x.bin: an engine must end in .engine'),
    (['fer', '--output', 'text.onnx/x.engine'], 'cannot write'),
    (['fer', '--device-id', '7'], 'device_id'),
    (['quantised.onnx'], 'is quantised already (QuantizeLinear q): give the fp32 model'),
])
def test_bad_input_is_a_line(tensorrt, home, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    for name in ('text.onnx', 'text.engine'):
        (tmp_path / name).write_text('hello')
    (tmp_path / 'quantised.onnx').write_bytes(quantised().SerializeToString())
    assert main(['models', 'build', *arguments]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in err
    assert [name for name in files(home) if 'engine' in name] == []


def test_an_old_tensorrt_is_told(home, monkeypatch, capsys, tensorrt):
    if tensorrt.real:
        pytest.skip('the real one is new enough')
    import tensorrt as module

    monkeypatch.setattr(module, '__version__', '8.4.3.1')
    assert main(['models', 'build', 'fer']) == 2
    err = capsys.readouterr().err
    assert 'TensorRT 8.4 is too old: 8.5 or newer is needed' in err
    assert 'GridSample' in err


def test_a_failed_build_leaves_the_old_engine(tensorrt, home, monkeypatch, capsys):
    if tensorrt.real:
        pytest.skip('the real one does not fail on demand')
    assert main(['models', 'build', 'fer']) == 0
    before = (home / 'fer_fp16.engine').read_bytes()
    monkeypatch.setattr(standin.Builder, '_problem', lambda *_: (
        '10: [optimizer.cpp::computeCosts::3728] Error Code 10: Internal Error (Could not find any '
        'implementation for node Conv_0.)'))
    assert main(['models', 'build', 'fer']) == 2
    assert ('TensorRT cannot build fer_fp16.engine: Internal Error (Could not find any '
            'implementation for node Conv_0.)') in capsys.readouterr().err
    assert (home / 'fer_fp16.engine').read_bytes() == before
    assert not list(home.glob('.build-*'))


@pytest.mark.parametrize('tensorrt', ['10.3.0'], indirect=True)
def test_a_build_can_be_stopped(tensorrt, home):
    seen = []

    class Stopped(BuildProgress):
        def show(self, name, done, total):
            seen.append((name, done, total))
            if name == 'Tactic Selection':
                self.stop.set()

    with pytest.raises(InputError):
        build(home / 'fer.onnx', home / 'x.engine', BuildOptions(), Stopped())
    assert ('Tactic Selection', 0, 2) in seen
    assert not [name for name in files(home) if 'x.engine' in name]


def test_ctrl_c_is_heard_in_a_build(tensorrt, home, monkeypatch):
    """8.6 cannot be stopped: the thread is left behind, and says so."""
    from aitable_ros.engines import progress as module

    if tensorrt.real:
        pytest.skip('the real one does not hang on demand')
    begun, go = threading.Event(), threading.Event()

    def building(*_):
        begun.set()
        go.wait(20)

    def interrupting():
        begun.wait(20)
        time.sleep(0.05)  # the main thread is on its way into its wait
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(standin.Builder, '_build', building)
    threading.Thread(target=interrupting).start()
    with pytest.raises(KeyboardInterrupt):
        build(home / 'fer.onnx', home / 'x.engine', BuildOptions())
    assert module.left_behind()
    assert not list(home.glob('.build-*'))
    go.set()
    assert all(done.wait(20) for done in module._unfinished)
    assert not module.left_behind()


@pytest.mark.parametrize(('tensorrt', 'quantization'), [
    *((version, 'entropy') for version in VERSIONS[:3]), ('8.6.0', 'qdq'), ('11.4.0.106', 'qdq'),
], indirect=['tensorrt'])
def test_int8_gets_its_name_only_with_a_report(tensorrt, home, tmp_path, capsys, quantization):
    noise = np.random.default_rng(0).uniform(-1, 1, (64, 1, 64, 64)).astype(np.float32)
    np.savez(tmp_path / 'faces.npz', image=noise)
    engine = home / 'fer_int8.engine'
    command = ['models', 'build', 'fer', '--precision', 'int8', '--calibration-dir',
               str(tmp_path / 'faces.npz')]
    command += (['--calibration-cache', str(tmp_path / 'cache')] if quantization == 'entropy'
                else ['--calibration-samples', '8'])
    status = main(command)
    out = capsys.readouterr()
    if status:  # noise is no face: it may fall short, and then says in which figure
        assert 'is not written: failed' in out.err or 'in int8, on the CPU: failed' in out.err
        assert not engine.exists()
        assert main([*command, '--force']) == 0, capsys.readouterr().err
    record = sidecars.read(engine)
    assert record.accuracy['passed'] is (status == 0)
    assert record.forced is (status != 0)
    assert not sidecars.unproven(record)
    assert record.calibration['method'] == {
        'qdq': 'qdq, percentile', 'entropy': 'entropy'}[quantization]
    flagged = tensorrt.version.startswith('8') or quantization == 'entropy'
    assert record.strongly_typed is not flagged
    if quantization == 'entropy':
        assert (tmp_path / 'cache').read_bytes()
    if flagged and not tensorrt.real:
        assert {'INT8', 'FP16'} <= standin.BUILDS[-1].flags


@pytest.mark.parametrize(('quantization', 'remedy'), [
    ('entropy', ', --quantization qdq, use fp16'), ('qdq', ', a higher --spare, use fp16')])
@pytest.mark.parametrize('tensorrt', ['8.6.0'], indirect=True)
def test_an_engine_that_falls_short_gets_no_name(
        tensorrt, home, tmp_path, capsys, monkeypatch, quantization, remedy):
    monkeypatch.setattr(build_module, '_verify', lambda *_: {
        'passed': False, 'verdict': 'failed', 'reasons': ['it is off by 1']})
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 1, 64, 64)).astype(np.float32)
    np.savez(tmp_path / 'faces.npz', image=noise)
    command = ['models', 'build', 'fer', '--precision', 'int8', '--quantization', quantization,
               '--calibration-dir', str(tmp_path / 'faces.npz')]
    engine = home / 'fer_int8.engine'
    engine.write_bytes(b'old')
    assert main(command) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert 'fer_int8.engine is not written: failed: it is off by 1; give it other' in line
    assert remedy in line
    assert engine.read_bytes() == b'old'
    assert main([*command, '--force']) == 0
    assert sidecars.read(engine).forced


@pytest.mark.parametrize(('given', 'version', 'way'), [
    ({}, (8, 5), 'qdq'), ({}, (10, 3), 'qdq'), ({}, (11, 1), 'qdq'),
    ({'quantization': 'entropy'}, (8, 6), 'entropy'), ({'quantization': 'qdq'}, (8, 6), 'qdq'),
    ({'calibration_cache': Path('x')}, (8, 6), 'entropy'),
    ({'calibration_cache': Path('x')}, (10, 3), 'entropy'),
    ({'calibration_cache': Path('x')}, (11, 1), '--calibration-cache: TensorRT 11 has no calibr'),
    ({'quantization': 'entropy'}, (11, 1), '--quantization entropy: TensorRT 11 has no calibr'),
    ({'calibration_cache': Path('x'), 'quantization': 'qdq'}, (8, 6), 'or --quantization qdq and'),
    ({'calibration_cache': Path('x'), 'spare': 3}, (8, 6), 'leave it out, or '),
    ({'quantization': 'entropy', 'spare': 3}, (8, 6), '--spare: TensorRT'),
    ({'dla_core': 0, 'max_batch': 1}, (8, 5), 'entropy'),
    ({'dla_core': 0, 'max_batch': 1}, (10, 3), 'entropy'),
    ({'dla_core': 0, 'max_batch': 1}, (11, 4), 'qdq'),
    ({'dla_core': 0, 'max_batch': 1, 'spare': 3}, (8, 6), 'qdq'),
])
def test_how_int8_is_made(given, version, way):
    options = BuildOptions(precision='int8', **given)
    if way in ('qdq', 'entropy'):
        assert method(options, version) == way
    else:
        with pytest.raises(InputError, match=re.escape(way)):
            method(options, version)


@pytest.mark.parametrize('tensorrt', ['8.6.0'], indirect=True)
def test_calibration_is_fed_and_kept(tensorrt, home, tmp_path, capsys):
    if tensorrt.real:
        pytest.skip('the real one does not tell what it was told')
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 1, 64, 64)).astype(np.float32)
    np.savez(tmp_path / 'faces.npz', image=noise)
    command = ['models', 'build', 'fer', '--precision', 'int8', '--force', '--calibration-dir',
               str(tmp_path / 'faces.npz'), '--calibration-cache', str(tmp_path / 'cache')]
    assert main(command) == 0
    assert standin.BUILDS[-1].calibration == {'batch_size': 8, 'batches': 5, 'cached': False}
    assert 'fer_int8.engine: calibrating (' in capsys.readouterr().err
    assert main(command) == 0
    assert standin.BUILDS[-1].calibration['cached'] is True
    assert tensorrt.gpu.left() == []


@pytest.mark.parametrize('tensorrt', ['8.6.0'], indirect=True)
def test_a_calibration_is_kept_unasked_and_fed_in_batches_whatever_the_engine_takes(
        tensorrt, home, tmp_path, capsys):
    if tensorrt.real:
        pytest.skip('the real one does not tell what it was told')
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 1, 64, 64)).astype(np.float32)
    np.savez(tmp_path / 'faces.npz', image=noise)
    one = ['models', 'build', 'fer', '--precision', 'int8', '--quantization', 'entropy',
           '--max-batch', '1']
    command = [*one, '--force', '--calibration-dir', str(tmp_path / 'faces.npz')]
    for cached in (False, True):
        assert main(command) == 0
        assert standin.BUILDS[-1].calibration == {
            'batch_size': 8, 'batches': 0 if cached else 5, 'cached': cached}
    count = len(standin.BUILDS)
    assert main(one) == 2
    assert 'nothing would show' in capsys.readouterr().err
    assert len(standin.BUILDS) == count, 'told before minutes are spent'
    np.savez(tmp_path / 'faces.npz', image=noise / 2)
    assert main(command) == 0
    assert standin.BUILDS[-1].calibration['cached'] is False


@pytest.mark.parametrize('tensorrt', ['8.5.3.1', '8.6.0'], indirect=True)
def test_pairs_in_the_graph_are_not_held_against_constraints(tensorrt, home, tmp_path, capsys):
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 1, 64, 64)).astype(np.float32)
    np.savez(tmp_path / 'faces.npz', image=noise)
    assert main(['models', 'build', 'fer', '--precision', 'int8', '--quantization', 'qdq',
                 '--calibration-samples', '8', '--force', '--calibration-dir',
                 str(tmp_path / 'faces.npz')]) == 0, capsys.readouterr().err
    if not tensorrt.real:
        assert {'INT8', 'FP16', 'PREFER_PRECISION_CONSTRAINTS'} <= standin.BUILDS[-1].flags


def test_a_graph_that_falls_short_on_the_cpu_is_not_built(tensorrt, home, tmp_path, capsys):
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 1, 64, 64)).astype(np.float32)
    np.savez(tmp_path / 'seen.npz', image=noise)
    np.savez(tmp_path / 'dark.npz', image=noise / 1000)  # so all that is seen is cut off
    command = ['models', 'build', 'fer', '--precision', 'int8', '--quantization', 'qdq',
               '--calibration-dir', str(tmp_path / 'dark.npz'), '--calibration-samples', '8',
               '--verify', str(tmp_path / 'seen.npz')]
    count = len(standin.BUILDS)
    assert main(command) == 2
    line, = capsys.readouterr().err.splitlines()[-1:]
    assert 'its graph, 9 layers of it in int8, on the CPU: failed: expression agreement is ' in line
    assert main([*command, '--spare', '3']) == 2
    assert 'another --spare than 3' in capsys.readouterr().err
    assert len(standin.BUILDS) == count, 'told before minutes are spent'
    assert not (home / 'fer_int8.engine').exists()
    assert main([*command, '--force']) == 0, capsys.readouterr().err
    assert sidecars.read(home / 'fer_int8.engine').forced


def test_all_builds_what_is_there_and_keeps_what_fits(tensorrt, home, capsys, monkeypatch):
    assert main(['models', 'all', '--json']) == 0, capsys.readouterr().err
    rows = {row['model']: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row['state'] for name, row in rows.items()
            if name in ('fer', 'blazeface_short', 'emonet_8', 'yolov8_face')} == {
        'fer': 'built', 'blazeface_short': 'built', 'emonet_8': 'skipped',
        'yolov8_face': 'skipped'}
    assert 'aitable models fetch emonet_8' in rows['emonet_8']['detail']
    stamp = (home / 'fer_fp16.engine').stat().st_mtime_ns
    (home / 'blazeface_short_fp16.engine').write_bytes(b'damaged')
    assert main(['models', 'all', '--json']) == 0
    states = {row['model']: row['state'] for row in json.loads(capsys.readouterr().out)}
    assert (states['fer'], states['blazeface_short']) == ('kept', 'built')
    assert (home / 'fer_fp16.engine').stat().st_mtime_ns == stamp
    assert main(['models', 'all', '--max-batch', '2', '--json']) == 0
    states = {row['model']: row['state'] for row in json.loads(capsys.readouterr().out)}
    assert states['fer'] == 'built', 'other options, another engine'
    monkeypatch.setattr(build_module, 'preparation', lambda: 'edited')
    assert main(['models', 'all', '--max-batch', '2', '--json']) == 0
    states = {row['model']: row['state'] for row in json.loads(capsys.readouterr().out)}
    assert states['fer'] == 'built', 'another preparation, another graph'
    assert main(['models', 'all', '--max-batch', '2', '--rebuild']) == 0
    assert 'built   fer_fp16.engine: fp16, batch 1 to 2' in capsys.readouterr().out


def test_one_that_fails_does_not_stop_the_others(tensorrt, home, tmp_path, capsys):
    (home / 'broken.onnx').write_bytes(b'nothing')
    plan = tmp_path / 'engines.yaml'
    plan.write_text('precision: fp32\nmodels:\n  - broken.onnx\n  - model: fer\n    max_batch: 2\n'
                    '    output: faces.engine\n  - emonet_5\n')
    assert main(['models', 'all', str(plan)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('failed  broken.engine: ')
    assert 'not an ONNX file' in lines[0]
    assert lines[1].startswith('built   faces.engine: fp32, batch 1 to 2')
    assert lines[2].startswith('failed  emonet_5_fp32.engine: ')
    assert 'aitable models fetch emonet_5' in lines[2]
    assert (home / 'faces.engine').is_file()


@pytest.mark.parametrize(('text', 'says'), [
    ('models: 3', 'needs a list of "models:"'),
    ('- fer', 'needs a list of "models:"'),
    ('models: [3]', 'neither a name nor has a "model:"'),
    ('models: [fer]\nprecison: fp16', 'no option is called "precison"; did you mean precision?'),
    ('models: [fer]\nmax_batch: many', "max_batch: 'many' is no int"),
    ('models: [fer]\nsparse: 1', 'sparse: 1 is no bool'),
    ('models: [{model: fer, output: fer.onnx}]', 'output fer.onnx must end in .engine'),
    ('models: [fer', 'no YAML'),
    ('models: [fer]\nprecision: fp8', '--precision fp8: there are fp32, fp16, int8'),
])
def test_a_bad_list_is_told(tmp_path, text, says):
    path = tmp_path / 'engines.yaml'
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(says)):
        of_yaml(path, BuildOptions())


OTHERS = {'facemesh_468', 'emonet_5', 'hsemotion_b0', 'hsemotion_mbf', 'hsemotion_b2'}
"""Models that the shipped configurations do not use."""


@pytest.mark.parametrize(('preset', 'runtime', 'precisions', 'never_named'), [
    ('jetson.yaml', 'tensorrt', ('fp16', 'fp32'), OTHERS),
    ('desktop.yaml', 'tensorrt_rtx', ('fp16',), OTHERS | {'yolov8n-face', 'yolov8n-pose'})])
def test_engines_have_the_names_that_the_shipped_config_looks_for(
    home, preset, runtime, precisions, never_named,
):
    text = (Path(__file__).parent.parent / 'config' / preset).read_text()
    wanted = set(re.findall(r"[^'+]+\.engine", text))
    all_of_it = of_catalogue(BuildOptions(), precisions, runtime)
    assert wanted <= {recipe.engine.name for recipe in all_of_it}
    fp16 = {recipe.engine.name for recipe in all_of_it if recipe.options.precision == 'fp16'}
    unnamed = {re.sub(r'(_fp16|_rtx)?\.engine', '', name) for name in fp16 - wanted}
    assert unnamed == never_named  # what `models all` builds for nobody
    assert engine_path('/somewhere/yolov8n-face.pt', 'fp16') == home / 'yolov8n-face.engine'
    assert engine_path('yolov8_pose', 'fp16') == home / 'yolov8n-pose_fp16.engine'


def test_options_make_the_same_again():
    import argparse

    from aitable_ros.cli import main as _  # noqa: F401
    from aitable_ros.engines.build_options import build_options
    from aitable_ros.engines.command.build import add_build

    parser = argparse.ArgumentParser()
    add_build(parser.add_subparsers())
    for options in (
            BuildOptions(), BuildOptions(precision='fp32', tf32=True, max_batch=8),
            BuildOptions(precision='int8', calibration_dir=Path('/a b'), sparse=True,
                         external_tactics=False, exclude_from_fp16=('Conv_1', 'Gemm*'),
                         dla_core=0, max_batch=1, builder_level=0, aux_streams=0, device_id=1)):
        args = parser.parse_args(['build', 'fer', *options.arguments()])
        assert build_options(args, args.precision) == options


def test_a_tflite_file_is_converted_first(tensorrt, home, tmp_path, models):
    pytest.importorskip('tflite')
    path = tmp_path / 'mine.tflite'
    shutil.copy(models / 'source' / 'face_detection_short_range.tflite', path)
    assert main(['models', 'build', str(path), '--precision', 'fp32']) == 0
    assert sidecars.read(home / 'mine.engine').precision == 'fp32'
    assert onnx_of(str(path))[0].parent == home / 'converted'


class TestYolo:
    """A .pt file, through ultralytics: its stand-in, or where it is installed the real one."""

    @pytest.fixture
    def checkpoint(self, tmp_path):
        """Return a checkpoint beside an .onnx of the user's with the same stem."""
        (tmp_path / 'face.onnx').write_bytes(b"the user's own")
        (tmp_path / 'face.pt').write_bytes(b'weights')
        return tmp_path / 'face.pt'

    @pytest.fixture
    def ultralytics(self, home, monkeypatch):
        """Return what the stand-in was asked; it writes beside the checkpoint, as the real one."""
        asked = []

        class Yolo:
            def __init__(self, model):
                self.path = Path(model)

            def export(self, **options):
                asked.append((self.path.read_bytes(), options,
                              os.environ['YOLO_AUTOINSTALL'], os.environ['YOLO_OFFLINE']))
                print('Ultralytics: exporting')
                if asked[-1][0] == b'broken':
                    raise AttributeError(f'ERROR ❌️ {self.path} is of a fork.\nSee elsewhere.')
                return str(shutil.copy(home / 'fer.onnx', self.path.with_suffix('.onnx')))

        module = ModuleType('ultralytics')
        module.YOLO = Yolo
        module.__spec__ = ModuleSpec('ultralytics', None)
        monkeypatch.setitem(sys.modules, 'ultralytics', module)
        for name in ('AUTOINSTALL', 'OFFLINE', 'VERBOSE'):
            # set, so that what the product sets is taken back; and deleted, for it to set
            monkeypatch.setenv(f'YOLO_{name}', '')
            monkeypatch.delenv(f'YOLO_{name}')
        return asked

    def test_is_exported_once_and_nothing_else_is_touched(
        self, tensorrt, home, checkpoint, ultralytics, capsys,
    ):
        for _ in range(2):
            assert main(
                ['models', 'build', str(checkpoint), '--precision', 'fp32', '--json']) == 0
            assert json.loads(capsys.readouterr().out)['engine'] == str(home / 'face.engine')
        assert ultralytics == [
            (b'weights', {'format': 'onnx', 'opset': 17, 'imgsz': 640, 'dynamic': False},
             'false', 'true')]
        assert checkpoint.with_suffix('.onnx').read_bytes() == b"the user's own"
        assert files(checkpoint.parent)[:2] == ['face.onnx', 'face.pt']
        assert (home / 'face.engine').is_file()

    def test_what_it_cannot_export_is_a_line(
        self, tensorrt, home, checkpoint, ultralytics, capsys,
    ):
        checkpoint.write_bytes(b'broken')
        assert main(['models', 'build', str(checkpoint)]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            f'aitable models: {checkpoint}: ultralytics cannot export it: face.pt is of a fork; '
            'update ultralytics, or export it where it was trained and give the .onnx')

    def test_one_that_cannot_be_imported_is_a_line(
        self, tensorrt, home, checkpoint, ultralytics, monkeypatch, capsys,
    ):
        """As with OpenCV's GUI on a machine without libGL."""
        monkeypatch.delattr(sys.modules['ultralytics'], 'YOLO')
        assert main(['models', 'build', str(checkpoint)]) == 2
        assert 'face.pt: ultralytics cannot export it: cannot import' in capsys.readouterr().err

    @pytest.mark.parametrize('missing', ['ultralytics', 'onnx'])
    def test_what_is_missing_is_named(
        self, tensorrt, home, checkpoint, ultralytics, monkeypatch, capsys, missing,
    ):
        monkeypatch.setattr(sources, 'find_spec', lambda name: None if name == missing else name)
        assert main(['models', 'build', str(checkpoint)]) == 2
        says = f'face.pt needs {missing} (ultralytics is AGPL-3.0, your decision): pip install'
        assert says in capsys.readouterr().err
        assert not ultralytics

    def test_one_that_cannot_be_read_is_a_line(
        self, tensorrt, home, checkpoint, monkeypatch, capsys,
    ):
        def refuse(path):
            raise PermissionError(13, 'Permission denied')

        monkeypatch.setattr(Path, 'read_bytes', refuse)
        assert main(['models', 'build', str(checkpoint)]) == 2
        assert f'cannot read {checkpoint}: Permission denied' in capsys.readouterr().err

    @pytest.fixture
    def real(self, monkeypatch):
        """Return the real one; it reads what it may do when it is imported first."""
        monkeypatch.setenv('YOLO_AUTOINSTALL', 'false')
        monkeypatch.setenv('YOLO_OFFLINE', 'true')
        return pytest.importorskip('ultralytics')

    @pytest.mark.parametrize('content', [b'', b'<html>404</html>'])
    def test_the_real_one_of_what_is_no_checkpoint(
        self, tensorrt, home, tmp_path, capsys, real, content,
    ):
        path = tmp_path / 'odd (1)?.PT'
        path.write_bytes(content)
        assert main(['models', 'build', str(path)]) == 2
        shown = capsys.readouterr().err.splitlines()[-1]
        assert shown.startswith(f'aitable models: {path}: ultralytics cannot export it: ')
        assert shown.endswith('and give the .onnx')
        assert not (home / 'converted').exists()

    def test_the_real_one(self, tensorrt, home, tmp_path, real):
        """An untrained network of the shape that finds faces, so only its numbers count."""
        plan = tmp_path / 'yolov8n-face.yaml'
        source = yaml.safe_load(
            (Path(real.__file__).parent / 'cfg/models/v8/yolov8-pose.yaml').read_text())
        plan.write_text(yaml.safe_dump({**source, 'nc': 1, 'kpt_shape': [5, 3]}))
        path = tmp_path / 'yolov8n-face.pt'
        real.YOLO(str(plan)).save(str(path))
        assert main(['models', 'build', str(path), '--precision', 'fp32']) == 0
        made = onnx_of(str(path))[0]
        wanted, got = both(made, home / 'yolov8n-face.engine', 1)
        assert [value.shape for value in wanted.values()] == [(1, 20, 8400)]
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, atol=1e-3 * np.abs(value).max())
        with OnnxRuntimeBackend(made) as backend:
            assert Yolov8Face.fits(backend)


def test_an_engine_whose_outputs_are_no_numbers_is_not_written(tensorrt, home, tmp_path, capsys):
    """The logarithm of something negative; in use it is fp16 that overflows."""
    onnx = pytest.importorskip('onnx')
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Neg', ['image'], ['a'], name='first'),
         onnx.helper.make_node('Log', ['a'], ['b'], name='second')],
        'odd', [make('image', 1, ['N', 3, 8, 8])], [make('b', 1, ['N', 3, 8, 8])])
    path = tmp_path / 'odd.onnx'
    onnx.save(onnx.helper.make_model(
        graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid('', 17)]), path)
    assert main(['models', 'build', str(path)]) == 2
    assert "its output 'b' is no number in fp16; name what overflows" in capsys.readouterr().err
    assert not (home / 'odd.engine').exists()
    assert main(['models', 'build', str(path), '--force']) == 0


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize(('name', 'precision', 'tolerance'), [
    ('facemesh', 'fp32', {'landmarks': 0.02, 'presence': 0.01}),
    ('facemesh', 'fp16', {'landmarks': 0.5, 'presence': 0.1}),
    ('facemesh_468', 'fp16', {'landmarks': 0.5, 'presence': 0.1}),
    ('blazeface_short', 'fp32', {'boxes': 0.02, 'scores': 0.02}),
    ('blazeface_short', 'fp16', {'boxes': 1, 'scores': 1}),
    ('blazeface_full', 'fp16', {'boxes': 1, 'scores': 1}),
])
def test_real_engines_say_what_onnx_runtime_says(
        tensorrt, home, models, capsys, name, precision, tolerance):
    """Pixels of the network's input, and logits; on noise, which is harder than faces."""
    shutil.copy(models / f'{name}.onnx', home)
    if (models / 'timing').is_dir():  # minutes less
        shutil.copytree(models / 'timing', home / 'timing')
    assert main(['models', 'build', name, '--precision', precision]) == 0, capsys.readouterr().err
    for batch in (1, 4):
        wanted, got = both(home / f'{name}.onnx', engine_path(name, precision), batch)
        for output, most in tolerance.items():
            assert np.abs(got[output] - wanted[output]).max() <= most, output
