# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable demo``: a camera, the nodes, a live table, and a report that is worth a look."""

from __future__ import annotations

import argparse
from dataclasses import asdict
import json
import os
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.tools.camera import add_source_arguments, check_rate, LiveCamera, open_input
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.tools.clip_script import ClipTruth
from aitable_ros.tools.posture_clip import LONGEST_S, PostureClip, PostureTruth
from aitable_ros.types import FrameResult

if TYPE_CHECKING:
    from aitable_ros.tools.demo_report import Evaluation
    from aitable_ros.tools.script_check import ScriptCheck

LIVE_SECONDS = 60.0
"""Length of a run with a live camera."""
UNTOLD_S = 1.0
"""
An event is published up to this long after its end. The end of an interrupted run is not judged.
"""
UNTOLD_POSTURE_S = 3.0
"""The same of a posture: the default of ``posture.dwell_s``, and a second."""
RECORDING = 'recording'
"""Folder of the recorded topics in the output folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--input', metavar='FILE|INDEX|BAG',
        help='play this instead of the scripted clip: a video, GIF, bag or camera index; a bag '
        'keeps its stamps, and the nodes its time (use_sim_time)')
    parser.add_argument(
        '--posture', action='store_true', help='read the posture, too; without --input the '
        f'scripted clip is another one, {LONGEST_S:g} s of a person who leans to both sides')
    parser.add_argument('--topic', metavar='T', help='camera topic of a bag that has several')
    parser.add_argument(
        '--rate', type=float, metavar='R', help='play a bag or video so many times faster, with '
        'its own stamps')
    add_source_arguments(parser)
    parser.add_argument(
        '--output', type=Path, default=Path('demo'), metavar='DIR',
        help='folder of the report (default: demo)')
    parser.add_argument('--params-file', type=Path, metavar='FILE', help='parameters of the nodes')
    parser.add_argument(
        '--no-browser', action='store_true', help='do not open the report in the browser')
    parser.add_argument(
        '--gif', action='store_true', help='also write DIR/overlay.gif, of the scripted clip')
    parser.add_argument('--json', action='store_true', help='print the summary as JSON only')


def run(args: argparse.Namespace) -> int:
    """
    Run the demo.

    :return: 0 all checks passed, or ended by the user, with a report on the part that was played;
        1 a check failed or a process died
    :raises InputError: the input, the parameters or the models cannot be used
    """
    prepare_ros()
    from aitable_ros.evaluation.summary import rounded, write_json
    from aitable_ros.tools.child_process import ProcessError
    from aitable_ros.tools.demo_report import write_demo_report
    from aitable_ros.tools.latency import Latency
    from aitable_ros.tools.live_graph import LiveGraph
    from aitable_ros.tools.live_table import display, snapshot

    source = open_input(args.input, args, args.topic)
    keep_stamps = args.rate is not None or getattr(source, 'kind', '') == 'bag'
    if args.rate is not None and getattr(source, 'kind', '') not in ('bag', 'video'):
        raise InputError('--rate is for a bag or a video: name it with --input')
    if args.rate is not None:
        check_rate(args.rate)
    if isinstance(source, LiveCamera):
        source.close()  # the camera process opens it again
    check_models(args.params_file, posture=args.posture)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f'{args.output}: cannot be a folder for the report: {error.strerror}') from None
    truth: ClipTruth | PostureTruth | None = \
        source.truth if isinstance(source, (ScriptedClip, PostureClip)) else None
    try:
        with display(quiet=args.json) as shown, LiveGraph(
                args.output, camera=camera_arguments(args, keep_stamps),
                parameters=args.params_file, posture=args.posture,
                recording=args.output / RECORDING,
                sim_time=keep_stamps, on_stage=shown.stage) as graph:
            ended_early = False
            received = graph.received
            try:
                for _ in graph.run():
                    if received.faces or received.fatigue:
                        shown.show(snapshot(
                            received, graph.sent(),
                            truth if isinstance(truth, ClipTruth) else None,
                            _length(source, args)))
            except KeyboardInterrupt:
                ended_early = True
            graph.close()
            sent = graph.sent()
    except ProcessError as error:
        print(f'aitable demo: {error}', file=sys.stderr)  # noqa: T201
        return 1
    settled = len(sent)
    if ended_early:
        if settled < 2 or not received.fatigue:
            print('aitable demo: ended before the first answers', file=sys.stderr)  # noqa: T201
            return 0
        if truth is not None:
            untold_s = UNTOLD_S if isinstance(truth, ClipTruth) else UNTOLD_POSTURE_S
            settled = max(settled - round(untold_s * truth.fps), 0)
            truth = truth.until(len(sent), settled)
    evaluation = _evaluate(args, truth, settled)
    checks = _checks(truth, evaluation)
    latency = Latency(received, sent)
    passed = all(check.passed for check in checks)
    name = 'scripted clip' if truth is not None else str(args.input)
    summary = rounded({
        **evaluation.summary, 'input': name, **latency.summary(), 'passed': passed,
        'verdict': [asdict(check) for check in checks]})
    write_json(args.output / 'summary.json', summary)
    report = write_demo_report(
        args.output, name, source, truth, evaluation, checks, latency, received, sent,
        gif=args.gif)
    _print(args, summary, checks)
    if not (args.no_browser or args.json):
        _open_browser(report)
    return 0 if passed or ended_early else 1


def prepare_ros() -> None:
    """
    Get this process ready for rclpy; it may be replaced by itself, so call it before all else.

    Keeps the demo's topics on this machine unless the user has said otherwise.
    """
    from aitable_ros.nodes import environment

    if 'ROS_LOCALHOST_ONLY' not in os.environ:
        if os.environ.get('ROS_DISTRO') == 'humble':
            os.environ['ROS_LOCALHOST_ONLY'] = '1'
        else:
            os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    environment.prepare()
    try:
        import rclpy  # noqa: F401  (the wheels from PyPI restart Python here, once)
    except ImportError as error:
        raise InputError(
            f'ROS 2 is not there ({error}): run scripts/demo.sh, or source a ROS 2 first') from None


def check_models(parameters: Path | None, *, posture: bool = False) -> None:
    """
    Check the models before any process starts.

    :param posture: its models are needed, too
    :raises InputError: the models that the default parameters need are not fetched, or the
        parameter file is none
    """
    if parameters is not None:
        from aitable_ros.config import read_parameter_file

        read_parameter_file(parameters)
        return  # the nodes check the models of a parameter file
    from aitable_ros.emotion.reader import EmotionOptions
    from aitable_ros.face.finder import FaceOptions
    from aitable_ros.fatigue.options import FatigueOptions
    from aitable_ros.inference.chain import ModelOptions, parts_of
    from aitable_ros.models.catalogue import CATALOGUE, onnx_path
    from aitable_ros.posture.options import PostureOptions

    stages: list[ModelOptions] = [FaceOptions(), FatigueOptions(), EmotionOptions()]
    if posture:
        body = PostureOptions()
        names = [name for name in (body.detector, *body.fallbacks) if name in CATALOGUE]
        missing = [name for name in names if not onnx_path(name).is_file()]
        if missing:
            raise InputError(f"{' and '.join(missing)}: not in {onnx_path(missing[0]).parent}: run "
                             f"`aitable models fetch {' '.join(missing)}`")
    for options in stages:
        known = [name for entry in options.fallbacks for name in parts_of(entry)
                 if name in CATALOGUE]
        if options.required and not any(
                onnx_path(name).is_file() for name in known):
            raise InputError(
                f"{' or '.join(known)}: not in {onnx_path(known[0]).parent}: "
                'run `aitable models fetch`')


def camera_arguments(args: argparse.Namespace, keep_stamps: bool = False) -> list[str]:
    """Return the arguments with which the camera process plays the same source."""
    arguments = ['--fps', str(args.fps), '--size', args.size, '--seed', str(args.seed)]
    if getattr(args, 'posture', False):
        arguments.append('--posture')
    if args.input is not None:
        arguments += ['--input', str(args.input)]
    if getattr(args, 'topic', None):
        arguments += ['--bag-topic', args.topic]
    if keep_stamps:
        arguments += ['--keep-stamps', '--rate', str(args.rate or 1.0)]
    seconds = args.seconds
    if seconds is None and args.input is not None and args.input.isdigit():
        seconds = LIVE_SECONDS
    if seconds is not None:
        arguments += ['--seconds', str(seconds)]
    return arguments


def _length(source: Any, args: argparse.Namespace) -> float | None:
    """Return the length of the run in seconds, where it is known."""
    known = [
        value for value in (args.seconds, getattr(source, 'duration_s', None)) if value is not None]
    if isinstance(source, LiveCamera) and not known:
        return LIVE_SECONDS
    return min(known) if known else None


def _evaluate(
    args: argparse.Namespace, truth: ClipTruth | PostureTruth | None, settled: int,
) -> Evaluation:
    """
    Evaluate the recording of the run as ``aitable evaluate --from-topics`` does.

    :param settled: images of the clip that were played for long enough to be judged
    """
    from aitable_ros.evaluation.datasets.own import read_labels
    from aitable_ros.evaluation.evaluate import measure
    from aitable_ros.evaluation.summary import write_json
    from aitable_ros.pipeline import PipelineOptions
    from aitable_ros.recordings.recorded_pipeline import RecordedPipeline
    from aitable_ros.recordings.recorded_topics import RecordedTopics
    from aitable_ros.tools.demo_report import Evaluation
    from aitable_ros.tools.live_graph import NAMESPACE

    source = RecordedTopics(args.output / RECORDING, NAMESPACE)
    labels = None
    if truth is not None:
        write_json(args.output / 'truth.json', truth.labels(settled))
        labels = read_labels(args.output / 'truth.json')
    options = PipelineOptions.from_file(args.params_file, source.note) if args.params_file \
        else PipelineOptions()
    results: list[FrameResult] = []
    with RecordedPipeline(options, source) as replay:
        measured, summary, _ = measure(
            source, labels, args.output, replay,
            on_result=lambda frame, result: results.append(result))
    return Evaluation(source, replay, labels, measured, summary, results)


def _checks(
    truth: ClipTruth | PostureTruth | None, evaluation: Evaluation,
) -> list[ScriptCheck]:
    """Check the contents of the clip; of another input, that there was a face."""
    from aitable_ros.tools.script_check import check_postures, check_script, ScriptCheck

    if isinstance(truth, PostureTruth):
        return check_postures(truth, evaluation.measured)
    if truth is not None and evaluation.labels is not None:
        return check_script(truth, evaluation.measured, evaluation.labels.ignore)
    seen, frames = evaluation.summary['face_ratio'], evaluation.summary['frames']
    line = f'a face in {seen:.1%} of {frames} images'
    return [ScriptCheck('faces', seen > 0, f'{seen:.0%}', line)]


def _print(args: argparse.Namespace, summary: dict[str, Any], checks: list[ScriptCheck]) -> None:
    if args.json:
        print(json.dumps(summary))  # noqa: T201
        return
    for check in checks:
        print(f"{'  ok ' if check.passed else 'MISSED'} {check.line}")  # noqa: T201
    latency = {
        key: 'none' if value is None else f'{value:.1f} ms'
        for key, value in summary['latency_ms']['fatigue'].items()}
    print(  # noqa: T201
        f"answered {summary['answered']} of {summary['frames']} images; image to FatigueState "
        f"p50 {latency['p50']}, p95 {latency['p95']}\n"
        f"report: {(args.output / 'report.html').resolve()}")


def _open_browser(report: Path) -> None:
    """Open the report where there is a screen and a person at the terminal."""
    screen = sys.platform != 'linux' or any(
        name in os.environ for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER'))
    if screen and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(report.resolve().as_uri())
