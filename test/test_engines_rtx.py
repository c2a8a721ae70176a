# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
What TensorRT for RTX makes of our graphs: its real parser and builder, which need no GPU.

Its network is strongly typed, as that of TensorRT from 10 on, and it comes from the same parser: so
this is also where the graphs that `build` makes for those versions meet a real one in every run.
"""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path
import re
import shutil

import emonet_seeded
import numpy as np
import pytest
import yolov8_seeded

from aitable_ros.cli import main
from aitable_ros.engines.build import build
from aitable_ros.engines.build_options import BuildOptions
from aitable_ros.engines.progress import BuildProgress
from aitable_ros.engines.tensorrt_rtx import RtxToolchain
from aitable_ros.engines.toolchain import toolchain
from aitable_ros.errors import InputError
from aitable_ros.inference import sidecar as sidecars
from aitable_ros.inference.tensorrt_layers import logged_layers
from aitable_ros.inference.tensorrt_library import RTX

pytestmark = pytest.mark.skipif(
    not RTX.package, reason='TensorRT for RTX is not installed here: its wheels are for Linux '
    'x86-64 with glibc 2.28 or newer')
CATALOGUE = ('blazeface_short', 'blazeface_full', 'facemesh', 'facemesh_468', 'fer',
             'blazepose_detector', 'blazepose')
ARITHMETIC = ('correlation', 'runtime_fusion', 'gemm')
"""The builder's words for convolutions, those with what follows fused, and products."""
SEEDED = {
    'emonet_8': lambda: emonet_seeded.to_onnx(emonet_seeded.state(8, narrow=8)),
    **{f'yolov8, {layout}': lambda layout=layout: yolov8_seeded.to_onnx(layout)
       for layout in ('boxes', 'joints', 'joints end to end')}}  # the others are parts of these


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    """Return a models' folder with the ONNX of two models in it."""
    folder = tmp_path / 'home'
    folder.mkdir()
    for name in ('fer', 'blazeface_short'):
        shutil.copy(models / f'{name}.onnx', folder)
    monkeypatch.setenv('AITABLE_MODELS', str(folder))
    return folder


