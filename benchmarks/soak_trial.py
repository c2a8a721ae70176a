# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A fault tried: what was seen before, meanwhile and after it, and whether that is recovered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
import time
from typing import Any

from process import holding
from soak_faults import Fault, FAULTS, Start, started
import soak_faults_camera  # noqa: F401 - each adds its faults
import soak_faults_models  # noqa: F401
import soak_faults_process  # noqa: F401
from soak_rig import Heard, LEVELS, NO_FACE, NODES, Rig

CALM_S = 2.5
"""Before a fault, and after it once all is well again."""
PATIENCE_S = 30.0
GAP_S = 0.5
"""Answers that stay away for so long have stopped: 15 images."""
MOST_LOST = 0.05
"""Of the images that no fault concerned: best effort, on a machine that does something else, too.
What is lost without a fault is measured beside it: ``nothing``."""
REMEMBERED_S = 10.0
"""People are forgotten after so long without an image (face/finder.py PAUSE_S)."""
LEAST_ALLOWED = 5
COVERAGE_SLACK = 0.02
"""Usable share of the 60 s window: 1.2 s."""


@dataclass(slots=True)
class Outcome:
    """
    What one fault did.

    :param fault_s: how long it lasted
    :param stopped_s: after its begin the answers stopped; None where they never did for 0.5 s
    :param gap_s: for so long
    :param back_s: after its end they came again; None where they never stopped
    :param well_s: after its end every node says OK again
    :param concerned: images that the fault concerned
    :param concerned_lost: how many of them had no answer
    :param others: images sent meanwhile and afterwards that it did not concern
    :param others_lost: how many of them had no answer
    :param worst: worst level of each node in ``/diagnostics`` meanwhile, and what it said
    :param person: track id and usable share of the PERCLOS window, before and after
    :param log_lines: warnings and errors that the process logged
    :param output_lines: all that it wrote, libraries included
    :param grown: threads, descriptors and MB of memory, afterwards minus before; resident memory
        has the camera's shared one in it, ``own_mb`` has not
    :param missed: what is not as it should be; empty is recovered
    """

    name: str
    does: str
    fault_s: float = 0.0
    stopped_s: float | None = None
    gap_s: float | None = None
    back_s: float | None = None
    well_s: float | None = None
    concerned: int = 0
    concerned_lost: int = 0
    others: int = 0
    others_lost: int = 0
    worst: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    person: tuple[tuple[int, float], tuple[int, float]] = ((0, 0.0), (0, 0.0))
    log_lines: int = 0
    output_lines: int = 0
    log: list[str] = field(default_factory=list)
    grown: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    @property
    def recovered(self) -> bool:
        """Whether all is as it should be."""
        return not self.missed


def select(names: Iterable[str]) -> list[Fault]:
    """
    Return the faults of these names, all where there is none, those of one start side by side.

    :raises SystemExit: there is none of a name
    """
    wanted = set(names)
    unknown = wanted - {fault.name for fault in FAULTS}
    if unknown:
        raise SystemExit(f"{', '.join(sorted(unknown))}: no such fault; there are "
                         f"{', '.join(fault.name for fault in FAULTS)}")
    chosen = [fault for fault in FAULTS if not wanted or fault.name in wanted]
    return sorted(chosen, key=lambda fault: repr(fault.start) != repr(Start()))


def try_all(
    faults: Iterable[Fault], size: tuple[int, int], keep: Path | None,
) -> Iterator[Outcome]:
    """Try faults one after the other; those that start alike on one process."""
    for start, group in itertools.groupby(faults, key=lambda fault: fault.start):
        left = list(group)
        while left:
            with TemporaryDirectory(prefix='aitable_faults_') as temporary:
                folder = Path(temporary) if keep is None else keep / left[0].name
                folder.mkdir(parents=True, exist_ok=True)
                with started(start, folder, size) as rig:
                    while left:
                        outcome = attempt(rig, left.pop(0))
                        yield outcome
                        if not outcome.recovered:
                            break  # the next begins on a process of its own


