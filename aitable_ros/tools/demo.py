# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable demo``: a camera, the nodes, a live table, and a report that is worth a look."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import platform
import sys
from typing import Any

from aitable_ros import __version__
from aitable_ros.errors import InputError
from aitable_ros.tools.camera import add_source_arguments
from aitable_ros.tools.camera import check_rate
from aitable_ros.tools.camera import LiveCamera
from aitable_ros.tools.camera import open_input
from aitable_ros.tools.clip import ClipTruth
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.tools.clip import SIZES
from aitable_ros.tools.verdict import Item
from aitable_ros.tools.verdict import judge
from aitable_ros.types import FatigueEvent

LIVE_SECONDS = 60.0
BUDGET_MS = 33.0  # from the image's stamp to its FatigueState, p95: one frame at 30 fps
PERCLOS_WINDOW_S = 60.0
UNTOLD_S = 1.0  # a closure is told up to this long after it: later ones are not asked for
_RECENT = 150  # messages that the live latency is of: five seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--input', metavar='FILE|INDEX|BAG',
        help='play this instead of the scripted clip: a video, GIF, bag or camera index; a bag '
        'keeps its stamps, and the nodes its time (use_sim_time)')
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

    :return: 0 done, or ended by hand, with a report on what was played; 1 the clip's contents were
        missed or a process died
    :raises InputError: the input, the parameters or the models cannot be used
    """
    prepare_ros()
    from aitable_ros.tools.graph import Graph
    from aitable_ros.tools.graph import GraphError
    from aitable_ros.tools.live import display
    from aitable_ros.tools.story import Story

    source = open_input(args.input, args, args.topic)
    keep_stamps = args.rate is not None or getattr(source, 'kind', '') == 'bag'
    if args.rate is not None and getattr(source, 'kind', '') not in ('bag', 'video'):
        raise InputError('--rate is for a bag or a video: name it with --input')
    if args.rate is not None:
        check_rate(args.rate)
    if isinstance(source, LiveCamera):
        source.close()  # the camera process takes it
    check_models(args.params_file)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f'{args.output}: cannot be a folder for the report: {error.strerror}') from None
    truth = source.truth if isinstance(source, ScriptedClip) else None
    try:
        with display(quiet=args.json) as shown, Graph(
                args.output, camera=camera_arguments(args, keep_stamps),
                parameters=args.params_file, recording=args.output / 'recording',
                sim_time=keep_stamps, on_stage=shown.stage) as graph:
            ended_early = False
            try:
                for _ in graph.run():
                    if graph.ears.faces or graph.ears.fatigue:
                        shown.show(_snapshot(graph, truth, _length(source, args)))
            except KeyboardInterrupt:
                ended_early = True
            graph.close()
            story = Story(graph.ears, graph.sent())
    except GraphError as error:
        print(f'aitable demo: {error}', file=sys.stderr)  # noqa: T201
        return 1
    events = story.events
    if ended_early:
        if len(story.sent) < 2:
            print('aitable demo: ended before the first images', file=sys.stderr)  # noqa: T201
            return 0
        if truth is not None:
            settled = max(len(story.sent) - round(UNTOLD_S * truth.fps), 0)
            truth = truth.until(len(story.sent), settled)
            events = [event for event in events if event.start_ns < story.stamps[settled]]
    items = _verdict(truth, story, events)
    status = _tell(args, source, truth, story, items)
    return 0 if ended_early else status


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


def check_models(parameters: Path | None) -> None:
    """
    Find out before anything starts that models are missing.

    :raises InputError: the models that the default parameters need are not fetched, or the
        parameter file is none
    """
    if parameters is not None:
        from aitable_ros.config import read_parameter_file

        read_parameter_file(parameters)
        return  # which models are needed the nodes know better, and say it
    from aitable_ros.emotion.reader import EmotionOptions
    from aitable_ros.face.finder import FaceOptions
    from aitable_ros.fatigue.options import FatigueOptions
    from aitable_ros.inference.chain import parts_of
    from aitable_ros.models.catalogue import CATALOGUE
    from aitable_ros.models.catalogue import onnx_path

    for options in (FaceOptions(), FatigueOptions(), EmotionOptions()):
        known = [name for entry in options.fallbacks for name in parts_of(entry)
                 if name in CATALOGUE]
        if options.required and not any(
                onnx_path(name).is_file() for name in known):
            raise InputError(
                f"{' or '.join(known)}: not in {onnx_path(known[0]).parent}: "
                'run `aitable models fetch`')


def camera_arguments(args: argparse.Namespace, keep_stamps: bool = False) -> list[str]:
    """Return what the camera process needs to play the same source."""
    arguments = ['--fps', str(args.fps), '--size', args.size, '--seed', str(args.seed)]
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
    """Seconds that the run will take, where that is known."""
    known = [
        value for value in (args.seconds, getattr(source, 'duration_s', None)) if value is not None]
    if isinstance(source, LiveCamera) and not known:
        return LIVE_SECONDS
    return min(known) if known else None


def _snapshot(graph: Any, truth: ClipTruth | None, total_s: float | None) -> Any:
    """Put the newest messages into the live table."""
    import numpy as np

    from aitable_ros.clock import header_stamp_ns
    from aitable_ros.tools.live import Snapshot
    from aitable_ros.tools.story import Percentiles
    from aitable_ros.types import Expression
    from aitable_ros.types import FatigueEventType
    from aitable_ros.types import FatigueLevel
    from aitable_ros.types import Validity

    ears, sent = graph.ears, graph.sent()
    state = _newest(ears.fatigue)
    emotion = _newest(ears.emotion)
    recent = ears.fatigue[-_RECENT:]
    sent_ns = {item.stamp_ns: item.sent_ns for item in sent[-2 * _RECENT:]}
    latency = Percentiles.of(np.array([
        (heard.receive_ns - sent_ns[stamp]) / 1e6 for heard in recent
        if (stamp := header_stamp_ns(heard.message)) in sent_ns]))
    start_ns = sent[0].stamp_ns if sent else 0
    elapsed_s = (sent[-1].stamp_ns - start_ns) / 1e9 if sent else 0.0
    answered = len({header_stamp_ns(heard.message) for heard in ears.fatigue})
    blinks = sum(heard.message.type == FatigueEventType.BLINK for heard in ears.events)
    scripted = '' if truth is None else ', scripted so far ' + str(
        sum(blink.end_frame < len(sent) for blink in truth.blinks))
    faces = len(ears.faces[-1].message.faces) if ears.faces else 0
    level, openness, perclos = 'waiting', float('nan'), 'not yet'
    if state is not None:
        level = FatigueLevel(state.level).name
        if state.level == FatigueLevel.UNKNOWN:
            level = Validity(state.validity).name.lower().replace('_', ' ')
        openness = float(state.openness)
        if np.isfinite(state.perclos):
            perclos = f'{state.perclos:.3f} of {60 * state.perclos_coverage:.0f} usable seconds'
    expression = 'not yet'
    if emotion is not None and emotion.expression != Expression.UNKNOWN:
        expression = (
            f'{Expression(emotion.expression).name.lower()} {emotion.confidence:.2f}, '
            f'valence {emotion.valence:+.2f}, arousal {emotion.arousal:+.2f}')
    return Snapshot(
        elapsed_s=elapsed_s, total_s=total_s, openness=openness, level=level,
        rows=(
            ('PERCLOS', perclos),
            ('blinks', f'{blinks}{scripted}'),
            ('expression', expression),
            ('faces', str(faces)),
            ('answered', f'{answered} of {len(sent)} images'),
            ('latency', f'{latency.p50:.1f} ms, p95 {latency.p95:.1f} ms'),
        ),
        events=tuple(
            _event_line(heard.message, start_ns) for heard in ears.events[-4:]))


def _newest(heard: Sequence[Any]) -> Any:
    """Return the primary person's newest message, or the newest, or None."""
    for item in reversed(heard[-8:]):
        if item.message.primary:
            return item.message
    return heard[-1].message if heard else None


