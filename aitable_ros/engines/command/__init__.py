# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The command line of ``aitable models``."""

from __future__ import annotations

import argparse
import os
import sys

from aitable_ros.engines.command import build, check, shelf
from aitable_ros.engines.progress import left_behind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    for action in (
            *shelf.add_shelf(actions), build.add_build(actions), build.add_all(actions),
            check.add_quantize(actions), check.add_verify(actions), check.add_profile(actions)):
        action.add_argument('--json', action='store_true', help='print JSON')


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand and return its exit status."""
    try:
        return int(args.act(args))
    except KeyboardInterrupt:
        print('aitable models: interrupted; finished files are kept, run the command again for '  # noqa: T201
              'the rest', file=sys.stderr)
        if left_behind():  # a native build cannot be stopped: only the end of the process does
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(130)
        raise
