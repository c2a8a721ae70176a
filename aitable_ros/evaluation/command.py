# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable evaluate``."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from contextlib import redirect_stdout
from glob import glob
from itertools import chain
from itertools import count
import json
from pathlib import Path
import shlex
import sys
from typing import TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.evaluation.datasets import formats
from aitable_ros.evaluation.job import Job
from aitable_ros.evaluation.summary import INTERRUPTED
from aitable_ros.evaluation.summary import pooled
from aitable_ros.evaluation.summary import Summary
from aitable_ros.evaluation.summary import write_json

if TYPE_CHECKING:
    from rich.console import Console

LEAST_FPS, MOST_FPS = 0.1, 1000.0


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'input', nargs='*', help='a rosbag2 (.db3, .mcap or its folder), a video or GIF, or a '
        'folder of images; several, or quoted globs, are evaluated one after the other')
    parser.add_argument(
        '--labels', metavar='L', help='JSON, or for a folder of images CSV (file,expression), to '
        'score against, or the labels of a public data set as they come; for several inputs a '
        'folder with a file each, or the folder of the whole data set')
    parser.add_argument(
        '--labels-format', metavar='F', choices=(formats.AUTO, *formats.FORMATS),
        help='whose form the labels have: ' + '; '.join(
            f'{name} ({form.of})' for name, form in formats.FORMATS.items()) + '; or auto, which '
        'looks at the file (default). Labels that are in the names of videos or folders need no '
        '--labels')
    parser.add_argument(
        '--topic', metavar='T', action='append', help='camera topic of a bag; not needed where it '
        "has one; several times, or as a quoted pattern ('*' is all), for a result of each; with "
        '--from-topics the namespace of the recorded nodes')
    parser.add_argument(
        '--from-topics', action='store_true', help='run no models: read what our nodes published '
        'when the bag was recorded (fatigue, fatigue/events, emotion, faces)')
    parser.add_argument(
        '--write-bag', metavar='OUT', type=Path, help='also write a new bag (mcap): the input with '
        'our topics in it; for several inputs OUT/NAME each')
    parser.add_argument(
        '--workers', metavar='N', type=int, default=1, help='evaluate so many recordings at a '
        'time, in a process each (default: 1)')
    parser.add_argument(
        '--cluster', metavar='ADDRESS', help='evaluate on a running Ray cluster, such as '
        'HOST:6379, ray://HOST:10001 or auto; its machines must see the same files')
    parser.add_argument(
        '--again', action='store_true', help='of several inputs, do again those that an earlier '
        'run with the same options has finished in --output')
    parser.add_argument(
        '--output', metavar='DIR', required=True, type=Path,
        help='folder for frames.parquet, events.csv, report.html and summary.json')
    parser.add_argument(
        '--params', metavar='FILE', action='append', help='the YAML parameter file that the nodes '
        'take; two of them evaluate the inputs under both and compare (DIR/comparison.html)')
    parser.add_argument(
        '--thumbnails', action='store_true',
        help="put pictures of the person's face at the events into report.html")
    parser.add_argument(
        '--compare', nargs=2, metavar=('A', 'B'), type=Path, help='no INPUT: compare two output '
        'folders of the same inputs, B against A, into DIR/comparison.html and comparison.json')
    parser.add_argument(
        '--sweep', metavar='KEY=A:B:N', help='try N values from A to B of one parameter, such as '
        'fatigue.blink_min_drop=0.05:0.3:11, against the labels, into DIR/sweep.html and '
        'sweep.json')
    parser.add_argument(
        '--objective', metavar='SCORE', help='what --sweep makes best: blink.f1, closures.f1, '
        'perclos.absolute_error, expression.macro_f1, valence.ccc, faces.boxes.f1, ...; by default '
        "what the labels and the parameter's stage suggest")
    parser.add_argument(
        '--fps', metavar='RATE', type=float, help='of a video: its frame rate, in place of the '
        "file's own time; for bare streams, which have none")
    parser.add_argument(
        '--strict', action='store_true', help='end at the first image of an input that cannot be '
        'used; without it such images are left out and counted in the notes')
    parser.add_argument('--json', action='store_true', help='print summary.json instead of a table')