def attempt(rig: Rig, fault: Fault) -> Outcome:
    """Try one fault on a running pipeline."""
    outcome = Outcome(fault.name, fault.does)
    if not rig.until(rig.all_well, PATIENCE_S):
        outcome.missed.append(f'not well before: {_told(rig)}')
        return outcome
    rig.wait(CALM_S)
    rig.windows.clear()
    clock = rig.extra.get('clock')
    rig.extra.clear()
    if clock is not None:
        rig.extra['clock'] = clock
    process, said = rig.nodes.pid, len(rig.log())
    before, resources = rig.person(), _resources(process)
    try:
        fault.act(rig)
    except Exception as error:
        outcome.missed.append(f'{type(error).__name__}: {error}')
    finally:
        rig.camera.paused = rig.camera.concerned = False
        rig.well_again()
    if not rig.windows:
        rig.windows.append((time.monotonic(),) * 2)
    begin, end = rig.windows[0][0], rig.windows[-1][1]
    rig.until(rig.all_well, PATIENCE_S)
    well_s = time.monotonic() - end
    rig.wait(CALM_S)
    finish = time.monotonic() - 0.5  # what was sent later may still be under way
    rig.extra.pop('clock', None) if clock is None else rig.extra.update(clock=clock)
    outcome.extra = {key: value for key, value in rig.extra.items() if key != 'clock'}
    outcome.fault_s = round(end - begin, 2)
    outcome.well_s = round(well_s, 2)
    _count(outcome, rig, begin, finish)
    _gap(outcome, rig.ears.fatigue, begin, end)
    outcome.worst = _worst(rig, begin, end + 1.5)
    outcome.after = {name: LEVELS[level] for name, level in rig.levels().items()}
    after = rig.person()
    outcome.person = tuple(  # type: ignore[assignment]
        (one.track_id, round(one.coverage, 3)) for one in (before, after))
    same = process == rig.nodes.pid
    log = rig.log()[said if same else 0:]
    outcome.log = [text for text in log if _is_trouble(text)]
    outcome.log_lines, outcome.output_lines = len(outcome.log), len(log)
    if rig.nodes.process.poll() is not None:
        outcome.missed.append(
            f'the process ended with {rig.nodes.process.poll()}: ' + ' | '.join(log[-5:]))
        return outcome
    if same:
        outcome.grown = {
            key: round(value - resources[key], 1) for key, value in _resources(process).items()}
    _judge(outcome, fault, rig, same)
    return outcome


def _judge(outcome: Outcome, fault: Fault, rig: Rig, same: bool) -> None:
    missed = outcome.missed
    if not rig.all_well():
        missed.append(f'not well afterwards: {_told(rig)}')
    if outcome.back_s is not None and outcome.back_s > fault.back_s:
        missed.append(f'answers came {outcome.back_s:.1f} s after its end, not {fault.back_s:g}')
    allowed = max(LEAST_ALLOWED, MOST_LOST * outcome.others)
    if outcome.others_lost > allowed:
        missed.append(f'{outcome.others_lost} of {outcome.others} images that it did not concern '
                      'had no answer')
    (id_before, share_before), (id_after, share_after) = outcome.person
    keeps = fault.keeps and (outcome.gap_s or 0.0) < REMEMBERED_S
    if keeps and id_after != id_before:
        missed.append(f'person {id_before} became {id_after}')
    if keeps and share_after < share_before * (1 - (outcome.gap_s or 0) / 60) - \
            COVERAGE_SLACK - outcome.concerned_lost / 30 / 60:
        missed.append(f'the PERCLOS window fell from {share_before} to {share_after}')
    if outcome.log_lines > fault.lines:
        missed.append(f'{outcome.log_lines} warnings and errors were logged, not {fault.lines}')
    if any('Traceback' in text for text in rig.log()):
        missed.append('a traceback was logged')
    seen = max((LEVELS.index(text.partition(':')[0]) for text in outcome.worst.values()), default=0)
    if seen < fault.level:
        missed.append(f'/diagnostics was at worst {LEVELS[seen]}, not {LEVELS[fault.level]}')
    if same and outcome.grown.get('threads', 0) > fault.threads:
        missed.append(f"{outcome.grown['threads']} threads more")


