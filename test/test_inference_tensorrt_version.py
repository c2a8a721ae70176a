# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The version switches, against the surface of 8.5, 8.6, 10.3 and 11.4.

The stand-ins have the names that the real bindings have and fail on every other, and complain of
what the real builder complains of. On a GPU machine the same runs against its TensorRT.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
import subprocess

import numpy as np
import pytest
from tensorrt_standin import builder as standin
from tensorrt_standin.surface import StandInError, SURFACES, VERSIONS

from aitable_ros.errors import InputError
from aitable_ros.inference import tensorrt_version as versions
from aitable_ros.inference.cuda import primary_context
from aitable_ros.inference.tensorrt_callbacks import set_calibrator, set_progress
from aitable_ros.inference.tensorrt_log import logger

every_version = pytest.mark.parametrize('tensorrt', SURFACES, indirect=True)


@pytest.fixture
def graph():
    """Return an ONNX file with a convolution, a shape and an integer in it."""
    onnx = pytest.importorskip('onnx')
    make = onnx.helper.make_tensor_value_info
    weight = onnx.numpy_helper.from_array(
        np.random.default_rng(0).normal(0, 1, (2, 3, 1, 1)).astype(np.float32), 'w')
    nodes = [
        onnx.helper.make_node('Conv', ['image', 'w'], ['a'], name='conv'),
        onnx.helper.make_node('Shape', ['image'], ['s'], name='shape'),
        onnx.helper.make_node('Exp', ['a'], ['out'], name='exp')]
    return onnx.helper.make_model(
        onnx.helper.make_graph(nodes, 'g', [make('image', 1, ['N', 3, 4, 4])],
                               [make('out', 1, ['N', 2, 4, 4]), make('s', 7, [4])], [weight]),
        ir_version=8, opset_imports=[onnx.helper.make_opsetid('', 17)]).SerializeToString()


class Workshop:
    """A network and a config, with the GPU current."""

    def __init__(self, content, typed=False):
        import tensorrt

        self.builder = tensorrt.Builder(logger())
        self.network = self.builder.create_network(versions.network_flags(typed))
        self.parser = tensorrt.OnnxParser(self.network, logger())
        assert self.parser.parse(content)
        self.config = self.builder.create_builder_config()
        profile = self.builder.create_optimization_profile()
        profile.set_shape('image', (1, 3, 4, 4), (1, 3, 4, 4), (2, 3, 4, 4))
        self.profile = profile
        self.config.add_optimization_profile(profile)
        versions.set_tactics(self.config, versions.external_tactics())

    def build(self):
        return self.builder.build_serialized_network(self.network, self.config)


@every_version
def test_everything_that_a_version_has_is_set_and_builds(tensorrt, graph):
    with primary_context():
        here = versions.trt_version()
        typed = versions.typed_by_onnx(here)
        shop = Workshop(graph, typed)
        versions.set_precision(shop.config, 'fp16', typed=typed, tf32=False)
        versions.set_workspace(shop.config, 64)
        versions.set_sparse(shop.config)
        versions.set_detailed(shop.config)
        versions.share_profile(shop.config)
        assert versions.set_timing_cache(shop.config, b'')
        if here >= (8, 6):
            versions.set_builder_level(shop.config, 1)
            versions.set_aux_streams(shop.config, 0)
        if not typed:
            # an integer's precision cannot be set: TensorRT rejects the network
            assert versions.keep_fp32(shop.network, shop.config, ['exp', 'shape']) == 1
        plan = shop.build()
        assert plan is not None
        assert bytes(plan)
        assert versions.timing_cache(shop.config)
    assert here == versions.parse_version(tensorrt.version)
    if not tensorrt.real:
        told = standin.BUILDS[-1]
        assert told.settings['WORKSPACE'] == 64 << 20
        assert told.settings['tactic_sources'] == {'EDGE_MASK_CONVOLUTIONS', 'JIT_CONVOLUTIONS'}
        assert told.fp32_layers == ([] if typed else ['exp'])
        assert told.flags == {'SPARSE_WEIGHTS'} | (
            set() if typed else {'FP16', 'OBEY_PRECISION_CONSTRAINTS'})


@every_version
@pytest.mark.parametrize(('precision', 'flags'), [
    ('fp32', set()), ('fp16', {'FP16'}), ('int8', {'FP16', 'INT8'})])