class Told(BuildProgress):
    """Keeps what the builder logs."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def log(self, level: str, text: str) -> None:
        super().log(level, text)
        self.texts.append(text)


def graph(name: str, models: Path, folder: Path) -> Path:
    if name in CATALOGUE:
        return models / f'{name}.onnx'
    path = folder / 'seeded.onnx'
    path.write_bytes(SEEDED[name]().SerializeToString())
    return path


@pytest.mark.parametrize(('name', 'precision'), [
    *((name, 'fp16') for name in (*CATALOGUE, *SEEDED)),
    # the same operators without casts: one graph of each kind
    *((name, 'fp32') for name in ('facemesh', 'fer', 'emonet_8', 'yolov8, joints end to end'))])
def test_every_graph_parses_strongly_typed_and_builds(
    name: str, precision: str, pose_models: Path, tmp_path: Path,
) -> None:
    engine = tmp_path / 'made_rtx.engine'
    told = Told()
    record = build(graph(name, pose_models, tmp_path), engine, BuildOptions(precision=precision),
                   told, tools=RtxToolchain(targets=['8.9']))
    assert record == sidecars.read(engine)
    assert (record.runtime, record.strongly_typed) == ('tensorrt_rtx', True)
    layers = logged_layers(told.texts)
    assert Counter(layer.precision for layer in layers if layer.precision) == record.layers
    arithmetic = Counter(layer.precision for layer in layers if layer.kind in ARITHMETIC)
    assert arithmetic
    if precision == 'fp32':
        assert set(arithmetic) == {'fp32'}
        assert not record.layers.get('fp16')
    else:  # what computes with places, and the last of each head, stays in fp32
        assert arithmetic['fp16'] > 0.8 * arithmetic.total()


def noise(folder: Path, *shape: int) -> Path:
    """Return forty inputs of a shape: what is calibrated on them decides nothing here."""
    path = folder / 'faces.npz'
    np.savez(path, image=np.random.default_rng(0).uniform(-1, 1, (40, *shape)).astype('f4'))
    return path


@pytest.mark.parametrize(('name', 'shape'), [
    ('fer', (1, 64, 64)), ('blazeface_short', (128, 128, 3))])
def test_int8_in_the_graph_is_int8_in_the_engine(
    name: str, shape: tuple[int, ...], home: Path, tmp_path: Path,
) -> None:
    told = Told()
    record = build(
        home / f'{name}.onnx', home / 'made_rtx.engine', BuildOptions(
            precision='int8', calibration_dir=noise(tmp_path, *shape), calibration_samples=8,
            spare=2, force=True),
        told, tools=RtxToolchain(targets=['8.6', '12.0']))
    kinds = Counter(layer.precision for layer in logged_layers(told.texts)
                    if layer.kind in ARITHMETIC)
    assert kinds['int8'] >= 0.75 * kinds.total()
    assert kinds['fp16'] >= 2  # the layers that are spared
    assert record.layers['int8'] >= kinds['int8']
    assert record.compute_capabilities == ['8.6', '12.0']


def test_int8_is_not_built_where_nothing_can_show_that_it_works(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    if toolchain(runtime='rtx').runs:
        pytest.skip('there is an RTX card here, which can show it')
    assert main(['models', 'build', 'fer', '--runtime', 'rtx', '--precision', 'int8',
                 '--calibration-dir', str(noise(tmp_path, 1, 64, 64))]) == 2
    assert 'tensorrt-rtx-python alone cannot run it here' in capsys.readouterr().err


def test_what_the_parser_does_not_know_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    from onnx import helper

    value = helper.make_tensor_value_info
    nodes = [helper.make_node('Relu', ['x'], ['a'], name='known'),
             helper.make_node('Wiggle', ['a'], ['y'], name='odd', domain='our.own')]
    opsets = [helper.make_opsetid('', 17), helper.make_opsetid('our.own', 1)]
    model = helper.make_model(
        helper.make_graph(nodes, 'g', [value('x', 1, ['N', 4])], [value('y', 1, ['N', 4])]),
        ir_version=8, opset_imports=opsets)
    path = tmp_path / 'odd.onnx'
    path.write_bytes(model.SerializeToString())
    assert main(['models', 'build', str(path), '--runtime', 'rtx']) == 2
    said = capsys.readouterr().err
    assert "does not understand the ONNX of odd_rtx.engine: node 'odd' (Wiggle): " in said
    assert 'known' not in said
    assert not list(home.glob('odd*'))


def test_the_engine_of_a_robot_is_made_on_any_machine(
    home: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    command = ['models', 'build', 'fer', '--for', 'sm86,SM_89,12.0', '--json']
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    engine = home / 'fer_rtx.engine'
    record = sidecars.read(engine)
    assert record is not None
    assert printed['engine'] == str(engine)
    assert record.tensorrt == RTX.load().__version__
    assert record.compute_capabilities == ['8.6', '8.9', '12.0']
    assert (record.gpu, record.compute_capability, record.cuda, record.driver) == ('',) * 4
    assert not sidecars.damage(record, engine.read_bytes())
    assert record.rebuild == (f'aitable models build fer --runtime rtx --precision fp16 --for '
                              f'sm86,SM_89,12.0 --output {engine}')


def test_all_builds_every_model_and_keeps_what_fits(
    home: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    states = []
    for _ in range(2):
        assert main(['models', 'all', '--runtime', 'rtx', '--json']) == 0
        states.append({Path(row['engine']).name: row['state']
                       for row in json.loads(capsys.readouterr().out) if row['bytes']})
    engines = ('fer_rtx.engine', 'blazeface_short_rtx.engine', 'crops_192_fp32_rtx.engine',
               'crops_256_fp32_rtx.engine')
    assert states == [dict.fromkeys(engines, state) for state in ('built', 'kept')]
    assert main(['models', 'all', '--for', 'sm89', '--json']) == 0  # other cards: other engines
    assert '"built"' in capsys.readouterr().out


@pytest.mark.parametrize(('arguments', 'says'), [
    (['--for', 'sm90'], '--for sm90: TensorRT for RTX '),
    (['--for', 'sm87'], 'any other GPU takes an engine of TensorRT, built on it'),
    (['--for', 'sm86', '--runtime', 'tensorrt'], '--for goes with --runtime rtx'),
    (['--runtime', 'rtx', '--dla-core', '0', '--max-batch', '1'], '--dla-core: TensorRT for RTX'),
    (['--runtime', 'rtx', '--timing-cache', 'x'], '--timing-cache: TensorRT for RTX'),
    (['--runtime', 'rtx', '--precision', 'int8', '--calibration-cache', 'x', '--force'],
     'has no calibrator'),
    (['--runtime', 'rtx', '--trtexec', '/bin/true'], '--trtexec goes with --runtime tensorrt'),
])
def test_what_it_cannot_is_a_line(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str,
) -> None:
    assert main(['models', 'build', 'fer', *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if 'aitable models: ' in line]
    assert len(lines) == 1
    assert says in lines[0]
    assert not list(home.glob('*.engine'))


def test_what_a_build_may_be_told_is_taken(home: Path) -> None:
    made = home / 'made_rtx.engine'
    build(home / 'fer.onnx', made, BuildOptions(
        precision='fp32', min_batch=2, opt_batch=2, max_batch=8, workspace_mib=64, builder_level=1,
        aux_streams=0, sparse=True, tf32=True), tools=RtxToolchain())
    record = sidecars.read(made)
    assert record is not None
    assert (record.min_batch, record.opt_batch, record.max_batch) == (2, 2, 8)


def test_all_from_ampere_on_unless_asked() -> None:
    assert RtxToolchain().compute_capabilities == ('8.0', '8.6', '8.9', '12.0', '12.1')
    assert RtxToolchain(targets=['7.5']).compute_capabilities == ('7.5',)
    with pytest.raises(InputError, match=re.escape('--for turing: ')):
        RtxToolchain(targets=['turing'])


def test_without_it_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('aitable_ros.inference.tensorrt_library.find_spec', lambda _: None)
    with pytest.raises(InputError, match=re.escape('pip install "aitable_ros[rtx]"')):
        toolchain(runtime='rtx')


def test_a_machine_without_a_driver_refuses_its_engines_in_a_line(home: Path) -> None:
    from aitable_ros.inference.chain import ModelOptions, resolve

    if RtxToolchain().runs:
        pytest.skip('there is an RTX card here')
    assert main(['models', 'build', 'fer', '--runtime', 'rtx']) == 0
    found = resolve(ModelOptions(model='fer_rtx.engine', fallbacks=('fer',)))
    assert found.backend is not None
    found.backend.close()
    first, *_, last = found.attempts
    assert (first.entry, first.backend) == ('fer_rtx.engine', 'tensorrt_rtx')
    assert first.reason
    assert '\n' not in first.reason
    assert (last.entry, last.reason) == ('fer', '')
