# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""PyTorch: the fallback for a ``.pth`` checkpoint of EmoNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aitable_ros.errors import first_line
from aitable_ros.inference.base import BackendBase
from aitable_ros.inference.protocol import BackendError, Tensors, TensorSpec


class TorchBackend(BackendBase):
    """
    EmoNet from its checkpoint in fp32, on the GPU if PyTorch finds one, else on the CPU.

    :param path: the ``.pth`` file
    :param model: name to report
    :param precision: ``auto`` or ``fp32``
    :param threads: PyTorch's CPU threads in the whole process; 0 does not change them
    :param device_id: GPU number
    :raises BackendError: cannot load, another precision, or no such GPU
    """

    name = 'torch'
    precision = 'fp32'

    def __init__(
        self, path: Path, *, model: str = '', precision: str = 'auto', threads: int = 1,
        device_id: int = 0,
    ) -> None:
        import torch

        # A checkpoint names weights, not a network; the one whose checkpoints we know is EmoNet.
        from aitable_ros.inference.emonet_network import INPUT, load_checkpoint, OUTPUTS

        self.model = model or path.name
        if precision not in ('auto', 'fp32'):
            raise BackendError(f'{path}: PyTorch runs it in fp32, not {precision}')
        if torch.cuda.is_available() and device_id >= torch.cuda.device_count():
            raise BackendError(
                f'device_id {device_id}: PyTorch sees {torch.cuda.device_count()} GPUs')
        self.device = f'cuda:{device_id}' if torch.cuda.is_available() else 'cpu'
        if threads:
            torch.set_num_threads(threads)
        self._network = load_checkpoint(path).to(self.device)
        self._open = True
        self.inputs = (TensorSpec(INPUT, (None, 3, 256, 256), np.dtype(np.float32)),)
        shapes = ((None, self._network.expressions), (None,), (None,))
        self.outputs = tuple(
            TensorSpec(name, shape, np.dtype(np.float32)) for name, shape in zip(OUTPUTS, shapes))

    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        import torch

        image = inputs[self.inputs[0].name]
        if not image.flags.writeable:
            image = image.copy()  # PyTorch warns about read-only memory
        try:
            with torch.inference_mode():
                results = self._network(torch.from_numpy(image).to(self.device))
        except RuntimeError as error:
            raise BackendError(f'{self.model}: PyTorch failed: {first_line(error)}') from None
        return {
            spec.name: value.float().cpu().numpy() for spec, value in zip(self.outputs, results)}

    def _free(self) -> None:
        del self._network