def _event_line(message: Any, start_ns: int) -> str:
    from aitable_ros.nodes.messages import CODEC
    from aitable_ros.types import FatigueEventType

    event = CODEC.event_of(message)
    name = event.type.name.lower().replace('_', ' ')
    at = (event.start_ns - start_ns) / 1e9
    if event.type is FatigueEventType.LEVEL_CHANGED:
        return f'{at:5.1f} s  {name}: {event.level.name}'
    return f'{at:5.1f} s  {name}, {event.duration_s:.2f} s'


def _verdict(
    truth: ClipTruth | None, story: Any, events: Sequence[FatigueEvent],
) -> list[Item]:
    """What must hold: the contents of the clip, or, without a truth, that somebody was seen."""
    if truth is None:
        seen = story.face_ratio
        line = f'a face in {seen:.1%} of {len(story.sent)} images'
        return [Item('faces', seen > 0, f'{seen:.0%}', line)]
    return judge(truth, story.stamps, events)


def _tell(
    args: argparse.Namespace, source: Any, truth: ClipTruth | None, story: Any, items: list[Item],
) -> int:
    """Write the report and the summary, print the verdict and return the exit status."""
    from aitable_ros.evaluation.report.page import write_report

    name = 'scripted clip' if truth is not None else str(args.input)
    passed = all(item.passed for item in items)
    summary = story.summary(name)
    summary['verdict'] = [
        {'name': item.name, 'passed': item.passed, 'line': item.line} for item in items]
    summary['passed'] = passed
    summary_path = args.output / 'summary.json'
    summary_path.write_text(json.dumps(summary, indent=2) + '\n')
    if truth is not None:
        (args.output / 'truth.json').write_text(json.dumps(truth.labels(), indent=2) + '\n')
    report = write_report(
        args.output / 'report.html', _report(args, source, truth, story, items, name))
    if args.json:
        print(json.dumps(summary))  # noqa: T201
    else:
        for item in items:
            print(f"{'  ok ' if item.passed else 'MISSED'} {item.line}")  # noqa: T201
        latency = summary['latency_ms']['fatigue']
        print(  # noqa: T201
            f"answered {story.answered} of {len(story.sent)} images; image to FatigueState "
            f"p50 {latency['p50']} ms, p95 {latency['p95']} ms\n"
            f'report: {report.resolve()}')
    if not (args.no_browser or args.json):
        _open_browser(report)
    return 0 if passed else 1


