# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Which model files may be named over the graph.

A model file is code (an engine entirely so), and every node in the graph can call a service. So
``~/reload_model``, and a container that is asked to load a component, take catalogue names and
files in the model folder only. What the operator names at the start, in a parameter file or on the
command line, is the operator's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import os
from pathlib import Path
from typing import Any

from aitable_ros.models.catalogue import model_home

MODEL_PARAMETERS = ('model', 'engine_path', 'fallbacks', 'near', 'proof', 'detector')
"""Parameters whose values name models."""
SWITCH = 'model_folder_only'
"""The parameter that decides. It is read-only, so that no other node can change it."""


def outside(entry: str) -> str:
    """
    Return why a model may not be named over the graph; empty where it may.

    Links inside the folder are followed: the operator has put them there.
    """
    if '/' not in entry and os.sep not in entry:
        return ''  # a catalogue name, or a file of the model folder
    path, home = Path(entry).expanduser(), model_home().absolute()
    if '..' not in path.parts and home in path.absolute().parents:
        return ''
    return (f"'{entry}' is not in the model folder {home}; put it there, or let the operator set "
            f"the parameter '{SWITCH}' to false at the start")


def refusal(parameters: Mapping[str, Any]) -> str:
    """Return why a component may not have these parameters; empty where it may."""
    if parameters.get(SWITCH) is False:
        return f"only the container's own '{SWITCH}', at its start, can be set to false"
    for name in MODEL_PARAMETERS:
        value = parameters.get(name)
        entries: Iterable[str] = (value,) if isinstance(value, str) else value or ()
        for entry in entries:
            reason = outside(str(entry))
            if reason:
                return f"parameter '{name}': {reason}"
    return ''
