# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Whether what was heard is what the clip contains: one line for each thing that must hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aitable_ros.evaluation.labels import FrameSpan
from aitable_ros.evaluation.metrics import match
from aitable_ros.evaluation.metrics import TOLERANCE_FRAMES
from aitable_ros.tools.clip import ClipTruth
from aitable_ros.tools.clip import Closure
from aitable_ros.types import FatigueEvent
from aitable_ros.types import FatigueEventType


@dataclass(frozen=True, slots=True)
class Item:
    """
    One thing that must hold.

    :param name: short, for the summary file
    :param value: the figure, for a card
    :param line: what was found, for a person
    """

    name: str
    passed: bool
    value: str
    line: str


def span_of(event: FatigueEvent, stamps_ns: Sequence[int]) -> FrameSpan:
    """Return the frames of an event: those whose stamps are nearest to its start and its end."""
    stamps = np.asarray(stamps_ns, np.int64)

    def nearest(time_ns: int) -> int:
        right = int(np.clip(np.searchsorted(stamps, time_ns), 1, len(stamps) - 1))
        return right - int(time_ns - stamps[right - 1] < stamps[right] - time_ns)
    return FrameSpan(
        nearest(event.start_ns), nearest(event.start_ns + round(event.duration_s * 1e9)))


def _pairs(scripted: Sequence[Closure], found: Sequence[FrameSpan]) -> dict[int, int]:
    """Pair the scripted with the found that overlap within the tolerance, one to one, by index."""
    return dict(match(scripted, found, lambda real, span: (
        span.start <= real.end_frame + TOLERANCE_FRAMES
        and span.end >= real.start_frame - TOLERANCE_FRAMES)))


def judge(
    truth: ClipTruth, stamps_ns: Sequence[int], events: Sequence[FatigueEvent],
) -> list[Item]:
    """
    Compare what was heard with the script.

    :param stamps_ns: of the frames as they were published, in the order of the clip
    :param events: everything that the fatigue node told
    """
    if len(stamps_ns) < 2:
        count = str(len(stamps_ns))
        return [Item('frames', False, count, f'the camera published {count} images')]

    def told(*types: FatigueEventType) -> list[FrameSpan]:
        return [span_of(event, stamps_ns) for event in events if event.type in types]
    items = _blinks(truth.blinks, told(FatigueEventType.BLINK))
    for kind, types in (
            # What is long enough for a later stage may be told as that alone.
            ('long_closure', (FatigueEventType.LONG_CLOSURE,)),
            ('microsleep', (FatigueEventType.MICROSLEEP,))):
        scripted = truth.of_kind(kind)
        if scripted:
            items.append(_closures(kind, scripted, told(*types)))
    return items


def _blinks(scripted: Sequence[Closure], found: Sequence[FrameSpan]) -> list[Item]:
    pairs = _pairs(scripted, found)
    missed = [
        f'frame {real.start_frame}' for i, real in enumerate(scripted) if i not in pairs]
    invented = [f'frame {span.start}' for j, span in enumerate(found) if j not in pairs.values()]
    late = [abs(scripted[i].start_frame - found[j].start) for i, j in pairs.items()]
    worst = max(late, default=0)
    return [
        Item('blinks_found', not missed, f'{len(pairs)} of {len(scripted)}',
             f'{len(pairs)} of {len(scripted)} scripted blinks found' + _at(missed)),
        Item('blinks_invented', not invented, str(len(invented)),
             f'{len(invented)} blinks invented' + _at(invented)),
        Item('blink_onset', bool(pairs) and worst <= TOLERANCE_FRAMES, _frames(worst),
             f'onsets within {_frames(worst)} (at most {TOLERANCE_FRAMES})'),
    ]


def _closures(kind: str, scripted: Sequence[Closure], found: Sequence[FrameSpan]) -> Item:
    pairs = _pairs(scripted, found)
    name = kind.replace('_', ' ')
    if len(pairs) < len(scripted):
        return Item(kind, False, 'missed', f'the scripted {name} raised no event')
    i, j = next(iter(pairs.items()))
    real, span = scripted[i], found[j]
    return Item(
        kind, True, 'found', f'the {name} raised its event (frames {span.start} to {span.end}, '
        f'scripted {real.start_frame} to {real.end_frame})')


def _frames(count: int) -> str:
    return '1 frame' if count == 1 else f'{count} frames'


def _at(places: Sequence[str]) -> str:
    return f" ({', '.join(places)})" if places else ''
