# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable evaluate``: the command line."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
import json
from pathlib import Path
import shlex
import sys
from typing import TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.evaluation.datasets import formats
from aitable_ros.evaluation.job import Job
from aitable_ros.evaluation.summary import INTERRUPTED, pooled, Summary, write_json

if TYPE_CHECKING:
    from aitable_ros.evaluation.evaluate import EvaluationResult

LEAST_FPS, MOST_FPS = 0.1, 1000.0


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'input', nargs='*', metavar='INPUT', help='a rosbag2 (.db3, .mcap or its folder), a ROS 1 '
        'bag, a video, a GIF or a folder of images; several inputs or quoted globs are evaluated '
        'one by one')
    parser.add_argument(
        '--output', metavar='DIR', required=True, type=Path,
        help='folder for frames.parquet, events.csv, report.html and summary.json; with several '
        'inputs a folder for each below it')
    parser.add_argument(
        '--labels', metavar='L', help='labels to score against: JSON, for a folder of images also '
        'CSV (file,expression), or the label file of a public data set; for several inputs a '
        'folder with a file for each, or the folder of the data set')
    parser.add_argument(
        '--labels-format', metavar='F', choices=(formats.AUTO, *formats.FORMATS),
        help='format of the labels: ' + '; '.join(
            f'{name} ({form.of})' for name, form in formats.FORMATS.items()) + '; auto recognises '
        'the format of a file (default). Formats whose labels are the names of the videos or '
        'folders need no --labels')
    parser.add_argument(
        '--topic', metavar='T', action='append', help='camera topic of a bag; not needed if the '
        "bag has one camera. Repeat the option or give a quoted pattern ('*' for all) for a "
        'result per topic. With --from-topics: namespace of the recorded nodes')
    parser.add_argument(
        '--from-topics', action='store_true', help='run no models; read the topics that our nodes '
        'published when the bag was recorded (fatigue, fatigue/events, emotion, faces, posture, '
        'posture/events)')
    parser.add_argument(
        '--posture', action='store_true', help='measure posture, too, as with posture.enabled in a '
        'parameter file; also writes DIR/bodies.parquet')
    parser.add_argument(
        '--write-bag', metavar='OUT', type=Path, help='also write a bag (mcap) with the messages '
        'of the input and our topics; with several inputs OUT/NAME for each')
    parser.add_argument(
        '--params', metavar='FILE', action='append', help='YAML parameter file of the nodes; give '
        'two to evaluate the inputs under both and compare the results (DIR/comparison.html)')
    parser.add_argument(
        '--fps', metavar='RATE', type=float, help='frame rate of a video, instead of the stamps '
        'in the file; for bare streams without stamps')
    parser.add_argument(
        '--strict', action='store_true', help='stop at the first image that cannot be used; '
        'without this option such images are skipped and counted in the notes')
    parser.add_argument(
        '--thumbnails', action='store_true',
        help="add pictures of the person's face at the events to report.html")
    parser.add_argument(
        '--workers', metavar='N', type=int, default=1,
        help='number of recordings to evaluate in parallel, a process for each (default: 1)')
    parser.add_argument(
        '--cluster', metavar='ADDRESS', help='evaluate on a running Ray cluster, such as '
        'HOST:6379, ray://HOST:10001 or auto; its machines must see the same files')
    parser.add_argument(
        '--again', action='store_true', help='with several inputs: also repeat those that an '
        'earlier run with the same options finished in --output')
    parser.add_argument(
        '--compare', nargs=2, metavar=('A', 'B'), type=Path, help='without INPUT: compare output '
        'folder B with output folder A of the same inputs; writes DIR/comparison.html and '
        'comparison.json')
    parser.add_argument(
        '--sweep', metavar='KEY=A:B:N', help='score N values of one parameter from A to B against '
        'the labels, such as fatigue.blink_min_drop=0.05:0.3:11; writes DIR/sweep.html and '
        'sweep.json')
    parser.add_argument(
        '--objective', metavar='SCORE', help='score that --sweep improves: blink.f1, closures.f1, '
        'perclos.absolute_error, expression.macro_f1, valence.ccc, faces.boxes.f1, ... (default: '
        "chosen by the labels and the parameter's stage)")
    parser.add_argument('--json', action='store_true', help='print summary.json instead of a table')


