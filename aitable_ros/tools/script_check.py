# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Compare the measured events with the script of the clip, one line for each requirement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.measurements import Measurements
from aitable_ros.evaluation.metrics import match_spans, Matching, TOLERANCE_FRAMES
from aitable_ros.evaluation.postures import commonest
from aitable_ros.posture_types import PostureEventType
from aitable_ros.tools.clip_script import ClipTruth, ScriptedClosure
from aitable_ros.tools.posture_clip import MOVE_S, PostureTruth
from aitable_ros.types import FatigueEventType

CLOSURES = {
    'long_closure': FatigueEventType.LONG_CLOSURE, 'microsleep': FatigueEventType.MICROSLEEP}
"""Scripted closure -> its event."""
SLACK_S = 1.0
"""
How much later than the move a change of posture may be told to begin: figures are smoothed at
0.5 Hz, a third of a second, and a state is left below 70 % of what it is entered with.
"""


@dataclass(frozen=True, slots=True)
class ScriptCheck:
    """
    One requirement.

    :param name: short, for the summary file
    :param value: the figure, for a card
    :param line: the finding in words
    """

    name: str
    passed: bool
    value: str
    line: str


def check_script(
    truth: ClipTruth, measured: Measurements, ignore: Sequence[FrameSpan] = (),
) -> list[ScriptCheck]:
    """
    Compare the primary person's events with the script.

    :param ignore: frames that are not judged
    """
    def matched(scripted: Sequence[ScriptedClosure], kind: FatigueEventType) -> Matching:
        found = [FrameSpan(e.start_frame, e.end_frame) for e in measured.of_primary(kind)]
        return match_spans(
            found, [FrameSpan(item.start_frame, item.end_frame) for item in scripted], ignore)
    checks = _blinks(matched(truth.blinks, FatigueEventType.BLINK))
    for kind, event in CLOSURES.items():
        scripted = truth.of_kind(kind)
        if scripted:
            checks.append(_closure(kind.replace('_', ' '), matched(scripted, event)))
    return checks


def check_postures(truth: PostureTruth, measured: Measurements) -> list[ScriptCheck]:
    """Compare the primary person's posture with the script of the clip of posture."""
    states = measured.posture.states
    right = [one for one in truth.postures if commonest(
        states[one.start_frame:one.end_frame + 1]) is one.state]
    wanted = [one.start_frame - round(MOVE_S * truth.fps) for one in truth.postures[1:]]
    told = [event.start_frame for event in measured.posture.of_primary(
        PostureEventType.POSTURE_CHANGED)]
    late = [(one - other) / truth.fps for one, other in zip(told, wanted)]
    worst = max(late, key=abs, default=0.0)
    n = len(truth.postures)
    return [
        ScriptCheck('postures', len(right) == n, f'{len(right)} of {n}',
              f'{len(right)} of {n} scripted postures told'
              + ''.join(f'; not {one.state.name.lower().replace("_", " ")} (frame '
                        f'{one.start_frame})' for one in truth.postures if one not in right)),
        ScriptCheck('posture_changes', len(told) == len(wanted), f'{len(told)} of {len(wanted)}',
              f'{len(told)} changes of posture told, {len(wanted)} scripted'),
        ScriptCheck('posture_onset', len(late) == len(wanted) and all(
            0 <= delay <= MOVE_S + SLACK_S for delay in late), f'{worst:.1f} s',
              f'changes told to begin within {worst:.1f} s of the move (at most '
              f'{MOVE_S + SLACK_S:g} s, of which it lasts {MOVE_S:g} s)')]


def _blinks(blinks: Matching) -> list[ScriptCheck]:
    found, scripted = len(blinks.pairs), len(blinks.pairs) + len(blinks.missed)
    worst = max((abs(one.start - other.start) for one, other in blinks.pairs), default=0)
    within = '1 frame' if worst == 1 else f'{worst} frames'
    return [
        ScriptCheck('blinks_found', not blinks.missed, f'{found} of {scripted}',
              f'{found} of {scripted} scripted blinks found{_at(blinks.missed)}'),
        ScriptCheck('blinks_invented', not blinks.invented, str(len(blinks.invented)),
              f'{len(blinks.invented)} blinks invented{_at(blinks.invented)}'),
        ScriptCheck('blink_onset', bool(blinks.pairs) and worst <= TOLERANCE_FRAMES, within,
              f'onsets within {within} (at most {TOLERANCE_FRAMES})'),
    ]


def _closure(name: str, matching: Matching) -> ScriptCheck:
    key = name.replace(' ', '_')
    if matching.missed or not matching.pairs:
        return ScriptCheck(key, False, 'missed', f'the scripted {name} raised no event')
    (found, scripted), *_ = matching.pairs
    return ScriptCheck(
        key, True, 'found', f'the {name} raised its event (frames {found.start} to {found.end}, '
        f'scripted {scripted.start} to {scripted.end})')


def _at(places: Sequence[FrameSpan]) -> str:
    return f" ({', '.join(f'frame {span.start}' for span in places)})" if places else ''
