# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One person's fatigue: readings in, assessments and events out. No images, no models, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import fields, replace
import math

from aitable_ros.fatigue.assessment import LevelJudge
from aitable_ros.fatigue.baseline import Baseline
from aitable_ros.fatigue.blinks import Dip, DipDetector
from aitable_ros.fatigue.closures import Closure, ClosureTracker, Lids
from aitable_ros.fatigue.eyes import EyeReading, open_eye
from aitable_ros.fatigue.head_pose import NodDetector
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.fatigue.perclos import PerclosWindows
from aitable_ros.fatigue.yawns import YawnDetector
from aitable_ros.types import (
    FatigueAssessment, FatigueEvent, FatigueEventType, FatigueLevel, FatigueReason, NAN, Validity
)

MIN_STEP_NS = 4_000_000
"""Readings closer than this (over 250 a second) add nothing and are left out: bounds memory."""
RATE_TIME_S = 2.0
"""Time constant of the measured frame rate."""
RATE_SLACK = 0.9
"""A camera sold as 15 fps gives 14.6; a tenth below the wanted rate still counts."""
RATE_MAX_STEP_S = 1.0
"""A longer step is a pause, not a frame rate."""
RATE_MIN_STEPS = 5
MAX_BLINKS = 1024
"""More than spacing allows in any window that makes sense."""

JUDGED = frozenset({
    'perclos_mild', 'perclos_severe', 'perclos_long_mild', 'perclos_long_severe',
    'mean_blink_mild_s', 'level_hold_s', 'perclos_min_usable_s', 'perclos_long_min_usable_s',
    'min_fps_blinks', 'min_fps_perclos', 'min_fps_closures', 'min_presence', 'others_fps',
    'max_yaw', 'max_pitch', 'min_eye_px', 'forget_s', 'keep_baselines'})
"""Options that choose images or judge figures: a change leaves the figures as they are."""
P80 = 0.2
"""Openness of eyes four fifths shut (Wierwille 1994)."""
EAR_MAX = 2.0
"""An eye higher than that against its width is none."""
MAR_MAX = 10.0


