# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Writes config/pipeline.yaml from the option classes: every parameter with its description.

``python -m aitable_ros.nodes.parameter_file > config/pipeline.yaml`` after an option has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields
import sys
from textwrap import wrap
from typing import Any

from aitable_ros.config import CameraOptions, CaptureOptions
from aitable_ros.emotion.reader import EmotionOptions
from aitable_ros.face.finder import FaceOptions
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.options import Options
from aitable_ros.posture.options import PostureOptions

STAGES: dict[str, tuple[type[Options], ...]] = {
    'camera': (CaptureOptions, CameraOptions),
    'face_detector': (FaceOptions, CameraOptions),
    'fatigue': (FatigueOptions, CameraOptions),
    'emotion': (EmotionOptions, CameraOptions),
    'posture': (PostureOptions, CameraOptions),
    'overlay': (CameraOptions,),
}
"""Node -> the option classes whose fields are its parameters."""

HEAD = """\
# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
#
# Every parameter of every node with its default. Copy the lines that you change into a file of your
# own and pass it as params_file:= (launch) or --params-file. "fixed": only at start, not while
# running; the others also with `ros2 param set`. Written by aitable_ros.nodes.parameter_file.
"""
WIDTH = 98


def lines() -> Iterator[str]:
    """Yield the file line by line."""
    yield HEAD
    for number, (node, kinds) in enumerate(STAGES.items()):
        yield from ([''] if number else [])
        yield f'/**/{node}:'
        yield '  ros__parameters:'
        for kind in kinds:
            for item in fields(kind):
                yield from wrap(
                    _comment(item), WIDTH, initial_indent='    # ', subsequent_indent='    # ')
                yield f'    {item.name}: {_value(item.default)}'


def _comment(item: Field[Any]) -> str:
    metadata = item.metadata
    low, high, choices = metadata['low'], metadata['high'], metadata['choices']
    notes = []
    if choices:
        notes.append(f'one of {", ".join(choices)}')
    if low is not None:
        notes.append(f'at least {low:g}' if high is None else f'{low:g} ... {high:g}')
    if not metadata['dynamic']:
        notes.append('fixed')
    if metadata.get('alias'):
        notes.append(f'also called {metadata["alias"]}')
    return f'{metadata["description"]} ({"; ".join(notes)})' if notes else metadata['description']


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f'[{", ".join(map(repr, value))}]'
    return str(value).lower() if isinstance(value, bool) else repr(value)


if __name__ == '__main__':
    sys.stdout.write('\n'.join(lines()) + '\n')