def run(args: Namespace) -> int:
    """
    Evaluate.

    :return: 0 done; 2 an input or its labels cannot be used (to the end): what was done is kept
    """
    from aitable_ros.evaluation.batch import run_jobs
    from aitable_ros.evaluation.progress import ProgressBars
    from aitable_ros.evaluation.report.many_recordings import write_overview
    from aitable_ros.pipeline import PipelineOptions

    if args.compare or len(args.params or ()) > 1 or args.sweep or not args.input:
        return _compare_or_sweep(args)
    if args.objective:
        raise InputError('--objective: goes with --sweep')
    if args.from_topics:
        _refuse(args, '--from-topics', 'thumbnails', 'fps')
    if args.fps is not None and not LEAST_FPS <= args.fps <= MOST_FPS:
        raise InputError(f'--fps takes {LEAST_FPS:g} to {MOST_FPS:g} frames/s, not {args.fps:g}')
    args.labels_format = args.labels_format or formats.AUTO
    args.params = args.params[0] if args.params else None
    if args.workers < 1:
        raise InputError(f'--workers takes a number from 1, not {args.workers}')
    if args.params:
        # What is wrong with it is wrong for every input; what is misspelt is said in the notes.
        PipelineOptions.from_file(args.params, lambda line: None)
    if args.output.exists() and not args.output.is_dir():
        raise InputError(f'{args.output}: is a file; --output names a folder')
    items = _items(args)
    several = len(items) > 1
    with ProgressBars(len(items), quiet=args.json) as board:
        results = run_jobs(
            items, board, workers=args.workers, cluster=args.cluster,
            resume=several and not args.again)
    summaries: list[Summary] = []
    problems: list[str] = []
    for done in results:
        if done is None:
            continue
        if done.summary is not None:
            summaries.append(done.summary)
        elif not several and done.problem != INTERRUPTED:
            raise InputError(done.problem)
        if done.problem:
            problems.append(done.problem)
            if done.problem != INTERRUPTED:
                print(f'aitable evaluate: {done.problem}', file=sys.stderr)  # noqa: T201
    if not several and not summaries:
        return 130
    skipped = sum(done is not None and done.finished_earlier for done in results)
    if skipped:
        print(f'aitable evaluate: {skipped} of {len(items)} were finished by an earlier run; '  # noqa: T201
              '--again does them again', file=sys.stderr)
    together: Summary = summaries[0] if summaries else {}
    if several:
        together = {'inputs': summaries, 'pooled': pooled(summaries), 'problems': problems}
        write_json(args.output / 'summary.json', together)
        write_overview(args.output, together, [
            item.output for item, done in zip(items, results, strict=True)
            if done is not None and done.summary is not None])
    if args.json:
        print(json.dumps(together, indent=1))  # noqa: T201
    else:
        _show(summaries, together.get('pooled', {}), args.output)
    if INTERRUPTED in problems:
        print('aitable evaluate: interrupted; what was done is in '  # noqa: T201
              f'{args.output}', file=sys.stderr)
        return 130
    return 2 if problems else 0


def _refuse(args: Namespace, what: str, *names: str) -> None:
    """Say which options have no meaning beside another one."""
    given = ['INPUT' if name == 'input' else f'--{name.replace("_", "-")}'
             for name in names if getattr(args, name)]
    if given:
        raise InputError(f'{what}: takes no {", ".join(given)}')