class PersonFatigue:
    """
    The tiredness of one person.

    Streaming: an update is O(1) amortised, and memory is bounded whatever the frame rate. All time
    is the readings' own. The stamps must rise; a reading that is not later than the one before is
    answered with the last assessment and changes nothing.

    :param track_id: of the person
    :param options: the thresholds
    :param start_ear: EAR of open eyes to start from instead of the prior; 0 for none
    """

    def __init__(
        self, track_id: int, options: FatigueOptions, start_ear: float = 0.0,
    ) -> None:
        self.track_id = track_id
        self.baseline = Baseline(options, start_ear)
        self._blink_count = self._yawn_count = 0
        self._usable_ns = self._closed_ns = 0
        self._stamp: int | None = None
        self._step_s = 0.0
        self._steps = 0
        self._last = FatigueAssessment(track_id, 0, Validity.WARMING_UP)
        self._slumped_ns: int | None = None
        self._slump_told = False
        self._options = options
        self._judge = LevelJudge(options)
        self._begin(options)

    def continue_as(self, track_id: int) -> None:
        """Go on under the number of another track, whose usable time is counted from zero."""
        self.track_id = track_id
        self._usable_ns = self._closed_ns = 0

    def slump(self, since_ns: int | None) -> None:
        """Take the posture's word that the head has sunk since then; None: it has not."""
        self._slumped_ns = since_ns
        self._slump_told = self._slump_told and since_ns is not None

    def configure(self, options: FatigueOptions) -> None:
        """
        Take other thresholds; baseline and counts stay.

        The windows are emptied if their figures depend on a changed threshold.
        """
        before = self._options
        changed = {
            item.name for item in fields(options)
            if getattr(options, item.name) != getattr(before, item.name)}
        if changed - JUDGED:
            self._begin(options)
            return
        self._options = options
        self._judge.configure(options)
        self._min_usable = options.perclos_min_usable_s
        self._min_usable_long = options.perclos_long_min_usable_s

    def _begin(self, options: FatigueOptions) -> None:
        """Measure by these thresholds from now on."""
        self._options = options
        self.baseline.configure(options)
        self._perclos = PerclosWindows(options.perclos_window_s, options.perclos_long_window_s)
        self._closures = ClosureTracker(options, self._credit)
        self._p80 = PerclosWindows(options.perclos_window_s)
        self._deep_ns = 0
        self._lids = 1.0
        self._dips = DipDetector(options)
        self._yawns = YawnDetector(options)
        self._nods = NodDetector(options.nod_pitch, options.nod_max_s)
        self._judge = LevelJudge(options)
        self._level = FatigueLevel.UNKNOWN
        self._blinks: deque[tuple[int, int]] = deque(maxlen=MAX_BLINKS)
        self._mean_blink_s = NAN
        self._long_closures: deque[int] = deque(maxlen=MAX_BLINKS)
        self._short: Closure | None = None
        self._long_end = -(1 << 62)
        self._slept = False
        self._read_ns = -(1 << 62)
        self._long_ns = int(options.perclos_long_window_s * 1e9)
        self._window_ns = int(options.perclos_window_s * 1e9)
        self._gap_ns = int(options.max_gap_s * 1e9)
        self._min_usable = options.perclos_min_usable_s
        self._min_usable_long = options.perclos_long_min_usable_s

    def update(self, reading: EyeReading) -> tuple[FatigueAssessment, tuple[FatigueEvent, ...]]:
        """
        Take in the reading of one image.

        :return: the assessment, and the events that became certain with it
        """
        now, options = reading.stamp_ns, self._options
        events: list[tuple[FatigueEventType, int, float]] = []
        if self._stamp is not None:
            step = now - self._stamp
            if step < MIN_STEP_NS:
                return self._last, ()
            step_s = step * 1e-9
            if step_s <= RATE_MAX_STEP_S:
                self._steps += 1
                share = max(min(1.0, step_s / RATE_TIME_S), 1 / self._steps)
                self._step_s += (step_s - self._step_s) * share
        self._stamp = now
        self._perclos.advance(now)
        self._p80.advance(now)
        openness = NAN
        extra = 0
        ear = reading.ear
        # Written so that NaN and infinity are not usable either.
        usable = reading.validity is Validity.VALID and 0 <= ear < EAR_MAX
        if usable:
            openness = self._see(reading, events)
        else:
            closure = self._closures.expire(now)
            if closure is not None:
                self._close(closure, events)
        if 0 <= reading.mar < MAR_MAX:
            yawn = self._yawns.add(now, reading.mar)
            if yawn is not None:
                self._yawn_count += 1
                events.append((FatigueEventType.YAWN, yawn[0], (yawn[1] - yawn[0]) * 1e-9))
                extra |= int(FatigueReason.YAWNING)
        if -math.pi <= reading.head_pitch <= math.pi:
            lids_down = None  # also where they are half open
            if openness < options.closed_enter:
                lids_down = True
            elif openness > options.closed_exit:
                lids_down = False
            nod = self._nods.add(now, reading.head_pitch, lids_down)
            if nod is not None:
                events.append((FatigueEventType.NOD, nod[0], (nod[1] - nod[0]) * 1e-9))
                extra |= int(FatigueReason.NODDING)
        if self._slumped_ns is not None:
            extra |= int(FatigueReason.SLUMPED)
            if not self._slump_told:
                self._slump_told = True
                lasted_s = (now - self._slumped_ns) * 1e-9
                events.append((FatigueEventType.SLUMPED, self._slumped_ns, lasted_s))
        return self._assess(reading, usable, openness, extra, events)

    def absent(self, stamp_ns: int) -> FatigueAssessment:
        """Return the assessment for a moment without an image of this person; changes nothing."""
        return replace(
            self._last, stamp_ns=stamp_ns, validity=Validity.NO_FACE, level=FatigueLevel.UNKNOWN,
            reasons=self._last.reasons & FatigueReason.SLUMPED, ear_left=NAN, ear_right=NAN,
            openness=NAN, eyes_closed=False, closure_s=0.0, mar=NAN, yawning=False, head_roll=NAN,
            head_pitch=NAN, head_yaw=NAN)

    def _see(
        self, reading: EyeReading, events: list[tuple[FatigueEventType, int, float]],
    ) -> float:
        """Take in measured eyes; return the openness, not clipped."""
        now, ear, options = reading.stamp_ns, reading.ear, self._options
        self.baseline.add(now, ear)
        relative = ear / self.baseline.value
        shut = options.ear_shut
        lids = (open_eye(reading) / self.baseline.value - shut) / (1 - shut)
        if options.ear_closed:
            lids = 0.0 if ear < options.ear_closed else 1.0
        known = self.baseline.learned or bool(options.ear_closed)
        if now - self._read_ns <= self._gap_ns and (lids < P80 or self._lids < P80):
            self._deep_ns += int((now - self._read_ns) * _share_below(self._lids, lids, P80))
        self._lids = lids
        closure = self._closures.add(now, lids, reading.head_pitch, known)
        if closure is not None:
            self._close(closure, events)
        if self._closures.lids is Lids.OPEN:
            self._deep_ns = 0
        if self._closures.confirmed:
            lasted = (now - self._closures.start_ns) * 1e-9
            if lasted >= options.sleep_s and not self._slept:
                self._slept = True
                self._long_closures.append(now)
                events.append((FatigueEventType.SLEEP, self._closures.start_ns, lasted))
        if now - self._read_ns > self._gap_ns:
            self._dips.clear()
        self._read_ns = now
        dip = self._dips.add(now, relative)
        if dip is not None:
            self._dip(dip, events)
        return (relative - shut) / (1 - shut)

    def _close(
        self, closure: Closure, events: list[tuple[FatigueEventType, int, float]],
    ) -> None:
        """Report a closure that is over; a blink is reported by its dip."""
        options, lasted = self._options, closure.duration_s
        slept, self._slept = self._slept, False
        if lasted <= options.blink_max_s:
            self._short = closure
            return
        if not closure.confirmed:
            return
        self._long_end = closure.end_ns
        if slept:
            return
        self._long_closures.append(closure.end_ns)
        kind = FatigueEventType.LONG_CLOSURE
        if lasted >= options.sleep_s:
            kind = FatigueEventType.SLEEP
        elif lasted >= options.microsleep_s:
            kind = FatigueEventType.MICROSLEEP
        events.append((kind, closure.start_ns, lasted))

    def _dip(self, dip: Dip, events: list[tuple[FatigueEventType, int, float]]) -> None:
        """Report a blink, unless a longer closure was reported for it."""
        if dip.lowest_ns <= self._long_end:
            return
        start, end = dip.start_ns, dip.end_ns
        if dip.wide:
            short = self._short
            if short is None or not short.start_ns <= dip.lowest_ns <= short.end_ns:
                return
            start, end = short.start_ns, short.end_ns
        self._short = None
        self._blink_count += 1
        self._count(end, end - start)
        events.append((FatigueEventType.BLINK, start, (end - start) * 1e-9))

    def _credit(self, start_ns: int, end_ns: int, closed: bool) -> None:
        self._perclos.credit(start_ns, end_ns, closed)
        self._usable_ns += end_ns - start_ns
        if closed:
            self._closed_ns += end_ns - start_ns
            self._p80.credit(max(start_ns, end_ns - self._deep_ns), end_ns, True)
        self._deep_ns = 0

    def _count(self, end_ns: int, lasted_ns: int) -> None:
        self._blinks.append((end_ns, lasted_ns))
        self._mean_blink_s = _middle_mean([lasted for _, lasted in self._blinks]) * 1e-9

    def _assess(
        self, reading: EyeReading, usable: bool, openness: float, extra: int,
        events: list[tuple[FatigueEventType, int, float]],
    ) -> tuple[FatigueAssessment, tuple[FatigueEvent, ...]]:
        now, options = reading.stamp_ns, self._options
        closures, windows = self._closures, self._perclos
        blinks, long_closures = self._blinks, self._long_closures
        if blinks and blinks[0][0] < now - self._window_ns:
            while blinks and blinks[0][0] < now - self._window_ns:
                blinks.popleft()
            self._mean_blink_s = _middle_mean([lasted for _, lasted in blinks]) * 1e-9
        while long_closures and long_closures[0] < now - self._long_ns:
            long_closures.popleft()
        rate = 1 / self._step_s if self._steps >= RATE_MIN_STEPS else 0.0
        seen, seen_long = windows.usable_s(0), windows.usable_s(1)
        for_perclos = rate >= RATE_SLACK * options.min_fps_perclos
        for_blinks = rate >= RATE_SLACK * options.min_fps_blinks
        for_closures = rate >= RATE_SLACK * options.min_fps_closures
        enough = seen >= self._min_usable
        perclos = windows.share(0) if for_perclos and enough else NAN
        p80 = self._p80.usable_s(0) / seen if for_perclos and enough else NAN
        perclos_long = \
            windows.share(1) if for_perclos and seen_long >= self._min_usable_long else NAN
        blink_rate = mean_blink = NAN
        if for_blinks and enough:
            blink_rate = 60 * len(blinks) / seen
            mean_blink = self._mean_blink_s
        closed = usable and closures.closed
        closure_s = (now - closures.start_ns) * 1e-9 if closed else 0.0
        certain_s = closure_s if closures.confirmed and for_closures else 0.0

        validity = reading.validity
        if validity is Validity.VALID and not usable:
            validity = Validity.OCCLUDED
        elif usable and closures.lids is Lids.DOWN:
            validity = Validity.POSE_OUT_OF_RANGE
        elif validity is Validity.VALID:
            if self._steps >= RATE_MIN_STEPS and not for_perclos:
                validity = Validity.LOW_FRAME_RATE
            elif not enough:
                validity = Validity.WARMING_UP
        level, reasons = self._judge.judge(
            now, certain_s, perclos, perclos_long, mean_blink, len(blinks), len(long_closures),
            extra)
        if validity is Validity.NO_FACE \
                or (level is FatigueLevel.ALERT and not (enough and for_perclos)):
            level = FatigueLevel.UNKNOWN
        if level is not self._level and level is not FatigueLevel.UNKNOWN:
            self._level = level
            events.append((FatigueEventType.LEVEL_CHANGED, now, 0.0))
        reported = tuple([
            FatigueEvent(self.track_id, kind, start, lasted, level)
            for kind, start, lasted in events]) if events else ()
        self._last = FatigueAssessment(
            self.track_id, now, validity, level, reasons, reading.ear_left, reading.ear_right,
            0.0 if openness < 0 else (1.0 if openness > 1 else openness), closed, closure_s,
            perclos, perclos_long, min(1.0, seen / options.perclos_window_s),
            min(1.0, seen_long / options.perclos_long_window_s), self._blink_count, blink_rate,
            mean_blink, reading.mar, self._yawns.yawning, self._yawn_count, reading.head_roll,
            reading.head_pitch, reading.head_yaw, self.baseline.learned, self.baseline.value,
            p80, self._usable_ns * 1e-9, self._closed_ns * 1e-9)
        return self._last, reported


def _middle_mean(values: list[int]) -> float:
    """Return the mean of the middle half, which one odd blink does not move; NaN of nothing."""
    cut = len(values) // 4
    middle = sorted(values)[cut:len(values) - cut]
    return sum(middle) / len(middle) if middle else NAN


def _share_below(first: float, second: float, level: float) -> float:
    """Return the share of the line between two readings that lies below a level."""
    low, high = min(first, second), max(first, second)
    return 1.0 if high <= level else max(0.0, level - low) / (high - low)
