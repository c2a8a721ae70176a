# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The declaration of a subcommand of ``aitable models``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Actions = Any
"""argparse's own type of a group of subcommands is private."""


def add_action(
    actions: Actions, name: str, act: Callable[[argparse.Namespace], int], **texts: str,
) -> argparse.ArgumentParser:
    """
    Add the parser of a subcommand.

    :param act: runs the subcommand and returns its exit status
    :param texts: for argparse: ``help``, ``description``
    """
    parser: argparse.ArgumentParser = actions.add_parser(name, **texts)
    parser.set_defaults(act=act)
    return parser