def _compare_or_sweep(args: Namespace) -> int:
    """Do what is more than one evaluation."""
    from aitable_ros.evaluation import compare
    from aitable_ros.evaluation import sweep

    if args.compare:
        _refuse(args, '--compare A B of two output folders', 'input', 'labels', 'labels_format',
                'topic', 'from_topics', 'write_bag', 'cluster', 'params', 'thumbnails', 'sweep',
                'objective', 'fps', 'strict')
        return compare.run(args.compare[0], args.compare[1], args.output, as_json=args.json)
    if not args.input:
        raise InputError('nothing to evaluate: name a rosbag2, a video or a folder of images '
                         '(or two output folders with --compare)')
    if args.sweep:
        _refuse(args, '--sweep', 'from_topics', 'write_bag', 'cluster', 'thumbnails', 'fps',
                'strict')
        if len(args.params or ()) > 1 or len(args.topic or ()) > 1 or args.workers > 1:
            raise InputError('--sweep takes one --params, one --topic and one worker')
        paths = _expanded(args.input)
        several, form = len(paths) > 1, args.labels_format or formats.AUTO
        return sweep.run(
            args.sweep, [(path, formats.read(
                labels_file(path, args.labels, form, several=several), path, form))
                for path in paths],
            args.output, topic=args.topic[0] if args.topic else None,
            params=args.params[0] if args.params else None,
            objective=args.objective, as_json=args.json)
    if len(args.params) > 2:
        raise InputError('--params: two parameter files can be compared, not more')
    _refuse(args, '--params A --params B', 'from_topics', 'write_bag')
    folders = compare.folders_for(args.params, args.output)
    status = 0
    for params, folder in zip(args.params, folders, strict=True):
        one = Namespace(**{**vars(args), 'params': [params], 'output': folder, 'json': False})
        # with --json the one document on stdout is the comparison
        with redirect_stdout(sys.stderr) if args.json else nullcontext():
            done = run(one)
        if done not in (0, 2):
            return done
        status = max(status, done)
    return compare.run(folders[0], folders[1], args.output, as_json=args.json) or status


def _expanded(inputs: Sequence[str]) -> list[Path]:
    """Expand globs that the shell left."""
    paths: list[Path] = []
    for entry in inputs:
        if Path(entry).exists() or not any(mark in entry for mark in '*?['):
            paths.append(Path(entry))
            continue
        found = sorted(glob(entry, recursive=True))  # noqa: PTH207  Path.glob takes no absolute one
        if not found:
            raise InputError(f'{entry}: nothing matches')
        paths += map(Path, found)
    return paths


def _folders(paths: Sequence[Path], output: Path, *, several: bool) -> list[Path]:
    """Choose a folder for each input: ``output`` itself for one, below it for several."""
    if not several:
        return [output]
    folders = [output / (path.stem if path.is_file() else path.resolve().name) for path in paths]
    for index, folder in enumerate(folders):
        folders[index] = _unlike(folder, folders[:index])
    return folders


def _unlike(folder: Path, others: Sequence[Path]) -> Path:
    """Return a folder's name, with a number behind it where another has it already."""
    names = (folder.with_name(f'{folder.name}_{number}') for number in count(2))
    return next(name for name in chain((folder,), names) if name not in others)


def _items(args: Namespace) -> list[Job]:
    """Make a work item of each input and, of a bag, of each topic asked for."""
    from aitable_ros.recordings.readers import choose_topics

    paths = _expanded(args.input)
    chosen = [
        (path, folder, choose_topics(path, args.topic or (), from_topics=args.from_topics))
        for path, folder in zip(
            paths, _folders(paths, args.output, several=len(paths) > 1), strict=True)]
    several = sum(len(topics) for _, _, topics in chosen) > 1
    command = shlex.join(['aitable', 'evaluate', *sys.argv[2:]]) if sys.argv[2:] else ''
    items: list[Job] = []
    for path, folder, topics in chosen:
        for topic in topics:
            place = folder
            if len(topics) > 1:
                tail = (topic or '').strip('/').replace('/', '_')
                place = folder / tail if len(paths) == 1 else folder.with_name(
                    f'{folder.name}_{tail}')
                place = _unlike(place, [item.output for item in items])
            bag = args.write_bag
            if bag is not None and several:
                bag /= place.relative_to(args.output)
            items.append(Job(
                path=path, topic=topic, output=place, command=command, write_bag=bag,
                labels=labels_file(path, args.labels, args.labels_format, several=len(paths) > 1),
                labels_format=args.labels_format,
                params=Path(args.params) if args.params else None,
                from_topics=args.from_topics, thumbnails=args.thumbnails, fps=args.fps,
                strict=args.strict))
    return items