def test_flags_say_the_precision_only_where_there_are_flags(tensorrt, graph, precision, flags):
    import tensorrt as module

    typed = versions.typed_by_onnx(versions.trt_version())
    with primary_context():
        shop = Workshop(graph, typed)
        versions.set_precision(shop.config, precision, typed=typed, tf32=False)
        known = [name for name in ('FP16', 'INT8') if name in module.BuilderFlag.__members__]
        assert known or versions.trt_version() >= (11, 0)
        assert {name for name in known if shop.config.get_flag(
            getattr(module.BuilderFlag, name))} == (set() if typed else flags)
        assert not shop.config.get_flag(module.BuilderFlag.TF32)
        versions.set_precision(shop.config, precision, typed=typed, tf32=True)
        assert shop.config.get_flag(module.BuilderFlag.TF32)


@pytest.mark.parametrize('tensorrt', VERSIONS[:1], indirect=True)
@pytest.mark.parametrize(('setter', 'option'), [
    (versions.set_builder_level, '--builder-level'), (versions.set_aux_streams, '--aux-streams')])
def test_what_8_5_has_not_is_refused_by_name(tensorrt, setter, option):
    setter(None, None)
    with pytest.raises(InputError, match=f'{option} needs TensorRT 8.6, and this is 8.5'):
        setter(None, 1)


@every_version
def test_progress_is_told_from_10_on(tensorrt, graph):
    seen = []

    class Listener:
        def phase(self, name, done, total):
            seen.append((name, done, total))
            return True

    with primary_context():
        shop = Workshop(graph, versions.typed_by_onnx(versions.trt_version()))
        told = set_progress(shop.config, Listener())
        assert shop.build() is not None
    assert told == (versions.trt_version() >= (10, 0))
    assert bool(seen) == told
    assert all(done <= total for _, done, total in seen if total)


@every_version
def test_a_calibrator_is_fed_up_to_10(tensorrt, graph):
    class Batches:
        batch_size = 2
        cache = None
        left = 3

        def next_batch(self, names):
            assert names == ['image']
            self.left -= 1
            return [memory.address] if self.left >= 0 else None

        def read_cache(self):
            return self.cache

        def write_cache(self, content):
            self.cache = content

    batches = Batches()
    with primary_context() as device:
        if versions.trt_version() >= (11, 0):
            with pytest.raises(InputError, match='TensorRT 11 has no calibrator'):
                set_calibrator(None, batches, None)
            return
        images = np.random.default_rng(0).uniform(0, 1, (2, 3, 4, 4)).astype(np.float32)
        memory, pinned = device.allocate(images.nbytes), device.pin(images.nbytes)
        stream = device.stream()
        pinned.array[:] = images.reshape(-1).view(np.uint8)
        device.upload(memory, pinned, images.nbytes, stream)
        device.wait(stream)
        shop = Workshop(graph)
        versions.set_precision(shop.config, 'int8', typed=False, tf32=False)
        profile = shop.builder.create_optimization_profile()
        profile.set_shape('image', *[(2, 3, 4, 4)] * 3)
        calibrator = set_calibrator(shop.config, batches, profile)
        assert shop.build() is not None
        assert calibrator.error is None
        assert batches.left < 0
        assert batches.cache
        for item in (memory, pinned, stream):
            device.free(item)


@pytest.mark.parametrize('tensorrt', VERSIONS[:1], indirect=True)
def test_an_error_in_a_callback_is_kept(tensorrt, graph):
    if tensorrt.real:
        pytest.skip('the real one is not made to fail')

    class Broken:
        batch_size = 1

        def next_batch(self, names):
            raise InputError('no more pictures')

        def read_cache(self):
            return None

        def write_cache(self, content):
            pass

    with primary_context():
        shop = Workshop(graph)
        versions.set_precision(shop.config, 'int8', typed=False, tf32=False)
        calibrator = set_calibrator(shop.config, Broken(), shop.profile)
        assert shop.build() is None
    assert str(calibrator.error) == 'no more pictures'


@every_version
def test_another_version_s_timing_cache_is_left(tensorrt, graph):
    if tensorrt.real:
        pytest.skip('needs a cache of another version')
    with primary_context():
        shop = Workshop(graph, versions.typed_by_onnx(versions.trt_version()))
        assert not versions.set_timing_cache(shop.config, b'TIMING9.9.9 measured')
        assert shop.build() is not None
        assert versions.set_timing_cache(shop.config, versions.timing_cache(shop.config))


