# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The report of a demo: that of its recording, with the script, the latencies and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
import os
from pathlib import Path
import platform
from typing import Any

import numpy as np

from aitable_ros import __version__
from aitable_ros.evaluation.labels import Labels
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.report.elements import Card, Series, Truth
from aitable_ros.evaluation.report.one_recording import present
from aitable_ros.evaluation.report.page import write_report
from aitable_ros.evaluation.summary import Summary
from aitable_ros.posture.options import PostureOptions
from aitable_ros.recordings.recorded_pipeline import RecordedPipeline
from aitable_ros.recordings.recorded_topics import RecordedTopics
from aitable_ros.tools import demo_pictures
from aitable_ros.tools.camera import LiveCamera
from aitable_ros.tools.clip_script import ClipTruth
from aitable_ros.tools.latency import Latency, Percentiles, stages
from aitable_ros.tools.live_graph import Received, SentImage
from aitable_ros.tools.posture_clip import PostureTruth
from aitable_ros.tools.script_check import ScriptCheck
from aitable_ros.types import FrameResult

BUDGET_MS = 33.0
"""From the stamp of an image to its FatigueState, p95: one frame at 30 fps."""
PERCLOS_WINDOW_S = 60.0
LABELS = {
    'blinks_found': 'Blinks found', 'blinks_invented': 'Blinks invented',
    'blink_onset': 'Worst onset', 'long_closure': 'Long closure', 'microsleep': 'Microsleep',
    'faces': 'Faces', 'postures': 'Postures', 'posture_changes': 'Changes of posture',
    'posture_onset': 'Worst onset'}
"""Titles of the cards of checks."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """
    The recording of a run, evaluated.

    :param results: of each image, in the order of the frames
    """

    source: RecordedTopics
    replay: RecordedPipeline
    labels: Labels | None
    measured: Measurements
    summary: Summary
    results: Sequence[FrameResult]


def write_demo_report(
    folder: Path, name: str, source: Any, truth: ClipTruth | PostureTruth | None,
    evaluation: Evaluation, checks: Sequence[ScriptCheck], latency: Latency, received: Received,
    sent: Sequence[SentImage], *, gif: bool = False,
) -> Path:
    """
    Write ``report.html``, ``keyframe.jpg`` and, of the clip, ``overlay.gif`` if asked for.

    :param name: of the input
    :param source: of the images; a live camera's are not kept and not shown
    :return: the report
    """
    summary, measured = evaluation.summary, evaluation.measured
    # The checks say of the clip what scores would.
    report = present(
        evaluation.source, measured, evaluation.labels, {**summary, 'scores': {}},
        folder / 'frames.parquet', evaluation.replay)
    picture, caption = None, ''
    index = demo_pictures.key_frame(evaluation.results, truth)
    if index is not None and not isinstance(source, LiveCamera):
        numbers = {image.stamp_ns: image.frame for image in sent}
        pictures = demo_pictures.Overlays(source, evaluation.results, numbers)
        picture = demo_pictures.jpeg(next(pictures.draw([index])))
        (folder / 'keyframe.jpg').write_bytes(picture)
        caption = f'Image {index}, {measured.time_s(index):.1f} s, with the published results.'
        if gif and isinstance(truth, ClipTruth):
            demo_pictures.write_gif(folder / 'overlay.gif', pictures.draw(
                demo_pictures.gif_frames(len(evaluation.results), truth)))
    return write_report(folder / 'report.html', replace(
        report, title='aitable demo',
        subtitle=f'{name}: {summary["frames"]} images on a real topic, the nodes in another '
                 'process',
        cards=[
            *_cards(checks, latency),
            # A scripted microsleep is no failure.
            *(replace(card, state='plain') if truth else card for card in report.cards)],
        truth=report.truth and _scripted(report.truth, truth, measured),
        latency_ms={f'image to {topic}': samples for topic, samples in latency.samples_ms.items()},
        latency_budget_ms=BUDGET_MS, stages=stages(received), picture=picture,
        picture_caption=caption, notes=[*_notes(truth), *report.notes], facts={
            'aitable_ros': __version__, 'ROS 2': _ros(), 'Python': platform.python_version(),
            'machine': f'{platform.machine()}, {os.cpu_count()} cores', 'input': name}))


def _cards(checks: Sequence[ScriptCheck], latency: Latency) -> list[Card]:
    p95 = Percentiles.of(latency.samples_ms['fatigue']).p95
    return [
        *(Card(label=LABELS[check.name], value=check.value, note=check.line,
               state='good' if check.passed else 'bad') for check in checks),
        Card(label='Answered', value=f'{latency.answered_share:.1%}',
             note=f'{latency.answered} of {latency.images} images',
             state='good' if latency.answered_share >= 0.99 else 'warn'),
        Card(label='Latency p95', value=f'{p95:.1f} ms', note='image to FatigueState',
             state='good' if p95 < BUDGET_MS else 'warn')]


def _scripted(
    spans: Truth, truth: ClipTruth | PostureTruth | None, measured: Measurements,
) -> Truth:
    """Add the script's curves, at the times at which the camera published."""
    if not isinstance(truth, ClipTruth):
        return spans
    frames = min(len(measured.stamps), len(truth.closure))
    return replace(spans, series=Series(
        time_s=np.array([measured.time_s(frame) for frame in range(frames)]),
        openness=1.0 - truth.closure[:frames].astype(np.float64),
        perclos=truth.perclos_over(PERCLOS_WINDOW_S)[:frames]))


def _notes(truth: ClipTruth | PostureTruth | None) -> list[str]:
    notes = ['Latency runs from the publication of an image to the receipt of its answer in a '
             'third process.']
    if isinstance(truth, PostureTruth):
        notes.append(
            'The clip is NASA’s public-domain portrait of Eileen Collins, turned about the middle '
            'of its lower edge to a script. A posture is told when it has lasted for '
            f'{PostureOptions().dwell_s:g} s, with the time at which it began; the first '
            f'{PostureOptions().baseline_warm_up_s:g} s of facing the camera teach the stage how '
            'this person sits upright.')
    elif truth is not None:
        notes.append(
            'The clip is NASA’s public-domain portrait of Eileen Collins with its eyelids moved '
            'to a script; a scripted closure lasts while the lids cover at least half of the eyes, '
            f'and closed for PERCLOS means 80 %: {truth.perclos:.3f} of the clip.')
    return notes


def _ros() -> str:
    """Name the ROS 2 that ran: the sourced one, or the wheels."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f'{os.environ.get("ROS_DISTRO", "from PyPI")}, rclpy {version("rclpy")}'
    except PackageNotFoundError:
        return os.environ.get('ROS_DISTRO', 'unknown')
