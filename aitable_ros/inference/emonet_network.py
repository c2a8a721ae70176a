# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
EmoNet: the network, its checkpoint and its export.

Toisoul et al., "Estimation of continuous valence and arousal levels from faces in naturalistic
conditions", Nature Machine Intelligence 2021. Attribute names are the official checkpoint's keys.
This module needs PyTorch; the exported file does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from aitable_ros.errors import first_line
from aitable_ros.inference.protocol import BackendError

if TYPE_CHECKING:
    import torch

INPUT = 'image'
"""``(n, 3, 256, 256)`` float32, RGB in [0, 1]."""
OUTPUTS = ('expression', 'valence', 'arousal')
"""Logits ``(n, 8)`` or ``(n, 5)``, then ``(n,)`` each, not yet clamped."""
HEAT_MAP_OUTPUT = 'heatmaps'
"""``(n, 68, 64, 64)``: heat maps of the face's landmarks, an option of the export."""
SIZE = 256
EXPRESSIONS = (8, 5)
"""Checkpoints exist for eight classes, and for the first five of them."""
HEAT_MAPS = 68
DEPTH = 4
"""Levels of an hourglass."""


def build(expressions: int = 8) -> Any:
    """
    Make the network with random weights, in evaluation mode.

    :param expressions: number of classes, 8 or 5
    :return: a ``torch.nn.Module``: ``(n, 3, 256, 256)`` to the three :data:`OUTPUTS`
    """
    return _modules().EmoNet(expressions).eval()


def load_checkpoint(path: Path) -> Any:
    """
    Make the network with the weights of a checkpoint, in evaluation mode.

    :param path: a state dict as upstream publishes it; ``module.`` prefixes are stripped
    :raises BackendError: not a checkpoint, or not one of EmoNet's; names the keys that differ
    """
    import torch

    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise BackendError(f'{path}: no such file') from None
    except Exception as error:  # damage may raise anything, also IndexError and struct.error
        # PyTorch's own message about pickled objects explains how to run code of the file
        why = (first_line(error).split('. ')[0] if isinstance(error, (OSError, RuntimeError))
               else 'something else is in it')
        raise BackendError(f'{path}: not a PyTorch checkpoint of plain weights: {why}; download it '
                           'again, or save a state_dict() of EmoNet') from None
    if not isinstance(state, dict) or not all(
            isinstance(key, str) and isinstance(value, torch.Tensor)
            for key, value in state.items()):
        raise BackendError(f'{path}: not a state dict (names to tensors)')
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    head = state.get('emo_fc_2.3.bias')
    expressions = len(head) - 2 if head is not None and head.ndim == 1 else EXPRESSIONS[0]
    if expressions not in EXPRESSIONS:
        raise BackendError(
            f"{path}: 'emo_fc_2.3.bias' has {expressions + 2} values; EmoNet has 10 or 7")
    network = build(expressions)
    difference = _difference(network.state_dict(), state)
    if difference:
        raise BackendError(f'{path}: not an EmoNet checkpoint: {difference}')
    network.load_state_dict(state, strict=True)
    return network


def to_onnx(network: Any, heat_maps: bool = False) -> bytes:
    """
    Return the network as an ONNX file, opset 17, batch dimension open.

    :param network: from :func:`build` or :func:`load_checkpoint`
    :param heat_maps: add :data:`HEAT_MAP_OUTPUT`
    """
    import torch

    outputs = (*OUTPUTS, HEAT_MAP_OUTPUT) if heat_maps else OUTPUTS
    file = BytesIO()
    network.heat_maps = heat_maps
    try:
        with catch_warnings():
            # the warning that this exporter is old: the new one needs further packages and opset
            # 18, which TensorRT 8.6 does not read
            simplefilter('ignore', DeprecationWarning)
            torch.onnx.export(
                network, (torch.zeros(1, 3, SIZE, SIZE),), file, input_names=[INPUT],
                output_names=list(outputs), opset_version=17, dynamo=False,
                dynamic_axes={name: {0: 'N'} for name in (INPUT, *outputs)})
    finally:
        network.heat_maps = False
    return file.getvalue()


def _difference(wanted: dict[str, Any], got: dict[str, Any]) -> str:
    """Return the differences of a state dict from the expected one in a line; empty if none."""
    shapes = [
        f'{key} is {list(got[key].shape)}, not {list(value.shape)}'
        for key, value in wanted.items() if key in got and got[key].shape != value.shape]
    return '; '.join(text for text in (
        # this count of training steps may be missing: nothing reads it
        _some('lacks', [key for key in wanted
                        if key not in got and not key.endswith('.num_batches_tracked')]),
        _some('has unknown', [key for key in got if key not in wanted]),
        _some('has other shapes:', shapes)) if text)