def labels_file(
    path: Path, given: str | None, form: str = formats.AUTO, *, several: bool,
) -> Path | None:
    """
    Find an input's labels; in a folder of labels those named as it is, if there are any.

    :raises InputError: no such labels, or one file for several inputs
    """
    if given is None:
        if form != formats.AUTO and formats.FORMATS[form].by_name is None:
            raise InputError(f'--labels-format {form}: needs --labels, the file or the folder that '
                             'they are in')
        return None
    if form != formats.AUTO and formats.FORMATS[form].read is None:
        raise InputError(f'--labels-format {form}: the labels are in the names of the recordings; '
                         'leave --labels out')
    place = Path(given)
    if not place.is_dir():
        if several:
            raise InputError(f'{place}: one file cannot label several inputs; give a folder with a '
                             'file for each, such as NAME.json or NAME.csv')
        return place
    found = formats.find(path, place, form)
    if found is None and not several:
        wanted = formats.own_names(path)[:1] if form == formats.AUTO \
            else formats.FORMATS[form].names(path)
        if not wanted:
            raise InputError(f'--labels-format {form}: --labels takes a file, not the folder '
                             f'{place}')
        raise InputError(f'{place / wanted[0]}: no such labels')
    return found


def _show(summaries: Sequence[Summary], together: Summary, output: Path) -> None:
    """Print a table of what was found."""
    from rich.console import Console
    from rich.table import Table

    from aitable_ros.evaluation.report.many_recordings import headlines_of

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    table = Table(box=None, pad_edge=False, header_style='bold')
    table.add_column('input', overflow='fold')
    heads, rows = headlines_of(summaries)
    for name in ('frames', 'face', 'blinks', 'PERCLOS', 'level', 'mostly', *heads):
        table.add_column(name, justify='right')
    for summary, figures in zip(summaries, rows, strict=True):
        share = summary['expression_share']
        table.add_row(
            Path(summary['input']).name, str(summary['frames']), f'{summary["face_ratio"]:.0%}',
            str(len(summary['blinks'])), _figure(summary['perclos'], '.3f'), summary['level_max'],
            max(share, key=share.__getitem__) if share else '–', *figures)
    console.print(table)
    if together:
        _show_together(console, together)
    for summary in summaries:
        for note in (*summary['notes'], *([summary['partial']] if summary['partial'] else [])):
            console.print(f'[dim]{Path(summary["input"]).name}:[/] {note}', highlight=False)
    console.print(f'report: {output / "report.html"}', highlight=False, soft_wrap=True)


def _show_together(console: Console, together: Summary) -> None:
    """Print the pooled scores with their intervals."""
    from rich.table import Table

    from aitable_ros.evaluation.report.many_recordings import class_tables
    from aitable_ros.evaluation.report.many_recordings import rows_of

    for part in class_tables(together.get('video_class', {})):
        classes = Table(box=None, pad_edge=False, header_style='bold', title=part.title,
                        title_justify='left')
        for head in part.columns:
            classes.add_column(head)
        for cells in part.rows:
            classes.add_row(*map(str, cells))
        console.print(classes)
    if not rows_of(together):
        return
    table = Table(box=None, pad_edge=False, header_style='bold')
    table.add_column('all together')
    for name in ('score', '95 % over people'):
        table.add_column(name, justify='right')
    for row in rows_of(together):
        table.add_row(*row)
    console.print(table)


def _figure(value: float | None, form: str) -> str:
    return '–' if value is None else format(value, form)