def _count(outcome: Outcome, rig: Rig, begin: float, finish: float) -> None:
    answered = {heard.stamp_ns for heard in rig.ears.fatigue}
    for sent in rig.camera.sent:
        if not begin <= sent.time_s <= finish:
            continue
        lost = sent.stamp_ns not in answered
        if sent.concerned:
            outcome.concerned += 1
            outcome.concerned_lost += lost
        else:
            outcome.others += 1
            outcome.others_lost += lost


def _gap(outcome: Outcome, heard: list[Heard], begin: float, end: float) -> None:
    """Find the longest time without an answer; one that tells of no image is none."""
    times = [one.time_s for one in heard if one.time_s >= begin - GAP_S and one.validity != NO_FACE]
    gaps = [
        (late - early, early, late) for early, late in itertools.pairwise(times)
        if late > begin and early < end + PATIENCE_S]
    gap_s, early, late = max(gaps, default=(0.0, 0.0, 0.0))
    if gap_s > GAP_S:
        outcome.gap_s = round(gap_s, 2)
        outcome.stopped_s = round(max(early - begin, 0.0), 2)
        outcome.back_s = round(late - end, 2)


def _worst(rig: Rig, begin: float, end: float) -> dict[str, str]:
    """Return the worst that each node told; STALE counts most, as it does in ROS."""
    worst = {}
    for name in NODES:
        told = [one for one in rig.ears.status[name] if begin <= one.time_s <= end]
        if told:
            one = max(told, key=lambda one: one.level)
            worst[name] = LEVELS[one.level] + (f': {one.message}' if one.level else '')
    return worst


def _told(rig: Rig) -> str:
    levels = rig.levels()
    lines = [
        f'{name} {LEVELS[levels[name]]} ({rig.ears.status[name][-1].message})'
        if name in levels else f'{name} silent' for name in NODES]
    return ', '.join([*lines, 'answers come' if rig.answering() else 'no answers'])


def _is_trouble(text: str) -> bool:
    return any(mark in text for mark in ('[WARN]', '[ERROR]', '[FATAL]', 'Traceback', 'Error'))


def _resources(pid: int) -> dict[str, float]:
    try:
        held = holding(pid)
        return {
            'threads': float(held.threads), 'rss_mb': held.rss_mb, 'own_mb': held.anonymous_mb,
            'descriptors': float(held.descriptors)}
    except (OSError, KeyError):
        return dict.fromkeys(('threads', 'rss_mb', 'own_mb', 'descriptors'), 0.0)


HEAD = (f"{'fault':24} {'lasted':>7} {'stopped':>8} {'gap':>6} {'back':>6} {'well':>6} "
        f"{'concerned lost':>15} {'others lost':>13}  {'worst':6} {'person':>15}  lines")


def line(outcome: Outcome) -> str:
    """Return one line of the table."""
    def seconds(value: float | None) -> str:
        return '-' if value is None else f'{value:.1f}'
    levels = [text.partition(':')[0] for text in outcome.worst.values()]
    worst = max(levels, key=LEVELS.index, default='')
    (_, before), (_, after) = outcome.person
    same = '=' if outcome.person[0][0] == outcome.person[1][0] else '≠'
    return (
        f'{outcome.name:24} {outcome.fault_s:7.1f} {seconds(outcome.stopped_s):>8} '
        f'{seconds(outcome.gap_s):>6} {seconds(outcome.back_s):>6} {seconds(outcome.well_s):>6} '
        f'{outcome.concerned_lost:>7} of {outcome.concerned:<4} '
        f'{outcome.others_lost:>5} of {outcome.others:<4}  {worst:6} '
        f'{same} {before:.2f} → {after:.2f}  {outcome.log_lines:>5}  '
        f"{'recovered' if outcome.recovered else 'NOT RECOVERED'}")


def report(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return what goes into the JSON file."""
    return {
        'recovered': sum(outcome.recovered for outcome in outcomes), 'of': len(outcomes),
        'passed': all(outcome.recovered for outcome in outcomes),
        'faults': [{**asdict(outcome), 'recovered': outcome.recovered} for outcome in outcomes]}
