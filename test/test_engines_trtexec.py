# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Building through trtexec: a program that takes only what trtexec of its version takes.

The options of each version were read out of trtexec's source (tags 8.5.3, 8.6.1, 10.3.0 and 11.1 of
NVIDIA/TensorRT: samples/common/sampleOptions.cpp), its banner and its errors out of real logs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import stat
import subprocess
import sys
import time

import numpy as np
from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.graph.builder_input import BuilderInput
from aitable_ros.engines.trtexec import arguments, find_trtexec, TrtexecToolchain
from aitable_ros.errors import InputError
from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference.tensorrt_version import trtexec_version

ROOT = Path(__file__).resolve().parent.parent

COMMON = {'onnx', 'saveEngine', 'minShapes', 'optShapes', 'maxShapes', 'memPoolSize', 'noTF32',
          'timingCacheFile', 'useDLACore', 'allowGPUFallback', 'sparsity', 'profilingVerbosity',
          'device', 'verbose', 'help', 'preview'}
WEAK = {'fp16', 'int8', 'calib', 'precisionConstraints', 'layerPrecisions', 'layerOutputTypes'}
KNOWN = {
    '8.5': COMMON | WEAK | {'buildOnly', 'workspace'},
    '8.6': COMMON | WEAK | {'buildOnly', 'skipInference', 'workspace', 'builderOptimizationLevel',
                            'maxAuxStreams'},
    '10.3': COMMON | WEAK | {'skipInference', 'stronglyTyped', 'builderOptimizationLevel',
                             'maxAuxStreams'},
    '11.1': COMMON | {'skipInference', 'stronglyTyped', 'builderOptimizationLevel',
                      'maxAuxStreams'},
}
BANNER = {'8.4': 'v8403', '8.5': 'v8503', '8.6': 'v8601', '10.3': 'v100300', '11.1': 'v110100'}
# with a value, or without
VALUED = COMMON - {'noTF32', 'allowGPUFallback', 'verbose', 'help'} | {
    'calib', 'precisionConstraints', 'layerPrecisions', 'layerOutputTypes', 'workspace',
    'builderOptimizationLevel', 'maxAuxStreams'}

# A "#!" line holds no path with a blank: sh reads the second line as a command, Python as a string.
FAKE = """#!/bin/sh
'''exec' "{python}" "$0" "$@" #'''
import json, os, sys, time
print('&&&& RUNNING TensorRT.trtexec [TensorRT {banner}] # ' + ' '.join(sys.argv))
known, valued = set({known!r}), set({valued!r})
given = {{}}
for word in sys.argv[1:]:
    name, equals, value = word.removeprefix('--').partition('=')
    if not word.startswith('--') or name not in known or bool(equals) != (name in valued):
        print('[11/21/2026-10:00:00] [E] Unknown option: ' + word)
        print('=== Model Options ===')
        print('&&&& FAILED TensorRT.trtexec [TensorRT {banner}] # ' + ' '.join(sys.argv))
        sys.exit(1)
    given[name] = value
if 'help' in given:
    sys.exit(0)
with open(os.environ['FAKE_TRTEXEC_LOG'], 'w') as log:
    json.dump(given, log)
if os.environ.get('FAKE_TRTEXEC_FAILS'):
    print('[11/21/2026-10:00:00] [I] Start parsing network model.')
    print('[11/21/2026-10:00:01] [E] Error[2]: [builder.cpp::buildSerializedNetwork::751] Error '
          'Code 2: Internal Error (Assertion engine != nullptr failed. )')
    print('[11/21/2026-10:00:01] [E] Engine could not be created from network')
    sys.exit(1)
if os.environ.get('FAKE_TRTEXEC_HANGS'):
    open(given['saveEngine'], 'wb').write(b'half')
    print('[I] Building', flush=True)
    time.sleep(60)
assert open(given['onnx'], 'rb').read(1)
open(given['saveEngine'], 'wb').write(b'ftrt' + os.urandom(2000))
print('&&&& PASSED TensorRT.trtexec [TensorRT {banner}]')
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Return a function that makes a trtexec of some version; it writes down what it was told."""
    log = tmp_path / 'trtexec.json'
    monkeypatch.setenv('FAKE_TRTEXEC_LOG', str(log))
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path / 'home'))

    def make(version):
        path = tmp_path / 'bin with blank' / 'trtexec'
        path.parent.mkdir(exist_ok=True)
        path.write_text(FAKE.format(
            python=sys.executable, banner=BANNER[version],
            known=sorted(KNOWN.get(version, COMMON)), valued=sorted(VALUED)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    make.told = lambda: json.loads(log.read_text())
    return make


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """Return a small model with an open batch: two convolutions and a ReLU."""
    onnx = pytest.importorskip('onnx')
    noise = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(noise.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in (('w1', (4, 3, 3, 3)), ('w2', (2, 4, 1, 1)))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Conv', ['image', 'w1'], ['a'], name='first', pads=[1, 1, 1, 1]),
         onnx.helper.make_node('Relu', ['a'], ['b'], name='relu'),
         onnx.helper.make_node('Conv', ['b', 'w2'], ['out'], name='second')],
        'small',
        [onnx.helper.make_tensor_value_info('image', 1, ['N', 3, 8, 8])],
        [onnx.helper.make_tensor_value_info('out', 1, ['N', 2, 8, 8])], weights)
    path = tmp_path_factory.mktemp('models') / 'small.onnx'
    onnx.save(onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=8), path)
    return path