@pytest.mark.parametrize('tensorrt', VERSIONS[:2], indirect=True)
def test_errors_name_node_and_operator(tensorrt):
    onnx = pytest.importorskip('onnx')
    import tensorrt as module

    make = onnx.helper.make_tensor_value_info
    content = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node('Crop', ['a'], ['b'], name='eye', domain='mine')], 'g',
            [make('a', 1, [1, 4])], [make('b', 1, [1, 4])]),
        ir_version=8, opset_imports=[onnx.helper.make_opsetid('', 17),
                                     onnx.helper.make_opsetid('mine', 1)]).SerializeToString()
    with primary_context():
        builder = module.Builder(logger())
        parser = module.OnnxParser(builder.create_network(versions.network_flags(
            versions.typed_by_onnx(versions.trt_version()))), logger())
        assert not parser.parse(content)
        lines = list(versions.parser_errors(parser, [('eye', 'Crop')]))
    assert any("'eye' (Crop)" in line for line in lines)
    assert all('\n' not in line for line in lines)


def test_a_library_in_name_only_is_not_used(tmp_path):
    """The GPU machine of ours has such stand-ins of cuBLAS and cuDNN for TensorRT's loader."""
    assert not versions._answers('libnothere.so.1', 'x')
    assert not versions._answers('libc.so.6', 'cublasGetProperty')
    source = tmp_path / 'stub.c'
    source.write_text('void cublasGetProperty(void){}\n'
                      'int good(int which, int *value) { *value = 12 - which; return 0; }\n')
    library = tmp_path / 'libstub.so'
    try:
        subprocess.run(['gcc', '-shared', '-fPIC', '-o', library, source], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('no C compiler here')
    ctypes.CDLL(str(library))
    assert not versions._answers(str(library), 'cublasGetProperty')
    assert versions._answers(str(library), 'good')


@pytest.mark.parametrize(('tensorrt', 'usable', 'sources'), [
    (version, usable, sources) for version in VERSIONS[:2] for usable, sources in (
        (True, {'CUBLAS', 'CUBLAS_LT', 'CUDNN'}), (False, set()))], indirect=['tensorrt'])
def test_external_tactics_are_left_where_they_load(tensorrt, graph, monkeypatch, usable, sources):
    if tensorrt.real:
        pytest.skip('depends on the machine')
    monkeypatch.setattr(versions, '_answers', lambda *_: usable)
    with primary_context():
        shop = Workshop(graph)
        assert set(versions.external_tactics()) == {'CUBLAS', 'CUBLAS_LT', 'CUDNN'}
        assert not any(versions.external_tactics(allowed=False).values())
        if usable:  # the stand-in has no such libraries, and says that it would load them
            with pytest.raises(StandInError, match='CUBLAS'):
                shop.build()
        else:
            assert shop.build() is not None
    assert standin.BUILDS[-1].settings['tactic_sources'] == sources | {
        'EDGE_MASK_CONVOLUTIONS', 'JIT_CONVOLUTIONS'}


@pytest.mark.parametrize(('text', 'version'), [
    ('8.5.2.2', (8, 5)), ('8.6.0', (8, 6)), ('10.3.0.26', (10, 3)), ('11.4.0.106', (11, 4))])
def test_versions_are_read(text, version):
    assert versions.check_version(versions.parse_version(text)) == version


def test_what_is_no_version_or_too_old_is_told():
    with pytest.raises(InputError, match='which is not a number'):
        versions.parse_version('unknown')
    with pytest.raises(InputError, match=r'TensorRT 8\.4 is too old'):
        versions.check_version((8, 4))


def test_nobody_else_asks_for_a_version():
    package = Path(versions.__file__).parent.parent
    allowed = {'inference/tensorrt_version.py', 'inference/sidecar.py'}
    for path in package.rglob('*.py'):
        name = path.relative_to(package).as_posix()
        text = path.read_text(encoding='utf-8')
        if name not in allowed:
            assert 'tensorrt.__version__' not in text, name
            assert 'EXPLICIT_BATCH' not in text, name
            assert 'STRONGLY_TYPED' not in text, name
