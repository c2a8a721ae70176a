# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The ``aitable`` command: finds the subcommand and runs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
import sys

from aitable_ros import __version__
from aitable_ros.errors import InputError

COMMANDS = {
    'demo': ('aitable_ros.tools.demo', 'a camera, the nodes and a report, on this machine'),
    'preflight': ('aitable_ros.tools.preflight', 'is everything in place for a run?'),
    'models': ('aitable_ros.engines.command', 'list, fetch, convert and build models'),
    'evaluate': ('aitable_ros.evaluation.command', 'a bag, video or image folder: figures, scores'),
    'bench': ('aitable_ros.tools.bench', 'measure what this machine can do'),
    'run': ('aitable_ros.tools.run', 'the ROS 2 nodes, all in one process'),
    'monitor': ('aitable_ros.monitor.command', "an operator's web page of a running graph"),
}
"""Subcommand -> module with ``add_arguments(parser)`` and ``run(args) -> int``, and a line."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: arguments without the program's name; ``sys.argv`` where None
    :return: 0 done, 1 fell short, 2 usage or bad input, 130 interrupted
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # The name of a file may hold characters that the terminal lacks.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors='backslashreplace')  # type: ignore[union-attr]
    chosen = next((word for word in arguments if not word.startswith('-')), '')
    try:
        args = _parse(arguments, chosen)
        return int(args.run(args))
    except InputError as error:
        print(f'aitable {chosen}: {error}', file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parse(arguments: Sequence[str], chosen: str) -> argparse.Namespace:
    """Parse the arguments; only the module of the chosen command is imported."""
    parser = argparse.ArgumentParser(
        prog='aitable', description='Emotion and fatigue of the people in front of a robot.')
    parser.add_argument('--version', action='version', version=f'aitable {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name, (module, line) in COMMANDS.items():
        command = commands.add_parser(name, help=line, description=f'{line[0].upper()}{line[1:]}.')
        if name == chosen:
            loaded = import_module(module)
            loaded.add_arguments(command)
            command.set_defaults(run=loaded.run)
    return parser.parse_args(arguments)