def _report(
    args: argparse.Namespace, source: Any, truth: ClipTruth | None, story: Any,
    items: list[Item], name: str,
) -> Any:
    import numpy as np

    from aitable_ros.evaluation.report.elements import Card
    from aitable_ros.evaluation.report.elements import Report
    from aitable_ros.evaluation.report.elements import Series
    from aitable_ros.evaluation.report.elements import Span
    from aitable_ros.evaluation.report.elements import Truth
    from aitable_ros.tools.story import Percentiles

    p95 = Percentiles.of(story.latencies()['image to fatigue']).p95
    cards = [
        Card(label=_LABELS.get(item.name, item.name), value=item.value,
                note=item.line, state='good' if item.passed else 'bad') for item in items]
    cards += [
        Card(label='Answered', value=f'{story.answered_share:.1%}',
                note=f'{story.answered} of {len(story.sent)} images',
                state='good' if story.answered_share >= 0.99 else 'warn'),
        Card(label='Latency p95', value=f'{p95:.1f} ms', note='image to FatigueState',
                state='good' if p95 < BUDGET_MS else 'warn'),
        Card(label='Eyes closed', value=f'{story.closed_share:.3f}',
                note='of the time' + (
                    '' if truth is None else f'; scripted {truth.perclos:.3f}')),
        Card(label='Worst level', value=story.level_max.name)]
    drawn = None
    if truth is not None and story.sent:
        # The script by frame, on the times at which the camera really published.
        time_s = (np.array(story.stamps) - story.start_ns) / 1e9
        closure = truth.closure[:len(time_s)]

        def spans(kinds: Sequence[str]) -> list[Span]:
            return [
                Span(float(time_s[item.start_frame]), float(time_s[item.end_frame]),
                     item.kind.replace('_', ' '))
                for item in truth.closures
                if item.kind in kinds and item.end_frame < len(time_s)]
        drawn = Truth(
            series=Series(
                time_s=time_s, openness=1.0 - closure.astype(np.float64),
                perclos=truth.perclos_over(PERCLOS_WINDOW_S)[:len(time_s)]),
            blinks=spans(['blink']), closures=spans(['long_closure', 'microsleep']))
    picture, caption = _pictures(args, source, truth, story)
    return Report(
        title='aitable demo',
        subtitle=f'{name}: {len(story.sent)} images on a real topic, the nodes in another process',
        cards=cards, measured=story.series(), truth=drawn, events=story.timeline_events(),
        expression_share=story.expression_share(), latency_ms=story.latencies(),
        latency_budget_ms=BUDGET_MS, stages=story.stages(), picture=picture,
        picture_caption=caption, notes=_notes(truth), facts={
            'aitable_ros': __version__,
            'ROS 2': _ros(),
            'Python': platform.python_version(),
            'machine': f'{platform.machine()}, {os.cpu_count()} cores',
            'image': '{}×{} at {:g} fps'.format(*SIZES[args.size], args.fps)
            if truth is not None else str(args.input),
        })