def run(args: Namespace) -> int:
    """
    Run the command.

    :return: 0 done; 2 an input or its labels could not be used, or not to their end; 130
        interrupted. The results until then are kept
    """
    if args.output.exists() and not args.output.is_dir():
        raise InputError(f'{args.output}: is a file; --output names a folder')
    if args.compare:
        _refuse(args, '--compare A B of two output folders', 'input', 'labels', 'labels_format',
                'topic', 'from_topics', 'posture', 'write_bag', 'cluster', 'params', 'thumbnails',
                'sweep', 'objective', 'fps', 'strict')
        return _compare(args, *args.compare)
    if not args.input:
        raise InputError('nothing to evaluate: name a rosbag2, a video or a folder of images '
                         '(or two output folders with --compare)')
    args.labels_format = args.labels_format or formats.AUTO
    if args.sweep:
        return _sweep(args)
    if len(args.params or ()) > 1:
        return _evaluate_both(args)
    return _evaluate(args)


def _refuse(args: Namespace, what: str, *names: str) -> None:
    """:raises InputError: options were given that mean nothing with ``what``."""
    given = ['INPUT' if name == 'input' else f'--{name.replace("_", "-")}'
             for name in names if getattr(args, name)]
    if given:
        raise InputError(f'{what}: takes no {", ".join(given)}')


def _say(text: str) -> None:
    print(f'aitable evaluate: {text}', file=sys.stderr)  # noqa: T201


def _evaluate(args: Namespace) -> int:
    from aitable_ros.evaluation.batch import run_jobs
    from aitable_ros.evaluation.progress import ProgressBars
    from aitable_ros.evaluation.report.many_recordings import write_overview
    from aitable_ros.evaluation.report.terminal import print_summaries
    from aitable_ros.pipeline import PipelineOptions

    if args.objective:
        raise InputError('--objective: goes with --sweep')
    if args.from_topics:
        _refuse(args, '--from-topics', 'thumbnails', 'fps', 'posture')
    if args.fps is not None and not LEAST_FPS <= args.fps <= MOST_FPS:
        raise InputError(f'--fps takes {LEAST_FPS:g} to {MOST_FPS:g} frames/s, not {args.fps:g}')
    if args.workers < 1:
        raise InputError(f'--workers takes a number from 1, not {args.workers}')
    if args.params:
        # An error in the file concerns all inputs; misspelt names are in the notes of each.
        PipelineOptions.from_file(args.params[0], lambda line: None)
    jobs = _jobs(args)
    several = len(jobs) > 1
    with ProgressBars(len(jobs), quiet=args.json) as bars:
        results = run_jobs(jobs, bars, workers=args.workers, cluster=args.cluster,
                           resume=several and not args.again)
    done = [(job, result) for job, result in zip(jobs, results, strict=True)
            if result is not None and result.summary is not None]
    summaries: list[Summary] = [result.summary for _, result in done if result.summary is not None]
    problems = _problems(results, several=several)
    if not several and not summaries:
        return 130
    skipped = sum(result.finished_earlier for _, result in done)
    if skipped:
        _say(f'{skipped} of {len(jobs)} were finished by an earlier run; --again repeats them')
    together: Summary = summaries[0] if summaries else {}
    if several:
        together = {'inputs': summaries, 'pooled': pooled(summaries), 'problems': problems}
        write_json(args.output / 'summary.json', together)
        write_overview(args.output, together, [job.output for job, _ in done])
    if args.json:
        print(json.dumps(together, indent=1))  # noqa: T201
    else:
        print_summaries(summaries, together.get('pooled', {}), args.output)
    if INTERRUPTED in problems:
        _say(f'interrupted; the results so far are in {args.output}')
        return 130
    return 2 if problems else 0


def _problems(results: Sequence[EvaluationResult | None], *, several: bool) -> list[str]:
    """
    Print and return what went wrong.

    :raises InputError: the only input could not be used at all
    """
    problems = []
    for result in results:
        if result is None or not result.problem:
            continue
        if result.problem != INTERRUPTED:
            if not several and result.summary is None:
                raise InputError(result.problem)
            _say(result.problem)
        problems.append(result.problem)
    return problems