ALL = ['--min-batch', '3', '--opt-batch', '3', '--max-batch', '3', '--workspace-mib', '512',
       '--sparse', '--dla-core', '1', '--device-id', '2']


@pytest.mark.parametrize(('version', 'options', 'told', 'not_told'), [
    ('8.5', ['--precision', 'fp32'], {'noTF32': '', 'buildOnly': '',
                                      'minShapes': 'image:1x3x8x8', 'maxShapes': 'image:4x3x8x8'},
     {'fp16', 'skipInference', 'stronglyTyped', 'memPoolSize'}),
    ('8.5', ['--precision', 'fp16', *ALL],
     {'fp16': '', 'memPoolSize': 'workspace:512', 'sparsity': 'enable', 'useDLACore': '1',
      'allowGPUFallback': '', 'device': '2', 'minShapes': 'image:3x3x8x8',
      'optShapes': 'image:3x3x8x8', 'maxShapes': 'image:3x3x8x8'},
     {'workspace', 'stronglyTyped'}),
    ('8.6', ['--precision', 'fp32', '--opt-batch', '2', '--max-batch', '3'],
     {'minShapes': 'image:1x3x8x8', 'optShapes': 'image:2x3x8x8', 'maxShapes': 'image:3x3x8x8'},
     {'memPoolSize'}),
    ('8.6', ['--precision', 'fp16', '--builder-level', '5', '--aux-streams', '0', '--tf32',
             '--exclude-from-fp16', 'first'],
     {'fp16': '', 'builderOptimizationLevel': '5', 'maxAuxStreams': '0', 'skipInference': '',
      'precisionConstraints': 'obey', 'preview': '+profileSharing0806'},
     {'noTF32', 'buildOnly'}),
    ('10.3', ['--precision', 'fp16', '--builder-level', '2', '--workspace-mib', '64'],
     {'stronglyTyped': '', 'builderOptimizationLevel': '2', 'memPoolSize': 'workspace:64',
      'noTF32': ''}, {'fp16', 'precisionConstraints'}),
    ('11.1', ['--precision', 'fp16', '--sparse'], {'sparsity': 'enable', 'skipInference': ''},
     {'fp16', 'stronglyTyped'}),
])
def test_each_version_is_told_what_it_knows(
        fake, small, tmp_path, capsys, version, options, told, not_told):
    program = fake(version)
    engine = tmp_path / 'out' / 'small.engine'
    assert main(['models', 'build', str(small), '--output', str(engine), '--json', '--trtexec',
                 str(program), *options]) == 0, capsys.readouterr().err
    said = fake.told()
    assert told.items() <= said.items()
    assert not not_told & said.keys()
    report = json.loads(capsys.readouterr().out)
    record = sidecars.read(engine)
    assert record is not None
    assert (report['built_with'], report['tensorrt']) == ('trtexec', version)
    assert record.built_with == 'trtexec'
    assert record.strongly_typed == ('stronglyTyped' in said or version == '11.1')
    assert not sidecars.damage(record, engine.read_bytes())
    assert sorted(path.name for path in engine.parent.iterdir()) == [
        'small.engine', 'small.engine.json']
    if '--exclude-from-fp16' in options:
        assert 'first:fp32' in said['layerPrecisions'].split(',')
        assert said['layerPrecisions'] == said['layerOutputTypes']


def test_a_timing_cache_is_passed_on(fake, small, tmp_path):
    cache = tmp_path / 'a cache.bin'
    assert main(['models', 'build', str(small), '--timing-cache', str(cache), '--trtexec',
                 str(fake('8.6'))]) == 0
    assert fake.told()['timingCacheFile'] == str(cache)