def _ros() -> str:
    """Name the ROS 2 that ran: the sourced one, or the wheels."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version

    try:
        return f'{os.environ.get("ROS_DISTRO", "from PyPI")}, rclpy {version("rclpy")}'
    except PackageNotFoundError:
        return os.environ.get('ROS_DISTRO', 'unknown')


_LABELS = {
    'blinks_found': 'Blinks found', 'blinks_invented': 'Blinks invented',
    'blink_onset': 'Worst onset', 'long_closure': 'Long closure', 'microsleep': 'Microsleep',
    'faces': 'Faces', 'frames': 'Images'}


def _notes(truth: ClipTruth | None) -> list[str]:
    notes = ['Latency runs from the image’s stamp, set when it is published, to the receipt of the '
             'answer in a third process.']
    if truth is not None:
        notes.append(
            'The clip is NASA’s public-domain portrait of Eileen Collins with its eyelids moved '
            'to a script; a scripted closure lasts while the lids cover at least half of the eyes, '
            'and closed for PERCLOS means 80 %.')
    return notes


def _open_browser(report: Path) -> None:
    """Open the report where there is a screen and a person at the terminal."""
    screen = sys.platform != 'linux' or any(
        name in os.environ for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER'))
    if screen and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(report.resolve().as_uri())


def _pictures(
    args: argparse.Namespace, source: Any, truth: ClipTruth | None, story: Any,
) -> tuple[bytes | None, str]:
    """Draw the key frame, and the moving picture where it is asked for; a camera's are not kept."""
    from aitable_ros.tools import picture

    index = picture.key_frame(story, truth)
    if index is None or isinstance(source, LiveCamera):
        return None, ''
    drawn = picture.jpeg(next(iter(picture.overlays(source, story, [index]))))
    (args.output / 'keyframe.jpg').write_bytes(drawn)
    if args.gif and truth is not None:
        picture.write_gif(
            args.output / 'overlay.gif',
            picture.overlays(source, story, picture.gif_frames(story, truth)))
    at = (story.stamps[index] - story.start_ns) / 1e9
    return drawn, f'Image {index}, {at:.1f} s, with what was published about it.'