def _jobs(args: Namespace) -> list[Job]:
    """Make a job of each input and, of a bag, of each topic that was asked for."""
    from aitable_ros.evaluation.inputs import expand_globs, labels_file, output_folders
    from aitable_ros.recordings.readers import choose_topics

    paths = expand_globs(args.input)
    inputs = [(path, choose_topics(path, args.topic or (), from_topics=args.from_topics))
              for path in paths]
    parts = [(path, topic) for path, topics in inputs for topic in topics]
    command = shlex.join(['aitable', 'evaluate', *sys.argv[2:]]) if sys.argv[2:] else ''
    jobs = []
    for (path, topic), folder in zip(
            parts, output_folders(inputs, args.output), strict=True):
        bag = args.write_bag
        if bag is not None and len(parts) > 1:
            bag /= folder.relative_to(args.output)
        jobs.append(Job(
            path=path, topic=topic, output=folder, command=command, write_bag=bag,
            labels=labels_file(path, args.labels, args.labels_format, several=len(paths) > 1),
            labels_format=args.labels_format, params=Path(args.params[0]) if args.params else None,
            from_topics=args.from_topics, posture=args.posture, thumbnails=args.thumbnails,
            fps=args.fps, strict=args.strict))
    return jobs


def _evaluate_both(args: Namespace) -> int:
    """Evaluate the inputs under two parameter files, and compare the results."""
    if len(args.params) > 2:
        raise InputError('--params: two parameter files can be compared, not more')
    _refuse(args, '--params A --params B', 'from_topics', 'write_bag')
    names = [Path(params).stem for params in args.params]
    if names[0] == names[1]:
        names = [f'{name}_{letter}' for name, letter in zip(names, 'AB', strict=True)]
    folders = [args.output / name for name in names]
    status = 0
    for params, folder in zip(args.params, folders, strict=True):
        one = Namespace(**{**vars(args), 'params': [params], 'output': folder, 'json': False})
        # With --json, standard output holds one document: the comparison.
        with redirect_stdout(sys.stderr) if args.json else nullcontext():
            done = run(one)
        if done not in (0, 2):
            return done
        status = max(status, done)
    return _compare(args, *folders) or status


def _compare(args: Namespace, a: Path, b: Path) -> int:
    """Compare two output folders; write ``comparison.json`` and ``comparison.html``."""
    from aitable_ros.evaluation.compare import compare, read_run
    from aitable_ros.evaluation.report.comparison import comparison_report, print_comparison
    from aitable_ros.evaluation.report.page import write_report
    from aitable_ros.evaluation.summary import rounded

    found: Summary = rounded(compare(read_run(a), read_run(b)) | {'a': str(a), 'b': str(b)})
    write_json(args.output / 'comparison.json', found)
    write_report(args.output / 'comparison.html', comparison_report(found, args.output))
    if args.json:
        print(json.dumps(found, indent=1))  # noqa: T201
    else:
        print_comparison(found, args.output)
    return 0


def _sweep(args: Namespace) -> int:
    """Sweep a parameter over labelled inputs; write ``sweep.json`` and ``sweep.html``."""
    from aitable_ros.evaluation.inputs import expand_globs, labels_file
    from aitable_ros.evaluation.report.page import write_report
    from aitable_ros.evaluation.report.sweep import print_sweep, sweep_report
    from aitable_ros.evaluation.sweep import parse, sweep_inputs
    from aitable_ros.pipeline import PipelineOptions
    from aitable_ros.posture.options import PostureOptions

    _refuse(args, '--sweep', 'from_topics', 'posture', 'write_bag', 'cluster', 'thumbnails', 'fps',
            'strict')
    if len(args.params or ()) > 1 or len(args.topic or ()) > 1 or args.workers > 1:
        raise InputError('--sweep takes one --params, one --topic and one worker')
    paths = expand_globs(args.input)
    labels = [formats.read(
        labels_file(path, args.labels, args.labels_format, several=len(paths) > 1), path,
        args.labels_format) for path in paths]
    base = PipelineOptions.from_file(args.params[0]) if args.params else PipelineOptions()
    base = replace(base.for_recordings, posture=PostureOptions())  # no parameter of it is swept
    found = sweep_inputs(
        parse(args.sweep, base), base, list(zip(paths, labels, strict=True)),
        topic=args.topic[0] if args.topic else None, objective=args.objective, quiet=args.json)
    write_json(args.output / 'sweep.json', found)
    write_report(args.output / 'sweep.html', sweep_report(found))
    if args.json:
        print(json.dumps(found, indent=1))  # noqa: T201
    else:
        print_sweep(found, args.output)
    return 0