def _some(what: str, names: Iterable[str], shown: int = 5) -> str:
    names = list(names)
    more = f' and {len(names) - shown} more' if len(names) > shown else ''
    return f"{what} {', '.join(names[:shown])}{more}" if names else ''


@cache
def _modules() -> SimpleNamespace:
    """Define the modules; inside a function because their base class is PyTorch's."""
    from torch import cat, nn
    from torch.nn.functional import interpolate, max_pool2d, relu

    class ConvBlock(nn.Module):  # type: ignore[misc]
        """Three 3x3 convolutions, each seeing the last, concatenated, plus the input."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            half, quarter = outputs // 2, outputs // 4
            self.bn1 = nn.BatchNorm2d(inputs)
            self.conv1 = nn.Conv2d(inputs, half, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(half)
            self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
            self.bn3 = nn.BatchNorm2d(quarter)
            self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
            self.downsample = None
            if inputs != outputs:
                self.downsample = nn.Sequential(
                    nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = self.conv1(relu(self.bn1(x)))
            second = self.conv2(relu(self.bn2(first)))
            third = self.conv3(relu(self.bn3(second)))
            residual = x if self.downsample is None else self.downsample(x)
            return cat((first, second, third), 1) + residual

    class Hourglass(nn.Module):  # type: ignore[misc]
        """Down four times and up again, with a branch at each level."""

        def __init__(self) -> None:
            super().__init__()
            for level in range(DEPTH, 0, -1):
                self.add_module(f'b1_{level}', ConvBlock(256, 256))
                self.add_module(f'b2_{level}', ConvBlock(256, 256))
                if level == 1:
                    self.b2_plus_1 = ConvBlock(256, 256)
            for level in range(1, DEPTH + 1):
                self.add_module(f'b3_{level}', ConvBlock(256, 256))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._level(DEPTH, x)

        def _level(self, level: int, x: torch.Tensor) -> torch.Tensor:
            low = getattr(self, f'b2_{level}')(max_pool2d(x, 2))
            low = self._level(level - 1, low) if level > 1 else self.b2_plus_1(low)
            low = getattr(self, f'b3_{level}')(low)
            return getattr(self, f'b1_{level}')(x) + interpolate(low, scale_factor=2.0)

    class EmoNet(nn.Module):  # type: ignore[misc]
        """Two hourglasses find 68 landmarks; where they are, the head looks for the emotion."""

        def __init__(self, expressions: int) -> None:
            super().__init__()
            self.expressions = expressions
            self.heat_maps = False
            self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
            self.bn1 = nn.BatchNorm2d(64)
            self.conv2 = ConvBlock(64, 128)
            self.conv3 = ConvBlock(128, 128)
            self.conv4 = ConvBlock(128, 256)
            for stack in range(2):
                self.add_module(f'm{stack}', Hourglass())
                self.add_module(f'top_m_{stack}', ConvBlock(256, 256))
                self.add_module(f'conv_last{stack}', nn.Conv2d(256, 256, 1))
                self.add_module(f'bn_end{stack}', nn.BatchNorm2d(256))
                self.add_module(f'l{stack}', nn.Conv2d(256, HEAT_MAPS, 1))
            self.bl0 = nn.Conv2d(256, 256, 1)
            self.al0 = nn.Conv2d(HEAT_MAPS, 256, 1)
            self.conv1x1_input_emo_2 = nn.Conv2d(768, 256, 1)
            self.emo_net_2 = nn.Sequential(
                *(layer for _ in range(4) for layer in (ConvBlock(256, 256), nn.MaxPool2d(2))))
            self.avg_pool_2 = nn.AvgPool2d(4)
            self.emo_fc_2 = nn.Sequential(
                nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(),
                nn.Linear(128, expressions + 2))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            x = max_pool2d(self.conv2(relu(self.bn1(self.conv1(image)))), 2)
            x = self.conv4(self.conv3(x))
            first, maps = self._stack(0, x)
            first = self.bl0(first)
            second, maps = self._stack(1, x + first + self.al0(maps))
            features = cat((first, second), 1) * maps.sum(1, keepdim=True)
            out = self.emo_net_2(self.conv1x1_input_emo_2(cat((x, features), 1)))
            out = self.emo_fc_2(self.avg_pool_2(out).flatten(1))
            results = out[:, :self.expressions], out[:, -2], out[:, -1]
            return (*results, maps) if self.heat_maps else results

        def _stack(self, stack: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = getattr(self, f'top_m_{stack}')(getattr(self, f'm{stack}')(x))
            x = getattr(self, f'conv_last{stack}')(x)
            x = relu(getattr(self, f'bn_end{stack}')(x))
            return x, getattr(self, f'l{stack}')(x)

    return SimpleNamespace(EmoNet=EmoNet)
