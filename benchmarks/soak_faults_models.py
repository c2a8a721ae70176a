# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Faults of the models: they throw, hang, are gone, are none, do not fit into memory."""

from __future__ import annotations

import numpy as np
from soak_faults import fault, Start
from soak_rig import Rig


@fault('each model in turn throws on one image', lines=4)
def backend_throws_once(rig: Rig) -> None:
    """Three images are concerned; which ones nobody knows."""
    with rig.fault(concerns=False):
        for model in ('facemesh', 'blazeface', 'fer'):
            rig.tell(do='throw', model=model, times=1)
            rig.wait(1.0)
    rig.well_again()


@fault('the face mesh on OpenVINO throws on every image: ONNX Runtime takes over', lines=8,
       back_s=0.0)
def backend_throws_always(rig: Rig) -> None:
    """While the order stands; when it does not, ~/reload_model brings OpenVINO back."""
    with rig.fault():
        rig.tell(do='throw', model='facemesh', backend='openvino')
        rig.until(lambda: rig.ears.fatigue[-1].backend == 'onnxruntime', 20.0,
                  'an answer from ONNX Runtime')
    rig.wait(3.0)
    rig.well_again()
    with rig.fault(concerns=False):
        answer = rig.reload('')
        rig.until(lambda: rig.ears.fatigue[-1].backend == 'openvino', 10.0,
                  f'OpenVINO after ~/reload_model ({answer.message})')


def _throws_for(rig: Rig, model: str, seconds: float) -> None:
    """Let a model throw with every library for so long; wait until all nodes are well again."""
    with rig.fault():
        rig.tell(do='throw', model=model)
        rig.wait(seconds)
    rig.well_again()
    rig.until(rig.answering, 20.0)
    rig.until(rig.all_well, 10.0)


@fault('the face mesh throws with every library for 6 s', lines=12, level=2, back_s=4.0)
def every_backend_throws(rig: Rig) -> None:
    """Nothing is left to fall back to; when it is over the model is there again by itself."""
    _throws_for(rig, 'facemesh', 6.0)


@fault('the detector throws on every image for 4 s', lines=12, level=2, back_s=4.0)
def detector_throws(rig: Rig) -> None:
    """The same one node earlier."""
    _throws_for(rig, 'blazeface', 4.0)


@fault('one run of the face mesh takes 3 s', lines=3)
def inference_hangs_3_s(rig: Rig) -> None:
    """Images meanwhile are dropped, not queued."""
    with rig.fault():
        rig.tell(do='hang', model='facemesh', times=1, seconds=3.0)
        rig.wait(3.2)
    rig.well_again()


@fault('a run of the face mesh never returns: another is opened in its place', keeps=False,
       lines=14, level=2, threads=4)
def inference_hangs_forever(rig: Rig) -> None:
    """It is found after 5 s; the others must not wait."""
    with rig.fault():
        rig.tell(do='hang', model='facemesh', times=1, seconds=3600.0)
        rig.until(lambda: rig.levels().get('fatigue') == 2, 15.0, 'ERROR in /diagnostics')
        faces = len(rig.ears.faces)
        rig.wait(2.0)
        rig.extra['faces_per_s_meanwhile'] = (len(rig.ears.faces) - faces) / 2.0
    rig.well_again()


@fault('the model file is deleted, ~/reload_model called, the file restored, called again', lines=6)
def model_file_deleted(rig: Rig) -> None:
    """The old model answers all the time; no image is concerned."""
    path = rig.models / 'facemesh.onnx'
    with rig.fault(concerns=False):
        content = path.read_bytes()
        path.unlink()
        refused = rig.reload('')
        rig.wait(1.0)
        path.write_bytes(content)
        done = rig.reload('')
        rig.extra |= {'refused': refused.message, 'done': done.message}
        assert not refused.success, 'a file that is gone was loaded'
        assert done.success, done.message


@fault('~/reload_model with an empty, a random, a cut, and a wrong model file, and one outside',
       lines=0)
def model_file_corrupt(rig: Rig) -> None:
    """Each is refused in one line; the old model answers all the time."""
    whole = (rig.models / 'facemesh.onnx').read_bytes()
    contents = {
        'empty': b'', 'random': np.random.default_rng(0).bytes(100_000), 'cut': whole[:-9999],
        'wrong': (rig.models / 'fer.onnx').read_bytes()}
    with rig.fault(concerns=False):
        for name, content in contents.items():
            (rig.models / f'{name}.onnx').write_bytes(content)
            answer = rig.reload(f'{name}.onnx')
            rig.extra[name] = answer.message
            assert not answer.success, f'{name}: {answer.message}'
        answer = rig.reload(str(rig.models / '..' / 'facemesh.onnx'))
        rig.extra['outside'] = answer.message
        assert not answer.success, answer.message


@fault('~/reload_model while every load is out of memory', lines=2)
def out_of_memory_on_reload(rig: Rig) -> None:
    """The old model answers all the time."""
    with rig.fault(concerns=False):
        rig.tell(do='memory')
        answer = rig.reload('facemesh_468')
        rig.extra['answer'] = answer.message
        assert not answer.success, answer.message
        assert 'out of memory' in answer.message, answer.message
    rig.well_again()


@fault('20 times ~/reload_model, facemesh_468 and facemesh in turn', lines=0)
def models_exchanged(rig: Rig) -> None:
    """Each loads beside the running one; what it grows by is told."""
    with rig.fault(concerns=False):
        for number in range(20):
            answer = rig.reload('facemesh' if number % 2 else 'facemesh_468')
            assert answer.success, answer.message
            rig.wait(0.3)


@fault('OpenVINO is out of memory when the process starts: ONNX Runtime takes over',
       start=Start(memory_order='openvino'), lines=0)
def out_of_memory_at_start(rig: Rig) -> None:
    """It has happened already; ~/reload_model later brings OpenVINO."""
    with rig.fault(concerns=False):
        assert rig.ears.fatigue[-1].backend == 'onnxruntime'
    rig.well_again()
    assert rig.reload('').success
    rig.until(lambda: rig.ears.fatigue[-1].backend == 'openvino', 10.0, 'OpenVINO')
