# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The attention mesh on OpenVINO: one branch where the model has three."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import openvino
from openvino import opset13 as ops
import pytest

from aitable_ros.inference.openvino_mesh import tailor

LIPS = openvino.Shape([1, 160, 1, 1])
"""Of the last convolution of the lips' branch, x and y of 80 landmarks."""

def network(models: Path, name: str = 'facemesh') -> Any:
    found = openvino.Core().read_model(models / f'{name}.onnx')
    found.reshape([1, 192, 192, 3])
    return found


def convolutions(found: Any) -> list[Any]:
    return [node for node in found.get_ops() if 'Convolution' in node.get_type_name()]


def answers(found: Any) -> list[NDArray[Any]]:
    image = np.random.default_rng(7).uniform(0, 1, (1, 192, 192, 3)).astype(np.float32)
    compiled = openvino.compile_model(found, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return [np.array(value) for value in compiled([image]).values()]


def test_the_branches_run_as_one_and_answer_the_same(models: Path) -> None:
    whole, tailored = network(models), network(models)
    assert tailor(tailored, ops)
    assert len(convolutions(tailored)) < 0.5 * len(convolutions(whole))
    for ours, theirs in zip(answers(tailored), answers(whole)):
        np.testing.assert_allclose(ours[..., :468, :], theirs[..., :468, :], atol=1e-3)


def test_branches_that_are_not_alike_run_one_by_one(models: Path) -> None:
    whole, tailored = network(models), network(models)
    for changed in (whole, tailored):
        lips = next(node for node in convolutions(changed) if node.get_output_shape(0) == LIPS)
        clipped = ops.clamp(lips.input_value(0), -1.0, 1.0)
        lips.input(0).replace_source_output(clipped.output(0))
        changed.validate_nodes_and_infer_types()
    assert tailor(tailored, ops)
    assert len(convolutions(tailored)) > 0.7 * len(convolutions(whole))
    for ours, theirs in zip(answers(tailored), answers(whole)):
        np.testing.assert_allclose(ours[..., :468, :], theirs[..., :468, :], atol=1e-3)


@pytest.mark.parametrize('name', ['facemesh_468'])
def test_another_model_stays_as_it_is(models: Path, name: str) -> None:
    found = network(models, name)
    before = [node.get_friendly_name() for node in found.get_ordered_ops()]
    assert not tailor(found, ops)
    assert [node.get_friendly_name() for node in found.get_ordered_ops()] == before