@pytest.mark.parametrize(('version', 'options', 'says'), [
    ('8.4', [], 'TensorRT 8.4 is too old: 8.5 or newer is needed'),
    ('8.5', ['--builder-level', '5'], '--builder-level needs TensorRT 8.6'),
    ('8.5', ['--aux-streams', '1'], '--aux-streams needs TensorRT 8.6'),
    ('8.6', ['--precision', 'int8', '--quantization', 'entropy'], 'trtexec does not calibrate'),
    ('8.6', ['--precision', 'int8'], 'give --calibration-dir'),
    ('11.1', ['--precision', 'int8', '--quantization', 'entropy'], 'has no calibrator'),
    ('11.1', ['--precision', 'int8'], 'give --calibration-dir'),
    ('8.6', ['--exclude-from-fp16', 'frist'], 'no node or operator is called "frist"; '
     'did you mean first'),
])
def test_what_cannot_be_is_told_in_a_line(fake, small, tmp_path, capsys, version, options, says):
    engine = tmp_path / 'x.engine'
    assert main(['models', 'build', str(small), '--output', str(engine), '--trtexec',
                 str(fake(version)), *options]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in err
    assert not engine.exists()


def test_its_own_error_is_quoted_and_nothing_is_left(fake, small, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('FAKE_TRTEXEC_FAILS', '1')
    engine = tmp_path / 'out' / 'x.engine'
    engine.parent.mkdir()
    engine.write_bytes(b'old')
    assert main(['models', 'build', str(small), '--output', str(engine), '--trtexec',
                 str(fake('8.6'))]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'trtexec cannot build x.engine: Error[2]: [builder.cpp' in err
    assert [(path.name, path.read_bytes()) for path in engine.parent.iterdir()] == [
        ('x.engine', b'old')]


def test_ctrl_c_ends_it_and_leaves_nothing(fake, small, tmp_path, monkeypatch):
    monkeypatch.setenv('FAKE_TRTEXEC_HANGS', '1')
    out = tmp_path / 'out'
    child = subprocess.Popen(
        [sys.executable, '-m', 'aitable_ros', 'models', 'build', str(small), '--output',
         str(out / 'x.engine'), '--trtexec', str(fake('10.3'))],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    deadline = time.monotonic() + PATIENT_S
    while not list(out.glob('.build-*/x.engine')):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENT_S) == 130
    assert 'interrupted' in child.stderr.read()
    assert list(out.iterdir()) == []


def test_int8_is_not_named_where_nothing_can_prove_it(fake, small, tmp_path, capsys):
    """There is a calibration cache, but trtexec alone cannot compare with the ONNX."""
    from aitable_ros.engines.calibrator import CalibrationBatches
    from aitable_ros.engines.graph.builder_input import make_builder_input
    from aitable_ros.engines.progress import BuildProgress

    cache = tmp_path / 'calibration.cache'
    ready = make_builder_input(small, BuildOptions(precision='fp16'), (8, 6), BuildProgress())
    images = np.zeros((4, 3, 8, 8), np.float32)
    np.savez(tmp_path / 'inputs.npz', image=images)
    from aitable_ros.engines.model_inputs import collect_inputs

    CalibrationBatches(collect_inputs(small, tmp_path / 'inputs.npz', 4), 4, ready.sha256,
                       cache).write_cache(b'TRT-8601-EntropyCalibration2\n')
    command = ['models', 'build', str(small), '--output', str(tmp_path / 'x.engine'), '--precision',
               'int8', '--calibration-cache', str(cache), '--trtexec', str(fake('8.6'))]
    assert main(command) == 2
    assert ('nothing would show that int8 is still accurate enough (trtexec alone cannot run it '
            'here)' in capsys.readouterr().err)
    assert not (tmp_path / 'x.engine').exists()
    assert main([*command, '--force']) == 0
    assert fake.told()['calib'] == str(cache)
    assert fake.told()['int8'] == ''
    record = sidecars.read(tmp_path / 'x.engine')
    assert (record.forced, record.calibration['method']) == (True, 'entropy')


def test_it_is_found_where_nvidia_puts_it(fake, tmp_path, monkeypatch):
    from aitable_ros.engines import trtexec

    program = fake('8.5')
    monkeypatch.setenv('PATH', str(program.parent))
    assert find_trtexec() == program
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(trtexec, 'PLACES', (tmp_path / 'no' / 'trtexec', program))
    assert find_trtexec() == program
    monkeypatch.setattr(trtexec, 'PLACES', ())
    assert find_trtexec() is None
    with pytest.raises(InputError, match='no such program'):
        find_trtexec(tmp_path / 'nowhere')


@pytest.mark.parametrize(('banner', 'version'), [
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v8503] # trtexec', (8, 5)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec', (8, 6)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec', (10, 3)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v101303] [b9] # trtexec', (10, 13)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106] # trtexec', (11, 1)),
    ('usage: something else', None),
])
def test_the_banner_tells_the_version(banner, version):
    assert trtexec_version(banner) == version


def test_a_program_that_is_none_is_told(tmp_path):
    program = tmp_path / 'trtexec'
    program.write_text('#!/bin/sh\necho error while loading shared libraries: libnvinfer.so.8 >&2\n'
                       'exit 127\n')
    program.chmod(0o755)
    with pytest.raises(InputError, match='does not tell its version: error while loading shared'):
        TrtexecToolchain(program)


def test_a_layer_that_the_option_cannot_name_is_refused():
    prepared = BuilderInput(name='', content=b'', source_sha256='', nodes=[], inputs={},
                        batches=(1, 1, 1), typed=False, fp32_nodes=('a:0',))
    with pytest.raises(InputError, match="cannot take the layer name 'a:0'"):
        arguments((8, 6), prepared, Path('a'), Path('b'), BuildOptions())
